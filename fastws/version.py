"""Which fastws this is."""

from __future__ import annotations

from importlib import metadata

__all__ = ["version"]


def version() -> str:
    """The version of the installed distribution."""
    try:
        return metadata.version("fastws-engine")
    except metadata.PackageNotFoundError:
        # A checkout that is on the path without having been installed.
        return "unknown"
