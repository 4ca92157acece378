"""``fastws bench URL``: the options are the fields of the load generator's Options."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from ..load import LoadError, Options, Result, run
from ..load.request import read_url
from .fields import GroupedCommand, field_options, given
from .progress import LiveLine
from .report import csv_report, failure, json_report, text_report

__all__ = ["bench"]

EXAMPLES = """\
\b
Examples:
  fastws bench ws://127.0.0.1:8080/echo --depth 16
  fastws bench wss://example.org/feed --connections 1000 --rate 500
  fastws bench ws://127.0.0.1:8080/room --mode fanout --connections 1000
  fastws bench ws://127.0.0.1:8080/ --mode idle --connections 9000

Exit code: 0 with a result, 1 with an error, 2 when the options make no sense.
"""


@click.command(
    cls=GroupedCommand, short_help="Measure a WebSocket server.", epilog=EXAMPLES
)
@click.argument("url")
@field_options(Options, without=("url",), files=("ca",))
@click.option(
    "--format",
    "form",
    type=click.Choice(("text", "json", "csv")),
    default="text",
    show_default=True,
    help="what is printed: a report, one line of JSON, or CSV with a header",
)
@click.option("--quiet", is_flag=True, help="no live progress on a terminal")
def bench(url: str, form: str, quiet: bool, **options: Any) -> None:
    """Put load on the WebSocket server at URL, and check and time what comes back.

    A message that is wrong, missing, doubled or surplus fails the run.
    """
    try:
        asked = Options(url=url, **given(options))
        read_url(url)
    except LoadError as error:
        raise click.UsageError(str(error)) from error
    try:
        result = _run(asked, quiet)
    except LoadError as error:
        if form == "text":
            raise click.ClickException(str(error)) from error
        _print(form, failure(asked, str(error)))
        sys.exit(1)
    if form == "text":
        click.echo(text_report(asked, result, _is_plain()), color=_has_color())
    else:
        _print(form, result.to_dict())


def _run(options: Options, is_quiet: bool) -> Result:
    if is_quiet or not _is_terminal():
        return run(options)
    with LiveLine(options) as line:
        return run(options, line)


def _is_terminal() -> bool:
    """Whether a line on standard error can be rewritten."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _print(form: str, shown: dict[str, Any]) -> None:
    click.echo(json_report(shown) if form == "json" else csv_report(shown))


def _is_plain() -> bool:
    """Whether standard output cannot show the drawing's characters."""
    try:
        "█┬µ×".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return True
    return False


def _has_color() -> bool | None:
    """None leaves it to click: colours on a terminal only."""
    return False if os.environ.get("NO_COLOR") else None
