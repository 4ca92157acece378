"""What a run found: figures, and the latencies as a histogram.

A Histogram has the buckets of histogram.h: the generator records, this file reads.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from ..version import version
from .options import Options

__all__ = ["Histogram", "Result", "asked"]

# As in histogram.h.
SUB_BITS = 6
SUB = 1 << SUB_BITS
BUCKETS = (64 - SUB_BITS + 1) * SUB

# Keys of `latency_us` and the quantile that each stands for.
QUANTILES = (
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
)


def bucket_of(value: int) -> int:
    """The bucket in which histogram.h counts a value."""
    if value < 2 * SUB:
        return value
    exponent = value.bit_length() - 1 - SUB_BITS
    return exponent * SUB + (value >> exponent)


def upper_edge(bucket: int) -> int:
    """The highest value that falls into a bucket."""
    if bucket < 2 * SUB:
        return bucket
    exponent = bucket // SUB - 1
    mantissa = bucket - exponent * SUB
    return ((mantissa + 1) << exponent) - 1


@dataclass(frozen=True, slots=True)
class Histogram:
    """Latencies in nanoseconds, counted in buckets 1.6 % wide (1 ns below 128 ns).

    ``total``, ``sum``, ``lowest`` and ``highest`` are exact; the extremes are 0 when
    nothing was recorded. A quantile is at most 1.6 % above the true one, never below.
    """

    counts: tuple[int, ...] = (0,) * BUCKETS
    total: int = 0
    sum: int = 0
    highest: int = 0
    lowest: int = 0

    @classmethod
    def from_counts(
        cls, counts: bytes, total: int, sum: int, highest: int, lowest: int
    ) -> Self:
        """Read the generator's memory: uint64, little-endian, one per bucket."""
        if len(counts) != 8 * BUCKETS:
            raise ValueError(
                f"a histogram has {8 * BUCKETS} bytes of counts, not {len(counts)}"
            )
        numbers = struct.unpack(f"<{BUCKETS}Q", counts)
        if (found := _sum(numbers)) != total:
            raise ValueError(f"the buckets hold {found} values, not {total}")
        if not total:
            return cls()
        return cls(numbers, total, sum, highest, lowest)

    def merge(self, other: Histogram) -> Histogram:
        """Both together, as if one run had recorded all."""
        if not self.total or not other.total:
            return self if self.total else other
        return Histogram(
            tuple(map(int.__add__, self.counts, other.counts)),
            self.total + other.total,
            self.sum + other.sum,
            max(self.highest, other.highest),
            min(self.lowest, other.lowest),
        )

    def quantile(self, quantile: float) -> int:
        """The value that this share (0 to 1) of all values does not exceed."""
        if not 0 <= quantile <= 1:
            raise ValueError(f"a quantile is 0 to 1, not {quantile!r}")
        wanted, seen = quantile * self.total, 0
        for edge, count in self.buckets():
            seen += count
            if seen >= wanted:
                return edge
        return self.highest

    @property
    def mean(self) -> float:
        """In nanoseconds; 0 when nothing was recorded."""
        return self.sum / self.total if self.total else 0.0

    def buckets(self) -> Iterator[tuple[int, int]]:
        """Highest value and count of each bucket that has any, ascending."""
        for bucket, count in enumerate(self.counts):
            if count:
                yield min(upper_edge(bucket), self.highest), count

    def encode(self) -> dict[str, float] | None:
        """Microseconds as they stand in the JSON; None when nothing was recorded."""
        if not self.total:
            return None
        found = {"mean": self.mean, "min": self.lowest}
        found |= {name: self.quantile(share) for name, share in QUANTILES}
        found["max"] = self.highest
        return {name: round(value * 1e-3, 1) for name, value in found.items()}


