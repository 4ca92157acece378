"""What do subscribing and unsubscribing cost beside a dictionary of sets?

Sets are what most servers keep their rooms in; they know nothing of what a subscriber
is still owed.
"""

from __future__ import annotations

import pytest

from . import works
from .conftest import Measure
from .rig import Rig
from .works import BATCH, Work


@pytest.mark.parametrize("others", [0, 1, 100])
def test_subscribe_and_unsubscribe(measure: Measure, rig: Rig, others: int) -> None:
    measure(works.subscribe(rig, others))


@pytest.mark.parametrize("others", [1, 100])
def test_subscribe_control_sets(measure: Measure, others: int) -> None:
    names = [f"room.{number}" for number in range(BATCH)]
    rooms: dict[str, set[object]] = {
        name: {object() for _ in range(others)} for name in names
    }
    joined: set[str] = set()
    member = object()

    def run() -> None:
        for name in names:
            rooms.setdefault(name, set()).add(member)
            joined.add(name)
        for name in names:
            rooms[name].discard(member)
            joined.discard(name)

    measure(Work(run, BATCH))
