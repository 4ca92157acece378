"""fastws under test: echo in both styles, broadcast over one channel.

/echo        callback style: no task per connection
/echo-async  coroutine style: `async for`
/broadcast   every message is published to all, its sender included
"""

import argparse
import asyncio

import uvloop

from fastws import App, Connection, Endpoint

app = App()


@app.websocket("/echo")
class Echo(Endpoint):
    def on_message(self, ws: Connection, message: str | bytes) -> None:
        ws.send(message)


@app.websocket("/echo-async")
async def echo(ws: Connection) -> None:
    async for message in ws:
        await ws.send(message)


@app.websocket("/broadcast")
class Broadcast(Endpoint):
    def on_open(self, ws: Connection) -> None:
        ws.subscribe("all")

    def on_message(self, ws: Connection, message: str | bytes) -> None:
        ws.publish("all", message, include_self=True)


async def main(port: int) -> None:
    async with app.serve(host="127.0.0.1", port=port) as server:
        print(f"listening on {server.port}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int, nargs="?", default=0)
    uvloop.run(main(parser.parse_args().port))
