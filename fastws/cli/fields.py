"""Command-line options derived from the fields of a record.

A field's name, type, default and ``about`` sentence stand in the record; a command has
no list of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar, get_args, get_type_hints

import click

__all__ = ["GroupedCommand", "field_options", "given"]

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


class FieldOption(click.Option):
    """An option that knows under which heading its field stands, if any."""

    def __init__(self, *names: Any, group: str | None = None, **more: Any) -> None:
        super().__init__(*names, **more)
        self.group = group


class GroupedCommand(click.Command):
    """A command whose help shows the options under the headings of their fields."""

    def format_options(
        self, context: click.Context, formatter: click.HelpFormatter
    ) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(context):
            record = parameter.get_help_record(context)
            if record is not None and isinstance(parameter, click.Option):
                heading = getattr(parameter, "group", None) or "Output"
                groups.setdefault(heading, []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def field_options(
    record: type, *, without: Collection[str] = (), files: Collection[str] = ()
) -> Callable[[FunctionT], FunctionT]:
    """Give a click command one option per field of a dataclass.

    None has a default here, so that a field that was not given can be told from one
    that was; the help names the record's default. Fields in ``files`` are paths.
    """
    hints = get_type_hints(record)

    def decorate(function: FunctionT) -> FunctionT:
        named = [one for one in fields(record) if one.name not in without]
        # A heading holds for the fields that follow.
        group: str | None = None
        options = []
        for one in named:
            group = one.metadata.get("group", group)
            hint = click.Path(dir_okay=False) if one.name in files else hints[one.name]
            options.append(_option(one, hint, group))
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Those that stood on the command line."""
    return {name: value for name, value in options.items() if value not in (None, ())}


def _option(
    one: Field[Any], hint: Any, group: str | None
) -> Callable[[FunctionT], FunctionT]:
    about = one.metadata["about"]
    flag = "--" + one.name.replace("_", "-")
    # Also where more than a flag can say is possible: `Compression | bool | None`.
    if bool in (hint, *get_args(hint)):
        about += "  [default: on]" if one.default else ""
        return click.option(
            f"{flag}/--no-{flag[2:]}",
            cls=FieldOption,
            group=group,
            default=None,
            help=about,
        )
    kind, is_repeated = _click_type(hint)
    if one.default not in (None, (), MISSING):
        about += f"  [default: {one.default}]"
    return click.option(
        flag,
        one.name,
        cls=FieldOption,
        group=group,
        type=kind,
        multiple=is_repeated,
        default=None,
        help=about + ("; may be repeated" if is_repeated else ""),
    )


def _click_type(hint: Any) -> tuple[Any, bool]:
    """Give click's type for a field, and whether the option may be repeated."""
    if isinstance(hint, click.ParamType) or hint in (str, int, float):
        return hint, False
    parts = [part for part in get_args(hint) if part is not type(None)]
    if all(isinstance(part, str) for part in parts):
        return click.Choice(parts), False
    # `int | None`; `tuple[str, ...]`, `Sequence[str] | None`.
    inner = get_args(parts[0]) or parts
    is_repeated = Ellipsis in inner or bool(get_args(parts[0]))
    return inner[0], is_repeated
