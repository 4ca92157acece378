"""Our own sockets: what the comment at the top of the poller promises, attacked."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any

import pytest

from fastws import Connection, Limits
from fastws.engine import poller
from fastws.engine.hub import Hub
from fastws.engine.link import ByteConsumer, Link
from fastws.engine.opening import Entrance, WebEntrance
from fastws.engine.poller import poller_of
from tests.conftest import LOOPS, Run
from tests.engine.peers import ENDLESS, turns, until, world
from tests.support import kinds
from tests.support.frames import text

pytestmark = pytest.mark.skipif(not poller.AVAILABLE, reason="needs epoll")

NOTSENT_LOWAT = 131_072
# Ends a slice at every look at the clock.
SHORTEST = 1


class Taker(ByteConsumer):
    """Keeps what it gets; ``then`` is called after each read."""

    then: Callable[[Taker], None] | None = None

    def __init__(self, hub: Hub, link: Link) -> None:
        super().__init__(hub, link)
        self.received = b""
        self.events: list[str] = []
        self.error: BaseException | None = None
        self.stays = False

    def data_received(self, data: bytes) -> None:
        assert not self.lost
        self.received += data
        if self.then is not None:
            self.then(self)

    def eof_received(self) -> None:
        self.events.append("end")
        if not self.stays:
            self.link.close()

    def connection_lost(self, error: BaseException | None) -> None:
        self.events.append("lost")
        self.error = error

    def writing_paused(self) -> None:
        self.events.append("paused")

    def writing_resumed(self) -> None:
        self.events.append("resumed")

    @property
    def lost(self) -> bool:
        return "lost" in self.events


class Place:
    """A hub with a listening socket of our own."""

    def __init__(self, host: str) -> None:
        self.hub = Hub(Limits(), asyncio.get_running_loop())
        self.poller = poller_of(self.hub)
        self.takers: list[Taker] = []
        self.listener = socket.create_server(
            (host, 0),
            family=socket.AF_INET6 if ":" in host else socket.AF_INET,
            backlog=1024,
        )
        self.address = self.listener.getsockname()
        self.entrance = Entrance(self.take)
        self.poller.listen(self.listener, self.entrance)
        self.clients = ExitStack()

    def take(self, hub: Hub, link: Link) -> Taker:
        taker = Taker(hub, link)
        self.takers.append(taker)
        return taker

    def client(self, data: bytes = b"") -> socket.socket:
        one = socket.socket(self.listener.family)
        self.clients.enter_context(one)
        one.connect(self.address)
        one.setblocking(False)
        if data:
            one.sendall(data)
        return one

    async def accepted(self, count: int) -> list[Taker]:
        await until(lambda: len(self.takers) >= count)
        return self.takers

    async def quiet(self) -> bool:
        """Whether the kernel has nothing for us, turn after turn.

        Not necessarily at once: bytes may still be on their way, and a timer may fall
        into these turns. A busy loop is never quiet.
        """
        for _ in range(10):
            await turns()
            before = self.poller.turns
            await turns(50)
            if self.poller.turns == before:
                return True
        return False


@asynccontextmanager
async def place(host: str = "127.0.0.1") -> AsyncIterator[Place]:
    made = Place(host)
    try:
        yield made
    finally:
        made.poller.unlisten(made.listener)
        made.listener.close()
        made.clients.close()
    for taker in made.takers:
        taker.link.abort()
    await until(lambda: all(taker.lost for taker in made.takers))
    assert all(taker.events.count("lost") == 1 for taker in made.takers)
    assert all(taker.events[-1] == "lost" for taker in made.takers)
    # It leaves the loop with its last socket.
    await until(lambda: made.hub.poller is None)
    assert not made.poller.is_open


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def sockets() -> set[int]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        # The folder's own descriptor has gone by now.
        with suppress(FileNotFoundError):
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                found.add(int(name))
    return found


def waiting_in(client: socket.socket) -> bytes:
    try:
        return client.recv(100, socket.MSG_PEEK)
    except BlockingIOError:
        return b""


def is_at_end(client: socket.socket) -> bool:
    try:
        return not client.recv(1)
    except BlockingIOError:
        return False


# -- accepting -------------------------------------------------------------------------


def test_accepted_sockets_are_tuned_by_their_listener(
    run_on_each_loop: Run[None],
) -> None:
    async def scenario() -> None:
        async with place() as here:
            before = sockets()
            client = here.client()
            await here.accepted(1)
            (number,) = sockets() - before - {client.fileno()}
            with socket.socket(fileno=os.dup(number)) as same:
                tcp = socket.IPPROTO_TCP
                assert same.getsockopt(tcp, socket.TCP_NODELAY)
                assert same.getsockopt(tcp, socket.TCP_NOTSENT_LOWAT) == NOTSENT_LOWAT
                assert not os.get_blocking(same.fileno())
                assert not os.get_inheritable(number)

    run_on_each_loop(scenario())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0"])
def test_addresses_can_be_read_before_and_after_the_end(
    run_on_each_loop: Run[None], host: str
) -> None:
    async def scenario() -> None:
        async with place(host) as here:
            here.address = (host.replace("0.0.0.0", "127.0.0.1"), *here.address[1:])
            client = here.client()
            (taker,) = await here.accepted(1)
            assert taker.link.remote_address == client.getsockname()
            assert taker.link.local_address == client.getpeername()
            client.close()
            await until(lambda: taker.lost)
            assert taker.link.remote_address[1] > 0
            if host != "0.0.0.0":
                assert taker.link.local_address == here.address

    run_on_each_loop(scenario())


def test_many_are_accepted_in_a_few_turns(run_on_each_loop: Run[None]) -> None:
    async def scenario() -> None:
        async with place() as here:
            here.hub.slice_nanoseconds = ENDLESS
            for number in range(90):
                here.client(b"%d" % number)
            # Their bytes were there before they were accepted.
            before = here.poller.turns
            await here.accepted(90)
            assert here.poller.turns - before <= 4
            received = {taker.received for taker in here.takers}
            assert received == {b"%d" % number for number in range(90)}

    run_on_each_loop(scenario())


def test_a_peer_that_goes_before_it_is_accepted(run_on_each_loop: Run[None]) -> None:
    async def scenario() -> None:
        async with place() as here:
            here.client().close()
            here.client(b"x").close()
            reset(here.client())
            here.client().shutdown(socket.SHUT_WR)
            here.client(b"last")
            await until(lambda: any(one.received == b"last" for one in here.takers))
            await until(lambda: sum(one.lost for one in here.takers) >= 3)

    run_on_each_loop(scenario())


def test_two_listeners_of_one_hub(run_on_each_loop: Run[None]) -> None:
    async def scenario() -> None:
        async with place() as here:
            with socket.create_server(("127.0.0.1", 0)) as second:
                here.poller.listen(second, here.entrance)
                with socket.create_connection(second.getsockname()):
                    await here.accepted(1)
                with socket.create_connection(second.getsockname()):
                    here.poller.unlisten(second)
                    here.client()
                    await here.accepted(2)
                    await turns()
                    assert len(here.takers) == 2
            assert here.poller.is_open

    run_on_each_loop(scenario())


# -- descriptor reuse and events of closed connections ---------------------------------


@pytest.mark.parametrize("slice_nanoseconds", [SHORTEST, 5_000_000])
def test_events_of_closed_connections_are_nobody_elses(
    run_on_each_loop: Run[None], slice_nanoseconds: int
) -> None:
    """One handler closes everybody else while their events are in hand, and newcomers
    take their descriptors and places before these events' turn."""

    async def scenario() -> None:
        async with place() as here:
            here.hub.slice_nanoseconds = slice_nanoseconds
            clients = [here.client() for _ in range(60)]
            first = list(await here.accepted(60))

            def end_the_others(taker: Taker) -> None:
                taker.then = None
                for other in first:
                    if other is not taker:
                        other.link.abort()

            for taker in first:
                taker.then = end_the_others
            for client in clients:
                client.sendall(b"old")
            newcomers = [here.client(b"new") for _ in range(60)]
            await here.accepted(120)
            await until(lambda: sum(one.lost for one in first) == 59)
            new = here.takers[60:]
            await until(lambda: all(one.received == b"new" for one in new))
            assert sorted(one.received for one in first) == [b""] * 59 + [b"old"]
            for client in newcomers:
                client.sendall(b"er")
            await until(lambda: all(one.received == b"newer" for one in new))
            assert not any(one.lost for one in new)

    run_on_each_loop(scenario())


