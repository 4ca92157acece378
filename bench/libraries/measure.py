"""Every library beside zlib at level 6, in interleaved rounds.

A burst is one pass over the messages, in processor time. Beside each burst stands the
one of zlib at its defaults in the same round: the median of these ratios says more than
the times on a machine that others use too.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from . import native
from .corpus import SIZES, Messages, messages
from .native import LIBRARIES, TAIL, ZLIB, Bench, Library

DEFAULTS = (6, 15, 8)  # of zlib: level, window bits, memory level
SMALLEST = (1, 9, 1)
ROUNDS = 11
ALONE, CONTEXT = "alone", "context"
MODES = (ALONE, CONTEXT)

Row = dict[str, str | int | float]
Key = tuple[str, int, str, str, int]  # work, size, mode, library, level


@dataclass
class Measured:
    """What the bursts of one row gave."""

    times: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    ratio: float = 0.0
    memory: int = 0

    def row(self, key: Key) -> Row:
        work, size, mode, library, level = key
        return {
            "work": work,
            "size": size,
            "mode": mode,
            "library": library,
            "level": level,
            "nanoseconds": round(statistics.median(self.times)),
            "beside": round(statistics.median(self.beside), 3),
            "ratio": round(self.ratio, 4),
            "memory": self.memory,
        }


def span_of(batch: Messages, mode: str) -> int:
    return 1 if mode == ALONE else batch.one_kind


def bench_of(batch: Messages) -> Bench:
    """With room for what does not shrink, and for inflating."""
    return Bench(list(batch), 2 * len(batch.data) + 512 * batch.count)


def present(reasons: dict[str, str]) -> list[Library]:
    return [library for library in LIBRARIES if library.name not in reasons]


def look() -> tuple[dict[str, str], dict[str, str]]:
    """Versions of the libraries that are there, and why the others are not."""
    versions, missing = {}, {}
    for library in LIBRARIES:
        try:
            versions[library.name] = native.load(library)
        except native.MissingError as error:
            missing[library.name] = str(error)
    return versions, missing


def works(library: Library, mode: str) -> bool:
    return library.has_context or mode == ALONE


def inflatable(bench: Bench, batch: Messages, mode: str) -> Bench:
    """The messages as zlib sends them, which every library inflates."""
    made = bench.run(ZLIB, DEFAULTS, span=span_of(batch, mode), keep=True).made
    return Bench([message + TAIL for message in made], 2 * len(batch.data))


def compare_sizes(
    libraries: list[Library], rounds: int
) -> Iterator[dict[Key, Measured]]:
    for size, count in SIZES.items():
        batch = messages(size, count)
        for mode in MODES:
            users = [library for library in libraries if works(library, mode)]
            yield compare_deflate(batch, mode, users, rounds)
            yield compare_inflate(batch, mode, users, rounds)


def compare_deflate(
    batch: Messages, mode: str, libraries: list[Library], rounds: int
) -> dict[Key, Measured]:
    bench, span = bench_of(batch), span_of(batch, mode)
    rows: dict[Key, Measured] = defaultdict(Measured)
    for number in range(rounds):
        for library in libraries:
            base = bench.run(ZLIB, DEFAULTS, span=span).nanoseconds
            for level in library.levels:
                settings = (level, *DEFAULTS[1:])
                got = bench.run(library, settings, span=span, keep=number == 0)
                if number == 0:
                    native.check(list(batch), got.made, span)
                row = rows["deflate", batch.size, mode, library.name, level]
                row.times.append(got.nanoseconds)
                row.beside.append(got.nanoseconds / base)
                row.ratio = got.size / len(batch.data)
                row.memory = got.memory
    return rows


def compare_inflate(
    batch: Messages, mode: str, libraries: list[Library], rounds: int
) -> dict[Key, Measured]:
    span = span_of(batch, mode)
    bench = inflatable(bench_of(batch), batch, mode)
    rows: dict[Key, Measured] = defaultdict(Measured)
    for number in range(rounds):
        base = bench.run(ZLIB, DEFAULTS, span=span, inflates=True).nanoseconds
        for library in libraries:
            got = bench.run(
                library, DEFAULTS, span=span, inflates=True, keep=number == 0
            )
            if number == 0 and got.made != list(batch):
                raise ValueError(f"{library.name} inflated something else")
            row = rows["inflate", batch.size, mode, library.name, 0]
            row.times.append(got.nanoseconds)
            row.beside.append(got.nanoseconds / base)
            row.memory = got.memory
    return rows


def compare(libraries: list[Library], rounds: int = ROUNDS) -> list[Row]:
    return [
        measured.row(key)
        for rows in compare_sizes(libraries, rounds)
        for key, measured in rows.items()
    ]


def least_memory(libraries: list[Library]) -> dict[str, int]:
    """Of a stream that deflates, with the smallest settings there are."""
    bench = bench_of(messages(137, 4))
    return {
        library.name: bench.run(library, SMALLEST, span=1).memory
        for library in libraries
    }
