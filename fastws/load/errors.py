"""What ends a run without a result."""

from __future__ import annotations

from ..errors import FastwsError

__all__ = ["LoadError"]


class LoadError(FastwsError):
    """A run that could not start, or that found a fault: the message says which.

    Wrong options raise it too, before anything is sent.
    """
