"""A connection's own messages that refer to its earlier ones: ``server_context``."""

from __future__ import annotations

import random
from typing import Any

import pytest

from fastws import Compression
from fastws.engine.counters import native_counts
from tests.conftest import Run
from tests.engine.peers import Peer, turns, until
from tests.engine.room import (
    NO_CONTEXT,
    OFFER,
    Form,
    Room,
    article,
    forms,
    room,
    tick,
)
from tests.support.deflating import Inflater

RULE = Compression(server_context=True, threshold=100, max_size=200_000)


async def send(here: Room, peer: Peer, message: Any, **options: Any) -> Form:
    """Send to one; how it came."""
    assert peer.ws.send(message, **options)
    return (await here.heard(message, [peer]))[0]


def check_readable(peer: Peer) -> None:
    """One inflater, with no more of a window than was agreed on, reads it all."""
    assert peer.ws.agreement is not None
    inflater = Inflater(peer.ws.agreement.response)
    for one, message in zip(peer.frames, peer.messages, strict=True):
        if one.compressed:
            data = inflater.inflate(one.payload)
            assert data == (message.encode() if isinstance(message, str) else message)


def test_later_messages_refer_to_earlier_ones(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room(RULE) as here:
            peer = await here.enter()
            assert peer.ws.agreement is not None
            assert peer.ws.agreement.own_context
            assert await send(here, peer, tick(0)) == "alone"
            for number in range(1, 200):
                assert await send(here, peer, tick(number)) == "shared"
            assert max(len(one.payload) for one in peer.frames[1:]) < 137 // 4
            check_readable(peer)

    run(scenario())


@pytest.mark.parametrize(
    ("rule", "offer"),
    [
        ({"threshold": 100}, OFFER),
        ({"threshold": 100, "server_context": True}, NO_CONTEXT),
    ],
    ids=["not wanted", "not allowed"],
)
def test_without_the_rule_or_the_client_they_do_not(
    run: Run[None], rule: dict[str, Any], offer: bytes
) -> None:
    async def scenario() -> None:
        async with room(Compression(**rule)) as here:
            peer = await here.enter(offer=offer)
            assert peer.ws.agreement is not None
            assert not peer.ws.agreement.own_context
            before = native_counts()["deflaters"]
            for number in range(3):
                assert await send(here, peer, tick(number) * 2) == "alone"
            # The loop's, which all connections share.
            assert native_counts()["deflaters"] <= before + 1

    run(scenario())


def test_what_is_not_compressed_is_no_part_of_it(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room(RULE) as here:
            peer = await here.enter()
            assert await send(here, peer, tick(0)) == "alone"
            assert await send(here, peer, tick(1), compress=False) == "plain"
            assert await send(here, peer, "short") == "plain"
            assert await send(here, peer, tick(2), compress=True) == "shared"
            assert await send(here, peer, "") == "plain"
            assert await send(here, peer, "", compress=True) == "plain"
            assert await send(here, peer, tick(9)) == "shared"
            check_readable(peer)

    run(scenario())


def test_what_gets_no_smaller_stays_in_it(run: Run[None]) -> None:
    """Later messages may refer to it, so the peer has to inflate it."""

    async def scenario() -> None:
        async with room(RULE) as here:
            peer = await here.enter()
            noise = random.Random(1).randbytes(1000)
            assert await send(here, peer, tick(0)) == "alone"
            assert await send(here, peer, noise) == "alone"
            assert len(peer.frames[-1].payload) <= len(noise) + 16
            assert await send(here, peer, noise + b"!") == "shared"
            assert len(peer.frames[-1].payload) < 100
            assert await send(here, peer, tick(1)) == "shared"
            check_readable(peer)

    run(scenario())


@pytest.mark.parametrize("how", ["publish", "broadcast"])
def test_behind_a_publication_it_starts_anew(run: Run[None], how: str) -> None:
    """Its bytes are in the window of the peer, and the context knows nothing of them.
    Plain ones are in nobody's."""

    async def scenario() -> None:
        async with room(RULE, compress=True) as here:
            peer = await here.enter("a")
            other = await here.enter("a")

            async def tell(message: str) -> Form:
                if how == "publish":
                    here.hub.publish("a", message)
                else:
                    here.hub.broadcast(message)
                return (await here.heard(message, [peer, other]))[0]

            assert await send(here, peer, tick(0)) == "alone"
            assert await tell("short") == "plain"
            assert await send(here, peer, tick(1)) == "shared"
            assert await tell(article(2)) == "alone"
            assert await send(here, peer, tick(3)) == "alone"
            assert await send(here, peer, tick(4)) == "shared"
            assert await send(here, other, tick(5)) == "alone"
            check_readable(peer)
            check_readable(other)

    run(scenario())


def test_a_channel_that_was_left_is_not_forgotten(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room(RULE, compress=True) as here:
            peer = await here.enter("a", "b")
            assert await send(here, peer, tick(0)) == "alone"
            # Nothing compressed came from this one.
            peer.ws.unsubscribe("b")
            assert await send(here, peer, tick(1)) == "shared"
            await here.tell("a", article(2), peer)
            peer.ws.unsubscribe("a")
            assert await send(here, peer, tick(3)) == "alone"
            assert await send(here, peer, tick(4)) == "shared"
            peer.ws.subscribe("a")
            assert await send(here, peer, tick(5)) == "shared"
            check_readable(peer)

    run(scenario())


def test_all_of_it_in_the_order_of_the_calls(run: Run[None]) -> None:
    """Nothing is read meanwhile: what was published waits in a log, what was sent in an
    outbox."""

    async def scenario() -> None:
        async with room(RULE, compress=True) as here:
            peer = await here.enter("a", small=True)
            wanted = []
            for number in range(400):
                message = tick(number) if number % 3 else article(number)
                if number % 7 in (1, 4):
                    here.hub.publish("a", message)
                else:
                    peer.ws.send(message)
                wanted.append(message)
                if number % 50 == 0:
                    await turns()
            await peer.see_messages(len(wanted))
            assert peer.messages == wanted
            assert forms(peer).count("shared") > 100
            check_readable(peer)

    run(scenario())


def test_a_member_of_a_cohort_gets_its_own_messages_plain(run: Run[None]) -> None:
    """And has its own context again when it has left."""

    async def scenario() -> None:
        async with room(RULE) as here:
            peer = await here.enter("a")
            assert await send(here, peer, tick(0)) == "alone"
            for number in range(1, 4):
                await here.pass_time(1)
                await here.tell("a", tick(number), peer)
            assert forms(peer)[-1] == "shared"
            assert await send(here, peer, tick(4)) == "plain"
            await here.tell("a", tick(5), peer)
            assert forms(peer)[-1] == "shared"
            peer.ws.unsubscribe("a")
            assert await send(here, peer, tick(6)) == "alone"
            assert await send(here, peer, tick(7)) == "shared"
            check_readable(peer)

    run(scenario())


def test_a_connection_that_needs_none_has_no_compressor(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room(RULE) as here:
            before = native_counts()["deflaters"]
            peers = [await here.enter() for _ in range(3)]
            for peer in peers:
                assert await send(here, peer, "short") == "plain"
            assert native_counts()["deflaters"] == before
            for peer in peers[1:]:
                await send(here, peer, tick(0))
            assert native_counts()["deflaters"] == before + 2
            # It goes with the connection, whoever still holds its object.
            peers[2].reset()
            await until(lambda: here.hub.connection_count == 2)
            assert native_counts()["deflaters"] == before + 1

    run(scenario())


def test_a_refused_message_is_no_part_of_it(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room(RULE) as here:
            peer = await here.enter()
            assert await send(here, peer, tick(0)) == "alone"
            with pytest.raises(TypeError, match="compress must be"):
                peer.ws.send(tick(1), compress="yes")  # type: ignore[arg-type]
            with pytest.raises(TypeError):
                peer.ws.send(object(), compress=True)
            assert await send(here, peer, tick(2)) == "shared"
            check_readable(peer)

    run(scenario())


@pytest.mark.parametrize(("window_bits", "memory_level"), [(9, 3), (9, 6), (10, 4)])
def test_what_gets_larger_by_a_twentieth_stays_in_it(
    run: Run[None], window_bits: int, memory_level: int
) -> None:
    """Where a block is longer than a small window zlib can't store it as it is."""
    choose = random.Random(1)
    rule = Compression(
        server_context=True, window_bits=window_bits, memory_level=memory_level
    )

    async def scenario() -> None:
        async with room(rule) as here:
            peer = await here.enter()
            for size in (3000, 5000, 1000, 1400, 2000) * 8:
                noise = choose.randbytes(size)
                assert await send(here, peer, noise, compress=True) == "alone"
            check_readable(peer)

    run(scenario())
