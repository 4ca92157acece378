"""Made-up shares whose prices move all the time: for the tab that is made slow.

Every quote is published under its symbol as key, on a channel with ``slow="latest"``: a
tab that can't keep up gets the newest quote of each share as soon as it reads again,
and is told how many older ones it was spared.
"""

import asyncio
import random
from collections import deque

from fastws import App, Connection, Endpoint

SYMBOLS = ["ALTO", "BIRD", "COVE", "DUNE", "ECHO", "FERN"]
SYMBOLS += ["GLOW", "HAZE", "IRIS", "JADE", "KITE", "LARK"]
INTERVAL = 0.05  # seconds from one quote of a share to its next
POINTS = 400  # prices in a quote: enough bytes to fill a slow tab's buffers in a second


class Quotes(Endpoint):
    """What the page opens when a person presses the button."""

    def on_open(self, ws: Connection) -> None:
        ws.subscribe("quotes")

    def on_skip(self, ws: Connection, channel: str, missed: int) -> None:
        ws.send({"skipped": missed})


def declare(app: App) -> None:
    app.channel("quotes", slow="latest", max_lag=131_072)
    app.websocket("/quotes", Quotes)


async def publish_quotes(app: App) -> None:
    """All shares at once, twenty times a second, while anybody looks."""
    prices = {symbol: deque([100.0] * POINTS, POINTS) for symbol in SYMBOLS}
    number = 0
    while True:
        await asyncio.sleep(INTERVAL)
        if "quotes" not in app.channels:
            continue
        number += 1
        for line in prices.values():
            line.append(round(max(1.0, line[-1] + random.gauss(0, 0.4)), 2))
        app.publish_batch(
            ("quotes", {"symbol": symbol, "number": number, "prices": [*line]}, symbol)
            for symbol, line in prices.items()
        )
