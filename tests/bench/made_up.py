"""Results that nobody measured, for tests of the statistics and the report."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from bench.scenarios.runs import About, Run, ServerNote
from bench.scenarios.scenarios import SCENARIOS, Scenario
from bench.wire import KINDS, Held, Sent, Wire

OURS = ("fastws", "fastws-async")


def note(name: str, **changes: Any) -> ServerNote:
    given: dict[str, Any] = {
        "name": name,
        "language": "C",
        "version": "1.2",
        "note": "its fast way",
        "is_ours": name in OURS,
        "can": ["channels", "echo", "fanout"],
    }
    return ServerNote(**given | changes)


def about(*servers: ServerNote, **changes: Any) -> About:
    given: dict[str, Any] = {
        "machine": {"processor": "Made-up 9000", "cores": 2, "python": "CPython 3"},
        "settings": {
            "duration": 1.0,
            "warm-up": 0.3,
            "server core": 0,
            "load core": 1,
            "real-time priority": False,
        },
        "servers": list(servers),
        "revision": "abc1234",
        "date": "2001-01-01T00:00+00:00",
        "command": "python -m bench.scenarios --rounds 7",
    }
    return About(**given | changes)


def result(
    scenario: Scenario, value: float, *, server: float = 1.0, load: float = 0.5
) -> dict[str, Any]:
    """What the load generator might have said, with `value` as the figure."""
    latency = {"p50": 500.0, "p99": 1500.0, "p99.9": 2500.0, "max": 9000.0}
    if scenario.value == "p99":
        latency |= {"p50": value / 2, "p99": value, "p99.9": 2 * value}
    made: dict[str, Any] = {
        "mode": scenario.mode,
        "error": None,
        "seconds": 1.0,
        "operations": 100_000,
        "per_second": 100_000.0,
        "bytes_per_frame": 66.0,
        "server_cpu": server,
        "load_cpu": load,
        "latency_us": latency,
    }
    if scenario.mode == "idle":
        del made["latency_us"]
    if scenario.value == "per_second":
        made |= {"operations": int(value), "per_second": value}
    elif scenario.value == "server_cpu":
        made["server_cpu"] = value / 100
    elif scenario.value != "p99":
        made[scenario.value] = value
    return made


def run(
    scenario: str, server: str, number: int, value: float | None, **changes: Any
) -> Run:
    """One run; without a value it failed."""
    cpu = {
        key: changes.pop(key) for key in ("server_cpu", "load_cpu") if key in changes
    }
    shares = {"server": cpu.get("server_cpu", 1.0), "load": cpu.get("load_cpu", 0.5)}
    if value is None:
        given: dict[str, Any] = {"result": {}, "error": "connection 7 was reset"}
    else:
        given = {"result": result(SCENARIOS[scenario], value, **shares)}
    return Run(scenario=scenario, server=server, round=number, **given | changes)


def runs(
    scenario: str, values: Mapping[str, list[float | None]], **changes: Any
) -> list[Run]:
    """Runs of several servers, a value per round."""
    return [
        run(scenario, server, number, value, **changes)
        for server, those in values.items()
        for number, value in enumerate(those)
    ]


def noisy(value: float, source: random.Random, rounds: int = 7) -> list[float | None]:
    return [value * source.gauss(1, 0.02) for _ in range(rounds)]


def wire(to_plain: float = 0.19, compressions: float = 1.0) -> Wire:
    """What bench.wire might have found; the arguments are the cohort's."""

    def sent(kind: str, bytes_each: float, ratio: float, times: float) -> Sent:
        return Sent(
            kind=kind,
            title=KINDS[kind].title,
            subscribers=100,
            publications=2000,
            size=137,
            bytes_each=float(bytes_each),
            to_plain=float(ratio),
            compressions=float(times),
            microseconds=4.5 * times,
        )

    return Wire(
        zlib="1.3",
        revision="abc1234",
        date="2001-01-01T00:00+00:00",
        command="python -m bench.wire",
        sent=[
            sent("plain", 141, 1, 0),
            sent("alone", 116, 0.82, 1),
            sent("cohort", 26, to_plain, compressions),
        ],
        held=[Held(kind.name, kind.title, 4000, 717.0) for kind in KINDS.values()],
    )
