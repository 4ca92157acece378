"""The allocator that refuses, see ``failing.c``: built, preloaded, and told when.

    command, environment = preloaded(folder, "-m", "tests.engine.scarce")

In the process that this starts, ``Allocator`` is what it asks.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
# It stands on names of glibc's.
AVAILABLE = sys.platform == "linux" and "CS_GNU_LIBC_VERSION" in os.confstr_names


def preloaded(folder: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of a Python with the allocator in it."""
    library = folder / "failing.so"
    compiler = os.environ.get("CC", "cc").split()
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*compiler, *options, "-o", library, SOURCE], check=True)
    environment = dict(os.environ, LD_PRELOAD=str(library))
    return [sys.executable, *arguments], environment


class Allocator:
    """Of this process: whether the engine's own requests are refused, and which."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.failing_place.restype = ctypes.c_size_t
        self._library.failing_watch.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
        self._library.failing_after.argtypes = [ctypes.c_long]
        self._plenty = False
        self._modules: list[tuple[int, int, str]] = []
        for line in Path("/proc/self/maps").read_text().splitlines():
            fields = line.split()
            if "x" in fields[1] and "/fastws/engine/" in line:
                start, end = (int(part, 16) for part in fields[0].split("-"))
                assert self._library.failing_watch(start, end) == 0
                name = Path(fields[5]).name.partition(".")[0]
                self._modules.append((start, end, name))

    def refuse_after(self, requests: int) -> None:
        """Of the next so many, the last; 0: none."""
        if not self._plenty:
            self._library.failing_after(requests)

    @property
    def is_armed(self) -> bool:
        return bool(self._library.failing_left())

    @property
    def refused(self) -> int:
        return int(self._library.failing_refused())

    @property
    def places(self) -> list[str]:
        """Where requests came from that were refused: modules, once for each place."""
        found = []
        for number in range(self._library.failing_places()):
            place = self._library.failing_place(number)
            for start, end, name in self._modules:
                if start <= place < end:
                    found.append(name)
        return sorted(found)

    @contextmanager
    def plenty(self) -> Iterator[None]:
        """Nothing is refused in here."""
        left = self._library.failing_left()
        self.refuse_after(0)
        self._plenty = True
        try:
            yield
        finally:
            self._plenty = False
            self.refuse_after(left)
