import socket
from collections.abc import Callable

from .hub import Hub
from .link import Consumer, Link
from .opening import Entrance
from .ownlink import OwnLink, Sockets

AVAILABLE: bool
"""Whether this platform has what the poller needs."""

class Listener:
    """A listening socket in a poller."""

class Poller(Sockets):
    """The plain TCP sockets that the engine owns on one loop."""

    def __init__(self, hub: Hub) -> None: ...
    @property
    def links(self) -> list[OwnLink]:
        """Every link whose end has not been told."""
    @property
    def is_open(self) -> bool:
        """Whether it is in the loop; it leaves with its last socket."""
    @property
    def turns(self) -> int:
        """How often the loop has found something ready."""
    def listen(self, sock: socket.socket, entrance: Entrance) -> None:
        """Accept from a listening socket, which stays the caller's."""
    def unlisten(self, sock: socket.socket) -> None:
        """Accept no more from it; call it before the socket is closed."""
    def adopt(
        self, sock: socket.socket, factory: Callable[[Hub, Link], Consumer]
    ) -> OwnLink:
        """Take over a connected socket; its object is left without it."""

def poller_of(hub: Hub) -> Poller:
    """The hub's poller, made when it is first asked for."""
