"""Writing: water marks, the cap, and every way in which a connection ends."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from typing import Any

import pytest

from fastws import ChannelRule, Compression, Connection, Limits
from fastws.engine.deflate import Agreement
from tests.conftest import Certificates, Run
from tests.engine.peers import DEADLINE, World, turns, until, world
from tests.support.deflating import OFFER, inflated
from tests.support.frames import close, frame, ping, text


def agreed(here: World, offer: str = OFFER, **rule: Any) -> Agreement:
    found = here.hub.deflate(Compression(**rule)).agree(offer.encode())
    assert found is not None
    return found


def test_one_message_of_any_size_fits_and_the_next_is_refused(run: Run[None]) -> None:
    async def scenario() -> None:
        limits = Limits(write_cap=10_000, error_close_timeout=100)
        async with world(limits) as here:
            peer, other = await here.connect(small=True), await here.connect()
            count = await here.stall(peer)
            assert peer.ws.send(b"x" * 1_000_000)
            assert peer.ws.is_open
            assert not peer.ws.send("one too many")
            assert (peer.ws.close_code, peer.ws.close_reason) == (1013, "slow consumer")
            assert not peer.ws.send("closed")
            counts = here.hub.counters.snapshot()
            assert (counts["sends_refused"], counts["evicted_write_cap"]) == (1, 1)
            # Whole frames, and then the Close.
            assert await peer.see_close() == (1013, b"slow consumer")
            assert len(peer.messages) <= count
            await peer.see_end()
            assert other.ws.is_open

    run(scenario())


def test_only_a_peer_that_refuses_bytes_is_slow(run: Run[None]) -> None:
    """Fixed: a publication that waited for the end of the tick kept direct sends back,
    and their author was thrown out."""

    async def scenario() -> None:
        limits = Limits(write_high_water=20_000, write_low_water=5000, write_cap=50_000)
        async with world(limits) as here:
            peer = await here.connect()
            peer.ws.subscribe("a")
            here.hub.publish("a", "first")
            for _ in range(20):
                assert peer.ws.send(b"x" * 5000)
            assert await peer.see_messages(21) == ["first", *[b"x" * 5000] * 20]

    run(scenario())


def test_on_drain_is_called_at_the_low_water_mark(run: Run[None]) -> None:
    async def scenario() -> None:
        drained: list[int] = []
        limits = Limits(write_high_water=20_000, write_low_water=5000)
        async with world(
            limits, on_drain=lambda ws: drained.append(ws.buffered)
        ) as here:
            peer = await here.connect(small=True)
            await here.stall(peer)
            peer.ws.send(b"x" * 100)
            await turns()
            peer.ws.send(b"x" * 100_000)
            assert drained == []
            await peer.see(lambda: drained)
            assert len(drained) == 1

    run(scenario())


def test_on_drain_may_go_on_sending_without_end(run: Run[None]) -> None:
    """Fixed: as long as the kernel took everything, the loop never got its turn."""

    async def scenario() -> None:
        stopped = False

        def on_drain(ws: Connection[Any]) -> None:
            for _ in range(3):
                if not stopped:
                    ws.send(b"x" * 2000)

        limits = Limits(write_high_water=1000, write_low_water=500)
        async with world(limits, on_drain=on_drain) as here:
            peer = await here.connect()
            for _ in range(2):
                peer.ws.send(b"x" * 2000)
            await peer.see_messages(1000)
            stopped = True
            await turns()

    run(scenario())


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_close_waits_for_what_was_handed_over_before(
    run: Run[None], tls: bool, certificates: Certificates
) -> None:
    async def scenario() -> None:
        limits = Limits(write_cap=1 << 30, max_stall=None)
        async with world(limits) as here:
            here.hub.rule_for = lambda name: ChannelRule(max_lag=1 << 30)
            peer = await here.connect(
                small=True, certificates=certificates if tls else None
            )
            peer.ws.subscribe("a")
            expected = []
            for number in range(100):
                peer.ws.send(b"d%05d" % number * 1000)
                here.hub.publish("a", b"p%05d" % number * 1000)
                expected += [b"d%05d" % number * 1000, b"p%05d" % number * 1000]
                await turns(1)
            closed = asyncio.ensure_future(awaited(peer.ws.close(4000, "bye")))
            here.hub.publish("a", "too late")
            here.hub.broadcast("too late")
            assert not peer.ws.send("too late")
            await turns()
            here.hub.publish("a", "too late")
            assert await peer.see_close() == (4000, b"bye")
            assert peer.messages == expected
            assert not closed.done()
            peer.send(close(4000))
            await peer.see_end()
            # Under TLS the end of a connection has an answer, too.
            peer.socket.close()
            await closed

    run(scenario())


@pytest.mark.parametrize("fin", [False, True], ids=["open", "half-closed"])
def test_the_peers_close_is_answered_behind_what_it_is_owed(
    run: Run[None], fin: bool
) -> None:
    """Fixed: a peer that had sent its FIN behind its Close lost what was on its way."""

    async def scenario() -> None:
        async with world(Limits(write_cap=1 << 30)) as here:
            peer = await here.connect(small=True)
            count = await here.stall(peer)
            for _ in range(50):
                peer.ws.send(b"." * 1000)
            peer.send(close(4000, "bye"))
            if fin:
                peer.socket.shutdown(socket.SHUT_WR)
            await until(lambda: not peer.ws.is_open)
            await turns()
            assert await peer.see_close() == (4000, b"bye")
            assert len(peer.messages) == count + 50
            await peer.see_end()
            await until(lambda: here.hub.connection_count == 0)
            assert peer.ws.close_code == 4000

    run(scenario())


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_an_end_without_a_close_is_1006(run: Run[None], how: str) -> None:
    async def scenario() -> None:
        closed: list[object] = []
        async with world(on_close=lambda ws, *rest: closed.append(rest)) as here:
            peer = await here.connect()
            peer.ws.subscribe("a")
            if how == "fin":
                peer.socket.shutdown(socket.SHUT_WR)
                await peer.see_end()
            else:
                peer.reset()
            await until(lambda: closed == [(1006, "")])
            assert here.hub.channels == {}
            await peer.ws.close()

    run(scenario())


def test_both_may_close_at_once(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect()
            peer.send(close(4001, "theirs"))
            peer.ws.close(4000, "ours")
            peer.ws.close(4002, "again")
            assert await peer.see_close() == (4000, b"ours")
            await peer.see_end()
            assert len(peer.closes) == 1
            assert (peer.ws.close_code, peer.ws.close_reason) == (4000, "ours")

    run(scenario())


def test_messages_behind_our_close_are_ignored_until_theirs(run: Run[None]) -> None:
    async def scenario() -> None:
        got: list[object] = []
        async with world(on_message=lambda ws, message: got.append(message)) as here:
            peer = await here.connect()
            peer.ws.close()
            peer.send(text("late"), frame(2, b"x" * 70_000), close(1000), text("later"))
            await peer.see_end()
            assert got == []
            assert here.count("protocol_errors") == 0

    run(scenario())


def test_an_evicted_subscriber_loses_whole_frames_that_are_counted(
    run: Run[None],
) -> None:
    async def scenario() -> None:
        limits = Limits(max_stall=None, error_close_timeout=100)
        async with world(limits) as here:
            here.hub.rule_for = lambda name: ChannelRule(max_lag=20_000)
            slow, fast = await here.connect(small=True), await here.connect()
            for peer in (slow, fast):
                peer.ws.subscribe("a")
            published = 0
            while slow.ws.is_open:
                here.hub.publish("a", published.to_bytes(2, "big") * 500)
                published += 1
                await turns(1)
                fast.pull()
            await fast.see_messages(published)
            assert await slow.see_close() == (1013, b"slow consumer")
            got = slow.messages
            assert got == fast.messages[: len(got)]
            assert here.count("frames_lost") == published - len(got)
            assert here.count("evicted_lag") == 1
            await slow.see_end()

    run(scenario())


def test_one_frame_always_fits_whatever_its_size(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world(Limits(max_stall=None)) as here:
            here.hub.rule_for = lambda name: ChannelRule(max_lag=1000)
            peer = await here.connect(small=True)
            peer.ws.subscribe("a")
            await here.stall(peer)
            here.hub.publish("a", b"x" * 500_000)
            await turns()
            assert peer.ws.is_open
            assert peer.ws.lag("a") > 500_000
            await peer.see(lambda: peer.messages[-1:] == [b"x" * 500_000])
            assert peer.ws.lag("a") == 0

    run(scenario())


def test_buffered_counts_down_to_zero(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect(small=True)
            assert peer.ws.buffered == 0
            await here.stall(peer)
            before = peer.ws.buffered
            peer.ws.send(b"x" * 10_000)
            assert peer.ws.buffered == before + 10_004
            await peer.see(lambda: peer.ws.buffered == 0)

    run(scenario())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((999,), "must be 1000-1003, 1007-1014 or 3000-4999, not 999"),
        ((1005,), "not 1005"),
        ((1006,), "not 1006"),
        ((5000,), "not 5000"),
        (("1000",), "not '1000'"),
        ((1000, "x" * 124), "123 bytes, not 124"),
        ((1000, "ü" * 62), "123 bytes, not 124"),
        ((1000, "\ud800"), "surrogates not allowed"),
    ],
)
def test_a_wrong_close_is_refused_and_changes_nothing(
    run: Run[None], arguments: tuple[Any, ...], message: str
) -> None:
    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect()
            with pytest.raises(ValueError, match=message):
                peer.ws.close(*arguments)
            assert peer.ws.is_open
            peer.ws.send("still")
            assert await peer.see_messages(1) == ["still"]

    run(scenario())


def test_the_longest_reason_goes_out_whole(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect()
            peer.ws.close(4999, "ü" * 61 + "x")
            assert await peer.see_close() == (4999, ("ü" * 61 + "x").encode())

    run(scenario())


def test_control_frames_go_at_the_next_frame_boundary(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world(Limits(write_cap=1 << 30)) as here:
            peer = await here.connect(small=True)
            await here.stall(peer)
            for _ in range(100):
                peer.ws.send(b"." * 1000)
            peer.send(ping(b"now"))
            await until(lambda: here.count("bytes_received") == 9)
            before = len(peer.messages)
            await peer.see(lambda: peer.pongs)
            assert len(peer.messages) - before < 100

    run(scenario())


async def awaited(value: Any) -> None:
    await value


# -- compression -----------------------------------------------------------------------


def test_the_rule_and_the_call_say_what_is_compressed(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            agreement = agreed(here, threshold=100, max_size=1000)
            peer = await here.connect(agreement=agreement)
            assert peer.ws.agreement is agreement
            wanted = []
            for size, compress, compressed in (
                (99, None, False),
                (100, None, True),
                (1000, None, True),
                (1001, None, False),
                (99, True, True),
                (1001, True, True),
                (500, False, False),
                (0, True, False),
                (1, True, False),
            ):
                for message in ("x" * size, b"x" * size):
                    assert peer.ws.send(message, compress=compress)
                    wanted.append((message, compressed))
            messages = await peer.see_messages(len(wanted))
            flags = [one.compressed for one in peer.frames]
            assert list(zip(messages, flags, strict=True)) == wanted
            assert here.count("compressed_messages") == sum(flags)
            assert here.count("messages_sent") == len(wanted)

    run(scenario())


def test_nothing_is_compressed_where_nothing_was_agreed_on(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect()
            assert peer.ws.agreement is None
            peer.ws.send("x" * 5000)
            peer.ws.send("y" * 5000, compress=True)
            assert await peer.see_messages(2) == ["x" * 5000, "y" * 5000]
            assert here.count("compress_bytes_in") == 0

    run(scenario())


def test_what_gets_no_smaller_goes_as_it_is(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect(agreement=agreed(here))
            noise = random.Random(1).randbytes(5000)
            for message in (noise, b"x" * 5000, noise):
                peer.ws.send(message)
            assert await peer.see_messages(3) == [noise, b"x" * 5000, noise]
            assert [one.compressed for one in peer.frames] == [False, True, False]
            assert here.count("compressed_messages") == 1
            assert here.count("compress_bytes_in") == 15_000
            size = len(peer.frames[1].payload)
            assert here.count("compress_bytes_out") == 10_000 + size
            assert here.count("compress_nanoseconds") > 0

    run(scenario())


@pytest.mark.parametrize("bits", [9, 10, 12, 15])
def test_no_frame_refers_to_another_or_beyond_the_window(
    run: Run[None], bits: int
) -> None:
    async def scenario() -> None:
        async with world() as here:
            offer = f"permessage-deflate; server_max_window_bits={bits}"
            agreement = agreed(here, offer, window_bits=15)
            assert agreement.send_bits == bits
            peer = await here.connect(agreement=agreement)
            noise = random.Random(bits).randbytes(700).hex()
            for _ in range(3):
                peer.ws.send(noise * 20, compress=True)
            await peer.see_messages(3)
            for one in peer.frames:
                assert one.compressed
                assert inflated(one.payload, bits=bits) == noise.encode() * 20

    run(scenario())


def test_large_messages_are_compressed_while_other_threads_run(run: Run[None]) -> None:
    """Bytes that could change meanwhile keep the GIL."""

    async def scenario() -> None:
        stopped = threading.Event()
        counting = threading.Event()

        def count() -> None:
            while not stopped.is_set():
                counting.set()

        thread = threading.Thread(target=count)
        limits = Limits(write_high_water=1 << 30, write_cap=1 << 30)
        async with world(limits) as here:
            peer = await here.connect(agreement=agreed(here, max_size=None))
            words = "".join(random.Random(3).choices("abcdefgh", k=300_000))
            thread.start()
            try:
                # How often it runs during a send is the machine's affair.
                assert counting.wait(DEADLINE)
                for message in (words, words.encode(), bytearray(words.encode())):
                    peer.ws.send(message)
                peer.ws.send(memoryview(words.encode()))
                peer.ws.send({"words": words})
            finally:
                stopped.set()
                thread.join()
            data = words.encode()
            expected = [words, data, data, data, '{"words":"' + words + '"}']
            assert await peer.see_messages(5) == expected
            assert all(one.compressed for one in peer.frames)

    run(scenario())


def test_compressed_sends_stay_in_order_with_publications(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect(agreement=agreed(here, threshold=10))
            peer.ws.subscribe("a")
            wanted = []
            for number in range(50):
                peer.ws.send(f"direct {number} " * 20)
                here.hub.publish("a", f"published {number}")
                wanted += [f"direct {number} " * 20, f"published {number}"]
            assert await peer.see_messages(100) == wanted

    run(scenario())


def test_what_waits_is_counted_as_it_is_sent(run: Run[None]) -> None:
    async def scenario() -> None:
        limits = Limits(write_cap=100_000, write_high_water=20_000)
        async with world(limits) as here:
            agreement = agreed(here, max_size=None)
            peer = await here.connect(small=True, agreement=agreement)
            await here.stall(peer)
            before = peer.ws.buffered
            for _ in range(10):
                assert peer.ws.send("x" * 500_000)
            assert peer.ws.buffered - before < 10_000
            assert peer.ws.is_open

    run(scenario())
