"""What compression sends, does and keeps: `python -m bench.wire`.

A server in a process of its own publishes 137 bytes of JSON, another record each time,
to connections that decode every frame with Python's zlib and compare it. Counted are
the bytes that came, and the compressions by the server's own counters. Then the same
connections in thousands: what each costs the server's resident memory once it has sent
messages, received some, and is idle.

`--output FILE` keeps the figures for `python -m bench.report RUNS --wire FILE`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import resource
import select
import socket
import subprocess
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from .micro.feed import SIZE, record
from .scenarios import machine

ROOT = Path(__file__).resolve().parents[1]
CHANNEL = "feed"
DEADLINE = 30.0  # seconds that any step may take
JOIN = 0.05  # seconds between two times at which newcomers join a cohort
WARM_UPS = 20  # publications before anything is counted: everybody has joined then
CHUNK = 100  # publications that no reader falls behind by
# Messages of each held connection: more than a window of 4 KiB remembers.
SENDS = 32
# Connections before those whose memory is measured: they pay for what is made once.
FIRST = 200


# --- the figures ------------------------------------------------------------------


class Sent(msgspec.Struct, frozen=True):
    """What the publications to one kind of subscribers came to."""

    kind: str
    title: str
    subscribers: int
    publications: int
    size: int
    bytes_each: float  # of a delivery on the wire, header included
    to_plain: float  # the same, to that of the uncompressed ones
    compressions: float  # of each publication, by the server's counters
    microseconds: float  # of each publication spent on compressing


class Held(msgspec.Struct, frozen=True):
    """What one kind of connection keeps while it is idle."""

    kind: str
    title: str
    connections: int
    bytes_each: float


class Wire(msgspec.Struct, frozen=True):
    """A measurement, and its circumstances."""

    zlib: str
    revision: str
    date: str
    command: str
    sent: list[Sent]
    held: list[Held]


# --- kinds of connections ---------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """What client and server agree on."""

    name: str
    title: str
    offer: str = ""
    keeps_clients: bool = False  # the server keeps the clients' contexts
    is_cohort: bool = False

    @property
    def is_compressed(self) -> bool:
        return bool(self.offer)


NOTHING_KEPT = "; server_no_context_takeover; client_no_context_takeover"
KINDS = {
    kind.name: kind
    for kind in (
        Kind("plain", "uncompressed"),
        Kind(
            "alone",
            "each message compressed alone",
            "permessage-deflate" + NOTHING_KEPT,
        ),
        Kind(
            "client",
            "the same, and the client keeps its context",
            "permessage-deflate; client_max_window_bits",
            keeps_clients=True,
        ),
        Kind(
            "cohort",
            "one context for the channel",
            "permessage-deflate; client_no_context_takeover",
            is_cohort=True,
        ),
    )
}
SENDING = ("plain", "alone", "cohort")


# --- the server -------------------------------------------------------------------


def make_app(kind: Kind) -> Any:
    from fastws import App, Compression, Config, Connection, Endpoint

    compression = Compression(threshold=64, client_context=kind.keeps_clients)
    app = App(Config(compression=compression if kind.is_compressed else None))
    if kind.is_cohort:
        app.channel(CHANNEL, compress="cohort", cohort_join=JOIN)

    @app.websocket("/")
    class Feed(Endpoint):
        def on_open(self, ws: Connection) -> None:
            ws.subscribe(CHANNEL)

    return app


async def serve(kind: Kind) -> None:
    """Prints its port, then publishes `FIRST COUNT GAP` for each line that comes, and
    answers with its counters."""
    app = make_app(kind)
    loop = asyncio.get_running_loop()
    async with app.serve(port=0) as server:
        print(server.port, flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            first, count, gap = line.split()
            for number in range(int(first), int(first) + int(count)):
                app.publish(CHANNEL, record(number).decode())
                await asyncio.sleep(float(gap))
            print(json.dumps(app.counters.snapshot()), flush=True)


class Server:
    """The same from outside."""

    def __init__(self, kind: Kind) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.wire", "--serve", kind.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        self.port = int(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], DEADLINE)[0]:
            raise SystemExit("the server does not answer")
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the server has ended")
        return line

    def publish(self, first: int, count: int, gap: float = 0.0) -> dict[str, int]:
        """Has it publish these records, `gap` seconds apart; its counters then."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{first} {count} {gap}\n")
        self._process.stdin.flush()
        counters: dict[str, int] = json.loads(self._answer())
        return counters

    def resident(self) -> int:
        fields = Path(f"/proc/{self._process.pid}/statm").read_text().split()
        return int(fields[1]) * resource.getpagesize()

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def serving(kind: Kind) -> Iterator[Server]:
    server = Server(kind)
    try:
        yield server
    finally:
        server.stop()


