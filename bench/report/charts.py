"""The charts: bars of one scenario, and fastws beside the best other in all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from ..scenarios.scenarios import GROUPS
from ..scenarios.statistics import Entry, Results, Row, Spread
from .figures import amount, ratio
from .losses import ours_of
from .svg import Drawing

WIDTH = 760.0
MARGIN = 20.0
NAMES = 132.0  # where bars begin
BARS = 400.0  # the longest bar
STEP = 30.0
THICK = 20.0
TOP = 72.0


def kind_of(server: str, ours: frozenset[str]) -> str:
    if server in ours:
        return "ours" if server == "fastws" else "ours-too"
    return "control" if server == "control" else "peer"


def is_lower_bound(row: Row, entry: Entry) -> bool:
    return row.wants_busy_server and entry.bound_by == "load"


def label(row: Row, entry: Entry) -> str:
    assert entry.value is not None
    at_least = "≥ " if is_lower_bound(row, entry) else ""
    return at_least + amount(entry.value.median, row.measure)


def direction(row: Row) -> str:
    return "shorter is better" if row.lower_is_better else "longer is better"


def described(row: Row) -> str:
    """The chart in words, for those who can't see it."""
    parts = [f"{row.unit}, {direction(row)}."]
    for entry in row.entries:
        if entry.value is None:
            parts.append(f"{entry.server}: failed.")
            continue
        beside = f", ratio {ratio(entry.ratio.median)}" if entry.ratio else ""
        parts.append(f"{entry.server}: {label(row, entry)}{beside}.")
    return " ".join(parts)


def bars(row: Row, ours: frozenset[str]) -> str:
    """One bar per server, best first, with its quartiles and its ratio."""
    height = TOP + STEP * len(row.entries) + MARGIN - 6
    drawing = Drawing(WIDTH, height, row.title, described(row))
    drawing.text(MARGIN, 32, row.title, size=16, is_bold=True)
    ratios = f" · ratio to {row.denominator}" if row.denominator else ""
    drawing.text(
        MARGIN, 53, f"{row.unit} · {direction(row)}{ratios}", kind="muted", size=12.5
    )
    longest = max((entry.value.high for entry in row.entries if entry.value), default=1)
    for index, entry in enumerate(row.entries):
        one_bar(drawing, row, entry, ours, TOP + STEP * index, BARS / (longest or 1))
    return drawing.render()


def one_bar(
    drawing: Drawing,
    row: Row,
    entry: Entry,
    ours: frozenset[str],
    y: float,
    scale: float,
) -> None:
    kind = kind_of(entry.server, ours)
    is_ours = entry.server in ours
    ink = "ours-text" if is_ours else "ink"
    baseline = y + THICK / 2 + 4.5
    drawing.text(
        NAMES - 10, baseline, entry.server, kind=ink, anchor="end", is_bold=is_ours
    )
    if entry.value is None:
        drawing.text(NAMES, baseline, "failed", kind="bad")
        return
    end = NAMES + entry.value.median * scale
    drawing.bar(NAMES, y, end - NAMES, THICK, kind)
    whisker = NAMES + entry.value.high * scale
    if entry.value.high > entry.value.low:
        start = NAMES + entry.value.low * scale
        middle = y + THICK / 2
        drawing.line((start, middle), (whisker, middle), width=1.5)
    x = max(end, whisker) + 10
    drawing.text(x, baseline, label(row, entry), kind=ink, is_bold=is_ours)
    if entry.ratio is not None and entry.server != row.denominator:
        drawing.text(
            WIDTH - MARGIN,
            baseline,
            f"{ratio(entry.ratio.median)}×",
            kind=ink if is_ours else "muted",
            anchor="end",
            is_bold=is_ours,
        )


# --- overview ---------------------------------------------------------------------

LABELS = 320.0
AXIS = WIDTH - LABELS - 96
LINE = 21.0
HEADING = 30.0
OVERVIEW_TOP = 98.0
# To either side of 1. What lies beyond is an arrow at the edge, with its number.
MOST_DOUBLINGS = 3


def goodness(row: Row, spread: Spread) -> Spread:
    """How many times as good: inverted where less is better."""
    if not row.lower_is_better:
        return spread
    low, middle, high = (
        1 / value if value > 0 else math.inf
        for value in (spread.high, spread.median, spread.low)
    )
    return Spread(low, middle, high)


def axis_of(spreads: Sequence[Spread]) -> tuple[float, list[float]]:
    """The outermost factor to either side, and the ticks between."""
    furthest = 2.0
    for spread in spreads:
        for value in (spread.low, spread.high):
            if 0 < value < math.inf:
                furthest = max(furthest, value, 1 / value)
    doublings = min(math.ceil(math.log2(furthest) - 1e-9), MOST_DOUBLINGS)
    powers = range(-doublings, doublings + 1)
    return 2.0**doublings, [2.0**power for power in powers]


