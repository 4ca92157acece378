"""The servers of the comparisons: how each is started, and what it can do.

Every server listens on 127.0.0.1 at the port it is given, prints `ready`, serves
`/echo`, `/fanout` and `/fanout/{n}` as far as it can, and ends on SIGTERM. README.md
beside this file says what the fast way of each is, and where that is documented.
"""

from __future__ import annotations

import json
import shutil
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = HERE.parent / "build" / "peers"
CONTROL = HERE.parent / "build" / "control"
VERSIONS = HERE / "versions.toml"
INSTALLED = BUILD / "installed.json"

# echo      /echo sends every message back
# fanout    /fanout sends every message to everyone there, its sender too
# channels  /fanout/{n} does so for each n on its own
# …-deflate with permessage-deflate when started with --deflate
# cohort    with --cohort too, a channel's subscribers share one context
# pings     --ping SECONDS: the server pings every connection that often
Mode = Literal[
    "echo", "fanout", "channels", "echo-deflate", "fanout-deflate", "cohort", "pings"
]
MODES: tuple[Mode, ...] = get_args(Mode)
PLAIN: frozenset[Mode] = frozenset({"echo", "fanout", "channels"})
DEFLATE: frozenset[Mode] = frozenset({"echo-deflate", "fanout-deflate"})
OURS: frozenset[Mode] = PLAIN | DEFLATE | {"cohort", "pings"}

Runtime = Literal["control", "fastws", "python", "node", "bun"]


@cache
def pins() -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    """Package versions by peer and package client."""
    return tomllib.loads(VERSIONS.read_text())


@dataclass(frozen=True)
class Peer:
    """One server. `note` says what its fast way is, `source` who documents it."""

    name: str
    runtime: Runtime
    program: tuple[str, ...]
    """The file in this folder and its fixed arguments."""
    language: str
    note: str
    source: str
    modes: frozenset[Mode] = PLAIN | DEFLATE
    package: str = ""
    """Whose version is the peer's; empty: the name itself."""

    @property
    def is_ours(self) -> bool:
        return self.runtime == "fastws"

    @property
    def version(self) -> str:
        """The pinned version; for what is built here, none."""
        clients = pins().get(self.name, {})
        name = self.package or self.name
        return next((pins[name] for pins in clients.values() if name in pins), "")

    @property
    def handshake_path(self) -> str:
        """A path that only holds connections, for connection storms and idling."""
        return "/echo" if "echo" in self.modes else "/fanout"

    def command(
        self,
        port: int,
        deflate: bool = False,
        *,
        cohort: bool = False,
        ping: float | None = None,
        python: str | None = None,
    ) -> list[str]:
        """What starts it. `ping` is the seconds from ping to ping, `python` fastws'
        interpreter: this one by default."""
        if deflate and not self.modes & DEFLATE:
            raise ValueError(f"{self.name} has no permessage-deflate here")
        if cohort and not (deflate and "cohort" in self.modes):
            raise ValueError(f"{self.name} has no context to share here")
        if ping is not None and "pings" not in self.modes:
            raise ValueError(f"{self.name} is not told when to ping here")
        file, *arguments = self.program
        return [
            *self._interpreter(python or sys.executable),
            str(CONTROL if self.runtime == "control" else HERE / file),
            str(port),
            *arguments,
            *(["--deflate"] if deflate else []),
            *(["--cohort"] if cohort else []),
            *(["--ping", str(ping)] if ping is not None else []),
        ]

    def _interpreter(self, python: str) -> list[str]:
        match self.runtime:
            case "control":
                return []
            case "fastws":
                # The root on the path: an installed fastws is the same one.
                return ["env", f"PYTHONPATH={ROOT}", python]
            case "python":
                return [str(BUILD / "venv" / "bin" / "python")]
            case "node":
                return [shutil.which("node") or "node"]
            case "bun":
                return [str(BUILD / "node" / "node_modules" / ".bin" / "bun")]

    @property
    def missing(self) -> str | None:
        """Why it cannot be started here; None when it can."""
        if self.runtime == "fastws":
            return None
        if self.runtime == "control":
            return None if CONTROL.exists() else "not built: make -C bench"
        if not INSTALLED.exists():
            return "not installed: bench/peers/install.sh"
        state = json.loads(INSTALLED.read_text())
        reason: str | None = state["missing"].get(self.name)
        if reason is None and state["versions"] != VERSIONS.read_text():
            return "versions have changed: bench/peers/install.sh"
        return reason


