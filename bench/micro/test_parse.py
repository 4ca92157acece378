"""What does the parser cost, from bytes to messages, beside a C loop over the frames?

``Parser.feed`` makes an event of each message, a tuple in a list: what the engine
itself does without (see test_deliver.py). The control reads headers and unmasks a byte
at a time to one place; it makes no object and checks no rule but the length.
"""

from __future__ import annotations

import pytest

from . import control, works
from .conftest import Measure
from .rig import client_frame
from .works import BATCH, Work

SIZES = (16, 64, 1024, 16384)


@pytest.mark.parametrize("size", SIZES)
def test_parse_text(measure: Measure, size: int) -> None:
    measure(works.parse(works.text_of(size)))


@pytest.mark.parametrize("size", SIZES)
def test_parse_binary(measure: Measure, size: int) -> None:
    measure(works.parse(works.text_of(size).encode()))


@pytest.mark.parametrize("size", [64, 1024])
def test_parse_text_beyond_ascii(measure: Measure, size: int) -> None:
    measure(works.parse(works.mixed_of(size).decode()))


def test_parse_fragments_in_pieces(measure: Measure) -> None:
    measure(works.parse_pieces(300))


@pytest.mark.parametrize("size", SIZES)
def test_parse_control_loop(measure: Measure, size: int) -> None:
    data = client_frame(works.text_of(size)) * BATCH
    room = control.Room(size)
    assert room.parse(data) == BATCH
    measure(Work(lambda: room.parse(data), BATCH))
