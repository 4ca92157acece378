"""One server for all bad inputs, with a healthy neighbour that must not notice them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.patience import LONGEST, PATIENCE, Waiting
from tests.support.server import ServerOptions, ServerProcess
from tests.support.stream import NumberedStream

if TYPE_CHECKING:
    from tests.conftest import Certificates


@pytest.fixture(scope="session")
def server(certificates: Certificates) -> Iterator[ServerProcess]:
    """The server under test; its TLS handshakes may take one second."""
    options = ServerOptions(
        certificate=str(certificates.certificate),
        key=str(certificates.key),
        tls_timeout=1.0,
    )
    with ServerProcess(options) as process:
        yield process


@pytest.fixture(scope="session")
def stream(server: ServerProcess) -> Iterator[NumberedStream]:
    """A subscriber beside the bad peers, on the same worker."""
    with NumberedStream(server.address) as reader:
        yield reader


@pytest.fixture(scope="session")
def frozen() -> Iterator[ServerProcess]:
    """A server whose clock moves only by ``advance``."""
    with ServerProcess(ServerOptions(frozen=True)) as process:
        yield process


@pytest.fixture(scope="session")
def frozen_stream(frozen: ServerProcess) -> Iterator[NumberedStream]:
    with NumberedStream(frozen.address) as reader:
        yield reader


@pytest.fixture(scope="session", autouse=True)
def waiting() -> Iterator[dict[str, Waiting]]:
    """The peers of test_real_time: they wait from the first test here on."""
    with ServerProcess() as process:
        peers = {name: Waiting(process, one) for name, one in PATIENCE.items()}
        yield peers
        # Whoever still waits was not asked for.
        process.process.kill()
        for one in peers.values():
            one.thread.join(LONGEST)
