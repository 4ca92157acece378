"""routing: patterns, their order, and an App's tables of routes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws import ConfigError
from fastws.routing import Pattern, PatternTable, Routes, path_pattern


def handler(request: object) -> str:
    return "answer"


def other(request: object) -> str:
    return "other"


@pytest.mark.parametrize(
    ("pattern", "path", "params"),
    [
        ("/", "/", {}),
        ("/echo", "/echo", {}),
        ("/rooms/{room}", "/rooms/red", {"room": "red"}),
        ("/rooms/{room}", "/rooms/räume und mehr", {"room": "räume und mehr"}),
        ("/{a}/{b}", "/1/2", {"a": "1", "b": "2"}),
        ("/files/{name}.json", "/files/a.b.json", {"name": "a.b"}),
        ("/v{version}/ws", "/v2/ws", {"version": "2"}),
    ],
)
def test_a_pattern_matches(pattern: str, path: str, params: dict[str, str]) -> None:
    assert Pattern(pattern, "/").match(path) == params


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/echo", "/echo/"),
        ("/echo", "/Echo"),
        ("/rooms/{room}", "/rooms/"),
        ("/rooms/{room}", "/rooms"),
        ("/rooms/{room}", "/rooms/a/b"),
        ("/rooms/{room}", "/rooms/a\n/"),
        ("/files/{name}.json", "/files/.json"),
        ("/a.b", "/aXb"),
    ],
)
def test_a_pattern_does_not_match(pattern: str, path: str) -> None:
    assert Pattern(pattern, "/").match(path) is None


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("/{", "unbalanced"),
        ("/}a", "unbalanced"),
        ("/{a{b}}", "unbalanced"),
        ("/{}", "not a parameter name"),
        ("/{1}", "not a parameter name"),
        ("/{a-b}", "not a parameter name"),
        ("/{a}/{a}", "there twice"),
        ("/{a}-{b}", "more than one parameter"),
    ],
)
def test_a_wrong_pattern_is_explained(pattern: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Pattern(pattern, "/")


def test_channel_parameters_stand_between_dots() -> None:
    pattern = Pattern("user.{id}.notifications", ".")
    assert pattern.match("user.7.notifications") == {"id": "7"}
    assert pattern.match("user.7.8.notifications") is None
    assert Pattern("room:{id}", ".").match("room:red") == {"id": "red"}


@given(st.text("ab/{}.", max_size=12))
def test_any_pattern_is_made_or_refused(text: str) -> None:
    try:
        pattern = Pattern(text, "/")
    except ConfigError:
        return
    if pattern.is_literal:
        assert pattern.match(text) == {}


@given(st.text(alphabet=st.characters(exclude_characters="/"), min_size=1))
def test_a_parameter_is_the_whole_segment(value: str) -> None:
    assert Pattern("/a/{x}/b", "/").match(f"/a/{value}/b") == {"x": value}


def table(*patterns: str) -> PatternTable[str]:
    made: PatternTable[str] = PatternTable("/")
    for pattern in patterns:
        made.add(pattern, pattern)
    return made


@pytest.mark.parametrize("turned", [False, True])
def test_the_narrowest_pattern_wins_in_any_order(turned: bool) -> None:
    patterns = ["/{a}/{b}", "/{a}/x", "/x/{b}", "/x/p-{b}", "/x/pre-{b}", "/x/y"]
    routes = table(*(reversed(patterns) if turned else patterns))
    assert routes.find("/x/y") == ("/x/y", {})
    assert routes.find("/x/pre-1") == ("/x/pre-{b}", {"b": "1"})
    assert routes.find("/x/p-1") == ("/x/p-{b}", {"b": "1"})
    assert routes.find("/x/1") == ("/x/{b}", {"b": "1"})
    assert routes.find("/1/x") == ("/{a}/x", {"a": "1"})
    assert routes.find("/1/2") == ("/{a}/{b}", {"a": "1", "b": "2"})
    assert routes.find("/1") is None
    assert len(routes) == len(patterns)
    assert set(routes) == set(patterns)


def test_patterns_of_one_shape_exclude_each_other() -> None:
    routes = table("/rooms/{room}", "/echo")
    with pytest.raises(ConfigError, match=r"as ./rooms/\{room\}.$"):
        routes.add("/rooms/{id}", "again")
    with pytest.raises(ConfigError, match="already registered"):
        routes.add("/echo", "again")
    assert routes.like("/rooms/{id}") == ("/rooms/{room}", "/rooms/{room}")
    assert routes.like("/echo") == ("/echo", "/echo")
    assert routes.like("/other") is None


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("echo", "write '/echo'"),
        ("", "must start with '/'"),
        ("/a?b=c", "query"),
        ("/a#b", "fragment"),
        ("/a//b", "empty or a dot segment"),
        ("/a/../b", "empty or a dot segment"),
        ("/.", "empty or a dot segment"),
    ],
)
def test_a_path_that_no_request_reaches_is_refused(path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        path_pattern(path)


def test_a_path_is_a_string() -> None:
    with pytest.raises(TypeError, match="must be a string such as"):
        path_pattern(test_a_path_is_a_string)


@pytest.mark.parametrize("path", ["/", "/a/", "/a/b", "/{x}"])
def test_usual_paths_pass(path: str) -> None:
    assert path_pattern(path) == path


def test_methods_share_a_path() -> None:
    routes = Routes()
    routes.add_http("GET", "/items/{id}", handler)
    routes.add_http("PUT", "/items/{id}", other)
    assert routes.http("GET", "/items/1") == (handler, {"id": "1"})
    assert routes.http("HEAD", "/items/1") == (handler, {"id": "1"})
    assert routes.http("PUT", "/items/1") == (other, {"id": "1"})
    assert routes.http("POST", "/items/1") == frozenset({"GET", "HEAD", "PUT"})
    assert routes.http("GET", "/other") is None


def test_a_method_is_registered_once_and_under_one_name() -> None:
    routes = Routes()
    routes.add_http("GET", "/items/{id}", handler)
    with pytest.raises(ConfigError, match=r"GET .* is already registered"):
        routes.add_http("GET", "/items/{id}", other)
    with pytest.raises(ConfigError, match="same names"):
        routes.add_http("PUT", "/items/{key}", other)


def test_a_narrow_path_does_not_hide_a_method_of_a_wider_one() -> None:
    routes = Routes()
    routes.add_http("GET", "/items/{id}", handler)
    routes.add_http("POST", "/items/new", other)
    assert routes.http("GET", "/items/new") == (handler, {"id": "new"})
    assert routes.http("POST", "/items/new") == (other, {})
    assert routes.http("PUT", "/items/new") == frozenset({"GET", "HEAD", "POST"})


def test_files_come_after_routes_the_longest_prefix_first() -> None:
    routes = Routes()
    routes.add_static("/", handler)
    routes.add_static("/assets/", other)
    routes.add_http("GET", "/api", other)
    assert routes.http("GET", "/") == (handler, {"path": ""})
    assert routes.http("GET", "/a/b.css") == (handler, {"path": "a/b.css"})
    assert routes.http("HEAD", "/assets/x.js") == (other, {"path": "x.js"})
    assert routes.http("GET", "/assets") == (other, {"path": ""})
    assert routes.http("GET", "/api") == (other, {})
    assert routes.http("POST", "/a/b.css") == frozenset({"GET", "HEAD"})
    with pytest.raises(ConfigError, match="already has static files"):
        routes.add_static("/assets", handler)


def test_a_websocket_path_is_no_file() -> None:
    routes = Routes()
    route: Any = object()
    routes.add_static("/", handler)
    routes.add_websocket("/live", route)
    assert routes.websocket("/live") == (route, {})
    assert routes.http("GET", "/live") is None
    routes.add_http("GET", "/live", other)
    assert routes.http("GET", "/live") == (other, {})
