"""The parser by itself: against a naive one, in every chunking."""

from __future__ import annotations

import random
import struct
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame as WebsocketsFrame
from websockets.frames import Opcode as WebsocketsOpcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from fastws.engine.parser import Parser
from tests.support.chunkings import byte_by_byte, random_splits
from tests.support.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    KEY,
    PING,
    PONG,
    TEXT,
    binary,
    close,
    frame,
    masked,
    ping,
    pong,
    text,
)
from tests.support.seeds import fresh_seed

MIB = 1 << 20

Event = tuple[Any, ...]


# The oracle


class Fault(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Oracle:
    """RFC 6455 section 5 as one reads it, on all bytes at once, slowly.

    Gives the parser's events; an error is ``("error", code)`` alone.
    """

    def __init__(self, client: bool, max_message: int, max_fragments: int) -> None:
        self.client = client
        self.max_message = max_message
        self.max_fragments = max_fragments
        self.events: list[Event] = []
        self.opcode: int | None = None
        self.parts: list[bytes] = []

    def read(self, data: bytes) -> list[Event]:
        try:
            while data and (not self.events or self.events[-1][0] != "close"):
                data = self.read_frame(data)
        except Fault as fault:
            self.events.append(("error", fault.code))
        except EOFError:
            return self.events
        return self.events

    def need(self, data: bytes, size: int) -> None:
        if len(data) < size:
            raise EOFError

    def read_frame(self, data: bytes) -> bytes:
        first = data[0]
        if first & 0x70:
            raise Fault(1002)
        self.check_opcode(first & 0x0F, bool(first & 0x80))
        self.need(data, 2)
        if bool(data[1] & 0x80) is self.client:
            raise Fault(1002)
        size, start = self.length(data, first & 0x0F)
        opcode, fin = first & 0x0F, bool(first & 0x80)
        self.check_place(opcode, size)
        key = bytes(4)
        if not self.client:
            self.need(data, start + 4)
            key, start = data[start : start + 4], start + 4
        payload = masked(data[start : start + size], key)
        if opcode < CLOSE:
            self.take_data(payload, len(payload) == size and fin)
        if len(payload) < size:
            raise EOFError
        if opcode >= CLOSE:
            self.take_control(opcode, payload)
        return data[start + size :]

    def check_opcode(self, opcode: int, fin: bool) -> None:
        if opcode in (3, 4, 5, 6, 7) or opcode > PONG:
            raise Fault(1002)
        if opcode >= CLOSE and not fin:
            raise Fault(1002)
        # Known from the first byte alone, so that is when it is said.
        if opcode < CLOSE and (opcode == CONTINUATION) is (self.opcode is None):
            raise Fault(1002)

    def length(self, data: bytes, opcode: int) -> tuple[int, int]:
        size = data[1] & 0x7F
        if opcode >= CLOSE and size > 125:
            raise Fault(1002)
        if size == 126:
            self.need(data, 4)
            (size,) = struct.unpack_from("!H", data, 2)
            if size < 126:
                raise Fault(1002)
            return size, 4
        if size == 127:
            self.need(data, 10)
            (size,) = struct.unpack_from("!Q", data, 2)
            if size < 65_536 or size >= 1 << 63:
                raise Fault(1002)
            return size, 10
        return size, 2

    def check_place(self, opcode: int, size: int) -> None:
        if opcode >= CLOSE:
            return
        if sum(map(len, self.parts)) + size > self.max_message:
            raise Fault(1009)
        if self.opcode is None:
            self.opcode = opcode
        if len(self.parts) + 1 > self.max_fragments:
            raise Fault(1008)

    def take_data(self, payload: bytes, complete: bool) -> None:
        self.parts.append(payload)
        data = b"".join(self.parts)
        if self.opcode == TEXT:
            self.check_text(data, complete)
        if complete:
            is_text = self.opcode == TEXT
            self.events.append(("message", data.decode() if is_text else data))
            self.opcode = None
            self.parts = []

    def check_text(self, data: bytes, complete: bool) -> None:
        try:
            data.decode()
        except UnicodeDecodeError as error:
            # Only what the next bytes could complete may stay.
            unfinished = error.reason == "unexpected end of data"
            if complete or not unfinished:
                raise Fault(1007) from None

    def take_control(self, opcode: int, payload: bytes) -> None:
        if opcode != CLOSE:
            self.events.append(("ping" if opcode == PING else "pong", payload))
            return
        if len(payload) == 1:
            raise Fault(1002)
        code = int.from_bytes(payload[:2], "big") if payload else 1005
        right = code in range(1000, 1004) or code in range(1007, 1015)
        if payload and not (right or code in range(3000, 5000)):
            raise Fault(1002)
        try:
            reason = payload[2:].decode()
        except UnicodeDecodeError:
            raise Fault(1007) from None
        self.events.append(("close", code, reason))


def feed(parser: Parser, data: bytes, chunking: Any = None) -> list[Event]:
    pieces = [data] if chunking is None else chunking(data)
    return [event for piece in pieces for event in parser.feed(piece)]


def plain(events: list[Event]) -> list[Event]:
    """Without the name of an error, which the oracle does not know."""
    return [event[:2] if event[0] == "error" else event for event in events]


def check_against_oracle(data: bytes, seed: int, *, client: bool = False) -> None:
    limits: dict[str, Any] = {"max_message": 2000, "max_fragments": 6}
    wanted = Oracle(client, **limits).read(data)
    for chunking in (None, byte_by_byte, random_splits(seed)):
        parser = Parser(client=client, **limits)
        assert plain(feed(parser, data, chunking)) == wanted


# Random frames, most of them right, so that the wrong one comes late

TEXTS = st.one_of(
    st.text(max_size=40).map(str.encode),
    st.binary(max_size=12),
    st.text(alphabet="aé€😀", max_size=300).map(str.encode),
    st.builds(lambda size: b"x" * size, st.integers(0, 2100)),
)
CLOSES = st.builds(
    lambda code, reason: struct.pack("!H", code) + reason,
    st.one_of(st.integers(990, 1020), st.integers(2990, 5010)),
    st.one_of(st.text(max_size=20).map(str.encode), st.binary(max_size=5)),
)


@st.composite
def frames(draw: st.DrawFn, client: bool = False) -> bytes:
    """A frame for a parser of this role."""
    rare = st.integers(0, 60).map(lambda number: number == 0)
    opcode = draw(
        st.sampled_from(
            [TEXT, BINARY, CONTINUATION] * 4 + [PING, PONG] * 2 + [CLOSE, 3, 7, 0xB]
        )
    )
    fin = draw(st.booleans()) or (opcode >= CLOSE and not draw(rare))
    payload = draw(CLOSES if opcode == CLOSE else TEXTS)
    if opcode >= CLOSE and not draw(rare):
        payload = payload[:125]
    key = None if client else draw(st.binary(min_size=4, max_size=4))
    if draw(rare):
        key = KEY if client else None
    length = draw(st.sampled_from([1 << 16, 1 << 40, 1 << 63, (1 << 64) - 1]))
    claimed = length if draw(rare) else None
    size = len(payload) if claimed is None else claimed
    forms = [
        form for form, top in ((7, 125), (16, 65_535), (64, 1 << 64)) if size <= top
    ]
    form = forms[-1] if draw(rare) else forms[0]
    rsv = draw(st.integers(1, 7)) if draw(rare) else 0
    return frame(opcode, payload, fin=fin, rsv=rsv, key=key, length=claimed, form=form)


SEEDS = st.integers(0, 1 << 32)


@settings(max_examples=400, deadline=None)
@given(st.lists(frames(), max_size=12).map(b"".join), SEEDS)
def test_server_role_equals_the_oracle(data: bytes, seed: int) -> None:
    check_against_oracle(data, seed)


@settings(max_examples=150, deadline=None)
@given(st.lists(frames(client=True), max_size=12).map(b"".join), SEEDS)
def test_client_role_equals_the_oracle(data: bytes, seed: int) -> None:
    check_against_oracle(data, seed, client=True)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), SEEDS)
