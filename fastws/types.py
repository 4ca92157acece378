"""Types of the public API: aliases, and the records that calls give back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

__all__ = [
    "BatchForm",
    "Compress",
    "CompressionCounts",
    "Event",
    "LinkKind",
    "LoopKind",
    "Message",
    "Payload",
    "Position",
    "Publication",
    "Receipt",
    "Recovery",
    "SlowPolicy",
    "Survives",
]

Message: TypeAlias = str | bytes
"""What a connection delivers: ``str`` for text messages, ``bytes`` for binary ones."""

Payload: TypeAlias = str | bytes | bytearray | memoryview | Any
"""What can be sent: ``str`` goes out as text, bytes-like as binary, and anything else
as JSON text."""

SlowPolicy: TypeAlias = Literal["close", "skip", "latest", "resume"]
"""What happens to a subscriber that falls too far behind its channel."""

BatchForm: TypeAlias = Literal["frames", "array"]
"""How the publications of a batching window leave: one frame each, or one JSON array
of all of them."""

Compress: TypeAlias = bool | Literal["cohort"]
"""How a channel is compressed for those that agreed to compression: each message by
itself (``True``), not at all (``False``), or as one growing text (``"cohort"``)."""

Survives: TypeAlias = Literal["nothing", "process"]
"""What an acknowledged publication outlives: ``process``, the connections, for it is in
the history that this process keeps; ``nothing``, it is on its way to who is subscribed,
and kept nowhere."""

Event: TypeAlias = Literal[
    "connect", "subscribe", "unsubscribe", "message", "skip", "disconnect"
]
"""What ``App.on`` can listen to."""

LoopKind: TypeAlias = Literal["auto", "uvloop", "asyncio"]
"""Which event loop ``App.run`` makes; ``auto`` takes uvloop where it is installed."""

LinkKind: TypeAlias = Literal["auto", "uvloop", "own"]
"""What carries the bytes of a connection: a transport of the event loop (``uvloop``, of
asyncio's loop too), or a socket that the engine owns (``own``: Linux, no TLS). ``auto``
takes ``own`` where it can be had."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a channel's history: where a client has got to.

    ``offset`` counts the channel's publications from 1, without a hole; 0 is before the
    first. ``epoch`` names one life of the history: offsets of two epochs have nothing
    to do with each other.
    """

    epoch: str
    offset: int


@dataclass(frozen=True, slots=True)
class Publication:
    """One message of a channel's history; ``time`` is seconds since 1970, UTC."""

    offset: int
    message: Message
    key: str | None
    time: float


@dataclass(frozen=True, slots=True)
class Recovery:
    """What ``Channel.read`` found, oldest first; iterate over it.

    ``position`` is the one to read on from. ``recovered`` says that everything behind
    the position that was asked about is in here; when it is False, some of that is
    gone, and nothing is in here.
    """

    publications: tuple[Publication, ...]
    position: Position
    recovered: bool = True

    def __iter__(self) -> Iterator[Publication]:
        return iter(self.publications)

    def __len__(self) -> int:
        return len(self.publications)


@dataclass(frozen=True, slots=True)
class CompressionCounts:
    """What compressing has made of a channel's messages so far.

    ``messages`` counts those that compression was tried on, once for each size of
    window that it is compressed for; ``bytes_before`` are theirs, ``bytes_after`` what
    they became: as many where a message would have got no smaller and went out as it
    was. ``seconds`` is the time it took.
    """

    messages: int
    bytes_before: int
    bytes_after: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to an acknowledged publication.

    ``epoch`` and ``offset`` are its place in the channel's history, None without one.
    ``survives`` names what the message outlives. ``duplicate`` says that this
    idempotency key had been used before: nothing was published now, and the rest is
    the first answer.
    """

    epoch: str | None
    offset: int | None
    survives: Survives
    duplicate: bool = False

    @property
    def position(self) -> Position | None:
        """``epoch`` and ``offset`` together, None without history."""
        if self.epoch is None or self.offset is None:
            return None
        return Position(self.epoch, self.offset)
