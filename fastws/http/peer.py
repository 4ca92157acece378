"""HttpPeer: one HTTP/1.1 connection, until it is over or becomes a WebSocket."""

from __future__ import annotations

import asyncio
import inspect
import logging
import socket
from collections.abc import Awaitable, Mapping
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from ..codes import CloseCode
from ..config import check_compression
from ..engine.connection import Connection
from ..engine.handshake import (
    HeadScanner,
    Refused,
    Request,
    accept_response,
    check_upgrade,
    read_request,
)
from ..engine.link import ByteConsumer
from ..engine.ownlink import OwnLink
from ..engine.uvlink import UvLink
from ..errors import Reject
from .body import Body, ChunkedBody, SizedBody
from .origins import OriginRefused, origin_policy
from .response import FileResponse, Response, to_response
from .service import Handler, Service, WebSocketRoute

if TYPE_CHECKING:
    from ..engine.deflate import Agreement
    from ..engine.hub import Hub
    from ..engine.link import Link

__all__ = ["HttpPeer", "log_upgrade"]

logger = logging.getLogger("fastws.http")

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# The first byte of every TLS connection (RFC 8446 section 5.1: a handshake record).
_TLS_HANDSHAKE = 0x16

# What a peer that hurries ahead of the upgrade hook gets: an empty close frame.
_TOO_EARLY = b"\x88\x02" + int(CloseCode.POLICY_VIOLATION).to_bytes(2, "big")

# A file is read in pieces that fit the write buffer, and the loop gets its turn after
# some of them even if the peer keeps up.
_FILE_PIECE = 65_536
_PIECES_PER_TURN = 16

# Longest path in a log record.
_LOGGED_PATH = 256

# The loop itself holds tasks weakly, and a peer may go before its handler has ended.
_tasks: set[asyncio.Task[Any]] = set()


class _Phase(Enum):
    """::

     ┌────────────────────────── kept alive ◄──────────────────────┐
     ▼                                                             │
    HEAD ──► BODY ──► HANDLING ──────────────► SENDING (a file) ───┤
     │ └──── no body ────▲  └── any other response ────────────────┤
     │ MOVING stands before BODY and HANDLING on one of our own     │
     │ sockets: plain HTTP goes on over a transport of the loop     │
     │                                                             ▼
     └──► DECIDING (upgrade hook) ──► UPGRADED        refused ──► CLOSING ──► CLOSED
                          SURPLUS (one connection too many) ──▲
    """

    SURPLUS = auto()
    HEAD = auto()
    MOVING = auto()
    BODY = auto()
    HANDLING = auto()
    SENDING = auto()
    DECIDING = auto()
    UPGRADED = auto()
    CLOSING = auto()
    CLOSED = auto()


