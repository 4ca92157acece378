"""websockets as a peer: echo at /echo, broadcast at any other path.

Its fast way, as its documentation says: the asyncio server, `broadcast()`, compression
off, the C extension (part of its wheels), uvloop.
"""

import argparse

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

subscribers: set[ServerConnection] = set()


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def broadcast_all(connection: ServerConnection) -> None:
    subscribers.add(connection)
    try:
        async for message in connection:
            broadcast(subscribers, message)
    finally:
        subscribers.discard(connection)


async def handle(connection: ServerConnection) -> None:
    request = connection.request
    is_echo = request is not None and request.path == "/echo"
    await (echo if is_echo else broadcast_all)(connection)


async def main(port: int) -> None:
    server = await serve(handle, "127.0.0.1", port, compression=None, backlog=4096)
    print(f"listening on {next(iter(server.sockets)).getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int, nargs="?", default=0)
    uvloop.run(main(parser.parse_args().port))
