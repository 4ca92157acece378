"""Notifications from an HTTP request to an open tab."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable
from typing import Any

from examples.notifications import app
from fastws.testing import connect


def ask(method: str, url: str, body: str | None = None) -> Any:
    data = None if body is None else body.encode()
    request = urllib.request.Request(url, data=data, method=method)
    with urllib.request.urlopen(request, timeout=5) as answer:
        content = answer.read()
    return json.loads(content) if content else None


def test_a_notification_is_posted_pushed_and_read(run: Callable[..., Any]) -> None:
    async def scenario() -> None:
        async with app.serve(port=0) as server, connect(app, "/users/ada") as tab:
            inbox = f"http://127.0.0.1:{server.port}/users/ada/notifications"
            first = await tab.receive_json()
            assert first == {"type": "unread", "notifications": {}}

            answer = await asyncio.to_thread(ask, "POST", inbox, "Your parcel is here")
            number = answer["number"]
            pushed = {"type": "new", "number": number, "text": "Your parcel is here"}
            assert await tab.receive_json() == pushed
            listed = await asyncio.to_thread(ask, "GET", inbox)
            assert listed == {number: "Your parcel is here"}

            async with connect(app, "/users/ada") as second:
                unread = {"type": "unread", "notifications": listed}
                assert await second.receive_json() == unread
                await asyncio.to_thread(ask, "POST", f"{inbox}/{number}/read")
                read = {"type": "read", "number": number}
                assert await tab.receive_json() == read
                assert await second.receive_json() == read
            assert await asyncio.to_thread(ask, "GET", inbox) == {}

    run(scenario())