def test_a_handler_closes_its_own_connection(run_on_each_loop: Run[None]) -> None:
    async def scenario() -> None:
        async with place() as here:
            client = here.client()
            (taker,) = await here.accepted(1)
            taker.then = lambda taker: taker.link.abort()
            client.sendall(b"x")
            await until(lambda: taker.lost)
            assert taker.received == b"x"
            await until(lambda: is_at_end(client))

    run_on_each_loop(scenario())


def test_a_handler_that_raises_ends_its_connection_only(
    run_on_each_loop: Run[None],
) -> None:
    async def scenario() -> None:
        async with place() as here:
            errors: list[dict[str, Any]] = []
            here.hub.loop.set_exception_handler(lambda _, about: errors.append(about))
            one, two = here.client(), here.client()
            bad, good = await here.accepted(2)

            def fail(taker: Taker) -> None:
                raise RuntimeError("no")

            bad.then = fail
            one.sendall(b"x")
            two.sendall(b"x")
            await until(lambda: bad.lost and good.received)
            assert isinstance(bad.error, RuntimeError)
            assert not good.lost
            assert len(errors) == 1

    run_on_each_loop(scenario())


def test_an_entrance_that_fails_closes_its_connection(
    run_on_each_loop: Run[None],
) -> None:
    async def scenario() -> None:
        async with place() as here:
            errors: list[dict[str, Any]] = []
            here.hub.loop.set_exception_handler(lambda _, about: errors.append(about))

            def fail(hub: Hub, link: Link) -> Taker:
                raise RuntimeError("no")

            with socket.create_server(("127.0.0.1", 0)) as second:
                here.poller.listen(second, Entrance(fail))
                with socket.create_connection(second.getsockname()) as client:
                    client.setblocking(False)
                    await until(lambda: is_at_end(client))
                here.poller.unlisten(second)
            assert len(errors) == 1
            assert here.poller.link_count == 0

    run_on_each_loop(scenario())


