"""A latency histogram drawn with characters, both axes logarithmic.

Logarithmic upward, because the rare slow answers are what one looks for: on a linear
axis one in a thousand would be less than a pixel.
"""

from __future__ import annotations

import math

from ..load import Histogram

__all__ = ["duration", "spectrum"]

BLOCKS = " ▁▂▃▄▅▆▇█"
PLAIN_BLOCKS = "     ####"
# A column spans 3 % at least: two buckets of the histogram, or it would draw combs.
LEAST_STEP = math.log(1.03)


def duration(nanoseconds: float) -> str:
    """Three digits and a unit, in ten characters at most: 812 ns, 34.5 µs, 1.20 ms."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= 0.9995 * size:
            value = nanoseconds / size
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return f"{value:.{digits}f} {unit}"
    return f"{nanoseconds:.0f} ns"


def spectrum(
    histogram: Histogram, width: int = 64, height: int = 5, plain: bool = False
) -> list[str]:
    """Lines of the drawing and of its axis; none when nothing was recorded."""
    if not histogram.total:
        return []
    start, step = _axis(histogram, width)
    columns = [0] * width
    for edge, count in histogram.buckets():
        at = int((math.log(max(edge, 1)) - start) / step)
        columns[min(max(at, 0), width - 1)] += count
    # A single one is an eighth of a line high.
    eighths = height * 8 - 1
    scale = eighths / max(math.log(max(columns)), 1.0)
    levels = [1 + int(math.log(count) * scale) if count else 0 for count in columns]
    blocks = PLAIN_BLOCKS if plain else BLOCKS
    lines = [
        "".join(blocks[min(max(level - 8 * row, 0), 8)] for level in levels).rstrip()
        for row in reversed(range(height))
    ]
    if plain:
        # An eighth has no character of its own, but must not vanish.
        lines[-1] = "".join("#" if level else " " for level in levels).rstrip()
    return [*lines, *_scale(start, step, width, plain)]


def _axis(histogram: Histogram, width: int) -> tuple[float, float]:
    """Logarithm at the left edge, and per column."""
    low, high = math.log(max(histogram.lowest, 1)), math.log(max(histogram.highest, 1))
    step = max((high - low) / (width - 1), LEAST_STEP)
    # What is narrower than the drawing stands in its middle.
    return (low + high - step * (width - 1)) / 2, step


def _scale(start: float, step: float, width: int, plain: bool) -> list[str]:
    """The axis with its ticks, and what they mean below: as many as find room."""
    end = start + step * (width - 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        line, words, is_complete = ["-" if plain else "─"] * width, "", True
        for tick in _ticks(digits, start, end):
            at = round((math.log(tick) - start) / step)
            word = _short(tick).replace("µ", "u") if plain else _short(tick)
            begin = max(at - len(word) // 2, 0)
            if words and begin < len(words) + 2:
                is_complete = False
                continue
            words = words.ljust(begin) + word
            line[at] = "+" if plain else "┬"
        if is_complete:
            break
    return ["".join(line), words]


def _ticks(digits: tuple[int, ...], low: float, high: float) -> list[int]:
    decades = range(int(low / math.log(10)), int(high / math.log(10)) + 1)
    every = [digit * 10**decade for decade in decades for digit in digits]
    return [tick for tick in every if low <= math.log(tick) <= high]


def _short(tick: int) -> str:
    for unit, size in (("s", 10**9), ("ms", 10**6), ("µs", 10**3), ("ns", 1)):
        if tick >= size:
            return f"{tick // size} {unit}"
    return ""
