"""App: registration, channels, listeners, lifespan, and which loop it belongs to."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from fastws import (
    App,
    ChannelRule,
    Compression,
    Config,
    ConfigError,
    Connection,
    ConnectionClosed,
    Endpoint,
    Limits,
    Message,
    Request,
    StateError,
)
from fastws.testing import connect

from .support.waits import DEADLINE

Ws: TypeAlias = "Connection[Any]"


async def echo(ws: Ws) -> None:
    async for message in ws:
        await ws.send(message)


class Echo(Endpoint):
    def on_message(self, ws: Ws, message: Message) -> None:
        ws.send(message)


def answer(request: Request) -> str:
    return "answer"


# Registration


def test_websocket_is_a_decorator_and_a_call() -> None:
    app = App()
    assert app.websocket("/a")(echo) is echo
    assert app.websocket("/b", echo) is echo
    assert app.websocket("/c")(Echo) is Echo
    instance = Echo()
    assert app.websocket("/d", instance) is instance
    for path in "/a", "/b", "/c", "/d":
        assert app.routes.websocket(path) is not None


def test_a_route_has_the_limits_it_was_given_or_the_apps() -> None:
    own = Limits(max_message=10)
    app = App(Config(limits=Limits(max_message=20)))
    app.websocket("/own", echo, limits=own)
    app.websocket("/default", echo)
    routes = [app.routes.websocket(path) for path in ("/own", "/default")]
    assert [found and found[0].limits.max_message for found in routes] == [10, 20]


def test_a_route_has_the_compression_it_was_given_or_the_servers() -> None:
    small = Compression(level=1)
    app = App(Config(compression=small))
    for path, given, expected in (
        ("/a", None, None),
        ("/b", False, False),
        ("/c", True, small),
        ("/d", Compression(level=9), Compression(level=9)),
    ):
        app.websocket(path, echo, compression=given)
        found = app.routes.websocket(path)
        assert found is not None
        assert found[0].compression == expected
    plain = App()
    plain.websocket("/a", echo, compression=True)
    found = plain.routes.websocket("/a")
    assert found is not None
    assert found[0].compression == Compression()
    assert app.server().compression == small
    assert app.server(compression=False).compression is None
    assert plain.server().compression is None
    assert plain.server(compression=True).compression == Compression()
    with pytest.raises(TypeError, match="compression must be a"):
        app.websocket("/e", echo, compression=6)  # type: ignore[call-overload]


def test_compression_needs_zlib(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ConfigError("compression needs zlib")

    monkeypatch.setattr("fastws.app.require_zlib", missing)
    app = App()
    app.websocket("/a", echo, compression=False)
    app.server()
    with pytest.raises(ConfigError, match="needs zlib"):
        app.websocket("/b", echo, compression=True)
    with pytest.raises(ConfigError, match="needs zlib"):
        app.server(compression=True)


def test_a_path_is_taken_once() -> None:
    app = App()
    app.websocket("/rooms/{room}", echo)
    with pytest.raises(ConfigError, match="already registered"):
        app.websocket("/rooms/{id}", echo)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"path": "echo"}, ConfigError, "write '/echo'"),
        ({"path": echo}, TypeError, "the path of a route must be a string"),
        ({"endpoint": answer}, TypeError, "is not a coroutine function"),
        ({"limits": {}}, TypeError, "limits must be a fastws.Limits, not dict"),
        (
            {"upgrade": 5},
            TypeError,
            r"upgrade must be a function that takes \(request\)",
        ),
        ({"upgrade": lambda: None}, TypeError, r"must take \(request\)"),
        ({"subprotocols": "chat"}, TypeError, r"write \['chat'\]"),
        ({"subprotocols": ["a b"]}, ConfigError, "cannot be the name of a subprotocol"),
        ({"subprotocols": [""]}, ConfigError, "cannot be the name of a subprotocol"),
        ({"subprotocols": ["a", "a"]}, ConfigError, "a name twice"),
    ],
)
def test_a_wrong_route_is_refused_with_advice(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    options: dict[str, Any] = {"path": "/echo", "endpoint": echo, **arguments}
    with pytest.raises(error, match=message):
        App().websocket(**options)


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
def test_http_methods_are_decorators_and_calls(method: str) -> None:
    app = App()
    register = getattr(app, method)
    assert register("/a")(answer) is answer
    assert register("/b/{id}", answer) is answer
    assert app.routes.http(method.upper(), "/a") == (answer, {})
    assert app.routes.http(method.upper(), "/b/1") == (answer, {"id": "1"})
    with pytest.raises(ConfigError, match=f"{method.upper()} '/a' is already"):
        register("/a", answer)
    with pytest.raises(TypeError, match="must be a function"):
        register("/c", "answer")
    with pytest.raises(TypeError, match=r"must take \(request\)"):
        register("/c", lambda: "answer")


def test_static_files_need_a_folder(tmp_path: Path) -> None:
    app = App()
    app.static("/assets", tmp_path)
    with pytest.raises(ConfigError):
        app.static("/missing", tmp_path / "missing")
    with pytest.raises(ConfigError, match="has a parameter"):
        app.static("/{x}", tmp_path)


def test_the_config_and_the_lifespan_are_checked() -> None:
    with pytest.raises(TypeError, match=r"config must be a fastws\.Config, not dict"):
        App({"port": 1})  # type: ignore[arg-type]

    async def not_a_manager(app: App) -> None: ...

    for lifespan in (5, not_a_manager, lambda: None):
        with pytest.raises(TypeError, match="lifespan"):
            App(lifespan=lifespan)  # type: ignore[arg-type]


# Channels


def test_a_channel_has_the_rule_of_its_narrowest_pattern() -> None:
    app = App()
    app.channel("room.{id}", max_lag=10)
    app.channel("room.main", max_lag=20)
    assert app.rule_for("room.7").max_lag == 10
    assert app.rule_for("room.main").max_lag == 20
    assert app.rule_for("other") == ChannelRule()


def test_a_cohort_among_the_rules_is_known_to_every_server() -> None:
    app = App()
    before = app.server()
    app.channel("news", compress=False)
    app.channel("other", compress=True)
    assert not app.has_cohorts
    assert not before.has_cohorts
    rule = app.channel("ticks.{id}", compress="cohort", cohort_join=0.5)
    assert (rule.compress, rule.cohort_join) == ("cohort", 0.5)
    assert app.has_cohorts
    assert before.has_cohorts
    assert not App().has_cohorts


def test_a_cohort_that_was_refused_is_none() -> None:
    app = App()
    app.channel("news")
    with pytest.raises(ConfigError, match="already registered"):
        app.channel("news", compress="cohort")
    assert not app.has_cohorts


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"pattern": ""}, TypeError, "a channel pattern is a string"),
        ({"pattern": "a.{"}, ConfigError, "unbalanced"),
        (
            {"pattern": "a", "lag": 5},
            ConfigError,
            "there is no option 'lag'; there are",
        ),
        ({"pattern": "a", "max_lag": -5}, ConfigError, "max_lag must be"),
        ({"pattern": "a", "compress": "yes"}, ConfigError, "compress must be True, Fa"),
        ({"pattern": "a", "cohort_join": 2}, ConfigError, 'needs compress="cohort"'),
        ({"pattern": "taken"}, ConfigError, "already registered"),
    ],
)
def test_a_wrong_channel_is_refused(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    app = App()
    app.channel("taken")
    with pytest.raises(error, match=message):
        app.channel(**arguments)


def test_strict_channels_refuse_what_was_not_declared() -> None:
    app = App(strict_channels=True)
    app.channel("room.{id}")
    app.publish("room.1", "hello")
    with pytest.raises(ConfigError, match="channel 'lobby' is not declared"):
        app.publish("lobby", "hello")


def test_strict_channels_refuse_a_subscription(run: Any) -> None:
    app = App(strict_channels=True)
    refused: list[str] = []

    @app.websocket("/ws")
    async def endpoint(ws: Ws) -> None:
        try:
            ws.subscribe("lobby")
        except ConfigError as error:
            refused.append(str(error))

    async def scenario() -> None:
        async with connect(app, "/ws") as ws:
            with pytest.raises(ConnectionClosed):
                await ws.receive(DEADLINE)

    run(scenario())
    assert refused
    assert "'lobby' is not declared" in refused[0]


# While it is not being served


def test_an_app_at_rest_has_nobody() -> None:
    app = App()
    assert app.connections == []
    assert app.connection("x") is None
    assert dict(app.channels) == {}
    assert set(app.counters.snapshot().values()) <= {0}
    app.publish("channel", "message")
    app.broadcast("message")


def test_disconnect_needs_to_know_whom(run: Any) -> None:
    async def scenario() -> None:
        app = App()
        assert await app.disconnect(id="nobody") == 0
        with pytest.raises(TypeError, match="needs id="):
            await app.disconnect()

    run(scenario())


# Options of servers


def test_options_replace_those_of_the_config() -> None:
    app = App(Config(host="127.0.0.2", port=1, debug=True))
    config = app.server(port=2, shutdown_timeout=1).config
    assert (config.host, config.port, config.debug) == ("127.0.0.2", 2, True)
    assert config.shutdown_timeout == 1
    assert app.serve(host="127.0.0.3").config.host == "127.0.0.3"
    assert app.config.port == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prot": 1}, "there is no option 'prot'; there are allowed_origins, backlog"),
        ({"port": -1}, "Config.port must be"),
        ({"limits": Limits()}, "limits belong to the App"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        App().server(**options)


def test_one_way_to_tls_replaces_the_other() -> None:
    app = App(Config(ssl_certificate="a.pem", ssl_key="b.pem"))
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    config = app.server(ssl=context).config
    assert (config.ssl, config.ssl_certificate, config.ssl_key) == (context, None, None)
    config = App(Config(ssl=context)).server(ssl_certificate="a.pem").config
    assert (config.ssl, config.ssl_certificate) == (None, "a.pem")


# Channels and connections, served


class Member(Endpoint):
    def on_open(self, ws: Ws) -> None:
        ws.subscribe("news")
        ws.send({"id": ws.id})

    def on_message(self, ws: Ws, message: Message) -> None:
        ws.publish("news", message)


def test_publish_broadcast_and_the_registry(run: Any) -> None:
    app = App()
    app.websocket("/news", Member)
    app.websocket("/other", echo)

    async def scenario() -> None:
        async with (
            connect(app, "/news") as first,
            connect(app, "/news") as second,
            connect(app, "/other") as third,
        ):
            first_id = (await first.receive_json())["id"]
            second_id = (await second.receive_json())["id"]
            assert len(app.connections) == 3
            assert app.channels["news"].subscribers == 2
            found = app.connection(first_id)
            assert found is not None
            assert found.app is app

            app.publish("news", {"x": 1}, exclude=app.connection(second_id))
            app.broadcast(b"all")
            assert await first.receive(DEADLINE) == '{"x":1}'
            for ws in first, second, third:
                assert await ws.receive(DEADLINE) == b"all"

            first.send("to the others")
            assert await second.receive(DEADLINE) == "to the others"

            thread = threading.Thread(target=app.publish, args=("news", "thread"))
            thread.start()
            assert await first.receive(DEADLINE) == "thread"
            thread.join()

            assert await app.disconnect(id=first_id, code=4000, reason="out") == 1
            with pytest.raises(ConnectionClosed) as closed:
                await first.receive(DEADLINE)
            assert (closed.value.code, closed.value.reason) == (4000, "out")
        assert app.connections == []
        assert dict(app.channels) == {}

    run(scenario())


# The App of this loop


def test_current_is_the_app_of_the_running_loop(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from weakref import WeakSet

    monkeypatch.setattr("fastws.app._living", WeakSet())
    with pytest.raises(StateError, match="there is no App yet"):
        App.current()
    app = App()
    assert App.current() is app
    other = App()
    with pytest.raises(StateError, match="there are 2 Apps"):
        App.current()

    async def scenario() -> None:
        async with other.serve(port=0):
            assert App.current() is other
            assert await asyncio.to_thread(App.current) is other
            async with app.serve(port=0):
                with pytest.raises(StateError, match="there are 2 Apps"):
                    App.current()

    run(scenario())
