"""python -m bench.libraries [--output FILE.json] [--markdown]"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from ..scenarios.machine import describe
from . import measure, native, sweep
from .corpus import SEED
from .markdown import page


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.libraries")
    parser.add_argument("--output", type=Path, help="file for the results, as JSON")
    parser.add_argument(
        "--read", type=Path, help="results of before, not measured anew"
    )
    parser.add_argument("--markdown", action="store_true", help="print the page")
    parser.add_argument("--rounds", type=int, default=measure.ROUNDS)
    parser.add_argument("--sweep-rounds", type=int, default=sweep.ROUNDS)
    parser.add_argument("--core", type=int, help="to measure on; the last one allowed")
    return parser.parse_args()


def pin(core: int | None) -> None:
    """Changing cores in a burst would empty its caches."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(
            0, {max(os.sched_getaffinity(0)) if core is None else core}
        )


def measured(rounds: int, sweep_rounds: int) -> dict[str, Any]:
    versions, missing = measure.look()
    print(f"libraries: seed {SEED}", file=sys.stderr)
    for name, reason in missing.items():
        print(f"libraries: {name}: {reason}", file=sys.stderr)
    libraries = measure.present(missing)
    return {
        "seed": SEED,
        "rounds": rounds,
        "sweep_rounds": sweep_rounds,
        "machine": describe(),
        "versions": versions,
        "missing": missing,
        "memory": sweep.memory(),
        "least_memory": measure.least_memory(libraries),
        "rows": measure.compare(libraries, rounds),
        "sweep": sweep.sweep(sweep_rounds),
    }


def compact(results: dict[str, Any]) -> str:
    """One line for each row: small, and a change shows where it is."""
    lines = []
    for name, value in results.items():
        if isinstance(value, list):
            rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in value)
            lines.append(f"{json.dumps(name)}: [\n{rows}\n]")
        else:
            lines.append(f"{json.dumps(name)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> None:
    options = arguments()
    if options.read:
        results = json.loads(options.read.read_text())
    else:
        native.build()
        pin(options.core)
        results = measured(options.rounds, options.sweep_rounds)
    if options.output:
        options.output.write_text(compact(results))
    if options.markdown or not options.output:
        print("\n".join(page(results)))


if __name__ == "__main__":
    main()
