"""Writes docs/benchmarks.md and its charts.

python -m bench.report FILE.jsonl   of the runs in a file of bench.scenarios
python -m bench.report              of docs/benchmarks/results.json, again
python -m bench.report --wire FILE  with what bench.wire has found, else as stored
python -m bench.report --check      says whether the page is what would be written
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from msgspec import structs

from ..scenarios.statistics import Results
from .charts import charts
from .collect import decode, encode, from_file, wire_from
from .markdown import FOLDER, page

DOCS = Path(__file__).resolve().parents[2] / "docs"


def stored_at(docs: Path) -> Path:
    return docs / FOLDER / "results.json"


def render(results: Results, docs: Path) -> dict[Path, str]:
    """Everything that follows from the results, by the file it belongs in."""
    files = {docs / FOLDER / name: text for name, text in charts(results).items()}
    return files | {docs / f"{FOLDER}.md": page(results)}


def write(results: Results, docs: Path) -> None:
    """The stored results first: the page can always be made again from them."""
    folder = docs / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    stored_at(docs).write_bytes(encode(results))
    files = render(results, docs)
    for chart in folder.glob("*.svg"):
        if chart not in files:
            chart.unlink()
    for path, text in files.items():
        path.write_text(text)


def stale(docs: Path) -> list[Path]:
    """Files that don't say what the stored results say, and charts of nothing."""
    files = render(decode(stored_at(docs).read_bytes()), docs)
    differing = [
        path
        for path, text in files.items()
        if not path.exists() or path.read_text() != text
    ]
    return differing + [
        chart for chart in (docs / FOLDER).glob("*.svg") if chart not in files
    ]


def wanted(runs: Path | None, wire: Path | None, docs: Path) -> Results:
    """Of these files; what is not given is as it is stored."""
    stored = stored_at(docs)
    before = decode(stored.read_bytes()) if stored.exists() else None
    if runs is not None:
        results = from_file(runs)
    elif before is not None:
        results = before
    else:
        raise SystemExit(f"{stored} is missing: name a file of runs")
    if wire is not None:
        return structs.replace(results, wire=wire_from(wire))
    return structs.replace(results, wire=before.wire if before else None)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.report", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("runs", type=Path, nargs="?", help="written by bench.scenarios")
    parser.add_argument("--wire", type=Path, help="written by bench.wire")
    parser.add_argument(
        "--docs", type=Path, default=DOCS, help="the folder to write to"
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    if options.check:
        differing = stale(options.docs)
        for path in differing:
            print(f"differs from the stored results: {path}")
        return 1 if differing else 0
    write(wanted(options.runs, options.wire, options.docs), options.docs)
    print(f"written: {options.docs / FOLDER}.md")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
