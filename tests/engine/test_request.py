"""Requests taken apart: path, query, headers, framing."""

from __future__ import annotations

import asyncio
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.config import Limits
from fastws.engine.head import Refused
from fastws.engine.request import Headers, Query, Request, parse_head

LIMITS = Limits()


def parsed(
    target: str = "/", *lines: str, method: str = "GET", version: str = "1.1"
) -> Request:
    head = [f"{method} {target} HTTP/{version}", "Host: example.com", *lines, "", ""]
    return parse_head("\r\n".join(head).encode("latin-1"), LIMITS)


def refusal(target: str = "/", *lines: str, version: str = "1.1") -> int:
    with pytest.raises(Refused) as caught:
        parsed(target, *lines, version=version)
    status = caught.value.status
    assert isinstance(status, int)
    return status


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", ""),
        ("/?", "/", ""),
        ("/a/b/", "/a/b/", ""),
        ("/a?b?c", "/a", "b?c"),
        ("/a%20b%2Fc", "/a b/c", ""),
        ("/%c3%A4", "/ä", ""),
        ("/a?%zz", "/a", "%zz"),
        ("/%252e", "/%2e", ""),
        ("/...", "/...", ""),
        ("/.a", "/.a", ""),
        ("/a..", "/a..", ""),
        ("/a//b", "/a//b", ""),
        ("/a%3fb", "/a?b", ""),
        ('/{}|"<>^`\\', '/{}|"<>^`\\', ""),
        ("/?a=../..", "/", "a=../.."),
    ],
)
def test_targets(target: str, path: str, query: str) -> None:
    request = parsed(target)
    assert (request.target, request.path) == (target, path)
    assert request.query_string == query


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("a", 400),
        ("*", 400),
        ("http://example.com/", 400),
        ("/%", 400),
        ("/%4", 400),
        ("/%4g", 400),
        ("/%-1", 400),
        ("/%00", 400),
        ("/a%00b", 400),
        ("/%80", 400),
        ("/%ed%a0%80", 400),
        ("/%c0%ae%c0%ae/", 400),
        ("/.", 404),
        ("/..", 404),
        ("/a/./b", 404),
        ("/a/../b", 404),
        ("/%2e", 404),
        ("/%2E%2e/a", 404),
        ("/a%2f..%2fb", 404),
        ("//", 404),
        ("//a", 404),
        ("/%2fa", 404),
    ],
)
def test_targets_that_are_not_served(target: str, status: int) -> None:
    assert refusal(target) == status


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_a_path_is_decoded_once(path: str) -> None:
    path = "/" + path.lstrip("/")
    if {".", ".."} & set(path.split("/")):
        return
    quoted = quote(path)
    if len(quoted) < 8000:
        assert parsed(quoted).path == path == unquote(quoted)


def test_headers_are_found_in_any_case() -> None:
    request = parsed("/", "X-One: 1", "x-one: 2", "Empty:", "Latin: \xe4  \t")
    headers = request.headers
    assert isinstance(headers, Headers)
    assert headers["X-ONE"] == "1"
    assert headers.getall("x-One") == ["1", "2"]
    assert headers.get("latin") == "ä"
    assert headers["empty"] == ""
    assert "EMPTY" in headers
    assert headers.get("other") is None
    assert headers.get("other", "x") == "x"
    assert headers.getall("other") == []
    assert "other" not in headers
    assert 1 not in headers
    assert list(headers) == headers.keys() == ["host", "x-one", "empty", "latin"]
    assert headers.values() == ["example.com", "1", "", "ä"]
    assert headers.items()[1] == ("x-one", "1")
    assert len(headers) == 4
    with pytest.raises(KeyError):
        headers["other"]
    assert request.headers is headers


def test_a_query_is_parsed() -> None:
    query = parsed("/?a=1&b=&a=%C3%A4+b&c&%zz=%80").query
    assert isinstance(query, Query)
    assert query.getall("a") == ["1", "ä b"]
    assert query["b"] == query["c"] == ""
    assert "A" not in query
    assert query["%zz"] == "\N{REPLACEMENT CHARACTER}"
    assert len(parsed("/").query) == 0


