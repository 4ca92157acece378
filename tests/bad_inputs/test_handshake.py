"""Requests that are no right handshake, and some that are: inputs 1 to 56."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.bad_inputs.requests import REQUESTS, Accepted, Answered, Refused, Request
from tests.support.chunkings import Chunking, byte_by_byte, chunkings, one_write
from tests.support.client import (
    RawClient,
    Response,
    check_accepted,
    upgrade_request,
)
from tests.support.frames import binary, close, text
from tests.support.inputs import GONE_IN, check_leaves_well
from tests.support.kinds import LOOP, OWN
from tests.support.repeats import check_repeats
from tests.support.server import SECRET, ServerOptions, ServerProcess
from tests.support.stream import NumberedStream
from tests.support.waits import eventually

MIB = 1 << 20
HANDSHAKE_TIMEOUT = 10.0
CPU_TRIES = 5

# A request that is right, and leaves the connection open for the next one.
HEALTH = b"GET /health HTTP/1.1\r\nHost: testee.example\r\n\r\n"

# What no refused request may reach.
HANDLERS = ("opened", "second", "bodies")


@pytest.mark.parametrize("one", REQUESTS, ids=lambda one: one.id)
def test_request(server: ServerProcess, stream: NumberedStream, one: Request) -> None:
    ways = chunkings()
    handled = [server.count(name) for name in HANDLERS]
    # Each request may have its line in the access log, the valid one too.
    with server.watched(records=len(ways) + 2 + CPU_TRIES):
        for way, chunking in ways.items():
            print(way)  # noqa: T201
            check_once(server, one, chunking)
        if one.behind_another:
            print("behind a valid request")  # noqa: T201
            check_once(server, one, one_write, before=HEALTH)
        if one.cpu_seconds is not None:
            # Among it is what the server does for others while this side has to wait
            # for a busy machine.
            tries = (check_once(server, one, one_write) for _ in range(CPU_TRIES))
            assert any(spent < one.cpu_seconds for spent in tries)
    stream.check()
    if isinstance(one.outcome, Refused) and not one.outcome.or_accepted:
        assert [server.count(name) for name in HANDLERS] == handled
    if one.times:
        check_many(server, one)
        stream.check()


def check_once(
    server: ServerProcess, one: Request, chunking: Chunking, before: bytes = b""
) -> float:
    """The seconds of CPU time that the server had meanwhile."""
    cpu = server.cpu_seconds
    with RawClient(server.addresses[one.app]) as client:
        client.send(before + one.data, chunking)
        if before:
            response = client.read_response()
            assert (response.status, response.body) == (200, b"well")
        check_outcome(client, one)
        return server.cpu_seconds - cpu


def check_outcome(client: RawClient, one: Request) -> None:
    try:
        response = client.read_response()
    except EOFError:
        assert isinstance(one.outcome, Refused), "closed without an answer"
        assert one.outcome.may_be_silent, "closed without an answer"
        return
    print(response)  # noqa: T201
    if response.status == 101:
        check_upgraded(client, one, response)
    elif isinstance(one.outcome, Answered):
        assert response.status == one.outcome.status
        assert response.body == one.outcome.body
    else:
        assert isinstance(one.outcome, Refused), response
        check_refused(client, one.outcome, response)


def check_upgraded(client: RawClient, one: Request, response: Response) -> None:
    outcome = one.outcome
    assert isinstance(outcome, Accepted) or outcome.or_accepted, response
    check_accepted(response)
    # Nothing was negotiated that was not offered, or that we do not speak.
    wanted = outcome if isinstance(outcome, Accepted) else Accepted()
    extensions = response.headers.get("sec-websocket-extensions")
    assert extensions == wanted.extensions
    assert response.headers.get("sec-websocket-protocol") == wanted.subprotocol
    assert "x-injected" not in response.headers
    check_leaves_well(client)


def check_refused(client: RawClient, outcome: Refused, response: Response) -> None:
    assert response.status in outcome.statuses, response
    assert "close" in response.headers["connection"].lower(), response
    for name, value in outcome.headers.items():
        assert value in response.headers[name], response
    for name in ("x-injected", "sec-websocket-accept"):
        assert name not in response.headers
    assert SECRET.encode() not in response.body
    client.wait_gone(GONE_IN)
    assert not client.received, f"more than one answer: {bytes(client.received)!r}"


def check_many(server: ServerProcess, one: Request) -> None:
    def check(client: RawClient) -> None:
        try:
            status = client.read_response().status
        except EOFError:
            assert isinstance(one.outcome, Refused)
            assert one.outcome.may_be_silent
            return
        if status == 101:
            assert isinstance(one.outcome, Accepted) or one.outcome.or_accepted
            assert client.transcript().code == 1000
        elif isinstance(one.outcome, Refused):
            assert status in one.outcome.statuses
        else:
            assert isinstance(one.outcome, Answered)
            assert status == one.outcome.status

    may_open = isinstance(one.outcome, Accepted) or one.outcome.or_accepted
    data = one.data + (close(1000) if may_open else b"")
    check_repeats(server, server.addresses[one.app], data, check, times=one.times)


# Early data


@pytest.mark.parametrize("path", ["/echo", "/echo-async"])
def test_46_frames_in_the_segment_of_the_request(
    server: ServerProcess, stream: NumberedStream, path: str
) -> None:
    """All of them, in order, also when they are more than one read takes."""
    with server.watched(records=2):
        for count, size in ((3, 10), (200, 5000)):
            messages = [bytes([at]) * size for at in range(count)]
            data = upgrade_request(path) + b"".join(map(binary, messages))
            with RawClient(server.address) as client:
                client.send(data)
                check_accepted(client.read_response())
                assert client.transcript(messages=count).messages == messages
                check_leaves_well(client)
    stream.check()


def test_46_frames_before_the_hook_has_decided(
    server: ServerProcess, stream: NumberedStream
) -> None:
    with server.watched(), RawClient(server.address) as client:
        server.call("gate", is_open=False)
        hooks = server.count("hooks")
        client.send(upgrade_request("/pending") + text("one") + text("two"))
        eventually(lambda: server.count("hooks") > hooks)
        client.poll()
        assert not client.received
        server.call("gate", is_open=True)
        check_accepted(client.read_response())
        assert client.transcript(messages=2).messages == ["one", "two"]
        check_leaves_well(client)
    stream.check()


def test_46_too_much_before_the_hook_has_decided(
    server: ServerProcess, stream: NumberedStream
) -> None:
    """More than 64 KiB: 1008, and no handler is called."""
    opened = server.count("opened")
    server.call("gate", is_open=False)
    try:
        with server.watched(), RawClient(server.address) as client:
            client.send(upgrade_request("/pending") + binary(bytes(70_000)))
            check_accepted(client.read_response())
            found = client.transcript()
            assert found.code == 1008
            assert found.gone
    finally:
        server.call("gate", is_open=True)
    assert server.count("opened") == opened
    stream.check()


def test_47_10000_pipelined_requests(
    server: ServerProcess, stream: NumberedStream
) -> None:
    """While one is being handled the others wait unread; then all are answered."""
    count = 10_000
    rss = server.rss
    started = server.count("gate")
    request = HEALTH.replace(b"/health", b"/gate")
    server.call("gate", is_open=False)
    with (
        server.watched(records=count),
        RawClient(server.address, receive_buffer=65_536) as client,
    ):
        client.send(request * count)
        eventually(lambda: server.count("gate") > started)
        assert server.count("gate") - started <= 16
        eventually(lambda: server.unread(server.address, client.local_port) > 0)
        server.check_memory(rss, 2 * MIB)
        server.call("gate", is_open=True)
        for _ in range(count):
            response = client.read_response()
            assert (response.status, response.body) == (200, b"open")
        server.check_memory(rss, 5 * MIB)
    stream.check()


def test_194_upgrade_as_the_second_request(server: ServerProcess) -> None:
    with RawClient(server.address) as client:
        client.send(HEALTH)
        assert client.read_response().status == 200
        client.upgrade()
        check_leaves_well(client)


# Logs


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example\x1b[31m",
        "http://evil.example\x9b31m",
        "http://evil.example\u00ff",
        "http://evil.example/" + "x" * 5000,
        'http://evil.example"]',
    ],
    ids=["escape", "c1", "latin-1", "long", "quote"],
)
def test_53_a_refused_origin_is_escaped_in_the_log(
    server: ServerProcess, stream: NumberedStream, origin: str
) -> None:
    """In debug mode the origin is logged, the only text of a peer that is."""
    request = upgrade_request().removesuffix(b"\r\n")
    request += b"Origin: " + origin.encode("latin-1") + b"\r\n\r\n"
    server.take_records()
    with RawClient(server.addresses["debug"]) as client:
        client.send(request)
        response = client.read_response()
        assert response.status in (400, 403)
        client.wait_gone(GONE_IN)
    records = server.take_records()
    assert len(records) <= 1
    assert all(len(record) < 1000 for record in records)
    stream.check()


def test_19_debug_logs_the_setting_that_would_allow(server: ServerProcess) -> None:
    server.take_records()
    with RawClient(server.addresses["debug"]) as client:
        client.send(upgrade_request(headers={"Origin": "https://other.example"}))
        assert client.read_response().status == 403
    (record,) = server.take_records()
    assert 'allowed_origins=["https://other.example"]' in record


def test_19_debug_lets_loopback_origins_in(server: ServerProcess) -> None:
    for host in ("localhost:3000", "127.0.0.1:5173", "[::1]:1"):
        with RawClient(server.addresses["debug"]) as client:
            client.upgrade(headers={"Origin": f"http://{host}"})


# A program's own mistakes


@pytest.mark.parametrize("header", ["line-feed", "bare-line-feed", "nul", "name"])
@pytest.mark.parametrize("path", ["/reject-badly", "/accept-badly", "/bad-header"])
def test_54_a_bad_header_of_a_handler(
    server: ServerProcess, stream: NumberedStream, path: str, header: str
) -> None:
    """500 for that request, nothing injected, and others are served."""
    target = f"{path}?header={header}"
    request = upgrade_request(target)
    if path == "/bad-header":
        request = HEALTH.replace(b"/health", target.encode())
    with server.watched(traces=True), RawClient(server.address) as client:
        client.send(request)
        response = client.read_response()
        assert response.status == 500, response
        assert "x-injected" not in response.headers
        client.wait_gone(GONE_IN)
        assert not client.received
    stream.check()


# Time-outs


def check_slow(
    frozen: ServerProcess, stream: NumberedStream, pieces: list[bytes]
) -> None:
    """One piece each 2.4 s: 408 or a silent close at 10 s, however many came."""
    with frozen.watched(), RawClient(frozen.address) as client:
        eventually(lambda: frozen.call("report")["handshakes"] == 1)
        for piece in pieces:
            client.send(piece)
            frozen.advance(2.4)
            client.poll()
            assert not client.gone
            assert not client.received
        frozen.advance(HANDSHAKE_TIMEOUT - len(pieces) * 2.4 + 0.2)
        check_timed_out(frozen, client)
    stream.check()


def check_timed_out(frozen: ServerProcess, client: RawClient) -> None:
    try:
        assert client.read_response().status == 408
    except EOFError:
        assert not client.received
        return
    frozen.advance(1.0)
    client.wait_gone()


@pytest.mark.parametrize("pieces", [[b"G"], [b"G", b"E", b"T", b" "]], ids=len)
def test_36_slow_headers(
    frozen: ServerProcess, frozen_stream: NumberedStream, pieces: list[bytes]
) -> None:
    check_slow(frozen, frozen_stream, pieces)


def test_36_slow_headers_of_a_second_request(
    frozen: ServerProcess, frozen_stream: NumberedStream
) -> None:
    with frozen.watched(records=2), RawClient(frozen.address) as client:
        client.send(HEALTH)
        assert client.read_response().status == 200
        client.send(b"GET /hea")
        for _ in range(4):
            frozen.advance(2.4)
            client.send(b"l")
            client.poll()
        frozen.advance(1.0)
        check_timed_out(frozen, client)
    frozen_stream.check()


def test_37_connect_and_send_nothing(
    frozen: ServerProcess, frozen_stream: NumberedStream
) -> None:
    with frozen.watched(), RawClient(frozen.address) as client:
        eventually(lambda: frozen.call("report")["handshakes"] == 1)
        frozen.advance(HANDSHAKE_TIMEOUT - 0.5)
        client.poll()
        assert not client.gone
        frozen.advance(0.7)
        check_timed_out(frozen, client)
    frozen_stream.check()


def test_195_idle_keep_alive(
    frozen: ServerProcess, frozen_stream: NumberedStream
) -> None:
    with frozen.watched(), RawClient(frozen.address) as client:
        client.send(HEALTH)
        assert client.read_response().status == 200
        frozen.advance(4.5)
        client.poll()
        assert not client.gone
        frozen.advance(0.7)
        client.wait_gone()
        assert not client.received
    frozen_stream.check()


def client_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(
        incoming, outgoing, server_hostname="testee.example"
    )
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("sent", [0, 1, 5, 100], ids="{}-bytes".format)
def test_38_partial_client_hello(
    server: ServerProcess, stream: NumberedStream, sent: int
) -> None:
    """Closed at the TLS time-out (one second here), in real time."""
    with server.watched(), RawClient(server.addresses["tls"]) as client:
        client.send(client_hello()[:sent])
        client.wait_gone(GONE_IN)
    stream.check()


@pytest.mark.parametrize(
    "record", [b"\x16\x03\x01\xff\xff", b"\x16\x03\x01\x48\x01", b"\x16\x03\x01\0\0"]
)
def test_38_oversized_tls_record(
    server: ServerProcess, stream: NumberedStream, record: bytes
) -> None:
    """Closed, with less than 64 KiB held of what follows."""
    rss = server.rss
    with server.watched(), RawClient(server.addresses["tls"]) as client:
        client.send(record + bytes(MIB))
        client.wait_gone(GONE_IN)
    server.check_memory(rss, MIB)
    stream.check()


# Too many


def test_56_worker_limit(server: ServerProcess, stream: NumberedStream) -> None:
    """The fifth of four: 503 or a plain close; room for it as soon as one leaves."""
    address = server.addresses["full"]
    with server.watched(records=30), ExitStack() as stack:
        clients = [stack.enter_context(RawClient(address)) for _ in range(4)]
        for client in clients:
            client.upgrade()
        cpu = server.cpu_seconds
        for chunking in (one_write, byte_by_byte):
            for _ in range(10):
                with RawClient(address) as more:
                    more.send(upgrade_request(), chunking)
                    check_turned_away(more)
        assert server.cpu_seconds - cpu < 0.5
        for client in clients[:1]:
            check_leaves_well(client)
        for client in clients[1:]:
            client.send(text("still here"))
            assert client.read_message() == "still here"
        eventually(lambda: accepts(address))
    stream.check()


def check_turned_away(client: RawClient) -> None:
    try:
        response = client.read_response()
    except EOFError:
        return
    assert response.status == 503, response
    assert int(response.headers["retry-after"]) > 0
    client.wait_gone(GONE_IN)


def accepts(address: tuple[str, int]) -> bool:
    with RawClient(address) as client:
        client.send(upgrade_request())
        try:
            return client.read_response().status == 101
        except EOFError:
            return False


def test_56_handshake_limit(server: ServerProcess, stream: NumberedStream) -> None:
    address = server.addresses["handshakes"]
    with server.watched(records=5), ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(RawClient(address)).send(b"GET")
        eventually(lambda: server.call("report")["handshakes"] == 4)
        with RawClient(address) as client:
            client.send(upgrade_request())
            check_turned_away(client)
    assert eventually(lambda: accepts(address))
    stream.check()


@pytest.fixture
def few_files() -> Callable[[], ServerProcess]:
    # What asyncio itself logs about its transports has line ends in it.
    loop = LOOP if OWN else "uvloop"
    return lambda: ServerProcess(ServerOptions(files=64, loop=loop))


def test_56_descriptors_run_out(few_files: Callable[[], ServerProcess]) -> None:
    """No busy loop, the neighbour is served, and it recovers by itself."""
    with few_files() as server, NumberedStream(server.address) as stream:
        with ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(RawClient(server.address))
            eventually(lambda: server.descriptors >= 60)
            stream.check()
            cpu, start = server.cpu_seconds, time.monotonic()
            for _ in range(100):
                stream.check()
            # A hundred numbers take one second, and more on a busy machine.
            assert server.cpu_seconds - cpu < 0.2 * (time.monotonic() - start)
        eventually(lambda: accepts(server.address))
        stream.check()
        texts = server.take_records()
        assert len(texts) <= 20, texts
