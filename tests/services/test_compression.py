"""Other people's clients and everything that a server compresses.

One channel with subscribers of every kind, each offering what it likes to offer, some
for a while only: publications, messages to one connection between them, and answers.
Every client has to report exactly these, in this order; and what could be compressed
was.
"""

from __future__ import annotations

import asyncio
import json
import random
import zlib
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from bench.peers.peers import BUILD, PEERS
from fastws import App, Compression, Config, Connection, Endpoint
from fastws.engine.hub import Hub
from tests.services.browser import Browser, Page, chromium, executable
from tests.services.clients import CLIENTS, Connect, Message

if TYPE_CHECKING:
    import ssl

    from fastws.types import Compress, CompressionCounts, LinkKind
    from tests.conftest import Certificates, Run

HERE = Path(__file__).parent
MODULES = BUILD / "node" / "node_modules"
KIB = 1024

RULE = Compression(threshold=256)
CHANNEL = "news"
ROUNDS = 20
# A client sends the message before it back.
AGAIN = "again"
# In which rounds one client, the next one and so on are subscribed.
ATTENDANCE = (range(ROUNDS), range(7, ROUNDS), range(14), range(7, 14))

absent = {name: PEERS[name].missing for name in ("ws", "bun")}
absent["Chromium"] = None if executable() else "not installed"
reasons = [f"{name}: {reason}" for name, reason in absent.items() if reason]
pytestmark = pytest.mark.skipif(bool(reasons), reason=", ".join(reasons))


# What is sent


@dataclass(frozen=True)
class Step:
    """One message: to the channel's subscribers, or to each connection by itself."""

    message: Message
    direct: bool = False
    compress: bool | None = None

    @property
    def data(self) -> bytes:
        is_text = isinstance(self.message, str)
        return self.message.encode() if is_text else self.message  # type: ignore[union-attr,return-value]

    @property
    def is_tried(self) -> bool:
        """Whether compressing it is tried for those who are in no cohort."""
        return self.is_tried_in_a_cohort and (
            self.compress is True or len(self.data) >= RULE.threshold
        )

    @property
    def is_tried_in_a_cohort(self) -> bool:
        assert RULE.max_size is not None
        if self.compress is not None:
            return self.compress and bool(self.data)
        return 0 < len(self.data) <= RULE.max_size

    @property
    def shrinks(self) -> bool:
        return self.is_tried and len(zlib.compress(self.data)) < len(self.data)