def test_a_listener_that_fails_ends_no_connection_of_another(
    run_on_each_loop: Run[None],
) -> None:
    class Service:
        allowed_origins = None
        broken = False

        @property
        def limits(self) -> Limits:
            if self.broken:
                raise RuntimeError("no")
            return Limits()

    async def scenario() -> None:
        async with place() as here:
            errors: list[dict[str, Any]] = []
            here.hub.loop.set_exception_handler(lambda _, about: errors.append(about))
            client = here.client()
            (taker,) = await here.accepted(1)
            service = Service()
            entrance = WebEntrance(
                lambda hub, link, _: Taker(hub, link),
                service,
                lambda *_: True,
                lambda _: None,
            )
            with socket.create_server(("127.0.0.1", 0)) as second:
                here.poller.listen(second, entrance)
                service.broken = True
                # Both are ready before the next turn, the connection first.
                client.sendall(b"one")
                with socket.create_connection(second.getsockname()):
                    await until(lambda: errors)
                    here.poller.unlisten(second)
            client.sendall(b"two")
            await until(lambda: taker.received == b"onetwo")
            assert not taker.lost

    run_on_each_loop(scenario())


# -- starvation ------------------------------------------------------------------------


def test_peers_that_send_for_ever_do_not_starve_a_quiet_one(
    run_on_each_loop: Run[None],
) -> None:
    async def scenario() -> None:
        async with place() as here:
            here.hub.slice_nanoseconds = SHORTEST
            floods = [here.client() for _ in range(100)]
            quiet = here.client()
            await here.accepted(101)

            def answer(taker: Taker) -> None:
                taker.received = b""
                taker.link.write(b"heard")
                # At once ready again, before the kernel is asked for the next ones.
                for flood in floods:
                    with suppress(BlockingIOError):
                        flood.send(bytes(1000))

            for taker in here.takers:
                taker.then = answer
            for flood in floods:
                flood.send(bytes(1000))
            for _ in range(5):
                await turns(5)
                quiet.sendall(b"x")
                before = here.poller.turns

                def answered() -> bool:
                    with suppress(BlockingIOError):
                        return quiet.recv(100) != b""
                    return False

                await until(answered)
                # A slice handles one socket at least, and everybody has a turn
                # before anybody has a second one.
                assert here.poller.turns - before <= 2 * len(here.takers)

    run_on_each_loop(scenario())


