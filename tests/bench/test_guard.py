"""The guard: what it lets pass, what it stops, and that it sees a slower parser."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench import guard
from bench.guard import Baselines, Bound, Machine, Unavailable, Verdict
from bench.micro import control, counts
from bench.micro.counted import COUNTED
from bench.micro.counts import Counts
from bench.scenarios.scenarios import SCENARIOS
from tests.bench.made_up import run

ROOT = Path(guard.__file__).resolve().parent.parent
HERE = {
    "python": "3.11.7",
    "compiler": "gcc 12.2.0",
    "machine": "x86_64",
    "kernels": "avx2",
}
USUAL = {
    "control-c": 1000.0,
    "control-python": 500.0,
    "parse-text-64": 800.0,
    "deliver-64": 1200.0,
}

needs_valgrind = pytest.mark.skipif(bool(counts.why_not()), reason=counts.why_not())


def baselines(environment: dict[str, str] | None = None) -> Baselines:
    machines = [Machine(environment or HERE, USUAL)]
    return Baselines(machines, {"fanout rate": Bound(1.0, 0.4)})


def verdicts(found: Counts, stored: Baselines | None = None) -> dict[str, Verdict]:
    comparison = guard.compare_counts(stored or baselines(), found)
    return {row.name: row.verdict for row in comparison.rows}


# -- instruction counts ------------------------------------------------------------


def test_the_same_counts_pass() -> None:
    comparison = guard.compare_counts(baselines(), Counts(HERE, USUAL))
    assert not comparison.failed
    assert [row.name for row in comparison.rows] == list(USUAL)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (1.10, Verdict.WORSE),
        (1.031, Verdict.WORSE),
        (1.029, Verdict.OK),
        (0.971, Verdict.OK),
        (0.9, Verdict.BETTER),
    ],
)
def test_a_count_beyond_the_tolerance_fails(change: float, verdict: Verdict) -> None:
    found = Counts(HERE, USUAL | {"parse-text-64": 800.0 * change})
    assert verdicts(found)["parse-text-64"] is verdict
    assert verdicts(found)["deliver-64"] is Verdict.OK
    failed = guard.compare_counts(baselines(), found).failed
    assert failed == (verdict is Verdict.WORSE)


def test_a_work_without_a_baseline_and_one_that_is_gone_fail() -> None:
    now = {name: count for name, count in USUAL.items() if name != "deliver-64"}
    found = verdicts(Counts(HERE, now | {"send-64": 1.0}))
    assert found["send-64"] is Verdict.NEW
    assert found["deliver-64"] is Verdict.MISSING
    assert guard.compare_counts(baselines(), Counts(HERE, now)).failed


def test_works_that_nobody_asked_for_are_not_missed() -> None:
    now = {name: count for name, count in USUAL.items() if name != "deliver-64"}
    comparison = guard.compare_counts(baselines(), Counts(HERE, now), ["parse-text-64"])
    assert [row.name for row in comparison.rows] == ["parse-text-64"]
    assert not comparison.failed


def test_another_compiler_is_compared_by_ratios_to_the_controls() -> None:
    """Everything made of C counts a fifth more, the controls too."""
    elsewhere = HERE | {"compiler": "gcc 14.1.0"}
    now = {name: count * 1.2 for name, count in USUAL.items()}
    comparison = guard.compare_counts(baselines(), Counts(elsewhere, now))
    assert [row.name for row in comparison.rows] == ["parse-text-64", "deliver-64"]
    assert not comparison.failed
    assert "gcc 12.2.0 then, gcc 14.1.0 now" in comparison.note
    worse = Counts(elsewhere, now | {"parse-text-64": 800.0 * 1.2 * 1.11})
    assert verdicts(worse)["parse-text-64"] is Verdict.WORSE


def test_a_control_that_moved_says_that_the_environment_did() -> None:
    now = USUAL | {"control-c": 1020.0, "parse-text-64": 800.0 * 1.05}
    comparison = guard.compare_counts(baselines(), Counts(HERE, now))
    assert not comparison.failed
    assert "control-c +2.0%" in comparison.note


@pytest.mark.parametrize(
    "other", [{"python": "3.13.1"}, {"machine": "aarch64"}, {"kernels": "sse2"}]
)
def test_another_interpreter_or_processor_is_not_compared(
    other: dict[str, str],
) -> None:
    with pytest.raises(Unavailable, match="--update"):
        guard.compare_counts(baselines(), Counts(HERE | other, USUAL))


def test_an_update_keeps_other_environments_and_works() -> None:
    other = HERE | {"python": "3.13.1"}
    found = Counts(HERE, {"parse-text-64": 700.0})
    stored = guard.with_counts(
        Baselines([Machine(other, USUAL), Machine(HERE, USUAL)]), found
    )
    assert {one.environment["python"] for one in stored.machines} == {
        "3.11.7",
        "3.13.1",
    }
    [here] = [one for one in stored.machines if one.environment == HERE]
    assert here.instructions == USUAL | {"parse-text-64": 700.0}


def test_an_update_forgets_works_that_no_longer_exist() -> None:
    stored = Baselines([Machine(HERE, USUAL | {"gone": 1.0})])
    [machine] = guard.with_counts(stored, Counts(HERE, {})).machines
    assert "gone" not in machine.instructions


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "baselines.json"
    assert guard.load(path) == Baselines()
    guard.save(path, baselines())
    assert guard.load(path) == baselines()


def test_the_stored_baselines_are_of_what_is_measured() -> None:
    stored = guard.load(guard.BASELINES)
    for machine in stored.machines:
        assert machine.instructions.keys() == COUNTED.keys()
    assert {guard.scenario_of(name) for name in stored.ratios} == set(guard.SCENARIOS)
    assert set(guard.SCENARIOS) <= SCENARIOS.keys()
    for bound in stored.ratios.values():
        assert 0 < bound.least < bound.measured


def test_every_work_has_a_control() -> None:
    controls = {name for name, work in COUNTED.items() if not work.control}
    assert {work.control for work in COUNTED.values()} - {""} == controls


def test_dumps_are_read_by_name(tmp_path: Path) -> None:
    head = "version: 1\ndesc: Trigger: Client Request: parse-text-64\nevents: Ir\n"
    (tmp_path / "out.1").write_text(head + "fn=x\n1 2\n\ntotals: 4242\n")
    (tmp_path / "out").write_text(
        "desc: Trigger: Program termination\nevents: Ir\ntotals: 0\n"
    )
    assert counts.read(tmp_path) == {"parse-text-64": 4242}


# -- ratios ------------------------------------------------------------------------

SCENARIO = guard.SCENARIOS[0]


def ratios_of(*values: tuple[float | None, float | None]) -> guard.Ratios:
    """Rounds as (ours, the control's); None is a run that failed."""
    runs = [
        run(SCENARIO, server, number, value)
        for number, pair in enumerate(values)
        for server, value in zip(("fastws", "control"), pair, strict=True)
    ]
    return guard.medians(runs, [SCENARIO])


def test_ratios_are_medians_of_the_rounds() -> None:
    found = ratios_of((60.0, 100.0), (10.0, 100.0), (80.0, 100.0))
    assert found[f"{SCENARIO} rate"] == pytest.approx(0.6)
    assert found[f"{SCENARIO} per CPU second"] == pytest.approx(0.6)


def test_a_round_with_a_failed_run_has_no_ratio() -> None:
    found = ratios_of((60.0, 100.0), (10.0, None), (None, 100.0))
    assert found[f"{SCENARIO} rate"] == pytest.approx(0.6)
    assert set(ratios_of((None, 1.0)).values()) == {None}


def test_a_server_that_got_less_of_its_core_is_judged_by_what_it_did_with_it() -> None:
    runs = [
        run(SCENARIO, "fastws", 0, 30.0, server_cpu=0.5),
        run(SCENARIO, "control", 0, 100.0, server_cpu=1.0),
    ]
    found = guard.medians(runs, [SCENARIO])
    assert found[f"{SCENARIO} per CPU second"] == pytest.approx(0.6)
    assert found[f"{SCENARIO} rate"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("now", "verdict"), [(0.41, Verdict.OK), (0.39, Verdict.WORSE), (9.0, Verdict.OK)]
)
def test_a_ratio_fails_under_its_bound(now: float, verdict: Verdict) -> None:
    [row] = guard.compare_ratios(baselines(), {"fanout rate": now}).rows
    assert row.verdict is verdict


def test_what_could_not_be_measured_and_what_has_no_bound_fail() -> None:
    found = guard.compare_ratios(baselines(), {"fanout rate": None, "new rate": 1.0})
    assert [row.verdict for row in found.rows] == [Verdict.WORSE, Verdict.NEW]
    assert found.failed


def test_only_what_fell_short_is_tried_again_and_the_best_counts() -> None:
    stored = Baselines([], {"a rate": Bound(1.0, 0.5), "b rate": Bound(1.0, 0.5)})
    answers: list[guard.Ratios] = [
        {"a rate": 0.3, "b rate": 0.9},
        {"a rate": None},
        {"a rate": 0.6},
    ]
    asked: list[list[str]] = []

    def measure_once(scenarios: Sequence[str]) -> guard.Ratios:
        asked.append(list(scenarios))
        return answers[len(asked) - 1]

    found = guard.measure_patiently(stored, ["a", "b"], measure_once)
    assert asked == [["a", "b"], ["a"], ["a"]]
    assert found == {"a rate": 0.6, "b rate": 0.9}


def test_a_collapse_fails_every_try() -> None:
    stored = Baselines([], {"a rate": Bound(1.0, 0.5)})
    found = guard.measure_patiently(stored, ["a"], lambda _: {"a rate": 0.2})
    assert guard.compare_ratios(stored, found).failed


# -- what it says ------------------------------------------------------------------


def test_the_table_says_what_to_do() -> None:
    found = Counts(HERE, USUAL | {"parse-text-64": 880.0})
    text = guard.table(guard.compare_counts(baselines(), found))
    [line] = [line for line in text.splitlines() if "parse-text-64" in line]
    assert re.split(r"\s{2,}", line.strip()) == [
        "parse-text-64",
        "800.0",
        "880.0",
        "+10.00%",
        "WORSE",
        "find out why; --update if it is meant",
    ]


@pytest.mark.parametrize(("ci", "status"), [("true", 1), ("", 0)])
def test_a_part_that_cannot_run_fails_only_in_ci(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ci: str,
    status: int,
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(counts, "why_not", lambda: "there is no valgrind")
    assert guard.main(["--parts", "counts"]) == status
    assert "skipped: there is no valgrind" in capsys.readouterr().out


# -- the real thing ----------------------------------------------------------------

WATCHED = ["parse-text-64", "deliver-64", "flush-200x1"]
RUNS = 10

PLANT = '''
cdef extern from *:
    """
    static void planted_work(int rounds) {
        for (volatile int done = 0; done < rounds; done++) {}
    }
    """
    void planted_work(int rounds) noexcept nogil


# -- header --'''
PER_ROUND = 6  # instructions: two loads, an addition, a store, a comparison, a jump
PLACE = "    if parser.header_length == 0:\n        if available == 0:\n"


@pytest.mark.services
@needs_valgrind
@pytest.mark.timeout(300)
def test_ten_runs_of_unchanged_code_pass() -> None:
    control.build_for_valgrind()
    names = [*(name for name, work in COUNTED.items() if not work.control), *WATCHED]
    first = counts.count(names)
    stored = Baselines([Machine(first.environment, first.instructions)])
    # Two at a time: a count must not depend on what else the machine does.
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda _: counts.count(names), range(RUNS)))
    for one in found:
        comparison = guard.compare_counts(stored, one, names)
        assert not comparison.failed, guard.table(comparison)
        assert "another environment" not in comparison.note


