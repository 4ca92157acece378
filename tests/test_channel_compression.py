"""Channels that compress, from end to end: what another implementation makes of it."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

import pytest
from websockets.asyncio.client import connect as dial

from fastws import (
    App,
    Compression,
    Config,
    Connection,
    Endpoint,
    Message,
    Payload,
    Position,
)
from fastws.testing import connect

from .conftest import Certificates, Run
from .support.seeds import fresh_seed
from .support.waits import DEADLINE
from .support.watched import (
    BROWSER,
    FORGETFUL,
    WINDOWS,
    Arrival,
    Parameters,
    Peer,
    WatchedFactory,
)

Ws: TypeAlias = "Connection[Any]"

WORDS = " ".join(random.Random(3).choices(["alpha", "beta", "gamma", "delta"], k=500))
NOISE = random.Random(4).randbytes(3000)
SHORT = "a message of 33 bytes, 33 bytes.."


class Member(Endpoint):
    """Subscribes to the channels that its path names; says what it is called."""

    def on_open(self, ws: Ws) -> None:
        if "channels" in ws.params:
            for channel in ws.params["channels"].split(","):
                ws.subscribe(channel)
        ws.send(ws.id, compress=False)

    def on_message(self, ws: Ws, message: Message) -> None:
        ws.publish(ws.params["channels"], message)


class Place:
    """An App that is being served, and its clients."""

    def __init__(self, app: App, port: int, context: Any, stack: AsyncExitStack):
        self.app = app
        self._url = f"{'ws' if context is None else 'wss'}://127.0.0.1:{port}"
        self._context = context
        self._stack = stack

    async def peer(
        self,
        offer: Parameters | None = BROWSER,
        channels: str = "news",
        path: str = "/in/{}",
    ) -> Peer:
        factory = None if offer is None else WatchedFactory(offer)
        client = await self._stack.enter_async_context(
            dial(
                self._url + path.format(channels),
                compression=None,
                extensions=None if factory is None else [factory],
                ssl=self._context,
                max_size=None,
                proxy=None,
            )
        )
        name = await asyncio.wait_for(client.recv(), DEADLINE)
        assert isinstance(name, str)
        ws = self.app.connection(name)
        assert ws is not None
        # What is not agreed on is not asked to inflate anything.
        return Peer(client, factory if client.protocol.extensions else None, ws)


@asynccontextmanager
async def place(
    app: App, certificates: Certificates | None = None
) -> AsyncIterator[Place]:
    ours = theirs = None
    if certificates is not None:
        ours, theirs = certificates.server_context(), certificates.client_context()
    async with app.serve(port=0, ssl=ours) as server, AsyncExitStack() as stack:
        yield Place(app, server.port, theirs, stack)


def make_app(rule: Parameters | None = None, **compression: Any) -> App:
    """An App with the channel "news"; a second route is never compressed."""
    app = App(Config(compression=Compression(**compression)))
    app.websocket("/in/{channels}", Member)
    app.websocket("/plain/{channels}", Member, compression=False)
    app.websocket("/idle", Member)
    app.channel("news", **(rule or {}))
    return app


def quote(number: int) -> str:
    """About 137 bytes that are all much alike."""
    source = random.Random(number)
    price = source.uniform(90, 110)
    return json.dumps(
        {
            "type": "quote",
            "symbol": source.choice(["ABC", "DEFG", "HI"]),
            "price": round(price, 2),
            "bid": round(price - 0.05, 2),
            "ask": round(price + 0.05, 2),
            "volume": source.randrange(100_000),
            "time": 1_700_000_000_000 + number * 37,
            "exchange": "XETR",
        }
    )


# Shared lanes


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
def test_one_publication_serves_every_window_and_those_without(
    run_on_each_loop: Run[None], certificates: Certificates, tls: bool
) -> None:
    app = make_app(window_bits=15, threshold=100)
    offers = [None, BROWSER, FORGETFUL, *WINDOWS]
    messages: list[str | bytes] = [
        WORDS,
        NOISE,
        SHORT,
        "",
        b"",
        WORDS.encode(),
        "ä" * 99,
    ]

    async def scenario() -> None:
        async with place(app, certificates if tls else None) as here:
            peers = [await here.peer(offer) for offer in offers]
            assert app.channels["news"].subscribers == len(peers)
            windows = [
                None if one.ws.agreement is None else one.ws.agreement.shared_bits
                for one in peers
            ]
            # Of the sizes that peers ask for, three are compressed for.
            assert windows == [None, 15, 15, 9, 9, 9, 12, 12, 12, 15]
            for message in messages:
                app.publish("news", message)
            sizes: dict[int | None, list[list[Arrival]]] = {}
            for window, peer in zip(windows, peers, strict=True):
                arrivals = [await peer.take(message) for message in messages]
                shrunk = [one.compressed for one in arrivals]
                compresses = window is not None
                assert (
                    shrunk
                    == [compresses, False, False, False, False] + [compresses] * 2
                )
                assert not compresses or arrivals[0].size < len(WORDS) // 3
                sizes.setdefault(window, []).append(arrivals)
            # Byte for byte the same for all that agreed on the same window.
            assert all(found[0] == one for found in sizes.values() for one in found)
            counts = app.channels["news"].compression
            assert counts is not None
            # The noise was tried, too; what is under the threshold was not.
            assert counts.messages == 4 * 3

    run_on_each_loop(scenario())


def ways_to_publish(app: App, place: str) -> dict[str, Callable[..., None]]:
    """Each takes a message and compress=."""

    def in_a_thread(message: Payload, compress: bool | None) -> None:
        thread = threading.Thread(
            target=app.publish, args=("news", message), kwargs={"compress": compress}
        )
        thread.start()
        thread.join()

    def broadcast_in_a_thread(message: Payload, compress: bool | None) -> None:
        thread = threading.Thread(
            target=app.broadcast, args=(message,), kwargs={"compress": compress}
        )
        thread.start()
        thread.join()

    def confirmed(message: Payload, compress: bool | None) -> None:
        coroutine = app.publish_confirmed("news", message, compress=compress)
        with pytest.raises(StopIteration):
            coroutine.send(None)

    def of_a_connection(message: Payload, compress: bool | None) -> None:
        ws = app.connection(place)
        assert ws is not None
        ws.publish("news", message, include_self=True, compress=compress)

    return {
        "publish": lambda message, compress: app.publish(
            "news", message, compress=compress
        ),
        "in a thread": in_a_thread,
        "confirmed": confirmed,
        "of a connection": of_a_connection,
        "broadcast": lambda message, compress: app.broadcast(
            message, compress=compress
        ),
        "broadcast in a thread": broadcast_in_a_thread,
    }


@pytest.mark.parametrize("way", ways_to_publish(App(), ""))
def test_compress_decides_for_one_publication(run: Run[None], way: str) -> None:
    app = make_app(threshold=100, max_size=1000)

    async def scenario() -> None:
        async with place(app) as here:
            peer, other = await here.peer(), await here.peer(None)
            publish = ways_to_publish(app, peer.ws.id)[way]
            expected = {
                # under the threshold, between, over max_size, no smaller
                None: [False, True, False, False],
                True: [True, True, True, False],
                False: [False, False, False, False],
            }
            messages: list[str | bytes] = [
                "short" * 8,
                "middle " * 50,
                "long " * 300,
                NOISE[:200],
            ]
            for compress, shrunk in expected.items():
                for message in messages:
                    publish(message, compress=compress)
                arrivals = [await peer.take(message) for message in messages]
                assert [one.compressed for one in arrivals] == shrunk
                for message in messages:
                    await other.take(message)
            if "thread" not in way:
                with pytest.raises(TypeError, match="compress must be"):
                    publish("wrong", compress="cohort")

    run(scenario())


def test_a_channel_a_route_and_a_connection_may_do_without(run: Run[None]) -> None:
    app = make_app({"compress": False}, threshold=0)
    app.channel("other.{id}")

    async def scenario() -> None:
        async with place(app) as here:
            peer = await here.peer(BROWSER, "news,other.1")
            for number, compress in enumerate((None, True, False)):
                app.publish("news", WORDS, compress=compress)
                app.publish("other.1", WORDS, compress=compress)
                assert not (await peer.take(WORDS)).compressed
                assert (await peer.take(WORDS)).compressed == (number < 2)
            assert app.channels["news"].compression is None
            async with connect(app, "/plain/other.1", compression=True) as plain:
                assert plain.agreement is None
                await plain.receive(DEADLINE)
                app.publish("other.1", WORDS)
                assert await plain.receive(DEADLINE) == WORDS
                assert (await peer.take(WORDS)).compressed

    run(scenario())


def test_routes_with_different_rules_are_in_lanes_of_their_own(run: Run[None]) -> None:
    app = make_app(threshold=0)
    app.websocket(
        "/large/{channels}", Member, compression=Compression(threshold=10_000)
    )

    async def scenario() -> None:
        async with (
            place(app) as here,
            connect(app, "/large/news", compression=True) as large,
        ):
            await large.receive(DEADLINE)
            peer = await here.peer()
            app.publish("news", WORDS)
            assert (await peer.take(WORDS)).compressed
            assert await large.receive(DEADLINE) == WORDS
            counts = app.channels["news"].compression
            assert counts is not None
            assert counts.messages == 1
            app.publish("news", WORDS * 5)
            await peer.take(WORDS * 5)
            assert await large.receive(DEADLINE) == WORDS * 5
            counts = app.channels["news"].compression
            assert counts is not None
            assert counts.messages == 3

    run(scenario())


def test_a_broadcast_is_compressed_once(run: Run[None]) -> None:
    app = make_app(threshold=0)

    async def scenario() -> None:
        async with place(app) as here:
            peers = [await here.peer(path="/idle") for _ in range(20)]
            plain = await here.peer(None, path="/idle")
            before = app.counters.snapshot()["compressed_messages"]
            app.broadcast(WORDS)
            app.broadcast(WORDS, exclude=peers[3].ws)
            app.broadcast("bye")
            for peer in peers:
                assert (await peer.take(WORDS)).compressed
                if peer is not peers[3]:
                    assert (await peer.take(WORDS)).compressed
                await peer.take("bye")
            for message in (WORDS, WORDS, "bye"):
                await plain.take(message)
            assert app.counters.snapshot()["compressed_messages"] == before + 2

    run(scenario())


def test_who_is_left_out_of_a_shared_lane(run: Run[None]) -> None:
    app = make_app(threshold=0)

    async def scenario() -> None:
        async with place(app) as here:
            author, listener = await here.peer(), await here.peer()
            plain = await here.peer(None)
            app.publish("news", WORDS, exclude=author.ws)
            await author.send("from the author " * 10)
            for peer in listener, plain:
                await peer.take(WORDS)
                arrival = await peer.take("from the author " * 10)
                assert arrival.compressed == (peer is listener)
            app.publish("news", "to all")
            for peer in author, listener, plain:
                await peer.take("to all")

    run(scenario())


def test_direct_messages_and_publications_keep_their_order(run: Run[None]) -> None:
    app = make_app(threshold=100)
    app.channel("other")

    async def scenario() -> None:
        async with place(app) as here:
            peers = [
                await here.peer(offer, "news,other")
                for offer in (None, BROWSER, {**BROWSER, "server_max_window_bits": 9})
            ]
            source = random.Random(7)
            expected: list[str] = []
            for number in range(200):
                message = f"{number} {WORDS[: source.choice((5, 500))]}"
                expected.append(message)
                way = source.randrange(4)
                if way == 0:
                    for peer in peers:
                        peer.ws.send(message)
                else:
                    app.publish(("news", "other", "news")[way - 1], message)
                if source.randrange(10) == 0:
                    await asyncio.sleep(0)
            for peer in peers:
                for message in expected:
                    await peer.take(message)

    run(scenario())


def test_an_array_of_a_batch_is_compressed_as_one_message(run: Run[None]) -> None:
    app = make_app({"batch": 0.01, "batch_form": "array"}, threshold=200)

    async def scenario() -> None:
        async with place(app) as here:
            peer, plain = await here.peer(), await here.peer(None)
            items = [{"number": number} for number in range(50)]
            for item in items:
                app.publish("news", item)
            arrival = await peer.receive()
            assert arrival.compressed
            assert json.loads(arrival.message) == items
            assert json.loads((await plain.receive()).message) == items

    run(scenario())


def test_frames_of_a_batch_are_compressed_one_by_one(run: Run[None]) -> None:
    app = make_app({"batch": 0.01}, threshold=200)

    async def scenario() -> None:
        async with place(app) as here:
            peer, plain = await here.peer(), await here.peer(None)
            messages = [WORDS[: number * 50] for number in range(10)]
            for message in messages:
                app.publish("news", message)
            for message in messages:
                assert (await peer.take(message)).compressed == (len(message) >= 200)
                await plain.take(message)

    run(scenario())


@pytest.mark.parametrize("compress", [True, "cohort"])
def test_history_is_sent_as_it_is(run: Run[None], compress: Any) -> None:
    app = make_app({"history": 100, "compress": compress}, threshold=0)
    app.websocket("/back/{epoch}/{offset}", Returning)

    async def scenario() -> None:
        async with place(app) as here:
            peer = await here.peer()
            messages = [f"{number} {WORDS}" for number in range(5)]
            for message in messages:
                app.publish("news", message)
                assert (await peer.take(message)).compressed
            position = app.channels["news"].position
            assert position is not None
            back = await here.peer(path=f"/back/{position.epoch}/{position.offset - 3}")
            app.publish("news", WORDS)
            for message in messages[2:]:
                assert not (await back.take(message)).compressed
            for one in peer, back:
                assert (await one.take(WORDS)).compressed
            read = app.channels["news"].read()
            assert [one.message for one in read] == [*messages, WORDS]

    run(scenario())


class Returning(Endpoint):
    """Comes back to a place in the history of "news"."""

    def on_open(self, ws: Ws) -> None:
        ws.send(ws.id, compress=False)
        since = Position(ws.params["epoch"], int(ws.params["offset"]))
        assert ws.subscribe("news", since=since).recovered


def test_two_hundred_peers_of_every_kind_decode_it_all(run: Run[None]) -> None:
    source = random.Random(fresh_seed())
    app = make_app({"compress": "cohort", "cohort_join": 0.25}, threshold=60)

    def offer() -> Parameters | None:
        if source.randrange(4) == 0:
            return None
        made: Parameters = {"client_max_window_bits": source.choice([True, 9, 15])}
        if source.randrange(2):
            made["server_max_window_bits"] = source.randrange(9, 16)
        for name in "server_no_context_takeover", "client_no_context_takeover":
            made[name] = source.randrange(3) == 0
        return made

    async def scenario() -> None:
        async with place(app) as here:
            peers = [await here.peer(offer()) for _ in range(200)]
            expected: list[str | bytes] = []
            for number in range(40):
                kinds: list[str | bytes] = [quote(number), WORDS, NOISE, "", b"x"]
                message = source.choice(kinds)
                expected.append(message)
                app.publish(
                    "news", message, compress=source.choice([None, True, False])
                )
                if source.randrange(3) == 0:
                    await asyncio.sleep(0)
            for peer in peers:
                for message in expected:
                    await peer.take(message)

    run(scenario())


# Counters


def test_a_channel_counts_what_compression_saves(run: Run[None]) -> None:
    app = make_app(threshold=100)

    async def scenario() -> None:
        async with place(app) as here:
            plain = await here.peer(None)
            app.publish("news", WORDS)
            await plain.take(WORDS)
            assert app.channels["news"].compression is None
            peers = [await here.peer(), await here.peer()]
            app.publish("news", SHORT)
            app.publish("news", WORDS, compress=False)
            assert app.channels["news"].compression is None
            for message in (WORDS, NOISE):
                app.publish("news", message)
            counts = app.channels["news"].compression
            assert counts is not None
            assert counts.messages == 2
            assert counts.bytes_before == len(WORDS) + len(NOISE)
            assert counts.seconds > 0
            for peer in peers:
                await peer.take(SHORT)
                assert not (await peer.take(WORDS)).compressed
                shrunk, noise = await peer.take(WORDS), await peer.take(NOISE)
                assert shrunk.compressed
                assert not noise.compressed
                assert counts.bytes_after == shrunk.size + noise.size
            total = app.counters.snapshot()
            assert total["compress_bytes_in"] == counts.bytes_before
            assert total["compress_bytes_out"] == counts.bytes_after
            assert total["compressed_messages"] == 1
            # A direct message is the loop's, not the channel's.
            peers[0].ws.send(WORDS)
            assert app.channels["news"].compression == counts
            assert app.counters.snapshot()["compressed_messages"] == 2

    run(scenario())


def test_a_warning_says_once_that_compression_does_not_pay(
    run: Run[None], caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(threshold=0)
    app.channel("good")
    caplog.set_level(logging.WARNING, "fastws")

    def warnings() -> list[str]:
        return [
            one.getMessage()
            for one in caplog.records
            if one.name == "fastws" and one.levelno == logging.WARNING
        ]

    async def scenario() -> None:
        async with place(app) as here:
            bad, good = await here.peer(), await here.peer(BROWSER, "good")
            source = random.Random(8)
            for number in range(2500):
                app.publish("news", source.randbytes(40))
                app.publish("good", "good " * 20)
                await bad.receive()
                await good.receive()
                assert len(warnings()) == (number >= 999)
            (warning,) = warnings()
            assert "'news'" in warning
            assert "compress=False" in warning

    run(scenario())


# Cohorts


async def until_compressed(publish: Callable[[], str], peer: Peer) -> int:
    """Publish until it comes compressed, as it does in a cohort; how often."""
    async with asyncio.timeout(DEADLINE):
        count = 0
        while True:
            message = publish()
            count += 1
            if (await peer.take(message)).compressed:
                return count


def cohort_app(**compression: Any) -> App:
    """The shortest time from one joining to the next that counts."""
    return make_app({"compress": "cohort", "cohort_join": 0.01}, **compression)


def test_short_messages_get_small_in_a_cohort(run_on_each_loop: Run[None]) -> None:
    app = cohort_app()
    messages = [quote(number) for number in range(300)]

    async def scenario() -> None:
        async with place(app) as here:
            members = [await here.peer() for _ in range(5)]
            smaller = await here.peer({**BROWSER, "server_max_window_bits": 9})
            others = [await here.peer(None), await here.peer(FORGETFUL), smaller]
            for member in members:
                assert member.ws.agreement is not None
                assert member.ws.agreement.send_context
            for message in messages:
                app.publish("news", message)
            plain = sum(map(len, messages))
            for peer in members:
                arrivals = [await peer.take(message) for message in messages]
                assert all(one.compressed for one in arrivals)
                assert sum(one.size for one in arrivals) < 0.25 * plain
            for peer in others:
                # They are under the threshold.
                for message in messages:
                    assert not (await peer.take(message)).compressed
            counts = app.channels["news"].compression
            assert counts is not None
            assert counts.messages == len(messages)
            assert counts.bytes_before == plain

    run_on_each_loop(scenario())


def test_what_else_a_member_receives_goes_plain(run: Run[None]) -> None:
    app = cohort_app(threshold=0)
    app.channel("other")
    app.channel("second", compress="cohort")

    async def scenario() -> None:
        async with place(app) as here:
            peer = await here.peer(BROWSER, "news,other,second")
            another = await here.peer()
            app.publish("news", quote(0))
            assert (await peer.take(quote(0))).compressed
            peer.ws.send(WORDS, compress=True)
            app.publish("other", WORDS, compress=True)
            app.publish("second", WORDS, compress=True)
            app.publish("news", WORDS, compress=False)
            app.publish("news", WORDS, exclude=another.ws)
            app.broadcast(WORDS)
            for _ in range(6):
                assert not (await peer.take(WORDS)).compressed
            # None of it has got into what the members remember.
            for number in range(1, 20):
                app.publish("news", quote(number))
                assert (await peer.take(quote(number))).compressed
            await another.take(quote(0))
            assert not (await another.take(WORDS)).compressed
            assert not (await another.take(WORDS)).compressed
            for number in range(1, 20):
                assert (await another.take(quote(number))).compressed

    run(scenario())


def test_a_member_that_unsubscribes_is_compressed_like_everyone_again(
    run: Run[None],
) -> None:
    app = cohort_app(threshold=0)
    app.channel("other")

    async def scenario() -> None:
        async with place(app) as here:
            leaving = await here.peer(BROWSER, "news,other")
            staying = await here.peer(BROWSER, "news,other")
            app.publish("news", quote(0))
            app.publish("other", WORDS)
            for peer in leaving, staying:
                assert (await peer.take(quote(0))).compressed
                assert not (await peer.take(WORDS)).compressed
            assert leaving.ws.unsubscribe("news")
            app.publish("news", quote(1))
            leaving.ws.send(WORDS)
            app.publish("other", WORDS + "2")
            assert (await staying.take(quote(1))).compressed
            assert not (await staying.take(WORDS + "2")).compressed
            assert (await leaving.take(WORDS)).compressed
            assert (await leaving.take(WORDS + "2")).compressed

    run(scenario())


def test_newcomers_join_and_members_leave(run: Run[None]) -> None:
    app = cohort_app()
    numbers = iter(range(1_000_000))

    def publish() -> str:
        message = quote(next(numbers))
        app.publish("news", message)
        return message

    async def scenario() -> None:
        async with place(app) as here:
            first = await here.peer()
            await until_compressed(publish, first)
            second = await here.peer()
            count = await until_compressed(publish, second)
            # The first one was in all the time, through the new beginning, too.
            arrivals = [await first.receive() for _ in range(count)]
            assert all(one.compressed for one in arrivals)
            await first.close()
            third = await here.peer()
            count = await until_compressed(publish, third)
            for _ in range(count):
                assert (await second.receive()).compressed
            assert app.channels["news"].subscribers == 2

    run(scenario())


def test_nobody_joins_before_it_is_time(run: Run[None]) -> None:
    app = make_app({"compress": "cohort", "cohort_join": 10_000})

    async def scenario() -> None:
        async with place(app) as here:
            first = await here.peer()
            app.publish("news", quote(0))
            assert (await first.take(quote(0))).compressed
            late = await here.peer()
            for number in range(1, 50):
                app.publish("news", quote(number))
                assert (await first.take(quote(number))).compressed
                assert not (await late.take(quote(number))).compressed

    run(scenario())


def test_a_rule_counts_for_the_handshakes_behind_it(run: Run[None]) -> None:
    app = make_app()

    async def scenario() -> None:
        async with place(app) as here:
            before = await here.peer(path="/idle")
            app.channel("ticks.{id}", compress="cohort")
            after = await here.peer(path="/idle")
            for peer, keeps in ((before, False), (after, True)):
                assert peer.ws.agreement is not None
                assert peer.ws.agreement.send_context == keeps
                peer.ws.subscribe("ticks.1")
            app.publish("ticks.1", quote(0))
            assert not (await before.take(quote(0))).compressed
            assert (await after.take(quote(0))).compressed

    run(scenario())


def test_without_compression_a_cohort_is_a_channel_like_any_other(
    run: Run[None],
) -> None:
    app = App()
    app.websocket("/in/{channels}", Member)
    app.channel("news", compress="cohort")

    async def scenario() -> None:
        async with place(app) as here:
            peer = await here.peer()
            assert peer.ws.agreement is None
            app.publish("news", quote(0), compress=True)
            await peer.take(quote(0))
            assert app.channels["news"].compression is None

    run(scenario())


@pytest.mark.parametrize("keeps", [False, True])
def test_a_client_in_memory_may_be_in_a_cohort(run: Run[None], keeps: bool) -> None:
    app = cohort_app()
    rule = Compression(client_context=keeps)

    async def scenario() -> None:
        async with connect(app, "/in/news", compression=rule) as ws:
            await ws.receive(DEADLINE)
            assert ws.agreement is not None
            assert ws.agreement.receive_context == keeps
            for number in range(50):
                app.publish("news", quote(number))
            for number in range(50):
                assert await ws.receive(DEADLINE) == quote(number)
            counts = app.channels["news"].compression
            assert (counts is not None) == keeps

    run(scenario())
