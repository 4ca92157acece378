"""Servers that the tests of the load generator run against."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from fastws.load import Options, Result, run
from tests.load.opponent import Opponent, Start

# What else is collected here needs the generator, which waits with epoll.
collect_ignore_glob = [] if sys.platform.startswith("linux") else ["test_*.py"]

# Short, and never by the clock: what is asserted are counts.
SHORT: dict[str, Any] = {
    "connections": 3,
    "warm_up": 0.02,
    "duration": 0.05,
    "timeout": 20.0,
}


def short(url: str, **options: Any) -> Result:
    """A run that is over in a moment; options replace the defaults."""
    return run(Options(url=url, **{**SHORT, **options}))


def paced(url: str, **options: Any) -> tuple[Result, float]:
    """A run by the schedule, and the seconds that it took from beginning to end: no
    more is due than in all that time, however late the machine is with it."""
    began = time.monotonic()
    result = short(url, **options)
    return result, time.monotonic() - began


@pytest.fixture
def opponent() -> Iterator[Start]:
    started: list[Opponent] = []

    def start(*arguments: Any, **named: Any) -> Opponent:
        started.append(Opponent(*arguments, **named))
        return started[-1]

    yield start
    for one in started:
        one.close()
