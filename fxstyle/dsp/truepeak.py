"""Peaks between the samples: interpolation for the true-peak meter and the limiter.

    h(t)       = sinc(t) kaiser(t / HALF),   |t| < HALF
    v(n + p/F) = sum_k h(k - p/F) x[n + k] / sum_k h(k - p/F),   k = 1 - HALF .. HALF,   p = 1 .. F - 1

after Recommendation ITU-R BS.1770-4, annex 2, with F = 4 (2 at twice the usual rates) and more taps than
the table there. Phases p and F - p mirror each other: with the sums and differences of the samples that
lie alike on both sides of the middle, one is E + O, the other E - O, and the larger of both is |E| + |O|.

The limiter looks twice as closely. It adds the points half-way between those quarters by the cubic
through four of them, (9 (b + c) - (a + d)) / 16: a quarter of the band is all that is left of the sound at
4 times its rate, where the cubic is right to 0.05 dB up to 20 kHz of 44.1.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from numba import njit

from fxstyle.effect import Samples

Floats = npt.NDArray[np.float64]


HALF, _KAISER_BETA = 16, 7.0
"""Samples on either side: 32 taps per phase, stop band -70 dB, flat to 0.43 of the rate."""

QUARTERS = 4

REACH = HALF + 1
"""Samples on either side that a value between two samples may depend on, eighths included."""

_INNER, _OUTER = 9.0 / 16.0, 1.0 / 16.0
"""Lagrange's cubic half-way between the second and the third of four points."""

_GROUP = 64
"""Points between which peaks are looked for, or not, at a time."""

_LEAST_RATE = 176_400
"""Rate in Hz from which on the recommendation asks for no interpolation."""


def oversampling(rate: float) -> int:
    """Return the least factor that gives 176 kHz: 4, or less for rates that come near it themselves."""
    return 4 if rate < _LEAST_RATE / 2 else 2 if rate < _LEAST_RATE else 1


@cache
def phases(factor: int) -> Floats:
    """Return the taps (factor - 1, 2 HALF) for the points between two samples."""
    k = np.arange(1 - HALF, HALF + 1)
    t = k - np.arange(1, factor)[:, None] / factor
    h = np.sinc(t) * np.i0(_KAISER_BETA * np.sqrt(np.maximum(0.0, 1.0 - (t / HALF) ** 2)))
    return np.asarray(h / h.sum(axis=1, keepdims=True))


