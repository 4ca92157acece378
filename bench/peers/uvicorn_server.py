"""Starlette under uvicorn: uvloop, httptools and one of its WebSocket protocols.

One process, no access log, `lifespan` off.
"""

from __future__ import annotations

import contract
import uvicorn
from starlette_app import app


class Server(uvicorn.Server):
    async def startup(self, *arguments: object, **named: object) -> None:
        await super().startup(*arguments, **named)  # type: ignore[arg-type]
        if self.started:
            contract.ready()


def main(arguments: contract.Arguments) -> None:
    config = uvicorn.Config(
        app,
        host=contract.HOST,
        port=arguments.port,
        backlog=contract.BACKLOG,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_max_size=contract.MAX_MESSAGE,
        ws_per_message_deflate=arguments.deflate,
        lifespan="off",
        access_log=False,
        log_level="error",
        # Handlers wait for their connections: a stop must not.
        timeout_graceful_shutdown=1,
    )
    Server(config).run()


if __name__ == "__main__":
    main(contract.parse(__doc__))
