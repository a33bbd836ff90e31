"""Dynamic equaliser: three bands that boost or cut only when their part of the sound is loud.

For each band, of centre hz and q:

    b = (s/q)/(s^2 + s/q + 1) x                                its part of the sound, 0 dB at hz
    a_c[n] = (1 - link) |b_c[n]| + link max_i |b_i[n]|         level of the part, channels linked
    e[n] = k e[n-1] + (1 - k) a[n]                             attack and release
    o = 20 log10 e[n] - threshold_db                           by how many dB it is above the threshold
    G[n] = gain_db + sign(range_db) S (h(o) - h(o - |range_db|/S))            gain of the band in dB

    y = x + the sum over the bands of (10^(G/20) - 1) b

    S        1 - 1/ratio
    h(o)     0 below -W/2,  (o + W/2)^2/(2 W) within the knee,  o above W/2;  W is knee_db
    k        of attack_ms if a[n] > e[n-1], else of release_ms: exp(-1000/(rate t)), 63 % of a step in
             t ms
    s        j tan(pi f/rate)/tan(pi hz/rate) at the frequency f, rate in samples per second
    c, i, n  channels and sample

Curve: below its threshold a band has gain_db. Above, it moves like a compressor of that ratio, down where
range_db is negative and up where it is positive, until it has moved by range_db; there it stays. A
gain_db of 4 with a range_db of -4 is a boost for soft sound only; -4 and 4 cut what is soft.

Filter: at rest a band is the peaking filter of R. Bristow-Johnson's cookbook,
(s^2 + g s/q + 1)/(s^2 + s/q + 1), g = 10^(G/20), whose Q there is q 10^(-G/40). Its poles stay where they
are, so the gain may move at any speed without making it ring. A band keeps the width of its part: q is
its centre over the width where the part is 3 dB down. The bands work side by side: each hears the input,
and what they change adds up, while an `eq` multiplies; where bands overlap the two differ.

Source of h: Giannoulis, Massberg & Reiss, "Digital dynamic range compressor design", JAES 60(6), 2012,
eq. 4.

Limits. The threshold is a peak level in the band, in dB of full scale, so it depends on the level of the
recording. Bands near half the rate get narrower than their q says (bilinear transform). A ratio of 1
never moves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numba import njit

from fxstyle.device import lane_functions
from fxstyle.dsp.detector import link_adjoint
from fxstyle.dsp.follow import PAST, follow, follow_adjoint
from fxstyle.dsp.kernel import each_row
from fxstyle.dsp.levels import DB_PER_NEPER, rectify, unrectify
from fxstyle.dsp.ranged import curve, curve_adjoint
from fxstyle.dsp.recurrence import BLOCK, TINY, Floats, own
from fxstyle.dsp.sections import bring, coefficients, flush_all, run, run_adjoint
from fxstyle.effect import Effect, Samples
from fxstyle.param import Param
from fxstyle.units import NEPERS_OF_60_DB, time_constant

_CENTRES_HZ = (250.0, 2500.0, 7000.0)
_BANDS = len(_CENTRES_HZ)

# Columns of a band's settings as the kernels take them: three of the section, these, and five of the curve.
# K is 1/Q.
_K, _ATTACK, _RELEASE, _LINK, _CURVE = range(3, 8)

# Columns of the memory of a channel's band: the section's two states, the last PAST of a, and of e.
_S, _R, _LEVELS = range(3)
_MEMORY = _LEVELS + 2 * PAST
_KEEP_NOTHING = np.empty((0, 0, _BANDS, _MEMORY))

# Rows of the room in which a block (channel, time) of one band is worked on: x, states, b, a, e, e in dB, the
# gain as a factor. States begin with what was before the block, a and e with PAST such samples.
_X, _STATE, _STATE_R, _BAND, _A, _E, _DB, _FACTOR = range(8)
_ROWS = 8
_ROOM = PAST + BLOCK + PAST


class DynamicEqState(NamedTuple):
    """What the equaliser remembers: memory (channel, band, 10), and the position in the stream."""

    memory: Floats
    position: int


@njit(cache=True, nogil=True, error_model="numpy")
def _band_of(s: Floats, half: float, band: Floats, size: int) -> None:
    """Fill b from the section's first state."""
    s0, s1 = s[:size], s[1 : size + 1]
    for n in range(size):
        band[n] = half * (s0[n] + s1[n])


