"""The Starlette application that uvicorn and granian serve.

Starlette has no broadcast: a loop over the connections with the raw ASGI message, made
once per publication (`WebSocket.send`), which `send_text` makes each time.
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

channels: dict[str, set[WebSocket]] = {}


def answer(message: Message) -> Message:
    return {**message, "type": "websocket.send"}


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    while (message := await socket.receive())["type"] == "websocket.receive":
        await socket.send(answer(message))


async def publish(subscribers: set[WebSocket], message: Message) -> None:
    for subscriber in tuple(subscribers):
        try:
            await subscriber.send(message)
        except (WebSocketDisconnect, RuntimeError):
            # Starlette says it in two ways; its own handler leaves the set too.
            subscribers.discard(subscriber)


async def fanout(socket: WebSocket) -> None:
    await socket.accept()
    subscribers = channels.setdefault(socket.url.path, set())
    subscribers.add(socket)
    try:
        while (message := await socket.receive())["type"] == "websocket.receive":
            await publish(subscribers, answer(message))
    finally:
        subscribers.discard(socket)


routes = [
    WebSocketRoute("/echo", echo),
    WebSocketRoute("/fanout", fanout),
    WebSocketRoute("/fanout/{channel}", fanout),
]
app = Starlette(routes=routes)
