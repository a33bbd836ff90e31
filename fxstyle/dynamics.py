"""Dynamics: level detector with attack and release, static curve, gain; and their exact adjoint.

    a_c[n] = (1 - link) |x_c[n]| + link max_k |x_k[n]|
    e_c[n] = k e_c[n-1] + (1 - k) a_c[n],   k = k_attack if a_c[n] > e_c[n-1] else k_release
    G_c[n] = (1/R - 1) h(20 log10 e_c[n] - T) + M                                       (dB)
    y_c[n] = 10^(G_c[n]/20) x_c[n]

    h(d) = 0 below -W/2,   (d + W/2)^2 / (2 W) within the knee,   d above W/2

Adjoint, with lambda the gradient of e and k_n the coefficient that was used:

    lambda[n] = k_(n+1) lambda[n+1] + dL/dG (1/R - 1) h'(d) 20 / (ln 10 e[n])
    dL/da[n] = (1 - k_n) lambda[n],   dL/dk += lambda[n] (e[n-1] - a[n])

The backward pass recomputes e from states kept every BLOCK samples. Both logarithm and power are the
polynomials of fxstyle.levels (relative error under 2e-11), which run in SIMD lanes where libm's do not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit, prange

from fxstyle.effect import Samples
from fxstyle.levels import DB_PER_NEPER, amplitudes, decibels, rectify
from fxstyle.recurrence import BLOCK, TINY, Floats, own
from fxstyle.units import time_constant

_KEEP_NOTHING = np.empty((0, 0))

# Columns of the settings as the kernels take them.
_THRESHOLD, _SLOPE, _KNEE, _MAKEUP, _LINK, _ATTACK, _RELEASE = range(7)


@njit(cache=True, nogil=True, error_model="numpy")
def _block() -> Floats:
    return np.empty(BLOCK)


@njit(cache=True, nogil=True, error_model="numpy")
def _detect(a: Floats, e: Floats, attack: float, release: float, last: float, size: int) -> float:
    """Fill e[0:size] with the smoothed level and return its last value.

    Without a branch: of both candidates the larger if attack <= release, else the smaller.
    """
    for n in range(size):
        rising = attack * last + (1.0 - attack) * a[n]
        falling = release * last + (1.0 - release) * a[n]
        if attack <= release:
            last = rising if rising > falling else falling
        else:
            last = rising if rising < falling else falling
        e[n] = last
    return last


@njit(cache=True, nogil=True, error_model="numpy")
def _curve(level: Floats, gain: Floats, p: Floats, size: int) -> None:
    """Fill `gain` (dB) from `level` (dB): the static curve and the make-up gain."""
    threshold, slope, knee, makeup = p[_THRESHOLD], p[_SLOPE], p[_KNEE], p[_MAKEUP]
    half = 0.5 * knee
    inverse = 0.5 / knee if knee > 0.0 else 0.0
    for n in range(size):
        d = level[n] - threshold
        above = d - half if d > half else 0.0
        within = d + half if d + half > 0.0 else 0.0
        within = within if within < knee else knee
        gain[n] = slope * (within * within * inverse + above) + makeup


@njit(cache=True, nogil=True, error_model="numpy")
def _run(x: Samples, p: Floats, last: Floats, y: Samples, kept: Floats) -> None:
    """Compress (channel, time) into `y`; `last` (channel,) moves on, and is kept at every BLOCK.

    `kept` (block, channel) may be empty. With link 1 all channels have one and the same gain.
    """
    channels, length = x.shape
    lanes = 1 if p[_LINK] == 1.0 else channels
    a, e, gain, scratch = _block(), _block(), _block(), _block()
    for begin in range(0, length, BLOCK):
        size = min(BLOCK, length - begin)
        for c in range(channels):
            if begin // BLOCK < kept.shape[0]:
                kept[begin // BLOCK, c] = last[c]
            if c < lanes:
                rectify(x, begin, p[_LINK], c, a, size)
                last[c] = _detect(a, e, p[_ATTACK], p[_RELEASE], last[c], size)
                decibels(e, a, scratch, size)
                _curve(a, e, p, size)
                amplitudes(e, gain, scratch, size)
            else:
                last[c] = last[0]
            for n in range(size):
                y[c, begin + n] = gain[n] * x[c, begin + n]


# Reassociation lets the four sums run in SIMD lanes; nothing here tests for NaN.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "nsz"})
def _curve_adjoint(
    dgain: Floats, level: Floats, e: Floats, p: Floats, de: Floats, size: int, dp: Floats
) -> None:
    """Fill `de` from the gradient `dgain` of the gain in dB, and add to dp."""
    threshold, slope, knee = p[_THRESHOLD], p[_SLOPE], p[_KNEE]
    half = 0.5 * knee
    inverse = 0.5 / knee if knee > 0.0 else 0.0
    dslope = dthreshold = dknee = dmakeup = 0.0
    for n in range(size):
        d = level[n] - threshold
        above = d - half if d > half else 0.0
        within = d + half if d + half > 0.0 else 0.0
        within = within if within < knee else knee
        ramp = 2.0 * within * inverse
        steep = slope * dgain[n] * (1.0 if d > half else ramp)
        dslope += dgain[n] * (within * within * inverse + above)
        dthreshold -= steep
        # dh/dW = u/(2W) - u^2/(2W^2), which vanishes on both sides of the knee
        dknee += dgain[n] * slope * 0.5 * ramp * (1.0 - ramp)
        dmakeup += dgain[n]
        de[n] = steep * DB_PER_NEPER / e[n]
    dp[_SLOPE] += dslope
    dp[_THRESHOLD] += dthreshold
    dp[_KNEE] += dknee
    dp[_MAKEUP] += dmakeup


@njit(cache=True, nogil=True, error_model="numpy")
def _detect_adjoint(
    de: Floats, a: Floats, e: Floats, first: float, p: Floats, carry: float, size: int, dp: Floats
) -> float:
    """Turn `de` in place into the gradient of a, add to dp, and return what flows to the block before."""
    attack, release = p[_ATTACK], p[_RELEASE]
    dattack = dboth = 0.0
    for n in range(size - 1, -1, -1):
        total = de[n] + carry
        before = e[n - 1] if n > 0 else first
        rises = a[n] > before
        k = attack if rises else release
        moved = total * (before - a[n])
        dboth += moved
        dattack += moved if rises else 0.0
        carry = k * total
        de[n] = total - carry
    dp[_ATTACK] += dattack
    dp[_RELEASE] += dboth - dattack
    return carry if abs(carry) >= TINY else 0.0


# Reassociation as in _curve_adjoint.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "nsz"})
def _rectify_adjoint(
    da: Floats, x: Samples, begin: int, p: Floats, dx: Samples, size: int, dp: Floats
) -> None:
    """Add to dx and dp from da (channel, time), the gradient of the levels; |x| has slope 0 at 0."""
    link = p[_LINK]
    loudest, peak, total = np.zeros(size), np.zeros(size), np.zeros(size)
    for c in range(x.shape[0]):
        for n in range(size):
            level = float(abs(x[c, begin + n]))
            loudest[n] = c if level > peak[n] else loudest[n]
            peak[n] = level if level > peak[n] else peak[n]
            total[n] += da[c, n]
    dlink = 0.0
    for c in range(x.shape[0]):
        for n in range(size):
            value = float(x[c, begin + n])
            slope = (1.0 - link) * da[c, n] + (link * total[n] if loudest[n] == c else 0.0)
            dx[c, begin + n] += slope if value > 0.0 else (-slope if value < 0.0 else 0.0)
            dlink += da[c, n] * (peak[n] - abs(value))
    dp[_LINK] += dlink


@njit(cache=True, nogil=True, error_model="numpy")
def _run_adjoint(dy: Samples, x: Samples, p: Floats, kept: Floats, dx: Samples, dp: Floats) -> None:
    """Fill dx like x and add to dp (7,) from dy, all (channel, time); `kept` is from `_run`."""
    channels, length = x.shape
    a, e, level, gain, scratch = _block(), _block(), _block(), _block(), _block()
    da = np.empty((channels, BLOCK))
    carry = np.zeros(channels)
    for begin in range((kept.shape[0] - 1) * BLOCK, -1, -BLOCK):
        size = min(BLOCK, length - begin)
        for c in range(channels):
            first = kept[begin // BLOCK, c]
            rectify(x, begin, p[_LINK], c, a, size)
            _detect(a, e, p[_ATTACK], p[_RELEASE], first, size)
            decibels(e, level, scratch, size)
            _curve(level, gain, p, size)
            amplitudes(gain, gain, scratch, size)
            for n in range(size):
                scaled = gain[n] * dy[c, begin + n]
                dx[c, begin + n] = scaled
                gain[n] = scaled * x[c, begin + n] * (1.0 / DB_PER_NEPER)
            _curve_adjoint(gain, level, e, p, da[c], size, dp)
            carry[c] = _detect_adjoint(da[c], a, e, first, p, carry[c], size, dp)
        _rectify_adjoint(da, x, begin, p, dx, size, dp)


@njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def _forward(x: Samples, p: Floats, level: Floats, y: Samples, kept: Floats) -> None:
    for row in prange(x.shape[0]):
        _run(x[row], p[row], level[row], y[row], kept[row])


@njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def _backward(dy: Samples, x: Samples, p: Floats, kept: Floats, dx: Samples, dp: Floats) -> None:
    for row in prange(x.shape[0]):
        _run_adjoint(dy[row], x[row], p[row], kept[row], dx[row], dp[row])


class _Compress(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, settings: torch.Tensor) -> torch.Tensor:
        samples, p = x.detach().contiguous(), settings.detach().contiguous()
        batch, channels, length = samples.shape
        y = torch.empty_like(samples)
        kept = torch.empty((batch, -(-length // BLOCK), channels), dtype=torch.float64)
        level = np.zeros((batch, channels))
        _forward(samples.numpy(), p.numpy(), level, y.numpy(), kept.numpy())
        ctx.save_for_backward(samples, p, kept)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, p, kept = ctx.saved_tensors
        dx, dp = torch.empty_like(x), torch.zeros_like(p)
        _backward(dy.contiguous().numpy(), x.numpy(), p.numpy(), kept.numpy(), dx.numpy(), dp.numpy())
        return dx, dp


def settings(
    rate: float,
    *,
    threshold_db: torch.Tensor,
    ratio: torch.Tensor,
    attack_ms: torch.Tensor,
    release_ms: torch.Tensor,
    knee_db: torch.Tensor,
    makeup_db: torch.Tensor,
    link: torch.Tensor,
) -> torch.Tensor:
    """Return what the kernels take, (batch, 7) in float64, from knobs of shape (batch,)."""
    attack = time_constant(attack_ms.double(), rate)
    release = time_constant(release_ms.double(), rate)
    columns = (threshold_db, 1.0 / ratio.double() - 1.0, knee_db, makeup_db, link, attack, release)
    return torch.stack([column.double() for column in columns], dim=1)


def compress(x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    """Compress each row of x (batch, channel, time) by its own `settings` p (batch, 7), differentiably."""
    return _Compress.apply(x, p)  # type: ignore[no-any-return, no-untyped-call]


def compress_block(x: Samples, p: Floats, level: Floats | None) -> tuple[Samples, Floats]:
    """Compress a block (channel, time) by settings p (7,); the state is each channel's smoothed level."""
    level = np.zeros(x.shape[0]) if level is None else level.copy()
    y = np.empty_like(x, order="C")
    _run(own(x), p, level, y, _KEEP_NOTHING)
    return y, level


def static_curve(level: Floats, p: Floats) -> Floats:
    """Return the gain in dB, make-up included, at each steady level in dB, any number of them."""
    gain = np.empty_like(level)
    _curve(level, gain, p, level.size)
    return gain
