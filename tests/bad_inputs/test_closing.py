"""Close frames, control frames, time-outs and peers that do not read: 118 to 134."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import chain

import pytest

from tests.support.client import RawClient, Transcript
from tests.support.frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
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

# The defaults, in seconds of the fake clock.
PING_INTERVAL = 25.0
PONG_TIMEOUT = 10.0
CLOSE_TIMEOUT = 10.0
MAX_STALL = 10.0


def bad(number: int, name: str, data: bytes, code: int = 1002) -> Input:
    return Input(number=number, name=name, data=data, closes=code)


def bad_close_frames() -> Iterator[Input]:
    for byte in (b"\0", b"\x03", b"\xff"):
        yield bad(118, f"one-byte-{byte.hex()}", frame(CLOSE, byte))
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999):
        yield bad(119, f"code-{code}", close(code))
        yield bad(119, f"code-{code}-with-reason", close(code, SECRET))
    for code in (5000, 65_535):
        yield bad(120, f"code-{code}", close(code))
    yield bad(122, "reason-of-124", close(1000, "r" * 124))
    for name, reason in (
        ("lone-ff", b"\xff"),
        ("truncated", b"bye \xe2\x82"),
        ("surrogate", b"\xed\xa0\x80"),
    ):
        yield bad(122, f"reason-{name}", close(1000, reason), 1007)


def right_close_frames() -> Iterator[Input]:
    codes = [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999]
    for code in codes:
        yield bad(121, f"code-{code}", close(code), code)
    yield bad(121, "with-reason", close(1000, "Grüße"), 1000)
    yield bad(121, "with-longest-reason", close(4000, "r" * 123), 4000)


INPUTS = with_repeats(chain(bad_close_frames(), right_close_frames()))


@pytest.fixture(scope="module")
def endings(server: ServerProcess) -> dict[str, Transcript]:
    return silent_endings(server, INPUTS)


@pytest.mark.parametrize("one", INPUTS, ids=lambda one: one.id)
def test_close_frame(
    server: ServerProcess,
    stream: NumberedStream,
    endings: dict[str, Transcript],
    one: Input,
) -> None:
    check_input(server, stream, one)
    check_silent_ending(one, endings)


def last_closed(server: ServerProcess) -> list[object]:
    """What the last on_close was told: path, code and reason."""
    found: list[list[object]] = server.call("seen")["closed"]
    return found[-1]


@pytest.mark.parametrize("path", ["/echo", "/echo-async"])
def test_121_the_application_reads_code_and_reason(
    server: ServerProcess, path: str
) -> None:
    before = server.count("closed")
    with RawClient(server.address) as client:
        client.upgrade(path)
        client.send(close(4321, "Grüße"))
        assert client.transcript(answer=False).code == 4321
    eventually(lambda: server.count("closed") == before + 1)
    assert last_closed(server) == [path, 4321, "Grüße"]


@pytest.mark.parametrize("path", ["/echo", "/echo-async"])
def test_123_empty_close(
    server: ServerProcess, stream: NumberedStream, path: str
) -> None:
    before = server.count("closed")
    with server.watched(), RawClient(server.address) as client:
        client.upgrade(path)
        client.send(close())
        found = client.transcript(answer=False)
        assert found.closed
        assert found.code in (None, 1000)
        assert found.seconds_to_gone is not None
        assert found.seconds_to_gone < GONE_IN
    eventually(lambda: server.count("closed") == before + 1)
    assert last_closed(server) == [path, 1005, ""]
    stream.check()


def closing(server: ServerProcess) -> RawClient:
    """A client whose server has sent it a Close frame of the application."""
    client = RawClient(server.address)
    client.upgrade("/obedient")
    client.send(text("close"))
    assert client.read_frame().close_code == 4000
    return client


def test_124_peer_never_answers_our_close(
    frozen: ServerProcess, frozen_stream: NumberedStream
) -> None:
    """What it sends instead reaches no handler, and at the time-out it is aborted."""
    messages = frozen.count("messages")
    with frozen.watched(), closing(frozen) as client:
        frozen.advance(CLOSE_TIMEOUT - 0.5)
        client.send(text(SECRET) + ping(b"late"))
        client.poll()
        assert not client.gone
        frozen.advance(0.7)
        found = client.transcript(answer=False)
        assert found.gone
        assert found.messages == []
    assert frozen.count("messages") == messages
    frozen_stream.check()


def test_125_peer_answers_but_keeps_tcp_open(
    server: ServerProcess, stream: NumberedStream
) -> None:
    with server.watched(), closing(server) as client:
        client.send(close(4000))
        client.wait_gone(GONE_IN)
    stream.check()


@pytest.mark.parametrize("path", ["/echo", "/echo-async"])
@pytest.mark.parametrize(
    "data",
    [frame(BINARY, b"start", length=1000), frame(BINARY, b"start", fin=False), b"\x82"],
    ids=["frame", "message", "header"],
)
def test_126_fin_in_mid_message(
    server: ServerProcess, stream: NumberedStream, path: str, data: bytes
) -> None:
    """1006 to the application, and nothing is written any more."""
    before = server.count("closed")
    with server.watched(), RawClient(server.address) as client:
        client.upgrade(path)
        client.send(text("before") + data)
        assert client.read_message() == "before"
        client.finish_writing()
        client.wait_gone(GONE_IN)
        assert not client.received
    eventually(lambda: server.count("closed") == before + 1)
    assert last_closed(server) == [path, 1006, ""]
    stream.check()


def subscribers(
    server: ServerProcess,
    stack: ExitStack,
    channel: str,
    count: int,
    receive_buffer: int | None = None,
) -> list[RawClient]:
    clients = []
    for _ in range(count):
        client = RawClient(server.address, receive_buffer=receive_buffer)
        stack.enter_context(client)
        client.upgrade(f"/subscribe/{channel}")
        clients.append(client)
    return clients


def test_127_rst_during_a_broadcast(
    server: ServerProcess, stream: NumberedStream
) -> None:
    """The publisher sees nothing of it, all others receive everything."""
    with server.watched(records=20), ExitStack() as stack:
        clients = subscribers(server, stack, "resets", 20)
        for at in range(10):
            clients[2 * at].reset()
            server.call("publish", channel="resets", size=50_000 + at)
        for client in clients[1::2]:
            found = [client.read_message() for _ in range(10)]
            assert [len(one) for one in found] == list(range(50_000, 50_010))
        eventually(lambda: server.call("subscribers", channel="resets") == 10)
    stream.check()


def test_128_ping_flood_from_a_peer_that_never_reads(
    server: ServerProcess, stream: NumberedStream
) -> None:
    """1008 from the rate limit, long before any buffer fills."""
    rss = server.rss
    limited = server.counter("rate_limited")
    with server.watched(), RawClient(server.address, receive_buffer=4096) as client:
        client.upgrade()
        client.send(ping(b"p" * 125) * 20_000)
        assert client.transcript().code == 1008
    assert server.counter("rate_limited") == limited + 1
    server.check_memory(rss, 2 * MIB)
    stream.check()


def test_128_one_pending_pong_without_the_rate_limit(
    server: ServerProcess, stream: NumberedStream
) -> None:
    """A later pong replaces one that could not be written: memory stays flat."""
    count, rss = 40_000, server.rss
    flood = b"".join(ping(b"%05d" % at + b"p" * 120) for at in range(count))
    with server.watched(), RawClient(server.address, receive_buffer=4096) as client:
        client.upgrade("/pongs")
        wanted = server.counter("bytes_received") + len(flood)
        client.socket.settimeout(10.0)
        client.socket.sendall(flood)
        client.socket.setblocking(False)
        eventually(lambda: server.counter("bytes_received") >= wanted)
        server.check_memory(rss, 2 * MIB)
        numbers = [-1]
        while numbers[-1] < count - 1:
            one = client.read_frame()
            if one.opcode == PONG:
                numbers.append(int(one.payload[:5]))
        assert numbers == sorted(set(numbers))
        assert len(numbers) < count
        check_leaves_well(client)
    stream.check()


def latency(client: RawClient) -> float | None:
    client.send(text("latency"))
    found: float | None = json.loads(client.read_message())
    return found


def test_129_unsolicited_and_wrong_pongs(
    frozen: ServerProcess, frozen_stream: NumberedStream
) -> None:
    """They are ignored: only the answer to our ping sets the latency."""
    with frozen.watched(), RawClient(frozen.address) as client:
        client.upgrade("/obedient")
        client.send(pong() + pong(b"unsolicited") + pong(b"p" * 125))
        assert latency(client) is None
        found = wait_for_ping(frozen, client)
        client.send(pong(found + b"wrong") + pong(b"") + pong(b"unsolicited"))
        assert latency(client) is None
        client.send(pong(found))
        eventually(lambda: latency(client) is not None)
        check_leaves_well(client)
    frozen_stream.check()


def wait_for_ping(frozen: ServerProcess, client: RawClient) -> bytes:
    """Let fake time pass until a ping comes; the start of pinging is jittered."""
    for _ in range(round(2 * PING_INTERVAL)):
        frozen.advance(1.0)
        client.poll()
        if client.received:
            one = client.read_frame()
            assert one.opcode == PING
            return one.payload
    raise AssertionError("no ping within two intervals")


def fake_seconds_until(
    frozen: ServerProcess, gone: Callable[[], bool], most: float
) -> float:
    """Let fake time pass in half seconds until something is so."""
    passed = 0.0
    while passed < most:
        frozen.advance(0.5)
        passed += 0.5
        if gone():
            return passed
    raise AssertionError(f"not within {most} s")


def connections_back_at(frozen: ServerProcess, count: int) -> Callable[[], bool]:
    return lambda: frozen.call("report")["connections"] == count


@pytest.mark.parametrize("reads", [True, False], ids=["reads", "never-reads"])
def test_130_never_answers_pings(
    frozen: ServerProcess, frozen_stream: NumberedStream, reads: bool
) -> None:
    """Closed at interval + time-out after the last ping that it answered, +- 20 %."""
    timeouts = frozen.counter("pong_timeouts")
    with frozen.watched(), RawClient(frozen.address) as client:
        before = frozen.call("report")["connections"]
        client.upgrade()
        client.send(pong(wait_for_ping(frozen, client)))
        passed = fake_seconds_until(
            frozen, connections_back_at(frozen, before), most=60.0
        )
        assert 28.0 <= passed <= 42.0
        if reads:
            client.wait_gone()
    assert frozen.counter("pong_timeouts") == timeouts + 1
    frozen_stream.check()


def test_130_a_living_peer_stays(
    frozen: ServerProcess, frozen_stream: NumberedStream
) -> None:
    """Any byte counts as life: a wrong pong, or half a frame."""
    with frozen.watched(), RawClient(frozen.address) as client:
        client.upgrade()
        for data in (pong(b"wrong"), text("echo me")) * 5:
            wait_for_ping(frozen, client)
            client.send(data + ping(b"there?"))
            assert client.transcript(pongs=1).pongs == [b"there?"]
            client.received.clear()
        check_leaves_well(client)
    frozen_stream.check()


def test_131_silent_partition(
    frozen: ServerProcess, frozen_stream: NumberedStream
) -> None:
    """As 130, though nothing is acknowledged; its subscription goes with it."""
    with frozen.watched(), RawClient(frozen.address) as client:
        before = frozen.call("report")["connections"]
        client.upgrade("/subscribe/partition")
        client.send(pong(wait_for_ping(frozen, client)))
        assert frozen.call("subscribers", channel="partition") == 1
        client.vanish()
        passed = fake_seconds_until(
            frozen, connections_back_at(frozen, before), most=60.0
        )
        assert 28.0 <= passed <= 42.0
        assert frozen.call("subscribers", channel="partition") == 0
    frozen_stream.check()


EVICTED = ("evicted_lag", "evicted_lag_age", "evicted_stall", "evicted_write_cap")


def evictions(server: ServerProcess) -> int:
    counters: dict[str, int] = server.call("counters")
    return sum(counters[name] for name in EVICTED)


def test_132_never_reads_while_we_broadcast(
    server: ServerProcess, stream: NumberedStream
) -> None:
    """Gone at 1 MiB of lag, however fast that comes; the others miss nothing."""
    size, evicted = 65_536, evictions(server)
    with server.watched(records=3), ExitStack() as stack:
        subscribers(server, stack, "flood", 1)
        (healthy,) = subscribers(server, stack, "flood", 1)
        rss = server.rss
        for _ in range(2000):
            server.call("publish", channel="flood", size=size)
            assert len(healthy.read_message()) == size
            server.check_memory(rss, 6 * MIB)
            if evictions(server) > evicted:
                break
        assert evictions(server) == evicted + 1
        eventually(lambda: server.call("subscribers", channel="flood") == 1)
    stream.check()


def test_132_stalled_readers_share_the_log(
    server: ServerProcess, stream: NumberedStream
) -> None:
    """Each costs what is left of one frame and 16 KiB, not what it is owed."""
    peers, size, count = 50, 16_384, 60
    evicted = evictions(server)
    with server.watched(records=peers + 1), ExitStack() as stack:
        subscribers(server, stack, "herd", peers, receive_buffer=4096)
        (healthy,) = subscribers(server, stack, "herd", 1)
        rss = server.rss
        for _ in range(count):
            server.call("publish", channel="herd", size=size)
            assert len(healthy.read_message()) == size
        assert server.call("backlog", channel="herd")
        assert evictions(server) == evicted
        # Owed are up to 48 MiB; kept are the log, a part for each, and some slack.
        each = size + 16_384
        server.check_memory(rss, count * size + peers * each + 2 * MIB)
    stream.check()


def fill(server: ServerProcess, channel: str, stalled: RawClient) -> None:
    """Publish until the kernel has no more room for a peer that does not read."""
    size = 16_384
    for _ in range(2000):
        server.call("publish", channel=channel, size=size)
        if server.call("backlog", channel=channel):
            return
    raise AssertionError(f"the kernel takes everything on port {stalled.local_port}")


def test_132_a_stall_of_10_s(
    frozen: ServerProcess, frozen_stream: NumberedStream
) -> None:
    """Less than 1 MiB is owed, but no byte has moved for the time allowed."""
    evicted = evictions(frozen)
    with frozen.watched(), RawClient(frozen.address, receive_buffer=4096) as client:
        before = frozen.call("report")["connections"]
        client.upgrade("/subscribe/stall")
        fill(frozen, "stall", client)
        passed = fake_seconds_until(
            frozen, connections_back_at(frozen, before), most=30.0
        )
        assert 0.8 * MAX_STALL <= passed <= 1.2 * MAX_STALL + 0.5
    assert evictions(frozen) == evicted + 1
    frozen_stream.check()


def test_133_reads_1_kb_per_second_under_10_kb_per_second(
    frozen: ServerProcess, frozen_stream: NumberedStream
) -> None:
    """It never stops reading and is evicted for its lag or for the age of it."""
    evicted = evictions(frozen)
    with frozen.watched(), RawClient(frozen.address, receive_buffer=4096) as client:
        before = frozen.call("report")["connections"]
        client.upgrade("/subscribe/slow")
        fill(frozen, "slow", client)
        for _ in range(200):
            frozen.call("publish", channel="slow", size=10_000)
            client.read_some(1024)
            frozen.advance(1.0)
            if frozen.call("report")["connections"] == before:
                break
        assert frozen.call("report")["connections"] == before
    assert evictions(frozen) == evicted + 1
    frozen_stream.check()


def test_134_stops_reading_then_sends_close(
    frozen: ServerProcess, frozen_stream: NumberedStream
) -> None:
    """Our answer cannot get through: the peer is aborted at the close time-out."""
    with frozen.watched(), RawClient(frozen.address, receive_buffer=4096) as client:
        before = frozen.call("report")["connections"]
        client.upgrade("/subscribe/leaving")
        fill(frozen, "leaving", client)
        client.socket.send(close(1000))
        passed = fake_seconds_until(
            frozen, connections_back_at(frozen, before), most=30.0
        )
        assert passed <= max(CLOSE_TIMEOUT, MAX_STALL) * 1.2
        assert frozen.call("subscribers", channel="leaving") == 0
    frozen_stream.check()
