#!/usr/bin/env python3
"""Compare fastws with the C control and the peers: ratios of interleaved rounds.

In every round each server starts afresh on its own core, meets the load generator on
another, and is stopped. A row's denominator is the control or peer with the highest
median; the ratios are taken per round, so that drift of the machine hits both sides.
See README.md beside this file.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LOAD = HERE / "build" / "load"
CONTROL = HERE / "build" / "control"
START_DEADLINE = 20.0  # seconds until a server must listen
STOP_DEADLINE = 5.0
LOAD_DEADLINE = 60.0
# A lower quartile this far under the bound is noise, further is a miss.
QUARTILE_SLACK = 0.05
# A run proves something about its server when that was the bottleneck.
SERVER_BUSY = 0.95
LOAD_NOT_BUSY = 0.90
# Others' share of the two cores above which a run is thrown away and repeated.
FOREIGN_CPU = 0.10
QUIET_SAMPLE = 0.2  # seconds of silence before a run starts

Result = dict[str, Any]


@dataclass(frozen=True)
class Server:
    """One way of serving: which program, and its path for each kind of load."""

    program: str
    echo: str = "/echo"
    fanout: str = "/broadcast"
    is_ours: bool = False
    modes: frozenset[str] = frozenset({"echo", "fanout", "connect", "idle"})

    def command(self, python: str) -> list[str]:
        if self.program == "control":
            return [str(CONTROL), "0"]
        return [python, str(HERE / "peers" / f"{self.program}.py"), "0"]

    def path(self, mode: str) -> str:
        return self.fanout if mode == "fanout" else self.echo


@dataclass(frozen=True)
class Scenario:
    """One row: what the load generator does, and what is asked of fastws.

    `targets` by server name: the least ratio, or for memory the most bytes.
    """

    mode: str
    options: dict[str, int]
    unit: str
    targets: dict[str, float] = field(default_factory=dict)

    @property
    def lower_is_better(self) -> bool:
        return self.mode == "idle"

    def value(self, result: Result) -> float:
        name = "bytes_per_connection" if self.lower_is_better else "per_second"
        return float(result[name])


SERVERS = {
    "control": Server("control"),
    "picows": Server("picows_server"),
    "websockets": Server("websockets_server"),
    "fastws": Server("fastws_server", is_ours=True),
    "fastws-async": Server(
        "fastws_server", "/echo-async", is_ours=True, modes=frozenset({"echo"})
    ),
}

SCENARIOS = {
    "echo16": Scenario(
        "echo",
        {"connections": 100, "depth": 16, "size": 64},
        "messages/s",
        {"fastws": 0.9, "fastws-async": 0.6},
    ),
    "echo1": Scenario(
        "echo",
        {"connections": 100, "depth": 1, "size": 64},
        "messages/s",
        {"fastws": 0.95},
    ),
    "fanout1": Scenario(
        "fanout",
        {"connections": 1000, "depth": 1, "size": 128},
        "deliveries/s",
        {"fastws": 0.97},
    ),
    "fanout16": Scenario(
        "fanout",
        {"connections": 1000, "depth": 16, "size": 128},
        "deliveries/s",
        {"fastws": 1.0},
    ),
    "connect": Scenario(
        "connect",
        {"connections": 8000, "parallel": 100, "sources": 8},
        "handshakes/s",
    ),
    "idle": Scenario(
        "idle",
        {"connections": 8000, "parallel": 100, "sources": 8},
        "bytes/connection",
        {"fastws": 3072},
    ),
}


# --- one run ----------------------------------------------------------------------


def first_line(process: subprocess.Popen[str]) -> str:
    """What the server says once it listens; its process is killed at the deadline."""
    assert process.stdout is not None
    timer = threading.Timer(START_DEADLINE, process.kill)
    timer.start()
    try:
        return process.stdout.readline()
    finally:
        timer.cancel()


def stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.communicate(timeout=STOP_DEADLINE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def serving(server: Server, options: argparse.Namespace) -> Iterator[tuple[int, int]]:
    """A fresh server process on its own core: its port and pid."""
    pinned = ["taskset", "-c", str(options.server_core)]
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            pinned + server.command(options.python),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
        )
        try:
            line = first_line(process)
            if not line.startswith("listening on "):
                errors.seek(0)
                raise SystemExit(f"{server.program} did not start: {errors.read()}")
            yield int(line.split()[-1]), process.pid
        finally:
            stop(process)


def load_command(
    scenario: Scenario, path: str, port: int, pid: int, options: argparse.Namespace
) -> list[str]:
    command = ["taskset", "-c", str(options.load_core), str(LOAD), scenario.mode]
    given = scenario.options | {"port": port, "server-pid": pid}
    for name, value in given.items():
        command += [f"--{name}", str(value)]
    command += ["--path", path, "--duration", str(options.duration)]
    command += ["--warm-up", str(options.warm_up)]
    return command + (["--binary"] if options.binary else [])


def busy_seconds(cores: set[int]) -> float:
    """CPU time that anybody spent on these cores, a hypervisor's neighbours too."""
    names = {f"cpu{core}" for core in cores}
    ticks = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name in names:
            user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
            ticks += user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK")


