"""A static curve that begins like a compressor's and ends at a range; with its adjoint.

    d = L - T,   d_2 = d - |range|/S,   S = 1 - 1/R                                (dB; L the level)
    G = gain + sign(range) S (h(d) - h(d_2))

    h(d) = 0 below -W/2,   (d + W/2)^2 / (2 W) within the knee,   d above W/2

h is that of Giannoulis, Massberg & Reiss, "Digital dynamic range compressor design", JAES 60(6), 2012, eq. 4.
Taken twice it ends as it begins, with a knee, where G has moved by `range`: down if that is negative, up if
it is positive. A ratio of 1 never moves. G is continuous in everything, and with a knee so are its slopes,
also through range 0, near which it moves by range h'(d).

Adjoint, with a bar for the derivative and ' for that of h:

    L_bar = -T_bar = G_bar sign(range) S (h'(d) - h'(d_2)),    range_bar = G_bar h'(d_2)
    S_bar = G_bar sign(range) (h(d) - h(d_2) - h'(d_2) |range|/S)
    W_bar = G_bar sign(range) S (j(d) - j(d_2)),    j = h' (1 - h')/2
"""

from __future__ import annotations

from numba import njit

from fxstyle.dsp.levels import DB_PER_NEPER, DB_PER_OCTAVE
from fxstyle.dsp.octaves import octaves, power
from fxstyle.dsp.recurrence import Floats

# What the curve takes, in this order: T, gain, range, S, W.
THRESHOLD, GAIN, RANGE, SLOPE, KNEE = range(5)

NEVER_DB = 1e9
"""Where a ratio of 1 comes to its range: far above any level, and finite, as 0 times it must be 0."""


@njit(cache=True, nogil=True, error_model="numpy")
def _bend(d: float, knee: float, inverse: float) -> tuple[float, float]:
    """h(d) and h'(d); `inverse` is 1/(2 W), or 0 for a corner."""
    half = 0.5 * knee
    above = d - half if d > half else 0.0
    within = d + half if d + half > 0.0 else 0.0
    within = within if within < knee else knee
    return within * within * inverse + above, 1.0 if d > half else 2.0 * within * inverse


@njit(cache=True, nogil=True, error_model="numpy")
def _shape(p: Floats) -> tuple[float, float, float]:
    """sign(range) S, |range|/S and 1/(2 W)."""
    slope, knee = p[SLOPE], p[KNEE]
    reached = abs(p[RANGE]) / slope if slope > 0.0 else NEVER_DB
    return slope if p[RANGE] >= 0.0 else -slope, reached, 0.5 / knee if knee > 0.0 else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def curve(e: Floats, p: Floats, level: Floats, factor: Floats, size: int) -> None:
    """Fill the level in dB, and the gain as a factor, from the level e (a factor)."""
    threshold, static, knee = p[THRESHOLD], p[GAIN], p[KNEE]
    signed, reached, inverse = _shape(p)
    for n in range(size):
        level[n] = DB_PER_OCTAVE * octaves(e[n])
        begun, _ = _bend(level[n] - threshold, knee, inverse)
        ended, _ = _bend(level[n] - threshold - reached, knee, inverse)
        factor[n] = power((static + signed * (begun - ended)) * (1.0 / DB_PER_OCTAVE))


# Reassociation lets the five sums run in SIMD lanes; nothing here tests for NaN.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "nsz"})
def curve_adjoint(g: Floats, level: Floats, e: Floats, p: Floats, size: int, dp: Floats) -> None:
    """Turn g in place from the gradient of the gain in dB into that of e, and add to dp (5,)."""
    threshold, knee = p[THRESHOLD], p[KNEE]
    signed, reached, inverse = _shape(p)
    sign = 1.0 if p[RANGE] >= 0.0 else -1.0
    dstatic = drange = dslope = dthreshold = dknee = 0.0
    for n in range(size):
        begun, rise = _bend(level[n] - threshold, knee, inverse)
        ended, fall = _bend(level[n] - threshold - reached, knee, inverse)
        steep = g[n] * signed * (rise - fall)
        dstatic += g[n]
        drange += g[n] * fall
        dslope += g[n] * sign * (begun - ended - reached * fall)
        dthreshold -= steep
        dknee += g[n] * signed * 0.5 * (rise * (1.0 - rise) - fall * (1.0 - fall))
        g[n] = steep * DB_PER_NEPER / e[n]
    dp[GAIN] += dstatic
    dp[RANGE] += drange
    dp[SLOPE] += dslope
    dp[THRESHOLD] += dthreshold
    dp[KNEE] += dknee