def test_a_slice_ends_although_more_is_ready(run_on_each_loop: Run[None]) -> None:
    async def scenario() -> None:
        async with place() as here:
            clients = [here.client() for _ in range(200)]
            await here.accepted(200)
            here.hub.slice_nanoseconds = SHORTEST
            before = here.poller.turns
            for client in clients:
                client.sendall(b"x")
            await until(lambda: all(taker.received for taker in here.takers))
            assert here.poller.turns - before >= 10

    run_on_each_loop(scenario())


# -- ends ------------------------------------------------------------------------------


def test_a_half_closed_peer_still_gets_its_answer(run_on_each_loop: Run[None]) -> None:
    async def scenario() -> None:
        async with place() as here:
            client = here.client(b"question")
            (taker,) = await here.accepted(1)
            taker.stays = True
            client.shutdown(socket.SHUT_WR)
            await until(lambda: taker.events == ["end"])
            assert await here.quiet()
            taker.link.write(b"answer")
            taker.link.close_write()
            await until(lambda: waiting_in(client) == b"answer")
            assert not taker.lost
            taker.link.close()
            await until(lambda: taker.lost)

    run_on_each_loop(scenario())


def test_a_reset_is_told_with_its_error(run_on_each_loop: Run[None]) -> None:
    async def scenario() -> None:
        async with place() as here:
            client = here.client(b"last words")
            (taker,) = await here.accepted(1)
            await until(lambda: taker.received)
            reset(client)
            await until(lambda: taker.lost)
            assert isinstance(taker.error, ConnectionResetError)
            assert "end" not in taker.events

    run_on_each_loop(scenario())


def test_a_reset_while_reading_is_paused_makes_no_busy_loop(
    run_on_each_loop: Run[None],
) -> None:
    async def scenario() -> None:
        async with place() as here:
            client = here.client()
            (taker,) = await here.accepted(1)
            taker.link.pause_reading()
            client.sendall(b"unread")
            reset(client)
            assert await here.quiet()
            assert not taker.lost
            taker.link.resume_reading()
            await until(lambda: taker.lost)

    run_on_each_loop(scenario())


def test_writing_to_a_peer_that_has_gone(run_on_each_loop: Run[None]) -> None:
    async def scenario() -> None:
        async with place() as here:
            client = here.client()
            (taker,) = await here.accepted(1)
            taker.link.pause_reading()
            reset(client)
            await turns()
            taker.link.write(b"nobody")
            taker.link.write(b"nobody")
            assert not taker.lost
            await until(lambda: taker.lost)
            assert isinstance(taker.error, OSError)

    run_on_each_loop(scenario())


def test_a_reset_while_bytes_wait(run_on_each_loop: Run[None]) -> None:
    async def scenario() -> None:
        async with place() as here:
            client = here.client()
            (taker,) = await here.accepted(1)
            taker.link.pause_reading()
            while not taker.link.write_paused:
                taker.link.write(bytes(1 << 20))
            reset(client)
            await until(lambda: taker.lost)
            assert taker.events == ["paused", "lost"]

    run_on_each_loop(scenario())


def test_partial_writes_keep_the_order(run_on_each_loop: Run[None]) -> None:
    async def scenario() -> None:
        async with place() as here:
            client = here.client()
            (taker,) = await here.accepted(1)
            sent = b""
            for number in range(2000):
                piece = number.to_bytes(4, "big") * (number % 300 + 1)
                taker.link.write(piece)
                sent += piece
            assert taker.link.write_paused
            assert taker.events == ["paused"]
            taker.link.close()
            taker.link.write(b"too late")
            got = bytearray()

            def whole() -> bool:
                with suppress(BlockingIOError):
                    got.extend(client.recv(10_000))
                return len(got) == len(sent)

            await until(whole)
            await until(lambda: taker.lost)
            assert bytes(got) == sent
            assert is_at_end(client)

    run_on_each_loop(scenario())


def test_nothing_is_watched_for_room_while_nothing_waits(
    run_on_each_loop: Run[None],
) -> None:
    async def scenario() -> None:
        async with place() as here:
            here.client()
            (taker,) = await here.accepted(1)
            taker.link.write(b"x")
            assert await here.quiet()

    run_on_each_loop(scenario())


