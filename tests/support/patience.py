"""Peers that wait to be thrown out, in real time and with the default limits.

Each waits in a thread of its own, so that all of them together last as long as the most
patient one, while other tests go on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from .client import RawClient
from .frames import BINARY, PING, TEXT, frame, pong, text
from .server import ServerProcess
from .waits import eventually

# Seconds past which nothing here may last.
LONGEST = 90.0


def connect(server: ServerProcess) -> RawClient:
    return RawClient(server.address)


def start_request(server: ServerProcess) -> RawClient:
    client = connect(server)
    client.send(b"GET /echo HT")
    return client


def opened(server: ServerProcess, path: str, data: bytes = b"") -> RawClient:
    client = connect(server)
    client.upgrade(path)
    client.send(data)
    return client


def keep_alive(server: ServerProcess) -> RawClient:
    client = connect(server)
    client.send(b"GET /health HTTP/1.1\r\nHost: testee.example\r\n\r\n")
    assert client.read_response().status == 200
    return client


def stalled(server: ServerProcess) -> RawClient:
    client = RawClient(server.address, receive_buffer=4096)
    client.upgrade("/subscribe/stalled")
    for _ in range(2000):
        server.call("publish", channel="stalled", size=16_384)
        if server.call("backlog", channel="stalled"):
            return client
    raise AssertionError("the kernel takes everything")


@dataclass(frozen=True)
class Patience:
    """A peer that waits to be thrown out, after so many seconds at the earliest.

    When at the latest is a matter of the fake clock: a busy machine may be late.
    """

    start: Callable[[ServerProcess], RawClient]
    least: float
    answers_pings: bool = False


# Whoever sits in the middle of a frame cannot answer a ping. Each is a little less than
# the limit: a server whose turn is long counts from the start of the turn.
PATIENCE = {
    "36-slow-headers": Patience(start_request, 9.0),
    "37-nothing-sent": Patience(connect, 9.0),
    "72-payload-never-comes": Patience(
        partial(opened, path="/echo", data=frame(BINARY, b"start", length=1000)),
        9.0,
    ),
    "91-first-fragment": Patience(
        partial(opened, path="/echo", data=frame(TEXT, "start", fin=False)),
        28.0,
        answers_pings=True,
    ),
    "124-close-not-answered": Patience(
        partial(opened, path="/obedient", data=text("close")), 9.0
    ),
    "130-pings-not-answered": Patience(partial(opened, path="/echo"), 9.0),
    "132-never-reads": Patience(stalled, 7.0),
    "195-idle-keep-alive": Patience(keep_alive, 4.0),
}


class Waiting:
    """One such peer, waiting in a thread."""

    def __init__(self, server: ServerProcess, patience: Patience) -> None:
        # Before the server can have begun to count.
        self._start = time.monotonic()
        self.client = patience.start(server)
        self._patience = patience
        self.lasted: float | None = None
        self.thread = threading.Thread(target=self._wait, args=[server], daemon=True)
        self.thread.start()

    def _wait(self, server: ServerProcess) -> None:
        with self.client:
            if self._patience.answers_pings:
                self._answer_pings()
            elif self._patience.start is not stalled:
                self.client.wait_gone(LONGEST)
            else:
                # It must not read: only the server can say when it is gone.
                port = self.client.local_port
                inode = eventually(lambda: server.inode(server.address, port))
                eventually(lambda: not server.holds(inode), LONGEST)
        self.lasted = time.monotonic() - self._start

    def _answer_pings(self) -> None:
        with suppress(EOFError):
            while True:
                one = self.client.read_frame(LONGEST)
                if one.opcode == PING:
                    self.client.send(pong(one.payload))
