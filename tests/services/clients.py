"""Other people's clients behind one interface."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import picows
import pytest
import websockets
from websockets.asyncio.client import connect as connect_websockets

Message = str | bytes


class Client(Protocol):
    """What the tests need of each library's client."""

    async def send(self, message: Message) -> None: ...
    async def send_fragments(self, pieces: list[str]) -> None: ...
    async def receive(self) -> Message:
        """The next message; EOFError when the server has closed instead."""

    async def ping(self) -> None:
        """Ping, and wait for the pong."""

    async def close(self, code: int, reason: str) -> None: ...
    async def closed_with(self) -> tuple[int | None, str | None]: ...
    @property
    def subprotocol(self) -> str | None: ...


# Takes a URL and a context of TLS or None, perhaps subprotocols, and by name what only
# this library understands.
Connect = Callable[..., AbstractAsyncContextManager[Client]]


class WebsocketsClient:
    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.subprotocol: str | None = connection.subprotocol

    async def send(self, message: Message) -> None:
        await self._connection.send(message)

    async def send_fragments(self, pieces: list[str]) -> None:
        await self._connection.send(pieces)

    async def receive(self) -> Message:
        try:
            message: Message = await self._connection.recv()
        except websockets.ConnectionClosed:
            raise EOFError from None
        return message

    async def ping(self) -> None:
        await (await self._connection.ping())

    async def close(self, code: int, reason: str) -> None:
        await self._connection.close(code, reason)

    async def closed_with(self) -> tuple[int | None, str | None]:
        await self._connection.wait_closed()
        return self._connection.close_code, self._connection.close_reason


@asynccontextmanager
async def with_websockets(
    url: str,
    context: ssl.SSLContext | None,
    subprotocols: Sequence[str] = (),
    **options: Any,
) -> AsyncIterator[WebsocketsClient]:
    names = [websockets.Subprotocol(name) for name in subprotocols] or None
    async with connect_websockets(
        url, ssl=context, subprotocols=names, **options
    ) as connection:
        yield WebsocketsClient(connection)


def is_open(descriptor: int) -> bool:
    return Path(f"/proc/self/fd/{descriptor}").exists()


class AiohttpClient:
    def __init__(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        self._connection = connection
        self._reason: str | None = ""
        self.subprotocol: str | None = connection.protocol

    async def send(self, message: Message) -> None:
        if isinstance(message, str):
            await self._connection.send_str(message)
        else:
            await self._connection.send_bytes(message)

    async def send_fragments(self, pieces: list[str]) -> None:
        # It has no way of sending fragments.
        await self.send("".join(pieces))

    async def receive(self) -> Message:
        message = await self._connection.receive()
        if message.type is aiohttp.WSMsgType.CLOSE:
            self._reason = message.extra
            raise EOFError
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY)
        data: Message = message.data
        return data

    async def ping(self) -> None:
        await self._connection.ping(b"there?")

    async def close(self, code: int, reason: str) -> None:
        await self._connection.close(code=code, message=reason.encode())

    async def closed_with(self) -> tuple[int | None, str | None]:
        if not self._connection.closed:
            with pytest.raises(EOFError):
                await self.receive()
        return self._connection.close_code, self._reason


@asynccontextmanager
async def with_aiohttp(
    url: str,
    context: ssl.SSLContext | None,
    subprotocols: Sequence[str] = (),
    *,
    compress: int = 15,
) -> AsyncIterator[AiohttpClient]:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            url,
            ssl=context if context is not None else True,
            protocols=subprotocols,
            max_msg_size=0,
            compress=compress,
        ) as connection,
    ):
        descriptor = connection.get_extra_info("socket").fileno()
        yield AiohttpClient(connection)
    # Under TLS it says goodbye in the background and offers no event for the end of it,
    # which the loop must not end before.
    while is_open(descriptor):  # noqa: ASYNC110
        await asyncio.sleep(0)


class PicowsClient(picows.WSListener):
    def __init__(self) -> None:
        self.subprotocol: str | None = None
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue()
        self._pong = asyncio.Event()
        self._closed: tuple[int | None, str | None] = (None, None)
        self._parts: list[bytes] = []

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self._transport = transport
        headers = transport.response.headers
        self.subprotocol = headers.get("Sec-WebSocket-Protocol")

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type is picows.WSMsgType.TEXT:
            self._messages.put_nowait(frame.get_payload_as_utf8_text())
        elif frame.msg_type is picows.WSMsgType.BINARY:
            self._messages.put_nowait(frame.get_payload_as_bytes())
        elif frame.msg_type is picows.WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type is picows.WSMsgType.PONG:
            self._pong.set()
        elif frame.msg_type is picows.WSMsgType.CLOSE:
            code = frame.get_close_code()
            self._closed = (code.value, frame.get_close_reason())
            transport.send_close(code, b"")
            transport.disconnect()

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        self._messages.put_nowait(None)

    async def send(self, message: Message) -> None:
        is_text = isinstance(message, str)
        kind = picows.WSMsgType.TEXT if is_text else picows.WSMsgType.BINARY
        data = message.encode() if isinstance(message, str) else message
        self._transport.send(kind, data)

    async def send_fragments(self, pieces: list[str]) -> None:
        kind = picows.WSMsgType.TEXT
        for piece in pieces:
            self._transport.send(kind, piece.encode(), fin=piece is pieces[-1])
            kind = picows.WSMsgType.CONTINUATION

    async def receive(self) -> Message:
        message = await self._messages.get()
        if message is None:
            # It stays there for whoever asks next.
            self._messages.put_nowait(None)
            raise EOFError
        return message

    async def ping(self) -> None:
        self._pong.clear()
        self._transport.send_ping(b"there?")
        await self._pong.wait()

    async def close(self, code: int, reason: str) -> None:
        self._transport.send_close(picows.WSCloseCode(code), reason.encode())
        await self.closed_with()

    async def closed_with(self) -> tuple[int | None, str | None]:
        while await self._messages.get() is not None:
            continue
        return self._closed


@asynccontextmanager
async def with_picows(
    url: str, context: ssl.SSLContext | None, subprotocols: Sequence[str] = ()
) -> AsyncIterator[PicowsClient]:
    headers = {"Sec-WebSocket-Protocol": ", ".join(subprotocols)}
    transport, client = await picows.ws_connect(
        PicowsClient,
        url,
        ssl_context=context,
        extra_headers=headers if subprotocols else None,
    )
    assert isinstance(client, PicowsClient)
    try:
        yield client
    finally:
        transport.disconnect()
        await transport.wait_disconnected()


CLIENTS: dict[str, Connect] = {
    "websockets": with_websockets,
    "aiohttp": with_aiohttp,
    "picows": with_picows,
}
