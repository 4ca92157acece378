"""The load generator on its own core: its command, and its answer."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .scenarios import Scenario
from .servers import Placement, last_line

ROOT = Path(__file__).resolve().parents[2]
GRACE = 10.0  # seconds that it has beyond its own time-out to say so

Result = dict[str, Any]

PROGRAM = (sys.executable, "-m", "fastws")


@dataclass(frozen=True)
class Clock:
    """How long one run lasts."""

    duration: float = 1.0  # seconds under the clock
    warm_up: float = 0.3  # seconds of traffic before
    timeout: float = 30.0  # seconds after which a run has failed


def check() -> None:
    """Raises SystemExit when there is no load generator, which is no server's fault."""
    done = subprocess.run(
        [*PROGRAM, "bench", "--help"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    if done.returncode != 0:
        raise SystemExit(f"the load generator does not start:\n{done.stderr}")


def arguments(scenario: Scenario, url: str, clock: Clock) -> list[str]:
    """The part of the command that a reader would type, too."""
    words = ["bench", url, "--mode", scenario.mode]
    for name, value in scenario.options.items():
        words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    if scenario.mode != "idle":
        # It has its core for itself, and a server is not to pay for waking it.
        words.append("--busy-poll")
    duration = max(scenario.duration or 0.0, clock.duration)
    words += ["--duration", f"{duration:g}", "--warm-up", f"{clock.warm_up:g}"]
    return [*words, "--timeout", f"{clock.timeout + duration:g}"]


def shown(scenario: Scenario, clock: Clock) -> str:
    """The command as the report prints it."""
    url = f"ws://127.0.0.1:PORT{scenario.path}"
    return " ".join(["fastws", *arguments(scenario, url, clock)])


def run(
    scenario: Scenario, port: int, pid: int, clock: Clock, placement: Placement
) -> Result:
    """The generator's result; what kept it from having one stands in `error`."""
    url = f"ws://127.0.0.1:{port}{scenario.path}"
    command = placement.pinned(placement.load_core)
    command += [*PROGRAM, *arguments(scenario, url, clock)]
    command += ["--server-pid", str(pid), "--format", "json", "--quiet"]
    limit = clock.timeout + (scenario.duration or 0.0) + clock.duration + GRACE
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            return {"error": f"the load generator did not end within {limit:.0f} s"}
        finally:
            # Whatever happened here: its processes have to end too.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return parse(output, errors, process.returncode)


def parse(output: str, errors: str, code: int) -> Result:
    line = output.strip().rpartition("\n")[2]
    try:
        result = json.loads(line)
    except json.JSONDecodeError:
        result = None
    if not isinstance(result, dict):
        words = last_line(errors) or last_line(output)
        return {"error": f"the load generator ended with {code}: {words}"}
    if code != 0 and not result.get("error"):
        result["error"] = f"the load generator ended with {code}"
    return result
