"""Connection: endpoints and tasks, what stays after the end, and nothing that leaks."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from fastws import Compression, Connection, Limits
from fastws.engine.binding import Binding
from fastws.engine.counters import native_counts
from fastws.engine.hub import Hub
from fastws.engine.memory import memory_pair
from fastws.errors import ConnectionClosed, StateError
from tests.conftest import Run
from tests.engine.peers import REQUEST, turns, until, world
from tests.support.deflating import OFFER, compressed, deflated
from tests.support.frames import CONTINUATION, close, frame, text


class Refusal(Exception):
    """What a handler raises here: no part of it may reach a peer."""


# -- who -------------------------------------------------------------------------------


def test_what_a_connection_says_of_itself(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world(app="the app") as here:
            ws = (await here.connect()).ws
            assert ws.app == "the app"
            assert ws.path == "/path"
            assert ws.params == {"a": "1"}
            assert ws.subprotocol == "sub"
            assert ws.remote_address[0] == "127.0.0.1"
            assert ws.is_open
            assert [ws.close_code, ws.close_reason, ws.latency] == [None] * 3
            assert ws.channels == []
            assert repr(ws) == f"<Connection {ws.id} /path open>"
            ws.state.name = "a namespace by default"
            assert ws.state.name == "a namespace by default"
            ws.state = 7
            assert ws.state == 7

    run(scenario())


@pytest.mark.parametrize("keep", [False, True], ids=["lost", "kept"])
@pytest.mark.parametrize("touched", [False, True], ids=["untouched", "touched"])
def test_headers_and_query_after_on_open_if_kept_or_touched_before(
    run: Run[None], keep: bool, touched: bool
) -> None:
    async def scenario() -> None:
        seen: list[object] = []

        def on_open(ws: Connection[Any]) -> None:
            if touched:
                seen.extend((ws.headers.get("x-test"), ws.query.get("q")))

        async with world(on_open=on_open, keep_headers=keep) as here:
            peer = await here.connect()
            assert seen == (["yes", "1"] if touched else [])
            if keep or touched:
                assert peer.ws.headers.get("X-TEST") == "yes"
            else:
                with pytest.raises(StateError, match="headers can be read until"):
                    _ = peer.ws.headers
                with pytest.raises(StateError, match="query can be read until"):
                    _ = peer.ws.query

    run(scenario())


# -- the end ---------------------------------------------------------------------------


def use_everything(ws: Connection[Any]) -> None:
    """Each method and property of one that has ended."""
    assert not ws.is_open
    assert not ws.send("x")
    assert not ws.drain()
    assert ws.channels == []
    assert ws.buffered == 0
    assert ws.lag("a") == 0
    assert not ws.unsubscribe("a")
    assert ws.close(1000, "again")
    assert ws.wait_closed()
    ws.abort()
    ws.publish("a", "from the grave")
    assert ws.close_code == 1006
    assert ws.close_reason == ""
    assert ws.remote_address[0] == "127.0.0.1"
    assert ws.path == "/path"
    assert "closed" in repr(ws)
    assert ws.id
    assert ws.latency is None
    ws.state.still = "mine"
    for method, arguments in (("subscribe", ["a"]), ("ping", [])):
        with pytest.raises(ConnectionClosed):
            getattr(ws, method)(*arguments)


def test_after_its_end_a_connection_is_inert(run: Run[None]) -> None:
    async def scenario() -> None:
        used = []

        def on_close(ws: Connection[Any], code: int, reason: str) -> None:
            use_everything(ws)
            used.append(ws)

        async with world(on_close=on_close) as here:
            peer = await here.connect()
            peer.ws.subscribe("a")
            peer.reset()
            await until(lambda: used)
            for _ in range(2):
                use_everything(peer.ws)
                await turns()
            for awaitable in (peer.ws.receive(), peer.ws.receive_json()):
                with pytest.raises(ConnectionClosed):
                    await awaitable
            async for _ in peer.ws:
                raise AssertionError
            await peer.ws.wait_closed()
            task = peer.ws.spawn(asyncio.sleep(0))
            await asyncio.wait([task])
            assert task.cancelled()

    run(scenario())


WRONG_THREAD: dict[str, Callable[[Connection[Any]], object]] = {
    "send": lambda ws: ws.send("x"),
    "drain": lambda ws: ws.drain(),
    "receive": lambda ws: ws.receive(),
    "ping": lambda ws: ws.ping(),
    "subscribe": lambda ws: ws.subscribe("a"),
    "unsubscribe": lambda ws: ws.unsubscribe("a"),
    "publish": lambda ws: ws.publish("a", "x"),
    "lag": lambda ws: ws.lag("a"),
    "buffered": lambda ws: ws.buffered,
    "close": lambda ws: ws.close(),
    "abort": lambda ws: ws.abort(),
    "wait_closed": lambda ws: ws.wait_closed(),
}


@pytest.mark.parametrize("name", WRONG_THREAD)
def test_another_thread_is_told_so(run: Run[None], name: str) -> None:
    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect()
            caught: list[Exception] = []

            def call() -> None:
                try:
                    WRONG_THREAD[name](peer.ws)
                except StateError as error:
                    caught.append(error)

            thread = threading.Thread(target=call)
            thread.start()
            thread.join()
            assert f"Connection.{name}" in str(caught[0])
            assert "another thread" in str(caught[0])
            peer.ws.send("fine")
            assert await peer.see_messages(1) == ["fine"]

    run(scenario())


# -- handlers that do everything while they are called ---------------------------------


def publish_much(ws: Connection[Any], other: Connection[Any]) -> None:
    for _ in range(5):
        ws.publish("a", b"x" * 300_000)


def close_both(ws: Connection[Any], other: Connection[Any]) -> None:
    ws.close()
    other.abort()


def flush(ws: Connection[Any], other: Connection[Any]) -> None:
    ws.publish("a", "x")
    ws.hub.flush()


DEEDS: dict[str, Callable[[Connection[Any], Connection[Any]], object]] = {
    "close": lambda ws, other: ws.close(4000, "done"),
    "abort": lambda ws, other: ws.abort(),
    "close the other": lambda ws, other: other.close(4000, "done"),
    "abort the other": lambda ws, other: other.abort(),
    "close both": close_both,
    "unsubscribe": lambda ws, other: (ws.unsubscribe("a"), other.unsubscribe("a")),
    "subscribe": lambda ws, other: (ws.subscribe("b"), other.subscribe("a")),
    "publish": publish_much,
    "broadcast": lambda ws, other: ws.hub.broadcast(b"x" * 300_000),
    "flush": flush,
    "send much": lambda ws, other: [ws.send(b"x" * 10_000) for _ in range(500)],
}


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize(
    "when", ["on_open", "on_message", "on_close", "on_drain", "on_subscribe"]
)
def test_handlers_may_do_anything(run: Run[None], when: str, deed: str) -> None:
    async def scenario() -> None:
        done: list[object] = []
        others: list[Connection[Any]] = []

        def act(ws: Connection[Any], *rest: object) -> None:
            if others and others[0] is not ws and len(done) < 20:
                done.append(rest)
                try:
                    DEEDS[deed](ws, others[0])
                except ConnectionClosed:
                    assert deed == "subscribe"

        callbacks = {} if when == "on_subscribe" else {when: act}
        limits = Limits(write_high_water=1000, write_low_water=500)
        async with world(limits, **callbacks) as here:
            if when == "on_subscribe":
                here.hub.on_subscribe = act
            other = await here.connect()
            other.ws.subscribe("a")
            others.append(other.ws)
            peer = await here.connect()
            if peer.ws.is_open:
                peer.ws.subscribe("a")
                peer.ws.send(b"x" * 5000)
            here.hub.publish("a", "before")
            if not peer.gone:
                peer.send(*[text("x")] * 5)
            await turns()
            peer.pull()
            peer.ws.abort()
            await until(lambda: peer.ws not in here.hub.connections)
            assert done
            await turns()

    run(scenario())


def test_closing_in_on_open_still_sends_what_was_sent_there(run: Run[None]) -> None:
    async def scenario() -> None:
        def on_open(ws: Connection[Any]) -> None:
            ws.send("welcome")
            ws.close(4003, "go away")

        got: list[object] = []
        async with world(
            on_open=on_open, on_message=lambda ws, message: got.append(message)
        ) as here:
            peer = await here.connect(early=text("early") + close(4003))
            assert await peer.see_close() == (4003, b"go away")
            assert peer.messages == ["welcome"]
            await peer.see_end()
            assert got == []

    run(scenario())


def test_early_bytes_come_after_on_open(run: Run[None]) -> None:
    async def scenario() -> None:
        heard: list[object] = []
        async with world(
            on_open=lambda ws: heard.append("open"),
            on_message=lambda ws, message: heard.append(message),
        ) as here:
            peer = await here.connect(early=text("early") + text("bird")[:4])
            assert heard == ["open", "early"]
            peer.send(text("bird")[4:])
            await until(lambda: heard == ["open", "early", "bird"])

    run(scenario())


# -- what they raise -------------------------------------------------------------------


def failing(where: str, asynchronous: bool) -> dict[str, Any]:
    def fail(ws: Connection[Any], *rest: object) -> None:
        raise Refusal("secret")

    async def fail_later(ws: Connection[Any], *rest: object) -> None:
        await asyncio.sleep(0)
        raise Refusal("secret")

    if where == "coroutine":
        return {"coroutine": fail_later}
    return {where: fail_later if asynchronous else fail, "is_async": asynchronous}


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("where", ["on_open", "on_message", "on_drain", "coroutine"])
def test_what_a_handler_raises_is_logged_once_and_shown_to_nobody(
    run: Run[None],
    where: str,
    asynchronous: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        limits = Limits(write_high_water=1000, write_low_water=500)
        async with world(limits, **failing(where, asynchronous)) as here:
            peer = await here.connect()
            peer.ws.send(b"x" * 2000)
            peer.send(text("x"), text("y"))
            assert await peer.see_close() == (1011, b"")
            peer.send(close(1011))
            await peer.see_end()
            await turns()
            assert here.count("handler_errors") == 1
        assert [record.getMessage() for record in caplog.records] == [
            "handler of /path failed"
        ]
        caplog.clear()

    run(scenario())


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("where", ["on_open", "on_message"])
def test_on_close_comes_also_after_an_error(
    run: Run[None],
    where: str,
    asynchronous: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Fixed: async callbacks were never told of the end behind their own error."""

    async def scenario() -> None:
        heard: list[object] = []

        async def tell_later(ws: Connection[Any], *rest: object) -> None:
            heard.append(rest)

        callbacks = failing(where, asynchronous)
        callbacks["on_close"] = (
            tell_later if asynchronous else lambda ws, *rest: heard.append(rest)
        )
        async with world(**callbacks) as here:
            peer = await here.connect()
            peer.send(text("x"))
            await peer.see_close()
            assert heard == []
            peer.send(close(1011))
            await until(lambda: heard == [(1011, "")])
        caplog.clear()

    run(scenario())


