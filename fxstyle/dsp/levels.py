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

from fxstyle.dsp.octaves import octaves, power
from fxstyle.dsp.recurrence import TINY, Floats
from fxstyle.effect import Samples

DB_PER_OCTAVE = 20.0 * math.log10(2.0)
DB_PER_NEPER = 20.0 / math.log(10.0)


@njit(cache=True, nogil=True, error_model="numpy")
def decibels(e: Floats, level: Floats, size: int) -> None:
    """Fill `level` with 20 log10 e, e > 0."""
    for n in range(size):
        level[n] = DB_PER_OCTAVE * octaves(e[n])


@njit(cache=True, nogil=True, error_model="numpy")
def amplitudes(level: Floats, amplitude: Floats, size: int) -> None:
    """Fill `amplitude` with 10^(level/20)."""
    for n in range(size):
        amplitude[n] = power(level[n] * (1.0 / DB_PER_OCTAVE))


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
