"""Runs against a server that does everything right: what they count and report."""

from __future__ import annotations

import os
import ssl
import zlib
from pathlib import Path
from typing import Any

import pytest
import trustme

from fastws.load import LoadError, Options, Progress, run
from tests.load.conftest import SHORT, paced, short
from tests.load.opponent import (
    Opponent,
    Peer,
    Start,
    accepted,
    both,
    broadcast,
    deflated,
    echo,
    inflated,
    takes_deflate,
)
from tests.support.frames import BINARY, CONTINUATION, PING, TEXT, frame

# --- echo -------------------------------------------------------------------------


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize(
    ("connections", "depth", "size"),
    [(1, 1, 16), (10, 16, 64), (4, 3, 125), (4, 3, 126), (3, 16, 16384), (2, 2, 65536)],
)
def test_echo(
    opponent: Start, connections: int, depth: int, size: int, binary: bool
) -> None:
    result = short(
        opponent().url(),
        connections=connections,
        depth=depth,
        size=size,
        binary=binary,
        server_pid=os.getpid(),
    )
    assert result.operations == result.frames >= connections * depth
    assert result.latency.total == result.operations
    assert result.seconds >= 0.05
    assert result.kind == ("binary" if binary else "text")
    assert result.server_cpu is not None
    assert result.server_cpu >= 0
    # Of what was under way when the clock started some bytes had come before.
    assert result.bytes_received >= (result.operations - connections * depth) * size
    shown = result.to_dict()["latency_us"]
    assert 0 < shown["min"] <= shown["p50"] <= shown["p90"] <= shown["p99"]
    assert shown["p99"] <= shown["p99.9"] <= shown["p99.99"] <= shown["max"]


def test_busy_polling_counts_the_same_and_its_waiting_as_idle(opponent: Start) -> None:
    result, seconds = paced(opponent().url(), rate=200.0, duration=0.2, busy_poll=True)
    assert 40 <= result.operations <= 200 * seconds + 1
    # Of a core that was in use all the time.
    assert result.load_cpu is not None
    assert result.load_cpu < 0.9


def test_a_message_larger_than_any_buffer(opponent: Start) -> None:
    result = short(opponent().url(), connections=2, depth=2, size=3 << 20)
    assert result.operations >= 4


def test_the_schedule_is_kept_whatever_the_server_does(opponent: Start) -> None:
    result, seconds = paced(opponent().url(), rate=2000.0, duration=0.2)
    # All that was due in that time, and what was on its way when it began.
    assert 400 <= result.operations <= 2000 * seconds + 1
    assert result.latency_from == "schedule"


def test_latency_counts_from_the_intended_time(opponent: Start) -> None:
    """A server that keeps the first ten waiting for the tenth delays the first most."""
    held: list[bytes] = []

    def in_ten(peer: Peer, first: int, payload: bytes) -> None:
        held.append(payload)
        if len(held) == 10:
            peer.send_bytes(b"".join(frame(TEXT, one, key=None) for one in held))
        elif len(held) > 10:
            peer.send(payload)

    result = short(
        opponent(in_ten).url(), connections=1, rate=1000.0, duration=0.05, warm_up=0.0
    )
    # Nine intervals for the first, eight for the second, and so on.
    assert result.latency.highest >= 9_000_000
    assert result.latency.sum >= 45_000_000


def test_the_request_is_the_one_asked_for(opponent: Start) -> None:
    def respond(request: bytes) -> bytes:
        return accepted(request, b"Sec-WebSocket-Protocol: chat.v1\r\n")

    server = opponent(both, respond)
    short(
        server.url("/echo?token=x%20y"),
        connections=1,
        subprotocol="chat.v1",
        header=("X-Token: abc", "User-Agent: mine"),
        origin="https://example.org",
    )
    (request,) = server.requests
    lines = request.decode().split("\r\n")
    assert lines[0] == "GET /echo?token=x%20y HTTP/1.1"
    assert f"Host: 127.0.0.1:{server.port}" in lines
    assert "Origin: https://example.org" in lines
    assert "X-Token: abc" in lines
    assert [line for line in lines if line.startswith("User-Agent")] == [
        "User-Agent: mine"
    ]
    assert "Accept-Language: en-US,en;q=0.9" in lines
    assert "Sec-WebSocket-Extensions" not in request.decode()


