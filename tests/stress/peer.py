"""One connection of the stress program: light enough to have thousands of."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from ..support.client import (
    SAMPLE_ACCEPT,
    drop_segments,
    reset_on_close,
    upgrade_request,
)
from ..support.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame

DEADLINE = 20.0

# A mask of zeros is as good as any, and costs this side nothing.
NO_MASK = b"\0\0\0\0"


class Peer(asyncio.Protocol):
    """Opens a WebSocket, answers pings, and hands each message to ``on_message``."""

    def __init__(self, on_message: Callable[[str | bytes], None] | None) -> None:
        loop = asyncio.get_running_loop()
        self.messages: list[str | bytes] = []
        self.on_message = on_message or self.messages.append
        self.opened: asyncio.Future[None] = loop.create_future()
        self.gone: asyncio.Future[int | None] = loop.create_future()
        self.code: int | None = None
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self._received = b""

    @classmethod
    async def open(
        cls,
        port: int,
        path: str,
        on_message: Callable[[str | bytes], None] | None = None,
        *,
        small: bool = False,
    ) -> Peer:
        """``small`` buffers in the kernel: it is slow as soon as it stops reading."""
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.setblocking(False)
        if small:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        async with asyncio.timeout(DEADLINE):
            await loop.sock_connect(sock, ("127.0.0.1", port))
            _, peer = await loop.create_connection(lambda: cls(on_message), sock=sock)
            peer.transport.write(upgrade_request(path))
            await peer.opened
        return peer

    # asyncio's side

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("the server ended the handshake"))
            self.opened.exception()
        if not self.gone.done():
            self.gone.set_result(self.code)

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        if not self.opened.done():
            head, end, received = received.partition(b"\r\n\r\n")
            if not end:
                self._received = head
                return
            assert head.startswith(b"HTTP/1.1 101 "), head
            assert SAMPLE_ACCEPT.encode() in head, head
            self.opened.set_result(None)
        self._received = received[self._take_frames(received) :]

    def _take_frames(self, data: bytes) -> int:
        """Handle the whole frames at the start of ``data``; how long they are."""
        at, end = 0, len(data)
        while at + 2 <= end:
            size, start = data[at + 1], at + 2
            if size == 126:
                start += 2
            elif size == 127:
                start += 8
            if start > end:
                break
            if size > 125:
                size = int.from_bytes(data[at + 2 : start], "big")
            if start + size > end:
                break
            self._take(data[at], data[start : start + size])
            at = start + size
        return at

    def _take(self, first: int, payload: bytes) -> None:
        assert first & 0xF0 == 0x80, f"no frame of this server starts with {first:#x}"
        opcode = first & 0x0F
        if opcode == TEXT:
            self.on_message(payload.decode())
        elif opcode == BINARY:
            self.on_message(payload)
        elif opcode == PING:
            self._send(PONG, payload)
        elif opcode == CLOSE:
            self.code = int.from_bytes(payload[:2], "big") if payload else 1005
            self._send(CLOSE, payload[:2])
        else:
            assert opcode != CONTINUATION, "the server fragments nothing"

    # What a scenario does

    def _send(self, opcode: int, payload: bytes | str) -> None:
        if not self.transport.is_closing():
            self.transport.write(frame(opcode, payload, key=NO_MASK))

    def send(self, message: str | bytes) -> None:
        self._send(TEXT if isinstance(message, str) else BINARY, message)

    def write(self, data: bytes) -> None:
        """Bytes as they are, right or wrong."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def stall(self) -> None:
        self.transport.pause_reading()

    def go_on(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    async def closed(self) -> int | None:
        """The close code, once the connection is gone; None: without a goodbye."""
        async with asyncio.timeout(DEADLINE):
            return await asyncio.shield(self.gone)

    async def close(self, code: int = 1000) -> int | None:
        self._send(CLOSE, code.to_bytes(2, "big"))
        return await self.closed()

    def abort(self) -> None:
        self.transport.abort()

    def reset(self) -> None:
        """Gone with RST, in the middle of whatever it was being sent."""
        reset_on_close(self.transport.get_extra_info("socket"))
        self.transport.abort()

    def vanish(self) -> None:
        """From now on silent and deaf, as if the cable had been cut."""
        drop_segments(self.transport.get_extra_info("socket"))
