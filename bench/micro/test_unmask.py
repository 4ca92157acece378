"""What does unmasking cost beside a copy of the same bytes?

The engine unmasks while it copies a payload into its Python object, so a copy is what
it can't save. ``bytewise`` is the loop of RFC 6455 section 5.3 as compiled.
"""

from __future__ import annotations

import pytest

from fastws.engine import kernels

from . import control, works
from .conftest import Measure
from .works import Work

SIZES = (16, 64, 1024, 65536)
BYTES = 1 << 22


def rounds_of(size: int) -> int:
    """So many that the bytes of all rounds are the same, with a bound for tiny ones."""
    return min(BYTES // size, 20_000)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kernel", ["auto", *kernels.implementations()[1:]])
def test_unmask(measure: Measure, kernel: str, size: int) -> None:
    measure(works.unmask(size, rounds_of(size), kernel))


@pytest.mark.parametrize("size", SIZES)
def test_unmask_control_memcpy(measure: Measure, size: int) -> None:
    rounds = rounds_of(size)
    measure(Work(lambda: control.copy(size, rounds), rounds))


@pytest.mark.parametrize("size", SIZES)
def test_unmask_control_bytewise(measure: Measure, size: int) -> None:
    rounds = rounds_of(size)
    measure(Work(lambda: control.unmask(size, rounds), rounds))
