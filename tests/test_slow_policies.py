"""Slow policies over real sockets: a peer that stops reading, and what it sees then."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypeVar

import pytest

from fastws import App, Connection, Endpoint, Limits, Message
from fastws.config import Config

from .support.client import upgrade_request
from .support.frames import CLOSE, TEXT, Frame, take_frame
from .support.waits import DEADLINE

T = TypeVar("T")
Ws: TypeAlias = "Connection[Any]"

KEYS = 5
PADDING = "x" * 4000
# Far more than two kernels' buffers take.
MOST = 5000


class SlowReader:
    """A WebSocket whose peer takes bytes only when it is told to."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._received = bytearray()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, port: int, path: str, context: ssl.SSLContext | None = None
    ) -> AsyncIterator[SlowReader]:
        sock = socket.socket()
        # Set before connecting, it keeps the kernel from hiding megabytes.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        # With little in its buffer the stream stops reading, too.
        reader, writer = await asyncio.open_connection(
            sock=sock,
            limit=4096,
            ssl=context,
            server_hostname="127.0.0.1" if context else None,
        )
        writer.write(upgrade_request(path))
        async with asyncio.timeout(DEADLINE):
            head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        try:
            yield cls(reader, writer)
        finally:
            writer.transport.abort()
            await asyncio.wait({asyncio.ensure_future(writer.wait_closed())})

    async def _receive(self) -> bool:
        async with asyncio.timeout(DEADLINE):
            data = await self._reader.read(65_536)
        self._received += data
        return bool(data)

    async def frame(self) -> Frame:
        while (found := take_frame(self._received)) is None:
            assert await self._receive(), "the server ended the connection"
        return found

    async def number(self) -> int:
        """The number of the next message."""
        found = await self.frame()
        assert found.opcode == TEXT, found
        number, _, padding = found.payload.decode().partition(" ")
        assert padding == PADDING
        return int(number)

    async def numbers_to(self, last: int) -> list[int]:
        numbers: list[int] = []
        while not numbers or numbers[-1] != last:
            numbers.append(await self.number())
        return numbers


class Program:
    """An App with one channel, one subscriber that reads and one that is stalled."""

    def __init__(self, **rule: Any) -> None:
        self.app = App(Config(limits=Limits(ping_interval=None)))
        self.app.channel("ticks", max_lag=40_000, **rule)
        self.told: list[tuple[str, int]] = []
        self.heard: list[tuple[str, int]] = []
        self.codes: list[int] = []
        self.published = 0
        self.port = 0
        self.contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None
        program = self

        @self.app.websocket("/ticks")
        class Ticks(Endpoint):
            def on_open(self, ws: Ws) -> None:
                ws.subscribe("ticks")

            def on_skip(self, ws: Ws, channel: str, missed: int) -> None:
                program.told.append((channel, missed))

            def on_close(self, ws: Ws, code: int, reason: str) -> None:
                program.codes.append(code)

        self.app.on(
            "skip",
            lambda ws, channel, missed: self.heard.append((channel, missed)),
            channel="tick{s}",
        )

    @asynccontextmanager
    async def stalled(self, path: str = "/ticks") -> AsyncIterator[SlowReader]:
        contexts = self.contexts or (None, None)
        async with self.app.serve(
            port=0, shutdown_timeout=0, ssl=contexts[0]
        ) as server:
            self.port = server.port
            async with SlowReader.open(server.port, path, contexts[1]) as reader:
                await until(lambda: self.app.connections)
                yield reader

    def counter(self, name: str) -> int:
        return self.app.counters.snapshot()[name]

    def publish(self) -> None:
        self.published += 1
        self.app.publish(
            "ticks",
            f"{self.published} {PADDING}",
            key=f"key {self.published % KEYS}",
        )

    async def publish_until(self, condition: Callable[[], object]) -> None:
        while not condition():
            assert self.published < MOST, self.app.counters.snapshot()
            self.publish()
            await asyncio.sleep(0)

    async def skip_more_often_than(self, skips: int) -> None:
        await self.publish_until(lambda: self.counter("lag_skips") > skips)

    async def publish_more(self, count: int) -> None:
        for _ in range(count):
            self.publish()
            await asyncio.sleep(0)

    @property
    def missed(self) -> int:
        assert self.told == self.heard
        assert {channel for channel, _ in self.told} <= {"ticks"}
        return sum(missed for _, missed in self.told)


