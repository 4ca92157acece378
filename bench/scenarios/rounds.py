"""The order of the runs: in every round each server starts afresh for each scenario.

Servers change places from round to round, so that drift of the machine hits all alike
and no one always follows the same. A run waits for quiet cores, and is repeated when
others used them all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from . import load
from .quiet import wait_until_quiet, watching
from .runs import Run
from .scenarios import Scenario
from .servers import Placement, Server, ServerError, serving

# A server that fails this often in a row in one scenario is not asked again.
GIVE_UP = 2
# Seconds of a run beside its clock: quiet, start, handshakes, stop. For estimates.
OVERHEAD = {"echo": 1.1, "fanout": 1.4, "connect": 2.0, "idle": 1.8}

Planned = tuple[int, Scenario, Server]


@dataclass(frozen=True)
class Settings:
    """How a measurement is taken."""

    rounds: int = 7
    clock: load.Clock = field(default_factory=load.Clock)
    placement: Placement = field(default_factory=Placement)
    attempts: int = 3  # to get an undisturbed run
    patience: float = 20.0  # seconds to wait for quiet cores
    time_limit: float | None = None  # seconds; no round begins that would pass it


def with_path_for(server: Server, scenario: Scenario) -> Scenario:
    """Connections are held at the echo, or at what a server has instead."""
    if scenario.path == "/echo" and "echo" not in server.can:
        return replace(scenario, path="/fanout")
    return scenario


def plan(
    scenarios: Sequence[Scenario], servers: Sequence[Server], rounds: int
) -> Iterator[Planned]:
    here = [server for server in servers if not server.missing]
    for number in range(rounds):
        for scenario in scenarios:
            able = [server for server in here if scenario.needs <= server.can]
            turn = number % len(able) if able else 0
            for server in able[turn:] + able[:turn]:
                yield number, scenario, server


def estimate(planned: Sequence[Planned], clock: load.Clock) -> float:
    """Seconds that these runs take, when the machine is quiet."""
    return sum(
        max(scenario.duration or 0.0, clock.duration) * (scenario.mode != "connect")
        + clock.warm_up
        + OVERHEAD.get(scenario.mode, 2.0)
        for _, scenario, _ in planned
    )


def measure_once(
    number: int, scenario: Scenario, server: Server, settings: Settings
) -> Run:
    placement = settings.placement
    result: load.Result = {}
    foreign = 0.0
    arguments = scenario.arguments_for(server.can)
    try:
        with serving(server, placement, scenario.deflate, arguments) as running:
            with watching(placement.cores, running.pid) as watch:
                result = load.run(
                    scenario, running.port, running.pid, settings.clock, placement
                )
            foreign = watch.foreign_cpu
            if result.get("error") and (words := running.last_words()):
                result["error"] += f"; the server said: {words}"
    except ServerError as error:
        result = {"error": f"server: {error}"}
    failure = str(result.get("error") or "")
    return Run(
        scenario=scenario.name,
        server=server.name,
        round=number,
        result={} if failure else result,
        error=failure,
        foreign_cpu=round(foreign, 4),
    )


def measure(number: int, scenario: Scenario, server: Server, settings: Settings) -> Run:
    """One undisturbed run, or the last of several disturbed ones."""
    scenario = with_path_for(server, scenario)
    for attempt in range(1, settings.attempts + 1):
        wait_until_quiet(settings.placement.cores, settings.patience)
        run = measure_once(number, scenario, server, settings)
        run = msgspec.structs.replace(run, attempts=attempt)
        if run.is_quiet:
            break
    return run


class Failures:
    """Counts a server's failures in a row, per scenario."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.counts: dict[tuple[str, str], int] = {}
        for run in sorted(runs, key=lambda run: run.round):
            self.add(run)

    def add(self, run: Run) -> None:
        place = (run.scenario, run.server)
        self.counts[place] = self.counts.get(place, 0) + 1 if run.error else 0

    def is_hopeless(self, scenario: Scenario, server: Server) -> bool:
        return self.counts.get((scenario.name, server.name), 0) >= GIVE_UP


def go(
    planned: Sequence[Planned],
    settings: Settings,
    *,
    done: Sequence[Run] = (),
    progress: Callable[[str], None] = lambda text: None,
    clock: Callable[[], float] = time.monotonic,
    measured: Callable[[int, Scenario, Server, Settings], Run] = measure,
) -> Iterator[Run]:
    """Measures what is planned and not done yet, and yields each run as it ends."""
    places: Mapping[tuple[str, str, int], Run] = {run.place: run for run in done}
    failures = Failures(done)
    started = round_started = clock()
    longest = 0.0
    current = planned[0][0] if planned else 0
    for index, (number, scenario, server) in enumerate(planned):
        if number != current:
            longest = max(longest, clock() - round_started)
            current, round_started = number, clock()
            limit = settings.time_limit
            if limit is not None and round_started - started + longest > limit:
                return
        if (scenario.name, server.name, number) in places:
            continue
        if failures.is_hopeless(scenario, server):
            continue
        progress(
            f"{index + 1}/{len(planned)}  round {number + 1}/{settings.rounds}  "
            f"{scenario.name}  {server.name}"
        )
        run = measured(number, scenario, server, settings)
        failures.add(run)
        yield run
