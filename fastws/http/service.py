"""What an HTTP connection asks of the program it serves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from ..config import Compression, Limits
from ..engine.handshake import Request

if TYPE_CHECKING:
    from ..engine.binding import Binding

__all__ = ["Handler", "Service", "UpgradeHook", "WebSocketRoute"]

Handler: TypeAlias = Callable[[Request], Any]
"""Answers an HTTP request, plain or ``async``; see ``response.to_response`` for what it
may return. The parameters of its path are in ``request.params``."""

UpgradeHook: TypeAlias = Callable[
    [Request], Mapping[str, str] | Awaitable[Mapping[str, str] | None] | None
]
"""Sees a checked handshake before it is accepted and may raise Reject. A mapping that
it returns is added to the headers of the 101, and ``request.compression`` may be set to
say how this one connection compresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketRoute:
    """Where a handshake leads; built once per route."""

    binding: Binding
    limits: Limits
    upgrade: UpgradeHook | None = None
    # In the order in which we prefer them.
    subprotocols: tuple[str, ...] = ()
    # None: as the service has it.
    compression: Compression | Literal[False] | None = None

    def compression_under(
        self, service: Service, chosen: Compression | bool | None = None
    ) -> Compression | None:
        """How a connection of this route compresses, if it does; ``chosen`` is what its
        upgrade hook says."""
        rule = service.compression if self.compression is None else self.compression
        if chosen is True:
            rule = rule or service.compression or Compression()
        elif chosen is not None:
            rule = chosen
        return rule or None


class Service(Protocol):
    """The program behind a listening socket.

    Everything is read per request, on the loop that the connection belongs to. Paths
    are decoded and normalised: the string that is routed is the one that is served.
    """

    @property
    def limits(self) -> Limits: ...

    @property
    def allowed_origins(self) -> Sequence[str] | None:
        """Origins whose pages may open a WebSocket; ``None``: our own host's."""

    @property
    def debug(self) -> bool:
        """Let loopback origins in, and log how to allow a refused one."""

    @property
    def compression(self) -> Compression | None:
        """How connections compress where their route does not say; ``None``: not."""

    @property
    def has_cohorts(self) -> bool:
        """Whether what we send may have to refer to earlier messages."""

    def websocket_route(
        self, path: str
    ) -> tuple[WebSocketRoute, dict[str, str]] | None:
        """The route of a WebSocket path with the path's parameters."""

    def http_route(
        self, method: str, path: str
    ) -> tuple[Handler, dict[str, str]] | frozenset[str] | None:
        """The handler of a request with the path's parameters.

        The allowed methods when the path exists for others only; ``None`` when it does
        not exist. Where HEAD is not allowed and GET is, GET's handler answers it. A
        handler may raise Reject or Refused (static files say 404 so).
        """