def test_the_least_possible_request(opponent: Start) -> None:
    server = opponent()
    short(server.url(), connections=1, headers="minimal")
    assert len(server.requests[0].decode().split("\r\n")) == 8


def test_first_message_and_its_replies(opponent: Start) -> None:
    server = opponent(both)
    result = short(server.url(), first='{"hello": "world"}', first_replies=1)
    assert result.operations > 0


def test_an_envelope_is_looked_into(opponent: Start) -> None:
    """The request is a template, the answer another one, with an acknowledgement."""

    def answer(peer: Peer, first: int, payload: bytes) -> None:
        assert payload.startswith(b'{"say": "')
        peer.send(b'{"ack": true}')
        peer.send(b'{"from": "me", "text": ' + payload[8:-1] + b"}")

    result = short(opponent(answer).url(), publish='{"say": "{message}"}', depth=3)
    assert result.operations > 0
    assert result.frames >= 2 * result.operations - 6


def test_several_messages_in_one_envelope(opponent: Start) -> None:
    held: dict[int, list[bytes]] = {}

    def in_pairs(peer: Peer, first: int, payload: bytes) -> None:
        waiting = held.setdefault(peer.number, [])
        waiting.append(payload)
        if len(waiting) == 2:
            peer.send(b"[" + b",".join(waiting) + b"]")
            waiting.clear()

    result = short(opponent(in_pairs).url(), publish='"{message}"', depth=2)
    assert result.operations > result.frames


def test_fragments_and_split_writes(opponent: Start) -> None:
    def in_pieces(peer: Peer, first: int, payload: bytes) -> None:
        half = len(payload) // 2
        data = frame(TEXT, payload[:half], fin=False, key=None)
        data += frame(PING, b"between", key=None)
        data += frame(CONTINUATION, payload[half:], key=None)
        for start in range(0, len(data), 7):
            peer.send_bytes(data[start : start + 7])

    server = opponent(in_pieces)
    result = short(server.url(), size=200)
    assert result.operations > 0
    assert set(server.pongs) == {b"between"}


# --- fan-out ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subscribers", "depth", "publishers"),
    [(1, 1, 1), (20, 1, 1), (30, 16, 1), (5, 3, 5), (7, 2, 3)],
)
def test_fanout_counts_every_delivery(
    opponent: Start, subscribers: int, depth: int, publishers: int
) -> None:
    result = short(
        opponent().url("/fanout"),
        mode="fanout",
        connections=subscribers,
        depth=depth,
        publishers=publishers,
        size=128,
    )
    assert result.publications
    # The window is full when the clock starts, so its deliveries may be half done.
    spread = depth * subscribers * publishers
    assert abs(result.operations - result.publications * subscribers) <= spread


def test_fanout_by_the_schedule(opponent: Start) -> None:
    result, seconds = paced(
        opponent().url("/f"), mode="fanout", rate=200.0, duration=0.2
    )
    assert result.publications is not None
    assert 40 <= result.publications <= 200 * seconds + 1
    assert result.operations >= 3 * 40


def test_publishers_that_do_not_hear_themselves(opponent: Start) -> None:
    def others(peer: Peer, first: int, payload: bytes) -> None:
        for one in peer.server.peers:
            if one is not peer:
                one.send(payload)

    server = opponent(others)
    result = short(
        server.url("/f"),
        mode="fanout",
        connections=4,
        publishers=2,
        deliveries="others",
    )
    assert result.publications
    assert result.operations > 0


