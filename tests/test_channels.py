"""Channels through the App: history, recovery, batches, confirmed publications.

In memory and over a socket alike; slow subscribers have a file of their own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import msgspec
import pytest

from fastws import (
    App,
    ConfigError,
    Connection,
    Endpoint,
    Message,
    Position,
    PublishUnknown,
    Receipt,
    StateError,
)
from fastws.testing import connect

from .support.frames import TEXT, Frame, take_frame, text
from .support.waits import DEADLINE
from .test_server import Client as SocketClient

Ws: TypeAlias = "Connection[Any]"
Dial: TypeAlias = Callable[[App, str], Any]

# A busy machine takes its time from one publication to the next.
BATCH = 0.5


class News(Endpoint):
    """Subscribes at once, or from the position that the client asks for."""

    def on_open(self, ws: Ws) -> None:
        if ws.path == "/news":
            ws.subscribe("news")
            ws.send("welcome")

    def on_message(self, ws: Ws, message: Message) -> None:
        epoch, offset = msgspec.json.decode(message, type=tuple[str, int])
        subscription = ws.subscribe("news", since=Position(epoch, offset))
        assert subscription.position is not None
        ws.send(
            {
                "recovered": subscription.recovered,
                "offset": subscription.position.offset,
            }
        )


def make_app(**rule: Any) -> App:
    app = App()
    app.channel("news", **rule)
    app.websocket("/news", News)
    app.websocket("/back", News)
    return app


class MemoryPeer:
    """A client of ``fastws.testing``."""

    def __init__(self, ws: Ws) -> None:
        self._ws = ws

    def send(self, message: str) -> None:
        self._ws.send(message)

    async def receive(self) -> Message:
        return await self._ws.receive(DEADLINE)


class SocketPeer:
    """A client with a socket, that also counts what comes in one piece."""

    def __init__(self, client: SocketClient) -> None:
        self._client = client

    def send(self, message: str) -> None:
        self._client.send(text(message))

    async def receive(self) -> Message:
        frame: Frame = await self._client.frame()
        return frame.payload.decode() if frame.opcode == TEXT else frame.payload


@asynccontextmanager
async def in_memory(app: App, path: str) -> AsyncIterator[MemoryPeer]:
    async with connect(app, path) as ws:
        yield MemoryPeer(ws)


@asynccontextmanager
async def over_a_socket(app: App, path: str) -> AsyncIterator[SocketPeer]:
    async with app.serve(port=0, shutdown_timeout=DEADLINE) as server:
        client = await SocketClient.open(server.port, path)
        try:
            yield SocketPeer(client)
        finally:
            await client.close()


@pytest.fixture(params=[in_memory, over_a_socket])
def dial(request: pytest.FixtureRequest) -> Dial:
    """Opens a connection to an App; which is served for that long at least."""
    found: Dial = request.param
    return found


def ask(epoch: str, offset: int) -> str:
    return msgspec.json.encode((epoch, offset)).decode()


# The mapping


def test_a_channel_is_there_while_it_has_subscribers_or_history(run: Any) -> None:
    app = make_app(history=10)
    app.websocket("/other", echo_of("other"))

    async def scenario() -> None:
        assert "news" not in app.channels
        assert repr(app.channels) == "<Channels none>"
        async with connect(app, "/other") as ws:
            await ws.receive(DEADLINE)
            assert list(app.channels) == ["other"]
            assert app.channels["other"].subscribers == 1
            assert app.channels["other"].position is None
            app.publish("news", "kept")
            assert set(app.channels) == {"news", "other"}
            assert len(app.channels) == 2
            assert app.channels["news"].subscribers == 0
            assert app.channels.get("nothing") is None
            with pytest.raises(KeyError, match="nothing"):
                app.channels["nothing"]
            app.channels["news"].clear()
            assert list(app.channels) == ["other"]
        assert dict(app.channels) == {}

    run(scenario())


def echo_of(channel: str) -> Any:
    async def endpoint(ws: Ws) -> None:
        ws.subscribe(channel)
        await ws.send("welcome")
        async for _ in ws:
            continue

    return endpoint


# History


def test_history_is_read_by_position(run: Any, dial: Dial) -> None:
    app = make_app(history=3)

    async def scenario() -> None:
        async with dial(app, "/news") as peer:
            assert await peer.receive() == "welcome"
            for number in range(1, 6):
                app.publish("news", {"number": number}, key=f"key {number}")
                assert await peer.receive() == f'{{"number":{number}}}'
            channel = app.channels["news"]
            everything = channel.read()
            assert [one.offset for one in everything] == [3, 4, 5]
            assert [one.message for one in everything][-1] == '{"number":5}'
            assert [one.key for one in everything] == ["key 3", "key 4", "key 5"]
            assert [one.time for one in everything] == sorted(
                one.time for one in everything
            )
            assert everything.recovered
            assert everything.position == channel.position
            assert [one.offset for one in channel.read(limit=2)] == [4, 5]

            epoch = everything.position.epoch
            first = channel.read(Position(epoch, 2), limit=2)
            assert [one.offset for one in first] == [3, 4]
            rest = channel.read(first.position)
            assert [one.offset for one in rest] == [5]
            assert rest.recovered
            assert len(channel.read(rest.position)) == 0
            for place in (Position(epoch, 1), Position(epoch, 6), Position("x", 4)):
                found = channel.read(place)
                assert (found.recovered, len(found)) == (False, 0)
                assert found.position == channel.position

    run(scenario())


def test_a_reconnect_gets_the_whole_gap_in_order(run: Any, dial: Dial) -> None:
    app = make_app(history=100)

    async def scenario() -> None:
        async with dial(app, "/news") as peer:
            await peer.receive()
            app.publish("news", "1")
            assert await peer.receive() == "1"
            place = app.channels["news"].position
            assert place is not None
            for number in range(2, 50):
                app.publish("news", str(number))
            async with dial(app, "/back") as returning:
                returning.send(ask(place.epoch, place.offset))
                # Subscribing came before the answer was sent, so the gap does, too.
                assert [await returning.receive() for _ in range(48)] == [
                    str(number) for number in range(2, 50)
                ]
                assert await returning.receive() == '{"recovered":true,"offset":49}'
                app.publish("news", "50")
                assert await returning.receive() == "50"

    run(scenario())


@pytest.mark.parametrize("wrong", ["epoch", "too old", "from the future"])
def test_a_gap_that_is_not_covered_is_said_and_nothing_of_it_comes(
    run: Any, dial: Dial, wrong: str
) -> None:
    app = make_app(history=5)

    async def scenario() -> None:
        async with dial(app, "/news") as peer:
            await peer.receive()
            for number in range(1, 21):
                app.publish("news", str(number))
            epoch = app.channels["news"].epoch
            assert epoch is not None
            place = {
                "epoch": ("other", 18),
                "too old": (epoch, 14),
                "from the future": (epoch, 21),
            }[wrong]
            async with dial(app, "/back") as returning:
                returning.send(ask(*place))
                assert await returning.receive() == '{"recovered":false,"offset":20}'
                app.publish("news", "21")
                assert await returning.receive() == "21"

    run(scenario())


def test_a_place_on_the_edge_of_history_is_covered(run: Any) -> None:
    app = make_app(history=5)

    async def scenario() -> None:
        async with connect(app, "/news") as ws:
            await ws.receive(DEADLINE)
            for number in range(1, 21):
                app.publish("news", str(number))
            epoch = app.channels["news"].epoch
            assert epoch is not None
            for offset, gap in ((15, 5), (20, 0)):
                async with connect(app, "/back") as returning:
                    returning.send(ask(epoch, offset))
                    found = [await returning.receive(DEADLINE) for _ in range(gap)]
                    assert found == [str(21 - gap + step) for step in range(gap)]
                    answer = await returning.receive_json()
                    assert answer == {"recovered": True, "offset": 20}

    run(scenario())


def test_a_subscription_is_awaitable_and_says_where_it_stands(run: Any) -> None:
    app = make_app(history=5)
    seen: list[tuple[str, int, bool]] = []

    @app.websocket("/await")
    async def endpoint(ws: Ws) -> None:
        subscription = await ws.subscribe("news")
        assert subscription.position is not None
        seen.append(
            (
                subscription.channel,
                subscription.position.offset,
                subscription.recovered,
            )
        )
        with pytest.raises(StateError):
            ws.subscribe("news", since=subscription.position)
        assert (await ws.subscribe("other")).position is None

    async def scenario() -> None:
        async with connect(app, "/news") as ws:
            await ws.receive(DEADLINE)
            app.publish("news", "1")
            async with connect(app, "/await"):
                await ws.receive(DEADLINE)

    run(scenario())
    assert seen == [("news", 1, False)]


# Batching


def test_publications_of_a_window_leave_together(run: Any) -> None:
    """One write for all of them: they come out of the socket in one piece."""
    app = make_app(batch=BATCH)

    async def scenario() -> None:
        async with app.serve(port=0, shutdown_timeout=DEADLINE) as server:
            client = await SocketClient.open(server.port, "/news")
            assert (await client.frame()).payload == b"welcome"
            for number in range(5):
                app.publish("news", str(number))
                await asyncio.sleep(0)
            data = bytearray(await client.within(client.reader.read(65_536)))
            found = []
            while (frame := take_frame(data)) is not None:
                found.append(frame.payload.decode())
            assert found == ["0", "1", "2", "3", "4"]
            await client.close()

    run(scenario())


def test_an_array_is_one_message(run: Any, dial: Dial) -> None:
    app = make_app(batch=BATCH, batch_form="array")

    async def scenario() -> None:
        async with dial(app, "/news") as peer:
            await peer.receive()
            app.publish("news", {"number": 1})
            await asyncio.sleep(0)
            app.publish("news", [2])
            assert await peer.receive() == '[{"number":1},[2]]'
            app.publish("news", 3)
            assert await peer.receive() == "[3]"
            for wrong, exclude in ((b"binary", False), ({}, True)):
                with pytest.raises((TypeError, ValueError)):
                    app.publish(
                        "news",
                        wrong,
                        exclude=app.connections[0] if exclude else None,
                    )

    run(scenario())


def test_a_batch_goes_to_many_channels_in_order(run: Any, dial: Dial) -> None:
    app = make_app(history=10)

    @app.websocket("/both")
    async def both(ws: Ws) -> None:
        ws.subscribe("news")
        ws.subscribe("other")
        await ws.send("welcome")
        async for _ in ws:
            continue

    async def scenario() -> None:
        async with dial(app, "/both") as peer:
            await peer.receive()
            items: list[Any] = [
                ("news", "1"),
                ("other", {"two": 2}),
                ("news", b"3", "key"),
                ("other", "4", None),
            ]
            app.publish_batch(items)
            expected = ["1", '{"two":2}', b"3", "4"]
            assert [await peer.receive() for _ in range(4)] == expected
            assert [one.key for one in app.channels["news"].read()] == [None, "key"]
            thread = threading.Thread(target=app.publish_batch, args=(iter(items),))
            thread.start()
            assert [await peer.receive() for _ in range(4)] == expected
            thread.join()

    run(scenario())


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (("news",), TypeError),
        ("news", TypeError),
        ((5, "message"), TypeError),
        (("news", "message", 5), TypeError),
        (("news", {1, 2}), TypeError),
        (("news", "\ud800"), ValueError),
        (("news", "message", "k" * 256), ValueError),
    ],
)
def test_one_wrong_item_and_nothing_is_published(
    run: Any, wrong: Any, error: type[Exception]
) -> None:
    app = make_app(history=10)

    async def scenario() -> None:
        async with connect(app, "/news") as ws:
            await ws.receive(DEADLINE)
            with pytest.raises(error):
                app.publish_batch([("news", "1"), wrong, ("news", "3")])
            assert len(app.channels["news"].read()) == 0
            app.publish_batch([])
            app.publish_batch([("news", "the first")])
            assert await ws.receive(DEADLINE) == "the first"

    run(scenario())


def test_a_batch_minds_strict_channels(run: Any) -> None:
    app = App(strict_channels=True)
    app.channel("news")
    app.websocket("/news", News)

    async def scenario() -> None:
        async with connect(app, "/news") as ws:
            await ws.receive(DEADLINE)
            with pytest.raises(ConfigError, match="'lobby' is not declared"):
                app.publish_batch([("news", "1"), ("lobby", "2")])
            with pytest.raises(ConfigError, match="'lobby' is not declared"):
                await app.publish_confirmed("lobby", "2")
            app.publish("news", "the first")
            assert await ws.receive(DEADLINE) == "the first"

    run(scenario())


# Confirmed


def test_a_receipt_names_the_place_and_what_it_survives(run: Any, dial: Dial) -> None:
    app = make_app(history=10)

    async def scenario() -> None:
        async with dial(app, "/news") as peer:
            await peer.receive()
            first = await app.publish_confirmed("news", "1", key="a")
            second = await app.publish_confirmed("news", "2", idempotency_key="two")
            assert (first.offset, second.offset) == (1, 2)
            assert (first.survives, first.duplicate) == ("process", False)
            assert second.position == app.channels["news"].position
            again = await app.publish_confirmed("news", "other", idempotency_key="two")
            assert again.duplicate
            assert again.position == second.position
            await app.publish_confirmed("news", "3")
            assert [await peer.receive() for _ in range(3)] == ["1", "2", "3"]

            plain = await app.publish_confirmed("plain", "nobody hears it")
            assert plain == Receipt(None, None, "nothing")
            assert plain.position is None
            for wrong in (
                {"idempotency_key": "k" * 256},
                {"key": "k" * 256},
            ):
                with pytest.raises(ValueError):
                    await app.publish_confirmed("news", "long", **wrong)  # type: ignore[arg-type]

    run(scenario())


def test_racing_duplicates_are_one_publication(run: Any) -> None:
    app = make_app(history=2000)

    async def scenario() -> None:
        async with connect(app, "/news") as ws:
            await ws.receive(DEADLINE)
            receipts = await asyncio.gather(
                *(
                    app.publish_confirmed("news", str(n), idempotency_key=str(n % 10))
                    for n in range(1000)
                )
            )
            assert len({receipt.offset for receipt in receipts}) == 10
            assert sum(not receipt.duplicate for receipt in receipts) == 10
            assert len(app.channels["news"].read()) == 10

    run(scenario())


def test_nothing_is_confirmed_by_an_app_at_rest(run: Any) -> None:
    async def scenario() -> None:
        with pytest.raises(StateError, match="is not being served"):
            await App().publish_confirmed("news", "hello")

    run(scenario())


def test_another_loop_is_answered_too(run: Any) -> None:
    app = make_app(history=10)
    receipts: list[Receipt] = []

    def elsewhere() -> None:
        receipts.append(asyncio.run(app.publish_confirmed("news", "from there")))

    async def scenario() -> None:
        async with connect(app, "/news") as ws:
            await ws.receive(DEADLINE)
            await asyncio.to_thread(elsewhere)
            assert await ws.receive(DEADLINE) == "from there"

    run(scenario())
    assert [receipt.offset for receipt in receipts] == [1]


def test_no_answer_in_time_is_unknown(run: Any) -> None:
    app = make_app(history=10)
    outcome: list[Exception] = []

    def elsewhere() -> None:
        try:
            asyncio.run(app.publish_confirmed("news", "from there", timeout=0.01))
        except PublishUnknown as error:
            outcome.append(error)

    async def scenario() -> None:
        async with connect(app, "/news") as ws:
            await ws.receive(DEADLINE)
            thread = threading.Thread(target=elsewhere)
            thread.start()
            # This loop is busy until the other one has given up.
            thread.join(DEADLINE)

    run(scenario())
    (error,) = outcome
    assert "channel 'news' may have been published" in str(error)


# Conditions, rates, targets: plain Python around publish and send


def test_a_subscriber_can_be_left_out_or_meant_alone(run: Any) -> None:
    app = make_app()

    async def scenario() -> None:
        async with connect(app, "/news") as first, connect(app, "/news") as second:
            assert await first.receive(DEADLINE) == "welcome"
            assert await second.receive(DEADLINE) == "welcome"
            one, other = app.connections
            app.publish("news", "for one", exclude=other)
            found = app.connection(one.id)
            assert found is not None
            found.send("for you alone")
            app.publish("news", "for all")
            received = {await first.receive(DEADLINE), await second.receive(DEADLINE)}
            assert received == {"for one", "for all"}

    run(scenario())
