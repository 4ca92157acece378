"""Options: each one a field of a frozen record, with its unit and its reason.

Times are seconds, sizes are bytes, ``None`` switches a limit off unless its field says
otherwise. Nothing here reads the environment or a file.
"""

from __future__ import annotations

import resource
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from ssl import SSLContext
from typing import Any, TypedDict, get_args

from .errors import ConfigError
from .types import LinkKind, LoopKind, SlowPolicy

__all__ = ["ChannelOptions", "ChannelRule", "Config", "Limits", "ServerOptions"]

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
class ChannelRule:
    """How the channels that match one pattern behave."""

    slow: SlowPolicy = option(
        "close", "what happens to a subscriber past max_lag: close it with 1013"
    )
    max_lag: int = option(
        MIB, "bytes a subscriber may owe; one message of any size always fits"
    )
    max_lag_age: float = option(
        10.0, "seconds that the oldest of those bytes may have waited"
    )

    def __post_init__(self) -> None:
        policies = get_args(SlowPolicy)
        _require(
            self,
            self.slow in policies,
            "slow",
            "one of " + ", ".join(repr(policy) for policy in policies),
        )
        _require(
            self,
            _is_count(self.max_lag) and self.max_lag > 0,
            "max_lag",
            "a number of bytes above 0",
        )
        _require(
            self,
            _is_number(self.max_lag_age) and self.max_lag_age > 0,
            "max_lag_age",
            "a number of seconds above 0",
        )


class ChannelOptions(TypedDict, total=False):
    """The fields of ChannelRule as keyword arguments; a test compares them."""

    slow: SlowPolicy
    max_lag: int
    max_lag_age: float


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
