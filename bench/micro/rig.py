"""Real connections on real sockets, driven by hand: no event loop's work in between.

A ``UvLink`` is what an event loop's transport calls; here the benchmark calls it. What
the engine sends goes straight to a loopback socket, as it does under uvloop.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastws import Compression, Connection, Limits
from fastws.engine import kernels
from fastws.engine.binding import Binding
from fastws.engine.deflate import Agreement
from fastws.engine.handshake import Request, parse_head
from fastws.engine.hub import Hub
from fastws.engine.link import Link
from fastws.engine.uvlink import UvLink

from .control import Descriptors

SOCKET_BUFFER = 1 << 20
"""Bytes: more than one run of any work sends."""

OFFER = b"permessage-deflate; client_no_context_takeover"
"""What a client that lets the server keep a context says of compression."""

KEY = b"\x37\xfa\x21\x3d"
FINAL = 0x80

HEAD = (
    b"GET /chat/rooms/42?token=abcdef HTTP/1.1\r\n"
    b"Host: chat.example.com\r\n"
    b"Connection: Upgrade\r\n"
    b"Pragma: no-cache\r\n"
    b"Cache-Control: no-cache\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like "
    b"Gecko) Chrome/131.0.0.0 Safari/537.36\r\n"
    b"Upgrade: websocket\r\n"
    b"Origin: https://chat.example.com\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n"
    b"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    b"\r\n"
)
"""An upgrade request as a browser sends it."""


def client_frame(
    payload: str | bytes, *, opcode: str = "", final: bool = True
) -> bytes:
    """One masked frame, made by kernels that are tested elsewhere."""
    is_text = isinstance(payload, str)
    data = payload.encode() if isinstance(payload, str) else payload
    code = kernels.OPCODES[opcode or ("TEXT" if is_text else "BINARY")]
    header = kernels.frame_encode((FINAL if final else 0) | code, len(data), KEY)
    return header + kernels.mask(data, KEY)


class Turns:
    """What the hub needs of an event loop: later calls, which come in ``turn``."""

    def __init__(self) -> None:
        self._calls: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def call_soon(self, function: Callable[..., object], *arguments: Any) -> None:
        self._calls.append((function, arguments))

    def turn(self) -> None:
        """Every call that was asked for before it."""
        calls, self._calls = self._calls, []
        for function, arguments in calls:
            function(*arguments)


class Transport:
    """The transport of a connected socket, with nothing ever waiting in it."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def get_extra_info(self, name: str) -> Any:
        return {"socket": self._socket, "peername": ("127.0.0.1", 0)}.get(name)

    def set_write_buffer_limits(self, high: int) -> None:
        """There is no buffer to limit."""

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes) -> None:
        raise RuntimeError("the socket was full: a benchmark of waiting means nothing")

    def abort(self) -> None:
        """The rig ends the link."""

    close = abort


class Peer:
    """One connection: the engine's end, and the other one's socket."""

    def __init__(self, rig: Rig, binding: Binding, agreement: Agreement | None) -> None:
        self._rig = rig
        self._binding = binding
        self._agreement = agreement
        self._far = socket.socket()
        self._far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)
        self._far.connect(rig.address)
        self.near, _ = rig.listener.accept()
        self.near.setblocking(False)
        self.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
        self._link = UvLink(rig.hub, self._open)
        self.ws: Connection[Any]
        self._link.connection_made(Transport(self.near))  # type: ignore[arg-type]
        self._buffer = self._link.get_buffer(-1)
        self.descriptor = self._far.fileno()

    def _open(self, hub: Hub, link: Link) -> Connection[Any]:
        request = self._rig.request
        self.ws = Connection.open(
            hub, link, self._binding, request, {}, None, b"", self._agreement
        )
        return self.ws

    def deliver(self, data: bytes) -> None:
        """Give the engine bytes as a transport that has read them does."""
        length = len(data)
        self._buffer[:length] = data
        self._link.buffer_updated(length)

    def end(self) -> None:
        self.ws.abort()
        self._link.connection_lost(None)
        self.near.close()
        self._far.close()


class Rig:
    """A hub and its connections."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.request: Request = parse_head(HEAD, Limits())
        self.hub = Hub(Limits(), self.turns)  # type: ignore[arg-type]
        # A slice that ran out of time would leave a part for the next one.
        self.hub.slice_nanoseconds = 10**12
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.address = self.listener.getsockname()
        self.peers: list[Peer] = []

    def connect(
        self,
        count: int = 1,
        compression: Compression | None = None,
        has_cohorts: bool = False,
        **callbacks: Callable[..., object],
    ) -> list[Peer]:
        """Connections of one route with these callbacks, compressing by this rule."""
        binding = Binding(limits=Limits(), **callbacks)  # type: ignore[arg-type]
        agreement = None
        if compression is not None:
            deflate = self.hub.deflate(compression, has_cohorts=has_cohorts)
            agreement = deflate.agree(OFFER)
        made = [Peer(self, binding, agreement) for _ in range(count)]
        self.peers += made
        return made

    def descriptors(self) -> Descriptors:
        """The other ends of all connections."""
        return Descriptors([peer.descriptor for peer in self.peers])

    def check(self) -> None:
        """Raise when a connection has ended: what came after it cost nothing."""
        ended = sum(not peer.ws.is_open for peer in self.peers)
        if ended:
            raise RuntimeError(f"{ended} connections have ended while they were used")

    def close(self) -> None:
        for peer in self.peers:
            peer.end()
        self.turns.turn()
        self.listener.close()
        # Its memory goes now, whoever still holds the rig.
        self.peers.clear()
        del self.hub


@contextmanager
def rig() -> Iterator[Rig]:
    """A rig that leaves nothing behind, and fails when a connection did not last."""
    made = Rig()
    try:
        yield made
        made.check()
    finally:
        made.close()
