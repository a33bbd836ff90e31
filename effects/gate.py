"""Downward expander and noise gate: peak-holding detector, hold, attack and release, soft knee, range.

    a_c[n] = (1 - link) |x_c[n]| + link max_k |x_k[n]|
    v[n] = a[n]^2 + k_d max(v[n-1] - a[n]^2, 0)                      instant attack, release DETECTOR_MS
    w[n] = (1 - f) max(v[n-L] .. v[n]) + f max(v[n-L-1] .. v[n])     hold = L + f samples, 0 <= f < 1
    e[n] = k e[n-1] + (1 - k) sqrt w[n],   k = k_attack if sqrt w[n] > e[n-1] else k_release
    G[n] = -min(range, (R - 1) h(T - 20 log10 e[n]))                 (dB)
    y_c[n] = 10^(G[n]/20) x_c[n]

    h(d) = 0 below -W/2,   (d + W/2)^2 / (2 W) within the knee,   d above W/2

Static curve: Giannoulis, Massberg & Reiss, "Digital dynamic range compressor design", JAES 60(6), 2012,
eq. 4, turned over: below T, R dB out for one dB in. With hold, knee and link 0, and where the range is
not used up, the law is juce::dsp::NoiseGate's, which is pedalboard's: there DETECTOR_MS is 50, attack and
release are PEDALBOARD_TIME_RATIO times ours (fxstyle.units.time_constant; JUCE: exp(-2 pi 1000/(rate t))).

Hold. A counter that keeps the gate open has no derivative. The largest energy of the last `hold` samples
keeps it open as long, and has one: by the energy at the maximum (the latest of equals), and by the hold,
since w is continuous and piecewise linear in L + f (from the right at whole numbers). The maximum over
blocks of L + 1 samples (what is left of the last block, what has come of this one) is van Herk's (1992)
and Gil & Werman's (1993).

Hysteresis is left out: with two thresholds the gain depends on which was crossed last, so it jumps where
a crossing appears or vanishes, and has no subgradient there. Detector, hold and release stop chatter.

Adjoint, with a bar for the derivative, lambda that of e and mu that of v:

    lambda[n] = k_(n+1) lambda[n+1] + G'[n] (R - 1) h'(d) 20 / (ln 10 e[n])   where the range is not used up
    w'[n] = (1 - k_n) lambda[n] / (2 sqrt w[n]),   k' += lambda[n] (e[n-1] - sqrt w[n])
    mu[n] = (what w' hands to the maximum at n) + k_d [v[n+1] falls] mu[n+1]
    a'[n] = 2 a[n] mu[n] (1 - k_d [v[n] falls])
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numba import njit, prange

from fxstyle.effect import Effect, Samples
from fxstyle.kernel import per_row
from fxstyle.levels import DB_PER_NEPER, hold_adjoint, rectify, rectify_adjoint
from fxstyle.param import Param
from fxstyle.recurrence import BLOCK, TINY, Floats, own
from fxstyle.units import PEDALBOARD_TIME_RATIO, ms_to_samples, time_constant

DETECTOR_MS = 50.0 / PEDALBOARD_TIME_RATIO
"""JUCE's. As the energy falls by 63 % in this time, the level of a note falls by 3 dB at most between two
crests of its waveform if it lies above 90 Hz; below, the hold bridges them. The gate follows no fall
faster than 0.55 dB/ms, whatever its release."""

# Columns of the settings as the kernels take them; hold in samples.
_THRESHOLD, _SLOPE, _RANGE, _KNEE, _LINK, _ATTACK, _RELEASE, _HOLD = range(8)

# Columns of a channel's memory: energy v, level e, largest v of this block of L + 1 samples.
_ENERGY, _LEVEL, _MOST = range(3)


class GateState(NamedTuple):
    """What the gate remembers.

    memory: (channel, 3). window: (channel, 2, L + 2) the last energies by position in the block of L + 1
    samples, and the suffix maxima of the last block, whose last entry is the maximum of nothing.
    position: samples of this block so far.
    """

    memory: Floats
    window: Floats
    position: int


@njit(cache=True, nogil=True, error_model="numpy")
def _detect(
    a: Floats, p: Floats, decay: float, memory: Floats, window: Floats, position: int, size: int,
    v: Floats, u: Floats, e: Floats,
) -> None:  # fmt: skip
    """Fill v, u = sqrt w and e from a; move `memory` (3,) and `window` (2, L + 2) on.

    All in one loop, so that the latencies of the recursions hide behind each other.
    """
    attack, release, hold = p[_ATTACK], p[_RELEASE], p[_HOLD]
    count = int(hold) + 1
    share = hold - int(hold)
    past, left = window[0], window[1]
    energy, level, most = memory[_ENERGY], memory[_LEVEL], memory[_MOST]
    for n in range(size):
        now = a[n] * a[n]
        fallen = decay * energy + (1.0 - decay) * now
        energy = fallen if fallen > now else now
        v[n] = energy
        wide = energy
        if hold > 0.0:
            oldest = past[position]  # v[n-L-1]
            past[position] = energy
            most = energy if energy > most else most
            held = left[position + 1]
            held = held if held > most else most
            wide = held + share * ((oldest if oldest > held else held) - held)
            position += 1
            if position == count:
                for i in range(count - 1, -1, -1):
                    left[i] = past[i] if past[i] > left[i + 1] else left[i + 1]
                most, position = 0.0, 0
        value = math.sqrt(wide)
        u[n] = value
        rising = attack * level + (1.0 - attack) * value
        falling = release * level + (1.0 - release) * value
        # Both lie between the old level and the new: of the two the larger, or the smaller, is right.
        if attack <= release:
            level = rising if rising > falling else falling
        else:
            level = rising if rising < falling else falling
        e[n] = level
    memory[_ENERGY], memory[_LEVEL], memory[_MOST] = energy, level, most


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _bend(d: float, knee: float) -> tuple[float, float]:
    """h(d) and h'(d)."""
    if d > 0.5 * knee or knee == 0.0:
        return d, 1.0
    within = d + 0.5 * knee  # not below 0 wherever this is called, but for rounding
    return 0.5 * within * within / knee, within / knee


