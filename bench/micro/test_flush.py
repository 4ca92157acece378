"""What does a flush cost per subscriber beside the bare system call?

The control is a C loop that sends the same bytes to the same sockets: what a flush
can't be faster than, except by sending several publications with one call.
"""

from __future__ import annotations

import pytest

from . import works
from .conftest import Measure
from .control import Descriptors
from .rig import Rig
from .works import Work

SUBSCRIBERS = 1000
HEADER = 4  # of a frame with 126 to 65 535 bytes


@pytest.mark.parametrize("window", [1, 16])
@pytest.mark.parametrize("size", [128, 1024])
def test_flush(measure: Measure, rig: Rig, size: int, window: int) -> None:
    measure(works.flush(rig, size, SUBSCRIBERS, window))


@pytest.mark.parametrize("window", [1, 16])
@pytest.mark.parametrize("size", [128, 1024])
def test_flush_control_loop(measure: Measure, rig: Rig, size: int, window: int) -> None:
    near = Descriptors([peer.near.fileno() for peer in rig.connect(SUBSCRIBERS)])
    drain, data = rig.descriptors().drain, b"." * (size + HEADER) * window
    assert near.send(data) == SUBSCRIBERS
    measure(Work(lambda: near.send(data), SUBSCRIBERS, drain))
