"""Random programs while memory is refused, as ``python -m tests.engine.scarce``.

Needs the allocator of ``tests.support.failing``. Whatever the engine asks for may be
refused. Then a call raises MemoryError and has done nothing, or a connection is closed;
what the others receive stays right, and nobody misses anything in silence.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvloop

from fastws import CloseCode
from fastws.engine.counters import native_counts
from tests.conftest import Certificates, make_certificates
from tests.engine.clients import Client, Stream, Wish
from tests.engine.fanout import Course, Program
from tests.engine.peers import ended
from tests.engine.room import room
from tests.support.failing import Allocator
from tests.support.seeds import fresh_seed

# Requests between two refusals, at most
SELDOM = 60


class Scarce(Program):
    """A program whose every step may lack memory."""

    def __init__(
        self,
        seed: int,
        course: Course,
        certificates: Certificates,
        allocator: Allocator,
    ) -> None:
        super().__init__(seed, course, certificates)
        self.allocator = allocator
        self.outcomes: Counter[str] = Counter()
        for stream in self.streams:
            stream.remembers = False

    def refuse(self) -> None:
        """Something that is asked for soon."""
        if not self.allocator.is_armed:
            self.allocator.refuse_after(self.random.randrange(1, SELDOM))

    def message(self, stream: Stream) -> str | bytes:
        # Any may be missing, so none is like another.
        return self.wording.any()

    async def enter(self, kind: str, offer: bytes | None, route: int = 0) -> Client:
        with self.allocator.plenty():
            client = await super().enter(kind, offer, route)
        client.may_be_evicted = True
        client.lacks = set()
        return client

    def send_one(self, client: Client, message: str | bytes, wish: Wish) -> None:
        self.refuse()
        try:
            super().send_one(client, message, wish)
        except MemoryError:
            self.outcomes["not sent"] += 1

    def publish_one(self, stream: Stream, *arguments: Any) -> None:
        self.refuse()
        try:
            super().publish_one(stream, *arguments)
        except MemoryError:
            self.outcomes["not published"] += 1

    def broadcast(self) -> None:
        self.refuse()
        try:
            super().broadcast()
        except MemoryError:
            self.outcomes["not broadcast"] += 1

    def subscribe_one(self, client: Client, stream: Stream) -> None:
        self.refuse()
        try:
            super().subscribe_one(client, stream)
        except MemoryError:
            self.outcomes["not subscribed"] += 1
            assert stream.name not in client.ws.channels

    def check_eviction(self, client: Client) -> None:
        self.outcomes[f"closed with {client.ws.close_code}"] += 1
        assert client.ws.close_code in (
            CloseCode.TRY_AGAIN_LATER,
            CloseCode.INTERNAL_ERROR,
            CloseCode.ABNORMAL,
        )

    def check_end(self, client: Client) -> None:
        """Without memory even a Close may fail to be sent."""
        if client.closed == CloseCode.NORMAL:
            super().check_end(client)

    def knows(self, stream: Stream) -> bool:
        # The newest value of a key may be what there was no memory for, and who can't
        # be told is closed.
        return all(
            period.told == len(period.missed) or not client.ws.is_open
            for client, period in stream.members.items()
        )

    async def settle(self) -> None:
        with self.allocator.plenty():
            await super().settle()
        assert not any(one.lacks for one in self.clients if one.is_open)


async def play(
    seed: int, course: Course, certificates: Certificates, allocator: Allocator
) -> Counter[str]:
    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: unhandled.append(context)
    )
    async with ended(Scarce(seed, course, certificates, allocator)) as program:
        await program.play()
        allocator.refuse_after(0)
        found = program.outcomes
        found["delivered"] += program.delivered
    assert not unhandled, unhandled
    return found


async def lose_an_array(allocator: Allocator) -> None:
    """Its authors were told that they are published, so its subscribers are told that
    they miss something."""
    async with room(batch=0.001, batch_form="array") as here:
        peers = [await here.enter("a", offer=None) for _ in range(2)]
        here.hub.publish("a", {"text": "small"})
        for peer in peers:
            await here.see_last(peer, '[{"text":"small"}]')
        here.hub.publish("a", {"text": "large " * 20_000})
        allocator.refuse_after(1)
        for peer in peers:
            assert await peer.see_close() == (1013, b"slow consumer")
        assert not allocator.is_armed


def main() -> None:
    programs, frames = int(sys.argv[1]), int(sys.argv[2])
    allocator = Allocator()
    found: Counter[str] = Counter()
    seed = fresh_seed()
    with tempfile.TemporaryDirectory() as folder:
        certificates = make_certificates(Path(folder))
        before = native_counts()
        uvloop.run(lose_an_array(allocator))
        for number in range(seed, seed + programs):
            print(f"FASTWS_TEST_SEED={number}", file=sys.stderr, flush=True)  # noqa: T201
            loops = random.Random(number).choice((uvloop.run, asyncio.run))
            course = Course(frames, 8, healing=number % 3 != 0, channels=6)
            found += loops(play(number, course, certificates, allocator))
        with suppress(KeyError):
            del before["outboxes"]
        gc.collect()
        after = native_counts()
        assert {name: after[name] for name in before} == before
    found["refused"] = allocator.refused
    for name, count in sorted(found.items()):
        print(f"{name}: {count}")  # noqa: T201
    print("places:", dict(Counter(allocator.places)))  # noqa: T201


if __name__ == "__main__":
    main()
