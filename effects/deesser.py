"""De-esser: softens "s" and "sh" by a treble shelf that dips while treble has most of the power.

    x = low + band + high                       split at hz: 1, sqrt 2 s and s^2 over s^2 + sqrt 2 s + 1
    y = low + sqrt(g) band + g high             g = 10^(-D[n]/20)

    a_c[n] = (1 - link) |high_c[n]| + link max_i |high_i[n]|        level above hz, channels linked
    b_c[n] = (1 - link) |x_c[n]| + link max_i |x_i[n]|              level of everything
    E, F:  E[n] = w E[n-1] + (1 - w) a[n]^2,  F likewise of b       their powers, over 5 ms
    d[n] = 10 log10(E[n]/(F[n] + 10^-12)) - threshold_db            by how much treble is too much, in dB
    q[n] = u^2 (3 - 2 u),  u = d[n]/6 + 1/2 within 0 .. 1           how much of the dip that asks for
    m[n] = k m[n-1] + (1 - k) q[n]                                  attack and release
    D[n] = range_db m[n]                                            how far it dips, in dB

    k        of attack_ms if q[n] > m[n-1], else of release_ms: exp(-1000/(rate t)), 63 % of a step in
             t ms
    w        the same for 5 ms
    s        j tan(pi f/rate)/tan(pi hz/rate) at the frequency f, rate in samples per second
    c, i, n  channels and sample

The threshold is relative: the level above hz less the level of everything. The dip begins 3 dB below it
and is complete 3 dB above. An "s" has most of its power there, a vowel less than a hundredth; so one
threshold serves a whisper and a shout, and turning the input up or down changes nothing but the level. In
recorded voices vowels lie at -20 dB and below, sibilants at -6 dB and above.

While D rests the filter is a Butterworth shelf without a bump, at 0 dB below hz and -D above. Its
magnitude H:

    |H|^2 = (1 + g^2 W^4)/(1 + W^4),   W = tan(pi f/rate)/tan(pi hz/rate)

Below hz what is left of the dip fades by 24 dB per octave. However fast D moves, the filter does not ring
from it: its poles stay where they are. Where D is 0 the sound passes to the bit.

Limits. It judges bright instruments as it does sibilants: cymbals, or hiss in pauses above -120 dB of
full scale (below that it rests), count as "s" while nothing else sounds. There is no look-ahead: the
first milliseconds of an "s" pass. Shelf and curve are this effect's own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numba import njit

from fxstyle.device import lane_functions
from fxstyle.dsp.detector import link_adjoint
from fxstyle.dsp.follow import PAST, follow, follow_adjoint
from fxstyle.dsp.kernel import each_row
from fxstyle.dsp.levels import DB_PER_NEPER, DB_PER_OCTAVE, rectify, unrectify
from fxstyle.dsp.octaves import octaves, power
from fxstyle.dsp.recurrence import BLOCK, TINY, Floats, own
from fxstyle.dsp.sections import BUTTERWORTH, bring, coefficients, flush_all, run, run_adjoint
from fxstyle.effect import Effect, Samples
from fxstyle.param import Param
from fxstyle.units import SILENCE_AMPLITUDE, time_constant

WINDOW_MS = 5.0
"""Over how long the powers are taken: about a period of a low voice, so that the share does not swing with
its waveform, and short enough for the first milliseconds of an "s" to tip the scales."""

KNEE_DB = 6.0
"""From half of this below the threshold to half of it above, the shelf goes from 0 dB to its range. In
recorded voices vowels lie at shares of -20 dB and below, sibilants at -6 dB and above."""

# Columns of the settings as the kernels take them; the first three are the section's.
_THRESHOLD, _RANGE, _ATTACK, _RELEASE, _LINK, _WINDOW = range(3, 9)

# Columns of a channel's memory: the section's two states, E, F, the last PAST of q, and of m.
_S, _R, _HIGH, _WHOLE, _DEPTHS = range(5)
_MEMORY = _DEPTHS + 2 * PAST

# Rows of the room in which a block (channel, time) is worked on: x, states, band and high, levels a and b, E,
# N, dS/dd, q, m, g, sqrt g. States begin with what was before the block, q and m with PAST such
# samples.
_X, _STATE, _STATE_R, _BAND, _TOP, _A, _B, _E, _N, _SLOPE, _Q, _MOVED, _G, _ROOT = range(14)
_ROWS = 14
_ROOM = PAST + BLOCK + PAST

_SILENCE = SILENCE_AMPLITUDE**2
_KEEP_NOTHING = np.empty((0, 0, _MEMORY))


class DeesserState(NamedTuple):
    """What the de-esser remembers: memory (channel, 12), and the position in the stream."""

    memory: Floats
    position: int


@njit(cache=True, nogil=True, error_model="numpy")
def _parts(x: Floats, s: Floats, r: Floats, band: Floats, high: Floats, size: int) -> None:
    """Fill band and high from x and the states of the section."""
    s0, s1, r0, r1 = s[:size], s[1 : size + 1], r[:size], r[1 : size + 1]
    for n in range(size):
        band[n] = 0.5 * BUTTERWORTH * (s0[n] + s1[n])
        high[n] = x[n] - 0.5 * (r0[n] + r1[n]) - band[n]


# Contraction as in dsp.sections.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _powers(a: Floats, b: Floats, window: float, memory: Floats, e: Floats, whole: Floats, size: int) -> None:
    """Fill E and N from both levels, and move E and F on."""
    above, every = memory[_HIGH], memory[_WHOLE]
    for n in range(size):
        above = window * above + (1.0 - window) * (a[n] * a[n])
        every = window * every + (1.0 - window) * (b[n] * b[n])
        e[n], whole[n] = above, every + _SILENCE
    memory[_HIGH], memory[_WHOLE] = above, every


@njit(cache=True, nogil=True, error_model="numpy")
def _curve(e: Floats, whole: Floats, threshold: float, slope: Floats, q: Floats, size: int) -> None:
    """Fill dS/dd and q from E and N."""
    for n in range(size):
        level_db = 0.5 * DB_PER_OCTAVE * octaves(e[n] / whole[n])
        u = (level_db - threshold) * (1.0 / KNEE_DB) + 0.5
        u = u if u > 0.0 else 0.0
        u = u if u < 1.0 else 1.0
        slope[n] = u * (1.0 - u) * (6.0 / KNEE_DB)
        q[n] = u * u * (3.0 - 2.0 * u)


@njit(cache=True, nogil=True, error_model="numpy")
def _factors(moved: Floats, most: float, g: Floats, root: Floats, size: int) -> None:
    """Fill g and sqrt g from m and the range."""
    octaves_down = most * (-0.5 / DB_PER_OCTAVE)
    for n in range(size):
        half = power(moved[n] * octaves_down)
        root[n] = half
        g[n] = half * half


@njit(cache=True, nogil=True, error_model="numpy")
def _analyse(room: Floats, p: Floats, memory: Floats, lanes: int, size: int) -> None:
    """Fill the room from x; what depends on levels, for the first `lanes` channels. `memory` moves on."""
    x, s, r, q, moved = room[_X], room[_STATE], room[_STATE_R], room[_Q], room[_MOVED]
    for c in range(x.shape[0]):
        s[c, 0], r[c, 0] = memory[c, _S], memory[c, _R]
    run(x, p, s, r, size)
    for c in range(x.shape[0]):
        memory[c, _S], memory[c, _R] = s[c, size], r[c, size]
        _parts(x[c], s[c], r[c], room[_BAND, c], room[_TOP, c], size)
    for c in range(lanes):
        for i in range(PAST):
            q[c, i], moved[c, i] = memory[c, _DEPTHS + i], memory[c, _DEPTHS + PAST + i]
        rectify(room[_TOP], 0, p[_LINK], c, room[_A, c], size)
        rectify(x, 0, p[_LINK], c, room[_B, c], size)
        _powers(room[_A, c], room[_B, c], p[_WINDOW], memory[c], room[_E, c], room[_N, c], size)
        _curve(room[_E, c], room[_N, c], p[_THRESHOLD], room[_SLOPE, c], q[c, PAST:], size)
    follow(q[:lanes], moved[:lanes], p[_ATTACK], p[_RELEASE], size)
    for c in range(lanes):
        for i in range(PAST):
            memory[c, _DEPTHS + i], memory[c, _DEPTHS + PAST + i] = q[c, size + i], moved[c, size + i]
        _factors(moved[c, PAST:], p[_RANGE], room[_G, c], room[_ROOT, c], size)


@njit(cache=True, nogil=True, error_model="numpy")
def _run(x: Samples, p: Floats, memory: Floats, position: int, y: Samples, kept: Floats) -> None:
    """De-ess (channel, time) into `y`; `memory` (channel, 12) moves on, and is kept at every BLOCK.

    `kept` (block, channel, 12) may be empty. With link 1 all channels have one and the same gain, and only
    the first channel's levels move on.
    """
    channels, length = x.shape
    lanes = 1 if p[_LINK] == 1.0 else channels
    room = np.empty((_ROWS, channels, _ROOM))
    done = 0
    while done < length:
        size = min(BLOCK - (position + done) % BLOCK, length - done)
        for c in range(channels if done // BLOCK < kept.shape[0] else 0):
            for i in range(_MEMORY):
                kept[done // BLOCK, c, i] = memory[c, i]
        bring(x, done, room[_X], size)
        _analyse(room, p, memory, lanes, size)
        for c in range(channels):
            lane = c if c < lanes else 0
            u, band, top, g, root = (
                room[_X, c],
                room[_BAND, c],
                room[_TOP, c],
                room[_G, lane],
                room[_ROOT, lane],
            )
            out = y[c, done : done + size]
            for n in range(size):
                value = u[n] + ((root[n] - 1.0) * band[n] + (g[n] - 1.0) * top[n])
                out[n] = value if abs(value) >= TINY else 0.0
        done += size
        if (position + done) % BLOCK == 0:
            for c in range(channels):
                flush_all(memory[c])


@njit(cache=True, nogil=True, error_model="numpy")
def _output_adjoint(
    v: Floats, room: Floats, c: int, lane: int, depth: Floats, band: Floats, top: Floats, size: int
) -> None:
    """Fill the gradients of D, band and high of a channel from that of y, `v`."""
    g, root, was_band, was_top = room[_G, lane], room[_ROOT, lane], room[_BAND, c], room[_TOP, c]
    for n in range(size):
        depth[n] = v[n] * (g[n] * was_top[n] + 0.5 * root[n] * was_band[n]) * (-1.0 / DB_PER_NEPER)
        band[n] = v[n] * (root[n] - 1.0)
        top[n] = v[n] * (g[n] - 1.0)


# Reassociation lets the two sums run in SIMD lanes; nothing here tests for NaN.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "nsz"})
def _curve_adjoint(
    q: Floats, room: Floats, lane: int, p: Floats, e: Floats, whole: Floats, size: int, dp: Floats
) -> None:
    """Fill what q contributes to the gradients of E and N, and add to dp."""
    was_e, was_whole, share, slope = room[_E, lane], room[_N, lane], room[_Q, lane, PAST:], room[_SLOPE, lane]
    most, drange, dthreshold = p[_RANGE], 0.0, 0.0
    for n in range(size):
        drange += q[n] * share[n]
        d = q[n] * most * slope[n]
        dthreshold -= d
        e[n] = 0.5 * DB_PER_NEPER * d / was_e[n]
        whole[n] = -0.5 * DB_PER_NEPER * d / was_whole[n]
    dp[_RANGE] += drange
    dp[_THRESHOLD] += dthreshold


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _powers_adjoint(
    e: Floats, whole: Floats, a: Floats, b: Floats, window: float, future: Floats, size: int
) -> None:
    """Turn the gradients of E and N in place into those of the levels a and b."""
    above, every = future[_HIGH], future[_WHOLE]
    for n in range(size - 1, -1, -1):
        above, every = above + e[n], every + whole[n]
        e[n], whole[n] = 2.0 * (1.0 - window) * above * a[n], 2.0 * (1.0 - window) * every * b[n]
        above, every = window * above, window * every
    future[_HIGH], future[_WHOLE] = above, every


@njit(cache=True, nogil=True, error_model="numpy")
def _through_adjoint(band: Floats, top: Floats, dx: Floats, low: Floats, size: int) -> None:
    """Turn the gradients of band and high = x - low - band into those of the sums of states and of x."""
    for n in range(size):
        band[n] = 0.5 * BUTTERWORTH * (band[n] - top[n])
        low[n] = -0.5 * top[n]
        dx[n] += top[n]


@njit(cache=True, nogil=True, error_model="numpy")
def _run_adjoint(dy: Samples, x: Samples, p: Floats, kept: Floats, dx: Samples, dp: Floats) -> None:
    """Fill dx like x and add to dp (9,) from dy, all (channel, time); `kept` is from `_run`.

    Adjoint, with a bar for the derivative:

        range_bar += q_bar q,    d_bar = range q_bar S'/KNEE_DB,    T_bar -= d_bar
        mu[n] = (10/ln 10) d_bar/E[n] + w mu[n+1],    nu[n] = -(10/ln 10) d_bar/N[n] + w nu[n+1]
        a_bar[n] = 2 (1 - w) a mu[n],    b_bar[n] = 2 (1 - w) b nu[n]

    with those of the smoothing, of the levels and of the section from dsp.follow, dsp.detector and
    dsp.sections. q_bar is what the smoothing makes of D_bar, before the range: the smoothing is linear
    between two changes of k, so sum q_bar q is sum D_bar m.
    """
    channels, length = x.shape
    lanes = 1 if p[_LINK] == 1.0 else channels
    room, bars = np.empty((_ROWS, channels, _ROOM)), np.empty((8, channels, BLOCK))
    v, depth, band, top = bars[0], bars[1], bars[2], bars[3]
    e, whole, low, scratch = bars[4], bars[5], bars[6], bars[7, :lanes]
    memory, three = np.empty((channels, _MEMORY)), np.empty((3, BLOCK))
    future, states, depths = np.zeros((channels, _MEMORY)), np.zeros((channels, 2)), np.zeros(channels)
    attack, release = p[_ATTACK], p[_RELEASE]
    for block in range(kept.shape[0] - 1, -1, -1):
        begin = block * BLOCK
        size = min(BLOCK, length - begin)
        bring(x, begin, room[_X], size)
        bring(dy, begin, v, size)
        for c in range(channels):
            for i in range(_MEMORY):
                memory[c, i] = kept[block, c, i]
        _analyse(room, p, memory, lanes, size)
        for c in range(channels):
            _output_adjoint(v[c], room, c, c if c < lanes else 0, depth[c], band[c], top[c], size)
        q, moved = room[_Q, :lanes], room[_MOVED, :lanes]
        rising, falling = follow_adjoint(depth, q, moved, attack, release, depths, scratch, size)
        dp[_ATTACK] += p[_RANGE] * rising
        dp[_RELEASE] += p[_RANGE] * falling
        for c in range(channels):
            lane = c if c < lanes else 0
            _curve_adjoint(depth[c], room, lane, p, e[c], whole[c], size, dp)
            _powers_adjoint(e[c], whole[c], room[_A, lane], room[_B, lane], p[_WINDOW], future[c], size)
            flush_all(future[c])
        dp[_LINK] += link_adjoint(e, room[_TOP], 0, p[_LINK], three, size)
        dp[_LINK] += link_adjoint(whole, room[_X], 0, p[_LINK], three, size)
        for c in range(channels):
            unrectify(e[c], room[_TOP, c], top[c], size)
            unrectify(whole[c], room[_X, c], v[c], size)
            _through_adjoint(band[c], top[c], v[c], low[c], size)
        run_adjoint(band, low, room[_X], p, room[_STATE], room[_STATE_R], states, v, dp, size)
        for c in range(channels):
            out = dx[c, begin : begin + size]
            for n in range(size):
                out[n] = v[c, n]


def _run_row(x: Samples, p: Floats, kept: Floats, y: Samples) -> None:
    _run(x, p, np.zeros((x.shape[0], _MEMORY)), 0, y, kept)


def _settings(
    rate: float,
    hz: torch.Tensor,
    threshold_db: torch.Tensor,
    range_db: torch.Tensor,
    attack_ms: torch.Tensor,
    release_ms: torch.Tensor,
    link: torch.Tensor,
) -> torch.Tensor:
    """Return what the kernels take, (batch, 9) in float64, from knobs of shape (batch,)."""
    attack = time_constant(attack_ms.double(), rate)
    release = time_constant(release_ms.double(), rate)
    window = torch.full_like(attack, time_constant(WINDOW_MS, rate))
    columns = (threshold_db, range_db, attack, release, link, window)
    section_of = coefficients(hz, 1.0 / BUTTERWORTH, rate)
    return torch.cat((section_of, torch.stack([column.double() for column in columns], dim=1)), dim=1)


@lru_cache(maxsize=64)
def _settings_once(rate: float, values: tuple[float, ...]) -> Floats:
    with torch.no_grad():
        row: Floats = _settings(rate, *(torch.tensor([v], dtype=torch.float64) for v in values))[0].numpy()
    return row


def forward(
    x: torch.Tensor,
    rate: float,
    *,
    hz: torch.Tensor,
    threshold_db: torch.Tensor,
    range_db: torch.Tensor,
    attack_ms: torch.Tensor,
    release_ms: torch.Tensor,
    link: torch.Tensor,
) -> torch.Tensor:
    """De-ess each row of (batch, channel, time) by its own settings."""
    p = _settings(rate, hz, threshold_db, range_db, attack_ms, release_ms, link)
    if lane_functions.away(x):
        from fxstyle.device import bands

        return bands.deess(x, p, KNEE_DB)
    batch, channels, length = x.shape
    kept = np.empty((batch, -(-length // BLOCK), channels, _MEMORY))
    return each_row(x, p, list(kept), _run_row, _run_adjoint)


def render(
    x: Samples,
    rate: float,
    state: DeesserState | None,
    *,
    hz: float,
    threshold_db: float,
    range_db: float,
    attack_ms: float,
    release_ms: float,
    link: float,
) -> tuple[Samples, DeesserState]:
    """De-ess a block (channel, time)."""
    p = _settings_once(rate, (hz, threshold_db, range_db, attack_ms, release_ms, link))
    memory, position = np.zeros((x.shape[0], _MEMORY)), 0
    if state is not None:
        memory, position = state.memory.copy(), state.position
    y = np.empty_like(x, order="C")
    _run(own(x), p, memory, position, y, _KEEP_NOTHING)
    if link == 1.0:
        memory[1:, _HIGH:] = memory[:1, _HIGH:]
    return y, DeesserState(memory, position + x.shape[1])


EFFECT = Effect(
    name="deesser",
    summary="De-esser: a high shelf that dips where treble has most of the power",
    params=(
        Param(
            "hz", "Hz", 2000.0, 12000.0, 4500.0, "log",
            'where the treble begins that it dips; down: also "sh", up: only the sharpest "s"',
        ),
        Param(
            "threshold_db", "dB", -30.0, 0.0, -10.0, spread=0.15,
            help="treble over everything that is too much; down: acts on more",
        ),
        Param(
            "range_db", "dB", 0.0, 24.0, 6.0, spread=0.2,
            help="how far it turns sibilants down; up: more, too much lisps, 0 is off",
        ),
        Param(
            "attack_ms", "ms", 0.05, 50.0, 1.0, "log",
            'how fast it dips; up: the front of an "s" passes', spread=0.2,
        ),
        Param(
            "release_ms", "ms", 5.0, 500.0, 40.0, "log",
            'how fast it comes back; down: only the "s" itself, up: smoother', spread=0.2,
        ),
        Param(
            "link", "", 0.0, 1.0, 1.0,
            help="1: the loudest channel turns down all, the picture stays; 0: each its own",
        ),
    ),
    forward=forward,
    render=render,
    # Both forms run the same kernel in float64.
    tolerance_db=-120.0,
)  # fmt: skip
