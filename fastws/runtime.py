"""What an App has while it is being served: its loop, its hub, its lifespan.

Servers and test connections enter the runtime and leave it. The first one in starts the
hub and the lifespan, the last one out stops them.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

from .engine.hub import Hub
from .engine.sweep import Sweep
from .errors import ConfigError, StateError
from .routing import Pattern
from .types import Event

if TYPE_CHECKING:
    from .app import App
    from .engine.connection import Connection

__all__ = ["GONE_INTERVAL", "Lifespan", "Listeners", "Runtime", "gone"]

logger = logging.getLogger("fastws.app")

Lifespan: TypeAlias = Callable[["App"], AbstractAsyncContextManager[Any]]

# Seconds between two looks at whether connections have gone.
GONE_INTERVAL = 0.01

# Seconds that a cancelled task gets for its clean-up.
_CANCEL_TIMEOUT = 1.0

# What a listener of each event is called with, for messages about a wrong one.
_ARGUMENTS: dict[Event, str] = {
    "connect": "(ws)",
    "subscribe": "(ws, channel)",
    "unsubscribe": "(ws, channel)",
    "message": "(ws, message)",
    "skip": "(ws, channel, missed)",
    "disconnect": "(ws, code, reason)",
}
_CHANNEL_EVENTS: tuple[Event, ...] = ("subscribe", "unsubscribe", "skip")


class Listeners:
    """The functions registered with ``App.on``.

    They watch: a listener that raises is logged and changes nothing for the connection
    or for the other listeners. They are called in the order of registration; coroutine
    functions start in that order, each in a task of its own.
    """

    def __init__(self) -> None:
        self._functions: dict[
            Event, list[tuple[Pattern | None, Callable[..., object]]]
        ] = {event: [] for event in _ARGUMENTS}
        self._tasks: set[asyncio.Task[None]] = set()

    def add(
        self, event: Event, function: Callable[..., object], channel: str | None
    ) -> None:
        """Register a function; the arguments are checked already here."""
        self.check_event(event, channel)
        if not callable(function):
            raise TypeError(
                f"a listener is a function that takes {_ARGUMENTS[event]}, "
                f"not {type(function).__name__}"
            )
        try:
            count = _ARGUMENTS[event].count(",") + 1
            inspect.signature(function).bind(*[None] * count)
        except TypeError as error:
            raise TypeError(
                f"a listener of {event!r} must take {_ARGUMENTS[event]}: {error}"
            ) from None
        pattern = None if channel is None else Pattern(channel, ".")
        self._functions[event].append((pattern, function))

    @staticmethod
    def check_event(event: Event, channel: str | None) -> None:
        """Raise ConfigError for an event that does not exist or has no channel."""
        if event not in get_args(Event):
            events = ", ".join(repr(one) for one in get_args(Event))
            raise ConfigError(f"there is no event {event!r}; there are {events}")
        if channel is not None and event not in _CHANNEL_EVENTS:
            raise ConfigError(
                f"{event!r} has no channel: channel= belongs to 'subscribe', "
                "'unsubscribe' and 'skip'"
            )

    def attach(self, hub: Hub) -> None:
        """Let the hub call what is registered; an event without listeners costs it
        nothing."""
        for event, functions in self._functions.items():
            if functions:
                setattr(hub, f"on_{event}", self._emitter(event))

    def _emitter(self, event: Event) -> Callable[..., None]:
        functions = self._functions[event]

        def emit(ws: object, *details: Any) -> None:
            for pattern, function in functions:
                if pattern is not None and pattern.match(details[0]) is None:
                    continue
                self._call(event, function, ws, *details)

        return emit

    def _call(
        self, event: Event, function: Callable[..., object], *arguments: object
    ) -> None:
        try:
            outcome = function(*arguments)
        except Exception:
            _log_failure(event)
            return
        if inspect.iscoroutine(outcome):
            task = asyncio.get_running_loop().create_task(_observed(event, outcome))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def finish(self, timeout: float) -> None:
        """Wait for the listeners' tasks, then cancel those that are left."""
        tasks = self._tasks - {asyncio.current_task()}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=timeout)
            await _cancel(late)


async def _observed(event: Event, coroutine: Coroutine[Any, Any, Any]) -> None:
    try:
        await coroutine
    except Exception:
        _log_failure(event)


def _log_failure(event: Event) -> None:
    logger.exception("a listener of %r raised", event)


