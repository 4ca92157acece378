"""``fastws serve`` as a person starts it: a process of its own, stopped by SIGINT."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import kinds
from .waits import DEADLINE

ROOT = Path(__file__).parents[2]
LISTENING = re.compile(r"http://127\.0\.0\.1:(\d+)")


@dataclass(frozen=True)
class Program:
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def websocket(self, path: str) -> str:
        return f"ws://127.0.0.1:{self.port}{path}"


@contextmanager
def serving(
    target: str, *, port: int = 0, options: Sequence[str] = ()
) -> Iterator[Program]:
    """Serve ``module:app`` on a free port, or on the one that is given.

    It has to stop cleanly at the end, with connections open or without.
    """
    command = [sys.executable, "-m", "fastws", "serve", target, "--port", str(port)]
    command += ["--link", kinds.LINK, "--loop", kinds.LOOP]
    command += options
    process = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert process.stderr is not None
    said = ""
    try:
        for line in process.stderr:
            said += line
            if found := LISTENING.search(line):
                yield Program(int(found[1]))
                break
        else:
            raise AssertionError(f"{' '.join(command)} ended:\n{said}")
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, said + rest
        assert "Traceback" not in rest, said + rest
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
