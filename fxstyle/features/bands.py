"""Frequency bands and the matrices that pool a power spectrum into them.

Centres are the preferred frequencies of IEC 61260-1, f_k = 1000 * 2^(k/b) Hz with b bands per octave.
The weight of bin f in band k is a Hann bump in log frequency, two bands wide, so that neighbouring
bands overlap and sum to one; where bins are sparser than bands (below some 100 Hz) the bump is
widened to two bins, so that no band is empty.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]

THIRD_OCTAVES = range(-15, 13)
"""31 Hz .. 16 kHz, 28 bands, three to the octave."""

OCTAVES = range(-4, 4)
"""63 Hz .. 8 kHz, 8 bands."""


def centres_hz(indices: range, per_octave: int) -> Matrix:
    """Centre frequencies 1000 * 2^(k / per_octave) in Hz for k in `indices`."""
    return np.asarray(1000.0 * 2.0 ** (np.asarray(indices, dtype=np.float64) / per_octave))


@lru_cache(maxsize=32)
def pooling(indices: range, per_octave: int, n_fft: int, rate: float) -> Matrix:
    """Matrix (n_fft // 2 + 1, band) of weights >= 0 that pools bin powers into band powers.

    Bands whose centre lies above the Nyquist frequency get weight zero everywhere.
    """
    f = np.fft.rfftfreq(n_fft, 1.0 / rate)
    bin_hz = rate / n_fft
    columns = []
    for centre in centres_hz(indices, per_octave):
        half_width = max(centre * (2.0 ** (1.0 / per_octave) - 1.0), bin_hz)
        below = centre - max(centre * (1.0 - 2.0 ** (-1.0 / per_octave)), bin_hz)
        position = np.where(
            f >= centre,
            (f - centre) / half_width,
            (centre - f) / (centre - below),
        )
        weight = np.where(position < 1.0, np.cos(0.5 * np.pi * np.minimum(position, 1.0)) ** 2, 0.0)
        weight[0] = 0.0
        columns.append(weight if centre < rate / 2.0 else np.zeros_like(f))
    out: np.ndarray[Any, np.dtype[np.float64]] = np.stack(columns, axis=1)
    out.setflags(write=False)
    return out
