"""A signal read at a speed that sways: two sines in the position, smooth interpolation, exact adjoint.

    position(n) = n + q(n),   q(n) = a_1 sin(2 pi f_1 n) + a_2 sin(2 pi f_2 n)
    y[n] = sum_{i<TAPS} w_i(t) x[n + k + i - BEFORE],   k = floor(q),   t = q - k

The speed is 1 + 2 pi (a_1 f_1 cos + a_2 f_2 cos), 1 on average. f in turns per sample, a in samples; n counts
from the beginning of the stream, so the result does not depend on how that is cut (`fxstyle.dsp.oscillator`).

w_i(t) = h(i - BEFORE - t), where h is the Kaiser-windowed sinc, and between two whole numbers a polynomial
of degree DEGREE that agrees with it at Chebyshev's nodes and at both ends (C. W. Farrow, "A continuously
variable digital delay element", ISCAS 1988). So at t = 0 the sample itself is read, to the bit. The error of
gain and phase together, at the worst t: -58 dB up to .37 of the rate, -32 dB at .4 (cubic Hermite: -13 dB);
where t passes a whole number, dw/dt jumps by 0.2 %
(so with no sway at all, q = 0 throughout, the derivatives by both a are those for q > 0).

Adjoint, with a bar for the derivative by a signal:

    x'[n + k + i - BEFORE] += w_i y'[n]          q'[n] = y'[n] sum_i dw_i/dt x[..]
    a: sum q' sin        f: sum q' a 2 pi n cos

Speed. As long as k stays, which is for hundreds of samples, sound and weights are contiguous: all loops run
over time, on the processor's lanes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import njit

from fxstyle.device import lane_functions
from fxstyle.dsp.kernel import each_channel
from fxstyle.dsp.oscillator import SYNC, circles, oscillate
from fxstyle.dsp.recurrence import Floats
from fxstyle.effect import Samples

TAPS = 16
BEFORE = TAPS // 2 - 1
"""Samples before k that are read; TAPS // 2 after it."""

DEGREE = 5
_KAISER_BETA = 6.0
"""The largest for which -58 dB reach to .37 of the rate."""

BLOCK = 8 * SYNC
"""Samples per pass, between multiples of it: sound, weights and sines stay in the first-level cache."""

COLUMNS = 4
"""Of the settings: a_1, f_1, a_2, f_2."""

Signal = npt.NDArray[Any]


def _weights() -> Floats:
    """Return the coefficients of w_i(t), (DEGREE + 1, TAPS), lowest power first."""
    half = TAPS // 2
    t = 0.5 - 0.5 * np.cos(np.pi * (np.arange(DEGREE - 1) + 0.5) / (DEGREE - 1))
    table = np.zeros((DEGREE + 1, TAPS))
    for i in range(TAPS):
        u = i - BEFORE - t
        h = np.sinc(u) * np.i0(_KAISER_BETA * np.sqrt(1.0 - (u / half) ** 2)) / np.i0(_KAISER_BETA)
        # w = 1 - t, t or 0, which is right at both ends, and t (1 - t) times a polynomial
        line = np.array((1.0, -1.0) if i == BEFORE else (0.0, 1.0) if i == BEFORE + 1 else (0.0, 0.0))
        rest = np.polynomial.polynomial.polyfit(t, (h - line[0] - line[1] * t) / (t * (1.0 - t)), DEGREE - 2)
        table[:2, i] = line
        table[1:DEGREE, i] += rest
        table[2:, i] -= rest
    return table


WEIGHTS = _weights()


@njit(cache=True, nogil=True, error_model="numpy")
def _sway(
    p: Floats, circle: Floats, begin: int, waves: Floats, whole: npt.NDArray[np.int64], t: Signal
) -> None:
    """Fill BLOCK samples of k and t from time `begin` on, and waves (.., 4, SYNC): both sines and cosines."""
    for j in range(waves.shape[0]):
        wave, at = waves[j], j * SYNC
        oscillate(p[1], 0.0, begin + at, circle[0], wave)
        oscillate(p[3], 0.0, begin + at, circle[1], wave[2:])
        here, rest = whole[at:], t[at:]
        for m in range(SYNC):
            q = p[0] * wave[0, m] + p[2] * wave[2, m]
            below = math.floor(q)
            here[m] = below
            rest[m] = q - below


