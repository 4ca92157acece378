"""Numbers as they stand in text: three significant digits and a unit."""

from __future__ import annotations

from ..scenarios.scenarios import CPU, LATENCY, MEMORY, RATE, WIRE
from ..scenarios.statistics import Spread

THIN = "\u2009"  # between a number and its unit, and between thousands
DECIMAL = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
BINARY = ((2.0**30, "GB"), (2.0**20, "MB"), (2.0**10, "KB"))
MICROSECONDS = ((1e6, "s"), (1e3, "ms"))


def digits(value: float) -> str:
    """Three significant digits, never an exponent."""
    if value >= 99.95:
        return f"{value:.0f}"
    if value >= 9.995:
        return f"{value:.1f}"
    return f"{value:.2f}"


def scaled(value: float, units: tuple[tuple[float, str], ...], smallest: str) -> str:
    for size, unit in units:
        # What would be rounded up to the next unit is written in it.
        if value >= size * 0.9995:
            return f"{digits(value / size)}{THIN}{unit}"
    whole = f"{value:.0f}" if value >= 99.5 else f"{value:.3g}"
    return f"{whole}{THIN}{smallest}".rstrip(THIN)


def amount(value: float, measure: str) -> str:
    if measure in (MEMORY, WIRE):
        return scaled(value, BINARY, "B")
    if measure == LATENCY:
        return scaled(value, MICROSECONDS, "µs")
    if measure == CPU:
        return f"{digits(value)}{THIN}%"
    return scaled(value, DECIMAL, "")


def ratio(value: float) -> str:
    """Two decimals; three next to 1, so that 0.996 is not shown as 1."""
    if value == 1:
        return "1"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.3f}" if 0.985 <= value < 1.015 else f"{value:.2f}"


def with_unit(value: float, measure: str, unit: str) -> str:
    """A rate says of what; the other measures have units of their own."""
    text = amount(value, measure)
    return f"{text} {unit}" if measure == RATE else text


def quartiles(spread: Spread) -> str:
    return f"{ratio(spread.low)}–{ratio(spread.high)}"


def share(value: float | None) -> str:
    return "" if value is None else f"{value * 100:.0f}{THIN}%"


def seconds(value: float) -> str:
    return f"{value:g}{THIN}s"
