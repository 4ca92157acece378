"""Type aliases of the public API."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

__all__ = ["Event", "LinkKind", "LoopKind", "Message", "Payload", "SlowPolicy"]

Message: TypeAlias = str | bytes
"""What a connection delivers: ``str`` for text messages, ``bytes`` for binary ones."""

Payload: TypeAlias = str | bytes | bytearray | memoryview | Any
"""What can be sent: ``str`` goes out as text, bytes-like as binary, and anything else
as JSON text."""

SlowPolicy: TypeAlias = Literal["close"]
"""What happens to a subscriber that falls too far behind its channel."""

Event: TypeAlias = Literal[
    "connect", "subscribe", "unsubscribe", "message", "disconnect"
]
"""What ``App.on`` can listen to."""

LoopKind: TypeAlias = Literal["auto", "uvloop", "asyncio"]
"""Which event loop ``App.run`` makes; ``auto`` takes uvloop where it is installed."""

LinkKind: TypeAlias = Literal["auto", "uvloop", "own"]
"""What carries the bytes of a connection: a transport of the event loop (``uvloop``, of
asyncio's loop too), or a socket that the engine owns (``own``: Linux, no TLS). ``auto``
takes ``own`` where it can be had."""
