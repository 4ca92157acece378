"""What ``send`` returns: truthy when accepted, awaitable for drain."""

from __future__ import annotations

import asyncio

from fastws import Limits
from tests.conftest import Run
from tests.engine.peers import turns, until, world

LIMITS = Limits(write_high_water=10_000, write_low_water=1000)


def test_under_the_high_water_mark_it_is_one_and_the_same(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world(LIMITS) as here:
            peer = await here.connect()
            first, second = peer.ws.send("a"), peer.ws.send("b")
            assert first is second
            assert first
            assert first.accepted
            assert repr(first) == "<Sent accepted>"

    run(scenario())


def test_awaiting_an_accepted_one_costs_no_turn_of_the_loop(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world(LIMITS) as here:
            peer = await here.connect()
            turned: list[int] = []
            here.loop.call_soon(turned.append, 1)
            for _ in range(100):
                await peer.ws.send("x")
                await peer.ws.drain()
            assert not turned
            assert len(await peer.see_messages(100)) == 100

    run(scenario())


def test_awaited_twice_and_gathered(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world(LIMITS) as here:
            peer = await here.connect()
            sent = peer.ws.send("x")
            await sent
            await sent
            # asyncio wraps any awaitable.
            await asyncio.wait_for(sent, 1)
            await asyncio.gather(peer.ws.send("y"), peer.ws.drain())

    run(scenario())


def test_after_the_end_it_is_refused_and_awaiting_it_is_nothing(
    run: Run[None],
) -> None:
    async def scenario() -> None:
        async with world(LIMITS) as here:
            peer = await here.connect()
            peer.ws.abort()
            for _ in range(2):
                refused = peer.ws.send("x")
                assert not refused
                assert repr(refused) == "<Sent refused>"
                await refused
                await until(lambda: here.hub.connection_count == 0)

    run(scenario())


def test_over_the_high_water_mark_it_waits_for_the_low_one(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world(LIMITS) as here:
            peer = await here.connect(small=True)
            await here.stall(peer)
            sent = peer.ws.send(b"x" * 200_000)
            assert sent
            waiting = asyncio.ensure_future(wait(sent))
            draining = asyncio.ensure_future(wait(peer.ws.drain()))
            await turns()
            assert not waiting.done()
            assert not draining.done()
            await peer.see(lambda: peer.messages[-1:] == [b"x" * 200_000])
            await waiting
            await draining
            assert peer.ws.buffered == 0

    run(scenario())


def test_who_waits_is_released_when_the_connection_ends(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world(LIMITS) as here:
            peer = await here.connect(small=True)
            await here.stall(peer)
            waiting = asyncio.ensure_future(wait(peer.ws.send(b"x" * 200_000)))
            closing = asyncio.ensure_future(wait(peer.ws.wait_closed()))
            await turns()
            peer.reset()
            await waiting
            await closing
            assert not peer.ws.is_open

    run(scenario())


def test_cancelling_one_who_waits_harms_nobody(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world(LIMITS) as here:
            peer = await here.connect(small=True)
            await here.stall(peer)
            peer.ws.send(b"x" * 200_000)
            first = asyncio.ensure_future(wait(peer.ws.drain()))
            second = asyncio.ensure_future(wait(peer.ws.drain()))
            await turns()
            first.cancel()
            await peer.see(second.done)
            assert first.cancelled()

    run(scenario())


async def wait(sent: object) -> None:
    await sent  # type: ignore[misc]