def test_channels_by_path(opponent: Start) -> None:
    server = opponent(broadcast)
    result = short(
        server.url("/fanout/{channel}"),
        mode="fanout",
        connections=9,
        channels=3,
        publishers=3,
    )
    assert result.operations > 0
    paths = sorted(request.split()[1] for request in server.requests)
    assert paths == sorted([b"/fanout/%d" % (number % 3) for number in range(9)])


def test_channels_by_first_message_and_template(opponent: Start) -> None:
    members: dict[bytes, list[Peer]] = {}

    def rooms(peer: Peer, first: int, payload: bytes) -> None:
        verb, room, *text = payload.split(b" ", 2)
        if verb == b"join":
            members.setdefault(room, []).append(peer)
            peer.send(b"joined " + room)
            return
        for one in members[room]:
            if one in one.server.peers:
                one.send(b"said in %s: %s" % (room, text[0]))

    result = short(
        opponent(rooms).url("/ws"),
        mode="fanout",
        connections=8,
        channels=2,
        publishers=2,
        first="join {channel}",
        first_replies=1,
        publish="say {channel} {message}",
    )
    assert result.operations > 0


def test_a_path_for_publishers(opponent: Start) -> None:
    def by_role(peer: Peer, first: int, payload: bytes) -> None:
        assert peer.path == b"/publish"
        for one in peer.server.peers:
            one.send(payload)

    server = opponent(by_role)
    result = short(server.url("/listen"), mode="fanout", publisher_path="/publish")
    assert result.operations > 0
    paths = [request.split()[1] for request in server.requests]
    assert sorted(paths) == [b"/listen", b"/listen", b"/publish"]


def test_stalled_subscribers_are_not_waited_for(opponent: Start) -> None:
    """The last one gets nothing, and nobody minds."""

    def but_the_last(peer: Peer, first: int, payload: bytes) -> None:
        for one in peer.server.peers:
            if one.number != 3:
                one.send(payload)

    result = short(
        opponent(but_the_last).url("/f"),
        mode="fanout",
        connections=4,
        stalled=25.0,
        parallel=1,
    )
    assert result.stalled == 1
    assert result.publications
    assert result.operations <= 3 * (result.publications + 1)


# --- connect, idle, mixed ---------------------------------------------------------


def test_connect_opens_each_connection_once(opponent: Start) -> None:
    server = opponent()
    result = short(server.url(), mode="connect", connections=60, parallel=7, sources=3)
    assert result.operations == len(server.requests) == result.latency.total == 60


def test_idle_reports_memory(opponent: Start) -> None:
    result = short(
        opponent().url(), mode="idle", connections=20, server_pid=os.getpid()
    )
    assert result.operations == 20
    assert result.resident_before is not None
    assert result.resident_before > 0
    assert result.resident_connections == 10
    assert result.bytes_per_connection is not None


def test_idle_with_pings(opponent: Start) -> None:
    result, seconds = paced(
        opponent().url(), mode="idle", ping_interval=0.01, duration=0.1
    )
    assert result.pings is not None
    assert 27 <= result.pings <= 3 * (100 * seconds + 1)
    assert result.latency.total == result.pings


def test_mixed(opponent: Start) -> None:
    result, seconds = paced(
        opponent().url("/echo"),
        mode="mixed",
        publisher_path="/fanout",
        connections=4,
        subscribers=5,
        rate=400.0,
        publish_rate=100.0,
        churn=100.0,
        ping_interval=0.05,
        duration=0.2,
    )
    assert 80 <= result.operations <= 400 * seconds + 1
    assert result.publications is not None
    assert 20 <= result.publications <= 100 * seconds + 1
    assert result.deliveries is not None
    assert result.deliveries >= 100
    assert result.visits is not None
    assert result.visits >= 18
    assert result.pings
    assert result.delivery_latency.total == result.deliveries
    assert result.visit_latency.total > 0


