"""What the README and the manual show is what works."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastws import App, Compression, HandshakeError
from fastws.testing import connect

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/*.md"))]
CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def programs(page: Path) -> list[str]:
    return CODE.findall(page.read_text())


def guide(heading: str, page: str = "guide.md") -> dict[str, Any]:
    """Run the program under a heading of the manual; what it defines."""
    _, _, rest = (ROOT / "docs" / page).read_text().partition(f"\n## {heading}\n")
    found = CODE.search(rest)
    assert found is not None
    return run_program(found[1], heading)


def run_program(program: str, name: str) -> dict[str, Any]:
    """Run a program without the future import of this file; what it defines."""
    names: dict[str, Any] = {"__name__": "manual"}
    exec(compile(program, name, "exec", dont_inherit=True), names)
    return names


def test_the_chat_server_of_the_readme_is_the_example() -> None:
    example = (ROOT / "examples" / "chat.py").read_text()
    assert programs(ROOT / "README.md") == [example]
    assert len(example.splitlines()) == 15


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {
        re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-") for heading in headings
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        other = page.parent / name if name else page
        assert other.exists(), target
        assert not anchor or anchor in anchors(other), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_program_runs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for number, program in enumerate(programs(page), 1):
        run_program(program, f"{page.name} program {number}")


def test_handlers(run: Callable[..., Any]) -> None:
    app: App = guide("Handlers")["app"]

    async def scenario() -> None:
        async with connect(app, "/coroutine/Ada") as ws:
            assert await ws.receive(timeout=5) == "Hello Ada"
            ws.send("hi")
            assert await ws.receive(timeout=5) == "hi"
        async with connect(app, "/callbacks/Ada") as ws:
            ws.send("hi")
            assert await ws.receive(timeout=5) == "Ada said 'hi'"
        async with connect(app, "/counter") as ws:
            ws.send("one more")
            assert await ws.receive(timeout=5) == "101"

    run(scenario())


def test_the_connection(
    run: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    app: App = guide("The connection")["app"]

    async def scenario() -> None:
        async with connect(app, "/tour?page=3", headers={"User-Agent": "me"}) as ws:
            received = [await ws.receive(timeout=5) for _ in range(4)]
            assert received[1] == b"bytes are sent as binary"
            assert received[2] == '{"anything":"else","as":["JSON","text"]}'
            ws.send("go on")
        async with connect(app, "/clock") as ws:
            assert "time" in await ws.receive_json()
            ws.send("hi")
            assert await ws.receive_json() == {"you said": "hi"}

    run(scenario())
    said = capsys.readouterr().out
    assert "/tour 3" in said
    assert "me\nreceived go on" in said


def test_channels(run: Callable[..., Any]) -> None:
    app: App = guide("Channels")["app"]

    async def scenario() -> None:
        async with connect(app, "/rooms/1") as ada, connect(app, "/rooms/1") as linus:
            ada.send("hi")
            everyone = "to every connection of this process"
            received = [await linus.receive(timeout=5) for _ in range(4)]
            assert received == ["hi", "hi", '{"said":"hi"}', everyone]
            assert await ada.receive(timeout=5) == "hi"

    run(scenario())


def test_events_and_the_registry(
    run: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    names = guide("Events and the registry")
    app: App = names["app"]

    async def scenario() -> None:
        @app.websocket("/ws")
        async def listen(ws: Any) -> None:
            ws.subscribe("room.1")
            async for _ in ws:
                continue

        async with connect(app, "/ws") as ws:
            joined = await ws.receive_json()
            assert joined["members"] == 1
            assert await names["remove"](joined["joined"])
            assert await ws.receive(timeout=5) == "You are being removed"

    run(scenario())
    said = capsys.readouterr().out
    assert "came; now there are 1" in said
    assert "left with 1008 removed" in said


def test_who_may_connect(run: Callable[..., Any]) -> None:
    app: App = guide("Who may connect")["app"]

    async def scenario() -> None:
        with pytest.raises(HandshakeError) as refused:
            async with connect(app, "/private"):
                raise AssertionError("a connection without a token")
        assert refused.value.status == 401
        path = "/private?token=open%20sesame"
        async with connect(app, path, subprotocols=["v1.chat"]) as ws:
            assert await ws.receive(timeout=5) == "Welcome, we speak v1.chat"

    run(scenario())


# The page about fan-out


def test_who_is_slow_gets_the_newest_prices(run: Callable[..., Any]) -> None:
    names = guide("Slow subscribers", "fanout.md")
    app: App = names["app"]

    async def scenario() -> None:
        async with connect(app, "/prices") as ws:
            await reached(lambda: "prices" in app.channels)
            names["price_changed"]("ABC", 12.5)
            assert await ws.receive_json() == {"symbol": "ABC", "price": 12.5}
            (connection,) = app.connections
            names["Prices"]().on_skip(connection, "prices", 3)
            assert await ws.receive_json() == {"skipped": 3, "you owe": 0}

    run(scenario())


def test_who_comes_back_gets_the_news(run: Callable[..., Any]) -> None:
    app: App = guide("History and recovery", "fanout.md")["app"]

    async def scenario() -> None:
        async with connect(app, "/news") as ws:
            ws.send({})
            start = await ws.receive_json()
            assert (start["recovered"], start["offset"]) == (False, 0)
            app.publish("news", "one")
            assert await ws.receive(timeout=5) == "one"
            app.publish("news", "two")
            async with connect(app, "/news") as returning:
                returning.send({"epoch": start["epoch"], "offset": 1})
                assert await returning.receive(timeout=5) == "two"
                answer = await returning.receive_json()
                assert answer == {**start, "recovered": True, "offset": 2}
            async with connect(app, "/news") as stranger:
                stranger.send({"epoch": "another", "offset": 1})
                answer = await stranger.receive_json()
                assert (answer["recovered"], answer["offset"]) == (False, 2)
        newest = app.routes.http("GET", "/news")
        assert newest is not None

    run(scenario())


def test_batches(run: Callable[..., Any]) -> None:
    names = guide("Batches", "fanout.md")
    app: App = names["app"]

    @app.websocket("/all")
    async def listen(ws: Any) -> None:
        for channel in "prices", "ticker":
            ws.subscribe(channel)
        await ws.send("welcome")
        async for _ in ws:
            continue

    async def scenario() -> None:
        async with connect(app, "/all") as ws:
            assert await ws.receive(timeout=5) == "welcome"
            names["markets_moved"]({"ABC": 1.5, "DEF": 2})
            received = [await ws.receive_json() for _ in range(3)]
            assert received == [
                {"symbol": "ABC", "price": 1.5},
                {"symbol": "DEF", "price": 2},
                [{"moved": 2}],
            ]

    run(scenario())


def test_who_gets_it(run: Callable[..., Any]) -> None:
    names = guide("Who gets it", "fanout.md")
    app: App = names["app"]

    async def scenario() -> None:
        assert not names["notify"]("ada", {})
        async with connect(app, "/users/ada") as ada, connect(app, "/users/bo") as bo:
            await reached(lambda: len(app.channels) == 2)
            assert names["notify"]("ada", {"for": "ada"})
            assert await ada.receive_json() == {"for": "ada"}
            (other,) = [one for one in app.connections if one.params["id"] == "bo"]
            assert names["whisper"](other.id, "psst")
            assert not names["whisper"]("nobody", "psst")
            assert await bo.receive(timeout=5) == "psst"
            names["announce"]("all but bo", author=other)
            assert await ada.receive(timeout=5) == "all but bo"
            bo.send("mute")
            await reached(lambda: other.state.muted)
            assert [names["remind"]("drink water") for _ in range(2)] == [1, 0]
            assert await ada.receive(timeout=5) == "drink water"

    run(scenario())


# The page about compression


def test_what_is_switched_on_compresses(
    run: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    names = guide("Switching it on", "compression.md")
    app: App = names["app"]
    report = guide("Counters", "compression.md")["report"]
    report.__globals__["app"] = app

    async def scenario() -> None:
        async with connect(app, "/quotes", compression=True) as ws:
            received = [await ws.receive_json() for _ in range(4)]
            assert [*received[0]] == ["every"]
            assert received[3] == {"token": "secret"}
            assert app.counters.snapshot()["compressed_messages"] == 1
            prices = {f"symbol {number}": 12.5 for number in range(5)}
            names["publish"](prices)
            received = [await ws.receive_json() for _ in range(2)]
            assert received == [prices, prices]
            assert await ws.receive_json() == {"token": "secret"}
            assert await ws.receive(timeout=5) == "good night"
            # All of it is under the threshold; the one that asked for it.
            assert app.counters.snapshot()["compressed_messages"] == 2
            report()
        async with connect(app, "/video", compression=True) as ws:
            assert ws.agreement is None

    run(scenario())
    assert re.search(r"prices: \d\d% of 81 bytes\n\d+ us", capsys.readouterr().out)


def test_a_cohort_as_the_manual_has_it(run: Callable[..., Any]) -> None:
    names = guide("Cohorts", "compression.md")
    app: App = names["app"]

    async def scenario() -> None:
        browser = Compression(client_context=True)
        async with connect(app, "/ticks/ABC", compression=browser) as ws:
            await reached(lambda: "ticks.ABC" in app.channels)
            for volume in range(100):
                names["quote"]("ABC", 12.5, volume)
            for volume in range(100):
                assert await ws.receive_json() == {"price": 12.5, "volume": volume}
            counts = app.channels["ticks.ABC"].compression
            assert counts is not None
            assert counts.bytes_after < 0.5 * counts.bytes_before

    run(scenario())


async def reached(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - both ends have to get there
            await asyncio.sleep(0)


def test_the_manual_names_the_counters_of_the_policies() -> None:
    _, _, rest = (ROOT / "docs" / "fanout.md").read_text().partition("## Counters\n")
    rows = re.findall(r"^\| (.*?) \|", rest, re.MULTILINE)
    named = set(re.findall(r"`(\w+_\w+)`", "".join(rows)))
    assert len(named) == 9
    assert named <= set(App().counters.snapshot())
