"""URLs, and the handshake that is made of them."""

from __future__ import annotations

import pytest

from fastws.load import LoadError, Options
from fastws.load.request import opening_request, read_url


@pytest.mark.parametrize(
    ("url", "authority", "port", "path", "origin"),
    [
        ("ws://example.org", "example.org", 80, "/", "http://example.org"),
        (
            "wss://example.org/a?b=c",
            "example.org",
            443,
            "/a?b=c",
            "https://example.org",
        ),
        ("ws://h:8080/x", "h:8080", 8080, "/x", "http://h:8080"),
        ("ws://[::1]:81/", "[::1]:81", 81, "/", "http://[::1]:81"),
        ("ws://h:80/r/{channel}", "h", 80, "/r/{channel}", "http://h"),
    ],
)
def test_urls(url: str, authority: str, port: int, path: str, origin: str) -> None:
    target = read_url(url)
    assert (target.authority, target.port) == (authority, port)
    assert (target.path, target.origin) == (path, origin)
    assert target.is_secure == url.startswith("wss")


@pytest.mark.parametrize(
    "url",
    [
        "http://h/",
        "h:80",
        "ws:///path",
        "ws://h:99999/",
        "ws://h/#part",
        "ws://user@h/",
        "ws://h/a b",
        "ws://h/\u00e4",
        "ws://[::1/",
    ],
)
def test_what_is_no_websocket_url(url: str) -> None:
    with pytest.raises(LoadError):
        read_url(url)


def test_the_channel_stands_in_the_path() -> None:
    options = Options(url="ws://h/r/{channel}?n={channel}")
    target = read_url(options.url)
    request = opening_request(options, target, target.path, 12, "key")
    assert request.startswith(b"GET /r/12?n=12 HTTP/1.1\r\n")
    assert request.endswith(b"\r\n\r\n")


def test_braces_in_what_the_user_gives_are_no_placeholders() -> None:
    options = Options(
        url="ws://h/{key}", origin="{host}", subprotocol="a{b}", header=("X: {path}",)
    )
    target = read_url(options.url)
    request = opening_request(options, target, target.path, 0, "key")
    assert b"GET /{key} " in request
    assert b"Origin: {host}\r\n" in request
    assert b"Sec-WebSocket-Protocol: a{b}\r\n" in request
    assert b"X: {path}\r\n" in request


@pytest.mark.parametrize("context", [False, True])
def test_the_offer_of_compression(context: bool) -> None:
    options = Options(url="ws://h/", deflate=True, deflate_context=context)
    request = opening_request(options, read_url(options.url), "/", 0, "key")
    assert b"Sec-WebSocket-Extensions: permessage-deflate; " in request
    assert (b"no_context_takeover" in request) is not context
