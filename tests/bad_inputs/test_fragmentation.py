"""Fragmented messages and UTF-8: inputs 86 to 101."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

import pytest

from tests.support.client import RawClient, Transcript
from tests.support.frames import (
    BINARY,
    CONTINUATION,
    TEXT,
    binary,
    close,
    frame,
    ping,
    pong,
    text,
)
from tests.support.inputs import (
    GONE_IN,
    Input,
    check_input,
    check_leaves_well,
    check_silent_ending,
    silent_endings,
)
from tests.support.repeats import with_repeats
from tests.support.server import SECRET, ServerProcess
from tests.support.stream import NumberedStream
from tests.support.waits import eventually

MIB = 1 << 20
DEFAULT_FRAGMENTS = MIB // 256


def bad(number: int, name: str, data: bytes, code: int = 1002) -> Input:
    return Input(number=number, name=name, data=data, closes=code)


def good(number: int, name: str, data: bytes, *messages: str | bytes) -> Input:
    return Input(number=number, name=name, data=data, closes=None, messages=messages)


def fragmented(opcode: int, *pieces: bytes, fin: bool = True) -> bytes:
    """One message in as many frames as there are pieces."""
    last = len(pieces) - 1
    return b"".join(
        frame(opcode if at == 0 else CONTINUATION, piece, fin=fin and at == last)
        for at, piece in enumerate(pieces)
    )


def sequences() -> Iterator[Input]:
    for fin in (False, True):
        yield bad(86, f"lone-continuation-{fin:d}", frame(0, SECRET, fin=fin))
        after = fragmented(TEXT, b"whole", b"") + frame(0, SECRET, fin=fin)
        yield Input(
            number=86,
            name=f"continuation-after-the-end-{fin:d}",
            data=after,
            closes=1002,
            messages=("whole",),
        )
    start = frame(TEXT, SECRET, fin=False)
    for name, opcode in (("text", TEXT), ("binary", BINARY)):
        for fin in (False, True):
            data = start + frame(opcode, "new", fin=fin)
            yield bad(87, f"new-{name}-inside-{fin:d}", data)


def many_fragments() -> Iterator[Input]:
    for name, piece in (("1-byte", b"x"), ("empty", b"")):
        number = 88 if piece else 89
        whole = fragmented(BINARY, *[piece] * 16)
        yield Input(
            number=number,
            name=f"16-{name}-fragments",
            data=whole,
            closes=None,
            messages=(piece * 16,),
            paths=("/fragments",),
        )
        yield Input(
            number=number,
            name=f"17-{name}-fragments",
            data=fragmented(BINARY, *[piece] * 17, fin=False),
            closes=1008,
            paths=("/fragments",),
        )


def interleaved() -> Iterator[Input]:
    data = (
        frame(TEXT, "a", fin=False)
        + ping(b"one")
        + pong(b"unsolicited")
        + frame(CONTINUATION, "b", fin=False)
        + ping(b"two")
        + frame(CONTINUATION, "c")
    )
    yield Input(
        number=90,
        name="pings-and-pongs-inside",
        data=data,
        closes=None,
        messages=("abc",),
        pongs=(b"one", b"two"),
    )


BAD_TEXT = {
    93: {"lone-80": b"\x80", "lone-bf": b"\xbf", "two-continuations": b"a\x80\xbf"},
    94: {
        "overlong-2-slash": b"\xc0\xaf",
        "overlong-3-slash": b"\xe0\x80\xaf",
        "overlong-4-slash": b"\xf0\x80\x80\xaf",
        "overlong-nul-2": b"\xc0\x80",
        "overlong-nul-3": b"\xe0\x80\x80",
        "overlong-c1": b"\xc1\xbf",
        "overlong-3-max": b"\xe0\x9f\xbf",
        "overlong-4-max": b"\xf0\x8f\xbf\xbf",
    },
    95: {
        "high-surrogate": b"\xed\xa0\x80",
        "low-surrogate": b"\xed\xbf\xbf",
        "surrogate-pair": b"\xed\xa0\x80\xed\xb0\x80",
    },
    96: {
        "above-10ffff": b"\xf4\x90\x80\x80",
        "f5": b"\xf5\x80\x80\x80",
        "f8": b"\xf8\x88\x80\x80\x80",
        "fc": b"\xfc\x84\x80\x80\x80\x80",
        "fe": b"\xfe",
        "ff": b"\xff",
    },
    97: {
        "truncated-2": b"\xc3",
        "truncated-3": b"\xe2\x82",
        "truncated-4": b"\xf0\x9f\x98",
        "truncated-before-ascii": b"\xe2\x82a",
    },
}


def bad_text() -> Iterator[Input]:
    for number, pieces in BAD_TEXT.items():
        for name, piece in pieces.items():
            # Alone and behind enough ASCII to be in a fast path, ahead of more.
            yield bad(number, name, text(piece), 1007)
            long = b"x" * 70 + piece
            yield bad(number, f"{name}-behind-ascii", text(long), 1007)
            if number != 97:
                yield bad(number, f"{name}-inside", text(long + b"y" * 70), 1007)
            last = fragmented(TEXT, b"start", piece)
            yield bad(number, f"{name}-last-fragment", last, 1007)


SAMPLES = [
    "é",
    "€",
    "😀",
    "Grüße aus 北京 😀!",
    "\u07ff\u0800\uffff\U00010000\U0010ffff",
]


def good_text() -> Iterator[Input]:
    for sample in SAMPLES:
        data = sample.encode()
        every_split = b"".join(
            fragmented(TEXT, data[:at], data[at:]) for at in range(len(data) + 1)
        )
        name = "-".join(f"{ord(letter):x}" for letter in sample[:3])
        messages = (sample,) * (len(data) + 1)
        yield good(98, f"split-everywhere-{name}", every_split, *messages)
        single = fragmented(TEXT, *(data[at : at + 1] for at in range(len(data))))
        yield good(98, f"byte-fragments-{name}", single, sample)
    for name, sample in (
        ("nul", "\0"),
        ("nuls-inside", "a\0\0b"),
        ("bom", "\ufeff"),
        ("bom-ahead", "\ufeffabc"),
        ("fffe", "\ufffe"),
        ("ffff", "\uffff"),
        ("1fffe", "\U0001fffe"),
        ("10ffff", "\U0010ffff"),
        ("fdd0", "\ufdd0\ufdef"),
        ("replacement", "\ufffd"),
    ):
        yield good(100, name, text(sample), sample)


def unfinished_text() -> Iterator[Input]:
    """Bad bytes whose message never ends: the answer must not wait for the FIN."""
    start = frame(TEXT, b"fine", fin=False)
    yield bad(99, "second-fragment", start + frame(0, b"a\xffb", fin=False), 1007)
    # A sequence that no continuation can repair is known at its second byte.
    yield bad(99, "impossible-start", start + frame(0, b"\xf4\x90", fin=False), 1007)
    split = frame(TEXT, b"a\xed", fin=False) + frame(0, b"\xa0", fin=False)
    yield bad(99, "across-fragments", split, 1007)
    half = frame(TEXT, b"a\xff" + b"x" * 500)[:-250]
    yield bad(99, "first-half-of-a-frame", half, 1007)
    long = frame(TEXT, b"x" * 70_000 + b"\x80" + b"x" * 70_000)[:-60_000]
    yield bad(99, "first-half-of-a-long-frame", long, 1007)


def long_bad_text() -> Iterator[Input]:
    for name, start in (("ascii", b"x" * (MIB - 1)), ("euro", "€".encode() * 349_525)):
        yield Input(
            number=101,
            name=f"1-MiB-of-{name}-and-a-bad-byte",
            data=text(start + b"\xff" * (MIB - len(start))),
            closes=1007,
            times=0,
        )


INPUTS = with_repeats(
    chain(
        sequences(),
        many_fragments(),
        interleaved(),
        bad_text(),
        good_text(),
        unfinished_text(),
        long_bad_text(),
    )
)


@pytest.fixture(scope="module")
def endings(server: ServerProcess) -> dict[str, Transcript]:
    return silent_endings(server, INPUTS)


@pytest.mark.parametrize("one", INPUTS, ids=lambda one: one.id)
def test_fragmentation(
    server: ServerProcess,
    stream: NumberedStream,
    endings: dict[str, Transcript],
    one: Input,
) -> None:
    check_input(server, stream, one)
    check_silent_ending(one, endings)


@pytest.mark.parametrize(
    ("number", "piece"), [(88, b"x"), (89, b"")], ids=["88-1-byte", "89-empty"]
)
def test_endless_fragments(
    server: ServerProcess, stream: NumberedStream, number: int, piece: bytes
) -> None:
    """1008 at the default limit, and at most 2 MiB for it."""
    rss = server.rss
    endless = frame(BINARY, piece, fin=False) + frame(0, piece, fin=False) * 1_000_000
    with server.watched(), RawClient(server.address) as client:
        client.upgrade()
        client.send(endless)
        found = client.transcript()
        assert found.code == 1008, (number, found)
    server.check_memory(rss, 2 * MIB)
    stream.check()


def test_88_the_default_number_of_fragments_passes(server: ServerProcess) -> None:
    with RawClient(server.address) as client:
        client.upgrade()
        client.send(fragmented(BINARY, *[b"x"] * DEFAULT_FRAGMENTS))
        assert client.read_message() == b"x" * DEFAULT_FRAGMENTS
        client.send(fragmented(BINARY, *[b"x"] * (DEFAULT_FRAGMENTS + 1), fin=False))
        assert client.transcript().code == 1008


def test_90_the_pong_comes_before_the_message_ends(server: ServerProcess) -> None:
    with RawClient(server.address) as client:
        client.upgrade()
        client.send(frame(TEXT, "a", fin=False) + ping(b"now"))
        found = client.transcript(pongs=1)
        assert found.order == ["pong"]
        client.send(frame(CONTINUATION, "b"))
        assert client.read_message() == "ab"
        check_leaves_well(client)


def test_91_first_fragment_then_silence(
    frozen: ServerProcess, frozen_stream: NumberedStream
) -> None:
    """The deadline is the message's, and no frame in between prolongs it."""
    with frozen.watched(), RawClient(frozen.address) as client:
        client.upgrade()
        client.send(frame(TEXT, "start", fin=False) + ping(b"there?"))
        assert client.transcript(pongs=1).pongs == [b"there?"]
        for _ in range(5):
            frozen.advance(5.9)
            client.send(frame(CONTINUATION, "more", fin=False) + ping(b"there?"))
            assert client.transcript(pongs=1).pongs == [b"there?"]
        frozen.advance(0.8)
        found = client.transcript()
        assert found.code in (None, 1008)
        assert found.gone
    frozen_stream.check()