@njit(cache=True, nogil=True, error_model="numpy")
def _read(x: Signal, t: Signal, y: Signal) -> None:
    """y[m] = sum_i w_i(t[m]) x[m + i]."""
    real = x.dtype.type
    for i in range(TAPS):
        c0, c1, c2 = real(WEIGHTS[0, i]), real(WEIGHTS[1, i]), real(WEIGHTS[2, i])
        c3, c4, c5 = real(WEIGHTS[3, i]), real(WEIGHTS[4, i]), real(WEIGHTS[5, i])
        tap = x[i:]
        if i == 0:
            for m in range(y.size):
                y[m] = (c0 + t[m] * (c1 + t[m] * (c2 + t[m] * (c3 + t[m] * (c4 + t[m] * c5))))) * tap[m]
        else:
            for m in range(y.size):
                y[m] += (c0 + t[m] * (c1 + t[m] * (c2 + t[m] * (c3 + t[m] * (c4 + t[m] * c5))))) * tap[m]


@njit(cache=True, nogil=True, error_model="numpy")
def _read_adjoint(g: Signal, x: Signal, t: Signal, dx: Signal, dq: Signal) -> None:
    """Add to dx and, from zero, to dq."""
    real = x.dtype.type
    for i in range(TAPS):
        c0, c1, c2 = real(WEIGHTS[0, i]), real(WEIGHTS[1, i]), real(WEIGHTS[2, i])
        c3, c4, c5 = real(WEIGHTS[3, i]), real(WEIGHTS[4, i]), real(WEIGHTS[5, i])
        d2, d3, d4, d5 = real(2.0) * c2, real(3.0) * c3, real(4.0) * c4, real(5.0) * c5
        tap, dtap = x[i:], dx[i:]
        for m in range(g.size):
            dtap[m] += (c0 + t[m] * (c1 + t[m] * (c2 + t[m] * (c3 + t[m] * (c4 + t[m] * c5))))) * g[m]
        for m in range(g.size):
            dq[m] += (c1 + t[m] * (d2 + t[m] * (d3 + t[m] * (d4 + t[m] * d5)))) * tap[m]
    for m in range(g.size):
        dq[m] *= g[m]


@njit(cache=True, nogil=True, error_model="numpy")
def _alike(whole: npt.NDArray[np.int64], begin: int, end: int) -> int:
    """Return where k changes first, or the end."""
    n = begin + 1
    while n < end and whole[n] == whole[begin]:
        n += 1
    return n


