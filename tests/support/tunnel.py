"""A plain TCP port that leads to a TLS port: for clients that speak no TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from .client import Address

_PIECE = 262_144


@asynccontextmanager
async def tls_tunnel(target: Address, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Accept on a free port of 127.0.0.1, which is what the block is given."""
    tunnels: set[asyncio.Task[None]] = set()

    def accept(near: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_tunnel(target, context, near, writer))
        tunnels.add(task)
        task.add_done_callback(tunnels.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tunnels:
            task.cancel()
        await asyncio.gather(*tunnels, return_exceptions=True)


async def _tunnel(
    target: Address,
    context: ssl.SSLContext,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Copy both ways; what the server's end does to the connection, ours does too."""
    host, port = target
    far_reader, far_writer = await asyncio.open_connection(host, port, ssl=context)
    there = asyncio.create_task(_copy(reader, far_writer))
    try:
        await _copy(far_reader, writer)
    finally:
        there.cancel()
        await asyncio.wait([there])
        far_writer.transport.abort()
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until one side ends; then the other one ends as well."""
    with suppress(ConnectionError, ssl.SSLError):
        while data := await reader.read(_PIECE):
            writer.write(data)
            await writer.drain()
    writer.close()
