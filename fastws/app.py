"""App: routes, channels and handlers of one program, and how they get served."""

from __future__ import annotations

import asyncio
import inspect
import os
import weakref
from collections.abc import Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from string import ascii_letters, digits
from types import SimpleNamespace
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    TypeAlias,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from .channels import Channels
from .codes import CloseCode
from .config import (
    ChannelOptions,
    ChannelRule,
    Compression,
    Config,
    Limits,
    ServerOptions,
    check_compression,
    compression_rule,
)
from .endpoint import EndpointLike, bind
from .engine.counters import Counters
from .engine.deflate import require_zlib
from .errors import ConfigError, PublishUnknown, StateError
from .http.service import Handler, UpgradeHook, WebSocketRoute
from .http.static import StaticFiles
from .routing import PatternTable, Routes, path_pattern
from .runtime import Lifespan, Listeners, Runtime
from .server import Server
from .types import Event, Payload, Receipt

if TYPE_CHECKING:
    from .engine.connection import Connection

__all__ = ["App"]

EndpointT = TypeVar("EndpointT", bound=EndpointLike)
HandlerT = TypeVar("HandlerT", bound=Handler)
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

# What publish_batch takes: channel, message and, if there is one, key.
BatchItem: TypeAlias = tuple[str, Payload] | tuple[str, Payload, str | None]

# What a subprotocol's name may consist of: an HTTP token (RFC 9110 section 5.6.2).
_TOKEN = frozenset(ascii_letters + digits + "!#$%&'*+-.^_`|~")

_living: weakref.WeakSet[App] = weakref.WeakSet()


