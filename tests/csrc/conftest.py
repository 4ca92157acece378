"""Random input that can be had again."""

from __future__ import annotations

import random

import pytest

from tests.support.seeds import fresh_seed


@pytest.fixture
def chance() -> random.Random:
    return random.Random(fresh_seed())
