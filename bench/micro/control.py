"""The C loops of control.c and the marks of marks.c, by ctypes."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from fastws import Compression

BENCH = Path(__file__).resolve().parent.parent
LIBRARY = BENCH / "build" / "micro.so"

SIGNATURES: dict[str, tuple[object, tuple[object, ...]]] = {
    "control_copy": (ctypes.c_int, (ctypes.c_size_t, ctypes.c_size_t)),
    "control_unmask": (ctypes.c_int, (ctypes.c_size_t, ctypes.c_size_t)),
    "control_parse": (
        ctypes.c_long,
        (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p),
    ),
    "control_encode": (
        ctypes.c_long,
        (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p),
    ),
    "control_send": (
        ctypes.c_size_t,
        (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t),
    ),
    "control_drain": (ctypes.c_size_t, (ctypes.c_void_p, ctypes.c_size_t)),
    "control_deflater_new": (
        ctypes.c_void_p,
        (ctypes.c_int, ctypes.c_int, ctypes.c_int),
    ),
    "control_deflater_free": (None, (ctypes.c_void_p,)),
    "control_deflate": (
        ctypes.c_long,
        (
            *(ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t),
            *(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t),
        ),
    ),
    "marks_compiler": (ctypes.c_char_p, ()),
    "marks_available": (ctypes.c_int, ()),
    "marks_start": (None, ()),
    "marks_toggle": (None, ()),
    "marks_zero": (None, ()),
    "marks_dump": (None, (ctypes.c_char_p,)),
}


def build() -> None:
    """Bring the library up to date; an error of the compiler ends it."""
    command = ["make", "--quiet", "-C", str(BENCH), "build/micro.so"]
    subprocess.run(command, check=True)


@cache
def library() -> ctypes.CDLL:
    """The library as it was built; calls into it keep the GIL, as the engine does."""
    loaded = ctypes.PyDLL(str(LIBRARY))
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


def build_for_valgrind() -> None:
    """The same; again when valgrind's header came after the library."""
    build()
    if library().marks_available() < 0:
        LIBRARY.unlink()
        build()


def compiler() -> str:
    """What compiled the library: the engine's compiler, unless ``CC`` said otherwise
    to only one of them."""
    name: bytes = library().marks_compiler()
    return name.decode()


class Descriptors:
    """Sockets' numbers as C reads them."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = (ctypes.c_int * len(numbers))(*numbers)

    def send(self, data: bytes) -> int:
        """Send the same bytes to each; how many took them all."""
        count: int = library().control_send(
            self._numbers, len(self._numbers), data, len(data)
        )
        return count

    def drain(self) -> int:
        """Take what has arrived at each; how many bytes that was."""
        size: int = library().control_drain(self._numbers, len(self._numbers))
        return size


class Room:
    """Memory that the C loops write to."""

    def __init__(self, size: int) -> None:
        self._memory = ctypes.create_string_buffer(size)
        self._view = memoryview(self._memory)

    def parse(self, data: bytes) -> int:
        """Unmask every frame; how many there were."""
        frames: int = library().control_parse(data, len(data), self._memory)
        return frames

    def encode(self, payload: bytes, rounds: int) -> int:
        """Write frames behind each other; how many bytes they are."""
        size: int = library().control_encode(
            payload, len(payload), rounds, self._memory
        )
        return size

    def encoded(self, payload: bytes, rounds: int) -> memoryview:
        """The same, and the bytes themselves, until the next call."""
        return self._view[: self.encode(payload, rounds)]


class Deflater:
    """A zlib stream with the settings of a ``Compression``."""

    def __init__(self, rule: Compression) -> None:
        self._stream = library().control_deflater_new(
            rule.level, rule.window_bits, rule.memory_level
        )
        if not self._stream:
            raise MemoryError("no zlib here, or no memory for it")

    def compress(self, data: bytes, size: int, keeps_window: bool) -> int:
        """Compress messages of one size that lie behind each other; how many bytes
        they became, the ends of their flushes included."""
        room = ctypes.create_string_buffer(2 * size + 64)
        total: int = library().control_deflate(
            *(self._stream, data, size, len(data) // size, keeps_window),
            *(room, len(room)),
        )
        return total

    def close(self) -> None:
        library().control_deflater_free(self._stream)


def copy(length: int, rounds: int) -> None:
    """memcpy, again and again."""
    if library().control_copy(length, rounds):
        raise MemoryError


def unmask(length: int, rounds: int) -> None:
    """XOR with a key, a byte at a time."""
    if library().control_unmask(length, rounds):
        raise MemoryError
