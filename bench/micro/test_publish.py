"""What does ``publish`` cost, and does it depend on the number of subscribers?

A publication is encoded once and put into the channel's log; subscribers are only
looked at in the flush (see test_flush.py). The control appends the same frames to a
``bytearray``.
"""

from __future__ import annotations

import pytest

from . import works
from .conftest import Measure
from .rig import Rig
from .works import BATCH, Work


@pytest.mark.parametrize("subscribers", [1, 10, 1000])
def test_publish(measure: Measure, rig: Rig, subscribers: int) -> None:
    measure(works.publish(rig, works.text_of(128), subscribers))


def test_publish_nobody_listens(measure: Measure, rig: Rig) -> None:
    measure(works.publish(rig, works.text_of(128), 0))


def test_publish_control_bytearray(measure: Measure) -> None:
    text, log = works.text_of(128), bytearray()
    header = b"\x81\x7e" + len(text).to_bytes(2, "big")

    def run() -> None:
        for _ in range(BATCH):
            log.extend(header)
            log.extend(text.encode())

    measure(Work(run, BATCH, log.clear))
