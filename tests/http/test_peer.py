"""Requests one after the other, answers, time and back-pressure."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from fastws.config import Limits
from fastws.engine.handshake import Refused, Request
from fastws.engine.hub import Hub
from fastws.errors import Reject
from fastws.http.peer import printable
from fastws.http.response import Response
from fastws.http.static import StaticFiles
from tests.http.exchange import (
    CHUNKINGS,
    Exchange,
    FakeService,
    Opened,
    request,
    upgrade,
)

Run = Callable[[Coroutine[Any, Any, None]], None]


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def chunked(*chunks: bytes, trailers: bytes = b"") -> bytes:
    parts = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks]
    return b"".join(parts) + b"0\r\n" + trailers + b"\r\n"


# Requests and answers


@pytest.mark.parametrize("chunking", CHUNKINGS)
def test_requests_are_answered_in_order(service: FakeService, chunking: str) -> None:
    exchange = Exchange(service)
    exchange.send(*CHUNKINGS[chunking](request("/") + request("/first")))
    assert set(exchange.statuses) == {200}
    assert exchange.output.endswith(b"first")
    assert exchange.output.index(b"home") < exchange.output.rindex(b"first")
    assert not exchange.link.calls


def test_the_handler_sees_the_request(service: FakeService) -> None:
    seen: list[Request] = []
    service.answer("/päth", seen.append)
    answer = Exchange(service).send(request("/p%C3%A4th?a=1&b=%20&a=2"))
    assert answer.startswith(b"HTTP/1.1 204 No Content\r\n")
    (one,) = seen
    assert one.method == "GET"
    assert one.path == "/päth"
    assert one.target == "/p%C3%A4th?a=1&b=%20&a=2"
    assert one.query.getall("a") == ["1", "2"]
    assert one.query["b"] == " "
    assert one.params == {"at": "/päth"}
    assert one.remote_address == ("192.0.2.1", 50_000)
    assert not one.secure


def test_head_is_answered_by_get_without_a_body(service: FakeService) -> None:
    exchange = Exchange(service)
    answer = exchange.send(request("/", method="HEAD"))
    assert b"\r\nContent-Length: 4\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")
    assert not exchange.link.calls


def test_a_refused_head_has_no_body(service: FakeService) -> None:
    answer = Exchange(service).send(request("/nowhere", method="HEAD"))
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert answer.endswith(b"\r\n\r\n")


def test_method_not_allowed_names_the_allowed(service: FakeService) -> None:
    service.answer("/both", lambda request: None)
    service.answer("/both", lambda request: None, "POST")
    answer = Exchange(service).send(request("/both", method="PUT"))
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"\r\nAllow: GET, HEAD, POST\r\n" in answer


@pytest.mark.parametrize(
    "data",
    [
        request("/", {"Connection": "close"}),
        request("/", {"Connection": "keep-alive, Close"}),
        request("/").replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
def test_the_peer_may_ask_for_the_end(service: FakeService, data: bytes) -> None:
    exchange = Exchange(service)
    answer = exchange.send(data, request("/first"))
    assert exchange.statuses == [200]
    assert b"\r\nConnection: close\r\n" in answer
    assert exchange.is_ended


def test_one_empty_line_before_a_request_is_ignored(service: FakeService) -> None:
    exchange = Exchange(service)
    exchange.send(request("/") + b"\r\n" + request("/first"))
    assert exchange.statuses == [200, 200]


def test_a_path_may_have_both_a_page_and_a_websocket(
    service: FakeService, opened: Opened
) -> None:
    service.open("/")
    exchange = Exchange(service)
    exchange.send(request("/"), upgrade("/"))
    assert exchange.statuses == [200, 101]
    assert len(opened) == 1


# Bodies


@pytest.mark.parametrize("chunking", CHUNKINGS)
@pytest.mark.parametrize(
    ("headers", "body", "content"),
    [
        ({"Content-Length": "5"}, b"hello", b"hello"),
        ({"Content-Length": "0"}, b"", b""),
        ({"Content-Length": "000"}, b"", b""),
        ({"Transfer-Encoding": "chunked"}, chunked(b"hel", b"lo"), b"hello"),
        ({"Transfer-Encoding": "Chunked"}, chunked(), b""),
        ({"Content-Length": "18"}, request("/first")[:18], request("/first")[:18]),
    ],
)
def test_a_body_is_read(
    service: FakeService,
    run: Run,
    chunking: str,
    headers: dict[str, str],
    body: bytes,
    content: bytes,
) -> None:
    async def scenario() -> None:
        exchange = Exchange(service)
        data = request("/echo", headers, "POST", body) + request("/first")
        for piece in CHUNKINGS[chunking](data):
            exchange.send(piece)
        await turns()
        assert set(exchange.statuses) == {200}
        assert exchange.output.count(b"HTTP/1.1") == (3 if chunking == "glued" else 2)
        assert b"\r\n\r\n" + content + b"HTTP/1.1 200" in exchange.output
        exchange.lose()

    run(scenario())


@pytest.mark.parametrize("chunking", CHUNKINGS)
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"g\r\n", 400),
        (b"-1\r\n", 400),
        (b"0x5\r\nhello\r\n", 400),
        (b"5 \r\nhello\r\n", 400),
        (b"\r\nhello\r\n", 400),
        (b"5\nhello\n0\n\n", 400),
        (b"5\r\nhelloo\r\n", 400),
        (b"5\r\nhello\n0\r\n\r\n", 400),
        (b"5;a\nb\r\nhello\r\n", 400),
        (b"5;a\rb\r\nhello\r\n", 400),
        (b"5;" + b"a" * 300, 400),
        (b"f" * 16 + b"\r\n", 400),
        (b"0\r\nX : 1\r\n\r\n", 400),
        (b"0\r\n" + b"X: 1\r\n" * 101 + b"\r\n", 400),
        (b"0\r\n" + b"X: " + b"1" * 9000 + b"\r\n\r\n", 400),
        (b"0\r\n" + (b"X: " + b"1" * 8000 + b"\r\n") * 3 + b"\r\n", 400),
        (b"100001\r\n", 413),
        (b"fffffffffffffff\r\n", 413),
        (b"1\r\na\r\n" * 6000 + b"0\r\n\r\n", 413),
    ],
)
def test_a_bad_chunked_body_is_refused(
    service: FakeService, chunking: str, body: bytes, status: int
) -> None:
    data = request("/echo", {"Transfer-Encoding": "chunked"}, "POST", body)
    exchange = Exchange(service)
    exchange.send(*CHUNKINGS[chunking](data), request("/first"))
    assert exchange.statuses[-1] == status
    assert exchange.is_ended
    exchange.lose()


def test_a_large_body_is_refused_before_it_comes(service: FakeService) -> None:
    exchange = Exchange(service)
    exchange.send(request("/echo", {"Content-Length": str(2**20 + 1)}, "POST"))
    assert exchange.statuses == [413]
    assert exchange.is_ended


def test_the_body_is_asked_for(service: FakeService, run: Run) -> None:
    async def scenario() -> None:
        exchange = Exchange(service)
        headers = {"Content-Length": "2", "Expect": "100-Continue"}
        answer = exchange.send(request("/echo", headers, "POST"))
        assert answer == b"HTTP/1.1 100 Continue\r\n\r\n"
        exchange.send(b"hi")
        await turns()
        assert exchange.statuses == [100, 200]

    run(scenario())


def test_json_and_text_of_a_body(service: FakeService, run: Run) -> None:
    async def sizes(request: Request) -> dict[str, int]:
        return {"json": len(await request.json()), "text": len(await request.text())}

    async def scenario() -> None:
        service.answer("/sizes", sizes, "POST")
        exchange = Exchange(service)
        exchange.send(request("/sizes", {"Content-Length": "5"}, "POST", b"[1,2]"))
        await turns()
        assert exchange.output.endswith(b'{"json":2,"text":5}')
        exchange.send(request("/sizes", {"Content-Length": "5"}, "POST", b"[1,2}"))
        await turns()
        assert exchange.statuses == [200, 400]

    run(scenario())


def test_a_body_of_no_utf_8_has_no_text(service: FakeService, run: Run) -> None:
    async def scenario() -> None:
        service.answer("/text", lambda request: request.text(), "POST")
        exchange = Exchange(service)
        exchange.send(request("/text", {"Content-Length": "1"}, "POST", b"\xff"))
        await turns()
        assert exchange.statuses == [400]

    run(scenario())


# Handlers that fail


@pytest.mark.parametrize(
    "headers",
    [
        {"X": "1\r\nSet-Cookie: a"},
        {"X": "1\n"},
        {"X": "1\0"},
        {"X\r\n": "1"},
        {"X y": "1"},
        {"": "1"},
        {"X": "\N{SNOWMAN}"},
        {"Content-Length": "7"},
        {"Transfer-Encoding": "chunked"},
    ],
)
def test_a_header_that_would_break_the_answer_is_a_500(
    service: FakeService, caplog: pytest.LogCaptureFixture, headers: dict[str, str]
) -> None:
    service.answer("/bad", lambda request: Response(200, "secret", headers))
    exchange = Exchange(service)
    answer = exchange.send(request("/bad"))
    assert exchange.statuses == [500]
    assert b"Set-Cookie" not in answer
    assert b"secret" not in answer
    assert exchange.is_ended
    assert len(caplog.records) == 1
    assert not set("\r\n\0") & set(caplog.records[0].getMessage())


@pytest.mark.parametrize("is_async", [False, True])
def test_a_failing_handler_is_a_500_and_one_record(
    service: FakeService, run: Run, caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    def fail(request: Request) -> object:
        raise RuntimeError("secret")

    async def fail_later(request: Request) -> object:
        await asyncio.sleep(0)
        return fail(request)

    async def scenario() -> None:
        service.answer("/fail", fail_later if is_async else fail)
        exchange = Exchange(service)
        exchange.send(request("/fail"))
        await turns()
        assert exchange.statuses == [500]
        assert b"secret" not in exchange.output
        assert exchange.is_ended
        assert [record.levelname for record in caplog.records] == ["ERROR"]

    run(scenario())


@pytest.mark.parametrize("result", [object(), {1: object()}, b"x".find])
def test_a_result_without_json_form_is_a_500(
    service: FakeService, result: object
) -> None:
    service.answer("/bad", lambda request: result)
    exchange = Exchange(service)
    exchange.send(request("/bad"))
    assert exchange.statuses == [500]


def test_a_handler_may_refuse(service: FakeService) -> None:
    def refuse(request: Request) -> None:
        raise Reject(401, "who?", {"WWW-Authenticate": "Bearer"})

    service.answer("/private", refuse)
    answer = Exchange(service).send(request("/private"))
    assert answer.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert b"\r\nWWW-Authenticate: Bearer\r\n" in answer
    assert answer.endswith(b"who?")


# Pipelines and back-pressure


def test_a_long_pipeline_gives_others_their_turn(
    service: FakeService, run: Run
) -> None:
    async def scenario() -> None:
        exchange = Exchange(service)
        exchange.send(request("/first") * 1000)
        assert len(exchange.statuses) == 16
        assert not exchange.link.is_reading
        await asyncio.sleep(0)
        assert len(exchange.statuses) == 32
        await turns(100)
        assert exchange.statuses == [200] * 1000
        assert exchange.link.is_reading
        exchange.lose()

    run(scenario())


def test_a_pipeline_waits_for_a_slow_handler(service: FakeService, run: Run) -> None:
    async def scenario() -> None:
        gate = asyncio.Event()
        running = 0

        async def slow(request: Request) -> str:
            nonlocal running
            running += 1
            await gate.wait()
            return "slow"

        service.answer("/slow", slow)
        exchange = Exchange(service)
        exchange.send(request("/slow") * 40)
        await turns()
        assert running == 1
        assert not exchange.link.is_reading
        gate.set()
        await turns(400)
        assert exchange.statuses == [200] * 40
        assert exchange.link.is_reading

    run(scenario())


def test_a_peer_that_does_not_read_gets_no_more_answers(service: FakeService) -> None:
    exchange = Exchange(service)
    exchange.send(request("/first"))
    exchange.peer.writing_paused()
    exchange.send(request("/first"))
    assert exchange.statuses == [200]
    assert not exchange.link.is_reading
    exchange.peer.writing_resumed()
    assert exchange.statuses == [200, 200]
    assert exchange.link.is_reading


def test_a_file_is_sent_as_the_peer_takes_it(
    service: FakeService, run: Run, tmp_path: Path
) -> None:
    content = bytes(range(256)) * 8000
    (tmp_path / "large.bin").write_bytes(content)
    files = StaticFiles(tmp_path, parameter="name")

    def serve(request: Request) -> object:
        request.params = {"name": "large.bin"}
        return files(request)

    async def scenario() -> None:
        service.answer("/large", serve)
        exchange = Exchange(service)
        exchange.peer.writing_paused()
        exchange.peer.writing_resumed()
        exchange.send(request("/large") + request("/first"))
        await asyncio.sleep(0)
        exchange.peer.writing_paused()
        behind = len(exchange.output)
        await turns()
        assert len(exchange.output) <= behind + 65_536
        assert exchange.peer.deadline == service.limits.max_stall
        exchange.peer.writing_resumed()
        await turns(50)
        assert exchange.statuses == [200, 200]
        assert content in exchange.output
        exchange.lose()

    run(scenario())


def test_a_stalled_file_is_aborted(service: FakeService, tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(b"x" * 1_000_000)
    files = StaticFiles(tmp_path, parameter="name")

    def serve(request: Request) -> object:
        request.params = {"name": "large.bin"}
        exchange.peer.writing_paused()
        return files(request)

    service.answer("/large", serve)
    exchange = Exchange(service)
    exchange.send(request("/large"))
    exchange.peer.expired()
    assert exchange.link.calls == ["abort"]
    exchange.lose()


# Time


def test_silence_is_closed(service: FakeService) -> None:
    exchange = Exchange(service)
    assert exchange.peer.deadline == 10.0
    exchange.peer.expired()
    assert exchange.output == b""
    assert exchange.link.calls == ["close"]
    exchange.peer.expired()
    assert exchange.link.calls == ["close", "abort"]


def test_the_time_for_a_head_is_absolute(service: FakeService) -> None:
    exchange = Exchange(service)
    exchange.peer.deadline = -1
    exchange.send(*CHUNKINGS["byte by byte"](request("/")[:-1]))
    assert exchange.peer.deadline == -1
    exchange.peer.expired()
    assert exchange.statuses == [408]
    assert exchange.is_ended


def test_the_time_of_a_kept_connection(service: FakeService) -> None:
    exchange = Exchange(service)
    exchange.send(request("/"))
    assert exchange.peer.deadline == 5.0
    exchange.send(b"G")
    assert exchange.peer.deadline == 10.0
    exchange.peer.deadline = -1
    exchange.send(request("/")[1:])
    assert exchange.peer.deadline == 5.0
    exchange.peer.expired()
    assert exchange.statuses == [200, 200]
    assert exchange.link.calls == ["close"]


def test_the_time_of_a_body(service: FakeService) -> None:
    exchange = Exchange(service)
    exchange.send(request("/echo", {"Content-Length": "5"}, "POST", b"hell"))
    assert exchange.peer.deadline == 30.0
    exchange.peer.expired()
    assert exchange.statuses == [408]


def test_a_handler_has_all_time(service: FakeService, run: Run) -> None:
    async def scenario() -> None:
        forever = asyncio.Event()
        service.answer("/slow", lambda request: forever.wait())
        exchange = Exchange(service)
        exchange.send(request("/slow"))
        assert exchange.peer.deadline is None
        forever.set()
        await turns()
        assert exchange.output.endswith(b"true")

    run(scenario())


def test_after_a_refusal_the_end_comes_soon(service: FakeService) -> None:
    exchange = Exchange(service)
    exchange.send(request("/nowhere"))
    assert exchange.link.calls == ["close_write"]
    assert exchange.peer.deadline == service.limits.error_close_timeout
    exchange.peer.expired()
    assert exchange.link.calls == ["close_write", "abort"]


def test_after_a_refusal_the_peer_may_go(service: FakeService) -> None:
    exchange = Exchange(service)
    exchange.send(request("/nowhere"))
    exchange.peer.eof_received()
    assert exchange.link.calls == ["close_write", "close"]


# Ends


def test_a_half_closed_peer_gets_its_answers(service: FakeService, run: Run) -> None:
    async def scenario() -> None:
        exchange = Exchange(service)
        data = request("/echo", {"Content-Length": "2"}, "POST", b"hi")
        exchange.send(data * 2 + request("/first"))
        exchange.peer.eof_received()
        assert not exchange.link.calls
        await turns(20)
        assert exchange.statuses == [200, 200, 200]
        assert exchange.link.calls == ["close"]

    run(scenario())


@pytest.mark.parametrize("sent", [b"", b"GET / HT", request("/")])
def test_the_peer_ends_the_connection(service: FakeService, sent: bytes) -> None:
    exchange = Exchange(service)
    exchange.send(sent)
    exchange.peer.eof_received()
    assert exchange.link.calls == ["close"]
    exchange.lose()


def test_a_handler_goes_on_without_its_peer(service: FakeService, run: Run) -> None:
    async def scenario() -> None:
        gate = asyncio.Event()
        done: list[str] = []

        async def slow(request: Request) -> None:
            await gate.wait()
            done.append(request.path)

        service.answer("/slow", slow)
        exchange = Exchange(service)
        exchange.send(request("/slow"))
        await turns()
        exchange.lose()
        gate.set()
        await turns()
        assert done == ["/slow"]
        assert exchange.output == b""

    run(scenario())


@pytest.mark.parametrize("sent", [b"", b"GET / HT", request("/")])
def test_stopping_closes_an_idle_peer(service: FakeService, sent: bytes) -> None:
    exchange = Exchange(service)
    exchange.send(sent)
    exchange.peer.stop()
    assert exchange.link.calls == ["close"]


def test_stopping_lets_a_request_end(service: FakeService, run: Run) -> None:
    async def scenario() -> None:
        exchange = Exchange(service)
        exchange.send(request("/echo", {"Content-Length": "2"}, "POST", b"hi"))
        exchange.peer.stop()
        assert not exchange.link.calls
        await turns()
        assert exchange.output.endswith(b"hi")
        assert b"\r\nConnection: close\r\n" in exchange.output
        assert exchange.is_ended

    run(scenario())


def test_stopping_refuses_half_a_body(service: FakeService) -> None:
    exchange = Exchange(service)
    exchange.send(request("/echo", {"Content-Length": "5"}, "POST", b"hell"))
    exchange.peer.stop()
    assert exchange.statuses == [503]


# How many


@pytest.mark.parametrize("is_silent", [False, True])
@pytest.mark.parametrize(
    "limits", [Limits(max_connections=2), Limits(max_handshakes=2)]
)
def test_one_too_many_is_told_to_come_back(
    service: FakeService, limits: Limits, is_silent: bool
) -> None:
    service.limits = limits
    hub = Hub(limits)
    first, second, third = (Exchange(service, hub) for _ in range(3))
    assert first.output == second.output == third.output == b""
    assert third.peer.deadline == 0.0
    if is_silent:
        third.peer.expired()
    else:
        third.send(upgrade())
    assert third.statuses == [503]
    assert b"\r\nRetry-After: 1\r\n" in third.output
    assert third.is_ended
    third.send(request("/"))
    assert third.statuses == [503]
    for exchange in (first, third):
        exchange.peer.connection_lost(None)
        exchange.peer.connection_lost(None)
    assert hub.handshakes == 1
    assert Exchange(service, hub).peer.deadline == limits.handshake_timeout


@pytest.mark.parametrize("event", ["eof_received", "stop"])
def test_one_too_many_may_go(service: FakeService, event: str) -> None:
    service.limits = Limits(max_handshakes=1)
    hub = Hub(service.limits)
    Exchange(service, hub)
    surplus = Exchange(service, hub)
    getattr(surplus.peer, event)()
    assert surplus.link.calls == ["close"]
    assert surplus.output == b""


def test_an_idle_peer_holds_no_input(service: FakeService) -> None:
    exchange = Exchange(service)
    exchange.send(request("/", {"X": "x" * 8000}))
    kept: Any = exchange.peer
    assert kept._buffer == b""


# The log


def test_the_log_is_escaped_and_names_no_query(
    service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fastws.http")
    target = "/%0d%0aHTTP%1b%5b31m%C2%9b?token=secret"
    headers = {"User-Agent": "secret\x80", "Cookie": "secret"}
    Exchange(service).send(request(target, headers))
    (record,) = caplog.records
    text = record.getMessage()
    assert text.isprintable()
    assert text.isascii()
    assert "\\r\\nHTTP" in text
    assert "secret" not in text


def test_a_long_path_is_cut_in_the_log() -> None:
    assert len(printable("/" + "\n" * 5000)) < 300


@pytest.mark.parametrize("data", [request("/"), upgrade(), b"\0", request("/x")])
def test_there_is_one_record_per_request(
    service: FakeService, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    caplog.set_level(logging.DEBUG)
    Exchange(service).send(data)
    assert len(caplog.records) == 1


def test_refused_by_the_engine_is_an_answer_of_a_handler_too(
    service: FakeService,
) -> None:
    def refuse(request: Request) -> None:
        raise Refused(404, "gone")

    service.answer("/gone", refuse)
    assert b"404 Not Found: gone\n" in Exchange(service).send(request("/gone"))
