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
# Bytes of a message from which --deflate compresses it, where that can be set: what
# the load generator counts on. Some defaults are a thousand.
LEAST_COMPRESSED = 64


@dataclass(frozen=True)
class Arguments:
    """What a server is told on its command line."""

    port: int
    deflate: bool = False


def parser(description: str | None) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=description)
    made.add_argument("port", type=int)
    made.add_argument("--deflate", action="store_true")
    return made


def parse(description: str | None) -> Arguments:
    return Arguments(**vars(parser(description).parse_args()))


def ready() -> None:
    print("ready", flush=True)


def channel(path: str) -> str | None:
    """The channel that a path names; None for the echo."""
    return None if path == "/echo" else path
