"""What handlers return, as bytes."""

from __future__ import annotations

import io
from dataclasses import dataclass

import pytest

from fastws.http.response import FileResponse, Response, to_response


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("result", "status", "media_type", "body"),
    [
        ("ä", 200, "text/plain; charset=utf-8", "ä".encode()),
        ("", 200, "text/plain; charset=utf-8", b""),
        (b"\0", 200, "application/octet-stream", b"\0"),
        (bytearray(b"a"), 200, "application/octet-stream", b"a"),
        (memoryview(b"a"), 200, "application/octet-stream", b"a"),
        ({"a": [1, None]}, 200, "application/json", b'{"a":[1,null]}'),
        ([], 200, "application/json", b"[]"),
        (True, 200, "application/json", b"true"),
        (Point(1), 200, "application/json", b'{"x":1}'),
    ],
)
def test_results(result: object, status: int, media_type: str, body: bytes) -> None:
    response = to_response(result)
    assert (response.status, response.media_type) == (status, media_type)
    assert response.body == body
    head, _, sent = response.to_bytes().partition(b"\r\n\r\n")
    assert sent == body
    assert f"\r\nContent-Length: {len(body)}".encode() in head
    assert (f"\r\nContent-Type: {media_type}".encode() in head) is bool(body)
    assert b"\r\nDate: " in head
    assert head.count(b"GMT") == 1


def test_none_has_no_content() -> None:
    answer = to_response(None).to_bytes()
    assert answer.startswith(b"HTTP/1.1 204 No Content\r\n")
    assert b"Content-" not in answer


def test_a_response_is_itself() -> None:
    response = Response(201, "made", {"Location": "/1"})
    assert to_response(response) is response
    answer = response.to_bytes(keep_alive=False)
    assert answer.startswith(b"HTTP/1.1 201 Created\r\n")
    assert b"\r\nLocation: /1\r\n" in answer
    assert answer.endswith(b"\r\nConnection: close\r\n\r\nmade")


def test_the_answer_to_a_head_has_only_the_length() -> None:
    answer = Response(200, "made").to_bytes(head_only=True)
    assert answer.endswith(b"\r\n\r\n")
    assert b"Content-Length: 4" in answer


def test_own_headers_come_first() -> None:
    headers = {"content-type": "text/css", "date": "now"}
    answer = Response(200, "a", headers).to_bytes()
    assert answer.lower().count(b"content-type") == 1
    assert answer.lower().count(b"date:") == 1


@pytest.mark.parametrize("status", [0, 100, 101, 199, 600])
def test_a_status_that_ends_nothing_is_refused(status: int) -> None:
    with pytest.raises(ValueError, match="status"):
        Response(status)


@pytest.mark.parametrize("name", ["Connection", "content-length", "Transfer-Encoding"])
def test_framing_is_not_the_handlers(name: str) -> None:
    with pytest.raises(ValueError, match=name.lower()):
        Response(200, "a", {name: "1"}).to_bytes()


def test_an_unknown_status_has_a_phrase() -> None:
    assert Response(599).to_bytes().startswith(b"HTTP/1.1 599 Unknown\r\n")


def test_a_file_is_read_in_pieces() -> None:
    file = io.BytesIO(b"abcdef")
    response = FileResponse(file, 5, {"X": "1"}, "text/css")
    head = response.head(keep_alive=True)
    assert b"\r\nContent-Length: 5\r\n" in head
    assert b"text/css" in head
    pieces = [response.read(2) for _ in range(4)]
    assert pieces == [b"ab", b"cd", b"e", b""]
    assert response.missing == 0
    response.close()
    assert file.closed
