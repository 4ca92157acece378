"""A client in memory, for tests: no port, no socket, the real handshake and engine.

::

    async def test_echo():
        async with connect(app, "/echo") as ws:
            await ws.send("hello")
            assert await ws.receive(timeout=1) == "hello"
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import quote

from .app import App
from .codes import CloseCode
from .config import Compression, Limits, compression_rule
from .engine.connection import Connection
from .engine.deflate import Deflate
from .engine.handshake import check_response, client_request
from .engine.hub import Hub
from .engine.link import ByteConsumer, Link
from .engine.memory import memory_pair
from .engine.sweep import Sweep
from .errors import ConnectionClosed, HandshakeError
from .http.peer import HttpPeer
from .runtime import gone

__all__ = ["connect"]

_END_OF_HEAD = b"\r\n\r\n"

# What a request target may hold unescaped (RFC 3986 section 3.3), "%" for what is
# escaped already, and the "?" in front of a query.
_TARGET = "/?:@!$&'()*+,;=-._~%"


@asynccontextmanager
async def connect(
    app: App,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    subprotocols: Sequence[str] = (),
    origin: str | None = None,
    host: str = "testserver",
    limits: Limits | None = None,
    compression: Compression | bool | None = None,
) -> AsyncIterator[Connection[Any]]:
    """Open a WebSocket to an App, in memory; gives the client's end of it.

    The App is served for as long as the block runs: its lifespan starts before the
    handshake and ends behind the block, unless something else is serving it too.
    ``path`` may have a query. ``headers``, ``origin`` and ``host`` go into the request,
    ``subprotocols`` are offered in this order, ``limits`` and ``compression`` are the
    client's own. ``Compression(client_context=True)`` is a client that, as a browser
    does, lets the App refer to earlier messages, so that it may be in cohorts; ``True``
    is one that keeps nothing between two messages.
    Leaving the block closes the connection with 1000, if it is open, and waits for the
    answer.

    Raises HandshakeError, with ``status``, ``headers`` and ``body``, when the App
    answers the handshake with anything but 101.
    """
    runtime = app.runtime
    hub = await runtime.enter()
    try:
        client_hub = Hub(limits or Limits(), loop=runtime.loop)
        sweep = Sweep(client_hub)
        sweep.start()
        try:
            server_link, client_link = memory_pair(hub, client_hub)
            rule = compression_rule(compression)
            deflate = None if rule is None else client_hub.deflate(rule)
            opening = _Opening(client_hub, client_link, subprotocols, deflate)
            client_link.set_consumer(opening)
            server_link.set_consumer(HttpPeer(app.server(), hub, server_link))
            opening.request(host, path, origin, headers)
            ws = await opening.opened()
            try:
                yield ws
            finally:
                await _close(ws, hub, server_link, client_hub.limits.close_timeout)
        finally:
            sweep.stop()
    finally:
        await runtime.leave(app.config.shutdown_timeout)


async def _close(
    ws: Connection[Any], hub: Hub, server_link: Link, timeout: float
) -> None:
    """Close both ends and wait for them, so that the App's end is seen by the test."""
    ws.close(CloseCode.NORMAL)
    try:
        async with asyncio.timeout(timeout):
            with suppress(ConnectionClosed):
                while True:
                    await ws.receive()
            if isinstance(server_link.consumer, Connection):
                await gone(hub, [server_link.consumer])
    except TimeoutError:
        ws.abort()


class _Opening(ByteConsumer):
    """The client's side of the opening handshake."""

    def __init__(
        self,
        hub: Hub,
        link: Link,
        subprotocols: Sequence[str],
        deflate: Deflate | None,
    ) -> None:
        super().__init__(hub, link)
        self._hub = hub
        self._link = link
        self._key = base64.b64encode(secrets.token_bytes(16)).decode()
        self._subprotocols = tuple(subprotocols)
        self._deflate = deflate
        self._received = bytearray()
        self._refusal: HandshakeError | None = None
        self._answered: asyncio.Future[Connection[Any]] = asyncio.Future()

    def request(
        self,
        host: str,
        path: str,
        origin: str | None,
        headers: Mapping[str, str] | None,
    ) -> None:
        """Send the upgrade request."""
        self._link.write(
            client_request(
                host,
                quote(path, safe=_TARGET),
                self._key,
                subprotocols=self._subprotocols,
                extensions=None if self._deflate is None else self._deflate.offer(),
                origin=origin,
                headers=headers,
            )
        )

    async def opened(self) -> Connection[Any]:
        """Wait for the answer; the connection, or HandshakeError."""
        try:
            return await self._answered
        except BaseException:
            self._link.abort()
            raise

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, early = bytes(self._received).partition(_END_OF_HEAD)
        if not end or self._refusal is not None or self._answered.done():
            return
        try:
            subprotocol, agreement = check_response(
                head + end, self._key, self._subprotocols, self._deflate
            )
        except HandshakeError as refusal:
            # Its body follows: the server closes behind it.
            self._refusal = refusal
        except Exception as error:
            self._answered.set_exception(error)
        else:
            # At once: whatever comes next is for the connection.
            self._answered.set_result(
                Connection.open_client(
                    self._hub,
                    self._link,
                    self._hub.limits,
                    subprotocol,
                    early,
                    agreement,
                )
            )

    def eof_received(self) -> None:
        self._finish()

    def connection_lost(self, error: BaseException | None) -> None:
        self._finish()

    def _finish(self) -> None:
        if self._answered.done():
            return
        if self._refusal is None:
            self._answered.set_exception(ConnectionClosed())
            return
        _, _, body = bytes(self._received).partition(_END_OF_HEAD)
        self._refusal.body = body
        self._answered.set_exception(self._refusal)
