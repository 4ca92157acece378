"""``fastws bench``: options from the record, three formats, errors with advice."""

from __future__ import annotations

import csv
import io
import json
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from click.testing import Result as Invoked

from fastws.cli.bench import bench
from fastws.cli.commands import command
from fastws.cli.progress import LiveLine
from fastws.cli.report import text_report, verdict
from fastws.cli.spectrum import duration, spectrum
from fastws.load import Histogram, LoadError, Options, Progress, Result
from fastws.load.result import BUCKETS, bucket_of
from tests.support.server import ServerProcess

URL = "ws://127.0.0.1:9000/echo"
DEADLINE = 60.0
ON_LINUX = pytest.mark.skipif(
    sys.platform != "linux", reason="the generator is Linux's"
)


def histogram(*values: int) -> Histogram:
    counts = [0] * BUCKETS
    for value in values:
        counts[bucket_of(value)] += 1
    packed = struct.pack(f"<{BUCKETS}Q", *counts)
    return Histogram.from_counts(
        packed, len(values), sum(values), max(values, default=0), min(values, default=0)
    )


LATENCY = histogram(*[90_000] * 900, *[250_000] * 99, 12_000_000)


def result_of(options: Options, **changed: Any) -> Result:
    tally: dict[str, Any] = {
        "seconds": 2.0,
        "operations": 3_000_000,
        "publications": 3000,
        "deliveries": 70,
        "visits": 5,
        "frames": 3_000_000,
        "compressed_frames": 2_400_000,
        "bytes_sent": 1_500_000,
        "bytes_received": 2_400_000_000,
        "server_cpu": 0.99,
        "load_cpu": 0.5,
        "resident_before": 10e6,
        "resident_after": 12e6,
        "resident_connections": 1000,
        "latency": LATENCY,
    }
    return Result.from_tally(options, tally | changed)


def invoke(*arguments: str) -> Invoked:
    return CliRunner().invoke(command, ["bench", *arguments])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Options]:
    """What the load generator was asked; its answer is made up."""
    seen: list[Options] = []

    def run(options: Options, progress: object = None) -> Result:
        seen.append(options)
        return result_of(options)

    monkeypatch.setattr("fastws.cli.bench.run", run)
    return seen


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(options: Options, progress: object = None) -> Result:
        raise LoadError("connection 3: a message is missing")

    monkeypatch.setattr("fastws.cli.bench.run", run)


# Options


def test_what_is_not_given_stays_the_records(asked: list[Options]) -> None:
    assert invoke(URL).exit_code == 0
    assert asked == [Options(url=URL)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--connections", "7"], {"connections": 7}),
        (["--binary"], {"binary": True}),
        (["--no-verify"], {"verify": False}),
        (["--rate", "12.5"], {"rate": 12.5}),
        (["--mode", "idle", "--ping-interval", "2"], {"ping_interval": 2.0}),
        (["--headers", "minimal"], {"headers": "minimal"}),
        (["--header", "A: b", "--header", "C: d"], {"header": ("A: b", "C: d")}),
        (["--first", "hi", "--first-replies", "2"], {"first_replies": 2}),
        (["--mode", "fanout", "--publish", '{"m":"{message}"}'], {"mode": "fanout"}),
        (["--deflate", "--deflate-context"], {"deflate_context": True}),
        (["--server-pid", "1"], {"server_pid": 1}),
    ],
)
def test_an_option_is_the_field_of_its_name(
    asked: list[Options], arguments: list[str], expected: dict[str, Any]
) -> None:
    answer = invoke(URL, *arguments)
    assert answer.exit_code == 0, answer.output
    assert {name: getattr(asked[0], name) for name in expected} == expected


def test_the_options_are_the_fields_of_the_record() -> None:
    names = {parameter.name for parameter in bench.params}
    assert names == {one.name for one in fields(Options)} | {"form", "quiet"}