def test_noise_equals_the_oracle(data: bytes, seed: int) -> None:
    check_against_oracle(data, seed)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=80),
    st.lists(st.integers(0, 80), max_size=6),
    st.binary(min_size=4, max_size=4),
    SEEDS,
)
def test_text_equals_the_oracle(
    data: bytes, cuts: list[int], key: bytes, seed: int
) -> None:
    """Bytes as a text message in up to six fragments, right or wrong UTF-8."""
    ends = [0, *sorted(min(cut, len(data)) for cut in cuts)]
    pieces = [data[start:end] for start, end in pairwise([*ends, len(data)])][:6]
    stream = b"".join(
        frame(
            TEXT if at == 0 else CONTINUATION,
            piece,
            fin=at == len(pieces) - 1,
            key=key,
        )
        for at, piece in enumerate(pieces)
    )
    check_against_oracle(stream, seed)


def test_many_random_streams_equal_the_oracle() -> None:
    """Without Hypothesis: longer streams, thousands of messages, a printed seed."""
    chooser = random.Random(fresh_seed())
    for _ in range(300):
        pieces: list[bytes] = []
        for _ in range(chooser.randint(1, 60)):
            kind = chooser.choice((text, binary, ping, pong))
            size = chooser.choice((0, 1, 3, 7, 125, 125))
            size += chooser.choice((0, 0, 1, 1800)) if kind in (text, binary) else 0
            letters = chooser.choice(("a", "aé", "€😀x"))
            made = "".join(chooser.choices(letters, k=size)).encode()[:size]
            pieces.append(kind(made.decode(errors="ignore").encode()))
        if chooser.random() < 0.3:
            at = chooser.randrange(len(pieces))
            damaged = bytearray(pieces[at])
            damaged[chooser.randrange(len(damaged))] ^= 1 << chooser.randrange(8)
            pieces[at] = bytes(damaged)
        check_against_oracle(b"".join(pieces), chooser.getrandbits(32))


