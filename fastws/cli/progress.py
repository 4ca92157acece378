"""The line that moves while a run lasts: on standard error, on a terminal only."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self, TextIO

from ..load import Options, Progress
from .report import OPERATIONS

__all__ = ["LiveLine"]

BAR = 20
# ANSI: back to the start of the line, and clear to its end.
REWRITE = "\r\x1b[K"


class LiveLine:
    """A callback for ``load.run``; leaving the context removes the line."""

    def __init__(self, options: Options, stream: TextIO | None = None) -> None:
        self._options = options
        self._stream = stream or sys.stderr
        self._before = (0.0, 0)
        self._since_running: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._write("")

    def __call__(self, progress: Progress) -> None:
        self._write("  " + self._words(progress))

    def _write(self, words: str) -> None:
        self._stream.write(REWRITE + words)
        self._stream.flush()

    def _words(self, progress: Progress) -> str:
        if progress.phase == "opening":
            share = progress.opened / max(progress.connections, 1)
            counted = f"{progress.opened:,} of {progress.connections:,} connections"
            return f"opening   {_bar(share)} {counted}"
        words = f"{progress.phase:<9} "
        if progress.phase == "running":
            if self._since_running is None:
                self._since_running = progress.elapsed
            ran = progress.elapsed - self._since_running
            words += f"{_bar(ran / self._options.duration)} {ran:4.1f} s "
        if self._options.mode != "idle":
            words += self._rate(progress)
        return words

    def _rate(self, progress: Progress) -> str:
        elapsed, operations = self._before
        self._before = (progress.elapsed, progress.operations)
        if progress.elapsed <= elapsed:
            return ""
        rate = (progress.operations - operations) / (progress.elapsed - elapsed)
        return f"{max(rate, 0):>13,.0f} {OPERATIONS[self._options.mode]}/s"


def _bar(share: float) -> str:
    filled = round(BAR * min(max(share, 0.0), 1.0))
    return "[" + "=" * filled + " " * (BAR - filled) + "]"
