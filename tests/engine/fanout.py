"""Random programs of an application that compresses, and the model of what they send.

Clients come and go, stall, close and are lost; channels of every rule have cohorts or
shared frames or none. What each client may miss it must have been told of.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from fastws import ChannelRule, Compression, Connection, Limits, Position
from fastws.engine.deflate import Deflate
from fastws.engine.memory import memory_pair
from fastws.engine.poller import AVAILABLE
from tests.conftest import Certificates
from tests.engine.clients import (
    Client,
    Item,
    MemoryEnd,
    SocketEnd,
    Stream,
    Wish,
    Wording,
)
from tests.engine.peers import REQUEST, World, ended, turns, until
from tests.support.frames import BINARY, TEXT

Action: TypeAlias = Callable[[], Awaitable[None]] | Callable[[], None]

# Seconds on the world's clock
LONGEST_STALL = 3.0
LIMITS = Limits(
    write_cap=1 << 30, max_stall=None, ping_interval=None, close_timeout=36_000
)
KINDS = ("plain", "tls", "memory", *(("own",) if AVAILABLE else ()))

# What clients ask for. None: they don't offer compression.
OFFERS = (
    None,
    b"permessage-deflate",
    b"permessage-deflate; client_max_window_bits",
    b"permessage-deflate; server_no_context_takeover",
    b"permessage-deflate; server_no_context_takeover; server_max_window_bits=10",
    *(b"permessage-deflate; server_max_window_bits=%d" % n for n in range(9, 16)),
)

# Rules that never act on a slow subscriber: whatever is handed over arrives.
ROOMY: dict[str, Any] = {"max_lag": 1 << 30, "max_lag_age": 36_000}
# Rules that act, and soon.
TIGHT: dict[str, Any] = {"max_lag": 1500, "max_lag_age": 36_000}
COHORT: dict[str, Any] = {"compress": "cohort", "cohort_join": 0.1}

PATIENT_RULES = (
    ChannelRule(**ROOMY, **COHORT),
    ChannelRule(**ROOMY, **COHORT, history=10_000),
    ChannelRule(**ROOMY, **COHORT, batch=0.001),
    ChannelRule(**ROOMY),
    ChannelRule(**ROOMY, compress=False),
    ChannelRule(**ROOMY, history=10_000, slow="latest"),
    ChannelRule(**ROOMY, batch=0.001),
)
HEALING_RULES = (
    ChannelRule(**TIGHT, **COHORT, slow="close"),
    ChannelRule(**TIGHT, **COHORT, slow="skip"),
    ChannelRule(**TIGHT, **COHORT, slow="latest"),
    ChannelRule(**TIGHT, **COHORT, slow="latest", history=10_000),
    ChannelRule(**TIGHT, **COHORT, slow="resume"),
    ChannelRule(**TIGHT, **COHORT, slow="resume", history=5),
    ChannelRule(**TIGHT, **COHORT, slow="resume", history=10_000),
    ChannelRule(**TIGHT, **COHORT, slow="skip", batch=0.001),
    ChannelRule(**TIGHT, slow="skip"),
    ChannelRule(**TIGHT, slow="latest"),
    ChannelRule(**TIGHT, slow="resume", history=10_000),
)


@dataclass(frozen=True)
class Course:
    """How a program goes."""

    frames: int
    clients: int
    healing: bool
    channels: int = 4


class Program(World):
    """One random program. ``play`` runs it until so many messages were delivered."""

    def __init__(self, seed: int, course: Course, certificates: Certificates) -> None:
        super().__init__(LIMITS, {"on_skip": self.on_skip})
        choose = self.random = random.Random(seed)
        self.course = course
        self.certificates = certificates
        self.wording = Wording(choose)
        self.routes = [
            Deflate(
                Compression(
                    server_context=choose.random() < 0.7,
                    window_bits=choose.randrange(9, 16),
                    memory_level=choose.choice((1, 3, 5, 9)),
                    threshold=choose.choice((1, 100, 1024)),
                    max_size=choose.choice((10_000, 30_000, 100_000)),
                    level=choose.choice((1, 6)),
                ),
                self.hub.counters,
                has_cohorts=True,
            )
            for _ in range(choose.choice((1, 1, 2)))
        ]
        rules: Sequence[ChannelRule] = PATIENT_RULES
        if course.healing:
            rules = HEALING_RULES
        if choose.random() < 0.3:
            # A member of a cohort has no context of its own.
            rules = [one for one in rules if one.compress != "cohort"]
        self.direct = Stream("", ChannelRule(**ROOMY))
        self.to_all = Stream("*", ChannelRule(**ROOMY))
        # Each rule comes in some of a few programs.
        self.streams = [
            Stream(name, rules[(seed * course.channels + number) % len(rules)])
            for number, name in enumerate("abcdefgh"[: course.channels])
        ]
        self.by_name = {one.name: one for one in self.streams}
        self.hub.rule_for = lambda name: self.by_name[name].rule
        self.clients: list[Client] = []
        self.past: list[Client] = []
        if choose.random() < 0.3:
            self.hub.slice_nanoseconds = 1

    def on_skip(self, ws: Connection[Any], channel: str, missed: int) -> None:
        client = next(one for one in self.clients if one.ws is ws)
        self.by_name[channel].members[client].told += missed

    @property
    def delivered(self) -> int:
        return sum(one.messages for one in self.everyone)

    @property
    def everyone(self) -> list[Client]:
        return self.clients + self.past

    def any_open(self) -> Client | None:
        found = [one for one in self.clients if one.is_open]
        return self.random.choice(found) if found else None

    # -- clients come and go -----------------------------------------------------------

    async def arrive(self) -> None:
        choose = self.random
        offer = choose.choice(OFFERS) if choose.random() < 0.6 else OFFERS[2]
        route = choose.randrange(len(self.routes))
        client = await self.enter(choose.choice(KINDS), offer, route)
        for stream in self.streams:
            if choose.random() < 0.6:
                self.subscribe_one(client, stream)

    async def enter(self, kind: str, offer: bytes | None, route: int = 0) -> Client:
        agreement = self.routes[route].agree(offer) if offer else None
        assert (agreement is None) == (offer is None)
        small = kind != "memory" and self.random.random() < 0.3
        if kind == "memory":
            near, far = memory_pair(self.hub, self.hub)
            ws = Connection.open(
                self.hub, near, self.binding, REQUEST, {}, None, b"", agreement
            )
            client = Client(MemoryEnd(self.hub, far), ws, agreement, route)
        else:
            peer = await self.connect(
                small=small,
                own=kind == "own",
                certificates=self.certificates if kind == "tls" else None,
                agreement=agreement,
            )
            end = SocketEnd(peer.socket)
            client = Client(end, peer.ws, agreement, route, small)
        self.clients.append(client)
        return client

    def leave(self) -> None:
        """In order: what was handed over before still arrives, and then the Close."""
        if client := self.any_open():
            client.ws.close(1000)
            client.closing = True
            self.forget(client)

    def lose(self) -> None:
        """One end gives up: what has arrived so far is right, and the rest is gone."""
        if client := self.any_open():
            if self.random.random() < 0.5:
                client.end.end()
            else:
                client.ws.abort()
            client.lost = True
            self.forget(client)

    def forget(self, client: Client) -> None:
        for stream in self.streams:
            stream.members.pop(client, None)

    async def stall_one(self) -> None:
        """A client reads no more, and what it does not read stands in the kernel."""
        found = [one for one in self.clients if one.is_open and one.small]
        if not found:
            return
        client = self.random.choice(found)
        client.reading = False
        client.patience = self.clock.now + self.random.uniform(0, LONGEST_STALL)
        for _ in range(300):
            if client.ws.buffered or not client.is_open:
                return
            self.send_one(client, self.wording.noise(4000), False)
            await turns(2)
        raise AssertionError("the kernel takes everything")

    async def let_time_pass(self) -> None:
        await self.pass_time(0.1)
        for client in self.clients:
            if client.patience < self.clock.now:
                client.reading = True

    # -- what an application does ------------------------------------------------------

    def item(
        self,
        stream: Stream,
        message: str | bytes,
        wish: Wish,
        *,
        excludes: bool = False,
        key: str | None = None,
    ) -> Item:
        payload = message.encode() if isinstance(message, str) else message
        opcode = TEXT if isinstance(message, str) else BINARY
        may = tuple(
            stream.compresses(len(payload), wish, excludes, route.rule)
            for route in self.routes
        )
        return Item(stream, opcode, payload, may, wish, key, stream.number)

    def wish(self) -> Wish:
        return self.random.choice((None, None, None, None, None, None, True, False))

    def message(self, stream: Stream) -> str | bytes:
        # Two empty ones can't be told apart where one may be missing.
        if self.random.random() < 0.02 and not stream.loses:
            return self.random.choice(("", b""))
        return self.wording.any()

    def send(self) -> None:
        if client := self.any_open():
            self.send_one(client, self.message(self.direct), self.wish())

    def converse(self) -> None:
        """Messages to one, some of them behind something for many."""
        if client := self.any_open():
            for _ in range(self.random.randrange(2, 8)):
                self.send_one(client, self.message(self.direct), self.wish())
                if self.random.random() < 0.2:
                    self.publish()

    def come_back(self) -> None:
        """Out of a channel and in again, with a message before, between or behind."""
        stream = self.random.choice(self.streams)
        members = [one for one in stream.members if one.is_open]
        if not members:
            return
        client = self.random.choice(members)

        def say() -> None:
            if self.random.random() < 0.5:
                self.send_one(client, self.wording.text(300), None)

        say()
        self.unsubscribe_one(client, stream)
        say()
        self.subscribe_one(client, stream)
        say()

    def send_one(self, client: Client, message: str | bytes, wish: Wish) -> None:
        if client.ws.send(message, compress=wish):
            client.handed.append(self.item(self.direct, message, wish))
        else:
            assert not client.ws.is_open

    def publish(self) -> None:
        stream = self.random.choice(self.streams)
        for _ in range(self.random.choice((1, 1, 1, 4))):
            excluded = self.any_open() if self.random.random() < 0.15 else None
            key = self.random.choice((None, *"klmno"))
            self.publish_one(stream, self.message(stream), self.wish(), key, excluded)

    def publish_one(
        self,
        stream: Stream,
        message: str | bytes,
        wish: Wish = None,
        key: str | None = None,
        excluded: Client | None = None,
    ) -> None:
        name, hub = stream.name, self.hub
        way = self.random.random()
        if excluded is not None and way < 0.5:
            excluded.ws.publish(name, message, key=key, compress=wish)
        elif excluded is not None:
            hub.publish(name, message, key=key, exclude=excluded.ws, compress=wish)
        elif way < 0.1 and wish is None:
            hub.publish_batch([(name, message, key)])
        elif way < 0.2:
            hub.publish_confirmed(name, message, key, compress=wish)
        else:
            hub.publish(name, message, key=key, compress=wish)
        stream.number += 1
        stream.newest[key] = stream.number
        item = self.item(stream, message, wish, excludes=excluded is not None, key=key)
        stream.kept.append((item, excluded))
        for client in stream.members:
            if client is not excluded:
                client.handed.append(item)

    def broadcast(self) -> None:
        excluded = self.any_open() if self.random.random() < 0.3 else None
        message, wish = self.message(self.to_all), self.wish()
        exclude = excluded.ws if excluded else None
        self.hub.broadcast(message, exclude=exclude, compress=wish)
        item = self.item(self.to_all, message, wish, excludes=excluded is not None)
        for client in self.clients:
            if client.is_open and client is not excluded:
                client.handed.append(item)
                # After ten seconds, and those are soon over here.
                client.may_be_evicted = client.may_be_evicted or client.small

    def subscribe(self) -> None:
        client, stream = self.any_open(), self.random.choice(self.streams)
        if client and client not in stream.members:
            self.subscribe_one(client, stream)

    def subscribe_one(self, client: Client, stream: Stream) -> None:
        if stream.rule.history and self.random.random() < 0.6:
            self.recover(client, stream)
        else:
            client.ws.subscribe(stream.name)
            client.join(stream)

    def recover(self, client: Client, stream: Stream) -> None:
        """Come back with a position: everything behind it, or nothing."""
        channel = self.hub.channel(stream.name)
        epoch = "unknown" if channel is None else str(channel.epoch)
        oldest = stream.number + 1 - len(stream.kept)
        offset = max(oldest - 2, stream.number - self.random.randrange(40), 0)
        # Not a second time what it may have or may not have.
        offset = max(offset, stream.reached.get(client, 0))
        place = Position(epoch, offset)
        subscription = client.ws.subscribe(stream.name, since=place)
        covered = channel is not None and offset + 1 >= oldest
        assert subscription.recovered == covered
        client.join(stream)
        if covered:
            for item, excluded in stream.kept:
                if item.number > offset and excluded is not client:
                    client.handed.append(item)

    def unsubscribe(self) -> None:
        stream = self.random.choice(self.streams)
        members = [one for one in stream.members if one.is_open]
        if members:
            self.unsubscribe_one(self.random.choice(members), stream)

    def unsubscribe_one(self, client: Client, stream: Stream) -> None:
        lost = self.count("frames_lost")
        assert client.ws.unsubscribe(stream.name)
        client.leave(stream, self.count("frames_lost") - lost)

    # -- running -----------------------------------------------------------------------

    def read_all(self) -> None:
        for client in self.clients:
            if client.reading:
                client.read()

    def tidy(self) -> None:
        """Who has ended is looked at, and put aside."""
        for client in self.clients:
            if client.is_evicted:
                client.reading = True
                self.check_eviction(client)
                self.forget(client)
        ended = [one for one in self.clients if one.lost or one.gone]
        for client in ended:
            self.check_end(client)
            self.clients.remove(client)
            # What it was handed is not looked at any more.
            client.handed.clear()
            self.past.append(client)

    def check_eviction(self, client: Client) -> None:
        assert client.may_be_evicted, client.ws.close_reason
        assert client.ws.close_code == 1013

    def check_end(self, client: Client) -> None:
        if client.closing:
            assert client.closed == 1000
            due = [item for item in client.handed[client.at :] if item is not None]
            assert all(item.stream.loses for item in due)
        elif not client.lost:
            assert client.is_evicted
            assert client.closed in (1013, None)

    def actions(self) -> list[Action]:
        choose = self.random
        often: dict[Action, int] = {
            self.publish: 40,
            self.send: choose.choice((4, 40)),
            self.converse: choose.choice((1, 10, 40)),
            self.subscribe: choose.choice((2, 10)),
            self.unsubscribe: choose.choice((1, 6)),
            self.come_back: choose.choice((0, 4)),
            self.broadcast: choose.choice((0, 0, 1)),
            self.stall_one: choose.choice((1, 2, 4)),
            self.let_time_pass: choose.choice((2, 6)),
        }
        return [action for action, count in often.items() for _ in range(count)]

    async def play(self) -> None:
        for _ in range(self.course.clients):
            await self.arrive()
        actions = self.actions()
        rare: list[Action] = [self.leave, self.lose, self.arrive, self.arrive]
        while self.delivered < self.course.frames:
            for _ in range(30):
                one = self.random.choice(actions)
                if self.random.random() < 0.01:
                    one = self.random.choice(rare)
                if (waiting := one()) is not None:
                    await waiting
                if self.random.random() < 0.2:
                    await asyncio.sleep(0)
                    self.read_all()
                    self.tidy()
            while len(self.clients) < self.course.clients // 2:
                await self.arrive()
        await self.settle()

    async def settle(self) -> None:
        """Everyone reads to the end of what it is due, and knows what it has missed."""
        for client in self.clients:
            client.reading = True
            if client.is_open:
                self.send_one(client, self.wording.noise(16), None)

        def done() -> bool:
            self.read_all()
            self.tidy()
            return all(
                one.is_open and one.at == len(one.handed) for one in self.clients
            )

        await until(done, 30)
        await until(lambda: all(map(self.knows, self.streams)))
        # A batch that leaves somebody out may still be open.
        await until(lambda: not any(map(self.owes, self.streams)))

    def owes(self, stream: Stream) -> bool:
        return any(client.ws.lag(stream.name) for client in stream.members)

    def knows(self, stream: Stream) -> bool:
        for period in stream.members.values():
            assert period.told <= len(period.missed), (stream, period.told)
            if stream.rule.slow == "latest":
                for item in period.missed:
                    assert stream.newest[item.key] > item.number
        return all(
            period.told == len(period.missed) for period in stream.members.values()
        )

    def found(self) -> Counter[str]:
        """What has happened, for those who doubt that it has."""
        found: Counter[str] = Counter(delivered=self.delivered, programs=1)
        for client in self.everyone:
            found["evicted"] += client.is_evicted
            found += client.seen
        for name in ("lag_skips", "lag_heals", "lag_refills", "lag_refill_misses"):
            found[name] = self.count(name)
        return found


async def play(seed: int, course: Course, certificates: Certificates) -> Counter[str]:
    async with ended(Program(seed, course, certificates)) as program:
        await program.play()
        return program.found()


def run_programs(
    seed: int, frames: int, run: Callable[..., Any], certificates: Certificates
) -> Counter[str]:
    """One after another until so many frames were delivered; what happened in them."""
    found: Counter[str] = Counter()
    most = max(1000, min(frames // 20, 15_000))
    while found["delivered"] < frames:
        course = Course(most, (6, 20, 40)[seed % 7 % 3], healing=seed % 3 != 0)
        print(f"FASTWS_TEST_SEED={seed} {course}")  # noqa: T201
        found += run(play(seed, course, certificates))
        seed += 1
    return found
