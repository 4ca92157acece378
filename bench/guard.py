"""Fails when a change has made fastws worse: ``python -m bench.guard``.

Two parts, because a busy machine spoils one of them:

``counts``  Instructions of the micro-benchmarks' works under callgrind, compared with
            ``baselines.json``. They don't depend on what else the machine does: the
            same sources count the same to the last digit, so 3 % more is a finding.
``ratios``  Scenarios on real sockets beside the C control, in turn: what a second of
            the server's processor time does, and the plain rate. A bound lies far below
            what is usual: it catches a collapse, and what no instruction shows (system
            calls, waiting). Tried again before it fails.

Baselines hold for one environment (Python, compilers, C library, processor kind). In
one that differs in detail only, what is compared is each work's ratio to a control
counted in the same run; where there is nothing comparable that part is skipped with
its reason, which fails with ``CI=true``. ``--update`` writes what was measured now to
``baselines.json``: a commit that makes something slower on purpose contains it.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec

from bench.micro import control, counts
from bench.micro.counted import COUNTED
from bench.scenarios.runs import Run, RunFile
from bench.scenarios.statistics import per_cpu_second

ROOT = Path(__file__).resolve().parent.parent
BASELINES = ROOT / "bench" / "baselines.json"

TOLERANCE = 0.03
"""Counts repeat exactly, and a change elsewhere moves a work by a few in a thousand
(inlining, the place of a field); a tenth of a work's cost must never pass."""

RATIO_TOLERANCE = 0.10
"""Of ratios to a control: another compiler treats the two sources differently."""

CONTROL_DRIFT = 0.01
"""A control is none of our code: when its count moves the environment has, whatever
its versions say."""

PER_CPU, RATE = "per CPU second", "rate"
BOUND_SHARES = {PER_CPU: 0.7, RATE: 0.4}
"""A scenario's bounds as shares of the ratios measured. What a server does in a second
of its processor time hardly depends on who else wants the processor: with both cores
taken twice over, medians of three rounds stayed above four fifths of the usual ones.
The plain rates then vary by half, and are there for what takes no time but waits."""

Ratios = dict[str, float | None]
"""By ``ratio_name``; None where every round failed."""

MEASURES: dict[str, Callable[[Run], float | None]] = {
    PER_CPU: per_cpu_second,
    RATE: lambda run: float(run.result["per_second"]),
}

TRIES = 3
SCENARIOS = ("echo-100x64-d16", "fanout-1000x128-d1", "fanout-1000x128-d16")
SCENARIO_TIME_LIMIT = 300.0


class Unavailable(Exception):
    """A part can't be run or compared here; the message says why."""


# -- what is stored ----------------------------------------------------------------


class Machine(msgspec.Struct, frozen=True):
    """Instructions per operation of each work in one environment."""

    environment: dict[str, str]
    instructions: dict[str, float]


class Bound(msgspec.Struct, frozen=True):
    """A ratio to the control: as it was measured, and the least allowed."""

    measured: float
    least: float


class Baselines(msgspec.Struct, frozen=True):
    machines: list[Machine] = []
    ratios: dict[str, Bound] = {}


def load(path: Path) -> Baselines:
    """What is stored; nothing when there is no file."""
    if not path.exists():
        return Baselines()
    return msgspec.json.decode(path.read_bytes(), type=Baselines)


def save(path: Path, baselines: Baselines) -> None:
    data = msgspec.json.format(msgspec.json.encode(baselines), indent=2)
    path.write_bytes(data + b"\n")


def with_counts(baselines: Baselines, found: counts.Counts) -> Baselines:
    """The stored ones with this environment's counts replaced by these. Works that
    weren't counted keep theirs; those that no longer exist go."""
    machines, before = [], {}
    for machine in baselines.machines:
        if machine.environment == found.environment:
            before = machine.instructions
        else:
            machines.append(machine)
    merged = before | found.instructions
    kept = {name: merged[name] for name in COUNTED if name in merged}
    machines.append(Machine(found.environment, kept))
    return msgspec.structs.replace(baselines, machines=machines)


