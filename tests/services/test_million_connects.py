"""A million connections come and go: the server has nothing left of them."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import urllib.request

import pytest

from tests.support.program import Program, serving
from tests.support.waits import eventually

CONNECTS = 1_000_000
MIB = 1 << 20


def wave_size() -> int:
    """Connections that one load process and one server can hold at a time."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(18_000, soft - 512)


def census(program: Program) -> dict[str, int]:
    with urllib.request.urlopen(program.url + "census") as response:
        counts: dict[str, int] = json.load(response)
    return counts


@pytest.mark.timeout(600)
def test_a_million_connects_leave_nothing_behind() -> None:
    wave = wave_size()
    with serving("tests.support.census:app") as program:
        url = f"ws://127.0.0.1:{program.port}/echo"
        command = [sys.executable, "-m", "fastws", "bench", url, "--mode", "connect"]
        command += ["--connections", str(wave), "--sources", "8", "--timeout", "60"]
        command += ["--format", "json", "--quiet"]
        warm = 0
        for done in range(0, CONNECTS + wave, wave):
            run = subprocess.run(command, check=False, capture_output=True, text=True)
            assert run.returncode == 0, json.loads(run.stdout)["error"]
            if done == 9 * wave:
                # The first waves fill pools and arenas, which stay.
                warm = census(program)["resident"]

        def nobody_is_left() -> bool:
            return census(program)["open"] == 0

        eventually(nobody_is_left)
        left = census(program)
        assert left["resident"] < warm + 16 * MIB
        del left["resident"]
        assert not any(left.values()), left
