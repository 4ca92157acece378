"""Every fault that a server can have is found, and named."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Callable

import pytest

from fastws.load import LoadError
from tests.load.conftest import short
from tests.load.opponent import (
    Behaviour,
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
from tests.support.frames import CLOSE, CONTINUATION, PONG, TEXT, frame

AFTER = 5  # messages that are answered well before the fault
# Seconds after which a run fails in which something never comes. So much comes before
# that a busy machine needs some of them.
TIMEOUT = 3.0


def wrong(fault: Behaviour, good: Behaviour = echo) -> Behaviour:
    """The fault, once a connection has been served well for a while."""

    def behave(peer: Peer, first: int, payload: bytes) -> None:
        (good if peer.messages < AFTER else fault)(peer, first, payload)

    return behave


def changed(payload: bytes, at: int) -> bytes:
    return payload[:at] + bytes([payload[at] ^ 1]) + payload[at + 1 :]


def twice(peer: Peer, first: int, payload: bytes) -> None:
    peer.send(payload)
    peer.send(payload)


def nothing(peer: Peer, first: int, payload: bytes) -> None:
    """The message is lost."""


def closing(peer: Peer, first: int, payload: bytes) -> None:
    peer.send(b"\x03\xf3overloaded", CLOSE)


ECHO_FAULTS: dict[str, tuple[Behaviour, str]] = {
    "last byte": (
        lambda p, f, d: p.send(changed(d, -1 % len(d))),
        "changed, from byte 63",
    ),
    "first filler byte": (
        lambda p, f, d: p.send(changed(d, 16)),
        "changed, from byte 16",
    ),
    "number": (lambda p, f, d: p.send(changed(d, 7)), "came"),
    "tag": (lambda p, f, d: p.send(changed(d, 15)), "a message of connection"),
    "shorter": (lambda p, f, d: p.send(d[:-1]), "63 bytes came where 64"),
    "longer": (lambda p, f, d: p.send(changed(d, 20) + b"x"), "65 bytes came where 64"),
    "twice": (twice, "came again"),
    "empty": (lambda p, f, d: p.send(b""), "0 bytes came"),
    "masked": (lambda p, f, d: p.send_bytes(frame(TEXT, d)), "masks its frames"),
    "reserved bit": (lambda p, f, d: p.send(d, rsv=2), "a frame starting with 0xa1"),
    "compressed unasked": (lambda p, f, d: p.send(d, rsv=4), "not agreed on"),
    "opcode": (lambda p, f, d: p.send(d, 0x3), "out of place"),
    "control opcode": (lambda p, f, d: p.send(d, 0xB), "unknown opcode"),
    "continuation": (lambda p, f, d: p.send(d, CONTINUATION), "out of place"),
    "long pong": (lambda p, f, d: p.send(bytes(126), PONG), "control frame of 126"),
    "close": (closing, "closed by the server with 1011: overloaded"),
    "end": (lambda p, f, d: p.end(), "ended the connection without a close frame"),
}


@pytest.mark.parametrize("name", ECHO_FAULTS)
@pytest.mark.parametrize("depth", [1, 4])
def test_echo(opponent: Start, name: str, depth: int) -> None:
    fault, words = ECHO_FAULTS[name]
    with pytest.raises(LoadError, match=words):
        short(opponent(wrong(fault)).url(), depth=depth)


def test_a_lost_message_is_counted(opponent: Start) -> None:
    with pytest.raises(LoadError, match=r"timed out.*awaits message 5 of 6"):
        short(opponent(wrong(nothing)).url(), connections=1, timeout=TIMEOUT)


def test_a_surplus_message_after_the_last(opponent: Start) -> None:
    """It comes with the answer to the close frame."""
    server = opponent()
    server.farewell = frame(TEXT, bytes(64), key=None)
    with pytest.raises(LoadError, match="64 bytes beyond the last"):
        short(server.url())


def test_out_of_order(opponent: Start) -> None:
    held: list[bytes] = []

    def swapped(peer: Peer, first: int, payload: bytes) -> None:
        held.append(payload)
        if len(held) == 2:
            peer.send(held.pop())
            peer.send(held.pop())

    with pytest.raises(LoadError, match=r"message 1 came where 0 was due: 1 missing"):
        short(opponent(swapped).url(), connections=1, depth=2)


def test_other_contents_pass_when_nobody_looks(opponent: Start) -> None:
    upper = opponent(lambda peer, first, payload: peer.send(payload.upper()))
    assert short(upper.url(), verify=False).operations > 0
    with pytest.raises(LoadError, match="changed"):
        short(upper.url())
    shorter = opponent(lambda peer, first, payload: peer.send(payload[1:]))
    with pytest.raises(LoadError, match="63 bytes came"):
        short(shorter.url(), verify=False)


# --- fan-out ----------------------------------------------------------------------


def to_all(send: Callable[[Peer, bytes], None]) -> Behaviour:
    def fault(peer: Peer, first: int, payload: bytes) -> None:
        for one in peer.server.peers:
            send(one, payload)

    return wrong(fault, broadcast)


def to_last(send: Callable[[Peer, bytes], None]) -> Behaviour:
    """Everybody gets it, the last one in another way."""

    def deliver(one: Peer, payload: bytes) -> None:
        if one.number == 2:
            send(one, payload)
        else:
            one.send(payload)

    return to_all(deliver)


def double(one: Peer, payload: bytes) -> None:
    one.send(payload)
    one.send(payload)


FANOUT_FAULTS: dict[str, tuple[Behaviour, str]] = {
    "nobody": (to_all(lambda o, d: None), "3 deliveries are missing"),
    "not the last": (
        to_last(lambda o, d: None),
        "1 deliveries are missing; subscriber",
    ),
    "twice": (to_last(double), "came again|before it was sent"),
    "changed": (
        to_last(lambda o, d: o.send(changed(d, 100))),
        "changed, from byte 100",
    ),
    "number": (to_last(lambda o, d: o.send(changed(d, 7))), "publication"),
    "publisher": (to_last(lambda o, d: o.send(changed(d, 15))), "there is none"),
    "longer": (to_last(lambda o, d: o.send(d[:-1] + b"ab")), "129 bytes came"),
    "close": (to_last(lambda o, d: closing(o, 0, d)), "with 1011: overloaded"),
    "end": (to_last(lambda o, d: o.end()), "without a close frame"),
}


@pytest.mark.parametrize("name", FANOUT_FAULTS)
def test_fanout(opponent: Start, name: str) -> None:
    behaviour, words = FANOUT_FAULTS[name]
    with pytest.raises(LoadError, match=words):
        short(
            opponent(behaviour).url("/f"),
            mode="fanout",
            size=128,
            timeout=TIMEOUT,
            parallel=1,
        )


def test_a_lost_publication_shows_with_the_next(opponent: Start) -> None:
    def skipping(one: Peer, payload: bytes) -> None:
        one.skipped += 1
        if one.skipped != 2:
            one.send(payload)

    with pytest.raises(LoadError, match="was due: 1 missing"):
        short(opponent(to_last(skipping)).url("/f"), mode="fanout", depth=4)


def test_subscribers_that_get_nothing_at_all(opponent: Start) -> None:
    with pytest.raises(LoadError, match="2 of 3 subscribers got nothing"):
        short(opponent(echo).url("/f"), mode="fanout", timeout=TIMEOUT)


def test_a_publisher_that_hears_itself(opponent: Start) -> None:
    with pytest.raises(LoadError, match="run with --deliveries self"):
        short(opponent(broadcast).url("/f"), mode="fanout", deliveries="others")


def test_messages_of_another_channel(opponent: Start) -> None:
    def everywhere(peer: Peer, first: int, payload: bytes) -> None:
        for one in peer.server.peers:
            one.send(payload)

    with pytest.raises(LoadError, match="a publication of channel"):
        short(
            opponent(everywhere).url("/f/{channel}"),
            mode="fanout",
            connections=4,
            channels=2,
            publishers=2,
        )


def test_broadcast_for_echo(opponent: Start) -> None:
    with pytest.raises(LoadError, match="a message of connection"):
        short(opponent(broadcast).url("/f"))


# --- compression ------------------------------------------------------------------


def test_compression_that_was_not_accepted(opponent: Start) -> None:
    with pytest.raises(LoadError, match="did not accept permessage-deflate"):
        short(opponent().url(), deflate=True)


def test_uncompressed_although_accepted(opponent: Start) -> None:
    server = opponent(lambda p, f, d: p.send(inflated(d)), takes_deflate)
    with pytest.raises(LoadError, match="sent 100 bytes uncompressed"):
        short(server.url(), deflate=True, size=100)


def test_short_messages_may_stay_uncompressed(opponent: Start) -> None:
    server = opponent(lambda p, f, d: p.send(inflated(d)), takes_deflate)
    assert short(server.url(), deflate=True, size=63).compressed_frames == 0


def test_broken_compression(opponent: Start) -> None:
    server = opponent(lambda p, f, d: p.send(b"\xff" * 20, rsv=4), takes_deflate)
    with pytest.raises(LoadError, match="a compressed message of 20 bytes is broken"):
        short(server.url(), deflate=True)


def test_compressed_but_changed(opponent: Start) -> None:
    server = opponent(lambda p, f, d: p.send(deflated(b"x" * 64), rsv=4), takes_deflate)
    with pytest.raises(LoadError, match="changed, from byte 16"):
        short(server.url(), deflate=True)


def test_compressed_deliveries_are_still_compared(opponent: Start) -> None:
    """The same compressed bytes twice are a doubled delivery, not a known one."""

    def again(peer: Peer, first: int, payload: bytes) -> None:
        for one in peer.server.peers:
            one.send(payload, rsv=4)
            if peer.messages == AFTER:
                one.send(payload, rsv=4)

    with pytest.raises(LoadError, match="came again"):
        short(
            opponent(again, takes_deflate).url("/f"),
            mode="fanout",
            deflate=True,
            size=200,
        )


@pytest.mark.parametrize(
    ("extensions", "words"),
    [
        (b"x-webkit-deflate-frame", "not offered"),
        (b"permessage-deflate; server_max_window_bits=99", "parameters are wrong"),
        (b"permessage-deflate; nonsense", "parameters are wrong"),
    ],
)
def test_extensions_that_nobody_offered(
    opponent: Start, extensions: bytes, words: str
) -> None:
    def respond(request: bytes) -> bytes:
        return accepted(request, b"Sec-WebSocket-Extensions: %s\r\n" % extensions)

    with pytest.raises(LoadError, match=words):
        short(opponent(both, respond).url(), deflate=True)
    with pytest.raises(LoadError, match="an extension that was not offered"):
        short(opponent(both, respond).url())


# --- handshakes -------------------------------------------------------------------

ANSWERS: dict[str, tuple[bytes, str]] = {
    "404": (
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 14\r\n\r\nno such\nroute.",
        r"handshake: the server answered HTTP/1.1 404 Not Found: no such route\.",
    ),
    "403": (b"HTTP/1.1 403 Forbidden\r\n\r\n", "answered HTTP/1.1 403 Forbidden$"),
    "short body": (
        b"HTTP/1.1 500 Oops\r\nContent-Length: 99\r\n\r\nbad",
        "HTTP/1.1 500 Oops: bad",
    ),
    "no http": (b"SSH-2.0-OpenSSH_9.6\r\n", "does not answer in HTTP"),
    "no accept": (b"HTTP/1.1 101 Yes\r\n\r\n", "no Sec-WebSocket-Accept"),
    "wrong accept": (
        b"HTTP/1.1 101 Yes\r\nSec-WebSocket-Accept: " + b"A" * 27 + b"=\r\n\r\n",
        "wrong Sec-WebSocket-Accept",
    ),
    "long head": (b"HTTP/1.1 101 " + b"x" * 20_000, "answer is too long"),
    "nothing": (b"", "during the handshake"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_handshake(opponent: Start, name: str) -> None:
    answer, words = ANSWERS[name]
    with pytest.raises(LoadError, match=words):
        short(opponent(echo, lambda request: answer).url(), connections=1)


def test_subprotocol_that_was_not_chosen(opponent: Start) -> None:
    with pytest.raises(LoadError, match="did not choose the subprotocol"):
        short(opponent().url(), subprotocol="chat")


def test_subprotocol_that_nobody_asked_for(opponent: Start) -> None:
    def respond(request: bytes) -> bytes:
        return accepted(request, b"Sec-WebSocket-Protocol: chat\r\n")

    with pytest.raises(LoadError, match="a subprotocol that nobody asked for"):
        short(opponent(both, respond).url())


# --- connecting -------------------------------------------------------------------


def test_nobody_listens() -> None:
    with socket.socket() as holder:
        # Bound, nobody else on this machine can get the port.
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        with pytest.raises(LoadError, match=f"nothing listens at 127.0.0.1:{port}"):
            short(f"ws://127.0.0.1:{port}/")


def test_a_silent_server_meets_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(LoadError, match=r"timed out.*0 of 3 connections were open"):
            short(f"ws://127.0.0.1:{port}/", timeout=0.3)


def test_sources_are_for_loopback() -> None:
    with pytest.raises(LoadError, match="--sources are addresses of loopback"):
        short("ws://192.0.2.1:80/", sources=2)


def test_open_files_can_run_out(opponent: Start) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= 1_000_000:
        pytest.skip("as many open files as one likes")
    with pytest.raises(LoadError, match="open files are needed"):
        short(opponent().url(), connections=1_000_000)


def test_the_limit_of_open_files_is_put_back(opponent: Start) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = len(os.listdir("/proc/self/fd")) + 70
    server = opponent()
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    try:
        # Both sides of each connection are in this process.
        assert short(server.url(), mode="idle", connections=60).operations == 60
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == few
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_unanswered_pings(opponent: Start) -> None:
    server = opponent()
    server.answers_pings = False
    with pytest.raises(LoadError, match=r"\d+ of \d+ pings were not answered"):
        short(server.url(), mode="idle", ping_interval=0.02, timeout=TIMEOUT)


def test_a_pong_with_other_bytes(opponent: Start) -> None:
    server = opponent()
    server.pong = lambda payload: changed(payload, 7)
    with pytest.raises(LoadError, match="a pong with other bytes than its ping"):
        short(server.url(), mode="idle", ping_interval=0.02)


def test_idle_connections_that_are_spoken_to(opponent: Start) -> None:
    def respond(request: bytes) -> bytes:
        return accepted(request) + frame(TEXT, b"hello", key=None)

    with pytest.raises(LoadError, match="5 bytes that nobody asked for"):
        short(opponent(echo, respond).url(), mode="idle")


def test_a_process_that_is_not_there(opponent: Start) -> None:
    with pytest.raises(LoadError, match="there is no process"):
        short(opponent().url(), server_pid=2**22 - 1)
