"""What every Python server here shares: its arguments, the ready line, channels.

A server takes a port of 127.0.0.1 and perhaps `--deflate`, prints `ready` once it
listens, and ends on SIGTERM.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

HOST = "127.0.0.1"
BACKLOG = 4096
# A fair size for messages and for what a slow subscriber may be behind: several peers
# have defaults of 16 to 64 KiB, which drop messages that the load counts on.
MAX_MESSAGE = 16 << 20
MAX_BEHIND = 64 << 20


@dataclass(frozen=True)
class Arguments:
    """What a server is told on its command line."""

    port: int
    deflate: bool = False


def parse(description: str | None) -> Arguments:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("port", type=int)
    parser.add_argument("--deflate", action="store_true")
    return Arguments(**vars(parser.parse_args()))


def ready() -> None:
    print("ready", flush=True)


def channel(path: str) -> str | None:
    """The channel that a path names; None for the echo."""
    return None if path == "/echo" else path
