"""The time-outs once more, with the defaults and in real time."""

from __future__ import annotations

import pytest

from tests.support.frames import CLOSE, take_frame
from tests.support.patience import LONGEST, PATIENCE, Waiting


@pytest.mark.parametrize("name", PATIENCE)
def test_real_time(waiting: dict[str, Waiting], name: str) -> None:
    one, patience = waiting[name], PATIENCE[name]
    one.thread.join(LONGEST)
    assert one.lasted is not None, "still there"
    assert patience.least <= one.lasted


def test_124_the_close_frame_came_first(waiting: dict[str, Waiting]) -> None:
    one = waiting["124-close-not-answered"]
    one.thread.join(LONGEST)
    found = take_frame(one.client.received)
    assert found is not None
    assert found.opcode == CLOSE
    assert found.close_code == 4000
    assert not one.client.received
