from typing import Any

from .hub import Hub
from .roster import Owner

class Consumer(Owner):
    """Who receives a link's bytes: a Connection, or a ByteConsumer."""

    @property
    def hub(self) -> Hub: ...
    @property
    def link(self) -> Link: ...
    def set_deadline(self, seconds: float | None) -> None:
        """Have ``expired`` called once, that many seconds from now; None: never."""

class ByteConsumer(Consumer):
    """A consumer written in Python: override what is called here."""

    def __init__(self, hub: Hub, link: Link) -> None: ...
    def change_link(self, link: Link) -> None:
        """Go on with another link, whose consumer it becomes."""
    def data_received(self, data: bytes) -> None:
        """Bytes from the peer."""
    def eof_received(self) -> None:
        """The peer will send no more. Close unless an answer is still due."""
    def connection_lost(self, error: BaseException | None) -> None:
        """The link is gone; nothing comes after this."""
    def writing_paused(self) -> None:
        """The link holds bytes that the peer has not taken."""
    def writing_resumed(self) -> None:
        """The link has got rid of all bytes."""

class ReceiveBuffer:
    """The memory that the links of one loop read into."""

class Link:
    """What carries one connection's bytes.

    Bytes leave in the order of the calls. Nothing raises because the peer has gone.
    Belongs to its loop's thread.
    """

    @property
    def remote_address(self) -> Any:
        """Address of the peer, as its socket family writes it."""
    @property
    def local_address(self) -> Any: ...
    @property
    def secure(self) -> bool:
        """True under TLS."""
    @property
    def write_paused(self) -> bool:
        """True while the link holds bytes that the peer has not taken."""
    @property
    def consumer(self) -> Consumer: ...
    def set_consumer(self, consumer: Consumer) -> None:
        """Who receives the bytes from now on."""
    def write(self, data: bytes) -> None:
        """Send bytes behind all bytes before."""
    def close(self) -> None:
        """Send what was written, then close."""
    def close_write(self) -> None:
        """Send what was written, then a FIN; reading goes on. Under TLS: close."""
    def abort(self) -> None:
        """Close now, whatever is still to be sent."""
    def pause_reading(self) -> None:
        """Read no more; what the peer sends waits in the kernel."""
    def resume_reading(self) -> None:
        """Read again."""
