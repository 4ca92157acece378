"""What does a handshake cost beside its parts: llhttp's parse, and the accept key?

The engine also checks every byte of the head against RFC 9112 and the limits, which
neither control does.
"""

from __future__ import annotations

import base64
import hashlib

import httptools

from . import works
from .conftest import Measure
from .rig import HEAD
from .works import Work

COUNT = 16
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Collector:
    """Keeps the headers, as any server must."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))


def test_handshake(measure: Measure) -> None:
    measure(works.handshake(COUNT))


def test_handshake_control_httptools(measure: Measure) -> None:
    # Its Upgrade header makes llhttp stop behind the head, with an exception.
    plain = HEAD.replace(b"Upgrade: websocket\r\n", b"").replace(b"Upgrade", b"close")

    def run() -> None:
        for _ in range(COUNT):
            httptools.HttpRequestParser(Collector()).feed_data(plain)

    measure(Work(run, COUNT))


def test_handshake_control_accept_key(measure: Measure) -> None:
    def run() -> None:
        for _ in range(COUNT):
            digest = hashlib.sha1(b"dGhlIHNhbXBsZSBub25jZQ==" + GUID).digest()
            base64.b64encode(digest)

    measure(Work(run, COUNT))
