"""The static curve of dynamics, in octaves: from levels to gains, in SIMD lanes, and its adjoint.

    r = S h(log2 e - T),   q = 2^-r,   S = 1 - 1/R           ratio R; threshold T, knee W in octaves (6.02 dB)
    h(o) = 0 below -W/2,   (o + W/2)^2 / (2 W) within the knee,   o above W/2

Giannoulis, Massberg & Reiss, "Digital dynamic range compressor design", JAES 60(6), 2012, eq. 4. With
v = max(o + W/2, 0), the octaves above the beginning of the knee, and u = min(v, W) that is

    h = u^2/(2 W) + v - u,   dh/dT = -u/W =: -h',   dh/dW = h' (1 - h')/2 at a given level

where u/W is 1 above a corner (W = 0) and 0 below.

Arrays of all lanes go from function to function whole: to hand over a view costs two atomic operations.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from fxstyle.dsp.levels import DB_PER_OCTAVE
from fxstyle.dsp.octaves import LN_2, octaves, power
from fxstyle.dsp.recurrence import Floats
from fxstyle.effect import Samples

CONSTANTS = 5
"""Numbers that `constants` fills in."""

_MOST = 100.0
"""Octaves above the beginning of the knee, at most: 600 dB. 2^-126 is the least normal float32."""


@njit(cache=True, nogil=True, error_model="numpy")
def constants(slope: float, knee: float, typed: Samples) -> None:
    """Fill `typed` with what `turned_down` needs: float64 itself would turn its float32 into float64."""
    typed[0], typed[1], typed[2] = slope, knee, 0.5 / knee if knee > 0.0 else 0.0
    typed[3], typed[4] = 1.0, _MOST


@njit(cache=True, nogil=True, error_model="numpy")
def over(e: Floats, first: int, threshold: float, knee: float, v: Samples, size: int) -> bool:
    """Fill v (lane, time) with e[:, first:] over where the knee begins; return whether any is above 1."""
    per_start = 2.0 ** (0.5 * knee - threshold)
    often = 0  # a count: numba does not take the largest of floats in SIMD lanes
    for c in range(v.shape[0]):
        level = e[c, first : first + size]
        for n in range(size):
            v[c, n] = level[n] * per_start
        for n in range(size):
            often += 1 if v[c, n] > 1.0 else 0
    return often > 0


# Contraction makes fused multiply-adds, the same ones wherever a block begins: no sum has two products.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def turned_down(v: Samples, r: Samples, typed: Samples, size: int) -> None:
    """Turn v in place from what `over` says into octaves above the knee's beginning, and fill r."""
    slope, knee, inverse, one, most = typed[0], typed[1], typed[2], typed[3], typed[4]
    for c in range(v.shape[0]):
        for n in range(size):
            above = octaves(v[c, n] if v[c, n] > one else one)
            above = above if above < most else most
            within = above if above < knee else knee
            v[c, n] = above
            r[c, n] = slope * (within * within * inverse + (above - within))


@njit(cache=True, nogil=True, error_model="numpy")
def gains(q: Samples, size: int) -> None:
    """Turn q (lane, time) in place from octaves to turn down into factors."""
    for c in range(q.shape[0]):
        for n in range(size):
            q[c, n] = power(-q[c, n])


# Reassociation lets the sums run in SIMD lanes; nothing here tests for NaN. Their loop writes to no array:
# one that does is compiled twice, and which of both runs, hence how it rounds, depends on the addresses.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def curve_adjoint(
    g: Floats, v: Samples, e: Floats, first: int, slope: float, knee: float, size: int
) -> tuple[float, float, float]:
    """Turn g (channel, time) in place from the gradient of r into that of e[:, first:].

    Returns those of T, S and W. v and e may have one lane that all channels share.
    """
    inverse = 1.0 / knee if knee > 0.0 else 0.0
    dthreshold = dslope = dknee = 0.0
    for c in range(g.shape[0]):
        lane = min(c, v.shape[0] - 1)
        level = e[lane, first : first + size]
        for n in range(size):
            above = float(v[lane, n])
            within = above if above < knee else knee
            ramp = within * inverse if above < knee else (1.0 if above > 0.0 else 0.0)
            steep = slope * g[c, n] * ramp
            dthreshold -= steep
            dslope += g[c, n] * (0.5 * within * within * inverse + (above - within))
            dknee += 0.5 * steep * (1.0 - ramp)
        for n in range(size):
            above = float(v[lane, n])
            ramp = above * inverse if above < knee else (1.0 if above > 0.0 else 0.0)
            g[c, n] *= slope * ramp * (1.0 / LN_2) / level[n]
    return dthreshold, dslope, dknee


def static_curve_db(level_db: Floats, threshold: float, slope: float, knee: float) -> Floats:
    """Return by how many dB a steady level in dB is turned down; threshold and knee in octaves."""
    above = np.maximum(level_db / DB_PER_OCTAVE - threshold + 0.5 * knee, 0.0)
    within = np.minimum(above, knee)
    bend = 0.5 * within * within / knee if knee > 0.0 else 0.0
    return DB_PER_OCTAVE * slope * (bend + (above - within))
