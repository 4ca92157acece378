"""Cohorts and batch windows: arrays, pending publications, and who comes meanwhile."""

from __future__ import annotations

import json
import logging
import random

import pytest

from fastws import ChannelRule
from tests.conftest import Run
from tests.engine.peers import Peer, turns
from tests.engine.room import NO_CONTEXT, Room, article, forms, room, tick

WINDOW = 0.01
NEVER = 60.0


def paper(number: int) -> str:
    """JSON over the threshold, compressible by itself."""
    return json.dumps(article(number))


@pytest.mark.parametrize("others", [0, 1, 2])
def test_unsubscribing_sends_the_array_and_removes_nobody_else(
    run: Run[None], others: int
) -> None:
    """Sending what is gathered may take members to another lane."""

    async def scenario() -> None:
        async with room(batch=NEVER, batch_form="array") as here:
            goes = await here.enter("a")
            stay = [await here.enter("a") for _ in range(others)]
            outside = await here.enter("a", offer=NO_CONTEXT)
            here.hub.publish("a", tick(1))
            assert goes.ws.unsubscribe("a")
            assert here.hub.channels["a"].subscribers == others + 1
            for peer in (goes, *stay, outside):
                await here.see_last(peer, f"[{tick(1)}]")
            here.hub.publish("a", tick(2))
            assert outside.ws.unsubscribe("a")
            for peer in (*stay, outside):
                await here.see_last(peer, f"[{tick(2)}]")
            assert goes.messages == [f"[{tick(1)}]"]

    run(scenario())


@pytest.mark.parametrize("position", [0, 1, 2])
def test_one_that_must_not_be_compressed_keeps_the_array_plain(
    run: Run[None], position: int
) -> None:
    async def scenario() -> None:
        async with room(batch=WINDOW, batch_form="array") as here:
            member, outside = await here.enter("a"), await here.enter("a")
            for number in range(3):
                choice = (True, None)[number % 2]
                compress = False if number == position else choice
                here.hub.publish("a", paper(number), compress=compress)
            array = "[" + ",".join(paper(number) for number in range(3)) + "]"
            assert await here.heard(array, (member, outside)) == ["plain", "plain"]
            here.hub.publish("a", paper(3))
            array = f"[{paper(3)}]"
            assert await here.heard(array, (member, outside)) == ["alone", "alone"]

    run(scenario())


def test_one_wish_to_compress_holds_for_the_array(run: Run[None]) -> None:
    async def scenario() -> None:
        async with room(compress=True, batch=WINDOW, batch_form="array") as here:
            peer = await here.enter("a")
            words = json.dumps("word " * 20)
            here.hub.publish("a", words, compress=True)
            here.hub.publish("a", words)
            assert await here.heard(f"[{words},{words}]", [peer]) == ["alone"]

    run(scenario())


def test_newcomers_join_between_two_windows(run: Run[None]) -> None:
    """In a window everybody owes something, so that is not when to look for them."""

    async def scenario() -> None:
        async with room(batch=WINDOW) as here:
            old = await here.enter("a")
            await here.tell("a", tick(0), old)
            new = await here.enter("a")
            here.hub.publish("a", tick(1))
            # Time for a look in the middle of the window.
            here.clock.now += 2
            here.sweep.run()
            assert await here.tell("a", tick(2), old, new) == ["shared", "plain"]
            assert await here.tell("a", tick(3), old, new) == ["alone", "alone"]

    run(scenario())


def test_who_has_left_a_cohort_while_owing_is_compressed_for_again(
    run: Run[None],
) -> None:
    async def scenario() -> None:
        async with room() as here:
            cohort, shared = ChannelRule(compress="cohort"), ChannelRule()
            here.hub.rule_for = lambda name: shared if name == "b" else cohort
            peer = await here.enter("a", "b")
            await here.tell("a", tick(0), peer)
            assert await here.tell("b", article(1), peer) == ["plain"]
            here.hub.publish("b", article(2))
            assert peer.ws.unsubscribe("a")
            await here.see_last(peer, article(2))
            await here.pass_time(1)
            assert await here.tell("b", article(3), peer) == ["alone"]
            assert forms(peer)[-2:] == ["plain", "alone"]

    run(scenario())


def test_the_warning_comes_when_the_channel_is_at_rest(
    run: Run[None],
) -> None:
    """Whoever listens to the log may change who is subscribed."""

    class Meddler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())
            [(here, peer)] = found
            peer.ws.unsubscribe("a")
            peer.ws.subscribe("a")
            here.hub.publish("a", b"from the log")

    async def scenario() -> None:
        async with room(compress=True) as here:
            peer = await here.enter("a")
            found.append((here, peer))
            noise = [random.Random(seed).randbytes(1100) for seed in range(1000)]
            for number, message in enumerate(noise):
                here.hub.publish("a", message)
                if number % 100 == 98:
                    await here.see_last(peer, message)
            await here.see_last(peer, b"from the log")
            assert peer.messages[:-1] == noise
            await turns(3)
            assert len(heard) == 1
            assert "'a' saves next to nothing: 1100000 bytes became" in heard[0]

    heard: list[str] = []
    found: list[tuple[Room, Peer]] = []
    handler = Meddler()
    logging.getLogger("fastws").addHandler(handler)
    try:
        run(scenario())
    finally:
        logging.getLogger("fastws").removeHandler(handler)
