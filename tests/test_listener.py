"""listener: sockets on one port, TLS contexts, and errors that say what to do."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from fastws import Config, StartupError
from fastws.listener import listening_sockets, port_owner, tls_context

LISTEN = """
import socket, sys
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
sys.stdin.read()
"""


def listen(host: str, port: int = 0) -> list[socket.socket]:
    return asyncio.run(listening_sockets(host, port, 16))


@contextmanager
def closing(sockets: list[socket.socket]) -> Iterator[list[socket.socket]]:
    try:
        yield sockets
    finally:
        for one in sockets:
            one.close()


@contextmanager
def process_that_listens() -> Iterator[tuple[int, int]]:
    """The pid and the port of another process that listens."""
    process = subprocess.Popen(
        [sys.executable, "-c", LISTEN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.pid, int(process.stdout.readline())
    finally:
        process.communicate()


def test_a_free_port_is_found_and_listened_on() -> None:
    with closing(listen("127.0.0.1")) as (one,):
        host, port = one.getsockname()
        assert host == "127.0.0.1"
        assert port > 0
        with socket.create_connection((host, port)) as client:
            accepted, address = one.accept()
            accepted.close()
            assert address == client.getsockname()
        assert not one.getblocking()
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)


def test_every_address_of_a_name_gets_a_socket_on_one_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def both(*_: Any, **__: Any) -> list[Any]:
        stream = socket.SOCK_STREAM
        return [
            (socket.AF_INET, stream, 6, "", ("127.0.0.1", 0)),
            (socket.AF_INET, stream, 6, "", ("127.0.0.2", 0)),
            (socket.AF_INET, stream, 6, "", ("127.0.0.2", 0)),
            # Not an address of this machine: left out, as ::1 is without IPv6.
            (socket.AF_INET, stream, 6, "", ("203.0.113.77", 0)),
            (socket.AF_UNIX, stream, 0, "", "socket"),
        ]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", both)
    with closing(listen("localhost")) as sockets:
        addresses = [one.getsockname() for one in sockets]
    assert [host for host, _ in addresses] == ["127.0.0.1", "127.0.0.2"]
    assert len({port for _, port in addresses}) == 1


def test_a_port_that_is_free_on_one_address_only_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Port 0: the port that the first address got is in use on the second."""
    tried: list[int] = []

    class Taken(socket.socket):
        def listen(self, backlog: int = 0, /) -> None:
            host, port = self.getsockname()
            if host == "127.0.0.2":
                tried.append(port)
                if len(tried) < 3:
                    raise OSError(errno.EADDRINUSE, "taken")
            super().listen(backlog)

    async def both(*_: Any, **__: Any) -> list[Any]:
        hosts = "127.0.0.1", "127.0.0.2"
        return [(socket.AF_INET, 1, 6, "", (host, 0)) for host in hosts]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", both)
    monkeypatch.setattr("fastws.listener.socket.socket", Taken)
    with closing(listen("localhost")) as sockets:
        assert [one.getsockname()[1] for one in sockets] == [tried[2], tried[2]]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EADDRINUSE, ":0 is in use"),
        (errno.ENOBUFS, "cannot listen on 127.0.0.1:0: .*no buffers"),
    ],
)
def test_what_does_not_pass_ends_the_trying(
    monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    class Broken(socket.socket):
        def listen(self, backlog: int = 0, /) -> None:
            raise OSError(number, "no buffers")

    monkeypatch.setattr("fastws.listener.socket.socket", Broken)
    with pytest.raises(StartupError, match=message):
        listen("127.0.0.1")


def test_a_name_without_any_address_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    async def elsewhere(*_: Any, **__: Any) -> list[Any]:
        hosts = "203.0.113.77", "203.0.113.78"
        return [(socket.AF_INET, 1, 6, "", (host, 0)) for host in hosts]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", elsewhere)
    with pytest.raises(
        StartupError, match="elsewhere is not an address of this machine"
    ):
        listen("elsewhere")


def test_without_proc_the_owner_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(listen("127.0.0.1")) as (one,):
        port = one.getsockname()[1]
        monkeypatch.setattr(Path, "exists", lambda self: False)
        with pytest.raises(StartupError, match=rf"`lsof -i :{port}` shows which"):
            listen("127.0.0.1", port)


@pytest.mark.skipif(not socket.has_ipv6, reason="Python was built without IPv6")
def test_ipv6_stays_on_its_own_side() -> None:
    try:
        sockets = listen("::1")
    except StartupError:
        pytest.skip("this machine has no IPv6")
    with closing(sockets) as (one,):
        assert one.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def test_a_port_in_use_names_its_process() -> None:
    with process_that_listens() as (pid, port):
        assert port_owner(port) == (pid, Path(f"/proc/{pid}/comm").read_text().strip())
        with pytest.raises(StartupError, match=rf":{port} is in use by process {pid} "):
            listen("127.0.0.1", port)


def test_a_port_in_use_by_ourselves_says_so() -> None:
    with closing(listen("127.0.0.1")) as (one,):
        port = one.getsockname()[1]
        with pytest.raises(
            StartupError, match=rf"this very process \(pid {os.getpid()}"
        ):
            listen("127.0.0.1", port)


def test_a_port_whose_owner_cannot_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: object) -> str:
        raise PermissionError

    with closing(listen("127.0.0.1")) as (one,):
        port = one.getsockname()[1]
        monkeypatch.setattr(os, "readlink", refused)
        assert port_owner(port) is None
        with pytest.raises(StartupError, match="that this user may not look into"):
            listen("127.0.0.1", port)


