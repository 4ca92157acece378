"""Records of a made-up trade feed: JSON as it goes to many, no two alike."""

from __future__ import annotations

import json
import random

SIZE = 137


def record(number: int) -> bytes:
    """A trade of a feed: names that come again, figures that move in steps."""
    chance = random.Random(number)
    text = json.dumps(
        {
            "event": "trade",
            "symbol": chance.choice(("AAPL", "MSFT", "GOOG", "AMZN", "NVDA", "META")),
            "price": 18_400 / 100 + chance.randrange(-200, 200) / 100,
            "volume": chance.randrange(1, 5000),
            "side": chance.choice(("buy", "sell")),
            "venue": chance.choice(("XNAS", "ARCX", "BATS", "IEXG")),
            "tape": "C",
            "time": 1_700_000_000_000 + 40 * number + chance.randrange(40),
            "id": "",
        },
        separators=(",", ":"),
    )
    # The last field fills it up.
    return (
        text[:-2].encode() + b"%0*d" % (SIZE - len(text), number) + text[-2:].encode()
    )
