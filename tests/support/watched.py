"""A client that is not ours, and that tells how each message came.

Its inflaters are Python's own zlib.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, TypeAlias

from websockets.asyncio.client import ClientConnection
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
)
from websockets.frames import DATA_OPCODES, Frame

from .waits import DEADLINE

Parameters: TypeAlias = dict[str, Any]

# What clients offer; None: nothing at all.
BROWSER: Parameters = {"client_max_window_bits": True}
FORGETFUL: Parameters = {**BROWSER, "server_no_context_takeover": True}
WINDOWS: list[Parameters] = [
    {**BROWSER, "server_max_window_bits": bits} for bits in range(9, 16)
]


@dataclass(frozen=True)
class Arrival:
    """One message: what it says, and how it came."""

    message: str | bytes
    compressed: bool
    size: int


class WatchedFactory(ClientPerMessageDeflateFactory):
    """Notes each data frame before it is inflated."""

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(**parameters)
        self.wire: list[tuple[bool, int]] = []

    def process_response_params(self, *arguments: Any) -> PerMessageDeflate:
        extension = super().process_response_params(*arguments)
        inflate = extension.decode

        def decode(frame: Frame, *, max_size: int | None = None) -> Frame:
            if frame.opcode in DATA_OPCODES:
                self.wire.append((frame.rsv1, len(frame.data)))
            return inflate(frame, max_size=max_size)

        extension.decode = decode  # type: ignore[method-assign]
        return extension


class Peer:
    """A client that is not ours; ``ws`` is our end of it."""

    def __init__(
        self, client: ClientConnection, factory: WatchedFactory | None, ws: Any
    ) -> None:
        self._client = client
        self._factory = factory
        self._taken = 1
        self.ws = ws

    async def receive(self) -> Arrival:
        message = await asyncio.wait_for(self._client.recv(), DEADLINE)
        assert isinstance(message, str | bytes)
        size = len(message.encode() if isinstance(message, str) else message)
        compressed = False
        if self._factory is not None:
            compressed, size = self._factory.wire[self._taken]
        self._taken += 1
        return Arrival(message, compressed, size)

    async def take(self, message: str | bytes) -> Arrival:
        """The next message, which is this one."""
        arrival = await self.receive()
        assert arrival.message == message
        return arrival

    async def send(self, message: str) -> None:
        await self._client.send(message)

    async def close(self) -> None:
        await self._client.close()
