from collections.abc import Mapping
from typing import Final

from typing_extensions import disjoint_base

from ..config import Limits
from ..errors import FastwsError

METHODS: Final[tuple[str, ...]]
"""Methods a handler can be registered for; another one is answered with 405."""

class Refused(FastwsError):
    """The answer to a request that is not served; ``to_bytes`` is what goes out.

    ``reason`` is a sentence for the peer and the log: it quotes nothing of the request.
    Without ``body`` the answer is one line of text made of status and reason.
    """

    status: int
    reason: str
    headers: dict[str, str]
    body: bytes

    def __init__(
        self,
        status: int,
        reason: str = "",
        headers: Mapping[str, str] | None = None,
        body: str | bytes | None = None,
    ) -> None: ...
    def to_bytes(self, *, head_only: bool = False) -> bytes:
        """The whole response, with ``Connection: close``; ValueError for bad headers.

        ``head_only`` leaves the body out, as the answer to a HEAD must.
        """

@disjoint_base
class HeadScanner:
    """Checks a request head as its bytes arrive, against RFC 9112 and the limits.

    Each byte is looked at once, so a head sent byte by byte costs no more than one in
    one piece, and the answer doesn't depend on the cutting.
    """

    def __init__(self, limits: Limits) -> None: ...
    def reset(self) -> None:
        """Begin with the next head."""

    def feed(self, data: bytes | bytearray, start: int = 0) -> int:
        """Look at the bytes from ``start`` on.

        Returns the position behind the head's empty line, or -1 when all bytes were
        taken and the head goes on. Refused: 400, 405 (with Allow), 414, 431, 505, and
        403 for an Origin longer than a header line may be.
        """

def phrase_of(status: int) -> str:
    """The reason phrase of a status, such as ``"Not Found"``."""

def response_head(
    status: int, headers: Mapping[str, str], *, keep_alive: bool = True
) -> bytes:
    """Status line and headers as bytes, up to and with the empty line.

    ValueError for a name that is no token or a value with CR, LF, NUL or another
    control byte: what a handler sets can't start a second header or response.
    """
