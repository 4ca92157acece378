"""Server: several in one process, TLS, and the ways of stopping."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import ssl
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias

import pytest

from fastws import App, Config, Connection, Endpoint, Message, StartupError, StateError
from fastws.engine import poller
from fastws.engine.link import Link
from fastws.engine.ownlink import OwnLink
from fastws.engine.uvlink import UvLink
from fastws.server import Server
from fastws.types import LinkKind

from .support.client import SAMPLE_ACCEPT, upgrade_request
from .support.frames import CLOSE, Frame, close, take_frame, text
from .support.waits import DEADLINE, eventually

# Enough for the right handshake that follows the one that never ends.
HANDSHAKE_TIMEOUT = 2.0

Ws: TypeAlias = "Connection[Any]"


class Client:
    """A WebSocket client on asyncio's streams, with or without TLS."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader = reader
        self.writer = writer
        self._received = bytearray()

    @classmethod
    async def open(
        cls, port: int, path: str, context: ssl.SSLContext | None = None
    ) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.write(upgrade_request(path))
        client = cls(reader, writer)
        head = await client.within(reader.readuntil(b"\r\n\r\n"))
        assert head.startswith(b"HTTP/1.1 101 "), head
        assert SAMPLE_ACCEPT.encode() in head
        return client

    async def within(self, waiting: Any) -> Any:
        return await asyncio.wait_for(waiting, DEADLINE)

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def frame(self) -> Frame:
        while (frame := take_frame(self._received)) is None:
            data = await self.within(self.reader.read(65_536))
            assert data, "the server ended the connection"
            self._received += data
        return frame

    async def ended(self) -> bool:
        """Whether the server ends the connection, with nothing more to say."""
        try:
            rest: bytes = await self.within(self.reader.read())
        except ConnectionResetError:
            return True
        return rest == b""

    async def close(self) -> None:
        self.writer.transport.abort()
        await asyncio.wait({asyncio.ensure_future(self.writer.wait_closed())})


class Echo(Endpoint):
    def on_message(self, ws: Ws, message: Message) -> None:
        ws.send(message)


async def echo(ws: Ws) -> None:
    async for message in ws:
        await ws.send(message)


def make_app(**options: Any) -> App:
    app = App(Config(port=0, **options))
    app.websocket("/echo", echo)
    app.websocket("/callback", Echo)
    app.get("/", lambda request: "home")
    return app


async def request(port: int, head: str = "GET / HTTP/1.1") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{head}\r\nHost: testserver\r\nConnection: close\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), DEADLINE)
    writer.close()
    return answer


# Serving


@pytest.mark.parametrize("path", ["/echo", "/callback"])
def test_echo_over_a_socket(run_on_each_loop: Any, path: str) -> None:
    async def scenario() -> None:
        async with make_app().serve() as server:
            client = await Client.open(server.port, path)
            for payload in "hello", "", "x" * 100_000:
                client.send(text(payload))
                assert (await client.frame()).payload == payload.encode()
            client.send(close(1000))
            frame = await client.frame()
            assert (frame.opcode, frame.close_code) == (CLOSE, 1000)
            assert await client.ended()
            await client.close()

    run_on_each_loop(scenario())


@pytest.mark.parametrize("by_files", [False, True])
def test_echo_under_tls(
    run_on_each_loop: Any, certificates: Any, by_files: bool
) -> None:
    options: dict[str, Any] = {"ssl": certificates.server_context()}
    if by_files:
        options = {
            "ssl_certificate": str(certificates.certificate),
            "ssl_key": str(certificates.key),
        }

    async def scenario() -> None:
        async with make_app().serve(**options) as server:
            assert server.urls == (f"https://127.0.0.1:{server.port}",)
            context = certificates.client_context()
            for path in "/echo", "/callback":
                client = await Client.open(server.port, path, context)
                client.send(text("secret") + text("x" * 100_000))
                assert (await client.frame()).payload == b"secret"
                assert len((await client.frame()).payload) == 100_000
                client.send(close(1000))
                assert (await client.frame()).close_code == 1000
                assert await client.ended()
                await client.close()

    run_on_each_loop(scenario())