def ratio_name(scenario: str, measure: str) -> str:
    return f"{scenario} {measure}"


def scenario_of(name: str) -> str:
    return name.partition(" ")[0]


def measure_of(name: str) -> str:
    return name.partition(" ")[2]


def with_ratios(baselines: Baselines, found: Mapping[str, float]) -> Baselines:
    """The stored ones with new bounds for these ratios."""
    bounds = {
        name: Bound(round(ratio, 3), round(ratio * BOUND_SHARES[measure_of(name)], 2))
        for name, ratio in found.items()
    }
    return msgspec.structs.replace(baselines, ratios=baselines.ratios | bounds)


# -- comparing ---------------------------------------------------------------------


class Verdict(StrEnum):
    OK = "ok"
    BETTER = "better"
    WORSE = "WORSE"
    NEW = "NEW"
    MISSING = "MISSING"


ADVICE = {
    Verdict.OK: "",
    Verdict.BETTER: "--update, so that the gain is guarded",
    Verdict.WORSE: "find out why; --update if it is meant",
    Verdict.NEW: "--update: it has no baseline",
    Verdict.MISSING: "--update: it is no longer measured",
}
FAILING = {Verdict.WORSE, Verdict.NEW, Verdict.MISSING}


class Row(msgspec.Struct, frozen=True):
    """One line of the table; ``change`` is relative, above zero when there is more."""

    name: str
    baseline: float | None
    now: float | None
    change: float | None
    verdict: Verdict
    advice: str = ""


class Comparison(msgspec.Struct, frozen=True):
    title: str
    rows: list[Row]
    note: str = ""

    @property
    def failed(self) -> bool:
        return any(row.verdict in FAILING for row in self.rows)


