"""The Autobahn cases, driven by kosoku: 301, and 216 of compression, 12 and 13.

Each of the latter exchanges a thousand messages: every run takes some of each kind, the
service run all of them.
"""

from __future__ import annotations

import functools
import importlib
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import kosoku
import pytest
import uvloop
from kosoku._caseindex import initialize_shims

from tests.support.client import Address
from tests.support.kinds import LINK, LOOP, LinkName, LoopName
from tests.support.server import ServerOptions, ServerProcess
from tests.support.tunnel import tls_tunnel

if TYPE_CHECKING:
    from kosoku._kosoku import CaseResult

    from tests.conftest import Certificates

# 12 and 13 want an endpoint that compresses.
COMPRESSION = ["12.*", "13.*"]
KINDS = [f"12.{at}" for at in range(1, 6)] + [f"13.{at}" for at in range(1, 8)]
# Of each kind: messages that get no smaller, that do, and that come in fragments.
SOME_COMPRESSION = [f"{kind}.{number}" for kind in KINDS for number in (1, 4, 11)]
PLAIN_CASES = 301
CASES_OF_A_KIND = 18
# What the RFC leaves open; everything else has to be OK, and nothing NON-STRICT.
INFORMATIONAL = {"7.1.6", "7.13.1", "7.13.2"}
# The suite leaves the files of its messages to the garbage collector.
unclosed = pytest.mark.filterwarnings("ignore:unclosed file.*testdata:ResourceWarning")
# Several at a time: the slow ones wait for silence most of their time.
CONCURRENCY = 8


async def drive(url: str, cases: list[str] | None = None) -> list[CaseResult]:
    """Those of compression that are named, or all others.

    The suite gives a server one second to end TCP, and as long to refuse a wrong byte
    before the rest comes. Where a busy machine was late, that case is asked again,
    alone; a server that does not do it fails again.
    """
    chosen = {"exclude_cases": COMPRESSION} if cases is None else {"cases": cases}
    take_plain_messages()
    results = await run_cases(url, CONCURRENCY, **chosen)
    late = [
        one.case_id
        for one in results
        if one.was_server_connection_drop_timeout or one.behavior.value == "NON-STRICT"
    ]
    if not late:
        return results
    print("late:", late)  # noqa: T201
    again = {one.case_id: one for one in await run_cases(url, 1, cases=late)}
    return [again.get(one.case_id, one) for one in results]


async def run_cases(
    url: str, concurrency: int, **chosen: list[str]
) -> list[CaseResult]:
    try:
        return await kosoku.run_fuzzingclient(url, concurrency=concurrency, **chosen)
    except kosoku.FailureError as failure:
        # It has the results of all cases, the good ones too.
        return failure.results


@functools.cache
def take_plain_messages() -> None:
    """Repair the cases of compression: they want bytes, and the driver gives them bytes
    only of a message that came compressed. A server is free to send the others too."""
    initialize_shims()
    module = importlib.import_module("case12_x_x")
    for case in (*module.Case12_X_X, *module.Case13_X_X):
        case.onMessage = taking_bytes(case.onMessage)


def taking_bytes(on_message: Callable[..., None]) -> Callable[..., None]:
    def taken(case: Any, message: str | bytes, binary: bool) -> None:
        if isinstance(message, str):
            message = message.encode("latin-1" if binary else "utf-8")
        on_message(case, message, binary)

    return taken


async def drive_through_tls(
    target: Address,
    path: str,
    context: ssl.SSLContext,
    cases: list[str] | None = None,
) -> list[CaseResult]:
    """The suite's own client speaks no TLS."""
    async with tls_tunnel(target, context) as port:
        return await drive(f"ws://127.0.0.1:{port}{path}", cases)


def check(results: list[CaseResult], count: int, open_cases: set[str]) -> None:
    """All of them are OK, but those that the RFC leaves open."""
    verdicts = {
        one.case_id: (one.behavior.value, one.behavior_close.value) for one in results
    }
    assert len(verdicts) == count
    faults = [
        (one.case_id, *verdicts[one.case_id], one.result, one.result_close)
        for one in results
        if verdicts[one.case_id] != ("OK", "OK") and one.case_id not in open_cases
    ]
    assert not faults, "\n".join(map(str, faults))
    assert {verdicts[case] for case in open_cases} <= {
        ("INFORMATIONAL", "INFORMATIONAL")
    }


def options(
    loop: LoopName, certificates: Certificates, link: LinkName = LINK
) -> ServerOptions:
    return ServerOptions(
        loop=loop,
        link=link,
        certificate=str(certificates.certificate),
        key=str(certificates.key),
    )


@pytest.mark.timeout(180)
@pytest.mark.parametrize("path", ["/large", "/large-async"])
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_autobahn(loop: LoopName, path: str, certificates: Certificates) -> None:
    with ServerProcess(options(loop, certificates)) as server:
        host, port = server.address
        results = uvloop.run(drive(f"ws://{host}:{port}{path}"))
        check(results, PLAIN_CASES, INFORMATIONAL)
        assert server.process.poll() is None


@pytest.mark.timeout(180)
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_autobahn_over_tls(loop: LoopName, certificates: Certificates) -> None:
    context = certificates.client_context()
    with ServerProcess(options(loop, certificates)) as server:
        target = server.addresses["tls"]
        results = uvloop.run(drive_through_tls(target, "/large", context))
        check(results, PLAIN_CASES, INFORMATIONAL)
        assert server.process.poll() is None


def compress(
    path: str,
    certificates: Certificates,
    cases: list[str],
    count: int,
    loop: LoopName = LOOP,
    link: LinkName = LINK,
) -> None:
    with ServerProcess(options(loop, certificates, link)) as server:
        if path.startswith("tls:"):
            target, context = server.addresses["tls"], certificates.client_context()
            path = path.removeprefix("tls:")
            results = uvloop.run(drive_through_tls(target, path, context, cases))
        else:
            host, port = server.address
            results = uvloop.run(drive(f"ws://{host}:{port}{path}", cases))
        check(results, count, set())
        # In both directions.
        assert server.counter("compressed_messages") > 0
        assert server.counter("inflated_messages") > 0


@unclosed
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "path", ["/deflate-large", "/deflate-large-async", "tls:/deflate-large"]
)
def test_compression(path: str, certificates: Certificates) -> None:
    compress(path, certificates, SOME_COMPRESSION, len(SOME_COMPRESSION))


@unclosed
@pytest.mark.services
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("link", "loop", "path"),
    [
        ("auto", "uvloop", "/deflate-large"),
        ("uvloop", "uvloop", "/deflate-large"),
        # What TLS goes over whatever the link.
        ("uvloop", "asyncio", "tls:/deflate-large"),
    ],
    ids=["own", "transports", "tls"],
)
def test_all_compression(
    link: LinkName, loop: LoopName, path: str, kind: str, certificates: Certificates
) -> None:
    compress(path, certificates, [f"{kind}.*"], CASES_OF_A_KIND, loop, link)