@pytest.mark.parametrize(
    "asked", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x40\x01\0"]
)
def test_no_tls_on_the_tls_port_is_the_end(
    run_on_each_loop: Any, certificates: Any, asked: bytes
) -> None:
    async def scenario() -> None:
        options = {
            "ssl": certificates.server_context(),
            "ssl_handshake_timeout": HANDSHAKE_TIMEOUT,
        }
        async with make_app().serve(**options) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(asked)
            with suppress(ConnectionResetError):
                await asyncio.wait_for(reader.read(), DEADLINE)
            writer.close()
            client = await Client.open(
                server.port, "/echo", certificates.client_context()
            )
            await client.close()

    run_on_each_loop(scenario())


def test_a_tls_handshake_does_not_outlive_its_server(
    run_on_each_loop: Any, certificates: Any
) -> None:
    context = certificates.client_context()

    async def scenario() -> None:
        app = make_app(ssl=certificates.server_context(), shutdown_timeout=5)
        async with app.serve() as server:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            with pytest.raises(ssl.SSLWantReadError):
                tls.do_handshake()
            writer.write(outgoing.read())
            incoming.write(await asyncio.wait_for(reader.read(65_536), DEADLINE))
            with suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            await server.stop()
            # Only now the server may consider the handshake finished.
            writer.write(outgoing.read())
            with suppress(ConnectionResetError):
                while await asyncio.wait_for(reader.read(65_536), DEADLINE):
                    pass
            writer.close()

    run_on_each_loop(scenario())


@pytest.mark.parametrize(
    ("link", "has_epoll", "carrier"),
    [
        ("auto", True, OwnLink),
        ("own", True, OwnLink),
        ("uvloop", True, UvLink),
        ("auto", False, UvLink),
        ("own", False, None),
    ],
)
def test_what_carries_the_bytes(
    run_on_each_loop: Any,
    monkeypatch: pytest.MonkeyPatch,
    link: LinkKind,
    has_epoll: bool,
    carrier: type[Link] | None,
) -> None:
    if has_epoll and not poller.AVAILABLE:
        pytest.skip("needs epoll")
    monkeypatch.setattr(poller, "AVAILABLE", has_epoll)

    async def scenario() -> None:
        app = make_app(link=link)
        if carrier is None:
            with pytest.raises(StartupError, match="needs Linux"):
                await app.serve().start()
            return
        async with app.serve() as server:
            client = await Client.open(server.port, "/callback")
            (ws,) = app.connections
            assert isinstance(ws.link, carrier)
            client.send(text("x"))
            assert (await client.frame()).payload == b"x"
            assert await request(server.port)
            await client.close()

    run_on_each_loop(scenario())


def test_what_a_server_tells_about_itself(run: Any) -> None:
    async def scenario() -> None:
        server = make_app().server(host="127.0.0.1")
        assert (server.is_running, server.sockets, server.port) == (False, (), 0)
        assert repr(server) == "<Server 127.0.0.1:0 new>"
        await server.start()
        port = server.port
        assert port > 0
        assert server.is_running
        assert server.addresses == (("127.0.0.1", port),)
        assert [one.getsockname() for one in server.sockets] == [("127.0.0.1", port)]
        assert server.urls == (f"http://127.0.0.1:{port}",)
        assert repr(server) == f"<Server http://127.0.0.1:{port} running>"
        await server.stop()
        assert not server.is_running
        assert not server.sockets
        assert not server.addresses
        assert repr(server) == "<Server 127.0.0.1:0 closed>"

    run(scenario())


def test_ipv6_addresses_are_bracketed(run: Any) -> None:
    async def scenario() -> None:
        try:
            async with make_app().serve(host="::1") as server:
                assert server.urls == (f"http://[::1]:{server.port}",)
        except StartupError:
            pytest.skip("this machine has no IPv6")

    run(scenario())


@pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO of Linux")
def test_the_kernel_has_the_whole_backlog(run_on_each_loop: Any) -> None:
    async def scenario() -> None:
        async with make_app(backlog=77).serve() as server:
            (listening,) = server.sockets
            info = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
            # tcpi_sacked: of a listening socket it is the backlog.
            assert int.from_bytes(info[28:32], sys.byteorder) == 77

    run_on_each_loop(scenario())


def test_several_servers_stop_one_by_one(run_on_each_loop: Any) -> None:
    lives: list[str] = []

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        lives.append("start")
        yield
        lives.append("end")

    app = App(Config(port=0), lifespan=lifespan)
    app.websocket("/echo", echo)

    async def scenario() -> None:
        first, second = app.server(), app.server()
        await asyncio.gather(first.start(), second.start())
        assert lives == ["start"]
        one = await Client.open(first.port, "/echo")
        other = await Client.open(second.port, "/echo")
        assert len(app.connections) == 2

        stopping = asyncio.ensure_future(first.stop())
        assert (await one.frame()).close_code == 1001
        one.send(close(1001))
        await one.within(stopping)
        assert (first.is_running, second.is_running) == (False, True)
        assert len(app.connections) == 1
        other.send(text("still here"))
        assert (await other.frame()).payload == b"still here"
        assert lives == ["start"]

        stopping = asyncio.ensure_future(second.stop())
        assert (await other.frame()).close_code == 1001
        other.send(close(1001))
        await other.within(stopping)
        assert lives == ["start", "end"]
        assert app.connections == []
        for client in one, other:
            await client.close()

    run_on_each_loop(scenario())


def test_a_server_can_be_started_again(run_on_each_loop: Any) -> None:
    async def scenario() -> None:
        server = make_app().server()
        for _ in range(3):
            await server.start()
            assert b"home" in await request(server.port)
            await server.stop()

    run_on_each_loop(scenario())


def test_the_port_is_free_after_a_stop(run_on_each_loop: Any) -> None:
    async def scenario() -> None:
        app = make_app()
        async with app.serve() as server:
            port = server.port
            await request(port)
        async with app.serve(port=port) as server:
            assert server.port == port

    run_on_each_loop(scenario())


# Starting


def test_a_start_at_the_wrong_moment(run: Any) -> None:
    async def scenario() -> None:
        server = make_app().server()
        await server.stop()
        await server.wait_closed()
        async with server:
            with pytest.raises(StateError, match="the server is running already"):
                await server.start()
        await server.wait_closed()
        await server.stop()

    run(scenario())


def test_a_server_that_is_starting_is_not_stopped(run: Any) -> None:
    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        entered.set()
        await asyncio.Event().wait()
        yield

    entered = asyncio.Event()
    app = App(Config(port=0), lifespan=lifespan)

    async def scenario() -> None:
        server = app.server()
        starting = asyncio.ensure_future(server.start())
        await asyncio.wait_for(entered.wait(), DEADLINE)
        with pytest.raises(StateError, match="still starting"):
            await server.stop()
        port = server.port
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert repr(server).endswith("closed>")
        with socket.create_server(("127.0.0.1", port)):
            pass

    run(scenario())


def test_a_port_in_use_stops_the_start_before_the_lifespan(run: Any) -> None:
    lives: list[str] = []

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        lives.append("start")
        yield

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            server = App(lifespan=lifespan).server(port=port)
            with pytest.raises(StartupError, match=f":{port} is in use"):
                await server.start()
        assert not server.is_running

    run(scenario())
    assert lives == []


def test_run_inside_a_loop_names_the_way_out(run: Any) -> None:
    async def scenario() -> None:
        with pytest.raises(StateError, match=r"async with app\.serve\(\)"):
            make_app().run()

    run(scenario())


# Stopping


class Farewell(Endpoint):
    def __init__(self) -> None:
        self.closed: list[int] = []

    def on_close(self, ws: Ws, code: int, reason: str) -> None:
        self.closed.append(code)


