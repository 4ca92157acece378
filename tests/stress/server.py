"""The server under stress: an App whose channels have every policy.

The load tells it over ``/control`` what to do. Faults can be planted in what it
publishes, to see that the checker finds them.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
from collections import Counter
from typing import Any

import msgspec

from fastws import App, Config, Connection, Endpoint, Limits, Message, Position
from fastws.engine.counters import native_counts

from .bodies import body, key_of

# One line for each of many thousand requests would be most of the work.
logging.getLogger("fastws.http").setLevel(logging.WARNING)

LAG = 65_536
KEYS = 20
LONG_HISTORY = 50_000
SHORT_HISTORY = 40

app = App(
    Config(
        limits=Limits(
            ping_interval=5, pong_timeout=5, max_channels=None, close_timeout=5
        )
    )
)
app.channel("close.{n}", slow="close", max_lag=LAG)
app.channel("skip.{n}", slow="skip", max_lag=LAG)
app.channel("latest.{n}", slow="latest", max_lag=LAG)
app.channel("resume.{n}", slow="resume", max_lag=LAG, history=LONG_HISTORY)
app.channel("story.{n}", history=LONG_HISTORY, history_bytes=1 << 28)
app.channel("short.{n}", history=SHORT_HISTORY)
app.channel("batched.{n}", batch=0.005)
app.channel("confirmed.{n}", history=LONG_HISTORY)

published: Counter[str] = Counter()  # the number of each channel's last message


class Echo(Endpoint):
    def on_message(self, ws: Connection, message: Message) -> None:
        ws.send(message)


class Subscriber(Endpoint):
    """Does what its peer says, and tells it about gaps."""

    def on_message(self, ws: Connection, message: Message) -> None:
        wanted: dict[str, Any] = msgspec.json.decode(message)
        for channel in wanted.get("leave", ()):
            ws.unsubscribe(channel)
        since = wanted.get("since")
        for channel in wanted.get("subscribe", ()):
            found = ws.subscribe(channel, since=Position(*since) if since else None)
            at = found.position
            epoch, offset = (at.epoch, at.offset) if at else ("-", published[channel])
            ws.send(f"! {channel} {epoch} {offset} {int(found.recovered)}")
        ws.send("! done - 0 0")

    def on_skip(self, ws: Connection, channel: str, missed: int) -> None:
        ws.send(f"? {channel} {missed}")


app.websocket("/echo", Echo, limits=Limits(max_message=1 << 21))
app.websocket("/peer", Subscriber)
app.websocket("/watched", Echo, limits=Limits(ping_interval=1, pong_timeout=1))


class Publisher:
    """Publishes numbered messages, and its fourth one not as it should."""

    def __init__(self, plant: str | None) -> None:
        self._plant = plant
        self._turn = 0
        self._held: dict[str, int] = {}

    def publish(self, channel: str, keys: int = 0, least: int = 0) -> None:
        published[channel] += 1
        for number in self._planted(channel, published[channel]):
            app.publish(channel, body(channel, number, least), key=key_of(number, keys))

    def _planted(self, channel: str, number: int) -> list[int]:
        self._turn += 1
        if self._plant is not None and self._turn == 4:
            if self._plant == "reorder":
                self._held[channel] = number
            return [number, number] if self._plant == "replay" else []
        if channel in self._held:
            return [number, self._held.pop(channel)]
        return [number]


class Control:
    """What the load can ask for: the methods called ``do_``."""

    def __init__(self) -> None:
        self._streams: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def do_publish(
        self,
        channels: list[str],
        count: int,
        burst: int = 1,
        keys: int = 0,
        least: int = 0,
        plant: str | None = None,
    ) -> dict[str, int]:
        """``count`` messages to each channel, ``burst`` of them in a turn."""
        publisher = Publisher(plant)
        for done in range(count):
            for channel in channels:
                publisher.publish(channel, keys, least)
            if done % burst == burst - 1:
                await asyncio.sleep(0)
        return {channel: published[channel] for channel in channels}

    async def do_stream(self, channel: str, interval: float, least: int = 0) -> None:
        """Publish until ``do_stop``."""
        stop = self._streams[channel] = asyncio.Event()
        publisher = Publisher(None)

        async def run() -> None:
            while not stop.is_set():
                publisher.publish(channel, least=least)
                try:
                    await asyncio.wait_for(stop.wait(), interval)
                except TimeoutError:
                    continue

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def do_stop(self, channel: str) -> int:
        self._streams.pop(channel).set()
        return published[channel]

    async def do_kick(self, path: str, count: int, seed: int) -> int:
        """End connections of a path, some with a Close frame and some without."""
        choice = random.Random(seed)
        found = [ws for ws in app.connections if ws.path == path and ws.is_open]
        for ws in choice.sample(found, min(count, len(found))):
            if choice.random() < 0.5:
                ws.close(4000, "kicked")
            else:
                ws.abort()
        return len(found)

    async def do_confirm(self, channel: str, keys: list[str]) -> list[tuple[int, bool]]:
        """Race confirmed publications; their offsets, and which are duplicates."""
        receipts = await asyncio.gather(
            *(
                app.publish_confirmed(
                    channel, body(channel, int(key)), idempotency_key=key
                )
                for key in keys
            )
        )
        return [(receipt.offset or 0, receipt.duplicate) for receipt in receipts]

    async def do_forget(self, channels: list[str]) -> None:
        for name in channels:
            if name in app.channels:
                app.channels[name].clear()
            published.pop(name, None)

    async def do_counters(self) -> dict[str, int]:
        return app.counters.snapshot()

    async def do_census(self) -> dict[str, int]:
        """What has to be as it was when everybody has gone."""
        gc.collect()
        return {
            **native_counts(),
            "connections": len(app.connections),
            "channels": len(app.channels),
            "tasks": len(asyncio.all_tasks()),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "objects": sum(isinstance(one, Connection) for one in gc.get_objects()),
        }


control = Control()


@app.websocket("/control")
async def obey(ws: Connection) -> None:
    async for message in ws:
        name, arguments = msgspec.json.decode(message, type=tuple[str, dict[str, Any]])
        await ws.send({"answer": await getattr(control, f"do_{name}")(**arguments)})
