"""Reading: from bytes to whoever takes the messages, callbacks or a coroutine."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

import pytest

from fastws import Connection, Limits
from fastws.engine.counters import native_counts
from fastws.errors import ConnectionClosed, StateError
from tests.conftest import Certificates, Run
from tests.engine.peers import turns, until, world
from tests.support.frames import (
    CONTINUATION,
    TEXT,
    binary,
    close,
    frame,
    ping,
    pong,
    text,
)


class Gated:
    """A coroutine endpoint that takes messages only when the gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.got: list[str | bytes] = []
        self.ended = False

    async def __call__(self, ws: Connection[Any]) -> None:
        await self.gate.wait()
        async for message in ws:
            self.got.append(message)
        self.ended = True


def test_messages_of_one_batch_arrive_in_order(run: Run[None]) -> None:
    async def scenario() -> None:
        got: list[object] = []
        async with world(on_message=lambda ws, message: got.append(message)) as here:
            peer = await here.connect()
            peer.send(
                text("a"),
                binary(b"b"),
                frame(TEXT, "c", fin=False),
                ping(b"between"),
                frame(CONTINUATION, "d"),
                text(""),
            )
            await until(lambda: len(got) == 4)
            assert got == ["a", b"b", "cd", ""]
            await peer.see(lambda: peer.pongs == [b"between"])

    run(scenario())


def test_callbacks_of_one_connection_give_others_a_turn(run: Run[None]) -> None:
    async def scenario() -> None:
        got: list[tuple[Any, float]] = []

        def slow(ws: Connection[Any], message: object) -> None:
            got.append((ws, 0))
            end = time.perf_counter() + 0.0003
            while time.perf_counter() < end:
                pass

        async with world(on_message=slow) as here:
            busy, other = await here.connect(), await here.connect()
            busy.send(*[text("x")] * 2000)
            await until(lambda: got)
            other.send(text("y"))
            await until(lambda: len(got) == 2001)
            assert got[-1][0] is busy.ws

    run(scenario())


def test_a_handler_that_is_behind_stops_the_reading(run: Run[None]) -> None:
    """Fixed: messages that came one by one were read without end."""

    async def scenario() -> None:
        handler = Gated()
        async with world(coroutine=handler) as here:
            peer = await here.connect()
            for number in range(500):
                peer.send(text(str(number)))
                await turns(2)
            assert here.count("messages_received") == 64
            handler.gate.set()
            await until(lambda: len(handler.got) == 500)
            assert handler.got == [str(number) for number in range(500)]

    run(scenario())


def test_a_handler_that_is_behind_by_bytes_stops_the_reading(run: Run[None]) -> None:
    async def scenario() -> None:
        handler = Gated()
        async with world(coroutine=handler) as here:
            peer = await here.connect()
            data = memoryview(binary(b"x" * 100_000) * 10)
            while data and here.count("messages_received") < 3:
                data = data[peer.socket.send(data[:65_536]) :]
                await turns(5)
            await turns(20)
            assert here.count("messages_received") == 3
            handler.gate.set()
            while data:
                data = data[peer.socket.send(data[:65_536]) :]
                await turns(5)
            await until(lambda: len(handler.got) == 10)

    run(scenario())


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_what_waited_is_taken_before_the_peers_close(
    run: Run[None], tls: bool, certificates: Certificates
) -> None:
    async def scenario() -> None:
        handler = Gated()
        async with world(coroutine=handler) as here:
            peer = await here.connect(certificates=certificates if tls else None)
            peer.send(*(text(str(n)) for n in range(300)), close(4000, "bye"))
            await until(lambda: here.count("messages_received") >= 64)
            handler.gate.set()
            await until(lambda: handler.ended)
            assert handler.got == [str(number) for number in range(300)]
            assert (peer.ws.close_code, peer.ws.close_reason) == (4000, "bye")
            assert (await peer.see_close())[0] == 4000

    run(scenario())


def test_a_handler_that_returns_behind_a_flood_still_closes(run: Run[None]) -> None:
    """Fixed: the peer's Close stayed unread among what the handler had not taken."""

    async def scenario() -> None:
        async with world(coroutine=lambda ws: ws.receive()) as here:

            async def first_only(ws: Connection[Any]) -> None:
                await ws.receive()

            here.binding = type(here.binding)(coroutine=first_only)
            peer = await here.connect()
            peer.send(*[text("x")] * 1000)
            assert await peer.see_close() == (1000, b"")
            peer.send(close(1000))
            await peer.see_end()
            assert here.count("close_timeouts") == 0

    run(scenario())


def test_messages_outlive_their_connection(run: Run[None]) -> None:
    """Fixed: a handler that worked long on what was left crashed the process."""

    async def scenario() -> None:
        gate = asyncio.Event()
        got: list[object] = []

        async def slow(ws: Connection[Any]) -> None:
            await gate.wait()
            async for message in ws:
                got.append(message)
                end = time.perf_counter() + 0.0002
                while time.perf_counter() < end:
                    pass

        async with world(coroutine=slow) as here:
            peer = await here.connect()
            peer.send(*[text("x")] * 60)
            await until(lambda: here.count("messages_received") == 60)
            peer.reset()
            await until(lambda: here.hub.connection_count == 0)
            gate.set()
            await until(lambda: len(got) == 60)

    run(scenario())


