"""visit: everything that one connection is owed, in the order of the calls."""

from __future__ import annotations

import itertools
import random

import pytest

from fastws import ChannelRule, Limits
from fastws.engine.counters import native_counts
from tests.conftest import Certificates, Run
from tests.engine.peers import turns, until, world
from tests.support.seeds import fresh_seed

ROOMY = Limits(write_cap=1 << 30, max_stall=None)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("small", [False, True], ids=["large buffers", "small buffers"])
def test_direct_sends_and_channels_and_exclusions_keep_their_order(
    run: Run[None], small: bool, tls: bool, certificates: Certificates
) -> None:
    choose = random.Random(fresh_seed())

    async def scenario() -> None:
        async with world(ROOMY) as here:
            here.hub.rule_for = lambda name: ChannelRule(max_lag=1 << 30)
            context = certificates if tls else None
            peer = await here.connect(small=small, certificates=context)
            for channel in "abcde":
                peer.ws.subscribe(channel)
            expected = []
            for number in range(2000):
                message = b"%06d" % number * choose.choice((1, 1, 10, 300))
                kind = choose.random()
                if kind < 0.4:
                    peer.ws.send(message)
                elif kind < 0.9:
                    here.hub.publish(choose.choice("abcde"), message)
                elif kind < 0.95:
                    here.hub.broadcast(message)
                else:
                    peer.ws.publish(choose.choice("abcde"), message)
                    continue
                expected.append(message)
                if choose.random() < 0.05:
                    await turns(1)
                    peer.pull(choose.choice((1, 1000, 100_000)))
            messages = await peer.see_messages(len(expected))
            assert messages == expected

    run(scenario())


def test_more_parts_than_one_write_takes(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world(ROOMY) as here:
            peer = await here.connect()
            peer.ws.subscribe("a")
            peer.ws.subscribe("b")
            for number in range(3000):
                here.hub.publish("ab"[number % 2], str(number))
            assert await peer.see_messages(3000) == [str(n) for n in range(3000)]

    run(scenario())


def test_many_segments_of_one_log(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world(ROOMY) as here:
            here.hub.rule_for = lambda name: ChannelRule(max_lag=1 << 30)
            here.hub.slice_nanoseconds = 1
            peer, slow = await here.connect(), await here.connect(small=True)
            for one in (peer, slow):
                one.ws.subscribe("a")
            sizes = [1, 4000, 70_000, 65_000, 10, 300_000, 5000, 1]
            messages = [b"%d" % n * size for n, size in enumerate(sizes * 5)]
            for message in messages:
                here.hub.publish("a", message)
                await turns(1)
            assert await peer.see_messages(40) == messages
            assert native_counts()["segments"] > 0
            assert await slow.see_messages(40) == messages
            await until(lambda: native_counts()["segments"] == 0)

    run(scenario())


def test_a_publication_that_leaves_it_out_costs_a_slow_peer_nothing(
    run: Run[None],
) -> None:
    async def scenario() -> None:
        async with world(ROOMY) as here:
            peer = await here.connect(small=True)
            peer.ws.subscribe("a")
            count = await here.stall(peer)
            for number in range(10):
                peer.ws.publish("a", f"not for me {number}")
                here.hub.publish("a", str(number))
            peer.ws.publish("a", "not for me")
            expected = [b"." * 1000] * count + [str(n) for n in range(10)]
            assert await peer.see_messages(len(expected)) == expected
            await until(lambda: peer.ws.lag("a") == 0)
            assert native_counts()["segments"] == 0

    run(scenario())


def test_leaving_a_channel_sends_what_was_published_before(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect()
            for order in itertools.permutations("abc"):
                for channel in order:
                    peer.ws.subscribe(channel)
                for channel in order:
                    here.hub.publish(channel, "before " + channel)
                    peer.ws.send("direct " + channel)
                    assert peer.ws.unsubscribe(channel)
                    here.hub.publish(channel, "after " + channel)
                expected = [
                    f"{what} {c}" for c in order for what in ("before", "direct")
                ]
                await peer.see_messages(6)
                assert peer.messages == expected
                peer.frames.clear()

    run(scenario())


def test_leaving_a_channel_that_lags_drops_what_is_owed_and_counts_it(
    run: Run[None],
) -> None:
    """Fixed: these losses were in no counter."""

    async def scenario() -> None:
        async with world(ROOMY) as here:
            peer = await here.connect(small=True)
            peer.ws.subscribe("a")
            peer.ws.subscribe("b")
            count = await here.stall(peer)
            for number in range(5):
                here.hub.publish("a", b"lost" * 10_000)
                here.hub.publish("b", str(number))
            await turns()
            assert peer.ws.lag("a") == 5 * 40_004
            assert peer.ws.unsubscribe("a")
            assert here.count("frames_lost") == 5
            messages = await peer.see_messages(count + 5)
            assert messages[count:] == [str(number) for number in range(5)]

    run(scenario())


def test_subscribing_again_starts_at_the_head(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            peer, other = await here.connect(), await here.connect()
            other.ws.subscribe("a")
            here.hub.publish("a", "not yet")
            peer.ws.subscribe("a")
            here.hub.publish("a", "one")
            peer.ws.subscribe("a")
            here.hub.publish("a", "two")
            assert await peer.see_messages(2) == ["one", "two"]
            assert await other.see_messages(3) == ["not yet", "one", "two"]

    run(scenario())
