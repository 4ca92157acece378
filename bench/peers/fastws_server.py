"""fastws under test: echo, and fan-out over one channel per path.

--style callback  objects with `on_message`: no task per connection
--style async     coroutines with `async for`
--ping SECONDS    how long a connection is silent before it is pinged
--deflate         permessage-deflate; a publication is compressed once for all
--cohort          with it: each channel's subscribers share one context
"""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass

import contract
import uvloop

from fastws import App, Compression, Config, Connection, Endpoint, Limits


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


@dataclass(frozen=True)
class Arguments(contract.Arguments):
    """What this server is told beyond what every one is."""

    style: str = "callback"
    ping: float | None = None
    cohort: bool = False


def read_arguments() -> Arguments:
    parser = contract.parser(__doc__)
    parser.add_argument("--style", choices=STYLES, default="callback")
    parser.add_argument("--ping", type=float, default=None)
    parser.add_argument("--cohort", action="store_true")
    given = Arguments(**vars(parser.parse_args()))
    if given.cohort and not given.deflate:
        parser.error("--cohort means nothing without --deflate")
    return given


def make_app(given: Arguments) -> App:
    limits = Limits() if given.ping is None else Limits(ping_interval=given.ping)
    compression = None
    if given.deflate:
        compression = Compression(threshold=contract.LEAST_COMPRESSED)
    app = App(Config(limits=limits, compression=compression))
    if given.cohort:
        app.channel("{name}", compress="cohort")
    for_echo, for_fanout = STYLES[given.style]
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
    arguments = read_arguments()
    uvloop.run(main(make_app(arguments), arguments.port))
