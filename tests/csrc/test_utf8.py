"""UTF-8 validation against Python's own decoder, for each instruction set."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.engine import kernels

ALL = ["auto", *kernels.utf8_implementations()]

# Both edges of every range in the table of RFC 3629 section 4, and what lies beside.
CLASSES = bytes.fromhex("00417f808f909fa0bfc0c1c2dfe0e1ecedeeeff0f1f3f4f5f8feff")

# What a vector kernel has to carry across its blocks.
FILLERS = {
    "ascii": b"a" * 110,
    "two": "é".encode() * 55,
    "three": "€".encode() * 36 + b"ab",
    "four": "😀".encode() * 27 + b"ab",
    "mixed": ("aé€😀" * 11).encode(),
}


# The last valid and the first invalid form beside each rule.
EDGES = "80 c0 c1 e09f e0a0 ed9fbf eda0 eda080 f08f f090 f48fbfbf f490 f5 ff"


def python_accepts(text: bytes) -> tuple[int, bool]:
    """The same answer for the text's single bytes, out of the decoder's complaint.

    Not from the incremental decoder: it takes a surrogate's second byte as well.
    """
    try:
        text.decode()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":
            return len(text), False
        invalid_start = error.reason == "invalid start byte"
        return error.start if invalid_start else error.end, False
    return len(text), True


def bytewise(text: bytes) -> list[bytes]:
    return [text[index : index + 1] for index in range(len(text))]


def check(text: bytes, implementation: str) -> None:
    """Whole and byte by byte, against Python."""
    accepted, complete = python_accepts(text)
    assert kernels.utf8_validate(bytewise(text), implementation) == (accepted, complete)
    whole = (1, complete) if accepted == len(text) else (0, False)
    assert kernels.utf8_validate([text], implementation) == whole, text


def test_the_oracle_is_listed_first() -> None:
    assert kernels.utf8_implementations()[:2] == ["naive", "scalar"]


@pytest.mark.parametrize("implementation", ALL)
def test_every_pair_of_bytes_fails_where_python_fails(implementation: str) -> None:
    for first, second in itertools.product(range(256), repeat=2):
        check(bytes((first, second)), implementation)


@pytest.mark.parametrize("size", [3, 4])
def test_every_sequence_of_edge_bytes_fails_where_python_fails(size: int) -> None:
    # Leads only: what follows ASCII or an invalid lead the pairs have shown.
    leads = [byte for byte in CLASSES if byte >= 0xC2]
    if size == 4:
        leads = [byte for byte in leads if byte >= 0xE0]
    tails = bytes.fromhex("417f808f909fa0bfc2edf4ff")
    for lead in leads:
        for rest in itertools.product(tails, repeat=size - 1):
            check(bytes((lead, *rest)), "naive")


@pytest.mark.parametrize("end", ["80", "bf", "8080", "bfbf", "8041", "41", "c3"])
def test_every_lead_and_second_byte_with_whole_and_broken_ends(end: str) -> None:
    for lead, second in itertools.product(range(0xC0, 0x100), range(256)):
        check(bytes((lead, second)) + bytes.fromhex(end), "auto")


@pytest.mark.parametrize("text", EDGES.split())
@pytest.mark.parametrize("implementation", ALL)
def test_the_first_impossible_byte_ends_it(implementation: str, text: str) -> None:
    for prefix in (*range(68), 95, 96, 97):
        for filler in ("a", "é", "😀"):
            check(filler.encode() * prefix + bytes.fromhex(text), implementation)
            check(filler.encode() * prefix + bytes.fromhex(text) + b"a", implementation)


@pytest.mark.parametrize("filler", FILLERS)
@pytest.mark.parametrize("implementation", kernels.utf8_implementations()[1:])
def test_four_edge_bytes_anywhere_in_a_block(implementation: str, filler: str) -> None:
    classes = bytes.fromhex("417f808f909fa0bfc1c2e0e1edf0f4f5")
    for position in range(30, 66):
        differs = kernels.sweep_utf8(classes, FILLERS[filler], position, implementation)
        assert differs is None, (position, differs)


@pytest.mark.parametrize("implementation", ALL)
def test_every_split_in_three(implementation: str) -> None:
    text = ("a€" * 9 + "😀é" * 9 + "x" * 40).encode()
    assert kernels.utf8_validate([text], implementation) == (1, True)
    for first in range(len(text) + 1):
        for second in range(first, len(text) + 1):
            pieces = [text[:first], text[first:second], text[second:]]
            assert kernels.utf8_validate(pieces, implementation) == (3, True)


@pytest.mark.parametrize("implementation", ALL)
def test_random_texts_with_random_damage_in_random_pieces(
    implementation: str, chance: random.Random
) -> None:
    for _ in range(4000):
        letters = chance.choices("aaaaabcé€日😀", k=chance.randrange(90))
        text = bytearray("".join(letters).encode())
        for _ in range(chance.choice((0, 0, 1, 2))):
            if text:
                text[chance.randrange(len(text))] = chance.choice(CLASSES)
        data = bytes(text)
        cuts = sorted(chance.choices(range(len(data) + 1), k=chance.randrange(4)))
        edges = [0, *cuts, len(data)]
        pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
        accepted, complete = python_accepts(data)
        if accepted == len(data):
            wanted = len(pieces), complete
        else:
            # The piece that holds the first impossible byte is refused, no later one.
            wanted = next(i for i, end in enumerate(edges[1:]) if end > accepted), False
        assert kernels.utf8_validate(pieces, implementation) == wanted, pieces


@pytest.mark.parametrize("implementation", ALL)
@given(text=st.text(max_size=200))
def test_any_text_is_valid(implementation: str, text: str) -> None:
    assert kernels.utf8_validate([text.encode()], implementation) == (1, True)


@pytest.mark.parametrize("implementation", ALL)
def test_an_empty_text_is_complete(implementation: str) -> None:
    assert kernels.utf8_validate([], implementation) == (0, True)
    assert kernels.utf8_validate([b"", b""], implementation) == (2, True)
    assert kernels.utf8_validate([b"\xe2", b"", b"\x82"], implementation) == (3, False)


def test_an_unknown_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="no UTF-8 kernel 'mmx'"):
        kernels.utf8_validate([b"a"], "mmx")