Secure: TypeAlias = "Callable[[Program], Program]"


@pytest.fixture(params=["plain", "tls"])
def served(request: pytest.FixtureRequest, certificates: Any) -> Secure:
    """Has a program served with TLS, or without."""

    def serve(program: Program) -> Program:
        if request.param == "tls":
            program.contexts = (
                certificates.server_context(),
                certificates.client_context(),
            )
        return program

    return serve


async def until(condition: Callable[[], T]) -> T:
    async with asyncio.timeout(DEADLINE):
        while not (found := condition()):  # noqa: ASYNC110 - about both ends
            await asyncio.sleep(0)
    return found


def gaps(numbers: list[int]) -> int:
    """How many numbers are missing, of an order that never goes back."""
    assert numbers == sorted(set(numbers))
    return numbers[-1] - len(numbers)


def test_close_says_goodbye_to_who_owes_too_much(
    run_on_each_loop: Any, served: Secure
) -> None:
    program = served(Program(slow="close"))

    async def scenario() -> None:
        async with program.stalled() as reader:
            await program.publish_until(lambda: program.counter("evicted_lag"))
            expected = 1
            while (found := await reader.frame()).opcode == TEXT:
                assert found.payload.startswith(f"{expected} ".encode())
                expected += 1
            assert (found.opcode, found.close_code) == (CLOSE, 1013)
            assert expected <= program.published
            await until(lambda: program.codes)

    run_on_each_loop(scenario())
    assert program.codes == [1013]
    assert program.told == program.heard == []


def test_skip_goes_on_at_the_newest_message_and_says_what_is_missing(
    run_on_each_loop: Any, served: Secure
) -> None:
    program = served(Program(slow="skip"))

    async def scenario() -> None:
        numbers: list[int] = []
        async with program.stalled() as reader:
            for turn in range(2):
                await program.skip_more_often_than(turn)
                # They may still be owed when the program is told of the gap.
                await program.publish_more(5)
                numbers += await reader.numbers_to(program.published)
            await until(lambda: program.missed == gaps(numbers))
            # It has healed: nothing more is lost.
            await program.publish_more(3)
            newest = [await reader.number() for _ in range(3)]
            assert newest == [program.published - 2 + step for step in range(3)]
            assert program.counter("frames_skipped") == program.missed > 0
            assert program.counter("evicted_lag") == 0
            assert len(program.app.connections) == 1

    run_on_each_loop(scenario())


def test_latest_brings_the_newest_message_of_each_key(
    run_on_each_loop: Any, served: Secure
) -> None:
    program = served(Program(slow="latest"))

    async def scenario() -> None:
        async with program.stalled() as reader:
            await program.publish_until(lambda: program.counter("lag_heals"))
            await program.publish_more(50 * KEYS)
            last = program.published
            numbers = await reader.numbers_to(last)
            assert gaps(numbers) > 0
            # The newest of every key, in the order in which they were published.
            assert numbers[-KEYS:] == list(range(last - KEYS + 1, last + 1))
            await until(lambda: program.missed == gaps(numbers))
            # It is on the log again: all messages of a key come.
            await program.publish_more(3 * KEYS)
            more = await reader.numbers_to(program.published)
            assert more == list(range(last + 1, program.published + 1))
            assert program.counter("evicted_lag") == 0

    run_on_each_loop(scenario())


