import asyncio
from collections.abc import Callable
from typing import Any

from ..config import ChannelRule, Limits
from .connection import Connection
from .counters import Counters

class Owner:
    """What stands behind a connection in the hub."""

    def __init__(self) -> None: ...
    def expired(self) -> None:
        """Called once when the deadline has passed."""

class Rule:
    """A ChannelRule as the engine reads it."""

    def __init__(self, rule: ChannelRule) -> None: ...

class Channel:
    """A named stream of messages; exists while it has subscribers."""

    def __init__(
        self, hub: Hub, name: str, rule: Rule, *, hidden: bool = False
    ) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def hub(self) -> Hub: ...
    @property
    def subscribers(self) -> int:
        """Connections subscribed now."""

class Hub:
    """All channels and connections of one event loop, and the flush.

    Belongs to the thread that makes it; only ``publish`` and ``broadcast`` may come
    from others. ``clock`` gives monotonic seconds; tests pass one of their own.
    """

    clock: Callable[[], float]
    rule_for: Callable[[str], ChannelRule]
    on_connect: Callable[[Connection], Any] | None
    on_disconnect: Callable[[Connection, int, str], Any] | None
    on_subscribe: Callable[[Connection, str], Any] | None
    on_unsubscribe: Callable[[Connection, str], Any] | None
    on_message: Callable[[Connection, str | bytes], Any] | None
    handshakes: int
    receive_buffer: Any
    poller: Any
    slice_nanoseconds: int

    def __init__(
        self,
        limits: Limits | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def counters(self) -> Counters: ...
    @property
    def id_prefix(self) -> str: ...
    @property
    def channels(self) -> dict[str, Channel]:
        """The channels that have subscribers, by name (a copy)."""
    @property
    def connections(self) -> list[Connection]:
        """Every open connection."""
    @property
    def connection_count(self) -> int:
        """How many connections are open."""
    def connection(self, id: str) -> Connection | None:
        """The open connection with this id, or None."""
    def publish(
        self, channel: str, message: Any, *, exclude: Connection | None = None
    ) -> None:
        """Send a message to every subscriber of a channel, in the order of the calls.

        From any thread; from another than the loop's it is sent in a later turn, as it
        is now. Raises TypeError for what JSON cannot hold, ValueError for text that
        UTF-8 cannot.
        """
    def broadcast(self, message: Any, *, exclude: Connection | None = None) -> None:
        """Send a message to every connection. Otherwise as ``publish``."""
    def flush(self) -> None:
        """The end of a tick: write what is owed, for one slice of time."""
