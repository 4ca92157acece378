"""Server: listens, hands accepted sockets to the engine, and stops in good order."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum, auto
from ssl import SSLContext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .codes import CloseCode
from .config import Config, compression_rule
from .engine import poller
from .engine.opening import WebEntrance
from .engine.uvlink import UvLink
from .errors import StartupError, StateError
from .http.origins import origin_policy
from .http.peer import HttpPeer, log_upgrade
from .listener import listening_sockets, tls_context
from .runtime import GONE_INTERVAL, gone

if TYPE_CHECKING:
    from .app import App
    from .config import Compression, Limits
    from .engine.connection import Connection
    from .engine.hub import Hub
    from .engine.link import Link
    from .http.service import Handler, WebSocketRoute

__all__ = ["Server"]

logger = logging.getLogger("fastws.server")


# What asyncio calls backlog is also how often it tries to accept in one turn and, when
# descriptors run out, how often it logs that. The kernel's backlog is set behind it.
_ACCEPTS_PER_TURN = 8

# Seconds that aborted connections get to go.
_ABORT_TIMEOUT = 1.0

# What a socket that listens on every address is bound to.
_ANY_ADDRESS = ("0.0.0.0", "::")


class _Peer(HttpPeer):
    """A connection that speaks HTTP, on its server's list until it is lost.

    The list is weak: an upgraded peer goes by itself.
    """

    __slots__ = ("_listed",)

    def __init__(
        self, server: Server, hub: Hub, link: Link, deadline: float | None
    ) -> None:
        super().__init__(server, hub, link, deadline)
        self._listed = server._peers
        self._listed.add(self)

    def connection_lost(self, error: BaseException | None) -> None:
        super().connection_lost(error)
        # It may live on in a cycle with its link.
        self._listed.discard(self)


class _State(Enum):
    """NEW ──start──► STARTING ──► RUNNING ──stop──► STOPPING ──► CLOSED ──start──► …

    A start that fails goes from STARTING to CLOSED.
    """

    NEW = auto()
    STARTING = auto()
    RUNNING = auto()
    STOPPING = auto()
    CLOSED = auto()


class Server:
    """One set of listening sockets of an App; made by ``App.serve`` or ``App.server``.

    ``async with server:`` starts and stops it, ``start``, ``stop`` and ``wait_closed``
    do so by hand, and ``run`` blocks until a signal. Several servers of one App may run
    on its loop; the App's lifespan starts with the first and ends with the last. A
    server that has been stopped can be started again.
    """

    def __init__(self, app: App, config: Config) -> None:
        self.app = app
        self.config = config
        self._compression = compression_rule(config.compression)
        self._state = _State.NEW
        self._closed = asyncio.Event()
        self._hurry = asyncio.Event()
        self._hub: Hub | None = None
        self._sockets: list[socket.socket] = []
        # Their addresses, known for as long as there may be connections through them.
        self._served: tuple[tuple[str, int], ...] = ()
        self._listeners: list[asyncio.Server] = []
        # Of our own sockets
        self._entrance: WebEntrance | None = None
        self._poller: poller.Poller | None = None
        self._peers: weakref.WeakSet[HttpPeer] = weakref.WeakSet()

    # What is known from outside

    @property
    def is_running(self) -> bool:
        """Whether the server accepts connections."""
        return self._state is _State.RUNNING

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening sockets, one per address; empty unless the server runs."""
        return tuple(self._sockets)

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Address and port of each listening socket."""
        return self._served if self._sockets else ()

    @property
    def port(self) -> int:
        """The port: the one that was found when ``port=0`` was asked for."""
        return self.addresses[0][1] if self._sockets else self.config.port

    @property
    def is_secure(self) -> bool:
        """Whether connections are under TLS."""
        config = self.config
        return config.ssl is not None or config.ssl_certificate is not None

    @property
    def urls(self) -> tuple[str, ...]:
        """The address of each listening socket as a URL, such as
        ``http://127.0.0.1:8080``."""
        scheme = "https" if self.is_secure else "http"
        return tuple(
            f"{scheme}://[{host}]:{port}"
            if ":" in host
            else f"{scheme}://{host}:{port}"
            for host, port in self.addresses
        )

    def __repr__(self) -> str:
        where = " ".join(self.urls) or f"{self.config.host}:{self.config.port}"
        return f"<Server {where} {self._state.name.lower()}>"

    # What the HTTP side asks (http.service.Service)

    @property
    def limits(self) -> Limits:
        """What one peer may cost: the App's."""
        return self.app.limits

    @property
    def allowed_origins(self) -> Sequence[str] | None:
        """Origins whose pages may open a WebSocket; ``None``: of the same host."""
        return self.config.allowed_origins

    @property
    def debug(self) -> bool:
        """Development mode, see ``Config.debug``."""
        return self.config.debug

    @property
    def compression(self) -> Compression | None:
        """How connections compress where their route does not say; ``None``: not."""
        return self._compression

    @property
    def has_cohorts(self) -> bool:
        """Whether a channel of the App is a cohort, see ``App.has_cohorts``."""
        return self.app.has_cohorts

    def websocket_route(
        self, path: str
    ) -> tuple[WebSocketRoute, dict[str, str]] | None:
        """Give the route of a WebSocket path and the path's parameters."""
        return self.app.routes.websocket(path)

    def http_route(
        self, method: str, path: str
    ) -> tuple[Handler, dict[str, str]] | frozenset[str] | None:
        """Give handler and parameters, or the allowed methods, or ``None``."""
        return self.app.routes.http(method, path)

    # Start

    async def start(self) -> None:
        """Start the App's lifespan if need be, and accept connections.

        Raises StartupError (port in use, bad certificate, host not found, …),
        StateError when the server is not at rest or the App belongs to another loop,
        and whatever the lifespan raises.
        """
        if self._state not in (_State.NEW, _State.CLOSED):
            raise StateError(f"the server is {self._state.name.lower()} already")
        self._state = _State.STARTING
        self._closed = asyncio.Event()
        self._hurry = asyncio.Event()
        try:
            await self._start()
        except BaseException:
            self._state = _State.CLOSED
            self._closed.set()
            raise
        self._state = _State.RUNNING
        logger.info("listening on %s", " ".join(self.urls))

    async def _start(self) -> None:
        config = self.config
        context = tls_context(config)
        # The port first: a lifespan need not open a database only to learn that the
        # server cannot start.
        self._sockets = await listening_sockets(
            config.host, config.port, config.backlog, reuse_port=config.reuse_port
        )
        self._served = tuple(one.getsockname()[:2] for one in self._sockets)
        try:
            self._hub = await self.app.runtime.enter()
            try:
                await self._accept_on(self._sockets, self._hub, context)
            except BaseException:
                await self.app.runtime.leave(config.shutdown_timeout)
                raise
        except BaseException:
            self._close_listeners()
            raise

    async def _accept_on(
        self, sockets: Sequence[socket.socket], hub: Hub, context: SSLContext | None
    ) -> None:
        if context is None and self._owns_sockets():
            self._listen_ourselves(sockets, hub)
            return
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = {"backlog": _ACCEPTS_PER_TURN}
        if context is not None:
            options["ssl"] = context
            options["ssl_handshake_timeout"] = self.config.ssl_handshake_timeout
            options["ssl_shutdown_timeout"] = self.app.limits.close_timeout

        def accepted() -> UvLink:
            return UvLink(hub, self._make_peer)

        for one in sockets:
            self._listeners.append(
                await loop.create_server(accepted, sock=one, **options)
            )
            one.listen(self.config.backlog)

    def _owns_sockets(self) -> bool:
        kind = self.config.link
        if kind == "own" and not poller.AVAILABLE:
            raise StartupError(
                'link="own" needs Linux: leave it at "auto" to take what there is'
            )
        return kind != "uvloop" and poller.AVAILABLE

    def _listen_ourselves(self, sockets: Sequence[socket.socket], hub: Hub) -> None:
        admits = origin_policy(self.allowed_origins, self.debug).admits
        self._entrance = WebEntrance(self._make_peer, self, admits, log_upgrade)
        self._poller = poller.poller_of(hub)
        for one in sockets:
            self._poller.listen(one, self._entrance)

    def _make_peer(
        self, hub: Hub, link: Link, deadline: float | None = None
    ) -> HttpPeer:
        peer = _Peer(self, hub, link, deadline)
        if self._state in (_State.STOPPING, _State.CLOSED):
            # Its TLS handshake took until now: nobody waits for a goodbye any more.
            asyncio.get_running_loop().call_soon(link.abort)
        return peer

    # Stop

    async def stop(self) -> None:
        """Stop in good order; return when everything is closed.

        The listening sockets close at once. Every connection is closed with 1001 and
        gets up to ``shutdown_timeout`` seconds for the closing handshake, then it is
        aborted. Then the lifespan ends, if this was the App's last server. A server
        that does not run is left as it is.
        """
        if self._state is _State.STARTING:
            raise StateError("the server is still starting: cancel its start() instead")
        if self._state is _State.STOPPING:
            await self._closed.wait()
        if self._state is not _State.RUNNING:
            return
        self._state = _State.STOPPING
        timeout = self.config.shutdown_timeout
        try:
            self._close_listeners()
            try:
                await self._bounded(self._close_connections(), timeout)
            finally:
                await self._abort_connections()
                await self._bounded(self.app.runtime.leave(timeout), None)
        finally:
            self._hub = self._entrance = self._poller = None
            self._state = _State.CLOSED
            self._closed.set()
            logger.info("stopped")

    def hurry(self) -> None:
        """Let a ``stop`` that is waiting for its peers abort them now."""
        self._hurry.set()

    async def wait_closed(self) -> None:
        """Wait until the server has been stopped; returns at once before a start."""
        if self._state is not _State.NEW:
            await self._closed.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _bounded(
        self, work: Coroutine[Any, Any, None], timeout: float | None
    ) -> None:
        """Do something until it is done, the time is up, or ``hurry`` is called."""
        doing = asyncio.create_task(work)
        hurried = asyncio.create_task(self._hurry.wait())
        try:
            await asyncio.wait(
                {doing, hurried}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            hurried.cancel()
            doing.cancel()
            await asyncio.wait({doing})
        if not doing.cancelled():
            doing.result()

    async def _close_connections(self) -> None:
        self._close_openings()
        for peer in list(self._peers):
            peer.stop()
        connections = self._connections()
        for connection in connections:
            connection.close(CloseCode.GOING_AWAY)
        await self._gone(connections)

    async def _abort_connections(self) -> None:
        connections = self._connections()
        if connections:
            logger.warning("aborted %d connections", len(connections))
        self._close_openings()
        for connection in connections:
            connection.abort()
        for peer in list(self._peers):
            peer.link.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(_ABORT_TIMEOUT):
                await self._gone(connections)

    async def _gone(self, connections: list[Connection[Any]]) -> None:
        """Wait until these connections, and all that speak HTTP, have ended."""
        assert self._hub is not None
        await gone(self._hub, connections)
        while self._peers or (  # noqa: ASYNC110 - an end is not worth an event
            self._entrance is not None and self._entrance.waiting
        ):
            await asyncio.sleep(GONE_INTERVAL)

    def _close_openings(self) -> None:
        """End those that have not even begun a request."""
        if self._entrance is not None and self._poller is not None:
            self._entrance.stop(self._poller.links)

    def _connections(self) -> list[Connection[Any]]:
        """The hub's connections that came through this server's sockets."""
        hub = self._hub
        assert hub is not None
        return [one for one in hub.connections if self._accepted(one.link)]

    def _accepted(self, link: Link) -> bool:
        address = link.local_address
        if address is None:
            return False
        return any(
            port == address[1] and host in (address[0], *_ANY_ADDRESS)
            for host, port in self._served
        )

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()
        for one in self._sockets:
            if self._poller is not None:
                self._poller.unlisten(one)
            one.close()
        self._listeners.clear()
        self._sockets = []

    # Blocking

    def run(self) -> None:
        """Start, serve until SIGINT or SIGTERM, stop in good order; blocks.

        Makes its own event loop, of the kind that ``config.loop`` names. A second
        signal aborts what the first is waiting for. In a thread other than the main
        one there are no signals: stop it with ``stop`` from its loop.
        """
        _refuse_running_loop()
        _show_log_lines()
        with asyncio.Runner(loop_factory=_loop_factory(self.config)) as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        starting = loop.create_task(self.start())
        stopped = asyncio.Event()

        def on_signal() -> None:
            if stopped.is_set():
                self.hurry()
            stopped.set()
            # Nothing is being served yet: there is nothing to wait for.
            starting.cancel()

        with _signals(loop, on_signal):
            await asyncio.wait({starting})
            if starting.cancelled():
                return
            starting.result()
            signalled = loop.create_task(stopped.wait())
            closed = loop.create_task(self.wait_closed())
            await asyncio.wait({signalled, closed}, return_when=asyncio.FIRST_COMPLETED)
            signalled.cancel()
            await self.stop()


def _refuse_running_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise StateError(
        "run() was called inside a running event loop, where nothing may block: "
        "write `async with app.serve():` there, or call run() outside of the loop"
    )


def _loop_factory(config: Config) -> Callable[[], asyncio.AbstractEventLoop]:
    if config.loop != "asyncio":
        try:
            import uvloop
        except ImportError as error:
            if config.loop == "uvloop":
                raise StartupError(
                    "uvloop is not installed: `pip install uvloop`, or choose "
                    'loop="asyncio" (--loop asyncio)'
                ) from error
        else:
            return uvloop.new_event_loop
    return asyncio.new_event_loop


def _show_log_lines() -> None:
    """Show where the server listens, in a program that has not set up logging.

    Only for ``run``: a program that serves inside its own loop owns its logging too.
    """
    package = logging.getLogger("fastws")
    if not package.hasHandlers():
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        package.addHandler(handler)
        if package.level == logging.NOTSET:
            package.setLevel(logging.INFO)


@contextmanager
def _signals(
    loop: asyncio.AbstractEventLoop, handler: Callable[[], None]
) -> Iterator[None]:
    """Call ``handler`` on SIGINT and SIGTERM, where signals can be had."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
            # None: it was not set from Python, and cannot be.
            if before[number] is not None:
                signal.signal(number, before[number])
