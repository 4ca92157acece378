"""The installation of the peers: what fails is named, and the others go on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from bench.peers import install, peers

Packages = Mapping[str, str]

PINS = {
    "one": {"python": {"alpha": "1"}},
    "two": {"python": {"alpha": "1", "beta": "2"}},
    "three": {"node": {"gamma": "3"}},
}


@pytest.fixture
def outcome(tmp_path: Path) -> Path:
    return tmp_path / "installed.json"


@pytest.fixture
def clients(
    monkeypatch: pytest.MonkeyPatch, outcome: Path
) -> dict[str, list[Packages]]:
    """Package clients that only note their calls, and a place of their own."""
    calls: dict[str, list[Packages]] = {"python": [], "node": [], "debian": []}
    for name, noted in calls.items():
        monkeypatch.setitem(install.CLIENTS, name, noted.append)
    monkeypatch.setattr(install, "pins", lambda: PINS)
    monkeypatch.setattr(install, "INSTALLED", outcome)
    monkeypatch.delenv("CI", raising=False)
    return calls


def failing_for(package: str) -> Callable[[Packages], None]:
    def fail(packages: Packages) -> None:
        if package in packages:
            raise install.MissingError(f"no {package} here")

    return fail


def test_one_call_per_client(clients: dict[str, list[Packages]]) -> None:
    assert install.main() == 0
    assert clients == {
        "python": [{"alpha": "1", "beta": "2"}],
        "node": [{"gamma": "3"}],
        "debian": [],
    }


def test_nothing_is_done_twice(clients: dict[str, list[Packages]]) -> None:
    install.main()
    install.main()
    assert len(clients["python"]) == 1


@pytest.mark.parametrize(("ci", "status"), [("", 0), ("true", 1)])
def test_a_missing_peer_is_named_and_tried_again(
    clients: dict[str, list[Packages]],
    outcome: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ci: str,
    status: int,
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setitem(install.CLIENTS, "python", failing_for("beta"))
    assert install.main() == status
    assert json.loads(outcome.read_text())["missing"] == {"two": "no beta here"}
    assert capsys.readouterr().err == "peers: left out two: no beta here\n"
    monkeypatch.setitem(install.CLIENTS, "python", clients["python"].append)
    assert install.main() == 0
    assert json.loads(outcome.read_text())["missing"] == {}


def test_a_failed_command_tells_its_last_line() -> None:
    peers.BUILD.mkdir(parents=True, exist_ok=True)
    with pytest.raises(install.MissingError, match="sh: the reason"):
        install.run(["sh", "-c", "echo much; echo the reason >&2; exit 3"])
    with pytest.raises(install.MissingError, match="no-such-program"):
        install.run(["no-such-program"])
