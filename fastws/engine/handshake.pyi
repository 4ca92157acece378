from collections.abc import Iterable, Mapping

from .deflate import Agreement, Deflate
from .head import METHODS, HeadScanner, Refused, phrase_of, response_head
from .request import Headers, Query, Request, parse_head, read_request

__all__ = [
    "METHODS",
    "HeadScanner",
    "Headers",
    "Query",
    "Refused",
    "Request",
    "accept_response",
    "check_response",
    "check_upgrade",
    "client_request",
    "parse_head",
    "phrase_of",
    "read_request",
    "response_head",
]

def check_upgrade(request: Request) -> str:
    """The accept key for a right handshake; Refused (400, 405, 426, 505) otherwise.

    Sets ``request.subprotocols``. RFC 6455 section 4.2.1; the Origin is not looked at.
    """

def accept_response(
    accept: str,
    subprotocol: str | None = None,
    extra_headers: Mapping[str, str] | None = None,
    extensions: bytes | None = None,
) -> bytes:
    """The 101 answer; ValueError when an extra header is malformed or reserved.

    ``extensions`` is the value of Sec-WebSocket-Extensions.
    """

def client_request(
    host: str,
    path: str,
    key: str,
    *,
    subprotocols: Iterable[str] = (),
    extensions: bytes | None = None,
    origin: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """The upgrade request of a client; ValueError when a part would break it.

    ``host`` is the Host header with the port, ``path`` the target with its query, and
    ``key`` 16 random bytes in base64.
    """

def check_response(
    head: bytes,
    key: str,
    subprotocols: Iterable[str] = (),
    deflate: Deflate | None = None,
) -> tuple[str | None, Agreement | None]:
    """What the server chose: the subprotocol and the agreement on compression, each one
    or None; the answer must be right.

    ``head`` ends with the empty line, ``deflate`` made the offer. HandshakeError for a
    status other than 101, ProtocolError for a 101 that does not answer this request.
    """
