"""The one payload rule of send, publish and broadcast."""

from __future__ import annotations

import array
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Run
from tests.engine.peers import Peer, World, world

SENDERS: dict[str, Callable[[World, Peer, Any], object]] = {
    "send": lambda here, peer, message: peer.ws.send(message),
    "publish": lambda here, peer, message: here.hub.publish("a", message),
    "broadcast": lambda here, peer, message: here.hub.broadcast(message),
    "own publish": lambda here, peer, message: peer.ws.publish(
        "a", message, include_self=True
    ),
}
MESSAGES: list[tuple[Any, str | bytes]] = [
    ("", ""),
    ("ascii", "ascii"),
    ("ünï ☃ \U0001f600", "ünï ☃ \U0001f600"),
    ("\x00", "\x00"),
    (b"", b""),
    (b"\xff\x00", b"\xff\x00"),
    (bytearray(b"bytearray"), b"bytearray"),
    (bytearray(), b""),
    (memoryview(b"view"), b"view"),
    (memoryview(b""), b""),
    (memoryview(b"0123456789")[::2], b"02468"),
    (memoryview(b"0123")[::-1], b"3210"),
    (memoryview(array.array("H", [1, 2])), array.array("H", [1, 2]).tobytes()),
    (memoryview(bytes(6)).cast("B", (2, 3)), bytes(6)),
    ({"a": [1, None, "ü"]}, '{"a":[1,null,"ü"]}'),
    ([], "[]"),
    (None, "null"),
    (True, "true"),
    (1.5, "1.5"),
]
# Each form of a frame's length, and what is larger than a log's segment.
SIZES = (125, 126, 65_535, 65_536, 300_000)


@pytest.mark.parametrize("how", SENDERS)
def test_a_message_becomes_text_binary_or_json(run: Run[None], how: str) -> None:
    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect()
            peer.ws.subscribe("a")
            for message, _ in MESSAGES:
                SENDERS[how](here, peer, message)
            expected = [payload for _, payload in MESSAGES]
            assert await peer.see_messages(len(MESSAGES)) == expected

    run(scenario())


@pytest.mark.parametrize("how", SENDERS)
@pytest.mark.parametrize("size", SIZES)
def test_every_length_has_its_header(run: Run[None], how: str, size: int) -> None:
    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect()
            peer.ws.subscribe("a")
            SENDERS[how](here, peer, b"x" * size)
            SENDERS[how](here, peer, "ü" * size)
            assert await peer.see_messages(2) == [b"x" * size, "ü" * size]

    run(scenario())


@pytest.mark.parametrize("how", SENDERS)
@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("lone \ud800 surrogate", ValueError),
        (object(), TypeError),
        ({1, 2}, TypeError),
        ({"deep": object()}, TypeError),
        (array.array("B", [1]), TypeError),
    ],
    ids=["surrogate", "object", "set", "nested", "array"],
)
def test_what_has_no_payload_fails_for_its_author_and_nobody_else(
    run: Run[None], how: str, message: Any, error: type[Exception]
) -> None:
    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect()
            peer.ws.subscribe("a")
            with pytest.raises(error):
                SENDERS[how](here, peer, message)
            SENDERS[how](here, peer, "next")
            assert await peer.see_messages(1) == ["next"]

    run(scenario())


def test_publishing_to_nobody_fails_as_well(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            with pytest.raises(TypeError):
                here.hub.publish("nobody", object())

    run(scenario())


def test_a_released_view_is_an_error(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect()
            view = memoryview(b"data")
            view.release()
            with pytest.raises(ValueError, match="released"):
                peer.ws.send(view)

    run(scenario())


@pytest.mark.parametrize("how", SENDERS)
def test_a_buffer_may_change_after_the_call(run: Run[None], how: str) -> None:
    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect()
            peer.ws.subscribe("a")
            buffer = bytearray(b"before")
            SENDERS[how](here, peer, buffer)
            buffer[:] = b"changed and grown"
            assert await peer.see_messages(1) == [b"before"]

    run(scenario())
