"""Feed-forward compressor: linked peak detector with attack and release, soft knee, make-up gain.

    a_c[n] = (1 - link) |x_c[n]| + link max_k |x_k[n]|
    e_c[n] = k e_c[n-1] + (1 - k) a_c[n],   k = k_attack if a_c[n] > e_c[n-1] else k_release
    G_c[n] = (1/R - 1) h(20 log10 e_c[n] - T) + M                                       (dB)
    y_c[n] = 10^(G_c[n]/20) x_c[n]

    h(d) = 0 below -W/2,   (d + W/2)^2 / (2 W) within the knee,   d above W/2

Static curve: Giannoulis, Massberg & Reiss, "Digital dynamic range compressor design", JAES 60(6), 2012,
eq. 4. Detector: the *level* is smoothed, in the linear domain, as juce::dsp::Compressor does; with knee 0,
link 0 and make-up 0 the law is pedalboard's. Times are to 63 % of a step (fxstyle.units.time_constant);
JUCE's k = exp(-2 pi 1000 / (rate t)), so the same compressor there is set to pedalboard_ms = 2 pi t.

Adjoint, with lambda the gradient of e and k_n the coefficient that was used:

    lambda[n] = k_(n+1) lambda[n+1] + dL/dG (1/R - 1) h'(d) 20 / (ln 10 e[n])
    dL/da[n] = (1 - k_n) lambda[n],   dL/dk += lambda[n] (e[n-1] - a[n])

The backward pass recomputes e from states kept every BLOCK samples. Both logarithm and power are the
polynomials below (relative error under 2e-11), which run in SIMD lanes where libm's do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numba import njit, prange

from fxstyle.effect import Effect, Samples
from fxstyle.levels import DB_PER_NEPER, amplitudes, decibels, rectify
from fxstyle.param import Param
from fxstyle.recurrence import BLOCK, TINY, Floats, own
from fxstyle.units import time_constant

if TYPE_CHECKING:
    from fxstyle.features.measure import Measurement, Vector

_THRESHOLD_DB = Param("threshold_db", "dB", -60.0, 0.0, -18.0, help="level above which it turns down")
_START_RATIO_LIMIT = 8.0
_LEAST_SPREAD_DB = 0.5
"""A steadier reference than this is a test tone; dividing by it would ask for any ratio."""

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


def forward(
    x: torch.Tensor,
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
    """Compress each row of (batch, channel, time) by its own settings."""
    attack = time_constant(attack_ms.double(), rate)
    release = time_constant(release_ms.double(), rate)
    columns = (threshold_db, 1.0 / ratio.double() - 1.0, knee_db, makeup_db, link, attack, release)
    settings = torch.stack([column.double() for column in columns], dim=1)
    return _Compress.apply(x, settings)  # type: ignore[no-any-return, no-untyped-call]


def render(
    x: Samples,
    rate: float,
    state: Floats | None,
    *,
    threshold_db: float,
    ratio: float,
    attack_ms: float,
    release_ms: float,
    knee_db: float,
    makeup_db: float,
    link: float,
) -> tuple[Samples, Floats]:
    """Compress a block (channel, time); the state is the smoothed level of each channel."""
    attack, release = time_constant(attack_ms, rate), time_constant(release_ms, rate)
    p = np.array((threshold_db, 1.0 / ratio - 1.0, knee_db, makeup_db, link, attack, release))
    level = np.zeros(x.shape[0]) if state is None else state.copy()
    y = np.empty_like(x, order="C")
    _run(own(x), p, level, y, _KEEP_NOTHING)
    return y, level


def gain_db(level_db: Vector, settings: Mapping[str, float]) -> Vector:
    """Static curve: gain in dB, make-up included, at each steady peak level in dB."""
    level = np.ascontiguousarray(level_db, dtype=np.float64)
    gain = np.empty_like(level)
    slope = 1.0 / settings["ratio"] - 1.0
    p = np.array((settings["threshold_db"], slope, settings["knee_db"], settings["makeup_db"], 0.0, 0.0, 0.0))
    _curve(level, gain, p, level.size)
    return gain


def start(source: Measurement, reference: Measurement) -> dict[str, float]:
    """Threshold and ratio that narrow the source's distribution of levels to the reference's.

    Above a threshold at the source's median a ratio R divides the distance of the 95th percentile from
    the median by R; so R is the ratio of both distances. A reference that is no less dynamic asks for none.
    """
    from fxstyle.features.measure import LEVEL_QUANTILES

    middle, high = LEVEL_QUANTILES.index(0.5), LEVEL_QUANTILES.index(0.95)
    ours = float(source.level_quantiles_db[high] - source.level_quantiles_db[middle])
    theirs = float(reference.level_quantiles_db[high] - reference.level_quantiles_db[middle])
    ratio = min(max(ours / max(theirs, _LEAST_SPREAD_DB), 1.0), _START_RATIO_LIMIT)
    threshold_db = min(max(float(source.level_quantiles_db[middle]), _THRESHOLD_DB.low), _THRESHOLD_DB.high)
    return {"threshold_db": threshold_db, "ratio": ratio, "makeup_db": 0.0}


EFFECT = Effect(
    name="compressor",
    summary="Compressor with attack, release, soft knee and stereo link",
    params=(
        _THRESHOLD_DB,
        Param("ratio", ":1", 1.0, 20.0, 3.0, "log", "dB in for one dB out above the threshold; 1 is off"),
        Param("attack_ms", "ms", 0.05, 200.0, 10.0, "log", "time to follow 63 % of a rise"),
        Param("release_ms", "ms", 5.0, 2000.0, 120.0, "log", "time to follow 63 % of a fall"),
        Param("knee_db", "dB", 0.0, 18.0, 6.0, help="width of the bend around the threshold; 0 is a corner"),
        Param("makeup_db", "dB", -12.0, 24.0, 0.0, help="level after compression"),
        Param("link", "", 0.0, 1.0, 1.0, help="how far the loudest channel turns down all; 0 each its own"),
    ),
    forward=forward,
    render=render,
    # Both forms run the same kernel in float64.
    tolerance_db=-120.0,
    start=start,
)