@cache
def folded(factor: int) -> Floats:
    """Return what `quarters` takes, (3, HALF): taps of the middle; sum and difference of those beside it.

    With factor 2 there is a middle only; the others are 0.
    """
    table, h = np.zeros((3, HALF)), phases(factor)
    table[0] = h[factor // 2 - 1, :HALF]
    if factor == QUARTERS:
        table[1], table[2] = 0.5 * (h[0] + h[2])[:HALF], 0.5 * (h[0] - h[2])[:HALF]
    return table


@cache
def eighths() -> Floats:
    """Return the taps (7, 2 REACH) of the points n + 1/8 .. n + 7/8 on the samples n - HALF .. n + REACH."""
    h, size = phases(QUARTERS), 2 * REACH
    points = np.zeros((7, size))  # n - 1/4, n, n + 1/4 .. n + 5/4
    points[0, : 2 * HALF] = h[2]
    points[1, HALF] = points[5, HALF + 1] = 1.0
    points[2:5, 1:-1] = h
    points[6, 2:] = h[0]
    taps = np.empty((7, size))
    taps[1::2] = points[2:5]
    taps[0::2] = _INNER * (points[1:5] + points[2:6]) - _OUTER * (points[:4] + points[3:])
    return taps


def most(taps: Floats) -> float:
    """Return the largest factor by which a value between may exceed all samples it depends on."""
    return float(np.abs(taps).sum(axis=1).max())


_ROUNDING = 1e-5
"""Larger than what float32 adds to an interpolated value, so that leaving it out changes no bit."""

_BOUND = most(eighths()) * (1.0 + _ROUNDING)


@njit(cache=True, nogil=True, error_model="numpy")
def exceeds(x: Samples, size: int, limit: float) -> bool:
    """Whether any |value| of x[0:size] is above the limit: in SIMD lanes, unlike a search for the largest."""
    above = False
    for n in range(size):
        above |= abs(x[n]) > limit
    return above


# Contraction to fused multiply-adds is the only freedom given: lanes and what is left over of them must
# round alike, so that no result depends on how a stream is cut.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def quarters(x: Samples, table: Samples, one: Samples, two: Samples, three: Samples, size: int) -> None:
    """Fill one, two, three with the values at 1/4, 1/2, 3/4 between x[HALF - 1 + i] and x[HALF + i].

    x (size + 2 HALF - 1,) and `folded` are of one type, so that it is that of the arithmetic too.
    """
    middle, even, odd = table[0], table[1], table[2]
    for i in range(size):
        total, apart = x[i] + x[i + 2 * HALF - 1], x[i] - x[i + 2 * HALF - 1]
        m, e, o = middle[0] * total, even[0] * total, odd[0] * apart
        for k in range(1, HALF):
            total, apart = x[i + k] + x[i + 2 * HALF - 1 - k], x[i + k] - x[i + 2 * HALF - 1 - k]
            m += middle[k] * total
            e += even[k] * total
            o += odd[k] * apart
        one[i], two[i], three[i] = e + o, m, e - o


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def crests(x: Samples, table: Samples, cubic: Samples, v: Samples, crest: Samples, size: int) -> None:
    """Fill crest[i] with the largest |value| at the eighths between x[HALF + i] and x[HALF + 1 + i].

    x: (size + 2 REACH - 1,). cubic: (2,) `cubic_weights`. v: (3, size + 2) to work in. All of one type.
    """
    one, two, three = v[0], v[1], v[2]
    quarters(x, table, one, two, three, size + 2)
    inner, outer = cubic[0], cubic[1]
    before, after = x[HALF:], x[HALF + 1 :]
    for i in range(size):
        a, b, c = one[i + 1], two[i + 1], three[i + 1]
        first = abs(inner * (before[i] + a) - outer * (three[i] + b))
        second = abs(inner * (a + b) - outer * (before[i] + c))
        third = abs(inner * (b + c) - outer * (a + after[i]))
        fourth = abs(inner * (c + after[i]) - outer * (b + one[i + 2]))
        first = second if second > first else first
        third = fourth if fourth > third else third
        a, b, c = abs(a), abs(b), abs(c)
        a = b if b > a else a
        c = first if first > c else c
        a = third if third > a else a
        crest[i] = c if c > a else a


def cubic_weights() -> Floats:
    """Return the weights (2,) of the inner and, less their sign, of the outer points of the cubic."""
    return np.array((_INNER, _OUTER))


def room(size: int, dtype: npt.DTypeLike) -> Samples:
    """Return what `levels` works in, for `size` samples or fewer."""
    return np.empty((6, size + 2 * REACH), dtype)


@njit(cache=True, nogil=True, error_model="numpy")
def levels(
    x: Samples, start: int, size: int, floor: float, table: Samples, cubic: Samples, room: Samples, m: Floats
) -> bool:
    """Fill m[i] with the largest |value| of all channels at n = start + REACH + i and the eighths around it.

    x: (channel, start + size + 2 REACH or more). floor: what matters; m may be less than the level, where
    that is less than the floor. Interpolation is left out where the samples are so low that no value between
    them can reach the floor.

    Returns
    -------
    Whether any level may be above the floor; if not, m is not filled.
    """
    v, level, crest, between = room[:3], room[3], room[4], room[5]
    peaks(x, start, size + 2 * REACH, level)
    if not exceeds(level, size + 2 * REACH, floor / _BOUND):
        return False
    for n in range(size + 1):
        between[n] = 0.0
    begin = 0
    for group in range(0, size + 1, _GROUP):
        end = min(group + _GROUP, size + 1)
        high = exceeds(level[group:], end - group + 2 * REACH - 1, floor / _BOUND)
        if high and end <= size:
            continue
        # One call for all groups in a row: it costs as much as fifty samples.
        stop = end if high else group
        for c in range(x.shape[0] if stop > begin else 0):
            crests(x[c, start + begin :], table, cubic, v, crest, stop - begin)
            part = between[begin:]
            for n in range(stop - begin):
                part[n] = crest[n] if crest[n] > part[n] else part[n]
        begin = end
    samples = level[REACH:]
    for n in range(size):
        peak = between[n] if between[n] > between[n + 1] else between[n + 1]
        m[n] = samples[n] if samples[n] > peak else peak
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def peaks(x: Samples, start: int, size: int, level: Samples) -> None:
    """Fill level[0:size] with the largest |sample| of all channels of x[:, start:]; NaN counts as 0."""
    for n in range(size):
        level[n] = 0.0
    for c in range(x.shape[0]):
        part = x[c, start:]
        for n in range(size):
            value = abs(part[n])
            level[n] = value if value > level[n] else level[n]


# Reassociation lets the sums run in SIMD lanes; which of two equal peaks counts is of no matter.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _either(x: Floats, taps: Floats, i: int) -> tuple[float, float]:
    """Return the i-th of the eighths between x[HALF] and the next sample, and between that and one more."""
    row, after = taps[i], x[1:]
    first = second = 0.0
    for k in range(2 * REACH):
        first += x[k] * row[k]
        second += after[k] * row[k]
    return first, second


@njit(cache=True, nogil=True, error_model="numpy")
def level_adjoint(slope: float, x: Samples, n: int, taps: Floats, dx: Samples) -> float:
    """Add to dx from `slope`, the gradient of the level at x[:, n], and return that level.

    taps: `eighths`, or none of them for the level of samples alone. x (channel, time) is 0 beyond its ends,
    where n may lie too. The gradient belongs to the loudest point, sample or between.
    """
    length = x.shape[1]
    near = np.empty(2 * REACH + 1)  # from n - REACH on
    where, point, side, peak = 0, -1, 0, 0.0
    for c in range(x.shape[0]):
        for k in range(near.shape[0]):
            at = n - REACH + k
            near[k] = x[c, at] if 0 <= at < length else 0.0
        if abs(near[REACH]) > abs(peak):
            where, point, peak = c, -1, near[REACH]
        for i in range(taps.shape[0]):
            before, after = _either(near, taps, i)
            if abs(before) > abs(peak):
                where, point, side, peak = c, i, 0, before
            if abs(after) > abs(peak):
                where, point, side, peak = c, i, 1, after
    slope = slope if peak > 0.0 else -slope
    if point < 0:
        dx[where, n] += slope
    else:
        first = n - REACH + side
        for k in range(max(0, -first), min(2 * REACH, length - first)):
            dx[where, first + k] += slope * taps[point, k]
    return abs(peak)
