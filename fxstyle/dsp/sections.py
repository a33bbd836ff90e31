"""State-variable sections: second-order filters of which all outputs are at hand, with their adjoint.

Zavalishin's trapezoidal state-variable filter ("The Art of VA Filter Design", 2018, ch. 4), arranged as by
Simper (2013). With g = tan(pi f/rate), k = 1/Q, c3 = 2 g^2/(1 + g k + g^2), c2 = c3/g, c1 = c3/g^2 - 1, the
input x and states s, r:

    t[n] = x[n] - r[n]
    s[n+1] = c1 s[n] + c2 t[n],    r[n+1] = r[n] + c2 s[n] + c3 t[n]
    band-pass (s[n] + s[n+1])/2,    low-pass (r[n] + r[n+1])/2

which are the bilinear transforms of s/(s^2 + k s + 1) and 1/(s^2 + k s + 1), prewarped at f; with their
help x - k band - low is the high-pass, x - 2 k band the all-pass. Unlike direct forms a section is exact at
0 Hz however low f is.

Adjoint, with bars for gradients and b, l those of s[n] + s[n+1] and r[n] + r[n+1], backwards in time:

    S = s_bar[n+1] + b[n],    R = r_bar[n+1] + l[n],    v = c2 S + c3 R
    s_bar[n] = b[n] + c1 S + c2 R,    r_bar[n] = l[n] + R - v,    x_bar[n] += v
    c1_bar += S s[n],    c2_bar += S t[n] + R s[n],    c3_bar += R t[n]

All of it works on blocks in float64. Only the recursions run sample by sample, two channels in one loop, so
that one's latency hides behind the other's; everything else is left to loops that vectorise.
"""

from __future__ import annotations

import math

import torch
from numba import njit

from fxstyle.dsp.recurrence import TINY, Floats
from fxstyle.effect import Samples
from fxstyle.units import HIGHEST_OF_RATE

BUTTERWORTH = math.sqrt(2.0)
"""k = 1/Q of a Butterworth section."""


def coefficients(hz: torch.Tensor, q: torch.Tensor | float, rate: float) -> torch.Tensor:
    """Return c1, c2, c3 (..., 3) in float64 of sections at `hz` (...), differentiably.

    Frequencies beyond HIGHEST_OF_RATE are taken to be there.
    """
    g = torch.tan(math.pi / rate * hz.double().clamp_max(HIGHEST_OF_RATE * rate))
    twice = 2.0 / (1.0 + g * (1.0 / q + g))
    return torch.stack((twice - 1.0, twice * g, twice * g * g), dim=-1)


# Contraction makes fused multiply-adds of the recursions, a quarter of their time. Each sample goes through
# the same instructions wherever a block begins.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def section(x: float, c1: float, c2: float, c3: float, s: float, r: float) -> tuple[float, float]:
    """Return s[n+1] and r[n+1]."""
    t = x - r
    return c1 * s + c2 * t, (r + c2 * s) + c3 * t


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def section_adjoint(
    b: float, low: float, c1: float, c2: float, c3: float, s: float, r: float
) -> tuple[float, float, float, float, float]:
    """Return S, R, v, s_bar[n], r_bar[n] from b, l, and s_bar[n+1], r_bar[n+1] in `s` and `r`."""
    s += b
    r += low
    v = c2 * s + c3 * r
    return s, r, v, b + (c1 * s + c2 * r), (low + r) - v


@njit(cache=True, nogil=True, error_model="numpy")
def flush_all(values: Floats) -> None:
    """Set what is below TINY in (time,) to zero, in place, so that no recursion crawls through denormals."""
    for i in range(values.shape[0]):
        if abs(values[i]) < TINY:
            values[i] = 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def bring(x: Samples, begin: int, block: Floats, size: int) -> None:
    """Fill block (channel, time) from x[:, begin:]."""
    for c in range(x.shape[0]):
        part = x[c, begin : begin + size]
        for n in range(size):
            block[c, n] = part[n]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _one(x: Floats, c: Floats, s: Floats, r: Floats, size: int) -> None:
    c1, c2, c3 = c[0], c[1], c[2]
    s1, r1 = s[0], r[0]
    for n in range(size):
        s1, r1 = section(x[n], c1, c2, c3, s1, r1)
        s[n + 1], r[n + 1] = s1, r1


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _two(x: Floats, w: Floats, c: Floats, s: Floats, r: Floats, u: Floats, v: Floats, size: int) -> None:
    """Do as `_one` does to x, s, r, and to w, u, v: the same operations in the same order."""
    c1, c2, c3 = c[0], c[1], c[2]
    s1, r1, u1, v1 = s[0], r[0], u[0], v[0]
    for n in range(size):
        s1, r1 = section(x[n], c1, c2, c3, s1, r1)
        u1, v1 = section(w[n], c1, c2, c3, u1, v1)
        s[n + 1], r[n + 1] = s1, r1
        u[n + 1], v[n + 1] = u1, v1


@njit(cache=True, nogil=True, error_model="numpy")
def run(x: Floats, c: Floats, s: Floats, r: Floats, size: int) -> None:
    """Fill s[:, 1:] and r[:, 1:] from x, all (channel, time), by one section; s[:, 0], r[:, 0] are the past.

    c: its coefficients in the first three places.
    """
    channels = x.shape[0]
    for i in range(0, channels - 1, 2):
        _two(x[i], x[i + 1], c, s[i], r[i], s[i + 1], r[i + 1], size)
    if channels % 2:
        _one(x[channels - 1], c, s[channels - 1], r[channels - 1], size)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _back(b: Floats, low: Floats, c: Floats, carry: Floats, dx: Floats, size: int) -> None:
    """Turn b and low in place into S and R, move the gradients `carry` of s, r back, and add to dx."""
    c1, c2, c3 = c[0], c[1], c[2]
    s, r = carry[0], carry[1]
    for n in range(size - 1, -1, -1):
        b[n], low[n], v, s, r = section_adjoint(b[n], low[n], c1, c2, c3, s, r)
        dx[n] += v
    carry[0] = s if abs(s) >= TINY else 0.0
    carry[1] = r if abs(r) >= TINY else 0.0


# Reassociation lets the three sums run in SIMD lanes; nothing here tests for NaN.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def _correlate(b: Floats, low: Floats, x: Floats, s: Floats, r: Floats, dc: Floats, size: int) -> None:
    d1 = d2 = d3 = 0.0
    for n in range(size):
        t = x[n] - r[n]
        d1 += b[n] * s[n]
        d2 += b[n] * t + low[n] * s[n]
        d3 += low[n] * t
    dc[0] += d1
    dc[1] += d2
    dc[2] += d3


@njit(cache=True, nogil=True, error_model="numpy")
def run_adjoint(
    b: Floats, low: Floats, x: Floats, c: Floats, s: Floats, r: Floats, carry: Floats, dx: Floats, dc: Floats,
    size: int,
) -> None:  # fmt: skip
    """Add to dx (channel, time) and to dc (3 and more,) from b and l (module docstring), both overwritten.

    s, r: as `run` filled them. carry (channel, 2): the gradients of the states behind the block; moves on.
    """
    for i in range(x.shape[0]):
        _back(b[i], low[i], c, carry[i], dx[i], size)
        _correlate(b[i], low[i], x[i], s[i], r[i], dc, size)
