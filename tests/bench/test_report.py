"""The report: what it says of made-up results, and that the stored page is of them."""

from __future__ import annotations

import random
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import msgspec
import pytest

from bench.report import __main__ as command
from bench.report import figures, losses
from bench.report.charts import axis_of, bars, charts
from bench.report.collect import collect, decode, encode
from bench.report.markdown import page
from bench.scenarios.runs import Run, RunFile, ServerNote
from bench.scenarios.scenarios import SCENARIOS
from bench.scenarios.statistics import Results, Spread
from tests.bench import made_up

DOCS = Path(__file__).resolve().parents[2] / "docs"
ECHO = "echo-100x64-d16"
TITLE = SCENARIOS[ECHO].title
SVG = "{http://www.w3.org/2000/svg}"
USUAL = [made_up.note(name) for name in ("control", "fastws", "fastws-async", "bun")]


def results(runs: list[Run], servers: list[ServerNote] | None = None) -> Results:
    return collect([made_up.about(*(servers or USUAL))], runs)


def everything() -> Results:
    """All scenarios and servers, with a bit of everything that can happen."""
    source = random.Random(17)
    runs = []
    for name in SCENARIOS:
        values = {
            server.name: made_up.noisy(source.uniform(500, 2e6), source)
            for server in USUAL
        }
        values["bun"][3] = None
        runs += made_up.runs(name, values, load_cpu=source.uniform(0.3, 1.0))
    missing = made_up.note("nchan", missing="not installed: bench/peers/install.sh")
    return results(runs, [*USUAL, missing])


# --- figures ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "measure", "text"),
    [
        (1_523_456, "per_second", "1.52 M"),
        (152_345, "per_second", "152 k"),
        (99_960, "per_second", "100 k"),
        (9_876, "per_second", "9.88 k"),
        (999_700, "per_second", "1.00 M"),
        (999, "per_second", "999"),
        (0, "per_second", "0"),
        (717, "bytes_per_connection", "717 B"),
        (3072, "bytes_per_connection", "3.00 KB"),
        (-12, "bytes_per_connection", "-12 B"),
        (27.34, "bytes_per_frame", "27.3 B"),
        (850.4, "p99", "850 µs"),
        (12_340, "p99", "12.3 ms"),
        (1_234_000, "p99", "1.23 s"),
        (3.456, "server_cpu", "3.46 %"),
    ],
)
def test_amounts(value: float, measure: str, text: str) -> None:
    assert figures.amount(value, measure).replace(figures.THIN, " ") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1, "1"), (0.996, "0.996"), (1.004, "1.004"), (0.9, "0.90"), (12.34, "12.3")],
)
def test_ratios_next_to_one_are_not_rounded_to_it(value: float, text: str) -> None:
    assert figures.ratio(value) == text


# --- losses -----------------------------------------------------------------------


def test_a_row_below_one_is_a_loss_in_plain_words() -> None:
    text = page(
        results(made_up.runs(ECHO, {"control": [200_000], "fastws": [190_000]}))
    )
    assert (
        f"**{TITLE}**: `fastws` reaches 0.95 × `control` (quartiles 0.95–0.95): "
        "190 k against 200 k messages/s."
    ) in text.replace(figures.THIN, " ")
    assert "Another server is ahead of `fastws` in 1 of 1 scenarios" in text


def test_everyone_who_is_ahead_is_named() -> None:
    runs = made_up.runs(ECHO, {"control": [300], "bun": [400], "fastws": [190]})
    (text,) = losses.all_behind(results(runs), "fastws")
    assert "× `bun`" in text
    assert "Ahead of it too: `control`." in text


def test_needing_more_is_a_loss_too() -> None:
    runs = made_up.runs("idle-8000", {"control": [1000], "fastws": [4096]})
    made = results(runs)
    (text,) = losses.all_behind(made, "fastws")
    assert "`fastws` needs 4.10 × `control`" in text
    assert len(losses.misses(made)) == 2


def test_being_ahead_is_no_loss() -> None:
    runs = made_up.runs(ECHO, {"control": [190_000], "fastws": [200_000]})
    assert "Nowhere in these scenarios." in page(results(runs))


def test_the_widest_gap_stands_first() -> None:
    runs = made_up.runs(ECHO, {"control": [100], "fastws": [90]})
    runs += made_up.runs("connect", {"control": [100], "fastws": [50]})
    runs += made_up.runs("idle-8000", {"control": [100], "fastws": [150]})
    texts = losses.all_behind(results(runs), "fastws")
    assert [text.split(" × ")[0][-4:] for text in texts] == ["0.50", "1.50", "0.90"]


def test_what_weakens_a_statement_is_said() -> None:
    runs = made_up.runs(ECHO, {"fastws": [90, 105]}, load_cpu=0.95, foreign_cpu=0.3)
    runs += made_up.runs(ECHO, {"control": [100, 100]}, load_cpu=0.95)
    (text,) = losses.all_behind(results(runs), "fastws")
    assert "the quartiles leave it open" in text
    assert "No round of it was undisturbed." in text
    assert "it may do better" in text
    assert "the gap may be wider" in text


