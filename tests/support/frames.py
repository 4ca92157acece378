"""WebSocket frames as bytes, right or wrong, and a strict reader of a server's frames.

Written apart from the engine, so that a fault there is not repeated here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

CONTINUATION, TEXT, BINARY = 0x0, 0x1, 0x2
CLOSE, PING, PONG = 0x8, 0x9, 0xA

KEY = b"\x37\xfa\x21\x3d"


def masked(payload: bytes, key: bytes) -> bytes:
    """XOR with the repeated key, as one big number: a fast way without a loop."""
    size = len(payload)
    stream = (key * (size // 4 + 1))[:size]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")
    return mixed.to_bytes(size, "big")


def frame(
    opcode: int,
    payload: bytes | str = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    key: bytes | None = KEY,
    length: int | None = None,
    form: int | None = None,
) -> bytes:
    """One frame as a client sends it, unless told otherwise.

    ``key=None`` leaves it unmasked, ``length`` is what the header claims, ``form`` the
    bits of the length field (7, 16, 64), the shortest by default.
    """
    data = payload.encode() if isinstance(payload, str) else payload
    size = len(data) if length is None else length
    if form is None:
        form = 7 if size < 126 else 16 if size < 65_536 else 64
    bit = 0 if key is None else 0x80
    head = bytes([fin << 7 | rsv << 4 | opcode])
    if form == 7:
        head += bytes([bit | size])
    elif form == 16:
        head += struct.pack("!BH", bit | 126, size)
    else:
        head += struct.pack("!BQ", bit | 127, size)
    return head + data if key is None else head + key + masked(data, key)


def text(payload: str | bytes) -> bytes:
    return frame(TEXT, payload)


def binary(payload: bytes) -> bytes:
    return frame(BINARY, payload)


def ping(payload: bytes = b"") -> bytes:
    return frame(PING, payload)


def pong(payload: bytes = b"") -> bytes:
    return frame(PONG, payload)


def close(code: int | None = None, reason: bytes | str = b"") -> bytes:
    data = reason.encode() if isinstance(reason, str) else reason
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + data)


@dataclass(frozen=True)
class Frame:
    """A frame that came from the server."""

    opcode: int
    payload: bytes
    fin: bool
    # RSV1: the payload of this message is compressed.
    compressed: bool = False

    @property
    def close_code(self) -> int | None:
        """The code of a Close frame; None for an empty one."""
        assert self.opcode == CLOSE
        return int.from_bytes(self.payload[:2], "big") if self.payload else None


def take_frame(data: bytearray, *, inflates: bool = False) -> Frame | None:
    """Cut the first whole frame off ``data``; AssertionError if it breaks RFC 6455, or
    RFC 7692 where that was agreed on (``inflates``)."""
    if len(data) < 2:
        return None
    first, second = data[0], data[1]
    reserved = 0x30 if inflates and first & 0x0F in (TEXT, BINARY) else 0x70
    assert not first & reserved, f"the server set a reserved bit: {bytes(data[:16])!r}"
    assert not second & 0x80, "the server masked a frame"
    opcode, fin = first & 0x0F, bool(first & 0x80)
    assert opcode in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG), opcode
    size, start = second, 2
    if second == 126:
        start = 4
        size = int.from_bytes(data[2:4], "big")
    elif second == 127:
        start = 10
        size = int.from_bytes(data[2:10], "big")
    if len(data) < start + (size if len(data) >= start else 0):
        return None
    _check_length(second, size, opcode, fin)
    payload = bytes(data[start : start + size])
    del data[: start + size]
    return Frame(opcode, payload, fin, bool(first & 0x40))


def _check_length(form: int, size: int, opcode: int, fin: bool) -> None:
    assert form != 126 or size > 125, "the server's length is not minimal"
    assert form != 127 or 65_535 < size < 1 << 63, "the server's length is not minimal"
    if opcode >= CLOSE:
        assert fin, "the server fragmented a control frame"
        assert size <= 125, "the server sent a control frame that is too long"
        assert opcode != CLOSE or size != 1, "the server sent half a close code"
