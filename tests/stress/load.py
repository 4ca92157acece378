"""What the scenarios share: the server, its control line, the faults, the time."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import msgspec

from ..support.program import Program
from .bodies import body
from .journal import Fault, Journal
from .peer import DEADLINE, Peer

T = TypeVar("T")

# What may stay in the server's pools, above what it had after the warm-up.
POOLED = {"outboxes": 64, "segments": 64}


async def pause(seconds: float) -> None:
    """Let the server be for so long."""
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, over.set)
    await over.wait()


class Load:
    """One run against one server."""

    def __init__(self, server: Program, seed: int, plant: str | None) -> None:
        self.port = server.port
        self.seed = seed
        self.plant = plant
        self.random = random.Random(seed)
        self.faults: list[Fault] = []
        self.done: dict[str, int] = {}
        self._control: Peer
        self._answers: asyncio.Queue[Any] = asyncio.Queue()
        self._asking = asyncio.Lock()
        self._end = 0.0

    async def start(self) -> None:
        def answered(message: str | bytes) -> None:
            self._answers.put_nowait(msgspec.json.decode(message)["answer"])

        self._control = await Peer.open(self.port, "/control", answered)

    async def finish(self) -> None:
        await self._control.close()

    # Time

    def budget(self, seconds: float) -> None:
        """From now on ``more`` is true for so long."""
        self._end = time.monotonic() + seconds

    def more(self) -> bool:
        return time.monotonic() < self._end and not self.faults

    def count(self, what: str, number: int = 1) -> None:
        self.done[what] = self.done.get(what, 0) + number

    # Checks

    def expect(self, where: str, expected: object, observed: object) -> None:
        if expected != observed:
            self.faults.append(Fault("wrong", where, expected, observed))

    # The server

    async def ask(self, command: str, **arguments: Any) -> Any:
        """Have the server do something; see ``Control`` there."""
        async with self._asking, asyncio.timeout(4 * DEADLINE):
            self._control.send(msgspec.json.encode((command, arguments)).decode())
            return await self._answers.get()

    async def publish(self, channels: list[str], count: int, **options: Any) -> Any:
        return await self.ask(
            "publish", channels=channels, count=count, plant=self.plant, **options
        )

    async def settled(self, before: dict[str, int]) -> None:
        """Everything the server took up it has let go of; a fault if not."""

        async def left_over() -> dict[str, tuple[int, int]]:
            now: dict[str, int] = await self.ask("census")
            return {
                name: (before[name], value)
                for name, value in now.items()
                if value > before[name] + POOLED.get(name, 0)
            }

        for name, (expected, observed) in (await self._until_none(left_over)).items():
            self.faults.append(Fault("left over", name, expected, observed))

    async def silence_noticed(self, peers: int) -> None:
        """So many peers that vanished have been aborted for their silence."""

        async def unnoticed() -> int:
            counters: dict[str, int] = await self.ask("counters")
            return max(0, peers - counters["pong_timeouts"])

        self.expect("vanished peers that stay", 0, await self._until_none(unnoticed))

    @staticmethod
    async def _until_none(look: Callable[[], Awaitable[T]]) -> T:
        """Look again and again until nothing is found, or time is over."""
        end = time.monotonic() + DEADLINE
        while (found := await look()) and time.monotonic() < end:
            await pause(0.05)
        return found


class Reader:
    """A subscriber of ``/peer`` that keeps a journal of each of its channels."""

    def __init__(self, load: Load, name: str, least: int = 0) -> None:
        self.load = load
        self.name = name
        self.least = least
        self.peer: Peer
        self.journals: dict[str, Journal] = {}
        self.comes_back = False
        # The last answer about each channel: epoch, offset, recovered.
        self.answers: dict[str, tuple[str, int, bool]] = {}
        self._subscribed = asyncio.Event()
        self._wanted: tuple[str, int] | None = None
        self._reached = asyncio.Event()

    async def open(self, *, small: bool = False) -> None:
        self.peer = await Peer.open(self.load.port, "/peer", self._take, small=small)
        self.peer.gone.add_done_callback(self._thrown_out)

    async def subscribe(
        self, channels: Iterable[str], since: tuple[str, int] | None = None
    ) -> None:
        names = list(channels)
        for name in names:
            if since is None:
                self.journals.pop(name, None)
        self._subscribed.clear()
        self.peer.send(
            msgspec.json.encode({"subscribe": names, "since": since}).decode()
        )
        async with asyncio.timeout(DEADLINE):
            await self._subscribed.wait()

    async def leave(self, channels: Iterable[str]) -> None:
        self._subscribed.clear()
        self.peer.send(msgspec.json.encode({"leave": list(channels)}).decode())
        async with asyncio.timeout(DEADLINE):
            await self._subscribed.wait()

    def _thrown_out(self, gone: object) -> None:
        # No answer will come, and no message unless there is a next connection.
        self._subscribed.set()
        if not self.comes_back:
            self._reached.set()

    async def reach(self, channel: str, number: int) -> bool:
        """Wait for a channel's message; False if it does not come."""
        journal = self.journals[channel]
        if journal.last < number and (self.comes_back or not self.peer.gone.done()):
            self._wanted = (channel, number)
            self._reached.clear()
            try:
                await asyncio.wait_for(self._reached.wait(), DEADLINE)
            except TimeoutError:
                return False
        return journal.last >= number

    def _take(self, message: str | bytes) -> None:
        assert isinstance(message, str)
        if message.startswith("! "):
            self._answered(message)
        elif message.startswith("? "):
            _, channel, missed = message.split(" ")
            self.journals[channel].skipped(int(missed))
        else:
            self._published(message)

    def _answered(self, message: str) -> None:
        _, channel, epoch, offset, recovered = message.split(" ")
        if channel == "done":
            self._subscribed.set()
            return
        journal = self.journals.get(channel)
        if journal is None:
            where = f"{self.name}, {channel}"
            policy = channel.partition(".")[0]
            self.journals[channel] = Journal(
                where,
                self.load.faults,
                last=int(offset),
                may_miss=policy in ("skip", "latest"),
            )
        else:
            # Offsets start at 1 with each epoch, as the server's numbers do.
            journal.returned(recovered == "1", int(offset))
        self.answers[channel] = (epoch, int(offset), recovered == "1")

    def _published(self, message: str) -> None:
        channel, number, _ = message.split(" ", 2)
        journal = self.journals[channel]
        at = int(number)
        expected = body(channel, at, self.least)
        if message != expected:
            journal.corrupt(expected[:80], message[:80])
        journal.received(at)
        if self._wanted is not None:
            wanted, last = self._wanted
            if wanted == channel and last <= journal.last:
                self._wanted = None
                self._reached.set()
