"""The C program that calls the libraries, by ctypes, and Python's zlib as the judge."""

from __future__ import annotations

import ctypes
import subprocess
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
HARNESS = BENCH / "build" / "libraries.so"
FETCHED = BENCH / "build" / "libraries"
INSTALL = "bench/libraries/install.sh"

TAIL = b"\x00\x00\xff\xff"
REFUSED = -1


class MissingError(Exception):
    """A library that is not there."""


class RefusedError(Exception):
    """Settings that a library does not take."""


@dataclass(frozen=True)
class Library:
    """One of harness.c's table; the number is its place there."""

    number: int
    name: str
    pattern: str  # of the shared object, under FETCHED; an exact name is the system's
    package: str  # that brings it
    levels: tuple[int, ...]
    has_context: bool = True


LIBRARIES = (
    Library(0, "zlib", "libz.so.1", "", (1, 3, 6, 9)),
    Library(1, "zlib-ng", "zlib_ng/zlib_ng.*.so", "zlib-ng", (1, 2, 6, 9)),
    Library(2, "ISA-L", "isal/isal_zlib.*.so", "isal", (0, 1, 2, 3)),
    Library(3, "ISA-L stateless", "isal/isal_zlib.*.so", "isal", (0, 1, 2, 3), False),
    Library(4, "libdeflate", "deflate/_deflate.*.so", "deflate", (1, 6, 9, 12), False),
)
ZLIB = LIBRARIES[0]


class Settings(ctypes.Structure):
    _fields_ = [
        ("level", ctypes.c_int),
        ("window_bits", ctypes.c_int),
        ("memory_level", ctypes.c_int),
    ]


class Batch(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_char_p),
        ("ends", ctypes.c_void_p),
        ("count", ctypes.c_size_t),
        ("span", ctypes.c_size_t),
        ("out", ctypes.c_void_p),
        ("room", ctypes.c_size_t),
        ("out_ends", ctypes.c_void_p),
        ("memory", ctypes.c_size_t),
    ]


def build() -> None:
    """Bring the program up to date; an error of the compiler ends it."""
    command = ["make", "--quiet", "-C", str(BENCH), "build/libraries.so"]
    subprocess.run(command, check=True)


@cache
def harness() -> ctypes.CDLL:
    loaded = ctypes.PyDLL(str(HARNESS))
    loaded.harness_load.restype = ctypes.c_char_p
    loaded.harness_load.argtypes = (ctypes.c_int, ctypes.c_char_p)
    loaded.harness_version.restype = ctypes.c_char_p
    loaded.harness_version.argtypes = (ctypes.c_int,)
    loaded.harness_run.restype = ctypes.c_long
    loaded.harness_run.argtypes = (
        ctypes.c_int,
        ctypes.c_int,
        ctypes.POINTER(Settings),
        ctypes.POINTER(Batch),
    )
    return loaded


@cache
def load(library: Library) -> str:
    """Its version; MissingError says what would bring it."""
    path = library.pattern
    if library.package:
        found = sorted(FETCHED.glob(library.pattern))
        if not found:
            raise MissingError(f"not there: run {INSTALL}")
        path = str(found[0])
    if wrong := harness().harness_load(library.number, path.encode()):
        raise MissingError(wrong.decode())
    said: bytes | None = harness().harness_version(library.number)
    return said.decode() if said else binding(library.package)


def binding(package: str) -> str:
    """What the package calls itself: the library has no function that tells."""
    for found in metadata.distributions(path=[str(FETCHED)]):
        if found.name == package:
            return f"of the Python package {package} {found.version}"
    return "unknown"


@dataclass(frozen=True)
class Result:
    """What one pass over a batch took and made."""

    nanoseconds: float  # for a message
    size: int
    memory: int
    made: list[bytes]


def split(data: bytes, ends: Sequence[int]) -> Iterator[bytes]:
    start = 0
    for end in ends:
        yield data[start:end]
        start = end


class Bench:
    """A batch of messages in C's hands, passed over as often as wanted."""

    def __init__(self, messages: Sequence[bytes], room: int) -> None:
        self._data = b"".join(messages)
        self._count = len(messages)
        numbers = ctypes.c_size_t * self._count
        ends, end = numbers(), 0
        for number, message in enumerate(messages):
            end += len(message)
            ends[number] = end
        self._ends, self._out_ends = ends, numbers()
        self._out = ctypes.create_string_buffer(room)

    def run(
        self,
        library: Library,
        settings: tuple[int, int, int],
        *,
        span: int,
        inflates: bool = False,
        keep: bool = False,
    ) -> Result:
        """One pass; settings are level, window bits and memory level."""
        load(library)
        batch = Batch(
            data=self._data,
            ends=ctypes.addressof(self._ends),
            count=self._count,
            span=span,
            out=ctypes.addressof(self._out),
            room=len(self._out),
            out_ends=ctypes.addressof(self._out_ends),
        )
        took = harness().harness_run(
            library.number, int(inflates), Settings(*settings), batch
        )
        if took == REFUSED:
            raise RefusedError(f"{library.name} does not take {settings}")
        if took < 0:
            raise RuntimeError(f"{library.name} failed with {settings}")
        made = list(split(self._out.raw, list(self._out_ends))) if keep else []
        return Result(took / self._count, self._out_ends[-1], int(batch.memory), made)


def check(
    originals: Sequence[bytes],
    made: Sequence[bytes],
    span: int,
    window_bits: int = zlib.MAX_WBITS,
) -> None:
    """Python's zlib reads the messages as a client would; an error says which differs.

    A final block ends a stream: the next message then needs a new one, which a client
    that keeps its context may not make."""
    for number, (original, compressed) in enumerate(zip(originals, made, strict=True)):
        if number % span == 0:
            reader = zlib.decompressobj(-window_bits)
        if reader.decompress(compressed + TAIL) != original:
            raise ValueError(f"message {number} came back changed")
        if reader.eof and reader.unused_data != b"\x00" + TAIL:
            raise ValueError(f"message {number} does not end as RFC 7692 says")
