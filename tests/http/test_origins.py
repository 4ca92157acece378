"""Origins that pass, and the tricks that must not."""

from __future__ import annotations

import pytest

from fastws.config import Limits
from fastws.engine.handshake import Request, parse_head
from fastws.http.origins import OriginRefused, origin_policy
from tests.http.exchange import upgrade

LIMITS = Limits()


def asked(*origins: str, host: str = "example.com", secure: bool = False) -> Request:
    data = upgrade(Host=host)[:-2]
    for origin in origins:
        data += f"Origin: {origin}\r\n".encode("latin-1")
    return parse_head(data + b"\r\n", LIMITS, None, secure)


def passes(
    request: Request, allowed: list[str] | None = None, debug: bool = False
) -> bool:
    try:
        origin_policy(allowed, debug).check(request)
    except OriginRefused:
        return False
    return True


@pytest.mark.parametrize(
    ("origin", "host", "secure"),
    [
        ("http://example.com", "example.com", False),
        ("http://EXAMPLE.com", "example.com", False),
        ("http://example.com", "Example.COM", False),
        ("http://example.com", "example.com:80", False),
        ("http://example.com:80", "example.com", False),
        ("https://example.com", "example.com", True),
        ("https://example.com", "example.com:443", True),
        ("http://example.com:8080", "example.com:8080", False),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", False),
        ("http://[::1]:8080", "[::1]:8080", False),
        ("http://a_b.example", "a_b.example", False),
    ],
)
def test_the_same_host_passes(origin: str, host: str, secure: bool) -> None:
    assert passes(asked(origin, host=host, secure=secure))


TRICKS = [
    "http://evil.example",
    "http://example.com.evil.example",
    "http://evilexample.com",
    "http://evil-example.com",
    "http://sub.example.com",
    "http://example.co",
    "https://example.com",
    "http://example.com:8080",
    "http://example.com:443",
    "http://example.com:080",
    "http://example.com:",
    "http://example.com.",
    "http://example.com.:80",
    "http://example.com@evil.example",
    "http://evil.example@example.com",
    "http://user:password@example.com",
    "http://example.com/",
    "http://example.com/path",
    "http://example.com?",
    "http://example.com#",
    "http://example.com\\@evil.example",
    "http://example.com http://example.com",
    "http://example.com, http://example.com",
    "HTTP://example.com",
    "Http://Example.com",
    "ftp://example.com",
    "//example.com",
    "example.com",
    "http:example.com",
    "http:///example.com",
    "http://",
    "null",
    "NULL",
    "*",
    "",
    "http://ex\xe4mple.com",
    "file://",
    "http://" + "a" * 8000,
    "http://" + "example.com." * 600,
]


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("allowed", [None, ["http://example.com"]])
@pytest.mark.parametrize("origin", TRICKS)
def test_tricks_are_refused(
    origin: str, allowed: list[str] | None, debug: bool
) -> None:
    assert not passes(asked(origin), allowed, debug)


def test_two_origins_are_refused() -> None:
    assert not passes(asked("http://example.com", "http://example.com"))
    assert not passes(asked("http://example.com", "http://example.com"), debug=True)
    assert not passes(asked("http://example.com", "null"), ["*"])


def test_no_origin_is_no_browser() -> None:
    assert passes(asked())
    assert passes(asked(), [])


def test_a_list_replaces_the_own_host() -> None:
    allowed = ["https://app.example", "http://localhost:3000", "tauri://localhost"]
    assert passes(asked("https://app.example"), allowed)
    assert passes(asked("https://APP.example:443"), allowed)
    assert passes(asked("http://localhost:3000"), allowed)
    assert passes(asked("tauri://localhost"), allowed)
    assert not passes(asked("http://localhost:3001"), allowed)
    assert not passes(asked("http://app.example"), allowed)
    assert not passes(asked("http://example.com"), allowed)
    assert not passes(asked("null"), allowed)
    assert not passes(asked("http://example.com"), [])


def test_everything_and_null_only_when_asked_for() -> None:
    assert passes(asked("http://anything.example"), ["*"])
    assert passes(asked("null"), ["null"])
    assert not passes(asked("http://anything.example"), ["null"])


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost",
        "http://localhost:5173",
        "https://localhost:5173",
        "http://app.localhost:3000",
        "http://127.0.0.1:3000",
        "http://127.1.2.3",
        "http://[::1]:3000",
    ],
)
def test_in_debug_loopback_passes_on_any_port(origin: str) -> None:
    assert passes(asked(origin), debug=True)
    assert passes(asked(origin), [], debug=True)
    assert not passes(asked(origin))


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost.evil.example",
        "http://evillocalhost",
        "http://127.0.0.1.evil.example",
        "http://128.0.0.1",
        "http://[::2]",
        "http://0x7f.1",
    ],
)
def test_in_debug_only_loopback_passes(origin: str) -> None:
    assert not passes(asked(origin), debug=True)


@pytest.mark.parametrize(
    ("origin", "setting"),
    [
        ("http://app.example", 'allowed_origins=["http://app.example"]'),
        ('http://a"b', 'allowed_origins=["http://a\\"b"]'),
        ("http://\x9b31m", 'allowed_origins=["http://\\u009b31m"]'),
    ],
)
def test_the_advice_can_be_pasted(origin: str, setting: str) -> None:
    with pytest.raises(OriginRefused) as caught:
        origin_policy(None, True).check(asked(origin))
    advice = caught.value.advice
    assert advice is not None
    assert advice.startswith(setting)
    assert advice.isascii()
    assert advice.isprintable()
    assert caught.value.status == 403
    assert advice not in caught.value.to_bytes().decode()


def test_policies_are_made_once() -> None:
    assert origin_policy(["http://a"], False) is origin_policy(["http://a"], False)
    assert origin_policy(None, False) is not origin_policy(None, True)
