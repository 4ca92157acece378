"""A million compressed and plain frames, each decoded by a real inflater."""

from __future__ import annotations

import pytest
import uvloop

from tests.conftest import Certificates
from tests.engine.fanout import run_programs
from tests.support.seeds import fresh_seed

FRAMES = 1_000_000


@pytest.mark.timeout(900)
def test_a_million_frames_are_what_the_model_says(certificates: Certificates) -> None:
    found = run_programs(fresh_seed(), FRAMES, uvloop.run, certificates)
    print(dict(found))  # noqa: T201
    assert found["delivered"] >= FRAMES
    for event in ("lag_skips", "lag_heals", "lag_refills", "evicted"):
        assert found[event] > 20
    for form in ("for all", "in a cohort", "to one"):
        assert found[form] > FRAMES // 100