def make_rounds() -> list[list[Step]]:
    chooser = random.Random(5)

    def words(size: int, letters: str = "price quote share ") -> str:
        text = "".join(chooser.choices(letters.split(), k=size // 4))
        return text.ljust(size, ".")[:size]

    def one_round(number: int) -> list[Step]:
        huge = (number % 5 == 0) * 300 * KIB
        # Too large to be compressed unless that is asked for.
        asked = (None, True, False)[number // 5 % 3] if huge else None
        return [
            Step(json.dumps({"share": "ACME", "price": number, "at": words(60)})),
            Step(words(1500)),
            Step("small", direct=True, compress=True),
            Step(words(300, "Grüße aus Köln 😀 €")),
            Step(AGAIN, direct=True),
            Step(words(40, "ß € 😀")),
            Step("one to one " * chooser.randrange(1, 200), direct=True),
            Step(bytes(chooser.choices(b"abcd", k=2 * KIB))),
            Step(""),
            Step(b"", direct=True),
            Step(chooser.randbytes(2000)),
            Step(words(RULE.threshold - number % 2)),
            Step(AGAIN, direct=True),
            Step(chooser.randbytes(20 * KIB), compress=True),
            Step(words(900), compress=False),
            Step(b""),
            Step(words(huge or 40 * KIB), compress=asked),
            Step(AGAIN, direct=True),
        ]

    return [one_round(number) for number in range(ROUNDS)]


def received(rounds: list[list[Step]], attends: range) -> list[list[Step]]:
    """What one client gets in each round: with the answers at the end, and then the
    question whether they have come."""
    found: list[list[Step]] = []
    before = Step("")
    for number, steps in enumerate(rounds):
        got: list[Step] = []
        returned: list[Step] = []
        for step in steps:
            if step.direct or number in attends:
                got.append(step)
                if step.message != AGAIN:
                    before = step
                else:
                    returned.append(Step(before.message, direct=True))
        before = returned[-1]
        found.append([*got, *returned, Step(AGAIN, direct=True)])
    return found


Seen = list[str | int]


def seen(message: Message) -> Seen:
    """Kind, bytes and checksum, as receiver.mjs tells them."""
    kind = "text" if isinstance(message, str) else "binary"
    data = Step(message).data
    return [kind, len(data), zlib.crc32(data)]


class Clock:
    """Goes on from round to round, so that nothing of a cohort is left to chance."""

    now = 1.0

    def __call__(self) -> float:
        return self.now


class Stage(Endpoint):
    """Plays the rounds to all clients at once; a round begins when all of them have
    got everything of the last."""

    def __init__(self, app: App, clock: Clock) -> None:
        self.app = app
        self.clock = clock
        self.rounds = make_rounds()
        self.present: dict[str, Connection[Any]] = {}
        self.compression: CompressionCounts | None = None
        self._played = 0
        # What each client has been asked for, and has sent back, in this round.
        self._asked = 0
        self._returned = 0

    def on_open(self, ws: Connection[Any]) -> None:
        self.present[ws.params["name"]] = ws
        if len(self.present) == len(RECEIVERS):
            self.play()

    def on_message(self, ws: Connection[Any], message: Message) -> None:
        self._returned += 1
        asked = self._asked * len(RECEIVERS)
        if self._returned <= asked:
            ws.send(message)
        if self._returned == asked:
            self.send(Step(AGAIN))
        elif self._returned == asked + len(RECEIVERS):
            self.play()

    def on_close(self, ws: Connection[Any], code: int, reason: str) -> None:
        if self._played < ROUNDS:
            # Nobody waits for what would not come.
            self.end()

    def play(self) -> None:
        self.clock.now += 0.2
        sweep = self.app.runtime._sweep
        assert sweep is not None
        sweep.run()
        if self._played == ROUNDS:
            self.compression = self.app.channels[CHANNEL].compression
            self.end()
            return
        self.come_and_go()
        steps = self.rounds[self._played]
        self._played += 1
        self._asked = sum(step.message == AGAIN for step in steps)
        self._returned = 0
        for step in steps:
            if step.direct:
                self.send(step)
            else:
                self.app.publish(CHANNEL, step.message, compress=step.compress)

    def come_and_go(self) -> None:
        for name, ws in self.present.items():
            if self._played in ATTENDS[name]:
                ws.subscribe(CHANNEL)
            else:
                ws.unsubscribe(CHANNEL)

    def send(self, step: Step) -> None:
        for ws in self.present.values():
            ws.send(step.message, compress=step.compress)

    def end(self) -> None:
        for ws in self.present.values():
            ws.close()


# Who receives it


@dataclass(frozen=True)
class Place:
    """Where a client connects, and what it may need for that."""

    url: str
    context: ssl.SSLContext | None
    authority: str | None
    page: Page
    page_url: str


def place_at(port: int, page: Page, certificates: Certificates | None) -> Place:
    if certificates is None:
        host = f"://127.0.0.1:{port}"
        return Place(f"ws{host}/stage/", None, None, page, f"http{host}")
    host = f"s://127.0.0.1:{port}"
    context = certificates.client_context()
    authority = certificates.authority.read_text()
    return Place(f"ws{host}/stage/", context, authority, page, f"http{host}")


@dataclass(frozen=True)
class Report:
    messages: list[Seen]
    close: list[int | str | None]


@dataclass(frozen=True)
class Client:
    """One of the clients, and what has to be agreed on with it."""

    receive: Callable[[Place, str], Coroutine[Any, Any, Report]]
    # Window of what it gets; None: it gets everything plain.
    bits: int | None = RULE.window_bits
    # Whether it has asked that no message refers to earlier ones.
    forgets: bool = False

    @property
    def shared(self) -> int | None:
        """The size of window that publications to it are compressed for."""
        if self.bits is None or self.bits == RULE.window_bits:
            return self.bits
        return 9

    @property
    def may_join(self) -> bool:
        """Whether a cohort takes it in."""
        return self.bits == RULE.window_bits and not self.forgets


async def with_library(connect: Connect, place: Place, path: str) -> Report:
    """One of the Python libraries."""
    messages: list[Seen] = []
    before: Message = ""
    async with connect(place.url + path, place.context) as client:
        while True:
            try:
                message = await client.receive()
            except EOFError:
                return Report(messages, list(await client.closed_with()))
            messages.append(seen(message))
            if message == AGAIN:
                await client.send(before)
            else:
                before = message


async def with_program(*command: str) -> Report:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    return Report(**json.loads(out))


async def with_node(place: Place, path: str, **options: Any) -> Report:
    if options:
        options = {"perMessageDeflate": options}
    if place.authority is not None:
        options["ca"] = place.authority
    return await with_program(
        "node",
        str(HERE / "receiver.mjs"),
        place.url + path,
        json.dumps(options),
        str(MODULES),
    )


async def with_bun(place: Place, path: str, **options: Any) -> Report:
    if place.authority is not None:
        options["tls"] = {"ca": place.authority}
    return await with_program(
        str(MODULES / ".bin" / "bun"),
        str(HERE / "receiver.mjs"),
        place.url + path,
        json.dumps(options),
    )


async def in_browser(place: Place, path: str) -> Report:
    def receive() -> Any:
        script = f"{place.page_url}/scripts/receiver.mjs"
        # Any page of the server's origin may connect; the script itself is one.
        place.page.go(script)
        socket = f"new WebSocket({json.dumps(place.url + path)})"
        return place.page.evaluate(
            f"import({json.dumps(script)}).then((module) => module.receive({socket}))"
        )

    return Report(**await asyncio.to_thread(receive))


def library(name: str, **options: Any) -> Callable[[Place, str], Any]:
    return partial(with_library, partial(CLIENTS[name], **options))


def offering(**parameters: Any) -> dict[str, Any]:
    """How the websockets library is told what to offer."""
    return {
        "compression": None,
        "extensions": [ClientPerMessageDeflateFactory(**parameters)],
    }


RECEIVERS = {
    "chromium": Client(in_browser),
    "node": Client(with_node),
    "node-narrow": Client(
        partial(with_node, serverNoContextTakeover=True, serverMaxWindowBits=10),
        bits=10,
        forgets=True,
    ),
    "bun": Client(with_bun),
    "bun-plain": Client(partial(with_bun, perMessageDeflate=False), bits=None),
    "websockets": Client(library("websockets")),
    "websockets-narrow": Client(
        library(
            "websockets",
            **offering(server_max_window_bits=9, client_max_window_bits=9),
        ),
        bits=9,
    ),
    "websockets-forgetful": Client(
        library("websockets", **offering(server_no_context_takeover=True)),
        forgets=True,
    ),
    "aiohttp": Client(library("aiohttp")),
    "aiohttp-narrow": Client(library("aiohttp", compress=11), bits=11),
    "picows": Client(library("picows"), bits=None),
}
ATTENDS = dict(zip(RECEIVERS, cycle(ATTENDANCE), strict=False))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    # It knows nothing of the authority that the tests have made up.
    profile = tmp_path_factory.mktemp("profile")
    with chromium(profile, "--ignore-certificate-errors") as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.page() as page:
        yield page
        assert page.complaints == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize("compress", [True, "cohort"], ids=["shared", "cohort"])
@pytest.mark.parametrize("kind", ["auto", "uvloop", "tls"])
def test_every_client_gets_everything(
    run: Run[None],
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
    page: Page,
    kind: Literal["auto", "uvloop", "tls"],
    compress: Compress,
) -> None:
    clock = Clock()
    monkeypatch.setattr("fastws.runtime.Hub", partial(Hub, clock=clock))
    # The browser keeps a connection of HTTP, under TLS answers no goodbye on it, and
    # the deadline for that is on a clock that stands still by now.
    app = App(Config(compression=RULE, shutdown_timeout=1.0))
    if compress == "cohort":
        app.channel(CHANNEL, compress="cohort", cohort_join=0.1)
    stage = Stage(app, clock)
    app.websocket("/stage/{name}", stage)
    app.static("/scripts", HERE)
    tls = kind == "tls"
    ssl = certificates.server_context() if tls else None
    link: LinkKind = "auto" if kind == "tls" else kind

    async def scenario() -> None:
        async with app.serve(port=0, ssl=ssl, link=link) as server:
            place = place_at(server.port, page, certificates if tls else None)
            reports = await asyncio.gather(
                *(one.receive(place, name) for name, one in RECEIVERS.items())
            )
            check_reports(dict(zip(RECEIVERS, reports, strict=True)), stage)
            check_agreements(stage, compress == "cohort")
            check_counts(app.counters.snapshot(), stage, compress == "cohort")

    run(scenario())


def check_reports(reports: dict[str, Report], stage: Stage) -> None:
    for name, report in reports.items():
        rounds = received(stage.rounds, ATTENDS[name])
        assert report.messages == [seen(one.message) for got in rounds for one in got]
        assert report.close[0] == 1000, name


def check_agreements(stage: Stage, with_cohort: bool) -> None:
    for name, one in RECEIVERS.items():
        agreed = stage.present[name].agreement
        if one.bits is None:
            assert agreed is None, name
        else:
            assert agreed is not None, name
            assert (agreed.send_bits, agreed.shared_bits) == (one.bits, one.shared), (
                name
            )
            assert agreed.send_context == (with_cohort and not one.forgets), name


def check_counts(counters: dict[str, int], stage: Stage, with_cohort: bool) -> None:
    """All of it was compressed, and once for all who have agreed on the same."""
    tried = shrunk = 0
    for number, steps in enumerate(stage.rounds):
        there = [one for name, one in RECEIVERS.items() if number in ATTENDS[name]]
        members = [one for one in there if with_cohort and one.may_join]
        lanes = len({one.shared for one in there if one not in members} - {None})
        published = [step for step in steps if not step.direct]
        tried += lanes * sum(step.is_tried for step in published)
        shrunk += lanes * sum(step.shrinks for step in published)
        if members:
            # Of what the next messages refer to none is left out.
            together = sum(step.is_tried_in_a_cohort for step in published)
            tried += together
            shrunk += together
    counts = stage.compression
    assert counts is not None
    assert counts.messages == tried
    assert counts.bytes_after < counts.bytes_before
    assert counts.seconds > 0
    for name, one in RECEIVERS.items():
        for number, got in enumerate(received(stage.rounds, ATTENDS[name])):
            is_member = with_cohort and one.may_join and number in ATTENDS[name]
            if one.bits is not None and not is_member:
                shrunk += sum(step.shrinks for step in got if step.direct)
    assert counters["compressed_messages"] == shrunk
    # Not every client compresses what is short.
    assert counters["inflated_messages"] >= ROUNDS * (len(RECEIVERS) - 2)
