"""One run: the URL resolved, the generators started and watched, results merged."""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .errors import LoadError
from .options import Options
from .plan import make_plan
from .result import Result

__all__ = ["Progress", "run"]

# Descriptors that are no connections: standard ones, epoll, pipes.
_SPARE_DESCRIPTORS = 64


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands: told some ten times a second while it lasts."""

    phase: str  # "opening", "warm-up", "running", "draining", "closing", "over"
    elapsed: float  # seconds since the run began
    opened: int  # connections opened so far
    connections: int  # that are to be opened
    operations: int  # echoes, deliveries or handshakes so far, warm-up included
    publications: int


Watch = Callable[[Progress], None]


def run(options: Options, progress: Watch | None = None) -> Result:
    """Do what the options say and return the result.

    ``progress`` is called about ten times a second. Raises LoadError for every fault
    that was found, and KeyboardInterrupt when interrupted, with all connections closed.
    """
    if not sys.platform.startswith("linux"):
        raise LoadError("the load generator needs Linux: it waits with epoll")
    plan = make_plan(options)
    with _board(plan) as board, _enough_descriptors(options):
        watch = _Watch(board, options, progress)
        if options.processes == 1:
            tallies = [watch.run_here(plan)]
        else:
            # Only here: it forks, which a run of one process must not need.
            from .processes import run_processes

            tallies = run_processes(plan, board, watch.tell)
    for tally in tallies:
        if tally["error"] is not None:
            raise LoadError(tally["error"])
    return Result.merge([Result.from_tally(options, tally) for tally in tallies])


class _Watch:
    """Reads the board, and tells who wants to know."""

    def __init__(self, board: mmap.mmap, options: Options, progress: Watch | None):
        self._board = board
        self._processes = options.processes
        self._connections = total_connections(options)
        self._progress = progress
        self._started = time.monotonic()

    def run_here(self, plan: dict[str, Any]) -> dict[str, Any]:
        from . import generator

        watch = self.tell if self._progress is not None else None
        return generator.run(plan, self._board, 0, watch)

    def tell(self) -> None:
        if self._progress is None:
            return
        from . import generator

        places = [
            generator.read_place(self._board, share) for share in range(self._processes)
        ]
        phase, opened, operations, publications = zip(*places, strict=True)
        self._progress(
            Progress(
                phase=generator.PHASES[min(phase)],
                elapsed=time.monotonic() - self._started,
                opened=sum(opened),
                connections=self._connections,
                operations=sum(operations),
                publications=sum(publications),
            )
        )


# --- what is there to be had ------------------------------------------------------


@contextlib.contextmanager
def _board(plan: dict[str, Any]) -> Iterator[mmap.mmap]:
    from . import generator

    size = generator.board_size(plan["publishers"], plan["depth"], plan["processes"])
    with mmap.mmap(-1, size) as board:
        yield board


def total_connections(options: Options) -> int:
    """How many connections are held at once, visitors not counted."""
    if options.mode == "mixed":
        return options.connections + options.receivers
    return options.connections


@contextlib.contextmanager
def _enough_descriptors(options: Options) -> Iterator[None]:
    """Raise the soft limit for the time of the run, as far as the hard one allows."""
    wanted = math.ceil(total_connections(options) / options.processes)
    wanted += _SPARE_DESCRIPTORS + (options.parallel if options.churn else 0)
    wanted += _open_descriptors()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if wanted > hard != resource.RLIM_INFINITY:
        raise LoadError(
            f"{wanted} open files are needed and {hard} allowed: raise the limit "
            "(ulimit -n), use more --processes or fewer --connections"
        )
    if soft == resource.RLIM_INFINITY or wanted <= soft:
        yield
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
