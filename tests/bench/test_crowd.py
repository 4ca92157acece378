"""The crowd's script, with a small crowd."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_connections_are_spread_over_servers_held_and_let_go() -> None:
    # They are counted every half second, and at least once while all are there.
    command = [sys.executable, str(ROOT / "bench" / "crowd.py"), "--hold", "4"]
    done = subprocess.run(
        [*command, "--connections", "300", "--servers", "2"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    counts = [int(count) for count in re.findall(r"server \d: +(\d+)", done.stdout)]
    assert len(counts) == 2
    assert min(counts) > 0
    assert sum(counts) == 300
    assert done.stdout.endswith("0 are left\n")
