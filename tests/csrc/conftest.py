"""Random input that can be had again."""

from __future__ import annotations

import os
import random
import sys

import pytest


@pytest.fixture
def chance() -> random.Random:
    """Seeded by FASTWS_TEST_SEED; pytest shows the line when the test fails."""
    seed = os.environ.get("FASTWS_TEST_SEED") or os.urandom(4).hex()
    sys.stderr.write(f"FASTWS_TEST_SEED={seed}\n")
    return random.Random(seed)
