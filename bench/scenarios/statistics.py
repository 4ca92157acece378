"""From runs to the rows of the report: medians, ratios per round, proofs, verdicts.

A row's denominator is the control or peer with the best median. Ratios are taken within
a round, of rounds that were quiet for both servers; of all rounds when none was, which
is said beside them.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from ..wire import Wire
from .runs import About, Run, ServerNote
from .scenarios import (
    BEST_PEER,
    CONTROL,
    CPU,
    LATENCY,
    RATE,
    WIRE,
    Scenario,
    Target,
)

# A quartile this far past the bound is noise, further is a miss.
QUARTILE_SLACK = 0.05
# A run proves something about its server when that was the bottleneck.
SERVER_BUSY = 0.95
LOAD_NOT_BUSY = 0.90
DIGITS = 5  # significant ones that are kept: more are noise


class Spread(msgspec.Struct, frozen=True):
    """Quartiles. Of a single value all three are that value."""

    low: float
    median: float
    high: float


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """A target and what came of it; `met` is None where it could not be judged."""

    bound: float
    kind: str  # best, beside, absolute, or the server it is measured against
    measured: Spread | None
    met: bool | None
    condition: str = ""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One server in one scenario."""

    server: str
    rounds: int  # that it ran, failed ones included
    errors: list[str] = []
    values: list[float] = []  # one per round that did not fail
    value: Spread | None = None
    ratio: Spread | None = None  # to the denominator, or None for lack of it
    used: int = 0  # rounds that the ratio is of
    is_ratio_quiet: bool = True  # whether those rounds were undisturbed
    disturbed: int = 0  # runs that never got quiet cores
    proven: int = 0  # runs with the server as the bottleneck
    bound_by: str = ""  # server, load or neither
    server_cpu: float | None = None
    load_cpu: float | None = None
    per_cpu_second: float | None = None
    wire: float | None = None  # bytes of a delivery, where they may differ
    rate: float | None = None  # operations per second, where those are not the value
    latency: dict[str, float] = {}  # µs, medians over the rounds
    beside: Spread | None = None  # ratio to the same server in the row's other scenario
    verdicts: list[Verdict] = []


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """One scenario."""

    scenario: str
    group: str
    title: str
    short: str
    unit: str
    measure: str
    command: str
    entries: list[Entry]  # best first, failed ones last
    lower_is_better: bool = False
    wants_busy_server: bool = True
    denominator: str = ""
    beside: str = ""
    absent: list[str] = []  # servers that were here and can't do it
    is_charted: bool = False


