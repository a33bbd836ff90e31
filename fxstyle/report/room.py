"""A room on one page that needs nothing but itself: its plan, how long it rings per octave, how it decays.

Plain arrays in, SVG or HTML text out; the plan and the side view are those of fxstyle/report/plan.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fxstyle.report.document import document
from fxstyle.report.plan import SURFACES, elevation, plan
from fxstyle.report.svg import (
    BOTTOM,
    HEIGHT,
    LEFT,
    LEGEND_LETTER,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    Line,
    Plot,
    round_axis,
    text_of,
    tick_text,
)

__all__ = ["ROOM_CSS", "decay_curves", "decay_per_band", "elevation", "page", "plan"]

Series = Sequence[tuple[str, npt.ArrayLike, npt.ArrayLike]]

ROOM_CSS = """
svg .room { fill: var(--panel); stroke: var(--ink); stroke-width: 3; stroke-linejoin: miter; }
svg .size { stroke: var(--soft); stroke-width: 1; }
svg .path { stroke: var(--soft); stroke-dasharray: 2 3; }
svg .place { stroke: var(--paper); stroke-width: 2; }
svg .place.source { fill: var(--reference); } svg .place.microphone { fill: var(--output); }
svg text.name { fill: var(--ink); }
svg .bar { stroke-width: 1.5; }
svg .bar.input { fill: var(--input); } svg .bar.output { fill: var(--output); }
svg .bar.reference { fill: var(--reference); } svg .bar.term0 { fill: var(--t0); }
svg .bar.term1 { fill: var(--t1); } svg .bar.term2 { fill: var(--t2); }
svg .bar.unsure { fill-opacity: 0; stroke-dasharray: 3 2; }
svg text.value { font-size: 10px; }
td.wide { width: 60%; }
"""
"""What these pictures need beside the page's style sheet."""

_BARS_SHARE = 0.78
"""Of the room between two octaves that bars take."""

_VALUES_SERIES = 2
"""With more series there is no room for numbers on the bars."""

_NAMED_COLOURS = ("input", "output", "reference")
_COLOURS = ("output", "reference", "term1", "term0", "term2", "input")
_CURVE_COLOURS = ("term0", "term1", "term2", "term3", "term4", "output", "reference", "input")

_CURVE_FLOOR_DB = -70.0
_CURVE_POINTS = 400


def _colours(names: Sequence[str]) -> list[str]:
    """Return a colour for each series: their own for input, output and reference, others for the rest."""
    free = [colour for colour in _COLOURS if colour not in names]
    found = []
    for name in names:
        found.append(name if name in _NAMED_COLOURS else free[0])
        free = [*free[1:], free[0]] if found[-1] == free[0] else free
    return found


def _octave_text(hz: float) -> str:
    """Write an octave's centre: 62.5 is called 63."""
    return tick_text(round(hz) if hz >= 1000.0 else math.floor(hz + 0.5))


def decay_per_band(centres_hz: Sequence[float], series: Series) -> str:
    """Return reverberation times as bars per octave.

    Parameters
    ----------
    centres_hz: (band,).
    series: names with times in seconds (band,) and whether each is sure (band,); what is not finite is left
        out, what is not sure is drawn hollow. The names input, output and reference have their own colours.
    """
    bands = len(centres_hz)
    rows = []
    for name, t60_s, sure in series:
        times, known = np.asarray(t60_s, dtype=np.float64), np.asarray(sure, dtype=bool)
        if times.shape != (bands,) or known.shape != (bands,):
            raise ValueError(f"{name}: times {times.shape} and sure {known.shape} have to be ({bands},)")
        rows.append((name, times, known))
    y = round_axis([0.0, *(float(v) for _, times, _ in rows for v in times)], "T60 (s)", least_span=0.1)
    y = Axis(0.0, y.high, tuple(t for t in y.ticks if t >= 0.0), y.label)
    slot = (WIDTH - LEFT - RIGHT) / max(bands, 1)
    told = "; ".join(
        f"{name} "
        + ", ".join(_time_text(hz, t, k) for hz, t, k in zip(centres_hz, times, known, strict=True))
        for name, times, known in rows
    )
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" class="plot">',
        f"<title>{text_of(f'Reverberation time per octave: {told}')}</title>",
        *_bar_grid(y, centres_hz, slot),
    ]
    wide = _BARS_SHARE * slot / max(len(rows), 1)
    colours = _colours([name for name, *_ in rows])
    for index, ((_, times, known), css) in enumerate(zip(rows, colours, strict=True)):
        for band, (time, is_sure) in enumerate(zip(times, known, strict=True)):
            if not math.isfinite(time):
                continue
            x = LEFT + (band + 0.5) * slot + (index - len(rows) / 2.0) * wide
            parts += _bar(x, wide, y, float(time), css if is_sure else f"{css} unsure")
            if len(rows) <= _VALUES_SERIES:
                parts.append(
                    f'<text class="value" x="{x + wide / 2:.1f}" y="{_bar_top(y, float(time)) - 4:.1f}"'
                    f' text-anchor="middle">{time:.2g}</text>'
                )
    parts += _bar_legend(list(zip([name for name, *_ in rows], colours, strict=True)), rows)
    return "\n".join([*parts, "</svg>"])


