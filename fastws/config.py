"""Options: each one a field of a frozen record, with its unit and its reason.

Times are seconds, sizes are bytes, ``None`` switches a limit off unless its field says
otherwise. Nothing here reads the environment or a file.
"""

from __future__ import annotations

import math
import resource
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from ssl import SSLContext
from typing import Any, TypedDict, get_args

from .errors import ConfigError
from .types import BatchForm, Compress, LinkKind, LoopKind, SlowPolicy

__all__ = [
    "ChannelOptions",
    "ChannelRule",
    "Compression",
    "Config",
    "Limits",
    "ServerOptions",
    "check_compression",
    "compression_rule",
]

KIB = 1024
MIB = 1024 * KIB

# Descriptors kept back for everything that is no connection: listeners, files, pipes,
# the connections of databases and brokers.
_RESERVED_DESCRIPTORS = 256
_MOST_CONNECTIONS = 65_536


def option(default: Any, about: str) -> Any:
    """A field with its default and one sentence: unit and reason.

    The sentence is the field's documentation and the help text of its CLI option.
    """
    return field(default=default, metadata={"about": about})


def _require(owner: object, condition: bool, name: str, expected: str) -> None:
    if not condition:
        value = getattr(owner, name)
        raise ConfigError(
            f"{type(owner).__name__}.{name} must be {expected}, not {value!r}"
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_seconds(value: Any) -> bool:
    return _is_number(value) and math.isfinite(value) and value > 0


def _is_size(value: Any) -> bool:
    return _is_count(value) and 0 < value < 1 << 62


def _is_amount(value: Any) -> bool:
    # What the engine counts one by one it counts in 32 bits.
    return _is_count(value) and 0 < value < 1 << 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one peer may cost. Seconds, bytes, counts; ``None`` is off."""

    # Messages
    max_message: int | None = option(
        MIB, "bytes of a reassembled message; over it the peer is closed with 1009"
    )
    max_fragments: int | None = option(
        None,
        "frames of one message, empty ones count (they cost time but no bytes); "
        "None: max(1024, max_message // 256)",
    )
    message_timeout: float | None = option(
        30.0, "seconds from a message's first byte to its last"
    )

    # Opening handshake and HTTP
    max_request_line: int = option(8 * KIB, "bytes of the request line, else 414")
    max_header_line: int = option(8 * KIB, "bytes of one header line, else 431")
    max_headers: int = option(100, "headers of one request, else 431")
    max_header_bytes: int = option(16 * KIB, "bytes of all headers, else 431")
    max_body: int | None = option(MIB, "bytes of an HTTP request body, else 413")
    max_pipelined: int = option(
        16, "HTTP requests waiting on one connection; reading pauses at it"
    )
    handshake_timeout: float | None = option(
        10.0,
        "seconds from accept (TLS: from its end) to a complete request; absolute, so "
        "that a byte now and then does not prolong it",
    )
    max_handshakes: int | None = option(
        4096, "handshakes in progress; more are answered with 503"
    )
    keep_alive_timeout: float | None = option(
        5.0, "seconds that an idle HTTP connection stays open"
    )
    max_early_data: int = option(
        64 * KIB, "bytes behind an upgrade request before it is accepted, else 1008"
    )

    # Life signs
    ping_interval: float | None = option(
        25.0, "seconds from ping to ping; under the 30–60 s of common proxies"
    )
    pong_timeout: float | None = option(
        10.0, "seconds from the ping reaching the kernel to any received byte"
    )
    close_timeout: float = option(
        10.0, "seconds to wait for the answer to a close frame, then abort"
    )
    error_close_timeout: float = option(
        0.3, "seconds to wait for it after a protocol error"
    )

    # Writing
    write_high_water: int = option(
        64 * KIB, "bytes in a connection's outbox from which drain() waits"
    )
    write_low_water: int = option(16 * KIB, "bytes at which drain() goes on")
    write_cap: int = option(
        MIB, "bytes already in the outbox from which a send is refused"
    )
    max_stall: float | None = option(
        10.0, "seconds in which the peer takes no byte of what waits, then abort"
    )

    # Rates and counts
    control_rate: float | None = option(20.0, "control frames received per second")
    control_burst: int = option(40, "control frames received at once")
    message_rate: float | None = option(None, "messages received per second")
    message_burst: int = option(100, "messages received at once")
    max_channels: int | None = option(128, "channels of one connection")
    max_channel_name: int = option(255, "bytes of a channel's name")
    max_connections: int | None = option(
        None,
        "connections of this process; None: min(65536, open file limit - 256)",
    )

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            optional = "None" in str(one.type)
            if value is None and optional:
                continue
            expected = "a number above 0" + (", or None" if optional else "")
            whole = "float" not in str(one.type)
            good = _is_count(value) if whole else _is_number(value)
            _require(self, good and value > 0, one.name, expected)
        _require(
            self,
            self.write_low_water <= self.write_high_water,
            "write_low_water",
            "at most write_high_water",
        )

    @property
    def fragment_limit(self) -> int | None:
        """``max_fragments``, or what ``None`` stands for."""
        if self.max_fragments is not None:
            return self.max_fragments
        if self.max_message is None:
            return None
        return max(1024, self.max_message // 256)

    @property
    def connection_limit(self) -> int:
        """``max_connections``, or what ``None`` stands for."""
        if self.max_connections is not None:
            return self.max_connections
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft == resource.RLIM_INFINITY:
            return _MOST_CONNECTIONS
        return max(1, min(_MOST_CONNECTIONS, soft - _RESERVED_DESCRIPTORS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """permessage-deflate (RFC 7692). Bytes; ``None`` is off."""

    level: int = option(6, "zlib's level, 1 (fast) to 9 (small)")
    window_bits: int = option(
        12, "our window is 2 ** this many bytes, 9 to 15; a client may ask for less"
    )
    memory_level: int = option(5, "zlib's memLevel, 1 to 9")
    threshold: int = option(
        1024, "bytes of a message from which it is compressed unless asked otherwise"
    )
    max_size: int | None = option(
        256 * KIB,
        "bytes of a message up to which it is compressed unless asked otherwise",
    )
    max_ratio: int | None = option(
        100,
        "bytes that one received byte may inflate to, looked at from 64 KiB on, else "
        "1009; deflate reaches about 1000, with honest messages too: see the manual",
    )
    server_context: bool = option(
        False,
        "a connection's own messages refer to its earlier ones: better for short ones, "
        "and about 40 KiB for each connection that is sent some",
    )
    client_context: bool = option(
        False,
        "clients' messages may refer to earlier ones: better for a client's bytes, and "
        "up to 40 KiB for each connection that sends",
    )

    def __post_init__(self) -> None:
        ranges = (("level", 1, 9), ("window_bits", 9, 15), ("memory_level", 1, 9))
        for name, low, high in ranges:
            value = getattr(self, name)
            _require(
                self,
                _is_count(value) and low <= value <= high,
                name,
                f"a number from {low} to {high}",
            )
        _require(
            self,
            _is_count(self.threshold) and self.threshold >= 0,
            "threshold",
            "a number of bytes, not below 0",
        )
        for name in ("server_context", "client_context"):
            _require(self, isinstance(getattr(self, name), bool), name, "True or False")
        for name in ("max_size", "max_ratio"):
            value = getattr(self, name)
            _require(
                self,
                value is None or (_is_count(value) and value > 0),
                name,
                "a number above 0, or None",
            )


def check_compression(given: object) -> Compression | bool | None:
    """Give back what an option called ``compression`` was set to, if it can be that."""
    if given is None or isinstance(given, Compression | bool):
        return given
    raise TypeError(
        "compression must be a fastws.Compression, True, False or None, "
        f"not {type(given).__name__}"
    )


def compression_rule(given: Compression | bool | None) -> Compression | None:
    """What an option called ``compression`` stands for."""
    if given is True:
        return Compression()
    return given or None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRule:
    """How the channels that match one pattern behave."""

    # Slow subscribers
    slow: SlowPolicy = option(
        "close",
        "what happens to a subscriber past max_lag: close it with 1013, skip to the "
        "newest message, latest message of each key, resume from history",
    )
    max_lag: int = option(
        MIB, "bytes a subscriber may owe; one message of any size always fits"
    )
    max_lag_age: float = option(
        10.0, "seconds that the oldest of those bytes may have waited"
    )
    max_stall: float | None = option(
        None,
        "seconds in which a subscriber's socket takes no byte, then abort; None: the "
        "route's (10) under close, 60 under the policies that heal",
    )
    max_keys: int = option(
        10_000,
        "keys that latest holds; over it the one not updated for longest goes",
    )

    # History
    history: int | None = option(
        None, "messages kept for those who come back; None: no history"
    )
    history_ttl: float | None = option(
        None, "seconds that a message is kept; None: until newer ones push it out"
    )
    history_bytes: int = option(
        16 * MIB, "bytes kept; the newest message always is, whatever its size"
    )

    # Batching
    batch: float | None = option(
        None, "seconds in which publications are gathered and then leave together"
    )
    batch_form: BatchForm = option(
        "frames", "how they leave: frames in one send, or one JSON array as a text"
    )

    # Compression
    compress: Compress = option(
        True,
        "with subscribers that agreed to it: each message by itself, not at all, or "
        "cohort: as one growing text, smaller, but not for secrets beside text that "
        "others choose",
    )
    cohort_join: float = option(
        1.0,
        "seconds from one time that newcomers may join the cohort to the next; each "
        "time it starts anew",
    )

    def __post_init__(self) -> None:
        for name, choices in (
            ("slow", get_args(SlowPolicy)),
            ("batch_form", get_args(BatchForm)),
        ):
            _require(
                self,
                getattr(self, name) in choices,
                name,
                "one of " + ", ".join(repr(choice) for choice in choices),
            )
        _require(
            self,
            isinstance(self.compress, bool) or self.compress == "cohort",
            "compress",
            "True, False or 'cohort'",
        )
        self._check_amounts()
        self._check_companions()
        self._check_array()

    def _check_amounts(self) -> None:
        for name, unit, is_right in (
            ("max_lag", "bytes", _is_size),
            ("max_keys", "keys", _is_amount),
            ("history", "messages", _is_amount),
            ("history_bytes", "bytes", _is_size),
            ("max_lag_age", "seconds", _is_seconds),
            ("max_stall", "seconds", _is_seconds),
            ("history_ttl", "seconds", _is_seconds),
            ("batch", "seconds", _is_seconds),
            ("cohort_join", "seconds", _is_seconds),
        ):
            value = getattr(self, name)
            optional = name in ("max_stall", "history", "history_ttl", "batch")
            _require(
                self,
                (value is None and optional) or is_right(value),
                name,
                f"a number of {unit} above 0" + (", or None" if optional else ""),
            )

    def _check_companions(self) -> None:
        """A setting that could never do anything was meant to do something."""
        defaults = {one.name: one.default for one in fields(self)}
        for name, needed, present in (
            ("max_keys", 'slow="latest"', self.slow == "latest"),
            ("history_ttl", "history=", self.history is not None),
            ("history_bytes", "history=", self.history is not None),
            ("batch_form", "batch=", self.batch is not None),
            ("cohort_join", 'compress="cohort"', self.compress == "cohort"),
        ):
            if getattr(self, name) != defaults[name] and not present:
                raise ConfigError(f"ChannelRule.{name} needs {needed} beside it")

    def _check_array(self) -> None:
        """An array is put together from messages of several publications."""
        if self.batch_form != "array":
            return
        if self.history is not None:
            raise ConfigError(
                'ChannelRule.batch_form="array" does not go with history=: an array of '
                'several messages has no offset; use batch_form="frames"'
            )
        if self.slow == "latest":
            raise ConfigError(
                'ChannelRule.batch_form="array" does not go with slow="latest": an '
                'array has no key; use batch_form="frames"'
            )


class ChannelOptions(TypedDict, total=False):
    """The fields of ChannelRule as keyword arguments; a test compares them."""

    slow: SlowPolicy
    max_lag: int
    max_lag_age: float
    max_stall: float | None
    max_keys: int
    history: int | None
    history_ttl: float | None
    history_bytes: int
    batch: float | None
    batch_form: BatchForm
    compress: Compress
    cohort_join: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Where and how a server listens, and what it allows."""

    host: str = option("127.0.0.1", "address or name to listen on")
    port: int = option(8080, "TCP port to listen on; 0 takes a free one")
    ssl: SSLContext | None = option(None, "a ready TLS context")
    ssl_certificate: str | None = option(
        None, "file with the certificate chain, PEM; switches TLS on"
    )
    ssl_key: str | None = option(
        None, "file with the private key, PEM; None: in the certificate's file"
    )
    ssl_handshake_timeout: float = option(10.0, "seconds that a TLS handshake may take")
    backlog: int = option(4096, "connections the kernel holds until we accept them")
    reuse_port: bool = option(
        False, "SO_REUSEPORT: several processes may listen on the same port"
    )
    shutdown_timeout: float = option(
        30.0, "seconds that open connections get to close when the server stops"
    )
    debug: bool = option(
        False,
        "development mode: pages of loopback origins on any port may connect, and a "
        "refused origin is logged with the setting that would allow it",
    )
    allowed_origins: Sequence[str] | None = option(
        None,
        'origins whose pages may connect, as "https://example.org"; None: same host',
    )
    loop: LoopKind = option("auto", "event loop that run() makes")
    link: LinkKind = option(
        "auto",
        "what carries the bytes of a connection; auto: our own sockets for plain TCP "
        "on Linux, else a transport of the loop",
    )
    compression: Compression | bool | None = option(
        None,
        "permessage-deflate with clients that offer it; routes may have their own",
    )
    limits: Limits = field(
        default_factory=Limits, metadata={"about": "what one peer may cost"}
    )

    def __post_init__(self) -> None:
        _require(
            self, isinstance(self.host, str) and bool(self.host), "host", "an address"
        )
        _require(
            self,
            _is_count(self.port) and 0 <= self.port <= 65_535,
            "port",
            "a number from 0 to 65535",
        )
        _require(
            self, _is_count(self.backlog) and self.backlog > 0, "backlog", "above 0"
        )
        shutdown, handshake = self.shutdown_timeout, self.ssl_handshake_timeout
        _require(
            self,
            _is_number(shutdown) and shutdown >= 0,
            "shutdown_timeout",
            "a number of seconds, not below 0",
        )
        _require(
            self,
            _is_number(handshake) and handshake > 0,
            "ssl_handshake_timeout",
            "a number of seconds above 0",
        )
        for name, kinds in (("loop", get_args(LoopKind)), ("link", get_args(LinkKind))):
            _require(
                self,
                getattr(self, name) in kinds,
                name,
                "one of " + ", ".join(repr(kind) for kind in kinds),
            )
        _require(self, isinstance(self.limits, Limits), "limits", "a fastws.Limits")
        _require(
            self,
            self.compression is None
            or isinstance(self.compression, Compression | bool),
            "compression",
            "a fastws.Compression, True, False or None",
        )
        self._check_tls()
        self._check_origins()

    def _check_tls(self) -> None:
        _require(
            self,
            self.ssl is None or isinstance(self.ssl, SSLContext),
            "ssl",
            "an ssl.SSLContext or None",
        )
        if self.ssl is not None and self.ssl_certificate is not None:
            raise ConfigError("give ssl= or ssl_certificate=, not both")
        if self.ssl_key is not None and self.ssl_certificate is None:
            raise ConfigError("ssl_key= needs ssl_certificate= beside it")
        if self.link == "own" and (self.ssl or self.ssl_certificate) is not None:
            raise ConfigError(
                'link="own" has no TLS: leave it at "auto", and TLS goes over a '
                "transport of the loop"
            )

    def _check_origins(self) -> None:
        origins = self.allowed_origins
        _require(
            self,
            origins is None
            or (
                not isinstance(origins, str)
                and all(isinstance(origin, str) for origin in origins)
            ),
            "allowed_origins",
            "a list of origins",
        )


class ServerOptions(TypedDict, total=False):
    """The fields of Config that one server may replace; a test compares them."""

    host: str
    port: int
    ssl: SSLContext | None
    ssl_certificate: str | None
    ssl_key: str | None
    ssl_handshake_timeout: float
    backlog: int
    reuse_port: bool
    shutdown_timeout: float
    debug: bool
    allowed_origins: Sequence[str] | None
    loop: LoopKind
    link: LinkKind
    compression: Compression | bool | None
