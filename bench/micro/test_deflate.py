"""What does compressing add to zlib's own work, sent to one and published to many?

Each message is another piece of JSON (bench/wire.py). A publication is compressed once
however many subscribe, so the cost must not depend on them. The controls call zlib from
C for the same messages with the same settings and do nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import control, works
from .conftest import Measure
from .rig import Rig
from .works import Work

SIZES = (137, 1024, 16384)


def count_of(size: int) -> int:
    """As many as stay under the outbox's high-water mark once they are compressed."""
    return min(works.BATCH, (1 << 15) // size)


@pytest.fixture
def deflater() -> Iterator[control.Deflater]:
    made = control.Deflater(works.COMPRESSION)
    yield made
    made.close()


@pytest.mark.parametrize("size", SIZES)
def test_deflate_send(measure: Measure, rig: Rig, size: int) -> None:
    measure(works.send_compressed(rig, size, count_of(size)))


@pytest.mark.parametrize("subscribers", [1, 1000])
@pytest.mark.parametrize("size", SIZES)
def test_deflate_publish(
    measure: Measure, rig: Rig, size: int, subscribers: int
) -> None:
    measure(works.publish_compressed(rig, size, subscribers, count=count_of(size)))


@pytest.mark.parametrize("subscribers", [1, 1000])
@pytest.mark.parametrize("size", SIZES)
def test_deflate_publish_cohort(
    measure: Measure, rig: Rig, size: int, subscribers: int
) -> None:
    count = count_of(size)
    measure(
        works.publish_compressed(rig, size, subscribers, is_cohort=True, count=count)
    )


@pytest.mark.parametrize("keeps_window", [False, True], ids=["alone", "context"])
@pytest.mark.parametrize("size", SIZES)
def test_deflate_control_zlib(
    measure: Measure, deflater: control.Deflater, size: int, keeps_window: bool
) -> None:
    count = count_of(size)
    data = "".join(works.records_of(size, count)).encode()
    assert deflater.compress(data, size, keeps_window) > 0
    measure(Work(lambda: deflater.compress(data, size, keeps_window), count))