# Against websockets: another program's opinion of what is right


def opinion_of_websockets(data: bytes, client: bool) -> list[Event]:
    """The frames that websockets makes of the bytes, and its close code if it fails."""
    protocol: ServerProtocol | ClientProtocol
    if client:
        uri = parse_uri("ws://testee.example/")
        protocol = ClientProtocol(uri, state=State.OPEN, max_size=2000)
    else:
        protocol = ServerProtocol(state=State.OPEN, max_size=2000)
    protocol.receive_data(data)
    found: list[Event] = []
    for event in protocol.events_received():
        assert isinstance(event, WebsocketsFrame)
        found.append((int(event.opcode), bytes(event.data), event.fin))
    if protocol.parser_exc is not None and protocol.close_sent is not None:
        found.append(("error", protocol.close_sent.code))
    return found


def as_messages(found: list[Event]) -> list[Event]:
    """Its frames put together; it leaves text and fragments to its upper layer."""
    names = {WebsocketsOpcode.PING: "ping", WebsocketsOpcode.PONG: "pong"}
    events: list[Event] = []
    parts: list[bytes] = []
    opcode = 0
    for event in found:
        if event[0] == "error":
            events.append(event)
        elif event[0] in names:
            events.append((names[event[0]], event[1]))
        elif event[0] == CLOSE:
            code = int.from_bytes(event[1][:2], "big") if event[1] else 1005
            events.append(("close", code, event[1][2:].decode()))
        else:
            opcode = event[0] or opcode
            parts.append(event[1])
            if event[2]:
                data = b"".join(parts)
                parts = []
                events.append(("message", data.decode() if opcode == TEXT else data))
    return events


@pytest.mark.parametrize("client", [False, True], ids=["server", "client"])
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_equals_websockets_on_single_faults(client: bool, data: st.DataObject) -> None:
    """Right frames, then one of any kind; texts that are right, which it leaves to
    its caller to check."""
    key = None if client else KEY
    right = st.one_of(
        st.text(max_size=400).map(lambda one: frame(TEXT, one, key=key)),
        st.binary(max_size=400).map(lambda one: frame(BINARY, one, key=key)),
        st.binary(max_size=125).map(lambda one: frame(PING, one, key=key)),
        st.binary(max_size=125).map(lambda one: frame(PONG, one, key=key)),
    )
    head = st.builds(
        lambda opcode, fin, rsv, size, is_masked: frame(
            opcode,
            b"x" * size,
            fin=fin,
            rsv=rsv,
            key=KEY if is_masked else None,
        ),
        st.integers(0, 15).filter(lambda opcode: opcode != CLOSE),
        st.booleans(),
        st.sampled_from([0, 0, 0, 1, 2, 4]),
        # Of two faults in one header it may name the other one.
        st.sampled_from([0, 1, 125, 126, 1999, 2000]),
        st.sampled_from([not client, not client, client]),
    )
    too_big = st.builds(
        lambda opcode, fin: frame(opcode, b"x" * 2001, fin=fin, key=key),
        st.sampled_from([TEXT, BINARY]),
        st.booleans(),
    )
    last = data.draw(st.one_of(head, head, too_big))
    stream = b"".join(data.draw(st.lists(right, max_size=5))) + last
    parser = Parser(client=client, max_message=2000, max_fragments=None)
    wanted = as_messages(opinion_of_websockets(stream, client))
    assert plain(parser.feed(stream)) == wanted


