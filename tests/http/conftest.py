"""A service with one of everything, and a record of the WebSockets it opened."""

from __future__ import annotations

import pytest

from fastws.engine.handshake import Request
from tests.http.exchange import FakeService, Opened


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    record = Opened()
    monkeypatch.setattr("fastws.http.peer.Connection", record)
    return record


async def echo(request: Request) -> bytes:
    return await request.body()


@pytest.fixture
def service(opened: Opened) -> FakeService:
    service = FakeService()
    service.open("/ws")
    service.answer("/", lambda request: "home")
    service.answer("/first", lambda request: "first")
    service.answer("/echo", echo, "POST")
    return service
