"""Who else uses the cores of a run, and waiting until nobody does."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

# Others' share of the two cores above which a run is disturbed, and repeated.
FOREIGN_CPU = 0.10
SAMPLE = 0.2  # seconds of silence before a run starts

Cores = frozenset[int]


def tick() -> float:
    return 1 / os.sysconf("SC_CLK_TCK")


def busy_seconds(cores: Cores, stat: str | None = None) -> float:
    """CPU time that anybody spent on these cores, a hypervisor's neighbours too."""
    names = {f"cpu{core}" for core in cores}
    ticks = 0
    for line in (stat or Path("/proc/stat").read_text()).splitlines():
        name, *fields = line.split()
        if name in names:
            user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
            ticks += user + nice + system + irq + softirq + steal
    return ticks * tick()


def process_seconds(pid: int) -> float:
    """CPU time of one process and of its children that it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) * tick()


def tree(pid: int) -> list[int]:
    """A process and its living descendants, parents first."""
    found = [pid]
    for parent in found:
        for thread in Path(f"/proc/{parent}/task").glob("*/children"):
            # A thread may end between being listed and being read.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found += map(int, thread.read_text().split())
    return found


def tree_seconds(pid: int) -> float:
    seconds = 0.0
    for member in tree(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            seconds += process_seconds(member)
    return seconds


@dataclass
class Watch:
    """What was seen while a run lasted."""

    foreign_cpu: float = 0.0  # others' share, of one core


@contextlib.contextmanager
def watching(cores: Cores, server_pid: int) -> Iterator[Watch]:
    """Fills in, at the end, the share of the cores that others took."""
    watch = Watch()

    def others() -> float:
        mine = resource.getrusage(resource.RUSAGE_CHILDREN)
        load = mine.ru_utime + mine.ru_stime
        return busy_seconds(cores) - tree_seconds(server_pid) - load

    started, before = time.monotonic(), others()
    yield watch
    elapsed = time.monotonic() - started
    watch.foreign_cpu = max(0.0, (others() - before) / elapsed)


def wait_until_quiet(
    cores: Cores,
    patience: float,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
    busy: Callable[[Cores], float] = busy_seconds,
) -> bool:
    """Returns whether nobody uses the cores; False when patience has run out."""
    deadline = clock() + patience
    while True:
        before = busy(cores)
        pause(SAMPLE)
        if busy(cores) - before <= FOREIGN_CPU * SAMPLE:
            return True
        if clock() >= deadline:
            return False
