"""Scenarios are data: names, needs and targets hold together."""

from __future__ import annotations

import itertools

import pytest

from bench.peers.peers import MODES, PEERS
from bench.scenarios import load
from bench.scenarios.scenarios import (
    ALL,
    BEST_PEER,
    GROUPS,
    SCENARIOS,
    SETS,
    Scenario,
    Target,
)

LONGEST_TITLE = 76  # characters that fit the width of a chart


def test_names_are_unique() -> None:
    assert len(SCENARIOS) == len(ALL)


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_scenario_is_sound(scenario: Scenario) -> None:
    assert scenario.group in GROUPS
    assert scenario.mode in ("echo", "fanout", "connect", "idle")
    assert len(scenario.title) <= LONGEST_TITLE
    assert scenario.needs <= set(MODES)
    assert ("{channel}" in scenario.path) == scenario.channels
    assert scenario.beside == "" or scenario.beside in SCENARIOS
    # Whatever a scenario's value is, the load generator's mode reports it.
    assert (scenario.value == "bytes_per_connection") <= (scenario.mode == "idle")


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_targets_name_servers_that_exist(scenario: Scenario) -> None:
    for target in scenario.targets:
        assert PEERS[target.server].is_ours
        assert target.against in ("", BEST_PEER, *PEERS)
        assert not target.is_beside or scenario.beside


def test_grids_are_complete() -> None:
    groups = [scenario.group for scenario in ALL]
    assert groups.count("echo") == 3 * 3 * 2
    assert groups.count("wire") == 3
    assert groups.count("fanout") == groups.count("fanout-deflate") == 3 * 2 * 2


def test_sets_name_scenarios_in_order() -> None:
    for names in SETS.values():
        assert set(names) <= SCENARIOS.keys()
    assert SETS["all"] == tuple(SCENARIOS)
    assert set(SETS["quick"]) <= set(SETS["targets"])
    # What a targeted scenario is compared with is measured too.
    assert "fanout-1000x1024-d16" in SETS["targets"]
    assert "wire-1000x137" in SETS["targets"]


def test_groups_stand_together() -> None:
    groups = [scenario.group for scenario in ALL]
    assert [group for group in GROUPS if group in groups] == list(dict.fromkeys(groups))
    changes = sum(one != other for one, other in itertools.pairwise(groups))
    assert changes == len(set(groups)) - 1


def test_kind_of_a_target() -> None:
    assert Target("fastws", 1).kind == "best"
    assert Target("fastws", 1, against="uws").kind == "uws"
    assert Target("fastws", 1, is_beside=True).kind == "beside"
    assert Target("fastws", 1, is_absolute=True).kind == "absolute"


def test_needs() -> None:
    assert SCENARIOS["echo-1x64-d1"].needs == {"echo"}
    assert SCENARIOS["fanout-100x128-d1-deflate"].needs == {"fanout-deflate"}
    assert SCENARIOS["channels-1000x10"].needs == {"fanout", "channels"}
    assert SCENARIOS["idle-18000-pings"].needs == {"pings"}
    assert SCENARIOS["connect"].needs == frozenset()
    assert SCENARIOS["wire-1000x137-context"].needs == {"fanout-deflate"}
    assert SCENARIOS["idle-8000-deflate"].needs == {"fanout-deflate"}


def test_a_context_is_shared_by_those_who_can() -> None:
    with_context = SCENARIOS["wire-1000x137-context"]
    assert with_context.arguments_for({"cohort"}) == ("--cohort",)
    assert with_context.arguments_for({"fanout-deflate"}) == ()
    alone = SCENARIOS["wire-1000x137-deflate"]
    assert alone.arguments_for({"cohort"}) == ()
    assert SCENARIOS["idle-18000-pings"].arguments_for(()) == ("--ping", "25")


def test_what_is_compressed_is_json_that_changes() -> None:
    for scenario in ALL:
        if scenario.deflate and scenario.mode == "fanout":
            assert scenario.options["content"] == "records"
            beside = SCENARIOS[scenario.beside]
            assert beside.options["size"] == scenario.options["size"]
            assert not beside.deflate


def test_command_of_the_load_generator() -> None:
    clock = load.Clock(duration=0.5, warm_up=0.1, timeout=20)
    words = load.arguments(SCENARIOS["echo-100x64-d16"], "ws://127.0.0.1:1/echo", clock)
    assert words == [
        *("bench", "ws://127.0.0.1:1/echo", "--mode", "echo", "--connections", "100"),
        *("--size", "64", "--depth", "16", "--busy-poll", "--duration", "0.5"),
        *("--warm-up", "0.1", "--timeout", "20.5"),
    ]


def test_flags_have_no_value_and_long_scenarios_stay_long() -> None:
    clock = load.Clock(duration=0.5)
    words = load.arguments(SCENARIOS["fanout-100x128-d1-deflate"], "ws://x/", clock)
    assert words[words.index("--deflate") + 1].startswith("--")
    words = load.arguments(SCENARIOS["paced-500x4096"], "ws://x/", clock)
    assert words[words.index("--duration") + 1] == "5"


@pytest.mark.parametrize(
    ("output", "code", "error"),
    [
        ('progress\n{"error": null, "seconds": 1}\n', 0, None),
        ('{"error": "connection 3 was reset"}\n', 1, "connection 3 was reset"),
        ('{"error": null}\n', 3, "the load generator ended with 3"),
        ("", 2, "the load generator ended with 2: no such option"),
        ("[1]", 2, "the load generator ended with 2: no such option"),
    ],
)
def test_answer_of_the_load_generator(
    output: str, code: int, error: str | None
) -> None:
    assert load.parse(output, "Usage\nno such option\n", code)["error"] == error