def test_the_help_explains_every_option_under_a_heading() -> None:
    output = invoke("--help").output
    words = " ".join(output.split())
    for one in fields(Options):
        if one.name != "url":
            assert "--" + one.name.replace("_", "-") in words
            assert " ".join(one.metadata["about"].split()[:4]) in words
    headings = re.findall(r"^([A-Z][\w -]+):$", output, re.MULTILINE)
    assert headings[0] == "Load"
    assert headings[-1] == "Output"
    assert "URL" not in headings
    assert max(map(len, output.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["http://localhost/"], "ws://host/path or wss://…, not 'http://localhost/'"),
        (["ws://"], "not 'ws://'"),
        (["ws://host:99999/"], "Port out of range"),
        ([URL, "--ca", "a.pem"], "--ca means nothing with a ws:// URL"),
        ([URL, "--tls-insecure"], "--tls-insecure means nothing with a ws:// URL"),
        ([URL, "--mode", "connect", "--rate", "5"], "nothing with --mode connect"),
        ([URL, "--publishers", "3"], "only with fanout, mixed"),
        ([URL, "--mode", "fanout", "--publishers", "300"], "100 at most"),
        ([URL, "--duration", "90"], "--timeout must be more than the 90.5 s"),
        ([URL, "--processes", "200"], "--processes must be 1 to 64, not 200"),
        ([URL, "--processes", "9", "--connections", "8"], "more than --connections"),
        ([URL, "--size", "3"], "--size must be 16 to 16777216, not 3"),
        ([URL, "--connections", "0"], "--connections must be 1 to"),
        ([URL, "--depth", "many"], "'many' is not a valid integer"),
        ([URL, "--header", "nonsense"], "'Name: value' in one line"),
        ([URL, "--deflate-context"], "--deflate"),
        ([URL, "--first-replies", "1"], "0 without --first"),
        ([URL, "--format", "xml"], "'xml' is not one of"),
        ([], "Missing argument 'URL'"),
    ],
)
def test_options_that_make_no_sense_are_explained(
    asked: list[Options], arguments: list[str], message: str
) -> None:
    answer = invoke(*arguments)
    assert answer.exit_code == 2
    assert message in " ".join(answer.output.split())
    assert asked == []


# Formats


def test_json_is_one_line(asked: list[Options]) -> None:
    answer = invoke(URL, "--format", "json", "--depth", "4")
    assert answer.exit_code == 0
    assert answer.stdout.count("\n") == 1
    assert json.loads(answer.stdout) == result_of(asked[0]).to_dict()


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def test_csv_has_the_same_columns_in_every_mode(asked: list[Options]) -> None:
    headers = []
    for mode in ("echo", "fanout", "connect", "idle", "mixed"):
        header, row = rows(invoke(URL, "--mode", mode, "--format", "csv").stdout)
        assert dict(zip(header, row, strict=True))["mode"] == mode
        headers.append(header)
    assert headers.count(headers[0]) == len(headers)
    assert "latency_us.p99.99" in headers[0]


@pytest.mark.usefixtures("failing")
def test_a_failed_run_says_why_and_exits_with_one() -> None:
    answer = invoke(URL)
    assert answer.exit_code == 1
    assert answer.stdout == ""
    assert answer.stderr == "Error: connection 3: a message is missing\n"


@pytest.mark.usefixtures("failing")
def test_a_failed_run_has_the_same_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = invoke(URL, "--format", "json", "--rate", "5")
    assert answer.exit_code == 1
    shown = json.loads(answer.stdout)
    assert shown["error"] == "connection 3: a message is missing"
    assert (shown["rate"], shown["operations"]) == (5.0, None)
    table = invoke(URL, "--format", "csv")
    assert table.exit_code == 1
    assert "connection 3: a message is missing" in rows(table.stdout)[1]
    assert list(shown) == list(result_of(Options(url=URL)).to_dict())


# The text

OPTIONS = {
    "echo": Options(url=URL, depth=16, deflate=True),
    "fanout": Options(url=URL, mode="fanout", rate=1500.0, stalled=10.0),
    "connect": Options(url=URL, mode="connect"),
    "idle": Options(url=URL, mode="idle", server_pid=1, ping_interval=5.0),
    "mixed": Options(url=URL, mode="mixed", churn=5.0, processes=2),
}


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("mode", OPTIONS)
def test_the_text_fits_80_columns(mode: str, plain: bool) -> None:
    options = OPTIONS[mode]
    text = text_report(options, result_of(options), plain)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert max(map(len, shown.splitlines())) <= 80
    assert not any(line.endswith(" ") for line in shown.splitlines())
    assert shown.isascii() or not plain


def plainly(options: Options, **changed: Any) -> str:
    return re.sub(
        r"\x1b\[\d*m", "", text_report(options, result_of(options, **changed))
    )


