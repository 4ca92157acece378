#!/usr/bin/env python3
"""Writes the first inputs of the C targets: one of each kind, always the same bytes.

python tests/fuzz/make_corpus.py [FOLDER]
"""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"
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


def frame_seeds() -> dict[str, bytes]:
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


def deflate_seeds() -> dict[str, bytes]:
    """Name → input: three bytes of settings (window and level, memory level, seed of
    the pieces), then compressed bytes."""
    words = b"some text, some more text, " * 20
    bodies = {"words": words, "zeros": bytes(5000), "bytes": bytes(range(256)) * 3}
    found = {}
    for bits in (9, 12, 15):
        for name, body in bodies.items():
            for level in (0, 1, 9):
                compressor = zlib.compressobj(level, wbits=-bits)
                payload = compressor.compress(body)
                payload += compressor.flush(zlib.Z_SYNC_FLUSH)
                settings = bytes([bits - 8 + 8 * level, level, bits])
                found[f"{name}-{bits}-{level}"] = settings + payload
    widest = b"\x07\x04\x01"
    compressor = zlib.compressobj(wbits=-15, strategy=zlib.Z_FIXED)
    ended = compressor.compress(words) + compressor.flush(zlib.Z_FINISH)
    found["last-block"] = widest + ended
    found["two-last-blocks"] = widest + ended * 2
    found["empty-blocks"] = widest + b"\x00\x00\x00\xff\xff" * 50
    found["bad-block"] = widest + b"\x07"
    found["bad-distance"] = widest + b"\x4b\x04\x02\x11\x00"
    return found


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for target, seeds in (
        ("frame_walker", frame_seeds()),
        ("inflate", deflate_seeds()),
    ):
        (folder / target).mkdir(parents=True, exist_ok=True)
        for name, data in seeds.items():
            (folder / target / name).write_bytes(data)


if __name__ == "__main__":
    main()
