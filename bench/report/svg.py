"""Shapes and colours of the charts: plain SVG, light or dark as the reader has it."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

FONT = (
    "font-family:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;"
    "font-variant-numeric:tabular-nums"
)
# Class, light, dark. Contrast of text on its ground is at least 4.5 to 1 in both.
COLOURS = (
    ("ground", "fill", "#ffffff", "#0d1117"),
    ("edge", "stroke", "#d8dee4", "#30363d"),
    ("ink", "fill", "#1f2328", "#e6edf3"),
    ("muted", "fill", "#59636e", "#9198a1"),
    ("ours", "fill", "#6a3fe0", "#a88bfa"),
    ("ours-text", "fill", "#5b2fd0", "#bda6ff"),
    ("ours-too", "fill", "#b7a1f2", "#6f55bd"),
    ("control", "fill", "#8c959f", "#6e7681"),
    ("peer", "fill", "#cfd6dd", "#3a424c"),
    ("line", "stroke", "#59636e", "#9198a1"),
    ("grid", "stroke", "#e4e8ec", "#21262d"),
    ("mark", "stroke", "#6a3fe0", "#a88bfa"),
    ("goal", "stroke", "#bf5b00", "#f0a050"),
    ("bad", "fill", "#b3261e", "#ff8a80"),
)


def style() -> str:
    light = "".join(f".{name}{{{what}:{colour}}}" for name, what, colour, _ in COLOURS)
    dark = "".join(f".{name}{{{what}:{colour}}}" for name, what, _, colour in COLOURS)
    return (
        f"<style>text{{{FONT}}}.bold{{font-weight:600}}{light}"
        f"@media(prefers-color-scheme:dark){{{dark}}}</style>"
    )


def number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


@dataclass
class Drawing:
    """A card with a title; everything is placed in pixels from the upper left."""

    width: float
    height: float
    title: str
    description: str
    parts: list[str] = field(default_factory=list)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        kind: str = "ink",
        size: float = 13,
        anchor: str = "start",
        is_bold: bool = False,
    ) -> None:
        classes = f"{kind} bold" if is_bold else kind
        place = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self.parts.append(
            f'<text x="{number(x)}" y="{number(y)}" font-size="{number(size)}" '
            f'class="{classes}"{place}>{escape(words)}</text>'
        )

    def bar(self, x: float, y: float, width: float, height: float, kind: str) -> None:
        """With round corners at its end only, so that it starts at its axis."""
        width = max(width, 1.0)
        radius = min(3.0, width / 2)
        self.parts.append(
            f'<path class="{kind}" d="M{number(x)} {number(y)}'
            f"h{number(width - radius)}a{radius} {radius} 0 0 1 {radius} {radius}"
            f"v{number(height - 2 * radius)}a{radius} {radius} 0 0 1 -{radius} {radius}"
            f'h-{number(width - radius)}z"/>'
        )

    def line(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        *,
        kind: str = "line",
        width: float = 1,
        dashes: str = "",
    ) -> None:
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        self.parts.append(
            f'<path class="{kind}" fill="none" stroke-width="{number(width)}"{dashed} '
            f'd="M{number(start[0])} {number(start[1])}'
            f'L{number(end[0])} {number(end[1])}"/>'
        )

    def dot(self, x: float, y: float, radius: float, kind: str) -> None:
        self.parts.append(
            f'<circle class="{kind}" cx="{number(x)}" cy="{number(y)}" '
            f'r="{number(radius)}"/>'
        )

    def arrow(self, x: float, y: float, size: float, kind: str) -> None:
        """A triangle that points right, left when the size is negative."""
        height = abs(size)
        self.parts.append(
            f'<path class="{kind}" d="M{number(x + size)} {number(y)}'
            f"L{number(x - size)} {number(y - height)}"
            f'V{number(y + height)}z"/>'
        )

    def render(self) -> str:
        width, height = number(self.width), number(self.height)
        card = (
            f'<rect class="ground edge" x="0.5" y="0.5" rx="8" '
            f'width="{number(self.width - 1)}" height="{number(self.height - 1)}"/>'
        )
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" '
                f'height="{height}" viewBox="0 0 {width} {height}" role="img" '
                'aria-labelledby="title description">',
                f'<title id="title">{escape(self.title)}</title>',
                f'<desc id="description">{escape(self.description)}</desc>',
                style(),
                card,
                *self.parts,
                "</svg>",
                "",
            ]
        )
