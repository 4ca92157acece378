"""The example that measures compression, and what the manual prints of it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "examples" / "compression.py"
PRINTED = re.compile(r"^(.+?) {2,}(\d+) +([\d.]+) +([\d.]+)$", re.MULTILINE)
DOCUMENTED = re.compile(r"^\| (.+?) \| (\d+) \| ([\d.]+) \| ([\d.]+) \|$", re.MULTILINE)


def measured(*files: Path) -> list[tuple[str, int, float, float]]:
    result = subprocess.run(
        [sys.executable, PROGRAM, *files],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return rows(PRINTED.findall(result.stdout))


def rows(found: list[tuple[str, str, str, str]]) -> list[tuple[str, int, float, float]]:
    return [
        (name, int(size), float(alone), float(together))
        for name, size, alone, together in found
    ]


def test_the_manual_has_the_sizes_that_the_example_measures() -> None:
    page = (ROOT / "docs" / "compression.md").read_text()
    expected = rows(DOCUMENTED.findall(page))
    assert len(expected) == 4
    for here, there in zip(measured(), expected, strict=True):
        assert here[:2] == there[:2]
        # Another zlib finds a little more or less.
        assert here[2:] == pytest.approx(there[2:], abs=0.03)


def test_the_example_measures_messages_of_the_readers_own(tmp_path: Path) -> None:
    alike, empty = tmp_path / "alike", tmp_path / "empty"
    alike.write_text("the same line again and again\n\n" * 100)
    ((name, size, alone, together),) = measured(alike)
    assert (name, size) == (str(alike), 29)
    assert together < 0.2 < alone
    empty.write_text("\n\n")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        measured(empty)
    assert f"{empty} has no messages in it" in failed.value.stderr