# --- one subscriber ---------------------------------------------------------------

FINAL, RSV1, TEXT, MASKED = 0x80, 0x40, 0x01, 0x80
TAIL = b"\x00\x00\xff\xff"


class Subscriber:
    """Reads frames, and decodes them with a window of its own from first to last."""

    def __init__(self, kind: Kind, port: int) -> None:
        self._kind = kind
        self._received = bytearray()
        self._window = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        self.bytes = 0
        self.messages = 0
        self._socket = socket.create_connection(("127.0.0.1", port), DEADLINE)
        with contextlib.ExitStack() as failed:
            failed.callback(self.close)
            self._open()
            failed.pop_all()

    def _open(self) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        offer = self._kind.offer
        extensions = f"Sec-WebSocket-Extensions: {offer}\r\n" if offer else ""
        request = (
            "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            f"Sec-WebSocket-Version: 13\r\n{extensions}\r\n"
        )
        self._socket.sendall(request.encode())
        while b"\r\n\r\n" not in self._received:
            self._receive()
        head, _, rest = bytes(self._received).partition(b"\r\n\r\n")
        if (b"permessage-deflate" in head) != self._kind.is_compressed:
            raise SystemExit(f"{self._kind.name}: it was answered {head.decode()!r}")
        self._received[:] = rest

    def _receive(self) -> None:
        data = self._socket.recv(1 << 16)
        if not data:
            raise SystemExit(f"{self._kind.name}: the server ended a connection")
        self._received += data

    def send(self, numbers: Sequence[int]) -> None:
        """These records, compressed if that was agreed."""
        self._socket.sendall(b"".join(self._framed(record_of(one)) for one in numbers))

    def _framed(self, payload: bytes) -> bytes:
        """Masked with zeros."""
        first = FINAL | TEXT
        if self._kind.is_compressed:
            # The smallest window that a server here asks for.
            packer = zlib.compressobj(wbits=-9)
            payload = packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH)
            payload, first = payload[: -len(TAIL)], first | RSV1
        size = len(payload)
        length = (
            bytes([MASKED | size])
            if size < 126
            else bytes([MASKED | 126]) + size.to_bytes(2, "big")
        )
        return bytes([first]) + length + bytes(4) + payload

    def expect(self, numbers: Sequence[int]) -> None:
        """Reads exactly these records; SystemExit when something else comes."""
        for number in numbers:
            payload, is_compressed = self._frame()
            if is_compressed:
                payload = self._window.decompress(payload + TAIL)
            if payload != record_of(number):
                raise SystemExit(f"{self._kind.name}: record {number} came as another")
            if is_compressed != self._kind.is_compressed:
                raise SystemExit(f"{self._kind.name}: record {number} is not as agreed")
            self.messages += 1

    def _frame(self) -> tuple[bytes, bool]:
        received = self._received
        self._await(2)
        size, head = received[1], 2
        if size == 126:
            self._await(4)
            size, head = int.from_bytes(received[2:4], "big"), 4
        self._await(head + size)
        first, payload = received[0], bytes(received[head : head + size])
        if first & ~RSV1 != FINAL | TEXT:
            raise SystemExit(f"{self._kind.name}: a frame that starts with {first:#x}")
        del received[: head + size]
        self.bytes += head + size
        return payload, bool(first & RSV1)

    def _await(self, size: int) -> None:
        while len(self._received) < size:
            self._receive()

    def close(self) -> None:
        self._socket.close()


RECORDS: dict[int, bytes] = {}


def record_of(number: int) -> bytes:
    """The record, made once for all who compare with it."""
    if number not in RECORDS:
        RECORDS[number] = record(number)
    return RECORDS[number]


@contextlib.contextmanager
def subscribed(kind: Kind, server: Server, count: int) -> Iterator[list[Subscriber]]:
    with contextlib.ExitStack() as open_ones:
        made = []
        for _ in range(count):
            made.append(Subscriber(kind, server.port))
            open_ones.callback(made[-1].close)
        yield made


