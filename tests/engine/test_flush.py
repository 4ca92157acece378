"""Flushing: walks that are cut in slices, and what changes while they stand."""

from __future__ import annotations

import random
from typing import Any

import pytest

from fastws import ChannelRule, Connection, Limits
from tests.conftest import Certificates, Run
from tests.engine.peers import ENDLESS, Peer, World, turns, until, world
from tests.support.frames import text
from tests.support.seeds import fresh_seed

# A walk looks at its clock every 32 sends.
MEMBERS = 100


async def audience(here: World, *channels: str, count: int = MEMBERS) -> list[Peer]:
    peers = [await here.connect() for _ in range(count)]
    for peer in peers:
        for channel in channels:
            peer.ws.subscribe(channel)
    return peers


def test_everything_of_one_tick_leaves_together(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            here.hub.slice_nanoseconds = ENDLESS
            peers = await audience(here, "a")
            for number in range(50):
                here.hub.publish("a", str(number))
            assert here.count("deliveries") == 0
            for peer in peers:
                assert await peer.see_messages(50) == [str(n) for n in range(50)]
            assert here.count("deliveries") == 50 * MEMBERS
            assert here.count("flushes") == 1

    run(scenario())


def test_a_long_walk_gives_others_a_turn(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            peers = await audience(here, "a")
            here.hub.slice_nanoseconds = 1
            here.hub.publish("a", "x")
            seen: list[int] = []
            for _ in range(10):
                here.loop.call_soon(lambda: seen.append(here.count("deliveries")))
                await turns(1)
            assert any(0 < count < MEMBERS for count in seen)
            for peer in peers:
                assert await peer.see_messages(1) == ["x"]
            assert here.count("slices") > 1

    run(scenario())


def test_joining_and_leaving_a_walk_that_stands(run: Run[None]) -> None:
    choose = random.Random(fresh_seed())

    async def scenario() -> None:
        async with world() as here:
            peers = await audience(here, "a", "b")
            here.hub.slice_nanoseconds = 1
            expected: dict[Peer, list[str]] = {peer: [] for peer in peers}
            members = {channel: set(peers) for channel in "ab"}
            for number in range(60):
                channel = choose.choice("ab")
                here.hub.publish(channel, str(number))
                for peer in members[channel]:
                    expected[peer].append(str(number))
                await turns(choose.choice((0, 1, 1, 3)))
                for peer in choose.sample(peers, 10):
                    channel = choose.choice("ab")
                    if peer in members[channel]:
                        # What was published before still goes out.
                        peer.ws.unsubscribe(channel)
                        members[channel].remove(peer)
                    else:
                        peer.ws.subscribe(channel)
                        members[channel].add(peer)
            for peer in peers:
                messages = await peer.see_messages(len(expected[peer]))
                assert messages == expected[peer]
            assert here.count("frames_lost") == 0

    run(scenario())


def test_connections_that_end_in_a_walk_that_stands(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            peers = await audience(here, "a")
            here.hub.slice_nanoseconds = 1
            for peer in peers[::3]:
                here.hub.publish("a", "x")
                await turns(1)
                peer.ws.abort()
            rest = [peer for peer in peers if peer not in peers[::3]]
            for peer in rest:
                await peer.see_messages(len(peers[::3]))
            await until(lambda: here.hub.connection_count == len(rest))

    run(scenario())


def test_a_great_deal_is_written_before_the_tick_ends(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect()
            peer.ws.subscribe("a")
            for _ in range(4):
                here.hub.publish("a", b"x" * 200_000)
            assert here.count("bytes_sent") > 0
            assert await peer.see_messages(4) == [b"x" * 200_000] * 4

    run(scenario())


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_large_publications_inside_handlers(
    run: Run[None], tls: bool, certificates: Certificates
) -> None:
    channels = "abc"

    def on_message(ws: Connection[Any], message: str | bytes) -> None:
        for channel in str(message):
            ws.publish(channel, channel * 300_000, include_self=True)

    async def scenario() -> None:
        async with world(Limits(), on_message=on_message) as here:
            here.hub.rule_for = lambda name: ChannelRule(max_lag=1 << 30)
            peers = [
                await here.connect(certificates=certificates if tls else None)
                for _ in range(3)
            ]
            for peer in peers:
                for channel in channels:
                    peer.ws.subscribe(channel)
            order = "aabbbbccabcabc"
            peers[0].send(text(order))
            for peer in peers:
                messages = await peer.see_messages(len(order))
                assert [str(message)[0] for message in messages] == list(order)

    run(scenario())


def test_a_listed_connection_keeps_what_another_lane_publishes(
    run: Run[None], certificates: Certificates
) -> None:
    """Fixed: its cursor there did not stand, the log was freed, and the visit at the
    end of the tick read what was no more."""

    async def scenario() -> None:
        async with world() as here:
            here.hub.rule_for = lambda name: ChannelRule(max_lag=1 << 30)
            peer = await here.connect(certificates=certificates)
            peer.ws.subscribe("a")
            peer.ws.subscribe("b")
            order = "aabbbbab"
            for channel in order:
                here.hub.publish(channel, channel * 300_000)
            messages = await peer.see_messages(len(order))
            assert [str(message)[0] for message in messages] == list(order)

    run(scenario())


def test_a_broken_connection_keeps_its_place_until_its_end(run: Run[None]) -> None:
    """Fixed: when a visit found the peer gone, the log was freed under its cursor, and
    the next publication of the same tick looked for it there."""

    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect()
            peer.ws.subscribe("a")
            peer.ws.subscribe("b")
            peer.reset()
            for _ in range(10):
                here.hub.publish("b", b"small")
                here.hub.publish("a", b"x" * 300_000)
            await until(lambda: here.hub.connection_count == 0)
            assert peer.ws.close_code == 1006

    run(scenario())


def test_publishing_to_blocked_and_linked_and_plain_members_of_one_lane(
    run: Run[None], certificates: Certificates
) -> None:
    async def scenario() -> None:
        async with world(Limits(max_stall=None)) as here:
            here.hub.rule_for = lambda name: ChannelRule(max_lag=1 << 30)
            peers = [
                await here.connect(
                    small=number % 2 == 0,
                    certificates=certificates if number % 3 == 0 else None,
                )
                for number in range(12)
            ]
            for peer in peers:
                peer.ws.subscribe("a")
            for number in range(300):
                here.hub.publish("a", number.to_bytes(2, "big") * 500)
                await turns(number % 3)
            for peer in peers:
                messages = await peer.see_messages(300)
                assert messages == [n.to_bytes(2, "big") * 500 for n in range(300)]

    run(scenario())
