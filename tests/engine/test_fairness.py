"""Fairness: whatever one connection or channel has to do, the others get their turns.

Counted in turns of the loop, with slices so short that they end at the first look.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from fastws import ChannelRule, Connection, Limits
from fastws.engine.binding import Binding
from fastws.engine.hub import Hub
from fastws.engine.memory import memory_pair
from tests.conftest import Run
from tests.engine.peers import REQUEST, Peer, World, turns, until, world
from tests.support.frames import TEXT, frame, text

BURST = 10_000


class Turns:
    """Goes round with the loop, and notes a number at each turn."""

    def __init__(self, here: World, counter: str) -> None:
        self.here = here
        self.counter = counter
        self.seen: list[int] = []
        self._go_round()

    def _go_round(self) -> None:
        self.seen.append(self.here.count(self.counter))
        self.here.loop.call_soon(self._go_round)

    @property
    def largest_step(self) -> int:
        steps = zip(self.seen, self.seen[1:], strict=False)
        return max(after - before for before, after in steps)


def test_a_hundred_thousand_tiny_frames_let_others_in(run: Run[None]) -> None:
    flood = 100_000

    async def scenario() -> None:
        handled: list[str] = []

        def on_message(ws: Connection[Any], message: str) -> None:
            handled.append(message)

        async with world(on_message=on_message) as here:
            greedy, other = await here.connect(), await here.connect()
            data = memoryview(text("") * flood)
            sent = greedy.socket.send(data)
            other.send(text("me too"))
            while sent < len(data):
                try:
                    sent += greedy.socket.send(data[sent:])
                except BlockingIOError:
                    await turns(1)
            await until(lambda: len(handled) == flood + 1)
            assert handled.index("me too") < flood // 2

    run(scenario())


async def read(peer: Peer, size: int) -> bytes:
    """So many bytes of what a peer is sent."""
    found = bytearray()

    def whole() -> bool:
        with suppress(BlockingIOError):
            found.extend(peer.socket.recv(size - len(found)))
        return len(found) == size

    await until(whole)
    return bytes(found)


def test_a_burst_of_publications_is_not_written_in_one_turn(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world(Limits(max_stall=None)) as here:
            made = ChannelRule(max_lag=1 << 30)
            here.hub.rule_for = lambda name: made
            peers = [await here.connect() for _ in range(100)]
            for peer in peers:
                peer.ws.subscribe("a")
            here.hub.slice_nanoseconds = 1
            for number in range(BURST):
                here.hub.publish("a", str(number).zfill(128))
            # What it flushed by itself to keep memory small was one slice.
            assert here.count("deliveries") <= 64 * BURST // 4
            went = Turns(here, "bytes_sent")
            # A million frames: compared as bytes, they do not have to be taken apart.
            expected = b"".join(
                frame(TEXT, str(number).zfill(128), key=None) for number in range(BURST)
            )
            for peer in peers:
                assert await read(peer, len(expected)) == expected
            assert went.largest_step < BURST * 130 * 70

    run(scenario())


def test_a_walk_over_very_many_lets_others_in(run: Run[None]) -> None:
    members = 20_000

    async def scenario() -> None:
        async with world() as here:
            binding = Binding(limits=Limits(max_channels=None))
            far = Hub(loop=here.loop)
            links = []
            for _ in range(members):
                near_link, far_link = memory_pair(here.hub, far)
                links.append(far_link)
                ws = Connection.open(here.hub, near_link, binding, REQUEST, {}, None)
                ws.subscribe("a")
            here.hub.slice_nanoseconds = 1
            went = Turns(here, "deliveries")
            for _ in range(3):
                here.hub.publish("a", "x")
            await until(lambda: here.count("deliveries") == 3 * members)
            assert went.largest_step <= 3 * 64
            here.hub.slice_nanoseconds = 5_000_000

    run(scenario())
