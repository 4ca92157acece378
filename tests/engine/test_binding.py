"""An endpoint as the engine calls it: limits, and which callbacks there are."""

from __future__ import annotations

from typing import Any

import pytest

from fastws import Connection, Limits
from fastws.engine.binding import Binding
from tests.conftest import Run
from tests.engine.peers import turns, until, world
from tests.support.frames import BINARY, CONTINUATION, PING, binary, close, frame, text


def test_a_binding_says_what_it_was_made_of() -> None:
    app, limits = object(), Limits(max_message=5)

    def callback(*arguments: Any) -> None: ...

    binding = Binding(app=app, limits=limits, on_message=callback, keep_headers=True)
    assert binding.app is app
    assert binding.limits is limits
    assert binding.on_message is callback
    assert binding.on_open is binding.on_drain is binding.on_close is None
    assert binding.coroutine is None
    assert not binding.is_async
    assert binding.keep_headers


def test_without_limits_it_has_the_defaults() -> None:
    assert Binding().limits == Limits()


def test_without_callbacks_everything_is_ignored(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect()
            peer.send(text("ignored"), close(1000))
            assert await peer.see_close() == (1000, b"")
            await peer.see_end()

    run(scenario())


@pytest.mark.parametrize(
    ("limits", "frames", "code"),
    [
        (Limits(max_message=10), [binary(b"x" * 11)], 1009),
        (
            Limits(max_fragments=2),
            [frame(BINARY, b"", fin=False)] + [frame(CONTINUATION, b"", fin=False)] * 2,
            1008,
        ),
        (Limits(message_rate=1, message_burst=3), [text("x")] * 4, 1008),
        (Limits(control_rate=1, control_burst=2), [frame(PING, b"")] * 3, 1008),
    ],
    ids=["size", "fragments", "messages", "control frames"],
)
def test_a_routes_limits_hold(
    run: Run[None], limits: Limits, frames: list[bytes], code: int
) -> None:
    async def scenario() -> None:
        async with world(limits) as here:
            peer = await here.connect()
            peer.send(*frames)
            assert (await peer.see_close())[0] == code

    run(scenario())


def test_none_switches_a_limit_off(run: Run[None]) -> None:
    limits = Limits(
        max_message=None,
        ping_interval=None,
        pong_timeout=None,
        message_timeout=None,
        max_stall=None,
        control_rate=None,
        message_rate=None,
        max_channels=None,
    )

    async def scenario() -> None:
        got: list[object] = []
        async with world(
            limits, on_message=lambda ws, message: got.append(message)
        ) as (here):
            peer = await here.connect()
            peer.send(*[frame(PING, b"")] * 100)
            await peer.see(lambda: len(peer.pongs) == 100)
            half = b"x" * (1 << 20)
            for opcode, fin in (BINARY, False), (CONTINUATION, True):
                data = memoryview(frame(opcode, half, fin=fin))
                while data:
                    data = data[peer.socket.send(data[:65_536]) :]
                    await turns(3)
                await here.pass_time(100)
            await until(lambda: got == [half * 2])
            for number in range(200):
                peer.ws.subscribe(f"channel.{number}")
            assert len(peer.ws.channels) == 200
            assert peer.ws.is_open

    run(scenario())


def test_two_routes_of_one_hub_have_their_own_limits(run: Run[None]) -> None:
    async def scenario() -> None:
        got: list[tuple[Connection[Any], object]] = []

        def take(ws: Connection[Any], message: object) -> None:
            got.append((ws, message))

        async with world(Limits(max_message=10), on_message=take) as here:
            roomy = Binding(limits=Limits(max_message=100), on_message=take)
            one, two = await here.connect(), await here.connect(binding=roomy)
            one.send(binary(b"x" * 50))
            two.send(binary(b"x" * 50))
            assert (await one.see_close())[0] == 1009
            await until(lambda: got == [(two.ws, b"x" * 50)])

    run(scenario())
