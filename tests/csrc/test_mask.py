"""Masking against the naive kernel, for each instruction set that runs here."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.engine import kernels

ALL = ["auto", *kernels.implementations()]
KEY = b"\x37\xfa\x21\x3d"

# Any buffer the kernels may meet: short, around each vector size, longer than a block.
payloads = st.binary(max_size=400)
keys = st.binary(min_size=4, max_size=4)
alignments = st.integers(min_value=0, max_value=63)
offsets = st.integers(min_value=0, max_value=2**63)


def expected(data: bytes, key: bytes, offset: int = 0) -> bytes:
    return bytes(byte ^ key[(offset + i) & 3] for i, byte in enumerate(data))


def test_the_oracle_and_the_chosen_kernel_are_listed() -> None:
    assert kernels.implementations()[:2] == ["naive", "scalar"]


def test_the_example_of_the_rfc() -> None:
    """RFC 6455 section 5.7: a single-frame masked text message."""
    masked = bytes.fromhex("7f9f4d5158")
    assert kernels.mask(b"Hello", KEY) == masked
    assert kernels.mask_copy(masked, KEY) == (b"Hello", True)


@pytest.mark.parametrize("implementation", ALL)
def test_every_alignment_and_every_length(
    implementation: str, chance: random.Random
) -> None:
    data = chance.randbytes(4096)
    for alignment in range(64):
        difference = kernels.sweep_masks(data, alignment, implementation)
        assert difference is None, (alignment, difference)


@pytest.mark.parametrize("implementation", ALL)
def test_nothing_outside_the_buffers_is_touched(implementation: str) -> None:
    assert kernels.sweep_fenced(4096, implementation) is None


@pytest.mark.parametrize("implementation", ALL)
def test_one_byte_that_is_not_ascii_is_seen_wherever_it_stands(
    implementation: str,
) -> None:
    assert kernels.sweep_ascii(600, implementation) is None


@pytest.mark.parametrize("implementation", ALL)
@given(data=payloads, key=keys, offset=offsets, alignment=alignments)
def test_mask_is_the_formula_of_the_rfc(
    implementation: str, data: bytes, key: bytes, offset: int, alignment: int
) -> None:
    wanted = expected(data, key, offset)
    assert kernels.mask(data, key, offset, implementation, alignment) == wanted


@pytest.mark.parametrize("implementation", ALL)
@given(data=payloads, key=keys, offset=offsets, source=alignments, to=alignments)
def test_mask_copy_is_the_formula_and_knows_ascii(
    implementation: str, data: bytes, key: bytes, offset: int, source: int, to: int
) -> None:
    wanted = expected(data, key, offset)
    result = kernels.mask_copy(data, key, offset, implementation, source, to)
    assert result == (wanted, wanted.isascii())
    assert kernels.is_ascii(wanted, implementation, source) == wanted.isascii()


@pytest.mark.parametrize("implementation", ALL)
@given(data=payloads, key=keys, cuts=st.lists(st.integers(0, 400), max_size=4))
def test_pieces_with_their_offsets_make_the_whole(
    implementation: str, data: bytes, key: bytes, cuts: list[int]
) -> None:
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [
        kernels.mask(data[start:end], key, start, implementation)
        for start, end in itertools.pairwise(edges)
    ]
    assert b"".join(pieces) == expected(data, key)


@pytest.mark.parametrize("size", [65_535, 65_536, 1_000_003])
@pytest.mark.parametrize("implementation", ALL)
def test_large_payloads(implementation: str, size: int, chance: random.Random) -> None:
    data = chance.randbytes(size)
    masked = kernels.mask(data, KEY, 1, implementation, 3)
    assert masked == kernels.mask(data, KEY, 1, "naive")
    assert kernels.mask_copy(masked, KEY, 1, implementation, 5, 7)[0] == data


def test_a_key_of_zeros_changes_nothing() -> None:
    assert kernels.mask_copy(b"x" * 100, bytes(4)) == (b"x" * 100, True)


def test_unusable_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="four bytes"):
        kernels.mask(b"data", b"key")
    with pytest.raises(ValueError, match="no mask kernel 'mmx'"):
        kernels.mask(b"data", KEY, implementation="mmx")
    with pytest.raises(ValueError, match="alignment"):
        kernels.mask(b"data", KEY, alignment=64)
