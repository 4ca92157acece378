"""Both styles of the echo server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from examples.echo import app
from fastws.testing import connect


@pytest.mark.parametrize("path", ["/echo", "/callback"])
@pytest.mark.parametrize("message", ["text", "", b"binary", b""])
def test_what_was_sent_comes_back(
    run: Callable[..., Any], path: str, message: str | bytes
) -> None:
    async def scenario() -> None:
        async with connect(app, path) as ws:
            await ws.send(message)
            assert await ws.receive(timeout=5) == message

    run(scenario())
