"""Heads byte by byte: the same answer however they are cut, never laxer than llhttp."""

from __future__ import annotations

import itertools
import random
import re
import time

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastws.config import Limits
from fastws.engine.head import METHODS, HeadScanner, Refused, phrase_of, response_head

LIMITS = Limits()
SMALL = Limits(
    max_request_line=40, max_header_line=30, max_headers=3, max_header_bytes=60
)

GOOD = b"GET /path?query HTTP/1.1\r\nHost: example.com\r\nA:\r\nB: 1 \t\r\n\r\n"

PIECES = st.sampled_from(
    [
        b"GET ",
        b"POST ",
        b"PRI ",
        b"BREW ",
        b"/ ",
        b"/a?b ",
        b"* ",
        b"HTTP/1.1",
        b"\r\n",
        b"HTTP/1.0",
        b"HTTP/2.0",
        b"HTTP/0.9",
        b"http/1.1",
        b"HTTP/1.10",
        b"Host: a\r\n",
        b"X: y\r\n",
        b" z\r\n",
        b"X : y\r\n",
        b": y\r\n",
        b"\n",
        b"\r",
        b"\x00",
        b" ",
        b"\t",
        b"\x80",
        b"\xff",
        b"a" * 40,
        b"Origin: " + b"b" * 40,
        b"#",
        b"\x7f",
    ]
)
HEADS = st.lists(PIECES, max_size=10).map(b"".join) | st.builds(
    lambda at, byte: GOOD[:at] + byte + GOOD[at + 1 :],
    st.integers(0, len(GOOD) - 1),
    st.binary(max_size=2),
)


def outcome(pieces: list[bytes], limits: Limits = LIMITS) -> int:
    """The position behind the head, -1 when it goes on, or minus the status."""
    scanner = HeadScanner(limits)
    before = 0
    for piece in pieces:
        try:
            end = scanner.feed(piece)
        except Refused as refused:
            return -refused.status
        if end >= 0:
            return before + end
        before += len(piece)
    return -1


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({min(place, len(data)) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(marks)]


@given(HEADS, st.lists(st.integers(0, 200), max_size=8))
@example(GOOD, [1])
@example(b"\r\n" + GOOD, [1])
def test_cutting_is_no_matter(data: bytes, places: list[int]) -> None:
    for limits in (LIMITS, SMALL):
        expected = outcome([data], limits)
        assert outcome(cut(data, places), limits) == expected
        assert outcome(cut(data, list(range(len(data)))), limits) == expected


@given(HEADS)
def test_what_we_take_llhttp_takes(data: bytes) -> None:
    end = outcome([data])
    if end < 0:
        return
    complete: list[bool] = []

    class Collected:
        def on_headers_complete(self) -> None:
            complete.append(True)

    parser = httptools.HttpRequestParser(Collected())
    try:
        parser.feed_data(data[:end])
    except (httptools.HttpParserUpgrade, httptools.HttpParserError):
        # llhttp also looks at values: lengths, codings. That is the request's part.
        return
    assert complete


@given(st.binary(max_size=200))
def test_noise_has_an_answer(data: bytes) -> None:
    assert outcome([data]) in (-1, -400, -405, -505) or data.startswith(b"\r\n")


def test_a_buffer_may_grow_behind_the_scanner() -> None:
    scanner = HeadScanner(LIMITS)
    buffer = bytearray()
    for byte in GOOD[:-1]:
        start = len(buffer)
        buffer.append(byte)
        assert scanner.feed(buffer, start) == -1
    buffer += b"\nrest"
    assert scanner.feed(buffer, len(GOOD) - 1) == len(GOOD)
    scanner.reset()
    assert scanner.feed(GOOD + GOOD, len(GOOD)) == 2 * len(GOOD)


def test_a_head_in_pieces_of_one_byte_costs_linear_time() -> None:
    def cost(size: int) -> float:
        limits = Limits(max_header_line=2 * size, max_header_bytes=2 * size)
        data = GOOD[:-2] + b"X: " + b"a" * size
        scanner = HeadScanner(limits)
        buffer = bytearray()
        start = time.process_time()
        for index in range(len(data)):
            buffer += data[index : index + 1]
            scanner.feed(buffer, index)
        return time.process_time() - start

    small = min(cost(50_000) for _ in range(5))
    large = min(cost(200_000) for _ in range(5))
    # Four times the size: four times the time, with room for a busy machine.
    assert large < 10 * small


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"a" * 8179 + b" HTTP/1.1", 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 8190, 431),
        (b"GET / HTTP/1.1\r\n" + (b"X: " + b"a" * 4093 + b"\r\n") * 4, 431),
        (b"GET / HTTP/1.1\r\n" + b"X:\r\n" * 100 + b"X", 431),
        (b"GET / HTTP/1.1\r\nOrigin: " + b"a" * 8185, 403),
        (b"GET / HTTP/1.1\r\noRIGIN: " + b"a" * 8185, 403),
        (b"GET / HTTP/1.1\r\nOrigins: " + b"a" * 8184, 431),
        (b"GET / HTTP/1.1\r\nSec-WebSocket-Protocol: " + b"a" * 8169, 400),
        (b"GET / HTTP/1.1\r\nSec-WebSocket-Extensions: " + b"a" * 8167, 400),
    ],
)
def test_limits_are_met_exactly(data: bytes, status: int) -> None:
    assert outcome([data]) == -status
    if not data.endswith(b"\n"):
        assert outcome([data[:-1]]) == -1


