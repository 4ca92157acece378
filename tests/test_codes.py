"""codes: the numbers are RFC 6455's, and the C header has the same ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastws import CloseCode, Opcode, codes

FRAME_H = Path(codes.__file__).parent / "csrc" / "frame.h"


def test_opcodes_are_those_of_the_rfc() -> None:
    assert {code.name: code.value for code in Opcode} == {
        "CONTINUATION": 0,
        "TEXT": 1,
        "BINARY": 2,
        "CLOSE": 8,
        "PING": 9,
        "PONG": 10,
    }


def test_close_codes_are_those_of_the_registry() -> None:
    assert sorted(CloseCode) == [
        *range(1000, 1004),
        *range(1005, 1015),
    ]


@pytest.mark.parametrize("code", [*Opcode, *CloseCode])
def test_codes_are_plain_integers_for_callers(code: int) -> None:
    assert isinstance(code, int)
    assert f"{code:d}" == str(int(code))


@pytest.mark.parametrize(
    ("prefix", "codes"), [("FASTWS_OP_", Opcode), ("FASTWS_CLOSE_", CloseCode)]
)
def test_the_c_header_has_the_same_numbers(
    prefix: str, codes: type[Opcode] | type[CloseCode]
) -> None:
    defined = re.findall(rf"\b{prefix}(\w+) = (\w+)", FRAME_H.read_text())
    assert {name: int(value, 0) for name, value in defined} == {
        code.name: code.value for code in codes
    }
