"""The checker is checked: each planted fault is found, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .journal import Fault, Journal


def journal_of(*numbers: int, may_miss: bool = False, told: int = 0) -> list[Fault]:
    """The faults of a client that saw these numbers of ten."""
    faults: list[Fault] = []
    journal = Journal("here", faults, may_miss=may_miss)
    for number in numbers:
        journal.received(number)
    journal.skipped(told)
    journal.finish(10)
    return faults


ALL = list(range(1, 11))


def without(number: int) -> list[int]:
    return [one for one in ALL if one != number]


@pytest.mark.parametrize(
    ("numbers", "kinds"),
    [
        (ALL, []),
        (without(4), ["gap"]),
        (without(10), ["lost"]),
        ([1, 2, 4, 3, *ALL[4:]], ["gap", "reorder"]),
        ([*ALL[:5], 5, *ALL[5:]], ["duplicate"]),
        ([*ALL, 2], ["duplicate"]),
        ([*ALL, 11], ["phantom"]),
        ([], ["lost"]),
    ],
)
def test_a_stream_that_must_be_whole(numbers: list[int], kinds: list[str]) -> None:
    assert [fault.kind for fault in journal_of(*numbers)] == kinds


@pytest.mark.parametrize(
    ("numbers", "told", "kinds"),
    [
        (ALL, 0, []),
        ([1, 2, 9, 10], 6, []),
        ([1, 2, 9, 10], 5, ["uncounted"]),
        (ALL, 1, ["uncounted"]),
        ([1, 9, 2, 10], 7, ["reorder", "uncounted"]),
        ([1, 9, 9, 10], 7, ["duplicate"]),
        ([1, 9], 7, ["lost"]),
    ],
)
def test_a_stream_that_may_have_counted_gaps(
    numbers: list[int], told: int, kinds: list[str]
) -> None:
    faults = journal_of(*numbers, may_miss=True, told=told)
    assert [fault.kind for fault in faults] == kinds


@pytest.mark.parametrize(
    ("recovered", "position", "then", "kinds"),
    [
        (True, 9, ALL[3:], []),
        (True, 9, ALL[4:], ["gap"]),
        (True, 9, ALL[2:], ["duplicate"]),
        (True, 2, ALL[3:], ["stale"]),
        (False, 9, [10], []),
        (False, 9, [9, 10], ["duplicate"]),
    ],
)
def test_a_return(
    recovered: bool, position: int, then: list[int], kinds: list[str]
) -> None:
    faults: list[Fault] = []
    journal = Journal("here", faults)
    for number in ALL[:3]:
        journal.received(number)
    journal.returned(recovered, position)
    for number in then:
        journal.received(number)
    journal.finish(10)
    assert [fault.kind for fault in faults] == kinds


def test_a_fault_says_what_was_expected() -> None:
    faults: list[Fault] = []
    Journal("reader 3, news", faults).corrupt("abc", "abd")
    assert str(faults[0]) == (
        "corrupt at reader 3, news: expected 'abc', observed 'abd'"
    )


Program = Callable[..., str]


@pytest.mark.parametrize("plant", ["skip", "reorder", "replay"])
def test_a_fault_planted_in_the_server_is_found(stress: Program, plant: str) -> None:
    found = {"skip": "gap", "reorder": "reorder", "replay": "duplicate"}[plant]
    said = stress("--only", "batched", "--calm", "--plant", plant, status=1)
    assert f"FAULT {found} at reader" in said
    assert "expected" in said


def test_a_short_run_of_a_sound_server(stress: Program) -> None:
    said = stress("--only", "slow,confirmed,payloads", "--seed", "1")
    assert "seed 1" in said
    assert "rounds of slow readers" in said


def test_an_unknown_scenario_is_refused(stress: Program) -> None:
    assert "there is no scenario tea" in stress("--only", "tea", status=2)