_sum = sum  # Histogram has a field of this name.


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A finished run. The fields are the keys of its JSON, in this order.

    ``None`` is what was not measured, or what the mode does not have. CPU is in shares
    of one core: 1.0 is one core busy all the time.
    """

    # What was asked.
    mode: str
    url: str
    connections: int
    processes: int
    depth: int
    size: int
    kind: str  # "text" or "binary"
    rate: float | None  # asked for, per second; None: closed loop
    stalled: int  # subscribers that never read
    version: str  # of fastws

    # What happened under the clock, until the last answer had arrived.
    seconds: float
    operations: int  # echoes, deliveries, handshakes, or connections held
    publications: int | None = None  # that reached all their subscribers
    deliveries: int | None = None  # mixed: of the publications
    visits: int | None = None  # mixed: connections that came and went
    pings: int | None = None  # that were answered
    frames: int = 0  # data frames received
    compressed_frames: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0

    server_cpu: float | None = None
    load_cpu: float | None = None  # of all processes together
    load_cpu_busiest: float | None = None  # of the process that worked most

    resident_before: int | None = None  # idle: the server's memory in bytes
    resident_after: int | None = None
    resident_connections: int | None = None  # opened between the two

    latency_from: str = "send"  # or "schedule": the intended time, with a rate
    latency: Histogram = Histogram()  # latency_us in the JSON, as are the next two
    delivery_latency: Histogram = Histogram()  # mixed: of the publications
    visit_latency: Histogram = Histogram()  # mixed: of the handshakes

    @classmethod
    def from_tally(cls, options: Options, tally: Mapping[str, Any]) -> Self:
        """What one generator counted, by the names of ``load_result`` in load.h.

        Names that this record does not have are ignored; a negative share or size is
        unknown. A histogram comes as the arguments of ``Histogram.from_counts``.
        """
        found = {one.name: tally[one.name] for one in fields(cls) if one.name in tally}
        for name in ("latency", "delivery_latency", "visit_latency"):
            if name in found and not isinstance(found[name], Histogram):
                found[name] = Histogram.from_counts(*found[name])
        for name in ("server_cpu", "load_cpu", "resident_before", "resident_after"):
            if found.get(name) is not None and found[name] < 0:
                found[name] = None
        for name in ("resident_before", "resident_after"):
            if found.get(name) is not None:
                found[name] = int(found[name])
        for name in _absent(options):
            found[name] = None
        busiest = found.get("load_cpu_busiest", found.get("load_cpu"))
        return cls(**asked(options), **found | {"load_cpu_busiest": busiest})

    @classmethod
    def merge(cls, results: Sequence[Result]) -> Result:
        """The processes of one run together: they shared one clock and one server."""
        first, *others = results
        if not others:
            return first
        together: dict[str, Any] = {
            name: _total([getattr(one, name) for one in results]) for name in _ADDED
        }
        for name in ("latency", "delivery_latency", "visit_latency"):
            merged = Histogram()
            for one in results:
                merged = merged.merge(getattr(one, name))
            together[name] = merged
        for name in ("seconds", "load_cpu_busiest", "resident_after"):
            together[name] = _most([getattr(one, name) for one in results])
        # Each process looked at the same server over nearly the same time.
        seen = [one.server_cpu for one in results if one.server_cpu is not None]
        together["server_cpu"] = sum(seen) / len(seen) if seen else None
        before = [one.resident_before for one in results if one.resident_before]
        together["resident_before"] = min(before) if before else None
        return replace(first, **together)

    @property
    def per_second(self) -> float | None:
        """Operations per second; None for idle, which does nothing."""
        if self.mode == "idle" or self.seconds <= 0:
            return None
        return self.operations / self.seconds

    @property
    def bytes_per_frame(self) -> float | None:
        """What a data frame took on the wire, its header included."""
        return self.bytes_received / self.frames if self.frames else None

    @property
    def bytes_per_connection(self) -> float | None:
        """Memory that an idle connection costs the server."""
        if self.resident_before is None or self.resident_after is None:
            return None
        if not self.resident_connections:
            return None
        return (self.resident_after - self.resident_before) / self.resident_connections

    def to_dict(self) -> dict[str, Any]:
        """What JSON shows: the fields, and what follows from them."""
        shown: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, Histogram):
                shown[f"{one.name}_us"] = value.encode()
            else:
                shown[one.name] = round(value, 6) if type(value) is float else value
            if one.name == "version":
                shown["error"] = None
            elif one.name == "operations":
                shown["per_second"] = _rounded(self.per_second)
            elif one.name == "bytes_received":
                shown["bytes_per_frame"] = _rounded(self.bytes_per_frame)
            elif one.name == "resident_connections":
                shown["bytes_per_connection"] = _rounded(self.bytes_per_connection)
        return shown


def asked(options: Options) -> dict[str, Any]:
    """The fields of a Result that are known before the run."""
    # A mixed run has a rate of its own when none was given.
    is_scheduled = options.rate is not None or options.mode == "mixed"
    return {
        "mode": options.mode,
        "url": options.url,
        "connections": options.connections,
        "processes": options.processes,
        "depth": options.depth,
        "size": options.size,
        "kind": "binary" if options.binary else "text",
        "rate": options.rate,
        "stalled": options.stalled_count,
        "version": version(),
        "latency_from": "schedule" if is_scheduled else "send",
    }


_ADDED = (
    "operations",
    "publications",
    "deliveries",
    "visits",
    "pings",
    "frames",
    "compressed_frames",
    "bytes_sent",
    "bytes_received",
    "load_cpu",
    "resident_connections",
)


def _absent(options: Options) -> Iterator[str]:
    """Counts that this mode does not have: 0 would say that nothing happened."""
    if options.mode not in ("fanout", "mixed"):
        yield "publications"
    if options.mode != "mixed":
        yield from ("deliveries", "visits")
    if options.ping_interval is None:
        yield "pings"
    if options.mode != "idle" or options.server_pid is None:
        yield from ("resident_before", "resident_after", "resident_connections")


def _total(values: Sequence[Any]) -> Any:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _most(values: Sequence[Any]) -> Any:
    return max((value for value in values if value is not None), default=None)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
