"""Slow subscribers: what each policy does to one that falls behind."""

from __future__ import annotations

from typing import Any

import pytest

from fastws import ChannelRule, Connection, Limits
from fastws.engine.counters import native_counts
from tests.conftest import Certificates, Run
from tests.engine.peers import Peer, World, turns, until, world

PATIENT = Limits(max_stall=None, ping_interval=None, write_cap=1 << 30)
SIZE = 100
HEALING = ("skip", "latest", "resume")


def rules(here: World, **rule: Any) -> None:
    rule = {"max_lag": 1000, "max_lag_age": 3600, **rule}
    made = ChannelRule(**rule)
    here.hub.rule_for = lambda name: made


def payload(number: int, size: int = SIZE) -> bytes:
    return number.to_bytes(8, "big").ljust(size, b".")


def numbers(peer: Peer) -> list[int]:
    """Of the publications that have come."""
    return [
        int.from_bytes(message[:8], "big")
        for message in peer.messages
        if isinstance(message, bytes) and message[:1] == b"\0"
    ]


async def slow_and_quick(
    here: World, certificates: Certificates | None = None
) -> tuple[Peer, Peer]:
    """One that has stalled and one that reads, both subscribed."""
    slow = await here.connect(small=True, certificates=certificates)
    quick = await here.connect(certificates=certificates)
    for peer in (slow, quick):
        peer.ws.subscribe("a")
    await stall(here, slow)
    return slow, quick


async def stall(here: World, peer: Peer) -> None:
    """For good: more than the kernels, or a transport under TLS, take later."""
    await here.stall(peer, 4000)
    while peer.ws.buffered < 400_000:
        peer.ws.send(b"." * 50_000)
        await turns(2)


