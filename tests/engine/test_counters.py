"""Counters: one storage for native memory, one per loop for events."""

from __future__ import annotations

from fastws.engine.counters import Counters, native_counts
from tests.conftest import Run
from tests.engine.peers import world
from tests.support.frames import close, text


def test_new_counters_are_all_zero() -> None:
    assert set(Counters().snapshot().values()) == {0}


def test_a_snapshot_does_not_change() -> None:
    counters = Counters()
    snapshot = counters.snapshot()
    snapshot["opened"] = 7
    assert counters.snapshot()["opened"] == 0


def test_native_counts_follow_connections_and_subscriptions(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect()
            assert native_counts()["connections"] == 1
            peer.ws.subscribe("a")
            peer.ws.subscribe("b")
            assert native_counts()["members"] == 2
            here.hub.publish("a", "x")
            assert native_counts()["segments"] == 1
            await peer.see_messages(1)
            assert native_counts()["segments"] == 0

    run(scenario())


def test_an_unfinished_message_is_a_native_buffer_until_the_peer_goes(
    run: Run[None],
) -> None:
    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect()
            peer.send(text("x" * 100)[:50])
            await peer.see(lambda: native_counts()["buffers"] == 1)
            peer.socket.close()
            await peer.see(lambda: native_counts()["buffers"] == 0)

    run(scenario())


def test_events_are_counted(run: Run[None]) -> None:
    async def scenario() -> None:
        async with world() as here:
            peer = await here.connect()
            peer.ws.subscribe("a")
            peer.send(text("hello"), text("again"))
            await peer.see(lambda: here.count("messages_received") == 2)
            peer.ws.send("direct")
            here.hub.publish("a", "published")
            here.hub.publish("nobody", "published")
            await peer.see_messages(2)
            peer.send(close(1000))
            await peer.see_end()
            counts = here.hub.counters.snapshot()
        expected = {
            "connections": 0,
            "opened": 1,
            "closed": 1,
            "publications": 2,
            "deliveries": 1,
            "messages_sent": 2,
            "bytes_received": len(text("hello") + text("again") + close(1000)),
            "bytes_sent": len(b"..direct..published..xx"),
            "frames_lost": 0,
        }
        assert {name: counts[name] for name in expected} == expected

    run(scenario())
