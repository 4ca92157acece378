"""Results: buckets as in histogram.h, merging, and the keys of the JSON."""

from __future__ import annotations

import ctypes
import json
import math
import random
import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import fastws.load
from fastws.load import Histogram, Options, Result
from fastws.load.result import BUCKETS, QUANTILES, asked, bucket_of, upper_edge
from tests.support.seeds import fresh_seed

HEADERS = Path(fastws.load.__file__).parent
HIGHEST = 2**64 - 1
URL = "ws://127.0.0.1:9000/echo"

SHIM = """
#include "histogram.h"
uint32_t bucket(uint64_t value);
uint32_t bucket(uint64_t value) { return histogram_bucket(value); }
uint32_t buckets(void);
uint32_t buckets(void) { return HISTOGRAM_BUCKETS; }
"""


def histogram(values: Sequence[int]) -> Histogram:
    counts = [0] * BUCKETS
    for value in values:
        counts[bucket_of(value)] += 1
    # The generator's lowest value is the highest number when there was none.
    return Histogram.from_counts(
        struct.pack(f"<{BUCKETS}Q", *counts),
        len(values),
        sum(values),
        max(values, default=0),
        min(values, default=HIGHEST),
    )


@pytest.fixture
def numbers() -> random.Random:
    return random.Random(fresh_seed())


def of_every_size(numbers: random.Random, count: int) -> list[int]:
    return [numbers.getrandbits(numbers.randint(1, 64)) for _ in range(count)]


# Buckets


@pytest.mark.parametrize("value", [0, 1, 127, 128, 129, 2**32, HIGHEST - 1, HIGHEST])
def test_a_value_lies_within_its_bucket(value: int) -> None:
    bucket = bucket_of(value)
    assert 0 <= bucket < BUCKETS
    assert value <= upper_edge(bucket)
    assert bucket == 0 or upper_edge(bucket - 1) < value


def test_buckets_are_at_most_one_sixty_fourth_wide(numbers: random.Random) -> None:
    for value in of_every_size(numbers, 2000):
        assert value <= upper_edge(bucket_of(value)) <= value + value // 64


def test_edges_ascend_to_the_highest_number() -> None:
    edges = [upper_edge(bucket) for bucket in range(BUCKETS)]
    assert edges == sorted(set(edges))
    assert edges[-1] == HIGHEST
    assert [bucket_of(edge) for edge in edges] == list(range(BUCKETS))


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_the_buckets_are_those_of_the_generator(
    tmp_path: Path, numbers: random.Random
) -> None:
    source, library = tmp_path / "shim.c", tmp_path / "shim.so"
    source.write_text(SHIM)
    command = [
        "cc",
        "-shared",
        "-fPIC",
        f"-I{HEADERS}",
        "-o",
        str(library),
        str(source),
    ]
    subprocess.run(command, check=True, timeout=60)
    shim = ctypes.CDLL(str(library))
    shim.bucket.argtypes = [ctypes.c_uint64]
    assert shim.buckets() == BUCKETS
    edges = [upper_edge(bucket) for bucket in range(BUCKETS)]
    beside = [edge + 1 for edge in edges[:-1]]
    for value in [*edges, *beside, *of_every_size(numbers, 1000)]:
        assert shim.bucket(value) == bucket_of(value), value


# Histograms


def test_an_empty_histogram_knows_nothing() -> None:
    nothing = histogram([])
    assert nothing == Histogram()
    assert (nothing.mean, nothing.quantile(0.5), nothing.lowest) == (0.0, 0, 0)
    assert nothing.encode() is None
    assert list(nothing.buckets()) == []


def test_quantiles_are_at_most_a_bucket_too_high(numbers: random.Random) -> None:
    values = sorted(int(numbers.lognormvariate(13, 1)) for _ in range(5000))
    found = histogram(values)
    for share in (0.0, 0.001, *(share for _, share in QUANTILES), 1.0):
        true = values[max(math.ceil(share * len(values)) - 1, 0)]
        assert true <= found.quantile(share) <= true + true // 64
    assert found.quantile(1.0) == found.highest == values[-1]
    assert found.lowest == values[0]
    assert found.mean == pytest.approx(sum(values) / len(values))


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_quantile_is_a_share(share: float) -> None:
    with pytest.raises(ValueError, match="0 to 1"):
        histogram([1]).quantile(share)


def test_counts_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=f"has {8 * BUCKETS} bytes of counts, not 8"):
        Histogram.from_counts(bytes(8), 0, 0, 0, 0)


def test_counts_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="hold 0 values, not 3"):
        Histogram.from_counts(bytes(8 * BUCKETS), 3, 30, 10, 10)


def test_merging_is_recording_together(numbers: random.Random) -> None:
    first, second = of_every_size(numbers, 300), of_every_size(numbers, 200)
    together = histogram(first + second)
    assert histogram(first).merge(histogram(second)) == together
    assert histogram(second).merge(histogram(first)) == together
    assert together.merge(Histogram()) == together == Histogram().merge(together)


