"""An HttpPeer on a link that only keeps what is written to it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from fastws.config import Compression, Limits
from fastws.engine.deflate import Agreement
from fastws.engine.hub import Hub
from fastws.engine.link import Link
from fastws.http.peer import HttpPeer
from fastws.http.service import Handler, WebSocketRoute

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

HANDSHAKE = {
    "Host": "example.com",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


class FakeLink(Link):
    """Keeps what is written and what is asked for, in order."""

    remote_address: Any = ("192.0.2.1", 50_000)
    secure: Any = False

    def __init__(self, secure: bool = False) -> None:
        self.secure = secure
        self.output = bytearray()
        self.calls: list[str] = []
        self.is_reading = True

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        assert not {"close", "close_write", "abort"} & set(self.calls)
        self.output += data

    def close(self) -> None:
        self.calls.append("close")

    def close_write(self) -> None:
        self.calls.append("close_write")

    def abort(self) -> None:
        self.calls.append("abort")

    def pause_reading(self) -> None:
        assert self.is_reading
        self.is_reading = False

    def resume_reading(self) -> None:
        assert not self.is_reading
        self.is_reading = True


class Opened(list[tuple[Any, ...]]):
    """Stands for Connection: keeps what it is opened with."""

    def open(self, *arguments: Any) -> None:
        self.append(arguments)

    @property
    def early(self) -> bytes:
        found = self[-1][-2]
        assert isinstance(found, bytes)
        return found

    @property
    def subprotocol(self) -> str | None:
        found = self[-1][-3]
        assert found is None or isinstance(found, str)
        return found

    @property
    def agreement(self) -> Agreement | None:
        found = self[-1][-1]
        assert found is None or isinstance(found, Agreement)
        return found


class WatchedPeer(HttpPeer):
    """Keeps the deadline it was given last."""

    deadline: float | None = None

    def set_deadline(self, seconds: float | None) -> None:
        self.deadline = seconds
        super().set_deadline(seconds)


@dataclass
class FakeService:
    limits: Limits = field(default_factory=Limits)
    allowed_origins: list[str] | None = None
    debug: bool = False
    compression: Compression | None = None
    has_cohorts: bool = False
    websockets: dict[str, WebSocketRoute] = field(default_factory=dict)
    handlers: dict[str, dict[str, Handler]] = field(default_factory=dict)

    def websocket_route(
        self, path: str
    ) -> tuple[WebSocketRoute, dict[str, str]] | None:
        route = self.websockets.get(path)
        return None if route is None else (route, {"at": path})

    def http_route(
        self, method: str, path: str
    ) -> tuple[Handler, dict[str, str]] | frozenset[str] | None:
        methods = self.handlers.get(path)
        if methods is None:
            return None
        handler = methods.get(method)
        return frozenset(methods) if handler is None else (handler, {"at": path})

    def answer(self, path: str, handler: Handler, method: str = "GET") -> None:
        self.handlers.setdefault(path, {})[method] = handler

    def open(self, path: str, **options: Any) -> None:
        options.setdefault("binding", object())
        self.websockets[path] = WebSocketRoute(limits=self.limits, **options)


class Exchange:
    """One connection to a service."""

    def __init__(
        self, service: FakeService, hub: Hub | None = None, secure: bool = False
    ) -> None:
        self.service = service
        self.hub = Hub(service.limits) if hub is None else hub
        self.link = FakeLink(secure)
        self.peer = WatchedPeer(service, self.hub, self.link)

    def send(self, *pieces: bytes) -> bytes:
        """Let the pieces arrive; everything that has been answered so far."""
        for piece in pieces:
            self.peer.data_received(piece)
        return self.output

    def lose(self) -> None:
        self.peer.connection_lost(None)
        assert self.hub.handshakes == 0

    @property
    def output(self) -> bytes:
        return bytes(self.link.output)

    @property
    def statuses(self) -> list[int]:
        return statuses(self.output)

    @property
    def is_ended(self) -> bool:
        """Whether the connection is closing, within a second, and deaf."""
        deadline = self.peer.deadline
        return bool({"close", "close_write", "abort"} & set(self.link.calls)) and (
            "abort" in self.link.calls or (deadline is not None and deadline < 1)
        )


def statuses(output: bytes) -> list[int]:
    """The status of every response: their heads and lengths have to fit exactly."""
    found = []
    while output.startswith(b"HTTP/1.1 "):
        head, separator, output = output.partition(b"\r\n\r\n")
        assert separator
        status = int(head.split(b" ")[1])
        found.append(status)
        if status == 101:
            return found
        lines = head.lower().split(b"\r\n")
        lengths = [line for line in lines if line.startswith(b"content-length:")]
        if lengths:
            length = int(lengths[0].partition(b":")[2])
            assert len(output) >= length
            output = output[length:]
    assert output == b""
    return found


def request(
    target: str = "/",
    headers: dict[str, str] | None = None,
    method: str = "GET",
    body: bytes = b"",
) -> bytes:
    lines = [f"{method} {target} HTTP/1.1"]
    merged = {"Host": "example.com", **(headers or {})}
    lines += [f"{name}: {value}" for name, value in merged.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def upgrade(target: str = "/ws", **changes: str | None) -> bytes:
    """A handshake; ``Sec_WebSocket_Key=None`` leaves a header out."""
    headers = dict(HANDSHAKE)
    for keyword, value in changes.items():
        name = keyword.replace("_", "-")
        headers.pop(name, None)
        if value is not None:
            headers[name] = value
    lines = [f"GET {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def whole(data: bytes) -> Iterator[bytes]:
    yield data


def byte_by_byte(data: bytes) -> Iterator[bytes]:
    for index in range(len(data)):
        yield data[index : index + 1]


def at_random(data: bytes) -> Iterator[bytes]:
    source = random.Random(len(data))
    start = 0
    while start < len(data):
        end = start + source.randint(1, 200)
        yield data[start:end]
        start = end


def glued(data: bytes) -> Iterator[bytes]:
    """Behind a request that is answered first, in the same segment."""
    yield request("/first") + data


CHUNKINGS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "whole": whole,
    "byte by byte": byte_by_byte,
    "at random": at_random,
    "glued": glued,
}
