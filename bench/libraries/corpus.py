"""The messages: JSON as a chat and a market feed send it, of exactly the size asked."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

SEED = 7692
# Size in bytes, and how many messages: as many as fill a window of 32 KiB, where that
# does not make a round too long.
SIZES = {137: 512, 1024: 128, 16_384: 16, 262_144: 4}

PROSE = """
the a of to and is in it you that he was for on are with as his they be at one have
this from or had by hot but some what there we can out other were all your when up
use word how said an each she which do their time if will way about many then them
would write like so these her long make thing see him two has look more day could go
come did my sound no most number who over know water than call first people may down
side been now find any new work part take get place made live where after back
little only round man year came show every good me give our under
"""
STOCKS = "AAPL MSFT GOOG AMZN NVDA TSLA META INTC AMD ORCL IBM SAP BTC-EUR ETH-EUR"
PEOPLE = "anna boris chloe dmitri emma farid greta hugo ines jonas kim lena mario nora"
WORDS, SYMBOLS, NAMES = PROSE.split(), STOCKS.split(), PEOPLE.split()


@dataclass(frozen=True)
class Messages:
    """Messages of one size, behind each other: the first half chat, then quotes."""

    size: int
    count: int
    data: bytes

    @property
    def one_kind(self) -> int:
        """How many messages of one kind there are: one growing context."""
        return self.count // 2

    def __iter__(self) -> Iterator[bytes]:
        return (
            self.data[start : start + self.size]
            for start in range(0, len(self.data), self.size)
        )


def sentence(source: random.Random) -> str:
    words = source.choices(WORDS, k=source.randint(3, 14))
    return " ".join(words).capitalize() + source.choice(".!?")


def line(source: random.Random, number: int) -> dict[str, object]:
    return {
        "sender": source.choice(NAMES),
        "text": sentence(source),
        "time": 1_767_225_600_000 + number * 700 + source.randrange(700),
    }


def quote(source: random.Random, number: int) -> dict[str, object]:
    bid = round(source.uniform(20, 900), 2)
    return {
        "symbol": source.choice(SYMBOLS),
        "bid": bid,
        "ask": round(bid + source.uniform(0.01, 0.2), 2),
        "volume": source.randrange(1, 50_000),
        "time": 1_767_225_600_000 + number * 40 + source.randrange(40),
    }


def encoded(message: object) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


def message(source: random.Random, kind: str, number: int, size: int) -> bytes:
    """As many entries as fit, the rest as words in a last field."""
    entry = line if kind == "chat" else quote
    items: list[dict[str, object]] = []

    def whole(note: str) -> bytes:
        return encoded({"channel": kind, "message": items, "note": note})

    left = size - len(whole(""))
    for _ in range(size):
        item = entry(source, number + len(items))
        taken = len(encoded(item)) + (1 if items else 0)  # and a comma
        if taken <= left:
            items.append(item)
            left -= taken
        elif items:
            break
    note = ""
    while len(note) < left:
        note += sentence(source) + " "
    return whole(note[:left])


def messages(size: int, count: int, seed: int = SEED) -> Messages:
    source = random.Random(f"{seed} {size}")
    kinds = ["chat"] * (count // 2) + ["quotes"] * (count // 2)
    made = [message(source, kind, 10_000 + n, size) for n, kind in enumerate(kinds)]
    return Messages(size, len(made), b"".join(made))
