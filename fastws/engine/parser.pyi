from typing import Literal

from .deflate import Agreement

_Event = (
    tuple[Literal["message"], str | bytes]
    | tuple[Literal["ping", "pong"], bytes]
    | tuple[Literal["close"], int, str]
    | tuple[Literal["error"], int, str]
)

class Parser:
    """RFC 6455 section 5 by itself: bytes in, events out, no socket and no loop.

    The engine drives the same code without this class; it is here for tests, fuzzing
    and tools.

    ``client`` is the parser's own role: a client's peer must not mask, a server's must
    (section 5.1). ``max_message`` bounds one message in bytes, all fragments together,
    and is checked at each frame header; ``None`` is no bound. ``max_fragments`` bounds
    its frames, empty ones included; ``None`` means ``max(1024, max_message // 256)``.
    With an ``agreement`` messages may come compressed (RFC 7692); ``max_message`` then
    bounds what they inflate to.
    """

    def __init__(
        self,
        *,
        client: bool = False,
        max_message: int | None = 1048576,
        max_fragments: int | None = None,
        agreement: Agreement | None = None,
    ) -> None: ...
    @property
    def idle(self) -> bool:
        """True between two messages, with no byte of the next one seen."""
    @property
    def buffered(self) -> int:
        """Bytes of memory held for an unfinished message: never more than what has
        arrived plus 64 KiB."""
    def feed(self, data: bytes | bytearray | memoryview) -> list[_Event]:
        """Take bytes; return what they completed, in order.

        ``("message", str | bytes)``, ``("ping", bytes)``, ``("pong", bytes)``,
        ``("close", code, reason)`` with 1005 for a Close frame without a code, or
        ``("error", close_code, kind)`` when the peer broke the protocol. After a close
        or an error every further byte is ignored.
        """
