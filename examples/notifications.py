"""Notifications: posted over HTTP, pushed to every open tab of a user, marked as read.

    fastws serve examples.notifications:app

    curl -d "Your parcel is here" http://127.0.0.1:8080/users/ada/notifications
    curl http://127.0.0.1:8080/users/ada/notifications
    curl -X POST http://127.0.0.1:8080/users/ada/notifications/1/read

A tab connects to /users/ada and gets what is unread, then every change. Anybody may be
Ada here; docs/guide.md shows how an upgrade hook asks for a token first.
"""

from collections import defaultdict
from itertools import count

from fastws import App, Connection, Endpoint, Request

app = App()
numbers = map(str, count(1))
unread: defaultdict[str, dict[str, str]] = defaultdict(dict)  # user: number: text


@app.post("/users/{user}/notifications")
async def notify(request: Request) -> dict[str, str]:
    user = request.params["user"]
    number, text = next(numbers), await request.text()
    unread[user][number] = text
    app.publish(f"user.{user}", {"type": "new", "number": number, "text": text})
    return {"number": number}


@app.get("/users/{user}/notifications")
def list_unread(request: Request) -> dict[str, str]:
    return unread.get(request.params["user"], {})


@app.post("/users/{user}/notifications/{number}/read")
def mark_read(request: Request) -> None:
    user, number = request.params["user"], request.params["number"]
    if user in unread and unread[user].pop(number, None) is not None:
        app.publish(f"user.{user}", {"type": "read", "number": number})


@app.websocket("/users/{user}")
class Inbox(Endpoint):
    def on_open(self, ws: Connection) -> None:
        user = ws.params["user"]
        ws.send({"type": "unread", "notifications": unread.get(user, {})})
        ws.subscribe(f"user.{user}")


if __name__ == "__main__":
    app.run()
