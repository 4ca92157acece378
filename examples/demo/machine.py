"""What this machine is doing, as its kernel tells it in /proc.

Where /proc is missing (macOS) the figures are missing too, and the page says so.
"""

import os
from pathlib import Path

PROC = Path("/proc")


def cores() -> int:
    return os.cpu_count() or 1


def counters() -> dict[str, int]:
    """What only grows: processor time in kernel ticks, network traffic in bytes."""
    return {**_processor(), **_network()}


def memory_used() -> int | None:
    """Bytes that are in use and could not be given to somebody else."""
    fields = _memory()
    return fields["MemTotal"] - fields["MemAvailable"] if fields else None


def memory_total() -> int | None:
    return _memory().get("MemTotal")


def _memory() -> dict[str, int]:
    fields = (line.split() for line in _lines("meminfo"))
    return {field[0].rstrip(":"): int(field[1]) * 1024 for field in fields}


def _processor() -> dict[str, int]:
    for line in _lines("stat"):
        if line.startswith("cpu "):
            # user nice system idle iowait irq softirq steal; guest is part of user.
            ticks = [int(field) for field in line.split()[1:9]]
            idle = ticks[3] + ticks[4]
            return {"cpu_busy": sum(ticks) - idle, "cpu_total": sum(ticks)}
    return {}


def _network() -> dict[str, int]:
    lines = _lines("net/dev")[2:]
    interfaces = dict(line.split(":", 1) for line in lines)
    figures = [
        figures.split() for name, figures in interfaces.items() if name.strip() != "lo"
    ]
    if not figures:
        return {}
    return {
        "network_in": sum(int(fields[0]) for fields in figures),
        "network_out": sum(int(fields[8]) for fields in figures),
    }


def _lines(name: str) -> list[str]:
    path = PROC / name
    return path.read_text().splitlines() if path.exists() else []
