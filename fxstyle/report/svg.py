"""Line plots as SVG text: small, sharp at any size, and coloured by the page's style sheet.

Nothing here knows about audio. Colours are CSS classes, so that one picture serves light, dark and
print; every text is escaped; a title says what the picture shows to those who do not see it.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

WIDTH, HEIGHT = 760, 320
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 34, 44
"""Margins for the numbers, the legend and the axis labels."""

CURVE_EDGE = 2
"""Half a curve's width: one that runs along the end of an axis is drawn whole."""

LEGEND_LETTER = 7.0
"""Width of a letter at 12 px: SVG has no layout, so the legend is spaced by estimate."""


def text_of(value: object) -> str:
    """Return `value` safe inside HTML or SVG: escaped, control characters replaced."""
    clean = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in str(value))
    return html.escape(clean)


@dataclass(frozen=True)
class Axis:
    """A scale: its ends, the values that are marked, and how they are written."""

    low: float
    high: float
    ticks: tuple[float, ...]
    label: str
    log: bool = False

    def place(self, value: float) -> float:
        """Position of `value`: 0..1 between the ends, beyond that outside; a log scale is held at them."""
        if self.log:
            inside = min(max(value, self.low), self.high)
            return math.log(inside / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Line:
    """One curve; `css` names its class in the style sheet, and an empty `name` keeps it out of the legend."""

    x: Sequence[float]
    y: Sequence[float]
    css: str
    name: str = ""


@dataclass(frozen=True)
class Mark:
    """A dotted vertical with a word at its top."""

    x: float
    name: str


@dataclass(frozen=True)
class Plot:
    """A picture with axes, curves and a legend."""

    title: str
    x: Axis
    y: Axis
    lines: tuple[Line, ...]
    marks: tuple[Mark, ...] = field(default=())

    def svg(self) -> str:
        """Return the picture as an SVG element."""
        parts = [
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" class="plot">',
            f"<title>{text_of(self.title)}</title>",
            *self._grid(),
            *self._marks(),
            self._panel(),
            *(self._curve(line) for line in self.lines),
            "</svg>",
            *self._legend(),
            "</svg>",
        ]
        return "\n".join(parts)

    def _px(self, value: float) -> float:
        return LEFT + self.x.place(value) * (WIDTH - LEFT - RIGHT)

    def _py(self, value: float) -> float:
        return HEIGHT - BOTTOM - self.y.place(value) * (HEIGHT - TOP - BOTTOM)

    def _grid(self) -> Iterable[str]:
        bottom = HEIGHT - BOTTOM
        for value in self.x.ticks:
            x = self._px(value)
            yield f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}"/>'
            yield f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick_text(value)}</text>'
        for value in self.y.ticks:
            y = self._py(value)
            css = "grid zero" if value == 0 else "grid"
            yield f'<line class="{css}" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
            yield f'<text x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{tick_text(value)}</text>'
        middle = (LEFT + WIDTH - RIGHT) / 2
        yield (
            f'<text class="label" x="{middle:.1f}" y="{HEIGHT - 8}" text-anchor="middle">'
            f"{text_of(self.x.label)}</text>"
        )
        yield f'<text class="label" x="4" y="{TOP - 12}">{text_of(self.y.label)}</text>'

    def _marks(self) -> Iterable[str]:
        for mark in self.marks:
            x = self._px(mark.x)
            yield f'<line class="mark" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>'
            yield f'<text x="{x + 4:.1f}" y="{TOP + 12}">{text_of(mark.name)}</text>'

    def _panel(self) -> str:
        """Open an element that cuts off what leaves the panel: bent flat it would look like behaviour."""
        top, height = TOP - CURVE_EDGE, HEIGHT - TOP - BOTTOM + 2 * CURVE_EDGE
        left, width = LEFT - CURVE_EDGE, WIDTH - LEFT - RIGHT + 2 * CURVE_EDGE
        return (
            f'<svg x="{left}" y="{top}" width="{width}" height="{height}"'
            f' viewBox="{left} {top} {width} {height}" overflow="hidden">'
        )

    def _curve(self, line: Line) -> str:
        points = " ".join(
            f"{self._px(x):.1f},{self._py(y):.1f}"
            for x, y in zip(line.x, line.y, strict=True)
            if math.isfinite(x) and math.isfinite(y)
        )
        return f'<polyline class="curve {line.css}" points="{points}"/>'

    def _legend(self) -> Iterable[str]:
        named = [line for line in self.lines if line.name]
        x = WIDTH - RIGHT - sum(34 + LEGEND_LETTER * len(line.name) for line in named)
        y = TOP - 16
        for line in named:
            yield f'<line class="curve {line.css}" x1="{x:.0f}" y1="{y}" x2="{x + 18:.0f}" y2="{y}"/>'
            yield f'<text x="{x + 23:.0f}" y="{y + 4}">{text_of(line.name)}</text>'
            x += 34 + LEGEND_LETTER * len(line.name)


def tick_text(value: float) -> str:
    """Write a tick: 1k for 1000, a true minus sign, no trailing zeros."""
    text = f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:g}"
    return text.replace("-", "\N{MINUS SIGN}")


def round_ticks(low: float, high: float, count: int = 6) -> tuple[float, ...]:
    """Return about `count` round numbers (1, 2 or 5 times a power of ten) that span low..high."""
    span = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(power * m for m in (1, 2, 5, 10) if span / (power * m) <= count)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(round(index * step, 10) for index in range(first, last + 1))


def round_axis(values: Iterable[float], label: str, *, least_span: float = 0.0) -> Axis:
    """Return a linear axis with round ends around all finite `values`, at least `least_span` long."""
    finite = [v for v in values if math.isfinite(v)] or [0.0]
    low, high = min(finite), max(finite)
    missing = max(least_span - (high - low), 0.0)
    ticks = round_ticks(low - missing / 2, high + missing / 2)
    return Axis(ticks[0], ticks[-1], ticks, label)
