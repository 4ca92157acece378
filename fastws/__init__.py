"""fastws: a WebSocket server engine for Python programs that need high fan-out.

The distribution is called ``fastws-engine``. What this module names is the public API;
``fastws.testing`` has the in-memory client for tests.
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    raise ImportError("fastws runs on Linux and macOS; on Windows use WSL2")

from .app import App
from .codes import CloseCode, Opcode
from .config import ChannelRule, Compression, Config, Limits
from .endpoint import Endpoint
from .engine.channel import Channel
from .engine.connection import Connection, Subscription
from .engine.handshake import Request
from .errors import (
    ConfigError,
    ConnectionClosed,
    FastwsError,
    HandshakeError,
    ProtocolError,
    PublishUnknown,
    Reject,
    StartupError,
    StateError,
)
from .http.response import Response
from .server import Server
from .types import (
    CompressionCounts,
    Message,
    Payload,
    Position,
    Publication,
    Receipt,
    Recovery,
    SlowPolicy,
)

__all__ = [
    "App",
    "Channel",
    "ChannelRule",
    "CloseCode",
    "Compression",
    "CompressionCounts",
    "Config",
    "ConfigError",
    "Connection",
    "ConnectionClosed",
    "Endpoint",
    "FastwsError",
    "HandshakeError",
    "Limits",
    "Message",
    "Opcode",
    "Payload",
    "Position",
    "ProtocolError",
    "Publication",
    "PublishUnknown",
    "Receipt",
    "Recovery",
    "Reject",
    "Request",
    "Response",
    "Server",
    "SlowPolicy",
    "StartupError",
    "StateError",
    "Subscription",
]
