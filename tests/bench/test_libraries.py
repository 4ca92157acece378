"""Every deflate library that is there makes messages that another zlib reads."""

from __future__ import annotations

import json
import random
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path

import pytest

from bench.libraries import corpus, measure, native, sweep
from bench.libraries.__main__ import compact
from bench.libraries.markdown import page
from bench.libraries.native import LIBRARIES, TAIL, ZLIB, Bench, Library

RESULTS = Path(native.BENCH) / "libraries" / "results.json"
SEED = 42
SIZES = ((137, 8), (1024, 4), (16_384, 2), (70_000, 2))
PIECE = 16  # bytes: a reader has no more than its window and this

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="loads shared objects by name"),
    # It compiles, and compilers can't take the preloaded runtimes.
    pytest.mark.unsanitized,
]


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    native.build()


def with_every(libraries: Iterable[Library]) -> pytest.MarkDecorator:
    """Those that the system does not have are fetched by bench/libraries/install.sh."""
    return pytest.mark.parametrize(
        "library",
        [
            pytest.param(
                one, id=one.name, marks=[pytest.mark.services] if one.package else []
            )
            for one in libraries
        ],
    )


every_library = with_every(LIBRARIES)


def test_messages_have_their_size_and_are_json() -> None:
    for size, count in SIZES:
        made = list(corpus.messages(size, count, SEED))
        assert [len(message) for message in made] == [size] * count, SEED
        channels = [json.loads(message)["channel"] for message in made]
        assert channels == ["chat"] * (count // 2) + ["quotes"] * (count // 2)


@every_library
@pytest.mark.parametrize(("size", "count"), SIZES)
def test_round_trip(library: Library, size: int, count: int) -> None:
    batch = corpus.messages(size, count, SEED)
    bench = measure.bench_of(batch)
    for mode in measure.MODES:
        if not measure.works(library, mode):
            continue
        span = measure.span_of(batch, mode)
        for level in library.levels:
            got = bench.run(library, (level, 15, 8), span=span, keep=True)
            native.check(list(batch), got.made, span)
            assert got.size == sum(map(len, got.made))
            assert got.memory > 0
        reader = measure.inflatable(bench, batch, mode)
        read = reader.run(
            library, measure.DEFAULTS, span=span, inflates=True, keep=True
        )
        assert read.made == list(batch)


@every_library
def test_random_bytes_come_back(library: Library) -> None:
    source = random.Random(SEED)
    messages = [source.randbytes(source.randrange(1, 5000)) for _ in range(20)]
    bench = Bench(messages, 2 * sum(map(len, messages)) + 10_000)
    for level in library.levels:
        got = bench.run(library, (level, 15, 8), span=1, keep=True)
        native.check(messages, got.made, 1)


def read_in_pieces(made: list[bytes], window_bits: int) -> list[bytes]:
    """As a reader that really has no larger window: in pieces."""
    reader = zlib.decompressobj(-window_bits)
    messages = []
    for message in made:
        rest = message + TAIL
        pieces: list[bytes] = []
        while rest or pieces[-1]:
            pieces.append(reader.decompress(rest, PIECE))
            rest = reader.unconsumed_tail
        messages.append(b"".join(pieces))
    return messages


@with_every(one for one in LIBRARIES if one.has_context)
@pytest.mark.parametrize("window_bits", [9, 10, 12])
def test_windows_are_kept(library: Library, window_bits: int) -> None:
    batch = corpus.messages(16_384, 4, SEED)
    bench = measure.bench_of(batch)
    for level in library.levels:
        got = bench.run(library, (level, window_bits, 8), span=batch.count, keep=True)
        assert read_in_pieces(got.made, window_bits) == list(batch)


def test_zlib_takes_no_raw_window_of_eight_bits() -> None:
    bench = measure.bench_of(corpus.messages(137, 2, SEED))
    with pytest.raises(native.RefusedError):
        bench.run(ZLIB, (6, 8, 8), span=1)


def test_a_changed_message_is_noticed() -> None:
    batch = corpus.messages(137, 2, SEED)
    made = measure.bench_of(batch).run(ZLIB, measure.DEFAULTS, span=1, keep=True).made
    first, _ = batch
    with pytest.raises(ValueError, match="message 1"):
        native.check([first, b"other"], made, 1)


def test_a_library_that_is_not_there_says_what_to_run() -> None:
    absent = Library(1, "absent", "absent/*.so", "absent", (1,))
    with pytest.raises(native.MissingError, match=r"run bench/libraries/install\.sh"):
        native.load(absent)


def choice(level: int, beside: float, ratio: float, memory: int) -> sweep.Choice:
    return sweep.Choice(level, 15, 8, beside, ratio, memory)


def test_the_choice_is_small_then_fast_then_lean() -> None:
    smallest = choice(9, 2.0, 0.200, 100)
    large = choice(1, 0.1, 0.250, 10)
    fast = choice(6, 1.00, 0.205, 100)
    lean = choice(5, 1.04, 0.205, 50)
    assert sweep.choose([smallest, large, fast]) is fast
    assert sweep.choose([smallest, large, fast, lean]) is lean


def test_the_page_is_made_from_the_results_that_are_kept() -> None:
    text = RESULTS.read_text()
    results = json.loads(text)
    assert compact(results) == text
    lines = page(results)
    for found in LIBRARIES:
        assert any(line.startswith(f"**{found.name}") for line in lines)
    # python -m bench.libraries --read … --markdown writes it.
    manual = Path(native.BENCH).parent / "docs" / "libraries.md"
    assert manual.read_text() == "\n".join(lines) + "\n"


def test_the_page_names_what_is_missing() -> None:
    results = json.loads(RESULTS.read_text())
    gone = "zlib-ng"
    results["rows"] = [row for row in results["rows"] if row["library"] != gone]
    del results["versions"][gone], results["least_memory"][gone]
    results["missing"] = {gone: "not there: run bench/libraries/install.sh"}
    assert f"| {gone} | not there: run bench/libraries/install.sh |" in page(results)
