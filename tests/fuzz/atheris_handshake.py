"""Fuzz requests: every cutting has the same outcome, and only known answers exist.

Run by ``run_atheris.sh``; takes libFuzzer's options. The oracles, for each input:

* the scanner gives one outcome for the whole and for pieces, and a status it may give;
* what the scanner takes for a head, llhttp takes for one;
* a parsed request has a path that is safe to route and to serve;
* an HttpPeer writes whole responses with known statuses, the same for any cutting,
  opens a WebSocket only for a request that ``check_upgrade`` accepts, and says nothing
  more once it has closed.
"""

from __future__ import annotations

import logging
import sys
from itertools import pairwise
from typing import Any

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["fastws.http"]):
    from fastws.config import Limits
    from fastws.engine.handshake import (
        HeadScanner,
        Refused,
        Request,
        check_upgrade,
        read_request,
    )
    from fastws.http import peer
    from tests.http.exchange import Exchange, FakeService, request, statuses, upgrade

import httptools

# Small, so that the limits themselves get fuzzed.
LIMITS = Limits(
    max_request_line=200,
    max_header_line=200,
    max_headers=12,
    max_header_bytes=600,
    max_body=300,
)
HEAD_STATUSES = {400, 403, 405, 414, 431, 505}
REQUEST_STATUSES = {400, 404, 417}
UPGRADE_STATUSES = {400, 405, 426, 505}
PEER_STATUSES = (
    {100, 101, 200, 204, 413} | HEAD_STATUSES | REQUEST_STATUSES | UPGRADE_STATUSES
)

# What mutations start from, beside the corpus.
WORDS = (
    request(),
    upgrade(),
    request("/post", {"Content-Length": "5"}, "POST", b"hello"),
    request(
        "/post", {"Transfer-Encoding": "chunked"}, "POST", b"5\r\nhello\r\n0\r\n\r\n"
    ),
    b"Sec-WebSocket-Protocol: a, b\r\n",
    b"Origin: http://example.com\r\n",
    b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
    b"Upgrade: h2c\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)


class Opened:
    """Stands for Connection: keeps what it is opened with."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.early = b""

    def open(self, hub: Any, link: Any, binding: Any, one: Request, *rest: Any) -> None:
        self.requests.append(one)
        self.early = rest[-2]


def message(choices: atheris.FuzzedDataProvider) -> bytes:
    """Whole requests with one part of each replaced, or plain bytes."""
    parts: list[bytes] = []
    while choices.remaining_bytes() and len(parts) < 6:
        kind = choices.ConsumeIntInRange(0, 3)
        if kind == 0:
            parts.append(choices.ConsumeBytes(choices.ConsumeIntInRange(0, 60)))
            continue
        word = WORDS[choices.ConsumeIntInRange(0, len(WORDS) - 1)]
        if kind == 1:
            parts.append(word)
            continue
        start = choices.ConsumeIntInRange(0, len(word))
        end = min(len(word), start + choices.ConsumeIntInRange(0, 8))
        new = choices.ConsumeBytes(choices.ConsumeIntInRange(0, 12))
        if kind == 3:
            other = WORDS[choices.ConsumeIntInRange(0, len(WORDS) - 1)]
            new += other[: choices.ConsumeIntInRange(0, len(other))]
        parts.append(word[:start] + new + word[end:])
    return b"".join(parts)


def known(refused: Refused, expected: set[int]) -> int:
    assert refused.status in expected
    return refused.status


def scan(pieces: list[bytes]) -> int:
    """The position behind the head, -1 when it goes on, or minus the status."""
    scanner = HeadScanner(LIMITS)
    before = 0
    for piece in pieces:
        try:
            end = scanner.feed(piece)
        except Refused as refused:
            return -known(refused, HEAD_STATUSES)
        if end >= 0:
            return before + end
        before += len(piece)
    return -1


def check_head(data: bytes) -> None:
    try:
        one = read_request(data)
    except Refused as refused:
        known(refused, REQUEST_STATUSES)
        return
    complete: list[bool] = []

    class Told:
        def on_headers_complete(self) -> None:
            complete.append(True)

    try:
        httptools.HttpRequestParser(Told()).feed_data(data)
    except httptools.HttpParserUpgrade:
        assert complete
    assert complete
    assert one.path.startswith("/")
    assert not one.path.startswith("//")
    assert "\0" not in one.path
    assert not {".", ".."} & set(one.path.split("/"))
    assert one.content_length is None or not one.chunked
    one.headers.items()
    one.query.items()
    try:
        assert len(check_upgrade(one)) == 28
    except Refused as refused:
        known(refused, UPGRADE_STATUSES)


def exchange(pieces: list[bytes]) -> tuple[bytes, list[str], int, bytes]:
    opened = Opened()
    vars(peer)["Connection"] = opened
    service = FakeService(LIMITS)
    service.open("/ws", subprotocols=("b", "a"))
    service.answer("/", lambda one: one.query.get("a", "home"))
    service.answer("/post", lambda one: one.path, "POST")
    one = Exchange(service)
    for piece in pieces:
        one.peer.data_received(piece)
        if one.link.calls:
            said = one.output
            one.peer.data_received(request())
            assert one.output == said
            break
    assert set(statuses(one.output)) <= PEER_STATUSES
    assert len(opened.requests) == one.statuses.count(101) <= 1
    for accepted in opened.requests:
        check_upgrade(accepted)
    output = undated(one.output)
    one.lose()
    return output, one.link.calls[:1], len(opened.requests), opened.early


def undated(output: bytes) -> bytes:
    lines = output.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.startswith(b"Date: "))


def test_one_input(data: bytes) -> None:
    choices = atheris.FuzzedDataProvider(data)
    places = [choices.ConsumeIntInRange(0, 400) for _ in range(3)]
    text = message(choices)
    marks = sorted({min(place, len(text)) for place in places} | {0, len(text)})
    pieces = [text[a:b] for a, b in pairwise(marks)]
    single = [text[at : at + 1] for at in range(len(text))]
    end = scan([text])
    assert scan(pieces) == end
    assert scan(single) == end
    if end > 0:
        check_head(text[:end])
    # A long pipeline waits for the loop's next turn, and there is no loop here.
    if text.count(b"\r\n\r\n") < LIMITS.max_pipelined:
        whole = exchange([text])
        first = exchange(pieces)
        # Early bytes of an upgrade may come later: then they are the connection's.
        assert first[:3] == whole[:3]
        assert whole[3].startswith(first[3])
        assert exchange(single)[:3] == whole[:3]


def main() -> None:
    logging.disable(logging.CRITICAL)
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
