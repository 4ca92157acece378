"""aiohttp as a peer: `send_frame()` with bytes, text left undecoded, uvloop.

`decode_text=False` hands text over as the bytes that came, and `send_frame()` takes
bytes for any opcode: its documented way around decoding and encoding. It has no
broadcast: a loop over the connections, as its chat example does.
"""

from __future__ import annotations

import asyncio

import contract
import uvloop
from aiohttp import ClientConnectionResetError, web

channels: dict[str, set[web.WebSocketResponse]] = {}


async def open_socket(request: web.Request, deflate: bool) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(
        compress=deflate, max_msg_size=contract.MAX_MESSAGE, decode_text=False
    )
    await socket.prepare(request)
    return socket


async def echo(socket: web.WebSocketResponse) -> None:
    async for message in socket:
        await socket.send_frame(message.data, message.type)


async def fanout(socket: web.WebSocketResponse, channel: str) -> None:
    subscribers = channels.setdefault(channel, set())
    subscribers.add(socket)
    try:
        async for message in socket:
            for subscriber in tuple(subscribers):
                try:
                    await subscriber.send_frame(message.data, message.type)
                except ClientConnectionResetError:
                    subscribers.discard(subscriber)
    finally:
        subscribers.discard(socket)


async def main(arguments: contract.Arguments) -> None:
    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = await open_socket(request, arguments.deflate)
        channel = contract.channel(request.path)
        await (echo(socket) if channel is None else fanout(socket, channel))
        return socket

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, contract.HOST, arguments.port, backlog=contract.BACKLOG)
    await site.start()
    contract.ready()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(contract.parse(__doc__)))