class Runtime:
    """The shared part of everything that serves one App, counted by its users."""

    def __init__(
        self, app: App, lifespan: Lifespan | None, listeners: Listeners
    ) -> None:
        self.hub: Hub | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self._app = app
        self._sweep: Sweep | None = None
        self._lifespan = lifespan
        self._lifespan_task: _LifespanTask | None = None
        self._listeners = listeners
        self._users = 0
        self._changing = asyncio.Lock()

    async def enter(self) -> Hub:
        """Start what the App needs, unless it has been started; give its hub.

        Raises StateError when the App is being served on another loop, and whatever
        the lifespan raises before its ``yield``.
        """
        self._claim_loop()
        async with self._changing:
            if self._users == 0:
                await self._start()
            self._users += 1
            assert self.hub is not None
            return self.hub

    async def leave(self, timeout: float) -> None:
        """Give up one use; the last one stops the lifespan (in ``timeout`` seconds)
        and the hub."""
        async with self._changing:
            self._users -= 1
            if self._users == 0:
                await self._stop(timeout)

    def _claim_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self.loop is None or self.loop.is_closed():
            # A loop that was closed under a running server takes everything with it.
            self.loop, self.hub, self._users = loop, None, 0
            self._changing = asyncio.Lock()
        elif self.loop is not loop:
            raise StateError(
                "this App is being served on another event loop: one App belongs to "
                "one loop, make a second App for a second loop"
            )

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        self.loop = loop
        self.hub = Hub(self._app.limits, loop=loop)
        self.hub.rule_for = self._app.rule_for
        self._listeners.attach(self.hub)
        self._sweep = Sweep(self.hub)
        self._sweep.start()
        try:
            if self._lifespan is not None:
                self._lifespan_task = _LifespanTask(self._lifespan(self._app))
                await self._lifespan_task.start()
        except BaseException:
            self._lifespan_task = None
            self._drop_hub()
            raise

    async def _stop(self, timeout: float) -> None:
        try:
            await self._listeners.finish(timeout)
            if self._lifespan_task is not None:
                await self._lifespan_task.stop(timeout)
        finally:
            self._lifespan_task = None
            self._drop_hub()

    def _drop_hub(self) -> None:
        if self._sweep is not None:
            self._sweep.stop()
        self._sweep = self.hub = self.loop = None

    def listeners_changed(self) -> None:
        """A listener was added while running: let the hub know."""
        if self.hub is not None:
            self._listeners.attach(self.hub)


class _LifespanTask:
    """Enters and leaves a context manager in one task.

    Cancel scopes and context variables need both ends in the same task, while start
    and stop of a server are usually called from two.
    """

    def __init__(self, manager: AbstractAsyncContextManager[Any]) -> None:
        self._manager = manager
        self._started = asyncio.Event()
        self._leave = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="fastws lifespan")

    async def _run(self) -> None:
        async with self._manager:
            self._started.set()
            await self._leave.wait()

    async def start(self) -> None:
        started = asyncio.create_task(self._started.wait())
        try:
            await asyncio.wait(
                {started, self._task}, return_when=asyncio.FIRST_COMPLETED
            )
        except asyncio.CancelledError:
            await _cancel({self._task})
            raise
        finally:
            started.cancel()
        if not self._started.is_set():
            # It ended before its `yield`: an exception goes to who starts the server.
            self._task.result()
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        # Logged as soon as it happens: the server may run on for weeks.
        if task.cancelled():
            return
        if task.exception() is not None:
            logger.error("the lifespan failed", exc_info=task.exception())
        elif not self._leave.is_set():
            logger.error("the lifespan ended while the App was being served")

    async def stop(self, timeout: float) -> None:
        self._leave.set()
        try:
            done, _ = await asyncio.wait({self._task}, timeout=timeout)
        except asyncio.CancelledError:
            await _cancel({self._task})
            raise
        if not done:
            logger.error("the lifespan did not end in %g s: cancelled", timeout)
            await _cancel({self._task})


async def gone(hub: Hub, connections: Iterable[Connection[Any]]) -> None:
    """Wait until these connections have ended, and their coroutine endpoints too."""
    waiting = list(connections)
    # An endpoint may stop its own server.
    tasks: set[asyncio.Task[Any]] = {
        task for one in waiting if (task := one.task) is not None
    }
    tasks.discard(asyncio.current_task())
    while True:
        # Nothing is kept per connection that could tell: asking now and then, at the
        # end of their lives, is cheaper than remembering something all the time.
        waiting = [one for one in waiting if hub.connection(one.id) is one]
        if not waiting:
            break
        await asyncio.sleep(GONE_INTERVAL)
    if tasks:
        await asyncio.wait(tasks)


async def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancel tasks and see them end; one that refuses to is left behind."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_CANCEL_TIMEOUT)
