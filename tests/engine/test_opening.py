"""Upgrades that are answered without the HTTP side: the same to the last byte."""

from __future__ import annotations

import asyncio
import json
import random
import re
import socket
import weakref
from typing import Any

import pytest

from fastws import App, Config, Connection, Endpoint, Limits, Request
from fastws.engine import poller
from fastws.engine.uvlink import UvLink
from fastws.http.peer import HttpPeer
from fastws.types import LinkKind
from tests.conftest import Run
from tests.engine.peers import turns, until
from tests.http.exchange import upgrade
from tests.http.test_bad_heads import INPUTS
from tests.support.frames import close, text
from tests.support.seeds import fresh_seed

pytestmark = pytest.mark.skipif(not poller.AVAILABLE, reason="needs epoll")

# The one header that differs from second to second.
DATE = re.compile(rb"(?i)\r\ndate: [^\r]*")

GOOD = {
    "plain": upgrade(),
    "literal path": upgrade("/"),
    "parameter": upgrade("/rooms/blue"),
    "parameter, escaped": upgrade("/rooms/bl%75e"),
    "dot in the path": upgrade("/rooms/.blue"),
    "query": upgrade("/ws?token=1&x=%20"),
    "empty query": upgrade("/ws?"),
    "hook": upgrade("/hooked"),
    "lists": upgrade(Connection="keep-alive, Upgrade", Upgrade="h2c, WebSocket"),
    "spread list": upgrade(Connection="keep-alive\r\nConnection: upgrade"),
    "white space": upgrade(Sec_WebSocket_Version=" 13 \t"),
    "empty header": upgrade(X_Empty=""),
    "own origin": upgrade(Origin="http://example.com"),
    "own origin in capitals": upgrade(Origin="http://EXAMPLE.com"),
    "listed origin": upgrade(Origin="https://friend.example"),
    "origin of a stranger": upgrade(Origin="http://example.org"),
    "two origins": upgrade(Origin="http://example.com\r\nOrigin: http://example.com"),
    "no origin": upgrade(Origin=""),
    "subprotocol": upgrade(Sec_WebSocket_Protocol="chat.v1, chat.v2"),
    "unknown subprotocol": upgrade(Sec_WebSocket_Protocol="soap"),
    "expectation": upgrade(Expect="100-continue"),
    "no body": upgrade(Content_Length="0"),
    "empty line before": b"\r\n" + upgrade(),
    "header in latin-1": upgrade(X_Name="J\xf6rg"),
    "unknown path": upgrade("/nowhere"),
    "http path": upgrade("/page"),
    "absolute": upgrade("http://example.com/ws"),
    "two slashes": upgrade("//ws"),
    "climbing": upgrade("/rooms/../ws"),
}


class Tell(Endpoint):
    """Sends what a program can see of the request."""

    def on_open(self, ws: Connection[Any]) -> None:
        ws.send(
            {
                "path": ws.path,
                "params": ws.params,
                "subprotocol": ws.subprotocol,
                "headers": [list(one) for one in ws.headers.items()],
                "query": [list(one) for one in ws.query.items()],
                "address": ws.remote_address[0],
                "count": ws.app.counters.snapshot()["connections"],
            }
        )

    def on_message(self, ws: Connection[Any], message: str | bytes) -> None:
        ws.send(message)


def make_app(**options: Any) -> App:
    app = App(Config(**options))
    app.websocket("/", Tell())
    app.websocket("/ws", Tell(), subprotocols=("chat.v2", "chat.v1"))
    app.websocket("/rooms/{room}", Tell())
    app.websocket("/hooked", Tell(), upgrade=lambda request: {"X-Hook": "ran"})

    @app.get("/page")
    def page(request: Request) -> str:
        return "page"

    return app


