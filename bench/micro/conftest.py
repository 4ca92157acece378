"""What every micro-benchmark has: the built controls, a rig, and a way to measure."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest

from . import control
from .rig import Rig, rig
from .works import Work

Measure: TypeAlias = Callable[[Work], None]

ROUNDS = 200


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    control.build()


@pytest.fixture(name="rig")
def rig_fixture() -> Iterator[Rig]:
    with rig() as made:
        yield made


@pytest.fixture
def measure(benchmark: Any) -> Measure:
    """Time a work's run, and nothing of its reset. One run per round: a work is long
    enough, and what it uses up must come back in between. ``operations`` in the extra
    information is by how many to divide."""

    def measured(work: Work) -> None:
        benchmark.extra_info["operations"] = work.per_run
        gc.collect()
        benchmark.pedantic(
            work.run,
            setup=lambda: (work.reset(), None)[1],
            rounds=ROUNDS,
            warmup_rounds=10,
        )

    return measured
