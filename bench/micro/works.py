"""What the engine does in one step, ready to be done again and again.

A ``Work`` is the step alone: ``reset`` brings back what it used up and is neither timed
nor counted. The benchmarks put a control beside it, the guard counts its instructions.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastws import ChannelRule, Compression, Limits
from fastws.engine import kernels
from fastws.engine.handshake import (
    HeadScanner,
    accept_response,
    check_upgrade,
    read_request,
)
from fastws.engine.parser import Parser

from .feed import record
from .rig import HEAD, Rig, client_frame

BATCH = 64
"""Messages in one run: enough that the Python call around them hardly counts."""

CHANNEL = "room.42"
MIXED = "Grüße aus Zürich, 世界 и мир: naïve café 😀 "
DOCUMENT: Mapping[str, Any] = {
    "action": "message",
    "channel": CHANNEL,
    "message": {"id": 17, "price": 1.0845, "open": True, "tags": ["a", "b"]},
    "time": 1_700_000_000,
}


def nothing() -> None:
    """For works that use up nothing."""


@dataclass(frozen=True)
class Work:
    """One step, ``per_run`` times in ``run``."""

    run: Callable[[], object]
    per_run: int = 1
    reset: Callable[[], object] = nothing


def text_of(size: int) -> str:
    """So many bytes of plain text."""
    letters = "the quick brown fox jumps over the lazy dog, "
    return (letters * (size // len(letters) + 1))[:size]


def mixed_of(size: int) -> bytes:
    """About so many bytes of text in several scripts, cut at no character's middle."""
    return (MIXED * (size // len(MIXED.encode()) + 1)).encode()


def records_of(size: int, count: int = BATCH) -> list[str]:
    """So many messages of JSON, each of that size and different from the others."""
    each = size // len(record(0)) + 1
    return [
        b",".join(map(record, range(first, first + each)))[:size].decode()
        for first in range(0, count * each, each)
    ]


# -- bytes -------------------------------------------------------------------------


def unmask(size: int, rounds: int, implementation: str = "auto") -> Work:
    """Unmask from one buffer to another."""
    return Work(lambda: kernels.time_mask(size, rounds, implementation), rounds)


def validate(data: bytes, rounds: int = BATCH) -> Work:
    """Check whole texts for UTF-8."""
    chunks = (data,)

    def run() -> None:
        for _ in range(rounds):
            kernels.utf8_validate(chunks)

    return Work(run, rounds)


# -- frames ------------------------------------------------------------------------


def parse(payload: str | bytes, count: int = BATCH) -> Work:
    """Whole frames to messages, by the parser alone."""
    parser, data = Parser(), client_frame(payload) * count
    return Work(lambda: parser.feed(data), count)


def parse_pieces(size: int, count: int = BATCH) -> Work:
    """Messages of three fragments with a ping between them, in pieces of 100 bytes."""
    part = text_of(size // 3)
    message = (
        client_frame(part, final=False)
        + client_frame(part, opcode="CONTINUATION", final=False)
        + client_frame(b"are you there", opcode="PING")
        + client_frame(part, opcode="CONTINUATION")
    )
    data, parser = message * count, Parser()
    pieces = [data[start : start + 100] for start in range(0, len(data), 100)]

    def run() -> None:
        for piece in pieces:
            parser.feed(piece)

    return Work(run, count)


def header(length: int, rounds: int = BATCH) -> Work:
    """The header of a frame."""

    def run() -> None:
        for _ in range(rounds):
            kernels.frame_encode(0x81, length)

    return Work(run, rounds)


# -- one connection ----------------------------------------------------------------


def deliver(rig: Rig, payload: str | bytes, count: int = BATCH) -> Work:
    """Bytes as they were read to calls of ``on_message``."""
    [peer] = rig.connect(on_message=lambda ws, message: None)
    data = client_frame(payload) * count
    return Work(lambda: peer.deliver(data), count)


def send(rig: Rig, message: Any, count: int = BATCH) -> Work:
    """Messages of a handler that leave in one write."""

    def answer(ws: Any, _message: str | bytes) -> None:
        for _ in range(count):
            ws.send(message)

    [peer] = rig.connect(on_message=answer)
    request = client_frame("")
    drain = rig.descriptors().drain
    return Work(lambda: peer.deliver(request), count, drain)


def echo(rig: Rig, payload: str | bytes, depth: int, count: int = BATCH) -> Work:
    """Reads of ``depth`` messages, each of which is sent back."""
    [peer] = rig.connect(on_message=lambda ws, message: ws.send(message))
    data = client_frame(payload) * depth
    reads = count // depth

    def run() -> None:
        for _ in range(reads):
            peer.deliver(data)

    return Work(run, reads * depth, rig.descriptors().drain)


def handshake(count: int = 16) -> Work:
    """Request heads as a browser sends them, to answers."""
    limits = Limits()

    def run() -> None:
        for _ in range(count):
            scanner = HeadScanner(limits)
            end = scanner.feed(HEAD)
            accept_response(check_upgrade(read_request(HEAD[:end])))

    return Work(run, count)


# -- channels ----------------------------------------------------------------------


def publish(rig: Rig, message: Any, subscribers: int = 1, count: int = BATCH) -> Work:
    """Publications, up to where they wait for the end of the tick."""
    for peer in rig.connect(subscribers):
        peer.ws.subscribe(CHANNEL)
    hub, drain = rig.hub, rig.descriptors().drain

    def run() -> None:
        for _ in range(count):
            hub.publish(CHANNEL, message)

    def reset() -> None:
        rig.turns.turn()
        drain()

    return Work(run, count, reset)


COMPRESSION = Compression(threshold=64)


def send_compressed(rig: Rig, size: int, count: int = BATCH) -> Work:
    """Messages of a handler, each compressed by itself."""
    messages = records_of(size, count)

    def answer(ws: Any, _message: str | bytes) -> None:
        for message in messages:
            ws.send(message)

    [peer] = rig.connect(compression=COMPRESSION, on_message=answer)
    request = client_frame("")
    drain = rig.descriptors().drain
    return Work(lambda: peer.deliver(request), count, drain)


def publish_compressed(
    rig: Rig,
    size: int,
    subscribers: int = 1,
    *,
    is_cohort: bool = False,
    count: int = BATCH,
) -> Work:
    """Publications of records, as ``publish``: each compressed by itself, or after the
    ones before."""
    if is_cohort:
        rig.hub.rule_for = lambda name: ChannelRule(compress="cohort")
    for peer in rig.connect(subscribers, COMPRESSION, has_cohorts=is_cohort):
        peer.ws.subscribe(CHANNEL)
    hub, drain, messages = rig.hub, rig.descriptors().drain, records_of(size, count)

    def run() -> None:
        for message in messages:
            hub.publish(CHANNEL, message)

    def reset() -> None:
        rig.turns.turn()
        drain()

    return Work(run, count, reset)


def flush(rig: Rig, size: int, subscribers: int, window: int = 1) -> Work:
    """The end of a tick in which ``window`` messages were published to everyone."""
    for peer in rig.connect(subscribers):
        peer.ws.subscribe(CHANNEL)
    hub, drain, message = rig.hub, rig.descriptors().drain, text_of(size)

    def reset() -> None:
        drain()
        for _ in range(window):
            hub.publish(CHANNEL, message)

    return Work(rig.turns.turn, subscribers, reset)


def subscribe(rig: Rig, others: int = 8, count: int = BATCH) -> Work:
    """Join and leave channels in which there are others."""
    names = [f"room.{number}" for number in range(count)]
    for peer, name in itertools.product(rig.connect(others), names):
        peer.ws.subscribe(name)
    [peer] = rig.connect()
    ws = peer.ws

    def run() -> None:
        for name in names:
            ws.subscribe(name)
        for name in names:
            ws.unsubscribe(name)

    return Work(run, count)
