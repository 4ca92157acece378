"""What bench.wire found, for the page: bytes on the wire, compressions, memory kept."""

from __future__ import annotations

from dataclasses import dataclass

from ..scenarios.scenarios import LATENCY, MEMORY, WIRE
from ..wire import Held, Sent, Wire
from .figures import THIN, amount, ratio

SHARED = "cohort"
MOST_OF_PLAIN = 0.25
MOST_COMPRESSIONS = 1.0


@dataclass(frozen=True)
class Goal:
    """What is asked of one figure, and what it is, in words."""

    work: str
    asked: str
    found: str
    is_met: bool


def goals(found: Wire) -> list[Goal]:
    made = []
    for one in found.sent:
        if one.kind == SHARED:
            made.append(
                Goal(
                    f"Bytes of a delivery, {one.size}{THIN}B of JSON, {one.title}",
                    f"≤ {MOST_OF_PLAIN:g} × uncompressed",
                    ratio(one.to_plain),
                    one.to_plain <= MOST_OF_PLAIN,
                )
            )
        if one.compressions:
            made.append(
                Goal(
                    f"Compressions of a publication to {one.subscribers}, {one.title}",
                    f"≤ {MOST_COMPRESSIONS:g}",
                    ratio(one.compressions),
                    one.compressions <= MOST_COMPRESSIONS,
                )
            )
    return made


def misses(found: Wire | None) -> list[str]:
    """Missed goals in plain words."""
    return [
        f"**{goal.work}**: `fastws` misses its target, {goal.asked}: "
        f"it is {goal.found}."
        for goal in (goals(found) if found else ())
        if not goal.is_met
    ]


SENT = (
    "subscribers",
    "of a delivery",
    "to uncompressed",
    "compressions of a publication",
    "time of a publication",
)
HELD = ("connections", "resident memory of each")


def sent_cells(one: Sent) -> list[str]:
    return [
        one.title,
        amount(one.bytes_each, WIRE),
        ratio(one.to_plain),
        ratio(one.compressions) if one.compressions else "",
        amount(one.microseconds, LATENCY) if one.compressions else "",
    ]


def held_cells(one: Held) -> list[str]:
    return [one.title, amount(one.bytes_each, MEMORY)]


def about_sent(found: Wire) -> str:
    one = found.sent[0]
    return (
        f"A feed of trades, {one.size}{THIN}B of JSON each, published "
        f"{one.publications} times to {one.subscribers} subscribers of one channel. "
        "Every frame is decoded with Python's zlib and compared; its header counts. "
        "Compressions and their time are the server's own counters."
    )


def about_held(found: Wire) -> str:
    return (
        f"{found.held[0].connections} connections to one channel that have each sent "
        "and received messages and are idle now; with the link that is the default."
    )


def about_both(found: Wire) -> str:
    return (
        f"`{found.command}`, with zlib {found.zlib}, `{found.revision}`, {found.date}."
    )
