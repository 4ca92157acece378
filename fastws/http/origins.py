"""Which pages may open a WebSocket: the Origin header against a list or our own host.

Browsers let any page open a WebSocket anywhere and send cookies with it, so this check
is what stands between a user's session and every other site (RFC 6455 section 10.2).
Programs that are no browser send no Origin, and pass.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address

from ..engine.handshake import Refused, Request

__all__ = ["OriginPolicy", "OriginRefused", "origin_policy"]

# An origin as browsers write it (RFC 6454 section 6.2): no path, no user, a lower-case
# scheme, and a port without leading zeros.
_ORIGIN = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?)"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
)
_HOST = re.compile(r"(?P<host>\[[^\[\]]*\]|[^\[\]:]*)(?::(?P<port>[0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443}

# Longer ones are cut in the log: the setting it shows is then of no use anyway.
_LOGGED = 300

_Origin = tuple[str, str, int]


def _parse(origin: str) -> _Origin | None:
    found = _ORIGIN.fullmatch(origin)
    if found is None:
        return None
    scheme, host, port = found.group("scheme", "host", "port")
    return scheme, host.lower(), int(port or _DEFAULT_PORTS[scheme])


def _own_origin(address: str, secure: bool) -> _Origin | None:
    """The origin of a page that came from the very address this request went to."""
    found = _HOST.fullmatch(address)
    if found is None:
        return None
    scheme = "https" if secure else "http"
    host, port = found.group("host", "port")
    return scheme, host.lower(), int(port or _DEFAULT_PORTS[scheme])


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class OriginRefused(Refused):
    """The page may not connect; ``advice``, for the log, says what would let it."""

    def __init__(self, advice: str | None = None) -> None:
        super().__init__(403, "origin not allowed")
        self.advice = advice


class OriginPolicy:
    """One setting of ``allowed_origins`` and ``debug``, prepared for many requests."""

    def __init__(self, allowed: Sequence[str] | None, debug: bool) -> None:
        self._same_host = allowed is None
        self._any = allowed is not None and "*" in allowed
        self._debug = debug
        # Schemes of other programs (tauri://localhost) and "null" are compared whole.
        self._exact = frozenset(allowed or ())
        self._parsed = frozenset(
            origin for origin in map(_parse, allowed or ()) if origin is not None
        )

    def check(self, request: Request) -> None:
        """OriginRefused when the request comes from a page that may not connect."""
        origins = request.origins
        if not origins:
            return
        if len(origins) > 1:
            raise OriginRefused()
        if not self.admits(origins[0], request.host, request.secure):
            raise OriginRefused(_advice(origins[0]) if self._debug else None)

    def admits(self, origin: str, host: str, secure: bool = False) -> bool:
        """Whether a page of this origin may connect to the address in ``host``."""
        if self._any or origin in self._exact:
            return True
        if self._same_host:
            # Nearly every page: its origin is our own address, letter by letter.
            scheme = "https" if secure else "http"
            if origin == f"{scheme}://{host}":
                return True
        parsed = _parse(origin)
        if parsed is None:
            return False
        if self._debug and _is_loopback(parsed[1]):
            return True
        if self._same_host:
            return parsed == _own_origin(host, secure)
        return parsed in self._parsed


def _advice(origin: str) -> str:
    # As JSON: escaped and ASCII, for the origin is the peer's text.
    return f"allowed_origins=[{json.dumps(origin[:_LOGGED])}] would let it in"


@lru_cache(maxsize=64)
def _cached(allowed: tuple[str, ...] | None, debug: bool) -> OriginPolicy:
    return OriginPolicy(allowed, debug)


def origin_policy(allowed: Sequence[str] | None, debug: bool) -> OriginPolicy:
    """The policy of these settings; made once, as long as they stay the same."""
    return _cached(None if allowed is None else tuple(allowed), debug)
