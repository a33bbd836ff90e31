"""The pictures of a match: spectra, what is left of their difference, the equaliser, levels, the search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fxstyle.chain import Chain
from fxstyle.effects import kind_of
from fxstyle.features.measure import LEVEL_QUANTILES
from fxstyle.report.summary import Summary
from fxstyle.report.svg import Axis, Line, Mark, Plot, round_axis
from fxstyle.units import SILENCE_DB

Vector = npt.NDArray[np.floating[Any]]

FREQUENCY = (20.0, 20000.0)
FREQUENCY_TICKS = (20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0, 20000.0)

SPECTRUM_RANGE_DB = 72.0
"""Bands further below the loudest are inaudible beside it."""

LEVEL_RANGE_DB = 66.0
EQ_POINTS = 300
EQ_RANGE_DB = 24.0
EQ_LEAST_SPAN_DB = 12.0

TERMS_SHOWN = 5
"""The largest parts of the loss; with more the curves cannot be told apart."""


class CourseStep(Protocol):
    """One step of a search, as far as a picture shows it."""

    @property
    def step(self) -> int: ...
    @property
    def candidates(self) -> int: ...
    @property
    def loss(self) -> float: ...
    @property
    def terms(self) -> Mapping[str, float]: ...


def _frequency_axis() -> Axis:
    return Axis(*FREQUENCY, FREQUENCY_TICKS, "frequency (Hz)", log=True)


def _coloured(before: Summary, after: Summary, reference: Summary) -> tuple[tuple[Summary, str, str], ...]:
    return (before, "input", "input"), (reference, "reference", "reference"), (after, "output", "output")


def spectra(before: Summary, after: Summary, reference: Summary) -> str:
    """Third-octave spectra, the loudness of each taken out so that they show colour."""
    trio = _coloured(before, after, reference)
    levels = [s.mid_db - s.loudness_lufs for s, _, _ in trio]
    top = max(float(level.max()) for level in levels)
    floor = top - SPECTRUM_RANGE_DB
    axis = round_axis(
        [top, *(max(float(v), floor) for level in levels for v in level)], "dB over loudness", least_span=24.0
    )
    lines = tuple(
        Line(s.bands_hz.tolist(), level.tolist(), css, name)
        for (s, css, name), level in zip(trio, levels, strict=True)
    )
    return Plot("Third-octave spectra of input, output and reference", _frequency_axis(), axis, lines).svg()


def gaps(before: Summary, after: Summary, reference: Summary) -> str:
    """Distance of input and output from the reference per band; a flat line at zero is a perfect match."""
    aim = reference.mid_db - reference.loudness_lufs
    sounding = reference.mid_db > SILENCE_DB
    lines = []
    for summary, css, name in ((before, "input", "input"), (after, "output", "output")):
        used = sounding & (summary.mid_db > SILENCE_DB)
        gap = np.clip(summary.mid_db - summary.loudness_lufs - aim, -EQ_RANGE_DB, EQ_RANGE_DB)
        lines.append(
            Line(summary.bands_hz[used].tolist(), gap[used].tolist(), css, f"{name} \N{MINUS SIGN} reference")
        )
    axis = round_axis([0.0, *(v for line in lines for v in line.y)], "dB", least_span=EQ_LEAST_SPAN_DB)
    return Plot("Spectral difference from the reference", _frequency_axis(), axis, tuple(lines)).svg()


def equaliser(chain: Chain, rate: float) -> str:
    """Return the curves of the chain's active equalisers, or "" where there is none."""
    active = [slot for slot in chain if kind_of(slot.effect.name) == "eq" and slot.active]
    if not active:
        return ""
    from fxstyle.effects.eq import response_db

    top_hz = min(FREQUENCY[1], 0.49 * rate)
    f = np.geomspace(FREQUENCY[0], top_hz, EQ_POINTS)
    lines = []
    for index, slot in enumerate(active):
        curve = np.clip(response_db(f, rate, slot.settings), -EQ_RANGE_DB, EQ_RANGE_DB)
        name = slot.name if slot.amount == 1.0 else f"{slot.name} (before amount {slot.amount:.2f})"
        lines.append(Line(f.tolist(), curve.tolist(), "output" if index == 0 else f"term{index % 5}", name))
    axis = round_axis([0.0, *(v for line in lines for v in line.y)], "dB", least_span=EQ_LEAST_SPAN_DB)
    return Plot("Response of the equaliser", _frequency_axis(), axis, tuple(lines)).svg()


def levels(before: Summary, after: Summary, reference: Summary) -> str:
    """Distribution of the short-time levels: how often the sound is below each level."""
    trio = _coloured(before, after, reference)
    top = max(float(s.quantiles_db.max()) for s, _, _ in trio)
    axis = round_axis(
        [top, *(max(float(v), top - LEVEL_RANGE_DB) for s, _, _ in trio for v in s.quantiles_db)],
        "level in 50 ms (dBFS)",
        least_span=12.0,
    )
    share = [100.0 * p for p in LEVEL_QUANTILES]
    lines = tuple(Line(s.quantiles_db.tolist(), share, css, name) for s, css, name in trio)
    ticks = Axis(0.0, 100.0, (0.0, 25.0, 50.0, 75.0, 100.0), "time below that level (%)")
    return Plot("Distribution of short-time levels", axis, ticks, lines).svg()


def course(history: Sequence[CourseStep]) -> str:
    """Loss of the best candidate over the steps of the search, and its largest terms."""
    if not history:
        return ""
    names = sorted(history[0].terms, key=lambda name: -history[0].terms[name])[:TERMS_SHOWN]
    steps = [float(step.step) for step in history]
    lines = [
        Line(
            steps,
            [step.terms.get(name, float("nan")) for step in history],
            f"term{index}",
            name.rpartition(".")[2],
        )
        for index, name in enumerate(names)
    ]
    lines.append(Line(steps, [step.loss for step in history], "output", "loss"))
    # A new round is known by its fewer candidates; the first is marked as well.
    marks = [
        Mark(float(now.step), f"{now.candidates} candidates")
        for before, now in zip((None, *history[:-1]), history, strict=True)
        if before is None or now.candidates != before.candidates
    ]
    x = round_axis([*steps, steps[0] + 1.0], "step")
    y = round_axis([0.0, *(v for line in lines for v in line.y)], "")
    return Plot("Course of the fit", x, y, tuple(lines), tuple(marks)).svg()
