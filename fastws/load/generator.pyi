"""The load generator in C: one thread, one epoll, and the GIL released.

``runner`` is the way to use it. Several processes work together over one board: memory
that they share, made before the first of them is forked. Only on Linux.
"""

from collections.abc import Callable, Mapping, Sequence
from mmap import mmap
from typing import Any

PHASES: tuple[str, ...]
"""What `Place.phase` counts: opening, warm-up, running, draining, closing, over."""

def board_size(publishers: int, depth: int, processes: int) -> int:
    """Bytes of a board; all zeros is how it begins."""

def set_wakes(board: mmap, wakes: Sequence[int]) -> None:
    """Write the eventfd of each process onto the board, where there are several."""

def read_place(board: mmap, share: int) -> tuple[int, int, int, int]:
    """Phase, connections opened, operations and publications of one process so far."""

def stop(board: mmap) -> None:
    """Tell all processes to give up; they fail with "stopped"."""

def end_with_parent() -> None:
    """Let the kernel kill this process when its parent ends."""

def run(
    plan: Mapping[str, Any],
    board: mmap,
    share: int,
    watch: Callable[[], object] | None = None,
) -> dict[str, Any]:
    """Run one process's share of the plan; return its tally.

    The plan has the fields of ``load_options`` in load.h, ``texts`` as one tuple per
    channel: request, publisher's request, first message (or None), and what stands
    before and after each message. ``watch`` is called ten times a second; what it
    raises ends the run and is raised here, and so is KeyboardInterrupt. The tally has
    the fields of ``load_result``; ``error`` is None or what was wrong.
    """