class Told:
    """What on_skip has been called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[Connection[Any], str, int]] = []

    def __call__(self, ws: Connection[Any], channel: str, missed: int) -> None:
        self.calls.append((ws, channel, missed))

    def of(self, peer: Peer) -> int:
        return sum(missed for ws, _, missed in self.calls if ws is peer.ws)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_skip_goes_to_the_head_and_tells_once(
    run: Run[None], tls: bool, certificates: Certificates
) -> None:
    async def scenario() -> None:
        told = Told()
        async with world(PATIENT, on_skip=told) as here:
            rules(here, slow="skip")
            peers = await slow_and_quick(here, certificates if tls else None)
            slow, quick = peers
            for number in range(35):
                here.hub.publish("a", payload(number))
                await turns(2)
                assert slow.ws.lag("a") <= 1000
            await quick.see(lambda: len(numbers(quick)) == 35)
            # 9 frames of 102 bytes fit, the tenth is one too many: three times.
            assert told.calls == []
            assert here.count("lag_skips") == 3
            assert here.count("frames_skipped") == 30
            assert native_counts()["segments"] <= 2
            await slow.see(lambda: numbers(slow)[-1:] == [34])
            assert numbers(slow) == [30, 31, 32, 33, 34]
            await until(lambda: told.calls)
            assert told.calls == [(slow.ws, "a", 30)]
            here.hub.publish("a", payload(35))
            await slow.see(lambda: numbers(slow)[-1:] == [35])
            assert (native_counts()["gaps"], native_counts()["segments"]) == (0, 0)
            assert here.count("evicted_lag") == here.count("frames_lost") == 0

    run(scenario())


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_latest_sends_the_newest_of_each_key_in_order(
    run: Run[None], tls: bool, certificates: Certificates
) -> None:
    async def scenario() -> None:
        told = Told()
        async with world(PATIENT, on_skip=told) as here:
            rules(here, slow="latest")
            slow, quick = await slow_and_quick(here, certificates if tls else None)
            for number in range(100):
                here.hub.publish("a", payload(number), key=str(number % 7))
                await turns(2)
            here.hub.publish("a", payload(100))
            here.hub.publish("a", payload(101), key="0")
            here.hub.publish("a", payload(102))
            slow.ws.send(b"direct")
            here.hub.publish("a", payload(103), key="new")
            await turns(2)
            assert here.count("lag_heals") == 1
            assert native_counts()["detours"] == 1
            assert native_counts()["segments"] == 0
            await slow.see(lambda: numbers(slow)[-1:] == [103])
            assert numbers(slow) == [*range(93, 98), 99, 101, 102, 103]
            assert slow.messages[-2] == b"direct"
            await until(lambda: told.calls)
            assert told.of(slow) == here.count("frames_skipped") == 104 - 9
            assert native_counts()["detours"] == 0
            for number in range(104, 110):
                here.hub.publish("a", payload(number), key="0")
            await slow.see(lambda: numbers(slow)[-1:] == [109])
            assert numbers(slow)[-6:] == list(range(104, 110))
            await quick.see(lambda: numbers(quick)[-1:] == [109])
            assert numbers(quick) == list(range(110))

    run(scenario())


def test_a_later_healer_that_stands_further_back_reaches_back(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world(PATIENT) as here:
            rules(here, slow="latest", max_lag_age=10)
            first, second = [await here.connect(small=True) for _ in range(2)]
            for peer in (first, second):
                peer.ws.subscribe("a")
            await stall(here, second)
            for number in range(6):
                here.hub.publish("a", payload(number), key=f"old {number % 3}")
                await turns(2)
            await first.see(lambda: len(numbers(first)) == 6)
            await stall(here, first)
            # The first leaves the log at a large one, the second by age, later.
            for number in range(6, 9):
                here.hub.publish("a", payload(number, 400), key=f"new {number % 2}")
                await turns(2)
            assert here.count("lag_heals") >= 1
            await here.pass_time(12)
            assert native_counts()["detours"] == 2
            await second.see(lambda: numbers(second)[-1:] == [8])
            assert numbers(second) == [3, 4, 5, 7, 8]
            await first.see(lambda: numbers(first)[-1:] == [8])
            assert numbers(first)[-2:] == [7, 8]

    run(scenario())


def test_the_keys_are_bounded(run: Run[None]) -> None:
    async def scenario() -> None:
        told = Told()
        async with world(PATIENT, on_skip=told) as here:
            rules(here, slow="latest", max_keys=10)
            slow, _ = await slow_and_quick(here)
            for number in range(200):
                here.hub.publish("a", payload(number), key=str(number % 50))
                await turns(2)
            assert here.count("keys_dropped") > 100
            await slow.see(lambda: numbers(slow)[-1:] == [199])
            assert numbers(slow) == list(range(190, 200))
            await until(lambda: told.of(slow) == 190)

    run(scenario())


def test_latest_leaves_out_who_is_excluded(run: Run[None]) -> None:
    async def scenario() -> None:
        told = Told()
        async with world(PATIENT, on_skip=told) as here:
            rules(here, slow="latest")
            slow, _ = await slow_and_quick(here)
            for number in range(60):
                exclude = slow.ws if number % 3 == 0 else None
                key = str(number % 4)
                here.hub.publish("a", payload(number), key=key, exclude=exclude)
                await turns(2)
            await slow.see(lambda: numbers(slow)[-1:] == [59])
            # 57 is the newest of its key, and not for this one.
            assert numbers(slow) == [56, 58, 59]
            await until(lambda: told.of(slow) == 40 - 3)

    run(scenario())


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_resume_is_refilled_from_history(
    run: Run[None], tls: bool, certificates: Certificates
) -> None:
    async def scenario() -> None:
        told = Told()
        async with world(PATIENT, on_skip=told) as here:
            rules(here, slow="resume", history=1000)
            slow, _ = await slow_and_quick(here, certificates if tls else None)
            for number in range(300):
                exclude = slow.ws if number % 10 == 0 else None
                here.hub.publish("a", payload(number), exclude=exclude)
                await turns(1)
            assert native_counts()["detours"] == 1
            assert native_counts()["segments"] == 0
            await slow.see(lambda: numbers(slow)[-1:] == [299])
            assert numbers(slow) == [n for n in range(300) if n % 10]
            assert here.count("lag_refills") == 1
            assert told.calls == []
            assert here.count("frames_skipped") == 0

    run(scenario())


def test_resume_skips_what_history_has_lost(run: Run[None]) -> None:
    async def scenario() -> None:
        told = Told()
        async with world(PATIENT, on_skip=told) as here:
            rules(here, slow="resume", history=20)
            slow, _ = await slow_and_quick(here)
            for number in range(100):
                here.hub.publish("a", payload(number))
                await turns(1)
            await slow.see(lambda: told.calls)
            assert told.calls == [(slow.ws, "a", 100)]
            assert here.count("lag_refill_misses") == 1
            here.hub.publish("a", payload(100))
            await slow.see(lambda: numbers(slow) == [100])

    run(scenario())


def test_resume_without_history_skips(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world(PATIENT) as here:
            rules(here, slow="resume")
            slow, _ = await slow_and_quick(here)
            for number in range(15):
                here.hub.publish("a", payload(number))
                await turns(2)
            assert here.count("lag_skips") == 1
            await slow.see(lambda: numbers(slow) == list(range(10, 15)))

    run(scenario())


@pytest.mark.parametrize("slow_policy", HEALING)
def test_one_frame_of_any_size_fits(run: Run[None], slow_policy: str) -> None:
    async def scenario() -> None:
        async with world(PATIENT) as here:
            rules(here, slow=slow_policy, history=10)
            slow, _ = await slow_and_quick(here)
            here.hub.publish("a", payload(0, 50_000))
            await turns(3)
            assert slow.ws.lag("a") > 50_000
            assert native_counts()["detours"] == 0
            await slow.see(lambda: numbers(slow) == [0])

    run(scenario())


@pytest.mark.parametrize("slow_policy", HEALING)
def test_age_acts_as_size_does(run: Run[None], slow_policy: str) -> None:
    async def scenario() -> None:
        async with world(PATIENT) as here:
            rules(here, slow=slow_policy, history=10, max_lag_age=5)
            slow, _ = await slow_and_quick(here)
            for number in range(3):
                here.hub.publish("a", payload(number), key="k")
            await here.pass_time(4)
            assert here.count("lag_skips") + native_counts()["detours"] == 0
            await here.pass_time(3)
            assert here.count("lag_skips") + native_counts()["detours"] == 1
            assert native_counts()["segments"] == 0
            here.hub.publish("a", payload(3), key="k")
            await slow.see(lambda: numbers(slow)[-1:] == [3])
            expected = {"skip": [3], "latest": [3], "resume": [0, 1, 2, 3]}
            assert numbers(slow) == expected[slow_policy]
            assert slow.ws.is_open

    run(scenario())


def test_a_channel_that_closes_wins(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world(PATIENT) as here:
            made = {
                "a": ChannelRule(slow="skip", max_lag=1000),
                "b": ChannelRule(slow="close", max_lag=2000),
            }
            here.hub.rule_for = lambda name: made[name]
            peer = await here.connect(small=True)
            peer.ws.subscribe("a")
            peer.ws.subscribe("b")
            await stall(here, peer)
            for number in range(15):
                here.hub.publish("a", payload(number))
                here.hub.publish("b", payload(number))
                await turns(2)
            assert here.count("lag_skips") == 1
            assert peer.ws.is_open
            for number in range(15, 25):
                here.hub.publish("b", payload(number))
                await turns(2)
            assert not peer.ws.is_open
            assert here.count("evicted_lag") == 1
            assert (await peer.see_close())[0] == 1013

    run(scenario())


@pytest.mark.parametrize(
    ("limit", "stalls", "seconds"),
    [
        (10, [], 10),
        (10, [("close", None)], 10),
        (None, [("close", None)], None),
        (10, [("skip", None)], 60),
        (None, [("latest", None)], 60),
        (10, [("skip", None), ("close", None)], 10),
        (10, [("skip", 20), ("resume", 50)], 20),
        (10, [("close", 15), ("skip", None)], 15),
    ],
)
def test_the_shortest_stall_of_its_channels_counts(
    run: Run[None],
    limit: float | None,
    stalls: list[tuple[Any, float | None]],
    seconds: float | None,
) -> None:
    async def scenario() -> None:
        limits = Limits(max_stall=limit, ping_interval=None, write_cap=1 << 30)
        async with world(limits) as here:
            made = {
                str(number): ChannelRule(slow=slow, max_stall=stall)
                for number, (slow, stall) in enumerate(stalls)
            }
            here.hub.rule_for = lambda name: made[name]
            peer = await here.connect(small=True)
            for name in made:
                peer.ws.subscribe(name)
            here.hub.broadcast("to everyone")
            await stall(here, peer)
            await here.pass_time((seconds or 100) - 1)
            assert peer.ws.is_open
            if seconds is None:
                return
            # What the kernels still moved about has started the time anew.
            left = seconds + 5
            while peer.ws.is_open and left > 0:
                await here.pass_time(1)
                left -= 1
            assert not peer.ws.is_open
            assert here.count("evicted_stall") == 1

    run(scenario())


@pytest.mark.parametrize("slow_policy", HEALING)
@pytest.mark.parametrize("ending", ["unsubscribe", "abort", "close"])
def test_leaving_while_healing_leaves_nothing_behind(
    run: Run[None], slow_policy: str, ending: str
) -> None:
    async def scenario() -> None:
        told = Told()
        async with world(PATIENT, on_skip=told) as here:
            rules(here, slow=slow_policy, history=100)
            slow, _ = await slow_and_quick(here)
            for number in range(25):
                here.hub.publish("a", payload(number), key=str(number % 3))
                await turns(2)
            if ending == "unsubscribe":
                slow.ws.unsubscribe("a")
            elif ending == "abort":
                slow.ws.abort()
            else:
                slow.ws.close()
                await slow.see_close()
                return
            counts = native_counts()
            assert (counts["detours"], counts["gaps"], counts["segments"]) == (0, 0, 0)
            skipped, lost = here.count("frames_skipped"), here.count("frames_lost")
            assert skipped + lost == 25
            assert told.calls == []

    run(scenario())


@pytest.mark.parametrize("slow_policy", ["close", *HEALING])
def test_what_left_a_peer_out_is_not_lost(run: Run[None], slow_policy: str) -> None:
    async def scenario() -> None:
        async with world(PATIENT) as here:
            rules(here, slow=slow_policy, history=100, max_lag=100_000)
            slow, _ = await slow_and_quick(here)
            for number in range(20):
                exclude = slow.ws if number % 4 == 0 else None
                here.hub.publish("a", payload(number), exclude=exclude)
                await turns(1)
            slow.ws.unsubscribe("a")
            assert here.count("frames_lost") == 15

    run(scenario())


def test_a_listener_that_raises_closes_that_connection(
    run: Run[None], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(ws: Connection[Any], channel: str, missed: int) -> None:
        raise ZeroDivisionError

    async def scenario() -> None:
        async with world(PATIENT, on_skip=fail) as here:
            heard = Told()
            here.hub.on_skip = heard
            rules(here, slow="skip")
            slow, quick = await slow_and_quick(here)
            for number in range(15):
                here.hub.publish("a", payload(number))
                await turns(2)
            assert (await slow.see_close())[0] == 1011
            assert heard.calls == []
            assert quick.ws.is_open
            assert len(caplog.records) == 1
            caplog.clear()

    run(scenario())


def test_an_async_callback_runs_in_a_task(run: Run[None]) -> None:
    async def scenario() -> None:
        heard: list[int] = []

        async def on_skip(ws: Connection[Any], channel: str, missed: int) -> None:
            await turns(1)
            heard.append(missed)

        async with world(PATIENT, on_skip=on_skip) as here:
            rules(here, slow="skip")
            slow, _ = await slow_and_quick(here)
            for number in range(15):
                here.hub.publish("a", payload(number))
                await turns(2)
            await slow.see(lambda: heard)
            assert heard == [10]

    run(scenario())
