"""A server process on its own core: started, found ready, stopped with all its kin."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from bench.peers.peers import PEERS, Peer

ROOT = Path(__file__).resolve().parents[2]
START_DEADLINE = 20.0  # seconds until a server must listen
STOP_DEADLINE = 5.0
POLL = 0.01
# Under the range that the kernel hands out to clients, so that no connection of an
# earlier run can hold the port.
PORTS = range(18_000, 30_000)
TAIL = 600  # characters of a failed server's last words


class ServerError(Exception):
    """The server did not start, or ended by itself; the text says what it said."""


@dataclass(frozen=True)
class Server:
    """One way of serving, as the rounds see it: a peer, or what a test makes up."""

    name: str
    command: Callable[[int, bool], list[str]]  # port, whether to compress
    can: frozenset[str]  # the modes of bench/peers/peers.py
    language: str = ""
    version: str = ""
    note: str = ""
    source: str = ""
    is_ours: bool = False
    missing: str = ""  # why it can't be run here; empty: it can


def from_peer(peer: Peer) -> Server:
    return Server(
        name=peer.name,
        command=peer.command,
        can=frozenset(peer.modes),
        language=peer.language,
        version=peer.version,
        note=peer.note,
        source=peer.source,
        is_ours=peer.is_ours,
        missing=peer.missing or "",
    )


def known_servers() -> dict[str, Server]:
    return {name: from_peer(peer) for name, peer in PEERS.items()}


@dataclass(frozen=True)
class Placement:
    """Where server and load generator run.

    `is_real_time` puts both before all ordinary processes, for machines that are never
    quiet; the kernel then leaves them 95 % of a core at most.
    """

    server_core: int = 0
    load_core: int = 1
    is_real_time: bool = False

    @property
    def cores(self) -> frozenset[int]:
        return frozenset((self.server_core, self.load_core))

    def pinned(self, core: int) -> list[str]:
        command = ["taskset", "-c", str(core)]
        return ["chrt", "-r", "20", *command] if self.is_real_time else command


@dataclass
class Running:
    """A server that listens."""

    port: int
    pid: int
    process: subprocess.Popen[bytes] = field(repr=False)
    output: IO[bytes] = field(repr=False)

    def last_words(self) -> str:
        """The last line that it has said since it was ready."""
        return last_line(said(self.output).partition("ready\n")[2])


def said(output: IO[bytes]) -> str:
    return os.pread(output.fileno(), 1 << 20, 0).decode(errors="replace")


def last_line(text: str) -> str:
    """What a traceback or a usage message ends with."""
    return text.strip().rpartition("\n")[2][-TAIL:]


def free_port() -> int:
    for port in random.sample(PORTS, 100):
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe,
        ):
            probe.bind(("127.0.0.1", port))
            return port
    raise ServerError(f"no free port in {PORTS}")


def await_ready(process: subprocess.Popen[bytes], output: IO[bytes]) -> None:
    deadline = time.monotonic() + START_DEADLINE
    while "ready" not in said(output).splitlines():
        if process.poll() is not None:
            reason = f"ended with {process.returncode}"
        elif time.monotonic() > deadline:
            reason = f"did not listen within {START_DEADLINE:.0f} s"
        else:
            time.sleep(POLL)
            continue
        words = last_line(said(output))
        raise ServerError(f"{reason}: {words}" if words else reason)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Asks, then kills the whole group: a master's workers too."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_DEADLINE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def serving(
    server: Server,
    placement: Placement,
    deflate: bool = False,
    arguments: tuple[str, ...] = (),
) -> Iterator[Running]:
    """A fresh server process on its own core."""
    port = free_port()
    command = placement.pinned(placement.server_core)
    command += [*server.command(port, deflate), *arguments]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )
        try:
            await_ready(process, output)
            yield Running(port, process.pid, process, output)
        finally:
            stop(process)
