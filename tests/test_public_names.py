"""The public names: what ``fastws`` exports is what the manual speaks of."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import fastws
from fastws import testing

ROOT = Path(__file__).parents[1]

# A name that is added here has to be kept.
PUBLIC = {
    "App",
    "Channel",
    "ChannelRule",
    "CloseCode",
    "Compression",
    "CompressionCounts",
    "Config",
    "ConfigError",
    "Connection",
    "ConnectionClosed",
    "Endpoint",
    "FastwsError",
    "HandshakeError",
    "Limits",
    "Message",
    "Opcode",
    "Payload",
    "Position",
    "ProtocolError",
    "Publication",
    "PublishUnknown",
    "Receipt",
    "Recovery",
    "Reject",
    "Request",
    "Response",
    "Server",
    "SlowPolicy",
    "StartupError",
    "StateError",
    "Subscription",
}


def test_the_package_exports_exactly_these_names() -> None:
    assert set(fastws.__all__) == PUBLIC
    assert sorted(fastws.__all__) == list(fastws.__all__)
    assert all(hasattr(fastws, name) for name in PUBLIC)


def test_testing_exports_its_client() -> None:
    assert testing.__all__ == ["connect"]


def public_members(owner: type[Any] | ModuleType) -> list[tuple[str, Any]]:
    names = getattr(owner, "__all__", vars(owner))
    return [
        (name, getattr(owner, name))
        for name in names
        if not name.startswith("_")
        and (
            inspect.isroutine(getattr(owner, name))
            or isinstance(getattr(owner, name), property)
        )
    ]


@pytest.mark.parametrize("owner", [fastws.App, fastws.Server, fastws.Endpoint, testing])
def test_everything_public_is_documented_and_typed(
    owner: type[Any] | ModuleType,
) -> None:
    assert owner.__doc__
    for name, member in public_members(owner):
        function: Any = member.fget if isinstance(member, property) else member
        function = getattr(function, "__func__", function)
        assert function.__doc__, name
        assert "return" in inspect.get_annotations(function), name


def test_the_connection_has_the_names_of_the_manual() -> None:
    expected = """
        id app path params query headers remote_address subprotocol state is_open
        close_code close_reason buffered latency agreement send receive receive_json
        drain ping subscribe unsubscribe channels lag publish spawn close abort
    """
    missing = [
        name for name in expected.split() if not hasattr(fastws.Connection, name)
    ]
    assert not missing


def test_the_import_is_typed() -> None:
    assert (Path(fastws.__file__).parent / "py.typed").exists()


def test_windows_is_told_where_to_go() -> None:
    program = "import sys; sys.platform = 'win32'; import fastws"
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    assert "on Windows use WSL2" in result.stderr


def test_importing_reads_no_optional_library() -> None:
    program = (
        "import sys, fastws; "
        "print([n for n in ('click', 'uvloop', 'redis', 'nats') if n in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == "[]"
