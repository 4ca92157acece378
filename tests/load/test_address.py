"""Where a URL's host is, as the generator's C takes it."""

from __future__ import annotations

import socket
import struct

import pytest

from fastws.load import LoadError, Options
from fastws.load.address import resolve
from fastws.load.request import read_url
from tests.load.conftest import short
from tests.load.opponent import Start


def resolved(url: str) -> tuple[bytes, str]:
    return resolve(read_url(url), Options(url=url))


def test_an_ipv4_address() -> None:
    address, place = resolved("ws://127.0.0.2:8080/")
    assert struct.unpack("=H", address[:2]) == (socket.AF_INET,)
    assert address[2:8] == b"\x1f\x90\x7f\x00\x00\x02"
    assert len(address) == 16
    assert place == "127.0.0.2:8080"


def test_an_ipv6_address() -> None:
    address, place = resolved("ws://[::1]:8080/")
    assert struct.unpack("=H", address[:2]) == (socket.AF_INET6,)
    assert address[2:8] == b"\x1f\x90" + bytes(4)
    assert address[8:24] == bytes(15) + b"\x01"
    assert len(address) == 28
    assert place == "[::1]:8080"


def test_a_name_finds_the_address_that_listens(opponent: Start) -> None:
    """It may stand for ::1 as well, and the server is only at 127.0.0.1."""
    url = opponent().url().replace("127.0.0.1", "localhost")
    assert short(url).operations > 0


def test_a_name_that_nobody_has() -> None:
    with pytest.raises(LoadError, match="cannot find the host"):
        resolved("ws://nobody.invalid/")
