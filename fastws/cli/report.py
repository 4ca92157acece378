"""A result of the load generator as text, as a line of JSON, and as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import click

from ..load import Histogram, Options, Result
from ..load.result import QUANTILES, asked
from .spectrum import duration, spectrum

__all__ = ["csv_report", "failure", "json_report", "text_report"]

# From here on a process is said to have been busy all the time. The load generator's
# bound is lower, so that a rate is not believed that it may have held down.
SERVER_BUSY = 0.95
LOAD_BUSY = 0.90
# A rate is held when it is missed by less than this.
MISSED = 0.05

WIDTH = 78
OPERATIONS = {
    "echo": "messages",
    "fanout": "deliveries",
    "connect": "handshakes",
    "idle": "connections",
    "mixed": "messages",
}
LATENCY_ROWS = ("min", "mean", *(name for name, _ in QUANTILES), "max")
LATENCY_KEYS = ("mean", "min", *(name for name, _ in QUANTILES), "max")


def json_report(shown: dict[str, Any]) -> str:
    """One line."""
    return json.dumps(shown)


def csv_report(shown: dict[str, Any]) -> str:
    """A line of names and a line of values, whatever the mode: rows of runs match."""
    flat: dict[str, Any] = {}
    for name, value in shown.items():
        if name.endswith("_us"):
            flat |= {f"{name}.{key}": (value or {}).get(key) for key in LATENCY_KEYS}
        else:
            flat[name] = value
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows([flat.keys(), flat.values()])
    return lines.getvalue().removesuffix("\n")


def failure(options: Options, error: str) -> dict[str, Any]:
    """What JSON and CSV show for a run without a result: the same keys, one error."""
    nothing = Result(**asked(options), seconds=0, operations=0).to_dict()
    known = asked(options)
    return {name: known.get(name) for name in nothing} | {"error": error}


def text_report(options: Options, result: Result, plain: bool = False) -> str:
    """The report for people, 80 columns wide; plain is ASCII and nothing else."""
    parts = [
        _header(options, result),
        _rates(result),
        _latencies(result),
        _drawing(result, plain),
        _resources(options, result),
    ]
    text = "\n\n".join("\n".join(lines) for lines in map(list, parts) if lines)
    return _ascii(text) if plain else text


def _ascii(text: str) -> str:
    return text.replace("µ", "u").replace(" · ", ", ").replace("×", "x")


def _header(options: Options, result: Result) -> Iterator[str]:
    title = click.style(f"fastws bench · {result.mode}", bold=True)
    yield f"{title} · {result.url}"
    told = list(_asked(options, result))
    line = " "
    for part in told:
        if len(line) + len(part) + 3 > WIDTH:
            yield line
            line = " "
        line += (" · " if line.strip() else " ") + part
    yield line


def _asked(options: Options, result: Result) -> Iterator[str]:
    yield f"{result.connections:,} connections"
    if options.processes > 1:
        yield f"{options.processes} processes"
    if options.mode in ("echo", "fanout", "mixed"):
        content = " of records" if options.content == "records" else ""
        yield f"{result.size:,} B {result.kind}{content}"
        if options.rate is not None:
            yield f"{options.rate:,.0f} {_publications(options)}/s asked for"
        elif options.mode == "fanout":
            yield f"{result.depth} open per publisher"
        elif options.mode == "mixed":
            yield "1 message/s from each asked for"
        else:
            yield f"{result.depth} in flight each"
    if options.mode in ("fanout", "mixed"):
        yield f"{options.publishers:,} publishing"
        if options.channels > 1:
            yield f"{options.channels:,} channels"
    if options.mode == "mixed":
        yield f"{options.publish_rate:,.0f} publications/s asked for"
    if result.stalled:
        yield f"{result.stalled:,} never read"
    if options.deflate:
        yield "compressed" + (" with context" if options.deflate_context else "")
    if options.mode != "connect":
        yield f"{result.seconds:.1f} s measured after {options.warm_up:g} s of warm-up"


def _publications(options: Options) -> str:
    return "publications" if options.mode == "fanout" else "messages"


def _rates(result: Result) -> Iterator[str]:
    name = OPERATIONS[result.mode]
    rate = result.per_second
    if rate is None:
        yield f"  {result.operations:,} connections held for {result.seconds:.1f} s"
        return
    yield _rate(rate, name, f"{result.operations:,} in {result.seconds:.2f} s")
    for count, what in (
        (result.publications, "publications"),
        (result.deliveries, "deliveries"),
        (result.visits, "visits"),
    ):
        if count is not None:
            yield _rate(count / result.seconds, what, f"{count:,}", is_bold=False)


def _rate(rate: float, what: str, detail: str, is_bold: bool = True) -> str:
    digits = 0 if rate >= 100 else 1
    figure = click.style(f"{rate:>13,.{digits}f}", bold=is_bold)
    return f"  {figure} {what + '/s':<16} {click.style(detail, dim=True)}"


def _streams(result: Result) -> list[tuple[str, Histogram]]:
    named = {
        "echo": "echo",
        "fanout": "delivery",
        "connect": "handshake",
        "idle": "pong",
        "mixed": "echo",
    }
    streams = [
        (named[result.mode], result.latency),
        ("delivery", result.delivery_latency),
        ("visit", result.visit_latency),
    ]
    return [(name, histogram) for name, histogram in streams if histogram.total]


def _latencies(result: Result) -> Iterator[str]:
    streams = _streams(result)
    if not streams:
        return
    since = "the intended send time" if result.latency_from == "schedule" else "sending"
    if result.mode == "connect":
        since = "connect() to the server's answer"
    heads = "".join(f"{name:>12}" for name, _ in streams)
    yield f"  {'latency':<9}{heads}   {click.style(f'from {since}', dim=True)}"
    columns = [_column(histogram) for _, histogram in streams]
    for name, *values in zip(LATENCY_ROWS, *columns, strict=True):
        yield f"  {name:<9}" + "".join(f"{value:>12}" for value in values)


def _column(histogram: Histogram) -> Iterator[str]:
    yield duration(histogram.lowest)
    yield duration(histogram.mean)
    for _, share in QUANTILES:
        # What not one value exceeds is the maximum, not a percentile.
        is_known = histogram.total * share <= histogram.total - 0.999
        yield duration(histogram.quantile(share)) if is_known else "-"
    yield duration(histogram.highest)


def _drawing(result: Result, plain: bool) -> Iterator[str]:
    for name, histogram in _streams(result)[:1]:
        title = f"  how often which latency ({name}; both axes logarithmic)"
        yield click.style(title, dim=True)
        for line in spectrum(histogram, plain=plain):
            yield f"      {line}".rstrip()


def _resources(options: Options, result: Result) -> Iterator[str]:
    yield f"  CPU       load generator {_share(result.load_cpu)}" + (
        f", server {_share(result.server_cpu)}" if result.server_cpu is not None else ""
    )
    yield from _wire(options, result)
    yield from _memory(result)
    for at, sentence in enumerate(verdict(options, result)):
        yield from () if at else ("",)
        yield from click.wrap_text(
            sentence, WIDTH, initial_indent="  ", subsequent_indent="  "
        ).splitlines()


def _share(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.0%} of a core"


def _wire(options: Options, result: Result) -> Iterator[str]:
    if result.bytes_sent or result.bytes_received:
        sent, received = _size(result.bytes_sent), _size(result.bytes_received)
        yield f"  network   {sent} sent, {received} received"
    if options.deflate and result.frames:
        share = result.compressed_frames / result.frames
        each = result.bytes_received / result.frames
        yield (
            f"  deflate   {share:.1%} of {result.frames:,} frames came compressed: "
            f"{each:,.1f} B each"
        )


def _memory(result: Result) -> Iterator[str]:
    before, after = result.resident_before, result.resident_after
    each = result.bytes_per_connection
    if before is not None and after is not None and each is not None:
        yield (
            f"  memory    {_size(before)} before, {_size(after)} after "
            f"{result.resident_connections:,} connections: {each:,.0f} B each"
        )


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


def verdict(options: Options, result: Result) -> Iterator[str]:
    """What the figures prove, in plain sentences."""
    load = result.load_cpu_busiest or 0.0
    server = result.server_cpu
    if result.mode == "idle":
        if server is None:
            yield "What the connections cost is not known: --server-pid PID tells."
        return
    late = _missed(options, result)
    if late is not None:
        yield (
            f"The rate was missed: {late:,.0f} of {options.rate:,.0f} "
            f"{_publications(options)} per second. What latency shows is the queue "
            "that grew meanwhile."
        )
    if load >= LOAD_BUSY:
        yield (
            f"The load generator used {load:.0%} of its core: the rate is a lower "
            f"bound; add --processes {2 * options.processes}."
        )
    elif server is None:
        yield (
            "Whether the server was the bottleneck is not known: --server-pid PID "
            "tells."
        )
    elif server >= SERVER_BUSY:
        yield f"The server was the bottleneck: it used {server:.0%} of a core."
    elif result.latency_from == "schedule":
        if late is None:
            yield "The server kept up with the rate and had time left."
    else:
        more = "--parallel" if result.mode == "connect" else "--connections or --depth"
        yield (
            "Neither side was busy all the time: each waited for the other, or for "
            f"programs that shared their cores. More {more} loads the server more."
        )


def _missed(options: Options, result: Result) -> float | None:
    """The rate that was reached, when that is not the one that was asked for."""
    if options.rate is None or result.seconds <= 0:
        return None
    count = result.publications if result.mode == "fanout" else result.operations
    reached = (count or 0) / result.seconds
    return reached if reached < (1 - MISSED) * options.rate else None
