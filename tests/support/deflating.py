"""permessage-deflate by Python's own zlib, apart from the engine's way to it."""

from __future__ import annotations

import zlib
from typing import Any

from .frames import TEXT, frame

OFFER = "permessage-deflate; client_max_window_bits"

# What RFC 7692 section 7.2.1 cuts off.
TAIL = b"\x00\x00\xff\xff"


def deflated(data: bytes, compressor: Any = None, *, bits: int = 15) -> bytes:
    """One message's payload, from a fresh context unless a compressor is given."""
    if compressor is None:
        compressor = zlib.compressobj(wbits=-bits)
    payload: bytes = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert payload.endswith(TAIL)
    return payload[: -len(TAIL)]


def compressed(payload: bytes, opcode: int = TEXT, *, fin: bool = True) -> bytes:
    """The frame of a payload that is compressed already."""
    return frame(opcode, payload, fin=fin, rsv=4)


def inflated(payload: bytes, *, bits: int = 15) -> bytes:
    """One message that refers to nothing before it, within this window."""
    stream = zlib.decompressobj(-bits)
    data = stream.decompress(payload + TAIL)
    assert not stream.unconsumed_tail
    assert not stream.unused_data
    return data