def test_offered_extensions_are_one_list() -> None:
    assert parsed().extensions == b""
    name = "Sec-WebSocket-Extensions"
    assert parsed("/", f"{name}: a; b=1 ").extensions == b"a; b=1"
    both = parsed("/", f"{name}: a; b=1", f"{name.lower()}: c").extensions
    assert [one.strip() for one in both.split(b",")] == [b"a; b=1", b"c"]


def test_reprs_show_no_values() -> None:
    request = parsed("/a%0a?token=secret", "Cookie: secret")
    for one in (request, request.headers, request.query):
        assert "secret" not in repr(one)
        assert repr(one).isprintable()


@pytest.mark.parametrize(
    ("lines", "version", "expected"),
    [
        ([], "1.1", True),
        (["Connection: close"], "1.1", False),
        (["Connection: x, CLOSE ,y"], "1.1", False),
        (["Connection: x", "Connection: close"], "1.1", False),
        (["Connection: closed"], "1.1", True),
        (["Connection: keep-alive"], "1.0", False),
    ],
)
def test_keep_alive(lines: list[str], version: str, expected: bool) -> None:
    assert parsed("/", *lines, version=version).keep_alive is expected


@pytest.mark.parametrize(
    "lines",
    [
        ["Host: b"],
        ["Content-Length: 1", "Content-Length: 1"],
        ["Content-Length: 1", "Content-Length: 2"],
        ["Content-Length: 1x"],
        ["Content-Length: 9999999999999999999"],
        ["Content-Length: 1", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 0"],
        ["Transfer-Encoding: identity"],
        ["Transfer-Encoding: chunked;x"],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding:"],
    ],
)
def test_ambiguous_framing_is_refused(lines: list[str]) -> None:
    assert refusal("/", *lines) == 400


def test_framing() -> None:
    assert parsed("/").content_length is None
    assert parsed("/", "Content-Length: 012").content_length == 12
    assert parsed("/", "Transfer-Encoding: CHUNKED").chunked
    assert refusal("/", "Transfer-Encoding: chunked", version="1.0") == 400


@pytest.mark.parametrize(
    ("host", "is_right"),
    [
        ("example.com", True),
        ("example.com:8080", True),
        ("[::1]:80", True),
        ("a_b", True),
        ("", False),
        ("a b", False),
        ("a/b", False),
        ("a@b", False),
        ('a"b', False),
        ("\xe4", False),
        ("a,b", True),
    ],
)
def test_hosts(host: str, is_right: bool) -> None:
    head = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1")
    if is_right:
        assert parse_head(head, LIMITS).host == host
    else:
        with pytest.raises(Refused, match="400"):
            parse_head(head, LIMITS)


def test_http_1_0_may_have_no_host() -> None:
    request = parse_head(b"GET / HTTP/1.0\r\n\r\n", LIMITS)
    assert (request.host, request.http_version) == ("", "1.0")
    with pytest.raises(Refused, match="400"):
        parse_head(b"GET / HTTP/1.1\r\n\r\n", LIMITS)


@pytest.mark.parametrize(
    "data", [b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n\r\nx"]
)
def test_a_head_is_whole(data: bytes) -> None:
    with pytest.raises(Refused, match="400"):
        parse_head(data, LIMITS)


def test_who_asks() -> None:
    request = parse_head(b"GET / HTTP/1.0\r\n\r\n", LIMITS, ("::1", 1, 0, 0), True)
    assert request.remote_address == ("::1", 1, 0, 0)
    assert request.secure is True
    assert parsed().secure is False


def test_the_body_is_the_servers_to_set() -> None:
    request = parsed("/", "Content-Length: 6", method="POST")
    assert asyncio.run(request.body()) == b""
    request.set_body(b"[1, 2]")
    assert asyncio.run(request.body()) == b"[1, 2]"
    assert asyncio.run(request.text()) == "[1, 2]"
    assert asyncio.run(request.json()) == [1, 2]
    request.set_body(b"\xff")
    for read in (request.text, request.json):
        with pytest.raises(Refused, match="400"):
            asyncio.run(read())