def test_resume_brings_everything_from_history(
    run_on_each_loop: Any, served: Secure
) -> None:
    program = served(Program(slow="resume", history=MOST, history_bytes=1 << 30))

    async def scenario() -> None:
        async with program.stalled() as reader:
            before = program.counter("lag_refills")
            await program.publish_until(
                lambda: (
                    len(program.app.channels["ticks"].read()) > 0
                    and program.counter("deliveries") < program.published - 100
                )
            )
            await program.publish_more(50)
            numbers = await reader.numbers_to(program.published)
            assert numbers == list(range(1, program.published + 1))
            assert program.counter("lag_refills") > before
            await program.publish_more(3)
            assert await reader.number() == len(numbers) + 1
            assert program.missed == 0

    run_on_each_loop(scenario())


def test_resume_skips_what_history_has_lost(
    run_on_each_loop: Any, served: Secure
) -> None:
    program = served(Program(slow="resume", history=3))

    async def scenario() -> None:
        async with program.stalled() as reader:
            await program.publish_until(
                lambda: program.counter("deliveries") < program.published - 100
            )
            reading = asyncio.create_task(reader.numbers_to(program.published + 1))
            await until(lambda: program.told)
            await program.publish_more(1)
            numbers = await reading
            assert gaps(numbers) > 0
            await until(lambda: program.missed == gaps(numbers))
            assert program.counter("lag_refill_misses") > 0

    run_on_each_loop(scenario())


@pytest.mark.parametrize("slow", ["skip", "latest"])
def test_the_others_get_everything(run: Any, slow: str) -> None:
    program = Program(slow=slow)

    async def scenario() -> None:
        async with (
            program.stalled() as stalled,
            SlowReader.open(program.port, "/ticks") as other,
        ):
            await until(lambda: len(program.app.connections) == 2)
            counter = "lag_skips" if slow == "skip" else "lag_heals"
            while not program.counter(counter):
                program.publish()
                assert await other.number() == program.published
            # What is missing is missing on the stalled one alone.
            await program.publish_more(1)
            await stalled.numbers_to(program.published)
            assert len(program.told) == 1

    run(scenario())


def test_a_connection_that_takes_nothing_for_long_is_aborted(run: Any) -> None:
    program = Program(slow="latest", max_stall=0.5)

    async def scenario() -> None:
        async with program.stalled():
            await program.publish_until(lambda: program.counter("lag_heals"))
            await until(lambda: program.codes)
            assert program.counter("evicted_stall") == 1

    run(scenario())
    assert program.codes == [1006]


def test_a_coroutine_is_told_by_the_listener(run: Any) -> None:
    """An endpoint that is a coroutine has no on_skip: ``App.on`` tells."""
    program = Program(slow="skip")

    @program.app.websocket("/coroutine")
    async def endpoint(ws: Ws) -> None:
        ws.subscribe("ticks")
        async for _ in ws:
            continue

    async def scenario() -> None:
        async with program.stalled("/coroutine") as reader:
            await program.publish_until(lambda: program.counter("lag_skips"))
            await program.publish_more(1)
            await reader.numbers_to(program.published)
            await until(lambda: program.heard)
            assert program.told == []

    run(scenario())


def test_on_skip_may_be_a_coroutine_function(run: Any) -> None:
    program = Program(slow="skip")
    told: list[int] = []

    @program.app.websocket("/async")
    class Ticks(Endpoint):
        async def on_open(self, ws: Ws) -> None:
            ws.subscribe("ticks")

        async def on_message(self, ws: Ws, message: Message) -> None: ...

        async def on_skip(self, ws: Ws, channel: str, missed: int) -> None:
            await asyncio.sleep(0)
            told.append(missed)

    async def scenario() -> None:
        async with program.stalled("/async") as reader:
            await program.publish_until(lambda: program.counter("lag_skips"))
            await program.publish_more(1)
            numbers = await reader.numbers_to(program.published)
            await until(lambda: sum(told) == gaps(numbers))

    run(scenario())