def _time_text(hz: float, time: float, is_sure: bool) -> str:
    if not math.isfinite(time):
        return f"{_octave_text(hz)} Hz unknown"
    return f"{_octave_text(hz)} Hz {time:.2f} s" + ("" if is_sure else " (not sure)")


def _bar_grid(y: Axis, centres_hz: Sequence[float], slot: float) -> Iterable[str]:
    bottom = HEIGHT - BOTTOM
    for value in y.ticks:
        at = _bar_top(y, value)
        yield f'<line class="grid" x1="{LEFT}" y1="{at:.1f}" x2="{WIDTH - RIGHT}" y2="{at:.1f}"/>'
        yield f'<text x="{LEFT - 7}" y="{at + 4:.1f}" text-anchor="end">{tick_text(value)}</text>'
    for band, hz in enumerate(centres_hz):
        x = LEFT + (band + 0.5) * slot
        yield f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{_octave_text(hz)}</text>'
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield f'<text class="label" x="{middle:.1f}" y="{HEIGHT - 8}" text-anchor="middle">octave (Hz)</text>'
    yield f'<text class="label" x="4" y="{TOP - 12}">{text_of(y.label)}</text>'


def _bar_top(y: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - y.place(value) * (HEIGHT - TOP - BOTTOM)


def _bar(x: float, wide: float, y: Axis, time: float, css: str) -> Iterable[str]:
    top = _bar_top(y, time)
    yield (
        f'<rect class="bar {css}" x="{x + 0.06 * wide:.1f}" y="{top:.1f}" width="{0.88 * wide:.1f}"'
        f' height="{HEIGHT - BOTTOM - top:.1f}"/>'
    )


def _bar_legend(
    named: Sequence[tuple[str, str]],
    rows: Sequence[tuple[str, npt.NDArray[np.float64], npt.NDArray[np.bool_]]],
) -> Iterable[str]:
    unsure = any(bool(np.any(~known & np.isfinite(times))) for _, times, known in rows)
    entries = [*named, *([("not sure", "input unsure")] if unsure else [])]
    x, y = WIDTH - RIGHT - sum(34 + LEGEND_LETTER * len(name) for name, _ in entries), TOP - 16
    for name, css in entries:
        yield f'<rect class="bar {css}" x="{x:.0f}" y="{y - 5}" width="18" height="10"/>'
        yield f'<text x="{x + 23:.0f}" y="{y + 4}">{text_of(name)}</text>'
        x += 34 + LEGEND_LETTER * len(name)


def decay_curves(time_s: npt.ArrayLike, level_db: Mapping[float, npt.ArrayLike]) -> str:
    """Return how the energy that is still to come falls, per octave.

    Parameters
    ----------
    time_s: (time,).
    level_db: by the octave's centre in Hz, levels (time,) relative to all of its energy; what is not finite
        is left out.
    """
    time = np.asarray(time_s, dtype=np.float64)
    step = max(time.size // _CURVE_POINTS, 1)
    lines, heard = [], 0.0
    for index, (hz, levels) in enumerate(level_db.items()):
        curve = np.asarray(levels, dtype=np.float64)
        if curve.shape != time.shape:
            raise ValueError(f"{hz:g} Hz: levels {curve.shape} do not go with times {time.shape}")
        above = np.flatnonzero(np.isfinite(curve) & (curve > _CURVE_FLOOR_DB))
        heard = max(heard, float(time[above[-1]]) if above.size else 0.0)
        colour = _CURVE_COLOURS[index % len(_CURVE_COLOURS)]
        lines.append(Line(time[::step].tolist(), curve[::step].tolist(), colour, _octave_text(hz)))
    ticks = tuple(float(t) for t in range(int(_CURVE_FLOOR_DB), 1, 10))
    first = float(time[0]) if time.size else 0.0
    x = round_axis([first, max(heard, first + 1e-3)], "time (s)")
    return Plot(
        "Energy decay per octave (Hz)", x, Axis(_CURVE_FLOOR_DB, 0.0, ticks, "dB"), tuple(lines)
    ).svg()


class Walls(NamedTuple):
    """What a room's plan is drawn from: see `plan`."""

    size_m: npt.ArrayLike
    source_m: npt.ArrayLike
    microphones_m: Sequence[npt.ArrayLike]
    labels: Sequence[str]


def page(
    title: str,
    *,
    walls: Walls | None = None,
    centres_hz: Sequence[float] = (),
    series: Series = (),
    time_s: npt.ArrayLike = (),
    level_db: Mapping[float, npt.ArrayLike] | None = None,
    settings: str = "",
    facts: Sequence[tuple[str, str]] = (),
    notes: Sequence[str] = (),
    lead: str = "",
) -> str:
    """Return a room as a whole HTML document.

    Parameters
    ----------
    title, lead: a heading and a sentence below it.
    walls: where it has any.
    centres_hz, series: see `decay_per_band`; no series, no picture.
    time_s, level_db: see `decay_curves`; nothing: no picture.
    settings: HTML of a chain's settings.
    facts: names and values for a table, such as volume and speed of sound.
    notes: what was assumed or is not sure.
    """
    pictures = []
    if walls is not None:
        pictures = [
            ("Plan", plan(*walls), "From above, the front wall at the top."),
            ("Side view", elevation(*walls), "Towards the front wall, to the same scale."),
        ]
    if series:
        caption = "Time in which the sound falls by 60 dB; hollow bars are not sure."
        pictures.append(("Reverberation time", decay_per_band(centres_hz, series), caption))
    if level_db:
        caption = "Energy that is still to come, in dB of all of it (M. R. Schroeder 1965)."
        pictures.append(("Decay", decay_curves(time_s, level_db), caption))
    shown = "\n".join(
        f"<h2>{heading}</h2>\n<figure>{picture}<figcaption>{caption}</figcaption></figure>"
        for heading, picture, caption in pictures
    )
    labels = walls.labels if walls is not None else ("",) * len(SURFACES)
    surfaces = [(name, label) for name, label in zip(SURFACES, labels, strict=True) if label]
    said = "".join(f"<li>{text_of(note)}</li>" for note in notes)
    body = "\n".join(
        [
            f'<header><p class="kind">fxstyle room</p>\n<h1>{text_of(title)}</h1>',
            f"<p>{text_of(lead)}</p>" if lead else "",
            "</header><main>",
            shown,
            f"<h2>Surfaces</h2>\n{_table(surfaces)}" if surfaces else "",
            f"<h2>Settings</h2>\n{settings}" if settings else "",
            f"<h2>Facts</h2>\n{_table(facts)}" if facts else "",
            f"<h2>Notes</h2>\n<ul>{said}</ul>" if notes else "",
            "</main>",
        ]
    )
    return document(title, body, ROOM_CSS)


def _table(rows: Sequence[tuple[str, str]]) -> str:
    cells = "".join(
        f'<tr><th scope="row">{text_of(name)}</th><td class="wide">{text_of(value)}</td></tr>'
        for name, value in rows
    )
    return f"<table><tbody>{cells}</tbody></table>"
