"""The link on a transport: direct writes, what the kernel refuses, and TLS."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from fastws import Connection, Limits
from fastws.engine.hub import Hub
from fastws.engine.link import ByteConsumer, Link
from fastws.engine.uvlink import UvLink
from tests.conftest import Certificates, Run
from tests.engine.peers import turns, until, world
from tests.support.frames import close, text

NOTSENT_LOWAT = 131_072


def test_bytes_leave_within_the_call_while_nothing_waits(
    run_on_each_loop: Run[None],
) -> None:
    async def scenario() -> None:
        answered = []

        def on_message(ws: Connection[Any], message: str | bytes) -> None:
            ws.send(message)
            answered.append(message)

        async with world(on_message=on_message) as here:
            peer = await here.connect()
            peer.send(text("x"))
            await until(lambda: answered)
            # No turn of the loop in between.
            assert peer.pull_written() == len(b"..x")

    run_on_each_loop(scenario())


def test_sockets_are_tuned(run_on_each_loop: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            client, accepted = here.sockets(small=False)
            link = UvLink(here.hub, ByteConsumer)
            with client, accepted.dup() as same:
                await here.loop.connect_accepted_socket(lambda: link, accepted)
                tcp = socket.IPPROTO_TCP
                assert same.getsockopt(tcp, socket.TCP_NODELAY)
                assert same.getsockopt(tcp, socket.TCP_NOTSENT_LOWAT) == NOTSENT_LOWAT
            link.abort()
            await turns()

    run_on_each_loop(scenario())


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_order_across_the_border_between_kernel_and_transport(
    run_on_each_loop: Run[None], tls: bool, certificates: Certificates
) -> None:
    async def scenario() -> None:
        limits = Limits(write_cap=1 << 30, max_stall=None)
        async with world(limits) as here:
            peer = await here.connect(
                small=True, certificates=certificates if tls else None
            )
            for number in range(3000):
                assert peer.ws.send(number.to_bytes(4, "big") * (number % 50 + 1))
                if number % 7 == 0:
                    peer.pull(number % 3000 + 1)
                    await asyncio.sleep(0)
            messages = await peer.see_messages(3000)
            numbers = [int.from_bytes(bytes(m[:4]), "big") for m in messages]  # type: ignore[arg-type]
            assert numbers == list(range(3000))

    run_on_each_loop(scenario())


def test_a_stalled_peer_costs_one_partial_frame_beside_its_place(
    run_on_each_loop: Run[None],
) -> None:
    async def scenario() -> None:
        limits = Limits(write_cap=1 << 30, max_stall=None)
        async with world(limits) as here:
            peer = await here.connect(small=True)
            await here.stall(peer)
            for _ in range(100):
                peer.ws.send(b"x" * 1000)
            await asyncio.sleep(0)
            held = peer.ws.link.consumer.buffered  # type: ignore[attr-defined]
            assert held > 90_000
            assert peer.ws.link.write_paused
            await peer.see(lambda: peer.ws.buffered == 0)
            assert not peer.ws.link.write_paused

    run_on_each_loop(scenario())


def test_tls_says_that_it_is_secure(
    run_on_each_loop: Run[None], certificates: Certificates
) -> None:
    async def scenario() -> None:
        async with world(on_message=lambda ws, message: ws.send(message)) as here:
            plain = await here.connect()
            secure = await here.connect(certificates=certificates)
            assert not plain.ws.link.secure
            assert secure.ws.link.secure
            assert secure.ws.remote_address[0] == "127.0.0.1"
            for size in (1, 100_000, 1_000_000):
                secure.ws.send(b"x" * size)
                await secure.see(lambda: secure.messages)
                assert secure.messages == [b"x" * size]
                secure.frames.clear()
            secure.send(text("hello"), close(1000))
            assert await secure.see_close() == (1000, b"")
            assert secure.messages == ["hello"]
            await secure.see_end()

    run_on_each_loop(scenario())


def test_a_factory_that_fails_closes_its_connection(
    run_on_each_loop: Run[None],
) -> None:
    """Fixed: the end of a link without a consumer crashed the process."""

    async def scenario() -> None:
        def fail(hub: Hub, link: Link) -> ByteConsumer:
            link.abort()
            raise ConnectionAbortedError("no")

        async with world() as here:
            errors: list[dict[str, Any]] = []
            here.loop.set_exception_handler(lambda loop, about: errors.append(about))
            client, accepted = here.sockets(small=False)
            with client:
                made = asyncio.ensure_future(
                    here.loop.connect_accepted_socket(
                        lambda: UvLink(here.hub, fail), accepted
                    )
                )
                await until(lambda: errors or made.done())
                await until(lambda: ended(client))
            made.cancel()
            await asyncio.wait([made])
            if not made.cancelled():
                made.exception()

    run_on_each_loop(scenario())


def ended(client: socket.socket) -> bool:
    try:
        return not client.recv(1)
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
