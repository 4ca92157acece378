"""A client that sends exactly the bytes it is told to, and reads what comes back."""

from __future__ import annotations

import ctypes
import select
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from .chunkings import Chunking, one_write
from .deflating import Inflater
from .frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    KEY,
    PING,
    PONG,
    TEXT,
    Frame,
    frame,
    take_frame,
)
from .waits import DEADLINE, Deadline

Address = tuple[str, int]

SAMPLE_KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
SAMPLE_ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

_READ_SIZE = 262_144
_SO_ATTACH_FILTER = 26


def upgrade_request(
    path: str = "/echo", headers: Mapping[str, str] | None = None
) -> bytes:
    """A right upgrade request."""
    extra = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    return (
        f"GET {path} HTTP/1.1\r\n"
        "Host: testee.example\r\n"
        "Upgrade: websocket\r\n"
        "Connection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {SAMPLE_KEY.decode()}\r\n"
        "Sec-WebSocket-Version: 13\r\n"
        f"{extra}\r\n"
    ).encode()


@dataclass(frozen=True)
class Response:
    """An HTTP response; header names in lower case, repeated values joined."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Transcript:
    """What a WebSocket peer got until the end, or until it was content."""

    messages: list[str | bytes] = field(default_factory=list)
    pings: list[bytes] = field(default_factory=list)
    pongs: list[bytes] = field(default_factory=list)
    # In the order of arrival: "message", "ping", "pong", "close".
    order: list[str] = field(default_factory=list)
    closed: bool = False
    code: int | None = None
    reason: bytes = b""
    gone: bool = False
    # From the Close frame (or the start of waiting, without one) to the end of TCP.
    seconds_to_gone: float | None = None


def drop_segments(sock: Any) -> None:
    """Have the kernel drop every segment that comes for a socket: no acknowledgement,
    no RST."""
    program = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
    sock.setsockopt(
        socket.SOL_SOCKET,
        _SO_ATTACH_FILTER,
        struct.pack("HP", 1, ctypes.addressof(program)),
    )


def reset_on_close(sock: Any) -> None:
    """Have the kernel end the connection with RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class RawClient:
    """A TCP connection to a server under test.

    Reading goes on while a large input is being written, so neither side can block the
    other for ever. ``gone`` says that the server has ended the connection.
    """

    def __init__(
        self,
        address: Address,
        *,
        receive_buffer: int | None = None,
        source: str | None = None,
    ) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source is not None:
            self.socket.bind((source, 0))
        self.socket.settimeout(DEADLINE)
        try:
            self.socket.connect(address)
        except BaseException:
            self.socket.close()
            raise
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.local_port: int = self.socket.getsockname()[1]
        self.received = bytearray()
        self.gone = False
        self.was_reset = False
        self.cannot_send = False
        self._partial: list[bytes] = []
        self._partial_opcode = CONTINUATION
        self._partial_compressed = False
        # Of what the server compresses; None: nothing was agreed on.
        self.inflater: Inflater | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """End the connection with RST instead of FIN."""
        reset_on_close(self.socket)
        self.socket.close()

    def vanish(self) -> None:
        """From now on nothing reaches this end, as if the cable had been cut."""
        drop_segments(self.socket)

    # Writing

    def send(self, data: bytes, chunking: Chunking = one_write) -> bool:
        """Write everything; False when the server would not take all of it."""
        return all(self._write(chunk) for chunk in chunking(data))

    def _write(self, chunk: bytes) -> bool:
        view = memoryview(chunk)
        deadline: Deadline | None = None
        while view and not self.cannot_send:
            try:
                view = view[self.socket.send(view) :]
                deadline = None
            except BlockingIOError:
                deadline = deadline or Deadline()
                self._wait(deadline.left, writing=True)
                if self.gone:
                    self.cannot_send = True
            except (BrokenPipeError, ConnectionResetError):
                # What the server wrote before it left is still to be read.
                self.cannot_send = True
        return not self.cannot_send

    def finish_writing(self) -> None:
        """Half-close: FIN goes out, reading goes on."""
        self.socket.shutdown(socket.SHUT_WR)

    # Reading

    def _wait(self, timeout: float, *, writing: bool = False) -> None:
        poll = select.poll()
        events = 0 if self.gone else select.POLLIN
        poll.register(self.socket, events | (select.POLLOUT if writing else 0))
        for _, happened in poll.poll(timeout * 1000):
            if happened & ~select.POLLOUT and not self.gone:
                self._receive()

    def _receive(self) -> None:
        try:
            data = self.socket.recv(_READ_SIZE)
        except BlockingIOError:
            return
        except ConnectionResetError:
            self.gone = self.was_reset = True
            return
        self.received += data
        self.gone = not data

    def wait_gone(self, seconds: float = DEADLINE) -> None:
        """Read until the server ends the connection; TimeoutError if it does not."""
        deadline = Deadline(seconds)
        while not self.gone:
            self._wait(deadline.left)

    def poll(self) -> None:
        """Take what is there without waiting."""
        self._wait(0)

    def read_some(self, most: int) -> int:
        """Take at most so many bytes out of the kernel, and forget them."""
        try:
            return len(self.socket.recv(most))
        except BlockingIOError:
            return 0
        except ConnectionResetError:
            self.gone = True
            return 0

    def read_until(self, mark: bytes, seconds: float = DEADLINE) -> bytes:
        """Cut off everything up to and with ``mark``."""
        deadline = Deadline(seconds)
        while (at := self.received.find(mark)) < 0:
            if self.gone:
                raise EOFError(f"the server left after {bytes(self.received)!r}")
            self._wait(deadline.left)
        taken = bytes(self.received[: at + len(mark)])
        del self.received[: len(taken)]
        return taken

    def read_response(self, seconds: float = DEADLINE) -> Response:
        """One HTTP response; EOFError when the server left without one."""
        deadline = Deadline(seconds)
        head = self.read_until(b"\r\n\r\n", deadline.left).decode("latin-1")
        status_line, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        version, status, _ = status_line.split(" ", 2)
        assert version == "HTTP/1.1", status_line
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            assert colon, line
            assert "\n" not in line, line
            assert "\r" not in line, line
            name, value = name.lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        size = int(headers.get("content-length", "0"))
        while len(self.received) < size and not self.gone:
            self._wait(deadline.left)
        body = bytes(self.received[:size])
        assert len(body) == size, "the body is shorter than its Content-Length"
        del self.received[:size]
        response = Response(int(status), headers, body)
        agreed = response.headers.get("sec-websocket-extensions")
        self.inflater = None if agreed is None else Inflater(agreed.encode())
        return response

    # WebSocket

    def upgrade(
        self, path: str = "/echo", headers: Mapping[str, str] | None = None
    ) -> Response:
        """Open the WebSocket; AssertionError unless the server accepts."""
        self.send(upgrade_request(path, headers))
        response = self.read_response()
        check_accepted(response)
        return response

    def read_frame(self, seconds: float = DEADLINE) -> Frame:
        """The next frame; EOFError when the server left before it."""
        deadline = Deadline(seconds)
        inflates = self.inflater is not None
        while (found := take_frame(self.received, inflates=inflates)) is None:
            if self.gone:
                raise EOFError(f"the server left, {len(self.received)} bytes remain")
            self._wait(deadline.left)
        return found

    def read_message(self, seconds: float = DEADLINE) -> str | bytes:
        """The next message; control frames before it are let pass."""
        deadline = Deadline(seconds)
        while True:
            one = self.read_frame(deadline.left)
            message = self._message_of(one)
            if message is not None:
                return message
            assert one.opcode != CLOSE, f"closed with {one.close_code}"

    def _message_of(self, one: Frame) -> str | bytes | None:
        """The message that this frame completes, if it does."""
        if one.opcode > BINARY:
            return None
        started = self._partial_opcode != CONTINUATION
        assert started == (one.opcode == CONTINUATION), "fragments out of order"
        if not started:
            self._partial_opcode = one.opcode
            self._partial_compressed = one.compressed
        self._partial.append(one.payload)
        if not one.fin:
            return None
        data = b"".join(self._partial)
        if self._partial_compressed:
            assert self.inflater is not None
            data = self.inflater.inflate(data)
        is_text = self._partial_opcode == TEXT
        self._partial.clear()
        self._partial_opcode = CONTINUATION
        return data.decode() if is_text else data

    def transcript(
        self,
        *,
        messages: int | None = None,
        pongs: int | None = None,
        answer: bool = True,
        seconds: float = DEADLINE,
    ) -> Transcript:
        """Read to the end of the connection, or to so many messages and pongs.

        ``answer=False`` is the peer that does nothing about a Close frame.
        """
        found = Transcript()
        deadline = Deadline(seconds)
        start = time.monotonic()
        while not _content(found, messages, pongs):
            try:
                one = self.read_frame(deadline.left)
            except EOFError:
                found.gone = True
                found.seconds_to_gone = time.monotonic() - start
                break
            if found.closed:
                raise AssertionError(f"a frame after the Close frame: {one!r}")
            self._note(found, one)
            if found.closed:
                start = time.monotonic()
                if answer and not self.cannot_send:
                    self.send(frame(CLOSE, one.payload[:2], key=KEY))
        return found

    def _note(self, found: Transcript, one: Frame) -> None:
        if one.opcode == PING:
            found.pings.append(one.payload)
            found.order.append("ping")
        elif one.opcode == PONG:
            found.pongs.append(one.payload)
            found.order.append("pong")
        elif one.opcode == CLOSE:
            found.closed = True
            found.code = one.close_code
            found.reason = one.payload[2:]
            found.reason.decode()
            found.order.append("close")
        else:
            message = self._message_of(one)
            if message is not None:
                found.messages.append(message)
                found.order.append("message")


def _content(found: Transcript, messages: int | None, pongs: int | None) -> bool:
    if messages is None and pongs is None:
        return False
    return len(found.messages) >= (messages or 0) and len(found.pongs) >= (pongs or 0)


def check_accepted(response: Response) -> None:
    """The answer is a right 101 to the sample key."""
    assert response.status == 101, response
    assert response.headers["upgrade"].lower() == "websocket", response
    assert "upgrade" in response.headers["connection"].lower(), response
    assert response.headers["sec-websocket-accept"] == SAMPLE_ACCEPT, response
    assert "content-length" not in response.headers, response
