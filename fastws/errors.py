"""Every exception fastws raises.

::

    Exception
     └── FastwsError
          ├── ProtocolError       the peer broke RFC 6455 or a limit
          ├── ConnectionClosed    the connection is over: receive() has nothing more
          ├── Reject              raised by an upgrade hook: answer with this status
          ├── HandshakeError      our client's upgrade got another answer than 101
          ├── ConfigError         an option or an endpoint is not what it has to be
          ├── PublishUnknown      nobody can say whether a publication happened
          ├── StartupError        the server could not start listening
          └── StateError          right call, wrong thread, loop or moment
                                  (also a RuntimeError)

``ProtocolError`` and ``ConnectionClosed`` are about the peer; ``ConfigError``,
``StartupError`` and ``StateError`` are about the program that calls fastws.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "ConfigError",
    "ConnectionClosed",
    "FastwsError",
    "HandshakeError",
    "ProtocolError",
    "PublishUnknown",
    "Reject",
    "StartupError",
    "StateError",
]


class FastwsError(Exception):
    """Base of every exception that fastws raises."""


class ProtocolError(FastwsError):
    """The peer broke RFC 6455 or one of our limits.

    ``code`` is the close code it is answered with; ``kind`` is a stable name for logs
    and counters, such as ``"unmasked_frame"``.
    """

    def __init__(self, code: int, kind: str, message: str = "") -> None:
        super().__init__(message or kind)
        self.code = code
        self.kind = kind


class ConnectionClosed(FastwsError):
    """The connection is closed and nothing more will come from it.

    ``code`` is the close code (1005: the peer gave none, 1006: it went without a
    close frame), ``reason`` the peer's text or ours, at most 123 bytes of UTF-8.
    """

    def __init__(self, code: int = 1006, reason: str = "") -> None:
        super().__init__(f"connection closed: {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class Reject(FastwsError):
    """Raise it in an upgrade hook to answer the handshake with an HTTP response.

    ``status`` is an HTTP status from 300 to 599, ``body`` text (sent as UTF-8) or
    bytes, ``headers`` are added to the response.
    """

    def __init__(
        self,
        status: int = 403,
        body: str | bytes = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if not 300 <= status <= 599:
            raise ValueError(f"Reject: status must be from 300 to 599, not {status!r}")
        super().__init__(f"upgrade refused with status {status}")
        self.status = status
        self.body = body
        self.headers: dict[str, str] = dict(headers or {})


class HandshakeError(FastwsError):
    """A client's upgrade request was answered with something else than 101.

    ``status`` is the HTTP status, ``headers`` maps lower-case names to values, and
    ``body`` is the response body.
    """

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"the server answered the upgrade with status {status}")
        self.status = status
        self.body = body
        self.headers: dict[str, str] = dict(headers or {})


class ConfigError(FastwsError):
    """An option, a rule or a configuration value is not what it has to be."""


class PublishUnknown(FastwsError):
    """Nobody answered in time whether a message was published: it may have been.

    Publishing it again with the same idempotency key does no harm: it happens once.
    """


class StartupError(FastwsError):
    """The server could not start: the message says what is wrong and what to do."""


class StateError(FastwsError, RuntimeError):
    """A correct call from the wrong thread, on the wrong loop or at a wrong moment."""
