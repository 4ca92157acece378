"""A server that tells what it holds: for runs with very many connections."""

from __future__ import annotations

import logging
from pathlib import Path

from fastws import App, Connection, Endpoint, Request
from fastws.engine.counters import native_counts

# One line for each of a million requests would be most of the work.
logging.getLogger("fastws.http").setLevel(logging.WARNING)

app = App()


@app.websocket("/echo")
class Echo(Endpoint):
    def on_message(self, ws: Connection, message: str | bytes) -> None:
        ws.send(message)


@app.get("/census")
def census(request: Request) -> dict[str, int]:
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    return {**native_counts(), "open": len(app.connections), "resident": resident}
