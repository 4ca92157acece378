"""websockets as a peer: the asyncio server, `broadcast()`, its C extension, uvloop.

With --deflate its own default settings; without, compression off, as its manual's
pages on memory and on broadcasting advise for speed.
"""

from __future__ import annotations

import contract
import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

channels: dict[str, set[ServerConnection]] = {}


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def fanout(connection: ServerConnection, channel: str) -> None:
    subscribers = channels.setdefault(channel, set())
    subscribers.add(connection)
    try:
        async for message in connection:
            broadcast(subscribers, message)
    finally:
        subscribers.discard(connection)


async def handle(connection: ServerConnection) -> None:
    assert connection.request is not None
    channel = contract.channel(connection.request.path)
    if channel is None:
        await echo(connection)
    else:
        await fanout(connection, channel)


async def main(arguments: contract.Arguments) -> None:
    async with serve(
        handle,
        contract.HOST,
        arguments.port,
        compression="deflate" if arguments.deflate else None,
        max_size=contract.MAX_MESSAGE,
        backlog=contract.BACKLOG,
    ) as server:
        contract.ready()
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(contract.parse(__doc__)))
