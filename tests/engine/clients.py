"""Strict clients of a server that compresses, and what they should see.

Each has one real inflater, and compares every message with the next one that is due to
it. A message may be missing only where its channel's policy lets it: how large a
compressed frame is, and so which ones a policy takes, the model can't know.
"""

from __future__ import annotations

import itertools
import random
import socket
import ssl
import zlib
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from fastws import ChannelRule, Compression, Connection
from fastws.engine.deflate import Agreement
from fastws.engine.hub import Hub
from fastws.engine.link import ByteConsumer, Link
from tests.support.deflating import Inflater, inflated
from tests.support.frames import BINARY, CLOSE, PING, frame

Wish: TypeAlias = bool | None


@dataclass(eq=False, slots=True)
class Item:
    """One message, as it was handed over."""

    stream: Stream
    opcode: int
    payload: bytes
    # May it be compressed, for a client of each Compression rule?
    may: tuple[bool, ...]
    wish: Wish = None
    key: str | None = None
    number: int = 0


@dataclass(eq=False, slots=True)
class Period:
    """One time that a client is subscribed to a channel."""

    start: int
    told: int = 0
    missed: list[Item] = field(default_factory=list)


@dataclass(eq=False)
class Stream:
    """A channel."""

    name: str
    rule: ChannelRule
    members: dict[Client, Period] = field(default_factory=dict)
    number: int = 0
    kept: deque[tuple[Item, Client | None]] = field(init=False)
    newest: dict[str | None, int] = field(default_factory=dict)
    # There is memory to fill up from history.
    remembers: bool = True
    # How far clients got that have left.
    reached: dict[Client, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.kept = deque(maxlen=self.rule.history or 0)

    @property
    def loses(self) -> bool:
        """Its policy may leave something out."""
        rule = self.rule
        patient = rule.slow == "close" or rule.max_lag > 1 << 20
        refilled = rule.slow == "resume" and (rule.history or 0) >= 10_000
        return not patient and not (refilled and self.remembers)

    @property
    def closes(self) -> bool:
        return self.rule.slow == "close" and self.rule.max_lag < 1 << 20

    def compresses(
        self, length: int, wish: Wish, excludes: bool, by: Compression
    ) -> bool:
        """May a message go out compressed?"""
        if self.rule.compress is False or wish is False or length == 0:
            return False
        if wish is True:
            return True
        fits = by.max_size is None or length <= by.max_size
        least = 1 if self.rule.compress == "cohort" and not excludes else by.threshold
        return fits and length >= least


class SocketEnd:
    """A client's end of a TCP connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def take(self, most: int) -> bytes | None:
        """What has arrived; None at the end."""
        try:
            return self._socket.recv(most) or None
        except (BlockingIOError, ssl.SSLWantReadError):
            return b""
        except OSError:
            return None

    def give(self, data: bytes) -> None:
        with suppress(OSError):
            self._socket.send(data)

    def end(self) -> None:
        self._socket.close()


class MemoryEnd(ByteConsumer):
    """A client's end of a link in memory."""

    def __init__(self, hub: Hub, link: Link) -> None:
        super().__init__(hub, link)
        self._pieces: list[bytes] = []
        self._ended = False
        link.set_consumer(self)

    def data_received(self, data: bytes) -> None:
        self._pieces.append(data)

    def connection_lost(self, error: BaseException | None) -> None:
        self._ended = True

    def take(self, most: int) -> bytes | None:
        if not self._pieces:
            return None if self._ended else b""
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data

    def give(self, data: bytes) -> None:
        self.link.write(data)

    def end(self) -> None:
        self.link.abort()


@dataclass(eq=False)
class Client:
    """One client: its end, its inflater, and what it should see."""

    end: SocketEnd | MemoryEnd
    ws: Connection[Any]
    agreement: Agreement | None
    # Which Compression rule its route has.
    route: int = 0
    # Its kernel buffers are small: it can be made to block.
    small: bool = False
    reading: bool = True
    # If it does not: on the world's clock, until when.
    patience: float = 0.0
    closing: bool = False
    closed: int | None = None
    lost: bool = False
    gone: bool = False
    may_be_evicted: bool = False
    # Channels with a publication that there was no memory for: no more of them comes,
    # and the connection is closed. None: there is enough.
    lacks: set[Stream] | None = None
    at: int = 0
    messages: int = 0

    def __post_init__(self) -> None:
        self.handed: list[Item | None] = []
        self.periods: dict[Stream, list[Period]] = {}
        self.inflater = Inflater(self.agreement.response) if self.agreement else None
        self._rest = b""
        # How its messages were compressed
        self.seen: Counter[str] = Counter()

    # -- reading -----------------------------------------------------------------------

    def read(self, most: int = 1 << 18) -> None:
        """Take what there is and look at it."""
        if self.gone or self.lost:
            return
        data = self.end.take(most)
        if data is None:
            self.gone = True
        elif data:
            self._feed(self._rest + data if self._rest else data)

    def _feed(self, data: bytes) -> None:
        position, size = 0, len(data)
        while size - position >= 2:
            length, start = data[position + 1], position + 2
            if length >= 126:
                start += 2 if length == 126 else 8
                if size < start:
                    break
                length = int.from_bytes(data[position + 2 : start], "big")
            end = start + length
            if end > size:
                break
            self._take(data[position], data[start:end])
            position = end
        self._rest = data[position:]

    def _take(self, first: int, payload: bytes) -> None:
        opcode = first & 0x0F
        assert first & 0xB0 == 0x80, f"a fragment, or a reserved bit: {first:x}"
        assert self.closed is None, "a frame behind a Close"
        if opcode > BINARY:
            self._control(opcode, payload)
            return
        compressed = bool(first & 0x40)
        if compressed:
            assert self.inflater is not None, "compressed for one that can't read it"
            sent, payload = payload, self.inflater.inflate(payload)
        item = self._match(opcode, payload)
        self.messages += 1
        if compressed:
            assert item.may[self.route], f"compressed against the rules: {item}"
            self.seen[form_of(item, sent)] += 1

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == CLOSE:
            self.closed = int.from_bytes(payload[:2], "big")
            self.end.give(frame(CLOSE, b"\x03\xe8"))
        else:
            assert opcode == PING

    def _match(self, opcode: int, payload: bytes) -> Item:
        """The next one that is due, behind those that may be missing."""
        handed = self.handed
        for at in range(self.at, len(handed)):
            item = handed[at]
            if item is None:
                continue
            if item.payload == payload and item.opcode == opcode:
                self.at = at + 1
                assert not self.lacks or item.stream not in self.lacks
                return item
            if item.stream.loses:
                self._miss(item, at)
                continue
            if self.lacks is None or item.stream.name == "":
                raise AssertionError(
                    f"{payload[:60]!r} came, and {item.payload[:60]!r} was due, of "
                    f"{item.stream.name!r}, {at} of {len(handed)}"
                )
            self.lacks.add(item.stream)
        raise AssertionError(f"{payload[:60]!r} is nothing that is due")

    def _miss(self, item: Item, at: int) -> None:
        periods = self.periods[item.stream]
        next(one for one in reversed(periods) if one.start <= at).missed.append(item)

    # -- what it should see ------------------------------------------------------------

    def join(self, stream: Stream) -> None:
        period = Period(len(self.handed))
        stream.members[self] = period
        self.periods.setdefault(stream, []).append(period)
        self.may_be_evicted = self.may_be_evicted or stream.closes

    def leave(self, stream: Stream, lost: int) -> None:
        """The last ones do not come: the peer was too slow for them."""
        del stream.members[self]
        stream.reached[self] = stream.number
        if stream.rule.slow == "latest" and stream.loses:
            # On the way through the newest ones this number can be too large.
            return
        for at in range(len(self.handed) - 1, self.at - 1, -1):
            item = self.handed[at]
            if lost and item is not None and item.stream is stream:
                self.handed[at] = None
                stream.reached[self] = item.number - 1
                lost -= 1
        assert not lost, f"{lost} more were lost than were due"

    @property
    def is_open(self) -> bool:
        return not (self.closing or self.lost or self.gone) and self.ws.is_open

    @property
    def is_evicted(self) -> bool:
        return not self.ws.is_open and not self.closing and not self.lost


def form_of(item: Item, sent: bytes) -> str:
    """Of a compressed message: does it refer to earlier ones, and to whose?"""
    with suppress(zlib.error):
        if inflated(sent) == item.payload:
            return "for all"
    return "in a cohort" if item.stream.name else "to one"


class Wording:
    """Messages of every kind. No two are alike, and all of them resemble others."""

    def __init__(self, choose: random.Random) -> None:
        self._choose = choose
        self._numbers = itertools.count(1)
        self._words = [f"{choose.getrandbits(120):030x}" for _ in range(150)]

    def text(self, size: int) -> str:
        """JSON of so many bytes."""
        count = size // 30 + 1
        words = "".join(self._choose.choices(self._words, k=count))
        head = f'{{"number":{next(self._numbers)},"channel":"ticks","text":"'
        return f"{head}{words[: size - len(head) - 2]}" + '"}'

    def noise(self, size: int) -> bytes:
        number = next(self._numbers).to_bytes(8, "big")
        return number + self._choose.randbytes(size - 8)

    def tiny(self) -> str:
        return f"n{next(self._numbers)}"

    def any(self) -> str | bytes:
        dice = self._choose.random()
        if dice < 0.7:
            text = self.text(137 if dice < 0.6 else 250)
            return text if dice < 0.5 else text.encode()
        if dice < 0.85:
            return self.text(self._choose.randrange(900, 1100))
        if dice < 0.92:
            return self.tiny()
        if dice < 0.98:
            return self.noise(self._choose.choice((60, 300, 1200)))
        if dice < 0.99:
            return self.text(20_000)
        return self.text(self._choose.choice((9_000, 45_000, 120_000)))