def test_one_listener_of_the_end_keeps_nothing_from_the_others(
    run: Run[None], caplog: pytest.LogCaptureFixture
) -> None:
    """Fixed: what the first of them raised silenced the rest."""

    def fail(*arguments: object) -> None:
        raise Refusal

    async def scenario() -> None:
        told: list[object] = []
        async with world(on_close=fail) as here:
            here.hub.on_unsubscribe = fail
            here.hub.on_disconnect = lambda ws, *rest: told.append(rest)
            peer = await here.connect()
            peer.ws.subscribe("a")
            peer.reset()
            await until(lambda: told == [(1006, "")])
            assert len(caplog.records) == 2
            here.hub.on_unsubscribe = None
        caplog.clear()

    run(scenario())


@pytest.mark.parametrize("how", ["abort", "close", "peer", "reset", "fin"])
def test_every_end_unsubscribes_and_says_so(run: Run[None], how: str) -> None:
    """Fixed: only an end without any closing was told to the listener."""

    async def scenario() -> None:
        heard: list[tuple[object, ...]] = []
        async with world(
            on_close=lambda ws, *rest: heard.append(("close", ws.channels))
        ) as here:
            here.hub.on_unsubscribe = lambda ws, name: heard.append((name,))
            peer = await here.connect()
            peer.ws.subscribe("a")
            peer.ws.subscribe("b")
            if how == "abort":
                peer.ws.abort()
            elif how == "reset":
                peer.reset()
            elif how == "fin":
                peer.socket.close()
            else:
                if how == "close":
                    peer.ws.close()
                peer.send(close(1000))
            await until(lambda: len(heard) == 3)
            assert sorted(heard[:2]) == [("a",), ("b",)]
            assert heard[2] == ("close", [])

    run(scenario())


