"""The handshake of both sides, against each other and the RFC's own example."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.config import Compression, Limits
from fastws.engine.deflate import Deflate
from fastws.engine.handshake import (
    Refused,
    accept_response,
    check_response,
    check_upgrade,
    client_request,
    parse_head,
)
from fastws.errors import HandshakeError, ProtocolError

LIMITS = Limits()
# RFC 6455 section 1.3.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def ask(*lines: str, key: str = KEY) -> bytes:
    return (
        client_request("example.com", "/", key)[:-2]
        + "".join(f"{line}\r\n" for line in lines).encode("latin-1")
        + b"\r\n"
    )


def answer(*lines: str, status: str = "101 Switching Protocols") -> bytes:
    return "".join(
        f"{line}\r\n" for line in (f"HTTP/1.1 {status}", *lines, "")
    ).encode()


RIGHT = ("Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {ACCEPT}")


def test_the_rfcs_example() -> None:
    assert check_upgrade(parse_head(ask(), LIMITS)) == ACCEPT


@given(st.binary(min_size=16, max_size=16))
def test_both_sides_agree(nonce: bytes) -> None:
    key = base64.b64encode(nonce).decode()
    request = parse_head(client_request("a", "/b?c", key), LIMITS)
    assert (request.path, request.query_string, request.host) == ("/b", "c", "a")
    response = accept_response(check_upgrade(request))
    assert check_response(response, key) == (None, None)


@given(st.integers(0, 30).flatmap(lambda n: st.binary(min_size=n, max_size=n)))
def test_a_key_has_16_bytes(nonce: bytes) -> None:
    request = parse_head(ask(key=base64.b64encode(nonce).decode()), LIMITS)
    if len(nonce) == 16:
        assert check_upgrade(request)
    else:
        with pytest.raises(Refused, match="400"):
            check_upgrade(request)


@pytest.mark.parametrize("at", range(24))
def test_a_key_is_base64_at_every_place(at: int) -> None:
    for wrong in "-_!=" if at < 22 else "-_!A":
        key = KEY[:at] + wrong + KEY[at + 1 :]
        with pytest.raises(Refused, match="400"):
            check_upgrade(parse_head(ask(key=key), LIMITS))


# Subprotocols


@pytest.mark.parametrize(
    ("lines", "offered"),
    [
        (["Sec-WebSocket-Protocol: a"], ("a",)),
        (["Sec-WebSocket-Protocol: a,b ,\tc"], ("a", "b", "c")),
        (["sec-websocket-protocol: a", "SEC-WEBSOCKET-PROTOCOL: b"], ("a", "b")),
        (["Sec-WebSocket-Protocol: !#$%&'*+-.^_`|~"], ("!#$%&'*+-.^_`|~",)),
    ],
)
def test_offered_subprotocols(lines: list[str], offered: tuple[str, ...]) -> None:
    request = parse_head(ask(*lines), LIMITS)
    check_upgrade(request)
    assert request.subprotocols == offered


@pytest.mark.parametrize("separator", '()<>@:\\"/[]?={} \t')
def test_a_subprotocol_has_no_separator(separator: str) -> None:
    line = f"Sec-WebSocket-Protocol: a{separator}b"
    with pytest.raises(Refused, match="400"):
        check_upgrade(parse_head(ask(line), LIMITS))


@pytest.mark.parametrize("value", ["", ",", "a,", ",a", "a,,b", "a, ", "\xff", "a;b"])
def test_malformed_offers(value: str) -> None:
    with pytest.raises(Refused, match="400"):
        check_upgrade(parse_head(ask(f"Sec-WebSocket-Protocol: {value}"), LIMITS))


def test_a_subprotocol_of_any_length_that_fits() -> None:
    limits = Limits(max_header_line=100_000, max_header_bytes=100_000)
    names = ",".join(f"p{number}" for number in range(64))
    request = parse_head(ask(f"Sec-WebSocket-Protocol: {names}"), limits)
    check_upgrade(request)
    assert len(request.subprotocols) == 64
    for value in (names + ",x", "b" + " " * 90_000 + "x", "a," * 40_000):
        request = parse_head(ask(f"Sec-WebSocket-Protocol: {value}"), limits)
        with pytest.raises(Refused, match="400"):
            check_upgrade(request)


# What the server answers


def test_extra_headers_of_the_answer() -> None:
    response = accept_response(ACCEPT, "chat", {"Set-Cookie": "a=1"})
    assert response.endswith(
        b"\r\nSec-WebSocket-Protocol: chat\r\nSet-Cookie: a=1\r\n\r\n"
    )
    assert check_response(response, KEY, ["chat"]) == ("chat", None)


@pytest.mark.parametrize(
    "headers",
    [
        {"X": "a\r\nb: c"},
        {"X": "a\0"},
        {"X:": "a"},
        {"": "a"},
        {"upgrade": "a"},
        {"Connection": "close"},
        {"Sec-WebSocket-Accept": "a"},
        {"sec-websocket-extensions": "a"},
        {"Content-Length": "1"},
    ],
)
def test_headers_that_would_break_the_answer(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="header"):
        accept_response(ACCEPT, None, headers)


def test_a_subprotocol_can_not_break_the_answer() -> None:
    with pytest.raises(ValueError, match="header"):
        accept_response(ACCEPT, "a\r\nX: y")


# The client


def test_what_a_client_asks() -> None:
    data = client_request(
        "[::1]:80",
        "/a?b=c",
        KEY,
        subprotocols=["one", "two"],
        origin="http://a",
        headers={"Authorization": "Bearer x"},
    )
    request = parse_head(data, LIMITS)
    assert check_upgrade(request) == ACCEPT
    assert request.subprotocols == ("one", "two")
    assert request.origins == ["http://a"]
    assert request.headers["authorization"] == "Bearer x"


@pytest.mark.parametrize(
    "change",
    [
        {"host": "a\r\nX: y"},
        {"path": "a"},
        {"path": "/a b"},
        {"path": "/a\r\n"},
        {"path": "/ä"},
        {"path": "/a#b"},
        {"key": "\n"},
        {"headers": {"X": "\r\n"}},
        {"origin": "\0"},
        {"subprotocols": ["\n"]},
    ],
)
def test_a_request_that_would_break(change: dict[str, object]) -> None:
    arguments: dict[str, object] = {"host": "a", "path": "/", "key": KEY, **change}
    with pytest.raises(ValueError, match=r"."):
        client_request(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "lines",
    [
        RIGHT,
        ("upgrade: WebSocket", "connection: keep-alive, UPGRADE", RIGHT[2]),
        (*RIGHT, "Date: now"),
    ],
)
def test_right_answers(lines: tuple[str, ...]) -> None:
    assert check_response(answer(*lines), KEY) == (None, None)


@pytest.mark.parametrize(
    "lines",
    [
        (),
        RIGHT[1:],
        RIGHT[:1] + RIGHT[2:],
        RIGHT[:2],
        (*RIGHT[:2], "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        (*RIGHT, RIGHT[2]),
        (*RIGHT, "Sec-WebSocket-Protocol: other"),
        (*RIGHT, "Sec-WebSocket-Protocol: one", "Sec-WebSocket-Protocol: one"),
        (*RIGHT, "Sec-WebSocket-Extensions: permessage-deflate"),
    ],
)
def test_a_101_that_answers_something_else(lines: tuple[str, ...]) -> None:
    with pytest.raises(ProtocolError) as caught:
        check_response(answer(*lines), KEY, ["one"])
    assert (caught.value.code, caught.value.kind) == (1002, "bad_handshake")


@pytest.mark.parametrize("context", [False, True])
def test_both_sides_agree_on_compression(context: bool) -> None:
    rule = Compression(server_context=context, client_context=context)
    ours, theirs = Deflate(rule), Deflate(rule)
    request = parse_head(client_request("a", "/", KEY, extensions=ours.offer()), LIMITS)
    agreement = theirs.agree(request.extensions)
    assert agreement is not None
    response = accept_response(ACCEPT, "chat", None, agreement.response)
    assert b"\r\nSec-WebSocket-Extensions: permessage-deflate" in response
    chosen, agreed = check_response(response, KEY, ["chat"], ours)
    assert chosen == "chat"
    assert agreed is not None
    assert agreed.response == agreement.response
    assert agreed.send_context == agreement.receive_context == context
    # Without the extension in the answer there is none.
    response = accept_response(ACCEPT)
    assert check_response(response, KEY, deflate=ours) == (None, None)


@pytest.mark.parametrize(
    "extensions", ["x-other", "permessage-deflate; x", "permessage-deflate, x-other"]
)
def test_an_answer_that_was_not_offered(extensions: str) -> None:
    lines = (*RIGHT, f"Sec-WebSocket-Extensions: {extensions}")
    with pytest.raises(ProtocolError) as caught:
        check_response(answer(*lines), KEY, deflate=Deflate(Compression()))
    assert (caught.value.code, caught.value.kind) == (1002, "bad_handshake")


@pytest.mark.parametrize(
    "data", [b"\r\n\r\n", b"HTTP/1.1 101\n", b"\0", b"\x81\x05\xff\r\n" * 9]
)
def test_an_answer_that_is_no_http(data: bytes) -> None:
    with pytest.raises((ProtocolError, HandshakeError)):
        check_response(data, KEY)


def test_a_refusal_has_status_and_headers() -> None:
    with pytest.raises(HandshakeError) as caught:
        check_response(answer("Retry-After: 1", status="503 No"), KEY)
    assert caught.value.status == 503
    assert caught.value.headers == {"retry-after": "1"}
