"""The ``fastws`` command and its subcommands."""

from __future__ import annotations

from importlib import metadata

import click

from .serve import serve

__all__ = ["command"]


def _version() -> str:
    try:
        return metadata.version("fastws-engine")
    except metadata.PackageNotFoundError:
        # A checkout that is on the path without having been installed.
        return "unknown"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(_version(), message="fastws %(version)s")
def command() -> None:
    """A WebSocket server engine."""


command.add_command(serve)
