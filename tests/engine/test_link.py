"""The contract of links, held by every implementation."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from fastws import Limits
from fastws.engine.hub import Hub
from fastws.engine.link import ByteConsumer, Consumer, Link
from fastws.engine.memory import memory_pair
from fastws.engine.poller import poller_of
from fastws.engine.uvlink import UvLink
from tests.conftest import Certificates, Run
from tests.engine.peers import turns, until

Pair = tuple["Listener", "Listener"]
Maker = Callable[[Certificates], AbstractAsyncContextManager[Pair]]


class Listener(ByteConsumer):
    """Writes down what its link tells it."""

    def __init__(self, hub: Hub, link: Link) -> None:
        super().__init__(hub, link)
        self.received = b""
        self.events: list[str] = []
        self.inside = False

    def data_received(self, data: bytes) -> None:
        assert not self.inside
        self.received += data

    def eof_received(self) -> None:
        self.events.append("end")
        self.link.close()

    def connection_lost(self, error: BaseException | None) -> None:
        assert not self.inside
        self.events.append("lost")

    def writing_paused(self) -> None:
        self.events.append("paused")

    def writing_resumed(self) -> None:
        self.events.append("resumed")

    def call(self, method: str, *arguments: object) -> None:
        self.inside = True
        getattr(self.link, method)(*arguments)
        self.inside = False

    @property
    def lost(self) -> bool:
        return "lost" in self.events


@asynccontextmanager
async def in_memory(certificates: Certificates) -> AsyncIterator[Pair]:
    hub = Hub(Limits(), asyncio.get_running_loop())
    links = memory_pair(hub, hub)
    one, two = (Listener(hub, link) for link in links)
    for listener in (one, two):
        listener.link.set_consumer(listener)
    yield one, two


@asynccontextmanager
async def over_tcp(certificates: Certificates) -> AsyncIterator[Pair]:
    async with over_transports(None) as pair:
        yield pair


@asynccontextmanager
async def over_own_sockets(certificates: Certificates) -> AsyncIterator[Pair]:
    hub = Hub(Limits(), asyncio.get_running_loop())
    made = []

    def listener(hub: Hub, link: Link) -> Listener:
        made.append(Listener(hub, link))
        return made[-1]

    for end in connected():
        poller_of(hub).adopt(end, listener)
    one, two = made
    yield one, two
    await until(lambda: hub.poller is None)


@asynccontextmanager
async def over_tls(certificates: Certificates) -> AsyncIterator[Pair]:
    async with over_transports(certificates) as pair:
        yield pair


def connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.socket()
        near.connect(listener.getsockname())
        far, _ = listener.accept()
    near.setblocking(False)
    return near, far


@asynccontextmanager
async def over_transports(certificates: Certificates | None) -> AsyncIterator[Pair]:
    loop = asyncio.get_running_loop()
    hub = Hub(Limits(), loop)
    near, far = connected()
    ends = [UvLink(hub, Listener), UvLink(hub, Listener)]
    server = loop.connect_accepted_socket(
        lambda: ends[0],
        far,
        ssl=certificates.server_context() if certificates else None,
    )
    client = loop.create_connection(
        lambda: ends[1],
        sock=near,
        ssl=certificates.client_context() if certificates else None,
        server_hostname="localhost" if certificates else None,
    )
    await asyncio.gather(server, client)
    one, two = (end.consumer for end in ends)
    assert isinstance(one, Listener)
    assert isinstance(two, Listener)
    yield one, two


MAKERS: list[Maker] = [in_memory, over_tcp, over_own_sockets, over_tls]
on_each_link = pytest.mark.parametrize("make", MAKERS)


async def end(*listeners: Listener) -> None:
    for listener in listeners:
        listener.link.abort()
    await until(lambda: all(listener.lost for listener in listeners))
    await turns(3)


@on_each_link
def test_bytes_leave_in_the_order_of_the_calls(
    run_on_each_loop: Run[None], make: Maker, certificates: Certificates
) -> None:
    async def scenario() -> None:
        async with make(certificates) as (one, two):
            pieces = [bytes([n % 256]) * n for n in range(1000)]
            for piece in pieces:
                one.link.write(piece)
                two.link.write(piece)
            whole = b"".join(pieces)
            await until(lambda: one.received == two.received == whole)
            await end(one, two)

    run_on_each_loop(scenario())


@on_each_link
def test_closing_writes_what_was_written_before(
    run_on_each_loop: Run[None], make: Maker, certificates: Certificates
) -> None:
    async def scenario() -> None:
        async with make(certificates) as (one, two):
            data = bytes(3_000_000)
            one.link.write(data)
            one.call("close")
            one.call("write", b"too late")
            one.call("close")
            await until(lambda: one.lost and two.lost)
            assert two.received == data
            assert two.events.count("end") <= 1
            assert two.events[-1] == "lost"

    run_on_each_loop(scenario())


@on_each_link
def test_the_end_of_one_direction(
    run_on_each_loop: Run[None], make: Maker, certificates: Certificates
) -> None:
    async def scenario() -> None:
        async with make(certificates) as (one, two):
            one.link.write(b"last")
            one.call("close_write")
            one.call("write", b"too late")
            await until(lambda: one.lost and two.lost)
            assert two.received == b"last"

    run_on_each_loop(scenario())


@on_each_link
def test_abort_is_told_once_and_from_outside_the_call(
    run_on_each_loop: Run[None], make: Maker, certificates: Certificates
) -> None:
    async def scenario() -> None:
        async with make(certificates) as (one, two):
            one.call("write", b"perhaps")
            one.call("abort")
            one.call("abort")
            await until(lambda: one.lost and two.lost)
            for method in ("pause_reading", "resume_reading", "close", "abort"):
                one.call(method)
                two.call(method)
            one.call("write", b"nobody")
            await turns()
            assert one.events.count("lost") == two.events.count("lost") == 1

    run_on_each_loop(scenario())


@on_each_link
def test_a_link_and_its_consumer_let_go_of_each_other(
    run_on_each_loop: Run[None], make: Maker, certificates: Certificates
) -> None:
    async def scenario() -> None:
        async with make(certificates) as (one, two):
            assert one.link.consumer is one
            link: Link = one.link
            await end(one, two)
            assert link.consumer is not one
            # What comes late is for nobody.
            link.write(b"x")

    run_on_each_loop(scenario())


@on_each_link
def test_reading_can_be_paused(
    run_on_each_loop: Run[None], make: Maker, certificates: Certificates
) -> None:
    async def scenario() -> None:
        async with make(certificates) as (one, two):
            two.call("pause_reading")
            await turns()
            one.link.write(b"x" * 100)
            await turns(50)
            assert two.received == b""
            two.call("resume_reading")
            await until(lambda: two.received == b"x" * 100)
            await end(one, two)

    run_on_each_loop(scenario())


@pytest.mark.parametrize("make", [over_tcp, over_own_sockets, over_tls])
def test_pausing_and_resuming_are_told(
    run_on_each_loop: Run[None], make: Maker, certificates: Certificates
) -> None:
    async def scenario() -> None:
        async with make(certificates) as (one, two):
            two.link.pause_reading()
            await turns()
            written = 0
            while not one.link.write_paused:
                one.link.write(bytes(100_000))
                written += 100_000
                await turns(1)
            assert one.events == ["paused"]
            two.link.resume_reading()
            await until(lambda: len(two.received) == written)
            await until(lambda: not one.link.write_paused)
            assert one.events == ["paused", "resumed"]
            await end(one, two)

    run_on_each_loop(scenario())


@on_each_link
def test_what_a_link_says_of_itself(
    run_on_each_loop: Run[None], make: Maker, certificates: Certificates
) -> None:
    async def scenario() -> None:
        async with make(certificates) as (one, two):
            assert one.link.remote_address[0] in ("memory", "127.0.0.1")
            assert one.link.local_address == two.link.remote_address
            assert one.link.secure == two.link.secure == (make is over_tls)
            assert isinstance(one, Consumer)
            await end(one, two)

    run_on_each_loop(scenario())
