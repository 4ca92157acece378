"""The program under test: Apps built on the public API, in a process of its own.

    python -m tests.support.testee DESCRIPTOR OPTIONS_AS_JSON

DESCRIPTOR is one end of a socket pair on which the tests ask for the inside: one line
of JSON in, one out. Several Apps run on one loop, so that a bad input sent to any of
them meets the numbered stream of the first.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import logging
import resource
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import uvloop

from fastws import (
    App,
    Compression,
    Config,
    Connection,
    Endpoint,
    Limits,
    Message,
    Reject,
    Response,
    runtime,
)
from fastws.engine.counters import native_counts

MIB = 1 << 20
NUMBERS_INTERVAL = 0.01

# Limits that differ from App to App; what belongs to one path stands at its route.
CONFIGS: dict[str, Config] = {
    "main": Config(),
    "listed": Config(allowed_origins=["http://example.org", "https://example.org:444"]),
    "debug": Config(debug=True),
    "roomy": Config(
        limits=Limits(
            max_request_line=MIB, max_header_line=MIB, max_header_bytes=2 * MIB
        )
    ),
    "full": Config(limits=Limits(max_connections=4)),
    "handshakes": Config(limits=Limits(max_handshakes=4)),
    "compressing": Config(compression=True),
    "cohorts": Config(compression=True),
}


class Clock:
    """Seconds that go on by themselves, or only when a test says so."""

    def __init__(self, frozen: bool) -> None:
        self._frozen = frozen
        self._now = time.monotonic()

    def __call__(self) -> float:
        return self._now if self._frozen else time.monotonic()

    def advance(self, seconds: float) -> float:
        assert self._frozen
        self._now += seconds
        return self._now


class LogRecords(logging.Handler):
    """Keeps what was logged, as text."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: deque[str] = deque(maxlen=20_000)

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


