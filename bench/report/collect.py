"""From the file of runs to the results that the report is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from ..scenarios.load import Clock, shown
from ..scenarios.runs import About, Run, RunFile, ServerNote
from ..scenarios.scenarios import SCENARIOS, Scenario
from ..scenarios.statistics import Judge, Results, Row
from ..wire import Wire


def servers_of(abouts: Sequence[About]) -> list[ServerNote]:
    """As the last measurement of the file found them."""
    found: dict[str, ServerNote] = {}
    for about in abouts:
        found |= {server.name: server for server in about.servers}
    return list(found.values())


def collect(
    abouts: Sequence[About],
    runs: Sequence[Run],
    scenarios: Mapping[str, Scenario] = SCENARIOS,
) -> Results:
    if not abouts:
        raise ValueError("the file says nothing about how its runs were taken")
    servers = servers_of(abouts)
    settings = abouts[-1].settings
    clock = Clock(float(settings["duration"]), float(settings["warm-up"]))
    ours = frozenset(server.name for server in servers if server.is_ours)
    judge = Judge(scenarios, runs, ours)
    rows: list[Row] = []
    for scenario in scenarios.values():
        if scenario.name in judge.runs:
            absent = [
                server.name
                for server in servers
                if not server.missing and not scenario.needs <= set(server.can)
            ]
            rows.append(judge.row(scenario, shown(scenario, clock), absent))
    return Results(abouts=list(abouts), servers=servers, rows=rows)


def from_file(path: Path) -> Results:
    abouts, runs = RunFile(path).read()
    return collect(abouts, runs)


def wire_from(path: Path) -> Wire:
    return msgspec.json.decode(path.read_bytes(), type=Wire)


# --- stored -----------------------------------------------------------------------


def encode(results: Results) -> bytes:
    """One entry a line, so that a change of one figure is a change of one line."""
    head = msgspec.json.encode({"abouts": results.abouts, "servers": results.servers})
    lines = [head[:-1]]
    if results.wire is not None:
        lines.append(b',"wire":' + msgspec.json.encode(results.wire))
    lines[-1] += b',"rows":['
    for index, row in enumerate(results.rows):
        bare = msgspec.to_builtins(row)
        entries = [msgspec.json.encode(entry) for entry in bare.pop("entries")]
        lines.append((b"," if index else b"") + msgspec.json.encode(bare)[:-1])
        lines.append(b' ,"entries":[')
        lines += [
            b"  " + (b"," if n else b"") + entry for n, entry in enumerate(entries)
        ]
        lines.append(b" ]}")
    return b"\n".join([*lines, b"]}", b""])


def decode(stored: bytes) -> Results:
    return msgspec.json.decode(stored, type=Results)
