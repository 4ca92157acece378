"""Where bodies end: against llhttp, and however they are cut."""

from __future__ import annotations

import itertools

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.config import Limits
from fastws.engine.handshake import Refused
from fastws.http.body import Body, ChunkedBody, SizedBody

LIMITS = Limits()
HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class Collected:
    def __init__(self) -> None:
        self.body = b""
        self.is_complete = False

    def on_body(self, piece: bytes) -> None:
        self.body += piece

    def on_message_complete(self) -> None:
        self.is_complete = True


def by_llhttp(data: bytes) -> bytes | None:
    """The content, or None when llhttp does not take the data for a whole body."""
    collected = Collected()
    parser = httptools.HttpRequestParser(collected)
    try:
        parser.feed_data(HEAD + data)
    except httptools.HttpParserError:
        return None
    return collected.body if collected.is_complete else None


def by_us(body: Body, pieces: list[bytes]) -> bytes | None:
    for number, piece in enumerate(pieces):
        try:
            end = body.feed(piece, 0)
        except Refused:
            return None
        if end >= 0:
            rest = piece[end:] + b"".join(pieces[number + 1 :])
            return None if rest else body.content()
    return None


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({min(place, len(data)) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(marks)]


# Bytes that look like chunks, most of them wrong somewhere.
PIECES = st.sampled_from(
    [
        b"5\r\nhello\r\n",
        b"1\r\n\r\r\n",
        b"A;x=y\r\n0123456789\r\n",
        b"0\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"0",
        b"5",
        b";",
        b" ",
        b"\t",
        b"X: 1\r\n",
        b"X : 1\r\n",
        b"f",
        b":\r\n",
        b"\xff",
        b"\x00",
    ]
)
BODIES = st.lists(PIECES, max_size=8).map(b"".join) | st.builds(
    lambda chunks, tail: (
        b"".join(b"%X\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + tail
    ),
    st.lists(st.binary(min_size=1, max_size=40)),
    st.sampled_from([b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"00;a\r\n\r\n"]),
)


@given(BODIES, st.lists(st.integers(0, 200), max_size=6))
def test_what_we_take_llhttp_takes_and_cutting_is_no_matter(
    data: bytes, places: list[int]
) -> None:
    ours = by_us(ChunkedBody(LIMITS), [data])
    assert ours == by_us(ChunkedBody(LIMITS), cut(data, places))
    assert ours == by_us(ChunkedBody(LIMITS), cut(data, list(range(len(data)))))
    if ours is not None:
        assert ours == by_llhttp(data)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300)))
def test_a_sized_body_is_exactly_so_long(data: bytes, places: list[int]) -> None:
    if data:
        body = SizedBody(len(data), LIMITS)
        assert by_us(body, cut(data, places)) == data
        assert SizedBody(len(data), LIMITS).feed(data + b"next", 0) == len(data)


def test_a_body_of_the_limit_and_one_more() -> None:
    limits = Limits(max_body=10)
    assert SizedBody(10, limits).feed(b"x" * 10, 0) == 10
    with pytest.raises(Refused, match="413"):
        SizedBody(11, limits)
    assert by_us(ChunkedBody(limits), [b"a\r\n" + b"x" * 10 + b"\r\n0\r\n\r\n"])
    with pytest.raises(Refused, match="413"):
        ChunkedBody(limits).feed(b"9\r\n" + b"x" * 9 + b"\r\n2\r\n", 0)


def test_without_a_limit_any_size_may_come() -> None:
    limits = Limits(max_body=None)
    assert SizedBody(2**40, limits).feed(b"x", 0) == -1
    assert ChunkedBody(limits).feed(b"ffffffffffff\r\n", 0) == -1


def test_trailers_up_to_the_limits_are_dropped() -> None:
    trailers = b"X: 1\r\n" * 100
    body = ChunkedBody(LIMITS)
    data = b"2\r\nhi\r\n0\r\n" + trailers + b"\r\n"
    assert body.feed(data, 0) == len(data)
    assert body.content() == b"hi"
