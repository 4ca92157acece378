"""Files of a folder over HTTP: whole files, revalidated by ETag and date."""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from mimetypes import MimeTypes
from pathlib import Path
from urllib.parse import quote

from ..engine.handshake import Refused, Request
from ..errors import ConfigError
from .response import FileResponse, Response

__all__ = ["StaticFiles"]

# Files up to this size are kept in memory, up to this many bytes together.
_CACHED_FILE = 64 * 1024
_CACHE_SIZE = 4 * 1024 * 1024

# The tables of the machine are not read: types must not depend on where we run.
_TYPES = MimeTypes(filenames=())
for _type, _suffix in (
    ("text/javascript", ".js"),
    ("text/javascript", ".mjs"),
    ("application/wasm", ".wasm"),
    ("application/manifest+json", ".webmanifest"),
    ("application/json", ".map"),
    ("font/woff", ".woff"),
    ("font/woff2", ".woff2"),
    ("image/webp", ".webp"),
    ("image/avif", ".avif"),
    ("text/markdown", ".md"),
):
    _TYPES.add_type(_type, _suffix)
_TEXTUAL = frozenset({"application/json", "application/manifest+json", "image/svg+xml"})

# The one folder starting with a dot that is meant to be seen (RFC 8615).
_WELL_KNOWN = ".well-known"


@dataclass(frozen=True, slots=True)
class _Version:
    """What tells one state of a file from the next."""

    inode: int
    modified: int
    size: int

    @classmethod
    def of(cls, found: os.stat_result) -> _Version:
        return cls(found.st_ino, found.st_mtime_ns, found.st_size)

    @property
    def etag(self) -> str:
        return f'"{self.modified:x}-{self.size:x}"'

    @property
    def last_modified(self) -> str:
        return formatdate(self.modified // 1_000_000_000, usegmt=True)


class StaticFiles:
    """A handler for GET that serves what lies below ``directory``, and nothing else.

    The file is ``request.params[parameter]``, relative to the folder. A folder is
    answered with its ``index``. Names starting with a dot, links that lead out of the
    folder and everything that is no regular file are 404, like what does not exist.
    ``headers`` go with every file.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        parameter: str = "path",
        index: str = "index.html",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        root = Path(directory)
        if not root.is_dir():
            raise ConfigError(f"{str(directory)!r} is not a folder of files to serve")
        self._root = os.path.realpath(root)
        self._parameter = parameter
        self._index = index
        self._headers = {
            "Cache-Control": "no-cache",
            "X-Content-Type-Options": "nosniff",
            **(headers or {}),
        }
        self._cache: OrderedDict[str, tuple[_Version, bytes]] = OrderedDict()
        self._cached_bytes = 0

    def __call__(self, request: Request) -> Response:
        path = self._resolve(request.params.get(self._parameter, ""))
        try:
            found = os.stat(path)
            if stat.S_ISDIR(found.st_mode):
                if not request.path.endswith("/"):
                    return self._redirect(request)
                path = self._resolve(os.path.relpath(path, self._root), self._index)
                found = os.stat(path)
            elif request.path.endswith("/"):
                raise _not_found()
            if not stat.S_ISREG(found.st_mode):
                raise _not_found()
            return self._respond(request, path, _Version.of(found))
        except OSError:
            # Gone, a file where a folder should be, or not ours to read: all the same
            # from outside.
            raise _not_found() from None

    def _resolve(self, *names: str) -> str:
        """The real path of a file below the root; Refused (404) for any other."""
        parts = [part for part in "/".join(names).split("/") if part not in ("", ".")]
        for part in parts:
            if (part.startswith(".") and part != _WELL_KNOWN) or "\0" in part:
                raise _not_found()
        try:
            path = os.path.realpath(os.path.join(self._root, *parts))
        except (OSError, ValueError):
            raise _not_found() from None
        if path != self._root and not path.startswith(self._root.rstrip("/") + "/"):
            raise _not_found()
        return path

    def _redirect(self, request: Request) -> Response:
        # Relative links of the index work only below a slash.
        return Response(301, headers={"Location": quote(request.path) + "/"})

    def _respond(self, request: Request, path: str, version: _Version) -> Response:
        headers = {
            **self._headers,
            "ETag": version.etag,
            "Last-Modified": version.last_modified,
        }
        if _is_current(request, version):
            return Response(304, headers=headers)
        media_type = _media_type(path)
        if version.size > _CACHED_FILE:
            file = open(path, "rb")  # noqa: SIM115 - closed by whoever sends it
            # The size is that of the open file: it may have been replaced since.
            size = os.fstat(file.fileno()).st_size
            return FileResponse(file, size, headers, media_type)
        return Response(200, self._content(path, version), headers, media_type)

    def _content(self, path: str, version: _Version) -> bytes:
        known = self._cache.get(path)
        if known is not None and known[0] == version:
            self._cache.move_to_end(path)
            return known[1]
        content = Path(path).read_bytes()
        if known is not None:
            self._cached_bytes -= len(known[1])
            del self._cache[path]
        if len(content) == version.size:
            self._cache[path] = (version, content)
            self._cached_bytes += len(content)
        while self._cached_bytes > _CACHE_SIZE:
            _, (_, dropped) = self._cache.popitem(last=False)
            self._cached_bytes -= len(dropped)
        return content


def _not_found() -> Refused:
    return Refused(404, "no such file")


def _media_type(path: str) -> str:
    found, encoding = _TYPES.guess_type(os.path.basename(path))
    if found is None or encoding is not None:
        return "application/octet-stream"
    if found.startswith("text/") or found in _TEXTUAL:
        return f"{found}; charset=utf-8"
    return found


def _is_current(request: Request, version: _Version) -> bool:
    """Whether the peer's copy is this version, RFC 9110 section 13.2.2."""
    tags = request.headers.get("if-none-match")
    if tags is not None:
        known = [tag.strip().removeprefix("W/") for tag in tags.split(",")]
        return "*" in known or version.etag in known
    since = request.headers.get("if-modified-since")
    if since is None:
        return False
    try:
        moment = parsedate_to_datetime(since).timestamp()
    except (ValueError, OverflowError, TypeError):
        return False
    return version.modified // 1_000_000_000 <= moment