def test_the_text_says_what_was_asked_and_what_came() -> None:
    text = plainly(OPTIONS["echo"])
    assert text.startswith(f"fastws bench · echo · {URL}\n")
    assert "100 connections · 64 B text · 16 in flight each · compressed" in text
    assert re.search(r"1,500,000 messages/s +3,000,000 in 2\.00 s", text)
    assert re.search(r"p50 +90\.\d µs", text)
    assert re.search(r"p99\.9 +2\d\d µs", text)
    assert re.search(r"p99\.99 +-\n", text), "no value of a thousand is beyond it"
    assert re.search(r"max +12\.0 ms", text)
    assert "server 99% of a core" in text
    assert "1.5 MB sent, 2.40 GB received" in text
    assert "80.0% of 3,000,000 frames came compressed: 800.0 B each" in text


def test_the_text_of_the_other_modes() -> None:
    fanout = plainly(OPTIONS["fanout"])
    assert "1,500 publications/s asked for" in fanout
    assert "10 never read" in fanout
    assert "from the intended send time" in fanout
    assert "1,500 publications/s   3,000" in fanout
    assert "memory    10.0 MB before, 12.0 MB after 1,000" in plainly(OPTIONS["idle"])
    assert "2,000 B each" in plainly(OPTIONS["idle"])
    assert "1 message/s from each" in plainly(OPTIONS["mixed"])
    assert "2.5 visits/s" in plainly(OPTIONS["mixed"])
    assert "1,500,000 handshakes/s" in plainly(OPTIONS["connect"])


def test_a_run_without_latencies_has_no_table() -> None:
    text = plainly(OPTIONS["idle"], latency=Histogram())
    assert "latency" not in text


@pytest.mark.parametrize(
    ("options", "changed", "sentence"),
    [
        ({}, {}, "The server was the bottleneck: it used 99% of a core."),
        (
            {},
            {"load_cpu": 0.97},
            "The load generator used 97% of its core: the rate is a lower bound; "
            "add --processes 2.",
        ),
        ({}, {"server_cpu": -1.0}, "--server-pid PID tells."),
        ({}, {"server_cpu": 0.4}, "Neither side was busy all the time"),
        ({"mode": "connect"}, {"server_cpu": 0.4}, "More --parallel loads the server"),
        ({"rate": 1.5e6}, {"server_cpu": 0.4}, "The server kept up with the rate"),
        ({"rate": 2e6}, {}, "The rate was missed: 1,500,000 of 2,000,000 messages"),
        ({"mode": "idle"}, {"server_cpu": -1.0}, "--server-pid PID tells."),
    ],
)
def test_the_verdict_is_a_plain_sentence(
    options: dict[str, Any], changed: dict[str, Any], sentence: str
) -> None:
    asked = Options(url=URL, **options)
    assert sentence in " ".join(verdict(asked, result_of(asked, **changed)))


def test_the_busiest_process_decides() -> None:
    options = Options(url=URL, processes=2)
    result = replace(result_of(options, load_cpu=1.2), load_cpu_busiest=0.95)
    assert "add --processes 4" in " ".join(verdict(options, result))


@pytest.mark.parametrize(
    ("nanoseconds", "shown"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1000, "1.00 µs"),
        (99_940, "99.9 µs"),
        (999_400, "999 µs"),
        (999_600, "1.00 ms"),
        (12_345_678, "12.3 ms"),
        (75e9, "75.0 s"),
    ],
)
def test_durations_have_three_digits(nanoseconds: float, shown: str) -> None:
    assert duration(nanoseconds) == shown


# The drawing


def test_the_drawing_shows_the_rare_ones() -> None:
    *drawing, axis, words = spectrum(LATENCY)
    assert len(drawing) == 5
    assert {len(line) for line in (drawing[-1], axis)} == {64}
    assert drawing[-1][0] == "█"
    # A single value in a million is one eighth of a line high.
    assert drawing[-1][-1] == "▁"
    assert axis.count("┬") == len(re.findall(r"[nµm]?s\b", words))
    assert "1 ms" in words


@pytest.mark.parametrize("values", [[5], [0], [2**63], [10**6] * 5, [1, 2**62]])
def test_any_latency_can_be_drawn(values: list[int]) -> None:
    *drawing, axis, _ = spectrum(histogram(*values))
    assert any(line.strip() for line in drawing)
    assert max(map(len, drawing)) <= len(axis) == 64


