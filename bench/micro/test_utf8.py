"""What does the incremental UTF-8 check cost beside ``bytes.decode``?

``decode`` also builds the string: the check alone, on the engine's slow path of
fragments, should cost less than that.
"""

from __future__ import annotations

import pytest

from . import works
from .conftest import Measure
from .works import BATCH, Work

TEXTS = {
    "ascii-1k": works.text_of(1024).encode(),
    "ascii-64k": works.text_of(65536).encode(),
    "mixed-1k": works.mixed_of(1024),
    "mixed-64k": works.mixed_of(65536),
}


@pytest.mark.parametrize("text", TEXTS)
def test_utf8_validate(measure: Measure, text: str) -> None:
    measure(works.validate(TEXTS[text]))


@pytest.mark.parametrize("text", TEXTS)
def test_utf8_control_decode(measure: Measure, text: str) -> None:
    data = TEXTS[text]

    def run() -> None:
        for _ in range(BATCH):
            data.decode()

    measure(Work(run, BATCH))
