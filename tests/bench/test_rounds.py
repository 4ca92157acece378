"""The order of runs, their file, and a run against made-up programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bench.report import __main__ as report
from bench.scenarios import __main__ as command
from bench.scenarios import load, quiet
from bench.scenarios.rounds import Planned, Settings, estimate, go, measure, plan
from bench.scenarios.runs import About, Run, RunFile
from bench.scenarios.scenarios import SCENARIOS, Scenario
from bench.scenarios.servers import (
    Placement,
    Server,
    ServerError,
    known_servers,
    serving,
)
from tests.bench import made_up
from tests.support.waits import eventually

ECHO = SCENARIOS["echo-100x64-d16"]
CONNECT = SCENARIOS["connect"]
CORE = min(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
HERE = Placement(CORE, CORE)
# Nothing is to be measured: a busy machine must not delay the tests.
HASTY = Settings(
    rounds=1,
    clock=load.Clock(duration=0.1, warm_up=0.05, timeout=20),
    placement=HERE,
    attempts=1,
    patience=0,
)

Measured = Callable[[int, Scenario, Server, Settings], Run]

linux = pytest.mark.skipif(sys.platform != "linux", reason="pins to cores")


def server(name: str, *can: str, program: str = "", missing: str = "") -> Server:
    """A program that says what it is told to, and then waits."""
    words = [sys.executable, "-c", program]
    return Server(name, lambda port, deflate: words, frozenset(can), missing=missing)


def planned(names: str, scenarios: Sequence[Scenario], rounds: int) -> list[Planned]:
    servers = [server(name, "echo") for name in names]
    return list(plan(scenarios, servers, rounds))


def recorder(fails: str = "") -> tuple[list[str], Measured]:
    seen: list[str] = []

    def measured(number: int, scenario: Scenario, one: Server, _: Settings) -> Run:
        seen.append(f"{number}{one.name}")
        value = None if one.name in fails else 1.0
        return made_up.run(scenario.name, one.name, number, value)

    return seen, measured


# --- order ------------------------------------------------------------------------


def test_servers_change_places() -> None:
    order = [f"{number}{one.name}" for number, _, one in planned("abc", [ECHO], 3)]
    assert order == ["0a", "0b", "0c", "1b", "1c", "1a", "2c", "2a", "2b"]


def test_rounds_interleave_scenarios() -> None:
    order = [(number, one.name) for number, one, _ in planned("a", [ECHO, CONNECT], 2)]
    assert order == [(0, ECHO.name), (0, "connect"), (1, ECHO.name), (1, "connect")]


def test_who_can_not_or_is_missing_is_left_out() -> None:
    servers = [server("a", "fanout"), server("b", "echo", missing="not installed")]
    assert list(plan([ECHO], servers, 2)) == []
    assert [one.name for _, _, one in plan([CONNECT], servers, 1)] == ["a"]


def test_what_is_done_is_not_done_again() -> None:
    seen, measured = recorder()
    done = [made_up.run(ECHO.name, "a", 0, 1.0), made_up.run(ECHO.name, "b", 1, 1.0)]
    runs = list(go(planned("ab", [ECHO], 2), HASTY, done=done, measured=measured))
    assert seen == ["0b", "1a"]
    assert [run.place for run in runs] == [(ECHO.name, "b", 0), (ECHO.name, "a", 1)]


def test_a_server_that_keeps_failing_is_given_up() -> None:
    seen, measured = recorder(fails="b")
    runs = list(go(planned("ab", [ECHO], 4), HASTY, measured=measured))
    assert [place for place in seen if "b" in place] == ["0b", "1b"]
    assert sum(bool(run.error) for run in runs) == 2
    assert len(runs) == 6


def test_failures_before_an_interruption_count() -> None:
    seen, measured = recorder(fails="b")
    done = [made_up.run(ECHO.name, "b", 0, None)]
    list(go(planned("b", [ECHO], 4), HASTY, done=done, measured=measured))
    assert seen == ["1b"]


def test_no_round_begins_that_would_pass_the_limit() -> None:
    now = 0.0
    seen, measured = recorder()

    def slow(number: int, scenario: Scenario, one: Server, settings: Settings) -> Run:
        nonlocal now
        now += 10
        return measured(number, scenario, one, settings)

    limited = Settings(rounds=9, time_limit=50)
    every = planned("ab", [ECHO], 9)
    list(go(every, limited, measured=slow, clock=lambda: now))
    assert len(seen) == 4  # two rounds of 20 s; a third would end at 60


def test_progress_says_what_and_how_far() -> None:
    said: list[str] = []
    list(
        go(planned("a", [ECHO], 1), HASTY, progress=said.append, measured=recorder()[1])
    )
    assert said == [f"1/1  round 1/1  {ECHO.name}  a"]


def test_estimate_grows_with_the_runs() -> None:
    one = estimate(planned("a", [ECHO], 1), load.Clock())
    assert estimate(planned("ab", [ECHO], 3), load.Clock()) == pytest.approx(6 * one)


# --- the file ---------------------------------------------------------------------


def test_runs_survive_in_the_file(tmp_path: Path) -> None:
    file = RunFile(tmp_path / "deep" / "runs.jsonl")
    assert not file.exists()
    about = made_up.about(made_up.note("control"))
    run = made_up.run(ECHO.name, "control", 0, 7.5)
    file.append(about)
    file.append(run)
    assert file.read() == ([about], [run])


def test_a_line_that_was_cut_off_is_dropped(tmp_path: Path) -> None:
    file = RunFile(tmp_path / "runs.jsonl")
    first, second = (made_up.run(ECHO.name, "a", n, 1.0) for n in (0, 1))
    file.append(first)
    with file.path.open("ab") as raw:
        raw.write(b'{"kind":"run","scena')
    assert file.read()[1] == [first]
    file.append(second)
    assert file.read()[1] == [first, second]


def test_another_machine_or_version_or_clock_is_a_conflict() -> None:
    about = made_up.about(made_up.note("a"))
    assert about.conflicts(made_up.about(made_up.note("a"), date="later")) == []
    assert about.conflicts(made_up.about(made_up.note("b"))) == []
    other = made_up.about(made_up.note("a", version="2.0"), machine={"cores": 64})
    assert about.conflicts(other) == [
        "cores: 64 then, 2 now",
        "processor: None then, Made-up 9000 now",
        "python: None then, CPython 3 now",
        "a: 2.0 then, 1.2 now",
    ]


def opened(path: Path, about: About, *words: str) -> list[Run]:
    options = command.parse_options(["--output", str(path), *words])
    return command.open_file(RunFile(path), about, options)


def test_a_file_is_never_overwritten_by_accident(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    about = made_up.about(made_up.note("a"))
    run = made_up.run(ECHO.name, "a", 0, 1.0)
    assert opened(path, about) == []
    RunFile(path).append(run)
    with pytest.raises(SystemExit, match="--resume or --overwrite"):
        opened(path, about)
    assert opened(path, about, "--resume") == [run]
    with pytest.raises(SystemExit, match="measured otherwise: cores"):
        opened(path, made_up.about(machine={"cores": 1}), "--resume")
    assert opened(path, about, "--overwrite") == []


def test_command_line_refuses_what_it_does_not_know(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        command.parse_options(["--scenario", "nothing"])
    assert "unknown scenarios: nothing" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.parse_options(["--rounds", "0"])
    with pytest.raises(SystemExit, match="unknown servers: nobody"):
        command.chosen(["nobody"])


def test_list_prints_and_measures_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "runs.jsonl"
    words = ["--list", "--set", "quick", "--peers", "fastws", "--output", str(path)]
    assert command.main(words) == 0
    assert "echo-100x64-d16                fastws" in capsys.readouterr().out
    assert not path.exists()


# --- quiet ------------------------------------------------------------------------

STAT = """cpu  9 9 9 9 9 9 9 9 0 0
cpu0 100 0 200 5000 7 10 20 70 0 0
cpu1 1 1 1 1 1 1 1 1 0 0
"""


def test_busy_is_everything_but_idle_and_waiting() -> None:
    assert quiet.busy_seconds(frozenset({0}), STAT) == pytest.approx(400 * quiet.tick())


@pytest.mark.parametrize(("rates", "is_quiet"), [([1, 1, 0], True), ([1] * 99, False)])
def test_waiting_until_quiet(rates: list[int], is_quiet: bool) -> None:
    now = 0.0
    used = 0.0
    ahead = iter(rates)

    def pause(seconds: float) -> None:
        nonlocal now, used
        now += seconds
        used += next(ahead) * seconds

    assert is_quiet is quiet.wait_until_quiet(
        frozenset({0}), 1.0, clock=lambda: now, pause=pause, busy=lambda _: used
    )


# --- processes --------------------------------------------------------------------

READY = "import signal; print('ready', flush=True); signal.pause()"


def is_alive(pid: int) -> bool:
    """Neither gone nor a zombie that its new parent has not collected yet."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@linux
