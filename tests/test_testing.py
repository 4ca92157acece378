"""testing.connect: a client in memory, with the real handshake."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import pytest

from fastws import (
    App,
    Compression,
    Config,
    Connection,
    ConnectionClosed,
    Endpoint,
    HandshakeError,
    Limits,
    Message,
    Reject,
    Request,
)
from fastws.testing import connect

from .support.waits import DEADLINE

Ws: TypeAlias = "Connection[Any]"


async def echo(ws: Ws) -> None:
    async for message in ws:
        await ws.send(message)


def make_app() -> App:
    app = App()
    app.websocket("/echo", echo)
    return app


@pytest.mark.parametrize("message", ["text", "", "ä€😀", b"bytes", b"", "x" * 100_000])
def test_messages_come_back(run_on_each_loop: Any, message: str | bytes) -> None:
    async def scenario() -> None:
        async with connect(make_app(), "/echo") as ws:
            await ws.send(message)
            assert await ws.receive(DEADLINE) == message

    run_on_each_loop(scenario())


def test_the_endpoint_sees_the_request(run: Any) -> None:
    app = App()

    @app.websocket("/rooms/{room}", subprotocols=["v2", "v1"], keep_headers=True)
    async def room(ws: Ws) -> None:
        ws.send(
            {
                "path": ws.path,
                "params": ws.params,
                "query": ws.query.get("token"),
                "header": ws.headers.get("x-user"),
                "host": ws.headers.get("host"),
                "subprotocol": ws.subprotocol,
            }
        )

    async def scenario() -> None:
        async with connect(
            app,
            "/rooms/räume 1?token=a%20b",
            headers={"X-User": "me"},
            subprotocols=["v1", "v3"],
            host="chat.example",
        ) as ws:
            assert await ws.receive_json() == {
                "path": "/rooms/räume 1",
                "params": {"room": "räume 1"},
                "query": "a b",
                "header": "me",
                "host": "chat.example",
                "subprotocol": "v1",
            }
            assert ws.subprotocol == "v1"

    run(scenario())


def test_headers_are_there_when_an_endpoint_begins(run: Any) -> None:
    app = App()

    @app.websocket("/callback")
    class Callback(Endpoint):
        def on_open(self, ws: Ws) -> None:
            ws.send(ws.headers.get("x-user"))

    @app.websocket("/coroutine")
    async def coroutine(ws: Ws) -> None:
        ws.send(ws.headers.get("x-user"))

    async def scenario() -> None:
        for path in "/callback", "/coroutine":
            async with connect(app, path, headers={"X-User": "me"}) as ws:
                assert await ws.receive(DEADLINE) == "me"

    run(scenario())


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_rejected_upgrade_shows_its_answer(run: Any, asynchronous: bool) -> None:
    app = App()

    def refuse(request: Request) -> None:
        raise Reject(401, "who are you?", {"WWW-Authenticate": "Bearer"})

    async def refuse_later(request: Request) -> None:
        await asyncio.sleep(0)
        refuse(request)

    app.websocket("/ws", echo, upgrade=refuse_later if asynchronous else refuse)

    async def scenario() -> None:
        with pytest.raises(HandshakeError) as refused:
            async with connect(app, "/ws"):
                pytest.fail("it was accepted")
        assert refused.value.status == 401
        assert refused.value.body == b"who are you?"
        assert refused.value.headers["www-authenticate"] == "Bearer"
        assert app.runtime.loop is None

    run(scenario())


def test_other_refusals_have_their_status(run: Any) -> None:
    async def status(path: str, **options: Any) -> int:
        with pytest.raises(HandshakeError) as refused:
            async with connect(make_app(), path, **options):
                pytest.fail("it was accepted")
        return refused.value.status

    async def scenario() -> None:
        assert await status("/missing") == 404
        assert await status("/echo", origin="https://elsewhere.example") == 403

    run(scenario())


def test_an_origin_of_our_own_host_passes(run: Any) -> None:
    async def scenario() -> None:
        async with connect(
            make_app(), "/echo", origin="http://chat.example", host="chat.example"
        ) as ws:
            assert ws.is_open

    run(scenario())


def test_leaving_the_block_closes_in_good_order(run: Any) -> None:
    app = App()
    closed: list[tuple[int, str]] = []

    @app.websocket("/ws")
    class Watching(Endpoint):
        def on_close(self, ws: Ws, code: int, reason: str) -> None:
            closed.append((code, reason))

    async def scenario() -> None:
        async with connect(app, "/ws") as ws:
            pass
        assert not ws.is_open
        assert app.connections == []

    run(scenario())
    assert closed == [(1000, "")]


def test_a_close_by_the_app_ends_receiving(run: Any) -> None:
    app = App()

    @app.websocket("/ws")
    async def bye(ws: Ws) -> None:
        ws.send("last words")
        ws.close(4000, "done")

    async def scenario() -> None:
        async with connect(app, "/ws") as ws:
            assert [message async for message in ws] == ["last words"]
            with pytest.raises(ConnectionClosed) as closed:
                await ws.receive(DEADLINE)
            assert (closed.value.code, closed.value.reason) == (4000, "done")
            assert (ws.close_code, ws.close_reason) == (4000, "done")

    run(scenario())


def test_an_app_that_does_not_close_is_left(run: Any) -> None:
    app = App()
    stuck = asyncio.Event()

    @app.websocket("/ws")
    class Stuck(Endpoint):
        async def on_message(self, ws: Ws, message: Message) -> None:
            stuck.set()
            await asyncio.Event().wait()

    async def scenario() -> None:
        limits = Limits(close_timeout=0.2)
        async with connect(app, "/ws", limits=limits) as ws:
            ws.send("hang")
            await asyncio.wait_for(stuck.wait(), DEADLINE)
        assert not ws.is_open

    run(scenario())


def test_an_error_of_the_test_itself_comes_through(run: Any) -> None:
    async def scenario() -> None:
        with pytest.raises(ZeroDivisionError):
            async with connect(make_app(), "/echo"):
                raise ZeroDivisionError

    run(scenario())


def test_the_client_has_limits_of_its_own(run: Any) -> None:
    async def scenario() -> None:
        async with connect(make_app(), "/echo", limits=Limits(max_message=10)) as ws:
            ws.send("x" * 11)
            with pytest.raises(ConnectionClosed) as closed:
                await ws.receive(DEADLINE)
            assert closed.value.code == 1009

    run(scenario())


def test_receive_has_a_deadline(run: Any) -> None:
    async def scenario() -> None:
        async with connect(make_app(), "/echo") as ws:
            with pytest.raises(TimeoutError):
                await ws.receive(0.01)
            ws.send("still there")
            assert await ws.receive(DEADLINE) == "still there"

    run(scenario())


def test_connections_share_the_served_app(run: Any) -> None:
    starts: list[App] = []

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        starts.append(app)
        yield

    app = App(lifespan=lifespan)
    app.websocket("/echo", echo)

    async def scenario() -> None:
        async with app.serve(port=0), connect(app, "/echo"), connect(app, "/echo"):
            assert len(app.connections) == 2

    run(scenario())
    assert starts == [app]


@pytest.mark.parametrize("context", [False, True], ids=["stateless", "context"])
def test_a_client_in_memory_may_compress(run_on_each_loop: Any, context: bool) -> None:
    rule = Compression(
        threshold=0, max_size=None, client_context=context, server_context=context
    )
    app = App(Config(compression=rule))
    app.websocket("/echo", echo)

    async def scenario() -> None:
        async with connect(app, "/echo", compression=rule) as ws:
            assert ws.agreement is not None
            assert ws.agreement.receive_context == context
            large = random.Random(1).randbytes(10_000).hex().encode() * 10
            for message in ("text " * 100, large, "", "ä€😀" * 50, "x"):
                await ws.send(message)
                assert await ws.receive(DEADLINE) == message
            counters = app.counters.snapshot()
            # What is empty never is, and the last only where it may be referred to.
            number = 4 if context else 3
            assert counters["inflated_messages"] == number
            assert counters["compressed_messages"] == number
        async with connect(app, "/echo") as ws:
            assert ws.agreement is None
            await ws.send("text " * 100)
            assert await ws.receive(DEADLINE) == "text " * 100

    run_on_each_loop(scenario())
