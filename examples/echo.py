"""Echo in both styles: a coroutine that reads, and an object that is called back.

Start it with ``python examples/echo.py`` or ``fastws serve examples.echo:app``.
"""

from fastws import App, Connection, Endpoint, Message

app = App()


@app.websocket("/echo")
async def echo(ws: Connection) -> None:
    async for message in ws:
        await ws.send(message)


@app.websocket("/callback")
class Echo(Endpoint):
    """The same without a task per connection: the fastest way to answer."""

    def on_message(self, ws: Connection, message: Message) -> None:
        ws.send(message)


if __name__ == "__main__":
    app.run()
