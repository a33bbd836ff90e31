"""Look-ahead peak limiter, linked over all channels: |y[n]| <= C for every input.

    u_c[n] = D x_c[n],   m[n] = max_c |u_c[n]|,   r[n] = min(1, C/m[n])
    q[n] = min(r[n-L], ..., r[n])                                  running minimum
    s[n] = min(q[n], k s[n-1] + (1-k) q[n])                        instant attack, smooth release
    g[n] = (s[n-L] + ... + s[n]) / (L + 1)                         moving average
    y_c[n] = g[n] u_c[n-L]

with D = 10^(gain/20), C = 10^(ceiling/20), L the look-ahead of LOOK_AHEAD_MS and k the release's time
constant (63 %). Each of the L + 1 terms of g[n] is at most r[n-L], for its minimum spans n-L; hence the
bound. The average turns the minimum's steps into ramps that end when the peak arrives. What rounding
adds is clipped off (a few units in the last place). The ceiling is one of samples: peaks between samples
may be higher. The scheme, a running minimum and then a box filter, is the common one (G. Luff, "Designing
a straightforward limiter", Signalsmith Audio); the adjoint is derived here.

Sums and minima over the window are taken from blocks of L + 1 samples counted from the beginning of the
stream: what is left of the last block (its suffixes) and what has come of this one (its prefix), after
van Herk (1992) and Gil & Werman (1993). That costs three operations per sample, nothing accumulates from
block to block, and the result does not depend on how the stream was cut.

Adjoint: from gradients of g, the moving sum is its own transpose; backwards through s, then to the sample
that was the minimum (the latest, if several are equal) and to its loudest channel:

    lambda[n] = dL/ds[n] + k [s[n+1] rises] lambda[n+1]
    dL/dq[n] = (1 - k [s[n] rises]) lambda[n],   dL/dk += [s[n] rises] lambda[n] (s[n-1] - q[n])
    dr/dC = 1/m,   dr/dm = -r/m   where m > C
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from numba import njit, prange

from fxstyle.effect import Effect, Samples
from fxstyle.kernel import per_row
from fxstyle.param import Param
from fxstyle.recurrence import BLOCK, TINY, Floats
from fxstyle.units import db_to_amplitude, ms_to_samples, time_constant

Indices = npt.NDArray[np.int32]

LOOK_AHEAD_MS = 2.0
"""Long enough that the ramp before a peak makes no click (its spectrum falls from 500 Hz on), short
enough not to duck the sound before a drum hit: the ear's backward masking covers it."""

# Columns of the settings as the kernels take them.
_DRIVE, _CEILING, _RELEASE = range(3)

# Rows of a window's memory, each by position in the block of L + 1 samples.
_ASKED, _LEAST_LEFT, _SMOOTH, _SUM_LEFT = range(4)

# Entries of the running values.
_LEAST, _SUM, _LAST = range(3)


def look_ahead(rate: float) -> int:
    """Samples by which the limiter sees ahead, and by which `render` is late; at least one."""
    return max(1, round(ms_to_samples(LOOK_AHEAD_MS, rate)))


class LimiterState(NamedTuple):
    """What the limiter remembers.

    Attributes
    ----------
    late: (channel, L) the last inputs, which are still to be put out.
    window: (4, L + 2) r in this block, suffix minima of r in the last block, s in this block, suffix sums
        of s in the last block; the last column is the reduction of nothing.
    running: (3,) minimum of r and sum of s in this block so far, and the last s.
    position: samples of this block so far.
    """

    late: Samples
    window: Floats
    running: Floats
    position: int


@njit(cache=True, nogil=True, error_model="numpy")
def _rest(length: int) -> tuple[Floats, Floats]:
    """Window and running values of a stream that asked for no reduction so far."""
    window = np.ones((4, length + 2))
    for i in range(length + 2):
        window[_SUM_LEFT, i] = length + 1 - i
    running = np.ones(3)
    running[_SUM] = 0.0
    return window, running


@njit(cache=True, nogil=True, error_model="numpy")
def _needed(x: Samples, p: Floats, r: Floats) -> None:
    """Fill r with the gain each sample needs; past the end of x none is needed."""
    channels, length = x.shape
    drive, ceiling = p[_DRIVE], p[_CEILING]
    for n in range(r.shape[0]):
        r[n] = 0.0
    for c in range(channels):
        for n in range(length):
            level = drive * abs(x[c, n])
            r[n] = level if level > r[n] else r[n]
    for n in range(r.shape[0]):
        r[n] = ceiling / (r[n] if r[n] > ceiling else ceiling)


