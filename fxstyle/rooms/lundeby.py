"""Where a decay meets its noise: A. Lundeby et al., "Uncertainties of measurements in room acoustics", 1995.

Means of h^2 over short intervals are a line in dB down to the noise. The noise is estimated from where it is
alone, the line from where the decay is, and their crossing says both anew, until they agree (Acustica 81,
section 2.3, whose steps the constants name).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LEAST_POINTS = 3
"""Of a line: two make one of any noise."""


class Line(NamedTuple):
    """Level in dB against time: slope in dB per s, level at 0, r^2."""

    slope: float
    start_db: float
    fit: float

    @property
    def constant_s(self) -> float:
        """Time in which the energy falls by one neper."""
        return -10.0 / (self.slope * math.log(10.0))

    def energy(self, t: float) -> float:
        return math.pow(10.0, (self.start_db + self.slope * t) / 10.0)


class End(NamedTuple):
    """Where a decay ends: the sample, the noise's mean square before it, and the exponential beyond it.

    floor: mean square at that place. beyond, constant_s: energy and time constant of the exponential.
    """

    sample: int
    noise: float
    floor: float
    beyond: float
    constant_s: float


# Lundeby's numbers; in brackets the steps of his procedure.
_FIRST_INTERVAL_S = 0.03  # [1] 10 to 50 ms
_NOISE_SHARE = 0.1  # [2, 7] of the response, at its end
_ABOVE_NOISE_DB = 10.0  # [3, 8] 5 to 10: as far down the decay is that of the room
_INTERVALS_PER_10_DB = 5  # [5] 3 to 10
_BEYOND_DB = 10.0  # [7] 5 to 10: as far past the crossing the noise begins
_LATE_RANGE_DB = 20.0  # [8] 10 to 20
_TURNS = 6  # [9] five after the first


def fit_line(t: Floats, level_db: Floats) -> Line:
    """Return the line of least squares."""
    mean_t, mean = float(t.mean()), float(level_db.mean())
    dt, dl = t - mean_t, level_db - mean
    width, spread = float(dt @ dt), float(dl @ dl)
    slope = float(dt @ dl) / width
    return Line(slope, mean - slope * mean_t, slope * slope * width / spread if spread > 0.0 else 0.0)


def _late_line(square: Floats, rate: float, length: int, noise: float, all_of_it: bool) -> Line | None:
    """Return the late decay, in means of `length` samples, or None where none can be seen above the noise."""
    count = square.size // length
    if not count:
        return None
    level = square[: count * length].reshape(count, length).mean(axis=1)
    t = (np.arange(count) + 0.5) * (length / rate)
    top = int(level.argmax())
    low = noise * 10.0 ** (_ABOVE_NOISE_DB / 10.0)
    high = math.inf if all_of_it else low * 10.0 ** (_LATE_RANGE_DB / 10.0)
    under = np.flatnonzero(level[top:] <= low)
    here = np.arange(top, top + int(under[0]) if under.size else count)
    here = here[(level[here] < high) & (level[here] > 0.0)]
    if here.size < LEAST_POINTS:
        return None
    line = fit_line(t[here], 10.0 * np.log10(level[here]))
    return line if line.slope < 0.0 else None


def find_end(square: Floats, rate: float) -> End:
    """Find the end of a decay that begins with the first sample."""
    tail = max(round(_NOISE_SHARE * square.size), 1)
    noise = float(square[-tail:].mean())
    length = max(round(_FIRST_INTERVAL_S * rate), 1)

    def crossing(line: Line) -> float:
        return rate * (10.0 * math.log10(noise) - line.start_db) / line.slope if noise > 0.0 else math.inf

    found: Line | None = None
    for turn in range(_TURNS):
        line = _late_line(square, rate, length, noise, turn == 0)
        if line is None:
            break
        found = line
        begin = crossing(line) - rate * _BEYOND_DB / line.slope
        noise = float(square[round(min(max(begin, 0.0), square.size - tail)) :].mean())
        length = max(round(rate * -10.0 / (line.slope * _INTERVALS_PER_10_DB)), 1)
    if found is None:
        return End(square.size, noise, noise, 0.0, 0.0)
    sample = crossing(found)
    if sample >= square.size - tail:  # what was taken for noise is the decay itself, cut short
        sample, noise = square.size, 0.0
    sample = max(round(sample), 1)
    floor = found.energy(sample / rate)
    return End(sample, noise, floor, floor * rate * found.constant_s, found.constant_s)