def test_receive_waits_times_out_and_goes_on(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            results: list[Any] = []

            async def handler(ws: Connection[Any]) -> None:
                with pytest.raises(TimeoutError):
                    await ws.receive(timeout=0.001)
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(ws.receive(), 0.001)
                results.append("waiting")
                results.append(await ws.receive())
                results.append(await ws.receive(timeout=10))
                results.append(await ws.receive_json())
                results.append(await ws.receive_json(type=list[int]))
                with pytest.raises(ConnectionClosed) as caught:
                    await ws.receive()
                results.append((caught.value.code, caught.value.reason))
                with pytest.raises(ConnectionClosed):
                    await ws.receive(timeout=1)
                results.extend([message async for message in ws])

            here.binding = type(here.binding)(coroutine=handler)
            peer = await here.connect()
            await until(lambda: results)
            peer.send(text("a"), binary(b"b"), text('{"c": 1}'), text("[1]"))
            peer.send(close(4001, "enough"))
            await peer.see_end()
            await until(lambda: here.hub.connection_count == 0)
            assert results[1:] == ["a", b"b", {"c": 1}, [1], (4001, "enough")]

    run(scenario())


def test_receive_is_a_coroutine_for_tasks(run: Run[None]) -> None:
    async def scenario() -> None:
        results: list[object] = []

        async def handler(ws: Connection[Any]) -> None:
            first = asyncio.create_task(ws.receive())
            await asyncio.wait({first})
            results.append(first.result())
            second = asyncio.create_task(ws.receive())
            await turns(1)
            second.cancel()
            await asyncio.wait({second})
            results.append(second.cancelled())
            results.append(await asyncio.wait_for(ws.receive(), 30))

        async with world() as here:
            here.binding = type(here.binding)(coroutine=handler)
            peer = await here.connect()
            peer.send(text("a"))
            await until(lambda: len(results) == 2)
            peer.send(text("b"))
            await until(lambda: len(results) == 3)
            assert results == ["a", True, "b"]

    run(scenario())


def test_a_cancelled_receive_loses_no_message(run: Run[None]) -> None:
    async def scenario() -> None:
        got: list[object] = []

        async def handler(ws: Connection[Any]) -> None:
            while True:
                waiting = asyncio.ensure_future(ws.receive())
                await asyncio.sleep(0)
                waiting.cancel()
                try:
                    got.append(await waiting)
                except asyncio.CancelledError:
                    continue
                except ConnectionClosed:
                    return

        async with world(coroutine=handler) as here:
            peer = await here.connect()
            for number in range(200):
                peer.send(text(str(number)))
                await turns(number % 4)
            await until(lambda: len(got) == 200)
            assert got == [str(number) for number in range(200)]
            peer.send(close())
            await peer.see_end()

    run(scenario())


def test_two_receivers_are_a_mistake_of_the_second(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            outcome: list[object] = []

            async def handler(ws: Connection[Any]) -> None:
                first = asyncio.ensure_future(ws.receive())
                await asyncio.sleep(0)
                with pytest.raises(StateError, match="another coroutine is receiving"):
                    await ws.receive()
                outcome.append(await first)

            here.binding = type(here.binding)(coroutine=handler)
            peer = await here.connect()
            await turns()
            peer.send(text("for the first"))
            await until(lambda: outcome == ["for the first"])

    run(scenario())


@pytest.mark.parametrize("awaited", [False, True])
def test_ping_measures_the_round_trip(run: Run[None], awaited: bool) -> None:
    """Fixed: one that nobody awaited warned of a forgotten coroutine."""

    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect()
            here.clock.now = 50.0
            waiting = peer.ws.ping()
            second = peer.ws.ping()
            await peer.see(lambda: len(peer.pings) == 2)
            here.clock.now = 52.5
            peer.send(pong(b"something else"), pong(peer.pings[1]))
            assert await second == 2.5
            here.clock.now = 53.0
            peer.send(pong(peer.pings[0]))
            if awaited:
                assert await waiting == 3.0
            del waiting
            gc.collect()
            unanswered = peer.ws.ping()
            peer.ws.ping()
            peer.reset()
            with pytest.raises(ConnectionClosed):
                await unanswered
            with pytest.raises(ConnectionClosed):
                peer.ws.ping()

    run(scenario())


def test_a_blocked_peer_gets_one_pong_at_most(run: Run[None]) -> None:
    async def scenario() -> None:
        limits = Limits(control_rate=None, max_stall=None)
        async with world(limits) as here:
            peer = await here.connect(small=True)
            count = await here.stall(peer)
            peer.ws.send(b"x" * 100_000)
            for number in range(100):
                peer.send(ping(b"%d" % number))
                await turns(3)
            await until(lambda: here.count("bytes_received") == 790)
            peer.ws.send("last")
            await peer.see_messages(count + 2)
            # The first may have been on its way; of those that waited only the last.
            assert peer.pongs in ([b"99"], [b"0", b"99"])
            peer.send(ping(b"again"))
            await peer.see(lambda: peer.pongs[-1] == b"again")

    run(scenario())


def test_half_a_close_is_none(run: Run[None]) -> None:
    async def scenario() -> None:
        handler = Gated()
        handler.gate.set()
        async with world(coroutine=handler) as here:
            peer = await here.connect()
            peer.send(text("x"), close(1000)[:7])
            await until(lambda: handler.got == ["x"])
            assert native_counts()["buffers"] == 1
            peer.socket.close()
            await until(lambda: handler.ended)
            assert peer.ws.close_code == 1006

    run(scenario())
