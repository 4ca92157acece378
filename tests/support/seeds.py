"""Seeds of what is random in tests."""

from __future__ import annotations

import os
import random

__all__ = ["fresh_seed"]


def fresh_seed() -> int:
    """A seed, printed: pytest shows it when the test fails, and set as FASTWS_TEST_SEED
    it repeats the run."""
    given = os.environ.get("FASTWS_TEST_SEED")
    seed = random.SystemRandom().getrandbits(30) if given is None else int(given)
    print(f"FASTWS_TEST_SEED={seed}")  # noqa: T201
    return seed
