"""Where the URL's host is: the address that the generator connects to."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any

from .errors import LoadError
from .options import Options
from .request import Target

__all__ = ["resolve"]

_PROBE_TIMEOUT = 5.0  # seconds for one of several addresses to answer


def resolve(target: Target, options: Options) -> tuple[bytes, str]:
    """The address to connect to, as a sockaddr, and in words."""
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise LoadError(f"cannot find the host {target.host!r}: {error}") from error
    candidates: list[tuple[socket.AddressFamily, Any]] = [
        (family, address)
        for family, _, _, _, address in found
        if family in (socket.AF_INET, socket.AF_INET6)
    ]
    if not candidates:
        raise LoadError(f"the host {target.host!r} has no IP address")
    family, address = candidates[0]
    if len(candidates) > 1:
        family, address = _first_listening(candidates)
    host, port = str(address[0]), int(address[1])
    if options.sources > 1 and not (
        family == socket.AF_INET and host.startswith("127.")
    ):
        raise LoadError(
            f"--sources are addresses of loopback, and {host} is not one: use 1"
        )
    return _socket_address(family, address), target.authority + (
        "" if host == target.host else f" ({host} port {port})"
    )


def _first_listening(
    candidates: list[tuple[socket.AddressFamily, Any]],
) -> tuple[socket.AddressFamily, Any]:
    """A name may stand for addresses at which nobody listens, such as ::1."""
    for family, address in candidates:
        with socket.socket(family, socket.SOCK_STREAM) as attempt:
            attempt.settimeout(_PROBE_TIMEOUT)
            with contextlib.suppress(OSError):
                attempt.connect(address)
                return family, address
    return candidates[0]


def _socket_address(family: socket.AddressFamily, address: Any) -> bytes:
    """A sockaddr_in or sockaddr_in6."""
    host, port, *more = address
    start = struct.pack("=H", family) + struct.pack("!H", port)
    if family == socket.AF_INET:
        return start + socket.inet_pton(family, host) + bytes(8)
    flow, scope = (*more, 0, 0)[:2]
    packed = socket.inet_pton(family, host.partition("%")[0])
    return start + struct.pack("!I", flow) + packed + struct.pack("=I", scope)