def test_our_failures_and_absences_are_losses() -> None:
    name = "fanout-100x128-d1-deflate"
    runs = made_up.runs(ECHO, {"control": [100], "fastws": [None]})
    runs += made_up.runs(name, {"bun": [100]})
    notes = [*USUAL[:3], made_up.note("bun", can=["fanout-deflate"])]
    text = page(results(runs, notes))
    assert (
        f"**{TITLE}**: `fastws` failed in 1 of 1 runs: connection 7 was reset" in text
    )
    assert f"**{SCENARIOS[name].title}**: `fastws`, `fastws-async`" in text


# --- the page ---------------------------------------------------------------------


def test_failed_runs_and_missing_peers_are_shown() -> None:
    runs = made_up.runs(
        ECHO, {"control": [100, 100], "bun": [None, 90], "fastws": [9, 9]}
    )
    notes = [*USUAL, made_up.note("nchan", missing="not installed: install.sh")]
    text = page(results(runs, notes))
    assert "- `bun` failed 1×: connection 7 was reset" in text
    assert "1 of 2, ratio of 1" in text
    assert "not installed: install.sh" in text


def test_lower_bounds_and_proofs_are_shown() -> None:
    runs = made_up.runs(ECHO, {"control": [100, 100]}, server_cpu=1.0, load_cpu=0.5)
    runs += made_up.runs(ECHO, {"fastws": [110, 110]}, server_cpu=0.9, load_cpu=1.0)
    runs += made_up.runs(ECHO, {"bun": [90, 90]}, server_cpu=0.8, load_cpu=0.7)
    lines = page(results(runs)).splitlines()
    row = {line.split("|")[1].strip(): line for line in lines if line.startswith("| ")}
    assert "server 2/2" in row["control"]
    assert "| ≥ 110 |" in row["**fastws**"]
    assert "load: lower bound" in row["**fastws**"]
    assert "| neither |" in row["bun"]


def cells(text: str, heading: str) -> dict[str, str]:
    """A column of the page's last table, by server."""
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    last = max(place for place, row in enumerate(rows) if row[0] == "| server")
    column = rows[last].index(heading)
    return {row[0].strip("| *"): row[column] for row in rows[last + 2 :]}


def test_bytes_stand_beside_rates_and_rates_beside_bytes() -> None:
    name = "fanout-1000x1024-d16-deflate"
    runs = made_up.runs(name, {"uws": [10], "fastws": [95]})
    assert "Compressed messages are JSON" in page(results(runs))
    assert cells(page(results(runs)), "bytes of each") == {
        "uws": "66\u2009B",
        "fastws": "66\u2009B",
    }
    runs = made_up.runs("wire-1000x137-context", {"uws": [120], "fastws": [25]})
    text = page(results(runs))
    assert cells(text, "bytes of a delivery")["fastws"] == "25\u2009B"
    assert cells(text, "per second")["uws"] == "100\u2009k"


def test_what_compression_sends_and_keeps() -> None:
    made = msgspec.structs.replace(results([]), wire=made_up.wire())
    text = page(made)
    assert (
        "| one context for the channel | 26\u2009B | 0.19 | 1 | 4.5\u2009µs |" in text
    )
    assert "| uncompressed | 717\u2009B |" in text
    assert "| ≤ 0.25 × uncompressed | 0.19 | met |" in text
    assert "misses its target" not in text


def test_what_compression_should_not_cost_is_a_loss() -> None:
    found = made_up.wire(to_plain=0.26, compressions=1.5)
    text = page(msgspec.structs.replace(results([]), wire=found))
    assert text.count("**missed**") == 2
    assert "misses its target, ≤ 0.25 × uncompressed: it is 0.26." in text
    assert "misses its target, ≤ 1: it is 1.50." in text


def test_disturbed_rounds_are_said() -> None:
    runs = made_up.runs(
        ECHO, {"control": [100, 100], "fastws": [99, 99]}, foreign_cpu=0.4
    )
    text = page(results(runs))
    assert "2, 2 disturbed" in text
    assert "No undisturbed round: `control`, `fastws`" in text


def test_a_bar_in_an_error_does_not_break_a_table() -> None:
    notes = [made_up.note("control", note="a|b"), *USUAL[1:]]
    assert "a\\|b" in page(results(made_up.runs(ECHO, {"control": [1]}), notes))


def test_without_any_runs_there_is_a_page() -> None:
    assert "# Benchmarks" in page(results([]))
    assert charts(results([])) == {}


def test_alone_there_is_no_overview() -> None:
    made = results(made_up.runs(ECHO, {"fastws": [100]}))
    assert set(charts(made)) == {f"{ECHO}.svg"}
    assert "overview.svg" not in page(made)


def test_a_page_of_everything_names_all_its_charts() -> None:
    made = everything()
    text = page(made)
    for name in charts(made):
        assert f"(benchmarks/{name})" in text
    for scenario in SCENARIOS.values():
        assert f"### {scenario.title}" in text
    assert "nan" not in text.split()