# --- compression and TLS ----------------------------------------------------------


def test_deflate_without_context(opponent: Start) -> None:
    def repacked(peer: Peer, first: int, payload: bytes) -> None:
        peer.send(deflated(inflated(payload)), rsv=4)

    server = opponent(repacked, takes_deflate)
    result = short(server.url(), deflate=True, size=1024, depth=3)
    assert result.compressed_frames == result.frames > 0
    assert result.bytes_received < result.operations * 1024
    assert b"server_no_context_takeover; client_no_context" in server.requests[0]


@pytest.mark.parametrize("depth", [1, 5])
def test_deflate_in_fanout(opponent: Start, depth: int) -> None:
    server = opponent(broadcast, takes_deflate)
    result = short(
        server.url("/f"),
        mode="fanout",
        deflate=True,
        size=500,
        depth=depth,
        connections=6,
    )
    assert result.compressed_frames == result.frames == result.operations


def test_deflate_with_context(opponent: Start) -> None:
    packers: dict[int, Any] = {}
    unpackers: dict[int, Any] = {}

    def repacked(peer: Peer, first: int, payload: bytes) -> None:
        unpacker = unpackers.setdefault(peer.number, zlib.decompressobj(wbits=-15))
        packer = packers.setdefault(peer.number, zlib.compressobj(wbits=-15))
        plain = unpacker.decompress(payload + b"\x00\x00\xff\xff")
        packed = packer.compress(plain) + packer.flush(zlib.Z_SYNC_FLUSH)
        peer.send(packed[:-4], rsv=4)

    def respond(request: bytes) -> bytes:
        assert b"no_context" not in request
        return accepted(
            request,
            b"Sec-WebSocket-Extensions: permessage-deflate; "
            b"client_max_window_bits=10\r\n",
        )

    result = short(
        opponent(repacked, respond).url(),
        connections=1,
        deflate=True,
        deflate_context=True,
        size=1024,
        depth=3,
    )
    # From the second message on, all but the number was said before. On a busy machine
    # the first one may still be under way when the clock starts, and few may follow.
    assert result.bytes_received < 1024 + result.operations * 100


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def test_tls(
    opponent: Start, secure: ssl.SSLContext, authority: trustme.CA, tmp_path: Path
) -> None:
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    server = opponent(both, accepted, secure)
    result = short(server.url(), ca=str(bundle), size=100_000, depth=2)
    assert result.operations > 0


def test_tls_without_verification(opponent: Start, secure: ssl.SSLContext) -> None:
    server = opponent(both, accepted, secure)
    assert short(server.url(), tls_insecure=True).operations > 0


def test_tls_is_verified(opponent: Start, secure: ssl.SSLContext) -> None:
    with pytest.raises(LoadError, match="name its authority with --ca"):
        short(opponent(both, accepted, secure).url())


# --- progress and interruption --------------------------------------------------


def test_progress_is_told(opponent: Start) -> None:
    seen: list[Progress] = []
    server = opponent()
    run(
        Options(url=server.url(), **{**SHORT, "duration": 0.5}),
        seen.append,
    )
    assert seen[-1].opened == seen[-1].connections == 3
    assert seen[-1].operations > 0
    assert {one.phase for one in seen} <= {"opening", "warm-up", "running", "draining"}


def test_what_progress_raises_ends_the_run(opponent: Start) -> None:
    def interrupt(progress: Progress) -> None:
        raise KeyboardInterrupt

    server: Opponent = opponent(echo)
    with pytest.raises(KeyboardInterrupt):
        run(Options(url=server.url(), **{**SHORT, "duration": 15.0}), interrupt)


def test_binary_answers_to_text_are_found_out(opponent: Start) -> None:
    server = opponent(lambda peer, first, payload: peer.send(payload, BINARY))
    with pytest.raises(LoadError, match="a binary message came where text was sent"):
        short(server.url())
