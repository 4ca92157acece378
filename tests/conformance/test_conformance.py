"""The Autobahn cases, driven by kosoku: all but compression (12 and 13)."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import kosoku
import pytest
import uvloop

from tests.support.client import Address
from tests.support.kinds import LoopName
from tests.support.server import ServerOptions, ServerProcess
from tests.support.tunnel import tls_tunnel

if TYPE_CHECKING:
    from kosoku._kosoku import CaseResult

    from tests.conftest import Certificates

EXCLUDED = ["12.*", "13.*"]
CASES = 301
# What the RFC leaves open; everything else has to be OK, and nothing NON-STRICT.
INFORMATIONAL = {"7.1.6", "7.13.1", "7.13.2"}
# Several at a time: the slow ones wait for silence most of their time.
CONCURRENCY = 8


async def drive(url: str) -> list[CaseResult]:
    try:
        return await kosoku.run_fuzzingclient(
            url, exclude_cases=EXCLUDED, concurrency=CONCURRENCY
        )
    except kosoku.FailureError as failure:
        # It has the results of all cases, the good ones too.
        return failure.results


async def drive_through_tls(
    target: Address, path: str, context: ssl.SSLContext
) -> list[CaseResult]:
    """The suite's own client speaks no TLS."""
    async with tls_tunnel(target, context) as port:
        return await drive(f"ws://127.0.0.1:{port}{path}")


def check(results: list[CaseResult]) -> None:
    verdicts = {
        one.case_id: (one.behavior.value, one.behavior_close.value) for one in results
    }
    assert len(verdicts) == CASES
    faults = [
        (one.case_id, *verdicts[one.case_id], one.result, one.result_close)
        for one in results
        if verdicts[one.case_id] != ("OK", "OK") and one.case_id not in INFORMATIONAL
    ]
    assert not faults, "\n".join(map(str, faults))
    assert {verdicts[case] for case in INFORMATIONAL} == {
        ("INFORMATIONAL", "INFORMATIONAL")
    }


def options(loop: LoopName, certificates: Certificates) -> ServerOptions:
    return ServerOptions(
        loop=loop,
        certificate=str(certificates.certificate),
        key=str(certificates.key),
    )


@pytest.mark.timeout(180)
@pytest.mark.parametrize("path", ["/large", "/large-async"])
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_autobahn(loop: LoopName, path: str, certificates: Certificates) -> None:
    with ServerProcess(options(loop, certificates)) as server:
        host, port = server.address
        check(uvloop.run(drive(f"ws://{host}:{port}{path}")))
        assert server.process.poll() is None


@pytest.mark.timeout(180)
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_autobahn_over_tls(loop: LoopName, certificates: Certificates) -> None:
    context = certificates.client_context()
    with ServerProcess(options(loop, certificates)) as server:
        target = server.addresses["tls"]
        check(uvloop.run(drive_through_tls(target, "/large", context)))
        assert server.process.poll() is None
