"""The messages of the stress program: known from their number, on both ends."""

from __future__ import annotations

import random
import zlib
from functools import lru_cache

_LETTERS = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyzäöü€", k=70_000))


@lru_cache(maxsize=100_000)
def body(channel: str, number: int, least: int = 0) -> str:
    """Message ``number`` of a channel: its size and letters follow from its name."""
    mark = zlib.crc32(f"{channel} {number}".encode())
    start = mark % 1000
    return f"{channel} {number} {_LETTERS[start : start + least + mark % 120]}"


def key_of(number: int, keys: int) -> str | None:
    """The key it is published with, when it has one."""
    return f"key {number % keys}" if keys else None


def blob(seed: int, size: int) -> bytes:
    """Bytes of any kind, the same for the same seed."""
    return random.Random(seed).randbytes(size)
