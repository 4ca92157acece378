"""What every test may use. Plain pytest: a test that needs a loop takes `run`.

    def test_something(run):
        async def scenario() -> None: ...
        run(scenario())

`run` uses uvloop, or what FASTWS_LOOP names; `run_on_each_loop` repeats the test on
asyncio's own loop. Both bound the time and fail when the loop was left with an
unhandled error.
"""

from __future__ import annotations

import asyncio
import gc
import os
import ssl
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trustme
import uvloop
from hypothesis import HealthCheck, settings

from fastws import Config
from fastws.engine.counters import native_counts
from tests.support.kinds import LINK, LOOP

T = TypeVar("T")
LoopFactory = Callable[[], asyncio.AbstractEventLoop]
Run = Callable[[Coroutine[Any, Any, T]], T]

LOOPS: dict[str, LoopFactory] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
# Seconds a scenario may take: far more than any needs, less than the test's limit.
DEADLINE = 100.0

# Servers of every test: the package itself reads no environment.
Config.__init__.__kwdefaults__["link"] = LINK  # type: ignore[index]

# How long an example takes, or the making of it, says something about the machine only.
settings.register_profile(
    "fastws", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("fastws")


def runner_on(factory: LoopFactory) -> Run[Any]:
    def run(scenario: Coroutine[Any, Any, T]) -> T:
        unhandled: list[dict[str, Any]] = []
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.get_loop().set_exception_handler(
                lambda loop, context: unhandled.append(context)
            )
            result = runner.run(asyncio.wait_for(scenario, DEADLINE))
        assert not unhandled, unhandled
        return result

    return run


@pytest.fixture
def run() -> Run[Any]:
    return runner_on(LOOPS[LOOP])


@pytest.fixture(params=LOOPS)
def run_on_each_loop(request: pytest.FixtureRequest) -> Run[Any]:
    return runner_on(LOOPS[request.param])


@dataclass(frozen=True)
class Certificates:
    """A server's certificate for 127.0.0.1, ::1 and localhost, and who trusts it."""

    certificate: Path
    key: Path
    authority: Path

    def server_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def client_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority)


def make_certificates(folder: Path) -> Certificates:
    authority = trustme.CA()
    server = authority.issue_cert("127.0.0.1", "::1", "localhost")
    files = Certificates(
        folder / "server.pem", folder / "server.key", folder / "authority.pem"
    )
    authority.cert_pem.write_to_path(files.authority)
    server.private_key_pem.write_to_path(files.key)
    for blob in server.cert_chain_pems:
        blob.write_to_path(files.certificate, append=True)
    return files


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(autouse=True)
def native_memory_returns() -> Iterator[None]:
    """Each native allocation has one owner, and none outlives its test."""
    before = native_counts()
    yield
    after = native_counts()
    if after != before:
        gc.collect()
        after = native_counts()
    assert after == before


def pytest_xdist_auto_num_workers() -> int:
    """What ``-n auto`` stands for: the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    services = Path(__file__).parent / "services"
    for item in items:
        if item.path.is_relative_to(services):
            item.add_marker("services")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI the services are there: what skips has lost something."""
    if os.environ.get("CI") != "true" or session.config.option.markexpr != "services":
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