_ALL = (
    Peer(
        "control",
        "control",
        ("control.c",),
        "C",
        "epoll; one recv for many frames, one send for their answers; publications "
        "of one turn in one send per subscriber; many accepts per turn",
        "control.c",
        PLAIN | {"pings"},
    ),
    Peer(
        "fastws",
        "fastws",
        ("fastws_server.py", "--style", "callback"),
        "Python",
        "callback endpoints, one channel per path; a publication is compressed once",
        "docs/",
        OURS,
    ),
    Peer(
        "fastws-async",
        "fastws",
        ("fastws_server.py", "--style", "async"),
        "Python",
        "coroutine endpoints with `async for`",
        "docs/",
        OURS,
    ),
    Peer(
        "picows",
        "python",
        ("picows_server.py",),
        "Python",
        "on_ws_frame callbacks, send_reuse_external_bytearray in a loop, uvloop, "
        "aiofastnet",
        "https://picows.readthedocs.io/",
        PLAIN,
    ),
    Peer(
        "websockets",
        "python",
        ("websockets_server.py",),
        "Python",
        "asyncio server, broadcast(), C extension, uvloop",
        "https://websockets.readthedocs.io/en/stable/topics/broadcast.html",
    ),
    Peer(
        "aiohttp",
        "python",
        ("aiohttp_server.py",),
        "Python",
        "decode_text=False and send_frame() with bytes, a loop to broadcast, uvloop",
        "https://docs.aiohttp.org/en/stable/web_reference.html",
    ),
    Peer(
        "uvicorn",
        "python",
        ("uvicorn_server.py",),
        "Python",
        "Starlette; uvloop, httptools, --ws websockets-sansio; a loop over raw ASGI "
        "messages to broadcast",
        "https://www.uvicorn.org/settings/",
    ),
    Peer(
        "granian",
        "python",
        ("granian_server.py",),
        "Python and Rust",
        "Starlette; one worker, a child process, with one runtime thread, uvloop; a "
        "loop over raw ASGI messages to broadcast",
        "https://github.com/emmett-framework/granian",
        PLAIN,
    ),
    Peer(
        "socketify",
        "python",
        ("socketify_server.py",),
        "Python and C++",
        "uWebSockets' topics: app.publish(); its shared compressor",
        "https://docs.socketify.dev/websockets-backpressure.html",
    ),
    Peer(
        "ws",
        "node",
        ("ws_server.cjs",),
        "JavaScript",
        "a loop over the connections sending the same Buffer, bufferutil",
        "https://github.com/websockets/ws#server-broadcast",
    ),
    Peer(
        "uws",
        "node",
        ("uws_server.cjs",),
        "JavaScript and C++",
        "native topics: app.publish() with ArrayBuffers; its shared compressor; an "
        "unofficial build",
        "https://github.com/uNetworking/uWebSockets.js",
        package="@trufflesuite/uws-js-unofficial",
    ),
    Peer(
        "bun",
        "bun",
        ("bun_server.cjs",),
        "JavaScript and Zig",
        "Bun.serve() with native topics: server.publish()",
        "https://bun.com/docs/api/websockets",
    ),
    Peer(
        "nchan",
        "python",
        ("nchan_server.py",),
        "C",
        "one nginx process; nchan_pubsub locations; no echo",
        "https://nchan.io/",
        frozenset({"fanout", "channels", "fanout-deflate"}),
        package="libnginx-mod-nchan",
    ),
)

PEERS: dict[str, Peer] = {peer.name: peer for peer in _ALL}