@njit(cache=True, nogil=True, error_model="numpy")
def _gain(
    r: Floats, release: float, window: Floats, running: Floats, position: int, s: Floats, g: Floats
) -> int:
    """Fill s and g from r, move `window` and `running` on, and return the new position."""
    count = window.shape[1] - 1
    asked, least_left, smooth, sum_left = (
        window[_ASKED],
        window[_LEAST_LEFT],
        window[_SMOOTH],
        window[_SUM_LEFT],
    )
    least, total, last = running[_LEAST], running[_SUM], running[_LAST]
    for n in range(r.shape[0]):
        asked[position] = r[n]
        least = r[n] if r[n] < least else least
        left = least_left[position + 1]
        q = left if left < least else least
        # k (s - q) rather than k s + (1 - k) q: exactly 1 as long as nothing is reduced
        risen = q + release * (last - q)
        last = risen if risen < q else q
        s[n] = last
        smooth[position] = last
        total += last
        g[n] = (total + sum_left[position + 1]) / count
        position += 1
        if position == count:
            for i in range(count - 1, -1, -1):
                least_left[i] = asked[i] if asked[i] < least_left[i + 1] else least_left[i + 1]
                sum_left[i] = smooth[i] + sum_left[i + 1]
            least, total, position = 1.0, 0.0, 0
    running[_LEAST], running[_SUM], running[_LAST] = least, total, last
    return position


@njit(cache=True, nogil=True, error_model="numpy")
def _apply(x: Samples, p: Floats, g: Floats, y: Samples) -> None:
    """Scale x by drive and gain into y, within the ceiling."""
    drive, ceiling = p[_DRIVE], p[_CEILING]
    for c in range(y.shape[0]):
        for n in range(y.shape[1]):
            value = drive * x[c, n] * g[n]
            value = value if value < ceiling else ceiling
            y[c, n] = value if value > -ceiling else -ceiling


@njit(cache=True, nogil=True, error_model="numpy")
def _run_block(joined: Samples, p: Floats, window: Floats, running: Floats, position: int, y: Samples) -> int:
    """Limit a block: `joined` is the L samples before it and itself, y its shape; return the position."""
    length = joined.shape[1] - y.shape[1]
    r, s, g = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    for begin in range(0, y.shape[1], BLOCK):
        end = min(begin + BLOCK, y.shape[1])
        size = end - begin
        _needed(joined[:, begin + length : end + length], p, r[:size])
        position = _gain(r[:size], p[_RELEASE], window, running, position, s[:size], g[:size])
        _apply(joined[:, begin:end], p, g[:size], y[:, begin:end])
    return position


@njit(cache=True, nogil=True, error_model="numpy")
def _run_whole(x: Samples, p: Floats, length: int, y: Samples) -> None:
    """Limit a recording from beginning to end, aligned."""
    size = x.shape[1] + length
    r, s, g = np.empty(size), np.empty(size), np.empty(size)
    window, running = _rest(length)
    _needed(x, p, r)
    _gain(r, p[_RELEASE], window, running, 0, s, g)
    _apply(x, p, g[length:], y)


@njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def _forward(x: Samples, p: Floats, length: int, y: Samples) -> None:
    for row in prange(x.shape[0]):
        _run_whole(x[row], p[row], length, y[row])


@njit(cache=True, nogil=True, error_model="numpy")
def _least_at(r: Floats, length: int, at: Indices) -> None:
    """Fill `at` with where the minimum of r[n-L .. n] is, the latest of equals (a monotonic queue)."""
    room = 1
    while room < length + 2:
        room *= 2
    wrap = room - 1  # i & wrap is i modulo the power of two
    queue = np.empty(room, dtype=np.int32)
    head = tail = 0
    for n in range(r.shape[0]):
        while tail > head and r[queue[(tail - 1) & wrap]] >= r[n]:
            tail -= 1
        queue[tail & wrap] = n
        tail += 1
        if queue[head & wrap] < n - length:
            head += 1
        at[n] = queue[head & wrap]


@njit(cache=True, nogil=True, error_model="numpy")
def _gain_adjoint(dg: Floats, r: Floats, s: Floats, length: int, p: Floats, dp: Floats) -> Floats:
    """Return the gradient of r from that of g, and add to dp."""
    size, release = r.shape[0], p[_RELEASE]
    at = np.empty(size, dtype=np.int32)
    _least_at(r, length, at)
    dr = np.zeros(size)
    total = carry = drelease = 0.0
    for n in range(size - 1, -1, -1):
        total += dg[n]
        if n + length + 1 < size:
            total -= dg[n + length + 1]
        slope = total / (length + 1) + carry
        before = s[n - 1] if n > 0 else 1.0
        q = r[at[n]]
        carry = release * slope if before < q else 0.0
        carry = carry if abs(carry) >= TINY else 0.0
        drelease += slope * (before - q) if before < q else 0.0
        dr[at[n]] += slope - carry
    dp[_RELEASE] += drelease
    return dr


