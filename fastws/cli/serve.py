"""``fastws serve module:app``: the options are the fields of Config."""

from __future__ import annotations

import logging
from typing import Any

import click

from ..config import Config
from ..errors import FastwsError
from .fields import field_options, given
from .target import load_app

__all__ = ["serve"]

# Fields that no word on a command line can stand for.
_NOT_OPTIONS = ("ssl", "limits")
_FILES = ("ssl_certificate", "ssl_key")

_LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


@click.command(short_help="Serve an App.")
@click.argument("target", metavar="MODULE:APP")
@field_options(Config, without=_NOT_OPTIONS, files=_FILES)
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
    try:
        load_app(target).run(**given(options))
    except FastwsError as error:
        raise click.ClickException(str(error)) from error
