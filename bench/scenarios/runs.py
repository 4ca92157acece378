"""The record of a run, and the file in which runs are kept.

The file has one JSON record a line and only grows, so that what was measured survives
an interruption. `about` lines say under what circumstances the runs after them were
taken; a file never mixes machines, versions or settings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from .quiet import FOREIGN_CPU


class ServerNote(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the report says about a server."""

    name: str
    language: str
    version: str
    note: str
    source: str = ""
    can: list[str] = []
    is_ours: bool = False
    missing: str = ""  # why it can't be run here; empty: it can


class About(msgspec.Struct, frozen=True, tag="about", tag_field="kind"):
    """Circumstances: the machine, the versions, the settings."""

    machine: dict[str, str | int]
    settings: dict[str, float | int | str | bool]
    servers: list[ServerNote]
    revision: str
    date: str  # of the start, ISO 8601, UTC
    command: str

    def conflicts(self, other: About) -> list[str]:
        """What must not differ between the runs of one file, but does."""
        found = []
        for part in ("machine", "settings"):
            mine, theirs = getattr(self, part), getattr(other, part)
            found += [
                f"{key}: {theirs.get(key)} then, {mine.get(key)} now"
                for key in sorted(mine.keys() | theirs.keys())
                if mine.get(key) != theirs.get(key)
            ]
        versions = {server.name: server.version for server in other.servers}
        for server in self.servers:
            then = versions.get(server.name, server.version)
            if then != server.version:
                found.append(f"{server.name}: {then} then, {server.version} now")
        return found


class Run(msgspec.Struct, frozen=True, tag="run", tag_field="kind"):
    """One run: a fresh server met the load generator once."""

    scenario: str
    server: str
    round: int
    result: dict[str, Any]  # of the load generator; empty when it failed
    error: str = ""
    foreign_cpu: float = 0.0
    attempts: int = 1

    @property
    def is_quiet(self) -> bool:
        return self.foreign_cpu <= FOREIGN_CPU

    @property
    def place(self) -> tuple[str, str, int]:
        return self.scenario, self.server, self.round


class RunFile:
    """Runs on disk. Appending is one write and a flush to the disk's cache."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        return self.path.exists() and self.path.stat().st_size > 0

    def append(self, record: About | Run) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(msgspec.json.encode(record) + b"\n")

    def read(self) -> tuple[list[About], list[Run]]:
        """All complete lines; a last one cut off by an interruption is dropped."""
        *lines, rest = self.path.read_bytes().split(b"\n")
        if rest:
            with self.path.open("r+b") as file:
                file.truncate(sum(len(line) + 1 for line in lines))
        decoder = msgspec.json.Decoder(About | Run)
        abouts: list[About] = []
        runs: dict[tuple[str, str, int], Run] = {}
        for line in lines:
            record = decoder.decode(line)
            if isinstance(record, About):
                abouts.append(record)
            else:
                runs[record.place] = record
        return abouts, list(runs.values())
