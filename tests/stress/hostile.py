"""Beside everything else: peers that close wrongly, flood, vanish or are torn off.

Numbers are those of the list of bad inputs that the server is built against.
"""

from __future__ import annotations

import asyncio

from ..support.frames import CLOSE, PING, TEXT, close, frame
from .load import Load, pause
from .peer import NO_MASK, Peer

WRONG = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535]
RIGHT = [1000, 1001, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999]

# 118–123: what is sent, and the codes that may answer it.
CLOSINGS: list[tuple[bytes, tuple[int | None, ...]]] = [
    *((close(code), (1002,)) for code in WRONG),
    *((close(code), (code,)) for code in RIGHT),
    (frame(CLOSE, b"\x03"), (1002,)),
    (close(1000, b"r" * 124), (1002,)),
    (close(1000, b"\xff"), (1007,)),
    (close(), (1000, 1005)),
]

# They stay until the server has missed their pongs.
MOST_VANISHED = 5
PAUSE = 0.05


async def hostile(load: Load, stop: asyncio.Event) -> None:
    """One after the other until ``stop`` is set; the vanished are let go of then."""
    vanished: list[Peer] = []
    while not stop.is_set():
        await load.random.choice([end_wrongly, flood, tear_off, break_off])(load)
        if len(vanished) < MOST_VANISHED:
            vanished.append(await vanish(load))
        load.count("hostile peers")
        await pause(PAUSE)
    if vanished:
        await load.silence_noticed(len(vanished))
    for peer in vanished:
        peer.abort()


async def end_wrongly(load: Load) -> None:
    """118–123: Close frames, right and wrong."""
    sent, codes = load.random.choice(CLOSINGS)
    peer = await Peer.open(load.port, "/echo")
    peer.write(sent)
    code = await peer.closed()
    if code not in codes:
        load.expect(f"answer to {sent[:12]!r}", codes, code)


async def break_off(load: Load) -> None:
    """126: FIN in the middle of a message."""
    peer = await Peer.open(load.port, "/echo")
    peer.write(frame(TEXT, b"x" * 200, key=NO_MASK)[:50])
    peer.transport.write_eof()
    await peer.closed()


async def tear_off(load: Load) -> None:
    """127: RST while the channel is being written to."""
    peer = await Peer.open(load.port, "/peer", lambda _: None, small=True)
    peer.send('{"subscribe":["close.fan","skip.slow","close.evicted"]}')
    peer.stall()
    await asyncio.sleep(0)
    peer.reset()


async def flood(load: Load) -> None:
    """128: pings without end from a peer that does not read."""
    peer = await Peer.open(load.port, "/echo", small=True)
    peer.stall()
    for _ in range(100):
        peer.write(frame(PING, b"p" * 125, key=NO_MASK))
    peer.go_on()
    code = await peer.closed()
    load.expect("answer to a flood of pings", True, code in (1008, None))


async def vanish(load: Load) -> Peer:
    """131: silence without a FIN."""
    peer = await Peer.open(load.port, "/watched")
    peer.vanish()
    return peer
