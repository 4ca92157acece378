"""socketify as a peer: uWebSockets' own topics through `app.publish()`.

Messages leave in the opcode they came with. Its shared compressor with --deflate.
"""

from __future__ import annotations

from typing import Any

import contract
from socketify import App, AppListenOptions, CompressOptions


def behaviour(arguments: contract.Arguments) -> dict[str, Any]:
    compressor = CompressOptions.SHARED_COMPRESSOR
    return {
        "compression": compressor if arguments.deflate else CompressOptions.DISABLED,
        "max_payload_length": contract.MAX_MESSAGE,
        "max_backpressure": contract.MAX_BEHIND,
    }


def main(arguments: contract.Arguments) -> None:
    app = App()
    deflate = arguments.deflate

    def echo(ws: Any, message: str | bytes, opcode: int) -> None:
        ws.send(message, opcode, deflate)

    def upgrade(response: Any, request: Any, context: Any) -> None:
        response.upgrade(
            request.get_header("sec-websocket-key"),
            request.get_header("sec-websocket-protocol"),
            request.get_header("sec-websocket-extensions"),
            context,
            {"channel": request.get_url()},
        )

    def join(ws: Any) -> None:
        ws.subscribe(ws.get_user_data()["channel"])

    def publish(ws: Any, message: str | bytes, opcode: int) -> None:
        app.publish(ws.get_user_data()["channel"], message, opcode, deflate)

    fanout = behaviour(arguments)
    fanout |= {"upgrade": upgrade, "open": join, "message": publish}
    app.ws("/echo", behaviour(arguments) | {"message": echo})
    app.ws("/*", fanout)
    options = AppListenOptions(port=arguments.port, host=contract.HOST)
    app.listen(options, lambda _: contract.ready())
    app.run()


if __name__ == "__main__":
    main(contract.parse(__doc__))
