from fastws import App, Connection

app = App()


@app.websocket("/rooms/{room}")
async def room(ws: Connection) -> None:
    channel = f"room.{ws.params['room']}"
    ws.subscribe(channel)
    async for message in ws:
        ws.publish(channel, message)


if __name__ == "__main__":
    app.run()
