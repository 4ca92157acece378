"""What the README and the manual show is what works."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastws import App, HandshakeError
from fastws.testing import connect

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/*.md"))]
CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def programs(page: Path) -> list[str]:
    return CODE.findall(page.read_text())


def guide(heading: str) -> dict[str, Any]:
    """Run the program under a heading of the guide; what it defines."""
    _, _, rest = (ROOT / "docs" / "guide.md").read_text().partition(f"\n## {heading}\n")
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    anchors = {
        re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")
        for heading in re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    }
    for target in LINK.findall(page.read_text()):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif "://" not in target:
            assert (page.parent / target).exists(), target


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