def process_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def watching(cores: set[int], server_pid: int) -> Iterator[dict[str, float]]:
    """Fills in, at the end, the share of the cores that others took."""
    seen: dict[str, float] = {}

    def others() -> float:
        mine = resource.getrusage(resource.RUSAGE_CHILDREN)
        mine_seconds = mine.ru_utime + mine.ru_stime
        return busy_seconds(cores) - process_seconds(server_pid) - mine_seconds

    started, before = time.monotonic(), others()
    yield seen
    elapsed = time.monotonic() - started
    seen["foreign_cpu"] = max(0.0, (others() - before) / elapsed)


def measure_once(
    server: Server, scenario: Scenario, options: argparse.Namespace
) -> Result:
    cores = {options.server_core, options.load_core}
    with serving(server, options) as (port, pid):
        path = server.path(scenario.mode)
        with watching(cores, pid) as seen:
            done = subprocess.run(
                load_command(scenario, path, port, pid, options),
                capture_output=True,
                text=True,
                timeout=LOAD_DEADLINE,
                check=False,
            )
    result: Result = json.loads(done.stdout) if done.stdout else {"error": done.stderr}
    if result["error"]:
        raise SystemExit(f"{server.program}, {scenario.mode}: {result['error']}")
    return result | seen


def wait_until_quiet(options: argparse.Namespace) -> None:
    """Returns when nobody uses the two cores, or when patience has run out."""
    cores = {options.server_core, options.load_core}
    deadline = time.monotonic() + options.patience
    share = 1.0
    while share > FOREIGN_CPU and time.monotonic() < deadline:
        before = busy_seconds(cores)
        time.sleep(QUIET_SAMPLE)
        share = (busy_seconds(cores) - before) / QUIET_SAMPLE


def measure(server: Server, scenario: Scenario, options: argparse.Namespace) -> Result:
    """One undisturbed run, or the last of several disturbed ones."""
    for attempt in range(options.attempts):
        wait_until_quiet(options)
        result = measure_once(server, scenario, options) | {"attempts": attempt + 1}
        if result["foreign_cpu"] <= FOREIGN_CPU:
            break
    return result


# --- all rounds -------------------------------------------------------------------


def run_rounds(
    options: argparse.Namespace, progress: Callable[[str], None]
) -> dict[str, dict[str, list[Result]]]:
    """Results by scenario and server, one per round."""
    results: dict[str, dict[str, list[Result]]] = {}
    for round_number in range(options.rounds):
        for scenario_name in options.scenario:
            scenario = SCENARIOS[scenario_name]
            names = [n for n in options.servers if scenario.mode in SERVERS[n].modes]
            # Everyone takes every place in the order: no one always follows the same.
            turn = round_number % len(names)
            for name in names[turn:] + names[:turn]:
                progress(f"round {round_number + 1}, {scenario_name}, {name}")
                result = measure(SERVERS[name], scenario, options)
                rows = results.setdefault(scenario_name, {})
                rows.setdefault(name, []).append(result)
    return results


def is_proven(result: Result) -> bool:
    return (result["server_cpu"] or 0) >= SERVER_BUSY and result[
        "load_cpu"
    ] < LOAD_NOT_BUSY


def per_cpu_second(result: Result) -> float:
    """Operations per CPU second of the server: says something while it is not full."""
    seconds = (result["server_cpu"] or 0) * result["seconds"]
    return float(result["operations"] / seconds) if seconds > 0 else 0.0


