"""errors: one tree, and what each exception carries."""

from __future__ import annotations

import pytest

import fastws
from fastws import errors


def test_every_error_is_in_one_tree() -> None:
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.FastwsError)


def test_the_tree_at_the_top_of_the_file_is_complete() -> None:
    drawn = errors.__doc__ or ""
    assert all(name in drawn for name in errors.__all__)


def test_every_error_is_public() -> None:
    assert set(errors.__all__) <= set(fastws.__all__)


def test_protocol_error_has_a_code_and_a_stable_kind() -> None:
    error = errors.ProtocolError(1002, "unmasked_frame")
    assert (error.code, error.kind, str(error)) == (
        1002,
        "unmasked_frame",
        "unmasked_frame",
    )
    assert str(errors.ProtocolError(1009, "too_big", "2 MiB")) == "2 MiB"


def test_connection_closed_says_how_it_ended() -> None:
    error = errors.ConnectionClosed(1001, "bye")
    assert (error.code, error.reason) == (1001, "bye")
    assert str(error) == "connection closed: 1001 bye"
    assert str(errors.ConnectionClosed(1006)) == "connection closed: 1006"


def test_reject_has_the_defaults_of_a_plain_refusal() -> None:
    error = errors.Reject()
    assert (error.status, error.body, error.headers) == (403, "", {})


def test_reject_keeps_its_own_copy_of_the_headers() -> None:
    headers = {"WWW-Authenticate": "Bearer"}
    error = errors.Reject(401, b"no", headers)
    headers.clear()
    assert error.headers == {"WWW-Authenticate": "Bearer"}


@pytest.mark.parametrize("status", [101, 200, 299, 600])
def test_reject_is_never_an_acceptance(status: int) -> None:
    with pytest.raises(ValueError, match="from 300 to 599"):
        errors.Reject(status)


def test_handshake_error_carries_the_response() -> None:
    error = errors.HandshakeError(403, b"no", {"server": "x"})
    assert (error.status, error.body, error.headers) == (403, b"no", {"server": "x"})
    assert "403" in str(error)


def test_state_error_is_a_runtime_error() -> None:
    assert issubclass(errors.StateError, RuntimeError)