def test_everybody_is_told_goodbye(run_on_each_loop: Any) -> None:
    farewell = Farewell()

    async def scenario() -> None:
        app = make_app()
        app.websocket("/farewell", farewell)
        async with app.serve() as server:
            clients = [
                await Client.open(server.port, path)
                for path in ("/echo", "/callback", "/farewell")
            ]
            stopping = asyncio.ensure_future(server.stop())
            for client in clients:
                assert (await client.frame()).close_code == 1001
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", server.port)
            for client in clients:
                client.send(close(1001))
                assert await client.ended()
            await asyncio.wait_for(stopping, DEADLINE)
            for client in clients:
                await client.close()

    run_on_each_loop(scenario())
    assert farewell.closed == [1001]


def test_a_peer_that_does_not_answer_is_aborted(
    run_on_each_loop: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with make_app(shutdown_timeout=0.05).serve() as server:
            client = await Client.open(server.port, "/echo")
            await asyncio.wait_for(server.stop(), DEADLINE)
            assert (await client.frame()).close_code == 1001
            assert await client.ended()
            await client.close()
            assert server.app.connections == []

    with caplog.at_level(logging.WARNING):
        run_on_each_loop(scenario())
    assert "aborted 1 connections" in caplog.text


def test_hurry_ends_the_waiting(run_on_each_loop: Any) -> None:
    async def scenario() -> None:
        async with make_app(shutdown_timeout=600).serve() as server:
            client = await Client.open(server.port, "/echo")
            stopping = asyncio.ensure_future(server.stop())
            assert (await client.frame()).close_code == 1001
            server.hurry()
            await asyncio.wait_for(stopping, DEADLINE)
            assert await client.ended()
            await client.close()

    run_on_each_loop(scenario())


def test_a_second_stop_waits_for_the_first(run: Any) -> None:
    async def scenario() -> None:
        server = make_app().server()
        await server.start()
        closed = asyncio.ensure_future(server.wait_closed())
        await asyncio.gather(server.stop(), server.stop())
        await asyncio.wait_for(closed, DEADLINE)
        assert not server.is_running

    run(scenario())


def test_http_connections_are_closed_too(run_on_each_loop: Any) -> None:
    answering = asyncio.Event()
    going_on = asyncio.Event()

    async def slow(request: object) -> str:
        answering.set()
        await going_on.wait()
        return "finished"

    async def scenario() -> None:
        app = make_app()
        app.get("/slow", slow)
        async with app.serve() as server:
            idle = await asyncio.open_connection("127.0.0.1", server.port)
            idle[1].write(b"GET / HTTP/1.1\r\nHost: testserver\r\n\r\n")
            await asyncio.wait_for(idle[0].readuntil(b"home"), DEADLINE)
            asking = asyncio.ensure_future(request(server.port, "GET /slow HTTP/1.1"))
            await asyncio.wait_for(answering.wait(), DEADLINE)
            stopping = asyncio.ensure_future(server.stop())
            assert await asyncio.wait_for(idle[0].read(), DEADLINE) == b""
            idle[1].close()
            assert not stopping.done()
            going_on.set()
            assert b"finished" in await asyncio.wait_for(asking, DEADLINE)
            await asyncio.wait_for(stopping, DEADLINE)

    run_on_each_loop(scenario())


def test_a_cancelled_block_still_stops_in_good_order(run_on_each_loop: Any) -> None:
    farewell = Farewell()

    async def serve(app: App, ready: asyncio.Future[Server]) -> None:
        async with app.serve() as server:
            ready.set_result(server)
            await asyncio.Event().wait()

    async def scenario() -> None:
        app = make_app()
        app.websocket("/farewell", farewell)
        ready: asyncio.Future[Server] = asyncio.Future()
        serving = asyncio.ensure_future(serve(app, ready))
        server = await asyncio.wait_for(ready, DEADLINE)
        client = await Client.open(server.port, "/farewell")
        serving.cancel()
        assert (await client.frame()).close_code == 1001
        client.send(close(1001))
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(serving, DEADLINE)
        assert not server.is_running
        assert farewell.closed == [1001]
        await client.close()

    run_on_each_loop(scenario())


# Blocking, with signals


def run_and_signal(app: App, act: Callable[[Server], None], **options: Any) -> None:
    """``app.run()`` in this thread, and ``act(server)`` in another once it listens."""
    server = app.server(**options)
    listening = threading.Event()
    failures: list[BaseException] = []

    class Notice(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("listening"):
                listening.set()

    def actor() -> None:
        try:
            assert listening.wait(DEADLINE)
            act(server)
        except BaseException as error:
            failures.append(error)
            os.kill(os.getpid(), signal.SIGTERM)

    notice = Notice()
    logger = logging.getLogger("fastws.server")
    logger.addHandler(notice)
    before = logger.level
    logger.setLevel(logging.INFO)
    thread = threading.Thread(target=actor)
    thread.start()
    try:
        server.run()
    finally:
        thread.join()
        logger.removeHandler(notice)
        logger.setLevel(before)
    if failures:
        raise failures[0]


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_ends_at_a_signal(loop: Any, number: signal.Signals) -> None:
    kinds: list[str] = []

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        kinds.append(type(asyncio.get_running_loop()).__module__)
        yield

    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    app = App(Config(port=0), lifespan=lifespan)
    run_and_signal(app, lambda _: os.kill(os.getpid(), number), loop=loop)
    assert kinds[0].startswith(loop)
    assert handlers == [
        signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)
    ]


def test_a_second_signal_does_not_wait_for_the_peers() -> None:
    app = make_app(shutdown_timeout=600)

    def act(server: Server) -> None:
        with socket.create_connection(server.addresses[0], DEADLINE) as client:
            client.sendall(upgrade_request("/echo"))
            received = bytearray()
            while b"\r\n\r\n" not in received:
                received += client.recv(4096)
            os.kill(os.getpid(), signal.SIGINT)
            assert client.recv(4096).endswith(b"\x03\xe9")
            os.kill(os.getpid(), signal.SIGINT)
            try:
                assert client.recv(4096) == b""
            except ConnectionResetError:
                return

    run_and_signal(app, act)
    assert app.connections == []


def test_a_signal_interrupts_a_start_that_hangs() -> None:
    ended: list[str] = []

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cleaned up")
        yield

    App(Config(port=0), lifespan=lifespan).run()
    assert ended == ["cleaned up"]


def test_run_ends_when_the_program_stops_the_server() -> None:
    app = App(Config(port=0))

    def act(server: Server) -> None:
        loop = app.runtime.loop
        assert loop is not None
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(DEADLINE)

    run_and_signal(app, act)


def test_run_works_in_a_thread_without_signals() -> None:
    app = make_app()
    server = app.server()
    ran: list[bool] = []

    def serve() -> None:
        server.run()
        ran.append(True)

    @app.get("/stop")
    async def stop(request: object) -> str:
        stopping.append(asyncio.create_task(server.stop()))
        return "stopping"

    stopping: list[asyncio.Task[None]] = []
    thread = threading.Thread(target=serve)
    thread.start()
    eventually(lambda: server.is_running)
    answer = asyncio.run(request(server.port, "GET /stop HTTP/1.1"))
    thread.join(DEADLINE)
    assert b"stopping" in answer
    assert ran == [True]


def test_uvloop_missing_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(StartupError, match="pip install uvloop"):
        App(Config(port=0, loop="uvloop")).run()


def test_run_shows_where_it_listens(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = logging.getLogger("fastws")
    monkeypatch.setattr(package, "propagate", False)
    monkeypatch.setattr(package, "handlers", [])
    monkeypatch.setattr(package, "level", package.level)
    run_and_signal(App(Config(port=0)), lambda _: os.kill(os.getpid(), signal.SIGINT))
    shown = capsys.readouterr().err
    assert "INFO listening on http://127.0.0.1:" in shown
    assert "INFO stopped" in shown
