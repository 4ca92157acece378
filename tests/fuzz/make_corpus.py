#!/usr/bin/env python3
"""Writes the first inputs of the frame walker: one of each kind, always the same bytes.

python tests/fuzz/make_corpus.py [FOLDER]
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus" / "frame_walker"
KEY = b"\x37\xfa\x21\x3d"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True
) -> bytes:
    first = opcode | (0x80 if fin else 0)
    mask = 0x80 if masked else 0
    if len(payload) <= 125:
        head = struct.pack("!BB", first, mask | len(payload))
    elif len(payload) <= 65_535:
        head = struct.pack("!BBH", first, mask | 126, len(payload))
    else:
        head = struct.pack("!BBQ", first, mask | 127, len(payload))
    if not masked:
        return head + payload
    return head + KEY + bytes(b ^ KEY[i % 4] for i, b in enumerate(payload))


def seeds() -> dict[str, bytes]:
    """Name → input. The first byte holds the settings: bit 0 says that frames are
    masked, the rest seeds the sizes of the pieces."""
    client = b"\x01"
    server = b"\x02"
    mixed = ("aé€😀" * 30).encode()
    found = {
        "hello": client + frame(TEXT, b"Hello"),
        "hello-unmasked": server + frame(TEXT, b"Hello", masked=False),
        "binary-200": client + frame(BINARY, bytes(range(200))),
        "text-mixed": client + frame(TEXT, mixed),
        "text-mixed-unmasked": server + frame(TEXT, mixed, masked=False),
        "text-ascii-500": client + frame(TEXT, b"x" * 500),
        "fragments": client
        + frame(TEXT, "é".encode()[:1], fin=False)
        + frame(PING, b"now")
        + frame(CONTINUATION, "é".encode()[1:], fin=False)
        + frame(CONTINUATION),
        "controls": client
        + frame(PING, b"a" * 125)
        + frame(PONG)
        + frame(CLOSE, struct.pack("!H", 1000) + b"done"),
        "length-64": client + struct.pack("!BBQ", 0x82, 0xFF, 65_536) + KEY + b"part",
        "many-small": client + frame(BINARY, b"1") * 20,
    }
    wrong = {
        "opcode": b"\x83\x80",
        "control-fragment": b"\x09\x80",
        "control-length": b"\x89\xfe",
        "rsv": b"\xc1\x80",
        "unmasked": frame(TEXT, b"a", masked=False),
        "length-16": struct.pack("!BBH", 0x82, 0xFE, 125),
        "length-64": struct.pack("!BBQ", 0x82, 0xFF, 65_535),
        "length-sign": struct.pack("!BBQ", 0x82, 0xFF, 2**63),
        "too-big": struct.pack("!BBQ", 0x82, 0xFF, 2**62) + KEY,
        "continuation": frame(CONTINUATION, b"a"),
        "second-start": frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"),
        "surrogate": frame(TEXT, b"x" * 50 + b"\xed\xa0\x80" + b"y" * 50),
        "overlong": frame(TEXT, b"x" * 90 + b"\xc0\xaf"),
        "above-unicode": frame(TEXT, "é".encode() * 40 + b"\xf4\x90\x80\x80"),
        "cut-text": frame(TEXT, b"x" * 40 + b"\xe2\x82"),
    }
    found.update({f"bad-{name}": client + data for name, data in wrong.items()})
    return found


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in seeds().items():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
