"""Endpoints: what a WebSocket route points to, and how the engine gets to call it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from .engine.binding import Binding

if TYPE_CHECKING:
    from .app import App
    from .config import Limits
    from .engine.connection import Connection
    from .types import Message

__all__ = ["Callbacks", "Endpoint", "EndpointLike", "bind", "callbacks_of"]


class Endpoint:
    """Callbacks of a route; derive from it and override what you need.

    One instance serves all connections of a route: keep what belongs to one connection
    in ``ws.state``. Each callback may be ``def`` or ``async def``. Plain ones are
    called straight from the parser, with no task in between: they are the fastest.
    ``async`` ones run one at a time per connection, in order, and reading pauses while
    they are behind. A callback that raises closes its own connection with 1011.
    """

    def on_open(self, ws: Connection[Any]) -> Awaitable[None] | None:
        """The handshake is done; nothing has been received yet."""

    def on_message(
        self, ws: Connection[Any], message: Message
    ) -> Awaitable[None] | None:
        """A whole message came: ``str`` for text, ``bytes`` for binary."""

    def on_drain(self, ws: Connection[Any]) -> Awaitable[None] | None:
        """What waited to be sent has fallen to ``write_low_water`` bytes again."""

    def on_skip(
        self, ws: Connection[Any], channel: str, missed: int
    ) -> Awaitable[None] | None:
        """So many messages of a channel were never sent, because the peer was slow; it
        takes bytes again. The channel's ``slow`` policy says which ones it gets."""

    def on_close(
        self, ws: Connection[Any], code: int, reason: str
    ) -> Awaitable[None] | None:
        """The connection is over, whoever ended it; 1006 means without a goodbye."""


EndpointLike: TypeAlias = (
    Callable[["Connection[Any]"], Awaitable[None]] | type[Endpoint] | Endpoint
)

# The callbacks, and what the engine calls them with.
_CALLBACKS = {
    "on_open": "(ws)",
    "on_message": "(ws, message)",
    "on_drain": "(ws)",
    "on_skip": "(ws, channel, missed)",
    "on_close": "(ws, code, reason)",
}

_EXPECTED = (
    "an endpoint is an `async def` function that takes the connection, a class derived "
    "from fastws.Endpoint, or an instance of one"
)


@dataclass(frozen=True, slots=True)
class Callbacks:
    """An endpoint taken apart: a coroutine, or callbacks with None for absent."""

    coroutine: Callable[..., Any] | None = None
    on_open: Callable[..., Any] | None = None
    on_message: Callable[..., Any] | None = None
    on_drain: Callable[..., Any] | None = None
    on_skip: Callable[..., Any] | None = None
    on_close: Callable[..., Any] | None = None
    is_async: bool = False


def bind(
    endpoint: object, *, app: App, limits: Limits, keep_headers: bool = False
) -> Binding:
    """Prepare an endpoint for the engine; TypeError says what is wrong with it."""
    callbacks = callbacks_of(endpoint)
    return Binding(
        app=app,
        limits=limits,
        coroutine=callbacks.coroutine,
        on_open=callbacks.on_open,
        on_message=callbacks.on_message,
        on_drain=callbacks.on_drain,
        on_skip=callbacks.on_skip,
        on_close=callbacks.on_close,
        is_async=callbacks.is_async,
        keep_headers=keep_headers,
    )


def callbacks_of(endpoint: object) -> Callbacks:
    """Find out what an endpoint is; a subclass of Endpoint is instantiated."""
    if isinstance(endpoint, type):
        endpoint = _instantiate(endpoint)
    if isinstance(endpoint, Endpoint):
        return _from_endpoint(endpoint)
    return Callbacks(coroutine=_coroutine_function(endpoint))


def _instantiate(endpoint: type) -> Endpoint:
    if not issubclass(endpoint, Endpoint):
        raise TypeError(
            f"class {endpoint.__qualname__} is not an endpoint: {_EXPECTED}. "
            f"Write `class {endpoint.__name__}(Endpoint):`"
        )
    try:
        inspect.signature(endpoint).bind()
    except TypeError as error:
        raise TypeError(
            f"{endpoint.__qualname__}() cannot be made without arguments ({error}): "
            f"pass an instance, app.websocket(path, {endpoint.__name__}(...))"
        ) from None
    return endpoint()


def _from_endpoint(endpoint: Endpoint) -> Callbacks:
    found: dict[str, Callable[..., Any]] = {}
    owner = type(endpoint).__qualname__
    for name, arguments in _CALLBACKS.items():
        if name not in vars(endpoint) and (
            getattr(type(endpoint), name) is getattr(Endpoint, name)
        ):
            continue
        callback = getattr(endpoint, name)
        _check_callback(callback, f"{owner}.{name}", arguments)
        found[name] = callback
    if not found:
        raise TypeError(
            f"{owner} overrides none of {', '.join(_CALLBACKS)}: the endpoint would do "
            "nothing"
        )
    is_async = any(_is_coroutine_function(callback) for callback in found.values())
    return Callbacks(**found, is_async=is_async)


def _check_callback(callback: object, name: str, arguments: str) -> None:
    if not callable(callback):
        raise TypeError(f"{name} must be a method, not {type(callback).__name__}")
    if _is_generator_function(callback):
        raise TypeError(f"{name} must not contain `yield`: send with ws.send()")
    _check_arguments(callback, name, arguments)


def _coroutine_function(endpoint: object) -> Callable[..., Any]:
    """Give the endpoint back as what it has to be, or say why it is not."""
    if inspect.iscoroutine(endpoint):
        endpoint.close()
        raise TypeError(
            f"{endpoint.__qualname__}() was called: pass the function itself, "
            "without the parentheses"
        )
    name = getattr(endpoint, "__qualname__", type(endpoint).__qualname__)
    if not callable(endpoint):
        raise TypeError(f"{type(endpoint).__qualname__} is no endpoint: {_EXPECTED}")
    if _is_generator_function(endpoint):
        raise TypeError(f"{name} must not contain `yield`: send with ws.send()")
    if not _is_coroutine_function(endpoint):
        raise TypeError(
            f"{name} is not a coroutine function: {_EXPECTED}. Write `async def`, "
            "or use an Endpoint for plain callbacks"
        )
    _check_arguments(endpoint, name, "(ws)")
    return endpoint


def _is_coroutine_function(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        _call_method(function)
    )


def _is_generator_function(function: object) -> bool:
    return any(
        inspect.isgeneratorfunction(one) or inspect.isasyncgenfunction(one)
        for one in (function, _call_method(function))
    )


def _call_method(function: object) -> object:
    """What runs when an object with ``__call__`` is called."""
    return getattr(type(function), "__call__", None)  # noqa: B004 - it is the method


def _check_arguments(function: Callable[..., Any], name: str, arguments: str) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:
        # Compiled functions may have no signature to look at; the call will tell.
        return
    try:
        signature.bind(*arguments.split(","))
    except TypeError as error:
        raise TypeError(f"{name} must take {arguments}: {error}") from None
