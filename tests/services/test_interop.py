"""Other people's clients, over ws and wss: websockets, aiohttp, picows, Node's ws."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.services.clients import CLIENTS, Client
from tests.support.server import ServerOptions, ServerProcess

if TYPE_CHECKING:
    from tests.conftest import Certificates, Run

SIZES = (0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20)
WS_PACKAGE = "ws@8.23.0"


@pytest.fixture(scope="module")
def server(certificates: Certificates) -> Iterator[ServerProcess]:
    options = ServerOptions(
        certificate=str(certificates.certificate), key=str(certificates.key)
    )
    with ServerProcess(options) as process:
        yield process


def base_url(server: ServerProcess, scheme: str) -> str:
    host, port = server.addresses["tls" if scheme == "wss" else "main"]
    return f"{scheme}://{host}:{port}"


@pytest.fixture(params=["ws", "wss"])
def scheme(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


Open = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture(params=CLIENTS)
def open_client(
    request: pytest.FixtureRequest,
    server: ServerProcess,
    certificates: Certificates,
    scheme: str,
) -> Open:
    """Opens a path of the server with one of the libraries."""
    context = certificates.client_context() if scheme == "wss" else None

    def open_path(
        path: str, subprotocols: list[str] | None = None
    ) -> AbstractAsyncContextManager[Client]:
        url = base_url(server, scheme) + path
        return CLIENTS[request.param](url, context, subprotocols or [])

    return open_path


@pytest.mark.parametrize("path", ["/echo", "/echo-async"])
def test_echo(run_on_each_loop: Run[None], open_client: Open, path: str) -> None:
    async def scenario() -> None:
        async with open_client(path) as client:
            for size in SIZES:
                await client.send(bytes(size))
                assert await client.receive() == bytes(size)
            await client.send("Grüße 😀")
            assert await client.receive() == "Grüße 😀"
            await client.send_fragments(["a", "bc", "", "def"])
            assert await client.receive() == "abcdef"
            await client.ping()
            await client.send("after the ping")
            assert await client.receive() == "after the ping"

    run_on_each_loop(scenario())


def test_numbered_stream(run: Run[None], open_client: Open) -> None:
    async def scenario() -> None:
        async with open_client("/subscribe/numbers") as client:
            found = [int(await client.receive()) for _ in range(50)]
            assert found == list(range(found[0], found[0] + 50))

    run(scenario())


def test_close_by_the_client(
    run: Run[None], open_client: Open, server: ServerProcess
) -> None:
    async def scenario() -> None:
        async with open_client("/echo") as client:
            await client.send("hello")
            assert await client.receive() == "hello"
            await client.close(1001, "going")

    run(scenario())
    closed: list[list[object]] = server.call("seen")["closed"]
    assert closed[-1] == ["/echo", 1001, "going"]


def test_close_by_the_server(run: Run[None], open_client: Open) -> None:
    async def scenario() -> None:
        async with open_client("/obedient") as client:
            await client.send("close")
            assert await client.closed_with() == (4000, "as you wish")

    run(scenario())


def test_subprotocol(run: Run[None], open_client: Open) -> None:
    async def scenario() -> None:
        async with open_client("/spoken", ["other", "chat.v1", "chat.v2"]) as client:
            assert client.subprotocol == "chat.v2"

    run(scenario())


@pytest.fixture(scope="module")
def node_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script beside an installed ws package."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    installed = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", WS_PACKAGE],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if installed.returncode:
        pytest.skip(f"npm could not install {WS_PACKAGE}: {installed.stderr[-300:]}")
    return Path(shutil.copy(Path(__file__).with_name("interop.mjs"), folder))


@pytest.mark.timeout(180)
def test_node_ws(
    server: ServerProcess, certificates: Certificates, node_script: Path, scheme: str
) -> None:
    arguments = [base_url(server, scheme)]
    if scheme == "wss":
        arguments.append(str(certificates.authority))
    ran = subprocess.run(
        ["node", str(node_script), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    for echo in found["echo"]:
        assert echo == {
            "extensions": "",
            "sizes": list(SIZES),
            "text": "Grüße 😀",
            "fragments": "abc",
            "pong": "there?",
            "close": [4321, "bye"],
        }
    first = found["numbers"][0]
    assert found["numbers"] == list(range(first, first + 20))
    assert found["closedByServer"] == [4000, "as you wish"]
    assert found["subprotocol"] == "chat.v2"
