"""From runs to rows, with results that nobody measured."""

from __future__ import annotations

import pytest

from bench.scenarios.runs import Run
from bench.scenarios.scenarios import SCENARIOS, Scenario, Target
from bench.scenarios.statistics import (
    Entry,
    Judge,
    Row,
    Spread,
    bound_by,
    is_met,
    is_proven,
    spread,
)
from tests.bench import made_up

ECHO = "echo-100x64-d16"
OURS = frozenset(made_up.OURS)


def row_of(runs: list[Run], name: str = ECHO) -> tuple[Row, dict[str, Entry]]:
    row = Judge(SCENARIOS, runs, OURS).row(SCENARIOS[name], "command", [])
    return row, {entry.server: entry for entry in row.entries}


def test_spread_of_nothing_one_and_many() -> None:
    assert spread([]) is None
    assert spread([3.0]) == Spread(3, 3, 3)
    assert spread([1.0, 2, 3, 4, 5]) == Spread(2, 3, 4)


def test_ratios_are_taken_per_round() -> None:
    # A machine that gets twice as fast: rates differ by 2, the ratio stays.
    row, entries = row_of(
        made_up.runs(ECHO, {"control": [100, 150, 200], "fastws": [90, 135, 180]})
    )
    assert row.denominator == "control"
    assert entries["fastws"].ratio == Spread(0.9, 0.9, 0.9)
    assert entries["control"].ratio == Spread(1, 1, 1)


def test_denominator_is_the_best_of_control_and_peers_but_never_ours() -> None:
    row, entries = row_of(
        made_up.runs(ECHO, {"control": [100], "bun": [110], "fastws": [220]})
    )
    assert row.denominator == "bun"
    assert [entry.server for entry in row.entries] == ["fastws", "bun", "control"]
    assert entries["fastws"].ratio == Spread(2, 2, 2)


def test_less_is_better_for_memory() -> None:
    row, entries = row_of(
        made_up.runs("idle-8000", {"control": [700], "bun": [500], "fastws": [1000]}),
        "idle-8000",
    )
    assert row.lower_is_better
    assert row.denominator == "bun"
    assert [entry.server for entry in row.entries] == ["bun", "control", "fastws"]
    assert entries["fastws"].ratio == Spread(2, 2, 2)


def test_memory_of_nothing_is_no_denominator() -> None:
    row, _ = row_of(
        made_up.runs("idle-8000", {"control": [0], "bun": [500], "fastws": [1000]}),
        "idle-8000",
    )
    assert row.denominator == "bun"


def test_latency_and_cpu_are_found_in_the_result() -> None:
    _, entries = row_of(
        made_up.runs("paced-1000x128", {"fastws": [800]}), "paced-1000x128"
    )
    assert entries["fastws"].value == Spread(800, 800, 800)
    assert entries["fastws"].latency["p99.9"] == 1600
    _, entries = row_of(
        made_up.runs("idle-18000-pings", {"fastws": [3.5]}), "idle-18000-pings"
    )
    assert entries["fastws"].value == Spread(3.5, 3.5, 3.5)


def test_disturbed_rounds_are_left_out() -> None:
    runs = made_up.runs(ECHO, {"control": [100, 100]})
    runs += [
        made_up.run(ECHO, "fastws", 0, 50, foreign_cpu=0.5),
        made_up.run(ECHO, "fastws", 1, 95),
    ]
    entry = row_of(runs)[1]["fastws"]
    assert entry.ratio == Spread(0.95, 0.95, 0.95)
    assert (entry.used, entry.rounds, entry.disturbed) == (1, 2, 1)
    assert entry.is_ratio_quiet


def test_all_rounds_count_when_all_were_disturbed_and_that_is_said() -> None:
    runs = made_up.runs(
        ECHO, {"control": [100, 100], "fastws": [50, 60]}, foreign_cpu=0.5
    )
    entry = row_of(runs)[1]["fastws"]
    assert entry.ratio == Spread(0.525, 0.55, 0.575)
    assert not entry.is_ratio_quiet


def test_failed_runs_are_kept_and_their_rounds_have_no_ratio() -> None:
    row, entries = row_of(
        made_up.runs(ECHO, {"control": [100, None], "fastws": [90, 80], "ws": [None]})
    )
    assert entries["fastws"].used == 1
    assert entries["control"].errors == ["connection 7 was reset"]
    assert entries["control"].rounds == 2
    assert entries["ws"].value is None
    assert entries["ws"].ratio is None
    assert row.entries[-1].server == "ws"


def test_everything_failed() -> None:
    row, entries = row_of(made_up.runs(ECHO, {"control": [None], "fastws": [None]}))
    assert row.denominator == ""
    assert entries["fastws"].verdicts[0].met is None


def test_alone_there_is_no_ratio_and_no_verdict() -> None:
    row, entries = row_of(made_up.runs(ECHO, {"fastws": [100], "fastws-async": [70]}))
    assert row.denominator == ""
    assert entries["fastws"].ratio is None
    assert entries["fastws"].verdicts[0].met is None


def test_rounds_that_only_one_of_them_ran() -> None:
    runs = made_up.runs(ECHO, {"control": [100, 100, 100], "fastws": [90]})
    assert row_of(runs)[1]["fastws"].used == 1


