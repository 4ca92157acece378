import asyncio
from collections.abc import Callable
from typing import Any

from ..config import ChannelRule, Compression, Limits
from .channel import Keeper
from .connection import Connection
from .counters import Counters
from .deflate import Agreement, Deflate

class Owner:
    """What stands behind a connection in the hub."""

    def __init__(self) -> None: ...
    @property
    def agreement(self) -> Agreement | None:
        """What the handshake agreed on about compression; None: there is none."""
    def expired(self) -> None:
        """Called once when the deadline has passed."""

class Roster(Keeper):
    """The connections of one event loop."""

    clock: Callable[[], float]
    rule_for: Callable[[str], ChannelRule]
    on_connect: Callable[[Connection], Any] | None
    on_disconnect: Callable[[Connection, int, str], Any] | None
    on_subscribe: Callable[[Connection, str], Any] | None
    on_unsubscribe: Callable[[Connection, str], Any] | None
    on_message: Callable[[Connection, str | bytes], Any] | None
    on_skip: Callable[[Connection, str, int], Any] | None
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
    def connections(self) -> list[Connection]:
        """Every open connection."""
    @property
    def connection_count(self) -> int:
        """How many connections are open."""
    def deflate(self, rule: Compression, *, has_cohorts: bool = False) -> Deflate:
        """How this loop compresses under a rule: one for all rules that are equal."""
    def connection(self, id: str) -> Connection | None:
        """The open connection with this id, or None."""
