"""Memoryless curves, oversampled: y = o D(f(d U(x))), with exact adjoints, each row with a curve of its own.

    tanh    f(u) = T,  T = tanh u                               slope  1 - f^2
    soft    f(u) = u - 4 u^3/27 for |u| < 3/2, else +-1         slope  1 - 4 u^2/9
    tube    f(u) = T/(1 + b T)                                  slope  (1 - b f)^2 - f^2,  df/db = -f^2
    fold    f(u) = sin u                                        slope  cos u

All have slope 1 at 0. The soft curve is J. O. Smith's cubic ("Physical audio signal processing", cubic
nonlinear distortion) scaled to reach 1: below |u| = 3/2 it makes a third harmonic and nothing else. The tube
is tanh(u + a) less its value at 0 and scaled to slope 1, b = tanh a (U. Zoelzer, DAFX, 2nd ed., 4.3: an
asymmetric curve has even harmonics); the addition theorem leaves one division. The fold is that of
sinusoidal waveshaping (M. Le Brun, JAES 27(4), 1979), whose harmonics are Bessel functions (Jacobi-Anger):
sin(d sin wt) = 2 sum_k J_{2k+1}(d) sin((2k+1) wt).

U and D raise and lower the rate by 2^J (fxstyle.dsp.oversample); J = 0 is the curve alone. The adjoint:

    dx = o d 2^J D(s),   s = f'(d U(x)) U(dy)/2^J,   dd = o sum s U(x),   do = sum f U(dy)/2^J

tanh is a rational function with a relative error of 1.2e-7, in float32 3.7e-7 with its rounding; sin and cos
are polynomials with errors of 2e-11 and 3e-10, in float32 1e-7 and 1.5e-7 plus that of the argument.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import njit

from fxstyle.dsp.kernel import each_channel
from fxstyle.dsp.oversample import (
    ENTRANCE,
    LANES,
    LATE,
    ROWS,
    STAGES,
    Signal,
    carry,
    down,
    load,
    passage,
    pieces,
    store,
    tile,
    up,
)
from fxstyle.dsp.recurrence import Floats, own
from fxstyle.effect import Samples

CURVES = ("tanh", "soft", "tube", "fold")
_TANH, _SOFT, _TUBE, _FOLD = range(4)

TANH_LIMIT = 8.3
"""1 - tanh(8.3) = 1.2e-7: the argument is clamped there, two float32 steps from 1."""

# tanh(x)/x as a ratio of polynomials in x^2 on [0, TANH_LIMIT], lowest power first: numerator, denominator.
# Found by Lawson's iteration for the least maximum relative error, 9.4e-9.
_N = (0.999999990673, 0.134258699149, 0.0035491684921, 2.15084852275e-05, 1.46482455327e-08)
_D = (1.0, 0.467591947437, 0.0260799471942, 3.37394939492e-4, 8.29510271641e-07)

SOFT_LIMIT = 1.5
_CUBE = 4.0 / 27.0

# sin(r)/r and cos(r) as polynomials in r^2 on [0, (pi/2)^2], lowest power first, through the nodes of
# Chebyshev's polynomial, which is within a few per cent of the least maximum error.
_S = (0.9999999999829191, -0.16666666616815567, 0.008333330974207583, -1.9840861179319552e-4,
      2.752526981229885e-06, -2.3889217773452806e-08)  # fmt: skip
_C = (0.999999999779154, -0.4999999935543786, 0.04166663615972319, -0.0013888360284403018,
      2.4760109673159873e-05, -2.6050657493719744e-07)  # fmt: skip

_HALF_TURN = 0.5 * math.pi
_TURN_HIGH = 3.140625  # of pi: eleven bits, so that its product with a whole number of half turns is exact
_TURN_LOW = math.pi - _TURN_HIGH
_ROUND_32, _ROUND_64 = 1.5 * 2.0**23, 1.5 * 2.0**52  # adding and subtracting it rounds to the nearest integer

COLUMNS = 5
"""Of the settings: drive d, output o, bias b, number of the curve, J. The last two have no gradient."""

_DRIVE, _OUTPUT, _BIAS, _CURVE, _STAGES = range(COLUMNS)

LONGEST = 2 * LATE[STAGES]
"""Samples of the past that a stream keeps, enough for every J."""

DIRECT = 2048
"""Samples per pass without oversampling: in and out stay in the first-level cache."""


@njit(cache=True, nogil=True, error_model="numpy")
def _wave(x: Signal, drive: float, sine: bool, out: Signal) -> None:
    """Write the sine or the cosine of drive x: of r = u - k pi, |r| <= pi/2, turned over where k is odd."""
    real = x.dtype.type
    gain, half, one, four = real(drive), real(0.5), real(1.0), real(4.0)
    turns, high, low, limit = real(1.0 / math.pi), real(_TURN_HIGH), real(_TURN_LOW), real(_HALF_TURN)
    to_whole = real(_ROUND_32 if x.itemsize == 4 else _ROUND_64)
    p = _S if sine else _C
    p0, p1, p2, p3, p4, p5 = real(p[0]), real(p[1]), real(p[2]), real(p[3]), real(p[4]), real(p[5])
    for i in range(out.size):
        u = gain * x[i]
        k = (u * turns + to_whole) - to_whole
        odd = half * k - ((half * k + to_whole) - to_whole)  # 0 or +-1/2
        r = min(max((u - k * high) - k * low, -limit), limit)  # clamped, for arguments too large to reduce
        z = r * r
        even = p0 + z * (p1 + z * (p2 + z * (p3 + z * (p4 + z * p5))))
        out[i] = (one - four * abs(odd)) * even * (r if sine else one)


@njit(cache=True, nogil=True, error_model="numpy")
def curve(kind: int, x: Signal, drive: float, bias: float, out: Signal) -> None:
    """Write f(drive x) in the type of the arrays; out is another array, or the lanes stand idle."""
    real = x.dtype.type
    gain = real(drive)
    if kind == _FOLD:
        _wave(x, drive, True, out)
    elif kind == _SOFT:
        limit, cube = real(SOFT_LIMIT), real(_CUBE)
        for i in range(out.size):
            v = min(max(gain * x[i], -limit), limit)
            out[i] = v - cube * v * v * v
    else:
        limit, b = real(TANH_LIMIT), real(bias if kind == _TUBE else 0.0)
        n0, n1, n2, n3, n4 = real(_N[0]), real(_N[1]), real(_N[2]), real(_N[3]), real(_N[4])
        d0, d1, d2, d3, d4 = real(_D[0]), real(_D[1]), real(_D[2]), real(_D[3]), real(_D[4])
        for i in range(out.size):
            v = min(max(gain * x[i], -limit), limit)
            z = v * v
            numerator = v * (n0 + z * (n1 + z * (n2 + z * (n3 + z * n4))))
            denominator = d0 + z * (d1 + z * (d2 + z * (d3 + z * d4)))
            out[i] = numerator / (denominator + b * numerator)


@njit(cache=True, nogil=True, error_model="numpy")
def slope(kind: int, x: Signal, drive: float, bias: float, f: Signal, out: Signal) -> None:
    """Write f'(drive x), given f(drive x)."""
    real = x.dtype.type
    gain, one = real(drive), real(1.0)
    if kind == _FOLD:
        _wave(x, drive, False, out)
    elif kind == _SOFT:
        limit, square = real(SOFT_LIMIT), real(3.0 * _CUBE)
        for i in range(out.size):
            v = min(max(gain * x[i], -limit), limit)
            out[i] = one - square * v * v
    else:
        b = real(bias if kind == _TUBE else 0.0)
        for i in range(out.size):
            out[i] = (one - b * f[i]) * (one - b * f[i]) - f[i] * f[i]


