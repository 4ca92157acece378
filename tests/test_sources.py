"""The house style where no linter looks: sizes, stubs, imports, sleeps, paths."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("fastws", "tests", "examples", "bench", "ci", "docs", "js")
SKIPPED = {"build", "node_modules", "__pycache__"}
CODE = {".py", ".pyx", ".pxd", ".pyi", ".c", ".h", ".js", ".css", ".html", ".sh"}

MAX_FILE_LINES = 800
MAX_FUNCTION_LINES = 45
# The share of functions that must stay under it, and what none may pass.
SHORT_SHARE = 0.95
LONGEST_FUNCTION = 80

MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:work|root|farm|tmp|home)/[\w.-]")
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
STAR_IMPORT = re.compile(r"^\s*from\s+\S+\s+c?import\s+\*", re.MULTILINE)
ABSOLUTE_IMPORT = re.compile(r"^\s*(?:from|c?import)\s+fastws\b", re.MULTILINE)
SWALLOWED = re.compile(
    r"^(\s*)except(?:\s+(?:Base)?Exception)?\s*:\s*(?:#[^\n]*)?\n\1\s+pass\b",
    re.MULTILINE,
)
SLEEP = re.compile(r"\b(?:time|asyncio)\.sleep\((?!0\))")
DEFINITION = re.compile(r"^(\s*)(?:async\s+def|def|cdef|cpdef)\s(?!class\b)[^=]*\(")


def files(*suffixes: str, under: tuple[str, ...] = FOLDERS) -> Iterator[Path]:
    for folder in under:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in suffixes and not SKIPPED & set(path.parts):
                yield path


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


def matching(pattern: re.Pattern[str], paths: Iterator[Path]) -> list[str]:
    """Where a pattern occurs, as file:line."""
    found = []
    for path in paths:
        text = path.read_text()
        for match in pattern.finditer(text):
            line = text.count("\n", 0, match.end()) + 1
            found.append(f"{label(path)}:{line}")
    return found


def python_functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            last = node.end_lineno or node.lineno
            yield f"{label(path)}:{node.lineno}", last - node.lineno + 1


def cython_functions(path: Path) -> Iterator[tuple[str, int]]:
    """By indentation: a body ends at the next line that is not deeper."""
    lines = path.read_text().splitlines()
    for start, line in enumerate(lines):
        match = DEFINITION.match(line)
        if match is None:
            continue
        last = start
        for at in range(start + 1, len(lines)):
            text = lines[at]
            if not text.strip() or text.lstrip().startswith(")"):
                continue
            if len(text) - len(text.lstrip()) <= len(match[1]):
                break
            last = at
        yield f"{label(path)}:{start + 1}", last - start + 1


def functions() -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for path in files(".py"):
        found.extend(python_functions(path))
    for path in files(".pyx"):
        found.extend(cython_functions(path))
    return found


def test_no_file_is_a_giant() -> None:
    sizes = {label(path): len(path.read_text().splitlines()) for path in files(*CODE)}
    assert not {name: size for name, size in sizes.items() if size > MAX_FILE_LINES}


def test_functions_are_short() -> None:
    sizes = functions()
    long = [(where, size) for where, size in sizes if size > MAX_FUNCTION_LINES]
    assert len(long) <= (1 - SHORT_SHARE) * len(sizes), long
    assert not [entry for entry in long if entry[1] > LONGEST_FUNCTION]


def test_every_compiled_module_has_its_stub() -> None:
    sources = files(".pyx", under=("fastws",))
    assert not [
        label(path) for path in sources if not path.with_suffix(".pyi").exists()
    ]


def test_every_compiled_module_is_built() -> None:
    setup = (ROOT / "setup.py").read_text()
    unlisted = [
        label(path)
        for path in files(".pyx", under=("fastws",))
        if f'"{path.stem}"' not in setup
    ]
    assert not unlisted


def test_no_star_imports() -> None:
    assert not matching(STAR_IMPORT, files(".py", ".pyx", ".pxd", ".pyi"))


def test_the_package_imports_itself_relatively() -> None:
    own = files(".py", ".pyx", ".pxd", ".pyi", under=("fastws",))
    assert not matching(ABSOLUTE_IMPORT, own)


def test_no_error_is_swallowed() -> None:
    assert not matching(SWALLOWED, files(".py", ".pyx"))


def test_no_unfinished_business() -> None:
    others = (path for path in files(*CODE, ".md") if path != Path(__file__))
    assert not matching(UNFINISHED, others)


def test_no_path_of_one_machine() -> None:
    others = (path for path in files(*CODE, ".md") if path != Path(__file__))
    assert not matching(MACHINE_PATH, others)


def test_tests_wait_for_signals_not_for_time() -> None:
    others = (path for path in files(".py", under=("tests",)) if path != Path(__file__))
    assert not matching(SLEEP, others)
