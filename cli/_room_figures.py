"""Figures of a room per octave, for people and for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fxstyle.audio import Audio, resample
from fxstyle.cli._output import emit, emit_table
from fxstyle.octaves import BAND_NAMES, CENTRES_HZ
from fxstyle.rooms.iso3382 import LIMITS_DB, Decay, broadband, measure_response
from fxstyle.rooms.iso3382 import energy_decay_db as decay_of

if TYPE_CHECKING:
    from fxstyle.effect import Samples

FIGURES = ("edt_s", "t20_s", "t30_s", "c50_db", "c80_db", "d50", "ts_s")
"""What ISO 3382-1 has of a response, beside T60, which is the best of the three decay times."""

SURE_SPREAD = 0.25
"""Standard deviation of ln T60 up to which a blind estimate is drawn as sure."""

POINTS = 2000
"""Of a curve that is drawn."""

HIGHEST_RATE = 48_000

WHOLE = "all"
"""Row of the response as it is, without a filter."""


def octave(centre_hz: float) -> str:
    """Write an octave's centre: 62.5 is called 63."""
    return BAND_NAMES[CENTRES_HZ.index(centre_hz)] if math.isfinite(centre_hz) else WHOLE


def finite(values: Any) -> list[float | None]:
    """Return numbers for JSON, which has none that are not finite."""
    return [float(v) if math.isfinite(v) else None for v in np.asarray(values, np.float64)]


def number(value: float, digits: int = 2) -> str:
    """Write a number, or a dash for one that cannot be had."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def origin(found: Decay, band: int) -> str:
    """Return which decay time T60 is."""
    known = [name for name in LIMITS_DB if found.sure(name)[band]]
    return known[-1].removesuffix("_s").upper() if known else ""


def as_json(found: Decay) -> dict[str, Any]:
    """Return all figures of a decay; null is what cannot be had."""
    return {
        "centre_hz": finite(found.centre_hz),
        "t60_s": finite(found.t60_s),
        "t60_from": [origin(found, band) or None for band in range(found.centre_hz.size)],
        **{name: finite(getattr(found, name)) for name in FIGURES},
        "range_db": finite(found.range_db),
        "sure": {name: found.sure(name).tolist() for name in FIGURES},
    }


def emit_figures(found: Decay, whole: Decay, *, more: Mapping[str, Sequence[float]] | None = None) -> None:
    """Print the figures of a response per octave and of all of it.

    more: columns of decay times that stand before, with a value for each octave.
    """
    before = more or {}
    rows = []
    for decay in (found, whole):
        for band, hz in enumerate(decay.centre_hz):
            given = ["" if decay is whole else number(column[band]) for column in before.values()]
            rows.append((octave(float(hz)), *given, *_cells(decay, band)))
    columns = (">octave (Hz)", *(f">{name}" for name in before), ">T60 (s)", "is", ">EDT (s)", ">C50 (dB)",
               ">C80 (dB)", ">D50", ">above noise (dB)")  # fmt: skip
    emit_table(columns, rows)
    if any("?" in cell for row in rows for cell in row):
        emit("?: not sure, by ISO 3382: too little range above the noise, or no straight decay.")
    if any(row[len(before) + 1] == "-" for row in rows):
        emit("-: cannot be told from this response.")


def _cells(decay: Decay, band: int) -> tuple[str, ...]:
    def shown(name: str, digits: int) -> str:
        text = number(float(getattr(decay, name)[band]), digits)
        return text if text == "-" or decay.sure(name)[band] else f"{text}?"

    return (
        number(float(decay.t60_s[band])),
        origin(decay, band),
        shown("edt_s", 2),
        shown("c50_db", 1),
        shown("c80_db", 1),
        shown("d50", 2),
        number(float(decay.range_db[band]), 0),
    )


def measured(h: Samples, rate: float) -> tuple[Decay, Decay]:
    """Return the figures of a response (channel, time) per octave, and of all of it."""
    return measure_response(h, rate), broadband(h, rate)


def curves(h: Samples, rate: float) -> tuple[list[float], dict[float, list[float]]]:
    """Return times in s and, by octave, the energy still to come in dB, NaN where the noise begins.

    No more of them than a picture shows, and of a rate that can be measured.
    """
    if rate > HIGHEST_RATE:
        h, rate = resample(Audio(h.astype(np.float32), round(rate)), HIGHEST_RATE).samples, HIGHEST_RATE
    found = {}
    for hz in measure_response(h, rate).centre_hz.tolist():
        found[hz] = decay_of(h, rate, hz)[1]
    longest = max(level.size for level in found.values())
    step = max(longest // POINTS, 1)
    padded = {
        hz: np.pad(level, (0, longest - level.size), constant_values=math.nan)[::step].tolist()
        for hz, level in found.items()
    }
    return (np.arange(0, longest, step) / rate).tolist(), padded
