"""picows as a peer: everything inside `on_ws_frame`, a loop over the transports.

A publication is written once into a bytearray with room for the header, and
`send_reuse_external_bytearray` sends that memory to each subscriber: what its manual
names for sending without a copy. A server's frames are not masked, so the header that
each call writes is the same. No permessage-deflate in picows.
"""

from __future__ import annotations

import contract
import uvloop
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
)

HEADER_ROOM = 14  # what send_reuse_external_bytearray asks for in front

channels: dict[str, set[WSTransport]] = {}


def answer_close(transport: WSTransport, frame: WSFrame) -> None:
    transport.send_close(frame.get_close_code(), frame.get_close_message())
    transport.disconnect()


class Echo(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            answer_close(transport, frame)
        else:
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())


class Fanout(WSListener):
    def __init__(self, subscribers: set[WSTransport]) -> None:
        self._subscribers = subscribers

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._subscribers.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._subscribers.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == WSMsgType.CLOSE:
            self._subscribers.discard(transport)
            answer_close(transport, frame)
            return
        prepared = bytearray(HEADER_ROOM)
        prepared += frame.get_payload_as_memoryview()
        for subscriber in self._subscribers:
            subscriber.send_reuse_external_bytearray(kind, prepared, HEADER_ROOM)


def listener(request: WSUpgradeRequest) -> WSListener:
    channel = contract.channel(request.path.decode())
    if channel is None:
        return Echo()
    return Fanout(channels.setdefault(channel, set()))


async def main(port: int) -> None:
    server = await ws_create_server(
        listener,
        contract.HOST,
        port,
        backlog=contract.BACKLOG,
        max_frame_size=contract.MAX_MESSAGE,
    )
    contract.ready()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(contract.parse(__doc__).port))