def test_92_4_MiB_in_64_byte_fragments(  # noqa: N802
    server: ServerProcess, stream: NumberedStream
) -> None:
    """With the limit raised it is delivered, in linear time."""

    def message(size: int) -> bytes:
        return fragmented(BINARY, *[b"0123456789abcdef" * 4] * (size // 64))

    def cost(data: bytes, size: int, path: str) -> float:
        with RawClient(server.address) as client:
            client.upgrade(path)
            before = server.cpu_seconds
            client.send(data)
            assert client.read_message() == b"0123456789abcdef" * (size // 16)
            spent = server.cpu_seconds - before
            check_leaves_well(client)
            return spent

    quarter, whole = message(MIB // 4), message(MIB)

    def linear() -> bool:
        single = min(cost(quarter, MIB // 4, "/large") for _ in range(3))
        return min(cost(whole, MIB, "/large") for _ in range(3)) < 8 * single

    with server.watched(records=32):
        for path in ("/large", "/large-async"):
            cost(message(4 * MIB), 4 * MIB, path)
        # Quadratic would be 16. In larger messages fresh pages and cold caches cost
        # more than the fragments.
        assert any(linear() for _ in range(5))
    stream.check()


def wait_until_read(
    server: ServerProcess, send: Callable[[bytes], object], data: bytes
) -> None:
    """Send, and see that the server has taken it out of the kernel."""
    wanted = server.counter("bytes_received") + len(data)
    send(data)
    eventually(lambda: server.counter("bytes_received") >= wanted)


def test_98_a_sequence_split_over_segments(server: ServerProcess) -> None:
    """Cut between any two bytes of a frame, each half in a segment of its own."""
    sample = "aé€😀b"
    data = text(sample)
    with RawClient(server.address) as client:
        client.upgrade()
        for at in range(1, len(data)):
            wait_until_read(server, client.send, data[:at])
            client.send(data[at:])
            assert client.read_message() == sample
        check_leaves_well(client)


def test_99_the_close_frame_comes_before_fin(server: ServerProcess) -> None:
    """Nor is the rest of the message waited for, whose deadline is 30 s."""
    with RawClient(server.address) as client:
        client.upgrade()
        client.send(frame(TEXT, b"a\xff", fin=False))
        assert client.read_frame().close_code == 1007
        client.send(close(1007))
        client.wait_gone(GONE_IN)


def test_101_the_handler_sees_nothing(server: ServerProcess) -> None:
    before = server.count("messages")
    with RawClient(server.address) as client:
        client.upgrade()
        client.send(text(b"x" * (MIB - 1) + b"\xff"))
        assert client.transcript().code == 1007
    assert server.count("messages") == before


def test_101_binary_may_hold_anything(server: ServerProcess) -> None:
    payload = bytes(range(256)) * 16
    with RawClient(server.address) as client:
        client.upgrade()
        client.send(binary(payload))
        assert client.read_message() == payload
        check_leaves_well(client)
