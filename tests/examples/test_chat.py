"""The chat server of the README, served for real."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from examples.chat import app
from fastws.testing import connect


def test_a_line_reaches_the_others_in_the_room(run: Callable[..., Any]) -> None:
    async def scenario() -> None:
        async with (
            connect(app, "/rooms/lobby") as ada,
            connect(app, "/rooms/lobby") as linus,
            connect(app, "/rooms/cellar") as grace,
        ):
            ada.send("hello")
            assert await linus.receive(timeout=5) == "hello"
            linus.send("hello back")
            assert await ada.receive(timeout=5) == "hello back"
            grace.send("nobody here")
            ada.send("still two of us")
            assert await linus.receive(timeout=5) == "still two of us"

    run(scenario())