def copy_of_the_tree(to: Path) -> None:
    """Sources, modules and objects with their times, so that little is compiled."""
    keep_out = shutil.ignore_patterns("__pycache__", "*.html", "peers", "node_modules")
    for folder in ("fastws", "bench/micro", "build/release"):
        shutil.copytree(ROOT / folder, to / folder, ignore=keep_out)
    (to / "bench/build").mkdir()
    shutil.copy2(control.LIBRARY, to / "bench/build")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, to / name)


def plant(tree: Path, instructions: float) -> None:
    """Have the parser do that much more for each header."""
    source = tree / "fastws/engine/parser.pyx"
    text = source.read_text()
    assert PLACE in text, "the parser has changed: find another place for the plant"
    rounds = round(instructions / PER_ROUND)
    text = text.replace(PLACE, f"    planted_work({rounds})\n{PLACE}", 1)
    text = text.replace("\n# -- header --", PLANT, 1)
    source.write_text(text)
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    subprocess.run(command, cwd=tree, check=True, timeout=240)


@pytest.mark.services
@needs_valgrind
@pytest.mark.timeout(300)
def test_a_parser_that_does_a_tenth_more_is_caught(tmp_path: Path) -> None:
    control.build_for_valgrind()
    names = ["control-c", "control-python", "parse-text-64"]
    unchanged = counts.count(names)
    stored = Baselines([Machine(unchanged.environment, unchanged.instructions)])
    copy_of_the_tree(tmp_path)
    before = guard.compare_counts(stored, counts.count(names, tmp_path), names)
    assert not before.failed, guard.table(before)

    plant(tmp_path, unchanged.instructions["parse-text-64"] / 10)
    planted = counts.count(names, tmp_path)
    comparison = guard.compare_counts(stored, planted, names)
    [row] = [row for row in comparison.rows if row.name == "parse-text-64"]
    assert row.change == pytest.approx(0.10, abs=0.02)
    assert row.verdict is Verdict.WORSE
    assert comparison.failed
