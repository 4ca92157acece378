"""The page: what was asked, how, on what, the tables, and where fastws loses."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

from ..scenarios.quiet import FOREIGN_CPU
from ..scenarios.scenarios import GROUPS, LATENCY, MEMORY, RATE, WIRE
from ..scenarios.statistics import (
    LOAD_NOT_BUSY,
    QUARTILE_SLACK,
    SERVER_BUSY,
    Entry,
    Results,
    Row,
)
from ..wire import Wire
from . import losses, wire
from .charts import is_lower_bound
from .figures import amount, quartiles, ratio, seconds, share
from .losses import asked, found, ours_of

Lines = list[str]
MAIN = "fastws"
FOLDER = "benchmarks"  # of the charts, beside the page


def table(heading: list[str], rows: list[list[str]], numeric: int = 1) -> Lines:
    """Columns from `numeric` on are right-aligned; empty columns are left out."""
    kept = [
        index
        for index in range(len(heading))
        if index == 0 or any(row[index] for row in rows)
    ]

    def line(cells: list[str]) -> str:
        return (
            "| " + " | ".join(cells[index].replace("|", "\\|") for index in kept) + " |"
        )

    rule = ["---" if index < numeric else "--:" for index in range(len(heading))]
    return [line(heading), line(rule), *map(line, rows), ""]


def introduction(results: Results) -> Lines:
    names = [f"`{server.name}`" for server in results.servers if not server.missing]
    rounds = max(
        (entry.rounds for row in results.rows for entry in row.entries), default=0
    )
    lines = [
        "# Benchmarks",
        "",
        "<!-- Written by `python -m bench.report`; edits by hand are lost. -->",
        "",
        "How fast is fastws beside other WebSocket servers, and where is it slower? "
        "Each server does the same work on the same core, one after the other, in "
        f"up to {rounds} interleaved rounds; what counts is the ratio within a round. "
        f"Measured here: {', '.join(names)}.",
        "",
    ]
    if any(entry.ratio for row in results.rows for entry in row.entries):
        lines += [
            f"![fastws beside the best other server]({FOLDER}/overview.svg)",
            "",
            "The name before the axis is the best of control and peers in that "
            "scenario, which the ratio is to. A paler dot is `fastws-async`.",
            "",
        ]
    return lines


# --- targets and losses -----------------------------------------------------------


def met_words(is_met: bool | None) -> str:
    return {True: "met", False: "**missed**", None: "open"}[is_met]


def targets(results: Results) -> Lines:
    cells = [
        [
            row.title,
            f"`{entry.server}`",
            asked(row, verdict),
            found(row, verdict),
            met_words(verdict.met),
        ]
        for row in results.rows
        for entry in row.entries
        for verdict in entry.verdicts
    ]
    cells += [
        [goal.work, f"`{MAIN}`", goal.asked, goal.found, met_words(goal.is_met)]
        for goal in (wire.goals(results.wire) if results.wire else ())
    ]
    if not cells:
        return []
    lines = ["## Targets", ""]
    lines += table(["work", "server", "target", "measured", ""], cells, numeric=5)
    return [
        *lines,
        "A target is met when the median of the ratios meets it and the quartile on "
        f"the wrong side is at most {QUARTILE_SLACK:g} beyond.",
        "",
    ]


def bullets(heading: str, sentences: list[str]) -> Lines:
    if not sentences:
        return []
    return [heading, "", *(f"- {text}" for text in sentences), ""]


def folded(summary: str, lines: Lines) -> Lines:
    return ["<details>", f"<summary>{summary}</summary>", "", *lines, "</details>", ""]


def where_it_loses(results: Results) -> Lines:
    lines = bullets("It failed:", losses.failures(results))
    missed = losses.misses(results) + wire.misses(results.wire)
    lines += bullets("It misses a target:", missed)
    for server in sorted(ours_of(results)):
        behind = losses.all_behind(results, server)
        if not behind:
            continue
        met = losses.compared(results, server)
        heading = (
            f"Another server is ahead of `{server}` in {len(behind)} of {met} "
            "scenarios, the widest gap first:"
        )
        if server == MAIN:
            lines += bullets(heading, behind)
        else:
            sentences = [f"- {text}" for text in behind]
            lines += folded(heading.replace("`", ""), [*sentences, ""])
    lines += bullets("It can't take part yet:", losses.absences(results))
    nowhere = ["Nowhere in these scenarios.", ""]
    return ["## Where fastws loses", "", *(lines or nowhere)]


# --- method and circumstances -----------------------------------------------------


def method(results: Results) -> Lines:
    settings = results.abouts[-1].settings
    lines = [
        "## How it was measured",
        "",
        f"- A round runs each server once: a fresh process pinned to core "
        f"{settings['server core']}, the load generator pinned to core "
        f"{settings['load core']}, "
        f"{seconds(float(settings['warm-up']))} of traffic to warm up, then "
        f"{seconds(float(settings['duration']))} or more under the clock. Servers "
        "change places in the order from round to round.",
        "- The ratio is taken in each round; the tables have the median of the ratios "
        "and their quartiles. A row's denominator is the best median among the control "
        "(a featureless epoll server in C) and the peers.",
        "- The server was the bottleneck of a run when its process used at least "
        f"{SERVER_BUSY:.0%} of its core and the load generator less than "
        f"{LOAD_NOT_BUSY:.0%} of its own: `bound by` counts the runs in which that is "
        "proven. Where the load generator was the busier side, the rate is a lower "
        "bound and marked ≥; the operations per CPU second of the server then say "
        "more. With little in flight both sides wait, and neither is busy.",
        "- A run waits until the two cores are quiet. One in which other programs "
        f"took more than {FOREIGN_CPU:.0%} of a core all the same is repeated, and "
        "counts as disturbed when repeating did not help. A ratio is of the rounds "
        "that were quiet for both servers.",
        "- The clock stops when all that was sent has come back. Every message is "
        "numbered and compared byte by byte; a wrong, missing, doubled or surplus one "
        "fails the run. A run that fails is listed as failed.",
        "- Under a fixed rate, latency counts from the moment at which a message was "
        "due, not from when it left.",
    ]
    if any(entry.wire for row in results.rows for entry in row.entries):
        lines.append(
            "- Compressed messages are JSON, another piece of a feed each. Frames of "
            "64 bytes and more that come uncompressed fail the run; what has not been "
            "seen yet is inflated, and all of it compared."
        )
    if settings.get("real-time priority"):
        lines.append("- Both processes ran with real-time priority.")
    return [*lines, ""]


def circumstances(results: Results) -> Lines:
    about = results.abouts[-1]
    cells = [[name, str(value)] for name, value in about.machine.items()]
    revisions = dict.fromkeys(about.revision for about in results.abouts)
    cells.append(["fastws at", ", ".join(f"`{name}`" for name in revisions)])
    dates = [about.date for about in results.abouts]
    cells.append(["measured", f"from {dates[0]}" if len(dates) > 1 else dates[0]])
    commands = dict.fromkeys(about.command for about in results.abouts)
    return [
        "## Machine",
        "",
        *table(["", ""], cells, numeric=2),
        "```sh",
        *commands,
        "```",
        "",
    ]


def servers(results: Results) -> Lines:
    cells = [
        [
            f"`{server.name}`",
            server.language,
            server.version or "this one",
            server.note,
            f"not installed: {server.missing}" if server.missing else "",
        ]
        for server in results.servers
    ]
    heading = ["server", "language", "version", "its fast way", "missing"]
    return ["## Servers", "", *table(heading, cells, numeric=5)]


# --- rows -------------------------------------------------------------------------


def rounds_of(entry: Entry) -> str:
    text = str(entry.rounds)
    if entry.errors:
        text = f"{entry.rounds - len(entry.errors)} of {text}"
    if entry.disturbed:
        text += f", {entry.disturbed} disturbed"
    if entry.ratio and entry.used < entry.rounds:
        text += f", ratio of {entry.used}"
    return text


def bound_of(row: Row, entry: Entry) -> str:
    if not row.wants_busy_server or entry.value is None:
        return ""
    if entry.bound_by == "load":
        return "load: lower bound"
    if entry.bound_by == "server":
        return f"server {entry.proven}/{entry.rounds - len(entry.errors)}"
    return entry.bound_by


def cells_of(row: Row, entry: Entry, ours: frozenset[str]) -> list[str]:
    name = f"**{entry.server}**" if entry.server in ours else entry.server
    if entry.value is None:
        return [name, "failed", *[""] * 12, rounds_of(entry)]
    at_least = "≥ " if is_lower_bound(row, entry) else ""
    latency = {
        key: amount(value, LATENCY) for key, value in entry.latency.items() if value
    }
    rate = entry.per_cpu_second if row.wants_busy_server else None
    return [
        name,
        at_least + amount(entry.value.median, row.measure),
        ratio(entry.ratio.median) if entry.ratio else "",
        quartiles(entry.ratio)
        if entry.ratio and entry.server != row.denominator
        else "",
        ratio(entry.beside.median) if entry.beside else "",
        amount(entry.wire, WIRE) if entry.wire else "",
        amount(entry.rate, RATE) if entry.rate else "",
        amount(rate, row.measure) if rate else "",
        share(entry.server_cpu) if row.measure != MEMORY else "",
        share(entry.load_cpu) if row.measure != MEMORY else "",
        bound_of(row, entry),
        latency.get("p50", ""),
        "" if row.measure == LATENCY else latency.get("p99", ""),
        latency.get("p99.9", ""),
        rounds_of(entry),
    ]


def heading_of(row: Row) -> list[str]:
    return [
        "server",
        "99 %" if row.measure == LATENCY else row.unit,
        f"to {row.denominator}",
        "quartiles",
        f"to its {row.beside}",
        "bytes of each",
        "per second",
        "per CPU s",
        "server CPU",
        "load CPU",
        "bound by",
        "50 %",
        "99 %",
        "99.9 %",
        "rounds",
    ]


def notes(row: Row) -> Lines:
    lines: Lines = []
    for entry in row.entries:
        for error, times in Counter(entry.errors).items():
            words = " ".join(error.split())
            lines.append(f"- `{entry.server}` failed {times}×: {words}")
    loud = [f"`{entry.server}`" for entry in row.entries if not entry.is_ratio_quiet]
    if loud:
        lines.append(
            f"- No undisturbed round: {', '.join(loud)}. These ratios say little."
        )
    if row.absent:
        names = ", ".join(f"`{name}`" for name in row.absent)
        lines.append(f"- Without a way to do this: {names}.")
    return [*lines, ""] if lines else []


def scenario(row: Row, ours: frozenset[str]) -> Lines:
    lines = [f"### {row.title}", ""]
    if row.is_charted:
        lines += [f"![{row.title}, as bars]({FOLDER}/{row.scenario}.svg)", ""]
    cells = [cells_of(row, entry, ours) for entry in row.entries]
    lines += table(heading_of(row), cells)
    lines += notes(row)
    return [*lines, f"`{row.scenario}`: `{row.command}`", ""]


def compression(found: Wire | None) -> Lines:
    if found is None:
        return []
    return [
        "## What compression sends and keeps",
        "",
        wire.about_sent(found),
        "",
        *table(list(wire.SENT), [wire.sent_cells(one) for one in found.sent]),
        wire.about_held(found),
        "",
        *table(list(wire.HELD), [wire.held_cells(one) for one in found.held]),
        wire.about_both(found),
        "",
        "What other libraries and other settings of zlib would change: "
        "[Deflate libraries](libraries.md).",
        "",
    ]


def page(results: Results) -> str:
    ours = ours_of(results)
    lines = [
        *introduction(results),
        *targets(results),
        *where_it_loses(results),
        *method(results),
        *circumstances(results),
        *servers(results),
    ]
    for group, rows in groupby(results.rows, lambda row: row.group):
        lines += [f"## {GROUPS.get(group, group)}", ""]
        for row in rows:
            lines += scenario(row, ours)
    lines += compression(results.wire)
    return "\n".join(lines)
