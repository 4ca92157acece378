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
from typing import Any, Literal

import pytest
import uvloop

from fastws import ChannelRule, Connection, Limits, Position
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
from tests.support.seeds import fresh_seed

CHANNELS = ("a", "b", "c", "d")
# What counts when something has been written.
PROGRESS = ("slices", "bytes_sent")
LIMITS = Limits(write_cap=1 << 30, max_stall=None)
DEADLINE = 30.0
REQUEST = parse_head(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", LIMITS)

# Rules that never act on a slow subscriber: whatever is handed over arrives.
ROOMY: dict[str, Any] = {"max_lag": 1 << 30, "max_lag_age": 3600}
PATIENT_RULES = (
    ChannelRule(**ROOMY),
    ChannelRule(**ROOMY, history=10_000),
    ChannelRule(**ROOMY, batch=0.001),
    ChannelRule(**ROOMY, batch=0.001, history=10_000, slow="latest"),
)
# Rules that act, and soon.
TIGHT: dict[str, Any] = {"max_lag": 3000, "max_lag_age": 3600}
HEALING_RULES = (
    ChannelRule(**ROOMY),
    ChannelRule(**TIGHT, slow="skip"),
    ChannelRule(**TIGHT, slow="skip", history=8),
    ChannelRule(**TIGHT, slow="latest"),
    ChannelRule(**TIGHT, slow="latest", max_keys=3),
    ChannelRule(**TIGHT, slow="latest", history=30),
    ChannelRule(**TIGHT, slow="resume"),
    ChannelRule(**TIGHT, slow="resume", history=5),
    ChannelRule(**TIGHT, slow="resume", history=60),
    ChannelRule(**TIGHT, slow="resume", history=60, history_bytes=20_000),
)


@dataclass(eq=False)
class Item:
    """Something handed over to one connection."""

    channel: str
    payload: bytes
    wanted: bool = True
    key: str | None = None
    number: int = 0

    @property
    def size(self) -> int:
        """Of its frame."""
        return len(self.payload) + (2 if len(self.payload) < 126 else 4)


@dataclass
class Cursor:
    """What a channel owes to a subscriber, as far as the model knows."""

    owed: list[Item] = field(default_factory=list)
    detour: Literal["", "keyed", "history"] = ""
    missed: int = 0
    told: int = 0


@dataclass
class Stream:
    """A channel: its rule, its subscribers, its history."""

    rule: ChannelRule
    cursors: dict[int, Cursor] = field(default_factory=dict)
    number: int = 0
    kept: list[tuple[int, bytes, Peer | None]] = field(default_factory=list)

    @property
    def oldest(self) -> int:
        return self.number + 1 - len(self.kept)

    def keep(self, payload: bytes, excluded: Peer | None) -> None:
        self.number += 1
        if self.rule.history is None:
            return
        self.kept.append((self.number, payload, excluded))
        while len(self.kept) > self.rule.history or (
            self.kept_bytes > self.rule.history_bytes and len(self.kept) > 1
        ):
            del self.kept[0]

    @property
    def kept_bytes(self) -> int:
        return sum(Item("", payload).size for _, payload, _ in self.kept)


@dataclass(eq=False)
class Peer:
    """A client socket, read only when the program says so, and what it should see."""

    socket: socket.socket
    connection: Connection
    handed: list[Item] = field(default_factory=list)
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
        return [item.payload for item in self.handed if item.wanted]

    def hand(self, item: Item) -> None:
        self.handed.append(item)

    def drop(self, items: list[Item]) -> int:
        """These don't come after all; how many were wanted."""
        dropped = {id(item) for item in items}
        self.handed = [item for item in self.handed if id(item) not in dropped]
        return sum(item.wanted for item in items)

    def drop_last(self, channel: str, count: int) -> None:
        """The last ones that were wanted."""
        items = [one for one in self.handed if one.channel == channel and one.wanted]
        assert len(items) >= count
        self.drop(items[len(items) - count :])


class Program:
    """A random sequence of what an application may do, and its model.

    In a *healing* program policies act on slow subscribers. When they do depends on
    what the kernel took, so everything is flushed around each publication; the model
    then learns from ``lag`` which frames have left, and everything else follows.
    """

    def __init__(self, seed: int, members: str, certificates: Certificates) -> None:
        self.random = random.Random(seed)
        self.members = members
        self.certificates = certificates
        self.context = certificates.server_context()
        self.healing = self.random.random() < 0.6
        rules = HEALING_RULES if self.healing else PATIENT_RULES
        self.streams = {name: Stream(self.random.choice(rules)) for name in CHANNELS}
        self.hub = Hub(LIMITS, loop=asyncio.get_running_loop())
        self.hub.rule_for = lambda name: self.streams[name].rule
        self.binding = Binding(limits=LIMITS, on_skip=self.on_skip)
        self.peers: list[Peer] = []
        self.numbers = itertools.count(1)
        if self.random.random() < 0.5:
            self.hub.slice_nanoseconds = 1

    def on_skip(self, ws: Connection, channel: str, missed: int) -> None:
        peer = next(one for one in self.peers if one.connection is ws)
        self.streams[channel].cursors[id(peer)].told += missed

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
            peer.hand(Item("", payload))

    def publish(self) -> None:
        for _ in range(1 if self.healing else self.random.choice((1, 1, 3))):
            name = self.random.choice(CHANNELS)
            excluded = self.open_peer() if self.random.random() < 0.4 else None
            key = self.random.choice((None, "k", "l", "m", "n", "o"))
            self.publish_one(name, self.payload(), key, excluded)

    def publish_one(
        self, name: str, payload: bytes, key: str | None, excluded: Peer | None
    ) -> None:
        stream = self.streams[name]
        if self.healing:
            self.learn()
        if excluded is not None and self.random.random() < 0.5:
            excluded.connection.publish(name, payload, key=key)
        elif excluded is None and self.random.random() < 0.3:
            self.hub.publish_batch([(name, payload, key)])
        elif excluded is None and self.random.random() < 0.3:
            receipt = self.hub.publish_confirmed(name, payload, key)
            kept = stream.rule.history is not None
            assert receipt.offset == (stream.number + 1 if kept else None)
        else:
            connection = excluded.connection if excluded else None
            self.hub.publish(name, payload, key=key, exclude=connection)
        stream.keep(payload, excluded)
        for peer in self.subscribers(name):
            wanted = peer is not excluded
            item = Item(name, payload, wanted, key, stream.number)
            peer.hand(item)
            if self.healing:
                self.owe(peer, stream, item)
        if self.healing:
            self.learn()

    def subscribers(self, name: str) -> list[Peer]:
        cursors = self.streams[name].cursors
        return [peer for peer in self.peers if id(peer) in cursors]

    def owe(self, peer: Peer, stream: Stream, item: Item) -> None:
        """One more publication for a cursor; its channel's policy may act. Everything
        was flushed before, so who owed something has blocked."""
        cursor = stream.cursors[id(peer)]
        cursor.owed.append(item)
        if cursor.detour == "keyed":
            self.conflate(peer, stream, cursor)
        if cursor.detour or len(cursor.owed) == 1:
            return
        if sum(one.size for one in cursor.owed) <= stream.rule.max_lag:
            return
        if stream.rule.slow == "latest":
            cursor.detour = "keyed"
            self.conflate(peer, stream, cursor)
        elif stream.rule.slow == "resume" and stream.rule.history is not None:
            cursor.detour = "history"
        else:
            self.miss(peer, cursor, cursor.owed)

    def conflate(self, peer: Peer, stream: Stream, cursor: Cursor) -> None:
        newest = {item.key: item for item in cursor.owed}
        kept = [item for item in cursor.owed if newest[item.key] is item]
        kept = kept[-stream.rule.max_keys :]
        self.miss(peer, cursor, [item for item in cursor.owed if item not in kept])

    def miss(self, peer: Peer, cursor: Cursor, items: list[Item]) -> None:
        cursor.missed += peer.drop(items)
        cursor.owed = [item for item in cursor.owed if item not in items]

    def learn(self) -> None:
        """Flush everything, and see how far each cursor has come."""
        self.flush_everything()
        for name, stream in self.streams.items():
            for peer in self.subscribers(name):
                self.catch_up(peer, stream, peer.connection.lag(name))

    def catch_up(self, peer: Peer, stream: Stream, lag: int) -> None:
        cursor = stream.cursors[id(peer)]
        if (
            cursor.detour == "history"
            and cursor.owed
            and cursor.owed[0].number < stream.oldest
        ):
            # History has lost what is owed next: until it is looked for.
            if lag != stream.kept_bytes:
                assert lag == 0
                self.miss(peer, cursor, cursor.owed)
        else:
            while cursor.owed and sum(one.size for one in cursor.owed) > lag:
                del cursor.owed[0]
            assert sum(one.size for one in cursor.owed) == lag
        if not cursor.owed:
            cursor.detour = ""

    def broadcast(self) -> None:
        payload = self.payload()
        excluded = self.open_peer() if self.random.random() < 0.4 else None
        self.hub.broadcast(payload, exclude=excluded.connection if excluded else None)
        for peer in self.peers:
            if peer.connection.is_open:
                peer.hand(Item("*", payload, peer is not excluded))

    def subscribe(self) -> None:
        peer, name = self.open_peer(), self.random.choice(CHANNELS)
        stream = self.streams[name]
        if peer is None or id(peer) in stream.cursors:
            return
        cursor = Cursor()
        if stream.rule.history is None or self.random.random() < 0.3:
            subscription = peer.connection.subscribe(name)
            assert not subscription.recovered
        else:
            self.recover(peer, name, stream, cursor)
        stream.cursors[id(peer)] = cursor
        if self.healing:
            self.learn()

    def recover(self, peer: Peer, name: str, stream: Stream, cursor: Cursor) -> None:
        """Come back with a position: everything behind it, or nothing."""
        channel = self.hub.channel(name)
        epoch = "unknown" if channel is None else str(channel.epoch)
        offset = self.random.randint(max(0, stream.oldest - 2), stream.number)
        subscription = peer.connection.subscribe(name, since=Position(epoch, offset))
        assert subscription.position is not None
        assert subscription.position.offset == stream.number
        covered = channel is not None and offset + 1 >= stream.oldest
        assert subscription.recovered == covered
        if covered:
            cursor.detour = "history"
            for number, payload, excluded in stream.kept:
                if number > offset:
                    item = Item(name, payload, excluded is not peer, None, number)
                    peer.hand(item)
                    cursor.owed.append(item)

    def unsubscribe(self) -> None:
        name = self.random.choice(CHANNELS)
        peers = self.subscribers(name)
        if not peers:
            return
        peer = self.random.choice(peers)
        cursor = self.streams[name].cursors[id(peer)]
        if self.healing:
            self.learn()
        else:
            self.flush_everything()
        lost = self.count("frames_lost")
        assert peer.connection.unsubscribe(name)
        lost = self.count("frames_lost") - lost
        if self.healing:
            dropped = peer.drop(cursor.owed)
            assert lost == dropped or (cursor.detour == "keyed" and lost > dropped)
        else:
            peer.drop_last(name, lost)
        del self.streams[name].cursors[id(peer)]

    def count(self, name: str) -> int:
        return self.hub.counters.snapshot()[name]

    def flush_everything(self) -> None:
        state: list[int] = []
        while state != (state := [self.count(name) for name in PROGRESS]):
            self.hub.flush()

    def ping(self) -> None:
        if peer := self.open_peer():
            asyncio.ensure_future(peer.connection.ping()).cancel()

    def close(self) -> None:
        """In order: what was handed over before still arrives, and then the Close."""
        peer = self.open_peer()
        if peer is None or self.random.random() > 0.1:
            return
        if self.healing:
            self.learn()
        if not any(cursor.detour for cursor in self.cursors_of(peer)):
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
        for stream in self.streams.values():
            stream.cursors.pop(id(peer), None)

    def cursors_of(self, peer: Peer) -> list[Cursor]:
        found = [stream.cursors.get(id(peer)) for stream in self.streams.values()]
        return [cursor for cursor in found if cursor is not None]

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
                if self.healing:
                    self.learn()
            self.check_told()
        for peer in self.peers:
            got = len(peer.received)
            assert peer.received == peer.expected[:got]
            assert peer.lost or got == len(peer.expected)

    def check_told(self) -> None:
        """Whoever is still subscribed knows exactly how many it has missed."""
        self.flush_everything()
        for name, stream in self.streams.items():
            for peer in self.subscribers(name):
                cursor = stream.cursors[id(peer)]
                if stream.rule.batch is None:
                    assert peer.connection.lag(name) == 0
                assert cursor.told == cursor.missed

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
    base = fresh_seed()
    rounds = int(os.environ.get("FASTWS_ROUNDS", "12"))
    for seed in range(base, base + rounds):
        print(f"FASTWS_TEST_SEED={seed}")  # noqa: T201
        runner(run_program(seed, members, certificates))
    counts = native_counts()
    names = ("connections", "segments", "members", "detours", "gaps")
    assert [counts[name] for name in names] == [0] * len(names)
