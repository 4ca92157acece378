"""bench.wire with few subscribers: its figures, and what it does not let pass."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bench.micro.feed import SIZE, record
from bench.report import wire as report
from bench.wire import KINDS, SENDING, Subscriber, Wire, record_of
from tests.load.opponent import Opponent, Peer, accepted, takes_deflate

ROOT = Path(__file__).resolve().parents[2]
TIME_LIMIT = 120.0

pytestmark = [
    # It starts processes that can't take the preloaded runtimes.
    pytest.mark.unsanitized,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


def test_records_have_one_size_and_are_all_different() -> None:
    made = {record(number) for number in range(2000)}
    assert len(made) == 2000
    assert {len(one) for one in made} == {SIZE}
    assert record_of(7) == record(7)
    assert msgspec.json.decode(record(7))["event"] == "trade"


@pytest.mark.timeout(TIME_LIMIT + 30)
def test_a_small_measurement_meets_what_is_asked(tmp_path: Path) -> None:
    output = tmp_path / "wire.json"
    command = [sys.executable, "-m", "bench.wire", "--output", str(output)]
    done = subprocess.run(
        [*command, "--subscribers", "5", "--publications", "250", "--connections=50"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    found = msgspec.json.decode(output.read_bytes(), type=Wire)
    sent = {one.kind: one for one in found.sent}
    assert tuple(sent) == SENDING
    assert tuple(one.kind for one in found.held) == tuple(KINDS)
    assert sent["plain"].bytes_each == SIZE + 4
    assert sent["plain"].compressions == 0
    assert sent["alone"].compressions == sent["cohort"].compressions == 1
    assert 0.5 < sent["alone"].to_plain < 0.95
    assert 0.1 < sent["cohort"].to_plain < 0.25
    assert report.misses(found) == []
    assert len(done.stdout.splitlines()) == len(found.sent) + len(found.held)


def first_record(peer: Peer, first: int, payload: bytes) -> None:
    peer.send(record_of(1))


@pytest.mark.parametrize(
    ("kind", "respond", "number", "words"),
    [
        ("alone", accepted, 1, "it was answered"),
        ("alone", takes_deflate, 1, "record 1 is not as agreed"),
        ("plain", accepted, 2, "record 2 came as another"),
    ],
)
def test_a_subscriber_is_not_deceived(
    kind: str, respond: object, number: int, words: str
) -> None:
    server = Opponent(first_record, respond)  # type: ignore[arg-type]

    def read() -> None:
        with contextlib.closing(Subscriber(KINDS[kind], server.port)) as one:
            one.send([0])
            one.expect([number])

    with contextlib.closing(server), pytest.raises(SystemExit, match=words):
        read()