# -- asynchronous callbacks and tasks --------------------------------------------------


def test_async_callbacks_run_one_at_a_time_in_order(run: Run[None]) -> None:
    async def scenario() -> None:
        heard: list[object] = []
        inside = 0

        async def callback(ws: Connection[Any], *rest: object) -> None:
            nonlocal inside
            inside += 1
            assert inside == 1
            for _ in range(len(heard) % 5):
                await asyncio.sleep(0)
            heard.append(rest[0] if rest else "open")
            inside -= 1

        async with world(
            on_open=callback, on_message=callback, on_close=callback, is_async=True
        ) as here:
            peer = await here.connect()
            numbers = [str(number) for number in range(200)]
            peer.send(*(text(number) for number in numbers), close(4000))
            await until(lambda: heard[-1:] == [4000])
            assert heard == ["open", *numbers, 4000]

    run(scenario())


def test_async_callbacks_that_are_behind_stop_the_reading(run: Run[None]) -> None:
    async def scenario() -> None:
        gate = asyncio.Event()
        got: list[object] = []

        async def on_message(ws: Connection[Any], message: object) -> None:
            await gate.wait()
            got.append(message)

        async with world(on_message=on_message, is_async=True) as here:
            peer = await here.connect()
            for number in range(300):
                peer.send(text(str(number)))
                await turns(2)
            assert here.count("messages_received") <= 65
            gate.set()
            await until(lambda: len(got) == 300)

    run(scenario())


