"""The report's page about deflate libraries and zlib's settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..report.markdown import table
from .adopting import ADOPTING
from .corpus import SIZES
from .measure import ALONE, CONTEXT, DEFAULTS, MODES
from .native import LIBRARIES
from .sweep import WINDOWS, Choice, choices, choose

Results = dict[str, Any]
Row = dict[str, Any]
Lines = list[str]

# Of the libraries' rows: how much larger than zlib's level 6 the best choice may be.
BEST_SLACK = 1.05
TITLES = {ALONE: "each message on its own", CONTEXT: "in a growing context"}


def amount_of_bytes(size: int) -> str:
    if size < 1024:
        return f"{size} B"
    kibibytes = size / 1024
    return f"{kibibytes:.3g} KiB" if kibibytes < 1000 else f"{kibibytes / 1024:.3g} MiB"


def microseconds(nanoseconds: float) -> str:
    return (
        f"{nanoseconds / 1000:,.3g} µs"
        if nanoseconds < 1e6
        else (f"{nanoseconds / 1e6:.3g} ms")
    )


def settings(level: int, window_bits: int, memory_level: int) -> str:
    return f"{level} / {window_bits} / {memory_level}"


def rows_of(results: Results, work: str, mode: str) -> list[Row]:
    return [r for r in results["rows"] if r["work"] == work and r["mode"] == mode]


def name_of(row: Row) -> str:
    return (
        row["library"]
        if row["work"] == "inflate"
        else (f"{row['library']} {row['level']}")
    )


def grid(results: Results, work: str, mode: str) -> Lines:
    """A line for each library and level, a column for each size."""
    found = {(name_of(row), row["size"]): row for row in rows_of(results, work, mode)}
    lines = []
    for name in dict.fromkeys(name for name, _ in found):
        cells = []
        for size in SIZES:
            row = found[name, size]
            cell = f"{microseconds(row['nanoseconds'])} ({row['beside']:.2f})"
            cells.append(cell if work == "inflate" else f"{cell} {row['ratio']:.3f}")
        lines.append([name, *cells, amount_of_bytes(row["memory"])])
    heading = ["library, level" if work == "deflate" else "library"]
    heading += [amount_of_bytes(size) for size in SIZES]
    return table([*heading, "memory of a stream"], lines)


def left_out(results: Results) -> Lines:
    lines = [[name, reason] for name, reason in results["missing"].items()]
    return table(["left out", "why"], lines, numeric=2) if lines else []


def best(rows: Sequence[Row]) -> Row:
    """The fastest of those that are nearly as small as zlib at level 6."""
    bound = next(
        row["ratio"] for row in rows if (row["library"], row["level"]) == ("zlib", 6)
    )
    small = [row for row in rows if row["ratio"] <= bound * BEST_SLACK]
    return min(small, key=lambda row: row["beside"])


def best_choices(results: Results) -> Lines:
    lines = []
    for size in SIZES:
        cells = [amount_of_bytes(size)]
        for mode in MODES:
            rows = rows_of(results, "deflate", mode)
            row = best([row for row in rows if row["size"] == size])
            cells.append(f"{name_of(row)} ({row['beside']:.2f}) {row['ratio']:.3f}")
        lines.append(cells)
    return table(["message", *(TITLES[mode] for mode in MODES)], lines, numeric=3)


def choice_cells(choice: Choice) -> list[str]:
    return [
        settings(choice.level, choice.window_bits, choice.memory_level),
        f"{choice.beside:.2f}",
        f"{choice.ratio:.3f}",
        amount_of_bytes(choice.memory),
    ]


def zlib_choices(results: Results) -> Lines:
    """For each size and mode: the defaults, the smallest, and the choice."""
    lines = []
    for mode in MODES:
        for size in SIZES:
            tables = [
                t for t in results["sweep"] if (t["size"], t["mode"]) == (size, mode)
            ]
            tried = choices(tables, results["memory"]["deflate"])
            default = next(
                c for c in tried if (c.level, c.window_bits, c.memory_level) == DEFAULTS
            )
            lines.append(
                [
                    f"{amount_of_bytes(size)}, {TITLES[mode]}",
                    microseconds(tables[0]["defaults"]),
                    f"{default.ratio:.3f}",
                    f"{min(c.ratio for c in tried):.3f}",
                    *choice_cells(choose(tried)),
                ]
            )
    heading = ["messages", "time of 6 / 15 / 8", "its ratio", "smallest of all"]
    heading += ["choice", "time", "ratio", "memory"]
    return table(heading, lines)


def windows(results: Results) -> Lines:
    inflate = [amount_of_bytes(size) for size in results["memory"]["inflate"]]
    return table(["window bits", *map(str, WINDOWS)], [["memory to inflate", *inflate]])


def paragraphs(results: Results) -> Lines:
    lines: Lines = []
    for library in LIBRARIES:
        said = results["versions"].get(library.name)
        title = f"{library.name} ({said})" if said else library.name
        least = results["least_memory"].get(library.name)
        end = (
            f" The least memory of a deflating stream (level 1, a window of 9 bits, "
            f"memory level 1): {amount_of_bytes(least)}."
            if least
            else ""
        )
        lines += [f"**{title}.** {ADOPTING[library.name]}{end}", ""]
    return lines


def page(results: Results) -> Lines:
    """The whole page, as lines."""
    lines = [
        "# Deflate libraries",
        "",
        "Should permessage-deflate use another library than zlib, and which settings? "
        f"JSON of a chat and of a market feed (seed {results['seed']}), each message "
        "flushed and cut as RFC 7692 sends it. A cell: processor time for a message, "
        "in brackets the median of its ratios to zlib's in the same round (level 6, 15 "
        f"window bits, memory level 8; {results['rounds']} rounds), then the size "
        "beside the original's. Every message that was made is read back by another "
        f"zlib. On {results['machine']['processor']}.",
        "",
        *left_out(results),
    ]
    for work, title in (("deflate", "Compressing"), ("inflate", "Decompressing")):
        for mode in MODES:
            lines += [f"## {title}, {TITLES[mode]}", "", *grid(results, work, mode)]
    lines += [
        "## Best choice by size",
        "",
        "The fastest that is at most 5 % larger than zlib at level 6.",
        "",
        *best_choices(results),
        "## Settings of zlib",
        "",
        "Level / window bits / memory level. The choice is the fastest that is at most "
        "3 % larger than the smallest of all 252 settings; of those within 5 % of its "
        "time, the one with the least memory.",
        "",
        *zlib_choices(results),
        *windows(results),
        "## What adopting one would take",
        "",
        *paragraphs(results),
    ]
    return lines