@njit(cache=True, nogil=True, error_model="numpy")
def _run_adjoint(dy: Samples, x: Samples, p: Floats, length: int, dx: Samples, dp: Floats) -> None:
    """Fill dx like x and add to dp (3,) from dy, all (channel, time)."""
    drive, ceiling = p[_DRIVE], p[_CEILING]
    size = x.shape[1] + length
    r, s, g = np.empty(size), np.empty(size), np.empty(size)
    window, running = _rest(length)
    _needed(x, p, r)
    _gain(r, p[_RELEASE], window, running, 0, s, g)
    ddrive = dceiling = 0.0
    dg = g  # in place: each entry is read before its gradient takes its room
    for n in range(length):
        dg[n] = 0.0
    for n in range(x.shape[1]):
        gain, total = g[n + length], 0.0
        for c in range(x.shape[0]):
            dx[c, n] = dy[c, n] * drive * gain
            total += dy[c, n] * x[c, n]
        ddrive += total * gain
        dg[n + length] = drive * total
    dr = _gain_adjoint(dg, r, s, length, p, dp)
    for n in range(x.shape[1]):
        if r[n] < 1.0 and dr[n] != 0.0:
            loudest = 0
            for c in range(1, x.shape[0]):
                loudest = c if abs(x[c, n]) > abs(x[loudest, n]) else loudest
            # r = C/m and m = D |x|
            peak = ceiling / r[n]
            dpeak = -dr[n] * r[n] / peak
            dceiling += dr[n] / peak
            ddrive += dpeak * abs(x[loudest, n])
            dx[loudest, n] += dpeak * drive if x[loudest, n] > 0.0 else -dpeak * drive
    dp[_DRIVE] += ddrive
    dp[_CEILING] += dceiling


@njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def _backward(dy: Samples, x: Samples, p: Floats, length: int, dx: Samples, dp: Floats) -> None:
    for row in prange(x.shape[0]):
        _run_adjoint(dy[row], x[row], p[row], length, dx[row], dp[row])


def forward(
    x: torch.Tensor,
    rate: float,
    *,
    gain_db: torch.Tensor,
    ceiling_db: torch.Tensor,
    release_ms: torch.Tensor,
) -> torch.Tensor:
    """Limit each row of (batch, channel, time) by its own settings, aligned with the input."""
    release = time_constant(release_ms.double(), rate)
    columns = (db_to_amplitude(gain_db.double()), db_to_amplitude(ceiling_db.double()), release)
    return per_row(x, torch.stack(columns, dim=1), look_ahead(rate), _forward, _backward)


def render(
    x: Samples,
    rate: float,
    state: LimiterState | None,
    *,
    gain_db: float,
    ceiling_db: float,
    release_ms: float,
) -> tuple[Samples, LimiterState]:
    """Limit a block (channel, time); the output is late by `look_ahead(rate)` samples."""
    p = np.array((db_to_amplitude(gain_db), db_to_amplitude(ceiling_db), time_constant(release_ms, rate)))
    length = look_ahead(rate)
    if state is None:
        state = LimiterState(np.zeros((x.shape[0], length), dtype=x.dtype), *_rest(length), 0)
    joined = np.concatenate((state.late, x), axis=1)
    window, running = state.window.copy(), state.running.copy()
    y = np.empty_like(x, order="C")
    position = _run_block(joined, p, window, running, state.position, y)
    return y, LimiterState(joined[:, x.shape[1] :].copy(), window, running, position)


EFFECT = Effect(
    name="limiter",
    summary="Look-ahead peak limiter with an exact ceiling",
    params=(
        Param("gain_db", "dB", 0.0, 24.0, 0.0, help="drive into the limiter"),
        Param("ceiling_db", "dB", -24.0, 0.0, -0.3, help="no sample is louder than this"),
        Param("release_ms", "ms", 5.0, 1000.0, 100.0, "log", "time to recover 63 % after a peak"),
    ),
    forward=forward,
    render=render,
    # Both forms run the same kernels in float64.
    tolerance_db=-120.0,
    latency=lambda rate, settings: look_ahead(rate),
)