@njit(cache=True, nogil=True, error_model="numpy")
def _limits(p: Floats) -> tuple[float, float, float]:
    """Level above which the gate is open, that below which it is shut, and the gain when shut.

    Only in between a logarithm and a power are needed.
    """
    threshold, slope, most, knee = p[_THRESHOLD], p[_SLOPE], p[_RANGE], p[_KNEE]
    open_at = math.exp((threshold + 0.5 * knee) / DB_PER_NEPER)
    if slope == 0.0:
        return open_at, 0.0, 1.0
    below = most / slope
    if below < 0.5 * knee:
        below = math.sqrt(2.0 * knee * below) - 0.5 * knee
    return open_at, math.exp((threshold - below) / DB_PER_NEPER), math.exp(-most / DB_PER_NEPER)


@njit(cache=True, nogil=True, error_model="numpy")
def _gain(e: Floats, gain: Floats, p: Floats, size: int) -> None:
    """Fill `gain`, a factor, from the level e."""
    threshold, slope, knee = p[_THRESHOLD], p[_SLOPE], p[_KNEE]
    open_at, shut_at, shut = _limits(p)
    for n in range(size):
        if e[n] >= open_at:
            gain[n] = 1.0
        elif e[n] <= shut_at:
            gain[n] = shut
        else:
            h, _ = _bend(threshold - DB_PER_NEPER * math.log(e[n]), knee)
            gain[n] = math.exp(-slope * h / DB_PER_NEPER)


