"""Compressed messages: inputs 62, 63 with the extension, and 102 to 116."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from tests.support.chunkings import chunkings, one_write
from tests.support.client import RawClient, Transcript, upgrade_request
from tests.support.deflating import OFFER, TAIL, compressed, deflated
from tests.support.frames import BINARY, CONTINUATION, TEXT, frame, text
from tests.support.inputs import (
    Input,
    check_input,
    check_leaves_well,
    check_silent_ending,
    silent_endings,
)
from tests.support.repeats import with_repeats
from tests.support.server import SANITIZED, SECRET, ServerProcess
from tests.support.stream import NumberedStream

MIB = 1 << 20
PATHS = ("/deflate", "/deflate-async")
SMALL = ("/deflate-small",)
UNRATED = ("/deflate-unrated",)
EXTENSION = "Sec-WebSocket-Extensions"
HEADERS = {EXTENSION: OFFER}

BOMB = deflated(bytes(64 * MIB))
NOISE = random.Random(7).randbytes(3000)


def one(
    number: int, name: str, data: bytes, closes: int | None, *messages: str | bytes
) -> Input:
    return Input(
        number=number,
        name=name,
        data=data,
        closes=closes,
        messages=messages,
        paths=PATHS,
        headers=HEADERS,
    )


def at(paths: tuple[str, ...], given: Input, **changes: Any) -> Input:
    return Input(**{**vars(given), "paths": paths, **changes})


def fragmented(payload: bytes, opcode: int = BINARY, *, size: int) -> bytes:
    """One compressed message in frames of so many bytes."""
    pieces = [payload[start : start + size] for start in range(0, len(payload), size)]
    last = len(pieces) - 1
    return b"".join(
        frame(CONTINUATION, piece, fin=number == last)
        if number
        else compressed(piece, opcode, fin=not last)
        for number, piece in enumerate(pieces)
    )


def reserved_bits() -> Iterator[Input]:
    for name, opcode, payload in (
        ("ping", 9, b"mark"),
        ("pong", 10, b"mark"),
        ("close", 8, b"\x03\xe8"),
    ):
        yield one(62, f"rsv1-{name}", frame(opcode, payload, rsv=4), 1002)
    start = compressed(deflated(SECRET.encode())[:4], fin=False)
    for fin in (False, True):
        data = start + frame(CONTINUATION, b"", rsv=4, fin=fin)
        yield one(63, f"rsv1-continuation-fin-{fin:d}", data, 1002)
    for rsv in (1, 2, 5, 6, 7):
        yield one(61, f"rsv-{rsv:03b}", frame(TEXT, SECRET, rsv=rsv), 1002)


def bombs() -> Iterator[Input]:
    assert len(BOMB) < 66_000
    bomb = one(102, "64-kib-to-64-mib", compressed(BOMB, BINARY), 1009)
    yield bomb
    # By the size alone, without the limit of the ratio.
    yield at(UNRATED, bomb, name="64-kib-to-64-mib-by-size")
    pieces = one(103, "in-fragments", fragmented(BOMB, size=1000), 1009)
    yield pieces
    yield at(UNRATED, pieces, name="in-fragments-by-size")
    endless = compressed(BOMB, BINARY, fin=False)
    yield one(103, "unfinished", endless, 1009)
    for name, body in (("zeros", bytes(1000)), ("noise", NOISE[:1000])):
        data = compressed(deflated(body), BINARY)
        yield at(SMALL, one(104, f"{name}-at-the-limit", data, None, body))
        data = compressed(deflated(body + b"\0"), BINARY)
        yield at(SMALL, one(104, f"{name}-over", data, 1009))
        yield at(
            SMALL,
            one(
                104,
                f"{name}-at-the-limit-in-fragments",
                fragmented(deflated(body), size=3),
                None,
                body,
            ),
        )


def corrupt() -> Iterator[Input]:
    words = deflated(SECRET.encode() * 3)
    for name, payload in (
        ("reserved-block", b"\xff\xff\xff"),
        ("reserved-last-block", b"\x07"),
        ("bad-stored-length", b"\x00\x05\x00\xfa\xfeHello\x00"),
        ("zlib-header", zlib.compress(b"Hello" * 20)),
        ("noise", NOISE),
    ):
        yield one(107, name, compressed(payload, BINARY), 1007)
    for name, payload in (
        ("text", words[:-4]),
        ("bytes", deflated(NOISE)[:-1]),
        ("stored", b"\x00\x05\x00\xfa\xffHel"),
    ):
        yield one(108, f"cut-{name}", compressed(payload, BINARY), 1007)
        halves = compressed(payload[:2], BINARY, fin=False)
        data = halves + frame(CONTINUATION, payload[2:])
        yield one(108, f"cut-{name}-in-fragments", data, 1007)


def blocks() -> Iterator[Input]:
    for name, payload in (("one-byte", b"\0"), ("no", b""), ("fixed", b"\x02\0")):
        data = compressed(payload) + compressed(deflated(b"next"))
        yield one(109, f"{name}-payload", data, None, "", "next")
    data = compressed(b"", fin=False) + frame(CONTINUATION, b"")
    yield one(109, "empty-fragments", data, None, "")
    compressor = zlib.compressobj(wbits=-15)
    ended = compressor.compress(b"Hello") + compressor.flush(zlib.Z_FINISH)
    for name, payload in (("bare", ended), ("and-a-block", ended + b"\0")):
        data = compressed(payload) + compressed(deflated(b"next"))
        yield one(110, f"last-block-{name}", data, None, "Hello", "next")
    body = b"some text, some more text, " * 40
    several = b""
    for level, strategy in ((0, zlib.Z_DEFAULT_STRATEGY), (9, zlib.Z_FIXED), (9, 0)):
        compressor = zlib.compressobj(level, wbits=-15, strategy=strategy)
        several += compressor.compress(body) + compressor.flush(zlib.Z_FULL_FLUSH)
    payload = several.removesuffix(TAIL)
    wanted = (body * 3).decode()
    yield one(111, "every-kind", compressed(payload), None, wanted)
    in_fragments = fragmented(payload, TEXT, size=7)
    yield one(111, "every-kind-in-fragments", in_fragments, None, wanted)


def windows() -> Iterator[Input]:
    far = compressed(deflated(NOISE + NOISE), BINARY)
    narrow = {EXTENSION: "permessage-deflate; client_max_window_bits=9"}
    yield at(PATHS, one(112, "too-far", far, 1007), headers=narrow)
    yield one(112, "far-enough", far, None, NOISE + NOISE)
    compressor = zlib.compressobj(wbits=-15)
    first, second = (deflated(SECRET.encode(), compressor) for _ in range(2))
    data = compressed(first) + compressed(second)
    yield one(113, "context-that-was-given-up", data, 1007, SECRET)
    yield one(113, "context-of-nobody", compressed(second), 1007)


def bad_text() -> Iterator[Input]:
    for name, body in (
        ("byte", b"fine so far \xff and on"),
        ("cut", "€".encode()[:2]),
        ("surrogate", b"\xed\xa0\x80"),
        ("last", NOISE.hex().encode() * 17 + b"\xff"),
    ):
        yield one(114, name, compressed(deflated(body)), 1007)
    unfinished = compressed(deflated(b"fine so far \xff and on"), fin=False)
    yield one(114, "before-the-end", unfinished, 1007)


INPUTS = with_repeats(
    chain(reserved_bits(), bombs(), corrupt(), blocks(), windows(), bad_text())
)


@pytest.mark.parametrize("given", INPUTS, ids=lambda given: given.id)
def test_input(server: ServerProcess, stream: NumberedStream, given: Input) -> None:
    check_input(server, stream, given)


@pytest.fixture(scope="module")
def endings(server: ServerProcess) -> dict[str, Transcript]:
    return silent_endings(server, INPUTS)


@pytest.mark.parametrize("given", INPUTS, ids=lambda given: given.id)
def test_input_of_a_peer_that_does_nothing(
    given: Input, endings: dict[str, Transcript]
) -> None:
    check_silent_ending(given, endings)


@pytest.mark.parametrize("path", UNRATED + PATHS)
def test_102_a_bomb_costs_no_more_memory_than_a_message_may(
    server: ServerProcess, path: str
) -> None:
    """At its peak: what the kernel remembers, not what is left when it is over."""
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")
    before = server.rss
    with RawClient(server.address) as client:
        client.upgrade(path, HEADERS)
        client.send(compressed(BOMB, BINARY))
        assert client.transcript().code == 1009
    status = Path(f"/proc/{server.pid}/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    assert peak - before < MIB + MIB or SANITIZED


def test_105_nothing_inflates_for_whom_the_hook_has_not_let_in(
    server: ServerProcess, stream: NumberedStream
) -> None:
    path = "/deflate-guarded"
    known = {**HEADERS, "Authorization": f"Bearer {SECRET}"}
    first = compressed(deflated(b"first"))
    bomb = compressed(BOMB, BINARY)
    ways = chunkings()
    before = server.counter("inflated_messages")
    with server.watched(records=2 * len(ways)):
        for way, chunking in ways.items():
            print(way)  # noqa: T201
            with RawClient(server.address) as client:
                client.send(upgrade_request(path, HEADERS) + first + bomb, chunking)
                assert client.read_response().status == 401
                client.wait_gone()
        assert server.counter("inflated_messages") == before
        for way, chunking in ways.items():
            print(way, "with a token")  # noqa: T201
            with RawClient(server.address) as client:
                client.send(upgrade_request(path, known) + first + bomb, chunking)
                assert client.read_response().status == 101
                found = client.transcript()
                assert (found.messages, found.code) == (["first"], 1009)
    stream.check()
    assert server.counter("inflated_messages") == before + len(ways)


@pytest.mark.parametrize("path", PATHS)
def test_106_empty_blocks_inflate_to_an_empty_message(
    server: ServerProcess, stream: NumberedStream, path: str
) -> None:
    data = compressed(b"\x00\x00\x00\xff\xff" * (MIB // 5) + b"\x00", BINARY)
    ways = chunkings()
    with server.watched(records=len(ways) + 1):
        for way, chunking in ways.items():
            print(way)  # noqa: T201
            with RawClient(server.address) as client:
                client.upgrade(path, HEADERS)
                cpu = server.cpu_seconds
                client.send(data, chunking)
                assert client.read_message() == b""
                if chunking is one_write:
                    assert server.cpu_seconds - cpu < 10 * 0.05
                check_leaves_well(client)
        with RawClient(server.address) as client:
            client.upgrade(path, HEADERS)
            client.send(text("before") + data)
            assert client.transcript(messages=2).messages == ["before", b""]
            check_leaves_well(client)
    stream.check()


@pytest.mark.parametrize("piece", [1, 5, 64])
@pytest.mark.parametrize("path", ["/deflate", "/deflate-async", "/deflate-large"])
def test_116_interleaved_messages_of_two_peers_do_not_mix(
    server: ServerProcess, stream: NumberedStream, path: str, piece: int
) -> None:
    bodies = [b"first peer " * 300, b"second peer " * 300]
    with (
        server.watched(records=2),
        RawClient(server.address) as first,
        RawClient(server.address) as second,
    ):
        clients = (first, second)
        for client in clients:
            client.upgrade(path, HEADERS)
        wires = [fragmented(deflated(body), size=3) for body in bodies]
        for start in range(0, max(map(len, wires)), piece):
            for client, wire in zip(clients, wires, strict=True):
                client.send(wire[start : start + piece])
        for client, body in zip(clients, bodies, strict=True):
            assert client.read_message() == body
            client.send(text("plain in between"))
            assert client.read_message() == "plain in between"
            check_leaves_well(client)
    stream.check()