class App:
    """Routes, channels and handlers; served by ``run``, ``serve`` or ``server``.

    ``config`` holds the defaults of its servers and its limits. ``lifespan`` is an
    async context manager function that takes the App and encloses the time in which it
    is served. ``strict_channels`` refuses channel names that no ``channel`` call has
    declared. ``state`` is a namespace for the program's own things.

    An App reads no environment and no file. It belongs to the one event loop on which
    it is being served: everything is called there, only ``publish`` and ``broadcast``
    come from any thread.
    """

    def __init__(
        self,
        config: Config | None = None,
        lifespan: Lifespan | None = None,
        *,
        strict_channels: bool = False,
    ) -> None:
        if config is not None and not isinstance(config, Config):
            raise TypeError(
                f"config must be a fastws.Config, not {type(config).__name__}"
            )
        self.config = config if config is not None else Config()
        self.strict_channels = strict_channels
        self.state = SimpleNamespace()
        self.routes = Routes()
        self._rules: PatternTable[ChannelRule] = PatternTable(".")
        self._default_rule = ChannelRule()
        self._has_cohorts = False
        self._listeners = Listeners()
        self.runtime = Runtime(self, _checked_lifespan(lifespan), self._listeners)
        self._channels = Channels(self.runtime)
        _living.add(self)

    @property
    def limits(self) -> Limits:
        """What one peer may cost; routes may have their own."""
        return self.config.limits

    @classmethod
    def current(cls) -> App:
        """Give the App: the one served on the running loop, or else the only one.

        Raises StateError when there is none, or several to choose from.
        """
        try:
            running: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        apps = list(_living)
        served = [app for app in apps if app.runtime.loop is not None]
        here = [app for app in served if app.runtime.loop is running]
        for candidates in (here, served, apps):
            if len(candidates) == 1:
                return candidates[0]
            if candidates:
                raise StateError(
                    f"there are {len(candidates)} Apps to choose from: "
                    "pass the one you mean instead of App.current()"
                )
        raise StateError("there is no App yet: make one with App()")

    # WebSocket routes

    @overload
    def websocket(
        self,
        path: str,
        endpoint: None = None,
        *,
        upgrade: UpgradeHook | None = None,
        subprotocols: Iterable[str] = (),
        limits: Limits | None = None,
        compression: Compression | bool | None = None,
        keep_headers: bool = False,
    ) -> Callable[[EndpointT], EndpointT]: ...

    @overload
    def websocket(
        self,
        path: str,
        endpoint: EndpointT,
        *,
        upgrade: UpgradeHook | None = None,
        subprotocols: Iterable[str] = (),
        limits: Limits | None = None,
        compression: Compression | bool | None = None,
        keep_headers: bool = False,
    ) -> EndpointT: ...

    def websocket(
        self,
        path: str,
        endpoint: Any = None,
        *,
        upgrade: UpgradeHook | None = None,
        subprotocols: Iterable[str] = (),
        limits: Limits | None = None,
        compression: Compression | bool | None = None,
        keep_headers: bool = False,
    ) -> Any:
        """Point a path at an endpoint; without ``endpoint`` it is a decorator.

        ``path`` may have parameters, ``"/rooms/{room}"``, each for one segment or a
        piece of one; of several routes that match, the narrowest wins. ``endpoint`` is
        a coroutine function that takes the connection, a class derived from Endpoint
        (one instance is made) or such an instance. ``upgrade``, a plain or coroutine
        function, sees the request and may raise Reject, and may set
        ``request.compression`` for this one connection. ``subprotocols`` are the names
        we speak, best first. ``limits`` replace the App's on this route,
        ``compression`` the server's: ``True`` switches it on, ``False`` off.
        ``keep_headers`` keeps headers and query readable after ``on_open``.

        Raises ConfigError for a path that is wrong or taken, TypeError for an endpoint
        that is none.
        """
        path = path_pattern(path)
        if upgrade is not None:
            _check_function(upgrade, "upgrade", "(request)")
        if limits is not None and not isinstance(limits, Limits):
            raise TypeError(
                f"limits must be a fastws.Limits, not {type(limits).__name__}"
            )
        names = _checked_subprotocols(subprotocols)
        compresses = self._checked_compression(compression)

        def register(endpoint: EndpointT) -> EndpointT:
            applied = limits if limits is not None else self.limits
            binding = bind(
                endpoint, app=self, limits=applied, keep_headers=keep_headers
            )
            route = WebSocketRoute(
                binding=binding,
                upgrade=upgrade,
                subprotocols=names,
                limits=applied,
                compression=compresses,
            )
            self.routes.add_websocket(path, route)
            return endpoint

        return register if endpoint is None else register(endpoint)

    def _checked_compression(
        self, given: Compression | bool | None
    ) -> Compression | Literal[False] | None:
        given = check_compression(given)
        if given is None or given is False:
            return given
        require_zlib()
        if given is True:
            return compression_rule(self.config.compression) or Compression()
        return given

    # HTTP routes

    @overload
    def get(
        self, path: str, handler: None = None
    ) -> Callable[[HandlerT], HandlerT]: ...

    @overload
    def get(self, path: str, handler: HandlerT) -> HandlerT: ...

    def get(self, path: str, handler: Any = None) -> Any:
        """Answer GET (and HEAD) requests; without ``handler`` it is a decorator.

        ``path`` is as in ``websocket``; its parameters are in ``request.params``. The
        handler, plain or coroutine function, takes the request and returns ``str``,
        ``bytes``, something with a JSON form, or a Response. Raises ConfigError for a
        path that is wrong or taken, TypeError for a handler that is no function.
        """
        return self._http_method("GET", path, handler)

    @overload
    def post(
        self, path: str, handler: None = None
    ) -> Callable[[HandlerT], HandlerT]: ...

    @overload
    def post(self, path: str, handler: HandlerT) -> HandlerT: ...

    def post(self, path: str, handler: Any = None) -> Any:
        """Answer POST requests; see ``get``."""
        return self._http_method("POST", path, handler)

    @overload
    def put(
        self, path: str, handler: None = None
    ) -> Callable[[HandlerT], HandlerT]: ...

    @overload
    def put(self, path: str, handler: HandlerT) -> HandlerT: ...

    def put(self, path: str, handler: Any = None) -> Any:
        """Answer PUT requests; see ``get``."""
        return self._http_method("PUT", path, handler)

    @overload
    def patch(
        self, path: str, handler: None = None
    ) -> Callable[[HandlerT], HandlerT]: ...

    @overload
    def patch(self, path: str, handler: HandlerT) -> HandlerT: ...

    def patch(self, path: str, handler: Any = None) -> Any:
        """Answer PATCH requests; see ``get``."""
        return self._http_method("PATCH", path, handler)

    @overload
    def delete(
        self, path: str, handler: None = None
    ) -> Callable[[HandlerT], HandlerT]: ...

    @overload
    def delete(self, path: str, handler: HandlerT) -> HandlerT: ...

    def delete(self, path: str, handler: Any = None) -> Any:
        """Answer DELETE requests; see ``get``."""
        return self._http_method("DELETE", path, handler)

    def _http_method(self, method: str, path: str, handler: Any) -> Any:
        path = path_pattern(path)

        def register(handler: HandlerT) -> HandlerT:
            _check_function(handler, f"the handler of {path!r}", "(request)")
            self.routes.add_http(method, path, handler)
            return handler

        return register if handler is None else register(handler)

    def static(self, prefix: str, directory: str | os.PathLike[str]) -> None:
        """Serve the files of a directory under a path, ``index.html`` for folders.

        Routes win over files. Nothing outside of the directory is served. Raises
        ConfigError when the directory does not exist or the prefix is wrong or taken.
        """
        prefix = path_pattern(prefix)
        if "{" in prefix:
            raise ConfigError(
                f"the prefix of static files, {prefix!r}, has a parameter"
            )
        self.routes.add_static(prefix, StaticFiles(directory))

    # Channels

    def channel(self, pattern: str, **rule: Unpack[ChannelOptions]) -> ChannelRule:
        """Declare the channels that a pattern matches, and how they behave.

        ``"ticks"`` is one channel, ``"room.{id}"`` every channel of that shape: a
        parameter stands for one part between dots. ``rule`` are the fields of
        ChannelRule. Declare before serving: a channel that exists keeps the rule that
        it was made with, and a connection that is open what it has agreed on, so that
        it joins no cohort (``compress="cohort"``) unless there was one before. Raises
        ConfigError when the rule is wrong or the pattern is taken.
        """
        if not isinstance(pattern, str) or not pattern:
            raise TypeError(
                f"a channel pattern is a string such as 'room.{{id}}', not {pattern!r}"
            )
        known = {one.name for one in fields(ChannelRule)}
        for name in rule:
            if name not in known:
                raise ConfigError(
                    f"channel {pattern!r}: there is no option {name!r}; "
                    f"there are {', '.join(sorted(known))}"
                )
        made = ChannelRule(**rule)
        self._rules.add(pattern, made)
        if made.compress == "cohort":
            self._has_cohorts = True
        return made

    @property
    def has_cohorts(self) -> bool:
        """Whether a channel's rule says ``compress="cohort"``.

        Connections that are made from then on may then agree that what they receive
        refers to earlier messages.
        """
        return self._has_cohorts

    def rule_for(self, name: str) -> ChannelRule:
        """Give a channel's rule; ConfigError when ``strict_channels`` refuses it."""
        found = self._rules.find(name)
        if found is not None:
            return found[0]
        if self.strict_channels:
            raise ConfigError(
                f"channel {name!r} is not declared: call app.channel({name!r}), or a "
                "pattern that matches it, or make the App without strict_channels"
            )
        return self._default_rule

    @property
    def channels(self) -> Channels:
        """The channels of this process that have subscribers or history, by name.

        ``channels["news"].subscribers`` counts them; ``.read()`` and ``.position`` are
        about its history, for channels whose rule keeps one.
        """
        return self._channels

    def publish(
        self,
        channel: str,
        message: Payload,
        *,
        key: str | None = None,
        exclude: Connection[Any] | None = None,
        compress: bool | None = None,
    ) -> None:
        """Send a message to the subscribers of a channel; callable from any thread.

        ``str`` goes out as text, bytes-like as binary, anything else as JSON text.
        ``key`` says what the message is about: under ``slow="latest"`` a subscriber
        that could not keep up gets the newest message of each key. ``exclude`` is a
        connection that does not get it. ``compress`` is about subscribers that agreed
        to compression: ``None`` leaves it to the size of the message, ``True``
        compresses it whatever its size, ``False`` leaves it as it is. Nothing happens
        while the App is not being served. Raises ConfigError for a channel that
        ``strict_channels`` refuses, TypeError for what has no JSON form, ValueError for
        a key over 255 bytes.
        """
        if self.strict_channels:
            self.rule_for(channel)
        hub = self.runtime.hub
        if hub is not None:
            hub.publish(channel, message, key=key, exclude=exclude, compress=compress)

    def publish_batch(self, items: Iterable[BatchItem]) -> None:
        """Publish many messages, to many channels: all of them, or none if one is
        wrong.

        Each item is ``(channel, message)`` or ``(channel, message, key)``. They are
        published in this order, with nothing in between; otherwise as ``publish``.
        """
        batch = [_checked_item(item) for item in items]
        if self.strict_channels:
            for channel, _, _ in batch:
                self.rule_for(channel)
        hub = self.runtime.hub
        if hub is not None:
            hub.publish_batch(batch)

    async def publish_confirmed(
        self,
        channel: str,
        message: Payload,
        *,
        key: str | None = None,
        idempotency_key: str | None = None,
        compress: bool | None = None,
        timeout: float = 2.0,
    ) -> Receipt:
        """Publish, and give the place in the channel's history and what that survives.

        A second publication with the same ``idempotency_key`` to this channel within
        two minutes publishes nothing and gets the receipt of the first one, marked
        ``duplicate``. May be awaited on another loop than the one the App is served on:
        then ``timeout`` are the seconds to wait for its answer. Raises PublishUnknown
        when there was none, StateError while the App is not being served, and what
        ``publish`` raises.
        """
        hub, loop = self.runtime.hub, self.runtime.loop
        if hub is None or loop is None:
            raise StateError("nothing can be confirmed: this App is not being served")
        if self.strict_channels:
            self.rule_for(channel)

        async def publish() -> Receipt:
            return hub.publish_confirmed(
                channel, message, key, idempotency_key, compress
            )

        if loop is asyncio.get_running_loop():
            return await publish()
        answer = asyncio.run_coroutine_threadsafe(publish(), loop)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(answer), timeout)
        except TimeoutError:
            raise PublishUnknown(
                f"no answer within {timeout:g} s: the message for channel {channel!r} "
                "may have been published"
            ) from None

    def broadcast(
        self,
        message: Payload,
        *,
        exclude: Connection[Any] | None = None,
        compress: bool | None = None,
    ) -> None:
        """Send a message to every open connection, as ``publish`` does to a channel."""
        hub = self.runtime.hub
        if hub is not None:
            hub.broadcast(message, exclude=exclude, compress=compress)

    # Connections

    @property
    def connections(self) -> list[Connection[Any]]:
        """The open connections of this process, as a new list."""
        hub = self.runtime.hub
        return [] if hub is None else hub.connections

    def connection(self, id: str) -> Connection[Any] | None:
        """Give the open connection with this ``id``, or ``None``."""
        hub = self.runtime.hub
        return None if hub is None else hub.connection(id)

    async def disconnect(
        self,
        *,
        id: str | None = None,
        code: int = CloseCode.NORMAL,
        reason: str = "",
    ) -> int:
        """Close the connection with this ``id``; give the number that was closed.

        ``code`` and ``reason`` are what the peer reads. The closing handshake goes on
        after this returns.
        """
        if id is None:
            raise TypeError("disconnect() needs id=: which connection is meant?")
        connection = self.connection(id)
        if connection is None or not connection.is_open:
            return 0
        connection.close(code, reason)
        return 1

    @property
    def counters(self) -> Counters:
        """The engine's counters; all zero while the App is not being served."""
        hub = self.runtime.hub
        return Counters() if hub is None else hub.counters

    @overload
    def on(
        self, event: Event, function: None = None, *, channel: str | None = None
    ) -> Callable[[FunctionT], FunctionT]: ...

    @overload
    def on(
        self, event: Event, function: FunctionT, *, channel: str | None = None
    ) -> FunctionT: ...

    def on(
        self,
        event: Event,
        function: FunctionT | None = None,
        *,
        channel: str | None = None,
    ) -> FunctionT | Callable[[FunctionT], FunctionT]:
        """Call a function at an event of any connection; a decorator without one.

        The events and what their functions take: ``connect`` (ws), ``subscribe`` and
        ``unsubscribe`` (ws, channel), ``message`` (ws, message), ``skip`` (ws, channel,
        missed: how many messages of the channel were never sent, because the peer was
        slow), ``disconnect`` (ws, code, reason). ``channel`` narrows those that have
        one down to a name or a pattern. Coroutine functions run in a task of their own.
        What a listener raises is logged and goes no further.
        """
        self._listeners.check_event(event, channel)

        def register(function: FunctionT) -> FunctionT:
            self._listeners.add(event, function, channel)
            self.runtime.listeners_changed()
            return function

        return register if function is None else register(function)

    # Serving

    def server(self, **options: Unpack[ServerOptions]) -> Server:
        """Make a server of this App; ``start`` it, ``run`` it, or ``async with`` it.

        ``options`` are fields of Config and replace those of the App's ``config``.
        Raises ConfigError for an option that does not exist, has a wrong value or, as
        compression, needs a library that the machine does not have.
        """
        known = {one.name for one in fields(Config)}
        for name in options:
            if name not in known:
                raise ConfigError(
                    f"there is no option {name!r}; there are {', '.join(sorted(known))}"
                )
        if "limits" in options:
            raise ConfigError(
                "limits belong to the App and its routes: App(Config(limits=...)) or "
                "app.websocket(path, limits=...)"
            )
        # One way to TLS replaces the other.
        if options.get("ssl") is not None:
            options = {"ssl_certificate": None, "ssl_key": None, **options}
        elif options.get("ssl_certificate") is not None:
            options = {"ssl": None, **options}
        server = Server(self, replace(self.config, **options))
        if server.compression is not None:
            require_zlib()
        return server

    def serve(self, **options: Unpack[ServerOptions]) -> Server:
        """Serve inside a running loop: ``async with app.serve(port=0) as server:``.

        The server runs while the block does, and has ``port``, ``addresses`` and
        ``sockets``. Signals are left to the program. Takes what ``server`` takes.
        """
        return self.server(**options)

    def run(self, **options: Unpack[ServerOptions]) -> None:
        """Serve until SIGINT or SIGTERM; makes its own event loop, blocks.

        The first signal stops in good order, see ``Server.stop``; a second one aborts
        what is left. Takes what ``server`` takes. Raises StartupError, StateError
        (inside a running loop), and whatever the lifespan raises.
        """
        self.server(**options).run()


