"""The sine that sweeps modulated effects: a function of time alone.

    angle(n) = 2 pi f n + phase        f in turns per sample, n from the beginning of the stream

At multiples of SYNC samples it is computed afresh, after the whole turns are taken off; in between, the
addition theorem turns it by angles that are the same in every block (`circles`):

    sin(a + b) = sin a cos b + cos a sin b        cos(a + b) = cos a cos b - sin a sin b

So it neither drifts in hours of sound nor depends on how a stream is cut, and costs four products a
sample, in a loop of fixed length that runs on the processor's lanes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

SYNC = 64
"""Samples between two exact values."""

Floats = npt.NDArray[np.float64]


def circles(turns: npt.NDArray[Any]) -> Floats:
    """Return sine and cosine of the first SYNC angles at each f of `turns` (batch,), as (batch, 2, SYNC)."""
    angles = 2.0 * np.pi * turns[:, None].astype(np.float64) * np.arange(SYNC)
    return np.stack([np.sin(angles), np.cos(angles)], axis=1)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def oscillate(turns: float, phase: float, begin: int, circle: Floats, wave: Floats) -> None:
    """Fill rows 0, 1 of `wave` (.., SYNC) with sine and cosine from time `begin` on, a multiple of SYNC.

    circle: (2, SYNC), what `circles` returns for these turns.
    """
    passed = turns * begin
    angle = 2.0 * math.pi * (passed - math.floor(passed)) + phase
    s, c = math.sin(angle), math.cos(angle)
    for k in range(SYNC):
        wave[0, k] = s * circle[1, k] + c * circle[0, k]
        wave[1, k] = c * circle[1, k] - s * circle[0, k]
