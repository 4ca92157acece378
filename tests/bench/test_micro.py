"""The works of the micro-benchmarks do what they say, and their controls too."""

from __future__ import annotations

import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from bench.micro import control, works
from bench.micro.counted import COUNTED
from bench.micro.rig import HEAD, Rig, client_frame, rig
from fastws.engine.parser import Parser
from tests.support.frames import frame

ROOT = Path(control.BENCH).parent
TEXT = works.text_of(64)
HEADER = 2  # of a frame with at most 125 bytes

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="counts sockets as Linux does"),
    # It compiles, and compilers can't take the preloaded runtimes.
    pytest.mark.unsanitized,
]


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    control.build()


@pytest.fixture(name="here")
def rig_fixture() -> Iterator[Rig]:
    with rig() as made:
        yield made


def repeated(work: works.Work, here: Rig, times: int = 3) -> list[int]:
    """The bytes that each run of a work sent."""
    drain = here.descriptors().drain
    sent = []
    for _ in range(times):
        work.reset()
        work.run()
        sent.append(drain())
    return sent


@pytest.mark.parametrize("payload", ["", "hällo", b"\x00\xff", TEXT * 3])
def test_client_frames_are_those_of_the_tests(payload: str | bytes) -> None:
    opcode = 1 if isinstance(payload, str) else 2
    assert client_frame(payload) == frame(opcode, payload)


def test_texts_have_their_sizes() -> None:
    assert len(works.text_of(1000).encode()) == 1000
    assert len(works.mixed_of(1000)) >= 1000
    assert max(works.mixed_of(1000).decode()) > "\uffff"


@pytest.mark.parametrize("depth", [1, 16])
def test_an_echo_comes_back_whole(here: Rig, depth: int) -> None:
    work = works.echo(here, TEXT, depth)
    assert repeated(work, here) == [work.per_run * (HEADER + len(TEXT))] * 3


def test_what_is_sent_leaves_in_the_run(here: Rig) -> None:
    assert repeated(works.send(here, TEXT, 10), here) == [10 * (HEADER + 64)] * 3


def test_a_document_is_sent_as_json(here: Rig) -> None:
    size = len(frame(1, orjson.dumps(works.DOCUMENT), key=None))
    assert repeated(works.send(here, works.DOCUMENT, 10), here) == [10 * size] * 3


def test_every_message_is_delivered(here: Rig) -> None:
    heard: list[str | bytes] = []
    [peer] = here.connect(on_message=lambda ws, message: heard.append(message))
    peer.deliver(client_frame(TEXT) * 10)
    assert heard == [TEXT] * 10


@pytest.mark.parametrize("window", [1, 16])
def test_a_flush_reaches_everyone(here: Rig, window: int) -> None:
    work = works.flush(here, 64, 20, window)
    assert repeated(work, here) == [20 * window * (HEADER + 64)] * 3


def test_a_publication_waits_for_the_end_of_the_tick(here: Rig) -> None:
    work = works.publish(here, TEXT, 5, 10)
    assert repeated(work, here) == [0, 0, 0]
    here.turns.turn()
    assert here.descriptors().drain() == 5 * 10 * (HEADER + 64)


def test_records_have_their_sizes_and_differ() -> None:
    for size in (137, 1024):
        made = works.records_of(size, 20)
        assert {len(text) for text in made} == {size}
        assert len(set(made)) == 20


def test_what_is_sent_compressed_is_smaller(here: Rig) -> None:
    sent = repeated(works.send_compressed(here, 1024, 10), here)
    assert sent[0] == sent[1] == sent[2] < 5 * 1024
    assert here.hub.counters.snapshot()["compressed_messages"] == 30


@pytest.mark.parametrize("is_cohort", [False, True])
def test_a_publication_is_compressed_once_for_everyone(
    here: Rig, is_cohort: bool
) -> None:
    work = works.publish_compressed(here, 137, 5, is_cohort=is_cohort, count=10)
    assert repeated(work, here) == [0, 0, 0]
    here.turns.turn()
    delivered = here.descriptors().drain()
    assert delivered % 5 == 0
    assert delivered / 50 < 137 * (0.4 if is_cohort else 0.95)
    counters = here.hub.counters.snapshot()
    assert counters["publications"] == counters["compressed_messages"] == 30


def test_who_joined_has_left_again(here: Rig) -> None:
    work = works.subscribe(here, 3, 10)
    for _ in range(3):
        work.run()
        assert [one.subscribers for one in here.hub.channels.values()] == [3] * 10


def test_messages_in_pieces_are_whole() -> None:
    events: list[object] = []

    class Listening(Parser):
        def feed(self, data: bytes | bytearray | memoryview) -> list[object]:  # type: ignore[override]
            found: list[object] = list(super().feed(data))
            events.extend(found)
            return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(works, "Parser", Listening)
        works.parse_pieces(300, 4).run()
    assert (
        events
        == [
            ("ping", b"are you there"),
            ("message", works.text_of(100) * 3),
        ]
        * 4
    )


def test_a_rig_whose_connection_ended_fails() -> None:
    made = Rig()
    [peer] = made.connect()
    made.check()
    peer.deliver(b"\xff")
    with pytest.raises(RuntimeError, match="1 connections have ended"):
        made.check()
    made.close()


@pytest.mark.parametrize("name", COUNTED)
def test_every_counted_work_can_be_repeated(here: Rig, name: str) -> None:
    work = COUNTED[name].prepare(here)
    for _ in range(3):
        work.reset()
        work.run()
    assert work.per_run > 0


def packed(texts: list[str], keeps_window: bool) -> int:
    """The bytes that Python's zlib makes of them."""
    rule, total = works.COMPRESSION, 0
    for place, text in enumerate(texts):
        if place == 0 or not keeps_window:
            stream = zlib.compressobj(
                rule.level, zlib.DEFLATED, -rule.window_bits, rule.memory_level
            )
        data = stream.compress(text.encode()) + stream.flush(zlib.Z_SYNC_FLUSH)
        total += len(data)
    return total


def test_the_controls_do_the_work() -> None:
    room = control.Room(1 << 16)
    assert room.parse((client_frame(TEXT) + client_frame(TEXT * 3)) * 5) == 10
    assert room.parse(client_frame(TEXT)[:-1]) == -1
    payload = (TEXT * 3).encode()
    assert bytes(room.encoded(payload, 3)) == frame(1, payload, key=None) * 3
    texts = works.records_of(137, 9)
    for keeps_window in (False, True):
        deflater = control.Deflater(works.COMPRESSION)
        data = "".join(texts).encode()
        assert deflater.compress(data, 137, keeps_window) == packed(texts, keeps_window)
        deflater.close()
    control.copy(0, 1)
    control.unmask(1000, 2)


def test_the_request_is_a_browsers() -> None:
    assert HEAD.endswith(b"\r\n\r\n")
    assert HEAD.count(b"\r\n") == 15


@pytest.mark.services
def test_every_benchmark_runs() -> None:
    command = [sys.executable, "-m", "pytest", "bench/micro", "-q"]
    done = subprocess.run(
        [*command, "--benchmark-disable"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