def _checked_lifespan(lifespan: Any) -> Lifespan | None:
    if lifespan is None:
        return None
    if inspect.isasyncgenfunction(lifespan):
        # The decorator was forgotten; what is meant is clear.
        lifespan = asynccontextmanager(lifespan)
    if not callable(lifespan) or inspect.iscoroutinefunction(lifespan):
        raise TypeError(
            "lifespan must be an async context manager function that takes the App: "
            "`@asynccontextmanager async def lifespan(app): ... yield ...`"
        )
    _check_function(lifespan, "lifespan", "(app)")
    return cast(Lifespan, lifespan)


def _check_function(function: object, what: str, arguments: str) -> None:
    """Check that a function takes one argument."""
    if not callable(function):
        raise TypeError(
            f"{what} must be a function that takes {arguments}, "
            f"not {type(function).__name__}"
        )
    try:
        inspect.signature(function).bind(None)
    except TypeError as error:
        name = getattr(function, "__qualname__", repr(function))
        raise TypeError(f"{what} {name} must take {arguments}: {error}") from None
    except ValueError:
        # Compiled functions may have no signature to look at; the call will tell.
        return


def _checked_item(item: BatchItem) -> tuple[str, Payload, str | None]:
    match item:
        case (str(channel), message):
            return channel, message, None
        case (str(channel), message, str() | None as key):
            return channel, message, key
    raise TypeError(
        f"an item of a batch is (channel, message) or (channel, message, key), "
        f"not {item!r}"
    )


def _checked_subprotocols(subprotocols: Iterable[str]) -> tuple[str, ...]:
    if isinstance(subprotocols, str):
        raise TypeError(
            f"subprotocols is a list of names: write [{subprotocols!r}], "
            f"not {subprotocols!r}"
        )
    names = tuple(subprotocols)
    for name in names:
        if not isinstance(name, str) or not name or not _TOKEN.issuperset(name):
            raise ConfigError(
                f"{name!r} cannot be the name of a subprotocol: letters, digits and "
                "!#$%&'*+-.^_`|~ only"
            )
    if len(set(names)) != len(names):
        raise ConfigError(f"subprotocols has a name twice: {', '.join(names)}")
    return names
