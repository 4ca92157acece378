"""Messages of JSON records: each another one, compared byte by byte all the same."""

from __future__ import annotations

import zlib

import pytest

from fastws.load import LoadError
from tests.load.conftest import short
from tests.load.opponent import (
    Peer,
    Start,
    accepted,
    broadcast,
    deflated,
    inflated,
    takes_deflate,
)

DIGITS = 16
PROBE = b"f" * 8  # where the sender's number stands in what begins a run
TAIL = b"\x00\x00\xff\xff"


class Overheard:
    """Broadcasts, and keeps what was published, each message once."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []

    def __call__(self, peer: Peer, first: int, payload: bytes) -> None:
        if payload[8:DIGITS] != PROBE:
            self.payloads.append(payload)
        broadcast(peer, first, payload)


def overheard(opponent: Start, size: int, depth: int = 16) -> list[bytes]:
    behaviour = Overheard()
    server = opponent(behaviour)
    short(server.url("/f"), mode="fanout", content="records", size=size, depth=depth)
    return behaviour.payloads


@pytest.mark.parametrize("depth", [1, 16, 100])
@pytest.mark.parametrize("size", [16, 24, 137, 1024, 70_000])
def test_every_message_is_another_and_is_recognised(
    opponent: Start, size: int, depth: int
) -> None:
    payloads = overheard(opponent, size, depth)
    assert len(payloads) >= depth
    assert {len(payload) for payload in payloads} == {size}
    fillers = [payload[DIGITS:] for payload in payloads[:4]]
    if size >= 137:
        assert len(set(fillers)) == len(fillers)
    assert all(b'{"event":"trade","symbol":'.startswith(one[:26]) for one in fillers)


@pytest.mark.parametrize("size", [128, 137, 1024])
def test_each_alone_gets_smaller(opponent: Start, size: int) -> None:
    payloads = overheard(opponent, size)
    packed = [deflated(payload) for payload in payloads]
    assert max(map(len, packed)) < size
    # Not as much as text that repeats itself would.
    assert sum(map(len, packed)) > 0.2 * size * len(payloads)


@pytest.mark.parametrize("bits", [12, 15])
def test_they_are_as_alike_as_a_feeds(opponent: Start, bits: int) -> None:
    payloads = overheard(opponent, 137)
    packer = zlib.compressobj(level=6, wbits=-bits, memLevel=5)
    total = sum(
        len(packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH)) - len(TAIL)
        for payload in payloads
    )
    assert 0.10 < total / (137 * len(payloads)) < 0.25


def test_several_channels_publishers_and_processes(opponent: Start) -> None:
    server = opponent(broadcast)
    result = short(
        server.url("/f/{channel}"),
        mode="fanout",
        content="records",
        connections=12,
        channels=2,
        publishers=4,
        processes=2,
        size=300,
        depth=3,
    )
    # Whatever is wrong, missing or surplus has failed the run.
    assert result.publications


@pytest.mark.parametrize("size", [137, 1024])
def test_compressed(opponent: Start, size: int) -> None:
    server = opponent(broadcast, takes_deflate)
    result = short(
        server.url("/f"), mode="fanout", content="records", size=size, deflate=True
    )
    assert result.compressed_frames == result.frames == result.operations > 0
    assert result.bytes_per_frame is not None
    assert 0.2 * size < result.bytes_per_frame < size


def test_one_context_for_everybody(opponent: Start) -> None:
    """As a cohort does it: who is there gets the same bytes."""
    packer = zlib.compressobj(wbits=-15)

    def shared(peer: Peer, first: int, payload: bytes) -> None:
        plain = inflated(payload)
        packed = packer.compress(plain) + packer.flush(zlib.Z_SYNC_FLUSH)
        for one in peer.server.peers:
            one.send(packed[:-4], rsv=4)

    def respond(request: bytes) -> bytes:
        return accepted(
            request,
            b"Sec-WebSocket-Extensions: permessage-deflate; "
            b"client_no_context_takeover\r\n",
        )

    result = short(
        opponent(shared, respond).url("/f"),
        mode="fanout",
        content="records",
        size=137,
        depth=16,
        deflate=True,
        deflate_context=True,
    )
    assert result.compressed_frames == result.frames == result.operations > 0
    assert result.bytes_per_frame is not None
    assert result.bytes_per_frame < 0.3 * 137


@pytest.mark.parametrize("is_compressed", [False, True])
def test_the_content_of_another_message_is_noticed(
    opponent: Start, is_compressed: bool
) -> None:
    first_of_all = b""

    def swapped(peer: Peer, first: int, payload: bytes) -> None:
        nonlocal first_of_all
        plain = inflated(payload) if is_compressed else payload
        if plain[8:DIGITS] != PROBE:
            first_of_all = first_of_all or plain
            plain = plain[:DIGITS] + first_of_all[DIGITS:]
        again = deflated(plain) if is_compressed else plain
        for one in peer.server.peers:
            one.send(again, rsv=4 if is_compressed else 0)

    server = opponent(swapped, takes_deflate if is_compressed else accepted)
    with pytest.raises(LoadError, match="changed, from byte"):
        short(
            server.url("/f"),
            mode="fanout",
            content="records",
            size=137,
            depth=4,
            deflate=is_compressed,
        )