class Results(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything that the report is made of."""

    abouts: list[About]
    servers: list[ServerNote]
    rows: list[Row]
    wire: Wire | None = None


Runs = Sequence[Run]


def rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def spread(values: Sequence[float]) -> Spread | None:
    if not values:
        return None
    if len(values) == 1:
        low = middle = high = values[0]
    else:
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(rounded(low), rounded(middle), rounded(high))


def value_of(scenario: Scenario, run: Run) -> float:
    if scenario.value == LATENCY:
        return float(run.result["latency_us"][LATENCY])
    value = run.result.get(scenario.value)
    share = 100 if scenario.value == CPU else 1
    return float(value if value is not None else 0) * share


def good(runs: Runs) -> list[Run]:
    return [run for run in runs if not run.error]


def median_of(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return rounded(statistics.median(known)) if known else None


# --- proofs -----------------------------------------------------------------------


def is_proven(run: Run) -> bool:
    server = run.result.get("server_cpu") or 0.0
    load = run.result.get("load_cpu")
    return server >= SERVER_BUSY and load is not None and load < LOAD_NOT_BUSY


def bound_by(server_cpu: float | None, load_cpu: float | None) -> str:
    """Which side had no time left; `load` makes the rate a lower bound."""
    if server_cpu is None or load_cpu is None:
        return ""
    if load_cpu >= LOAD_NOT_BUSY or load_cpu > server_cpu:
        return "load"
    return "server" if server_cpu >= SERVER_BUSY else "neither"


def per_cpu_second(run: Run) -> float | None:
    """Operations per CPU second of the server: says something while it is not full."""
    seconds = (run.result.get("server_cpu") or 0.0) * run.result.get("seconds", 0.0)
    return run.result["operations"] / seconds if seconds > 0 else None


# --- ratios -----------------------------------------------------------------------


def pairs(ours: Runs, theirs: Runs) -> tuple[list[tuple[Run, Run]], bool]:
    """Runs of the same round, undisturbed ones if there are any."""
    by_round = {run.round: run for run in good(theirs)}
    both = [(run, by_round[run.round]) for run in good(ours) if run.round in by_round]
    quiet = [(one, other) for one, other in both if one.is_quiet and other.is_quiet]
    return quiet or both, bool(quiet) or not both


def ratios(
    scenario: Scenario, other: Scenario, couples: Sequence[tuple[Run, Run]]
) -> list[float]:
    found = []
    for one, two in couples:
        divisor = value_of(other, two)
        if divisor > 0:
            found.append(value_of(scenario, one) / divisor)
    return found


def pick_denominator(
    scenario: Scenario, runs: Mapping[str, Runs], ours: frozenset[str]
) -> str:
    medians = {
        name: statistics.median(value_of(scenario, run) for run in good(those))
        for name, those in runs.items()
        if name not in ours and good(those)
    }
    # A memory or a time of nothing is a measurement that failed to see anything.
    medians = {name: value for name, value in medians.items() if value > 0}
    if not medians:
        return ""
    best = min if scenario.lower_is_better else max
    return best(medians, key=lambda name: medians[name])


def is_met(target: Target, measured: Spread, at_most: bool) -> bool:
    slack = QUARTILE_SLACK * (target.bound if target.is_absolute else 1.0)
    if at_most:
        return measured.median <= target.bound and (
            target.is_absolute or measured.high <= target.bound + slack
        )
    return measured.median >= target.bound and measured.low >= target.bound - slack


# --- rows -------------------------------------------------------------------------


class Judge:
    """Turns the runs of a measurement into rows."""

    def __init__(
        self,
        scenarios: Mapping[str, Scenario],
        runs: Runs,
        ours: frozenset[str],
    ) -> None:
        self.scenarios = scenarios
        self.ours = ours
        self.runs: dict[str, dict[str, list[Run]]] = {}
        for run in sorted(runs, key=lambda run: run.round):
            of_scenario = self.runs.setdefault(run.scenario, {})
            of_scenario.setdefault(run.server, []).append(run)

    def of(self, scenario: str, server: str) -> list[Run]:
        return self.runs.get(scenario, {}).get(server, [])

    def named(self, scenario: Scenario, against: str) -> str:
        if against != BEST_PEER:
            return against
        others = self.runs.get(scenario.name, {})
        return pick_denominator(scenario, others, self.ours | {CONTROL})

    def beside(self, scenario: Scenario, server: str) -> Spread | None:
        other = self.scenarios.get(scenario.beside)
        if other is None:
            return None
        mine, theirs = self.of(scenario.name, server), self.of(other.name, server)
        return spread(ratios(scenario, other, pairs(mine, theirs)[0]))

    def verdict(self, scenario: Scenario, target: Target, entry: Entry) -> Verdict:
        if target.is_absolute:
            measured = entry.value
        elif target.is_beside:
            measured = entry.beside
        elif target.against:
            theirs = self.of(scenario.name, self.named(scenario, target.against))
            mine = self.of(scenario.name, entry.server)
            measured = spread(ratios(scenario, scenario, pairs(mine, theirs)[0]))
        else:
            measured = entry.ratio
        return Verdict(
            bound=float(target.bound),
            kind=target.kind,
            measured=measured,
            met=None
            if measured is None
            else is_met(target, measured, scenario.lower_is_better),
            condition=target.condition,
        )

    def entry(self, scenario: Scenario, server: str, denominator: str) -> Entry:
        runs = self.of(scenario.name, server)
        working = good(runs)
        values = [value_of(scenario, run) for run in working]
        couples, is_quiet = pairs(runs, self.of(scenario.name, denominator))
        found = ratios(scenario, scenario, couples)
        server_cpu = median_of(run.result.get("server_cpu") for run in working)
        load_cpu = median_of(run.result.get("load_cpu") for run in working)
        entry = Entry(
            server=server,
            rounds=len(runs),
            errors=[run.error for run in runs if run.error],
            values=[rounded(value) for value in values],
            value=spread(values),
            ratio=spread(found),
            used=len(found),
            is_ratio_quiet=is_quiet,
            disturbed=sum(not run.is_quiet for run in working),
            proven=sum(map(is_proven, working)),
            bound_by=bound_by(server_cpu, load_cpu),
            server_cpu=server_cpu,
            load_cpu=load_cpu,
            per_cpu_second=median_of(map(per_cpu_second, working)),
            wire=median_of(run.result.get(WIRE) for run in working)
            if scenario.deflate and scenario.value == RATE
            else None,
            rate=median_of(run.result.get(RATE) for run in working)
            if scenario.value == WIRE
            else None,
            latency=latencies(working),
            beside=self.beside(scenario, server),
        )
        verdicts = [
            self.verdict(scenario, target, entry)
            for target in scenario.targets
            if target.server == server
        ]
        return msgspec.structs.replace(entry, verdicts=verdicts)

    def row(self, scenario: Scenario, command: str, absent: list[str]) -> Row:
        runs = self.runs.get(scenario.name, {})
        denominator = pick_denominator(scenario, runs, self.ours)
        entries = [self.entry(scenario, server, denominator) for server in runs]
        direction = 1 if scenario.lower_is_better else -1

        def best_first(entry: Entry) -> tuple[bool, float, str]:
            value = entry.value.median if entry.value else 0.0
            return entry.value is None, direction * value, entry.server

        return Row(
            scenario=scenario.name,
            group=scenario.group,
            title=scenario.title,
            short=scenario.short,
            unit=scenario.unit,
            measure=scenario.value,
            command=command,
            entries=sorted(entries, key=best_first),
            lower_is_better=scenario.lower_is_better,
            wants_busy_server=scenario.wants_busy_server,
            denominator=denominator,
            beside=scenario.beside if scenario.beside in self.runs else "",
            absent=absent,
            is_charted=scenario.is_charted,
        )


def latencies(runs: Runs) -> dict[str, float]:
    """Medians over the rounds, of each quantile that every one of them has."""
    tables = [run.result.get("latency_us") or {} for run in runs]
    if not tables:
        return {}
    names = [name for name in tables[0] if all(name in table for table in tables)]
    return {
        name: rounded(statistics.median(float(table[name]) for table in tables))
        for name in names
    }
