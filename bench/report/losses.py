"""Where fastws is behind, in plain words: every such row, whatever the reason."""

from __future__ import annotations

from ..scenarios.statistics import Entry, Results, Row, Verdict
from .figures import amount, quartiles, ratio, with_unit

Ours = frozenset[str]


def ours_of(results: Results) -> Ours:
    return frozenset(server.name for server in results.servers if server.is_ours)


def is_behind(row: Row, entry: Entry) -> bool:
    if entry.ratio is None:
        return False
    median = entry.ratio.median
    return median > 1 if row.lower_is_better else median < 1


def is_even(row: Row, entry: Entry) -> bool:
    """Whether the quartiles leave open who is ahead."""
    assert entry.ratio is not None
    return entry.ratio.low < 1 < entry.ratio.high


def asked(row: Row, verdict: Verdict) -> str:
    """A target in words."""
    sign = "≤" if row.lower_is_better else "≥"
    if verdict.kind == "absolute":
        text = f"{sign} {amount(verdict.bound, row.measure)}"
    else:
        whose = {
            "best": "the best of control and peers",
            "beside": f"its own {row.beside}",
        }.get(verdict.kind, verdict.kind)
        text = f"{sign} {verdict.bound:g} × {whose}"
    return f"{text}, with {verdict.condition}" if verdict.condition else text


def found(row: Row, verdict: Verdict) -> str:
    """What was measured for a target."""
    if verdict.measured is None:
        return "not measured"
    if verdict.kind == "absolute":
        return amount(verdict.measured.median, row.measure)
    return f"{ratio(verdict.measured.median)} ({quartiles(verdict.measured)})"


def comparison(row: Row, entry: Entry, best: Entry) -> str:
    assert entry.ratio is not None
    assert entry.value is not None
    assert best.value is not None
    mine = amount(entry.value.median, row.measure)
    theirs = with_unit(best.value.median, row.measure, row.unit)
    verb = "needs" if row.lower_is_better else "reaches"
    text = (
        f"`{entry.server}` {verb} {ratio(entry.ratio.median)} × `{best.server}` "
        f"(quartiles {quartiles(entry.ratio)}): {mine} against {theirs}"
    )
    return text + ("; the quartiles leave it open" if is_even(row, entry) else "")


def caveats(row: Row, entry: Entry, best: Entry) -> str:
    """What weakens the statement, on either side."""
    found = []
    if not entry.is_ratio_quiet:
        found.append("No round of it was undisturbed.")
    if row.wants_busy_server and entry.bound_by == "load":
        found.append("The load generator was the busier side: it may do better.")
    if row.wants_busy_server and best.bound_by == "load":
        found.append(
            f"For `{best.server}` the load generator was the busier side: "
            "the gap may be wider."
        )
    return " ".join(["", *found])


def behind(row: Row, entry: Entry) -> str:
    best = next(other for other in row.entries if other.server == row.denominator)
    ahead = [
        f"`{other.server}`"
        for other in row.entries[: row.entries.index(entry)]
        if other.server != best.server
    ]
    also = f" Ahead of it too: {', '.join(ahead)}." if ahead else ""
    text = f"**{row.title}**: {comparison(row, entry, best)}.{also}"
    return text + caveats(row, entry, best)


def missed(row: Row, entry: Entry) -> list[str]:
    return [
        f"**{row.title}**: `{entry.server}` misses its target, "
        f"{asked(row, verdict)}: it is {found(row, verdict)}."
        for verdict in entry.verdicts
        if verdict.met is False
    ]


def failed(row: Row, entry: Entry) -> str:
    reason = entry.errors[0].splitlines()[0]
    return (
        f"**{row.title}**: `{entry.server}` failed in {len(entry.errors)} of "
        f"{entry.rounds} runs: {reason}"
    )


def distance(row: Row, entry: Entry) -> float:
    """How far behind, whichever way is better: at least 1."""
    assert entry.ratio is not None
    median = entry.ratio.median
    return median if row.lower_is_better else 1 / max(median, 1e-9)


def all_behind(results: Results, server: str) -> list[str]:
    """The rows in which this server is behind, the widest gap first."""
    found = [
        (row, entry)
        for row in results.rows
        for entry in row.entries
        if entry.server == server and is_behind(row, entry)
    ]
    found.sort(key=lambda pair: -distance(*pair))
    return [behind(row, entry) for row, entry in found]


def compared(results: Results, server: str) -> int:
    """In how many rows it met another server."""
    return sum(
        entry.server == server and entry.ratio is not None
        for row in results.rows
        for entry in row.entries
    )


def failures(results: Results) -> list[str]:
    ours = ours_of(results)
    return [
        failed(row, entry)
        for row in results.rows
        for entry in row.entries
        if entry.server in ours and entry.errors
    ]


def misses(results: Results) -> list[str]:
    return [
        text
        for row in results.rows
        for entry in row.entries
        for text in missed(row, entry)
    ]


def absences(results: Results) -> list[str]:
    ours = ours_of(results)
    found = []
    for row in results.rows:
        names = [f"`{name}`" for name in row.absent if name in ours]
        if names:
            found.append(f"**{row.title}**: {', '.join(names)}")
    return found
