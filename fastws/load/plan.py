"""The options as the generator takes them: addresses, requests and numbers."""

from __future__ import annotations

import base64
import contextlib
import secrets
from pathlib import Path
from typing import Any

from .address import resolve
from .errors import LoadError
from .options import CHANNEL, MESSAGE, Options
from .request import Target, opening_request, read_url

__all__ = ["make_plan"]


def make_plan(options: Options) -> dict[str, Any]:
    """The options as generator.run takes them; raises LoadError."""
    target = read_url(options.url)
    address, place = resolve(target, options)
    fans_out = options.mode in ("fanout", "mixed")
    mixed = options.mode == "mixed"
    rate = options.rate or 0.0
    if mixed and not rate:
        rate = float(options.connections)  # one request a second from each
    return {
        "mode": options.mode,
        "target": address,
        "place": place,
        "key": (key := base64.b64encode(secrets.token_bytes(16)).decode()),
        "texts": _channel_texts(options, target, key),
        "tls_host": target.host if target.is_secure else None,
        "subprotocol": options.subprotocol,
        "ca": options.ca,
        "is_tls_insecure": options.tls_insecure,
        "is_binary": options.binary,
        "has_records": options.content == "records",
        "is_marked": options.publish is not None,
        "is_others_only": options.deliveries == "others",
        "is_verified": options.verify,
        "is_busy_polling": options.busy_poll,
        "has_deflate": options.deflate,
        "is_context_kept": options.deflate_context,
        "connections": 0 if options.mode == "fanout" else options.connections,
        "receivers": options.receivers,
        "publishers": options.publishers if fans_out else 0,
        "stalled": options.stalled_count,
        "depth": options.depth,
        "size": options.size,
        "first_replies": options.first_replies,
        "parallel": max(1, options.parallel // options.processes),
        "sources": options.sources,
        "processes": options.processes,
        "rate": rate,
        "publish_rate": options.publish_rate,
        "churn": options.churn if mixed else 0.0,
        "ping_interval": options.ping_interval or 0.0,
        "warm_up": options.warm_up,
        "duration": options.duration,
        "timeout": options.timeout,
        "server_pids": _server_pids(options.server_pid),
    }


def _channel_texts(
    options: Options, target: Target, key: str
) -> list[tuple[bytes, bytes, bytes | None, bytes, bytes]]:
    publisher_path = options.publisher_path or target.path
    prefix, _, suffix = (options.publish or MESSAGE).partition(MESSAGE)
    varied = (target.path, publisher_path, options.first or "", prefix, suffix)

    def texts(channel: int) -> tuple[bytes, bytes, bytes | None, bytes, bytes]:
        def named(text: str) -> bytes:
            return text.replace(CHANNEL, str(channel)).encode()

        return (
            opening_request(options, target, target.path, channel, key),
            opening_request(options, target, publisher_path, channel, key),
            None if options.first is None else named(options.first),
            named(prefix),
            named(suffix),
        )

    if not any(CHANNEL in text for text in varied):
        return [texts(0)] * options.channels
    return [texts(channel) for channel in range(options.channels)]


def _server_pids(pid: int | None) -> list[int]:
    """The process and all that descend from it: servers fork workers."""
    if pid is None:
        return []
    if not Path(f"/proc/{pid}/stat").exists():
        raise LoadError(f"--server-pid: there is no process {pid}")
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            # A process may end while it is looked at.
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found
