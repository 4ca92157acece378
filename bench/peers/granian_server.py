"""Starlette under granian: one worker with one runtime thread, uvloop.

The worker is a child process, as under granian's command line; its embedded server,
which would need none, is a tenth slower. It is the worker that says `ready`, so that
it exists by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import contract
import starlette_app
from granian import Granian
from granian.constants import Interfaces, Loops
from starlette.applications import Starlette

ARGUMENTS = contract.parse(__doc__)  # the worker sees the same command line
LOOK_AGAIN = 0.01  # seconds: the worker listens after its start-up, and tells nobody


async def say_when_it_listens(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection(contract.HOST, port)
        except ConnectionRefusedError:
            await asyncio.sleep(LOOK_AGAIN)
        else:
            writer.close()
            contract.ready()
            return


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    announcement = asyncio.create_task(say_when_it_listens(ARGUMENTS.port))
    yield
    announcement.cancel()


app = Starlette(routes=starlette_app.routes, lifespan=lifespan)


def main() -> None:
    Granian(
        "granian_server:app",
        address=contract.HOST,
        port=ARGUMENTS.port,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        workers=1,
        runtime_threads=1,
        backlog=contract.BACKLOG,
        # A stop does not wait for connections to end by themselves.
        workers_kill_timeout=1,
        log_enabled=False,
    ).serve()


if __name__ == "__main__":
    main()
