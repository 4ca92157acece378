"""A live dashboard and a chat room on one page, served by fastws itself.

Start it with ``fastws serve examples.demo.app:app``.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec

from fastws import App, Connection, Endpoint, Limits, Message

from . import machine, quotes
from .metrics import INTERVAL, Meter, Sample

HISTORY = 30  # seconds of samples that a new tab is given at once

samples: deque[Sample] = deque(maxlen=round(HISTORY / INTERVAL))
lines: deque[dict[str, Any]] = deque(maxlen=50)
started = time.time()


@asynccontextmanager
async def lifespan(app: App) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        publishing = [
            tasks.create_task(publish_samples(app)),
            tasks.create_task(quotes.publish_quotes(app)),
        ]
        yield
        for task in publishing:
            task.cancel()


async def publish_samples(app: App) -> None:
    """Ten samples a second, each encoded once, however many tabs are open."""
    clock = asyncio.get_running_loop().time
    meter = Meter()
    due = clock()
    while True:
        sample = meter.sample(app.counters.snapshot())
        tabs = app.channels.get("samples")
        sample["tabs"] = tabs.subscribers if tabs else 0
        samples.append(sample)
        app.publish("samples", {"type": "sample", "sample": sample})
        due = max(due + INTERVAL, clock())
        await asyncio.sleep(due - clock())


app = App(lifespan=lifespan)
app.static("/", Path(__file__).parent / "static")
quotes.declare(app)


class Say(msgspec.Struct, tag="say"):
    """A line for the chat room."""

    name: Annotated[str, msgspec.Meta(pattern=r"\S", max_length=24)]
    text: Annotated[str, msgspec.Meta(pattern=r"\S", max_length=500)]


class Ping(msgspec.Struct, tag="ping"):
    """Sent by the page once a second: it shows the time until the answer."""

    sent: float


decode = msgspec.json.Decoder(Say | Ping).decode


@app.websocket("/live", limits=Limits(max_message=8192, message_rate=20))
class Live(Endpoint):
    """One connection per tab, subscribed to both channels."""

    def on_open(self, ws: Connection) -> None:
        ws.send(
            {
                "type": "hello",
                "you": ws.id,
                "started": started,
                "cores": machine.cores(),
                "memory": machine.memory_total(),
                "samples": list(samples),
                "lines": list(lines),
            }
        )
        ws.subscribe("samples")
        ws.subscribe("chat")

    def on_message(self, ws: Connection, message: Message) -> None:
        try:
            request = decode(message)
        except msgspec.DecodeError as error:
            ws.send({"type": "refused", "reason": str(error)})
            return
        match request:
            case Ping(sent):
                ws.send({"type": "pong", "sent": sent})
            case Say(name, text):
                line = {"from": ws.id, "name": name, "text": text, "time": time.time()}
                lines.append(line)
                app.publish("chat", {"type": "line", "line": line})