@njit(cache=True, nogil=True, error_model="numpy")
def _analyse(room: Floats, k: int, p: Floats, memory: Floats, lanes: int, size: int) -> None:
    """Fill the room from x for band k; the gains for the first `lanes` channels. `memory` moves on."""
    x, s, r, band, a, e = room[_X], room[_STATE], room[_STATE_R], room[_BAND], room[_A], room[_E]
    for c in range(x.shape[0]):
        s[c, 0], r[c, 0] = memory[c, k, _S], memory[c, k, _R]
    run(x, p, s, r, size)
    for c in range(x.shape[0]):
        memory[c, k, _S], memory[c, k, _R] = s[c, size], r[c, size]
        _band_of(s[c], 0.5 * p[_K], band[c], size)
    for c in range(lanes):
        for i in range(PAST):
            a[c, i], e[c, i] = memory[c, k, _LEVELS + i], memory[c, k, _LEVELS + PAST + i]
        rectify(band, 0, p[_LINK], c, a[c, PAST:], size)
    follow(a[:lanes], e[:lanes], p[_ATTACK], p[_RELEASE], size)
    for c in range(lanes):
        for i in range(PAST):
            memory[c, k, _LEVELS + i], memory[c, k, _LEVELS + PAST + i] = a[c, size + i], e[c, size + i]
        curve(e[c, PAST:], p[_CURVE:], room[_DB, c], room[_FACTOR, c], size)


