"""A WebSocket server for the load generator, as right or as wrong as a test wants it.

It shares nothing with the generator or the engine, runs in a thread of its own, and
leaves what it does with a message to a function: `echo`, `broadcast`, or a faulty one.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import ssl
import threading
import zlib
from collections.abc import Callable

from tests.support.frames import CLOSE, PING, PONG, TEXT, frame, masked

DEADLINE = 30.0
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TAIL = b"\x00\x00\xff\xff"

Behaviour = Callable[["Peer", int, bytes], None]


def accept_of(request: bytes) -> bytes:
    key = header_of(request, b"sec-websocket-key")
    return base64.b64encode(hashlib.sha1(key + GUID).digest())


def header_of(request: bytes, name: bytes) -> bytes:
    for line in request.split(b"\r\n"):
        found, _, value = line.partition(b":")
        if found.lower() == name:
            return value.strip()
    return b""


def accepted(request: bytes, more: bytes = b"") -> bytes:
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s\r\n"
    ) % (accept_of(request), more)


def takes_deflate(request: bytes) -> bytes:
    return accepted(
        request,
        b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; "
        b"client_no_context_takeover\r\n",
    )


def deflated(payload: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflated(payload: bytes) -> bytes:
    return zlib.decompressobj(wbits=-15).decompress(payload + TAIL)


class Peer:
    """One connection, as the behaviour sees it."""

    def __init__(self, server: Opponent, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.number = len(server.requests) - 1
        self.path = b""
        self.messages = 0
        self.skipped = 0
        self._writer = writer

    def send(self, payload: bytes, opcode: int = TEXT, *, rsv: int = 0) -> None:
        self.send_bytes(frame(opcode, payload, rsv=rsv, key=None))

    def send_bytes(self, data: bytes) -> None:
        self._writer.write(data)

    def end(self) -> None:
        self._writer.close()


def echo(peer: Peer, first: int, payload: bytes) -> None:
    peer.send_bytes(frame(first & 0xF, payload, rsv=first >> 4 & 7, key=None))


def broadcast(peer: Peer, first: int, payload: bytes) -> None:
    data = frame(first & 0xF, payload, rsv=first >> 4 & 7, key=None)
    for one in peer.server.peers:
        if one.path == peer.path:
            one.send_bytes(data)


def both(peer: Peer, first: int, payload: bytes) -> None:
    """Echo and broadcast by path, as the peers of the benchmarks serve them."""
    (echo if peer.path.startswith(b"/echo") else broadcast)(peer, first, payload)


class Opponent:
    """Listens on loopback until it is closed; `requests` are the heads it got."""

    def __init__(
        self,
        behaviour: Behaviour = both,
        respond: Callable[[bytes], bytes] = accepted,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.peers: list[Peer] = []
        self.requests: list[bytes] = []
        self.pongs: list[bytes] = []
        self.answers_pings = True
        self.pong: Callable[[bytes], bytes] = bytes
        self.farewell = b""  # sent before the answer to a close frame
        self.port = 0
        self._behaviour = behaviour
        self._respond = respond
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._closing = asyncio.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._listening.wait(DEADLINE)

    def url(self, path: str = "/echo") -> str:
        scheme = "ws" if self._tls is None else "wss"
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        tasks: set[asyncio.Task[None]] = set()
        writers: list[asyncio.StreamWriter] = []

        async def accept(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            writers.append(writer)
            try:
                await self._connection(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
                pass  # the generator resets what it is done with
            finally:
                writer.close()
                tasks.discard(task)

        server = await asyncio.start_server(
            accept, "127.0.0.1", 0, limit=1 << 26, ssl=self._tls, backlog=1024
        )
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._closing.wait()
        # A connection that was just accepted is a task of asyncio's own before it is
        # one of ours; it fails without closing its socket if the server is closed then.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks:
                task.cancel()
            await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        server.close()
        for writer in writers:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    async def _connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(request)
        peer = Peer(self, writer)
        peer.path = request.split()[1]
        answer = self._respond(request)
        writer.write(answer)
        if not answer.startswith(b"HTTP/1.1 101"):
            return
        self.peers.append(peer)
        try:
            while await self._frame(peer, reader):
                await writer.drain()
        finally:
            self.peers.remove(peer)

    async def _frame(self, peer: Peer, reader: asyncio.StreamReader) -> bool:
        first, length = await reader.readexactly(2)
        size = length & 0x7F
        if size >= 126:
            size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8))
        key = await reader.readexactly(4)
        payload = masked(await reader.readexactly(size), key)
        opcode = first & 0xF
        if opcode == CLOSE:
            peer.send_bytes(self.farewell)
            peer.send(payload, CLOSE)
            return False
        if opcode == PING:
            if self.answers_pings:
                peer.send(self.pong(payload), PONG)
        elif opcode == PONG:
            self.pongs.append(payload)
        else:
            self._behaviour(peer, first, payload)
            peer.messages += 1
        return True


Start = Callable[..., Opponent]
