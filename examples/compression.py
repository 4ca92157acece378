"""Would compression pay? Sizes of messages, each by itself and in a cohort.

    python examples/compression.py             # four kinds of messages
    python examples/compression.py FILE        # a file of your own, a message a line

Python's own zlib does it, with the defaults of fastws.Compression; nothing is sent.
"""

from __future__ import annotations

import json
import random
import sys
import zlib
from pathlib import Path

from fastws import Compression

RULE = Compression()
# What every compressed message ends with and permessage-deflate does not send.
TAIL = 4
COUNT = 2000


def compressor() -> zlib._Compress:
    return zlib.compressobj(
        RULE.level, wbits=-RULE.window_bits, memLevel=RULE.memory_level
    )


def size(message: bytes, stream: zlib._Compress) -> int:
    """Bytes of one message behind what the stream has had before."""
    return len(stream.compress(message) + stream.flush(zlib.Z_SYNC_FLUSH)) - TAIL


def shares(messages: list[bytes]) -> tuple[float, float]:
    """Bytes sent for each byte of the messages: each by itself, and in a cohort."""
    cohort = compressor()
    alone = together = 0
    for message in messages:
        # What gets no smaller goes as it is; a cohort has no such choice.
        alone += min(size(message, compressor()), len(message))
        together += size(message, cohort)
    total = sum(map(len, messages))
    return alone / total, together / total


def quotes(source: random.Random) -> list[bytes]:
    prices = {symbol: source.uniform(10, 500) for symbol in ("ABC", "DEFG", "HI", "JK")}
    messages = []
    for number in range(COUNT):
        symbol = source.choice(list(prices))
        prices[symbol] *= source.uniform(0.999, 1.001)
        price = prices[symbol]
        quote = {
            "type": "quote",
            "symbol": symbol,
            "price": round(price, 2),
            "bid": round(price * 0.9995, 2),
            "ask": round(price * 1.0005, 2),
            "volume": source.randrange(100, 100_000, 100),
            "time": 1_700_000_000_000 + number * 37,
        }
        messages.append(json.dumps(quote).encode())
    return messages


def chat(source: random.Random) -> list[bytes]:
    words = [
        "".join(source.choices("eeetaoinshrdlu", k=source.randrange(2, 10)))
        for _ in range(1000)
    ]
    # The n-th word is said n times less often than the first.
    often = [1 / place for place in range(1, len(words) + 1)]
    return [
        json.dumps(
            {
                "type": "message",
                "room": "lobby",
                "from": source.choice(["ada", "grace", "linus", "barbara"]),
                "text": " ".join(
                    source.choices(words, often, k=source.randrange(3, 15))
                ),
            }
        ).encode()
        for _ in range(COUNT)
    ]


def dashboard(source: random.Random) -> list[bytes]:
    return [
        json.dumps(
            {
                f"server-{number}": {
                    "load": round(source.uniform(0, 8), 2),
                    "memory": source.randrange(10**9, 10**10),
                    "requests": source.randrange(10_000),
                }
                for number in range(16)
            }
        ).encode()
        for _ in range(COUNT // 4)
    ]


def noise(source: random.Random) -> list[bytes]:
    return [source.randbytes(1000) for _ in range(COUNT // 4)]


def kinds() -> dict[str, list[bytes]]:
    source = random.Random(1)
    return {
        "quotes": quotes(source),
        "chat lines": chat(source),
        "a dashboard": dashboard(source),
        "pictures, encrypted data": noise(source),
    }


def lines(name: str) -> list[bytes]:
    messages = [line for line in Path(name).read_bytes().splitlines() if line]
    if not messages:
        sys.exit(f"{name} has no messages in it")
    return messages


def main(files: list[str]) -> None:
    given = {name: lines(name) for name in files} or kinds()
    print(f"{'messages':30}{'bytes':>8}{'by itself':>12}{'in a cohort':>12}")
    for name, messages in given.items():
        average = round(sum(map(len, messages)) / len(messages))
        alone, together = shares(messages)
        print(f"{name:30}{average:8}{alone:12.2f}{together:12.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
