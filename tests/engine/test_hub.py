"""The hub: channels, publishing from anywhere, and finding connections."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from fastws import ChannelRule, ConfigError, Connection, Limits
from fastws.errors import StateError
from tests.conftest import Run
from tests.engine.peers import turns, until, world
from tests.support.frames import close, text


def test_a_channel_lives_while_it_has_subscribers(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            one, two = await here.connect(), await here.connect()
            assert here.hub.channels == {}
            one.ws.subscribe("a")
            two.ws.subscribe("a")
            channel = here.hub.channels["a"]
            assert (channel.name, channel.subscribers) == ("a", 2)
            assert repr(channel) == "<Channel 'a' subscribers=2>"
            assert one.ws.unsubscribe("a")
            assert not one.ws.unsubscribe("a")
            assert channel.subscribers == 1
            two.ws.abort()
            await until(lambda: here.hub.channels == {})
            assert channel.subscribers == 0

    run(scenario())


def test_publications_reach_subscribers_in_the_order_of_the_calls(
    run: Run[None],
) -> None:
    async def scenario() -> None:
        async with world() as here:
            both, one, none = [await here.connect() for _ in range(3)]
            both.ws.subscribe("a")
            both.ws.subscribe("b")
            one.ws.subscribe("b")
            for number in range(200):
                here.hub.publish("ab"[number % 2], str(number))
            assert await both.see_messages(200) == [str(n) for n in range(200)]
            assert await one.see_messages(100) == [str(n) for n in range(1, 200, 2)]
            none.pull()
            assert none.messages == []

    run(scenario())


def test_who_is_excluded_gets_everything_else(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            peers = [await here.connect() for _ in range(3)]
            for peer in peers:
                peer.ws.subscribe("a")
            for number in range(30):
                left_out = peers[number % 3].ws
                if number % 2:
                    left_out.publish("a", str(number))
                else:
                    here.hub.publish("a", str(number), exclude=left_out)
                left_out.send(f"own {number}")
            for place, peer in enumerate(peers):
                expected = [f"own {n}" if n % 3 == place else str(n) for n in range(30)]
                assert await peer.see_messages(30) == expected

    run(scenario())


def test_excluding_one_that_is_gone_excludes_nobody(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            gone, stays = await here.connect(), await here.connect()
            stays.ws.subscribe("a")
            gone.ws.abort()
            await until(lambda: here.hub.connection_count == 1)
            here.hub.publish("a", "x", exclude=gone.ws)
            here.hub.broadcast("y", exclude=gone.ws)
            assert await stays.see_messages(2) == ["x", "y"]

    run(scenario())


def test_a_hundred_channels_of_one_connection(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect()
            names = [f"channel.{number}" for number in range(100)]
            for name in names:
                peer.ws.subscribe(name)
            assert sorted(peer.ws.channels) == sorted(names)
            expected = []
            for turn in range(10):
                for name in names[turn:] + names[:turn]:
                    here.hub.publish(name, f"{name} {turn}")
                    expected.append(f"{name} {turn}")
                peer.ws.send(f"direct {turn}")
                expected.append(f"direct {turn}")
            assert await peer.see_messages(len(expected)) == expected
            for name in names:
                assert peer.ws.unsubscribe(name)
            assert here.hub.channels == {}

    run(scenario())


def test_broadcast_reaches_everyone_also_who_comes_later(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            early = await here.connect()
            here.hub.broadcast("first")
            late = await here.connect()
            late.ws.subscribe("a")
            here.hub.publish("a", "for late")
            here.hub.broadcast("second", exclude=early.ws)
            here.hub.broadcast("third")
            assert await early.see_messages(2) == ["first", "third"]
            assert await late.see_messages(3) == ["for late", "second", "third"]
            assert late.ws.channels == ["a"]
            assert list(here.hub.channels) == ["a"]

    run(scenario())


def test_broadcasting_costs_nobody_a_channel(run: Run[None]) -> None:
    """Fixed: everyone's own channel used to count against max_channels."""

    async def scenario() -> None:
        async with world(Limits(max_channels=2)) as here:
            here.hub.broadcast("x")
            peer = await here.connect()
            peer.ws.subscribe("a")
            peer.ws.subscribe("b")
            peer.ws.subscribe("b")
            with pytest.raises(StateError, match="may have 2 channels"):
                peer.ws.subscribe("c")
            assert sorted(peer.ws.channels) == ["a", "b"]

    run(scenario())


