"""Channels with cohorts, where publications are seen one by one.

A message is *shared* when it refers to earlier ones, *alone* when it is compressed and
does not, and *plain*. The ones here are under the threshold and resemble each other, so
that only a cohort compresses them.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Literal

from fastws import ChannelRule, Compression, Limits
from fastws.engine.deflate import Agreement, Deflate
from tests.engine.peers import Peer, Received, World, ended
from tests.support.deflating import inflated
from tests.support.frames import BINARY, TEXT

Form = Literal["plain", "alone", "shared"]

PATIENT = Limits(max_stall=None, ping_interval=None, write_cap=1 << 30)
COMPRESSION = Compression(max_size=200_000)
OFFER = b"permessage-deflate"
NO_CONTEXT = b"permessage-deflate; server_no_context_takeover"
SMALL_WINDOW = b"permessage-deflate; server_max_window_bits=11"
WORDS = random.Random(1).randbytes(50).hex()


def tick(number: int) -> str:
    """137 bytes, none of which a compressor makes much of without the ones before."""
    return f'{{"number":{number:10},"text":"{WORDS}","e":1}}'


def article(number: int) -> str:
    """Over the threshold, and compressible by itself."""
    return tick(number) * 12


def form_of(one: Received) -> Form:
    if not one.compressed:
        return "plain"
    message = one.message
    payload = message.encode() if isinstance(message, str) else message
    with suppress(zlib.error):
        if inflated(one.payload) == payload:
            return "alone"
    return "shared"


def forms(peer: Peer) -> list[Form]:
    return [form_of(one) for one in peer.frames if one.opcode in (TEXT, BINARY)]


class Room(World):
    """A world with one Compression rule, where publications are seen one by one."""

    def __init__(
        self, compression: Compression, rule: ChannelRule, callbacks: dict[str, Any]
    ) -> None:
        super().__init__(PATIENT, callbacks)
        self.deflate = Deflate(compression, self.hub.counters, has_cohorts=True)
        self.hub.rule_for = lambda name: rule

    def agreement(self, offer: bytes) -> Agreement:
        found = self.deflate.agree(offer)
        assert found is not None
        return found

    async def enter(
        self, *channels: str, offer: bytes | None = OFFER, **options: Any
    ) -> Peer:
        agreement = self.agreement(offer) if offer else None
        peer = await self.connect(agreement=agreement, **options)
        for name in channels:
            peer.ws.subscribe(name)
        return peer

    async def tell(
        self, channel: str, message: Any, *peers: Peer, **options: Any
    ) -> list[Form]:
        """Publish; how it came to each of these."""
        self.hub.publish(channel, message, **options)
        return await self.heard(message, peers)

    async def see_last(self, peer: Peer, message: Any) -> None:
        await peer.see(lambda: peer.messages[-1:] == [message])

    async def heard(self, message: Any, peers: Sequence[Peer]) -> list[Form]:
        for peer in peers:
            await self.see_last(peer, message)
        return [forms(peer)[-1] for peer in peers]


def room(
    compression: Compression = COMPRESSION, on_skip: Any = None, **rule: Any
) -> AbstractAsyncContextManager[Room]:
    """One rule for every channel: a cohort, unless it says otherwise."""
    made = ChannelRule(**{"compress": "cohort", **rule})
    return ended(Room(compression, made, {"on_skip": on_skip}))