# --- charts -----------------------------------------------------------------------


def texts(svg: str) -> list[str]:
    return [
        element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")
    ]


def test_charts_are_sound_and_described() -> None:
    for name, svg in charts(everything()).items():
        root = ElementTree.fromstring(svg)
        title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
        assert title is not None
        assert title.text, name
        assert description is not None
        assert "fastws" in (description.text or "")
        assert root.get("role") == "img"
        assert "prefers-color-scheme:dark" in svg
        assert not re.search(r"\b(nan|inf)\b", svg)


def test_bars_are_sorted_and_labelled() -> None:
    runs = made_up.runs(ECHO, {"control": [100], "fastws": [120], "bun": [90]})
    runs += made_up.runs(ECHO, {"ws": [None]})
    made = results(runs)
    said = texts(bars(made.rows[0], frozenset(made_up.OURS)))
    names = [text for text in said if text in ("control", "fastws", "bun", "ws")]
    assert names == ["fastws", "control", "bun", "ws"]
    assert said[-1] == "failed"
    assert "1.20×" in said
    assert said.count("1×") == 0  # the denominator's own says nothing


def test_markup_in_a_title_is_escaped() -> None:
    made = results(made_up.runs(ECHO, {"fastws": [1], "control": [2]}))
    row = made.rows[0]
    svg = bars(msgspec.structs.replace(row, title="a < b & c"), frozenset())
    assert texts(svg)[0] == "a < b & c"


def test_what_lies_beyond_the_axis_is_an_arrow_with_its_number() -> None:
    runs = made_up.runs("idle-8000", {"control": [100], "fastws": [2600]})
    svg = charts(results(runs))["overview.svg"]
    assert "<circle" not in svg
    assert "0.04×" in texts(svg)


def test_axis_spans_the_ratios() -> None:
    assert axis_of([]) == (2.0, [0.5, 1.0, 2.0])
    outermost, ticks = axis_of([Spread(0.2, 0.3, 0.4)])
    assert outermost == 8.0
    assert 1.0 in ticks
    assert axis_of([Spread(0.0, 0.0, 0.0)])[0] == 2.0
    assert axis_of([Spread(1e9, 1e9, 1e9)])[0] == 8.0


# --- files ------------------------------------------------------------------------


def test_stored_results_say_the_same() -> None:
    made = msgspec.structs.replace(everything(), wire=made_up.wire())
    assert decode(encode(made)) == made
    assert encode(decode(encode(made))) == encode(made)


def test_written_from_the_runs_and_rendered_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = RunFile(tmp_path / "runs.jsonl")
    file.append(made_up.about(*USUAL))
    for run in made_up.runs(ECHO, {"control": [100, 90], "fastws": [95, 94]}):
        file.append(run)
    docs = tmp_path / "docs"
    docs.mkdir()
    assert command.main([str(file.path), "--docs", str(docs)]) == 0
    assert command.main(["--check", "--docs", str(docs)]) == 0
    text = (docs / "benchmarks.md").read_text()
    (docs / "benchmarks.md").write_text(text.replace("95", "97"))
    (docs / "benchmarks" / "old.svg").write_text("of a scenario that is gone")
    assert command.main(["--check", "--docs", str(docs)]) == 1
    said = capsys.readouterr().out
    assert "benchmarks.md" in said
    assert "old.svg" in said
    assert command.main(["--docs", str(docs)]) == 0
    assert (docs / "benchmarks.md").read_text() == text
    assert not (docs / "benchmarks" / "old.svg").exists()


def test_what_was_found_on_the_wire_stays_until_it_is_measured_again(
    tmp_path: Path,
) -> None:
    runs = RunFile(tmp_path / "runs.jsonl")
    runs.append(made_up.about(*USUAL))
    for run in made_up.runs(ECHO, {"fastws": [95]}):
        runs.append(run)
    docs, found = tmp_path / "docs", tmp_path / "wire.json"
    docs.mkdir()
    with pytest.raises(SystemExit, match="is missing"):
        command.main(["--docs", str(docs)])
    found.write_bytes(msgspec.json.encode(made_up.wire()))
    assert command.main([str(runs.path), "--docs", str(docs)]) == 0
    assert "What compression sends" not in (docs / "benchmarks.md").read_text()
    assert command.main(["--wire", str(found), "--docs", str(docs)]) == 0
    text = (docs / "benchmarks.md").read_text()
    assert "What compression sends" in text
    assert command.main([str(runs.path), "--docs", str(docs)]) == 0
    assert (docs / "benchmarks.md").read_text() == text
    assert command.main(["--check", "--docs", str(docs)]) == 0


def test_a_file_without_circumstances_is_refused() -> None:
    with pytest.raises(ValueError, match="says nothing about how"):
        collect([], [])


@pytest.mark.skipif(
    not command.stored_at(DOCS).exists(), reason="nothing has been measured yet"
)
def test_the_page_in_docs_says_what_was_measured() -> None:
    assert command.stale(DOCS) == []
