"""What a server needs before it can accept: listening sockets and a TLS context.

Everything that goes wrong here is a StartupError whose message says what to do.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from .config import Config
from .errors import StartupError

__all__ = ["listening_sockets", "port_owner", "tls_context"]

# Port 0 with several addresses: the port that the first address was given may be taken
# on the next one; then everything is tried again.
_FREE_PORT_TRIES = 8

_LISTEN_STATE = "0A"  # TCP_LISTEN in the fourth column of /proc/net/tcp

_Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]


async def listening_sockets(
    host: str, port: int, backlog: int, *, reuse_port: bool = False
) -> list[socket.socket]:
    """Listen on every address of ``host``, on one port; StartupError says why not.

    A name such as ``localhost`` may have an IPv4 and an IPv6 address: each gets its
    socket. Port 0 takes a free port, the same one for all.
    """
    addresses = await _addresses(host, port)
    for _ in range(_FREE_PORT_TRIES - 1):
        try:
            return _listen_on_all(addresses, backlog, reuse_port)
        except OSError as error:
            if port != 0 or error.errno != errno.EADDRINUSE:
                raise _startup_error(error, host, port) from None
    try:
        return _listen_on_all(addresses, backlog, reuse_port)
    except OSError as error:
        raise _startup_error(error, host, port) from None


async def _addresses(host: str, port: int) -> list[_Address]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (socket.gaierror, UnicodeError) as error:
        raise StartupError(
            f"host {host!r} was not found ({error}): give an address of this machine, "
            "such as 127.0.0.1, or 0.0.0.0 for all of them"
        ) from None
    addresses: list[_Address] = []
    for family, _, _, _, address in found:
        if family not in (socket.AF_INET, socket.AF_INET6):
            continue
        if family == socket.AF_INET6 and not socket.has_ipv6:
            continue
        entry = (socket.AddressFamily(family), address)
        if entry not in addresses:
            addresses.append(entry)  # type: ignore[arg-type]
    return addresses


def _listen_on_all(
    addresses: Sequence[_Address], backlog: int, reuse_port: bool
) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    port = 0
    try:
        for family, address in addresses:
            target = (address[0], port or address[1], *address[2:])
            try:
                one = _listen(family, target, backlog, reuse_port)
            except OSError as error:
                # A name with several addresses: a machine without IPv6 still has
                # ::1 in its hosts file.
                if len(addresses) > 1 and error.errno in (
                    errno.EADDRNOTAVAIL,
                    errno.EAFNOSUPPORT,
                ):
                    continue
                raise
            sockets.append(one)
            port = one.getsockname()[1]
        if not sockets:
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    except BaseException:
        for one in sockets:
            one.close()
        raise
    return sockets


def _listen(
    family: socket.AddressFamily,
    address: tuple[object, ...],
    backlog: int,
    reuse_port: bool,
) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setblocking(False)
        # A restart must not wait for the old connections' TIME_WAIT; a port on which
        # somebody listens stays refused.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            # Each socket has a queue of its own: what waits in one that is closed is
            # reset.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # The IPv4 side has a socket of its own.
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(address)
        # Two sockets may be bound to one port as long as neither listens: only
        # listen() says for certain that the port is ours.
        one.listen(backlog)
    except BaseException:
        one.close()
        raise
    return one


def _startup_error(error: OSError, host: str, port: int) -> StartupError:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return StartupError(
            f"{where} is in use{_owner_phrase(port)}: stop it, or choose another port "
            "with port= or --port"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return StartupError(
            f"no permission to listen on {where}: ports below 1024 belong to root; "
            "choose a higher port, or give the process CAP_NET_BIND_SERVICE"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return StartupError(
            f"{host} is not an address of this machine: use 127.0.0.1 for local "
            "connections only, or 0.0.0.0 for all addresses"
        )
    return StartupError(f"cannot listen on {where}: {error}")


def _owner_phrase(port: int) -> str:
    if not Path("/proc/net/tcp").exists():
        return f" by another process (`lsof -i :{port}` shows which)"
    owner = port_owner(port)
    if owner is None:
        return " by a process that this user may not look into"
    pid, name = owner
    if pid == os.getpid():
        return f" by this very process (pid {pid})"
    return f" by process {pid} ({name})"


def port_owner(port: int) -> tuple[int, str] | None:
    """Give pid and name of the process that listens on a TCP port, if it can be seen.

    Reads /proc, so it answers on Linux only, and only for the processes whose
    descriptors this user may list.
    """
    wanted = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not wanted:
        return None
    for process in filter(str.isdigit, os.listdir("/proc")):
        # Processes come and go meanwhile, and most may belong to somebody else.
        with suppress(OSError):
            if not wanted.isdisjoint(_descriptors(f"/proc/{process}/fd")):
                name = Path(f"/proc/{process}/comm").read_text().strip()
                return int(process), name
    return None


def _descriptors(folder: str) -> Iterator[str]:
    for name in os.listdir(folder):
        with suppress(OSError):
            yield os.readlink(f"{folder}/{name}")


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, _, state, *rest = line.split()
            if state == _LISTEN_STATE and int(local.rpartition(":")[2], 16) == port:
                yield rest[5]


def tls_context(config: Config) -> ssl.SSLContext | None:
    """Give the TLS context that a configuration asks for, or ``None`` for plain TCP."""
    if config.ssl is not None:
        if config.ssl.protocol == ssl.PROTOCOL_TLS_CLIENT:
            raise StartupError(
                "ssl= is a client's context: make one with "
                "ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)"
            )
        return config.ssl
    if config.ssl_certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load_certificate(context, config.ssl_certificate, config.ssl_key)
    return context


def _load_certificate(
    context: ssl.SSLContext, certificate: str, key: str | None
) -> None:
    # Read both first: OpenSSL's own errors do not say which file they mean.
    for file, what in ((certificate, "certificate"), (key, "private key")):
        if file is not None:
            _check_readable(file, what)
    where = f"{certificate!r}" if key is None else f"{certificate!r} and {key!r}"
    try:
        context.load_cert_chain(certificate, key, password=_refuse_password)
    except ssl.SSLError as error:
        raise StartupError(
            f"{where}: {_tls_advice(error, certificate, key)}"
        ) from error
    except _EncryptedKey:
        raise StartupError(
            f"{key or certificate!r}: the private key is encrypted; decrypt it, or "
            "load it yourself and pass ssl=SSLContext"
        ) from None


class _EncryptedKey(Exception):
    """OpenSSL asked for the password of a private key."""


def _refuse_password() -> str:
    # Without a callback OpenSSL would ask on the terminal and hang a service.
    raise _EncryptedKey


def _check_readable(file: str, what: str) -> None:
    try:
        with open(file, "rb"):
            return
    except OSError as error:
        raise StartupError(
            f"the {what} file {file!r} cannot be read: {error.strerror}"
        ) from None


def _tls_advice(error: ssl.SSLError, certificate: str, key: str | None) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the private key does not belong to the certificate"
    if b"-----BEGIN CERTIFICATE-----" not in Path(certificate).read_bytes():
        return f"{certificate!r} holds no certificate in PEM form"
    if b"PRIVATE KEY-----" not in Path(key or certificate).read_bytes():
        if key is None:
            return "there is no private key in it: name its file with ssl_key="
        return f"{key!r} holds no private key in PEM form"
    return f"certificate or key is damaged ({error.reason or error})"
