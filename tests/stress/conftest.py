"""Runs the stress program as a person does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def stress() -> Callable[..., str]:
    """Run it for a moment with these options; what it said."""

    def run(*options: str, status: int = 0) -> str:
        command = [sys.executable, "-m", "tests.stress", "--seconds", "0.1"]
        command += options
        result = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False
        )
        said = result.stdout + result.stderr
        assert result.returncode == status, said
        return said

    return run