@njit(cache=True, nogil=True, error_model="numpy")
def _run(x: Signal, reach: int, first: int, p: Floats, circle: Floats, y: Signal) -> None:
    """Fill y; x[n + reach] is the sound at y[n], whose time is first + n. circle: (2, 2, SYNC)."""
    waves, whole, t = np.empty((BLOCK // SYNC, 4, SYNC)), np.empty(BLOCK, np.int64), np.empty(BLOCK, x.dtype)
    n = 0
    while n < y.size:
        begin = (first + n) // BLOCK * BLOCK
        _sway(p, circle, begin, waves, whole, t)
        lag = first + n - begin
        end = min(BLOCK, lag + y.size - n)
        while lag < end:
            until = _alike(whole, lag, end)
            size = until - lag
            _read(x[n + reach + whole[lag] - BEFORE :], t[lag:], y[n : n + size])
            lag = until
            n += size


# Reassociation lets the sums run in SIMD lanes; nothing here tests for NaN.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "nsz"})
def _sums(dq: Floats, wave: Floats, begin: int, p: Floats, dp: Floats) -> None:
    """Add to dp over SYNC samples from time `begin` on."""
    a_1, a_2, f_1, f_2 = 0.0, 0.0, 0.0, 0.0
    for m in range(SYNC):
        moment = dq[m] * (begin + m)
        a_1 += dq[m] * wave[0, m]
        a_2 += dq[m] * wave[2, m]
        f_1 += moment * wave[1, m]
        f_2 += moment * wave[3, m]
    dp[0] += a_1
    dp[1] += 2.0 * math.pi * p[0] * f_1
    dp[2] += a_2
    dp[3] += 2.0 * math.pi * p[2] * f_2


@njit(cache=True, nogil=True, error_model="numpy")
def _run_adjoint(
    dy: Signal, x: Signal, reach: int, first: int, p: Floats, circle: Floats, dx: Signal, dp: Floats
) -> None:
    """Add to dx, like x, and to dp (COLUMNS,)."""
    waves, whole, t = np.empty((BLOCK // SYNC, 4, SYNC)), np.empty(BLOCK, np.int64), np.empty(BLOCK, x.dtype)
    n = 0
    while n < dy.size:
        begin = (first + n) // BLOCK * BLOCK
        _sway(p, circle, begin, waves, whole, t)
        lag = first + n - begin
        end = min(BLOCK, lag + dy.size - n)
        dq = np.zeros(BLOCK)
        while lag < end:
            until = _alike(whole, lag, end)
            size = until - lag
            at = n + reach + whole[lag] - BEFORE
            _read_adjoint(dy[n : n + size], x[at:], t[lag:], dx[at:], dq[lag:])
            lag = until
            n += size
        for j in range(waves.shape[0]):
            _sums(dq[j * SYNC :], waves[j], begin + j * SYNC, p, dp)


def reach(swing: float) -> int:
    """Return how many samples on either side are read where q swings by `swing` samples."""
    return math.ceil(swing) + TAPS // 2


def _reach(p: Floats) -> int:
    return reach(abs(p[0]) + abs(p[2]))


def _circles(p: Floats) -> Floats:
    return circles(p[1::2])


def sway(x: torch.Tensor, settings: torch.Tensor, first: int) -> torch.Tensor:
    """Read each row of x (batch, channel, time) at its own speed, differentiably; x is zero outside.

    settings: (batch, COLUMNS) in float64. first: time of the first sample.
    """
    if lane_functions.away(x):
        from fxstyle.device import varispeed

        return varispeed.sway(x, settings, first)

    def run(x: Signal, p: Floats, y: Signal) -> None:
        _run(np.pad(x, _reach(p)), _reach(p), first, p, _circles(p), y)

    def adjoint(dy: Signal, x: Signal, p: Floats, dx: Signal, dp: Floats) -> None:
        margin = _reach(p)
        padded = np.pad(x, margin)
        wide = np.zeros_like(padded)
        _run_adjoint(dy, padded, margin, first, p, _circles(p), wide, dp)
        dx[:] = wide[margin : margin + dx.size]

    return each_channel(x, settings[:, None].expand(-1, x.shape[1], -1), None, run, adjoint)


def sway_block(
    x: Samples, settings: Floats, late: int, first: int, history: Samples | None
) -> tuple[Samples, Samples]:
    """Read a block (channel, time) at a swaying speed, `late` samples late; the state is the input's end.

    settings: (COLUMNS,). late: not less than `reach` of the swing. first: time of the first sample of the
    output. history: None at the beginning of a stream, then what the last call returned; it is not changed.
    """
    if history is None:
        history = np.zeros((x.shape[0], 2 * late), x.dtype)
    extended = np.concatenate([history, x], axis=1)
    y, circle = np.empty(x.shape, x.dtype), _circles(settings)
    for channel in range(x.shape[0]):
        _run(extended[channel], late, first, settings, circle, y[channel])
    return y, extended[:, extended.shape[1] - 2 * late :].copy()
