"""What is done to the server, round after round, while there is time.

Each scenario is a coroutine function that takes the load; it leaves nobody behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeAlias, TypeVar

from ..support.frames import TEXT, frame
from .bodies import blob, key_of
from .journal import Journal
from .load import Load, Reader, pause
from .peer import DEADLINE, NO_MASK, Peer
from .server import KEYS, LONG_HISTORY, SHORT_HISTORY

T = TypeVar("T")
Scenario: TypeAlias = Callable[[Load], Awaitable[None]]

AT_ONCE = 250  # handshakes under way
LARGE = 2000  # letters of the messages for slow readers
PACE = 10  # of them in flight to a reader that is not slow


async def gathered(
    waiting: Iterable[Coroutine[Any, Any, T]], at_once: int = AT_ONCE
) -> list[T]:
    """Run coroutines, so many of them at a time."""
    gate = asyncio.Semaphore(at_once)

    async def run(one: Coroutine[Any, Any, T]) -> T:
        async with gate:
            return await one

    return await asyncio.gather(*(run(one) for one in waiting))


async def readers(load: Load, count: int, *, small: bool = False) -> list[Reader]:
    made = [Reader(load, f"reader {number}") for number in range(count)]
    await gathered(one.open(small=small) for one in made)
    return made


async def finish(load: Load, found: list[Reader], last: dict[str, int]) -> None:
    """Wait for the last message of every channel, check, and leave."""
    await everybody(found, last)
    for reader in found:
        for channel, journal in reader.journals.items():
            journal.finish(last[channel])
    await gathered(reader.peer.close() for reader in found)


async def everybody(found: list[Reader], last: dict[str, int]) -> bool:
    """Wait until all readers have got all; False as soon as one has not."""
    for reader in found:
        for channel in reader.journals:
            if not await reader.reach(channel, last[channel]):
                return False
    return True


async def publish_paced(
    load: Load, steady: list[Reader], channels: list[str], count: int
) -> dict[str, int]:
    """Large messages, as fast as these readers take them: they are never slow."""
    last: dict[str, int] = {}
    for _ in range(0, count, PACE):
        last = await load.publish(channels, PACE, keys=KEYS, least=LARGE)
        if not await everybody(steady, last):
            break
    return last


async def churn(load: Load) -> None:
    """Connections come, say something, and go in every way there is."""

    async def cycle(number: int, way: int) -> None:
        echoes: asyncio.Queue[str | bytes] = asyncio.Queue()
        peer = await Peer.open(load.port, "/echo", echoes.put_nowait)
        peer.send(f"cycle {number}")
        async with asyncio.timeout(DEADLINE):
            load.expect(f"echo {number}", f"cycle {number}", await echoes.get())
        if way == 0:
            load.expect(f"close {number}", 4001, await peer.close(4001))
        elif way == 1:
            peer.abort()
        elif way == 2:
            # Gone in the middle of a message.
            peer.write(frame(TEXT, b"x" * 200, key=NO_MASK)[:50])
            peer.abort()
        else:
            peer.transport.write_eof()
            await peer.closed()

    while load.more():
        await gathered(cycle(n, load.random.randrange(4)) for n in range(1000))
        load.count("connect/close cycles", 1000)


async def fanout(load: Load) -> None:
    """2 000 subscribers, 500 messages: exact count and order for each of them."""
    found = await readers(load, 2000)
    await gathered(reader.subscribe(["close.fan"]) for reader in found)
    last: dict[str, int] = {}
    while not last or load.more():
        last = await load.publish(["close.fan"], 500, burst=16)
        await everybody(found, last)
        load.count("fan-outs of 2000 × 500")
    await finish(load, found, last)


async def channels(load: Load) -> None:
    """100 channels per connection, 200 connections, coming and going."""
    names = [f"close.many-{number}" for number in range(150)]
    found = await readers(load, 200)
    await gathered(reader.subscribe(load.random.sample(names, 100)) for reader in found)
    last: dict[str, int] = {}
    while not last or load.more():
        last = await load.publish(names, 5, burst=1)
        if not await everybody(found, last):
            break
        for reader in found:
            left = load.random.sample(sorted(reader.journals), 50)
            await reader.leave(left)
            for channel in left:
                reader.journals.pop(channel).finish(last[channel])
            free = [name for name in names if name not in reader.journals]
            await reader.subscribe(load.random.sample(free, 50))
        load.count("rounds of 200 × 100 channels")
    await finish(load, found, last)


async def recovery(load: Load) -> None:
    """200 subscribers are kicked while somebody publishes: no gap, no duplicate.

    Half of them on a channel whose history is so short that some come back too late,
    which they have to be told.
    """
    names = {"story.kicked": LONG_HISTORY, "short.kicked": SHORT_HISTORY}
    for name in names:
        await load.ask("stream", channel=name, interval=0.002)
    found = await readers(load, 200)
    for number, reader in enumerate(found):
        await reader.subscribe([list(names)[number % 2]])
        reader.comes_back = True
    stop = asyncio.Event()
    staying = [asyncio.create_task(stay(load, one, names, stop)) for one in found]
    kicks = 0
    while kicks < 3 or load.more():
        seed = load.random.randrange(1 << 30)
        await load.ask("kick", path="/peer", count=50, seed=seed)
        await pause(0.2)
        kicks += 1
    last = {name: await load.ask("stop", channel=name) for name in names}
    await everybody(found, last)
    stop.set()
    await finish(load, found, last)
    await asyncio.gather(*staying)
    await load.ask("forget", channels=list(names))


async def stay(
    load: Load, reader: Reader, kept: dict[str, int], stop: asyncio.Event
) -> None:
    """Come back whenever the connection ends, and ask for what was missed."""
    ((channel, journal),) = reader.journals.items()
    epoch, _, _ = reader.answers.pop(channel)
    while not stop.is_set():
        await reader.peer.gone
        if stop.is_set():
            return
        if load.random.random() < 0.3:
            await pause(0.15)
        since = journal.last
        await reader.open()
        await reader.subscribe([channel], since=(epoch, since))
        if channel not in reader.answers:
            continue  # kicked again before the answer came
        _, offset, recovered = reader.answers.pop(channel)
        covered = since >= offset - kept[channel]
        load.expect(f"recovered from {since} of {offset}", covered, recovered)
        load.count("recoveries" if recovered else "gaps that were told")
    await reader.peer.close()


async def payloads(load: Load) -> None:
    """From nothing to 1 MiB: what comes back is what was sent, to the byte."""
    echoes: asyncio.Queue[str | bytes] = asyncio.Queue()
    peer = await Peer.open(load.port, "/echo", echoes.put_nowait)
    edges = [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20]
    while load.more():
        sizes = edges + [int(2 ** load.random.uniform(0, 20)) for _ in range(24)]
        sent = [blob(load.random.randrange(1 << 30), size) for size in sizes]
        for one in sent:
            peer.send(one)
        async with asyncio.timeout(DEADLINE):
            received = [await echoes.get() for _ in sent]
        for expected, observed in zip(sent, received, strict=True):
            load.expect(f"{len(expected)} bytes", True, expected == observed)
        load.count("payloads", len(sent))
    await peer.close()


async def slow(load: Load) -> None:
    """Readers that stop and go on, under each healing policy, beside one that reads."""
    names = ["skip.slow", "latest.slow", "resume.slow"]
    stalling = [Reader(load, f"slow reader {n}", LARGE) for n in range(9)]
    steady = Reader(load, "steady reader", LARGE)
    await gathered(reader.open(small=True) for reader in stalling)
    await steady.open()
    for number, reader in enumerate(stalling):
        await reader.subscribe([names[number % 3]])
    await steady.subscribe(names)
    last: dict[str, int] = {}
    while not last or load.more():
        stalled = [one for one in stalling if load.random.random() < 0.7]
        for reader in stalled:
            reader.peer.stall()
        last = await publish_paced(load, [steady], names, 300)
        for channel in names:
            load.expect(
                f"missed by the steady one, {channel}", 0, missing(steady, channel)
            )
        for reader in stalled:
            reader.peer.go_on()
        await counted(stalling)
        # A cursor that went to the head waits for what comes next.
        last = await publish_paced(load, [steady], names, PACE)
        await everybody(stalling, last)
        for reader in stalling:
            for channel, journal in reader.journals.items():
                check_newest(load, channel, journal)
        load.count("rounds of slow readers")
    await counted(stalling)
    await finish(load, [*stalling, steady], last)
    await load.ask("forget", channels=names)


def missing(reader: Reader, channel: str) -> int:
    return len(reader.journals[channel].missing)


def check_newest(load: Load, channel: str, journal: Journal) -> None:
    """Under ``latest`` the newest message of no key is missing."""
    if not channel.startswith("latest."):
        return
    newest = range(journal.last - KEYS + 1, journal.last + 1)
    lost = [key_of(number, KEYS) for number in newest if number in journal.missing]
    load.expect(f"keys without their newest message, {journal.where}", [], lost)


async def counted(found: list[Reader]) -> None:
    """The server tells of gaps behind the messages: an answer brings them in."""
    await gathered(reader.leave([]) for reader in found)


async def evicted(load: Load) -> None:
    """Under ``close`` who reads nothing is closed, and nobody else notices."""
    while load.more():
        stalling = await readers(load, 5, small=True)
        steady = await readers(load, 5)
        for reader in [*stalling, *steady]:
            reader.least = LARGE
            await reader.subscribe(["close.evicted"])
        for reader in stalling:
            reader.peer.stall()
        last = await publish_paced(load, steady, ["close.evicted"], 1500)
        for reader in stalling:
            reader.peer.go_on()
        for reader in stalling:
            code = await reader.peer.closed()
            load.expect("close code of a slow reader", True, code in (1013, None))
        load.count("evictions", len(stalling))
        await finish(load, steady, last)


async def confirmed(load: Load) -> None:
    """Racing duplicates are one publication, and offsets have no hole."""
    # The server remembers the keys of a channel for minutes.
    channel = f"confirmed.{load.random.randrange(1 << 30)}"
    reader = Reader(load, "reader")
    await reader.open()
    await reader.subscribe([channel])
    numbers = 0
    while not numbers or load.more():
        fresh = [str(numbers + step) for step in range(1, 51)]
        numbers += 50
        keys = [key for key in fresh for _ in range(4)]
        receipts = await load.ask("confirm", channel=channel, keys=keys)
        offsets = [offset for offset, _ in receipts]
        load.expect("offsets", [int(key) for key in keys], offsets)
        load.expect("duplicates", 150, sum(duplicate for _, duplicate in receipts))
        load.count("confirmed publications", 200)
    await finish(load, [reader], {channel: numbers})
    await load.ask("forget", channels=[channel])


async def batched(load: Load) -> None:
    """A batching window holds nothing back and turns nothing round."""
    found = await readers(load, 50)
    await gathered(reader.subscribe(["batched.one"]) for reader in found)
    last: dict[str, int] = {}
    while not last or load.more():
        last = await load.publish(["batched.one"], 500, burst=7)
        load.count("batched publications", 500)
    await finish(load, found, last)


SCENARIOS: dict[str, tuple[Scenario, float]] = {
    # Name → what it does, and its share of the time.
    "churn": (churn, 4.0),
    "fanout": (fanout, 2.0),
    "channels": (channels, 1.5),
    "recovery": (recovery, 2.0),
    "payloads": (payloads, 0.7),
    "slow": (slow, 2.0),
    "evicted": (evicted, 0.7),
    "confirmed": (confirmed, 0.5),
    "batched": (batched, 0.5),
}