# -- descriptors run out ---------------------------------------------------------------


@contextmanager
def file_limit(limit: int | None = None) -> Iterator[None]:
    """No descriptor more than there is now, or none from ``limit`` on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit is None:
        limit = os.dup(0)
        os.close(limit)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_descriptors_peers_are_turned_away(
    run_on_each_loop: Run[None], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with place() as here:
            known = here.client()
            await here.accepted(1)
            late = [here.client(b"x") for _ in range(100)]
            with file_limit():
                await until(lambda: all(at_end_or_reset(one) for one in late))
                known.sendall(b"still here")
                await until(lambda: here.takers[0].received == b"still here")
                assert await here.quiet()
            assert len(here.takers) == 1
            here.client(b"y")
            await here.accepted(2)
            assert [one.message for one in caplog.records] == [
                "new connections are turned away: too many open files"
            ]

    run_on_each_loop(scenario())


def test_without_even_the_spare_descriptor_accepting_rests(
    run_on_each_loop: Run[None], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with place() as here:
            known = here.client()
            await here.accepted(1)
            here.client(b"patient")
            with file_limit(3):
                known.sendall(b"still here")
                await until(lambda: here.takers[0].received == b"still here")
                assert await here.quiet()
            await here.accepted(2)
            assert here.takers[1].received == b"patient"
            assert len(caplog.records) == 1

    run_on_each_loop(scenario())


def at_end_or_reset(client: socket.socket) -> bool:
    try:
        return is_at_end(client)
    except ConnectionResetError:
        return True


# -- fork, and a loop that is closed ---------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_keeps_no_connection_alive_in_us(
    run_on_each_loop: Run[None],
) -> None:
    async def scenario() -> None:
        async with place() as here:
            client, other = here.client(), here.client()
            taker, second = await here.accepted(2)
            theirs, ours = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(ours)
                # Holds every socket until its parent has seen enough.
                os.read(theirs, 1)
                os._exit(0)
            try:
                taker.link.abort()
                await until(lambda: taker.lost)
                client.sendall(b"to nobody")
                assert await here.quiet()
                other.sendall(b"x")
                await until(lambda: second.received == b"x")
                here.client(b"new")
                await here.accepted(3)
                await until(lambda: here.takers[2].received == b"new")
            finally:
                os.close(ours)
                os.close(theirs)
                os.waitpid(child, 0)  # noqa: ASYNC222 - it ends at once

    run_on_each_loop(scenario())


@pytest.mark.parametrize("kind", LOOPS)
def test_a_loop_that_is_closed_takes_its_sockets_along(kind: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    loop = LOOPS[kind]()
    places = []

    async def scenario() -> None:
        here = Place("127.0.0.1")
        places.append(here)
        here.client(b"x")
        await here.accepted(1)

    loop.run_until_complete(scenario())
    loop.close()
    (here,) = places
    assert not here.poller.is_open
    assert here.poller.link_count == 0
    link = here.takers[0].link
    for method in ("pause_reading", "resume_reading", "close_write", "close", "abort"):
        getattr(link, method)()
    link.write(b"nobody")
    here.clients.close()
    here.listener.close()
    assert len(os.listdir("/proc/self/fd")) <= before


# -- flushing --------------------------------------------------------------------------


@pytest.mark.skipif(not kinds.OWN, reason="over our own sockets")
def test_publications_leave_at_the_end_of_the_batch(
    run_on_each_loop: Run[None],
) -> None:
    async def scenario() -> None:
        pulled: list[int] = []

        def on_message(ws: Connection[Any], message: str | bytes) -> None:
            # Called before a flush of the next turn would be.
            here.loop.call_soon(lambda: pulled.append(subscriber.pull_written()))
            here.hub.publish("news", "x")

        async with world(on_message=on_message) as here:
            author = await here.connect()
            subscriber = await here.connect()
            subscriber.ws.subscribe("news")
            author.send(text("go"))
            await until(lambda: pulled)
            assert pulled == [3]
            here.hub.publish("news", "from outside of a batch")
            await subscriber.see_messages(2)

    run_on_each_loop(scenario())
