from typing import Any

from .binding import Binding
from .link import Consumer
from .sent import Sent

class Aside:
    """What few connections have, and only at times."""

class Writing(Consumer):
    """The sending half of a Connection, and its closing."""

    @property
    def binding(self) -> Binding: ...
    @property
    def close_code(self) -> int | None:
        """Why it ended: the code of the first Close frame sent or received, 1005 for
        one without a code, 1006 when there was none; None while it is open."""
    @property
    def close_reason(self) -> str | None:
        """The reason that came with it."""
    @property
    def buffered(self) -> int:
        """Bytes of this connection's own frames that the kernel has not taken."""
    def send(self, message: Any, *, compress: bool | None = None) -> Sent:
        """Queue a message: str as text, bytes-like as binary, anything else as JSON.

        Never blocks and never raises because the peer has gone: the result is falsy
        when the message was refused. Awaiting it waits until the outbox is under its
        low-water mark. Where compression was agreed on, ``compress`` decides, and None
        leaves it to ``threshold`` and ``max_size`` of the rule; what would get no
        smaller goes as it is. Raises TypeError for what JSON cannot hold, ValueError
        for text that UTF-8 cannot, StateError from another thread.
        """
    def drain(self) -> Sent:
        """Awaitable: wait until the outbox is under its low-water mark."""
    def close(self, code: int = 1000, reason: str = "") -> Sent:
        """Begin the closing handshake; a second call changes nothing.

        What was sent before goes out before. Awaiting the result waits until the
        connection has ended. ``code`` is 1000-1003, 1007-1014 or 3000-4999 (RFC 6455
        section 7.4), ``reason`` has at most 123 bytes; else ValueError.
        """
    def wait_closed(self) -> Sent:
        """Awaitable: wait until the connection has ended."""
    def abort(self) -> None:
        """End the connection at once, without a Close frame."""
