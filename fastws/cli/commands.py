"""The ``fastws`` command and its subcommands."""

from __future__ import annotations

import click

from ..version import version
from .bench import bench
from .serve import serve

__all__ = ["command"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version(), message="fastws %(version)s")
def command() -> None:
    """A WebSocket server engine."""


command.add_command(bench)
command.add_command(serve)
