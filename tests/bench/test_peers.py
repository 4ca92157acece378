"""Every server of the comparisons against the contract that they share.

The control and fastws run everywhere. What bench/peers/install.sh installs is a
service.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import tomllib
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from bench.peers.peers import MODES, PEERS, VERSIONS, Peer
from bench.scenarios.servers import free_port
from tests.support.client import SAMPLE_ACCEPT, RawClient, upgrade_request
from tests.support.frames import BINARY, CLOSE, PING, PONG, TEXT, close, frame
from tests.support.waits import DEADLINE, eventually

BENCH = Path(__file__).resolve().parents[2] / "bench"
START_DEADLINE = 30.0
SIZES = (1, 125, 126, 1000, 65_536, 300_000)
RSV1 = 0x40
# Without context each message can be read on its own.
OFFER = "permessage-deflate; server_no_context_takeover"
WITH_CONTEXT = "permessage-deflate; client_no_context_takeover"
TAIL = b"\0\0\xff\xff"
HERE = b"here"

pytestmark = [
    # It compiles, and other runtimes can't take the preloaded ones.
    pytest.mark.unsanitized,
    pytest.mark.skipif(
        not hasattr(os, "sched_getaffinity"), reason="the control is for Linux"
    ),
]


def payload(size: int, opcode: int = TEXT) -> bytes:
    """Bytes that shrink a little, valid as text when they have to be."""
    letters = bytes(range(48, 122)) if opcode == TEXT else bytes(range(256))
    return (letters * (size // len(letters) + 1))[:size]


class Running:
    """A started server and the clients of one test."""

    def __init__(self, port: int, clients: ExitStack) -> None:
        self.port = port
        self._clients = clients
        self.extensions = ""
        """What the newest client was granted."""

    def client(self, path: str, offer: str = "") -> RawClient:
        one = self._clients.enter_context(RawClient(("127.0.0.1", self.port)))
        headers = {"Sec-WebSocket-Extensions": offer} if offer else {}
        one.send(upgrade_request(path, headers))
        # Not upgrade(), which is strict: nchan's answer has a Content-Length of 0.
        response = one.read_response()
        assert response.status == 101, response
        assert response.headers["sec-websocket-accept"] == SAMPLE_ACCEPT
        self.extensions = response.headers.get("sec-websocket-extensions", "")
        return one

    def joined(self, path: str, count: int, offer: str = "") -> list[RawClient]:
        """Clients of one channel that have all received something there, so that
        their subscriptions are in force."""
        clients = [self.client(path, offer) for _ in range(count)]

        def are_all_there() -> bool:
            clients[0].send(frame(TEXT, HERE))
            read_raw(clients[0])
            for one in clients[1:]:
                one.poll()
            return all(one.received for one in clients[1:])

        eventually(are_all_there)
        return clients


def read_wire(client: RawClient) -> tuple[bool, int, bytes]:
    """The next frame: whether it is compressed, its opcode and its payload as it is."""

    def has_begun() -> bool:
        client.poll()
        return len(client.received) > 1

    eventually(has_begun)
    is_compressed = bool(client.received[0] & RSV1)
    client.received[0] &= ~RSV1
    found = client.read_frame()
    return is_compressed, found.opcode, found.payload


def read_raw(client: RawClient) -> tuple[bool, int, bytes]:
    """The next frame: whether it is compressed, its opcode and its message."""
    is_compressed, opcode, data = read_wire(client)
    if is_compressed:
        inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        data = inflate.decompress(data + TAIL)
    return is_compressed, opcode, data


def read_news(client: RawClient) -> tuple[bool, int, bytes]:
    """The next frame that is not about joining."""
    while (found := read_raw(client))[2] == HERE:
        pass
    return found


@contextmanager
def started(
    peer: Peer,
    *,
    deflate: bool = False,
    cohort: bool = False,
    ping: float | None = None,
) -> Iterator[Running]:
    """The server, ended by SIGTERM; what it said about trouble fails the test."""
    port = free_port()
    process = subprocess.Popen(
        peer.command(port, deflate, cohort=cohort, ping=ping),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )

    def kill() -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(START_DEADLINE, kill)
    timer.start()
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        timer.cancel()
        with ExitStack() as clients:
            yield Running(port, clients)
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=DEADLINE)
        assert rest == ""
    finally:
        timer.cancel()
        kill()  # a parent's children too
        process.communicate()


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    subprocess.run(["make", "--quiet", "-C", str(BENCH)], check=True, timeout=60)


def runs_everywhere(peer: Peer) -> bool:
    return peer.is_ours or peer.runtime == "control"


def those_who_can(*modes: str) -> list[object]:
    return [
        pytest.param(
            peer,
            id=peer.name,
            marks=() if runs_everywhere(peer) else pytest.mark.services,
        )
        for peer in PEERS.values()
        if peer.modes.issuperset(modes)
    ]


def installed(peer: Peer) -> Peer:
    if peer.missing is not None:
        pytest.skip(f"{peer.name}: {peer.missing}")
    return peer


# --- the list itself --------------------------------------------------------------


def test_every_peer_is_named_once_with_what_a_report_needs() -> None:
    for name, peer in PEERS.items():
        assert peer.name == name
        assert peer.modes <= set(MODES)
        assert all((peer.language, peer.note, peer.source))
        assert bool(peer.version) != runs_everywhere(peer), name


def test_every_pin_belongs_to_a_peer() -> None:
    assert set(tomllib.loads(VERSIONS.read_text())) <= set(PEERS)


def test_a_package_has_one_version_for_all() -> None:
    seen: dict[str, str] = {}
    for clients in tomllib.loads(VERSIONS.read_text()).values():
        for packages in clients.values():
            for package, version in packages.items():
                assert seen.setdefault(package, version) == version, package


def test_what_would_silently_be_absent_is_refused() -> None:
    with pytest.raises(ValueError):
        PEERS["control"].command(1, deflate=True)
    with pytest.raises(ValueError):
        PEERS["picows"].command(1, ping=25)
    with pytest.raises(ValueError):
        PEERS["websockets"].command(1, deflate=True, cohort=True)
    with pytest.raises(ValueError):
        PEERS["fastws"].command(1, cohort=True)


# --- the contract -----------------------------------------------------------------


@pytest.mark.parametrize("peer", those_who_can("echo"))
def test_echo_keeps_payload_and_opcode(peer: Peer) -> None:
    with started(installed(peer)) as server:
        client = server.client("/echo")
        for size in SIZES:
            for opcode in (TEXT, BINARY):
                message = payload(size, opcode)
                client.send(frame(opcode, message))
                answer = client.read_message()
                assert type(answer) is (str if opcode == TEXT else bytes)
                got = answer if isinstance(answer, bytes) else answer.encode()
                assert got == message


@pytest.mark.parametrize("peer", those_who_can("echo"))
def test_echo_answers_many_in_order(peer: Peer) -> None:
    with started(installed(peer)) as server:
        client = server.client("/echo")
        client.send(b"".join(frame(TEXT, f"number {i}") for i in range(200)))
        assert [client.read_message() for _ in range(200)] == [
            f"number {i}" for i in range(200)
        ]


@pytest.mark.parametrize("peer", those_who_can("echo"))
def test_a_close_is_answered(peer: Peer) -> None:
    with started(installed(peer)) as server:
        client = server.client("/echo")
        client.send(close(1000))
        assert client.read_frame().opcode == CLOSE
        client.wait_gone()


@pytest.mark.parametrize("peer", those_who_can("fanout"))
def test_fanout_reaches_all_and_the_sender(peer: Peer) -> None:
    with started(installed(peer)) as server:
        clients = server.joined("/fanout", 5)
        for number, opcode in enumerate((TEXT, BINARY, TEXT, BINARY)):
            message = payload(60 + 100 * number, opcode)
            clients[number].send(frame(opcode, message))
            for client in clients:
                assert read_news(client) == (False, opcode, message)


@pytest.mark.parametrize("peer", those_who_can("fanout"))
def test_fanout_keeps_the_order_and_lets_who_leaves_go(peer: Peer) -> None:
    numbers = [b"number %d" % i for i in range(50)]
    with started(installed(peer)) as server:
        clients = server.joined("/fanout", 4)
        clients.pop().reset()
        leaving = clients.pop()
        leaving.send(close(1000))
        leaving.wait_gone()
        clients[0].send(b"".join(frame(TEXT, number) for number in numbers))
        for client in clients:
            assert [read_news(client)[2] for _ in numbers] == numbers


@pytest.mark.parametrize("peer", those_who_can("channels"))
def test_channels_are_apart(peer: Peer) -> None:
    with started(installed(peer)) as server:
        rooms = {path: server.joined(path, 2) for path in ("/fanout/1", "/fanout/2")}
        for path, (speaker, _) in rooms.items():
            speaker.send(frame(TEXT, path))
        for path, clients in rooms.items():
            for client in clients:
                assert read_news(client)[2] == path.encode()
                client.poll()
                assert not client.received


@pytest.mark.parametrize("peer", those_who_can())
def test_nothing_is_negotiated_unless_asked_for(peer: Peer) -> None:
    with started(installed(peer)) as server:
        server.client(peer.handshake_path, OFFER)
        assert server.extensions == ""


@pytest.mark.parametrize("peer", those_who_can("echo", "echo-deflate"))
def test_echo_is_compressed_when_it_says_so(peer: Peer) -> None:
    message = payload(2000)
    for deflate in (True, False):
        with started(installed(peer), deflate=deflate) as server:
            client = server.client("/echo", OFFER)
            assert ("permessage-deflate" in server.extensions) == deflate
            client.send(frame(TEXT, message))
            assert read_raw(client) == (deflate, TEXT, message)


@pytest.mark.parametrize("peer", those_who_can("fanout", "fanout-deflate"))
def test_fanout_is_compressed_when_it_says_so(peer: Peer) -> None:
    message = payload(2000)
    for deflate in (True, False):
        with started(installed(peer), deflate=deflate) as server:
            clients = server.joined("/fanout", 3, OFFER)
            assert ("permessage-deflate" in server.extensions) == deflate
            clients[1].send(frame(TEXT, message))
            for client in clients:
                assert read_news(client) == (deflate, TEXT, message)


@pytest.mark.parametrize("peer", those_who_can("fanout", "fanout-deflate"))
def test_short_messages_are_compressed_too(peer: Peer) -> None:
    message = (
        b'{"bid":184.21,"ask":184.22,"bid_size":200,"ask_size":300,"symbol":"ABC"}'
    )
    assert len(message) < 80
    with started(installed(peer), deflate=True) as server:
        clients = server.joined("/fanout", 2, OFFER)
        clients[0].send(frame(TEXT, message))
        for client in clients:
            assert read_news(client) == (True, TEXT, message)


@pytest.mark.parametrize("peer", those_who_can("cohort"))
def test_a_channel_shares_one_context(peer: Peer) -> None:
    message = b'{"side":"buy","symbol":"ABC","price":%d,"volume":100,"venue":"XNAS"}'
    with started(installed(peer), deflate=True, cohort=True) as server:
        clients = [server.client("/fanout", WITH_CONTEXT) for _ in range(3)]
        windows = [zlib.decompressobj(wbits=-zlib.MAX_WBITS) for _ in clients]
        prices = iter(range(10_000, 99_999))

        def refers_to_earlier_ones() -> bool:
            sent = message % next(prices)
            clients[1].send(frame(TEXT, sent))
            frames = [read_wire(client) for client in clients]
            assert len(set(frames)) == 1
            is_compressed, opcode, data = frames[0]
            assert (is_compressed, opcode) == (True, TEXT)
            for window in windows:
                assert window.decompress(data + TAIL) == sent
            return len(data) < len(sent) / 3

        eventually(refers_to_earlier_ones)


@pytest.mark.parametrize("peer", those_who_can("echo", "pings"))
def test_pings_come_as_often_as_asked_and_silence_is_the_end(peer: Peer) -> None:
    # Who has not answered by the next ping is dropped: a busy machine needs some time.
    with started(installed(peer), ping=2.0) as server:
        silent, answering = server.client("/echo"), server.client("/fanout")
        for _ in range(3):
            ping = answering.read_frame()
            assert ping.opcode == PING
            answering.send(frame(PONG, ping.payload))
        assert silent.read_frame().opcode == PING
        if not peer.is_ours:  # whose time-out is seconds, and tested elsewhere
            silent.wait_gone()
        answering.send(frame(TEXT, b"still there"))
        while (found := answering.read_frame()).opcode == PING:
            answering.send(frame(PONG, found.payload))
        assert found.payload == b"still there"


# --- the control alone ------------------------------------------------------------


def test_the_control_names_the_port_it_chose() -> None:
    command = [*PEERS["control"].command(0)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        word, port = process.stdout.readline().split()
        assert word == "ready"
        with RawClient(("127.0.0.1", int(port))) as client:
            client.upgrade("/echo")
    finally:
        process.kill()
        process.communicate()
