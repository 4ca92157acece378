"""Runs ``counted.py`` under callgrind and reads what it counted."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import control

ROOT = control.BENCH.parent
TIME_LIMIT = 240.0
"""Seconds: many times what it takes."""

TRIGGER = re.compile(r"^desc: Trigger: Client Request: (\S+)$", re.MULTILINE)
TOTALS = re.compile(r"^totals: (\d+)$", re.MULTILINE)


class CountingError(Exception):
    """The works could not be counted; the message says why."""


@dataclass(frozen=True)
class Counts:
    """Instructions per operation of each work, and what they were counted on."""

    environment: dict[str, str]
    instructions: dict[str, float]


def why_not() -> str:
    """Why nothing can be counted here, or an empty string."""
    if sys.platform != "linux":
        return "callgrind is used on Linux only"
    if shutil.which("valgrind") is None:
        return "valgrind is missing: apt-get install valgrind"
    return ""


def count(names: Sequence[str] = (), root: Path = ROOT) -> Counts:
    """Count these works, or all, of the sources in ``root``, which are built."""
    if reason := why_not():
        raise CountingError(reason)
    with tempfile.TemporaryDirectory(prefix="fastws-counts-") as folder:
        out = Path(folder) / "out"
        command = [
            "valgrind",
            "--tool=callgrind",
            "--instr-atstart=no",
            "--collect-atstart=no",
            f"--callgrind-out-file={out}.%p",
            sys.executable,
            *("-m", "bench.micro.counted", *names),
        ]
        said = run(command, root)
        totals = read(Path(folder))
    told = json.loads(said.splitlines()[-1])
    operations: dict[str, int] = told["operations"]
    if operations.keys() != totals.keys():
        raise CountingError(f"counted {sorted(totals)}, did {sorted(operations)}")
    return Counts(
        told["environment"],
        {name: round(totals[name] / operations[name], 3) for name in operations},
    )


def run(command: Sequence[str], root: Path) -> str:
    """The same environment every time: its size moves the stack, its settings the order
    of sets. All memory comes from malloc's per-thread lists: what an allocation costs
    then depends little on what was allocated and freed before."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "LC_ALL": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONMALLOC": "malloc",
        "PYTHONNOUSERSITE": "1",
        "GLIBC_TUNABLES": "glibc.malloc.tcache_count=65535",
    }
    try:
        done = subprocess.run(
            command,
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CountingError(f"callgrind took over {TIME_LIMIT:.0f} s") from error
    if done.returncode:
        raise CountingError(f"callgrind ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def read(folder: Path) -> dict[str, int]:
    """Each dump's instructions by the name that the program gave it."""
    found = {}
    for path in folder.iterdir():
        text = path.read_text(errors="replace")
        trigger, totals = TRIGGER.search(text), TOTALS.search(text)
        if trigger and totals:
            found[trigger[1]] = int(totals[1])
    return found
