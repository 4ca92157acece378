"""HARDENING F24: whatever the engine asks for may be refused."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support import failing


@pytest.mark.unsanitized
@pytest.mark.timeout(300)
@pytest.mark.skipif(not failing.AVAILABLE, reason="the C library is not glibc")
def test_without_memory_nothing_is_corrupt_and_nothing_lost_in_silence(
    tmp_path: Path,
) -> None:
    """In a process of its own, which has the allocator that refuses."""
    command, environment = failing.preloaded(
        tmp_path, "-X", "faulthandler", "-m", "tests.engine.scarce", "40", "500"
    )
    done = subprocess.run(
        command,
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    counts = dict(re.findall(r"^(.+): (\d+)$", done.stdout, re.MULTILINE))
    assert int(counts["refused"]) > 100, done.stdout
    assert int(counts["not published"]) > 10, done.stdout