async def answer_to(port: int, data: bytes, pieces: int = 1) -> bytes:
    """Everything that comes back, until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    size = max(1, -(-len(data) // pieces))
    for start in range(0, len(data), size):
        writer.write(data[start : start + size])
        await turns(3 if pieces > 1 else 0)
    writer.write_eof()
    try:
        return await reader.read()
    finally:
        writer.close()


async def answers(
    link: LinkKind,
    inputs: list[bytes],
    caplog: pytest.LogCaptureFixture,
    **options: Any,
) -> tuple[list[bytes], list[str]]:
    caplog.clear()
    with caplog.at_level("INFO", "fastws.http"):
        async with make_app(link=link, **options).serve(port=0) as server:
            found = [
                DATE.sub(b"", await answer_to(server.port, data)) for data in inputs
            ]
            hub = server.app.runtime.hub
            assert hub is not None
            await until(lambda: hub.handshakes == 0 and hub.connection_count == 0)
    records = [one for one in caplog.records if one.name == "fastws.http"]
    said = [one.getMessage() for one in records]
    # A refusal's traceback holds its connection.
    records.clear()
    caplog.clear()
    return found, said


@pytest.mark.parametrize(
    "options",
    [{}, {"allowed_origins": ["https://friend.example"]}, {"debug": True}],
    ids=["own", "listed", "debug"],
)
def test_answers_are_the_http_sides(
    run_on_each_loop: Run[None],
    caplog: pytest.LogCaptureFixture,
    options: dict[str, Any],
) -> None:
    goodbye = text("hello") + close(1000)
    inputs = [data + goodbye for data in GOOD.values()]
    inputs += [data for data, _ in INPUTS.values()]

    async def scenario() -> None:
        ours = await answers("auto", inputs, caplog, **options)
        theirs = await answers("uvloop", inputs, caplog, **options)
        assert ours == theirs
        assert sum(one.startswith(b"HTTP/1.1 101 ") for one in ours[0]) >= 12

    run_on_each_loop(scenario())


def test_damaged_heads_are_answered_alike(
    run: Run[None], caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(fresh_seed())
    alphabet = b'\r\n\t :;,/.?%#\0\x7f\x80"Aa0='
    inputs = []
    for _ in range(300):
        data = bytearray(chance.choice(list(GOOD.values())))
        for _ in range(chance.randint(1, 3)):
            position = chance.randrange(len(data))
            if chance.random() < 0.5:
                data[position] = chance.choice(alphabet)
            elif chance.random() < 0.5:
                del data[position : position + chance.randint(1, 3)]
            else:
                data.insert(position, chance.choice(alphabet))
        inputs.append(bytes(data))

    async def scenario() -> None:
        ours = await answers("auto", inputs, caplog)
        theirs = await answers("uvloop", inputs, caplog)
        for data, our, their in zip(inputs, ours[0], theirs[0], strict=True):
            assert our == their, data
        assert ours[1] == theirs[1]

    run(scenario())


@pytest.fixture
def peers_made(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[HttpPeer]]:
    """Every HttpPeer that was made."""
    made: list[weakref.ref[HttpPeer]] = []
    original = HttpPeer.__init__

    def counted(self: HttpPeer, *arguments: Any) -> None:
        made.append(weakref.ref(self))
        original(self, *arguments)

    monkeypatch.setattr(HttpPeer, "__init__", counted)
    return made


@pytest.mark.parametrize("name", ["plain", "parameter", "own origin", "subprotocol"])
def test_a_plain_upgrade_needs_no_http_side(
    run_on_each_loop: Run[None], peers_made: list[weakref.ref[HttpPeer]], name: str
) -> None:
    async def scenario() -> None:
        async with make_app().serve(port=0, link="own") as server:
            data = GOOD[name] + close(1000)
            found = await answer_to(server.port, data)
            assert found.startswith(b"HTTP/1.1 101 ")
            assert not peers_made
            found = await answer_to(server.port, data, pieces=2)
            assert found.startswith(b"HTTP/1.1 101 ")
            assert len(peers_made) == 1

    run_on_each_loop(scenario())


def test_headers_can_be_kept(run_on_each_loop: Run[None]) -> None:
    async def scenario() -> None:
        app = App()
        opened: list[Connection[Any]] = []
        for path, keep in (("/kept", True), ("/dropped", False)):
            app.websocket(path, on_open_append(opened), keep_headers=keep)
        async with app.serve(port=0, link="own") as server:
            for path in ("/kept", "/dropped"):
                _, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(upgrade(f"{path}?a=1", X_Name="x"))
                await until(lambda path=path: opened and opened[-1].path == path)  # type: ignore[misc]
                if path == "/kept":
                    assert opened[-1].headers["x-name"] == "x"
                    assert opened[-1].query["a"] == "1"
                else:
                    with pytest.raises(RuntimeError, match="keep_headers"):
                        opened[-1].headers["x-name"]
                writer.close()

    run_on_each_loop(scenario())


def on_open_append(opened: list[Connection[Any]]) -> Endpoint:
    class Keep(Endpoint):
        def on_open(self, ws: Connection[Any]) -> None:
            opened.append(ws)

    return Keep()


# -- before the first byte -------------------------------------------------------------


async def counts(server: Any) -> tuple[int, int]:
    hub = server.app.runtime.hub
    await turns()
    return hub.handshakes, hub.connection_count


def silent(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port))
    client.setblocking(False)
    return client


async def end_of(client: socket.socket) -> bytes:
    return await asyncio.get_running_loop().sock_recv(client, 1000)


def test_a_silent_connection_counts_and_ends_at_its_deadline(
    run_on_each_loop: Run[None],
) -> None:
    async def scenario() -> None:
        app = make_app(limits=Limits(handshake_timeout=30))
        async with app.serve(port=0, link="own") as server:
            hub = server.app.runtime.hub
            assert hub is not None
            with silent(server.port) as client:
                await until(lambda: hub.handshakes == 1)
                start = hub.clock()
                hub.clock = lambda: start + 31
                assert await end_of(client) == b""
                assert await counts(server) == (0, 0)

    run_on_each_loop(scenario())


def test_the_deadline_is_not_prolonged_by_a_byte(run_on_each_loop: Run[None]) -> None:
    async def scenario() -> None:
        app = make_app(limits=Limits(handshake_timeout=30))
        async with app.serve(port=0, link="own") as server:
            hub = server.app.runtime.hub
            assert hub is not None
            with silent(server.port) as client:
                await until(lambda: hub.handshakes == 1)
                start = hub.clock()
                hub.clock = lambda: start + 20
                client.send(b"G")
                await until(lambda: not server._entrance.waiting)  # type: ignore[union-attr]
                assert hub.handshakes == 1
                hub.clock = lambda: start + 31
                assert b" 408 " in await end_of(client)
                assert await end_of(client) == b""

    run_on_each_loop(scenario())


def test_those_that_were_admitted_stay_so(run_on_each_loop: Run[None]) -> None:
    """Others that came too many must not make them too many when they speak."""

    async def scenario() -> None:
        app = make_app(limits=Limits(max_handshakes=2))
        async with app.serve(port=0, link="own") as server:
            hub = server.app.runtime.hub
            assert hub is not None
            clients = [silent(server.port) for _ in range(4)]
            await until(lambda: hub.handshakes == 4)
            clients[0].send(upgrade()[:40])
            clients[1].send(upgrade())
            assert (await end_of(clients[1])).startswith(b"HTTP/1.1 101 ")
            clients[0].send(upgrade()[40:])
            assert (await end_of(clients[0])).startswith(b"HTTP/1.1 101 ")
            for client in clients[2:]:
                assert b" 503 " in await end_of(client)
            for client in clients:
                client.close()
            await until(lambda: hub.handshakes == 0)

    run_on_each_loop(scenario())


def test_stopping_closes_those_that_are_silent(run_on_each_loop: Run[None]) -> None:
    async def scenario() -> None:
        app = make_app()
        async with (
            app.serve(port=0, link="own") as other,
            app.serve(port=0, link="own") as server,
        ):
            hub = app.runtime.hub
            assert hub is not None
            with silent(other.port) as stays, silent(server.port) as client:
                await until(lambda: hub.handshakes == 2)
                await server.stop()
                assert await end_of(client) == b""
                assert hub.handshakes == 1
                stays.send(upgrade("/page"))
                assert b" 404 " in await end_of(stays)
        assert app.runtime.hub is None

    run_on_each_loop(scenario())


# -- plain HTTP moves on to a transport ------------------------------------------------


GET = b"GET /page HTTP/1.1\r\nHost: example.com\r\n\r\n"


def http_app() -> App:
    app = make_app()

    @app.post("/echo")
    async def echo(request: Request) -> bytes:
        return await request.body()

    return app


async def exchange(port: int, *pieces: bytes, count: int = 1) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await turns(10)
    found = b""
    while found.count(b"HTTP/1.1 ") < count or not found.endswith(b"page"):
        data = await reader.read(65_536)
        if not data:
            break
        found += data
    writer.close()
    return found


def test_http_goes_on_over_a_transport(
    run_on_each_loop: Run[None], peers_made: list[weakref.ref[HttpPeer]]
) -> None:
    async def scenario() -> None:
        async with http_app().serve(port=0, link="own") as server:
            found = await exchange(server.port, GET, count=1)
            assert found.startswith(b"HTTP/1.1 200 ")
            peer = peers_made[0]()
            assert peer is None or isinstance(peer.link, UvLink)
            # Pipelined behind it, in one piece and later.
            found = await exchange(server.port, GET + GET, GET, count=3)
            assert found.count(b"HTTP/1.1 200 OK") == 3
            body = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n"
            found = await exchange(server.port, body + b"some", b"page")
            assert found.endswith(b"\r\n\r\nsomepage")
            await until(lambda: server.app.runtime.hub.handshakes == 0)  # type: ignore[union-attr]

    run_on_each_loop(scenario())


def test_a_request_that_cannot_move_is_answered_all_the_same(
    run_on_each_loop: Run[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> int:
        raise OSError(24, "too many open files")

    async def scenario() -> None:
        async with http_app().serve(port=0, link="own") as server:
            with monkeypatch.context() as patched:
                patched.setattr("os.dup", fail)
                found = await exchange(server.port, GET + GET, count=2)
                assert found.count(b"HTTP/1.1 200 OK") == 2
            with monkeypatch.context() as patched:
                patched.setattr("fastws.http.peer.UvLink", fail)
                found = await exchange(server.port, GET, GET, count=2)
                assert found.count(b"HTTP/1.1 200 OK") == 2
            await until(lambda: server.app.runtime.hub.handshakes == 0)  # type: ignore[union-attr]

    run_on_each_loop(scenario())


def test_a_server_that_stops_while_a_request_moves(
    run_on_each_loop: Run[None],
) -> None:
    async def scenario() -> None:
        async with http_app().serve(port=0, link="own", shutdown_timeout=5) as server:
            with silent(server.port) as client:
                client.send(GET)
                hub = server.app.runtime.hub
                assert hub is not None
                await until(lambda: hub.handshakes == 1)
                await server.stop()
                assert (await end_of(client)).startswith(b"HTTP/1.1 200 ")

    run_on_each_loop(scenario())


def test_a_moved_connection_may_still_upgrade(run_on_each_loop: Run[None]) -> None:
    async def scenario() -> None:
        async with http_app().serve(port=0, link="own") as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(GET)
            await reader.readuntil(b"page")
            writer.write(upgrade("/rooms/blue"))
            await reader.readuntil(b"\r\n\r\n")
            data = await reader.read(1000)
            assert json.loads(data[data.index(b"{") :])["params"] == {"room": "blue"}
            writer.close()

    run_on_each_loop(scenario())
