"""Measures: `python -m bench.scenarios --rounds 7 --peers control fastws`.

Each run is appended to a JSON-lines file as it ends; `--resume` goes on with it.
`python -m bench.report FILE` makes the report of it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from . import load, machine
from .load import Clock
from .rounds import Planned, Settings, estimate, go, plan
from .runs import About, Run, RunFile, ServerNote
from .scenarios import SCENARIOS, SETS
from .servers import Placement, Server, known_servers
from .statistics import value_of

ROOT = machine.ROOT
DEFAULT_FILE = ROOT / "build" / "bench" / "runs.jsonl"


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.scenarios", description=(__doc__ or "").split("\n\n")[0]
    )
    add = parser.add_argument
    add("--set", choices=SETS, default="targets", help="of scenarios (targets)")
    add("--scenario", nargs="+", metavar="NAME", help="instead of a set; see --list")
    add("--peers", nargs="+", metavar="NAME", help="servers; all that are installed")
    add("--rounds", type=int, default=7)
    add("--duration", type=float, default=1.0, help="seconds per run")
    add("--warm-up", type=float, default=0.3, help="seconds before")
    first, *others = sorted(os.sched_getaffinity(0))
    add("--server-core", type=int, default=first)
    add("--load-core", type=int, default=others[0] if others else first)
    add("--attempts", type=int, default=3, help="to get an undisturbed run")
    add("--patience", type=float, default=20.0, help="seconds to await quiet cores")
    add("--time-limit", type=float, help="seconds that no new round may pass")
    add("--real-time", action="store_true", help="put both before other processes")
    add("--output", type=Path, default=DEFAULT_FILE, help="the runs, a line each")
    add("--resume", action="store_true", help="go on with the output file")
    add("--overwrite", action="store_true", help="begin the output file anew")
    add("--list", action="store_true", help="print what would run, and how long")
    add("--quiet", action="store_true", help="no line per run")
    options = parser.parse_args(arguments)
    options.scenario = options.scenario or list(SETS[options.set])
    unknown = set(options.scenario) - SCENARIOS.keys()
    if unknown:
        parser.error(f"unknown scenarios: {', '.join(sorted(unknown))}")
    if options.rounds < 1 or options.attempts < 1:
        parser.error("at least one round and one attempt")
    return options


def settings_of(options: argparse.Namespace) -> Settings:
    return Settings(
        rounds=options.rounds,
        clock=Clock(options.duration, options.warm_up),
        placement=Placement(options.server_core, options.load_core, options.real_time),
        attempts=options.attempts,
        patience=options.patience,
        time_limit=options.time_limit,
    )


def chosen(names: Sequence[str] | None) -> list[Server]:
    servers = known_servers()
    unknown = set(names or ()) - servers.keys()
    if unknown:
        raise SystemExit(f"unknown servers: {', '.join(sorted(unknown))}")
    return [server for name, server in servers.items() if not names or name in names]


def about(settings: Settings, servers: Sequence[Server], words: Sequence[str]) -> About:
    return About(
        machine=machine.describe(),
        settings={
            "duration": settings.clock.duration,
            "warm-up": settings.clock.warm_up,
            "server core": settings.placement.server_core,
            "load core": settings.placement.load_core,
            "real-time priority": settings.placement.is_real_time,
        },
        servers=[
            ServerNote(
                name=server.name,
                language=server.language,
                version=server.version,
                note=server.note,
                source=server.source,
                can=sorted(server.can),
                is_ours=server.is_ours,
                missing=server.missing,
            )
            for server in servers
        ],
        revision=machine.revision(),
        date=machine.now(),
        command=shlex.join(["python", "-m", "bench.scenarios", *words]),
    )


def open_file(
    file: RunFile, circumstances: About, options: argparse.Namespace
) -> list[Run]:
    """The runs that are there already; refuses to mix what can't be compared."""
    done: list[Run] = []
    if file.exists() and options.overwrite:
        file.path.unlink()
    elif file.exists() and not options.resume:
        raise SystemExit(f"{file.path} exists: --resume or --overwrite")
    elif file.exists():
        earlier, done = file.read()
        for before in earlier:
            if conflicts := circumstances.conflicts(before):
                raise SystemExit(
                    f"{file.path} was measured otherwise: {'; '.join(conflicts)}"
                )
    file.append(circumstances)
    return done


@contextlib.contextmanager
def many_files() -> Iterator[None]:
    """Servers and load generator inherit the limit: crowds need a descriptor each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"


def expected(planned: Sequence[Planned], settings: Settings) -> str:
    about = minutes(estimate(planned, settings.clock))
    text = f"{len(planned)} runs, about {about} on a quiet machine"
    if settings.time_limit is not None:
        text += f"; ends after {minutes(settings.time_limit)} with the last whole round"
    return text


def list_runs(planned: Sequence[Planned], settings: Settings) -> None:
    servers: dict[str, list[str]] = {}
    for number, scenario, server in planned:
        if number == 0:
            servers.setdefault(scenario.name, []).append(server.name)
    for name, names in servers.items():
        print(f"{name:<30} {' '.join(names)}")
    print(expected(planned, settings))


def line(run: Run) -> str:
    if run.error:
        return f"FAILED: {run.error.splitlines()[0]}"
    scenario = SCENARIOS[run.scenario]
    busy = run.result.get("server_cpu") or 0.0
    disturbed = "" if run.is_quiet else f"  disturbed ({run.foreign_cpu:.0%})"
    return f"{value_of(scenario, run):>14,.1f} {scenario.value}  {busy:4.0%}{disturbed}"


def printer(is_quiet: bool) -> Callable[[str], None]:
    return (lambda text: None) if is_quiet else (lambda text: print(text, flush=True))


def main(arguments: Sequence[str]) -> int:
    options = parse_options(arguments)
    settings, servers = settings_of(options), chosen(options.peers)
    scenarios = [SCENARIOS[name] for name in options.scenario]
    planned = list(plan(scenarios, servers, settings.rounds))
    if options.list:
        list_runs(planned, settings)
        return 0
    say = printer(options.quiet)
    for server in servers:
        if server.missing:
            say(f"left out: {server.name}: {server.missing}")
    load.check()
    file = RunFile(options.output)
    done = open_file(file, about(settings, servers, arguments), options)
    say(expected(planned, settings))
    started, failed = time.monotonic(), 0
    with many_files():
        for run in go(planned, settings, done=done, progress=say):
            file.append(run)
            failed += bool(run.error)
            say(f"    {line(run)}")
    took = minutes(time.monotonic() - started)
    say(f"{took}, {failed} failed; the runs are in {file.path}")
    return 0


if __name__ == "__main__":
    # The control is built before servers are looked for: it is missing otherwise.
    subprocess.run(["make", "--quiet", "-C", str(ROOT / "bench")], check=True)
    sys.exit(main(sys.argv[1:]))