def test_nobody_owns_a_free_port() -> None:
    with socket.socket() as holder:
        # Bound, nobody else can listen there meanwhile.
        holder.bind(("127.0.0.1", 0))
        assert port_owner(holder.getsockname()[1]) is None


def test_a_port_without_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: object, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    class Refused(socket.socket):
        bind = refused

    monkeypatch.setattr("fastws.listener.socket.socket", Refused)
    with pytest.raises(StartupError, match="ports below 1024 belong to root"):
        listen("127.0.0.1", 80)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("no-such-host.invalid", "host 'no-such-host.invalid' was not found"),
        ("a" * 70 + ".example", "was not found"),
        ("203.0.113.77", "203.0.113.77 is not an address of this machine"),
    ],
)
def test_a_host_that_is_none_of_ours(host: str, message: str) -> None:
    with pytest.raises(StartupError, match=message):
        listen(host)


def test_no_certificate_is_plain_tcp() -> None:
    assert tls_context(Config()) is None


def test_a_ready_context_is_taken() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert tls_context(Config(ssl=context)) is context


def test_a_client_context_is_refused() -> None:
    with pytest.raises(StartupError, match="client's context"):
        tls_context(Config(ssl=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)))


def test_certificate_and_key_files_make_a_context(certificates: Any) -> None:
    context = tls_context(
        Config(
            ssl_certificate=str(certificates.certificate),
            ssl_key=str(certificates.key),
        )
    )
    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_certificate_and_key_may_be_one_file(certificates: Any, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(
        certificates.key.read_bytes() + certificates.certificate.read_bytes()
    )
    assert tls_context(Config(ssl_certificate=str(both))) is not None


ENCRYPTED_KEY = """\
-----BEGIN RSA PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-128-CBC,000102030405060708090A0B0C0D0E0F

MIIEpAIBAAKCAQEA
-----END RSA PRIVATE KEY-----
"""


def test_wrong_files_are_explained(certificates: Any, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no certificate")
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_text(ENCRYPTED_KEY)
    damaged = tmp_path / "damaged.pem"
    damaged.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    missing = tmp_path / "missing.pem"
    certificate, key = certificates.certificate, certificates.key
    cases: list[tuple[Path, Path | None, str]] = [
        (missing, key, "certificate file .*missing.pem' cannot be read: No such file"),
        (certificate, missing, "private key file .*missing.pem' cannot be read"),
        (tmp_path, key, "cannot be read: Is a directory"),
        (text, key, "holds no certificate in PEM form"),
        (certificate, text, "holds no private key in PEM form"),
        (certificate, None, "there is no private key in it: .*ssl_key="),
        (certificate, encrypted, "encrypted.key': the private key is encrypted"),
        (damaged, key, "certificate or key is damaged"),
    ]
    for certificate_file, key_file, message in cases:
        config = Config(
            ssl_certificate=str(certificate_file),
            ssl_key=None if key_file is None else str(key_file),
        )
        with pytest.raises(StartupError, match=message):
            tls_context(config)


def test_a_key_of_another_certificate(certificates: Any, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    issued = trustme.CA().issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(other)
    config = Config(ssl_certificate=str(certificates.certificate), ssl_key=str(other))
    with pytest.raises(StartupError, match="does not belong to the certificate"):
        tls_context(config)


def test_two_may_listen_on_one_port_if_both_say_so() -> None:
    def listen_too(port: int, reuse_port: bool) -> list[socket.socket]:
        return asyncio.run(
            listening_sockets("127.0.0.1", port, 16, reuse_port=reuse_port)
        )

    with closing(listen_too(0, True)) as first:
        port = first[0].getsockname()[1]
        with closing(listen_too(port, True)) as second:
            assert second[0].getsockname() == first[0].getsockname()
        with pytest.raises(StartupError, match="in use"):
            listen_too(port, False)