def test_nothing_is_drawn_of_nothing() -> None:
    assert spectrum(Histogram()) == []


def test_an_ascii_terminal_gets_ascii(asked: list[Options]) -> None:
    answer = CliRunner(charset="ascii").invoke(command, ["bench", URL])
    assert answer.exit_code == 0
    assert answer.stdout.isascii()
    assert "90.0 us" in answer.stdout or "90.1 us" in answer.stdout


@pytest.mark.parametrize(
    ("environment", "colored"),
    [({"NO_COLOR": None}, True), ({"NO_COLOR": "1"}, False)],
)
def test_colors_are_for_terminals_that_want_them(
    asked: list[Options], environment: dict[str, str | None], colored: bool
) -> None:
    def shown(*arguments: str) -> str:
        # With color the output is taken for a terminal.
        return (
            CliRunner()
            .invoke(command, ["bench", *arguments], env=environment, color=True)
            .stdout
        )

    assert ("\x1b[" in shown(URL)) == colored
    assert "\x1b[" not in shown(URL, "--format", "json")
    assert "\x1b[" not in invoke(URL).stdout


# Progress


def told(phase: str, elapsed: float, **more: int) -> Progress:
    numbers = {"opened": 50, "connections": 100, "operations": 0, "publications": 0}
    return Progress(phase, elapsed, **(numbers | more))


def test_the_live_line_moves_and_leaves_nothing() -> None:
    stream = io.StringIO()
    with LiveLine(Options(url=URL, duration=2.0), stream) as line:
        line(told("opening", 0.1))
        line(told("warm-up", 0.2, operations=1000))
        line(told("running", 0.3, operations=3000))
        line(told("running", 1.3, operations=23_000))
        line(told("draining", 1.3, operations=23_000))
    lines = stream.getvalue().split("\r\x1b[K")
    assert (lines[0], lines[-1]) == ("", "")
    assert "[==========          ] 50 of 100 connections" in lines[1]
    assert "warm-up" in lines[2]
    assert "20,000 messages/s" in lines[3]
    assert "[==========          ]  1.0 s" in lines[4]
    assert "20,000 messages/s" in lines[4]
    assert "draining" in lines[5]
    assert max(map(len, lines)) < 80


@pytest.mark.parametrize(
    ("arguments", "is_terminal", "is_live"),
    [([], True, True), (["--quiet"], True, False), ([], False, False)],
)
def test_progress_is_for_terminals(
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    is_terminal: bool,
    is_live: bool,
) -> None:
    seen: list[Callable[[Progress], None] | None] = []

    def run(
        options: Options, progress: Callable[[Progress], None] | None = None
    ) -> Result:
        seen.append(progress)
        return result_of(options)

    monkeypatch.setattr("fastws.cli.bench.run", run)
    monkeypatch.setattr("fastws.cli.bench._is_terminal", lambda: is_terminal)
    assert invoke(URL, *arguments).exit_code == 0
    assert (seen[0] is not None) == is_live


# The whole, against a server in a process of its own


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fastws", "bench", *arguments],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


@ON_LINUX
def test_a_real_run_against_a_real_server() -> None:
    short = ["--duration", "0.1", "--warm-up", "0", "--connections", "3"]
    with ServerProcess() as server:
        host, port = server.address
        url = f"ws://{host}:{port}/echo"
        pid = str(server.pid)
        done = program(url, *short, "--format", "json", "--server-pid", pid)
        assert done.returncode == 0, done.stdout + done.stderr
        result = json.loads(done.stdout)
        assert result["error"] is None
        assert result["operations"] > 0
        assert result["frames"] >= result["operations"]
        assert result["server_cpu"] is not None
        latency = result["latency_us"]
        assert 0 < latency["min"] <= latency["p50"] <= latency["p99"] <= latency["max"]
        text = program(url, *short)
        assert (text.returncode, text.stderr) == (0, "")
        assert "messages/s" in text.stdout
        refused = program(url, *short, "--deflate", "--subprotocol", "none-such")
        assert refused.returncode == 1
        assert refused.stderr.startswith("Error: ")
    with socket.socket() as holder:
        # Bound, nobody else on this machine can get the port.
        holder.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{holder.getsockname()[1]}/echo"
        gone = program(url, *short, "--format", "json")
    assert gone.returncode == 1
    assert "nothing listens at" in json.loads(gone.stdout)["error"]
