"""``fastws serve``: options from Config, start-up errors with advice, orderly stop."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fastws import App, Config, cli
from fastws.cli.commands import command
from fastws.cli.serve import serve

ROOT = Path(__file__).parents[2]
DEADLINE = 20.0

CHAT = """
import os

from fastws import App

app = App()
other = App()
number = 5
factory = lambda: app
nothing = None


@app.get("/")
def home(request):
    return "home"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module of its own, as the current one."""
    (tmp_path / "chat_program.py").write_text(CHAT)
    (tmp_path / "broken_program.py").write_text("import no_such_library\n")
    (tmp_path / "failing_program.py").write_text("raise ValueError('at import')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.endswith("_program"):
            del sys.modules[name]


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(command, ["serve", *arguments])


@pytest.fixture
def options(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What ``App.run`` would be called with for these arguments."""
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(App, "run", lambda self, **given: seen.append(given))

    def given(*arguments: str) -> dict[str, Any]:
        result = invoke("chat_program:app", *arguments)
        assert result.exit_code == 0, result.output
        return seen.pop()

    return given


def test_options_that_are_not_given_stay_the_apps(options: Any) -> None:
    assert options() == {}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--host", "0.0.0.0"], {"host": "0.0.0.0"}),
        (["--port", "0"], {"port": 0}),
        (
            ["--ssl-certificate", "c.pem", "--ssl-key", "k.pem"],
            {"ssl_certificate": "c.pem", "ssl_key": "k.pem"},
        ),
        (["--debug"], {"debug": True}),
        (["--no-debug"], {"debug": False}),
        (["--loop", "asyncio"], {"loop": "asyncio"}),
        (["--link", "uvloop"], {"link": "uvloop"}),
        (["--backlog", "16"], {"backlog": 16}),
        (["--compression"], {"compression": True}),
        (["--no-compression"], {"compression": False}),
        (["--shutdown-timeout", "2.5"], {"shutdown_timeout": 2.5}),
        (
            ["--allowed-origins", "https://a.example", "--allowed-origins", "null"],
            {"allowed_origins": ("https://a.example", "null")},
        ),
        (["--log-level", "debug"], {}),
    ],
)
def test_an_option_replaces_the_field_of_its_name(
    options: Any, arguments: list[str], expected: dict[str, Any]
) -> None:
    assert options(*arguments) == expected


def test_the_options_are_the_fields_of_config() -> None:
    names = {parameter.name for parameter in serve.params}
    expected = {one.name for one in fields(Config)} - {"ssl", "limits"}
    assert names == expected | {"target", "log_level"}


def test_the_help_explains_every_option() -> None:
    output = " ".join(invoke("--help").output.split())
    for one in fields(Config):
        if one.name not in ("ssl", "limits"):
            assert "--" + one.name.replace("_", "-") in output
            assert one.metadata["about"].split(";")[0] in output
    assert "[default: 8080]" in output


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_module:app", "there is no module 'no_such_module' here"),
        ("chat_program.sub:app", "there is no module 'chat_program.sub' here"),
        ("chat_program:missing", "'chat_program' has no 'missing': did you mean"),
        ("chat_program:number", "not a fastws App but an object of builtins.int"),
        ("chat_program:nothing", "not a fastws App but None"),
        ("chat_program:os", "not a fastws App but the module 'os'"),
        ("chat_program:factory", "not a fastws App but the function"),
        ("chat_program:App", "is the class App: name an instance"),
        ("chat_program:App.get.x", "'chat_program' has no 'App.get.x'"),
        (
            "chat_program.py",
            "is a file: give its module, `fastws serve chat_program:app`",
        ),
        ("./sub/chat.py:api", "`fastws serve sub.chat:api`"),
        (":app", "is not of the form module:app"),
        ("chat-program:app", "is not of the form module:app"),
        ("json:app", "module 'json' has no 'app'"),
    ],
)
def test_a_wrong_target_is_explained(folder: Path, target: str, message: str) -> None:
    result = invoke(target)
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output


def test_the_attribute_is_app_by_default(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[App] = []
    monkeypatch.setattr(App, "run", lambda self, **_: ran.append(self))
    assert invoke("chat_program").exit_code == 0
    assert ran == [sys.modules["chat_program"].app]


@pytest.mark.parametrize(
    ("target", "error"),
    [("broken_program:app", ModuleNotFoundError), ("failing_program:app", ValueError)],
)
def test_an_error_of_the_module_itself_keeps_its_traceback(
    folder: Path, target: str, error: type[Exception]
) -> None:
    result = invoke(target)
    assert isinstance(result.exception, error)


def test_a_wrong_value_is_explained(folder: Path) -> None:
    result = invoke("chat_program:app", "--port", "70000")
    assert result.exit_code == 1
    assert "Config.port must be a number from 0 to 65535" in result.output
    assert invoke("chat_program:app", "--loop", "trio").exit_code == 2


def test_a_port_in_use_is_explained(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        result = invoke("chat_program:app", "--port", str(port))
    assert result.exit_code == 1
    assert f"127.0.0.1:{port} is in use by this very process" in result.output
    assert "--port" in result.output


def test_a_missing_certificate_is_explained(folder: Path) -> None:
    result = invoke("chat_program:app", "--port", "0", "--ssl-certificate", "no.pem")
    assert result.exit_code == 1
    assert "certificate file 'no.pem' cannot be read" in result.output


def test_the_version_is_the_distributions() -> None:
    result = CliRunner().invoke(command, ["--version"])
    assert result.output.startswith("fastws ")


def test_the_other_distribution_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "distribution", lambda name: object())
    with pytest.raises(SystemExit, match="pip uninstall --yes fastws") as stopped:
        cli.main()
    assert "fastws-engine" in str(stopped.value)


# As a process of its own

URL = re.compile(r"(https?)://127\.0\.0\.1:(\d+)")


@contextmanager
def serving(*arguments: str, cwd: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The running program and its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fastws", "serve", *arguments, "--port", "0"],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *_path()])},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = ""
    try:
        for line in process.stderr:
            said += line
            if found := URL.search(line):
                yield process, found[0]
                return
        raise AssertionError(f"the program ended:\n{said}")
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _path() -> list[str]:
    known = os.environ.get("PYTHONPATH")
    return [known] if known else []


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_in_good_order(
    folder: Path, loop: str, number: signal.Signals
) -> None:
    with serving("chat_program:app", "--loop", loop, cwd=folder) as (process, url):
        with urllib.request.urlopen(url, timeout=DEADLINE) as response:
            assert response.read() == b"home"
        process.send_signal(number)
        _, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert "stopped" in errors


def test_tls_from_the_command_line(folder: Path, certificates: Any) -> None:
    flags = [
        "--ssl-certificate",
        str(certificates.certificate),
        "--ssl-key",
        str(certificates.key),
    ]
    with serving("chat_program:app", *flags, cwd=folder) as (process, url):
        assert url.startswith("https://")
        context = ssl.create_default_context(cafile=certificates.authority)
        with urllib.request.urlopen(url, timeout=DEADLINE, context=context) as response:
            assert response.read() == b"home"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=DEADLINE)
    assert process.returncode == 0
