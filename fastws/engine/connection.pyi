import asyncio
from collections.abc import Coroutine, Generator, Iterator
from typing import Any, Generic

from typing_extensions import TypeVar

from ..config import Limits
from ..types import Position
from .binding import Binding
from .deflate import Agreement
from .hub import Hub
from .link import Link
from .reading import Reading
from .request import Headers, Query, Request

_S = TypeVar("_S", default=Any)

class Subscription:
    """In force at once; awaiting it waits for nothing and gives itself."""

    def __init__(
        self, channel: str, position: Position | None = None, recovered: bool = False
    ) -> None: ...
    @property
    def channel(self) -> str: ...
    @property
    def position(self) -> Position | None:
        """Where the channel's history stood then; None: it has none."""
    @property
    def recovered(self) -> bool:
        """True: everything since the place that was asked for is sent, in order.
        False: nothing of it is."""
    def __await__(self) -> Generator[Any, Any, Any]: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __next__(self) -> Any: ...

class Connection(Reading, Generic[_S]):
    """One WebSocket.

    Belongs to its loop's thread: every method raises StateError elsewhere. Inert after
    its end: methods then do nothing or say that it is closed.
    """

    state: _S

    def __init__(self) -> None:
        """Connections are made by the server: always raises TypeError."""
    @staticmethod
    def open(
        hub: Hub,
        link: Link,
        binding: Binding,
        request: Request,
        params: dict[str, str],
        subprotocol: str | None,
        early: bytes = b"",
        agreement: Agreement | None = None,
    ) -> Connection[Any]:
        """Take over a link whose upgrade has been answered; run the endpoint. ``early``
        is what came behind the request, ``agreement`` what was agreed on about
        compression."""
    @staticmethod
    def open_client(
        hub: Hub,
        link: Link,
        limits: Limits,
        subprotocol: str | None = None,
        early: bytes = b"",
        agreement: Agreement | None = None,
    ) -> Connection[Any]:
        """The other end: masks what it sends, and is read by ``receive``."""
    @property
    def id(self) -> str:
        """Opaque, unique for the life of the server."""
    @property
    def app(self) -> Any:
        """The application that this connection belongs to."""
    @property
    def path(self) -> str:
        """Path of the opening request."""
    @property
    def params(self) -> dict[str, str]:
        """Parameters of the route, from the path."""
    @property
    def headers(self) -> Headers:
        """Headers of the opening request: until ``on_open`` has returned, or with
        ``keep_headers=True``; else StateError."""
    @property
    def query(self) -> Query:
        """Query parameters of the opening request; as long as ``headers``."""
    @property
    def subprotocol(self) -> str | None:
        """What was agreed on."""
    @property
    def remote_address(self) -> Any:
        """Address of the peer, as its socket family writes it."""
    @property
    def is_open(self) -> bool:
        """True until either side has begun to close."""
    @property
    def latency(self) -> float | None:
        """Seconds between our last ping and its pong; None before the first."""
    @property
    def task(self) -> asyncio.Task[Any] | None:
        """The task of a coroutine endpoint while it runs."""
    @property
    def channels(self) -> list[str]:
        """Names of the channels that this connection is subscribed to."""
    def subscribe(self, channel: str, *, since: Position | None = None) -> Subscription:
        """Receive what is published to a channel from now on.

        ``since`` is a place in the channel's history: everything behind it is sent
        first, all of it or nothing, see ``Subscription.recovered``. A connection that
        is subscribed already stays so; with ``since`` that is a StateError, because
        what it missed can't be sent between what it has. Raises ValueError for a name
        that is none, StateError over the limit of channels, ConnectionClosed.
        """
    def unsubscribe(self, channel: str) -> bool:
        """Stop receiving a channel; False when it was not subscribed. What was
        published before still goes out, unless the peer is too slow to take it now."""
    def lag(self, channel: str) -> int:
        """Bytes of a channel that are owed to this connection."""
    def publish(
        self,
        channel: str,
        message: Any,
        *,
        key: str | None = None,
        include_self: bool = False,
        compress: bool | None = None,
    ) -> None:
        """Send a message to every subscriber of a channel, but not to this
        connection. Otherwise as ``App.publish``."""
    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine beside the handler; it is cancelled when the connection ends.
        What it raises closes the connection like a handler's exception."""
