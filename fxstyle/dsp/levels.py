"""Levels inside kernels: the linked level of channels, decibels without libm, a maximum that is held.

    a_c[n] = (1 - link) |x_c[n]| + link max_k |x_k[n]|          never below TINY

Everything works on blocks in float64; adjoints run over whole signals. |x| has slope 0 at 0. Of equal maxima
in time the latest takes the gradient. The maximum over blocks of L + 1 samples (what is left of the last
block, what has come of this one) is van Herk's (1992) and Gil & Werman's (1993).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from fxstyle.dsp.recurrence import TINY, Floats
from fxstyle.effect import Samples

DB_PER_OCTAVE = 20.0 * math.log10(2.0)
DB_PER_NEPER = 20.0 / math.log(10.0)

_MANTISSA = np.int64((1 << 52) - 1)
_EXPONENT_BIAS = np.int64(1023)
_ROUND = 1.5 * 2.0**52  # adding and subtracting it rounds to the nearest integer
_SQRT_2 = math.sqrt(2.0)
_LN_2 = math.log(2.0)


@njit(cache=True, nogil=True, error_model="numpy")
def decibels(e: Floats, level: Floats, scratch: Floats, size: int) -> None:
    """Fill `level` with 20 log10 e, e > 0: ln m = 2 artanh((m - 1)/(m + 1)), m in [1/sqrt 2, sqrt 2)."""
    bits, mantissa = e.view(np.int64), scratch.view(np.int64)
    for n in range(size):
        mantissa[n] = (bits[n] & _MANTISSA) | (_EXPONENT_BIAS << 52)
        level[n] = (bits[n] >> 52) - _EXPONENT_BIAS
    for n in range(size):
        high = scratch[n] > _SQRT_2
        m = 0.5 * scratch[n] if high else scratch[n]
        octave = level[n] + 1.0 if high else level[n]
        s = (m - 1.0) / (m + 1.0)
        q = s * s
        series = q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + q * (1 / 9 + q * (1 / 11 + q * (1 / 13))))))
        level[n] = DB_PER_OCTAVE * octave + 2.0 * DB_PER_NEPER * s * (1.0 + series)


@njit(cache=True, nogil=True, error_model="numpy")
def amplitudes(level: Floats, amplitude: Floats, scratch: Floats, size: int) -> None:
    """Fill `amplitude` with 10^(level/20): 2^octave exp(t), |t| <= ln(2)/2, Taylor's series to t^10."""
    power = scratch.view(np.int64)
    for n in range(size):
        z = level[n] * (1.0 / DB_PER_OCTAVE)
        octave = (z + _ROUND) - _ROUND
        power[n] = (np.int64(octave) + _EXPONENT_BIAS) << 52
        t = (z - octave) * _LN_2
        series = 1 / 5040 + t * (1 / 40320 + t * (1 / 362880 + t * (1 / 3628800)))
        series = 1 / 6 + t * (1 / 24 + t * (1 / 120 + t * (1 / 720 + t * series)))
        amplitude[n] = 1.0 + t * (1.0 + t * (0.5 + t * series))
    for n in range(size):
        amplitude[n] *= scratch[n]


@njit(cache=True, nogil=True, error_model="numpy")
def rectify(x: Samples, begin: int, link: float, lane: int, a: Floats, size: int) -> None:
    """Fill `a` with the level of channel `lane`; not less than TINY: no denormals, log 0, 0/0."""
    # Slices: a loop that indexes begin + n does not vectorise, for that might be negative.
    own = x[lane, begin : begin + size]
    for n in range(size):
        level = float(abs(own[n]))
        a[n] = level if level > TINY else TINY
    for c in range(x.shape[0] if link > 0.0 else 0):
        part = x[c, begin : begin + size]
        for n in range(size if c != lane else 0):
            other = float(abs(part[n]))
            a[n] = other if other > a[n] else a[n]
    for n in range(size if 0.0 < link < 1.0 else 0):
        level = (1.0 - link) * abs(own[n]) + link * a[n]
        a[n] = level if level > TINY else TINY


@njit(cache=True, nogil=True, error_model="numpy")
def unrectify(g: Floats, x: Samples, dx: Samples, size: int) -> None:
    """Add to dx (time,) what g, the gradient of |x|, makes of it; |x| has slope 0 at 0."""
    for n in range(size):
        dx[n] += g[n] if x[n] > 0.0 else (-g[n] if x[n] < 0.0 else 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def hold_adjoint(g: Floats, v: Floats, hold: float, dv: Floats) -> float:
    """Fill dv from g, the gradient of the maximum of v over the last `hold` samples; return that of the hold.

    With L + f samples, 0 <= f <= 1, it is (1 - f) max(v[n-L] .. v[n]) + f max(v[n-L-1] .. v[n]). Where the
    hold is whole f is 1, not 0, unless there is none: the longest hold can only get shorter.
    """
    size, count = v.shape[0], max(math.ceil(hold), 1)
    share = hold - (count - 1)
    left = np.empty(size, dtype=np.int64)  # where the maximum from here to the end of the block is
    dhold = 0.0
    dv[:] = 0.0
    for begin in range(0, size, count):
        end = min(begin + count, size)
        most = end - 1
        for n in range(end - 1, begin - 1, -1):
            most = n if v[n] > v[most] else most
            left[n] = most
        most = begin
        for n in range(begin, end):
            most = n if v[n] >= v[most] else most
            held = left[n - count + 1] if n >= count - 1 and v[left[n - count + 1]] > v[most] else most
            dv[held] += g[n]
            if n >= count and v[n - count] > v[held]:
                dv[held] -= share * g[n]
                dv[n - count] += share * g[n]
                dhold += g[n] * (v[n - count] - v[held])
    return dhold
