"""Batch windows, publishing many at once, and walks around who is left out."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from fastws import ChannelRule, ConfigError, Limits
from fastws.engine.counters import native_counts
from tests.conftest import Run
from tests.engine.peers import ENDLESS, World, turns, until, world
from tests.support.seeds import fresh_seed

# Long enough that no window ends by itself in a test that does not wait for it.
NEVER = 1000.0
SOON = 0.001
# Ends by itself, and not before a busy machine has published all that belongs in it.
WINDOW = 0.5


def rules(here: World, **rules: ChannelRule) -> None:
    here.hub.rule_for = lambda name: rules.get(name, ChannelRule())


def test_a_window_s_publications_leave_in_one_send(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            rules(here, a=ChannelRule(batch=WINDOW))
            here.hub.slice_nanoseconds = ENDLESS
            peers = [await here.connect() for _ in range(3)]
            for peer in peers:
                peer.ws.subscribe("a")
            for number in range(10):
                here.hub.publish("a", str(number))
                await turns(3)
            assert here.count("deliveries") == 0
            for peer in peers:
                assert await peer.see_messages(10) == [str(n) for n in range(10)]
            assert here.count("flushes") == 1
            # And the next window.
            here.hub.publish("a", "10")
            for peer in peers:
                assert (await peer.see_messages(11))[-1] == "10"
            assert native_counts()["segments"] == 0

    run(scenario())


def test_a_direct_send_meanwhile_keeps_the_order(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            rules(here, a=ChannelRule(batch=NEVER))
            peer, other = await here.connect(), await here.connect()
            for one in (peer, other):
                one.ws.subscribe("a")
            here.hub.publish("a", "1")
            peer.ws.send("2")
            assert await peer.see_messages(2) == ["1", "2"]
            here.hub.publish("a", "3")
            await turns()
            other.pull()
            assert other.messages == []
            other.ws.unsubscribe("a")
            assert await other.see_messages(2) == ["1", "3"]

    run(scenario())


def test_another_channel_s_publication_keeps_the_order(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            rules(here, a=ChannelRule(batch=NEVER))
            both, only = await here.connect(), await here.connect()
            both.ws.subscribe("a")
            only.ws.subscribe("a")
            both.ws.subscribe("b")
            here.hub.publish("a", "1")
            await turns(3)
            here.hub.publish("b", "2")
            here.hub.publish("a", "3")
            here.hub.publish("b", "4")
            assert await both.see_messages(4) == ["1", "2", "3", "4"]
            only.pull()
            assert only.messages == []
            both.ws.abort()
            only.ws.close()
            await only.see_close()
            assert only.messages == ["1", "3"]

    run(scenario())


def test_a_full_window_ends_early(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            rules(
                here,
                a=ChannelRule(batch=NEVER),
                j=ChannelRule(batch=NEVER, batch_form="array"),
            )
            peer = await here.connect()
            peer.ws.subscribe("a")
            peer.ws.subscribe("j")
            for _ in range(4):
                here.hub.publish("a", "x" * 100_000)
            await peer.see_messages(3)
            peer.ws.unsubscribe("a")
            await peer.see_messages(4)
            for _ in range(4):
                here.hub.publish("j", ["x" * 100_000])
            await peer.see_messages(5)
            assert len(json.loads(peer.messages[-1])) == 3

    run(scenario())


def test_an_array_is_one_text_frame(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            rules(here, a=ChannelRule(batch=SOON, batch_form="array"))
            peer = await here.connect()
            here.hub.publish("a", "[]")
            peer.ws.subscribe("a")
            for message in ({"n": 1}, '"é"', [2], " 3 ", None, True):
                here.hub.publish("a", message)
            messages = await peer.see_messages(1)
            assert json.loads(messages[0]) == [{"n": 1}, "é", [2], 3, None, True]
            assert here.count("publications") == 7
            assert here.count("deliveries") == 1
            here.hub.publish("a", 4)
            assert (await peer.see_messages(2))[1] == "[4]"

    run(scenario())


def test_who_comes_goes_or_closes_in_a_window_gets_its_part(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            rules(here, a=ChannelRule(batch=NEVER, batch_form="array"))
            first, second, third = [await here.connect() for _ in range(3)]
            first.ws.subscribe("a")
            here.hub.publish("a", 1)
            second.ws.subscribe("a")
            here.hub.publish("a", 2)
            third.ws.subscribe("a")
            here.hub.publish("a", 3)
            second.ws.unsubscribe("a")
            here.hub.publish("a", 4)
            third.ws.close()
            await third.see_close()
            assert await first.see_messages(4) == ["[1]", "[2]", "[3]", "[4]"]
            assert await second.see_messages(2) == ["[2]", "[3]"]
            assert third.messages == ["[3]", "[4]"]
            here.hub.publish("a", 5)
            first.ws.abort()
            await until(lambda: here.hub.channels == {})

    run(scenario())


def test_a_small_array_behind_a_large_one(run: Run[None]) -> None:
    """Fixed: the large one, not flushed yet, ended the window of the next."""

    async def scenario() -> None:
        async with world() as here:
            rules(here, a=ChannelRule(batch=SOON, batch_form="array"))
            peer = await here.connect()
            peer.ws.subscribe("a")
            here.hub.publish("a", ["x" * 300_000])
            here.hub.publish("a", 1)
            assert (await peer.see_messages(2))[1] == "[1]"

    run(scenario())


def test_what_an_array_can_not_hold(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            rules(here, a=ChannelRule(batch=SOON, batch_form="array"))
            peer = await here.connect()
            peer.ws.subscribe("a")
            for message in (b"1", "{", "", "1,2", "NaN"):
                with pytest.raises(ValueError, match="JSON arrays"):
                    here.hub.publish("a", message)
                with pytest.raises(ValueError, match="JSON arrays"):
                    here.hub.publish_batch([("a", 0), ("a", message)])
            with pytest.raises(ValueError, match="include_self=True"):
                peer.ws.publish("a", 1)
            peer.ws.publish("a", 1, include_self=True)
            assert await peer.see_messages(1) == ["[1]"]

    run(scenario())
    for rule in (
        {"batch_form": "array"},
        {"batch_form": "array", "batch": 1, "history": 5},
        {"batch_form": "array", "batch": 1, "slow": "latest"},
        {"batch": 0},
        {"batch": float("inf")},
    ):
        with pytest.raises(ConfigError):
            ChannelRule(**rule)


def test_a_batch_is_published_as_a_whole_or_not_at_all(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            rules(here, h=ChannelRule(history=5))
            peer = await here.connect()
            for name in "ab":
                peer.ws.subscribe(name)
            view = bytearray(b"2")
            items: Any = [("a", "1"), ["b", view], ("a", {"n": 3}, "key")]
            here.hub.publish_batch([*items, ("nobody", "x")])
            view[:] = b"3"
            items = [("h", "kept", "k"), ("h", "too")]
            here.hub.publish_batch(iter(items))
            assert await peer.see_messages(3) == ["1", b"2", '{"n":3}']
            found = here.hub.channels["h"].read()
            assert [(one.message, one.key) for one in found.publications] == [
                ("kept", "k"),
                ("too", None),
            ]
            before = here.count("publications")
            bad: Any
            for bad in (
                ("a", object()),
                ("a", "\ud800"),
                ("a",),
                ("a", "x", 5),
                ("a", "x", "k", "more"),
                (b"a", "x"),
                "ab",
                5,
                ("a", "x", "k" * 256),
            ):
                with pytest.raises((TypeError, ValueError)):
                    here.hub.publish_batch([("a", "no"), bad])
            assert here.count("publications") == before
            await asyncio.to_thread(here.hub.publish_batch, [("a", "4"), ("b", 5)])
            assert await peer.see_messages(5) == ["1", b"2", '{"n":3}', "4", "5"]

    run(scenario())


@pytest.mark.parametrize("turn", range(8))
def test_walks_around_exclusions(run: Run[None], turn: int) -> None:
    """Everyone publishes, everyone is left out, of none or some or many frames."""
    choose = random.Random(fresh_seed() + turn)

    async def scenario() -> None:
        async with world(Limits(max_stall=None)) as here:
            made = ChannelRule(max_lag=1 << 30)
            here.hub.rule_for = lambda name: made
            peers = [await here.connect(small=choose.random() < 0.2) for _ in range(10)]
            for peer in peers:
                for name in "ab":
                    peer.ws.subscribe(name)
            expected: list[list[bytes]] = [[] for _ in peers]
            for number in range(400):
                by = choose.randrange(choose.choice((1, 10, 10, 20)))
                size = choose.choice((2, 2, 20, 200, 5000))
                message = number.to_bytes(2, "big") * (size // 2)
                name = choose.choice("aaaab")
                if by < 10:
                    peers[by].ws.publish(name, message)
                else:
                    here.hub.publish(name, message)
                for place in range(10):
                    if place != by:
                        expected[place].append(message)
                if choose.random() < 0.05:
                    await turns(2)
            for place, peer in enumerate(peers):
                assert await peer.see_messages(len(expected[place])) == expected[place]
            assert here.count("frames_lost") == 0

    run(scenario())


def test_nobody_but_the_publisher(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            peer, other = await here.connect(), await here.connect()
            peer.ws.subscribe("a")
            other.ws.subscribe("a")
            for number in range(40):
                peer.ws.publish("a", str(number))
            other.ws.publish("a", "back")
            assert await other.see_messages(40) == [str(n) for n in range(40)]
            assert await peer.see_messages(1) == ["back"]
            assert here.count("deliveries") == 41
            assert native_counts()["segments"] == 0

    run(scenario())
