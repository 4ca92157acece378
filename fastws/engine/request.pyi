from collections.abc import Iterator
from typing import Any, overload

from typing_extensions import disjoint_base

from ..config import Compression, Limits

@disjoint_base
class Fields:
    """Names with one or more values each, in the order they came."""

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    @overload
    def get(self, name: str, default: None = None) -> str | None:
        """The first value of this name."""

    def getall(self, name: str) -> list[str]:
        """Every value of this name, an empty list when there is none."""

    def __getitem__(self, name: str, /) -> str: ...
    def __contains__(self, name: object, /) -> bool: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...
    def keys(self) -> list[str]:
        """Every name, once."""

    def values(self) -> list[str]:
        """The first value of each name."""

    def items(self) -> list[tuple[str, str]]:
        """Each name with its first value."""

@disjoint_base
class Headers(Fields):
    """The headers of a request: names in lower case, found in any; values Latin-1."""

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None: ...

@disjoint_base
class Query(Fields):
    """The parameters of a query string, percent-decoded."""

    def __init__(self, text: str) -> None: ...

@disjoint_base
class Request:
    """One HTTP request, its head complete and checked. Made by the server only."""

    @property
    def method(self) -> str:
        """One of ``METHODS``."""

    @property
    def target(self) -> str:
        """Path and query as they were sent."""

    @property
    def path(self) -> str:
        """The path, percent-decoded once; it has no dot segments. What is routed is
        what is served."""

    @property
    def query_string(self) -> str:
        """What follows the question mark, as it was sent."""

    @property
    def query(self) -> Query:
        """The query's parameters; parsed when first asked for."""

    @property
    def headers(self) -> Headers:
        """All headers; decoded when first asked for."""

    @property
    def host(self) -> str:
        """The Host header, empty in an HTTP/1.0 request without one."""

    @property
    def origins(self) -> list[str]:
        """Every Origin header; more than one is never right."""

    @property
    def http_version(self) -> str:
        """``"1.1"`` or ``"1.0"``."""

    @property
    def remote_address(self) -> Any:
        """Address of the peer as its socket gives it; None where there is no socket."""

    @property
    def secure(self) -> bool:
        """Whether it came over TLS."""

    @property
    def is_upgrade(self) -> bool:
        """Whether it asks for a WebSocket, rightly or not."""

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """What the peer offers, in its order; known after ``check_upgrade``."""

    @property
    def extensions(self) -> bytes:
        """What the peer offers in Sec-WebSocket-Extensions, as it was sent; several
        headers are one list. Empty when there is none."""

    @property
    def content_length(self) -> int | None:
        """Bytes of the body, where a header says so."""

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks."""

    @property
    def keep_alive(self) -> bool:
        """Whether another request may follow on the connection."""

    @property
    def expects_continue(self) -> bool:
        """Whether the peer waits for a 100 before it sends the body."""

    params: dict[str, str]
    """Parameters of the route's path."""

    compression: Compression | bool | None
    """For an upgrade hook: how this one connection compresses, if the client offers it.
    ``True`` as its route or the server says, or with the defaults; ``False`` not."""

    def set_body(self, body: bytes) -> None:
        """Give the request its body; the server does so before the handler runs."""

    async def body(self) -> bytes:
        """The whole body, empty when there is none."""

    async def text(self) -> str:
        """The body as UTF-8; Refused (400) when it is not."""

    async def json(self) -> Any:
        """The body's JSON value; Refused (400) when it has none."""

def parse_head(
    data: bytes, limits: Limits, remote_address: Any = None, secure: bool = False
) -> Request:
    """The request whose whole head is ``data``; Refused when it is not right."""

def read_request(
    head: bytes, remote_address: Any = None, secure: bool = False
) -> Request:
    """The request of a head that ``HeadScanner`` found complete.

    Refused: 400 (Host, framing, escapes, form of the target), 404 (dot segments), 417.
    """
