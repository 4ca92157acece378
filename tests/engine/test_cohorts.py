"""The rules of cohorts, one by one: who joins, and what a member gets."""

from __future__ import annotations

import random
import sys
import threading
from typing import Any

import pytest

from fastws import ChannelRule, Compression
from fastws.engine.deflate import Deflate
from tests.conftest import Run
from tests.engine.peers import turns
from tests.engine.room import NO_CONTEXT, SMALL_WINDOW, Room, article, forms, room, tick

# Joining


def test_a_newcomer_waits_for_the_next_admission(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room() as here:
            old = await here.enter("a")
            assert await here.tell("a", tick(1), old) == ["alone"]
            assert await here.tell("a", tick(2), old) == ["shared"]
            new = await here.enter("a")
            await here.pass_time(0.5)
            assert await here.tell("a", tick(3), old, new) == ["shared", "plain"]
            await here.pass_time(0.6)
            assert await here.tell("a", tick(4), old, new) == ["alone", "alone"]
            assert await here.tell("a", tick(5), old, new) == ["shared", "shared"]

    run(scenario())


def test_the_time_between_admissions_is_the_rule_s(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room(cohort_join=5.0) as here:
            old = await here.enter("a")
            await here.tell("a", tick(1), old)
            new = await here.enter("a")
            await here.pass_time(4.8)
            assert await here.tell("a", tick(2), old, new) == ["shared", "plain"]
            await here.pass_time(0.3)
            assert await here.tell("a", tick(3), old, new) == ["alone", "alone"]

    run(scenario())


def test_the_context_starts_anew_once_for_all_who_join(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room() as here:
            old = await here.enter("a")
            await here.tell("a", tick(1), old)
            new = [await here.enter("a") for _ in range(5)]
            await here.pass_time(1)
            for number in range(2, 6):
                await here.tell("a", tick(number), old, *new)
            assert forms(old) == ["alone", "alone", "shared", "shared", "shared"]
            for peer in new:
                assert forms(peer) == ["alone", "shared", "shared", "shared"]

    run(scenario())


def test_the_context_grows_on_while_nobody_joins(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room() as here:
            peers = [await here.enter("a") for _ in range(3)]
            # They can't join, and wait in vain.
            others = [await here.enter("a", offer=NO_CONTEXT), await here.enter("b")]
            await here.tell("a", tick(0), *peers)
            for number in range(1, 8):
                await here.pass_time(1.5)
                assert await here.tell("a", tick(number), *peers) == ["shared"] * 3
            assert others

    run(scenario())


def test_only_who_has_caught_up_joins(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room() as here:
            quick = await here.enter("a")
            slow = await here.enter("a", small=True)
            await here.stall(slow)
            assert await here.tell("a", tick(1), quick) == ["alone"]
            await here.pass_time(2)
            await here.tell("a", tick(2), quick)
            assert forms(quick) == ["alone", "shared"]
            await slow.see(lambda: slow.messages[-1:] == [tick(2)])
            assert forms(slow)[-2:] == ["plain", "plain"]
            assert await here.tell("a", tick(3), quick, slow) == ["shared", "plain"]
            await here.pass_time(2)
            assert await here.tell("a", tick(4), quick, slow) == ["alone", "alone"]

    run(scenario())


def test_who_is_sent_something_in_the_same_tick_has_not_caught_up(
    run: Run[None],
) -> None:
    """What it is owed may be compressed: it must not come between the cohort's."""

    async def scenario() -> None:
        async with room() as here:
            first, second = await here.enter("a"), await here.enter("a", "b")
            assert second.ws.send(article(1), compress=True)
            forms_of_two = await here.tell("a", tick(1), first, second)
            assert forms_of_two == ["alone", "plain"]
            assert forms(second)[0] == "alone"
            assert await here.tell("a", tick(2), first, second) == ["shared", "plain"]

    run(scenario())


def publish_much_later(here: Room, message: str) -> None:
    """In the same tick of the loop, and yet when newcomers are looked for again."""
    here.clock.now += 2
    here.sweep.run()
    here.hub.publish("a", message)


def test_who_is_owed_something_compressed_waits_and_gets_it(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room() as here:
            cohort, shared = ChannelRule(compress="cohort"), ChannelRule()
            here.hub.rule_for = lambda name: shared if name == "b" else cohort
            old = await here.enter("a")
            await here.tell("a", tick(0), old)
            # Of this channel, and of another one.
            for name, message in (("a", tick(1)), ("b", article(1))):
                new = await here.enter("a", "b")
                here.hub.publish(name, message)
                publish_much_later(here, tick(2))
                assert await here.heard(tick(2), (old, new)) == ["shared", "plain"]
                assert new.messages == [message, tick(2)]
                await here.pass_time(1)
                assert await here.tell("a", tick(3), old, new) == ["alone", "alone"]

    run(scenario())


def test_who_is_owed_something_plain_waits_and_gets_it(run: Run[None]) -> None:
    """It was a member elsewhere, and so in the lane of those that have agreed on
    nothing."""

    async def scenario() -> None:
        async with room() as here:
            old, new = await here.enter("a"), await here.enter("b", "a")
            await here.tell("b", tick(0), new)
            await here.tell("a", tick(1), old, new)
            here.hub.publish("a", tick(2))
            assert new.ws.unsubscribe("b")
            publish_much_later(here, tick(3))
            assert await here.heard(tick(3), (old, new)) == ["shared", "plain"]
            assert new.messages == [tick(number) for number in range(4)]
            await here.pass_time(1)
            assert await here.tell("a", tick(4), old, new) == ["alone", "alone"]

    run(scenario())


def test_a_client_that_wants_no_context_stays_outside(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room() as here:
            inside = await here.enter("a")
            outside = await here.enter("a", offer=NO_CONTEXT)
            for number in range(3):
                await here.pass_time(2)
                forms_of_two = await here.tell("a", tick(number), inside, outside)
                assert forms_of_two[1] == "plain"
            # What it gets refers to nothing, but is compressed where that is worth it.
            assert await here.tell("a", article(3), inside, outside) == [
                "shared",
                "alone",
            ]

    run(scenario())


def test_a_client_with_a_smaller_window_stays_outside(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room() as here:
            inside = await here.enter("a")
            large = await here.enter(
                "a", offer=b"permessage-deflate; server_max_window_bits=13"
            )
            outside = await here.enter("a", offer=SMALL_WINDOW)
            without = await here.enter("a", offer=None)
            peers = (inside, large, outside, without)
            for number in range(3):
                await here.pass_time(2)
                await here.tell("a", tick(number), *peers)
            assert forms(inside) == forms(large) == ["alone", "shared", "shared"]
            assert forms(outside) == forms(without) == ["plain"] * 3
            assert await here.tell("a", article(3), *peers) == [
                "shared",
                "shared",
                "alone",
                "plain",
            ]

    run(scenario())


def test_without_context_on_our_side_there_is_no_cohort(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room() as here:
            here.deflate = Deflate(Compression())
            peer = await here.enter("a")
            for number in range(3):
                assert await here.tell("a", tick(number), peer) == ["plain"]
                await here.pass_time(2)

    run(scenario())


def test_a_cohort_belongs_to_one_compression_rule(run: Run[None]) -> None:
    """Clients of another route may have agreed on another window."""

    async def scenario() -> None:
        async with room() as here:
            first = await here.enter("a")
            await here.tell("a", tick(1), first)
            here.deflate = Deflate(
                Compression(window_bits=9, threshold=1), has_cohorts=True
            )
            second = await here.enter("a")
            for number in range(2, 5):
                await here.pass_time(1)
                message = tick(number) + tick(number)
                assert await here.tell("a", message, first, second) == [
                    "shared",
                    "alone",
                ]

    run(scenario())


def test_who_comes_back_with_a_position_joins_behind_what_it_missed(
    run: Run[None],
) -> None:
    async def scenario() -> None:
        async with room(history=100) as here:
            peer, away = await here.enter("a"), await here.enter("a")
            await here.tell("a", tick(0), peer, away)
            channel = here.hub.channel("a")
            assert channel is not None
            place = channel.position
            away.ws.unsubscribe("a")
            for number in range(1, 5):
                await here.tell("a", tick(number), peer)
            assert away.ws.subscribe("a", since=place).recovered
            assert await here.tell("a", tick(5), peer, away) == ["shared", "plain"]
            assert away.messages == [tick(number) for number in range(6)]
            assert forms(away) == ["alone"] + ["plain"] * 5
            await here.pass_time(1)
            assert await here.tell("a", tick(6), peer, away) == ["alone", "alone"]
            assert await here.tell("a", tick(7), peer, away) == ["shared", "shared"]

    run(scenario())


# What a member gets


def test_the_first_cohort_wins(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room() as here:
            peer, other = await here.enter("a", "b"), await here.enter("b")
            for number in range(4):
                await here.pass_time(1)
                await here.tell("b", tick(number), peer, other)
                await here.tell("a", tick(number + 100), peer)
            assert forms(peer) == ["alone", "plain"] + ["shared", "plain"] * 3
            assert forms(other) == ["alone", "shared", "shared", "shared"]
            # Whoever leaves the first may join the second.
            assert peer.ws.unsubscribe("b")
            await here.pass_time(1)
            assert await here.tell("a", tick(104), peer) == ["alone"]
            assert await here.tell("a", tick(105), peer) == ["shared"]
            assert await here.tell("b", tick(4), other) == ["shared"]

    run(scenario())


def test_other_channels_send_a_member_plain_frames(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room() as here:
            cohort, shared = ChannelRule(compress="cohort"), ChannelRule()
            here.hub.rule_for = lambda name: cohort if name == "a" else shared
            # One that was there before, and one that comes later.
            member = await here.enter("before", "a")
            other = await here.enter("before", "later")
            forms_of_two = await here.tell("before", article(1), member, other)
            assert forms_of_two == ["alone", "alone"]
            await here.tell("a", tick(1), member)
            member.ws.subscribe("later")
            for name in ("before", "later"):
                message = article(2) + name
                assert await here.tell(name, message, member, other) == [
                    "plain",
                    "alone",
                ]
                message = name + tick(3) * 2
                assert await here.tell(name, message, member, other, compress=True) == [
                    "plain",
                    "alone",
                ]
            assert await here.tell("a", tick(4), member) == ["shared"]
            member.ws.unsubscribe("a")
            for name in ("before", "later"):
                assert await here.tell(name, article(5) + name, member) == ["alone"]

    run(scenario())


def test_a_broadcast_is_plain_for_a_member(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room() as here:
            member, other = await here.enter("a"), await here.enter("b")
            await here.tell("a", tick(1), member)
            for number in range(2):
                message = article(number)
                here.hub.broadcast(message, compress=(None, True)[number])
                assert await here.heard(message, (member, other)) == ["plain", "alone"]
            assert await here.tell("a", tick(2), member) == ["shared"]

    run(scenario())


def test_a_direct_send_is_plain_for_a_member(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room() as here:
            member, other = await here.enter("a"), await here.enter("b")
            await here.tell("a", tick(1), member)
            for compress in (None, True):
                for peer, form in ((member, "plain"), (other, "alone")):
                    assert peer.ws.send(article(2), compress=compress)
                    assert await here.heard(article(2), (peer,)) == [form]
            # In one tick, before and behind the cohort's.
            member.ws.send(article(3), compress=True)
            here.hub.publish("a", tick(4))
            member.ws.send(article(5), compress=True)
            assert await here.tell("a", tick(6), member) == ["shared"]
            assert forms(member)[-4:] == ["plain", "shared", "plain", "shared"]
            member.ws.unsubscribe("a")
            member.ws.send(article(7), compress=True)
            assert await here.heard(article(7), (member,)) == ["alone"]

    run(scenario())


def test_a_publication_that_leaves_somebody_out_is_plain(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room() as here:
            one, two = await here.enter("a"), await here.enter("a")
            outside = await here.enter("a", offer=NO_CONTEXT)
            await here.tell("a", tick(1), one, two)
            for number in range(2, 4):
                compress = (None, True)[number - 2]
                one.ws.publish("a", article(number), compress=compress)
                message = article(number)
                assert await here.heard(message, (two, outside)) == ["plain", "alone"]
            here.hub.publish("a", article(4), exclude=outside.ws)
            assert await here.heard(article(4), (one, two)) == ["plain", "plain"]
            assert await here.tell("a", tick(5), one, two) == ["shared", "shared"]
            assert article(2) not in one.messages
            one.ws.publish("a", tick(6), include_self=True)
            assert await here.heard(tick(6), (one, two)) == ["shared", "shared"]

    run(scenario())


def test_compress_says_it_for_one_publication(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room() as here:
            member = await here.enter("a")
            outside = await here.enter("a", offer=NO_CONTEXT)
            both = (member, outside)
            await here.tell("a", tick(1), *both)
            for message in (tick(2), article(2)):
                assert await here.tell("a", message, *both, compress=False) == [
                    "plain",
                    "plain",
                ]
            doubled = tick(3) + tick(3)
            assert await here.tell("a", doubled, *both) == ["shared", "plain"]
            doubled = tick(4) + tick(4)
            assert await here.tell("a", doubled, *both, compress=True) == [
                "shared",
                "alone",
            ]
            here.hub.publish_confirmed("a", tick(5), compress=False)
            assert await here.heard(tick(5), both) == ["plain", "plain"]
            assert await here.tell("a", tick(6), *both) == ["shared", "plain"]

    run(scenario())


def test_a_message_over_max_size_is_plain(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room(Compression(max_size=2000)) as here:
            member = await here.enter("a")
            outside = await here.enter("a", offer=NO_CONTEXT)
            both = (member, outside)
            await here.tell("a", tick(1), *both)
            for size, found in ((2000, ["shared", "alone"]), (2001, ["plain"] * 2)):
                message = (tick(2) * 20)[:size]
                assert await here.tell("a", message, *both) == found
            message = tick(3) * 20
            assert await here.tell("a", message, *both, compress=True) == [
                "shared",
                "alone",
            ]
            assert await here.tell("a", tick(4), *both) == ["shared", "plain"]

    run(scenario())


def test_an_empty_message_is_plain(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room() as here:
            member = await here.enter("a")
            await here.tell("a", tick(1), member)
            for message in ("", b""):
                for compress in (None, True):
                    before = len(member.messages)
                    here.hub.publish("a", message, compress=compress)
                    await member.see_messages(before + 1)
                    assert (member.messages[-1], forms(member)[-1]) == (
                        message,
                        "plain",
                    )
            assert await here.tell("a", tick(2), member) == ["shared"]

    run(scenario())


def test_what_gets_larger_goes_out_and_is_decoded(run: Run[None]) -> None:
    """Noise grows by a few bytes; what follows refers to it."""

    async def scenario() -> None:
        async with room() as here:
            members = [await here.enter("a") for _ in range(2)]
            noise = random.Random(2).randbytes(500)
            await here.tell("a", noise, *members)
            assert await here.tell("a", noise + b"!", *members) == ["shared"] * 2
            assert len(members[0].frames[-1].payload) < 50

    run(scenario())


def test_compress_false_compresses_nothing(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room(compress=False) as here:
            peer = await here.enter("a")
            for number, compress in enumerate((None, True, False)):
                message = article(number)
                assert await here.tell("a", message, peer, compress=compress) == [
                    "plain"
                ]
            channel = here.hub.channel("a")
            assert channel is not None
            assert channel.compression is None
            # It is no other channel's business.
            peer.ws.send(article(4))
            assert await here.heard(article(4), (peer,)) == ["alone"]

    run(scenario())


def test_one_member_is_a_cohort(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room() as here:
            peer = await here.enter("a")
            for number in range(50):
                here.hub.publish("a", tick(number))
                await turns(number % 3)
            messages = await peer.see_messages(50)
            assert messages == [tick(number) for number in range(50)]
            assert forms(peer) == ["alone"] + ["shared"] * 49
            sizes = [len(one.payload) for one in peer.frames]
            assert sum(sizes) < 0.25 * sum(len(tick(n)) for n in range(50))

    run(scenario())


def test_a_message_is_compressed_once_for_all_members(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room() as here:
            peers = [await here.enter("a") for _ in range(10)]
            for number in range(20):
                await here.tell("a", tick(number), *peers)
            assert here.count("compressed_messages") == 20
            assert here.count("compress_bytes_in") == 20 * len(tick(0))
            channel = here.hub.channel("a")
            assert channel is not None
            counts = channel.compression
            assert counts is not None
            assert counts.messages == 20
            assert counts.bytes_before == 20 * len(tick(0))
            assert counts.bytes_after == here.count("compress_bytes_out")
            assert (
                len({tuple(one.payload for one in peer.frames) for peer in peers}) == 1
            )

    run(scenario())


@pytest.mark.parametrize("form", [str, str.encode, bytearray], ids=["text", "", "view"])
def test_a_large_message_goes_as_it_was_published(run: Run[None], form: Any) -> None:
    async def scenario() -> None:
        async with room(max_lag=1 << 30) as here:
            member = await here.enter("a")
            await here.tell("a", tick(0), member)
            body = random.Random(3).randbytes(50_000).hex()
            for number in range(3):
                text = f"{{{number}{body}"
                message = bytearray(text.encode()) if form is bytearray else form(text)
                here.hub.publish("a", message)
                if form is bytearray:
                    message[:] = bytes(len(message))
                await member.see_messages(2 * number + 2)
                got = member.messages[-1]
                assert got == text if form is str else got == text.encode()
                assert member.frames[-1].compressed
                assert await here.tell("a", tick(number + 1), member) == ["shared"]

    run(scenario())


@pytest.mark.parametrize(
    ("form", "size", "is_released"),
    [(str, 1 << 24, True), (str, 1 << 15, False), (bytearray, 1 << 24, False)],
    ids=["large", "small", "may change"],
)
@pytest.mark.parametrize("compress", [True, "cohort"])
def test_other_threads_run_while_a_large_message_is_compressed(
    run: Run[None], compress: Any, form: Any, size: int, is_released: bool
) -> None:
    """Only where nobody can change it meanwhile, and where it takes its time."""

    async def scenario() -> None:
        async with room(compress=compress) as here:
            await here.enter("a")
            text = ("What may be compressed, and well. " * (size // 34))[:size]
            message = text if form is str else bytearray(text.encode())
            ready, ran = threading.Event(), threading.Event()

            def wait() -> None:
                ready.wait()
                ran.set()

            # Nobody takes the lock from whoever does not give it away: the other thread
            # runs to its wait in start(), and on from there in a publish or not at all.
            interval = sys.getswitchinterval()
            sys.setswitchinterval(1000)
            try:
                other = threading.Thread(target=wait)
                other.start()
                ready.set()
                # A busy machine may not wake it in the first one that would let it run.
                for _ in range(100 if is_released else 1):
                    here.hub.publish("a", message, compress=True)
                    if has_run := ran.is_set():
                        break
            finally:
                sys.setswitchinterval(interval)
            other.join()
            assert has_run == is_released

    run(scenario())


def test_an_array_is_compressed_in_a_cohort(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room(batch=0.001, batch_form="array") as here:
            peers = [await here.enter("a") for _ in range(2)]
            for number in range(4):
                expected = "[" + ",".join([tick(number)] * 3) + "]"
                for _ in range(3):
                    here.hub.publish("a", tick(number))
                assert await here.heard(expected, peers) == (
                    ["shared" if number else "alone"] * 2
                )

    run(scenario())


def test_frames_of_a_batch_are_compressed_in_a_cohort(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room(batch=0.001) as here:
            peer = await here.enter("a")
            for number in range(5):
                here.hub.publish("a", tick(number))
            await peer.see_messages(5)
            new = await here.enter("a")
            await here.pass_time(1)
            for number in range(5, 10):
                here.hub.publish("a", tick(number))
            for one in (peer, new):
                await here.see_last(one, tick(9))
                assert one.messages[-5:] == [tick(n) for n in range(5, 10)]
            assert forms(peer) == (["alone"] + ["shared"] * 4) * 2
            assert forms(new) == ["alone"] + ["shared"] * 4

    run(scenario())
