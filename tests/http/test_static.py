"""Files of a folder, and nothing beside it."""

from __future__ import annotations

import os
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from fastws.config import Limits
from fastws.engine.handshake import Refused, parse_head
from fastws.errors import ConfigError
from fastws.http.response import FileResponse, Response
from fastws.http.static import StaticFiles
from tests.http.exchange import Exchange, FakeService, Opened, request

LIMITS = Limits()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "files-beside").mkdir()
    (tmp_path / "files-beside" / "secret.txt").write_text("secret")
    root = tmp_path / "files"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("secret")
    (root / ".env").write_text("secret")
    (root / ".well-known").mkdir()
    (root / ".well-known" / "a.txt").write_text("known")
    (root / "index.html").write_text("<p>")
    (root / "sub" / "index.html").write_text("<b>")
    (root / "sub" / "a b.txt").write_text("spaced")
    (root / "app.js").write_text("1")
    (root / "large.bin").write_bytes(b"x" * 100_000)
    (root / "out").symlink_to(tmp_path / "secret.txt")
    (root / "beside").symlink_to(tmp_path / "files-beside")
    (root / "in").symlink_to(root / "app.js")
    (root / "loop").symlink_to(root / "loop")
    os.mkfifo(root / "pipe")
    return root


def get(
    files: StaticFiles, path: str, headers: dict[str, str] | None = None
) -> Response:
    """Ask for a path below /static, encoded as it is given."""
    one = parse_head(request(f"/static/{path}", headers), LIMITS)
    one.params = {"path": one.path.removeprefix("/static/")}
    return files(one)


@pytest.mark.parametrize(
    ("path", "body", "media_type"),
    [
        ("", b"<p>", "text/html; charset=utf-8"),
        ("index.html", b"<p>", "text/html; charset=utf-8"),
        ("sub/", b"<b>", "text/html; charset=utf-8"),
        ("sub/a%20b.txt", b"spaced", "text/plain; charset=utf-8"),
        ("app.js", b"1", "text/javascript; charset=utf-8"),
        ("in", b"1", "text/javascript; charset=utf-8"),
        (".well-known/a.txt", b"known", "text/plain; charset=utf-8"),
    ],
)
def test_files_are_served(root: Path, path: str, body: bytes, media_type: str) -> None:
    files = StaticFiles(root)
    for _ in range(2):
        response = get(files, path)
        assert (response.status, response.body) == (200, body)
        assert response.media_type == media_type
        assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "nothing.txt",
        "nothing/",
        "app.js/",
        "app.js/more",
        "../secret.txt",
        "%2e%2e/secret.txt",
        "%2e%2e%2fsecret.txt",
        "%252e%252e%252fsecret.txt",
        "%252e%252e/secret.txt",
        "..%5csecret.txt",
        "sub/../../secret.txt",
        "sub/deep/",
        "%2fetc%2fpasswd",
        "/etc/passwd",
        ".git/config",
        ".env",
        "%2eenv",
        "out",
        "beside/secret.txt",
        "loop",
        "pipe",
        "a" * 5000,
        "a%0d%0ab",
        "%F0%9F%98%80",
    ],
)
def test_everything_else_is_not_found(root: Path, path: str) -> None:
    with pytest.raises(Refused) as caught:
        get(StaticFiles(root), path)
    assert caught.value.status == 404


@pytest.mark.parametrize(
    "path",
    ["../../files-beside/secret.txt", "../files-beside/secret.txt", "x\0y", ".."],
)
def test_a_parameter_that_was_not_normalised_does_not_help(
    root: Path, path: str
) -> None:
    one = parse_head(request("/static/x"), LIMITS)
    one.params = {"path": path}
    with pytest.raises(Refused, match="404"):
        StaticFiles(root)(one)


def test_a_folder_without_its_slash_is_redirected(root: Path) -> None:
    response = get(StaticFiles(root), "sub")
    assert response.status == 301
    assert response.headers["Location"] == "/static/sub/"


def test_a_known_version_is_not_sent_again(root: Path) -> None:
    files = StaticFiles(root)
    headers = get(files, "app.js").headers
    etag, date = headers["ETag"], headers["Last-Modified"]
    current: list[dict[str, str]] = [
        {"If-None-Match": etag},
        {"If-None-Match": f'"x", W/{etag}'},
        {"If-None-Match": "*"},
        {"If-Modified-Since": date},
        {"If-None-Match": etag, "If-Modified-Since": formatdate(0, usegmt=True)},
    ]
    for one in current:
        response = get(files, "app.js", one)
        assert (response.status, response.body) == (304, b"")
        assert response.headers["ETag"] == etag
    stale: list[dict[str, str]] = [
        {"If-None-Match": '"x"'},
        {"If-None-Match": '"x"', "If-Modified-Since": date},
        {"If-Modified-Since": formatdate(0, usegmt=True)},
        {"If-Modified-Since": "yesterday"},
        {"If-Modified-Since": "Mon, 99 Foo 99999999999 00:00:00 GMT"},
    ]
    for one in stale:
        assert get(files, "app.js", one).status == 200


def test_a_changed_file_is_read_again(root: Path) -> None:
    files = StaticFiles(root)
    before = get(files, "app.js")
    (root / "app.js").write_text("22")
    after = get(files, "app.js")
    assert after.body == b"22"
    assert after.headers["ETag"] != before.headers["ETag"]


def test_a_large_file_is_not_kept(root: Path) -> None:
    response = get(StaticFiles(root), "large.bin")
    assert isinstance(response, FileResponse)
    assert response.length == 100_000
    assert response.read(10) == b"x" * 10
    response.close()


def test_the_cache_is_bounded(root: Path) -> None:
    for number in range(100):
        (root / f"{number}.bin").write_bytes(bytes([number]) * 60_000)
    files = StaticFiles(root)
    for number in range(100):
        assert get(files, f"{number}.bin").body == bytes([number]) * 60_000
    kept: Any = files
    assert kept._cached_bytes == sum(len(body) for _, body in kept._cache.values())
    assert kept._cached_bytes <= 4 * 1024 * 1024
    assert get(files, "0.bin").body == b"\0" * 60_000


def test_a_missing_folder_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a folder"):
        StaticFiles(tmp_path / "nothing")


@pytest.mark.parametrize(
    "target",
    [
        "/static/../secret.txt",
        "/static/%2e%2e/secret.txt",
        "/static/%252e%252e%252fsecret.txt",
    ],
)
def test_traversal_ends_the_connection(root: Path, opened: Opened, target: str) -> None:
    service = FakeService()
    files = StaticFiles(root, parameter="at")
    service.answer("/static/%2e%2e%2fsecret.txt", files)
    service.answer("/secret.txt", files)
    exchange = Exchange(service)
    exchange.send(request(target))
    assert exchange.statuses == [404]
    assert exchange.is_ended
