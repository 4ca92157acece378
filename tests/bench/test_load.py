"""The load generator against the C control: what it counts, and what it refuses.

Nothing here asserts a speed. The runs last a fraction of a second.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
DEADLINE = 30.0
OPTIONS = ["--warm-up", "0.05", "--duration", "0.1", "--timeout", "20"]

Result = dict[str, Any]
Load = Callable[..., Result]

pytestmark = [
    pytest.mark.skipif(
        shutil.which("make") is None or not hasattr(os, "sched_getaffinity"),
        reason="needs make and Linux",
    ),
    # It compiles, and compilers can't take the preloaded runtimes.
    pytest.mark.unsanitized,
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    subprocess.run(
        ["make", "--quiet", "-C", str(BENCH), f"OUT={folder}"],
        check=True,
        timeout=DEADLINE,
    )
    return folder


@pytest.fixture(scope="module")
def control(built: Path) -> Iterator[tuple[int, int]]:
    """Port and pid of a running control."""
    process = subprocess.Popen(
        [built / "control", "0"], stdout=subprocess.PIPE, text=True
    )
    timer = threading.Timer(DEADLINE, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline().split()[-1]), process.pid
    finally:
        timer.cancel()
        process.kill()
        process.communicate()


@pytest.fixture
def load(built: Path) -> Load:
    def run(mode: str, port: int, *arguments: str) -> Result:
        done = subprocess.run(
            [built / "load", mode, "--port", str(port), *OPTIONS, *arguments],
            stdout=subprocess.PIPE,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        result: Result = json.loads(done.stdout)
        assert done.returncode == (1 if result["error"] else 0)
        return result

    return run


class Fake:
    """A server that answers the handshake through `respond` and each frame wrongly."""

    def __init__(self, respond: Callable[[bytes], bytes]) -> None:
        self._respond = respond
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(DEADLINE)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(DEADLINE)
            try:
                while data := connection.recv(65536):
                    connection.sendall(self._respond(data))
            except ConnectionError:
                return  # the load generator resets what it gives up on

    def close(self) -> None:
        self._listener.close()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()


@pytest.fixture
def fake() -> Iterator[Callable[[Callable[[bytes], bytes]], int]]:
    started: list[Fake] = []

    def start(respond: Callable[[bytes], bytes]) -> int:
        started.append(Fake(respond))
        return started[-1].port

    yield start
    for one in started:
        one.close()


@pytest.mark.parametrize("kind", [[], ["--binary"]])
@pytest.mark.parametrize(
    ("connections", "depth", "size"),
    [(1, 1, 16), (10, 16, 64), (4, 3, 125), (4, 3, 126), (3, 16, 16384), (2, 2, 65536)],
)
def test_echo(
    control: tuple[int, int],
    load: Load,
    connections: int,
    depth: int,
    size: int,
    kind: list[str],
) -> None:
    port, pid = control
    arguments = ["--connections", str(connections), "--depth", str(depth)]
    arguments += ["--size", str(size), "--path", "/echo", "--server-pid", str(pid)]
    result = load("echo", port, *arguments, *kind)
    assert result["error"] is None
    assert result["operations"] >= connections * depth
    assert result["seconds"] >= 0.1
    assert result["kind"] == ("binary" if kind else "text")
    assert result["server_cpu"] >= 0
    latency = result["latency_us"]
    assert 0 < latency["p50"] <= latency["p99"] <= latency["p99.9"]
    assert latency["p99.9"] <= latency["p99.99"] <= latency["max"]


@pytest.mark.parametrize(("subscribers", "depth"), [(1, 1), (20, 1), (30, 16)])
def test_fanout_counts_every_delivery(
    control: tuple[int, int], load: Load, subscribers: int, depth: int
) -> None:
    port, _ = control
    arguments = ["--connections", str(subscribers), "--depth", str(depth)]
    result = load("fanout", port, *arguments, "--size", "128", "--path", "/broadcast")
    assert result["error"] is None
    assert result["publications"] > 0
    # The window is full when the clock starts, so its deliveries may be half done.
    spread = depth * subscribers
    assert abs(result["operations"] - result["publications"] * subscribers) <= spread


def test_connect_opens_each_connection_once(
    control: tuple[int, int], load: Load
) -> None:
    port, _ = control
    arguments = ["--connections", "300", "--parallel", "20", "--sources", "3"]
    result = load("connect", port, *arguments)
    assert result["error"] is None
    assert result["operations"] == 300


def test_idle_reports_memory(control: tuple[int, int], load: Load) -> None:
    port, pid = control
    arguments = ["--connections", "300", "--server-pid", str(pid)]
    result = load("idle", port, *arguments)
    assert result["error"] is None
    assert result["operations"] == 300
    assert result["resident_after"] >= result["resident_before"] > 0
    assert result["bytes_per_connection"] >= 0


def test_first_message_and_its_replies(control: tuple[int, int], load: Load) -> None:
    port, _ = control
    arguments = ["--path", "/echo", "--connections", "5"]
    arguments += ["--first", '{"hello": "world"}', "--first-replies", "1"]
    result = load("echo", port, *arguments)
    assert result["error"] is None
    assert result["operations"] > 0


def test_echo_for_fanout_is_found_out(control: tuple[int, int], load: Load) -> None:
    """A server that sends to the publisher alone never completes a publication."""
    port, _ = control
    arguments = ["--path", "/echo", "--connections", "3", "--timeout", "0.5"]
    result = load("fanout", port, *arguments)
    assert "timed out" in result["error"]


def test_broadcast_for_echo_is_found_out(control: tuple[int, int], load: Load) -> None:
    """Messages of other connections are not taken for one's own."""
    port, _ = control
    result = load("echo", port, "--path", "/broadcast", "--connections", "3")
    assert "came back changed" in result["error"]


def test_refused_handshake(fake: Callable[..., int], load: Load) -> None:
    port = fake(lambda data: b"HTTP/1.1 403 Forbidden\r\n\r\n")
    result = load("echo", port, "--connections", "1")
    assert "status is not 101" in result["error"]


def test_wrong_accept_key(fake: Callable[..., int], load: Load) -> None:
    head = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: "
    port = fake(lambda data: head + b"A" * 27 + b"=\r\n\r\n")
    result = load("echo", port, "--connections", "1")
    assert "wrong Sec-WebSocket-Accept" in result["error"]


def test_nobody_listens(load: Load) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    result = load("echo", port, "--connections", "1")
    assert "connect" in result["error"] or "lost" in result["error"]


def test_silent_server_meets_the_deadline(fake: Callable[..., int], load: Load) -> None:
    port = fake(lambda data: b"")
    result = load("echo", port, "--connections", "1", "--timeout", "0.3")
    assert "timed out" in result["error"]


def test_other_addresses_than_loopback_are_refused(load: Load) -> None:
    result = load("echo", 80, "--host", "192.0.2.1")
    assert "127.0.0.0/8" in result["error"]
