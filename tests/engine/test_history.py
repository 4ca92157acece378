"""History: what a channel keeps, reading it, and coming back with a position."""

from __future__ import annotations

import gc

import pytest

from fastws import ChannelRule, Position, Publication
from fastws.engine.counters import native_counts
from fastws.errors import StateError
from tests.conftest import Run
from tests.engine.peers import World, turns, until, world


def keeping(here: World, **rule: object) -> None:
    made = ChannelRule(**{"history": 10, **rule})  # type: ignore[arg-type]
    here.hub.rule_for = lambda name: made


def offsets(found: tuple[Publication, ...]) -> list[int]:
    return [one.offset for one in found]


def test_publications_are_kept_with_offset_key_and_time(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            keeping(here)
            here.hub.publish("a", "é", key="k")
            here.hub.publish("a", b"\x00\xff")
            here.hub.publish("a", {"n": 1})
            here.hub.publish("a", "")
            here.hub.publish("a", "x" * 70_000)
            channel = here.hub.channel("a")
            assert channel is not None
            found = channel.read()
            messages = [one.message for one in found.publications]
            assert messages == ["é", b"\x00\xff", '{"n":1}', "", "x" * 70_000]
            assert offsets(found.publications) == [1, 2, 3, 4, 5]
            assert [one.key for one in found.publications] == ["k"] + [None] * 4
            times = [one.time for one in found.publications]
            assert times == sorted(times)
            assert times[0] > 1e9
            assert found.recovered
            assert found.position == channel.position
            assert channel.position == Position(str(channel.epoch), 5)

    run(scenario())


def test_the_count_pushes_out_the_oldest(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            keeping(here, history=7)
            for number in range(1, 101):
                here.hub.publish("a", str(number))
                channel = here.hub.channels["a"]
                found = channel.read().publications
                assert offsets(found) == list(range(max(1, number - 6), number + 1))
                assert [one.message for one in found] == [
                    str(one.offset) for one in found
                ]

    run(scenario())


def test_the_bytes_push_out_the_oldest_but_the_newest_stays(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            keeping(here, history_bytes=1000)
            for _ in range(5):
                here.hub.publish("a", b"." * 300)
            channel = here.hub.channels["a"]
            assert offsets(channel.read().publications) == [3, 4, 5]
            here.hub.publish("a", b"." * 5000)
            assert offsets(channel.read().publications) == [6]
            here.hub.publish("a", b".")
            assert offsets(channel.read().publications) == [7]

    run(scenario())


def test_time_drops_publications_and_in_the_end_the_channel(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            keeping(here, history_ttl=5)
            here.hub.publish("a", "1")
            await here.pass_time(3)
            here.hub.publish("a", "2")
            channel = here.hub.channels["a"]
            epoch = channel.epoch
            assert offsets(channel.read().publications) == [1, 2]
            await here.pass_time(3)
            assert offsets(channel.read().publications) == [2]
            # Nothing but what is gone is missed by somebody who knows the newest.
            assert channel.read(Position(str(epoch), 1)).recovered
            assert not channel.read(Position(str(epoch), 0)).recovered
            await here.pass_time(2.5)
            assert here.hub.channel("a") is None
            here.hub.publish("a", "3")
            assert here.hub.channels["a"].epoch != epoch
            assert offsets(here.hub.channels["a"].read().publications) == [1]

    run(scenario())


def test_subscribers_keep_a_channel_and_its_epoch_without_messages(
    run: Run[None],
) -> None:
    async def scenario() -> None:
        async with world() as here:
            keeping(here, history_ttl=2)
            peer = await here.connect()
            subscription = peer.ws.subscribe("a")
            assert subscription.position is not None
            epoch = subscription.position.epoch
            assert subscription.position.offset == 0
            here.hub.publish("a", "1")
            await here.pass_time(4)
            channel = here.hub.channels["a"]
            assert channel.read().publications == ()
            assert channel.position == Position(epoch, 1)
            here.hub.publish("a", "2")
            assert offsets(channel.read().publications) == [2]
            peer.ws.unsubscribe("a")
            assert "a" in here.hub.channels
            await here.pass_time(4)
            assert here.hub.channels == {}

    run(scenario())


def test_without_a_time_only_clearing_ends_it(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            keeping(here)
            here.hub.publish("a", "1")
            channel = here.hub.channels["a"]
            epoch = str(channel.epoch)
            await here.pass_time(100)
            assert here.hub.channel("a") is channel
            channel.clear()
            assert here.hub.channel("a") is None
            peer = await here.connect()
            assert not peer.ws.subscribe("a", since=Position(epoch, 1)).recovered
            here.hub.publish("a", "2")
            kept = here.hub.channels["a"]
            kept.clear()
            assert kept.position == Position(str(kept.epoch), 0)
            here.hub.publish("a", "3")
            assert offsets(kept.read().publications) == [1]
            assert await peer.see_messages(2) == ["2", "3"]

    run(scenario())


def test_reading_from_a_position_and_in_pages(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            keeping(here, history=20)
            for number in range(1, 26):
                here.hub.publish("a", str(number))
            channel = here.hub.channels["a"]
            epoch = str(channel.epoch)
            assert offsets(channel.read(limit=3).publications) == [23, 24, 25]
            assert offsets(channel.read(limit=100).publications) == list(range(6, 26))
            for since, expected in ((5, range(6, 26)), (24, [25]), (25, [])):
                found = channel.read(Position(epoch, since))
                assert found.recovered
                assert offsets(found.publications) == list(expected)
                assert found.position == Position(epoch, 25)
            for epoch_asked, since in ((epoch, 4), (epoch, 26), ("00000000", 20)):
                found = channel.read(Position(epoch_asked, since))
                assert not found.recovered
                assert found.publications == ()
                assert found.position == Position(epoch, 25)
            position, read = Position(epoch, 5), []
            while len(page := channel.read(position, limit=8)):
                read += offsets(page.publications)
                position = page.position
            assert read == list(range(6, 26))
            for bad in (-1, 2**70, "x", 1.0):
                assert not channel.read(Position(epoch, bad)).recovered  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="since must be a Position"):
                channel.read((epoch, 7))  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="limit must be"):
                channel.read(limit=0)

    run(scenario())


def test_a_channel_without_history_says_so(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect()
            subscription = await peer.ws.subscribe("a")
            assert (subscription.position, subscription.recovered) == (None, False)
            channel = here.hub.channels["a"]
            assert (channel.position, channel.epoch) == (None, None)
            with pytest.raises(StateError, match="has no history"):
                channel.read()
            channel.clear()
            other = await here.connect()
            assert not other.ws.subscribe("a", since=Position("x", 0)).recovered

    run(scenario())


def test_a_return_gets_the_whole_gap_in_its_place(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            keeping(here, history=50)
            peer, other = await here.connect(), await here.connect()
            for number in range(1, 31):
                here.hub.publish("a", str(number))
            epoch = str(here.hub.channels["a"].epoch)
            other.ws.subscribe("b")
            here.hub.publish("b", "b1")
            peer.ws.subscribe("b")
            peer.ws.send("before")
            here.hub.publish("b", "b2")
            subscription = peer.ws.subscribe("a", since=Position(epoch, 10))
            assert subscription.recovered
            assert subscription.position == Position(epoch, 30)
            assert peer.ws.lag("a") == 20 * 4
            peer.ws.send("after")
            here.hub.publish("a", "31")
            here.hub.publish("b", "b3")
            expected = ["before", "b2", *map(str, range(11, 31)), "after", "31", "b3"]
            assert await peer.see_messages(len(expected)) == expected
            assert peer.ws.lag("a") == 0
            here.hub.publish("a", "32")
            assert (await peer.see_messages(len(expected) + 1))[-1] == "32"
            assert here.count("lag_refills") == 0
            with pytest.raises(StateError, match="already subscribed"):
                peer.ws.subscribe("a", since=Position(epoch, 32))
            assert peer.ws.subscribe("a").position == Position(epoch, 32)

    run(scenario())


def test_nothing_of_a_gap_that_is_not_whole(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            keeping(here, history=5)
            for number in range(1, 11):
                here.hub.publish("a", str(number))
            epoch = str(here.hub.channels["a"].epoch)
            for since in (Position(epoch, 4), Position(epoch, 11), Position("x", 9)):
                peer = await here.connect()
                subscription = peer.ws.subscribe("a", since=since)
                assert not subscription.recovered
                assert subscription.position == Position(epoch, 10)
            with pytest.raises(TypeError, match="since must be a Position"):
                (await here.connect()).ws.subscribe("a", since=7)  # type: ignore[arg-type]
            here.hub.publish("a", "11")
            for peer in here.peers[:3]:
                assert await peer.see_messages(1) == ["11"]

    run(scenario())


def test_who_was_left_out_still_is_but_not_on_a_new_connection(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            keeping(here)
            peer = await here.connect()
            position = peer.ws.subscribe("a").position
            for number in range(6):
                exclude = peer.ws if number % 2 else None
                here.hub.publish("a", str(number), exclude=exclude)
            assert await peer.see_messages(3) == ["0", "2", "4"]
            peer.ws.unsubscribe("a")
            assert peer.ws.subscribe("a", since=position).recovered
            assert await peer.see_messages(6) == ["0", "2", "4"] * 2
            other = await here.connect()
            other.ws.subscribe("a", since=position)
            assert await other.see_messages(6) == [str(n) for n in range(6)]

    run(scenario())


def test_a_recovery_that_history_overtakes_is_no_silent_gap(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            keeping(here, history=5)
            for number in range(5):
                here.hub.publish("a", b"%d" % number + b"." * 20_000)
            peer = await here.connect(small=True)
            epoch = str(here.hub.channels["a"].epoch)
            await here.stall(peer)
            peer.ws.send(b"." * 400_000)
            assert peer.ws.subscribe("a", since=Position(epoch, 0)).recovered
            here.hub.publish("a", "6")
            assert (await peer.see_close())[0] == 1013
            assert not any(
                message[1:20] == b"." * 19 and message[:1] != b"."
                for message in peer.messages
                if isinstance(message, bytes)
            )

    run(scenario())


@pytest.mark.parametrize("ending", ["unsubscribe", "abort"])
def test_leaving_in_the_middle_of_a_recovery(run: Run[None], ending: str) -> None:
    async def scenario() -> None:
        async with world() as here:
            keeping(here)
            for _ in range(10):
                here.hub.publish("a", b"." * 20_000)
            peer = await here.connect(small=True)
            await here.stall(peer)
            peer.ws.send(b"." * 400_000)
            epoch = str(here.hub.channels["a"].epoch)
            peer.ws.subscribe("a", since=Position(epoch, 4))
            await turns(3)
            assert native_counts()["detours"] == 1
            if ending == "abort":
                peer.ws.abort()
                await until(lambda: here.hub.connection_count == 0)
            else:
                assert peer.ws.unsubscribe("a")
            assert native_counts()["detours"] == 0
            assert here.count("frames_lost") == 6

    run(scenario())


def test_confirmed_publications_say_where_they_stand(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            keeping(here)
            peer = await here.connect()
            peer.ws.subscribe("a")
            for number in range(1, 4):
                receipt = here.hub.publish_confirmed("a", str(number))
                assert receipt.epoch == here.hub.channels["a"].epoch
                assert receipt.offset == number
                assert (receipt.survives, receipt.duplicate) == ("process", False)
            assert await peer.see_messages(3) == ["1", "2", "3"]
            here.hub.rule_for = lambda name: ChannelRule()
            receipt = here.hub.publish_confirmed("b", "x")
            assert (receipt.epoch, receipt.offset) == (None, None)
            assert receipt.survives == "nothing"

    run(scenario())


def test_an_idempotency_key_publishes_once_in_two_minutes(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            keeping(here)
            peer = await here.connect()
            peer.ws.subscribe("a")
            publish = here.hub.publish_confirmed
            first = publish("a", "1", idempotency_key="k")
            here.clock.now += 119
            again = publish("a", "2", idempotency_key="k")
            assert again.duplicate
            assert (again.epoch, again.offset) == (first.epoch, first.offset)
            # Another channel's and another key are others.
            assert not publish("b", "x", idempotency_key="k").duplicate
            assert not publish("a", "3", idempotency_key="l").duplicate
            here.clock.now += 2
            assert not publish("a", "4", idempotency_key="k").duplicate
            assert publish("a", "5", idempotency_key="l").duplicate
            assert await peer.see_messages(3) == ["1", "3", "4"]
            for bad in ("k" * 256, "é" * 128):
                with pytest.raises(ValueError, match="may have 255 bytes"):
                    publish("a", "x", idempotency_key=bad)
                with pytest.raises(ValueError, match="may have 255 bytes"):
                    publish("a", "x", key=bad)
            with pytest.raises(TypeError):
                publish("a", object(), idempotency_key="m")
            assert not publish("a", "6", idempotency_key="m").duplicate

    run(scenario())


def test_the_oldest_idempotency_keys_are_forgotten_first(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            publish = here.hub.publish_confirmed
            for number in range(100_001):
                publish("a", "", idempotency_key=str(number))
            assert not publish("a", "", idempotency_key="0").duplicate
            assert publish("a", "", idempotency_key="2").duplicate
            assert publish("a", "", idempotency_key="100000").duplicate

    run(scenario())


def test_the_memory_of_a_history_is_given_back(run: Run[None]) -> None:
    gc.collect()
    before = native_counts()["kept"]

    async def scenario() -> None:
        async with world() as here:
            keeping(here)
            for name in "abc":
                for number in range(30):
                    here.hub.publish(name, str(number), key=str(number))
            assert native_counts()["kept"] == before + 30
            here.hub.channels["a"].clear()
            assert native_counts()["kept"] == before + 20

    run(scenario())
    gc.collect()
    assert native_counts()["kept"] == before
