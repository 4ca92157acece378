"""The ways of cutting one input: none of them may change what it is answered with."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from .seeds import fresh_seed

Chunking = Callable[[bytes], Iterator[bytes]]

# More than this is not cut byte by byte all through: its two ends are.
_BYTEWISE_END = 8192


def one_write(data: bytes) -> Iterator[bytes]:
    yield data


def byte_by_byte(data: bytes) -> Iterator[bytes]:
    """Each byte in a write of its own; of a very long input the two ends."""
    middle = b""
    if len(data) > 4 * _BYTEWISE_END:
        middle = data[_BYTEWISE_END:-_BYTEWISE_END]
        data, end = data[:_BYTEWISE_END], data[-_BYTEWISE_END:]
    else:
        end = b""
    for at in range(len(data)):
        yield data[at : at + 1]
    if middle:
        yield middle
    for at in range(len(end)):
        yield end[at : at + 1]


def random_splits(seed: int) -> Chunking:
    """Pieces of any size, mostly small ones; the same for the same seed."""

    def cut(data: bytes) -> Iterator[bytes]:
        chooser = random.Random(seed)
        largest = max(1, len(data) // 3)
        at = 0
        while at < len(data):
            size = chooser.choice((1, 2, 3, 7, 14, 64, largest))
            yield data[at : at + size]
            at += size

    return cut


def chunkings() -> dict[str, Chunking]:
    """One write, byte by byte, random splits; behind a valid message is for callers."""
    return {
        "one write": one_write,
        "byte by byte": byte_by_byte,
        "random splits": random_splits(fresh_seed()),
    }