# By hand


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (frame(TEXT, "a", key=None), ("error", 1002, "bad_mask")),
        (frame(TEXT, "a", rsv=4), ("error", 1002, "reserved_bits")),
        (frame(3), ("error", 1002, "reserved_opcode")),
        (frame(BINARY, length=1 << 63), ("error", 1002, "bad_length")),
        (frame(BINARY, b"a", form=16), ("error", 1002, "bad_length")),
        (frame(PING, b"p" * 126), ("error", 1002, "bad_control_frame")),
        (frame(PING, fin=False), ("error", 1002, "bad_control_frame")),
        (frame(0), ("error", 1002, "unexpected_continuation")),
        (frame(TEXT, fin=False) + text("b"), ("error", 1002, "unfinished_message")),
        (frame(CLOSE, b"\x03"), ("error", 1002, "bad_close_frame")),
        (close(1005), ("error", 1002, "bad_close_code")),
        (text(b"\xff"), ("error", 1007, "invalid_utf8")),
        (frame(BINARY, length=2001), ("error", 1009, "message_too_big")),
        (
            frame(BINARY, fin=False) + frame(0, fin=False) * 6,
            ("error", 1008, "too_many_fragments"),
        ),
        (close(), ("close", 1005, "")),
        (close(4000, "é"), ("close", 4000, "é")),
        (text("é"), ("message", "é")),
        (binary(b"\0"), ("message", b"\0")),
        (ping(b"a"), ("ping", b"a")),
        (pong(), ("pong", b"")),
    ],
)
def test_each_event(data: bytes, wanted: Event) -> None:
    for chunking in (None, byte_by_byte):
        parser = Parser(max_message=2000, max_fragments=6)
        assert feed(parser, data, chunking) == [wanted]
        assert parser.idle is (wanted[0] not in ("close", "error"))


def test_everything_after_the_end_is_ignored() -> None:
    for end in (close(1000), frame(3)):
        parser = Parser()
        assert len(parser.feed(end + text("late"))) == 1
        assert parser.feed(text("later") + b"\xff" * 100) == []
        assert parser.buffered == 0


def test_what_came_before_an_error_is_delivered() -> None:
    parser = Parser()
    events = parser.feed(text("a") + ping(b"b") + binary(b"c") + frame(3))
    assert events[:-1] == [("message", "a"), ("ping", b"b"), ("message", b"c")]


def test_no_limits() -> None:
    parser = Parser(max_message=None, max_fragments=None)
    assert parser.feed(frame(BINARY, b"start", length=(1 << 63) - 1)) == []
    assert parser.buffered <= 65_536 + 5


@pytest.mark.parametrize("size", [1, 1000, 65_535, 65_536, 200_000, MIB])
def test_memory_is_what_has_arrived_and_64_kib(size: int) -> None:
    parser = Parser(max_message=MIB)
    data = binary(bytes(size))
    arrived = 0
    for at in range(0, len(data) - 1, 1021):
        piece = data[at : min(at + 1021, len(data) - 1)]
        assert parser.feed(piece) == []
        arrived += len(piece)
        assert parser.buffered <= min(size, arrived + max(65_536, arrived // 2))
    (event,) = parser.feed(data[arrived:])
    assert event == ("message", bytes(size))
    assert parser.buffered == 0


def test_small_fragments_get_little_memory() -> None:
    parser = Parser(max_message=MIB)
    parser.feed(frame(TEXT, "a", fin=False))
    assert parser.buffered <= 4096
    parser.feed(frame(CONTINUATION, "b", fin=False) * 100)
    assert parser.buffered <= 4096


@pytest.mark.unsanitized
@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["text", "binary"])
@pytest.mark.parametrize("cut", [1, 7, 64, 512], ids="pieces-of-{}".format)
def test_time_is_linear(opcode: int, cut: int) -> None:
    """Twice the size costs about twice as much, the best of some tries; were it
    quadratic, it would cost four times as much."""

    def cost(size: int) -> float:
        data = frame(opcode, "é".encode() * (size // 2))
        pieces = [data[at : at + cut] for at in range(0, len(data), cut)]
        parser = Parser(max_message=None)
        start = time.thread_time()
        for piece in pieces:
            parser.feed(piece)
        spent = time.thread_time() - start
        assert parser.idle
        return spent

    # Small enough for memory that the allocator keeps: page faults are not ours.
    size = 196_608

    def linear() -> bool:
        single = min(cost(size) for _ in range(9))
        return min(cost(2 * size) for _ in range(9)) < 3 * single

    assert any(linear() for _ in range(5))
