"""Inputs for an open WebSocket, what each one gets, and the check of both.

An input is sent in every chunking to a callback and to a coroutine endpoint, by a peer
that answers a Close frame at once; then a thousand times; and once by a peer that does
nothing at all after it, which the server has to get rid of by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from .chunkings import Chunking, chunkings, one_write
from .client import Address, RawClient, Transcript, check_accepted, upgrade_request
from .frames import close, text
from .repeats import TIMES, check_repeats
from .server import ServerProcess
from .stream import NumberedStream

# Seconds in which TCP has to be gone after our Close frame, whatever the peer does.
# An error is waited for 0.3 s, and an answer of the peer not at all: this is more than
# a busy machine makes of it, and far from the time-out of an application's close.
GONE_IN = 5.0


@dataclass(frozen=True, kw_only=True)
class Input:
    """Bytes behind a handshake, and what has to come back.

    ``closes`` is the close code (several: any of them), None when the connection has to
    stay open. ``messages`` and ``pongs`` come before that.
    """

    number: int
    name: str
    data: bytes
    closes: int | tuple[int, ...] | None
    messages: tuple[str | bytes, ...] = ()
    pongs: tuple[bytes, ...] = ()
    paths: tuple[str, ...] = ("/echo", "/echo-async")
    # Of the handshake before it.
    headers: Mapping[str, str] = field(default_factory=dict)
    times: int = TIMES
    # Whether it is the engine that closes; an application's close waits longer.
    silent: bool = True

    @property
    def id(self) -> str:
        return f"{self.number}-{self.name}"

    @property
    def codes(self) -> tuple[int, ...]:
        if self.closes is None:
            return ()
        return self.closes if isinstance(self.closes, tuple) else (self.closes,)


def check_input(server: ServerProcess, stream: NumberedStream, one: Input) -> None:
    """The outcome in each chunking, and the invariants (a) to (f)."""
    ways = chunkings()
    sent = (len(ways) + 1) * len(one.paths)
    with server.watched(records=sent):
        for path in one.paths:
            for way, chunking in ways.items():
                print(path, way)  # noqa: T201
                _check_once(server.address, one, path, chunking)
            print(path, "behind a valid message")  # noqa: T201
            _check_once(server.address, one, path, one_write, before=("before",))
    stream.check()
    if one.times:
        _check_many(server, one)
        stream.check()


def _check_once(
    address: Address,
    one: Input,
    path: str,
    chunking: Chunking,
    before: tuple[str, ...] = (),
) -> None:
    with RawClient(address) as client:
        client.upgrade(path, one.headers)
        client.send(b"".join(text(message) for message in before) + one.data, chunking)
        _check_outcome(client, one, before)


def _check_outcome(client: RawClient, one: Input, before: tuple[str, ...]) -> None:
    wanted = [*before, *one.messages]
    if one.closes is None:
        found = client.transcript(messages=len(wanted), pongs=len(one.pongs))
        assert not found.closed, found
        assert not found.gone, found
        check_leaves_well(client)
    else:
        found = client.transcript()
        assert found.closed, f"no Close frame: {found}"
        assert found.code in one.codes, found
        assert found.seconds_to_gone is not None
        assert found.seconds_to_gone < GONE_IN, found
    assert found.messages == wanted
    assert found.pongs == list(one.pongs)


def check_leaves_well(client: RawClient) -> None:
    """The connection is whole: it echoes, closes with our code, and TCP ends."""
    client.send(text("still here?"))
    assert client.read_message() == "still here?"
    client.send(close(1000))
    end = client.transcript(answer=False)
    assert end.messages == []
    assert end.code == 1000
    assert end.seconds_to_gone is not None
    assert end.seconds_to_gone < GONE_IN


def _check_many(server: ServerProcess, one: Input) -> None:
    codes = one.codes or (1000,)
    goodbye = b"" if one.closes is not None else close(1000)

    def check(client: RawClient) -> None:
        check_accepted(client.read_response())
        found = client.transcript()
        assert found.code in codes, found
        assert found.messages == list(one.messages)

    data = upgrade_request(one.paths[0], one.headers) + one.data + goodbye
    check_repeats(server, server.address, data, check, times=one.times)


def silent_endings(
    server: ServerProcess, inputs: Iterable[Input]
) -> dict[str, Transcript]:
    """What peers get that send a bad input and then do nothing, by the input's id.

    All at once: each one lasts as long as the server waits for the answer.
    """
    wanted = [one for one in inputs if one.closes is not None and one.silent]

    def ending(one: Input) -> Transcript:
        with RawClient(server.address) as client:
            client.upgrade(one.paths[0], one.headers)
            client.send(one.data)
            try:
                return client.transcript(answer=False)
            except TimeoutError:
                # Never gone: the input's own test is to fail, not all of them.
                return Transcript()

    with ThreadPoolExecutor(len(wanted)) as threads:
        found = threads.map(ending, wanted)
        return {one.id: end for one, end in zip(wanted, found, strict=True)}


def check_silent_ending(one: Input, endings: dict[str, Transcript]) -> None:
    """A Close frame with the right code, and TCP gone in time without our help."""
    if one.id not in endings:
        return
    end = endings[one.id]
    assert end.code in one.codes, end
    assert end.seconds_to_gone is not None
    assert end.seconds_to_gone < GONE_IN, end
