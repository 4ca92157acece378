"""A million connections come and go: the server has nothing left of them."""

from __future__ import annotations

import json
import resource
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.support.program import Program, serving
from tests.support.waits import eventually

BENCH = Path(__file__).resolve().parents[2] / "bench"
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
def test_a_million_connects_leave_nothing_behind(tmp_path: Path) -> None:
    subprocess.run(["make", "-C", str(BENCH), f"OUT={tmp_path}"], check=True)
    wave = wave_size()
    with serving("tests.support.census:app") as program:
        command = [str(tmp_path / "load"), "connect", "--port", str(program.port)]
        command += ["--path", "/echo", "--sources", "8", "--timeout", "60"]
        command += ["--connections", str(wave)]
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
