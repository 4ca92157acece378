"""Runs the testee in a process of its own, and sees what it costs."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .client import Address
from .kinds import LINK, LOOP, LinkName, LoopName
from .waits import DEADLINE, eventually

ROOT = Path(__file__).resolve().parent.parent.parent

# What must never be in a log: it is part of inputs as payload, token or cookie.
SECRET = "pay10ad-and-t0ken-mark"

SANITIZED = bool(os.environ.get("FASTWS_SANITIZE"))

_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    loop: LoopName = LOOP
    link: LinkName = LINK
    frozen: bool = False
    certificate: str | None = None
    key: str | None = None
    tls_timeout: float = 10.0
    files: int | None = None


class ServerProcess:
    """One testee; ``with`` starts and stops it."""

    def __init__(self, options: ServerOptions | None = None) -> None:
        self.options = options or ServerOptions()
        self.errors = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-X",
                    "faulthandler",
                    "-m",
                    "tests.support.testee",
                    str(theirs.fileno()),
                    json.dumps(vars(self.options)),
                ],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
                stderr=self.errors,
            )
        ours.settimeout(30.0)
        self._control = ours
        self._lines = ours.makefile("r")
        self.pid = self.process.pid
        try:
            found: dict[str, list[Any]] = self._answer()
        except BaseException:
            self.stop()
            raise
        self.addresses: dict[str, Address] = {
            name: (host, port) for name, (host, port) in found.items()
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def address(self) -> Address:
        return self.addresses["main"]

    def stop(self) -> None:
        """End the process: by closing its control line, or by force."""
        self._lines.close()
        self._control.close()
        try:
            self.process.wait(10.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.errors.close()

    # Questions

    def call(self, command: str, **arguments: Any) -> Any:
        """Ask the testee; see its ``do_`` methods."""
        question = json.dumps([command, arguments]).encode() + b"\n"
        return self._answer(question)

    def _answer(self, question: bytes = b"") -> Any:
        try:
            self._control.sendall(question)
            line = self._lines.readline()
        except ConnectionError:
            line = ""
        if not line:
            status = self.process.wait(10.0)
            raise AssertionError(f"the server died with {status}:\n{self.error_text()}")
        return json.loads(line)

    def error_text(self) -> str:
        self.errors.seek(0)
        return self.errors.read()

    def advance(self, seconds: float) -> None:
        """Move the fake clock; everything that is due then has happened."""
        self.call("advance", seconds=seconds)

    def count(self, name: str) -> int:
        """How often handlers were called: opened, messages, closed, hooks, second."""
        counts: dict[str, int] = self.call("seen")["counts"]
        return counts.get(name, 0)

    def counter(self, name: str) -> int:
        """One of the engine's counters."""
        counters: dict[str, int] = self.call("counters")
        return counters[name]

    # What the system says about the process

    @property
    def rss(self) -> int:
        """Resident memory in bytes."""
        text = Path(f"/proc/{self.pid}/statm").read_text()
        return int(text.split()[1]) * _PAGE

    def check_memory(self, before: int, most: int) -> None:
        """Resident memory has grown by so many bytes at most.

        Sanitizers keep what is freed for a while, and tell nothing about this.
        """
        grown = self.rss - before
        assert grown <= most or SANITIZED, f"{grown / 1024:.0f} KiB more, not {most}"

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    @property
    def cpu_seconds(self) -> float:
        """CPU time of the loop's thread so far, in nanosecond steps."""
        text = Path(f"/proc/{self.pid}/task/{self.pid}/schedstat").read_text()
        return int(text.split()[0]) / 1e9

    def unread(self, server: Address, client_port: int) -> int:
        """Bytes in the kernel that the server has not read from a connection yet."""
        for queues, _ in _tcp_entries(server, client_port):
            return int(queues.split(":")[1], 16)
        raise AssertionError("there is no such connection")

    def inode(self, server: Address, client_port: int) -> str:
        """What names the server's socket of a connection."""
        for _, inode in _tcp_entries(server, client_port):
            return inode
        raise AssertionError("there is no such connection")

    def holds(self, inode: str) -> bool:
        """Whether the server still has a descriptor of a socket.

        Not asked of the kernel's list of connections: it is read in pieces, and while
        others come and go on the machine an entry may be passed over.
        """
        for descriptor in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                if os.readlink(descriptor) == f"socket:[{inode}]":
                    return True
        return False

    # Invariants

    def snapshot(self) -> dict[str, Any]:
        """Everything that is the same again when a peer has come and gone."""
        report: dict[str, Any] = self.call("report")
        return {**report, "pid": self.pid, "descriptors": self.descriptors}

    def check_settled(self, before: dict[str, Any], seconds: float = DEADLINE) -> None:
        """The process is the same, and has let go of everything it took up."""
        assert self.process.poll() is None

        def settled() -> bool:
            now = self.snapshot()
            changed = {
                name: (before[name], value)
                for name, value in now.items()
                if value != before[name]
            }
            assert not changed, f"before and now: {changed}"
            return True

        eventually(settled, seconds)

    def take_records(self, *, traces: bool = False) -> list[str]:
        """What was logged since the last time; checked for what must not be in it.

        ``traces``: a handler has failed, and the program wants to know where.
        """
        texts: list[str] = self.call("take_records")
        for text in texts:
            assert SECRET not in text, text
            first, _, trace = text.partition("\nTraceback (most recent call last)")
            assert not _CONTROL_CHARACTERS.search(first), ascii(text)
            assert traces or not trace, text
        return texts

    @contextmanager
    def watched(self, records: int = 1, *, traces: bool = False) -> Iterator[None]:
        """Invariants (a), (c) and (d) around what is inside."""
        self.take_records()
        before = self.snapshot()
        yield
        self.check_settled(before)
        found = self.take_records(traces=traces)
        assert len(found) <= records, found


def _tcp_entries(server: Address, client_port: int) -> Iterator[tuple[str, str]]:
    """Queues and inode of the server's end of a connection, as the kernel has them."""
    wanted = (f":{server[1]:04X}", f":{client_port:04X}")
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, _, _, _, _, inode, *_ = line.split()
        if (local[-5:], remote[-5:]) == wanted:
            yield queues, inode
