"""The rules of cohorts: when a member goes, and what it gets then."""

from __future__ import annotations

from typing import Any

import pytest

from fastws import ChannelRule
from fastws.engine.counters import native_counts
from tests.conftest import Certificates, Run
from tests.engine.peers import Peer, turns, until
from tests.engine.room import NO_CONTEXT, WORDS, Room, article, forms, room, tick

POLICIES = ("skip", "latest", "resume")


def test_leaving_by_unsubscribing(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room() as here:
            stays, goes = await here.enter("a"), await here.enter("a")
            for number in range(2):
                await here.tell("a", tick(number), stays, goes)
            # What was published before still comes, compressed.
            here.hub.publish("a", tick(2))
            goes.ws.unsubscribe("a")
            assert await here.heard(tick(2), (stays, goes)) == ["shared", "shared"]
            assert await here.tell("a", tick(3), stays) == ["shared"]
            goes.ws.subscribe("a")
            assert await here.tell("a", tick(4), stays, goes) == ["shared", "plain"]
            await here.pass_time(1)
            assert await here.tell("a", tick(5), stays, goes) == ["alone", "alone"]
            assert tick(3) not in goes.messages

    run(scenario())


def test_what_other_channels_owe_to_one_that_leaves_still_comes(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room() as here:
            cohort, shared = ChannelRule(compress="cohort"), ChannelRule()
            here.hub.rule_for = lambda name: cohort if name == "a" else shared
            peer = await here.enter("a", "b", "c")
            await here.tell("a", tick(1), peer)
            here.hub.publish("b", article(2))
            here.hub.publish("a", tick(3))
            here.hub.publish("b", article(4))
            assert peer.ws.unsubscribe("a")
            here.hub.publish("c", article(5))
            assert await here.tell("b", article(6), peer) == ["alone"]
            expected = [tick(1), article(2), tick(3), *map(article, (4, 5, 6))]
            assert peer.messages == expected
            assert forms(peer)[:4] == ["alone", "plain", "shared", "plain"]
            # The same without anything of the cohort's own.
            peer.ws.subscribe("a")
            await here.pass_time(1)
            assert await here.tell("a", tick(7), peer) == ["alone"]
            here.hub.publish("b", article(8))
            assert peer.ws.unsubscribe("a")
            assert await here.heard(article(8), (peer,)) == ["plain"]

    run(scenario())


def test_the_last_member_leaves(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room() as here:
            outside = await here.enter("a", offer=NO_CONTEXT)
            before = native_counts()["deflaters"]
            peer = await here.enter("a")
            for number in range(2):
                await here.tell("a", tick(number), peer, outside)
            assert native_counts()["deflaters"] == before + 1
            peer.ws.unsubscribe("a")
            assert await here.tell("a", tick(2), outside) == ["plain"]
            # Nobody reads its context: it costs nothing.
            assert native_counts()["deflaters"] == before
            assert native_counts()["segments"] == 0
            peer.ws.subscribe("a")
            await here.pass_time(1)
            assert await here.tell("a", tick(3), peer, outside) == ["alone", "plain"]
            assert await here.tell("a", tick(4), peer, outside) == ["shared", "plain"]
            # And by the end of a connection.
            peer.ws.abort()
            await until(lambda: here.hub.connection_count == 1)
            assert await here.tell("a", tick(5), outside) == ["plain"]
            assert native_counts()["deflaters"] == before

    run(scenario())


def test_a_member_that_closes_gets_what_was_published_before(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room() as here:
            peer, other = await here.enter("a"), await here.enter("a")
            await here.tell("a", tick(0), peer, other)
            here.hub.publish("a", tick(1))
            peer.ws.close(1000)
            assert await here.tell("a", tick(2), other) == ["shared"]
            assert (await peer.see_close())[0] == 1000
            assert peer.messages == [tick(0), tick(1)]
            assert other.messages == [tick(0), tick(1), tick(2)]

    run(scenario())


async def slow_and_quick(here: Room, **options: Any) -> tuple[Peer, Peer]:
    """Two members, of which one has stalled."""
    slow = await here.enter("a", small=True, **options)
    quick = await here.enter("a", **options)
    await here.tell("a", tick(0), slow, quick)
    await here.tell("a", tick(1), slow, quick)
    assert forms(slow) == forms(quick) == ["alone", "shared"]
    await here.stall(slow, 4000)
    while slow.ws.buffered < 400_000:
        slow.ws.send(b"." * 50_000)
        await turns(2)
    return slow, quick


def ticks(peer: Peer) -> list[int]:
    """The numbers of those that have come."""
    found = [one for one in peer.messages if isinstance(one, str) and WORDS in one]
    return [int(one[10:20]) for one in found]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("policy", POLICIES)
def test_leaving_by_lag(
    run: Run[None], policy: str, tls: bool, certificates: Certificates
) -> None:
    """It misses a frame of the context: what comes then refers to nothing, until it is
    taken in again."""

    async def scenario() -> None:
        told: list[int] = []
        history: dict[str, Any] = {"history": 1000} if policy == "resume" else {}
        async with room(
            slow=policy,
            max_lag=500,
            on_skip=lambda ws, channel, missed: told.append(missed),
            **history,
        ) as here:
            slow, quick = await slow_and_quick(
                here, certificates=certificates if tls else None
            )
            for number in range(2, 102):
                await here.tell("a", tick(number), quick, key=str(number % 5))
            assert forms(quick)[2:] == ["shared"] * 100
            slow.ws.send("read on")
            await slow.see(lambda: slow.messages[-1:] == ["read on"])
            got = ticks(slow)
            assert got == sorted(set(got))
            if policy == "skip":
                assert got[:2] == [0, 1]
                assert len(got) < 102
            elif policy == "latest":
                assert got == [0, 1, *range(97, 102)]
                assert forms(slow)[-6:] == ["plain"] * 6
            else:
                assert got == list(range(102))
            await until(lambda: sum(told) == 102 - len(got))
            # Outside now, and in again with the next admission.
            assert await here.tell("a", tick(102), quick, slow) == ["shared", "plain"]
            await here.pass_time(1)
            assert await here.tell("a", tick(103), quick, slow) == ["alone", "alone"]
            assert await here.tell("a", tick(104), quick, slow) == ["shared", "shared"]
            assert native_counts()["detours"] == native_counts()["gaps"] == 0

    run(scenario())


def test_latest_in_a_cohort_brings_the_newest_of_each_key_in_order(
    run: Run[None],
) -> None:
    async def scenario() -> None:
        async with room(slow="latest", max_lag=500) as here:
            slow, quick = await slow_and_quick(here)
            outside = await here.enter("a", offer=NO_CONTEXT)
            for number in range(2, 102):
                key = str(number % 7)
                exclude = outside.ws if number % 2 else None
                here.hub.publish("a", tick(number), key=key, exclude=exclude)
                await turns(2)
            here.hub.publish("a", tick(102))
            slow.ws.send("direct", compress=True)
            here.hub.publish("a", tick(103), key="0")
            here.hub.publish("a", tick(104))
            await slow.see(lambda: ticks(slow)[-1:] == [104])
            newest = {number % 7: number for number in range(2, 102)}
            newest.update({0: 103, 100: 104})
            assert ticks(slow) == [0, 1, *sorted(newest.values())]
            assert slow.messages[-3] == "direct"
            await quick.see(lambda: ticks(quick) == list(range(105)))
            assert ticks(outside) == []
            await outside.see(lambda: len(ticks(outside)) == 52 + 1)
            assert set(forms(outside)) == {"plain"}

    run(scenario())


def test_resume_in_a_cohort_skips_what_history_has_lost(run: Run[None]) -> None:
    async def scenario() -> None:
        told: list[int] = []
        async with room(
            slow="resume",
            max_lag=500,
            history=10,
            on_skip=lambda ws, channel, missed: told.append(missed),
        ) as here:
            slow, quick = await slow_and_quick(here)
            for number in range(2, 202):
                await here.tell("a", tick(number), quick)
            await slow.see(lambda: told)
            assert here.count("lag_refill_misses")
            assert await here.tell("a", tick(202), quick, slow) == ["shared", "plain"]
            assert sum(told) == 203 - len(ticks(slow))

    run(scenario())


def test_a_member_that_its_policy_closes(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room(max_lag=500) as here:
            slow, quick = await slow_and_quick(here)
            for number in range(2, 102):
                await here.tell("a", tick(number), quick)
            assert (await slow.see_close())[0] == 1013
            assert here.count("evicted_lag") == 1
            # What it got before is right, and nobody else has noticed.
            assert ticks(slow) == list(range(len(ticks(slow))))
            assert forms(quick)[2:] == ["shared"] * 100

    run(scenario())


@pytest.mark.parametrize("policy", POLICIES)
def test_age_makes_a_member_leave_too(run: Run[None], policy: str) -> None:
    async def scenario() -> None:
        async with room(slow=policy, max_lag_age=5, cohort_join=60.0) as here:
            slow, quick = await slow_and_quick(here)
            for number in range(2, 5):
                await here.tell("a", tick(number), quick, key="k")
            await here.pass_time(7)
            await here.tell("a", tick(5), quick, key="k")
            await slow.see(lambda: ticks(slow)[-1:] == [5])
            assert forms(slow)[-1] == "plain"
            assert await here.tell("a", tick(6), quick, slow) == ["shared", "plain"]

    run(scenario())


@pytest.mark.parametrize("policy", ["close", *POLICIES])
@pytest.mark.parametrize("ending", ["unsubscribe", "abort"])
def test_a_slow_member_that_goes_leaves_nothing_behind(
    run: Run[None], policy: str, ending: str
) -> None:
    async def scenario() -> None:
        history: dict[str, Any] = {"history": 1000} if policy == "resume" else {}
        async with room(slow=policy, max_lag=2000, **history) as here:
            slow, quick = await slow_and_quick(here)
            # Some of them inside the bound, some over it.
            for number in range(2, 60):
                await here.tell("a", tick(number), quick, key=str(number % 3))
            if slow.ws.is_open and ending == "unsubscribe":
                slow.ws.unsubscribe("a")
            else:
                slow.ws.abort()
            counts = native_counts()
            assert (counts["detours"], counts["gaps"], counts["segments"]) == (0, 0, 0)
            lost = here.count("frames_lost") + here.count("frames_skipped")
            assert lost == 58
            assert await here.tell("a", tick(60), quick) == ["shared"]

    run(scenario())