def test_the_json_has_microseconds() -> None:
    shown = histogram([1000] * 99 + [50_000]).encode()
    assert shown is not None
    assert list(shown) == [
        "mean",
        "min",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "p99.99",
        "max",
    ]
    assert (shown["min"], shown["p50"], shown["p99"]) == (1.0, 1.0, 1.0)
    assert (shown["mean"], shown["p99.9"], shown["max"]) == (1.5, 50.0, 50.0)


# Results

TALLY: dict[str, Any] = {
    "error": None,
    "seconds": 2.0,
    "operations": 3000,
    "publications": 30,
    "deliveries": 7,
    "visits": 5,
    "pings": 4,
    "frames": 3000,
    "compressed_frames": 10,
    "bytes_sent": 1000,
    "bytes_received": 2000,
    "server_cpu": 0.9,
    "load_cpu": 0.5,
    "resident_before": 1e6,
    "resident_after": 3e6,
    "resident_connections": 1000,
}


@pytest.fixture
def tally() -> Callable[..., dict[str, Any]]:
    def made(**changed: Any) -> dict[str, Any]:
        latency = histogram([1000, 2000, 3000])
        packed = (
            struct.pack(f"<{BUCKETS}Q", *latency.counts),
            latency.total,
            latency.sum,
            latency.highest,
            latency.lowest,
        )
        return {**TALLY, "latency": packed, **changed}

    return made


def test_a_tally_becomes_a_result(tally: Any) -> None:
    result = Result.from_tally(Options(url=URL, depth=16), tally())
    assert (result.mode, result.url, result.depth, result.kind) == (
        "echo",
        URL,
        16,
        "text",
    )
    assert result.per_second == 1500
    assert result.latency == histogram([1000, 2000, 3000])
    assert result.load_cpu_busiest == result.load_cpu == 0.5
    assert result.bytes_per_frame == 2000 / 3000
    assert result.to_dict()["bytes_per_frame"] == 0.7


def test_what_a_mode_does_not_count_is_none(tally: Any) -> None:
    echo = Result.from_tally(Options(url=URL), tally())
    assert echo.publications is echo.deliveries is echo.visits is echo.pings is None
    assert echo.resident_before is echo.bytes_per_connection is None
    fanout = Result.from_tally(Options(url=URL, mode="fanout"), tally())
    assert (fanout.publications, fanout.deliveries) == (30, None)
    mixed = Result.from_tally(Options(url=URL, mode="mixed", ping_interval=1), tally())
    assert (mixed.deliveries, mixed.visits, mixed.pings) == (7, 5, 4)


def test_idle_tells_memory_and_no_rate(tally: Any) -> None:
    options = Options(url=URL, mode="idle", server_pid=1)
    result = Result.from_tally(options, tally())
    assert result.per_second is None
    assert result.bytes_per_connection == 2000
    none = Result.from_tally(options, tally(resident_connections=0))
    assert none.bytes_per_connection is None


def test_a_negative_share_or_size_is_unknown(tally: Any) -> None:
    options = Options(url=URL, mode="idle", server_pid=1)
    unknown = tally(server_cpu=-1.0, resident_before=-1.0, resident_after=-1.0)
    result = Result.from_tally(options, unknown)
    assert result.server_cpu is result.resident_before is result.resident_after is None
    assert result.to_dict()["bytes_per_connection"] is None


def test_latency_counts_from_the_schedule_when_there_is_one() -> None:
    assert asked(Options(url=URL))["latency_from"] == "send"
    assert asked(Options(url=URL, rate=5.0))["latency_from"] == "schedule"
    assert asked(Options(url=URL, mode="mixed"))["latency_from"] == "schedule"


def test_processes_merge_into_one_run(tally: Any) -> None:
    options = Options(url=URL, mode="fanout", processes=2)
    first = Result.from_tally(options, tally())
    other = tally(seconds=2.5, load_cpu=0.75, server_cpu=-1.0, publications=10)
    merged = Result.merge([first, Result.from_tally(options, other)])
    assert (merged.seconds, merged.operations, merged.publications) == (2.5, 6000, 40)
    assert (merged.load_cpu, merged.load_cpu_busiest) == (1.25, 0.75)
    assert merged.server_cpu == 0.9
    assert merged.latency.total == 6
    assert merged.bytes_received == 4000
    assert Result.merge([first]) is first


def test_the_memory_of_several_processes_is_the_servers(tally: Any) -> None:
    options = Options(url=URL, mode="idle", processes=2, server_pid=1)
    first = Result.from_tally(options, tally())
    second = Result.from_tally(options, tally(resident_before=9e5))
    merged = Result.merge([first, second])
    assert (merged.resident_before, merged.resident_after) == (900_000, 3_000_000)
    assert merged.resident_connections == 2000


def test_the_json_has_the_fields_and_what_follows(tally: Any) -> None:
    shown = Result.from_tally(Options(url=URL), tally()).to_dict()
    assert json.loads(json.dumps(shown)) == shown
    assert shown["error"] is None
    assert shown["per_second"] == 1500.0
    assert shown["latency_us"]["max"] == 3.0
    assert shown["delivery_latency_us"] is None
    assert {"mode", "seconds", "version", "rate", "stalled"} <= set(shown)
