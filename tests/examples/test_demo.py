"""The demo: its page, its samples, its chat room."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect as connect_client

from examples.demo import app as demo
from examples.demo import machine, quotes
from examples.demo.metrics import Meter
from fastws import CloseCode, Connection, ConnectionClosed
from fastws.testing import connect

from ..support.program import serving

STATIC = Path(demo.__file__).with_name("static")
SERVER = {"connections": 2, "messages_received": 100, "deliveries": 1000}


async def next_of(ws: Connection[Any], kind: str) -> Any:
    while True:
        message = await ws.receive_json()
        if message["type"] == kind:
            return message


def fetch(url: str) -> tuple[str, str]:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def test_the_page_and_all_it_asks_for_are_served() -> None:
    types = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
    with serving("examples.demo.app:app") as server:
        kind, page = fetch(server.url)
        assert kind.startswith("text/html")
        named = set(re.findall(r'(?:src|href)="([^"]+)"', page))
        scripts = "".join(path.read_text() for path in STATIC.glob("*.js"))
        named |= set(re.findall(r'from "\./([^"]+)"', scripts))
        named |= set(re.findall(r'new Worker\("([^"]+)"', scripts))
        assert named == {path.name for path in STATIC.iterdir()} - {"index.html"}
        for name in named:
            kind, content = fetch(server.url + name)
            assert kind.startswith(types[Path(name).suffix])
            assert content == (STATIC / name).read_text()


def test_the_page_needs_no_other_host_and_no_inline_code() -> None:
    for path in STATIC.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, path.name
        assert "innerHTML" not in text, path.name
    page = (STATIC / "index.html").read_text()
    assert "default-src 'self'" in page
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bon\w+=|\bstyle=", page)


def test_samples_come_ten_times_a_second() -> None:
    with (
        serving("examples.demo.app:app") as server,
        connect_client(server.websocket("/live"), proxy=None) as ws,
    ):
        assert json.loads(ws.recv(timeout=5))["type"] == "hello"
        samples = [json.loads(ws.recv(timeout=5))["sample"] for _ in range(21)]
        elapsed = samples[-1]["time"] - samples[0]["time"]
        # A busy machine may be late, but two samples never come at once.
        assert elapsed > 1.8
        assert samples[-1]["connections"] == 1
        assert 0 < samples[-1]["deliveries"] < 14


def test_a_new_tab_gets_what_was_before_it(run: Callable[..., Any]) -> None:
    async def scenario() -> None:
        demo.lines.clear()
        async with connect(demo.app, "/live") as first:
            hello = await next_of(first, "hello")
            assert hello["cores"] >= 1
            assert hello["lines"] == []
            first.send({"type": "say", "name": "Ada", "text": "Anybody here?"})
            line = (await next_of(first, "line"))["line"]
            await next_of(first, "sample")
            async with connect(demo.app, "/live") as second:
                hello = await next_of(second, "hello")
                assert hello["lines"] == [line]
                assert len(hello["samples"]) >= 1

    run(scenario())


def test_a_line_reaches_the_other_tab(run: Callable[..., Any]) -> None:
    async def scenario() -> None:
        async with (
            connect(demo.app, "/live") as first,
            connect(demo.app, "/live") as second,
        ):
            you = (await next_of(first, "hello"))["you"]
            text = "<b>as it was typed</b>"
            first.send({"type": "say", "name": "Ada", "text": text})
            for ws in (first, second):
                line = (await next_of(ws, "line"))["line"]
                assert (line["from"], line["name"], line["text"]) == (you, "Ada", text)

    run(scenario())


def test_quotes_come_while_somebody_looks(run: Callable[..., Any]) -> None:
    async def scenario() -> None:
        async with connect(demo.app, "/quotes") as ws:
            found = [await ws.receive_json() for _ in range(3 * len(quotes.SYMBOLS))]
            symbols = [quote["symbol"] for quote in found]
            assert symbols == quotes.SYMBOLS * 3
            numbers = [quote["number"] for quote in found if quote["symbol"] == "ALTO"]
            assert numbers == list(range(numbers[0], numbers[0] + 3))
            assert all(len(quote["prices"]) == quotes.POINTS for quote in found)

    run(scenario())


def test_a_ping_is_answered(run: Callable[..., Any]) -> None:
    async def scenario() -> None:
        async with connect(demo.app, "/live") as ws:
            ws.send({"type": "ping", "sent": 12.5})
            assert await next_of(ws, "pong") == {"type": "pong", "sent": 12.5}

    run(scenario())


@pytest.mark.parametrize(
    "request_text",
    [
        "not JSON",
        '{"type": "unknown"}',
        '{"type": "say", "name": "Ada"}',
        '{"type": "say", "name": " ", "text": "no name"}',
        '{"type": "say", "name": "Ada", "text": " "}',
        '{"type": "say", "name": "%s", "text": "too long a name"}' % ("A" * 25),
        '{"type": "say", "name": "Ada", "text": "%s"}' % ("long " * 101),
    ],
)
def test_a_wrong_request_is_refused(run: Callable[..., Any], request_text: str) -> None:
    async def scenario() -> None:
        async with connect(demo.app, "/live") as ws:
            ws.send(request_text)
            assert (await next_of(ws, "refused"))["reason"]
            ws.send({"type": "ping", "sent": 1})
            assert await next_of(ws, "pong")

    run(scenario())


def test_a_huge_request_ends_the_connection(run: Callable[..., Any]) -> None:
    async def scenario() -> None:
        async with connect(demo.app, "/live") as ws:
            ws.send({"type": "say", "name": "Ada", "text": "A" * 10_000})
            with pytest.raises(ConnectionClosed) as closed:
                await next_of(ws, "never")
            assert closed.value.code == CloseCode.TOO_BIG

    run(scenario())


def test_rates_are_over_the_last_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    counters = {"cpu_busy": 50, "cpu_total": 200, "network_in": 0, "network_out": 7}
    monkeypatch.setattr("time.monotonic", lambda: now)
    monkeypatch.setattr(machine, "counters", lambda: dict(counters))
    meter = Meter()
    first = meter.sample(SERVER)
    assert first["cpu"] is None
    assert first["connections"] == 2
    for step in range(1, 31):
        now = 100 + step / 10
        busy = 1 if step <= 15 else 3
        counters = {
            "cpu_busy": counters["cpu_busy"] + busy,
            "cpu_total": counters["cpu_total"] + 4,
            "network_in": counters["network_in"] + 250,
            "network_out": 7,
        }
        last = meter.sample({**SERVER, "deliveries": 1000 + 30 * step})
    assert last["cpu"] == pytest.approx(0.75)
    assert last["network_in"] == pytest.approx(2500)
    assert last["network_out"] == 0
    assert last["deliveries"] == pytest.approx(300)


def test_figures_of_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "stat").write_text("cpu  10 1 5 70 4 2 3 5 9 9\ncpu0 1 1 1 1\n")
    (tmp_path / "meminfo").write_text("MemTotal: 900 kB\nMemAvailable: 300 kB\n")
    (tmp_path / "net" / "dev").write_text(
        "Inter-|   Receive\n face |bytes\n"
        "    lo: 99 1 0 0 0 0 0 0 99 1 0 0 0 0 0 0\n"
        "  eth0: 10 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0\n"
        " wlan0:5 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n"
    )
    monkeypatch.setattr(machine, "PROC", tmp_path)
    assert machine.counters() == {
        "cpu_busy": 26,
        "cpu_total": 100,
        "network_in": 15,
        "network_out": 27,
    }
    assert machine.memory_used() == 600 * 1024
    assert machine.memory_total() == 900 * 1024


def test_without_proc_figures_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "PROC", tmp_path / "nowhere")
    assert machine.counters() == {}
    assert machine.memory_used() is None
    meter = Meter()
    for _ in range(2):
        sample = meter.sample(SERVER)
    assert sample["connections"] == 2
    missing = ("cpu", "memory", "network_in", "network_out")
    assert [sample[name] for name in missing] == [None] * 4
