"""Bounded waiting: for a condition, never for an amount of time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Far more than anything here needs, so that a slow machine does not fail a test, and
# less than a server waits for its peers when it stops.
DEADLINE = 20.0

_INTERVAL = 0.005


class Deadline:
    """A moment that several waits share."""

    def __init__(self, seconds: float = DEADLINE) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left; TimeoutError when none is."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"nothing within {self.seconds} s")
        return left


def eventually(check: Callable[[], T], seconds: float = DEADLINE) -> T:
    """Ask until the answer is true, and give it back.

    AssertionError with the last answer, or with what ``check`` itself asserted.
    """
    end = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        failure: AssertionError | None = None
        try:
            answer = check()
        except AssertionError as error:
            failure = error
        else:
            if answer:
                return answer
        if time.monotonic() >= end:
            if failure is not None:
                raise failure
            raise AssertionError(f"still {answer!r} after {seconds} s")
        pause.wait(_INTERVAL)
