"""A headless Chromium, driven over its DevTools protocol.

Small on purpose: open pages, run expressions in them, type, take screenshots. A page
has its own connection, so a call waits for that page's answer and for nothing else.
"""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

DEADLINE = 20.0  # seconds for anything that a page is waited for

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)

# Resolves when EXPRESSION is truthy: looked at now and after every change of the page.
UNTIL = """new Promise((resolve) => {
  const look = () => {
    const value = EXPRESSION;
    if (!value) return;
    observer.disconnect();
    resolve(value);
  };
  const observer = new MutationObserver(look);
  observer.observe(document, {
    attributes: true, characterData: true, childList: true, subtree: true });
  look();
})"""


def executable() -> str | None:
    """Where Chromium is, if it is."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


class Page:
    """One page in a window of its own, so that it is never a background tab."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self.complaints: list[str] = []  # uncaught errors, blocked resources
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        request = {"id": number, "method": method, "params": params}
        self._connection.send(json.dumps(request))
        deadline = time.monotonic() + DEADLINE
        while True:
            left = deadline - time.monotonic()
            answer = json.loads(self._connection.recv(timeout=max(0.0, left)))
            if answer.get("id") != number:
                self._note(answer)
            elif "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']['message']}")
            else:
                result: dict[str, Any] = answer["result"]
                return result

    def _note(self, event: dict[str, Any]) -> None:
        if event.get("method") == "Runtime.exceptionThrown":
            details = event["params"]["exceptionDetails"]
            thrown = details.get("exception", {}).get("description", details["text"])
            self.complaints.append(thrown)
        elif event.get("method") == "Log.entryAdded":
            entry = event["params"]["entry"]
            if entry["level"] == "error" and entry["source"] != "network":
                self.complaints.append(entry["text"])

    def go(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        answer = self.call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"]["description"])
        return answer["result"].get("value")

    def until(self, expression: str) -> Any:
        """Wait until a JavaScript expression is truthy, and return its value."""
        try:
            return self.evaluate(UNTIL.replace("EXPRESSION", expression))
        except TimeoutError:
            seen = self.evaluate("document.body.innerText")
            failure = f"never true: {expression}; the page:\n{seen}"
            raise AssertionError(failure) from None

    def type(self, selector: str, text: str) -> None:
        """Type into a field and press Enter, as a person would."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")
        self.call("Input.insertText", text=text)
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key="Enter",
                code="Enter",
                text="\r",
                windowsVirtualKeyCode=13,
            )

    def resize(self, width: int, height: int, *, mobile: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2,
            mobile=mobile,
        )

    def prefer(self, scheme: str) -> None:
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def screenshot(self, path: Path) -> None:
        answer = self.call("Page.captureScreenshot", format="png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(answer["data"]))


class Browser:
    def __init__(self, port: int) -> None:
        self._host = f"127.0.0.1:{port}"
        with urllib.request.urlopen(f"http://{self._host}/json/version") as answer:
            self._address: str = json.load(answer)["webSocketDebuggerUrl"]

    @contextmanager
    def page(self) -> Iterator[Page]:
        with _devtools(self._address) as control:
            window = {"url": "about:blank", "newWindow": True}
            request = {"id": 1, "method": "Target.createTarget", "params": window}
            control.send(json.dumps(request))
            target = json.loads(control.recv(timeout=DEADLINE))["result"]["targetId"]
        with _devtools(f"ws://{self._host}/devtools/page/{target}") as connection:
            yield Page(connection)


@contextmanager
def _devtools(address: str) -> Iterator[ClientConnection]:
    # A screenshot comes in one message, so its size has no limit; events wait until
    # the next call reads them, so neither has the queue, and pings would lie behind.
    with connect(
        address,
        compression=None,
        max_queue=None,
        max_size=None,
        ping_interval=None,
        proxy=None,
    ) as connection:
        yield connection


@contextmanager
def chromium(profile: Path, *flags: str) -> Iterator[Browser]:
    """Start Chromium with an empty profile folder, and stop it at the end."""
    program = executable()
    assert program is not None
    process = subprocess.Popen(
        [program, *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        # It says so on a line of its own once it listens; the end of the file ends us.
        listening = next(
            (line for line in process.stderr if line.startswith("DevTools listening")),
            None,
        )
        assert listening is not None, "Chromium ended before it listened"
        port = int(listening.rsplit(":", 1)[1].split("/")[0])
        yield Browser(port)
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE)