class Seen:
    """What handlers were called for."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.closed: deque[tuple[str, int, str]] = deque(maxlen=100)
        self.latencies: deque[float | None] = deque(maxlen=10)
        self.gate = asyncio.Event()


seen = Seen()


class Echo(Endpoint):
    """Sends back, and counts; every other callback endpoint here derives from it."""

    def on_open(self, ws: Connection[Any]) -> None:
        seen.counts["opened"] += 1

    def on_message(self, ws: Connection[Any], message: Message) -> None:
        seen.counts["messages"] += 1
        ws.send(message)

    def on_close(self, ws: Connection[Any], code: int, reason: str) -> None:
        seen.counts["closed"] += 1
        seen.closed.append((ws.path, code, reason))


class JsonText(Echo):
    """Speaks text only."""

    def on_message(self, ws: Connection[Any], message: Message) -> None:
        if isinstance(message, bytes):
            ws.close(1003, "text only")
        else:
            super().on_message(ws, message)


class Obedient(Echo):
    """Does what a message says: close, or tell what is known of the connection."""

    def on_message(self, ws: Connection[Any], message: Message) -> None:
        if message == "close":
            ws.close(4000, "as you wish")
        elif message == "latency":
            ws.send(json.dumps(ws.latency))
        elif message == "fail":
            raise RuntimeError("the handler failed")
        else:
            super().on_message(ws, message)


class Subscribe(Echo):
    def on_open(self, ws: Connection[Any]) -> None:
        super().on_open(ws)
        ws.subscribe(ws.params["channel"])


async def echo_async(ws: Connection[Any]) -> None:
    seen.counts["opened"] += 1
    async for message in ws:
        seen.counts["messages"] += 1
        await ws.send(message)
    seen.counts["closed"] += 1
    seen.closed.append((ws.path, ws.close_code or 0, ws.close_reason or ""))


def require_bearer(request: Any) -> None:
    """An upgrade hook that authenticates."""
    seen.counts["hooks"] += 1
    if "authorization" not in request.headers:
        raise Reject(401, "who are you?")


def require_origin_with_cookie(request: Any) -> None:
    """How a program that authenticates by cookie keeps other sites out."""
    if "cookie" in request.headers and "origin" not in request.headers:
        raise Reject(403, "a cookie needs an origin")


async def wait_at_gate(request: Any) -> None:
    seen.counts["hooks"] += 1
    await seen.gate.wait()


BAD_HEADERS: dict[str, Mapping[str, str]] = {
    "line-feed": {"X-Note": "a\r\nX-Injected: 1"},
    "bare-line-feed": {"X-Note": "a\nX-Injected: 1"},
    "nul": {"X-Note": "a\0b"},
    "name": {"X Note": "a"},
    "empty-name": {"": "a"},
}


def reject_with_bad_header(request: Any) -> None:
    raise Reject(403, "no", BAD_HEADERS[request.query["header"]])


def accept_with_bad_header(request: Any) -> Mapping[str, str]:
    return BAD_HEADERS[request.query["header"]]


def add_websockets(app: App) -> None:
    echo = Echo()
    large = Limits(max_message=17 * MIB, max_fragments=1 << 20)
    app.websocket("/echo", echo)
    app.websocket("/echo-async", echo_async)
    app.websocket("/subscribe/{channel}", Subscribe())
    # For the neighbour: on a fake clock its pong can't come in time.
    app.websocket("/stream/{channel}", Subscribe(), limits=Limits(ping_interval=None))
    app.websocket("/json", JsonText())
    app.websocket("/obedient", Obedient())
    app.websocket("/small", echo, limits=Limits(max_message=1000))
    app.websocket("/fragments", echo, limits=Limits(max_fragments=16))
    app.websocket("/large", echo, limits=large)
    app.websocket("/large-async", echo_async, limits=large)
    add_compressing(app)
    rated = Limits(message_rate=50, message_burst=100)
    app.websocket("/rated", echo, limits=rated)
    app.websocket("/pongs", echo, limits=Limits(control_rate=None))
    app.websocket("/guarded", echo, upgrade=require_bearer)
    app.websocket("/private/{name}", echo, upgrade=require_bearer)
    app.websocket("/cookie", echo, upgrade=require_origin_with_cookie)
    app.websocket("/pending", echo, upgrade=wait_at_gate)
    app.websocket("/spoken", echo, subprotocols=("chat.v2", "chat.v1"))
    app.websocket("/reject-badly", echo, upgrade=reject_with_bad_header)
    app.websocket("/accept-badly", echo, upgrade=accept_with_bad_header)


def add_compressing(app: App) -> None:
    echo = Echo()
    unrated = Compression(max_ratio=None)
    app.websocket("/deflate", echo, compression=True)
    app.websocket("/deflate-async", echo_async, compression=True)
    app.websocket("/deflate-unrated", echo, compression=unrated)
    keeping = Compression(client_context=True)
    app.websocket("/deflate-keeping", echo, compression=keeping)
    app.websocket(
        "/deflate-small", echo, compression=unrated, limits=Limits(max_message=1000)
    )
    app.websocket("/deflate-guarded", echo, compression=unrated, upgrade=require_bearer)
    # Everything that can be agreed on, and every message compressed: gigabytes of them.
    full = Compression(
        level=1,
        window_bits=15,
        threshold=0,
        max_size=None,
        max_ratio=None,
        server_context=True,
        client_context=True,
    )
    # The conformance suite's long cases end at a ping that they do not expect.
    large = Limits(max_message=17 * MIB, max_fragments=1 << 20, ping_interval=None)
    app.websocket("/deflate-large", echo, compression=full, limits=large)
    app.websocket("/deflate-large-async", echo_async, compression=full, limits=large)


def add_http(app: App) -> None:
    @app.get("/health")
    def health(request: Any) -> str:
        return "well"

    @app.get("/second")
    def second(request: Any) -> str:
        seen.counts["second"] += 1
        return "second"

    @app.get("/gate")
    async def gate(request: Any) -> str:
        seen.counts["gate"] += 1
        await seen.gate.wait()
        return "open"

    @app.post("/length")
    async def length(request: Any) -> str:
        body = await request.body()
        seen.counts["bodies"] += 1
        return str(len(body))

    @app.get("/bad-header")
    def bad_header(request: Any) -> Any:
        return Response(200, "no", BAD_HEADERS[request.query["header"]])


class Testee:
    """Runs the Apps and answers the tests' questions."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.clock = Clock(options["frozen"])
        self.records = LogRecords()
        self.apps: dict[str, App] = {}
        self.next_number = 0
        self.publishing = True

    async def run(self, control: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        logging.getLogger().addHandler(self.records)
        logging.getLogger().setLevel(logging.INFO)
        logging.captureWarnings(True)
        runtime.Hub = functools.partial(runtime.Hub, clock=self.clock)  # type: ignore[assignment,attr-defined]
        reader, writer = await asyncio.open_unix_connection(sock=control, limit=MIB)
        servers = []
        addresses = {}
        if self.options["files"] is not None:
            # The default would keep more descriptors back than there are.
            limits = Limits(max_connections=1000)
            CONFIGS["main"] = replace(CONFIGS["main"], limits=limits)
        for name, config in CONFIGS.items():
            app = self.apps[name] = App(config)
            if name == "cohorts":
                app.channel("mixed", compress="cohort", cohort_join=0.1)
            add_websockets(app)
            add_http(app)
            server = app.serve(port=0)
            await server.start()
            servers.append(server)
            addresses[name] = server.addresses[0]
        if self.options["certificate"] is not None:
            secure = self.apps["main"].serve(
                port=0,
                ssl_certificate=self.options["certificate"],
                ssl_key=self.options["key"],
                ssl_handshake_timeout=self.options["tls_timeout"],
            )
            await secure.start()
            servers.append(secure)
            addresses["tls"] = secure.addresses[0]
        self.records.texts.clear()
        writer.write(json.dumps(addresses).encode() + b"\n")
        loop.call_soon(self.publish_number)
        while line := await reader.readline():
            command, arguments = json.loads(line)
            answer = getattr(self, f"do_{command}")(**arguments)
            writer.write(json.dumps(answer).encode() + b"\n")
        self.publishing = False
        for server in servers:
            await server.stop()
        writer.close()

    def publish_number(self) -> None:
        if not self.publishing:
            return
        self.apps["main"].publish("numbers", str(self.next_number))
        self.next_number += 1
        asyncio.get_running_loop().call_later(NUMBERS_INTERVAL, self.publish_number)

    # What tests ask for

    def do_report(self, objects: bool = False) -> dict[str, Any]:
        """The things that have to be where they were once a peer has gone."""
        hubs = [app.runtime.hub for app in self.apps.values()]
        found: dict[str, Any] = {
            "tasks": len(asyncio.all_tasks()),
            "connections": sum(hub.connection_count for hub in hubs if hub),
            "handshakes": sum(hub.handshakes for hub in hubs if hub),
            # Streams of zlib, outboxes and segments are pooled, and the numbered stream
            # uses some.
            "native": {
                name: count
                for name, count in native_counts().items()
                if name not in ("outboxes", "segments", "inflaters", "deflaters")
            },
        }
        if objects:
            gc.collect()
            kinds = Counter(type(one).__name__ for one in gc.get_objects())
            found["objects"] = {
                kind: kinds[kind]
                for kind in ("Connection", "HttpPeer", "UvLink", "OwnLink", "Request")
            }
        return found

    def do_take_records(self) -> list[str]:
        texts = list(self.records.texts)
        self.records.texts.clear()
        return texts

    def do_seen(self) -> dict[str, Any]:
        return {"counts": dict(seen.counts), "closed": list(seen.closed)}

    def do_counters(self) -> dict[str, int]:
        total: Counter[str] = Counter()
        for app in self.apps.values():
            total.update(app.counters.snapshot())
        return dict(total)

    def do_subscribers(self, channel: str) -> int:
        found = self.apps["main"].channels.get(channel)
        return 0 if found is None else found.subscribers

    def do_skip_number(self) -> None:
        """Make the mistake that the stream is there to notice."""
        self.next_number += 1

    def do_backlog(self, channel: str) -> int:
        """Bytes that the channel's slowest subscriber is owed."""
        lags = (
            ws.lag(channel)
            for ws in self.apps["main"].connections
            if channel in ws.channels
        )
        return max(lags, default=0)

    def do_publish(self, channel: str, size: int, times: int = 1) -> None:
        payload = b"x" * size
        for _ in range(times):
            self.apps["main"].publish(channel, payload)

    def do_publish_texts(self, app: str, channel: str, texts: list[str]) -> None:
        for text in texts:
            self.apps[app].publish(channel, text)

    def do_gate(self, is_open: bool) -> None:
        if is_open:
            seen.gate.set()
        else:
            seen.gate.clear()

    def do_advance(self, seconds: float) -> float:
        now = self.clock.advance(seconds)
        for app in self.apps.values():
            # The fake clock does not move the loop's timer: look at the time at once.
            sweep = app.runtime._sweep
            assert sweep is not None
            sweep.run()
        return now


def main() -> None:
    descriptor, options_text = sys.argv[1:]
    options = json.loads(options_text)
    if options["files"] is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (options["files"], hard))
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
        "uvloop": uvloop.new_event_loop,
        "asyncio": asyncio.new_event_loop,
    }
    for name, config in CONFIGS.items():
        CONFIGS[name] = replace(config, link=options["link"])
    control = socket.socket(fileno=int(descriptor))
    with asyncio.Runner(loop_factory=factories[options["loop"]]) as runner:
        runner.run(Testee(options).run(control))


if __name__ == "__main__":
    main()
