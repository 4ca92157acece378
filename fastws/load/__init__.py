"""The load generator: drives any WebSocket server, and checks all that comes back.

It shares no code with the engine, so that it shares none of its errors either.
"""

from __future__ import annotations

from .errors import LoadError
from .options import Options
from .result import Histogram, Result
from .runner import Progress, run

__all__ = ["Histogram", "LoadError", "Options", "Progress", "Result", "run"]