def is_comparable(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether ratios to a control say something: the interpreter does other work in
    another minor version, and the kernels in another instruction set."""

    def essence(environment: Mapping[str, str]) -> tuple[str, str, str]:
        python = ".".join(environment.get("python", "").split(".")[:2])
        return python, environment.get("machine", ""), environment.get("kernels", "")

    return essence(one) == essence(other)


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> str:
    return "; ".join(
        f"{key} {one.get(key)} then, {other.get(key)} now"
        for key in sorted(one.keys() | other.keys())
        if one.get(key) != other.get(key)
    )


def find_machine(
    machines: Iterable[Machine], environment: Mapping[str, str]
) -> Machine:
    """The baselines of this environment, or of the last one that is comparable."""
    comparable = [
        one for one in machines if is_comparable(one.environment, environment)
    ]
    for machine in comparable:
        if machine.environment == environment:
            return machine
    if comparable:
        return comparable[-1]
    described = ", ".join(f"{key} {value}" for key, value in environment.items())
    raise Unavailable(f"no baselines for {described}; make them with --update")


def control_drift(machine: Machine, found: counts.Counts) -> str:
    """Which controls count something else than they did, or an empty string."""
    moved = []
    for name in machine.instructions.keys() & found.instructions.keys():
        then, now = machine.instructions[name], found.instructions[name]
        if not COUNTED[name].control and abs(now / then - 1) > CONTROL_DRIFT:
            moved.append(f"{name} {now / then - 1:+.1%}")
    return ", ".join(sorted(moved))


def judge(
    name: str, baseline: float | None, now: float | None, tolerance: float
) -> Row:
    """A count beside its baseline: less is better."""
    if baseline is None or now is None:
        verdict = Verdict.MISSING if now is None else Verdict.NEW
        return Row(name, baseline, now, None, verdict, ADVICE[verdict])
    change = now / baseline - 1
    verdict = Verdict.OK
    if change > tolerance:
        verdict = Verdict.WORSE
    elif change < -tolerance:
        verdict = Verdict.BETTER
    return Row(name, baseline, now, change, verdict, ADVICE[verdict])


def compare_counts(
    baselines: Baselines, found: counts.Counts, asked: Sequence[str] = ()
) -> Comparison:
    """Every work asked for, or all: absolute where the environment is the baselines'
    own, else by ratio to its control."""
    machine = find_machine(baselines.machines, found.environment)
    different = differences(machine.environment, found.environment)
    drift = control_drift(machine, found)
    names = list(asked or dict.fromkeys([*found.instructions, *machine.instructions]))
    title = "instructions per operation"
    if not different and not drift:
        rows = [
            judge(
                name,
                machine.instructions.get(name),
                found.instructions.get(name),
                TOLERANCE,
            )
            for name in names
        ]
        return Comparison(title, rows, f"more than {TOLERANCE:.0%} fails")
    rows = [
        judge(
            name,
            relative(machine.instructions, name),
            relative(found.instructions, name),
            RATIO_TOLERANCE,
        )
        for name in names
        if name not in COUNTED or COUNTED[name].control
    ]
    why = different or f"controls have moved: {drift}"
    note = f"another environment ({why}): ratios, more than {RATIO_TOLERANCE:.0%} fails"
    return Comparison(f"{title}, as a multiple of its control's", rows, note)


def relative(instructions: Mapping[str, float], name: str) -> float | None:
    """A work's count in units of its control's."""
    if name not in instructions or name not in COUNTED:
        return None
    divisor = instructions.get(COUNTED[name].control)
    return instructions[name] / divisor if divisor else None


def compare_ratios(
    baselines: Baselines, found: Mapping[str, float | None]
) -> Comparison:
    """Scenarios beside their bounds: more is better. None: it could not be measured."""
    rows = []
    for name, now in found.items():
        bound = baselines.ratios.get(name)
        baseline = bound.measured if bound else None
        change = now / baseline - 1 if now is not None and baseline else None
        if bound is None:
            verdict = Verdict.NEW
        elif now is None or now < bound.least:
            verdict = Verdict.WORSE
        else:
            verdict = Verdict.OK
        advice = ADVICE[verdict]
        if bound is not None and verdict is Verdict.WORSE:
            advice = f"under {bound.least} in {TRIES} tries; " + advice
        rows.append(Row(name, baseline, now, change, verdict, advice))
    return Comparison("ratio to the C control (more is better)", rows)


# -- measuring ---------------------------------------------------------------------


def count(names: Sequence[str]) -> counts.Counts:
    if reason := counts.why_not():
        raise Unavailable(reason)
    control.build_for_valgrind()
    controls = [name for name, work in COUNTED.items() if not work.control]
    return counts.count([*controls, *names] if names else [])


def measure(scenarios: Sequence[str], rounds: int) -> Ratios:
    """The medians of each scenario's ratios to the control."""
    if len(os.sched_getaffinity(0)) < 2:
        raise Unavailable("server and load need a core each")
    with tempfile.TemporaryDirectory(prefix="fastws-guard-") as folder:
        file = Path(folder) / "runs.jsonl"
        command = [
            *(sys.executable, "-m", "bench.scenarios", "--quiet"),
            *("--scenario", *scenarios, "--peers", "control", "fastws"),
            *("--rounds", str(rounds), "--duration", "0.4", "--warm-up", "0.2"),
            *("--patience", "0", "--attempts", "1", "--output", str(file)),
        ]
        if os.geteuid() == 0:
            command.append("--real-time")
        subprocess.run(command, cwd=ROOT, timeout=SCENARIO_TIME_LIMIT, check=True)
        _, runs = RunFile(file).read()
    for run in runs:
        if run.error:
            print(f"guard: {run.scenario} {run.server}: {run.error.splitlines()[-1]}")
    return medians(runs, scenarios)


def medians(runs: Iterable[Run], scenarios: Iterable[str]) -> Ratios:
    """Of each round's ratios; a round with a failed run has none. Disturbed rounds
    count too: both servers had the same bad luck, and CI's machine is never quiet."""
    found: Ratios = {}
    places = {run.place: run for run in runs if not run.error}
    for scenario, (measure, value) in itertools.product(scenarios, MEASURES.items()):
        ratios = []
        for (name, server, number), run in places.items():
            beside = places.get((name, "control", number))
            if (name, server) == (scenario, "fastws") and beside is not None:
                ours, theirs = value(run), value(beside)
                if ours and theirs:
                    ratios.append(ours / theirs)
        found[ratio_name(scenario, measure)] = (
            statistics.median(ratios) if ratios else None
        )
    return found


def measure_patiently(
    baselines: Baselines,
    scenarios: Sequence[str],
    measure_once: Callable[[Sequence[str]], Ratios],
) -> Ratios:
    """The best of up to three tries; only what fell short is tried again, as a machine
    can make fastws look worse than it is but hardly better."""
    best: Ratios = {}
    for _ in range(TRIES):
        for name, ratio in measure_once(scenarios).items():
            known = [one for one in (best.get(name), ratio) if one is not None]
            best[name] = max(known, default=None)
        short = [
            scenario_of(row.name)
            for row in compare_ratios(baselines, best).rows
            if row.verdict is Verdict.WORSE
        ]
        scenarios = list(dict.fromkeys(short))
        if not scenarios:
            break
    return best


# -- saying ------------------------------------------------------------------------


def figure(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.1f}" if value >= 10 else f"{value:.4g}"


def table(comparison: Comparison) -> str:
    """Columns as wide as what stands in them."""
    lines = [("work", "baseline", "now", "change", "verdict", "what to do")]
    for row in comparison.rows:
        change = "–" if row.change is None else f"{row.change:+.2%}"
        figures = figure(row.baseline), figure(row.now), change
        lines.append((row.name, *figures, row.verdict, row.advice))
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    text = [comparison.title + (f" ({comparison.note})" if comparison.note else "")]
    for line in lines:
        cells = [
            cell.rjust(width) if 0 < column < 4 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text.append("  " + "  ".join(cells).rstrip())
    return "\n".join(text)


# -- the command -------------------------------------------------------------------


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.guard", description=(__doc__ or "").split("\n\n")[0]
    )
    add = parser.add_argument
    add("--parts", nargs="+", choices=("counts", "ratios"), default=None, help="both")
    add("--works", nargs="+", choices=COUNTED, metavar="NAME", help="only these counts")
    add("--scenarios", nargs="+", choices=SCENARIOS, default=SCENARIOS)
    add("--rounds", type=int, default=5, help="of each scenario")
    add("--update", action="store_true", help="store what is measured as the baselines")
    add("--baselines", type=Path, default=BASELINES)
    options = parser.parse_args(arguments)
    options.parts = options.parts or ["counts", "ratios"]
    return options


def guard_counts(options: argparse.Namespace) -> Comparison:
    found = count(options.works or ())
    if options.update:
        save(options.baselines, with_counts(load(options.baselines), found))
    return compare_counts(load(options.baselines), found, options.works or ())


def guard_ratios(options: argparse.Namespace) -> Comparison:
    baselines = load(options.baselines)

    def measure_once(scenarios: Sequence[str]) -> Ratios:
        return measure(scenarios, options.rounds)

    if options.update:
        found = measure_once(options.scenarios)
        known = {name: ratio for name, ratio in found.items() if ratio is not None}
        baselines = with_ratios(baselines, known)
        save(options.baselines, baselines)
    else:
        found = measure_patiently(baselines, options.scenarios, measure_once)
    return compare_ratios(baselines, found)


PARTS = {"counts": guard_counts, "ratios": guard_ratios}


def main(arguments: Sequence[str]) -> int:
    options = parse_options(arguments)
    failed = False
    for part in options.parts:
        try:
            comparison = PARTS[part](options)
        except Unavailable as reason:
            print(f"{part}: skipped: {reason}")
            failed |= os.environ.get("CI") == "true"
        else:
            print(table(comparison), flush=True)
            failed |= comparison.failed
    print("guard:", "FAILED" if failed else "passed")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
