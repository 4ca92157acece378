from collections.abc import Callable, Iterable
from typing import Any

from .hub import Hub
from .link import Consumer, Link
from .ownlink import OwnLink

class Entrance:
    """Who gets what a listening socket accepts: the consumer that a factory makes."""

    def __init__(self, factory: Callable[[Hub, Link], Consumer]) -> None: ...

class WebEntrance(Entrance):
    """The entrance of a web server: plain upgrades become connections at once.

    Everything else goes to what ``factory`` makes, with the bytes that were read; its
    third argument is the handshake's deadline on the hub's clock (0: none) of a peer
    that was admitted before, None for a new one. ``service`` is what the HTTP side
    serves (``fastws.http.service.Service``); ``admits_origin`` gets a request's Origin
    and Host, ``log_accepted`` the path of each upgrade.
    """

    def __init__(
        self,
        factory: Callable[[Hub, Link, float | None], Consumer],
        service: Any,
        admits_origin: Callable[[str, str], bool],
        log_accepted: Callable[[str], None],
    ) -> None: ...
    @property
    def waiting(self) -> int:
        """Connections of which nothing has been heard yet."""
    def stop(self, links: Iterable[OwnLink]) -> None:
        """Close those of ``links`` that came through here and have sent nothing."""

class Opening(Consumer):
    """A connection of which nothing has been heard yet; it counts as a handshake."""
