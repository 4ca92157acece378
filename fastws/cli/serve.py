"""``fastws serve module:app``: the options are the fields of Config."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import Field, fields
from typing import Any, TypeVar, get_args, get_type_hints

import click

from ..config import Config
from ..errors import FastwsError
from .target import load_app

__all__ = ["serve"]

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

# Fields that no word on a command line can stand for.
_NOT_OPTIONS = ("ssl", "limits")

_LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


def config_options(function: FunctionT) -> FunctionT:
    """Give a click command one option per field of Config.

    An option that is not given keeps what the App's own Config says, so none has a
    default here; the help names the default of Config.
    """
    hints = get_type_hints(Config)
    for one in reversed(fields(Config)):
        if one.name not in _NOT_OPTIONS:
            function = _config_option(one, hints[one.name])(function)
    return function


def _config_option(one: Field[Any], hint: Any) -> Callable[[FunctionT], FunctionT]:
    about = one.metadata["about"]
    flag = "--" + one.name.replace("_", "-")
    if bool in (hint, *get_args(hint)):
        return click.option(f"{flag}/--no-{flag[2:]}", default=None, help=about)
    kind, multiple = _click_type(one.name, hint)
    if one.default is not None and not multiple:
        about += f"  [default: {one.default}]"
    return click.option(
        flag,
        one.name,
        type=kind,
        multiple=multiple,
        default=None,
        help=about + ("; may be repeated" if multiple else ""),
    )


def _click_type(name: str, hint: Any) -> tuple[Any, bool]:
    """Give click's type for a field, and whether the option may be repeated."""
    choices = get_args(hint)
    if hint in (str, int, float):
        return hint, False
    if choices and all(isinstance(choice, str) for choice in choices):
        return click.Choice(choices), False
    if name == "allowed_origins":
        return str, True
    # `str | None`: the files of TLS.
    return click.Path(dir_okay=False), False


@click.command(short_help="Serve an App.")
@click.argument("target", metavar="MODULE:APP")
@config_options
@click.option(
    "--log-level",
    type=click.Choice(_LOG_LEVELS, case_sensitive=False),
    default="info",
    show_default=True,
    help="least serious log lines shown, on standard error",
)
def serve(target: str, log_level: str, **options: Any) -> None:
    """Serve the App that MODULE:APP names, until SIGINT or SIGTERM.

    The current folder is importable. An option replaces what the App's own Config
    says; one that is not given leaves it.
    """
    logging.basicConfig(
        level=log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    given = {name: value for name, value in options.items() if value not in (None, ())}
    try:
        load_app(target).run(**given)
    except FastwsError as error:
        raise click.ClickException(str(error)) from error
