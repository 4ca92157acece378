"""The same input a thousand times: what it leaves behind adds up."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from .client import Address, RawClient
from .server import ServerProcess
from .waits import eventually

TIMES = 1000
RSS_GROWTH = 5 << 20

# Variants of an input with the same number run through the same code: so many do.
FEW_TIMES = 100

# Connections at a time: enough to keep the server busy, fewer than its backlog.
_BATCH = 50
# The first repeats fill caches and arenas that then stay.
_WARM_UP = 2 * _BATCH

# One source address after another: the ports of a single one would run out.
_sources = itertools.cycle(f"127.0.0.{last}" for last in range(2, 250))


class Numbered(Protocol):
    @property
    def number(self) -> int: ...
    @property
    def times(self) -> int: ...


NumberedT = TypeVar("NumberedT", bound=Numbered)


def with_repeats(inputs: Iterable[NumberedT]) -> list[NumberedT]:
    """Full repeats for the first input of each number, few for its variants."""
    seen: set[int] = set()
    found = []
    for one in inputs:
        is_variant = one.number in seen and one.times
        found.append(replace(one, times=FEW_TIMES) if is_variant else one)  # type: ignore[type-var]
        if one.times:
            seen.add(one.number)
    return found


def repeat(
    address: Address, inputs: Iterable[bytes], check: Callable[[RawClient], None]
) -> None:
    """Send each input on a connection of its own, and check its answer."""
    remaining = iter(inputs)
    while batch := list(itertools.islice(remaining, _BATCH)):
        source = next(_sources)
        clients: list[RawClient] = []
        try:
            for data in batch:
                client = RawClient(address, source=source)
                clients.append(client)
                client.send(data)
            for client in clients:
                check(client)
        finally:
            for client in clients:
                client.close()


def check_repeats(
    server: ServerProcess,
    address: Address,
    data: bytes,
    check: Callable[[RawClient], None],
    *,
    times: int = TIMES,
) -> None:
    """Invariant (c): nothing of a thousand repeats stays."""
    quiet = server.snapshot()
    repeat(address, itertools.repeat(data, _WARM_UP), check)
    server.check_settled(quiet)
    before = _objects(server)
    rss = server.rss
    repeat(address, itertools.repeat(data, times), check)

    def settled() -> bool:
        now = _objects(server)
        assert now == before, f"before and now: {before}, {now}"
        return True

    server.check_settled(quiet)
    eventually(settled)
    server.check_memory(rss, RSS_GROWTH)


def _objects(server: ServerProcess) -> dict[str, Any]:
    report: dict[str, Any] = server.call("report", objects=True)
    return report
