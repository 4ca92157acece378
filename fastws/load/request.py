"""What a connection sends before the messages: its opening handshake."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from .errors import LoadError
from .options import CHANNEL, Options

__all__ = ["Target", "opening_request", "read_url"]

# Chrome's order and set: a server's parsing cost is then what browsers cause.
_BROWSER = (
    "GET {path} HTTP/1.1",
    "Host: {host}",
    "Connection: Upgrade",
    "Pragma: no-cache",
    "Cache-Control: no-cache",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like "
    "Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Upgrade: websocket",
    "Origin: {origin}",
    "Sec-WebSocket-Version: 13",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-US,en;q=0.9",
    "Sec-WebSocket-Key: {key}",
)
_MINIMAL = (
    "GET {path} HTTP/1.1",
    "Host: {host}",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: {key}",
    "Sec-WebSocket-Version: 13",
)
_DEFAULT_PORTS = {"ws": 80, "wss": 443}
# What a browser offers; and the same with no memory from message to message.
_WITH_CONTEXT = "permessage-deflate; client_max_window_bits"
_WITHOUT_CONTEXT = (
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where the URL points to."""

    is_secure: bool
    host: str
    port: int
    path: str  # with the query
    authority: str  # host and port as they stand in the Host header
    origin: str


def read_url(url: str) -> Target:
    """Take a ws:// or wss:// URL apart; raises LoadError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise LoadError(f"{url!r} is no URL: {error}") from error
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise LoadError(f"the URL must be ws://host/path or wss://…, not {url!r}")
    if parts.fragment or parts.username is not None:
        raise LoadError(f"a WebSocket URL has neither user nor fragment: {url!r}")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii() or not path.isprintable() or " " in path:
        raise LoadError(f"the URL's path must be percent-encoded: {path!r}")
    default = _DEFAULT_PORTS[parts.scheme]
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    authority = host if port in (None, default) else f"{host}:{port}"
    is_secure = parts.scheme == "wss"
    return Target(
        is_secure=is_secure,
        host=parts.hostname,
        port=default if port is None else port,
        path=path,
        authority=authority,
        origin=f"{'https' if is_secure else 'http'}://{authority}",
    )


def opening_request(
    options: Options, target: Target, path: str, channel: int, key: str
) -> bytes:
    """The whole request, empty line included."""
    origin = target.origin if options.origin is None else options.origin
    lines = list(_BROWSER if options.headers == "browser" else _MINIMAL)
    if options.headers == "minimal" and options.origin is not None:
        lines.append("Origin: {origin}")
    if options.subprotocol is not None:
        lines.append("Sec-WebSocket-Protocol: {subprotocol}")
    if options.deflate:
        offer = _WITH_CONTEXT if options.deflate_context else _WITHOUT_CONTEXT
        lines.append(f"Sec-WebSocket-Extensions: {offer}")
    filled = [
        line.format(
            path=path.replace(CHANNEL, str(channel)),
            host=target.authority,
            origin=origin,
            key=key,
            subprotocol=options.subprotocol,
        )
        for line in lines
    ]
    added = [line.partition(":")[::2] for line in options.header]
    replaced = {name.lower() for name, _ in added}
    kept = [
        line
        for number, line in enumerate(filled)
        if number == 0 or line.partition(":")[0].lower() not in replaced
    ]
    kept += [f"{name}: {value.strip()}" for name, value in added]
    return "\r\n".join([*kept, "", ""]).encode("latin-1")
