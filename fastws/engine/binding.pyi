from collections.abc import Callable
from typing import Any

from ..config import Limits

class Binding:
    """An endpoint as the engine calls it: built once per route, shared by its
    connections.

    Either ``coroutine``, an async function that gets the connection, or callbacks; None
    is an absent one. With ``is_async`` at least one callback is an async function: then
    all of them are called by one task per connection, one at a time, in order.
    """

    def __init__(
        self,
        *,
        app: Any = None,
        limits: Limits | None = None,
        coroutine: Callable[..., Any] | None = None,
        on_open: Callable[..., Any] | None = None,
        on_message: Callable[..., Any] | None = None,
        on_drain: Callable[..., Any] | None = None,
        on_close: Callable[..., Any] | None = None,
        on_skip: Callable[..., Any] | None = None,
        is_async: bool = False,
        keep_headers: bool = False,
    ) -> None: ...
    @property
    def app(self) -> Any: ...
    @property
    def coroutine(self) -> Callable[..., Any] | None: ...
    @property
    def on_open(self) -> Callable[..., Any] | None: ...
    @property
    def on_message(self) -> Callable[..., Any] | None: ...
    @property
    def on_drain(self) -> Callable[..., Any] | None: ...
    @property
    def on_close(self) -> Callable[..., Any] | None: ...
    @property
    def on_skip(self) -> Callable[..., Any] | None:
        """Called with the connection, a channel's name, and how many of its messages
        the connection did not get because it was too slow."""
    @property
    def is_async(self) -> bool: ...
    @property
    def keep_headers(self) -> bool: ...
    @property
    def limits(self) -> Limits: ...
