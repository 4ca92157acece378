"""Real connections of one hub, and peers that read and write exactly what they're told.

Server and peers share the test's loop; the hub's clock is the test's own, so that time
passes only when a test says so.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from fastws import Connection, Limits
from fastws.engine.binding import Binding
from fastws.engine.counters import native_counts
from fastws.engine.deflate import Agreement
from fastws.engine.handshake import parse_head
from fastws.engine.hub import Hub
from fastws.engine.link import Link
from fastws.engine.poller import poller_of
from fastws.engine.sweep import Sweep
from fastws.engine.uvlink import UvLink
from tests.conftest import Certificates
from tests.support import kinds
from tests.support.deflating import Inflater
from tests.support.frames import BINARY, CLOSE, PING, PONG, TEXT, Frame, take_frame

# Protects against hanging only: far more than a sanitized run on a busy machine needs.
DEADLINE = 30.0
# For who counts what one slice has done: none ends before all is done.
ENDLESS = 60_000_000_000
HEAD = b"GET /path?q=1 HTTP/1.1\r\nHost: localhost\r\nX-Test: yes\r\n\r\n"
REQUEST = parse_head(HEAD, Limits())
# Small kernel buffers, so that a peer that doesn't read soon blocks its connection.
SMALL = 4096


async def until(condition: Callable[[], object], seconds: float = DEADLINE) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 — it is about both ends, no one event
            await asyncio.sleep(0)


async def turns(count: int = 20) -> None:
    """Let the loop go round: for asserting that something does not happen."""
    for _ in range(count):
        await asyncio.sleep(0)


def live_counts() -> dict[str, int]:
    counts = native_counts()
    return {name: counts[name] for name in ("connections", "segments", "members")}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Received(Frame):
    """A frame, and the message that it is."""

    message: str | bytes = b""


class Peer:
    """The other end of one connection."""

    def __init__(self, sock: socket.socket, ws: Connection[Any]) -> None:
        self.socket = sock
        self.ws = ws
        self.data = bytearray()
        self.frames: list[Received] = []
        self.inflater = Inflater(ws.agreement.response) if ws.agreement else None
        self.gone = False
        self.was_reset = False

    def send(self, *frames: bytes) -> None:
        self.socket.sendall(b"".join(frames))

    def pull(self, most: int = 1 << 20) -> int:
        """Read what there is, without waiting."""
        try:
            data = self.socket.recv(most)
        except (BlockingIOError, ssl.SSLWantReadError):
            return 0
        except OSError:
            self.gone = self.was_reset = True
            return 0
        self.gone = self.gone or not data
        self.data += data
        inflates = self.inflater is not None
        while (frame := take_frame(self.data, inflates=inflates)) is not None:
            self.frames.append(self.received(frame))
        return len(data)

    def pull_written(self) -> int:
        """The same of what has been written already: the loop does not turn meanwhile,
        however long a busy kernel takes to bring it here."""
        select.select([self.socket], [], [], DEADLINE)
        return self.pull()

    def received(self, one: Frame) -> Received:
        payload = one.payload
        if one.compressed:
            assert self.inflater is not None
            payload = self.inflater.inflate(payload)
        message = payload.decode() if one.opcode == TEXT else payload
        return Received(one.opcode, one.payload, one.fin, one.compressed, message)

    @property
    def messages(self) -> list[str | bytes]:
        return [one.message for one in self.frames if one.opcode in (TEXT, BINARY)]

    @property
    def pongs(self) -> list[bytes]:
        return [one.payload for one in self.frames if one.opcode == PONG]

    @property
    def pings(self) -> list[bytes]:
        return [one.payload for one in self.frames if one.opcode == PING]

    @property
    def closes(self) -> list[tuple[int | None, bytes]]:
        return [
            (one.close_code, one.payload[2:])
            for one in self.frames
            if one.opcode == CLOSE
        ]

    async def see(self, condition: Callable[[], object]) -> None:
        """Read until it is true."""

        def reading() -> object:
            self.pull()
            return condition()

        await until(reading)

    async def see_messages(self, count: int) -> list[str | bytes]:
        await self.see(lambda: len(self.messages) >= count)
        return self.messages

    async def see_frames(self, count: int) -> list[str | bytes]:
        """As ``see_messages``, without looking at each one at each turn."""
        await self.see(lambda: len(self.frames) >= count)
        return self.messages

    async def see_pings(self, count: int) -> None:
        await self.see(lambda: len(self.pings) >= count)

    async def see_close(self) -> tuple[int | None, bytes]:
        await self.see(lambda: self.closes)
        return self.closes[0]

    async def see_end(self) -> None:
        await self.see(lambda: self.gone)

    def reset(self) -> None:
        """End with RST instead of FIN."""
        linger = struct.pack("ii", 1, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()


class World:
    """A hub, a route's binding, and the peers of its connections."""

    def __init__(self, limits: Limits, callbacks: dict[str, Any]) -> None:
        self.clock = Clock()
        self.loop = asyncio.get_running_loop()
        self.limits = limits
        self.hub = Hub(limits, self.loop, self.clock)
        self.sweep = Sweep(self.hub)
        self.binding = Binding(limits=limits, **callbacks)
        self.peers: list[Peer] = []

    def count(self, name: str) -> int:
        return self.hub.counters.snapshot()[name]

    async def see_count(self, name: str, least: int) -> None:
        await until(lambda: self.count(name) >= least)

    async def pass_time(self, seconds: float) -> None:
        """Every tick of the sweep until then."""
        for _ in range(round(seconds * 10)):
            self.clock.now += 0.1
            self.sweep.run()
            await asyncio.sleep(0)

    async def connect(
        self,
        *,
        small: bool = False,
        binding: Binding | None = None,
        certificates: Certificates | None = None,
        early: bytes = b"",
        agreement: Agreement | None = None,
        own: bool = kinds.OWN,
    ) -> Peer:
        made: asyncio.Future[Connection[Any]] = self.loop.create_future()

        def open_connection(hub: Hub, link: Link) -> Connection[Any]:
            ws = Connection.open(
                hub,
                link,
                binding or self.binding,
                REQUEST,
                {"a": "1"},
                "sub",
                early,
                agreement,
            )
            made.set_result(ws)
            return ws

        client, accepted = self.sockets(small)
        if own and certificates is None:
            poller_of(self.hub).adopt(accepted, open_connection)
            peer = Peer(client, await made)
            self.peers.append(peer)
            return peer
        context = certificates.server_context() if certificates else None
        accepting = asyncio.ensure_future(
            self.loop.connect_accepted_socket(
                lambda: UvLink(self.hub, open_connection), accepted, ssl=context
            )
        )
        if certificates:
            client = await secured(client, certificates)
        await accepting
        peer = Peer(client, await made)
        self.peers.append(peer)
        return peer

    def sockets(self, small: bool) -> tuple[socket.socket, socket.socket]:
        client = socket.socket()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            if small:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
            client.connect(listener.getsockname())
            accepted, _ = listener.accept()
        if small:
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client, accepted

    async def stall(self, peer: Peer, size: int = 1000) -> int:
        """Direct sends until the kernel takes no more; how many there were."""
        count = 0
        while not peer.ws.buffered:
            assert peer.ws.send(b"." * size)
            count += 1
            # The kernels of both ends may still move bytes about.
            await turns(5)
        return count

    async def finish(self) -> None:
        for ws in self.hub.connections:
            ws.abort()
        await until(lambda: self.hub.connection_count == 0)
        for peer in self.peers:
            peer.socket.close()
        await turns(3)


async def secured(sock: socket.socket, certificates: Certificates) -> ssl.SSLSocket:
    """The client's side of a TLS handshake."""
    wrapped = certificates.client_context().wrap_socket(
        sock, do_handshake_on_connect=False, server_hostname="localhost"
    )

    def shake_hands() -> bool:
        try:
            wrapped.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    await until(shake_hands)
    return wrapped


W = TypeVar("W", bound=World)


@asynccontextmanager
async def world(limits: Limits | None = None, **callbacks: Any) -> AsyncIterator[World]:
    """A hub with nothing in it before, and nothing left of it afterwards."""
    async with ended(World(limits or Limits(), callbacks)) as made:
        yield made


@asynccontextmanager
async def ended(made: W) -> AsyncIterator[W]:
    """A world, which ends with everybody in it."""
    try:
        yield made
    finally:
        await made.finish()
    assert set(live_counts().values()) == {0}