@pytest.mark.parametrize(
    ("server", "load", "is_proof", "by"),
    [
        (1.0, 0.5, True, "server"),
        (0.95, 0.89, True, "server"),
        (0.99, 0.92, False, "load"),
        (0.7, 0.8, False, "load"),
        (0.8, 0.7, False, "neither"),
    ],
)
def test_proof(server: float, load: float, is_proof: bool, by: str) -> None:
    run = made_up.run(ECHO, "fastws", 0, 100, server_cpu=server, load_cpu=load)
    assert is_proven(run) is is_proof
    assert bound_by(server, load) == by


def test_unknown_shares_prove_nothing() -> None:
    run = made_up.run(ECHO, "fastws", 0, 100)
    run.result.update(server_cpu=None, load_cpu=None)
    assert not is_proven(run)
    entry = row_of([run])[1]["fastws"]
    assert entry.bound_by == ""
    assert entry.server_cpu is None
    assert entry.per_cpu_second is None


def test_operations_per_cpu_second() -> None:
    entry = row_of([made_up.run(ECHO, "fastws", 0, 80, server_cpu=0.5)])[1]["fastws"]
    assert entry.per_cpu_second == 160


@pytest.mark.parametrize(
    ("low", "median", "met"),
    [(0.86, 0.9, True), (0.85, 0.95, True), (0.84, 0.95, False), (0.89, 0.899, False)],
)
def test_target_of_a_ratio(low: float, median: float, met: bool) -> None:
    assert is_met(Target("fastws", 0.9), Spread(low, median, 1), False) is met


def test_target_at_most() -> None:
    target = Target("fastws", 1.2)
    assert is_met(target, Spread(1, 1.2, 1.25), at_most=True)
    assert not is_met(target, Spread(1, 1.2, 1.26), at_most=True)
    memory = Target("fastws", 3072, is_absolute=True)
    assert is_met(memory, Spread(3000, 3072, 4000), at_most=True)
    assert not is_met(memory, Spread(3000, 3073, 3100), at_most=True)


def test_verdicts_against_one_server_and_beside_another_scenario() -> None:
    name, plain = "fanout-1000x1024-d16-deflate", "fanout-1000x1024-d16"
    runs = made_up.runs(name, {"uws": [10, 10], "bun": [20, 20], "fastws": [95, 95]})
    runs += made_up.runs(plain, {"uws": [50, 50], "fastws": [100, 100]})
    row, entries = row_of(runs, name)
    assert row.beside == plain
    beside, against = entries["fastws"].verdicts
    assert (beside.kind, beside.met) == ("beside", True)
    assert beside.measured == Spread(0.95, 0.95, 0.95)
    assert (against.kind, against.met) == ("uws", False)
    assert against.measured == Spread(9.5, 9.5, 9.5)
    assert entries["uws"].beside == Spread(0.2, 0.2, 0.2)


def test_bytes_on_the_wire_are_judged_beside_the_plain_ones() -> None:
    name, plain = "wire-1000x137-context", "wire-1000x137"
    runs = made_up.runs(plain, {"fastws": [139, 139], "ws": [139, 139]})
    runs += made_up.runs(name, {"fastws": [25, 25], "ws": [28, 28]})
    row, entries = row_of(runs, name)
    assert row.lower_is_better
    assert not row.wants_busy_server
    (verdict,) = entries["fastws"].verdicts
    assert (verdict.kind, verdict.met) == ("beside", True)
    assert entries["fastws"].ratio == Spread(0.89286, 0.89286, 0.89286)
    assert entries["fastws"].rate == 100_000
    assert entries["fastws"].wire is None
    plainly = made_up.runs(plain, {"fastws": [139]})
    _, entries = row_of(plainly + made_up.runs(name, {"fastws": [35]}), name)
    assert entries["fastws"].verdicts[0].met is False


def test_compressed_rows_say_how_much_was_sent() -> None:
    name = "fanout-1000x1024-d16-deflate"
    _, entries = row_of(made_up.runs(name, {"fastws": [95]}), name)
    assert (entries["fastws"].wire, entries["fastws"].rate) == (66, None)
    _, entries = row_of(made_up.runs(ECHO, {"fastws": [95]}))
    assert (entries["fastws"].wire, entries["fastws"].rate) == (None, None)


def test_a_verdict_against_the_best_peer_leaves_the_control_out() -> None:
    name = "fanout-1000x128-d16"
    values: dict[str, list[float | None]] = {
        "control": [40, 40],
        "uws": [20, 20],
        "bun": [30, 30],
        "fastws": [33, 36],
    }
    _, entries = row_of(made_up.runs(name, values), name)
    (verdict,) = entries["fastws"].verdicts
    assert (verdict.kind, verdict.met) == ("the best peer", True)
    assert verdict.measured is not None
    assert verdict.measured.median == pytest.approx(1.15)
    assert entries["fastws"].ratio is not None
    assert entries["fastws"].ratio.median == pytest.approx(34.5 / 40)


def test_without_the_server_in_question_a_target_stays_open() -> None:
    _, entries = row_of(
        made_up.runs("connect", {"control": [10], "fastws": [9]}), "connect"
    )
    assert entries["fastws"].verdicts[0].met is None


def test_a_scenario_of_ones_own_can_be_judged() -> None:
    scenario = Scenario(
        name="mine",
        group="echo",
        title="Mine",
        short="mine",
        mode="echo",
        options={},
        unit="messages/s",
        beside="gone",
    )
    runs = made_up.runs(ECHO, {"fastws": [5]})
    judge = Judge({"mine": scenario}, runs, OURS)
    assert judge.row(scenario, "command", []).entries == []