@njit(cache=True, nogil=True, error_model="numpy")
def _run(
    x: Signal,
    past: Signal,
    late: int,
    p: Floats,
    lower: Signal,
    evens: Signal,
    odds: Signal,
    rows: Signal,
    y: Signal,
) -> None:
    """Fill y[n] with the module's y[n - late]; before x comes `past`, and beyond both zero.

    lower, evens, odds: a `passage` each. rows: ROWS << J - 1 of them.
    """
    kind, stages = int(p[_CURVE]), int(p[_STAGES])
    scale = y.dtype.type(p[_OUTPUT] / (1 << stages))
    if stages == 0:
        for begin in range(0, y.size, DIRECT):
            out = y[begin : begin + DIRECT]
            curve(kind, x[begin:], p[_DRIVE], p[_BIAS], out)
            for n in range(out.size):
                out[n] *= scale
        return
    early, step = 2 * LATE[stages], pieces(y.size)
    given, even_out, odd_out = (
        lower[ENTRANCE:],
        evens[evens.size - rows.size :],
        odds[odds.size - rows.size :],
    )
    for begin in range(-early, step, ROWS):
        load(x, past, begin + early // 2 - late, step, given[: ROWS * LANES])
        even = up(lower, stages, rows)
        curve(kind, even, p[_DRIVE], p[_BIAS], even_out)
        curve(kind, rows, p[_DRIVE], p[_BIAS], odd_out)
        down(evens, odds, stages, rows)
        for k in range(ROWS * LANES):
            rows[k] *= scale
        store(rows, begin, step, max(-begin, 0), min(ROWS, step - begin), y)
        carry(lower, stages)
        carry(evens, stages)
        carry(odds, stages)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _sums(x: Signal, f: Signal, slopes: Signal, g: Signal, first: int, last: int, sums: Floats) -> None:
    """Multiply g by the slope; add sum x f' g, sum f g and -sum f^2 g over [first, last).

    The order of the sums is left to the compiler: they are gradients, not sound.
    """
    zero = x.dtype.type(0.0)
    by_drive, by_output, by_bias = zero, zero, zero
    counted_x, counted_f, counted_g = x[first:last], f[first:last], g[first:last]
    for i in range(counted_g.size):
        by_output += counted_f[i] * counted_g[i]
        by_bias += counted_f[i] * counted_f[i] * counted_g[i]
    for i in range(g.size):
        g[i] *= slopes[i]
    for i in range(counted_g.size):
        by_drive += counted_x[i] * counted_g[i]
    sums[_DRIVE] += by_drive
    sums[_OUTPUT] += by_output
    sums[_BIAS] -= by_bias


@njit(cache=True, nogil=True, error_model="numpy")
def _back(
    kind: int, x: Signal, g: Signal, p: Floats, f: Signal, s: Signal, first: int, last: int, sums: Floats
) -> None:
    """Multiply g by f'(drive x), and add to `sums`; f, s: room for as many."""
    curve(kind, x, p[_DRIVE], p[_BIAS], f)
    slope(kind, x, p[_DRIVE], p[_BIAS], f, s)
    _sums(x, f, s, g, first, last, sums)


@njit(cache=True, nogil=True, error_model="numpy")
def _run_adjoint(
    dy: Signal,
    x: Signal,
    p: Floats,
    lower: Signal,
    lower_g: Signal,
    evens: Signal,
    odds: Signal,
    room: Floats,
    dx: Signal,
    dp: Floats,
) -> None:
    """Fill dx and add to dp (drive, output, bias). lower .. odds: a `passage` each. room: (4, ..)."""
    kind, stages = int(p[_CURVE]), int(p[_STAGES])
    share = 1.0 / (1 << stages)
    scale = x.dtype.type(share * p[_OUTPUT] * p[_DRIVE])
    sums = np.zeros(COLUMNS)
    odd, odd_g, f, s = room[0], room[1], room[2], room[3]
    size = odd.size
    if stages == 0:
        for begin in range(0, x.size, size):
            u, g = x[begin : begin + size], dx[begin : begin + size]
            for n in range(u.size):
                g[n] = dy[begin + n]
            low = begin - begin  # a literal 0 would be compiled as a type of its own
            _back(kind, u, g, p, f[: u.size], s[: u.size], low, u.size, sums)
            for n in range(u.size):
                g[n] *= scale
    else:
        late = LATE[stages]
        # The filters ring on both sides of the signal, and that part reaches the output too.
        step = pieces(x.size + 2 * late)
        given, given_g = lower[ENTRANCE:], lower_g[ENTRANCE:]
        even_out, odd_out = evens[evens.size - size :], odds[odds.size - size :]
        for begin in range(-2 * late, step, ROWS):
            load(x, x[:0], begin, step, given[: ROWS * LANES])
            load(dy, x[:0], begin, step, given_g[: ROWS * LANES])
            even, even_g = up(lower, stages, odd), up(lower_g, stages, odd_g)
            for k in range(size):
                even_out[k] = even_g[k]
                odd_out[k] = odd_g[k]
            # Of the rows of one piece each is counted once: those the output is taken from.
            first, last = max(-begin, 0), min(step - begin, ROWS)
            low, high = min(first, ROWS) * LANES << stages - 1, last * LANES << stages - 1
            _back(kind, even, even_out, p, f, s, low, high, sums)
            _back(kind, odd, odd_out, p, f, s, low, high, sums)
            down(evens, odds, stages, odd)
            for k in range(ROWS * LANES):
                odd[k] *= scale
            store(odd, begin - late, step, first, last, dx)
            carry(lower, stages)
            carry(lower_g, stages)
            carry(evens, stages)
            carry(odds, stages)
    dp[_DRIVE] += share * p[_OUTPUT] * sums[_DRIVE]
    dp[_OUTPUT] += share * sums[_OUTPUT]
    dp[_BIAS] += share * p[_OUTPUT] * sums[_BIAS] if kind == _TUBE else 0.0


def _room(stages: int) -> int:
    """Return the rows of one half of a pass at the highest rate."""
    return ROWS << max(stages - 1, 0)


def _late(x: Signal, past: Signal, late: int, p: Floats, y: Signal) -> None:
    stages = int(p[_STAGES])
    lower, evens, odds = (passage(stages, x.dtype) for _ in range(3))
    _run(x, past, late, p, lower, evens, odds, tile(_room(stages), x.dtype), y)


def _forward(x: Signal, p: Floats, y: Signal) -> None:
    _late(x, x[:0], 0, p, y)


def _adjoint(dy: Signal, x: Signal, p: Floats, dx: Signal, dp: Floats) -> None:
    stages = int(p[_STAGES])
    lower, lower_g, evens, odds = (passage(stages, x.dtype) for _ in range(4))
    room = tile(4 * _room(stages), x.dtype).reshape(4, -1)
    _run_adjoint(dy, x, p, lower, lower_g, evens, odds, room, dx, dp)


def shape(x: torch.Tensor, settings: torch.Tensor) -> torch.Tensor:
    """Apply to each row of x (batch, channel, time) its own curve, differentiably, aligned with x.

    settings: (batch, COLUMNS) in float64: d, o, b, the number of the curve in CURVES, and J = 0 .. 3.
    """
    if x.device.type != "cpu":
        from fxstyle.device import shaper

        return shaper.shape(x, settings)
    each = settings[:, None].expand(-1, x.shape[1], -1)
    return each_channel(x, each, None, _forward, _adjoint)


def shape_block(x: Samples, settings: Floats, history: Samples | None) -> tuple[Samples, Samples]:
    """Apply a curve to a block (channel, time), late by LATE[J]; the state is the end of the input.

    settings: (COLUMNS,) as in `shape`. history: None at the beginning of a stream, then what the last call
    returned, whatever its J; it is not changed.
    """
    if history is None:
        history = np.zeros((x.shape[0], LONGEST), x.dtype)
    x, y = own(x), np.empty(x.shape, x.dtype)
    for channel in range(x.shape[0]):
        _late(x[channel], history[channel], LATE[int(settings[_STAGES])], settings, y[channel])
    kept = np.concatenate([history, x[:, -LONGEST:]], axis=1)
    return y, kept[:, kept.shape[1] - LONGEST :].copy()
