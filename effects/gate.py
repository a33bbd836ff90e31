"""Noise gate and expander: turns down what is quieter than a threshold, such as spill, hum and room.

    a_c[n] = (1 - link) |x_c[n]| + link max_i |x_i[n]|      level of channel c, linked to the loudest
    v[n] = max(a[n]^2, z v[n-1] + (1 - z) a[n]^2)           its power: rises at once, falls in 8 ms
    w[n] = max(v[n-H] .. v[n])                              hold: the highest of the last hold_ms
    e[n] = k e[n-1] + (1 - k) sqrt w[n]                     attack and release
    G[n] = -min(range_db, (R - 1) h(T - 20 log10 e[n]))     gain in dB
    y_c[n] = 10^(G[n]/20) x_c[n]

    T, R    threshold_db, ratio: R dB out for one dB in below T
    h(d)    0 below -W/2,  (d + W/2)^2/(2 W) within the knee,  d above W/2;  W is knee_db
    k       of attack_ms if sqrt w[n] > e[n-1], else of release_ms: exp(-1000/(rate t)),
            63 % of a step in t ms (rate: samples per second)
    z       the same for t = 7.96 ms
    H       hold_ms in samples; for fractions, between the maxima of the two whole numbers beside it
    c, n    channel and sample

Attack opens, release shuts; both follow the level, not the gain. A ratio of 2 and a range of some 10 dB
make a room drier without being noticed; a ratio of 10 and a large range shut it off.

Curve: Giannoulis, Massberg & Reiss, "Digital dynamic range compressor design", JAES 60(6), 2012, eq. 4,
turned over. With hold, knee and link 0, and as long as the range is not used up, the law is that of
JUCE's dsp::NoiseGate, hence of pedalboard.NoiseGate, whose times are 2 pi as long.

Limits. There is no look-ahead, so the attack eats into the front of a hit: keep it short for drums. There
is one threshold, no second one to shut at: hold and release stop it from chattering. It follows no fall
faster than 0.55 dB per ms; a note below 90 Hz sinks by more than 3 dB between two of its crests, which
the hold bridges.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numba import njit

from fxstyle.device import lane_functions
from fxstyle.dsp.detector import link_adjoint
from fxstyle.dsp.follow import PAST, bring_past, follow, follow_adjoint
from fxstyle.dsp.hold import held, rest_of_hold
from fxstyle.dsp.kernel import each_row
from fxstyle.dsp.levels import DB_PER_NEPER, amplitudes, decibels, hold_adjoint, rectify, unrectify
from fxstyle.dsp.recurrence import BLOCK, Floats, own
from fxstyle.effect import Effect, Samples
from fxstyle.param import Param
from fxstyle.units import PEDALBOARD_TIME_RATIO, ms_to_samples, time_constant

DETECTOR_MS = 50.0 / PEDALBOARD_TIME_RATIO
"""JUCE's. As the energy falls by 63 % in this time, the level of a note falls by 3 dB at most between two
crests of its waveform if it lies above 90 Hz; below, the hold bridges them. The gate follows no fall
faster than 0.55 dB/ms, whatever its release."""

# A counter that keeps the gate open has no derivative; the largest energy of the last samples (dsp.hold)
# keeps it open as long, and has one. Nor is there hysteresis: with two thresholds the gain depends on which
# was crossed last, so it jumps where a crossing appears or vanishes, and has no subgradient there.

# Columns of the settings as the kernels take them; hold in samples.
_THRESHOLD, _SLOPE, _RANGE, _KNEE, _LINK, _ATTACK, _RELEASE, _HOLD = range(8)

# Rows of what the detector makes: the level's square, the energy v, the held level u = sqrt w, the level e.
_POWER, _ENERGY, _HELD, _LEVEL, _ROWS = range(5)


class GateState(NamedTuple):
    """What the gate remembers.

    past: (4, channel, PAST) the last samples of what the detector makes. window: (channel, 2, L + 2), see
    dsp.hold. position: samples of its block so far.
    """

    past: Floats
    window: Floats
    position: int


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
def _detect(
    x: Samples,
    begin: int,
    first: int,
    p: Floats,
    decay: float,
    made: Floats,
    window: Floats,
    position: int,
    size: int,
) -> int:
    """Fill `made` (4, lane, PAST + time + PAST) from x[:, begin:], move `window` on, return the position.

    first: the channel of the first lane.
    """
    lanes = made.shape[1]
    power, energy, level = made[_POWER], made[_ENERGY], made[_HELD]
    for c in range(lanes):
        a = power[c, PAST:]
        rectify(x, begin, p[_LINK], first + c, a, size)
        for n in range(size):
            a[n] = a[n] * a[n]
    follow(power, energy, 0.0, decay, size)
    moved = position
    for c in range(lanes):
        v, u = energy[c, PAST:], level[c, PAST:]
        if p[_HOLD] > 0.0:
            moved = held(v, p[_HOLD], window[c], position, u, size)
            for n in range(size):
                u[n] = math.sqrt(u[n])
        else:
            for n in range(size):
                u[n] = math.sqrt(v[n])
    follow(level, made[_LEVEL], p[_ATTACK], p[_RELEASE], size)
    return moved


@njit(cache=True, nogil=True, error_model="numpy")
def _depth(level: Floats, depth: Floats, p: Floats, size: int) -> None:
    """Fill `depth`, in dB and before the range ends it, from `level` in dB."""
    threshold, slope, knee = p[_THRESHOLD], p[_SLOPE], p[_KNEE]
    half = 0.5 * knee
    inverse = 0.5 / knee if knee > 0.0 else 0.0
    for n in range(size):
        d = threshold - level[n]
        above = d - half if d > half else 0.0
        within = d + half if d + half > 0.0 else 0.0
        within = within if within < knee else knee
        depth[n] = slope * (within * within * inverse + above)


@njit(cache=True, nogil=True, error_model="numpy")
def _gain(
    e: Floats, gain: Floats, level: Floats, p: Floats, limits: tuple[float, float, float], size: int
) -> None:
    """Fill `gain`, a factor, from the level e; level: room for it in dB."""
    open_at, shut_at, shut = limits
    not_open = not_shut = False
    for n in range(size):
        not_open |= e[n] < open_at
        not_shut |= e[n] > shut_at
    if not not_open or not not_shut:
        # The whole block is open, or shut: as below, sample by sample.
        for n in range(size):
            gain[n] = shut if not_open else 1.0
        return
    decibels(e, level, size)
    _depth(level, gain, p, size)
    for n in range(size):
        level[n] = -gain[n]
    amplitudes(level, gain, size)
    for n in range(size):
        factor = gain[n] if e[n] > shut_at else shut
        gain[n] = factor if e[n] < open_at else 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def _run(x: Samples, p: Floats, decay: float, past: Floats, window: Floats, position: int, y: Samples) -> int:
    """Gate (channel, time) into `y`; move `past` and `window` on, and return the new position.

    With link 1 all channels have one and the same gain, and only the first channel's memory moves on.
    """
    channels, length = x.shape
    lanes = 1 if p[_LINK] == 1.0 else channels
    limits = _limits(p)
    made, gain, room = np.zeros((_ROWS, lanes, BLOCK + 2 * PAST)), np.empty(BLOCK), np.empty(BLOCK)
    bring_past(past, 0, made, lanes)
    for begin in range(0, length, BLOCK):
        size = min(BLOCK, length - begin)
        position = _detect(x, begin, 0, p, decay, made, window, position, size)
        for c in range(channels):
            if c < lanes:
                _gain(made[_LEVEL, c, PAST:], gain, room, p, limits, size)
            source, out = x[c, begin:], y[c, begin:]
            for n in range(size):
                out[n] = gain[n] * source[n]
        bring_past(made, size, made, lanes)
    bring_past(made, 0, past, lanes)
    return position


# Reassociation lets the sums run in SIMD lanes; nothing here tests for NaN.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "nsz"})
def _gain_adjoint(
    g: Floats, e: Floats, level: Floats, p: Floats, limits: tuple[float, float, float], dp: Floats, size: int
) -> None:
    """Turn g, the gradient of the gain in dB, in place into that of e, and add to dp."""
    open_at, shut_at, _ = limits
    threshold, slope, knee = p[_THRESHOLD], p[_SLOPE], p[_KNEE]
    half = 0.5 * knee
    inverse = 1.0 / knee if knee > 0.0 else 0.0
    by_slope = by_threshold = by_knee = by_range = 0.0
    for n in range(size):
        d = threshold - level[n]
        beyond = d > half or knee == 0.0
        ramp = 1.0 if beyond else (d + half) * inverse
        h = d if beyond else 0.5 * knee * ramp * ramp
        down = -g[n] if e[n] < open_at else 0.0
        by_range += down if e[n] <= shut_at else 0.0
        down = down if e[n] > shut_at else 0.0
        by_slope += down * h
        by_threshold += down * slope * ramp
        # dh/dW = u/(2W) - u^2/(2W^2) within the knee, where u/W is the ramp; 0 beyond
        by_knee += down * slope * 0.5 * ramp * (1.0 - ramp)
        g[n] = -down * slope * ramp * DB_PER_NEPER / e[n]
    # A ratio of 1 never comes to its range. If there is none either, no ratio turns anything down.
    dp[_SLOPE] += by_slope if p[_RANGE] > 0.0 else 0.0
    dp[_THRESHOLD] += by_threshold
    dp[_KNEE] += by_knee
    dp[_RANGE] += by_range


@njit(cache=True, nogil=True, error_model="numpy")
def _run_adjoint(dy: Samples, x: Samples, p: Floats, decay: float, dx: Samples, dp: Floats) -> None:
    """Fill dx like x and add to dp (8,) from dy, all (channel, time).

    Adjoint, with a bar for the derivative, lambda that of e and mu that of v:

        lambda[n] = k_(n+1) lambda[n+1] + G'[n] (R - 1) h'(d) 20 / (ln 10 e[n])   until the range is used up
        w'[n] = (1 - k_n) lambda[n] / (2 sqrt w[n]),   k' += lambda[n] (e[n-1] - sqrt w[n])
        mu[n] = (what w' hands to the maximum at n) + k_d [v[n+1] falls] mu[n+1]
        a'[n] = 2 a[n] mu[n] (1 - k_d [v[n] falls])
    """
    channels, length = x.shape
    limits = _limits(p)
    made, carry = np.zeros((_ROWS, 1, length + 2 * PAST)), np.zeros(1)
    power, energy, held_level, level = made[_POWER], made[_ENERGY], made[_HELD], made[_LEVEL]
    gain, room, g, k = np.empty(BLOCK), np.empty(BLOCK), np.empty((1, length)), np.empty((1, length))
    da = np.empty((channels, length))
    for c in range(channels):
        if c == 0 or p[_LINK] != 1.0:
            _detect(x, 0, c, p, decay, made, rest_of_hold(1, p[_HOLD]), 0, length)
        for begin in range(0, length, BLOCK):
            size = min(BLOCK, length - begin)
            e, source, dsource = level[0, PAST + begin :], x[c, begin:], dx[c, begin:]
            toward, dgain = dy[c, begin:], g[0, begin:]
            _gain(e, gain, room, p, limits, size)
            for n in range(size):
                scaled = gain[n] * toward[n]
                dsource[n] = scaled
                dgain[n] = scaled * source[n] * (1.0 / DB_PER_NEPER)
            decibels(e, gain, size)
            _gain_adjoint(dgain, e, gain, p, limits, dp, size)
        carry[0] = 0.0
        rising, falling = follow_adjoint(g, held_level, level, p[_ATTACK], p[_RELEASE], carry, k, length)
        dp[_ATTACK] += rising
        dp[_RELEASE] += falling
        for n in range(length):
            g[0, n] *= 0.5 / held_level[0, PAST + n]
        dp[_HOLD] += hold_adjoint(g[0], energy[0, PAST : PAST + length], p[_HOLD], da[c])
        carry[0] = 0.0
        follow_adjoint(da[c : c + 1], power, energy, 0.0, decay, carry, k, length)
        for n in range(length):
            da[c, n] *= 2.0 * math.sqrt(power[0, PAST + n])
    dp[_LINK] += link_adjoint(da, x, 0, p[_LINK], np.empty((3, length)), length)
    for c in range(channels):
        unrectify(da[c], x[c], dx[c], length)


def _forward_row(x: Samples, p: Floats, decay: float, y: Samples) -> None:
    state = _at_rest(x.shape[0], p[_HOLD])
    _run(x, p, decay, *state, y)


def _at_rest(channels: int, hold: float) -> GateState:
    """Return the state of a stream that was silent so far."""
    return GateState(np.zeros((_ROWS, channels, PAST)), rest_of_hold(channels, hold), 0)


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
    if lane_functions.away(x):
        from fxstyle.device import envelopes

        return envelopes.gate(x, settings, time_constant(DETECTOR_MS, rate))
    decays = [time_constant(DETECTOR_MS, rate)] * x.shape[0]
    return each_row(x, settings, decays, _forward_row, _run_adjoint)


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
    past, window, position = _at_rest(x.shape[0], hold)
    if state is not None:
        past = state.past.copy()
        if state.window.shape == window.shape:
            window, position = state.window.copy(), state.position
        else:
            window[:, 0, -1] = past[_ENERGY, :, -1]
    y = np.empty_like(x, order="C")
    position = _run(own(x), p, time_constant(DETECTOR_MS, rate), past, window, position, y)
    if link == 1.0:
        past[:, 1:], window[1:] = past[:, :1], window[:1]
    return y, GateState(past, window, position)


EFFECT = Effect(
    name="gate",
    summary="Expander and noise gate with hold, soft knee, range and stereo link",
    params=(
        Param(
            "threshold_db", "dB", -80.0, 0.0, -50.0, spread=0.15,
            help="level below which it turns down; up: shuts more, soft notes too",
        ),
        Param(
            "ratio", ":1", 1.0, 20.0, 2.0, "log",
            "dB out for one dB in below the threshold; 2 is gentle, 20 a hard gate, 1 is off",
        ),
        Param(
            "range_db", "dB", 0.0, 80.0, 30.0,
            help="the most it turns down; up: silence, down: only softer, 0 is off",
        ),
        Param(
            "knee_db", "dB", 0.0, 18.0, 6.0,
            help="width of the bend around the threshold; up: gentler, 0 is a corner",
        ),
        Param(
            "attack_ms", "ms", 0.05, 200.0, 1.0, "log",
            "how fast it opens; down: keeps the front of a hit, up: fades in", spread=0.2,
        ),
        Param(
            "hold_ms", "ms", 0.0, 250.0, 30.0, spread=0.1,
            help="how long it stays open after the sound; up: fewer flutters, longer tails",
        ),
        Param(
            "release_ms", "ms", 5.0, 2000.0, 120.0, "log",
            "how fast it shuts; down: abrupt, up: fades out", spread=0.2,
        ),
        Param(
            "link", "", 0.0, 1.0, 1.0,
            help="1: the loudest channel opens all, the picture stays; 0: each its own",
        ),
    ),
    forward=forward,
    render=render,
    # Both forms run the same kernel in float64.
    tolerance_db=-120.0,
    hosts={
        "pedalboard.NoiseGate": "hold_ms, knee_db and link 0, range_db out of reach, the same threshold and"
        " ratio, times 2 pi as long; its detector rounds to float32: null -83 to -127 dB"
    },
)  # fmt: skip
