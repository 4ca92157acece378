"""Frames that are wrong, and those at the border that are right: inputs 57 to 85."""

from __future__ import annotations

import random
import ssl
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, cycle, islice

import pytest

from tests.support.chunkings import byte_by_byte
from tests.support.client import (
    RawClient,
    Transcript,
    check_accepted,
    upgrade_request,
)
from tests.support.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
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
from tests.support.repeats import repeat, with_repeats
from tests.support.seeds import fresh_seed
from tests.support.server import SECRET, ServerProcess
from tests.support.stream import NumberedStream
from tests.support.waits import eventually

MIB = 1 << 20
KINDS = {
    "continuation": CONTINUATION,
    "text": TEXT,
    "binary": BINARY,
    "close": CLOSE,
    "ping": PING,
    "pong": PONG,
}


def bad(number: int, name: str, data: bytes, code: int = 1002) -> Input:
    return Input(number=number, name=name, data=data, closes=code)


def good(number: int, name: str, data: bytes, *messages: str | bytes) -> Input:
    return Input(number=number, name=name, data=data, closes=None, messages=messages)


def masks() -> Iterator[Input]:
    for kind in ("text", "binary"):
        data = frame(KINDS[kind], SECRET, key=None)
        yield bad(57, f"unmasked-{kind}", data)
        yield bad(57, f"unmasked-empty-{kind}", frame(KINDS[kind], key=None))
    for kind in ("ping", "pong"):
        yield bad(58, f"unmasked-{kind}", frame(KINDS[kind], SECRET, key=None))
    data = frame(CLOSE, b"\x03\xe8", key=None)
    yield bad(58, "unmasked-close", data)
    yield bad(58, "unmasked-empty-close", frame(CLOSE, key=None))
    zeros = bytes(4)
    yield good(59, "zero-mask-text", frame(TEXT, "Grüße", key=zeros), "Grüße")
    yield good(59, "zero-mask-binary", frame(BINARY, b"\0\1", key=zeros), b"\0\1")


def reserved_bits() -> Iterator[Input]:
    for kind in ("text", "binary"):
        yield bad(60, f"rsv1-{kind}", frame(KINDS[kind], SECRET, rsv=4))
    for rsv in (1, 2, 3, 5, 6, 7):
        for kind in ("text", "binary", "ping"):
            data = frame(KINDS[kind], SECRET, rsv=rsv)
            yield bad(61, f"rsv-{rsv:03b}-{kind}", data)
    for kind in ("ping", "pong", "close"):
        payload = b"\x03\xe8" if kind == "close" else b"mark"
        yield bad(62, f"rsv1-{kind}", frame(KINDS[kind], payload, rsv=4))
    for fin in (False, True):
        start = frame(TEXT, SECRET, fin=False)
        data = start + frame(CONTINUATION, "end", rsv=4, fin=fin)
        yield bad(63, f"rsv1-continuation-fin-{fin:d}", data)


def opcodes() -> Iterator[Input]:
    for opcode in range(0x3, 0x8):
        yield bad(64, f"opcode-{opcode:x}", frame(opcode, SECRET))
        yield bad(64, f"opcode-{opcode:x}-empty", frame(opcode))
    for opcode in range(0xB, 0x10):
        yield bad(65, f"opcode-{opcode:x}", frame(opcode, SECRET))
        yield bad(65, f"opcode-{opcode:x}-empty", frame(opcode))


def lengths() -> Iterator[Input]:
    for size in (0x8000_0000_0000_0001, 0xFFFF_FFFF_FFFF_FFFF):
        data = frame(BINARY, b"start", length=size)
        yield bad(66, f"length-{size:#x}", data)
    data = frame(BINARY, b"start", length=(1 << 63) - 1)
    yield bad(67, "length-2^63-1", data, 1009)
    for name, size in (
        ("2^31-1", (1 << 31) - 1),
        ("2^31", 1 << 31),
        ("2^32", 1 << 32),
        ("2^53", 1 << 53),
    ):
        yield bad(68, f"length-{name}", frame(TEXT, b"start", length=size), 1009)
    for size in (0, 1, 125):
        payload = b"x" * size
        yield bad(70, f"16-bit-form-of-{size}", frame(BINARY, payload, form=16))
    for size in (0, 125, 126, 65_535):
        payload = b"x" * size
        yield bad(71, f"64-bit-form-of-{size}", frame(BINARY, payload, form=64))


