"""Patterns with ``{name}`` in them, and the tables of an App's routes.

A parameter stands for one whole part between separators or for a piece of it
(``/files/{name}.json``) and never reaches over a separator. One parameter per part:
that makes every match linear in the text, which comes from the network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from .errors import ConfigError

if TYPE_CHECKING:
    from .http.service import Handler, WebSocketRoute

__all__ = ["Pattern", "PatternTable", "Routes", "path_pattern"]

T = TypeVar("T")

_PARAMETER = re.compile(r"\{([^{}]*)\}")

# How narrow one part of a pattern is: literal parts come before mixed ones, these
# before a bare parameter, and among mixed ones more literal characters come first.
_Rank = tuple[int, int]


class Pattern:
    """One pattern: ``match`` gives its parameters, or ``None``."""

    __slots__ = ("_regex", "names", "parts", "rank", "shape", "text")

    def __init__(self, text: str, separator: str) -> None:
        self.text = text
        self.names: tuple[str, ...] = ()
        ranks: list[_Rank] = []
        sources: list[str] = []
        shapes: list[str] = []
        for part in text.split(separator):
            source, shape, rank = self._compile_part(part, separator)
            sources.append(source)
            shapes.append(shape)
            ranks.append(rank)
        self.parts = len(ranks)
        self.rank = tuple(ranks)
        # Equal for patterns that match exactly the same texts.
        self.shape = separator.join(shapes)
        self._regex = re.compile(re.escape(separator).join(sources))

    def _compile_part(self, part: str, separator: str) -> tuple[str, str, _Rank]:
        """Give a part's regular expression, its shape and its rank."""
        found = list(_PARAMETER.finditer(part))
        rest = _PARAMETER.sub("", part)
        if "{" in rest or "}" in rest:
            raise ConfigError(f"pattern {self.text!r}: unbalanced brace in {part!r}")
        if len(found) > 1:
            raise ConfigError(
                f"pattern {self.text!r}: {part!r} has more than one parameter; "
                f"put a {separator!r} between them"
            )
        if not found:
            return re.escape(part), part, (0, 0)
        name = found[0].group(1)
        if not name.isidentifier():
            raise ConfigError(
                f"pattern {self.text!r}: {name!r} is not a parameter name; "
                "write letters, digits and underscores, as in {room_id}"
            )
        if name in self.names:
            raise ConfigError(f"pattern {self.text!r}: {name!r} is there twice")
        self.names += (name,)
        before, after = part[: found[0].start()], part[found[0].end() :]
        source = (
            f"{re.escape(before)}(?P<{name}>[^{re.escape(separator)}]+)"
            f"{re.escape(after)}"
        )
        rank = (1, -len(rest)) if rest else (2, 0)
        return source, f"{before}{{}}{after}", rank

    @property
    def is_literal(self) -> bool:
        """Whether the pattern has no parameter and matches only its own text."""
        return not self.names

    def match(self, text: str) -> dict[str, str] | None:
        """Give the parameters of ``text``, or ``None`` when it does not match."""
        found = self._regex.fullmatch(text)
        return None if found is None else found.groupdict()

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"


class PatternTable(Generic[T]):
    """Values under patterns; of several that match, the narrowest comes first.

    Narrowness is decided part by part from the left: a literal before a parameter. It
    does not depend on the order of registration.
    """

    __slots__ = ("_by_parts", "_literals", "_separator", "_shapes")

    def __init__(self, separator: str) -> None:
        self._separator = separator
        self._literals: dict[str, T] = {}
        self._by_parts: dict[int, list[tuple[Pattern, T]]] = {}
        self._shapes: dict[str, Pattern] = {}

    def add(self, text: str, value: T) -> None:
        """Put ``value`` under a pattern; ConfigError when its place is taken."""
        pattern = Pattern(text, self._separator)
        taken = self._shapes.get(pattern.shape)
        if taken is not None:
            raise ConfigError(f"{text!r} is already registered, as {taken.text!r}")
        self._shapes[pattern.shape] = pattern
        if pattern.is_literal:
            self._literals[text] = value
            return
        entries = self._by_parts.setdefault(pattern.parts, [])
        entries.append((pattern, value))
        entries.sort(key=lambda entry: entry[0].rank)

    def like(self, text: str) -> tuple[str, T] | None:
        """Give the pattern that matches the same texts as this one, and its value."""
        pattern = self._shapes.get(Pattern(text, self._separator).shape)
        if pattern is None:
            return None
        if pattern.is_literal:
            return pattern.text, self._literals[pattern.text]
        entries = self._by_parts[pattern.parts]
        return pattern.text, next(value for known, value in entries if known is pattern)

    def find(self, text: str) -> tuple[T, dict[str, str]] | None:
        """Give the narrowest match and its parameters."""
        return next(self.find_all(text), None)

    def find_all(self, text: str) -> Iterator[tuple[T, dict[str, str]]]:
        """Give every match with its parameters, the narrowest first."""
        if text in self._literals:
            yield self._literals[text], {}
        entries = self._by_parts.get(text.count(self._separator) + 1, ())
        for pattern, value in entries:
            params = pattern.match(text)
            if params is not None:
                yield value, params

    def __len__(self) -> int:
        return len(self._shapes)

    def __iter__(self) -> Iterator[str]:
        return (pattern.text for pattern in self._shapes.values())


