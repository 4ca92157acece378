"""Time: heartbeats, and every time-out, on a clock of the test's own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fastws import ChannelRule, Connection, Limits
from fastws.engine.hub import Hub
from fastws.engine.link import ByteConsumer, Link
from fastws.engine.memory import memory_pair
from fastws.engine.sweep import Sweep
from tests.conftest import Run
from tests.engine.peers import turns, until, world
from tests.support.frames import (
    BINARY,
    CONTINUATION,
    PING,
    TEXT,
    close,
    frame,
    ping,
    pong,
    text,
)


def test_a_silent_peer_is_pinged_at_every_interval(run: Run[None]) -> None:
    async def scenario() -> None:
        limits = Limits(ping_interval=5, pong_timeout=None)
        async with world(limits) as here:
            peers = [await here.connect() for _ in range(30)]
            await here.pass_time(20)
            for peer in peers:
                await peer.see_pings(3)
            await turns()
            for peer in peers:
                peer.pull()
                assert len(peer.pings) <= 5
                assert len(set(peer.pings)) == len(peer.pings)
            assert here.count("pings_sent") == sum(len(peer.pings) for peer in peers)

    run(scenario())


def test_who_came_together_is_not_pinged_together(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world(Limits(ping_interval=60)) as here:
            peers = [await here.connect() for _ in range(50)]
            moments = set()
            for second in range(70):
                before = here.count("pings_sent")
                await here.pass_time(1)
                for peer in peers:
                    peer.pull()
                    if peer.pings:
                        peer.send(pong(peer.pings[-1]))
                if here.count("pings_sent") > before:
                    moments.add(second)
            assert len(moments) > 10

    run(scenario())


def test_a_pong_gives_the_latency_and_keeps_the_connection(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world(Limits(ping_interval=5, pong_timeout=3)) as here:
            peer = await here.connect()
            assert peer.ws.latency is None
            for _ in range(3):
                seen = len(peer.pings)
                while len(peer.pings) == seen:
                    await here.pass_time(0.1)
                    peer.pull()
                answered = here.count("pongs_received") + 1
                sent_at = here.clock.now
                here.clock.now += 0.25
                peer.send(pong(peer.pings[-1]))
                await here.see_count("pongs_received", answered)
                assert peer.ws.latency == pytest.approx(
                    here.clock.now - sent_at, abs=0.2
                )
            assert peer.ws.is_open

    run(scenario())


def test_without_any_byte_after_a_ping_the_connection_is_aborted(
    run: Run[None],
) -> None:
    async def scenario() -> None:
        closed: list[tuple[int, str]] = []
        async with world(
            Limits(ping_interval=5, pong_timeout=3),
            on_close=lambda ws, code, reason: closed.append((code, reason)),
        ) as here:
            peer = await here.connect()
            await here.pass_time(12)
            await peer.see_end()
            assert closed == [(1006, "ping timeout")]
            assert here.count("pong_timeouts") == 1
            assert not peer.closes

    run(scenario())


@pytest.mark.parametrize("sign", [text("x"), pong(b"unasked"), ping(), text("xx")[:3]])
def test_any_received_byte_counts_as_life(run: Run[None], sign: bytes) -> None:
    async def scenario() -> None:
        async with world(Limits(ping_interval=2, pong_timeout=1)) as here:
            peer = await here.connect()
            seen = 0
            for _ in range(100):
                await here.pass_time(0.1)
                peer.pull()
                if len(peer.pings) > seen:
                    seen = len(peer.pings)
                    lived = here.count("bytes_received") + 1
                    peer.send(sign[:1] if seen == 1 else sign[1:2])
                    await here.see_count("bytes_received", lived)
                if seen == 2:
                    break
            assert seen == 2
            assert peer.ws.is_open

    run(scenario())


def test_a_message_that_takes_too_long_is_refused(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world(Limits(message_timeout=5, ping_interval=None)) as here:
            slow, idle, busy = [await here.connect() for _ in range(3)]
            part = frame(BINARY, b"x" * 100, fin=False)
            slow.send(part[:50])
            await until(lambda: here.count("bytes_received") == 50)
            while slow.ws.is_open:
                slow.send(b"x")
                busy.send(text("done"))
                await here.pass_time(1)
            assert await slow.see_close() == (1008, b"message took too long")
            assert here.count("message_timeouts") == 1
            assert idle.ws.is_open
            assert busy.ws.is_open

    run(scenario())


def test_a_complete_message_starts_the_time_of_the_next_one_anew(
    run: Run[None],
) -> None:
    async def scenario() -> None:
        async with world(Limits(message_timeout=5, ping_interval=None)) as here:
            peer = await here.connect()
            whole = text("hello")
            peer.send(whole[:3])
            for _ in range(5):
                await until(lambda: here.count("bytes_received") % len(whole) == 3)
                await here.pass_time(3)
                peer.send(whole[3:] + whole[:3])
                await until(lambda: here.count("bytes_received") % len(whole) == 3)
            assert peer.ws.is_open
            await here.pass_time(7)
            assert (await peer.see_close())[0] == 1008

    run(scenario())


def test_a_peer_is_not_blamed_for_what_waits_unread(run: Run[None]) -> None:
    """A handler that is behind stops the reading; pongs and the rest of a message then
    wait in the kernel."""

    async def scenario() -> None:
        limits = Limits(ping_interval=5, pong_timeout=3, message_timeout=4)
        gate = asyncio.Event()
        got: list[object] = []

        async def handler(ws: Connection[Any]) -> None:
            await gate.wait()
            got.extend([await ws.receive() for _ in range(65)])
            await ws.receive()

        async with world(limits, coroutine=handler) as here:
            peer = await here.connect()
            peer.socket.setblocking(True)
            peer.send(*[text("x")] * 64, frame(BINARY, b"half", fin=False))
            peer.socket.setblocking(False)
            await until(lambda: here.count("messages_received") == 64)
            for _ in range(60):
                await here.pass_time(1)
                seen = len(peer.pings)
                peer.pull()
                peer.send(*(pong(payload) for payload in peer.pings[seen:]))
            assert peer.ws.is_open, peer.ws.close_reason
            gate.set()
            peer.send(frame(CONTINUATION, b"other half"))
            await until(lambda: len(got) == 65)
            assert peer.ws.is_open, (peer.ws.close_code, peer.ws.close_reason)

    run(scenario())


def test_a_close_that_is_not_answered_ends_after_its_time(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world(Limits(close_timeout=4)) as here:
            peer = await here.connect()
            peer.ws.close(4000, "bye")
            assert await peer.see_close() == (4000, b"bye")
            await here.pass_time(3)
            await turns()
            assert here.hub.connection_count == 1
            await here.pass_time(2)
            await peer.see_end()
            assert here.count("close_timeouts") == 1
            assert (peer.ws.close_code, peer.ws.close_reason) == (4000, "bye")

    run(scenario())


def test_after_a_protocol_error_the_peer_has_little_time(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world(Limits(error_close_timeout=1, close_timeout=100)) as here:
            peer = await here.connect()
            peer.send(frame(TEXT, "x", key=None))
            assert (await peer.see_close())[0] == 1002
            await here.pass_time(2)
            await until(lambda: here.hub.connection_count == 0)
            assert here.count("close_timeouts") == 0
            assert here.count("protocol_errors") == 1

    run(scenario())


def test_a_peer_that_takes_no_byte_is_aborted(run: Run[None]) -> None:
    async def scenario() -> None:
        limits = Limits(max_stall=6, ping_interval=None)
        async with world(limits) as here:
            peer = await here.connect(small=True)
            await here.stall(peer)
            await here.pass_time(5)
            assert peer.ws.is_open
            await here.pass_time(3)
            await until(lambda: here.hub.connection_count == 0)
            assert here.count("evicted_stall") == 1
            assert peer.ws.close_code == 1006
            assert peer.ws.close_reason == "slow consumer"

    run(scenario())


def test_a_peer_that_takes_a_few_bytes_is_not_stalled(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world(Limits(max_stall=4, ping_interval=None)) as here:
            peer = await here.connect(small=True)
            for _ in range(10):
                await here.stall(peer, 16_000)
                await here.pass_time(2)
                left = max(peer.ws.buffered, 1)
                while peer.ws.buffered >= left:
                    peer.pull()
                    await turns(1)
            assert peer.ws.is_open

    run(scenario())


def test_a_subscriber_that_lags_too_long_is_evicted(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world(Limits(max_stall=None, ping_interval=None)) as here:
            here.hub.rule_for = lambda name: ChannelRule(max_lag_age=5)
            peer, reader = await here.connect(small=True), await here.connect()
            for one in (peer, reader):
                one.ws.subscribe("a")
            while not peer.ws.lag("a"):
                here.hub.publish("a", b"." * 1000)
                await asyncio.sleep(0)
            reader.pull()
            await here.pass_time(4)
            assert peer.ws.is_open
            while peer.ws.is_open:
                await here.pass_time(0.1)
            assert await peer.see_close() == (1013, b"slow consumer")
            assert here.count("evicted_lag_age") == 1
            assert reader.ws.is_open

    run(scenario())


def test_a_deadline_expires_once(run: Run[None]) -> None:
    class Waiting(ByteConsumer):
        expiries = 0

        def expired(self) -> None:
            self.expiries += 1

    async def scenario() -> None:
        async with world() as here:
            link, _ = memory_pair(here.hub, here.hub)
            waiting, other, never = [Waiting(here.hub, link) for _ in range(3)]
            waiting.set_deadline(1)
            other.set_deadline(5)
            never.set_deadline(2)
            never.set_deadline(None)
            await here.pass_time(0.9)
            assert waiting.expiries == 0
            await here.pass_time(2)
            assert (waiting.expiries, other.expiries) == (1, 0)
            # The last call is what counts.
            other.set_deadline(10)
            await here.pass_time(9)
            assert other.expiries == 0
            await here.pass_time(2)
            assert (waiting.expiries, other.expiries, never.expiries) == (1, 1, 0)

    run(scenario())


def test_one_that_expires_may_change_the_others(run: Run[None]) -> None:
    class Waiting(ByteConsumer):
        expiries = 0

        def __init__(self, hub: Hub, link: Link, all_of_them: list[Waiting]) -> None:
            super().__init__(hub, link)
            self.all_of_them = all_of_them

        def expired(self) -> None:
            self.expiries += 1
            for one in self.all_of_them:
                one.set_deadline(None)

    async def scenario() -> None:
        async with world() as here:
            link, _ = memory_pair(here.hub, here.hub)
            waiting: list[Waiting] = []
            waiting += [Waiting(here.hub, link, waiting) for _ in range(5)]
            for one in waiting:
                one.set_deadline(1)
            await here.pass_time(5)
            assert sum(one.expiries for one in waiting) == 1
            waiting.clear()

    run(scenario())


def test_time_that_jumps_is_caught_up_with(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world(Limits(ping_interval=10, pong_timeout=5)) as here:
            peer = await here.connect()
            here.clock.now += 10_000
            here.sweep.run()
            await peer.see(lambda: peer.pings)
            peer.send(pong(peer.pings[0]))
            await until(lambda: here.count("pongs_received"))
            # Backwards is no time at all.
            here.clock.now -= 5000
            here.sweep.run()
            await turns()
            assert peer.ws.is_open
            peer.send(close())
            await peer.see_end()

    run(scenario())


@pytest.mark.timeout(20)
def test_the_timer_runs_by_itself_until_it_is_stopped(run: Run[None]) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        hub = Hub(Limits(), loop)
        sweep = Sweep(hub)
        fired = asyncio.Event()

        class Waiting(ByteConsumer):
            def expired(self) -> None:
                fired.set()

        link, _ = memory_pair(hub, hub)
        Waiting(hub, link).set_deadline(0.01)
        sweep.start()
        sweep.start()
        await asyncio.wait_for(fired.wait(), 10)
        sweep.stop()
        sweep.stop()

    run(scenario())


def test_a_ping_of_the_peer_is_no_reason_not_to_ping(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world(Limits(ping_interval=2, pong_timeout=None)) as here:
            peer = await here.connect()
            for _ in range(5):
                peer.send(frame(PING, b"mine"))
                await here.pass_time(1)
            await peer.see(lambda: peer.pings and len(peer.pongs) == 5)

    run(scenario())
