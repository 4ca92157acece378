from .hub import Hub
from .link import Link

class Sockets:
    """The sockets that the engine owns on one loop; base of the Poller."""

    @property
    def hub(self) -> Hub: ...
    @property
    def link_count(self) -> int:
        """Links whose end has not been told."""

class Unsent:
    """What the kernel has refused of one link."""

class OwnLink(Link):
    """A link on a plain TCP socket of our own."""

    def duplicate(self) -> int:
        """A second descriptor of the socket, which is not watched until ``take_back``
        or ``give_up``; OSError when there is none to be had."""
    def take_back(self) -> None:
        """Go on with it after all."""
    def give_up(self) -> None:
        """Let go of it without a word: another link has it."""
