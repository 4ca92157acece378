"""Compression from end to end: an App, and another implementation of RFC 7692."""

from __future__ import annotations

import random
from typing import Any, TypeAlias

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import Frame, Opcode

from fastws import App, Compression, Config, Connection
from fastws.engine.deflate import Deflate
from fastws.engine.parser import Parser

from .conftest import Certificates, Run

Ws: TypeAlias = "Connection[Any]"

WORDS = "".join(random.Random(5).choices("abcdefgh €é", k=40_000))
MESSAGES: list[str | bytes] = [
    "short",
    "",
    b"",
    b"\0" * 5000,
    WORDS[:3000],
    WORDS,
    WORDS.encode() * 5,
    random.Random(6).randbytes(20_000),
    WORDS,
]


def make_app(context: bool) -> App:
    rule = Compression(
        window_bits=15,
        threshold=0,
        max_size=None,
        max_ratio=None,
        server_context=context,
        client_context=context,
    )
    app = App(Config(compression=rule))

    @app.websocket("/echo")
    async def echo(ws: Ws) -> None:
        async for message in ws:
            await ws.send(message)

    return app


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
@pytest.mark.parametrize("context", [False, True], ids=["stateless", "context"])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"server_no_context_takeover": True, "client_no_context_takeover": True},
        {"server_max_window_bits": 9, "client_max_window_bits": 9},
    ],
    ids=["default", "no-context", "small-windows"],
)
def test_another_client_and_our_server(
    run_on_each_loop: Run[None],
    certificates: Certificates,
    tls: bool,
    context: bool,
    parameters: dict[str, Any],
) -> None:
    app = make_app(context)
    ssl = certificates.server_context() if tls else None
    offered = {"client_max_window_bits": True, **parameters}

    async def scenario() -> None:
        async with app.serve(port=0, ssl=ssl) as server:
            url = f"{'wss' if tls else 'ws'}://127.0.0.1:{server.port}/echo"
            async with connect(
                url,
                compression=None,
                extensions=[ClientPerMessageDeflateFactory(**offered)],
                ssl=certificates.client_context() if tls else None,
                max_size=None,
            ) as ws:
                (extension,) = ws.protocol.extensions
                assert isinstance(extension, PerMessageDeflate)
                keeps = context and not parameters.get("client_no_context_takeover")
                assert extension.local_no_context_takeover is not keeps
                for message in MESSAGES:
                    await ws.send(message)
                    assert await ws.recv() == message
                await ws.send([WORDS[:1000], WORDS[1000:2000], "", WORDS[2000:]])
                assert await ws.recv() == WORDS
            counters = app.counters.snapshot()
            # It compresses everything; we leave what gets no smaller, unless later ones
            # may refer to it, and what is empty.
            keeps = context and not parameters.get("server_no_context_takeover")
            assert counters["inflated_messages"] == len(MESSAGES) + 1
            assert counters["compressed_messages"] == (8 if keeps else 6)
            assert counters["compress_bytes_out"] < counters["compress_bytes_in"]

    run_on_each_loop(scenario())


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
def test_a_client_that_offers_nothing(
    run: Run[None], certificates: Certificates, tls: bool
) -> None:
    app = make_app(False)
    ssl = certificates.server_context() if tls else None

    async def scenario() -> None:
        async with app.serve(port=0, ssl=ssl) as server:
            url = f"{'wss' if tls else 'ws'}://127.0.0.1:{server.port}/echo"
            context = certificates.client_context() if tls else None
            async with connect(url, compression=None, ssl=context, max_size=None) as ws:
                assert not ws.protocol.extensions
                for message in MESSAGES:
                    await ws.send(message)
                    assert await ws.recv() == message
            assert app.counters.snapshot()["compress_bytes_in"] == 0

    run(scenario())


@pytest.mark.parametrize("ratio", [100, None])
def test_an_honest_message_that_repeats_itself_may_be_refused(
    run: Run[None], ratio: int | None
) -> None:
    app = App(Config(compression=Compression(max_ratio=ratio)))
    sizes: list[int] = []

    @app.websocket("/")
    async def listen(ws: Ws) -> None:
        async for message in ws:
            sizes.append(len(message))
            await ws.send("next")

    async def scenario() -> None:
        async with app.serve(port=0) as server:
            url = f"ws://127.0.0.1:{server.port}/"
            async with connect(url, compression="deflate", proxy=None) as ws:
                await ws.send(bytes(65_536))
                assert await ws.recv() == "next"
                await ws.send(bytes(1_000_000))
                if ratio is None:
                    assert await ws.recv() == "next"
                    return
                with pytest.raises(ConnectionClosed):
                    await ws.recv()
                assert ws.close_code == 1009

    run(scenario())
    assert sizes == [65_536, 1_000_000][: 1 if ratio else 2]


@pytest.mark.parametrize("context", [False, True], ids=["stateless", "context"])
@pytest.mark.parametrize("bits", [None, 10, 15])
def test_another_server_and_our_side_of_a_client(
    context: bool, bits: int | None
) -> None:
    """Its answers to our offer are agreements, and what it then sends inflates."""
    deflate = Deflate(
        Compression(server_context=context, client_context=context, max_ratio=None)
    )
    offer = deflate.offer().decode().split("; ")[1:]
    parameters = [
        (name, value or None)
        for name, _, value in (one.partition("=") for one in offer)
    ]
    factory = ServerPerMessageDeflateFactory(
        server_max_window_bits=bits, client_max_window_bits=bits
    )
    answer, theirs = factory.process_request_params(parameters, [])
    text = "; ".join(
        ["permessage-deflate"]
        + [name if value is None else f"{name}={value}" for name, value in answer]
    )
    agreement = deflate.agreed(text.encode())
    assert agreement.receive_context == context
    assert agreement.receive_bits == (bits or 15)
    parser = Parser(client=True, agreement=agreement)
    for message in MESSAGES:
        is_text = isinstance(message, str)
        data = message.encode() if isinstance(message, str) else message
        opcode = Opcode.TEXT if is_text else Opcode.BINARY
        wire = Frame(opcode, data).serialize(mask=False, extensions=[theirs])
        assert parser.feed(wire) == [("message", message)]
