"""Each example can be served and left, as its first lines say."""

from __future__ import annotations

import pytest
from websockets.sync.client import connect

from ..support.program import serving

PATHS = {
    "examples.chat:app": "/rooms/lobby",
    "examples.demo.app:app": "/live",
    "examples.echo:app": "/echo",
    "examples.notifications:app": "/users/ada",
}


@pytest.mark.parametrize("target", PATHS)
def test_the_example_is_served_and_stops(target: str) -> None:
    with (
        serving(target) as server,
        connect(server.websocket(PATHS[target]), proxy=None) as ws,
    ):
        ws.send('{"type": "ping", "sent": 0}')