def publish(
    server: Server, everyone: Sequence[Subscriber], first: int, count: int
) -> dict[str, int]:
    """Has records published, and reads them everywhere."""
    counters = server.publish(first, count)
    for one in everyone:
        one.expect(range(first, first + count))
    return counters


def warm_up(server: Server, everyone: Sequence[Subscriber]) -> dict[str, int]:
    """Until whoever may join a cohort has joined; the counters then."""
    counters = server.publish(0, WARM_UPS, 2 * JOIN / WARM_UPS)
    for one in everyone:
        one.expect(range(WARM_UPS))
    return counters


# --- measuring --------------------------------------------------------------------


def measure_sent(kind: Kind, subscribers: int, publications: int) -> Sent:
    """Bytes and compressions; `to_plain` is left to who knows the plain one."""
    with serving(kind) as server, subscribed(kind, server, subscribers) as everyone:
        before = after = warm_up(server, everyone)
        bytes_before = sum(one.bytes for one in everyone)
        for first in range(WARM_UPS, WARM_UPS + publications, CHUNK):
            count = min(CHUNK, WARM_UPS + publications - first)
            after = publish(server, everyone, first, count)
        bytes_after = sum(one.bytes for one in everyone)
    done = {name: after[name] - before[name] for name in after}
    if done["publications"] != publications:
        raise SystemExit(f"{done['published']} publications were counted")
    return Sent(
        kind=kind.name,
        title=kind.title,
        subscribers=subscribers,
        publications=publications,
        size=SIZE,
        bytes_each=(bytes_after - bytes_before) / (publications * subscribers),
        to_plain=1.0,
        compressions=done["compressed_messages"] / publications,
        microseconds=done["compress_nanoseconds"] / publications / 1000,
    )


def measure_held(kind: Kind, connections: int) -> Held:
    with (
        serving(kind) as server,
        subscribed(kind, server, FIRST) as first,
        contextlib.ExitStack() as later,
    ):
        everyone = list(first)
        for one in everyone:
            one.send(range(SENDS))
        warm_up(server, everyone)
        before = server.resident()
        more = later.enter_context(subscribed(kind, server, connections))
        for one in more:
            one.send(range(SENDS))
        everyone += more
        counters = server.publish(WARM_UPS, WARM_UPS, 2 * JOIN / WARM_UPS)
        for one in everyone:
            one.expect(range(WARM_UPS, 2 * WARM_UPS))
        after = server.resident()
    if counters["connections"] != FIRST + connections:
        raise SystemExit(f"{kind.name}: {counters['connections']} connections are open")
    return Held(kind.name, kind.title, connections, (after - before) / connections)


def with_ratios(sent: Sequence[Sent]) -> list[Sent]:
    plain = sent[0].bytes_each
    return [
        msgspec.structs.replace(one, to_plain=one.bytes_each / plain) for one in sent
    ]


def measure(options: argparse.Namespace, words: Sequence[str]) -> Wire:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        sent = [
            measure_sent(KINDS[name], options.subscribers, options.publications)
            for name in SENDING
        ]
        held = [measure_held(kind, options.connections) for kind in KINDS.values()]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return Wire(
        zlib=zlib.ZLIB_RUNTIME_VERSION,
        revision=machine.revision(),
        date=machine.now(),
        command=" ".join(["python -m bench.wire", *words]),
        sent=with_ratios(sent),
        held=held,
    )


def shown(found: Wire) -> Iterator[str]:
    for one in found.sent:
        yield (
            f"{one.kind:8} {one.bytes_each:7.1f} B of a delivery, "
            f"{one.to_plain:5.3f} of plain, {one.compressions:5.3f} compressions and "
            f"{one.microseconds:5.1f} µs a publication"
        )
    for held in found.held:
        yield f"{held.kind:8} {held.bytes_each:9,.0f} B resident for each connection"


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.wire", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--subscribers", type=int, default=100)
    parser.add_argument("--publications", type=int, default=2000)
    parser.add_argument("--connections", type=int, default=4000, help="held idle")
    parser.add_argument("--output", type=Path, help="the figures, for the report")
    parser.add_argument("--serve", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if options.serve is not None:
        asyncio.run(serve(KINDS[options.serve]))
        return 0
    found = measure(options, words)
    for line in shown(found):
        print(line)
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_bytes(msgspec.json.encode(found) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