def test_the_first_broadcast_sends_nothing_behind_a_close(run: Run[None]) -> None:
    """Fixed: one that was closing used to join everyone's channel."""

    async def scenario() -> None:
        async with world(Limits(write_cap=1000, error_close_timeout=5)) as here:
            evicted, closing = await here.connect(small=True), await here.connect()
            while evicted.ws.send(b"." * 50_000):
                await turns(1)
            closing.ws.close(1000)
            here.hub.broadcast("too late")
            await turns()
            here.hub.broadcast("too late")
            await evicted.see_end()
            await closing.see_close()
            await turns()
            closing.pull()
            assert evicted.messages == [b"." * 50_000]
            assert closing.messages == []

    run(scenario())


def test_connections_are_found_by_their_id(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            peers = [await here.connect() for _ in range(20)]
            assert set(here.hub.connections) == {peer.ws for peer in peers}
            assert here.hub.connection_count == 20
            for peer in peers:
                assert here.hub.connection(peer.ws.id) is peer.ws
            gone = peers.pop()
            gone.ws.abort()
            await until(lambda: here.hub.connection_count == 19)
            successor = await here.connect()
            assert successor.ws.id != gone.ws.id
            assert here.hub.connection(gone.ws.id) is None
            assert gone.ws not in here.hub.connections

    run(scenario())


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "-",
        "{0}",
        "{0}-",
        "{0}-1",
        "{0}0",
        "{0}0-",
        "{0}0-2",
        "{0}1-1",
        "{0}-1--1",
        "{0}" + "f" * 100 + "-1",
        "{0}0-" + "f" * 100,
        "{0}0-1 ",
        "{0} 0-1",
        "{0}+0-+1",
        "{0}0x0-0x1",
        "{0}00-01",
        "{0}0-0_1",
        "{0}٠-١",
        "{0}0-1\0",
        "\ud800",
        "x" * 10_000,
    ],
)
def test_garbage_is_nobodys_id(run: Run[None], garbage: str) -> None:
    """Fixed: other spellings of its numbers used to find a connection, too."""

    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect()
            assert peer.ws.id == f"{here.hub.id_prefix}0-1"
            assert here.hub.connection(garbage.format(here.hub.id_prefix)) is None

    run(scenario())


def test_a_rule_that_refuses_leaves_nothing_behind(run: Run[None]) -> None:
    def refuse(name: str) -> ChannelRule:
        raise ConfigError(f"{name} is not declared")

    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect()
            here.hub.rule_for = refuse
            for _ in range(2):
                with pytest.raises(ConfigError, match="a is not declared"):
                    peer.ws.subscribe("a")
            assert peer.ws.channels == []
            # The rule says whether history keeps what nobody is subscribed to.
            with pytest.raises(ConfigError, match="a is not declared"):
                here.hub.publish("a", "x")
            assert here.hub.channels == {}

    run(scenario())


def test_a_rule_may_be_asked_for_while_one_is_asked_for(run: Run[None]) -> None:
    """Fixed: the second channel of that name used to take the place of the first."""

    async def scenario() -> None:
        async with world() as here:
            peer, other = await here.connect(), await here.connect()

            def rule_for(name: str) -> ChannelRule:
                here.hub.rule_for = lambda name: ChannelRule()
                other.ws.subscribe(name)
                return ChannelRule()

            here.hub.rule_for = rule_for
            peer.ws.subscribe("a")
            assert here.hub.channels["a"].subscribers == 2
            here.hub.publish("a", "x")
            assert await peer.see_messages(1) == await other.see_messages(1) == ["x"]

    run(scenario())


