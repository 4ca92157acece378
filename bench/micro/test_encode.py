"""What does a sent message cost, until it has left, beside framing it in C or Python?

``send`` is what a handler calls, many times for one write: framing, the queue, and one
system call. The controls frame the same messages, in C and with struct, and send the
whole to the same socket.
"""

from __future__ import annotations

import socket
import struct

import pytest

from . import control, works
from .conftest import Measure
from .rig import Rig
from .works import BATCH, Work

SIZES = (64, 1024)


def count_of(size: int) -> int:
    """As many as stay under the outbox's high-water mark, where sending must wait."""
    return min(BATCH, (1 << 15) // size)


@pytest.mark.parametrize("size", SIZES)
def test_encode_send_text(measure: Measure, rig: Rig, size: int) -> None:
    measure(works.send(rig, works.text_of(size), count_of(size)))


@pytest.mark.parametrize("size", SIZES)
def test_encode_send_binary(measure: Measure, rig: Rig, size: int) -> None:
    measure(works.send(rig, works.text_of(size).encode(), count_of(size)))


@pytest.mark.parametrize("length", [64, 1024, 1 << 20])
def test_encode_header(measure: Measure, length: int) -> None:
    measure(works.header(length))


@pytest.mark.parametrize("size", SIZES)
def test_encode_control_struct(measure: Measure, rig: Rig, size: int) -> None:
    [peer] = rig.connect()
    text, count = works.text_of(size), count_of(size)

    def run() -> None:
        parts = []
        for _ in range(count):
            data = text.encode()
            length = len(data)
            short = length < 126
            parts.append(
                struct.pack("!BB", 0x81, length)
                if short
                else struct.pack("!BBH", 0x81, 126, length)
            )
            parts.append(data)
        peer.near.sendall(b"".join(parts))

    measure(Work(run, count, rig.descriptors().drain))


@pytest.mark.parametrize("size", SIZES)
def test_encode_control_loop(measure: Measure, rig: Rig, size: int) -> None:
    [peer] = rig.connect()
    payload = works.text_of(size).encode()
    count = count_of(size)
    room = control.Room((size + 4) * count)
    near: socket.socket = peer.near

    def run() -> None:
        near.sendall(room.encoded(payload, count))

    measure(Work(run, count, rig.descriptors().drain))
