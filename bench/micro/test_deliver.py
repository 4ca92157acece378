"""What does a message cost, from bytes on the wire to the callback's str?

The bytes are handed over as an event loop's transport does it. The controls: the call
alone with a string that exists, and the least that Python can do (slice, unmask as one
number, decode, call). ``echo`` sends each message back, which one read's messages do
in one write.
"""

from __future__ import annotations

import pytest

from . import works
from .conftest import Measure
from .rig import KEY, Rig, client_frame
from .works import BATCH, Work

SIZES = (16, 64, 1024)


@pytest.mark.parametrize("size", SIZES)
def test_deliver_text(measure: Measure, rig: Rig, size: int) -> None:
    measure(works.deliver(rig, works.text_of(size)))


def test_deliver_text_beyond_ascii(measure: Measure, rig: Rig) -> None:
    measure(works.deliver(rig, works.mixed_of(64).decode()))


@pytest.mark.parametrize("size", SIZES)
def test_deliver_binary(measure: Measure, rig: Rig, size: int) -> None:
    measure(works.deliver(rig, works.text_of(size).encode()))


@pytest.mark.parametrize("depth", [1, 16])
def test_deliver_echo(measure: Measure, rig: Rig, depth: int) -> None:
    measure(works.echo(rig, works.text_of(64), depth))


def test_deliver_control_call(measure: Measure) -> None:
    text = works.text_of(64)

    def on_message(ws: object, message: str) -> None:
        """As empty as the one that is measured."""

    def run() -> None:
        for _ in range(BATCH):
            on_message(None, text)

    measure(Work(run, BATCH))


@pytest.mark.parametrize("size", [16, 64])
def test_deliver_control_python(measure: Measure, size: int) -> None:
    data = client_frame(works.text_of(size)) * BATCH
    stream = int.from_bytes((KEY * size)[:size], "big")

    def on_message(ws: object, message: str) -> None:
        """As empty as the one that is measured."""

    def run() -> None:
        place = 0
        while place < len(data):
            length = data[place + 1] & 0x7F
            start = place + 6
            place = start + length
            mixed = int.from_bytes(data[start:place], "big") ^ stream
            on_message(None, mixed.to_bytes(length, "big").decode())

    measure(Work(run, BATCH))