def test_a_server_is_stopped_with_its_children() -> None:
    # Only one of them speaks, or their words may run together.
    program = f"import os, signal; os.fork() or signal.pause(); {READY}"
    with serving(server("forks", program=program), HERE) as running:
        members = quiet.tree(running.pid)
        assert len(members) == 2
    assert running.process.poll() is not None
    eventually(lambda: not any(map(is_alive, members)))


@linux
def test_a_server_that_ends_says_why() -> None:
    program = "import sys; sys.exit('no such module')"
    with (
        pytest.raises(ServerError, match="ended with 1: no such module"),
        serving(server("ends", program=program), HERE),
    ):
        pass


@linux
def test_a_server_that_does_not_listen_is_waited_for_so_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.scenarios.servers.START_DEADLINE", 0.05)
    silent = server("silent", program="import signal; signal.pause()")
    with pytest.raises(ServerError, match="did not listen"), serving(silent, HERE):
        pass


def scripted(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Puts a made-up load generator in the place of the real one."""
    monkeypatch.setattr(load, "PROGRAM", (sys.executable, "-c", program))


@linux
def test_a_run_keeps_what_the_load_generator_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scripted(
        monkeypatch, "import json, sys; print(json.dumps({'words': sys.argv[1:]}))"
    )
    run = measure(3, ECHO, server("made-up", "echo", program=READY), HASTY)
    assert run.error == ""
    assert run.place == (ECHO.name, "made-up", 3)
    words = run.result["words"]
    assert words[0] == "bench"
    assert words[1].endswith("/echo")
    assert words[-3:] == ["--format", "json", "--quiet"]
    assert words[words.index("--server-pid") + 1].isdigit()


@linux
def test_connections_are_held_where_a_server_has_no_echo(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scripted(
        monkeypatch, "import json, sys; print(json.dumps({'words': sys.argv[1:]}))"
    )
    run = measure(0, CONNECT, server("fan", "fanout", program=READY), HASTY)
    assert run.result["words"][1].endswith("/fanout")


@linux
def test_a_run_that_fails_says_what_both_sides_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scripted(monkeypatch, """print('{"error": "connection 0 was reset"}')""")
    # In one write: it has been said before the load generator starts.
    program = READY.replace("'ready'", "'ready\\nno memory'")
    run = measure(0, ECHO, server("made-up", "echo", program=program), HASTY)
    assert run.error == "connection 0 was reset; the server said: no memory"
    assert run.result == {}


@linux
def test_a_load_generator_that_hangs_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load, "GRACE", 0.0)
    scripted(monkeypatch, "import signal; signal.pause()")
    settings = Settings(
        clock=load.Clock(duration=0.1, timeout=0.1),
        placement=HERE,
        attempts=1,
        patience=0,
    )
    run = measure(0, ECHO, server("made-up", "echo", program=READY), settings)
    assert run.error == "the load generator did not end within 0 s"


def test_without_a_load_generator_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scripted(monkeypatch, "import sys; sys.exit('no such module')")
    with pytest.raises(SystemExit, match="no such module"):
        load.check()


@linux
def test_a_disturbed_run_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = 0

    def measure_once(number: int, scenario: Scenario, one: Server, _: Settings) -> Run:
        nonlocal attempts
        attempts += 1
        foreign = 0.5 if attempts < 3 else 0.0
        return made_up.run(scenario.name, one.name, number, 1.0, foreign_cpu=foreign)

    monkeypatch.setattr("bench.scenarios.rounds.measure_once", measure_once)
    settings = Settings(placement=HERE, attempts=5, patience=0)
    run = measure(0, ECHO, server("a", "echo"), settings)
    assert (run.attempts, run.is_quiet) == (3, True)


def test_servers_are_the_peers() -> None:
    servers = known_servers()
    assert {"control", "fastws", "fastws-async"} <= servers.keys()
    assert servers["fastws"].is_ours
    assert not servers["fastws"].missing
    assert "8123" in servers["fastws"].command(8123, False)


# --- end to end -------------------------------------------------------------------


@linux
@pytest.mark.unsanitized
@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_control_and_fastws_meet_the_load_generator(tmp_path: Path) -> None:
    """All the way from the command line to a report, in fractions of a second."""
    subprocess.run(["make", "--quiet", "-C", str(command.ROOT / "bench")], check=True)
    output = tmp_path / "runs.jsonl"
    words = ["--scenario", "echo-100x64-d1", "fanout-100x128-d1", "--rounds", "1"]
    words += ["--peers", "control", "fastws", "--duration", "0.1", "--warm-up", "0.05"]
    words += ["--patience", "0", "--attempts", "1", "--output", str(output)]
    assert command.main(words) == 0
    assert command.main([*words, "--resume", "--rounds", "2"]) == 0
    abouts, runs = RunFile(output).read()
    assert len(abouts) == 2
    assert len(runs) == 2 * 2 * 2
    assert [run.error for run in runs] == [""] * len(runs)
    assert report.main([str(output), "--docs", str(tmp_path)]) == 0
    text = (tmp_path / "benchmarks.md").read_text()
    assert "to control" in text
    assert report.main(["--check", "--docs", str(tmp_path)]) == 0