class HttpPeer(ByteConsumer):
    """Reads requests one after the other, and answers each before it looks at the next.

    What has been received behind a request waits undecoded, with reading paused, so a
    peer that pipelines holds one read's worth of memory. Every refusal ends the
    connection: half-closed after the answer, the rest of the input thrown away, and
    aborted ``error_close_timeout`` seconds later if the peer has not gone.
    """

    __slots__ = (
        "__weakref__",
        "_body",
        "_buffer",
        "_handler",
        "_handshake",
        "_is_blocked",
        "_is_counted",
        "_is_fresh",
        "_is_half_closed",
        "_is_idle",
        "_is_reading_paused",
        "_is_stopping",
        "_limits",
        "_phase",
        "_position",
        "_request",
        "_response",
        "_scanned",
        "_scanner",
        "_service",
        "_task",
    )

    def __init__(
        self, service: Service, hub: Hub, link: Link, deadline: float | None = None
    ) -> None:
        """``deadline``: of the handshake, on the hub's clock (0: none), of a peer that
        was admitted before; None: a new one."""
        super().__init__(hub, link)
        self._service = service
        self._limits = service.limits
        self._phase = _Phase.HEAD
        # Received, not consumed; the scanner has seen it up to _scanned.
        self._buffer: bytes | bytearray = b""
        self._position = 0
        self._scanned = 0
        self._scanner = HeadScanner(self._limits)
        # The request in hand
        self._request: Request | None = None
        self._body: Body | None = None
        self._handler: Handler | None = None
        self._response: FileResponse | None = None
        self._handshake: tuple[WebSocketRoute, str, str | None] | None = None
        self._task: asyncio.Task[Any] | None = None
        # The connection
        self._is_fresh = True
        self._is_idle = True
        self._is_blocked = False
        self._is_reading_paused = False
        self._is_half_closed = False
        self._is_stopping = False
        self._is_counted = True
        hub.handshakes += 1
        if deadline is not None:
            self.set_deadline(deadline - hub.clock() if deadline else None)
        elif self._is_one_too_many():
            # Told at its first byte or at the next sweep: the link isn't ours yet.
            self._phase = _Phase.SURPLUS
            self.set_deadline(0.0)
        else:
            self.set_deadline(self._limits.handshake_timeout)

    def _is_one_too_many(self) -> bool:
        limits, handshakes = self._limits, self.hub.handshakes
        if limits.max_handshakes is not None and handshakes > limits.max_handshakes:
            return True
        return self.hub.connection_count + handshakes > limits.connection_limit

    # What the link tells

    def data_received(self, data: bytes) -> None:
        if self._phase in (_Phase.CLOSING, _Phase.CLOSED, _Phase.UPGRADED):
            return
        if self._phase is _Phase.SURPLUS:
            self._refuse_surplus()
            return
        self._append(data)
        if self._phase is _Phase.DECIDING:
            self._check_early_data()
            return
        self._advance()

    def eof_received(self) -> None:
        self._is_half_closed = True
        if self._phase is _Phase.DECIDING:
            self._cancel_task()
            self._close()
        elif self._phase in (_Phase.CLOSING, _Phase.SURPLUS):
            self.link.close()
        elif self._phase in (_Phase.HEAD, _Phase.BODY):
            self._advance()

    def connection_lost(self, error: BaseException | None) -> None:
        if self._phase is _Phase.DECIDING:
            self._cancel_task()
        self._phase = _Phase.CLOSED
        self._forget_request()
        self._drop_input()
        self._uncount()

    def _uncount(self) -> None:
        if self._is_counted:
            self._is_counted = False
            self.hub.handshakes -= 1

    def expired(self) -> None:
        if self._phase is _Phase.HEAD:
            if self._is_idle:
                self._close()
            else:
                self._refuse(Refused(408, "the request took too long"))
        elif self._phase is _Phase.BODY:
            self._refuse(Refused(408, "the request took too long"))
        elif self._phase is _Phase.SURPLUS:
            self._refuse_surplus()
        elif self._phase is _Phase.DECIDING:
            self._cancel_task()
            self._refuse(Refused(503, "the handshake took too long"))
        elif self._phase in (_Phase.SENDING, _Phase.CLOSING):
            self._abort()

    def writing_paused(self) -> None:
        self._is_blocked = True

    def writing_resumed(self) -> None:
        self._is_blocked = False
        if self._phase is _Phase.SENDING:
            self._send_file()
        elif self._phase is _Phase.CLOSING:
            self.set_deadline(self._limits.error_close_timeout)
        self._advance()

    # What the server asks for

    def stop(self) -> None:
        """Close once the request in hand is answered; at once if there is none."""
        self._is_stopping = True
        if self._phase in (_Phase.HEAD, _Phase.SURPLUS):
            self._close()
        elif self._phase in (_Phase.BODY, _Phase.DECIDING):
            self._cancel_task()
            self._refuse(Refused(503, "the server is stopping"))

    # Input

    def _append(self, data: bytes) -> None:
        if self._position >= len(self._buffer):
            self._buffer = data
            self._position = self._scanned = 0
            return
        if not isinstance(self._buffer, bytearray):
            self._buffer = bytearray(self._buffer)
        del self._buffer[: self._position]
        self._scanned -= self._position
        self._position = 0
        self._buffer += data

    def _drop_input(self) -> None:
        self._buffer = b""
        self._position = self._scanned = 0

    def _advance(self) -> None:
        """Consume what has been received, as far as the phase allows."""
        requests = 0
        progress = True
        while progress and self._phase in (_Phase.HEAD, _Phase.BODY):
            if self._is_blocked:
                break
            if self._phase is _Phase.BODY:
                progress = self._read_body()
            elif requests == self._limits.max_pipelined:
                # So many answers in one turn are enough: others wait for theirs.
                self._pause_reading()
                asyncio.get_running_loop().call_soon(self._advance)
                return
            else:
                progress = self._read_head()
                requests += 1
        self._adjust_reading(starved=not progress)

    def _adjust_reading(self, starved: bool) -> None:
        if self._position >= len(self._buffer):
            # An idle connection holds nothing.
            self._drop_input()
        if self._phase in (_Phase.HEAD, _Phase.BODY) and starved:
            if self._is_half_closed:
                self._close()
            else:
                self._resume_reading()
        elif self._phase in (_Phase.CLOSING, _Phase.DECIDING):
            self._resume_reading()
        elif self._phase not in (_Phase.CLOSED, _Phase.UPGRADED) and (
            self._position < len(self._buffer)
        ):
            self._pause_reading()

    def _pause_reading(self) -> None:
        if not self._is_reading_paused:
            self._is_reading_paused = True
            self.link.pause_reading()

    def _resume_reading(self) -> None:
        if self._is_reading_paused:
            self._is_reading_paused = False
            self.link.resume_reading()

    def _read_head(self) -> bool:
        """Take a whole head from the input, if it is there; whether it was."""
        buffer = self._buffer
        if self._position >= len(buffer):
            return False
        if self._is_fresh and buffer[self._position] == _TLS_HANDSHAKE:
            self._close()
            return False
        if self._is_idle:
            self._is_idle = False
            if not self._is_fresh:
                self.set_deadline(self._limits.handshake_timeout)
        try:
            end = self._scanner.feed(buffer, self._scanned)
            if end < 0:
                self._scanned = len(buffer)
                return False
            head = bytes(buffer[self._position : end])
            self._position = self._scanned = end
            self._scanner.reset()
            self._is_fresh = False
            self._request = request = read_request(
                head, self.link.remote_address, self.link.secure
            )
            self._route(request)
        except Refused as refused:
            self._refuse(refused)
        return True

    def _read_body(self) -> bool:
        """Feed the body from the input; whether it is complete."""
        assert self._body is not None
        assert self._request is not None
        try:
            end = self._body.feed(self._buffer, self._position)
        except Refused as refused:
            self._refuse(refused)
            return False
        if end < 0:
            self._drop_input()
            return False
        self._position = self._scanned = end
        self._request.set_body(self._body.content())
        self._body = None
        self._handle()
        return True

    # Requests

    def _route(self, request: Request) -> None:
        """Find out who answers; Refused when nobody does."""
        websocket = self._service.websocket_route(request.path)
        if websocket is not None and request.is_upgrade:
            self._upgrade(request, *websocket)
            return
        if request.is_upgrade:
            raise Refused(404, "no WebSocket endpoint here")
        found = self._service.http_route(request.method, request.path)
        if request.method == "HEAD" and isinstance(found, frozenset) and "GET" in found:
            found = self._service.http_route("GET", request.path)
        if isinstance(found, tuple):
            self._handler, request.params = found
            if isinstance(self.link, OwnLink):
                self._start_moving(self.link)
            else:
                self._expect_body(request)
        elif websocket is not None:
            self._upgrade(request, *websocket)
        elif found is None:
            raise Refused(404, "no such path")
        else:
            allowed = found | {"HEAD"} if "GET" in found else found
            raise Refused(
                405, "method not allowed", {"Allow": ", ".join(sorted(allowed))}
            )

    def _expect_body(self, request: Request) -> None:
        if request.chunked:
            self._body = ChunkedBody(self._limits)
        elif request.content_length:
            self._body = SizedBody(request.content_length, self._limits)
        else:
            self._handle()
            return
        self._phase = _Phase.BODY
        self.set_deadline(self._limits.message_timeout)
        if request.expects_continue and request.http_version == "1.1":
            self.link.write(_CONTINUE)

    def _handle(self) -> None:
        assert self._handler is not None
        assert self._request is not None
        self._phase = _Phase.HANDLING
        # How long a handler takes is the program's affair.
        self.set_deadline(None)
        try:
            result = self._handler(self._request)
        except Exception as error:
            self._refuse_failed(error)
            return
        if inspect.isawaitable(result):
            self._start(result)
        else:
            self._respond(result)

    def _start(self, awaitable: Awaitable[Any]) -> None:
        # A coroutine goes in bare: cancelled before its first step, it is closed.
        coroutine = awaitable if asyncio.iscoroutine(awaitable) else _outcome(awaitable)
        task = asyncio.get_running_loop().create_task(coroutine)
        self._task = task
        _tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        _tasks.discard(task)
        if task.cancelled():
            error: BaseException | None = None
        else:
            error = task.exception()
        if task is not self._task:
            # The connection went meanwhile; a failure is told all the same.
            if error is not None and not isinstance(error, (Reject, Refused)):
                logger.error("a handler failed", exc_info=error)
            return
        self._task = None
        if task.cancelled():
            self._refuse(Refused(503, "cancelled"))
        elif error is not None:
            self._refuse_failed(error)
        elif self._phase is _Phase.DECIDING:
            self._accept(task.result())
        else:
            self._respond(task.result())
        self._advance()

    def _cancel_task(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    # From one of our own sockets to a transport

    def _start_moving(self, link: OwnLink) -> None:
        self._phase = _Phase.MOVING
        # The head came in time; what is left is ours.
        self.set_deadline(None)
        task = asyncio.get_running_loop().create_task(self._move(link))
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)

    async def _move(self, link: OwnLink) -> None:
        """Give the socket to the loop; if it can't have it, go on as we are."""
        loop = asyncio.get_running_loop()
        try:
            transport_socket = socket.socket(fileno=link.duplicate())
        except OSError:
            self._moved()
            return
        try:
            await loop.connect_accepted_socket(
                lambda: UvLink(self.hub, self._continue_on), transport_socket
            )
        except asyncio.CancelledError:
            transport_socket.close()
            self.link.abort()
            raise
        except Exception as error:
            transport_socket.close()
            if self.link is link:
                logger.warning("a connection stays on our own socket: %s", error)
                link.take_back()
        self._moved()

    def _continue_on(self, hub: Hub, link: Link) -> ByteConsumer:
        """The transport is there: it takes the place of our own socket."""
        if self._phase is not _Phase.MOVING:
            # The server has stopped meanwhile.
            asyncio.get_running_loop().call_soon(link.abort)
            return ByteConsumer(hub, link)
        former = self.link
        assert isinstance(former, OwnLink)
        self.change_link(link)
        former.give_up()
        self._is_reading_paused = False
        return self

    def _moved(self) -> None:
        if self._phase is _Phase.MOVING:
            assert self._request is not None
            self._expect_body(self._request)
            self._advance()

    # Responses

    def _respond(self, result: object) -> None:
        request = self._request
        assert request is not None
        keep_alive = request.keep_alive and not self._is_stopping
        head_only = request.method == "HEAD"
        try:
            response = to_response(result)
            if isinstance(response, FileResponse) and not head_only:
                answer = response.head(keep_alive=keep_alive)
            else:
                answer = response.to_bytes(keep_alive=keep_alive, head_only=head_only)
        except Exception as error:
            if isinstance(result, Response):
                result.close()
            self._refuse_failed(error)
            return
        self._log(request, response.status)
        self.link.write(answer)
        if isinstance(response, FileResponse) and not head_only:
            self._response = response
            self._phase = _Phase.SENDING
            self._send_file()
            return
        response.close()
        self._finish()

    def _send_file(self) -> None:
        """Send pieces of the file until it ends, the peer is behind, or the turn is."""
        response = self._response
        if self._phase is not _Phase.SENDING or response is None:
            return
        for _ in range(_PIECES_PER_TURN):
            if self._is_blocked:
                self.set_deadline(self._limits.max_stall)
                return
            if not response.missing:
                self._finish()
                return
            piece = response.read(_FILE_PIECE)
            if not piece:
                # The file has been cut meanwhile; the peer must not take it for whole.
                self._abort()
                return
            self.link.write(piece)
        self.set_deadline(self._limits.max_stall)
        asyncio.get_running_loop().call_soon(self._go_on_sending)

    def _go_on_sending(self) -> None:
        self._send_file()
        self._advance()

    def _finish(self) -> None:
        """The answer is written: on to the next request, or to the end."""
        assert self._request is not None
        keep_alive = self._request.keep_alive and not self._is_stopping
        self._forget_request()
        if not keep_alive:
            self._linger(patient=True)
            return
        self._phase = _Phase.HEAD
        self._is_idle = True
        self.set_deadline(self._limits.keep_alive_timeout)

    def _forget_request(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.close()
        self._request = self._body = self._handler = self._handshake = None
        # A handler is not cancelled when the peer goes: it may be in mid-change.
        self._task = None

    # The upgrade

    def _upgrade(
        self, request: Request, route: WebSocketRoute, params: dict[str, str]
    ) -> None:
        accept = check_upgrade(request)
        service = self._service
        origin_policy(service.allowed_origins, service.debug).check(request)
        subprotocol = None
        if request.subprotocols:
            offered = request.subprotocols
            subprotocol = next((n for n in route.subprotocols if n in offered), None)
        request.params = params
        self._handshake = route, accept, subprotocol
        if route.upgrade is None:
            self._accept(None)
            return
        # The handshake's deadline goes on: it is absolute, the hook included.
        self._phase = _Phase.DECIDING
        try:
            result = route.upgrade(request)
        except Exception as error:
            self._refuse_failed(error)
            return
        if inspect.isawaitable(result):
            self._start(result)
            self._check_early_data()
        else:
            self._accept(result)

    def _accept(self, headers: Mapping[str, str] | None) -> None:
        assert self._handshake is not None
        assert self._request is not None
        route, accept, subprotocol = self._handshake
        request = self._request
        try:
            if headers is not None and not isinstance(headers, Mapping):
                raise TypeError(
                    "an upgrade hook returns None or a mapping of headers, "
                    f"not {type(headers).__name__}; to refuse, raise Reject"
                )
            # Only now: nothing inflates for somebody whom the hook has not let in.
            agreement = self._agree(route, request)
            extensions = None if agreement is None else agreement.response
            answer = accept_response(accept, subprotocol, headers, extensions)
        except Exception as error:
            self._refuse_failed(error)
            return
        self._log(request, 101)
        self.link.write(answer)
        self._phase = _Phase.UPGRADED
        self._uncount()
        self.set_deadline(None)
        early = bytes(self._buffer[self._position :])
        self._drop_input()
        self._forget_request()
        self._resume_reading()
        Connection.open(
            self.hub,
            self.link,
            route.binding,
            request,
            request.params,
            subprotocol,
            early,
            agreement,
        )

    def _agree(self, route: WebSocketRoute, request: Request) -> Agreement | None:
        chosen = check_compression(request.compression)
        if not request.extensions:
            return None
        rule = route.compression_under(self._service, chosen)
        if rule is None:
            return None
        deflate = self.hub.deflate(rule, has_cohorts=self._service.has_cohorts)
        return deflate.agree(request.extensions)

    def _check_early_data(self) -> None:
        """Close with 1008 when too much has come before the hook has decided."""
        if len(self._buffer) - self._position <= self._limits.max_early_data:
            return
        assert self._handshake is not None
        assert self._request is not None
        _, accept, subprotocol = self._handshake
        self._cancel_task()
        self._log(self._request, 101)
        self.link.write(accept_response(accept, subprotocol) + _TOO_EARLY)
        self._linger()

    # The end

    def _refuse_failed(self, error: BaseException) -> None:
        """Answer what a handler or hook raised; only Reject and Refused are answers."""
        if isinstance(error, Reject):
            error = Refused(error.status, "", error.headers, error.body)
        if isinstance(error, Refused):
            self._refuse(error)
            return
        request = self._request
        assert request is not None
        logger.error(
            "%s %s failed", request.method, printable(request.path), exc_info=error
        )
        self._refuse(Refused(500), is_logged=True)

    def _refuse(self, refused: Refused, *, is_logged: bool = False) -> None:
        request = self._request
        head_only = request is not None and request.method == "HEAD"
        try:
            answer = refused.to_bytes(head_only=head_only)
        except Exception as error:
            # Headers of a Reject that can't be sent: the hook's fault, not the peer's.
            self._refuse_failed(error)
            return
        if not is_logged:
            self._log_refusal(refused)
        self.link.write(answer)
        self._linger()

    def _refuse_surplus(self) -> None:
        self._refuse(Refused(503, "too many connections", {"Retry-After": "1"}))

    def _linger(self, *, patient: bool = False) -> None:
        """Half-close and wait for the peer's end, so that it can read the answer.

        Closing with unread input would reset the connection, and a reset overtakes what
        was sent. ``patient``: a peer that is still reading a long answer may go on.
        """
        self._phase = _Phase.CLOSING
        self._forget_request()
        self._drop_input()
        self._resume_reading()
        self.set_deadline(
            self._limits.max_stall
            if patient and self._is_blocked
            else self._limits.error_close_timeout
        )
        if self._is_half_closed:
            self.link.close()
        else:
            self.link.close_write()

    def _close(self) -> None:
        """Close without an answer."""
        self._phase = _Phase.CLOSING
        self._forget_request()
        self._drop_input()
        self.set_deadline(self._limits.error_close_timeout)
        self.link.close()

    def _abort(self) -> None:
        self._phase = _Phase.CLOSED
        self._forget_request()
        self._drop_input()
        self.link.abort()

    # The log: method, path without its query, status; never a header or a body

    def _log(self, request: Request, status: int) -> None:
        if logger.isEnabledFor(logging.INFO):
            logger.info("%s %s %d", request.method, printable(request.path), status)

    def _log_refusal(self, refused: Refused) -> None:
        advice = refused.advice if isinstance(refused, OriginRefused) else None
        level = logging.INFO if advice is None else logging.WARNING
        if not logger.isEnabledFor(level):
            return
        request = self._request
        where = (
            "a request"
            if request is None
            else f"{request.method} {printable(request.path)}"
        )
        logger.log(
            level, "%s %s%s", where, refused, "" if advice is None else f"; {advice}"
        )


def log_upgrade(path: str) -> None:
    """What is logged of an upgrade that was answered without a peer."""
    if logger.isEnabledFor(logging.INFO):
        logger.info("GET %s 101", printable(path))


def printable(path: str) -> str:
    """A path for the log: ASCII, control characters escaped, not too long."""
    text = ascii(path)[1:-1]
    return text if len(text) <= _LOGGED_PATH else text[:_LOGGED_PATH] + "..."


async def _outcome(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
