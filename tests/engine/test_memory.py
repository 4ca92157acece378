"""Links in memory: order, ends, and pausing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fastws import Connection, Limits
from fastws.engine.binding import Binding
from fastws.engine.hub import Hub
from fastws.engine.link import ByteConsumer, Link
from fastws.engine.memory import MemoryLink, memory_pair
from fastws.errors import ConnectionClosed
from tests.conftest import Run
from tests.engine.peers import REQUEST, turns, until


class Listener(ByteConsumer):
    """Writes down what its link tells it."""

    def __init__(self, hub: Hub, link: Link) -> None:
        super().__init__(hub, link)
        self.heard: list[object] = []
        link.set_consumer(self)

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)

    def eof_received(self) -> None:
        self.heard.append("end")

    def connection_lost(self, error: BaseException | None) -> None:
        self.heard.append(error)


def pair() -> tuple[MemoryLink, MemoryLink, Listener, Listener]:
    hub = Hub(Limits(), asyncio.get_running_loop())
    one, two = memory_pair(hub, hub)
    return one, two, Listener(hub, one), Listener(hub, two)


def test_bytes_arrive_in_order_and_in_a_later_turn(run: Run[None]) -> None:
    async def scenario() -> None:
        one, two, first, second = pair()
        for number in range(5):
            one.write(b"%d" % number)
            two.write(b"-%d" % number)
        one.write(b"")
        assert first.heard == second.heard == []
        await turns()
        assert second.heard == [b"0", b"1", b"2", b"3", b"4"]
        assert first.heard == [b"-0", b"-1", b"-2", b"-3", b"-4"]
        one.abort()
        await turns()

    run(scenario())


@pytest.mark.parametrize("how", ["close", "abort"])
def test_what_was_written_arrives_before_the_end(run: Run[None], how: str) -> None:
    async def scenario() -> None:
        one, two, first, second = pair()
        one.write(b"last")
        getattr(one, how)()
        one.write(b"too late")
        two.write(b"nobody reads this")
        assert first.heard == []
        await turns()
        assert second.heard == [b"last", "end", None]
        assert first.heard == [None]
        for link in (one, two):
            link.write(b"x")
            link.close()
            link.close_write()
            link.abort()
        await turns()
        assert (len(first.heard), len(second.heard)) == (1, 3)

    run(scenario())


def test_a_half_closed_end_still_reads(run: Run[None]) -> None:
    async def scenario() -> None:
        one, two, first, second = pair()
        two.write(b"sent before")
        one.close_write()
        one.write(b"too late")
        await turns()
        assert second.heard == ["end", None]
        assert first.heard == [b"sent before", "end", None]

    run(scenario())


def test_nothing_is_delivered_while_reading_is_paused(run: Run[None]) -> None:
    async def scenario() -> None:
        one, two, _, second = pair()
        two.pause_reading()
        one.write(b"a")
        one.write(b"b")
        one.close()
        await turns()
        assert second.heard == []
        two.resume_reading()
        await turns()
        assert second.heard == [b"a", b"b", "end", None]

    run(scenario())


def test_two_connections_talk_over_it(run: Run[None]) -> None:
    async def scenario() -> None:
        hub = Hub(Limits(), asyncio.get_running_loop())
        near, far = memory_pair(hub, hub)

        def on_message(ws: Connection[Any], message: str | bytes) -> None:
            ws.send(message)

        server = Connection.open(
            hub, near, Binding(on_message=on_message), REQUEST, {}, None
        )
        client = Connection.open_client(hub, far, Limits())
        assert server.remote_address == ("memory", 0)
        for size in (0, 1, 125, 126, 65_536, 1 << 20):
            client.send(b"x" * size)
            client.send("ü" * (size // 2))
            assert await client.receive() == b"x" * size
            assert await client.receive() == "ü" * (size // 2)
        await client.close(4000, "bye")
        await server.wait_closed()
        assert (server.close_code, server.close_reason) == (4000, "bye")
        with pytest.raises(ConnectionClosed):
            await client.receive()
        await until(lambda: hub.connection_count == 0)

    run(scenario())
