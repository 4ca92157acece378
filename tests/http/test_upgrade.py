"""Handshakes that are accepted, and upgrade hooks that decide."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import pytest

from fastws.config import Compression
from fastws.engine.handshake import Request
from fastws.errors import Reject
from tests.http.exchange import (
    ACCEPT,
    CHUNKINGS,
    Exchange,
    FakeService,
    Opened,
    request,
    upgrade,
)

Run = Callable[[Coroutine[Any, Any, None]], None]

EARLY = b"\x81\x80\x00\x00\x00\x00"
POLICY_VIOLATION = b"\x88\x02\x03\xf0"


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("chunking", CHUNKINGS)
@pytest.mark.parametrize(
    "data",
    [
        upgrade(),
        upgrade(Connection="keep-alive, Upgrade"),
        upgrade(Connection="uPgRaDe", Upgrade="WebSocket"),
        upgrade(Upgrade="h2c, websocket"),
        upgrade(Connection="keep-alive\r\nConnection: upgrade"),
        upgrade(Expect="100-continue"),
        upgrade(Expect="cake"),
        upgrade(Content_Length="0"),
        upgrade(Sec_WebSocket_Protocol="chat.v1 , chat.v2"),
        upgrade(
            Sec_WebSocket_Extensions="permessage-deflate; server_max_window_bits=7"
        ),
        upgrade(Sec_WebSocket_Extensions=';;,="\\, __class__, constructor'),
        upgrade(Sec_WebSocket_Extensions="x;" * 4000),
        upgrade(Sec_WebSocket_Version=" 13 \t"),
        upgrade("/ws?token=1"),
        upgrade("/%77s"),
    ],
)
def test_a_good_handshake_is_accepted(
    service: FakeService, opened: Opened, chunking: str, data: bytes
) -> None:
    exchange = Exchange(service)
    exchange.send(*CHUNKINGS[chunking](data))
    assert exchange.output.endswith(
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + ACCEPT.encode() + b"\r\n\r\n"
    )
    assert not exchange.link.calls
    ((hub, link, binding, one, params, subprotocol, early, agreement),) = opened
    assert hub is exchange.hub
    assert link is exchange.link
    assert binding is service.websockets["/ws"].binding
    assert isinstance(one, Request)
    assert one.path == "/ws"
    assert params == {"at": "/ws"}
    assert subprotocol is None
    assert early == b""
    assert agreement is None
    assert exchange.peer.deadline is None
    assert exchange.hub.handshakes == 0


def test_frames_behind_the_handshake_are_handed_on(
    service: FakeService, opened: Opened
) -> None:
    exchange = Exchange(service)
    exchange.send(request("/"), upgrade() + EARLY * 2)
    assert exchange.statuses == [200, 101]
    assert opened.early == EARLY * 2


@pytest.mark.parametrize("chunking", CHUNKINGS)
@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("permessage-deflate", ""),
        ("permessage-deflate; client_max_window_bits", ""),
        (
            "permessage-deflate; server_max_window_bits=9",
            "; server_max_window_bits=9",
        ),
        (
            "x-other\r\nSec-WebSocket-Extensions: "
            "permessage-deflate; server_max_window_bits=10",
            "; server_max_window_bits=10",
        ),
        ("permessage-deflate; server_max_window_bits=8", None),
        (";;,", None),
    ],
)
def test_compression_is_agreed_on_where_it_is_on(
    service: FakeService, opened: Opened, chunking: str, offer: str, answer: str | None
) -> None:
    service.compression = Compression()
    exchange = Exchange(service)
    exchange.send(*CHUNKINGS[chunking](upgrade(Sec_WebSocket_Extensions=offer)))
    assert exchange.statuses[-1] == 101
    if answer is None:
        assert opened.agreement is None
        assert b"Sec-WebSocket-Extensions" not in exchange.output
        return
    agreement = opened.agreement
    assert agreement is not None
    assert agreement.response == (
        b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        + answer.encode()
    )
    line = b"\r\nSec-WebSocket-Extensions: " + agreement.response + b"\r\n"
    assert line in exchange.output


@pytest.mark.parametrize(
    ("service_rule", "route_rule", "bits"),
    [
        (None, None, None),
        (None, Compression(window_bits=10), 10),
        (Compression(window_bits=11), None, 11),
        (Compression(window_bits=11), Compression(window_bits=10), 10),
        (Compression(window_bits=11), False, None),
    ],
)
def test_a_route_may_have_its_own_compression(
    service: FakeService,
    opened: Opened,
    service_rule: Compression | None,
    route_rule: Any,
    bits: int | None,
) -> None:
    service.compression = service_rule
    service.open("/ws", compression=route_rule)
    Exchange(service).send(upgrade(Sec_WebSocket_Extensions="permessage-deflate"))
    agreement = opened.agreement
    assert (None if agreement is None else agreement.send_bits) == bits


@pytest.mark.parametrize(
    ("service_rule", "route_rule", "chosen", "bits"),
    [
        (Compression(window_bits=11), None, False, None),
        (Compression(window_bits=11), None, None, 11),
        (Compression(window_bits=11), None, True, 11),
        (Compression(window_bits=11), False, True, 11),
        (Compression(window_bits=11), Compression(window_bits=10), True, 10),
        (None, None, True, Compression().window_bits),
        (None, False, Compression(window_bits=9), 9),
        (Compression(window_bits=11), None, Compression(window_bits=9), 9),
    ],
)
@pytest.mark.parametrize("offers", [True, False], ids=["offered", "not offered"])
def test_a_hook_may_choose_the_compression_of_one_connection(
    service: FakeService,
    opened: Opened,
    service_rule: Compression | None,
    route_rule: Any,
    chosen: Compression | bool | None,
    bits: int | None,
    offers: bool,
) -> None:
    def hook(request: Request) -> None:
        assert request.compression is None
        request.compression = chosen

    service.compression = service_rule
    service.open("/ws", compression=route_rule, upgrade=hook)
    offer = {"Sec_WebSocket_Extensions": "permessage-deflate"} if offers else {}
    answer = Exchange(service).send(upgrade(**offer))
    agreement = opened.agreement
    assert (None if agreement is None else agreement.send_bits) == (
        bits if offers else None
    )
    assert (b"Sec-WebSocket-Extensions" in answer) == (agreement is not None)


@pytest.mark.parametrize("offer", ["permessage-deflate", "x-other"])
def test_a_hook_that_chooses_no_compression_we_know_has_failed(
    service: FakeService,
    opened: Opened,
    caplog: pytest.LogCaptureFixture,
    offer: str,
) -> None:
    def hook(request: Request) -> None:
        request.compression = "gzip"  # type: ignore[assignment]

    service.open("/ws", upgrade=hook)
    exchange = Exchange(service)
    exchange.send(upgrade(Sec_WebSocket_Extensions=offer))
    assert exchange.statuses == [500]
    assert not opened
    (record,) = caplog.records
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == (
        "compression must be a fastws.Compression, True, False or None, not str"
    )


@pytest.mark.parametrize(
    ("service_rule", "route_rule", "offer", "keeps"),
    [
        (Compression(), None, "permessage-deflate", True),
        (None, Compression(), "permessage-deflate", True),
        (Compression(server_context=True), None, "permessage-deflate", True),
        (Compression(), None, "permessage-deflate; server_no_context_takeover", False),
        (Compression(), False, "permessage-deflate", None),
        (None, None, "permessage-deflate", None),
    ],
)
def test_where_there_are_cohorts_a_client_may_let_us_refer_to_earlier_messages(
    service: FakeService,
    opened: Opened,
    service_rule: Compression | None,
    route_rule: Any,
    offer: str,
    keeps: bool | None,
) -> None:
    service.compression = service_rule
    service.open("/ws", compression=route_rule)
    exchange = Exchange(service)
    service.has_cohorts = True
    exchange.send(upgrade(Sec_WebSocket_Extensions=offer))
    agreement = opened.agreement
    assert (None if agreement is None else agreement.send_context) == keeps
    asked = b"server_no_context_takeover" in exchange.output
    assert asked == (keeps is False)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ("chat.v1, chat.v2", "chat.v2"),
        ("chat.v1", "chat.v1"),
        ("other", None),
        ("CHAT.V1", None),
    ],
)
def test_our_preferred_subprotocol_is_chosen(
    service: FakeService, opened: Opened, offered: str, chosen: str | None
) -> None:
    service.open("/ws", subprotocols=("chat.v2", "chat.v1"))
    answer = Exchange(service).send(upgrade(Sec_WebSocket_Protocol=offered))
    assert opened.subprotocol == chosen
    if chosen is None:
        assert b"Sec-WebSocket-Protocol" not in answer
    else:
        assert f"\r\nSec-WebSocket-Protocol: {chosen}\r\n".encode() in answer


# Origins


def test_a_wrong_origin_never_reaches_the_hook(
    service: FakeService, opened: Opened
) -> None:
    seen: list[Request] = []
    service.open("/ws", upgrade=seen.append)
    exchange = Exchange(service)
    exchange.send(upgrade(Origin="http://evil.example"))
    assert exchange.statuses == [403]
    assert exchange.is_ended
    assert not seen
    assert not opened


def test_an_origin_longer_than_a_header_is_a_wrong_one(service: FakeService) -> None:
    exchange = Exchange(service)
    exchange.send(upgrade(Origin="http://" + "a" * 8192))
    assert exchange.statuses == [403]
    exchange = Exchange(service)
    exchange.send(upgrade(Origin="http://" + "a" * 8000))
    assert exchange.statuses == [403]


def test_in_debug_the_log_says_how_to_let_it_in(
    service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    service.debug = True
    Exchange(service).send(upgrade(Origin="http://app.example:3000"))
    (record,) = caplog.records
    assert 'allowed_origins=["http://app.example:3000"]' in record.getMessage()


def test_otherwise_the_log_does_not_name_the_origin(
    service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    Exchange(service).send(upgrade(Origin="http://app.example:3000"))
    (record,) = caplog.records
    assert "app.example" not in record.getMessage()


# Upgrade hooks


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("result", [None, {}, {"Set-Cookie": "a=1"}])
def test_a_hook_lets_the_request_in(
    service: FakeService,
    opened: Opened,
    run: Run,
    is_async: bool,
    result: Mapping[str, str] | None,
) -> None:
    def decide(request: Request) -> Mapping[str, str] | None:
        assert request.params == {"at": "/ws"}
        assert request.subprotocols == ("a",)
        return result

    async def decide_later(request: Request) -> Mapping[str, str] | None:
        await asyncio.sleep(0)
        return decide(request)

    async def scenario() -> None:
        service.open("/ws", upgrade=decide_later if is_async else decide)
        exchange = Exchange(service)
        exchange.send(upgrade(Sec_WebSocket_Protocol="a") + EARLY)
        exchange.send(*([EARLY] if is_async else []))
        await turns()
        assert exchange.statuses == [101]
        assert (b"\r\nSet-Cookie: a=1\r\n" in exchange.output) is bool(result)
        assert opened.early == EARLY * (2 if is_async else 1)
        assert exchange.hub.handshakes == 0

    run(scenario())


@pytest.mark.parametrize("is_async", [False, True])
def test_a_hook_refuses(
    service: FakeService, opened: Opened, run: Run, is_async: bool
) -> None:
    def refuse(request: Request) -> None:
        raise Reject(401, "who are you?", {"WWW-Authenticate": "Bearer"})

    async def refuse_later(request: Request) -> None:
        await asyncio.sleep(0)
        refuse(request)

    async def scenario() -> None:
        service.open("/ws", upgrade=refuse_later if is_async else refuse)
        exchange = Exchange(service)
        exchange.send(upgrade() + request("/first"))
        await turns()
        assert exchange.statuses == [401]
        assert exchange.output.endswith(b"who are you?")
        assert b"\r\nWWW-Authenticate: Bearer\r\n" in exchange.output
        assert exchange.is_ended
        assert not opened

    run(scenario())


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    "outcome",
    [
        RuntimeError("secret"),
        Reject(403, "no", {"X": "1\r\nSet-Cookie: secret"}),
        Reject(403, "no", {"X\0": "secret"}),
        {"X": "1\r\nSet-Cookie: secret"},
        {"X\n": "secret"},
        {"Upgrade": "secret"},
        {"Sec-WebSocket-Protocol": "secret"},
        False,
        "secret",
    ],
)
def test_a_hook_that_fails_is_a_500_and_one_record(
    service: FakeService,
    opened: Opened,
    run: Run,
    caplog: pytest.LogCaptureFixture,
    is_async: bool,
    outcome: object,
) -> None:
    def fail(request: Request) -> Any:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def fail_later(request: Request) -> Any:
        return fail(request)

    async def scenario() -> None:
        service.open("/ws", upgrade=fail_later if is_async else fail)
        exchange = Exchange(service)
        exchange.send(upgrade())
        await turns()
        assert exchange.statuses == [500]
        assert b"secret" not in exchange.output
        assert exchange.is_ended
        assert len(caplog.records) == 1
        assert not opened

    run(scenario())


def test_too_much_before_the_decision_is_closed_with_1008(
    service: FakeService, opened: Opened, run: Run
) -> None:
    async def scenario() -> None:
        hook = HangingHook()
        service.open("/ws", upgrade=hook)
        exchange = Exchange(service)
        exchange.send(upgrade() + b"x" * 60_000, b"x" * 5536)
        await turns()
        assert exchange.output == b""
        exchange.send(b"x")
        assert exchange.statuses == [101]
        assert exchange.output.endswith(b"\r\n\r\n" + POLICY_VIOLATION)
        assert exchange.is_ended
        await turns()
        assert hook.is_cancelled
        assert not opened

    run(scenario())


def test_too_much_may_come_with_the_handshake(
    service: FakeService, opened: Opened, run: Run
) -> None:
    async def scenario() -> None:
        hook = HangingHook()
        service.open("/ws", upgrade=hook)
        exchange = Exchange(service)
        exchange.send(upgrade() + b"x" * 65_537)
        await turns()
        assert exchange.output.endswith(b"\r\n\r\n" + POLICY_VIOLATION)
        assert not hook.is_cancelled
        assert not opened

    run(scenario())


def test_without_a_decision_to_wait_for_nothing_is_too_early(
    service: FakeService, opened: Opened
) -> None:
    exchange = Exchange(service)
    exchange.send(upgrade() + b"x" * 100_000)
    assert len(opened.early) == 100_000


class HangingHook:
    is_cancelled = False

    async def __call__(self, request: Request) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.is_cancelled = True
            raise


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (lambda peer: peer.expired(), [503]),
        (lambda peer: peer.stop(), [503]),
        (lambda peer: peer.eof_received(), []),
        (lambda peer: peer.connection_lost(None), []),
    ],
)
def test_a_hook_is_cancelled_when_nobody_waits(
    service: FakeService,
    opened: Opened,
    run: Run,
    event: Callable[[Any], None],
    expected: list[int],
) -> None:
    async def scenario() -> None:
        hook = HangingHook()
        service.open("/ws", upgrade=hook)
        exchange = Exchange(service)
        exchange.send(upgrade())
        # The hook is part of the handshake, whose time is absolute.
        assert exchange.peer.deadline == 10.0
        await turns()
        event(exchange.peer)
        await turns()
        assert hook.is_cancelled
        assert exchange.statuses == expected
        assert not opened

    run(scenario())
