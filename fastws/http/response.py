"""What an HTTP handler answers, and how that becomes bytes."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from time import time
from typing import BinaryIO

import orjson

from ..engine.handshake import response_head

__all__ = ["FileResponse", "Response", "to_response"]

_TEXT = "text/plain; charset=utf-8"
_BINARY = "application/octet-stream"
_JSON = "application/json"

# RFC 9110 section 6.4.1: answers that never have a body, whatever was given.
_BODILESS = frozenset({204, 304})

# What frames the response is the server's to say.
_RESERVED = frozenset({"content-length", "transfer-encoding", "connection"})


class Response:
    """An answer: ``status`` (200 to 599), body, headers.

    A ``str`` body goes out as UTF-8. ``media_type`` is the Content-Type; by default
    that of text for ``str`` and of plain bytes otherwise.
    """

    def __init__(
        self,
        status: int = 200,
        body: str | bytes = b"",
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
    ) -> None:
        if not 200 <= status <= 599:
            raise ValueError(f"status must be from 200 to 599, not {status!r}")
        if media_type is None:
            media_type = _TEXT if isinstance(body, str) else _BINARY
        self.status = status
        self.body = body.encode() if isinstance(body, str) else bytes(body)
        self.headers: dict[str, str] = dict(headers or {})
        self.media_type = media_type

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return len(self.body)

    def head(self, *, keep_alive: bool) -> bytes:
        """Status line and headers; ValueError when one of them is malformed."""
        fields: dict[str, str] = {}
        names = {name.lower() for name in self.headers}
        reserved = names & _RESERVED
        if reserved:
            raise ValueError(f"{', '.join(sorted(reserved))}: set by the server")
        if "date" not in names:
            fields["Date"] = _date()
        if self.status not in _BODILESS:
            if "content-type" not in names and self.length:
                fields["Content-Type"] = self.media_type
            fields["Content-Length"] = str(self.length)
        fields.update(self.headers)
        return response_head(self.status, fields, keep_alive=keep_alive)

    def to_bytes(self, *, keep_alive: bool = True, head_only: bool = False) -> bytes:
        """The whole response; ``head_only`` is the answer to a HEAD."""
        head = self.head(keep_alive=keep_alive)
        if head_only or self.status in _BODILESS:
            return head
        return head + self.body

    def close(self) -> None:
        """Free what the response holds, sent or not."""


class FileResponse(Response):
    """A response whose body is ``size`` bytes of an open file, sent piece by piece."""

    def __init__(
        self,
        file: BinaryIO,
        size: int,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
    ) -> None:
        super().__init__(200, b"", headers, media_type)
        self.size = size
        # Bytes still to be read.
        self.missing = size
        self._file = file

    @property
    def length(self) -> int:
        return self.size

    def read(self, most: int) -> bytes:
        """The next piece; empty at the end, and when the file is shorter than said."""
        piece = self._file.read(min(most, self.missing))
        self.missing -= len(piece)
        return piece

    def close(self) -> None:
        self._file.close()


def to_response(result: object) -> Response:
    """The response that a handler's result means.

    ``str`` is text, bytes-like is binary, ``None`` is 204 (no content), and anything
    else is JSON; TypeError for what has no JSON form.
    """
    if isinstance(result, Response):
        return result
    if result is None:
        return Response(204)
    if isinstance(result, str):
        return Response(200, result)
    if isinstance(result, bytes | bytearray | memoryview):
        return Response(200, bytes(result))
    return Response(200, orjson.dumps(result), media_type=_JSON)


def _date() -> str:
    return _formatted(int(time()))


@lru_cache(maxsize=1)
def _formatted(second: int) -> str:
    """The Date header of a second: formatted once."""
    return formatdate(second, usegmt=True)
