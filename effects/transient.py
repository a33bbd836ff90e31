"""Transient shaper: three envelopes of the level whose ratios, whatever the level, set the gain.

    a_c[n] = (1 - link) |x_c[n]| + link max_k |x_k[n]|
    h[n] = max(a[n-L] .. a[n])                                       L samples are HOLD_MS
    f[n] = k f[n-1] + (1 - k) h[n]         k for FAST_RISE_MS where h[n] > f[n-1], else for FAST_FALL_MS
    q[n] = min(f[n], k_a q[n-1] + (1 - k_a) f[n])                    rises in attack_ms, falls with f
    r[n] = max(f[n], k_r r[n-1] + (1 - k_r) f[n])                    falls in release_ms, rises with f
    G[n] = attack (1 - q[n]/f[n]) + sustain (1 - f[n]/r[n]) + output (dB)
    y_c[n] = 10^(G[n]/20) x_c[n]

The idea is the differential envelope technology of SPL's Transient Designer, as its manual describes it:
an envelope that follows the sound, one that rises more slowly and one that falls more slowly; the first
two differ while a sound begins, the first and third while it dies away, and the difference drives the
gain, so that no threshold is needed. The circuit is not public; the equations are this module's own.

With D = 20 log10(f/q) the attack's share is 1 - 10^(-D/20), and likewise the sustain's. It rises with the
difference D in dB, by 0.115 per dB at first, but stays below 1: after silence D has no bound, and so
`attack` and `sustain` are the most by which the gain can change. An onset out of silence gets all of
`attack`, which is gone to 37 % after attack_ms. As G is made of ratios, scaling x scales y and nothing
else (to the bit for powers of two; down to TINY, -600 dB, below which all is silence). A steady tone has
f = q = r and is left alone: h is constant for a tone above 50 Hz, because it spans half a period.

Maxima as of van Herk (1992) and Gil & Werman (1993), over blocks of L + 1 samples: what is left of the
last block, what has come of this one. A maximum's derivative belongs to the latest of equals.

Adjoint, with a bar for the derivative and lambda, mu, nu those of f, q, r:

    mu[n] = -attack G'[n]/f + k_a [q[n] < f[n+1]] mu[n+1]
    nu[n] = sustain G'[n] f/r^2 + k_r [r[n] > f[n+1]] nu[n+1]
    lambda[n] = G'[n] (attack q/f^2 - sustain/r) + k_(n+1) lambda[n+1]
                + (1 - k_a [q[n-1] < f]) mu[n] + (1 - k_r [r[n-1] > f]) nu[n]
    k_a' += [q[n-1] < f] mu[n] (q[n-1] - f),   k_r' += [r[n-1] > f] nu[n] (r[n-1] - f)
    h'[n] = (1 - k_n) lambda[n], which goes to the a that is the maximum
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numba import njit, prange

from fxstyle.effect import Effect, Samples
from fxstyle.kernel import per_row
from fxstyle.levels import DB_PER_NEPER, amplitudes, hold_adjoint, rectify, rectify_adjoint
from fxstyle.param import Param
from fxstyle.recurrence import BLOCK, TINY, Floats, own
from fxstyle.units import ms_to_samples, time_constant

HOLD_MS = 10.0
"""Half a period at 50 Hz. Shorter, and the gain follows the waveform of a bass; longer, and it shapes
the first milliseconds of a decay late."""

FAST_RISE_MS = 1.0
"""Short against any attack that is heard as one, long enough to round off the crests of noise."""

FAST_FALL_MS = 10.0
"""Makes slopes of the steps in which a held maximum falls; short against the shortest release."""

# Columns of the settings as the kernels take them; the last two are of FAST_RISE_MS and FAST_FALL_MS.
_ATTACK_DB, _SUSTAIN_DB, _ATTACK, _RELEASE, _LINK, _OUTPUT, _RISE, _FALL = range(8)

# Columns of a channel's memory: f, q, r, and the largest a of this block of L + 1 samples.
_FAST, _SLOW, _LONG, _MOST = range(4)


class TransientState(NamedTuple):
    """What the shaper remembers.

    memory: (channel, 4). window: (channel, 2, L + 2) the last a by position in the block of L + 1 samples,
    and the suffix maxima of the last block, whose last entry is the maximum of nothing.
    position: samples of this block so far.
    """

    memory: Floats
    window: Floats
    position: int


@njit(cache=True, nogil=True, error_model="numpy")
def _follow(
    a: Floats, p: Floats, memory: Floats, window: Floats, position: int, size: int,
    h: Floats, f: Floats, q: Floats, r: Floats,
) -> None:  # fmt: skip
    """Fill h, f, q and r from a; move `memory` (4,) and `window` (2, L + 2) on.

    All in one loop, so that the latencies of the recursions hide behind each other.
    """
    rise, fall, attack, release = p[_RISE], p[_FALL], p[_ATTACK], p[_RELEASE]
    count = window.shape[1] - 1
    past, left = window[0], window[1]
    fast, slow, long, most = memory[_FAST], memory[_SLOW], memory[_LONG], memory[_MOST]
    for n in range(size):
        past[position] = a[n]
        most = a[n] if a[n] > most else most
        held = left[position + 1]
        held = held if held > most else most
        h[n] = held
        # Both lie between the old f and h; rise < fall, so the larger is the right one.
        rising = rise * fast + (1.0 - rise) * held
        falling = fall * fast + (1.0 - fall) * held
        fast = rising if rising > falling else falling
        f[n] = fast
        slower = attack * slow + (1.0 - attack) * fast
        slow = slower if slower < fast else fast
        q[n] = slow
        longer = release * long + (1.0 - release) * fast
        long = longer if longer > fast else fast
        r[n] = long
        position += 1
        if position == count:
            for i in range(count - 1, -1, -1):
                left[i] = past[i] if past[i] > left[i + 1] else left[i + 1]
            most, position = 0.0, 0
    memory[_FAST], memory[_SLOW], memory[_LONG], memory[_MOST] = fast, slow, long, most


@njit(cache=True, nogil=True, error_model="numpy")
def _gain_db(f: Floats, q: Floats, r: Floats, p: Floats, gain: Floats, size: int) -> None:
    """Fill `gain` in dB."""
    attack, sustain, output = p[_ATTACK_DB], p[_SUSTAIN_DB], p[_OUTPUT]
    for n in range(size):
        gain[n] = attack * (1.0 - q[n] / f[n]) + sustain * (1.0 - f[n] / r[n]) + output


@njit(cache=True, nogil=True, error_model="numpy")
def _run(x: Samples, p: Floats, memory: Floats, window: Floats, position: int, y: Samples) -> int:
    """Shape (channel, time) into `y`; move `memory` and `window` on, and return the new position.

    With link 1 all channels have one and the same gain, and only the first channel's memory moves on.
    """
    channels, length = x.shape
    lanes = 1 if p[_LINK] == 1.0 else channels
    a, h, f, q, r = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    for begin in range(0, length, BLOCK):
        size = min(BLOCK, length - begin)
        for c in range(channels):
            if c < lanes:
                rectify(x, begin, p[_LINK], c, a, size)
                _follow(a, p, memory[c], window[c], position, size, h, f, q, r)
                _gain_db(f, q, r, p, h, size)
                amplitudes(h, a, f, size)
            for n in range(size):
                y[c, begin + n] = a[n] * x[c, begin + n]
        position = (position + size) % (window.shape[2] - 1)
    return position


@njit(cache=True, nogil=True, error_model="numpy")
def _rest(channels: int, length: int) -> tuple[Floats, Floats]:
    """Memory and window of a stream that was silent so far."""
    return np.zeros((channels, 4)), np.zeros((channels, 2, length + 2))


@njit(cache=True, nogil=True, error_model="numpy")
def _follow_adjoint(g: Floats, p: Floats, h: Floats, f: Floats, q: Floats, r: Floats, dp: Floats) -> None:
    """Turn g in place from the gradient of the gain in dB into that of h, and add to dp."""
    attack, sustain = p[_ATTACK_DB], p[_SUSTAIN_DB]
    slow_carry = long_carry = fast_carry = 0.0
    for n in range(g.shape[0] - 1, -1, -1):
        before = n - 1
        fast_before, slow_before, long_before = 0.0, 0.0, 0.0
        if n > 0:
            fast_before, slow_before, long_before = f[before], q[before], r[before]
        begun, dying = q[n] / f[n], f[n] / r[n]
        dp[_ATTACK_DB] += g[n] * (1.0 - begun)
        dp[_SUSTAIN_DB] += g[n] * (1.0 - dying)
        dp[_OUTPUT] += g[n]
        slow = slow_carry - attack * g[n] / f[n]
        long = long_carry + sustain * g[n] * dying / r[n]
        slow_carry = p[_ATTACK] * slow if slow_before < f[n] else 0.0
        long_carry = p[_RELEASE] * long if long_before > f[n] else 0.0
        dp[_ATTACK] += slow * (slow_before - f[n]) if slow_before < f[n] else 0.0
        dp[_RELEASE] += long * (long_before - f[n]) if long_before > f[n] else 0.0
        fast = fast_carry + g[n] * (attack * begun / f[n] - sustain / r[n])
        fast += (slow - slow_carry) + (long - long_carry)
        fast_carry = (p[_RISE] if h[n] > fast_before else p[_FALL]) * fast
        g[n] = fast - fast_carry
        slow_carry = slow_carry if abs(slow_carry) >= TINY else 0.0
        long_carry = long_carry if abs(long_carry) >= TINY else 0.0
        fast_carry = fast_carry if abs(fast_carry) >= TINY else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _run_adjoint(dy: Samples, x: Samples, p: Floats, length: int, dx: Samples, dp: Floats) -> None:
    """Fill dx like x and add to dp (8,) from dy, all (channel, time)."""
    channels, size = x.shape
    a, h, f, q, r = np.empty(size), np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    g, gain, scratch, da = np.empty(size), np.empty(size), np.empty(size), np.empty((channels, size))
    for c in range(channels):
        memory, window = _rest(1, length)
        rectify(x, 0, p[_LINK], c, a, size)
        _follow(a, p, memory[0], window[0], 0, size, h, f, q, r)
        _gain_db(f, q, r, p, g, size)
        amplitudes(g, gain, scratch, size)
        for n in range(size):
            scaled = gain[n] * dy[c, n]
            dx[c, n] = scaled
            g[n] = scaled * x[c, n] / DB_PER_NEPER
        _follow_adjoint(g, p, h, f, q, r, dp)
        hold_adjoint(g, a, float(length), da[c])
    dp[_LINK] += rectify_adjoint(da, x, p[_LINK], dx)


@njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def _forward(x: Samples, p: Floats, length: int, y: Samples) -> None:
    for row in prange(x.shape[0]):
        memory, window = _rest(x.shape[1], length)
        _run(x[row], p[row], memory, window, 0, y[row])


@njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def _backward(dy: Samples, x: Samples, p: Floats, length: int, dx: Samples, dp: Floats) -> None:
    for row in prange(x.shape[0]):
        _run_adjoint(dy[row], x[row], p[row], length, dx[row], dp[row])


def _span(rate: float) -> int:
    """L."""
    return round(ms_to_samples(HOLD_MS, rate))


def forward(
    x: torch.Tensor,
    rate: float,
    *,
    attack_db: torch.Tensor,
    sustain_db: torch.Tensor,
    attack_ms: torch.Tensor,
    release_ms: torch.Tensor,
    link: torch.Tensor,
    output_db: torch.Tensor,
) -> torch.Tensor:
    """Shape each row of (batch, channel, time) by its own settings."""
    attack = time_constant(attack_ms.double(), rate)
    release = time_constant(release_ms.double(), rate)
    rise, fall = (torch.full_like(attack, time_constant(ms, rate)) for ms in (FAST_RISE_MS, FAST_FALL_MS))
    columns = (attack_db, sustain_db, attack, release, link, output_db, rise, fall)
    settings = torch.stack([column.double() for column in columns], dim=1)
    return per_row(x, settings, _span(rate), _forward, _backward)


def render(
    x: Samples,
    rate: float,
    state: TransientState | None,
    *,
    attack_db: float,
    sustain_db: float,
    attack_ms: float,
    release_ms: float,
    link: float,
    output_db: float,
) -> tuple[Samples, TransientState]:
    """Shape a block (channel, time)."""
    attack, release, rise, fall = (
        time_constant(time_ms, rate) for time_ms in (attack_ms, release_ms, FAST_RISE_MS, FAST_FALL_MS)
    )
    p = np.array((attack_db, sustain_db, attack, release, link, output_db, rise, fall))
    memory, window = _rest(x.shape[0], _span(rate))
    position = 0
    if state is not None:
        memory, window, position = state.memory.copy(), state.window.copy(), state.position
    y = np.empty_like(x, order="C")
    position = _run(own(x), p, memory, window, position, y)
    if link == 1.0:
        memory[1:], window[1:] = memory[:1], window[:1]
    return y, TransientState(memory, window, position)


_SPREAD = 0.12  # 4 dB

EFFECT = Effect(
    name="transient",
    summary="Transient shaper: attack and sustain, whatever the level",
    params=(
        Param("attack_db", "dB", -18.0, 18.0, 3.0, help="how onsets are raised or softened", spread=_SPREAD),
        Param(
            "sustain_db", "dB", -18.0, 18.0, 0.0, help="how what dies away is raised or cut", spread=_SPREAD
        ),
        Param("attack_ms", "ms", 2.0, 200.0, 25.0, "log", "how long an onset lasts", spread=0.2),
        Param("release_ms", "ms", 20.0, 2000.0, 250.0, "log", "how slowly the sustain sets in", spread=0.2),
        Param("link", "", 0.0, 1.0, 1.0, help="how far the loudest channel shapes all; 0 each its own"),
        Param("output_db", "dB", -18.0, 18.0, 0.0, help="level after shaping", spread=0.1),
    ),
    forward=forward,
    render=render,
    # Both forms run the same kernel in float64.
    tolerance_db=-120.0,
)