def test_a_request_line_of_the_limit_passes() -> None:
    line = b"GET /" + b"a" * 8178 + b" HTTP/1.1"
    assert len(line) == LIMITS.max_request_line
    assert outcome([line + b"\r\n\r\n"]) == len(line) + 4


def test_every_cut_of_large_heads() -> None:
    source = random.Random(1)
    for number in range(200):
        lines = [b"GET / HTTP/1.1\r\n"] + [
            b"N%d: %b\r\n" % (line, b"v" * source.randint(0, 2000))
            for line in range(source.randint(0, 12))
        ]
        data = b"".join(lines) + b"\r\n"
        places = [source.randint(0, len(data)) for _ in range(number % 20)]
        assert outcome(cut(data, places)) == outcome([data])


@pytest.mark.parametrize("data", ["GET", 1, None, memoryview(b"GET")])
def test_only_bytes_are_scanned(data: object) -> None:
    with pytest.raises(TypeError):
        HeadScanner(LIMITS).feed(data)  # type: ignore[arg-type]


def test_a_start_beyond_the_bytes_reads_nothing() -> None:
    assert HeadScanner(LIMITS).feed(b"\0", 7) == -1
    with pytest.raises(ValueError, match="negative"):
        HeadScanner(LIMITS).feed(b"\0", -1)


def test_methods() -> None:
    for method in METHODS:
        data = method.encode() + b" / HTTP/1.1\r\n\r\n"
        assert outcome([data]) == len(data)


# Heads of responses


def test_a_response_head() -> None:
    head = response_head(404, {"A": "1", "B": "\xe4"}, keep_alive=False)
    assert (
        head
        == b"HTTP/1.1 404 Not Found\r\nA: 1\r\nB: \xe4\r\nConnection: close\r\n\r\n"
    )
    assert response_head(200, {}) == b"HTTP/1.1 200 OK\r\n\r\n"
    assert phrase_of(418) == "I'm a Teapot"
    assert phrase_of(599) == "Unknown"


@given(st.text(max_size=10), st.text(max_size=10))
def test_no_header_breaks_out(name: str, value: str) -> None:
    is_right = re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) and re.fullmatch(
        r"[\t\x20-\x7e\x80-\xff]*", value
    )
    if is_right:
        head = response_head(200, {name: value})
        assert head.count(b"\r\n") == 3
        assert head.count(b"\n") == 3
    else:
        with pytest.raises(ValueError, match="header"):
            response_head(200, {name: value})


def test_a_refusal_as_bytes() -> None:
    refused = Refused(426, "try so", {"Upgrade": "websocket"})
    assert refused.to_bytes() == (
        b"HTTP/1.1 426 Upgrade Required\r\n"
        b"Upgrade: websocket\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Length: 29\r\n"
        b"Connection: close\r\n"
        b"\r\n"
        b"426 Upgrade Required: try so\n"
    )
    assert refused.to_bytes(head_only=True) + refused.body == refused.to_bytes()
    assert Refused(500).body == b"500 Internal Server Error\n"
    assert Refused(403, body=b"\0").headers == {}
    assert Refused(403, body="").to_bytes().endswith(b"\r\n\r\n")
    assert str(Refused(403, "no")) == "403 no"
