"""Frames that are compressed once for many: every client decodes every one of them."""

from __future__ import annotations

import asyncio
import gc
import os

import pytest
import uvloop

from fastws import ChannelRule, Compression
from fastws.engine.counters import native_counts
from fastws.engine.deflate import Deflate
from fastws.types import Compress
from tests.conftest import Certificates, Run
from tests.engine.fanout import KINDS, OFFERS, Course, Program, run_programs
from tests.engine.peers import ended
from tests.support.seeds import fresh_seed

# Delivered on each loop; FASTWS_FRAMES asks for another number.
FRAMES = int(os.environ.get("FASTWS_FRAMES", "30000"))
LOOPS = {"uvloop": uvloop.run, "asyncio": asyncio.run}
EVENTS = ("for all", "in a cohort", "to one", "lag_skips")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("loop", LOOPS)
def test_random_programs_deliver_what_the_model_says(
    loop: str, certificates: Certificates
) -> None:
    found = run_programs(fresh_seed(), FRAMES, LOOPS[loop], certificates)
    print(dict(found))  # noqa: T201
    assert found["delivered"] >= FRAMES
    # A few programs that none of this happens in prove nothing.
    assert FRAMES < 30_000 or all(found[event] for event in EVENTS), found
    gc.collect()
    counts = native_counts()
    assert set(counts.values()) == {0}, counts


def test_two_hundred_peers_of_every_kind_decode_their_own(
    run: Run[None], certificates: Certificates
) -> None:
    """HARDENING 115: the same publications, for peers that agreed on other things or on
    none; each channel a way of compressing."""
    seed = fresh_seed()

    async def scenario() -> None:
        course = Course(frames=0, clients=200, healing=False)
        async with ended(Program(seed, course, certificates)) as here:
            ways: tuple[Compress, ...] = ("cohort", "cohort", True, False)
            for stream, compress in zip(here.streams, ways, strict=True):
                stream.rule = ChannelRule(max_lag=1 << 30, compress=compress)
            here.routes = [Deflate(Compression(), has_cohorts=True)]
            for number in range(course.clients):
                kind = "memory" if number % 4 else KINDS[-1]
                client = await here.enter(kind, OFFERS[number % len(OFFERS)])
                for stream in here.streams:
                    if number % 7 or stream.name != "c":
                        here.subscribe_one(client, stream)
            for number in range(300):
                if number % 10 == 0:
                    here.broadcast()
                    await here.pass_time(1.1)
                here.publish_one(
                    here.random.choice(here.streams),
                    here.wording.any(),
                    (None, None, None, True, False)[number % 5],
                )
                here.read_all()
            await here.settle()
            found = here.found()
            assert found["delivered"] > 200 * 250
            assert found["in a cohort"] > 300
            assert found["for all"] > 2000

    run(scenario())
