"""A self-checking stress program: ``python -m tests.stress --seconds 60``.

Does to a server what a bad day does, for so many seconds, and compares all that
arrives with what was published. Ends with status 1 when something differs, and says
what was expected and what was observed. The same seed makes the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import sys
import time
import traceback

import uvloop

from ..support.program import serving
from .hostile import hostile
from .journal import Fault
from .load import Load
from .scenarios import SCENARIOS

SERVER = "tests.stress.server:app"
SHOWN = 20

# Seconds more than a scenario was given, after which it will never end.
STUCK = 60.0


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.stress", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="of all scenarios")
    parser.add_argument("--seed", type=int, help="of a run to be made again")
    parser.add_argument("--only", help=f"some of {','.join(SCENARIOS)}")
    parser.add_argument("--repeat", type=int, default=1, help="runs, each a seed more")
    parser.add_argument("--link", default="auto", help="what carries the bytes")
    parser.add_argument("--calm", action="store_true", help="no hostile peers beside")
    parser.add_argument(
        "--plant",
        choices=["skip", "reorder", "replay"],
        help="a fault in what the server publishes, which has to be found",
    )
    found = parser.parse_args(given)
    found.only = found.only.split(",") if found.only else list(SCENARIOS)
    if unknown := set(found.only) - set(SCENARIOS):
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}")
    return found


async def run(load: Load, options: argparse.Namespace) -> None:
    await load.start()
    share = sum(SCENARIOS[name][1] for name in options.only)
    await warm_up(load)
    baseline = await load.ask("census")
    stop = asyncio.Event()
    beside = None if options.calm else asyncio.create_task(hostile(load, stop))
    for name in options.only:
        scenario, weight = SCENARIOS[name]
        began = time.monotonic()
        load.budget(options.seconds * weight / share)
        try:
            async with asyncio.timeout(options.seconds + STUCK):
                await scenario(load)
        except TimeoutError:
            load.faults.append(Fault("stuck", name, "an end", traceback.format_exc()))
        say(f"  {name}: {time.monotonic() - began:.1f} s")
        if load.faults:
            break
    stop.set()
    if beside is not None:
        await beside
    if not load.faults:
        await load.settled(baseline)
    await load.finish()


async def warm_up(load: Load) -> None:
    """A little of everything: pools and caches fill, and stay."""
    plant, load.plant = load.plant, None
    load.budget(0)
    for name in "churn", "batched", "confirmed":
        await SCENARIOS[name][0](load)
    load.plant = plant


def once(options: argparse.Namespace, seed: int) -> bool:
    """One run; whether all was well."""
    say(f"stress: seed {seed}, link {options.link}")
    with serving(SERVER, options=("--link", options.link)) as server:
        load = Load(server, seed, options.plant)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(load, options))
    say(f"  {', '.join(f'{count} {what}' for what, count in load.done.items())}")
    for fault in load.faults[:SHOWN]:
        say(f"  FAULT {fault}")
    if len(load.faults) > SHOWN:
        say(f"  and {len(load.faults) - SHOWN} more")
    return not load.faults


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(given: list[str] | None = None) -> int:
    options = arguments(given)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    runs = [once(options, seed + turn) for turn in range(options.repeat)]
    return 0 if all(runs) else 1


if __name__ == "__main__":
    sys.exit(main())
