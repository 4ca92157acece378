"""Programs whose finalizers use the engine.

Up to Python 3.11 the garbage collector runs in whatever makes an object, so in the
midst of a call; from 3.12 on between two steps of Python code only, and a link's
``write`` may be some. The engine looks again at what such a call can have changed.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from typing import Any

import pytest

from fastws import ChannelRule, Compression, Connection
from fastws.engine.memory import memory_pair
from fastws.engine.sent import Sent
from tests.conftest import Run
from tests.engine.clients import MemoryEnd
from tests.engine.peers import REQUEST, turns
from tests.engine.room import Room, article, room, tick

pytestmark = pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="objects are made without finalizers running"
)

RULE = Compression(server_context=True, threshold=100, max_size=200_000)
# The object whose making runs the finalizer; more than these calls make.
MAKINGS = range(7)
OTHER = "0123456789" * 40


class Garbage:
    """Nothing but the collector finds it."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._action = action
        self._self = self

    def __del__(self) -> None:
        self._action()


def call_with(
    action: Callable[[], object], number: int, call: Callable[[], object]
) -> None:
    """Make the call; the finalizer runs when it has made so many objects, at the latest
    behind it."""
    thresholds = gc.get_threshold()
    gc.disable()
    gc.collect()
    Garbage(action)
    gc.set_threshold(gc.get_count()[0] + number, 1000, 1000)
    gc.enable()
    try:
        call()
    finally:
        gc.set_threshold(*thresholds)
        gc.collect()


async def check_messages(here: Room, peer: Any, wanted: list[str]) -> None:
    await peer.see(lambda: len(peer.messages) >= len(wanted))
    assert sorted(peer.messages) == sorted(wanted)


@pytest.mark.parametrize("number", MAKINGS)
def test_close_while_a_compressor_is_made(run: Run[None], number: int) -> None:
    async def scenario() -> None:
        async with room(RULE) as here:
            peer = await here.enter()
            ws, message = peer.ws, article(1)
            waiting: list[Sent] = []
            call_with(
                lambda: waiting.append(ws.close(1000)),
                number,
                lambda: ws.send(message),
            )
            await peer.see_close()
            await turns(5)
            peer.pull()
            assert peer.frames[-1].opcode == 8, "a message behind the Close"
            peer.socket.close()
            async with asyncio.timeout(1):
                await waiting[0]

    run(scenario())


@pytest.mark.parametrize("number", MAKINGS)
def test_close_while_a_link_is_written_to(run: Run[None], number: int) -> None:
    async def scenario() -> None:
        async with room() as here:
            near, far = memory_pair(here.hub, here.hub)
            ws: Connection[Any] = Connection.open(
                here.hub, near, here.binding, REQUEST, {}, None
            )
            end = MemoryEnd(here.hub, far)
            await turns(5)
            ws.send(b"x" * (here.limits.write_high_water + 1))
            call_with(lambda: ws.close(1000), number, lambda: ws.send(b"last"))
            await turns(20)
            data = end.take(0)
            assert data is not None
            assert data.endswith(b"\x88\x02\x03\xe8"), data[-20:]

    run(scenario())


@pytest.mark.parametrize("number", MAKINGS)
def test_into_a_cohort_while_a_compressor_is_made(run: Run[None], number: int) -> None:
    async def scenario() -> None:
        async with room(RULE) as here:
            peer = await here.enter("a")
            ws, hub, first = peer.ws, here.hub, tick(1)
            call_with(lambda: hub.publish("a", first), number, lambda: ws.send(OTHER))
            hub.publish("a", tick(2))
            await check_messages(here, peer, [first, OTHER, tick(2)])

    run(scenario())


@pytest.mark.parametrize("number", MAKINGS)
def test_into_a_cohort_while_subscribing(run: Run[None], number: int) -> None:
    rules = {"a": ChannelRule(compress="cohort"), "b": ChannelRule()}

    async def scenario() -> None:
        async with room(Compression(threshold=100)) as here:
            here.hub.rule_for = lambda name: rules[name]
            peer = await here.enter("a")
            ws, hub, first = peer.ws, here.hub, tick(1)
            call_with(
                lambda: hub.publish("a", first), number, lambda: ws.subscribe("b")
            )
            hub.publish("b", OTHER)
            hub.publish("a", tick(2))
            await check_messages(here, peer, [first, OTHER, tick(2)])

    run(scenario())


@pytest.mark.parametrize("number", MAKINGS)
def test_out_of_a_channel_while_it_brings_back(run: Run[None], number: int) -> None:
    """Ended in a segmentation fault."""
    rules = {"a": ChannelRule(compress="cohort"), "b": ChannelRule()}

    async def scenario() -> None:
        async with room(RULE) as here:
            here.hub.rule_for = lambda name: rules[name]
            peers = [await here.enter("b", "a") for _ in range(10)]
            await here.tell("a", tick(0), *peers)
            for peer in peers:
                peer.ws.unsubscribe("a")
            await here.pass_time(10)
            connections, hub, message = (
                [peer.ws for peer in peers],
                here.hub,
                article(1),
            )

            def leave() -> None:
                for ws in connections:
                    ws.unsubscribe("b")

            call_with(leave, number, lambda: hub.publish("b", message))
            await turns()

    run(scenario())


@pytest.mark.parametrize("number", MAKINGS)
def test_out_of_a_channel_twice(run: Run[None], number: int) -> None:
    """Ended in a segmentation fault: the array is sent before it leaves."""

    async def scenario() -> None:
        async with room(batch=10, batch_form="array") as here:
            peer = await here.enter("a")
            other = await here.enter("a")
            here.hub.publish("a", {"a": 1})
            ws = peer.ws
            call_with(lambda: ws.unsubscribe("a"), number, lambda: ws.unsubscribe("a"))
            await here.see_last(other, '[{"a":1}]')

    run(scenario())
