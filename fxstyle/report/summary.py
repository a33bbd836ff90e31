"""The numbers of one recording that reports and comparisons put side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from fxstyle.audio import Audio, resample
from fxstyle.errors import AudioError
from fxstyle.features.measure import LEVEL_QUANTILES, measure
from fxstyle.loudness import measure_loudness
from fxstyle.units import SILENCE_DB, db_to_power, power_to_db

Vector = npt.NDArray[np.floating[Any]]

SHORTEST_S = 0.5
"""Less sound than this has neither a spectrum nor dynamics."""

MEASURE_RATE = 44100
"""Hz. The frames of `measure` are counted in samples: at one rate, recordings of any rate compare."""


@dataclass(frozen=True)
class Summary:
    """One recording in numbers.

    Attributes
    ----------
    loudness_lufs: integrated, BS.1770; -120 for silence.
    true_peak_dbtp, peak_db: highest level between and at the samples.
    range_lu: loudness range, EBU Tech 3342.
    crest_db: peak over rms, median of 3 s windows.
    spread_db: 95th minus 10th percentile of the 50 ms levels: how much the level moves.
    width_db: power of side over mid, all bands together; -120 for mono.
    tilt_db: slope of the mid spectrum in dB per octave, 100 Hz .. 10 kHz; pink noise has 0 here.
    decay_s: blind decay time, median of the octaves 500 Hz .. 4 kHz, or of those a low rate has.
    bands_hz, mid_db, side_db: third-octave spectra; -120 in bands that a low rate has not.
    quantiles_db: 50 ms levels at features.measure.LEVEL_QUANTILES.
    """

    loudness_lufs: float
    true_peak_dbtp: float
    peak_db: float
    range_lu: float
    crest_db: float
    spread_db: float
    width_db: float
    tilt_db: float
    decay_s: float
    bands_hz: Vector
    mid_db: Vector
    side_db: Vector
    quantiles_db: Vector

    @property
    def silent(self) -> bool:
        """Whether no sample is above SILENCE_DB: then none of the other numbers measures anything."""
        return self.peak_db <= SILENCE_DB


ROWS: tuple[tuple[str, str, str, str], ...] = (
    ("loudness_lufs", "Loudness", "LUFS", "integrated, BS.1770"),
    ("true_peak_dbtp", "True peak", "dBTP", "highest level, also between samples"),
    ("range_lu", "Loudness range", "LU", "quiet to loud passages"),
    ("crest_db", "Crest", "dB", "peak over rms: punch"),
    ("spread_db", "Level spread", "dB", "how much the level moves from moment to moment"),
    ("tilt_db", "Spectral tilt", "dB/oct", "0 is pink noise; lower is darker"),
    ("width_db", "Width", "dB", "side over mid; higher is wider"),
    ("decay_s", "Decay", "s", "blind estimate, 0.5 to 4 kHz"),
)
"""Attribute, name, unit and explanation of each number shown, in order."""

_TILT_HZ = (100.0, 10000.0)
_DECAY_HZ = (500.0, 4000.0)


def shown_number(value: float, unit: str) -> str:
    """`value` as in tables, without its unit; the floor of levels is no number to people."""
    if value <= SILENCE_DB and unit != "s":
        return "none"
    return f"{value:.2f}" if unit in ("s", "dB/oct") else f"{value:.1f}"


def summarise(audio: Audio, what: str) -> Summary:
    """Measure a recording; raises AudioError, naming it by `what`, where it is too short."""
    duration_s = audio.samples.shape[1] / audio.rate
    if duration_s < SHORTEST_S:
        raise AudioError(
            f"{what} is {duration_s:.3f} s long; at least {SHORTEST_S} s are needed to measure it"
        )
    measured = measure(resample(audio, MEASURE_RATE).samples, MEASURE_RATE)
    # What lies above the recording's own band is leakage of the analysis window, not sound.
    top_hz = audio.rate / 2.0
    there = measured.bands_hz * 2.0 ** (1.0 / 3.0) <= top_hz
    mid_db = np.where(there, measured.mid_db, SILENCE_DB)
    side_db = np.where(there, measured.side_db, SILENCE_DB)
    loudness = measure_loudness(audio)
    quantile = dict(zip(LEVEL_QUANTILES, measured.level_quantiles_db, strict=True))
    return Summary(
        loudness_lufs=loudness.integrated_lufs,
        true_peak_dbtp=loudness.true_peak_dbtp,
        peak_db=loudness.peak_db,
        range_lu=loudness.range_lu,
        crest_db=measured.crest_db,
        spread_db=float(quantile[0.95] - quantile[0.1]),
        width_db=_width_db(mid_db, side_db),
        tilt_db=_tilt_db(measured.bands_hz, mid_db),
        decay_s=_decay_s(measured.decay_hz, measured.decay_s, top_hz),
        bands_hz=measured.bands_hz,
        mid_db=mid_db,
        side_db=side_db,
        quantiles_db=measured.level_quantiles_db,
    )


def mean(summaries: Sequence[Summary], weights: Sequence[float] | None = None) -> Summary:
    """Average of several recordings, number by number; `weights` sum to one, None: all alike."""

    def averaged(name: str) -> Any:
        values = [getattr(summary, name) for summary in summaries]
        average = np.average(values, axis=0, weights=weights)
        return average if isinstance(values[0], np.ndarray) else float(average)

    averages: dict[str, Any] = {f.name: averaged(f.name) for f in fields(Summary)}
    return Summary(**averages)


def _width_db(mid_db: Vector, side_db: Vector) -> float:
    if side_db.max() <= SILENCE_DB:
        return SILENCE_DB
    return float(
        power_to_db(float(db_to_power(side_db).sum())) - power_to_db(float(db_to_power(mid_db).sum()))
    )


def _decay_s(octaves_hz: Vector, decays_s: Vector, top_hz: float) -> float:
    """Median decay over _DECAY_HZ; where the band ends below it, the highest octave that there is."""
    there = octaves_hz * 2.0 <= top_hz
    wanted = there & (octaves_hz >= _DECAY_HZ[0]) & (octaves_hz <= _DECAY_HZ[1])
    if wanted.any():
        return float(np.median(decays_s[wanted]))
    return float(decays_s[max(int(there.sum()) - 1, 0)])


def _tilt_db(bands_hz: Vector, mid_db: Vector) -> float:
    """Least-squares slope over the bands that carry sound; 0 with fewer than two."""
    used = (bands_hz >= _TILT_HZ[0]) & (bands_hz <= _TILT_HZ[1]) & (mid_db > SILENCE_DB)
    if used.sum() < 2:
        return 0.0
    return float(np.polyfit(np.log2(bands_hz[used]), mid_db[used], 1)[0])
