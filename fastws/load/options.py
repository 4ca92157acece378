"""The options of a run: one record, from which the command line is derived.

Times are seconds, sizes are bytes. Nothing here touches the network.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from .errors import LoadError

__all__ = ["Content", "Deliveries", "HeaderSet", "Mode", "Options"]

Mode = Literal["echo", "fanout", "connect", "idle", "mixed"]
HeaderSet = Literal["browser", "minimal"]
Deliveries = Literal["self", "others"]
Content = Literal["text", "records"]

# A message starts with its number and its sender, eight hexadecimal digits each.
LEAST_SIZE = 16
# Inside an envelope it is found by what follows them.
LEAST_MARKED_SIZE = 24
MOST_SIZE = 16 << 20
MOST_CONNECTIONS = 1_000_000
MOST_DEPTH = 65_536
MOST_IN_FLIGHT = 256 << 20
MOST_SOURCES = 250
MOST_PROCESSES = 64
MOST_PID = 2**31 - 1
MESSAGE = "{message}"
CHANNEL = "{channel}"

_NUMBERS = (
    "rate",
    "stalled",
    "ping_interval",
    "publish_rate",
    "churn",
    "warm_up",
    "duration",
    "timeout",
)
# Options that say something in these modes only.
_SENDING = ("echo", "fanout", "mixed")
_PUBLISHING = ("fanout", "mixed")
_MODES_OF = {
    "size": _SENDING,
    "binary": _SENDING,
    "content": ("fanout",),
    "depth": _SENDING,
    "rate": _SENDING,
    "publishers": _PUBLISHING,
    "subscribers": _PUBLISHING,
    "publisher_path": _PUBLISHING,
    "publish": _SENDING,
    "deliveries": _PUBLISHING,
    "stalled": ("fanout",),
    "ping_interval": ("idle", "mixed"),
    "publish_rate": ("mixed",),
    "churn": ("mixed",),
}
_TLS_ONLY = ("tls_insecure", "ca")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def option(default: Any, about: str, group: str | None = None) -> Any:
    """A field with its default and one sentence: unit and reason.

    The sentence is the field's documentation and the help text of its CLI option. A
    group is the heading of this and the next fields.
    """
    metadata = {"about": about} | ({"group": group} if group else {})
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the load generator does. Raises LoadError for what cannot be done."""

    url: str = field(
        metadata={
            "about": "ws:// or wss:// and where the server listens; {channel} in the "
            "path becomes the connection's channel number"
        }
    )
    mode: Mode = option("echo", "what the connections do", group="Load")
    connections: int = option(
        100, "connections in all; in fanout they are the subscribers"
    )
    size: int = option(64, "bytes of a message, at least 16")
    binary: bool = option(False, "send binary messages instead of text")
    content: Content = option(
        "text",
        "what messages are made of: the same text in each, or JSON records that differ "
        "from message to message as a feed's do, for compression",
    )
    depth: int = option(
        1, "messages in flight per connection; in fanout publications per publisher"
    )
    rate: float | None = option(
        None,
        "messages, or publications in fanout, per second in total, whatever the "
        "server does; latency is then counted from the intended time. Not given: as "
        "fast as the answers come",
    )

    publishers: int = option(
        1, "how many of the subscribers publish; all: a chat", group="Fan-out"
    )
    subscribers: int | None = option(
        None, "fanout: another word for connections; mixed: receivers beside them"
    )
    publisher_path: str | None = option(
        None,
        "fanout: path of those that publish; mixed: path of all that subscribe. "
        "Not given: that of the URL",
    )
    publish: str | None = option(
        None, "what is sent for a message: text with {message} and perhaps {channel}"
    )
    deliveries: Deliveries = option("self", "whether a publisher gets its own messages")
    channels: int = option(1, "channels the connections are spread over in turn")

    first: str | None = option(
        None,
        "text that each connection sends once it is open; may hold {channel}",
        group="Handshake",
    )
    first_replies: int = option(0, "messages that answer it, awaited and dropped")
    subprotocol: str | None = option(None, "asked for, and then required of the server")
    header: tuple[str, ...] = option((), "'Name: value' added to the request")
    headers: HeaderSet = option(
        "browser", "a browser's full set, as servers meet it, or the least possible"
    )
    origin: str | None = option(None, "Origin header; not given: the server's own")

    tls_insecure: bool = option(
        False, "wss: accept any certificate", group="TLS and compression"
    )
    ca: str | None = option(None, "wss: PEM file of the authorities to trust")
    deflate: bool = option(
        False,
        "permessage-deflate: fails unless the server accepts it and really compresses "
        "messages of 64 bytes and more",
    )
    deflate_context: bool = option(
        False, "let both sides keep their window from message to message"
    )

    stalled: float = option(
        0.0,
        "fanout: percent of the subscribers that never read; nothing is owed them",
        group="Behaviour of the clients",
    )
    ping_interval: float | None = option(
        None, "idle, mixed: seconds between a connection's pings. Not given: no pings"
    )
    publish_rate: float = option(10.0, "mixed: publications per second in total")
    churn: float = option(
        0.0, "mixed: connections per second that open, send once and close"
    )

    sources: int = option(
        1,
        "loopback addresses to connect from, from 127.0.0.1 on: each has 28 000 ports",
        group="The run",
    )
    processes: int = option(1, "processes the connections are spread over")
    parallel: int = option(100, "handshakes in progress at once")
    warm_up: float = option(0.5, "seconds of load before the clock starts")
    duration: float = option(5.0, "seconds of load under the clock")
    timeout: float = option(60.0, "seconds after which the run fails, whatever it does")
    server_pid: int | None = option(
        None, "report CPU and memory of this process and of its children"
    )
    verify: bool = option(True, "compare every byte that comes back, not only lengths")
    busy_poll: bool = option(
        False,
        "ask for news without a pause instead of sleeping, for a load generator with a "
        "core of its own: a server on the same machine pays for waking a sleeper",
    )

    def __post_init__(self) -> None:
        self._check_types()
        if self.mode == "fanout" and self.subscribers is not None:
            object.__setattr__(self, "connections", self.subscribers)
        self._check_ranges()
        self._check_texts()
        self._check_mode()
        self._check_together()

    @property
    def receivers(self) -> int:
        """How many connections get publications."""
        if self.mode == "mixed" and self.subscribers is not None:
            return self.subscribers
        return self.connections if self.mode in ("fanout", "mixed") else 0

    @property
    def stalled_count(self) -> int:
        """How many of the receivers never read: the last ones, none that publishes."""
        return int(self.receivers * self.stalled / 100)

    def _require(self, condition: bool, name: str, expected: str) -> None:
        if not condition:
            value = getattr(self, name)
            raise LoadError(f"{_flag(name)} must be {expected}, not {value!r}")

    def _check_types(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(one.default, bool):
                self._require(isinstance(value, bool), one.name, "true or false")
            elif isinstance(one.default, int):
                self._require(type(value) is int, one.name, "a whole number")
        for name in _NUMBERS:
            value = getattr(self, name)
            known = value is None or type(value) in (int, float)
            self._require(known and math.isfinite(value or 0), name, "a number")

    def _check_ranges(self) -> None:
        known = get_args(Mode)
        self._require(self.mode in known, "mode", " or ".join(known))
        for name, least, most in (
            ("connections", 1, MOST_CONNECTIONS),
            ("size", LEAST_SIZE, MOST_SIZE),
            ("depth", 1, MOST_DEPTH),
            ("publishers", 1, MOST_CONNECTIONS),
            ("channels", 1, MOST_CONNECTIONS),
            ("first_replies", 0, 1000),
            ("sources", 1, MOST_SOURCES),
            ("processes", 1, MOST_PROCESSES),
            ("parallel", 1, 100_000),
            ("subscribers", 1, MOST_CONNECTIONS),
            ("stalled", 0, 99),
            ("churn", 0, 100_000),
            ("warm_up", 0, 3600),
            ("server_pid", 1, MOST_PID),
        ):
            value = getattr(self, name)
            fits = value is None or least <= value <= most
            self._require(fits, name, f"{least} to {most}")
        for name in ("rate", "ping_interval", "publish_rate", "duration", "timeout"):
            value = getattr(self, name)
            if value is not None:
                least_time = value > 0 and value <= 1e9
                self._require(least_time, name, "more than 0")
        self._require(self.timeout <= 86_400, "timeout", "a day at most")

    def _check_texts(self) -> None:
        for name, words in (
            ("headers", HeaderSet),
            ("deliveries", Deliveries),
            ("content", Content),
        ):
            known = get_args(words)
            self._require(getattr(self, name) in known, name, " or ".join(known))
        for line in self.header:
            name, colon, value = line.partition(":")
            good = bool(colon and _TOKEN.fullmatch(name)) and _is_printable(value)
            self._require(good, "header", "'Name: value' in one line")
        for name in ("origin", "subprotocol", "publisher_path"):
            value = getattr(self, name)
            self._require(value is None or _is_printable(value), name, "one line")
        if self.publisher_path is not None:
            starts = self.publisher_path.startswith("/")
            self._require(starts, "publisher_path", "a path that starts with /")
        if self.publish is not None:
            once = self.publish.count(MESSAGE) == 1
            self._require(once, "publish", "text with {message} in it once")
            marked = self.size >= LEAST_MARKED_SIZE
            self._require(marked, "size", "24 or more with --publish")
            alike = self.content == "text"
            self._require(alike, "content", "text with --publish")

    def _check_mode(self) -> None:
        for one in fields(self):
            modes = _MODES_OF.get(one.name, (self.mode,))
            if self.mode not in modes and getattr(self, one.name) != one.default:
                raise LoadError(
                    f"{_flag(one.name)} means nothing with --mode {self.mode}, only "
                    f"with {', '.join(modes)}: leave it out or change the mode"
                )
        for name in _TLS_ONLY:
            if getattr(self, name) and self.url.startswith("ws://"):
                raise LoadError(
                    f"{_flag(name)} means nothing with a ws:// URL: leave it out or "
                    "use wss://"
                )

    def _check_together(self) -> None:
        enough = self.processes <= self.connections
        self._require(enough, "processes", "no more than --connections")
        load = self.warm_up + self.duration
        self._require(
            self.timeout > load or self.mode == "connect",
            "timeout",
            f"more than the {load:g} s of --warm-up and --duration",
        )
        if self.first is None:
            none = self.first_replies == 0
            self._require(none, "first_replies", "0 without --first")
        heap = self.size * self.depth
        self._require(heap <= MOST_IN_FLIGHT, "depth", "less for messages so large")
        if self.deflate_context:
            self._require(self.deflate, "deflate_context", "used with --deflate")
        if self.mode in ("fanout", "mixed"):
            self._check_fanout()

    def _check_fanout(self) -> None:
        receivers = self.receivers
        self._require(
            1 <= self.publishers <= receivers,
            "publishers",
            f"{receivers} at most, for they are among the subscribers",
        )
        self._require(
            self.channels <= self.publishers,
            "publishers",
            f"{self.channels} or more: one for each channel",
        )
        readers = receivers - self.publishers
        self._require(
            self.stalled == 0 or 0 < self.stalled_count <= readers,
            "stalled",
            f"a share of the {readers} subscribers that do not publish, at least one",
        )
        if self.deliveries == "others":
            # Every publisher has to reach somebody.
            reached = (receivers - self.stalled_count) // self.channels > 1
            self._require(reached, "deliveries", "self: nobody else is in the channel")


def _flag(name: str) -> str:
    return "url" if name == "url" else "--" + name.replace("_", "-")


def _is_printable(text: str) -> bool:
    return text.isprintable() and text.isascii()