class Overview:
    """A line per scenario: a dot at the ratio, a stroke over its quartiles."""

    def __init__(self, rows: Sequence[Row], ours: frozenset[str]) -> None:
        self.rows = rows
        self.ours = ours
        spreads = [
            goodness(row, entry.ratio)
            for row in rows
            for entry in row.entries
            if entry.server in ours and entry.ratio is not None
        ]
        self.outermost, self.ticks = axis_of(spreads)
        self.groups = [
            (group, list(those))
            for group, those in groupby(rows, lambda row: row.group)
        ]
        height = OVERVIEW_TOP + HEADING * len(self.groups) + LINE * len(rows) + MARGIN
        self.drawing = Drawing(
            WIDTH, height, "fastws beside the best other server", self.described()
        )

    def described(self) -> str:
        parts = ["Ratio to the best of control and peers, above 1 is better."]
        for row in self.rows:
            for entry in row.entries:
                if entry.server in self.ours and entry.ratio is not None:
                    value = ratio(goodness(row, entry.ratio).median)
                    parts.append(f"{row.title}, {entry.server}: {value}.")
        return " ".join(parts)

    def place(self, value: float) -> float:
        value = min(max(value, 1 / self.outermost), self.outermost)
        share = math.log(value * self.outermost) / (2 * math.log(self.outermost))
        return LABELS + share * AXIS

    def heading(self) -> None:
        drawing = self.drawing
        drawing.text(MARGIN, 32, drawing.title, size=16, is_bold=True)
        drawing.text(
            MARGIN,
            53,
            "times as good as the best of control and peers, with quartiles · "
            "right of 1 is ahead",
            kind="muted",
            size=12.5,
        )
        bottom = drawing.height - MARGIN + 4
        for tick in self.ticks:
            x = self.place(tick)
            is_one = tick == 1
            kind = "line" if is_one else "grid"
            drawing.line((x, OVERVIEW_TOP - 12), (x, bottom), kind=kind)
            words = f"{tick:g}" if tick >= 1 else f"1/{1 / tick:g}"
            drawing.text(
                x,
                OVERVIEW_TOP - 18,
                words,
                kind="ink" if is_one else "muted",
                size=11.5,
                anchor="middle",
            )

    def render(self) -> str:
        self.heading()
        y = OVERVIEW_TOP
        for group, rows in self.groups:
            self.drawing.text(
                MARGIN, y + 18, GROUPS.get(group, group), size=13, is_bold=True
            )
            y += HEADING
            for row in rows:
                self.row(row, y)
                y += LINE
        return self.drawing.render()

    def row(self, row: Row, y: float) -> None:
        drawing, middle = self.drawing, y + LINE / 2
        drawing.text(MARGIN + 12, middle + 4, row.short, size=12.5)
        drawing.text(
            LABELS - 14,
            middle + 4,
            row.denominator,
            kind="muted",
            size=11.5,
            anchor="end",
        )
        # fastws last, so that its dot lies on top.
        mine = [entry for entry in row.entries if entry.server in self.ours]
        for entry in sorted(mine, key=lambda entry: entry.server == "fastws"):
            if entry.ratio is None:
                drawing.text(
                    WIDTH - MARGIN, middle + 4, "–", kind="muted", anchor="end"
                )
                continue
            spread = goodness(row, entry.ratio)
            start, end = self.place(spread.low), self.place(spread.high)
            drawing.line((start, middle), (end, middle), kind="mark", width=2)
            kind = kind_of(entry.server, self.ours)
            is_main = kind == "ours"
            self.mark(spread.median, middle, kind)
            if is_main:
                drawing.text(
                    WIDTH - MARGIN,
                    middle + 4,
                    f"{ratio(spread.median)}×",
                    kind="ours-text",
                    size=12,
                    anchor="end",
                    is_bold=spread.median < 1,
                )

    def mark(self, value: float, middle: float, kind: str) -> None:
        radius = 5 if kind == "ours" else 4
        if 1 / self.outermost <= value <= self.outermost:
            self.drawing.dot(self.place(value), middle, radius, kind)
        else:
            side = -1 if value < 1 else 1
            self.drawing.arrow(self.place(value), middle, side * radius, kind)


def compared(results: Results) -> list[Row]:
    """The rows in which one of ours met another server."""
    ours = ours_of(results)
    return [
        row
        for row in results.rows
        if any(entry.server in ours and entry.ratio for entry in row.entries)
    ]


def charts(results: Results) -> dict[str, str]:
    """SVG by file name."""
    ours = ours_of(results)
    found = {
        f"{row.scenario}.svg": bars(row, ours)
        for row in results.rows
        if row.is_charted and row.entries
    }
    if rows := compared(results):
        found["overview.svg"] = Overview(rows, ours).render()
    return found