def path_pattern(path: object) -> str:
    """Check the path of a route: what it has to be so that a request can reach it.

    Requests are routed by their decoded, normalised path, so a pattern with a query, a
    fragment, an empty or a dot segment would never match anything.
    """
    if not isinstance(path, str):
        raise TypeError(
            f"the path of a route must be a string such as '/rooms/{{room}}', "
            f"not {type(path).__name__}"
        )
    if not path.startswith("/"):
        raise ConfigError(f"path {path!r} must start with '/': write '/{path}'")
    if "?" in path or "#" in path:
        raise ConfigError(f"path {path!r} must not have a query or a fragment")
    segments = path.split("/")[1:]
    if "" in segments[:-1] or "." in segments or ".." in segments:
        raise ConfigError(
            f"path {path!r} has an empty or a dot segment: no request would reach it"
        )
    return path


class Routes:
    """The tables of one App: WebSocket routes, HTTP routes, folders of files."""

    def __init__(self) -> None:
        self._websockets: PatternTable[WebSocketRoute] = PatternTable("/")
        self._http: PatternTable[dict[str, Handler]] = PatternTable("/")
        # Prefix and handler, the longest prefix first.
        self._static: list[tuple[str, Handler]] = []

    def add_websocket(self, path: str, route: WebSocketRoute) -> None:
        """Put a route under a checked path; ConfigError when it is taken."""
        self._websockets.add(path, route)

    def add_http(self, method: str, path: str, handler: Handler) -> None:
        """Put a handler under a method and a checked path."""
        known = self._http.like(path)
        if known is None:
            self._http.add(path, {method: handler})
            return
        text, methods = known
        if method in methods:
            raise ConfigError(f"{method} {path!r} is already registered")
        if text != path:
            raise ConfigError(
                f"{path!r} is already registered as {text!r}: give its parameters the "
                "same names"
            )
        methods[method] = handler

    def add_static(self, prefix: str, handler: Handler) -> None:
        """Put a handler under everything below a checked path without parameters.

        It finds the rest of the path, without a leading slash, in the parameter
        ``path``.
        """
        prefix = prefix.rstrip("/") + "/"
        if any(prefix == taken for taken, _ in self._static):
            raise ConfigError(f"{prefix!r} already has static files")
        self._static.append((prefix, handler))
        self._static.sort(key=lambda entry: -len(entry[0]))

    def websocket(self, path: str) -> tuple[WebSocketRoute, dict[str, str]] | None:
        """Give the WebSocket route of a path and its parameters."""
        return self._websockets.find(path)

    def http(
        self, method: str, path: str
    ) -> tuple[Handler, dict[str, str]] | frozenset[str] | None:
        """Give handler and parameters, or the allowed methods, or ``None``.

        A narrow path that lacks the method does not hide a wider one that has it. A
        path that is a WebSocket's is not looked for among the files.
        """
        allowed: list[str] = []
        for methods, params in self._http.find_all(path):
            handler = methods.get(method)
            if handler is None and method == "HEAD":
                handler = methods.get("GET")
            if handler is not None:
                return handler, params
            allowed += methods
        if not allowed and self._websockets.find(path) is None:
            found = self._file(path)
            if found is not None and method in ("GET", "HEAD"):
                return found
            allowed = ["GET"] if found is not None else []
        if not allowed:
            return None
        if "GET" in allowed:
            allowed.append("HEAD")
        return frozenset(allowed)

    def _file(self, path: str) -> tuple[Handler, dict[str, str]] | None:
        for prefix, handler in self._static:
            if path.startswith(prefix) or path == prefix[:-1]:
                return handler, {"path": path[len(prefix) :]}
        return None