def test_spawned_tasks_end_with_their_connection(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect()

            async def forever() -> None:
                await asyncio.Event().wait()

            async def soon() -> str:
                return "done"

            tasks = [peer.ws.spawn(forever()) for _ in range(3)]
            assert await peer.ws.spawn(soon()) == "done"
            peer.reset()
            await asyncio.wait(tasks)
            assert all(task.cancelled() for task in tasks)

    run(scenario())


def test_what_a_spawned_task_raises_closes_the_connection(
    run: Run[None], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect()

            async def fail() -> None:
                raise Refusal

            task = peer.ws.spawn(fail())
            await asyncio.wait([task])
            assert await peer.see_close() == (1011, b"")
        assert len(caplog.records) == 1
        caplog.clear()

    run(scenario())


def test_a_coroutine_that_returns_closes_with_1000(run: Run[None]) -> None:
    async def scenario() -> None:
        async def greet(ws: Connection[Any]) -> None:
            ws.send("hello")

        async with world(coroutine=greet) as here:
            peer = await here.connect()
            assert await peer.see_close() == (1000, b"")
            assert peer.messages == ["hello"]
            peer.send(close(1000))
            await peer.see_end()

    run(scenario())


def test_a_coroutine_is_not_cancelled_when_its_peer_goes(run: Run[None]) -> None:
    async def scenario() -> None:
        gate = asyncio.Event()
        outcome: list[object] = []

        async def handler(ws: Connection[Any]) -> None:
            await gate.wait()
            outcome.append(bool(ws.send("x")))
            with pytest.raises(ConnectionClosed):
                await ws.receive()
            outcome.append("end")

        async with world(coroutine=handler) as here:
            peer = await here.connect()
            peer.reset()
            await until(lambda: here.hub.connection_count == 0)
            gate.set()
            await until(lambda: outcome == [False, "end"])

    run(scenario())


# -- nothing leaks ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["callbacks", "coroutine", "iterating", "async"])
def test_a_closed_connection_needs_no_collector(run: Run[None], kind: str) -> None:
    """Fixed: it and its link held each other until the collector came."""

    async def receiving(ws: Connection[Any]) -> None:
        try:
            await ws.receive()
        except ConnectionClosed:
            return

    async def iterating(ws: Connection[Any]) -> None:
        async for message in ws:
            ws.send(message)

    async def later(ws: Connection[Any], *rest: object) -> None: ...

    endpoints: dict[str, dict[str, Any]] = {
        "callbacks": {"on_message": lambda ws, message: ws.send(message)},
        "coroutine": {"coroutine": receiving},
        "iterating": {"coroutine": iterating},
        "async": {"on_message": later, "is_async": True},
    }

    async def scenario() -> None:
        async with world(**endpoints[kind]) as here:
            gc.collect()
            gc.disable()
            try:
                for end in (close(1000), None):
                    peer = await here.connect()
                    peer.ws.subscribe("a")
                    gone = weakref.ref(peer.ws)
                    peer.send(text("x"))
                    if end:
                        peer.send(end)
                        await peer.see_end()
                    else:
                        peer.reset()
                    await until(lambda: here.hub.connection_count == 0)
                    here.peers.clear()
                    peer.socket.close()
                    del peer
                    await turns()
                    assert gone() is None
            finally:
                gc.enable()

    run(scenario())


def test_many_connections_leave_nothing_behind(run: Run[None]) -> None:
    async def scenario() -> None:
        hub = Hub(Limits(), asyncio.get_running_loop())
        got: list[object] = []
        binding = Binding(
            on_open=lambda ws: ws.subscribe("a"),
            on_message=lambda ws, message: ws.send(message),
        )

        async def come_and_go(times: int) -> None:
            for number in range(times):
                near, far = memory_pair(hub, hub)
                server = Connection.open(hub, near, binding, REQUEST, {}, None)
                client = Connection.open_client(hub, far, Limits())
                client.send("x")
                hub.publish("a", "y", exclude=server if number % 2 else None)
                got[:] = [await client.receive()]
                if number % 3:
                    await client.close()
                else:
                    server.abort()
                    await server.wait_closed()
                    await client.wait_closed()
                del near, far, server, client

        await come_and_go(100)
        gc.collect()
        before = len(gc.get_objects())
        await come_and_go(3000)
        assert hub.connection_count == 0
        gc.collect()
        assert len(gc.get_objects()) - before < 50
        counts = native_counts()
        assert counts["connections"] == counts["members"] == counts["segments"] == 0
        assert counts["buffers"] == 0

    run(scenario())


# -- compression -----------------------------------------------------------------------


@pytest.mark.parametrize("keeps", [False, True], ids=["stateless", "context"])
@pytest.mark.parametrize("ending", ["abort", "close", "fault", "peer"])
def test_a_connection_gives_its_inflater_back(
    run: Run[None], keeps: bool, ending: str
) -> None:
    """In the middle of a message, too; the loop keeps one for the next message."""

    async def scenario() -> None:
        received: list[object] = []
        async with world(on_message=lambda ws, message: received.append(message)) as w:
            deflate = w.hub.deflate(Compression(client_context=keeps))
            agreement = deflate.agree(OFFER.encode())
            before = native_counts()["inflaters"]
            peers = [await w.connect(agreement=agreement) for _ in range(3)]
            payload = deflated(b"some words " * 10, bits=12)
            for peer in peers:
                peer.send(compressed(payload))
            await until(lambda: len(received) == 3)
            held = 3 if keeps else 1
            assert native_counts()["inflaters"] - before == held
            for peer in peers:
                peer.send(compressed(payload[:5], fin=False))
            await until(lambda: native_counts()["inflaters"] - before == 3)
            for peer in peers:
                if ending == "abort":
                    peer.ws.abort()
                elif ending == "close":
                    peer.send(close(1000))
                elif ending == "fault":
                    peer.send(frame(CONTINUATION, b"\xff" * 50))
                else:
                    peer.reset()
            await until(lambda: w.hub.connection_count == 0 or ending == "fault")
            await until(lambda: native_counts()["inflaters"] - before == 1)
            assert received == ["some words " * 10] * 3

    run(scenario())


def test_equal_rules_share_their_streams(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            one = here.hub.deflate(Compression(level=3))
            assert here.hub.deflate(Compression(level=3)) is one
            assert here.hub.deflate(Compression(level=4)) is not one
            assert one.rule == Compression(level=3)

    run(scenario())
