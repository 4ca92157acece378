"""What an installed wheel must do: serve, echo, measure. Only the standard library."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import fastws

HANDSHAKE = (
    "GET /echo HTTP/1.1\r\n"
    "Host: 127.0.0.1\r\n"
    "Upgrade: websocket\r\n"
    "Connection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: {key}\r\n"
    "\r\n"
)

COMMAND = Path(sys.prefix, "bin", "fastws")

app = fastws.App()


@app.websocket("/echo")
async def echo(ws: fastws.Connection) -> None:
    async for message in ws:
        await ws.send(message)


def masked(text: bytes) -> bytes:
    key = os.urandom(4)
    body = bytes(byte ^ key[at % 4] for at, byte in enumerate(text))
    return bytes((0x81, 0x80 | len(text))) + key + body


async def converse(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(HANDSHAKE.format(key=key).encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), head
    writer.write(masked(b"hello"))
    assert await reader.readexactly(7) == b"\x81\x05hello"
    writer.close()
    await writer.wait_closed()


async def measure(port: int) -> None:
    options = ["--duration", "0.2", "--warm-up", "0.1", "--format", "json"]
    program = await asyncio.create_subprocess_exec(
        COMMAND,
        "bench",
        f"ws://127.0.0.1:{port}/echo",
        *options,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await program.communicate()
    result = json.loads(output)
    assert program.returncode == 0, result
    assert result["operations"] > 0, result


async def main() -> None:
    async with app.serve(host="127.0.0.1", port=0) as server:
        await asyncio.wait_for(converse(server.port), 10)
        if sys.platform == "linux":
            await asyncio.wait_for(measure(server.port), 30)


package = Path(fastws.__file__).resolve().parent
assert package.is_relative_to(Path(sys.prefix).resolve()), package
asyncio.run(main())
subprocess.run([COMMAND, "--version"], check=True, timeout=10)
print(f"smoke: {package} serves, echoes and measures")
