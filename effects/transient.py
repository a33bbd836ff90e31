"""Transient shaper: raises or softens the attack and the sustain of hits and notes, whatever their level.

    a_c[n] = (1 - link) |x_c[n]| + link max_i |x_i[n]|      level of channel c, linked to the loudest
    h[n] = max(a[n-H] .. a[n])                              the highest of the last 10 ms
    f[n] = k f[n-1] + (1 - k) h[n]                          follows: rises in 1 ms, falls in 10 ms
    q[n] = min(f[n], k_a q[n-1] + (1 - k_a) f[n])           rises more slowly, in attack_ms; falls with f
    r[n] = max(f[n], k_r r[n-1] + (1 - k_r) f[n])           falls more slowly, in release_ms; rises with f
    G[n] = attack_db (1 - q[n]/f[n]) + sustain_db (1 - f[n]/r[n]) + output_db               gain in dB
    y_c[n] = 10^(G[n]/20) x_c[n]

    k        of 1 ms where h[n] > f[n-1], else of 10 ms; k_a of attack_ms, k_r of release_ms:
             exp(-1000/(rate t)) for t in ms, 63 % of a step in that time (rate: samples per second)
    H        10 ms in samples, to the nearest
    c, i, n  channels and sample

While a sound begins, q lies below f; while it dies away, r lies above. Those two distances, not the
level, set the gain, so there is no threshold, and turning the input up or down changes nothing but the
level. A tone that stays as it is, f = q = r, is left alone if it is above 50 Hz, of which h spans half a
period.

attack_db and sustain_db are the most by which the gain can change. An onset out of silence gets all of
attack_db, of which 37 % are left after attack_ms. An onset that rises by D dB gets the share 1 -
10^(-D/20) of it at most: 50 % for 6 dB, 90 % for 20 dB; a sustain, likewise, by how far it has fallen.

The idea is the differential envelope technology of SPL's Transient Designer, as its manual describes it.
The circuit is not public; these equations are this effect's own.

Limits. Below 50 Hz the gain follows the waveform a little. The sustain sets in 10 ms after a sound has
begun to fall. There is no look-ahead: within a sound that goes on, an onset is noticed within 1 ms.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numba import njit

from fxstyle.device import lane_functions
from fxstyle.dsp.detector import link_adjoint
from fxstyle.dsp.follow import PAST, bring_past, follow, follow_adjoint
from fxstyle.dsp.hold import held, rest_of_hold
from fxstyle.dsp.kernel import each_row
from fxstyle.dsp.levels import DB_PER_NEPER, amplitudes, hold_adjoint, rectify, unrectify
from fxstyle.dsp.recurrence import BLOCK, Floats, own
from fxstyle.effect import Effect, Samples
from fxstyle.param import Param
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

# Rows of what the detector makes: h, f, q, r.
_HELD, _FAST, _SLOW, _LONG, _ROWS = range(5)


class TransientState(NamedTuple):
    """What the shaper remembers.

    past: (4, channel, PAST) the last samples of h, f, q, r. window: (channel, 2, L + 2), see dsp.hold.
    position: samples of its block so far.
    """

    past: Floats
    window: Floats
    position: int


@njit(cache=True, nogil=True, error_model="numpy")
def _detect(
    x: Samples, begin: int, first: int, p: Floats, made: Floats, window: Floats, position: int, a: Floats,
    size: int,
) -> int:  # fmt: skip
    """Fill `made` (4, lane, PAST + time + PAST) from x[:, begin:], move `window` on, return the position.

    first: the channel of the first lane. a (size,) becomes the level of the last lane.
    """
    moved = position
    for c in range(made.shape[1]):
        rectify(x, begin, p[_LINK], first + c, a, size)
        moved = held(a, float(window.shape[2] - 2), window[c], position, made[_HELD, c, PAST:], size)
    follow(made[_HELD], made[_FAST], p[_RISE], p[_FALL], size)
    follow(made[_FAST], made[_SLOW], p[_ATTACK], 0.0, size)
    follow(made[_FAST], made[_LONG], 0.0, p[_RELEASE], size)
    return moved


@njit(cache=True, nogil=True, error_model="numpy")
def _gain_db(f: Floats, q: Floats, r: Floats, p: Floats, gain: Floats, size: int) -> None:
    """Fill `gain` in dB; q is not above f, nor f above r, but for rounding, which is taken off."""
    attack, sustain, output = p[_ATTACK_DB], p[_SUSTAIN_DB], p[_OUTPUT]
    for n in range(size):
        begun, dying = q[n] / f[n], f[n] / r[n]
        begun = begun if begun < 1.0 else 1.0
        dying = dying if dying < 1.0 else 1.0
        gain[n] = attack * (1.0 - begun) + sustain * (1.0 - dying) + output


@njit(cache=True, nogil=True, error_model="numpy")
def _run(x: Samples, p: Floats, past: Floats, window: Floats, position: int, y: Samples) -> int:
    """Shape (channel, time) into `y`; move `past` and `window` on, and return the new position.

    With link 1 all channels have one and the same gain, and only the first channel's memory moves on.
    """
    channels, length = x.shape
    lanes = 1 if p[_LINK] == 1.0 else channels
    made, a = np.zeros((_ROWS, lanes, BLOCK + 2 * PAST)), np.empty(BLOCK)
    gain_db = np.empty(BLOCK)
    bring_past(past, 0, made, lanes)
    for begin in range(0, length, BLOCK):
        size = min(BLOCK, length - begin)
        position = _detect(x, begin, 0, p, made, window, position, a, size)
        for c in range(channels):
            if c < lanes:
                f, q, r = made[_FAST, c, PAST:], made[_SLOW, c, PAST:], made[_LONG, c, PAST:]
                _gain_db(f, q, r, p, gain_db, size)
                amplitudes(gain_db, a, size)
            source, out = x[c, begin:], y[c, begin:]
            for n in range(size):
                out[n] = a[n] * source[n]
        bring_past(made, size, made, lanes)
    bring_past(made, 0, past, lanes)
    return position


# Reassociation lets the sums run in SIMD lanes; nothing here tests for NaN.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "nsz"})
def _gain_adjoint(
    g: Floats, f: Floats, q: Floats, r: Floats, p: Floats, df: Floats, dq: Floats, dr: Floats, dp: Floats,
    size: int,
) -> None:  # fmt: skip
    """Fill df, dq and dr from g, the gradient of the gain in dB, and add to dp."""
    attack, sustain = p[_ATTACK_DB], p[_SUSTAIN_DB]
    by_attack = by_sustain = by_output = 0.0
    for n in range(size):
        begun, dying = q[n] / f[n], f[n] / r[n]
        by_attack += g[n] * (1.0 - begun)
        by_sustain += g[n] * (1.0 - dying)
        by_output += g[n]
        dq[n] = -attack * g[n] / f[n]
        dr[n] = sustain * g[n] * dying / r[n]
        df[n] = g[n] * (attack * begun / f[n] - sustain / r[n])
    dp[_ATTACK_DB] += by_attack
    dp[_SUSTAIN_DB] += by_sustain
    dp[_OUTPUT] += by_output


@njit(cache=True, nogil=True, error_model="numpy")
def _run_adjoint(dy: Samples, x: Samples, p: Floats, length: int, dx: Samples, dp: Floats) -> None:
    """Fill dx like x and add to dp (8,) from dy, all (channel, time); length: L.

    Adjoint, with a bar for the derivative and lambda, mu, nu those of f, q, r:

        mu[n] = -attack G'[n]/f + k_a [q[n] < f[n+1]] mu[n+1]
        nu[n] = sustain G'[n] f/r^2 + k_r [r[n] > f[n+1]] nu[n+1]
        lambda[n] = G'[n] (attack q/f^2 - sustain/r) + k_(n+1) lambda[n+1]
                    + (1 - k_a [q[n-1] < f]) mu[n] + (1 - k_r [r[n-1] > f]) nu[n]
        k_a' += [q[n-1] < f] mu[n] (q[n-1] - f),   k_r' += [r[n-1] > f] nu[n] (r[n-1] - f)
        h'[n] = (1 - k_n) lambda[n], which goes to the a that is the maximum
    """
    channels, size = x.shape
    made, a, k = np.zeros((_ROWS, 1, size + 2 * PAST)), np.empty(size), np.empty((1, size))
    f, q, r = made[_FAST, 0, PAST:], made[_SLOW, 0, PAST:], made[_LONG, 0, PAST:]
    df, dq, dr, carry = np.empty((1, size)), np.empty((1, size)), np.empty((1, size)), np.zeros(1)
    gain_db, gain = np.empty(BLOCK), np.empty(BLOCK)
    da = np.empty((channels, size))
    for c in range(channels):
        if c == 0 or p[_LINK] != 1.0:
            _detect(x, 0, c, p, made, rest_of_hold(1, float(length)), 0, a, size)
        for begin in range(0, size, BLOCK):
            part = min(BLOCK, size - begin)
            fast, slow, long = f[begin:], q[begin:], r[begin:]
            _gain_db(fast, slow, long, p, gain_db, part)
            amplitudes(gain_db, gain, part)
            source, toward, out = x[c, begin:], dy[c, begin:], dx[c, begin:]
            for n in range(part):
                scaled = gain[n] * toward[n]
                out[n] = scaled
                gain_db[n] = scaled * source[n] * (1.0 / DB_PER_NEPER)
            _gain_adjoint(gain_db, fast, slow, long, p, df[0, begin:], dq[0, begin:], dr[0, begin:], dp, part)
        carry[0] = 0.0
        by_attack, _ = follow_adjoint(dq, made[_FAST], made[_SLOW], p[_ATTACK], 0.0, carry, k, size)
        carry[0] = 0.0
        _, by_release = follow_adjoint(dr, made[_FAST], made[_LONG], 0.0, p[_RELEASE], carry, k, size)
        dp[_ATTACK] += by_attack
        dp[_RELEASE] += by_release
        for n in range(size):
            df[0, n] += dq[0, n] + dr[0, n]
        carry[0] = 0.0
        follow_adjoint(df, made[_HELD], made[_FAST], p[_RISE], p[_FALL], carry, k, size)
        hold_adjoint(df[0], a, float(length), da[c])
    dp[_LINK] += link_adjoint(da, x, 0, p[_LINK], np.empty((3, size)), size)
    for c in range(channels):
        unrectify(da[c], x[c], dx[c], size)


def _at_rest(channels: int, length: int) -> TransientState:
    """Return the state of a stream that was silent so far."""
    return TransientState(np.zeros((_ROWS, channels, PAST)), rest_of_hold(channels, float(length)), 0)


def _forward_row(x: Samples, p: Floats, length: int, y: Samples) -> None:
    _run(x, p, *_at_rest(x.shape[0], length), y)


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
    if lane_functions.away(x):
        from fxstyle.device import envelopes

        return envelopes.transient(x, settings, _span(rate))
    return each_row(x, settings, [_span(rate)] * x.shape[0], _forward_row, _run_adjoint)


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
    past, window, position = _at_rest(x.shape[0], _span(rate))
    if state is not None:
        past, window, position = state.past.copy(), state.window.copy(), state.position
    y = np.empty_like(x, order="C")
    position = _run(own(x), p, past, window, position, y)
    if link == 1.0:
        past[:, 1:], window[1:] = past[:, :1], window[:1]
    return y, TransientState(past, window, position)


_SPREAD = 0.12  # 4 dB

EFFECT = Effect(
    name="transient",
    summary="Transient shaper: attack and sustain, whatever the level",
    params=(
        Param(
            "attack_db", "dB", -18.0, 18.0, 3.0, spread=_SPREAD,
            help="up: onsets stand out, down: they soften",
        ),
        Param(
            "sustain_db", "dB", -18.0, 18.0, 0.0, spread=_SPREAD,
            help="up: longer tails and more room, down: drier",
        ),
        Param(
            "attack_ms", "ms", 2.0, 200.0, 25.0, "log",
            "how much of a hit counts as its onset; up: thicker, down: only the click", spread=0.2,
        ),
        Param(
            "release_ms", "ms", 20.0, 2000.0, 250.0, "log",
            "how long a tail it shapes; up: more of it", spread=0.2,
        ),
        Param(
            "link", "", 0.0, 1.0, 1.0,
            help="1: the loudest channel shapes all, the picture stays; 0: each its own",
        ),
        Param("output_db", "dB", -18.0, 18.0, 0.0, help="level after shaping", spread=0.1),
    ),
    forward=forward,
    render=render,
    # Both forms run the same kernel in float64.
    tolerance_db=-120.0,
)  # fmt: skip
