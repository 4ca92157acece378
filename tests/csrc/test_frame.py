"""The frame header: what is accepted, what is refused, and at which byte."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.codes import CloseCode, Opcode
from fastws.engine import kernels

KEY = b"\x01\x02\x03\x04"
FIN = 0x80
MASK = 0x80
LENGTHS = (0, 1, 125, 126, 127, 255, 256, 65_535, 65_536, 2**32, 2**63 - 1)


def header(first: int, length: int, masked: bool = False) -> bytes:
    """RFC 6455 section 5.2, written a second time."""
    mask = MASK if masked else 0
    if length <= 125:
        data = struct.pack("!BB", first, mask | length)
    elif length <= 65_535:
        data = struct.pack("!BBH", first, mask | 126, length)
    else:
        data = struct.pack("!BBQ", first, mask | 127, length)
    return data + (KEY if masked else b"")


def fields(data: bytes) -> dict[str, Any]:
    decoded = kernels.frame_decode(data)
    assert isinstance(decoded, dict), (data.hex(), decoded)
    return decoded


def fault(data: bytes) -> tuple[int, str] | None:
    """The first prefix that is refused, and why; nothing may change after it."""
    found: tuple[int, str] | None = None
    for size in range(len(data) + 1):
        answer = kernels.frame_decode(data[:size])
        if found:
            assert answer == found[1], (data.hex(), size)
        elif isinstance(answer, str):
            found = size, answer
    return found


def test_numbers_are_those_of_codes() -> None:
    assert {code.name: code.value for code in Opcode} == kernels.OPCODES
    assert {code.name: code.value for code in CloseCode} == kernels.CLOSE_CODES


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("length", LENGTHS)
def test_encode_writes_the_shortest_form(length: int, masked: bool) -> None:
    data = kernels.frame_encode(FIN | Opcode.TEXT, length, KEY if masked else None)
    assert data == header(FIN | Opcode.TEXT, length, masked)
    assert kernels.frame_header_size(length, masked) == len(data)


@given(
    first=st.sampled_from([*range(3), *range(0x80, 0x83), *range(0x88, 0x8B)]),
    rsv=st.integers(0, 7),
    length=st.one_of(st.integers(0, 70_000), st.integers(0, 2**63 - 1)),
    key=st.one_of(st.none(), st.binary(min_size=4, max_size=4)),
    after=st.binary(max_size=20),
)
def test_decode_reverses_encode(
    first: int, rsv: int, length: int, key: bytes | None, after: bytes
) -> None:
    if first & 0x08:
        length %= 126
    data = kernels.frame_encode(first | rsv << 4, length, key)
    assert fields(data + after) == {
        "length": length,
        "opcode": first & 0x0F,
        "fin": first >> 7,
        "rsv": rsv << 4,
        "masked": key is not None,
        "size": len(data),
        "key": key or bytes(4),
    }
    for size in range(len(data)):
        assert kernels.frame_decode(data[:size]) is None


def expected_fault(first: int, second: int) -> tuple[int, str] | None:
    """What the first two bytes alone decide."""
    opcode = first & 0x0F
    if opcode not in {code.value for code in Opcode}:
        return 1, "opcode"
    if opcode & 0x08 and not first & FIN:
        return 1, "control_fragment"
    if opcode & 0x08 and second & 0x7F > 125:
        return 2, "control_length"
    return None


@pytest.mark.parametrize("first", range(256))
def test_every_first_two_bytes_at_every_truncation(first: int) -> None:
    for second in range(256):
        wanted = expected_fault(first, second)
        length = second & 0x7F
        # Lengths that are minimal in their form, then the key.
        extended = {126: b"\x01\x00", 127: b"\x00\x00\x00\x00\x00\x01\x00\x00"}
        data = bytes((first, second)) + extended.get(length, b"")
        key = KEY if second & MASK else b""
        assert fault(data + key) == wanted
        if wanted is None:
            decoded = fields(data + key + b"payload")
            assert decoded["size"] == len(data + key)
            assert decoded["length"] == {126: 256, 127: 65_536}.get(length, length)
            assert decoded["masked"] == second >> 7
            assert decoded["rsv"] == first & 0x70


@pytest.mark.parametrize("mask", [0, MASK])
@pytest.mark.parametrize("first", [0x01, 0x82, 0xC1])
def test_lengths_that_are_not_minimal(first: int, mask: int) -> None:
    for length in range(256):
        data = struct.pack("!BBH", first, mask | 126, length) + KEY
        assert fault(data) == ((4, "length_16") if length <= 125 else None)
    for length in (0, 1, 125, 126, 65_535):
        data = struct.pack("!BBQ", first, mask | 127, length) + KEY
        assert fault(data) == (8, "length_64")
    assert fault(struct.pack("!BBQ", first, mask | 127, 65_536) + KEY) is None


@pytest.mark.parametrize("length", [2**63, 2**63 + 1, 2**64 - 1])
def test_the_top_bit_of_a_length_is_seen_at_its_first_byte(length: int) -> None:
    assert fault(struct.pack("!BBQ", 0x82, 127, length)) == (3, "length_sign")


def test_a_length_just_below_the_sign_bit() -> None:
    assert fields(struct.pack("!BBQ", 0x82, 127, 2**63 - 1))["length"] == 2**63 - 1


def test_unusable_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="one byte"):
        kernels.frame_encode(256, 0)
    with pytest.raises(ValueError, match="four bytes"):
        kernels.frame_encode(0x81, 0, b"key")
