"""runtime: listeners, the lifespan, and the one loop that an App belongs to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import pytest

from fastws import App, Config, ConfigError, Connection, Endpoint, Message, StateError
from fastws.testing import connect

from .support.waits import DEADLINE

Ws: TypeAlias = "Connection[Any]"


async def echo(ws: Ws) -> None:
    async for message in ws:
        await ws.send(message)


# Listeners


def test_listeners_see_the_life_of_a_connection(run: Any) -> None:
    app = App()
    seen: list[tuple[Any, ...]] = []
    ended = asyncio.Event()

    @app.on("connect")
    def connected(ws: Ws) -> None:
        seen.append(("connect", ws.path))

    @app.on("subscribe")
    def subscribed(ws: Ws, channel: str) -> None:
        seen.append(("subscribe", channel))

    @app.on("subscribe", channel="room.{id}")
    def entered(ws: Ws, channel: str) -> None:
        seen.append(("enter", channel))

    @app.on("message")
    def received(ws: Ws, message: Message) -> None:
        seen.append(("message", message))

    app.on("unsubscribe", lambda ws, channel: seen.append(("unsubscribe", channel)))

    @app.on("disconnect")
    async def disconnected(ws: Ws, code: int, reason: str) -> None:
        seen.append(("disconnect", code, reason))
        ended.set()

    @app.websocket("/ws")
    class Room(Endpoint):
        def on_open(self, ws: Ws) -> None:
            ws.subscribe("news")
            ws.subscribe("room.1")

        def on_message(self, ws: Ws, message: Message) -> None:
            ws.unsubscribe("news")
            ws.send(message)

    async def scenario() -> None:
        async with connect(app, "/ws") as ws:
            ws.send("hello")
            await ws.receive(DEADLINE)
            ws.close(4001, "bye")
        await asyncio.wait_for(ended.wait(), DEADLINE)

    run(scenario())
    assert seen[:6] == [
        ("connect", "/ws"),
        ("subscribe", "news"),
        ("subscribe", "room.1"),
        ("enter", "room.1"),
        ("message", "hello"),
        ("unsubscribe", "news"),
    ]
    assert seen[-1] == ("disconnect", 4001, "bye")


def test_a_failing_listener_harms_nobody(
    run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = App()
    app.websocket("/ws", echo)

    @app.on("message")
    def fails(ws: Ws, message: Message) -> None:
        raise ValueError("plain listener")

    @app.on("connect")
    async def fails_later(ws: Ws) -> None:
        raise ValueError("coroutine listener")

    async def scenario() -> None:
        async with connect(app, "/ws") as ws:
            for text in "one", "two":
                ws.send(text)
                assert await ws.receive(DEADLINE) == text

    run(scenario())
    assert caplog.text.count("ValueError: plain listener") == 2
    assert caplog.text.count("ValueError: coroutine listener") == 1
    # The records hold frames, and these the connection.
    caplog.clear()


def test_a_listener_may_come_while_the_app_is_served(run: Any) -> None:
    app = App()
    app.websocket("/ws", echo)
    seen: list[Message] = []

    async def scenario() -> None:
        async with connect(app, "/ws") as ws:
            app.on("message", lambda ws, message: seen.append(message))
            ws.send("late")
            await ws.receive(DEADLINE)

    run(scenario())
    assert seen == ["late"]


@pytest.mark.parametrize(
    ("event", "channel", "function", "error", "message"),
    [
        (
            "open",
            None,
            echo,
            ConfigError,
            "there is no event 'open'; there are 'connect'",
        ),
        ("connect", "a", echo, ConfigError, "'connect' has no channel"),
        ("message", None, echo, TypeError, r"must take \(ws, message\)"),
        ("connect", None, 5, TypeError, r"a function that takes \(ws\), not int"),
        ("subscribe", "{", echo, TypeError, r"must take \(ws, channel\)"),
        ("skip", "a", echo, TypeError, r"must take \(ws, channel, missed\)"),
    ],
)
def test_a_wrong_listener_is_refused(
    event: Any, channel: str | None, function: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        App().on(event, function, channel=channel)


# Lifespan


def test_the_lifespan_encloses_the_serving(run: Any) -> None:
    order: list[str] = []
    tasks: set[Any] = set()

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        tasks.add(asyncio.current_task())
        app.state.database = "open"
        app.publish("news", "nobody listens yet")
        order.append("start")
        yield
        tasks.add(asyncio.current_task())
        order.append(f"end with {len(app.connections)}")

    app = App(lifespan=lifespan)

    @app.websocket("/ws")
    async def endpoint(ws: Ws) -> None:
        order.append(app.state.database)
        await echo(ws)

    async def scenario() -> None:
        for _ in range(2):
            async with connect(app, "/ws") as first, connect(app, "/ws") as second:
                for ws in first, second:
                    ws.send("hello")
                    await ws.receive(DEADLINE)

    run(scenario())
    assert order == ["start", "open", "open", "end with 0"] * 2
    assert len(tasks) == 2


def test_a_lifespan_without_its_decorator_works(run: Any) -> None:
    order: list[str] = []

    async def lifespan(app: App) -> AsyncIterator[None]:
        order.append("start")
        yield
        order.append("end")

    app = App(lifespan=lifespan)  # type: ignore[arg-type]
    app.websocket("/ws", echo)

    async def scenario() -> None:
        async with connect(app, "/ws"):
            assert order == ["start"]

    run(scenario())
    assert order == ["start", "end"]


def test_a_lifespan_that_fails_to_start_stops_the_start(run: Any) -> None:
    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        raise ValueError("no database")
        yield

    app = App(lifespan=lifespan)
    app.websocket("/ws", echo)

    async def scenario() -> None:
        for _ in range(2):
            with pytest.raises(ValueError, match="no database"):
                async with app.serve(port=0):
                    pass
            assert app.runtime.loop is None

    run(scenario())


def test_a_lifespan_that_fails_later_is_logged(
    run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        yield
        raise ValueError("at the end")

    app = App(lifespan=lifespan)

    async def scenario() -> None:
        async with app.serve(port=0):
            pass

    run(scenario())
    assert "the lifespan failed" in caplog.text
    assert "at the end" in caplog.text


def test_a_lifespan_that_does_not_end_is_cancelled(
    run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    cancelled: list[bool] = []

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        yield
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    app = App(Config(shutdown_timeout=0.05), lifespan=lifespan)

    async def scenario() -> None:
        async with app.serve(port=0):
            pass

    with caplog.at_level(logging.ERROR):
        run(scenario())
    assert cancelled == [True]
    assert "the lifespan did not end" in caplog.text


def test_a_lifespan_that_fails_while_serving_is_logged_at_once(
    run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    failing = asyncio.Event()
    ended: list[str] = []

    async def fail() -> None:
        await failing.wait()
        raise ValueError("the feed broke")

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(fail())
                yield
        finally:
            ended.append("cleaned up")

    app = App(lifespan=lifespan)
    app.websocket("/ws", echo)

    async def scenario() -> None:
        async with connect(app, "/ws") as ws:
            failing.set()
            ws.send("still served")
            assert await ws.receive(DEADLINE) == "still served"
            assert ended == ["cleaned up"]
            assert "the feed broke" in caplog.text

    run(scenario())
    assert caplog.text.count("the lifespan failed") == 1
    caplog.clear()


def test_a_cancelled_stop_takes_the_lifespan_along(run: Any) -> None:
    ending = asyncio.Event()
    ended: list[str] = []

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        yield
        ending.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cleaned up")

    app = App(lifespan=lifespan)

    async def scenario() -> None:
        server = app.server(port=0)
        await server.start()
        stopping = asyncio.ensure_future(server.stop())
        await asyncio.wait_for(ending.wait(), DEADLINE)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(stopping, DEADLINE)
        assert not server.is_running
        assert app.runtime.loop is None

    run(scenario())
    assert ended == ["cleaned up"]


def test_coroutine_listeners_finish_before_the_lifespan_ends(run: Any) -> None:
    order: list[str] = []

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        yield
        order.append("lifespan")

    app = App(lifespan=lifespan)
    app.websocket("/ws", echo)

    @app.on("disconnect")
    async def disconnected(ws: Ws, code: int, reason: str) -> None:
        for _ in range(100):
            await asyncio.sleep(0)
        order.append("listener")

    async def scenario() -> None:
        async with connect(app, "/ws"):
            pass

    run(scenario())
    assert order == ["listener", "lifespan"]


# Loops


def test_an_app_belongs_to_one_loop(run: Any) -> None:
    app = App()
    refused: list[str] = []

    async def second() -> None:
        with pytest.raises(StateError) as error:
            async with app.serve(port=0):
                pass
        refused.append(str(error.value))

    async def scenario() -> None:
        async with app.serve(port=0):
            await asyncio.to_thread(asyncio.run, second())

    run(scenario())
    assert "one App belongs to one loop" in refused[0]


def test_an_app_may_be_served_again_on_a_later_loop(run: Any) -> None:
    app = App()
    app.websocket("/ws", echo)

    async def scenario() -> None:
        async with connect(app, "/ws") as ws:
            ws.send("hello")
            assert await ws.receive(DEADLINE) == "hello"

    run(scenario())
    run(scenario())
