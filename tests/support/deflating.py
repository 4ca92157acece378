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


class Inflater:
    """A client's way to read what it is sent, by the server's answer to its offer.

    One stream for all messages where the server may refer to earlier ones, a new one
    for each message where it may not. What refers further back than the agreed window
    raises ``zlib.error``, give or take an eighth of it.
    """

    def __init__(self, response: bytes) -> None:
        parts = [part.strip() for part in response.decode().split(";")]
        assert parts[0] == "permessage-deflate", response
        self.bits = 15
        for part in parts:
            name, _, value = part.partition("=")
            if name == "server_max_window_bits":
                self.bits = int(value)
        self.keeps = "server_no_context_takeover" not in parts
        # zlib sees what lies too far back only where its output has been taken away.
        self._step = 1 << (self.bits - 3)
        self._stream = zlib.decompressobj(-self.bits)

    def inflate(self, payload: bytes) -> bytes:
        """The next message."""
        if not self.keeps:
            self._stream = zlib.decompressobj(-self.bits)
        stream, step = self._stream, self._step
        data = stream.decompress(payload + TAIL, step)
        if len(data) == step:
            pieces = [data]
            while len(data) == step:
                data = stream.decompress(stream.unconsumed_tail, step)
                pieces.append(data)
            data = b"".join(pieces)
        assert not stream.unconsumed_tail
        assert not stream.eof
        return data
