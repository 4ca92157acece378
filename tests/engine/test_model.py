"""Random programs against a pure model: each subscriber's bytes equal the model's.

Real sockets with small buffers, so that peers really stall in the middle of frames; the
model is a list of payloads for each connection.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import uvloop

from fastws import ChannelRule, Connection, Limits
from fastws.engine.binding import Binding
from fastws.engine.counters import native_counts
from fastws.engine.handshake import parse_head
from fastws.engine.hub import Hub
from fastws.engine.link import Link
from fastws.engine.parser import Parser
from fastws.engine.poller import poller_of
from fastws.engine.uvlink import UvLink
from tests.conftest import Certificates
from tests.engine.peers import secured
from tests.support.frames import CLOSE, frame

CHANNELS = ("a", "b", "c", "d")
NEVER_EVICT = ChannelRule(max_lag=1 << 30, max_lag_age=3600)
LIMITS = Limits(write_cap=1 << 30, max_stall=None)
DEADLINE = 30.0
REQUEST = parse_head(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", LIMITS)


@dataclass
class Peer:
    """A client socket, read only when the program says so, and what it should see."""

    socket: socket.socket
    connection: Connection
    handed: list[tuple[str, bytes, bool]] = field(default_factory=list)
    parser: Parser = field(default_factory=lambda: Parser(client=True))
    received: list[bytes] = field(default_factory=list)
    closing: bool = False
    closed: bool = False
    lost: bool = False

    def read(self, most: int) -> int:
        """Take up to ``most`` bytes; how many there were, or -1 at the end."""
        if self.lost:
            return -1
        try:
            data = self.socket.recv(most)
        except (BlockingIOError, ssl.SSLWantReadError):
            return 0
        for event in self.parser.feed(data):
            if event[0] == "message":
                message = event[1]
                assert isinstance(message, bytes)
                assert not self.closed
                self.received.append(message)
            elif event[0] == "close":
                self.closed = True
                self.socket.send(frame(CLOSE, b"\x03\xe8"))
            else:
                assert event[0] == "ping", event
        return len(data) if data else -1

    @property
    def done(self) -> bool:
        """Everything that it should see has come."""
        if self.lost:
            return True
        return len(self.received) >= len(self.expected) and self.closed == self.closing

    @property
    def expected(self) -> list[bytes]:
        return [payload for _, payload, wanted in self.handed if wanted]

    def forget_lag(self, channel: str) -> None:
        """What a slow peer is owed at an unsubscribe is dropped."""
        lag = self.connection.lag(channel)
        while lag > 0:
            position = max(
                index for index, one in enumerate(self.handed) if one[0] == channel
            )
            payload = self.handed.pop(position)[1]
            lag -= len(payload) + (2 if len(payload) < 126 else 4)
        assert lag == 0


class Program:
    """A random sequence of what an application may do, and its model."""

    def __init__(self, seed: int, members: str, certificates: Certificates) -> None:
        self.random = random.Random(seed)
        self.members = members
        self.certificates = certificates
        self.context = certificates.server_context()
        self.hub = Hub(LIMITS, loop=asyncio.get_running_loop())
        self.hub.rule_for = lambda name: NEVER_EVICT
        self.binding = Binding(limits=LIMITS)
        self.peers: list[Peer] = []
        self.subscriptions: dict[str, list[Peer]] = {name: [] for name in CHANNELS}
        self.numbers = itertools.count(1)
        if self.random.random() < 0.5:
            self.hub.slice_nanoseconds = 1

    async def connect(self, listener: socket.socket) -> None:
        made: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()

        def open_connection(hub: Hub, link: Link) -> Connection:
            connection = Connection.open(hub, link, self.binding, REQUEST, {}, None)
            made.set_result(connection)
            return connection

        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(listener.getsockname())
        client.setblocking(False)
        accepted, _ = listener.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        kind = self.members
        if kind == "mixed":
            kind = self.random.choice(("plain", "tls", "own"))
        if kind == "own":
            poller_of(self.hub).adopt(accepted, open_connection)
            self.peers.append(Peer(client, await made))
            return
        tls = kind == "tls"
        accepting = asyncio.ensure_future(
            asyncio.get_running_loop().connect_accepted_socket(
                lambda: UvLink(self.hub, open_connection),
                accepted,
                ssl=self.context if tls else None,
            )
        )
        if tls:
            client = await secured(client, self.certificates)
        await accepting
        self.peers.append(Peer(client, await made))

    def payload(self) -> bytes:
        size = self.random.choice((8, 20, 200, 1000, 1000, 20_000))
        return next(self.numbers).to_bytes(8, "big") + b"." * (size - 8)

    def open_peer(self) -> Peer | None:
        peers = [one for one in self.peers if one.connection.is_open and not one.lost]
        return self.random.choice(peers) if peers else None

    # -- what an application may do ----------------------------------------------------

    def send(self) -> None:
        if peer := self.open_peer():
            payload = self.payload()
            assert peer.connection.send(payload)
            peer.handed.append(("", payload, True))

    def publish(self) -> None:
        channel = self.random.choice(CHANNELS)
        payload = self.payload()
        excluded = self.open_peer() if self.random.random() < 0.4 else None
        if excluded is None:
            self.hub.publish(channel, payload)
        else:
            excluded.connection.publish(channel, payload)
        for peer in self.subscriptions[channel]:
            peer.handed.append((channel, payload, peer is not excluded))

    def broadcast(self) -> None:
        payload = self.payload()
        excluded = self.open_peer() if self.random.random() < 0.4 else None
        self.hub.broadcast(payload, exclude=excluded.connection if excluded else None)
        for peer in self.peers:
            if peer.connection.is_open:
                peer.handed.append(("*", payload, peer is not excluded))

    def subscribe(self) -> None:
        peer, channel = self.open_peer(), self.random.choice(CHANNELS)
        if peer:
            peer.connection.subscribe(channel)
            if peer not in self.subscriptions[channel]:
                self.subscriptions[channel].append(peer)

    def unsubscribe(self) -> None:
        channel = self.random.choice(CHANNELS)
        if self.subscriptions[channel]:
            peer = self.random.choice(self.subscriptions[channel])
            self.flush_everything()
            lost, handed = self.count("frames_lost"), len(peer.handed)
            peer.forget_lag(channel)
            assert peer.connection.unsubscribe(channel)
            assert self.count("frames_lost") - lost == handed - len(peer.handed)
            self.subscriptions[channel].remove(peer)

    def count(self, name: str) -> int:
        return self.hub.counters.snapshot()[name]

    def flush_everything(self) -> None:
        slices = -1
        while slices != (slices := self.count("slices")):
            self.hub.flush()

    def ping(self) -> None:
        if peer := self.open_peer():
            asyncio.ensure_future(peer.connection.ping()).cancel()

    def close(self) -> None:
        """In order: what was handed over before still arrives, and then the Close."""
        if (peer := self.open_peer()) and self.random.random() < 0.1:
            peer.connection.close(1000)
            peer.closing = True
            self.forget(peer)

    def lose(self) -> None:
        """One end gives up: what has arrived so far is right, and the rest is gone."""
        if (peer := self.open_peer()) and self.random.random() < 0.05:
            if self.random.random() < 0.5:
                peer.socket.close()
            else:
                peer.connection.abort()
            peer.lost = True
            self.forget(peer)

    def forget(self, peer: Peer) -> None:
        for peers in self.subscriptions.values():
            if peer in peers:
                peers.remove(peer)

    def read(self) -> None:
        self.random.choice(self.peers).read(self.random.choice((1, 100, 5000, 100_000)))

    async def run(self, steps: int) -> None:
        actions: list[Callable[[], None]] = [self.send, self.publish, self.subscribe]
        actions += [self.publish] * 3 + [self.unsubscribe, self.close, self.ping]
        actions += [self.broadcast] * self.random.choice((0, 1))
        actions += [self.lose] * self.random.choice((0, 1))
        actions += [self.read] * self.random.choice((0, 2, 12))
        for _ in range(steps):
            self.random.choice(actions)()
            if self.random.random() < 0.3:
                await asyncio.sleep(0)
        async with asyncio.timeout(DEADLINE):
            while not all(one.done for one in self.peers):
                for peer in self.peers:
                    peer.read(100_000)
                await asyncio.sleep(0)
        for peer in self.peers:
            got = len(peer.received)
            assert peer.received == peer.expected[:got]
            assert peer.lost or got == len(peer.expected)

    async def finish(self) -> None:
        for peer in self.peers:
            peer.connection.abort()
        async with asyncio.timeout(DEADLINE):
            while self.hub.connection_count:  # noqa: ASYNC110
                await asyncio.sleep(0)
        for peer in self.peers:
            peer.socket.close()


async def run_program(seed: int, members: str, certificates: Certificates) -> None:
    program = Program(seed, members, certificates)
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        for _ in range(program.random.choice((1, 5, 40))):
            await program.connect(listener)
        try:
            await program.run(program.random.choice((50, 300)))
        finally:
            await program.finish()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("members", ["plain", "own", "tls", "mixed"])
@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_random_programs_deliver_what_the_model_says(
    runner: Callable[[object], None], members: str, certificates: Certificates
) -> None:
    base = int(os.environ.get("FASTWS_SEED", random.randrange(1 << 30)))
    rounds = int(os.environ.get("FASTWS_ROUNDS", "12"))
    for seed in range(base, base + rounds):
        print(f"FASTWS_SEED={seed}")  # noqa: T201
        runner(run_program(seed, members, certificates))
    counts = native_counts()
    assert counts["connections"] == counts["segments"] == counts["members"] == 0
