"""The checks that everything else relies on do fail when they should."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.client import RawClient, upgrade_request
from tests.support.frames import TEXT, Frame, frame, masked, take_frame, text
from tests.support.server import SECRET, ServerProcess
from tests.support.stream import NumberedStream


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess() as process:
        yield process


def check_often(stream: NumberedStream) -> None:
    """The number before the gap may still be on its way."""
    for _ in range(10):
        stream.check()


def test_the_stream_notices_a_gap(server: ServerProcess) -> None:
    with NumberedStream(server.address) as stream:
        stream.check()
        server.call("skip_number")
        with pytest.raises(AssertionError, match="came after"):
            check_often(stream)


def test_a_connection_left_behind_is_noticed(server: ServerProcess) -> None:
    before = server.snapshot()
    with RawClient(server.address) as client:
        client.upgrade()
        with pytest.raises(AssertionError, match="connections"):
            server.check_settled(before, seconds=0.1)
    server.check_settled(before)


def test_a_secret_in_the_log_is_noticed(server: ServerProcess) -> None:
    server.take_records()
    with RawClient(server.address) as client:
        client.send(upgrade_request(f"/private/{SECRET}"))
        assert client.read_response().status == 401
        with pytest.raises(AssertionError, match=SECRET):
            server.take_records()


def test_what_a_server_must_not_send_is_noticed() -> None:
    assert take_frame(bytearray(b"\x81\x02hi")) == Frame(TEXT, b"hi", fin=True)
    assert take_frame(bytearray(b"\x81\x02h")) is None
    for wrong in (
        text("masked"),
        b"\xc1\x00",
        b"\x83\x00",
        b"\x09\x00",
        b"\x81\x7e\x00\x01a",
        frame(8, b"\x03", key=None),
    ):
        with pytest.raises(AssertionError):
            take_frame(bytearray(wrong))


def test_masking() -> None:
    assert masked(b"\0\0\0\0\0", b"abcd") == b"abcda"
    assert masked(masked(b"payload", b"abcd"), b"abcd") == b"payload"
