"""Several generators: forked, working over one board, their tallies collected."""

from __future__ import annotations

import contextlib
import mmap
import os
import pickle
import select
import signal
from collections.abc import Callable, Iterator
from typing import Any

from . import generator

__all__ = ["run_processes"]

_TELL_INTERVAL = 0.1  # seconds
_GRACE = 10.0  # seconds that a generator has to end once it was told to

Tally = dict[str, Any]

# What a process says that gave up because of another.
_CONSEQUENCES = ("another process failed", "stopped")


def run_processes(
    plan: dict[str, Any], board: mmap.mmap, tell: Callable[[], None]
) -> list[Tally]:
    """Fork one generator per process and return what each counted.

    The first is the one whose error stands, where there are errors. They are forked
    from the calling thread; a program with other threads should run this in a process
    of its own.
    """
    with _wakes(plan["processes"]) as wakes:
        generator.set_wakes(board, wakes)
        family = _Family(plan, board)
        try:
            family.fork()
            family.wait(tell)
        except BaseException:
            generator.stop(board)
            family.wait_or_kill()
            raise
    return sorted(family.tallies, key=lambda one: one["error"] in _CONSEQUENCES)


@contextlib.contextmanager
def _wakes(count: int) -> Iterator[list[int]]:
    """An eventfd for each process, by which the others wake it."""
    made: list[int] = []
    try:
        flags = os.EFD_CLOEXEC | os.EFD_NONBLOCK
        made.extend(os.eventfd(0, flags) for _ in range(count))
        yield made
    finally:
        for descriptor in made:
            os.close(descriptor)


class _Family:
    """The forked processes and the pipes through which they answer."""

    def __init__(self, plan: dict[str, Any], board: mmap.mmap) -> None:
        self._plan = plan
        self._board = board
        self._pids: dict[int, int] = {}  # by the pipe's descriptor
        self._answers: dict[int, bytearray] = {}
        self.tallies: list[Tally] = []

    def fork(self) -> None:
        for share in range(self._plan["processes"]):
            readable, writable = os.pipe()
            pid = os.fork()
            if pid == 0:
                self._work(share, writable)
            os.close(writable)
            self._pids[readable] = pid
            self._answers[readable] = bytearray()

    def _work(self, share: int, writable: int) -> None:
        """The child's whole life: nothing of the parent's is run or cleaned up."""
        code = 1
        try:
            # The parent is told as well, and tells the children.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            generator.end_with_parent()
            tally = generator.run(self._plan, self._board, share)
            with open(writable, "wb") as pipe:
                pickle.dump(tally, pipe)
            code = 0
        finally:
            os._exit(code)

    def wait(self, tell: Callable[[], None]) -> None:
        while self._pids:
            self._collect(_TELL_INTERVAL)
            tell()

    def wait_or_kill(self) -> None:
        for _ in range(int(_GRACE / _TELL_INTERVAL)):
            if not self._pids:
                return
            self._collect(_TELL_INTERVAL)
        for pid in self._pids.values():
            os.kill(pid, signal.SIGKILL)
        while self._pids:
            self._collect(_GRACE)

    def _collect(self, timeout: float) -> None:
        readable, _, _ = select.select(list(self._pids), [], [], timeout)
        for descriptor in readable:
            data = os.read(descriptor, 1 << 16)
            if data:
                self._answers[descriptor] += data
            else:
                self._bury(descriptor)

    def _bury(self, descriptor: int) -> None:
        pid = self._pids.pop(descriptor)
        os.close(descriptor)
        _, status = os.waitpid(pid, 0)
        answer = bytes(self._answers.pop(descriptor))
        if os.waitstatus_to_exitcode(status) == 0:
            # From our own child, through a pipe that nobody else has.
            self.tallies.append(pickle.loads(answer))
            return
        generator.stop(self._board)
        code = os.waitstatus_to_exitcode(status)
        self.tallies.append({"error": f"a process of the load generator ended: {code}"})
