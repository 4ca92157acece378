"""Request bodies: where one ends, and that it is no larger than allowed.

``feed`` takes bytes as they arrive and gives the position behind the body, or -1 when
it needs more. What follows a body is the next request, so a body of which two readers
could disagree where it ends is refused (RFC 9112 section 11.2, request smuggling).
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Protocol

from ..config import Limits
from ..engine.handshake import Refused

__all__ = ["Body", "ChunkedBody", "SizedBody"]

# A chunk's size with its extensions, which nobody uses: they are checked and dropped.
_MAX_SIZE_LINE = 256
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")

# Framing may take this much beside as many bytes as the content has: chunks of a few
# bytes each cost more to read than they carry.
_FREE_FRAMING = 16_384


class Body(Protocol):
    def feed(self, data: bytes | bytearray, start: int) -> int:
        """Take what belongs to the body; Refused when it is malformed or too large."""

    def content(self) -> bytes:
        """The whole body, once ``feed`` has found its end."""


class SizedBody:
    """A body with a Content-Length."""

    def __init__(self, length: int, limits: Limits) -> None:
        _check_size(length, limits)
        self._missing = length
        self._content = bytearray()

    def feed(self, data: bytes | bytearray, start: int) -> int:
        end = min(len(data), start + self._missing)
        self._content += data[start:end]
        self._missing -= end - start
        return -1 if self._missing else end

    def content(self) -> bytes:
        return bytes(self._content)


class _State(Enum):
    """SIZE ──► DATA ──► DATA_END ──► SIZE … ──(size 0)──► TRAILER ──► COMPLETE"""

    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILER = auto()
    COMPLETE = auto()


class ChunkedBody:
    """A body in chunks (RFC 9112 section 7.1), every line end a CRLF."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._state = _State.SIZE
        self._line = bytearray()
        self._missing = 0
        self._framing = 0
        self._trailer_bytes = 0
        self._trailers = 0
        self._content = bytearray()

    def feed(self, data: bytes | bytearray, start: int) -> int:
        size = len(data)
        while start < size and self._state is not _State.COMPLETE:
            if self._state is _State.DATA:
                start = self._read_data(data, start)
            else:
                start = self._read_line(data, start)
        return start if self._state is _State.COMPLETE else -1

    def content(self) -> bytes:
        return bytes(self._content)

    def _read_data(self, data: bytes | bytearray, start: int) -> int:
        end = min(len(data), start + self._missing)
        self._content += data[start:end]
        self._missing -= end - start
        if not self._missing:
            self._state = _State.DATA_END
        return end

    def _read_line(self, data: bytes | bytearray, start: int) -> int:
        limit = self._line_limit()
        # The two bytes of the line end come on top of the line's own limit.
        room = limit + 2 - len(self._line)
        found = data.find(b"\n", start, start + room)
        end = min(len(data), start + room) if found < 0 else found + 1
        self._line += data[start:end]
        if self._state is _State.DATA_END and self._line[:1] != b"\r":
            raise Refused(400, "a chunk is longer than its size")
        if found < 0:
            if len(self._line) > limit + 1:
                raise Refused(400, "a line of the chunked body is too long")
            return end
        if self._line[-2:] != b"\r\n":
            raise Refused(400, "line feed without carriage return")
        line = bytes(self._line[:-2])
        self._line.clear()
        self._framing += len(line) + 2
        if self._state is _State.SIZE:
            self._end_size(line)
        elif self._state is _State.TRAILER:
            self._end_trailer(line)
        else:
            self._state = _State.SIZE
        return end

    def _line_limit(self) -> int:
        if self._state is _State.SIZE:
            return _MAX_SIZE_LINE
        if self._state is _State.TRAILER:
            return self._limits.max_header_line
        return 0

    def _end_size(self, line: bytes) -> None:
        found = _SIZE_LINE.fullmatch(line)
        if found is None:
            raise Refused(400, "malformed chunk size")
        size = int(found.group(1), 16)
        _check_size(len(self._content) + size, self._limits)
        if self._framing > _FREE_FRAMING + len(self._content):
            raise Refused(413, "the chunks are too small")
        self._missing = size
        self._state = _State.DATA if size else _State.TRAILER

    def _end_trailer(self, line: bytes) -> None:
        if not line:
            self._state = _State.COMPLETE
            return
        # Checked and dropped: nothing that a handler trusts may come after the body.
        self._trailers += 1
        self._trailer_bytes += len(line) + 2
        if (
            self._trailers > self._limits.max_headers
            or self._trailer_bytes > self._limits.max_header_bytes
        ):
            raise Refused(400, "too many trailers")
        if _TRAILER.fullmatch(line) is None:
            raise Refused(400, "malformed trailer")


def _check_size(size: int, limits: Limits) -> None:
    if limits.max_body is not None and size > limits.max_body:
        raise Refused(413, "the body is too large")