@njit(cache=True, nogil=True, error_model="numpy")
def _run(
    x: Samples, p: Floats, decay: float, memory: Floats, window: Floats, position: int, y: Samples
) -> int:
    """Gate (channel, time) into `y`; move `memory` and `window` on, and return the new position.

    With link 1 all channels have one and the same gain, and only the first channel's memory moves on.
    """
    channels, length = x.shape
    lanes = 1 if p[_LINK] == 1.0 else channels
    a, v, u, e = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    for begin in range(0, length, BLOCK):
        size = min(BLOCK, length - begin)
        for c in range(channels):
            if c < lanes:
                rectify(x, begin, p[_LINK], c, a, size)
                _detect(a, p, decay, memory[c], window[c], position, size, v, u, e)
                _gain(e, u, p, size)
            for n in range(size):
                y[c, begin + n] = u[n] * x[c, begin + n]
        position = (position + size) % (int(p[_HOLD]) + 1)
    return position


@njit(cache=True, nogil=True, error_model="numpy")
def _rest(channels: int, hold: float) -> tuple[Floats, Floats]:
    """Memory and window of a stream that was silent so far."""
    return np.zeros((channels, 3)), np.zeros((channels, 2, int(hold) + 2))


@njit(cache=True, nogil=True, error_model="numpy")
def _gain_adjoint(g: Floats, e: Floats, p: Floats, dp: Floats) -> None:
    """Turn g, the gradient of the gain in dB, in place into that of e, and add to dp."""
    threshold, slope, knee = p[_THRESHOLD], p[_SLOPE], p[_KNEE]
    open_at, shut_at, _ = _limits(p)
    for n in range(g.shape[0]):
        depth, g[n] = -g[n], 0.0
        if e[n] >= open_at:
            continue
        if e[n] <= shut_at:
            dp[_RANGE] += depth
            continue
        h, ramp = _bend(threshold - DB_PER_NEPER * math.log(e[n]), knee)
        dp[_SLOPE] += depth * h
        dp[_THRESHOLD] += depth * slope * ramp
        # dh/dW = u/(2W) - u^2/(2W^2) within the knee, where u/W is the ramp; 0 beyond
        dp[_KNEE] += depth * slope * 0.5 * ramp * (1.0 - ramp)
        g[n] = -depth * slope * ramp * DB_PER_NEPER / e[n]


@njit(cache=True, nogil=True, error_model="numpy")
def _smooth_adjoint(g: Floats, u: Floats, e: Floats, p: Floats, dp: Floats) -> None:
    """Turn g in place from the gradient of e into that of w = u^2, and add to dp."""
    carry = 0.0
    for n in range(g.shape[0] - 1, -1, -1):
        total = g[n] + carry
        before = e[n - 1] if n > 0 else 0.0
        column = _ATTACK if u[n] > before else _RELEASE
        dp[column] += total * (before - u[n])
        carry = p[column] * total
        g[n] = (total - carry) * 0.5 / u[n]
        carry = carry if abs(carry) >= TINY else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _energy_adjoint(g: Floats, a: Floats, v: Floats, decay: float) -> None:
    """Turn g in place from the gradient of v into that of a."""
    carry = 0.0
    for n in range(g.shape[0] - 1, -1, -1):
        total = g[n] + carry
        carry = decay * total if n > 0 and v[n - 1] > a[n] * a[n] else 0.0
        g[n] = 2.0 * a[n] * (total - carry)
        carry = carry if abs(carry) >= TINY else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _run_adjoint(dy: Samples, x: Samples, p: Floats, decay: float, dx: Samples, dp: Floats) -> None:
    """Fill dx like x and add to dp (8,) from dy, all (channel, time)."""
    channels, size = x.shape
    a, v, u, e, g = np.empty(size), np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    da = np.empty((channels, size))
    for c in range(channels):
        memory, window = _rest(1, p[_HOLD])
        rectify(x, 0, p[_LINK], c, a, size)
        _detect(a, p, decay, memory[0], window[0], 0, size, v, u, e)
        _gain(e, g, p, size)
        for n in range(size):
            scaled = g[n] * dy[c, n]
            dx[c, n] = scaled
            g[n] = scaled * x[c, n] / DB_PER_NEPER
        _gain_adjoint(g, e, p, dp)
        _smooth_adjoint(g, u, e, p, dp)
        dp[_HOLD] += hold_adjoint(g, v, p[_HOLD], da[c])
        _energy_adjoint(da[c], a, v, decay)
    dp[_LINK] += rectify_adjoint(da, x, p[_LINK], dx)


@njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def _forward(x: Samples, p: Floats, decay: float, y: Samples) -> None:
    for row in prange(x.shape[0]):
        memory, window = _rest(x.shape[1], p[row, _HOLD])
        _run(x[row], p[row], decay, memory, window, 0, y[row])


@njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def _backward(dy: Samples, x: Samples, p: Floats, decay: float, dx: Samples, dp: Floats) -> None:
    for row in prange(x.shape[0]):
        _run_adjoint(dy[row], x[row], p[row], decay, dx[row], dp[row])


def forward(
    x: torch.Tensor,
    rate: float,
    *,
    threshold_db: torch.Tensor,
    ratio: torch.Tensor,
    range_db: torch.Tensor,
    knee_db: torch.Tensor,
    attack_ms: torch.Tensor,
    hold_ms: torch.Tensor,
    release_ms: torch.Tensor,
    link: torch.Tensor,
) -> torch.Tensor:
    """Gate each row of (batch, channel, time) by its own settings."""
    attack = time_constant(attack_ms.double(), rate)
    release = time_constant(release_ms.double(), rate)
    hold = ms_to_samples(hold_ms.double(), rate)
    columns = (threshold_db, ratio.double() - 1.0, range_db, knee_db, link, attack, release, hold)
    settings = torch.stack([column.double() for column in columns], dim=1)
    return per_row(x, settings, time_constant(DETECTOR_MS, rate), _forward, _backward)


def render(
    x: Samples,
    rate: float,
    state: GateState | None,
    *,
    threshold_db: float,
    ratio: float,
    range_db: float,
    knee_db: float,
    attack_ms: float,
    hold_ms: float,
    release_ms: float,
    link: float,
) -> tuple[Samples, GateState]:
    """Gate a block (channel, time); a hold turned between two blocks forgets what it held."""
    attack, release = time_constant(attack_ms, rate), time_constant(release_ms, rate)
    hold = ms_to_samples(hold_ms, rate)
    p = np.array((threshold_db, ratio - 1.0, range_db, knee_db, link, attack, release, hold))
    memory, window = _rest(x.shape[0], hold)
    position = 0
    if state is not None:
        memory = state.memory.copy()
        if state.window.shape == window.shape:
            window, position = state.window.copy(), state.position
        else:
            memory[:, _MOST] = memory[:, _ENERGY]
    y = np.empty_like(x, order="C")
    position = _run(own(x), p, time_constant(DETECTOR_MS, rate), memory, window, position, y)
    if link == 1.0:
        memory[1:], window[1:] = memory[:1], window[:1]
    return y, GateState(memory, window, position)


EFFECT = Effect(
    name="gate",
    summary="Expander and noise gate with hold, soft knee, range and stereo link",
    params=(
        Param("threshold_db", "dB", -80.0, 0.0, -50.0, spread=0.15, help="level below which it turns down"),
        Param("ratio", ":1", 1.0, 20.0, 2.0, "log", "dB out for one dB in below the threshold; 1 is off"),
        Param("range_db", "dB", 0.0, 80.0, 30.0, help="the most it turns down; 0 is off"),
        Param("knee_db", "dB", 0.0, 18.0, 6.0, help="width of the bend around the threshold; 0 is a corner"),
        Param("attack_ms", "ms", 0.05, 200.0, 1.0, "log", "time to follow 63 % of a rise", spread=0.2),
        Param("hold_ms", "ms", 0.0, 250.0, 30.0, spread=0.1, help="how long it stays open after the sound"),
        Param("release_ms", "ms", 5.0, 2000.0, 120.0, "log", "time to follow 63 % of a fall", spread=0.2),
        Param("link", "", 0.0, 1.0, 1.0, help="how far the loudest channel opens all; 0 each its own"),
    ),
    forward=forward,
    render=render,
    # Both forms run the same kernel in float64.
    tolerance_db=-120.0,
)
