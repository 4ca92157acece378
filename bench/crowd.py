#!/usr/bin/env python3
"""Hold 100 000 connections on one port: several server processes, several clients.

A process may have some 20 000 descriptors, an address 28 000 ports to connect from; so
the servers share the port (`reuse_port`) and the load generator comes from several
addresses and processes. Prints what each server holds and what it costs. Loopback only;
needs about 4 GB, most of it the kernel's.

    python bench/crowd.py                            # 100 000 for ten seconds
    python bench/crowd.py --connections 30000 --servers 2 --hold 60
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
READY = "ready"
PER_PROCESS = 18_000
# The kernel spreads connections over the listeners by chance: one gets a little more.
UNEVEN = 1.05


# --- one server -------------------------------------------------------------------


async def serve(port: int) -> None:
    """Until its standard input ends; answers each line with what it holds."""
    from fastws import App, Connection, Endpoint

    app = App()

    @app.websocket("/")
    class Idle(Endpoint):
        def on_message(self, ws: Connection, message: str | bytes) -> None:
            ws.send(message)

    async with app.serve(port=port, reuse_port=True):
        print(READY, flush=True)
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            print(len(app.connections), flush=True)


def resident(pid: int) -> int:
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * resource.getpagesize()


class Server:
    def __init__(self, port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve", str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        if self._answer() != READY:
            raise SystemExit("a server did not start")
        self.before = resident(self._process.pid)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def count(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._answer())

    def grown(self) -> int:
        return resident(self._process.pid) - self.before

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@contextlib.contextmanager
def servers(port: int, count: int) -> Iterator[list[Server]]:
    started: list[Server] = []
    try:
        while len(started) < count:
            started.append(Server(port))
        yield started
    finally:
        for one in started:
            one.stop()


# --- the crowd --------------------------------------------------------------------


def processes_for(connections: int) -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    most = min(PER_PROCESS, hard - 512) if hard > 0 else PER_PROCESS
    return -(-int(connections * UNEVEN) // most)


def hold(
    port: int, connections: int, clients: int, seconds: float
) -> dict[str, object]:
    """Open them all, hold them; the load generator's own account."""
    command = [sys.executable, "-m", "fastws", "bench", f"ws://127.0.0.1:{port}/"]
    command += ["--mode", "idle", "--connections", str(connections)]
    command += ["--processes", str(clients), "--sources", "16", "--parallel", "200"]
    command += ["--duration", str(seconds), "--timeout", str(seconds + 120)]
    command += ["--format", "json", "--quiet"]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    result: dict[str, object] = json.loads(done.stdout.strip().rpartition("\n")[2])
    return result


async def watch(
    started: list[Server], connections: int, crowd: asyncio.Task[object]
) -> None:
    """Print the fullest moment: all are open while the generator holds them."""
    counts: list[int] = []
    while sum(counts) < connections and not crowd.done():
        await asyncio.sleep(0.5)
        counts = [one.count() for one in started]
    for number, (one, count) in enumerate(zip(started, counts, strict=True), 1):
        each = one.grown() / count if count else 0
        print(
            f"server {number}: {count:7,} connections, {each:6,.0f} B resident for each"
        )
    total = sum(counts)
    grown = sum(one.grown() for one in started)
    print(f"together: {total:7,} connections, {grown / max(total, 1):6,.0f} B for each")


async def run(options: argparse.Namespace) -> int:
    count = options.servers or processes_for(options.connections)
    clients = max(count, processes_for(options.connections))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with servers(port, count) as started:
        print(f"{options.connections:,} connections to {count} servers on port {port}")
        crowd: asyncio.Task[object] = asyncio.create_task(
            asyncio.to_thread(hold, port, options.connections, clients, options.hold)
        )
        await watch(started, options.connections, crowd)
        result = await crowd
        left = sum(one.count() for one in started)
    assert isinstance(result, dict)
    if result["error"] is not None:
        print(f"failed: {result['error']}")
        return 1
    print(f"held for {options.hold:g} s, and closed; {left} are left")
    return 1 if left else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--connections", type=int, default=100_000)
    parser.add_argument("--servers", type=int, help="as many as it takes")
    parser.add_argument("--hold", type=float, default=10.0, help="seconds")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        asyncio.run(serve(options.serve))
        return
    raise SystemExit(asyncio.run(run(options)))


if __name__ == "__main__":
    main()