def test_publishing_from_other_threads_under_load(run: Run[None]) -> None:
    threads, each = 4, 500

    async def scenario() -> None:
        async with world() as here:
            peers = [await here.connect() for _ in range(5)]
            for peer in peers:
                peer.ws.subscribe("a")

            def publish(thread: int) -> None:
                for number in range(each):
                    here.hub.publish("a", {"thread": thread, "number": number})
                    if number % 100 == 0:
                        here.hub.broadcast(bytearray(b"to all"))

            started = [
                threading.Thread(target=publish, args=[n]) for n in range(threads)
            ]
            for thread in started:
                thread.start()
            expected = threads * (each + each // 100)
            for peer in peers:
                await peer.see_messages(expected)
                for number in range(threads):
                    mine = f'{{"thread":{number},'
                    assert [m for m in peer.messages if str(m).startswith(mine)] == [
                        f'{mine}"number":{n}}}' for n in range(each)
                    ]
                assert peer.messages.count(b"to all") == expected - threads * each
            for thread in started:
                thread.join()

    run(scenario())


@pytest.mark.parametrize(
    ("message", "error"), [("\ud800", ValueError), (object(), TypeError)]
)
def test_another_threads_mistake_is_raised_there(
    run: Run[None], message: object, error: type[Exception]
) -> None:
    """Fixed: text that UTF-8 cannot hold used to fail in the loop, later."""

    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect()
            peer.ws.subscribe("a")
            with pytest.raises(error):
                await asyncio.to_thread(here.hub.publish, "a", message)
            with pytest.raises(error):
                await asyncio.to_thread(here.hub.broadcast, message)
            view = memoryview(b"ab")[::2]
            await asyncio.to_thread(here.hub.publish, "a", view, exclude=None)
            await asyncio.to_thread(here.hub.publish, "a", "x", exclude=peer.ws)
            await asyncio.to_thread(here.hub.publish, "a", "é")
            assert await peer.see_messages(2) == [b"a", "é"]

    run(scenario())


def come_and_go(ws: Connection[Any]) -> None:
    ws.subscribe("a")
    ws.unsubscribe("a")


@pytest.mark.parametrize(
    "listener", ["on_connect", "on_message", "on_subscribe", "on_unsubscribe"]
)
def test_what_a_listener_raises_closes_that_connection_or_reaches_the_caller(
    run: Run[None], listener: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: Any) -> None:
        raise ZeroDivisionError("secret")

    async def scenario() -> None:
        got: list[object] = []
        async with world(on_message=lambda ws, message: got.append(message)) as here:
            good = await here.connect()
            setattr(here.hub, listener, fail)
            bad = await here.connect()
            if listener == "on_message":
                bad.send(text("x"))
            elif listener != "on_connect":
                with pytest.raises(ZeroDivisionError):
                    come_and_go(bad.ws)
                return
            assert await bad.see_close() == (1011, b"")
            assert got == []
            setattr(here.hub, listener, None)
            good.send(text("y"))
            await until(lambda: got == ["y"])
            assert len(caplog.records) == 1
            caplog.clear()

    run(scenario())


def test_listeners_hear_everything_in_order(run: Run[None]) -> None:
    async def scenario() -> None:
        heard: list[tuple[Any, ...]] = []

        def listen(name: str) -> Any:
            return lambda ws, *rest: heard.append((name, *rest))

        def opened(ws: Connection[Any]) -> None:
            heard.append(("on_open",))
            ws.subscribe("a")

        async with world(
            on_open=opened,
            on_message=listen("own message"),
            on_close=listen("own close"),
        ) as here:
            for name in (
                "on_connect",
                "on_disconnect",
                "on_subscribe",
                "on_unsubscribe",
                "on_message",
            ):
                setattr(here.hub, name, listen(name))
            peer = await here.connect()
            peer.ws.subscribe("a")
            peer.ws.subscribe("b")
            peer.ws.unsubscribe("a")
            peer.send(text("x"), close(4001, "bye"))
            await peer.see_end()
            await until(lambda: here.hub.connection_count == 0)
        assert heard == [
            ("on_connect",),
            ("on_open",),
            ("on_subscribe", "a"),
            ("on_subscribe", "b"),
            ("on_unsubscribe", "a"),
            ("on_message", "x"),
            ("own message", "x"),
            ("on_unsubscribe", "b"),
            ("own close", 4001, "bye"),
            ("on_disconnect", 4001, "bye"),
        ]

    run(scenario())


def test_only_the_engine_makes_an_owner_of_anything() -> None:
    with pytest.raises(TypeError, match="made by the server"):
        Connection()
