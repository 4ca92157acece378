from collections.abc import AsyncIterator, Awaitable, Coroutine, Generator, Iterator
from typing import Any, TypeVar, overload

from .writing import Writing

_T = TypeVar("_T")

class Receiver(Coroutine[Any, Any, Any]):
    """The next message, to be awaited; create_task() takes it too."""

    def __await__(self) -> Generator[Any, Any, Any]: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any) -> Any: ...
    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any: ...
    def close(self) -> None: ...

class Reading(Writing):
    """The receiving half of a Connection."""

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Messages in order; ends on every close."""
    def __anext__(self) -> Awaitable[str | bytes]: ...
    def receive(self, timeout: float | None = None) -> Coroutine[Any, Any, str | bytes]:
        """The next message: str for text, bytes for binary.

        Raises ConnectionClosed when there will be none, TimeoutError after ``timeout``
        seconds, StateError when another coroutine is receiving.
        """
    @overload
    async def receive_json(self, type: None = None) -> Any: ...
    @overload
    async def receive_json(self, type: type[_T]) -> _T:
        """The next message, decoded from JSON and checked against ``type`` (msgspec's
        rules) when given.

        Raises orjson.JSONDecodeError, msgspec.ValidationError, ConnectionClosed.
        """
    def ping(self) -> Awaitable[float]:
        """Send a ping; await the result to wait for its pong: seconds of the round
        trip.

        Raises ConnectionClosed when the connection is closed or ends meanwhile.
        """
