"""fastws under test: echo, and fan-out over one channel per path.

--style callback  objects with `on_message`: no task per connection
--style async     coroutines with `async for`
--ping SECONDS    how long a connection is silent before it is pinged
"""

from __future__ import annotations

import argparse
import asyncio
import signal

import contract
import uvloop

from fastws import App, Config, Connection, Endpoint, Limits


class Echo(Endpoint):
    def on_message(self, ws: Connection, message: str | bytes) -> None:
        ws.send(message)


class Fanout(Endpoint):
    def on_open(self, ws: Connection) -> None:
        ws.state.channel = ws.params.get("channel", "all")
        ws.subscribe(ws.state.channel)

    def on_message(self, ws: Connection, message: str | bytes) -> None:
        ws.publish(ws.state.channel, message, include_self=True)


async def echo(ws: Connection) -> None:
    async for message in ws:
        await ws.send(message)


async def fanout(ws: Connection) -> None:
    channel = ws.params.get("channel", "all")
    ws.subscribe(channel)
    async for message in ws:
        ws.publish(channel, message, include_self=True)


STYLES = {"callback": (Echo, Fanout), "async": (echo, fanout)}


def make_app(style: str, ping: float | None) -> App:
    limits = Limits() if ping is None else Limits(ping_interval=ping)
    app = App(Config(limits=limits))
    for_echo, for_fanout = STYLES[style]
    app.websocket("/echo", for_echo)
    app.websocket("/fanout", for_fanout)
    app.websocket("/fanout/{channel}", for_fanout)
    return app


async def main(app: App, port: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with app.serve(host=contract.HOST, port=port):
        contract.ready()
        await stop.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--style", choices=STYLES, default="callback")
    parser.add_argument("--ping", type=float, default=None)
    options = parser.parse_args()
    uvloop.run(main(make_app(options.style, options.ping), options.port))