def quartiles(values: list[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        only = values[0] if values else float("nan")
        return only, only, only
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def pick_denominator(scenario: Scenario, medians: dict[str, float]) -> str | None:
    others = {name: m for name, m in medians.items() if not SERVERS[name].is_ours}
    if not others:
        return None
    best = min if scenario.lower_is_better else max
    return best(others, key=lambda name: others[name])


def verdict(
    scenario: Scenario, name: str, value: float, ratio: tuple[float, float, float]
) -> str:
    target = scenario.targets.get(name)
    if target is None:
        return ""
    if scenario.lower_is_better:
        return f"<= {target:g} B: {'yes' if value <= target else 'NO'}"
    low, middle, _ = ratio
    met = middle >= target and low >= target - QUARTILE_SLACK
    return f">= {target:g}: {'yes' if met else 'NO'}"


def summarise_runs(runs: list[Result]) -> Result:
    row: Result = {
        "per_cpu_second": statistics.median(map(per_cpu_second, runs)),
        "server_cpu": statistics.median(run["server_cpu"] or 0 for run in runs),
        "load_cpu": statistics.median(run["load_cpu"] for run in runs),
        "disturbed": sum(run["foreign_cpu"] > FOREIGN_CPU for run in runs),
        "proven": sum(map(is_proven, runs)),
        "rounds": len(runs),
    }
    if "latency_us" in runs[0]:
        row["latency_us"] = {
            quantile: statistics.median(run["latency_us"][quantile] for run in runs)
            for quantile in runs[0]["latency_us"]
        }
    return row


def round_ratios(
    scenario: Scenario, ours: list[Result], theirs: list[Result]
) -> list[float]:
    """One ratio per round that was quiet for both; of all rounds when none was."""
    pairs = list(zip(ours, theirs, strict=True))
    quiet = [
        (one, other)
        for one, other in pairs
        if max(one["foreign_cpu"], other["foreign_cpu"]) <= FOREIGN_CPU
    ]
    return [
        scenario.value(one) / scenario.value(other)
        for one, other in quiet or pairs
        if scenario.value(other) > 0
    ]


def summarise_row(scenario: Scenario, results: dict[str, list[Result]]) -> Result:
    values = {n: [scenario.value(r) for r in runs] for n, runs in results.items()}
    medians = {name: statistics.median(those) for name, those in values.items()}
    denominator = pick_denominator(scenario, medians)
    servers: Result = {}
    for name, runs in results.items():
        row: Result = {"median": medians[name], "values": values[name]}
        row |= summarise_runs(runs)
        if denominator is not None:
            ratios = round_ratios(scenario, runs, results[denominator])
            ratio = quartiles(ratios)
            row["ratio"], row["ratios"] = ratio, ratios
            row["verdict"] = verdict(scenario, name, medians[name], ratio)
        servers[name] = row
    return {"denominator": denominator, "unit": scenario.unit, "servers": servers}


# --- output -----------------------------------------------------------------------


HEADING = (
    f"  {'':<13}{'median':>12}{'ratio':>9}{'quartiles':>18}{'per CPU s':>12}"
    f"{'server':>8}{'load':>6}{'proven':>8}{'disturbed':>11}{'used':>6}  target"
)


def print_server(name: str, row: Result) -> None:
    low, middle, high = row.get("ratio", (float("nan"),) * 3)
    spread = f"{low:.3f}-{high:.3f}"
    proven = f"{row['proven']}/{row['rounds']}"
    used = len(row.get("ratios", ()))
    print(
        f"  {name:<13}{row['median']:>12,.0f}{middle:>9.3f}{spread:>18}"
        f"{row['per_cpu_second']:>12,.0f}{row['server_cpu']:>8.0%}"
        f"{row['load_cpu']:>6.0%}{proven:>8}{row['disturbed']:>11}{used:>6}"
        f"  {row.get('verdict', '')}"
    )


def print_row(name: str, row: Result) -> None:
    best_first = -1 if row["unit"].endswith("/s") else 1
    print(f"\n{name}: {row['unit']}, ratios to {row['denominator']}\n{HEADING}")
    ordered = sorted(
        row["servers"].items(), key=lambda item: best_first * item[1]["median"]
    )
    for server, values in ordered:
        print_server(server, values)


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def circumstances(options: argparse.Namespace) -> Result:
    versions = {}
    for package in ("picows", "websockets", "uvloop"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": versions,
        "rounds": options.rounds,
        "duration": options.duration,
        "payload": "binary" if options.binary else "text",
    }


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, default=None)
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=None)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--duration", type=float, default=1.0, help="seconds per run")
    parser.add_argument("--warm-up", type=float, default=0.3, help="seconds before")
    parser.add_argument("--binary", action="store_true", help="instead of text")
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--load-core", type=int, default=1)
    parser.add_argument(
        "--attempts", type=int, default=3, help="to get an undisturbed run"
    )
    parser.add_argument(
        "--patience", type=float, default=20.0, help="seconds to wait for quiet cores"
    )
    parser.add_argument("--python", default=sys.executable, help="for the servers")
    parser.add_argument("--json", type=Path, default=HERE / "build" / "compare.json")
    options = parser.parse_args()
    options.scenario = options.scenario or list(SCENARIOS)
    options.servers = options.servers or list(SERVERS)
    if options.rounds < 1 or options.attempts < 1:
        parser.error("at least one round and one attempt")
    return options


def main() -> None:
    options = parse_options()
    subprocess.run(["make", "--quiet", "-C", str(HERE)], check=True)

    def progress(text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    results = run_rounds(options, progress)
    progress("")
    about = circumstances(options)
    rows = {
        name: summarise_row(SCENARIOS[name], those) for name, those in results.items()
    }
    print(", ".join(f"{name}: {value}" for name, value in about.items()))
    for name, row in rows.items():
        print_row(name, row)
    report = {"about": about, "rows": rows, "runs": results}
    options.json.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\nwritten to {options.json}")


if __name__ == "__main__":
    main()
