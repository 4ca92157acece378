"""The requests of test_handshake: bytes, and the answer that HARDENING gives them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from tests.support.client import SAMPLE_KEY
from tests.support.frames import text
from tests.support.repeats import TIMES, with_repeats
from tests.support.server import SECRET

# Bounds on CPU time are asserted at ten times the number of the list.
CPU_FACTOR = 10


@dataclass(frozen=True, kw_only=True)
class Refused:
    """One of these statuses, with these headers (part of their value), and the end.

    ``may_be_silent``: closing without an answer will do; ``or_accepted``: so will 101.
    """

    statuses: tuple[int, ...]
    headers: Mapping[str, str] = field(default_factory=dict)
    may_be_silent: bool = False
    or_accepted: bool = False


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A 101 with this subprotocol and this answer to the extensions."""

    subprotocol: str | None = None
    extensions: str | None = None
    or_accepted: bool = True


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A plain response."""

    status: int
    body: bytes
    or_accepted: bool = False


@dataclass(frozen=True, kw_only=True)
class Request:
    number: int
    name: str
    data: bytes
    outcome: Refused | Accepted | Answered
    app: str = "main"
    behind_another: bool = True
    times: int = TIMES
    cpu_seconds: float | None = None

    @property
    def id(self) -> str:
        return f"{self.number}-{self.name}"


UPGRADE_REQUIRED = {"upgrade": "websocket", "sec-websocket-version": "13"}

BASE: dict[str, str | bytes] = {
    "Host": "testee.example",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": SAMPLE_KEY,
    "Sec-WebSocket-Version": "13",
    "Authorization": f"Bearer {SECRET}",
}


def encoded(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1")


def build(
    changes: Mapping[str, str | bytes | None] | None = None,
    *,
    line: str | bytes = "GET /echo HTTP/1.1",
    lines: Sequence[str | bytes] = (),
    body: bytes = b"",
) -> bytes:
    """The right request with some headers changed (None: without), raw lines added."""
    headers: dict[str, str | bytes | None] = {**BASE, **(changes or {})}
    out = [encoded(line)]
    for name, value in headers.items():
        if value is not None:
            out.append(encoded(name) + b": " + encoded(value))
    out += map(encoded, lines)
    return b"\r\n".join(out) + b"\r\n\r\n" + body


def refused(number: int, name: str, data: bytes, *statuses: int) -> Request:
    outcome = Refused(statuses=statuses or (400,))
    return Request(number=number, name=name, data=data, outcome=outcome)


def upgrade_required(number: int, name: str, data: bytes, *others: int) -> Request:
    headers = {} if others else UPGRADE_REQUIRED
    outcome = Refused(statuses=(426, *others), headers=headers)
    return Request(number=number, name=name, data=data, outcome=outcome)


def accepted(
    number: int, name: str, data: bytes, subprotocol: str | None = None
) -> Request:
    outcome = Accepted(subprotocol=subprotocol)
    return Request(number=number, name=name, data=data, outcome=outcome)


def request_lines() -> Iterator[Request]:
    for method in ("POST", "PUT"):
        yield Request(
            number=1,
            name=method,
            data=build(line=f"{method} /echo HTTP/1.1"),
            outcome=Refused(statuses=(405,), headers={"allow": "GET"}),
        )
    yield refused(2, "http-1.0", build(line="GET /echo HTTP/1.0"), 505, 400)
    for version in ("HTTP/0.9", "HTTP/2.0", "HTTP/1.10", "http/1.1"):
        yield refused(3, version, build(line=f"GET /echo {version}"), 505, 400)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield refused(4, "http-2-preface", preface, 400, 505)
    yield refused(5, "no-host", build({"Host": None}))
    yield refused(6, "same-hosts", build(lines=["Host: testee.example"]))
    yield refused(6, "different-hosts", build(lines=["Host: other.example"]))


def not_upgrading() -> Iterator[Request]:
    plain: dict[str, str | bytes | None] = dict.fromkeys(BASE)
    yield upgrade_required(7, "plain-get", build({**plain, "Host": "testee.example"}))
    for value in ("notwebsocket", "websocketx", "h2c", "websocket/13x", ""):
        yield upgrade_required(8, f"upgrade-{value}", build({"Upgrade": value}), 400)
    for name, option in (("keep-alive", "keep-alive"), ("empty", ""), ("none", None)):
        data = build({"Connection": option})
        yield upgrade_required(9, f"connection-{name}", data, 400)
    for value in ("notupgrade", "upgraded", "up grade", "upgrade;q=1"):
        data = build({"Connection": value})
        yield upgrade_required(10, value.replace(" ", "-"), data, 400)
    for value in ("keep-alive, Upgrade", "UPGRADE", "keep-alive ,\tuPgRaDe ,"):
        data = build({"Connection": value, "Upgrade": "WebSocket"})
        yield accepted(11, value.replace("\t", " "), data)
    data = build({"Connection": "keep-alive"}, lines=["Connection: Upgrade"])
    yield accepted(11, "in-two-headers", data)


def keys_and_versions() -> Iterator[Request]:
    name = "Sec-WebSocket-Key"
    yield refused(12, "no-key", build({name: None}))
    for size in (0, 15, 17):
        yield refused(13, f"key-of-{size}", build({name: b64encode(bytes(size))}))
    for what, key in (
        ("not-base64", b"dGhlIHNhbXBsZSBub25j!Q=="),
        ("no-padding", b"dGhlIHNhbXBsZSBub25jZQ"),
        ("one-padding", b"dGhlIHNhbXBsZSBub25jZQ="),
        ("three-paddings", b"dGhlIHNhbXBsZSBub25jZ==="),
        ("inner-space", b"dGhlIHNhbXBs ZSBub25jZQ=="),
        ("inner-space-of-24", b"dGhlIHNhbXBs SBub25jZQ=="),
        ("url-safe", b"_-hlIHNhbXBsZSBub25jZQ=="),
        ("8-bit", b"\xffGhlIHNhbXBsZSBub25jZQ=="),
    ):
        yield refused(14, what, build({name: key}))
    same = b"Sec-WebSocket-Key: " + SAMPLE_KEY
    yield refused(15, "same-keys", build(lines=[same]))
    other = b"Sec-WebSocket-Key: " + b64encode(bytes(16))
    yield refused(15, "different-keys", build(lines=[other]))
    name = "Sec-WebSocket-Version"
    yield upgrade_required(16, "no-version", build({name: None}))
    for version in ("8", "12", "14", "13, 8", "013", "+13", "", "13.0", "1 3"):
        what = f"version-{version or 'empty'}"
        yield upgrade_required(17, what, build({name: version}))
    for version in ("13", "8"):
        data = build(lines=[f"Sec-WebSocket-Version: {version}"])
        yield refused(18, f"13-and-{version}", data)


def origins() -> Iterator[Request]:
    def one(
        number: int,
        name: str,
        origin: str,
        *,
        ok: bool = False,
        app: str = "main",
        host: str = "testee.example",
        more: Sequence[str] = (),
    ) -> Request:
        lines = [f"Origin: {value}" for value in (origin, *more)]
        data = build({"Host": host}, line="GET /guarded HTTP/1.1", lines=lines)
        outcome = Accepted() if ok else Refused(statuses=(403,))
        name = f"{app}-{name}"
        return Request(number=number, name=name, data=data, outcome=outcome, app=app)

    yield one(19, "other", "http://other.example")
    yield one(19, "own", "http://testee.example", ok=True)
    yield one(19, "own-port", "http://t.example:81", host="t.example:81", ok=True)
    yield one(19, "default-port", "http://testee.example:80", ok=True)
    yield one(19, "in-the-list", "http://example.org", app="listed", ok=True)
    yield one(19, "with-port", "https://example.org:444", app="listed", ok=True)
    yield one(19, "own", "http://testee.example", app="listed")
    yield one(20, "null", "null")
    yield one(20, "null", "null", app="listed")
    for app, host in (("main", "testee.example"), ("listed", "example.org")):
        for name, origin in (
            ("suffix", f"http://{host}.evil.example"),
            ("prefix", f"http://evil-{host}"),
            ("subdomain", f"http://sub.{host}"),
            ("scheme", f"https://{host}"),
            ("ws-scheme", f"ws://{host}"),
            ("port", f"http://{host}:8080"),
            ("port-zeros", f"http://{host}:080"),
            ("trailing-dot", f"http://{host}."),
            ("userinfo", f"http://{host}@evil.example"),
            ("userinfo-port", f"http://{host}:80@evil.example"),
            ("own-userinfo", f"http://evil@{host}"),
            ("path", f"http://{host}/"),
            ("fragment", f"http://evil.example#{host}"),
            ("backslash", f"http://evil.example\\@{host}"),
            ("no-scheme", host),
            ("empty", ""),
            ("list", f"http://{host} http://evil.example"),
            ("8-kib", f"http://{host}" + "x" * 8100),
        ):
            yield one(21, name, origin, app=app)
        upper = f"http://{host.upper()}"
        yield one(21, "upper-case-host", upper, app=app, ok=True)
        own = f"http://{host}"
        yield one(21, "two", own, more=["http://evil.example"], app=app)
        yield one(21, "two-equal", own, more=[own], app=app)
    line = "GET /cookie HTTP/1.1"
    yield refused(22, "cookie", build({"Cookie": f"session={SECRET}"}, line=line), 403)
    yield accepted(22, "token", build(line=line))


def subprotocols() -> Iterator[Request]:
    name = "Sec-WebSocket-Protocol"
    line = "GET /spoken HTTP/1.1"
    unknown = build({name: "other, superchat"}, line=line)
    yield accepted(23, "unknown", unknown)
    yield accepted(23, "none-spoken", build({name: "chat.v1"}))
    known = build({name: "other, chat.v1 ,chat.v2"}, line=line)
    yield accepted(23, "known", known, "chat.v2")
    case = build({name: "Chat.V1"}, line=line)
    yield accepted(23, "other-case", case)
    for what, value in (
        ("space", b"chat v1"),
        ("semicolon", b"chat;v1"),
        ("quotes", b'"chat"'),
        ("slash", b"chat/v1"),
        ("empty-part", b"chat.v1,,chat.v2"),
        ("empty", b""),
        ("bare-cr", b"chat.v1\rX-Injected: 1"),
        ("bare-lf", b"chat.v1\nX-Injected: 1"),
        ("nul", b"chat.v1\0"),
        ("folded", b"chat.v1\r\n X-Injected: 1"),
    ):
        yield refused(24, what, build({name: value}, line=line))
    for what, value in (("80", b"\x80"), ("ff", b"chat\xff"), ("utf-8", b"\xc3\xa9")):
        yield refused(25, what, build({name: value}, line=line))
    many = ",".join(f"a{at}" for at in range(5000))
    duplicates = "a," * 2000 + "a"
    for number, what, value in (
        (26, "b-spaces-x", b"b" + b" " * 32_000 + b"x"),
        (26, "b-8000-spaces-x", b"b" + b" " * 8000 + b"x"),
        (27, "5000", many.encode()),
        (27, "duplicates", duplicates.encode()),
    ):
        for app in ("main", "roomy"):
            # Over the limit of a header line the size is what is refused.
            fits = app == "roomy" or len(value) < 8100
            yield Request(
                number=number,
                name=f"{app}-{what}",
                data=build({name: value}, line=line),
                outcome=Refused(statuses=(400,) if fits else (400, 431)),
                app=app,
                cpu_seconds=CPU_FACTOR * 0.005,
            )
    yield refused(27, "two-equal", build({name: "chat.v1, chat.v1"}, line=line))


def extensions() -> Iterator[Request]:
    name = "Sec-WebSocket-Extensions"
    offer = "permessage-deflate"
    for what, value in (
        ("separators", ';=,"' * 2000),
        ("open-quote", offer + '; a="' + "x" * 7000),
        ("escapes", offer + '; a="' + "\\" * 7000),
        ("parameters", offer + "; a=1" * 1500),
        ("1000-offers", ", ".join([offer] * 1000)),
        ("300-bad-offers", ", ".join([offer + "; a"] * 300)),
        ("names", "constructor, __class__, __proto__; toString=1, \u00e9"),
    ):
        for app in ("main", "roomy", "compressing"):
            large = len(value) > 8100 and app != "roomy"
            statuses = (400, 431) if large else (400,)
            yield Request(
                number=28,
                name=f"{app}-{what}",
                data=build({name: value}),
                outcome=Refused(statuses=statuses, or_accepted=not large),
                app=app,
                cpu_seconds=CPU_FACTOR * 0.005,
            )
    key = f"{offer}; server_max_window_bits"
    for bits in ("7", "16", "08", "abc", ""):
        yield accepted(29, f"bits-{bits or 'empty'}", build({name: f"{key}={bits}"}))
    yield accepted(29, "bits-without-value", build({name: key}))
    yield accepted(29, "bits-twice", build({name: f"{key}=10; {key}=11"}))
    yield accepted(30, "no-client-bits", build({name: offer}))
    second = f"{offer}; server_max_window_bits=99, {offer}"
    yield accepted(31, "second-is-valid", build({name: second}))
    yield from negotiation()


def negotiation() -> Iterator[Request]:
    """The same where compression is on."""
    offer = "permessage-deflate"
    plain = f"{offer}; server_no_context_takeover; client_no_context_takeover"

    def one(
        number: int, name: str, value: str, answer: str | None, path: str = "/echo"
    ) -> Request:
        headers = {"Sec-WebSocket-Extensions": value}
        return Request(
            number=number,
            name=f"compressing-{name}",
            data=build(headers, line=f"GET {path} HTTP/1.1"),
            outcome=Accepted(extensions=answer),
            app="compressing",
        )

    key = f"{offer}; server_max_window_bits"
    for bits in ("7", "16", "08", "abc", ""):
        yield one(29, f"bits-{bits or 'empty'}", f"{key}={bits}", None)
    yield one(29, "bits-without-value", key, None)
    twice = f"{key}=10; server_max_window_bits=11"
    yield one(29, "bits-twice", twice, None)
    yield one(29, "bits-9", f"{key}=9", f"{plain}; server_max_window_bits=9")
    yield one(30, "no-client-bits", offer, plain)
    # Where the window of what clients send is worth an answer.
    keeping, kept = "/deflate-keeping", f"{offer}; server_no_context_takeover"
    yield one(30, "no-client-bits-kept", offer, kept, keeping)
    bits = "client_max_window_bits"
    named = f"{kept}; {bits}=12"
    yield one(30, "client-bits-kept", f"{offer}; {bits}", named, keeping)
    yield one(31, "second-is-valid", f"{key}=99, {offer}", plain)
    yield one(117, "server-bits-8", f"{key}=8", None)
    yield one(117, "client-bits-8", f"{offer}; client_max_window_bits=8", plain)


def sizes() -> Iterator[Request]:
    long_line = "GET /echo?" + "x" * 8200 + " HTTP/1.1"
    yield refused(32, "request-line", build(line=long_line), 414)
    yield refused(32, "endless-request-line", b"GET /" + b"x" * 100_000, 414)
    at_limit = "GET /echo?" + "x" * (8192 - 10 - 9) + " HTTP/1.1"
    yield accepted(32, "request-line-of-8-kib", build(line=at_limit))
    yield refused(33, "header", build({"X-Long": "x" * 8200}), 431)
    yield refused(33, "endless-header", build()[:-2] + b"X: " + b"x" * 100_000, 431)
    yield refused(33, "endless-name", build()[:-2] + b"x" * 100_000, 431)
    for count in (101, 2000):
        lines = [f"X-{at}: 1" for at in range(count - len(BASE))]
        yield refused(34, f"{count}-headers", build(lines=lines), 431)
    lines = [f"X-{at}: 1" for at in range(100 - len(BASE))]
    yield accepted(34, "100-headers", build(lines=lines))
    lines = [f"X-{at}: " + "x" * 2000 for at in range(31)]
    yield Request(
        number=35,
        name="64-kib-of-headers",
        data=build(lines=lines),
        outcome=Refused(statuses=(431,)),
        cpu_seconds=CPU_FACTOR * 0.020,
    )


def header_syntax() -> Iterator[Request]:
    for what, line in (
        ("folded-header", b"X-Long: a\r\n b"),
        ("folded-with-tab", b"X-Long: a\r\n\tb"),
        ("bare-lf", b"X-A: a\nX-Injected: 1"),
        ("bare-cr", b"X-A: a\rX-Injected: 1"),
        ("nul-in-value", b"X-A: a\0b"),
        ("escape-in-value", b"X-A: a\x1bb"),
        ("delete-in-value", b"X-A: a\x7fb"),
        ("space-before-colon", b"X-A : a"),
        ("tab-before-colon", b"X-A\t: a"),
        ("no-colon", b"X-A"),
    ):
        yield refused(39, what, build(lines=[line]))
    only_lf = build().replace(b"\r\n", b"\n")
    yield refused(39, "only-lf", only_lf)
    folded_first = build().replace(b"\r\nHost", b"\r\n X: a\r\nHost")
    yield refused(39, "folded-first", folded_first)
    for what, line in (
        ("empty-name", b": a"),
        ("separator-in-name", b"X(A: a"),
        ("at-in-name", b"X@A: a"),
        ("space-in-name", b"X A: a"),
        ("8-bit-name", b"X\xe9: a"),
        ("control-in-name", b"X\x01: a"),
    ):
        yield refused(40, what, build(lines=[line]))


def bodies() -> Iterator[Request]:
    post = "POST /length HTTP/1.1"
    plain: dict[str, str | bytes | None] = dict.fromkeys(BASE)
    plain["Host"] = "testee.example"
    hidden = b"GET /second HTTP/1.1\r\nHost: testee.example\r\n\r\n"

    def posted(number: int, name: str, lines: Sequence[str], body: bytes) -> Request:
        data = build(plain, line=post, lines=lines, body=body)
        return refused(number, name, data)

    both = ["Content-Length: 5", "Transfer-Encoding: chunked"]
    yield posted(41, "length-and-chunked", both, b"0\r\n\r\n" + hidden)
    yield posted(41, "chunked-and-length", both[::-1], b"0\r\n\r\n" + hidden)
    for what, lines, body in (
        ("sized", ["Content-Length: 5"], b"hello"),
        ("frames", ["Content-Length: 12"], text("hello!")),
        ("chunked", ["Transfer-Encoding: chunked"], b"5\r\nhello\r\n0\r\n\r\n"),
        ("request", [f"Content-Length: {len(hidden)}"], hidden),
    ):
        yield refused(42, f"{what}-body", build(lines=lines, body=body))
    different = ["Content-Length: 5", "Content-Length: 6"]
    yield posted(43, "different-lengths", different, b"hello" + hidden)
    for what, length in (
        ("list", "5, 6"),
        ("plus", "+5"),
        ("minus", "-1"),
        ("underscore", "5_0"),
        ("hexadecimal", "0x5"),
        ("arabic-digits", "\u0665".encode().decode("latin-1")),
        ("10^30", "1" + "0" * 30),
        ("empty", ""),
        ("fraction", "5.0"),
        ("space", "5 0"),
    ):
        lines = [f"Content-Length: {length}"]
        yield posted(43, f"length-{what}", lines, b"hello" + hidden)
    chunked = ["Transfer-Encoding: chunked"]
    for what, body in (
        ("bad-size", b"g\r\nhello\r\n0\r\n\r\n"),
        ("minus-size", b"-1\r\n"),
        ("prefixed-size", b"0x5\r\nhello\r\n0\r\n\r\n"),
        ("huge-size", b"f" * 17 + b"\r\n"),
        ("junk-after-chunk", b"5\r\nhelloXX\r\n0\r\n\r\n"),
        ("newline-in-extension", b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
        ("lone-lf", b"5\nhello\n0\n\n"),
    ):
        yield posted(44, what, chunked, body + hidden)
    trailers = b"0\r\n" + b"X: " + b"x" * 20_000 + b"\r\n\r\n"
    data = build(plain, line=post, lines=chunked, body=trailers)
    yield refused(44, "long-trailers", data, 400, 431)
    for what, lines in (
        ("chunked-identity", ["Transfer-Encoding: chunked, identity"]),
        ("double-chunked", ["Transfer-Encoding: chunked, chunked"]),
        ("two-headers", chunked * 2),
        ("gzip", ["Transfer-Encoding: gzip"]),
        ("xchunked", ["Transfer-Encoding: xchunked"]),
    ):
        yield posted(44, what, lines, b"5\r\nhello\r\n0\r\n\r\n" + hidden)


def smuggling() -> Iterator[Request]:
    hidden = b"GET /second HTTP/1.1\r\nHost: testee.example\r\n\r\n"
    for what, changes, statuses in (
        ("no-key", {"Sec-WebSocket-Key": None}, (400,)),
        ("version-8", {"Sec-WebSocket-Version": "8"}, (426,)),
    ):
        yield refused(45, what, build(changes, body=hidden), *statuses)
    hook = build({"Authorization": None}, line="GET /guarded HTTP/1.1", body=hidden)
    yield refused(45, "refused-by-the-hook", hook, 401)


def targets() -> Iterator[Request]:
    """``/private/…`` asks for a token that these requests do not have."""
    secretless: dict[str, str | bytes | None] = {"Authorization": None}
    for what, target, statuses in (
        ("64-kib", "/" + "x" * 65_536, (414,)),
        ("nul", "/echo%00", (400, 404)),
        ("nul-inside", "/private%00/echo", (400, 404)),
        ("dots", "/static/%2e%2e%2fprivate/x", (400, 404)),
        ("plain-dots", "/echo/../private/x", (400, 401, 404)),
        ("dot", "/./private/x", (400, 401, 404)),
        ("encoded-letters", "/%70rivate/x", (401,)),
        ("double-encoded", "/%2570rivate/x", (404,)),
        ("encoded-slash", "/private%2fx", (400, 401, 404)),
        ("doubled-slash", "//private/x", (400, 401, 404)),
        ("backslash", "/private\\x", (400, 404)),
        ("broken-escape", "/echo%", (400, 404)),
        ("broken-escape-zz", "/echo%zz", (400, 404)),
        ("bad-utf-8", "/echo%ff", (400, 404)),
        ("overlong", "/echo%c0%af", (400, 404)),
        ("double-slash-host", "//testee.example/echo", (400, 404)),
        ("fragment", "/echo#frag", (400, 404)),
        ("8-bit", "/ech\xf6", (400, 404)),
        ("asterisk", "*", (400, 404)),
        ("no-slash", "echo", (400, 404)),
    ):
        data = build(secretless, line=f"GET {target} HTTP/1.1")
        yield refused(48, what, data, *statuses)
    absolute = build(line="GET http://testee.example/echo HTTP/1.1")
    yield Request(
        number=48,
        name="absolute-form",
        data=absolute,
        outcome=Refused(statuses=(400, 404), or_accepted=True),
    )
    yield Request(
        number=49,
        name="expect-100-continue",
        data=build(lines=["Expect: 100-continue"]),
        outcome=Refused(statuses=(417,), or_accepted=True),
    )
    connect = build(line="CONNECT testee.example:80 HTTP/1.1")
    yield refused(50, "connect", connect, 405)
    yield refused(50, "connect-path", build(line="CONNECT /echo HTTP/1.1"), 405)
    yield refused(50, "trace", build(line="TRACE /echo HTTP/1.1"), 405)
    for what, line in (
        ("escaped-newline-in-path", "GET /a%0d%0ab HTTP/1.1"),
        ("escaped-escape-in-path", "GET /a%1b%5b31m HTTP/1.1"),
    ):
        yield refused(53, what, build(line=line), 400, 404)
    yield refused(53, "escape-in-path", build(line="GET /a\x1b[31m HTTP/1.1"))
    yield Request(
        number=53,
        name="escape-in-user-agent",
        data=build({"User-Agent": "a\x1b[31mb"}),
        outcome=Refused(statuses=(400,), or_accepted=True),
    )
    yield accepted(53, "8-bit-user-agent", build({"User-Agent": "a\x9b31mb"}))


REQUESTS = with_repeats(
    chain(
        request_lines(),
        not_upgrading(),
        keys_and_versions(),
        origins(),
        subprotocols(),
        extensions(),
        sizes(),
        header_syntax(),
        bodies(),
        smuggling(),
        targets(),
    )
)
