"""Several processes on one board: what they count together, and how they end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.load.conftest import SHORT
from tests.load.opponent import Peer, Start

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 40.0

# It has no threads, so it may fork.
PROGRAM = """\
import json, signal, sys
from fastws.load import LoadError, Options, run
# Whoever started the tests in the background has it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
def tell(progress):
    if progress.phase == "running":
        print("running", file=sys.stderr, flush=True)
try:
    result = run(Options(**json.loads(sys.argv[1])), tell)
    print(json.dumps(result.to_dict()))
except LoadError as error:
    print(json.dumps({"error": str(error)}))
"""


def command(options: dict[str, Any]) -> list[str]:
    return [sys.executable, "-W", "error", "-c", PROGRAM, json.dumps(options)]


def apart(url: str, **options: Any) -> dict[str, Any]:
    given = {"url": url, **SHORT, **options}
    done = subprocess.run(
        command(given),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=DEADLINE,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "echo", "connections": 5, "depth": 4},
        {"mode": "echo", "rate": 1000.0},
        {"mode": "fanout", "connections": 7, "depth": 3},
        {"mode": "fanout", "connections": 6, "publishers": 5},
        {"mode": "fanout", "connections": 6, "rate": 200.0},
        {"mode": "connect", "connections": 20},
        {"mode": "idle", "connections": 6, "ping_interval": 0.02},
        {"mode": "mixed", "connections": 4, "churn": 50.0, "rate": 400.0},
    ],
    ids=str,
)
def test_several_processes(opponent: Start, options: dict[str, Any]) -> None:
    path = "/fanout" if options["mode"] == "fanout" else "/echo"
    more = {"publisher_path": "/fanout"} if options["mode"] == "mixed" else {}
    result = apart(opponent().url(path), processes=3, **options, **more)
    assert result["error"] is None
    assert result["processes"] == 3
    assert result["operations"] > 0


def test_a_fault_in_one_of_several_processes(opponent: Start) -> None:
    def forgetful(peer: Peer, first: int, payload: bytes) -> None:
        for one in peer.server.peers:
            if one.number != 2 or peer.messages < 5:
                one.send(payload)

    result = apart(
        opponent(forgetful).url("/f"), mode="fanout", processes=2, timeout=5.0
    )
    assert "deliveries are missing" in result["error"]


@contextlib.contextmanager
def under_way(url: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A run whose clock has started and that would last for minutes."""
    given = {"url": url, **SHORT, "duration": 300.0, "timeout": 400.0, **options}
    process = subprocess.Popen(
        command(given),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stderr is not None
        assert process.stderr.readline() == "running\n"
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=DEADLINE)


def children_of(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == pid:
                    found.append(int(entry.name))
    return found


@pytest.mark.parametrize("processes", [1, 2])
def test_an_interrupt_ends_all_of_them(opponent: Start, processes: int) -> None:
    with under_way(opponent().url(), processes=processes) as process:
        children = children_of(process.pid)
        assert len(children) == (0 if processes == 1 else processes)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=DEADLINE)
        assert errors.rstrip().endswith("KeyboardInterrupt")
        assert process.returncode == -signal.SIGINT
        assert not any(Path(f"/proc/{pid}").exists() for pid in children)


def test_a_process_that_is_killed_fails_the_run(opponent: Start) -> None:
    with under_way(opponent().url(), processes=2) as process:
        os.kill(children_of(process.pid)[0], signal.SIGKILL)
        output, _ = process.communicate(timeout=DEADLINE)
        assert (
            "a process of the load generator ended: -9" in json.loads(output)["error"]
        )
