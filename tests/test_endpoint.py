"""endpoint: what may be one, how it is taken apart, and what is said of the rest."""

from __future__ import annotations

import functools
from typing import Any, TypeAlias

import pytest

from fastws import Connection, Endpoint, Message
from fastws.endpoint import callbacks_of

Ws: TypeAlias = "Connection[Any]"


async def echo(ws: Ws) -> None: ...


class Callable:
    async def __call__(self, ws: Ws) -> None: ...

    async def method(self, ws: Ws) -> None: ...


@pytest.mark.parametrize(
    "endpoint",
    [echo, functools.partial(echo), Callable(), Callable().method],
    ids=["function", "partial", "object", "method"],
)
def test_coroutine_functions_of_every_kind(endpoint: Any) -> None:
    callbacks = callbacks_of(endpoint)
    assert callbacks.coroutine is endpoint
    assert callbacks.on_message is None


class Room(Endpoint):
    def on_open(self, ws: Ws) -> None: ...

    def on_message(self, ws: Ws, message: Message) -> None: ...


class AsyncRoom(Room):
    async def on_message(self, ws: Ws, message: Message) -> None: ...  # type: ignore[override]

    def on_close(self, ws: Ws, code: int, reason: str) -> None: ...


class Database(Endpoint):
    def __init__(self, name: str) -> None:
        self.name = name

    def on_drain(self, ws: Ws) -> None: ...


def test_a_class_is_instantiated_once() -> None:
    callbacks = callbacks_of(Room)
    assert callbacks.coroutine is None
    assert callbacks.on_open is not None
    assert callbacks.on_message is not None
    assert isinstance(callbacks.on_open.__self__, Room)  # type: ignore[attr-defined]
    assert (
        callbacks.on_open.__self__  # type: ignore[attr-defined]
        is callbacks.on_message.__self__  # type: ignore[attr-defined]
    )


def test_what_is_not_overridden_is_absent() -> None:
    callbacks = callbacks_of(Room)
    assert callbacks.on_drain is None
    assert callbacks.on_skip is None
    assert callbacks.on_close is None


def test_async_callbacks_are_detected_at_registration() -> None:
    assert not callbacks_of(Room).is_async
    assert callbacks_of(AsyncRoom).is_async
    assert callbacks_of(AsyncRoom()).on_open is not None


def test_an_instance_is_used_as_it_is() -> None:
    database = Database("main")
    callbacks = callbacks_of(database)
    assert callbacks.on_drain == database.on_drain
    assert callbacks.on_open is None


def test_a_callback_may_belong_to_the_instance() -> None:
    room = Room()
    closed: list[int] = []
    room.on_close = lambda ws, code, reason: closed.append(code)  # type: ignore[method-assign]
    callbacks = callbacks_of(room)
    assert callbacks.on_close is room.on_close


def plain(ws: Ws) -> None: ...


async def streaming(ws: Ws) -> Any:
    yield ws


def generating(ws: Ws) -> Any:
    yield ws


async def without_arguments() -> None: ...


async def with_two_arguments(ws: Ws, more: int) -> None: ...


class NotAnEndpoint:
    def on_message(self, ws: Ws, message: Message) -> None: ...


class Silent(Endpoint): ...


class WrongArguments(Endpoint):
    def on_message(self, ws: Ws) -> None: ...  # type: ignore[override]


class WrongSkip(Endpoint):
    def on_skip(self, ws: Ws, missed: int) -> None: ...  # type: ignore[override]


class Streaming(Endpoint):
    async def on_message(self, ws: Ws, message: Message) -> Any:
        yield message


class NoMethod(Endpoint):
    on_open = 5  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        (plain, "plain is not a coroutine function: .*`async def`"),
        (streaming, "streaming must not contain `yield`"),
        (generating, "generating must not contain `yield`"),
        (without_arguments, r"without_arguments must take \(ws\)"),
        (with_two_arguments, r"with_two_arguments must take \(ws\)"),
        (5, "int is no endpoint: an endpoint is an `async def` function"),
        ("echo", "str is no endpoint"),
        (NotAnEndpoint, r"Write `class NotAnEndpoint\(Endpoint\):`"),
        (NotAnEndpoint(), "NotAnEndpoint is no endpoint"),
        (Database, r"pass an instance, app.websocket\(path, Database\(\.\.\.\)\)"),
        (Silent, "Silent overrides none of on_open, on_message"),
        (WrongArguments, r"WrongArguments.on_message must take \(ws, message\)"),
        (WrongSkip, r"WrongSkip.on_skip must take \(ws, channel, missed\)"),
        (Streaming, "Streaming.on_message must not contain `yield`"),
        (NoMethod, "NoMethod.on_open must be a method, not int"),
    ],
)
def test_anything_else_is_refused_with_advice(endpoint: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        callbacks_of(endpoint)


def test_a_coroutine_instead_of_its_function_is_recognised() -> None:
    with pytest.raises(TypeError, match="pass the function itself"):
        callbacks_of(echo(None))  # type: ignore[arg-type]


def test_the_callbacks_of_the_base_class_do_nothing() -> None:
    ws: Any = None
    endpoint = Endpoint()
    assert endpoint.on_open(ws) is None
    assert endpoint.on_message(ws, "") is None
    assert endpoint.on_drain(ws) is None
    assert endpoint.on_skip(ws, "news", 5) is None
    assert endpoint.on_close(ws, 1000, "") is None
