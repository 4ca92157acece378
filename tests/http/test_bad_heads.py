"""Bad handshakes and requests: the answer, however the bytes are cut."""

from __future__ import annotations

import time

import pytest

from tests.http.exchange import (
    CHUNKINGS,
    KEY,
    Exchange,
    FakeService,
    Opened,
    request,
    upgrade,
)

MANY_HEADERS = {f"X-{number}": "1" for number in range(2000)}
KIB = 1024


def with_lines(*lines: str, target: str = "/ws") -> bytes:
    """A handshake with more lines, which may repeat or break a header."""
    return (
        upgrade(target)[:-2]
        + "".join(f"{line}\r\n" for line in lines).encode("latin-1")
        + b"\r\n"
    )


def replaced(old: bytes, new: bytes) -> bytes:
    data = upgrade()
    assert old in data
    return data.replace(old, new)


# Name of the input → bytes and the statuses it may be answered with.
INPUTS: dict[str, tuple[bytes, set[int]]] = {
    "post upgrade": (replaced(b"GET", b"POST"), {405}),
    "put upgrade": (replaced(b"GET", b"PUT"), {405}),
    "http/1.0 upgrade": (replaced(b"HTTP/1.1", b"HTTP/1.0"), {505, 400}),
    "http/0.9": (replaced(b"HTTP/1.1", b"HTTP/0.9"), {505}),
    "http/2.0": (replaced(b"HTTP/1.1", b"HTTP/2.0"), {505}),
    "http/1.10": (replaced(b"HTTP/1.1", b"HTTP/1.10"), {400}),
    "lower-case version": (replaced(b"HTTP/1.1", b"http/1.1"), {400}),
    "no version": (b"GET /\r\n\r\n", {400}),
    "http/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {505}),
    "no host": (upgrade(Host=None), {400}),
    "two hosts": (with_lines("Host: example.com"), {400}),
    "two different hosts": (with_lines("Host: example.org"), {400}),
    "empty host": (upgrade(Host=""), {400}),
    "host with a user": (upgrade(Host="me@example.com"), {400}),
    "plain get": (request("/ws"), {426}),
    "other upgrade": (upgrade(Upgrade="notwebsocket"), {426}),
    "longer upgrade": (upgrade(Upgrade="websocketx"), {426}),
    "h2c": (upgrade(Upgrade="h2c"), {426}),
    "no connection": (upgrade(Connection=None), {426}),
    "keep-alive only": (upgrade(Connection="keep-alive"), {426}),
    "notupgrade": (upgrade(Connection="notupgrade"), {426}),
    "no key": (upgrade(Sec_WebSocket_Key=None), {400}),
    "key of 15 bytes": (upgrade(Sec_WebSocket_Key="AAAAAAAAAAAAAAAAAAAA"), {400}),
    "key of 17 bytes": (upgrade(Sec_WebSocket_Key="AAAAAAAAAAAAAAAAAAAAAAA="), {400}),
    "key not base64": (upgrade(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25j!Q=="), {400}),
    "key badly padded": (upgrade(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ="), {400}),
    "key with a space": (upgrade(Sec_WebSocket_Key="dGhlIHNhbXBs SBub25jZQ=="), {400}),
    "url-safe key": (upgrade(Sec_WebSocket_Key="dGhlIHNhbXBs-_Bub25jZQ=="), {400}),
    "two keys": (with_lines(f"Sec-WebSocket-Key: {KEY}"), {400}),
    "no version header": (upgrade(Sec_WebSocket_Version=None), {426}),
    **{
        f"version {version!r}": (upgrade(Sec_WebSocket_Version=version), {426})
        for version in ("8", "12", "14", "13, 8", "013", "+13", "")
    },
    "two versions": (with_lines("Sec-WebSocket-Version: 13"), {400}),
    "subprotocol with a separator": (upgrade(Sec_WebSocket_Protocol="a(b"), {400}),
    "subprotocol with lf": (upgrade(Sec_WebSocket_Protocol="a\nX: 1"), {400}),
    "subprotocol with cr": (upgrade(Sec_WebSocket_Protocol="a\rX: 1"), {400}),
    "subprotocol with nul": (upgrade(Sec_WebSocket_Protocol="a\0"), {400}),
    "8-bit subprotocol": (upgrade(Sec_WebSocket_Protocol="\x80\xff"), {400}),
    "empty subprotocol": (upgrade(Sec_WebSocket_Protocol=""), {400}),
    "spaces in a subprotocol": (
        upgrade(Sec_WebSocket_Protocol="b" + " " * 32_000 + "x"),
        {400, 431},
    ),
    "some spaces in a subprotocol": (
        upgrade(Sec_WebSocket_Protocol="b" + " " * 8000 + "x"),
        {400},
    ),
    "5000 subprotocols": (
        upgrade(Sec_WebSocket_Protocol=", ".join(f"p{n}" for n in range(5000))),
        {400},
    ),
    "65 subprotocols": (
        upgrade(Sec_WebSocket_Protocol=",".join(f"p{n}" for n in range(65))),
        {400},
    ),
    "subprotocol twice": (upgrade(Sec_WebSocket_Protocol="a, b, a"), {400}),
    "subprotocol twice, in two headers": (
        with_lines("Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: a"),
        {400},
    ),
    "1000 extensions": (
        upgrade(Sec_WebSocket_Extensions=", ".join(["permessage-deflate"] * 1000)),
        {400},
    ),
    "1000 extensions in many headers": (
        with_lines(*["Sec-WebSocket-Extensions: " + "x," * 4000] * 5),
        {400},
    ),
    "long request line": (request("/" + "a" * 8 * KIB), {414}),
    "very long url": (request("/" + "a" * 65_536), {414}),
    "long header": (upgrade(X="a" * 8 * KIB), {431}),
    "long header name": (with_lines("X" * 9000 + ": 1"), {431}),
    "101 headers": (request("/", dict(list(MANY_HEADERS.items())[:100])), {431}),
    "2000 headers": (request("/", MANY_HEADERS), {431}),
    "64 KiB of headers": (
        request("/", {f"X-{n}": "a" * 2000 for n in range(32)}),
        {431},
    ),
    "folded header": (with_lines("X: 1", " 2"), {400}),
    "header folded by a tab": (with_lines("X: 1", "\t2"), {400}),
    "folded first header": (replaced(b"Host", b" Host"), {400}),
    "bare lf": (replaced(b"\r\nUpgrade", b"\nUpgrade"), {400}),
    "only bare lf": (upgrade().replace(b"\r\n", b"\n"), {400}),
    "bare cr": (with_lines("X: 1\r2"), {400}),
    "bare cr at the end": (with_lines("X: 1") + b"\r", {101}),
    "nul in a value": (with_lines("X: 1\0"), {400}),
    "delete in a value": (with_lines("X: 1\x7f"), {400}),
    "space before the colon": (replaced(b"Host:", b"Host :"), {400}),
    "empty header name": (with_lines(": 1"), {400}),
    "header without a colon": (with_lines("X"), {400}),
    "separator in a name": (with_lines("X(y: 1"), {400}),
    "8-bit byte in a name": (with_lines("X\xff: 1"), {400}),
    "length beside coding": (
        request("/echo", {"Content-Length": "1", "Transfer-Encoding": "chunked"}),
        {400},
    ),
    "upgrade with a body": (
        with_lines("Content-Length: 36") + request("/"),
        {400},
    ),
    "upgrade with chunks": (
        with_lines("Transfer-Encoding: chunked") + b"0\r\n\r\n" + request("/"),
        {400},
    ),
    "two lengths": (
        request("/echo", {"Content-Length": "5", "content-length": "6"}, "POST"),
        {400},
    ),
    **{
        f"length {length!r}": (
            request("/echo", {"Content-Length": length}, "POST", b"hello"),
            {400},
        )
        for length in (
            "+5",
            "-1",
            "5_0",
            "0x5",
            "\xb2",
            "5, 5",
            "5 5",
            "",
            "1" + "0" * 30,
        )
    },
    "coding that is not chunked": (
        request("/echo", {"Transfer-Encoding": "gzip"}, "POST"),
        {400},
    ),
    "chunked, identity": (
        request("/echo", {"Transfer-Encoding": "chunked, identity"}, "POST"),
        {400},
    ),
    "chunked twice": (
        request("/echo", {"Transfer-Encoding": "chunked, chunked"}, "POST"),
        {400},
    ),
    "two codings": (
        request(
            "/echo", {"Transfer-Encoding": "chunked", "transfer-encoding": "x"}, "POST"
        ),
        {400},
    ),
    "nul in the url": (request("/%00"), {400}),
    "encoded dots": (request("/%2e%2e%2f"), {404}),
    "dots": (request("/../etc"), {404}),
    "dot at the end": (request("/first/."), {404}),
    "broken escape": (request("/%zz"), {400}),
    "cut escape": (request("/%4"), {400}),
    "escape of no utf-8": (request("/%ff"), {400}),
    "absolute form": (request("http://example.com/first"), {400}),
    "asterisk form": (request("*", method="OPTIONS"), {400}),
    "two slashes": (request("//example.com/first"), {404}),
    "encoded second slash": (request("/%2ffirst"), {404}),
    "fragment": (request("/first#frag"), {400}),
    "8-bit byte in the url": (request("/\xff"), {400}),
    "two spaces in the request line": (
        b"GET  / HTTP/1.1\r\nHost: example.com\r\n\r\n",
        {400},
    ),
    "expectation": (request("/", {"Expect": "cake"}), {417}),
    "connect": (request("example.com:443", method="CONNECT"), {405}),
    "trace": (request("/first", method="TRACE"), {405}),
    "unknown method": (request("/first", method="BREW"), {405}),
    "lower-case method": (request("/first", method="get"), {405}),
    "method without end": (b"A" * 30_000, {400}),
    "get on a post path": (request("/echo"), {405}),
    "unknown path": (request("/nowhere"), {404}),
    "upgrade on an http path": (upgrade("/first"), {404, 426}),
    "upgrade nowhere": (upgrade("/nowhere"), {404}),
    "proxy header": (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + request("/"), {400}),
    "two empty lines first": (b"\r\n\r\n" + request("/"), {400}),
}


@pytest.mark.parametrize("chunking", CHUNKINGS)
@pytest.mark.parametrize("name", INPUTS)
def test_a_bad_head_is_refused(
    name: str, chunking: str, service: FakeService, opened: Opened
) -> None:
    data, allowed = INPUTS[name]
    exchange = Exchange(service)
    exchange.send(*CHUNKINGS[chunking](data))
    found = exchange.statuses
    if chunking == "glued":
        assert found[0] == 200
        found = found[1:]
    assert len(found) == 1
    assert found[0] in allowed
    if found != [101]:
        assert b"\r\nConnection: close\r\n" in exchange.output
        assert exchange.is_ended
        assert not opened
        sent = exchange.output
        assert exchange.send(request("/first"), upgrade()) == sent
    exchange.lose()


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "DELETE"])
def test_a_websocket_path_names_its_method(service: FakeService, method: str) -> None:
    answer = Exchange(service).send(upgrade().replace(b"GET", method.encode()))
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"\r\nAllow: GET\r\n" in answer


@pytest.mark.parametrize("data", [request("/ws"), upgrade(Sec_WebSocket_Version="8")])
def test_upgrade_required_says_what_is_required(
    service: FakeService, data: bytes
) -> None:
    answer = Exchange(service).send(data)
    assert b"\r\nUpgrade: websocket\r\n" in answer
    assert b"\r\nSec-WebSocket-Version: 13\r\n" in answer


@pytest.mark.parametrize(
    "name",
    [
        "spaces in a subprotocol",
        "some spaces in a subprotocol",
        "5000 subprotocols",
        "1000 extensions",
        "1000 extensions in many headers",
        "64 KiB of headers",
        "2000 headers",
    ],
)
@pytest.mark.parametrize("chunking", ["whole", "byte by byte"])
def test_a_bad_head_is_refused_fast(
    name: str, chunking: str, service: FakeService
) -> None:
    exchange = Exchange(service)
    pieces = list(CHUNKINGS[chunking](INPUTS[name][0]))
    start = time.process_time()
    exchange.send(*pieces)
    assert exchange.statuses
    # Ten times the bound of 5 ms; 20 ms where the bytes come one by one.
    assert time.process_time() - start < (0.05 if chunking == "whole" else 0.2)


@pytest.mark.parametrize("first", [b"\x16\x03\x01", b"\x16"])
def test_tls_on_the_plain_port_is_closed(service: FakeService, first: bytes) -> None:
    exchange = Exchange(service)
    assert exchange.send(first) == b""
    assert exchange.is_ended
    exchange.lose()


def test_an_answer_quotes_nothing(service: FakeService) -> None:
    marker = b"s3cret"
    for data in (
        request("/s3cret?token=s3cret", {"Cookie": "s3cret"}),
        upgrade("/ws", Sec_WebSocket_Key="s3cret", Origin="http://s3cret.example"),
        upgrade("/ws", Origin="http://s3cret.example"),
        b"s3cret s3cret s3cret\r\n",
    ):
        exchange = Exchange(service)
        assert marker not in exchange.send(data)
        assert exchange.is_ended
