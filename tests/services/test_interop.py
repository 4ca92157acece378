"""Other people's clients, over ws and wss: websockets, aiohttp, picows, Node's ws."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp
import picows
import pytest
import websockets
from websockets.asyncio.client import connect as connect_websockets

from tests.support.server import ServerOptions, ServerProcess

if TYPE_CHECKING:
    from tests.conftest import Certificates, Run

Message = str | bytes

SIZES = (0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20)
WS_PACKAGE = "ws@8.23.0"


class Client(Protocol):
    """What the tests need of each library's client."""

    async def send(self, message: Message) -> None: ...
    async def send_fragments(self, pieces: list[str]) -> None: ...
    async def receive(self) -> Message: ...
    async def ping(self) -> None:
        """Ping, and wait for the pong."""

    async def close(self, code: int, reason: str) -> None: ...
    async def closed_with(self) -> tuple[int | None, str | None]: ...
    @property
    def subprotocol(self) -> str | None: ...


Connect = Callable[..., AbstractAsyncContextManager[Client]]


class WebsocketsClient:
    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.subprotocol: str | None = connection.subprotocol

    async def send(self, message: Message) -> None:
        await self._connection.send(message)

    async def send_fragments(self, pieces: list[str]) -> None:
        await self._connection.send(pieces)

    async def receive(self) -> Message:
        message: Message = await self._connection.recv()
        return message

    async def ping(self) -> None:
        await (await self._connection.ping())

    async def close(self, code: int, reason: str) -> None:
        await self._connection.close(code, reason)

    async def closed_with(self) -> tuple[int | None, str | None]:
        await self._connection.wait_closed()
        return self._connection.close_code, self._connection.close_reason


@asynccontextmanager
async def with_websockets(
    url: str, context: ssl.SSLContext | None, subprotocols: list[str]
) -> AsyncIterator[WebsocketsClient]:
    names = [websockets.Subprotocol(name) for name in subprotocols] or None
    async with connect_websockets(url, ssl=context, subprotocols=names) as connection:
        yield WebsocketsClient(connection)


def is_open(descriptor: int) -> bool:
    return Path(f"/proc/self/fd/{descriptor}").exists()


class AiohttpClient:
    def __init__(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        self._connection = connection
        self._reason: str | None = ""
        self.subprotocol: str | None = connection.protocol

    async def send(self, message: Message) -> None:
        if isinstance(message, str):
            await self._connection.send_str(message)
        else:
            await self._connection.send_bytes(message)

    async def send_fragments(self, pieces: list[str]) -> None:
        # It has no way of sending fragments.
        await self.send("".join(pieces))

    async def receive(self) -> Message:
        message = await self._connection.receive()
        if message.type is aiohttp.WSMsgType.CLOSE:
            self._reason = message.extra
            raise EOFError
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY)
        data: Message = message.data
        return data

    async def ping(self) -> None:
        await self._connection.ping(b"there?")

    async def close(self, code: int, reason: str) -> None:
        await self._connection.close(code=code, message=reason.encode())

    async def closed_with(self) -> tuple[int | None, str | None]:
        if not self._connection.closed:
            with pytest.raises(EOFError):
                await self.receive()
        return self._connection.close_code, self._reason


@asynccontextmanager
async def with_aiohttp(
    url: str, context: ssl.SSLContext | None, subprotocols: list[str]
) -> AsyncIterator[AiohttpClient]:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            url,
            ssl=context if context is not None else True,
            protocols=subprotocols,
            max_msg_size=0,
            compress=15,
        ) as connection,
    ):
        descriptor = connection.get_extra_info("socket").fileno()
        yield AiohttpClient(connection)
    # Under TLS it says goodbye in the background and offers no event for the end of it,
    # which the loop must not end before.
    while is_open(descriptor):  # noqa: ASYNC110
        await asyncio.sleep(0)


class PicowsClient(picows.WSListener):
    def __init__(self) -> None:
        self.subprotocol: str | None = None
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue()
        self._pong = asyncio.Event()
        self._closed: tuple[int | None, str | None] = (None, None)
        self._parts: list[bytes] = []

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self._transport = transport
        headers = transport.response.headers
        self.subprotocol = headers.get("Sec-WebSocket-Protocol")

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type is picows.WSMsgType.TEXT:
            self._messages.put_nowait(frame.get_payload_as_utf8_text())
        elif frame.msg_type is picows.WSMsgType.BINARY:
            self._messages.put_nowait(frame.get_payload_as_bytes())
        elif frame.msg_type is picows.WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type is picows.WSMsgType.PONG:
            self._pong.set()
        elif frame.msg_type is picows.WSMsgType.CLOSE:
            code = frame.get_close_code()
            self._closed = (code.value, frame.get_close_reason())
            transport.send_close(code, b"")
            transport.disconnect()

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        self._messages.put_nowait(None)

    async def send(self, message: Message) -> None:
        is_text = isinstance(message, str)
        kind = picows.WSMsgType.TEXT if is_text else picows.WSMsgType.BINARY
        data = message.encode() if isinstance(message, str) else message
        self._transport.send(kind, data)

    async def send_fragments(self, pieces: list[str]) -> None:
        kind = picows.WSMsgType.TEXT
        for piece in pieces:
            self._transport.send(kind, piece.encode(), fin=piece is pieces[-1])
            kind = picows.WSMsgType.CONTINUATION

    async def receive(self) -> Message:
        message = await self._messages.get()
        assert message is not None, "disconnected"
        return message

    async def ping(self) -> None:
        self._pong.clear()
        self._transport.send_ping(b"there?")
        await self._pong.wait()

    async def close(self, code: int, reason: str) -> None:
        self._transport.send_close(picows.WSCloseCode(code), reason.encode())
        await self.closed_with()

    async def closed_with(self) -> tuple[int | None, str | None]:
        while await self._messages.get() is not None:
            continue
        return self._closed


@asynccontextmanager
async def with_picows(
    url: str, context: ssl.SSLContext | None, subprotocols: list[str]
) -> AsyncIterator[PicowsClient]:
    headers = {"Sec-WebSocket-Protocol": ", ".join(subprotocols)}
    transport, client = await picows.ws_connect(
        PicowsClient,
        url,
        ssl_context=context,
        extra_headers=headers if subprotocols else None,
    )
    assert isinstance(client, PicowsClient)
    try:
        yield client
    finally:
        transport.disconnect()
        await transport.wait_disconnected()


CLIENTS: dict[str, Connect] = {
    "websockets": with_websockets,
    "aiohttp": with_aiohttp,
    "picows": with_picows,
}


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