def limits() -> Iterator[Input]:
    small = ("/small",)
    exact, over = "x" * 1000, "x" * 1001
    yield Input(
        number=69,
        name="at-the-limit",
        data=text(exact),
        closes=None,
        messages=(exact,),
        paths=small,
    )
    yield Input(number=69, name="over", data=text(over), closes=1009, paths=small)
    # Nothing of the payload: the header alone is enough.
    header = frame(BINARY, length=1001)
    yield Input(number=69, name="over-header", data=header, closes=1009, paths=small)
    whole = bytes(range(256)) * (MIB // 256)
    yield Input(
        number=69,
        name="at-1-MiB",
        data=binary(whole),
        closes=None,
        messages=(whole,),
        times=0,
    )
    yield bad(69, "over-1-MiB", frame(BINARY, b"start", length=MIB + 1), 1009)
    pieces = [frame(TEXT, "x" * 400, fin=False)]
    pieces += [frame(CONTINUATION, "x" * 400, fin=False)]
    crossing = frame(CONTINUATION, length=201)
    yield Input(
        number=74,
        name="sum-over-the-limit",
        data=b"".join(pieces) + crossing,
        closes=1009,
        paths=small,
    )
    start = frame(BINARY, b"x", fin=False)
    data = start + frame(CONTINUATION, b"start", length=(1 << 63) - 1)
    yield bad(75, "fragment-then-2^63-1", data, 1009)
    data = start + frame(CONTINUATION, b"start", length=0xFFFF_FFFF_FFFF_FFFF)
    yield bad(75, "fragment-then-2^64-1", data)


def control_frames() -> Iterator[Input]:
    longest = b"p" * 125
    yield Input(
        number=76, name="ping-125", data=ping(longest), closes=None, pongs=(longest,)
    )
    for kind in ("ping", "pong"):
        data = frame(KINDS[kind], b"p" * 126)
        yield bad(76, f"{kind}-126", data)
        yield bad(76, f"{kind}-126-header", frame(KINDS[kind], length=126))
        yield bad(76, f"{kind}-64-bit", frame(KINDS[kind], b"p" * 70_000))
    for kind in ("ping", "pong", "close"):
        payload = b"\x03\xe8" if kind == "close" else b"mark"
        yield bad(77, f"fragmented-{kind}", frame(KINDS[kind], payload, fin=False))
    for name, after in (
        ("text", text(SECRET)),
        ("ping", ping(b"late")),
        ("close", close(1001)),
        ("unmasked", frame(TEXT, SECRET, key=None)),
        ("noise", b"\xff" * 64),
    ):
        yield bad(78, f"{name}-after-close", close(1000) + after, 1000)


def other_protocols() -> Iterator[Input]:
    yield Input(
        number=79,
        name="binary-where-text-is-spoken",
        data=binary(SECRET.encode()),
        closes=1003,
        paths=("/json",),
        silent=False,
    )
    request = f"GET / HTTP/1.1\r\nHost: {SECRET}\r\n\r\n".encode()
    yield bad(80, "http-after-the-upgrade", request)


INPUTS = with_repeats(
    chain(
        masks(),
        reserved_bits(),
        opcodes(),
        lengths(),
        limits(),
        control_frames(),
        other_protocols(),
    )
)


@pytest.fixture(scope="module")
def endings(server: ServerProcess) -> dict[str, Transcript]:
    return silent_endings(server, INPUTS)


@pytest.mark.parametrize("one", INPUTS, ids=lambda one: one.id)
def test_frame(
    server: ServerProcess,
    stream: NumberedStream,
    endings: dict[str, Transcript],
    one: Input,
) -> None:
    check_input(server, stream, one)
    check_silent_ending(one, endings)


HUGE = [one for one in INPUTS if one.number in (66, 67, 68)]


@pytest.mark.parametrize("one", HUGE, ids=lambda one: one.id)
def test_a_claimed_length_allocates_nothing(server: ServerProcess, one: Input) -> None:
    """66 to 68: a hundred such headers at once cost less than 64 KiB each."""
    clients = []
    rss = server.rss
    try:
        for _ in range(100):
            client = RawClient(server.address)
            clients.append(client)
            client.upgrade()
            client.send(one.data)
        for client in clients:
            assert client.read_frame().close_code in one.codes
        server.check_memory(rss, 100 * 65_536)
    finally:
        for client in clients:
            client.close()


def test_79_text_is_still_spoken_there(server: ServerProcess) -> None:
    with RawClient(server.address) as client:
        client.upgrade("/json")
        client.send(text("{}"))
        assert client.read_message() == "{}"
        check_leaves_well(client)


def test_78_no_handler_is_called_after_close(server: ServerProcess) -> None:
    before = server.count("messages")
    with RawClient(server.address) as client:
        client.upgrade()
        client.send(close(1000) + text("late") + binary(b"late"))
        end = client.transcript(answer=False)
    assert end.messages == []
    assert server.count("messages") == before


def test_72_a_payload_that_never_comes(
    frozen: ServerProcess, frozen_stream: NumberedStream
) -> None:
    """Memory grows with what has arrived, and the message deadline ends it."""
    peers = 100
    with frozen.watched(records=peers):
        clients = []
        try:
            for _ in range(peers):
                client = RawClient(frozen.address)
                clients.append(client)
                client.upgrade()
            rss = frozen.rss
            data = frame(BINARY, b"start", length=MIB)
            wanted = frozen.counter("bytes_received") + peers * len(data)
            for client in clients:
                client.send(data)
            eventually(lambda: frozen.counter("bytes_received") >= wanted)
            frozen.check_memory(rss, peers * 65_536 + MIB)
            frozen.advance(29.0)
            for client in clients:
                client.poll()
                assert not client.gone
            frozen.advance(1.2)
            for client in clients:
                check_timed_out(frozen, client)
        finally:
            for client in clients:
                client.close()
    frozen_stream.check()


def check_timed_out(frozen: ServerProcess, client: RawClient) -> None:
    """Closed with 1008 or aborted; a peer that is silent then is gone soon after."""
    with suppress(EOFError):
        while (one := client.read_frame()).opcode == PING:
            # It came in the meantime: half a message is no sign of life for ever.
            continue
        assert one.opcode == CLOSE
        assert one.close_code == 1008
        frozen.advance(1.0)
    client.wait_gone()


def test_73_1_MiB_byte_by_byte(  # noqa: N802
    server: ServerProcess, stream: NumberedStream
) -> None:
    payload = bytes(range(256)) * (MIB // 256)
    with server.watched():
        rss = server.rss
        with RawClient(server.address) as client:
            client.upgrade()
            assert client.send(
                binary(payload),
                lambda data: (data[at : at + 1] for at in range(len(data))),
            )
            assert client.read_message(30.0) == payload
            server.check_memory(rss, 2 * len(payload) + 4 * MIB)
            check_leaves_well(client)
    stream.check()


@pytest.mark.unsanitized
def test_73_cpu_time_is_linear(server: ServerProcess) -> None:
    """Twice the size costs about twice as much, the best of some tries; were it
    quadratic, it would cost four times as much."""

    def cost(size: int) -> float:
        data = binary(b"x" * size)
        with RawClient(server.address) as client:
            client.upgrade()
            before = server.cpu_seconds
            for at in range(0, len(data), 16):
                client.send(data[at : at + 16])
            assert client.read_message() == b"x" * size
            return server.cpu_seconds - before

    def linear() -> bool:
        single = min(cost(MIB // 2) for _ in range(3))
        return min(cost(MIB) for _ in range(3)) < 3 * single

    # How many pieces the kernel joins differs from try to try; quadratic cost does not.
    assert any(linear() for _ in range(5))


def test_81_tls_on_the_plain_port(
    server: ServerProcess, stream: NumberedStream
) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(
        incoming, outgoing, server_hostname="testee.example"
    )
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    hello = outgoing.read()
    with server.watched(records=2):
        for chunking in (lambda data: iter([data]), byte_by_byte):
            with RawClient(server.address) as client:
                client.send(hello, chunking)
                client.wait_gone(GONE_IN)
                assert not client.received or client.read_response().status == 400
    stream.check()


def test_81_plain_on_the_tls_port(
    server: ServerProcess, stream: NumberedStream
) -> None:
    with server.watched(records=2):
        for chunking in (lambda data: iter([data]), byte_by_byte):
            with RawClient(server.addresses["tls"]) as client:
                client.send(upgrade_request(), chunking)
                client.wait_gone(GONE_IN)
                assert b"101" not in client.received
    stream.check()


NOISE_SEEDS = 10_000
NOISE_CODES = {1000, 1002, 1007, 1008, 1009}


def check_noise(client: RawClient) -> None:
    check_accepted(client.read_response())
    client.finish_writing()
    code = client.transcript().code
    # Noise may be a right Close frame, too, whose code then comes back.
    assert code is None or code in NOISE_CODES or 3000 <= code < 5000, code


@pytest.mark.parametrize("kind", ["raw", "text", "binary"])
def test_82_noise(server: ServerProcess, stream: NumberedStream, kind: str) -> None:
    """Raw and as a masked payload: documented codes only."""
    first = fresh_seed()
    upgrade = upgrade_request()

    def noise(seed: int) -> bytes:
        data = random.Random(seed).randbytes(1024)
        return upgrade + (data if kind == "raw" else frame(KINDS[kind], data))

    with server.watched(records=NOISE_SEEDS):
        seeds = range(first, first + NOISE_SEEDS)
        repeat(server.address, map(noise, seeds), check_noise)
    stream.check()


def test_82_noise_as_text_is_refused_and_as_binary_echoed(
    server: ServerProcess,
) -> None:
    data = random.Random(1).randbytes(1024)
    with RawClient(server.address) as client:
        client.upgrade()
        client.send(frame(BINARY, data) + frame(TEXT, data))
        found = client.transcript()
    assert found.messages == [data]
    assert found.code == 1007


def test_83_100000_tiny_frames_in_one_write(
    server: ServerProcess, stream: NumberedStream
) -> None:
    """All are handled in order, and the neighbour is served meanwhile."""
    count = 100_000
    keys = [bytes([at, 1, 2, 3]) for at in range(7)]
    payloads = [f"{at % 10}".encode() for at in range(10)]
    frames = [
        frame(TEXT, payload, key=key)
        for payload, key in islice(zip(cycle(payloads), cycle(keys), strict=False), 70)
    ]
    with server.watched(records=2):
        for path in ("/echo", "/echo-async"):
            with RawClient(server.address) as client:
                client.upgrade(path)
                client.send(b"".join(islice(cycle(frames), count)))
                found = client.transcript(messages=count, seconds=30.0)
                wanted = list(islice(cycle("0123456789"), count))
                assert found.messages == wanted
                check_leaves_well(client)
    stream.check()


@pytest.mark.parametrize("kind", ["text", "binary"])
def test_84_85_a_million_empty_messages(
    server: ServerProcess, stream: NumberedStream, kind: str
) -> None:
    """1008 at the message rate; what came before it is answered."""
    number = 84 if kind == "text" else 85
    flood = frame(KINDS[kind]) * 1_000_000
    check_flood(server, stream, number, flood, "/rated", most=200)


@pytest.mark.parametrize("kind", ["pong", "ping"])
def test_85_a_million_control_frames(
    server: ServerProcess, stream: NumberedStream, kind: str
) -> None:
    flood = (pong() if kind == "pong" else ping()) * 1_000_000
    check_flood(server, stream, 85, flood, "/echo", most=100)


def check_flood(
    server: ServerProcess,
    stream: NumberedStream,
    number: int,
    flood: bytes,
    path: str,
    most: int,
) -> None:
    rss = server.rss
    with server.watched(), RawClient(server.address) as client:
        client.upgrade(path)
        client.send(flood)
        found = client.transcript()
        assert found.code == 1008, (number, found)
        assert len(found.messages) + len(found.pongs) <= most
    server.check_memory(rss, 4 * MIB)
    stream.check()


def test_85_rates_below_the_limit_pass(
    frozen: ServerProcess, frozen_stream: NumberedStream
) -> None:
    """The bucket refills: 40 at once, then 20 more each second."""
    with frozen.watched(), RawClient(frozen.address) as client:
        client.upgrade()
        client.send(ping(b"first") * 40)
        assert len(client.transcript(pongs=40).pongs) == 40
        for _ in range(3):
            frozen.advance(1.0)
            client.send(ping(b"more") * 20)
            assert len(client.transcript(pongs=20).pongs) == 20
        client.send(pong() * 22)
        assert client.transcript().code == 1008
    frozen_stream.check()
