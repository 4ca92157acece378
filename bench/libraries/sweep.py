"""zlib alone: every window and memory level, and which to take for which message."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import native
from .corpus import SIZES, Messages, messages
from .measure import DEFAULTS, MODES, bench_of, span_of
from .native import TAIL, ZLIB, Bench

LEVELS = (1, 3, 6, 9)
WINDOWS = range(9, 16)
MEMORY_LEVELS = range(1, 10)
ROUNDS = 5

# A choice may be this much larger than the smallest of all, and this much slower than
# the fastest of those: differences below are not worth time or memory.
SIZE_SLACK = 1.03
TIME_SLACK = 1.05

Matrix = list[list[float]]  # by window, then memory level
Table = dict[str, Any]
Times = dict[tuple[int, int, int], list[float]]


@dataclass(frozen=True)
class Choice:
    """Settings, and what they cost beside zlib's defaults."""

    level: int
    window_bits: int
    memory_level: int
    beside: float  # time, in times of the defaults
    ratio: float
    memory: int


def check(
    bench: Bench, batch: Messages, settings: tuple[int, int, int], span: int
) -> float:
    """The size beside the original's, of what a reader with that window understood."""
    got = bench.run(ZLIB, settings, span=span, keep=True)
    native.check(list(batch), got.made, span, settings[1])
    return got.size / len(batch.data)


def sweep_one(batch: Messages, mode: str, rounds: int) -> Iterator[Table]:
    bench, span = bench_of(batch), span_of(batch, mode)
    times: Times = defaultdict(list)
    base_times = []
    for _ in range(rounds):
        for level in LEVELS:
            for window in WINDOWS:
                base = bench.run(ZLIB, DEFAULTS, span=span).nanoseconds
                base_times.append(base)
                for memory_level in MEMORY_LEVELS:
                    settings = (level, window, memory_level)
                    took = bench.run(ZLIB, settings, span=span).nanoseconds
                    times[settings].append(took / base)
    for level in LEVELS:
        beside, ratio = [], []
        for window in WINDOWS:
            tried = [(level, window, memory_level) for memory_level in MEMORY_LEVELS]
            beside.append([round(statistics.median(times[key]), 2) for key in tried])
            ratio.append([round(check(bench, batch, key, span), 3) for key in tried])
        yield {
            "size": batch.size,
            "mode": mode,
            "level": level,
            "defaults": round(statistics.median(base_times)),
            "beside": beside,
            "ratio": ratio,
        }


def sweep(rounds: int = ROUNDS) -> list[Table]:
    return [
        table
        for size, count in SIZES.items()
        for mode in MODES
        for table in sweep_one(messages(size, count), mode, rounds)
    ]


def memory() -> dict[str, Any]:
    """Of a stream: deflating by window and memory level, inflating by window."""
    batch = messages(1024, 2)
    bench = bench_of(batch)
    deflate = [
        [
            bench.run(ZLIB, (6, window, memory_level), span=1).memory
            for memory_level in MEMORY_LEVELS
        ]
        for window in WINDOWS
    ]
    inflate = []
    for window in WINDOWS:
        made = bench.run(ZLIB, (6, window, 8), span=2, keep=True).made
        reader = Bench([message + TAIL for message in made], 2 * len(batch.data))
        got = reader.run(ZLIB, (6, window, 8), span=2, inflates=True)
        inflate.append(got.memory)
    return {"deflate": deflate, "inflate": inflate}


def choices(tables: list[Table], deflate_memory: Matrix) -> list[Choice]:
    """Every setting of one size and mode."""
    return [
        Choice(
            table["level"],
            window,
            memory_level,
            table["beside"][row][column],
            table["ratio"][row][column],
            int(deflate_memory[row][column]),
        )
        for table in tables
        for row, window in enumerate(WINDOWS)
        for column, memory_level in enumerate(MEMORY_LEVELS)
    ]


def choose(of: list[Choice]) -> Choice:
    """The fastest of the nearly smallest, and of those nearly as fast the leanest."""
    smallest = min(choice.ratio for choice in of)
    small = [choice for choice in of if choice.ratio <= smallest * SIZE_SLACK]
    fastest = min(choice.beside for choice in small)
    fast = [choice for choice in small if choice.beside <= fastest * TIME_SLACK]
    return min(fast, key=lambda choice: (choice.memory, choice.beside))