@njit(cache=True, nogil=True, error_model="numpy")
def _run(x: Samples, p: Floats, memory: Floats, position: int, y: Samples, kept: Floats) -> None:
    """Equalise (channel, time) into `y`; `memory` (channel, band, 10) moves on, and is kept at every BLOCK.

    `kept` (block, channel, band, 10) may be empty. With link 1 all channels have one and the same gain, and
    only the first channel's levels move on.
    """
    channels, length = x.shape
    lanes = 1 if p[0, _LINK] == 1.0 else channels
    room, total = np.empty((_ROWS, channels, _ROOM)), np.empty((channels, BLOCK))
    done = 0
    while done < length:
        size = min(BLOCK - (position + done) % BLOCK, length - done)
        bring(x, done, room[_X], size)
        bring(x, done, total, size)
        for k in range(_BANDS):
            for c in range(channels if done // BLOCK < kept.shape[0] else 0):
                for i in range(_MEMORY):
                    kept[done // BLOCK, c, k, i] = memory[c, k, i]
            _analyse(room, k, p[k], memory, lanes, size)
            for c in range(channels):
                factor, band, sums = room[_FACTOR, c if c < lanes else 0], room[_BAND, c], total[c]
                for n in range(size):
                    sums[n] += (factor[n] - 1.0) * band[n]
        for c in range(channels):
            sums, out = total[c], y[c, done : done + size]
            for n in range(size):
                out[n] = sums[n] if abs(sums[n]) >= TINY else 0.0
        done += size
        if (position + done) % BLOCK == 0:
            for c in range(channels):
                for k in range(_BANDS):
                    flush_all(memory[c, k])


@njit(cache=True, nogil=True, error_model="numpy")
def _output_adjoint(v: Floats, factor: Floats, band: Floats, g: Floats, dband: Floats, size: int) -> None:
    """Fill the gradients of the gain in dB and of b from that of y, `v`."""
    for n in range(size):
        g[n] = v[n] * factor[n] * band[n] * (1.0 / DB_PER_NEPER)
        dband[n] = v[n] * (factor[n] - 1.0)


# Reassociation lets the sum run in SIMD lanes; nothing here tests for NaN.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "nsz"})
def _band_adjoint(dband: Floats, band: Floats, low: Floats, p: Floats, size: int, dp: Floats) -> None:
    """Turn the gradient of b into that of s[n] + s[n+1] in place, and add to dp; r has none."""
    dk, half = 0.0, 0.5 * p[_K]
    for n in range(size):
        dk += dband[n] * band[n]
        dband[n] *= half
        low[n] = 0.0
    dp[_K] += dk / p[_K]


@njit(cache=True, nogil=True, error_model="numpy")
def _run_adjoint(dy: Samples, x: Samples, p: Floats, kept: Floats, dx: Samples, dp: Floats) -> None:
    """Fill dx like x and add to dp (band, 12) from dy, all (channel, time); `kept` is from `_run`.

    The adjoints are those of dsp.ranged, detector and sections, with b_bar = (10^(G/20) - 1) y_bar and G_bar
    = (ln 10/20) 10^(G/20) b y_bar besides. The backward pass keeps the memory every BLOCK samples, and
    recomputes one block at a time.
    """
    channels, length = x.shape
    lanes = 1 if p[0, _LINK] == 1.0 else channels
    room, bars, three = (
        np.empty((_ROWS, channels, _ROOM)),
        np.empty((6, channels, BLOCK)),
        np.empty((3, BLOCK)),
    )
    v, total, g, dband, low, scratch = bars[0], bars[1], bars[2], bars[3], bars[4], bars[5]
    states, followed = np.zeros((_BANDS, channels, 2)), np.zeros((_BANDS, channels))
    memory = np.empty((channels, _BANDS, _MEMORY))
    for block in range(kept.shape[0] - 1, -1, -1):
        begin = block * BLOCK
        size = min(BLOCK, length - begin)
        bring(x, begin, room[_X], size)
        bring(dy, begin, v, size)
        bring(dy, begin, total, size)
        for k in range(_BANDS):
            band, level, e = room[_BAND], room[_DB], room[_E]
            for c in range(channels):
                for i in range(_MEMORY):
                    memory[c, k, i] = kept[block, c, k, i]
            _analyse(room, k, p[k], memory, lanes, size)
            for c in range(channels):
                lane = c if c < lanes else 0
                _output_adjoint(v[c], room[_FACTOR, lane], band[c], g[c], dband[c], size)
                curve_adjoint(g[c], level[lane], e[lane, PAST:], p[k, _CURVE:], size, dp[k, _CURVE:])
            attack, release, a = p[k, _ATTACK], p[k, _RELEASE], room[_A, :lanes]
            rising, falling = follow_adjoint(
                g, a, e[:lanes], attack, release, followed[k], scratch[:lanes], size
            )
            dp[k, _ATTACK] += rising
            dp[k, _RELEASE] += falling
            dp[k, _LINK] += link_adjoint(g, band, 0, p[k, _LINK], three, size)
            for c in range(channels):
                unrectify(g[c], band[c], dband[c], size)
                _band_adjoint(dband[c], band[c], low[c], p[k], size, dp[k])
            run_adjoint(
                dband, low, room[_X], p[k], room[_STATE], room[_STATE_R], states[k], total, dp[k], size
            )
        for c in range(channels):
            sums, out = total[c], dx[c, begin : begin + size]
            for n in range(size):
                out[n] = sums[n]


def _run_row(x: Samples, p: Floats, kept: Floats, y: Samples) -> None:
    _run(x, p, np.zeros((x.shape[0], _BANDS, _MEMORY)), 0, y, kept)


_OF_A_BAND = ("hz", "q", "gain_db", "threshold_db", "range_db", "attack_ms", "release_ms")
_SHARED = ("ratio", "knee_db", "link")


def _band(number: int, hz: float) -> tuple[Param, ...]:
    band = f"band{number}"
    return (
        Param(f"{band}_hz", "Hz", 20.0, 20000.0, hz, "log", f"centre of band {number}"),
        Param(
            f"{band}_q", "", 0.2, 8.0, 1.0, "log",
            f"narrowness of band {number}; up: narrower, 1.4 is an octave",
        ),
        Param(
            f"{band}_gain_db", "dB", -24.0, 24.0, 0.0, spread=0.1,
            help="boost or cut at any level, before it moves",
        ),
        Param(
            f"{band}_threshold_db", "dB", -80.0, 0.0, -30.0,
            help="level of the band above which it moves; down: more often",
        ),
        Param(
            f"{band}_range_db", "dB", -24.0, 24.0, -4.0, spread=0.1,
            help="how far it moves: below 0 down, above 0 up, 0 is off",
        ),
        Param(
            f"{band}_attack_ms", "ms", 0.05, 200.0, 10.0, "log", "how fast it moves; up: lets hits through"
        ),
        Param(
            f"{band}_release_ms", "ms", 5.0, 2000.0, 120.0, "log",
            "how fast it comes back; down: lively, up: smooth",
        ),
    )  # fmt: skip


PARAMS = (
    *(param for number, hz in enumerate(_CENTRES_HZ, start=1) for param in _band(number, hz)),
    Param(
        "ratio", ":1", 1.0, 20.0, 3.0, "log",
        "how steeply it moves above the thresholds, up to the range; 1 is off",
    ),
    Param(
        "knee_db", "dB", 0.0, 18.0, 6.0, help="width of the bends of the curve; up: gentler, 0 are corners"
    ),
    Param(
        "link", "", 0.0, 1.0, 1.0, help="1: the loudest channel moves all, the picture stays; 0: each its own"
    ),
)  # fmt: skip


def _settings(rate: float, knob: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return what the kernels take, (batch, band, 12) in float64, from knobs of shape (batch,)."""
    bands = range(1, _BANDS + 1)
    each = {
        name: torch.stack([knob[f"band{i}_{name}"].double() for i in bands], dim=1) for name in _OF_A_BAND
    }
    ratio, knee, link = (knob[name].double()[:, None].expand(-1, _BANDS) for name in _SHARED)
    columns = (
        1.0 / each["q"],
        time_constant(each["attack_ms"], rate),
        time_constant(each["release_ms"], rate),
        link,
        each["threshold_db"],
        each["gain_db"],
        each["range_db"],
        1.0 - 1.0 / ratio,
        knee,
    )
    sections = coefficients(each["hz"], each["q"], rate)
    return torch.cat((sections, torch.stack(columns, dim=2)), dim=2)


@lru_cache(maxsize=64)
def _settings_once(rate: float, values: tuple[float, ...]) -> Floats:
    knob = {p.name: torch.tensor([v], dtype=torch.float64) for p, v in zip(PARAMS, values, strict=True)}
    with torch.no_grad():
        row: Floats = _settings(rate, knob)[0].numpy()
    return row


def forward(
    x: torch.Tensor,
    rate: float,
    *,
    band1_hz: torch.Tensor,
    band1_q: torch.Tensor,
    band1_gain_db: torch.Tensor,
    band1_threshold_db: torch.Tensor,
    band1_range_db: torch.Tensor,
    band1_attack_ms: torch.Tensor,
    band1_release_ms: torch.Tensor,
    band2_hz: torch.Tensor,
    band2_q: torch.Tensor,
    band2_gain_db: torch.Tensor,
    band2_threshold_db: torch.Tensor,
    band2_range_db: torch.Tensor,
    band2_attack_ms: torch.Tensor,
    band2_release_ms: torch.Tensor,
    band3_hz: torch.Tensor,
    band3_q: torch.Tensor,
    band3_gain_db: torch.Tensor,
    band3_threshold_db: torch.Tensor,
    band3_range_db: torch.Tensor,
    band3_attack_ms: torch.Tensor,
    band3_release_ms: torch.Tensor,
    ratio: torch.Tensor,
    knee_db: torch.Tensor,
    link: torch.Tensor,
) -> torch.Tensor:
    """Equalise each row of (batch, channel, time) by its own settings."""
    given = locals()  # read before anything else is bound: the arguments by name
    settings = _settings(rate, given)
    if lane_functions.away(x):
        from fxstyle.device import bands

        return bands.equalise(x, settings)
    batch, channels, length = x.shape
    kept = np.empty((batch, -(-length // BLOCK), channels, _BANDS, _MEMORY))
    return each_row(x, settings, list(kept), _run_row, _run_adjoint)


def render(
    x: Samples,
    rate: float,
    state: DynamicEqState | None,
    *,
    band1_hz: float,
    band1_q: float,
    band1_gain_db: float,
    band1_threshold_db: float,
    band1_range_db: float,
    band1_attack_ms: float,
    band1_release_ms: float,
    band2_hz: float,
    band2_q: float,
    band2_gain_db: float,
    band2_threshold_db: float,
    band2_range_db: float,
    band2_attack_ms: float,
    band2_release_ms: float,
    band3_hz: float,
    band3_q: float,
    band3_gain_db: float,
    band3_threshold_db: float,
    band3_range_db: float,
    band3_attack_ms: float,
    band3_release_ms: float,
    ratio: float,
    knee_db: float,
    link: float,
) -> tuple[Samples, DynamicEqState]:
    """Equalise a block (channel, time)."""
    given = locals()  # read before anything else is bound: the arguments by name
    p = _settings_once(rate, tuple(given[param.name] for param in PARAMS))
    memory, position = np.zeros((x.shape[0], _BANDS, _MEMORY)), 0
    if state is not None:
        memory, position = state.memory.copy(), state.position
    y = np.empty_like(x, order="C")
    _run(own(x), p, memory, position, y, _KEEP_NOTHING)
    if link == 1.0:
        memory[1:, :, _LEVELS:] = memory[:1, :, _LEVELS:]
    return y, DynamicEqState(memory, position + x.shape[1])


def tail_s(settings: Mapping[str, float]) -> float:
    """Seconds in which the slowest band's ringing falls by 60 dB: ln(1000) 2 Q/w0, whatever the gain."""
    moving = [
        (settings[f"band{i}_hz"], settings[f"band{i}_q"])
        for i in range(1, _BANDS + 1)
        if settings[f"band{i}_gain_db"] != 0.0 or settings[f"band{i}_range_db"] != 0.0
    ]
    return max((NEPERS_OF_60_DB * q / (math.pi * hz) for hz, q in moving), default=0.0)


EFFECT = Effect(
    name="dynamic_eq",
    summary="Dynamic equaliser: three peaks that move with the level of their bands",
    params=PARAMS,
    forward=forward,
    render=render,
    # Both forms run the same kernel in float64.
    tolerance_db=-120.0,
    tail_s=tail_s,
    hosts={
        "pedalboard.PeakFilter": "one band of range_db 0: the same hz and gain_db, and q 10^(-gain_db/40) for"
        " Q; null -121 dB"
    },
)
