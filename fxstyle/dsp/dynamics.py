"""Dynamics: level, attack and release, static curve, look-ahead, make-up, mix; and their exact adjoint.

    d_c[n] = |x_c[n]|, or the root of the mean square of x_c, high-passed           fxstyle.dsp.detector
    a_c[n] = (1 - link) d_c[n] + link max_k d_k[n]
    r_c[n] = octaves to turn a'_c[n] down                                           fxstyle.dsp.curve
    q_c[n] = 2^-r'_c[n]
    y_c[n] = (m M q_c[n + L] + 1 - m) x_c[n]                        mix m, make-up M, look-ahead L

Two laws, which differ in what attack and release smooth (fxstyle.dsp.follow; below S):

    level: a' = S(a), r' = r        the level, as juce::dsp::Compressor does
    gain:  a' = a, r' = S(r)        the gain in dB, after the curve: Giannoulis, Massberg & Reiss, "Digital
                                    dynamic range compressor design", JAES 60(6), 2012, eq. 16 in fig. 7c

S(s r) = s S(r) for s >= 0. So the gain law smooths r for the slope 1, and turns it down by the slope after
that: at a ratio of 1, where r itself is 0 throughout, it is still known what rises and what falls, and with
it the derivative by the ratio.

Look-ahead. L = D - f samples with D whole and 0 <= f < 1; between samples q is interpolated linearly, so

    y[n] = (m M ((1 - f) q[n + D] + f q[n + D - 1]) + 1 - m) x[n]

and past its end x is silent. A stream comes out late by D. L has a derivative: from the left at whole
numbers, and from the right at 0, which takes D = 1 and f = 1 (`settings`).

Adjoint, with a bar for the derivative:

    t[n] = y_bar[n - D] x[n - D],   q_bar[n] = m M ((1 - f) t[n] + f t[n + 1]),   r'_bar = -ln 2 q q_bar
    L_bar += m M t[n] (q[n] - q[n - 1]),   x_bar[n] += (m M q[n + L] + 1 - m) y_bar[n]

and back through the modules named above. The backward pass recomputes a block at a time from what was
remembered before it. Recursions are in float64; curve and gain are computed in the sound's own precision.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numba import njit

from fxstyle.device import lane_functions
from fxstyle.dsp import curve
from fxstyle.dsp.detector import link_adjoint, listen, listen_adjoint
from fxstyle.dsp.follow import PAST, follow, follow_adjoint
from fxstyle.dsp.kernel import each_row
from fxstyle.dsp.levels import DB_PER_OCTAVE, rectify, unrectify
from fxstyle.dsp.octaves import LN_2
from fxstyle.dsp.recurrence import TINY, Floats, own
from fxstyle.effect import Samples
from fxstyle.units import db_to_amplitude, ms_to_samples, time_constant

LAWS = ("level", "gain")

_SHORTEST_MS = 1e-6
"""A mean over no time: its coefficient is 0 to the bit, and so is that one's derivative, instead of 0/0."""

_BLOCK = 1024
"""Samples worked on at once: fewer, and the ends of all the short loops cost more than the loops; with more,
what the backward pass works on leaves the first-level cache."""

_KEEP_NOTHING = np.empty((0, 0, 0))

# Columns of the settings as the kernels take them.
_THRESHOLD, _SLOPE, _KNEE, _LINK, _ATTACK, _RELEASE, _LAW = range(7)
_WET, _DRY, _AHEAD, _DELAY, _CUT, _KEEP, _LISTENS = range(7, 14)

# Columns of a channel's memory; the first two are fxstyle.dsp.detector's.
_GAIN, _OF_LAW = 2, 3
_FOLLOWED = 4  # the last PAST samples of what is followed, and of what follows
_MEMORY = _FOLLOWED + 2 * PAST


class DynamicsState(NamedTuple):
    """What a stream remembers: memory (channel, 12), and the last D inputs, which are still to be put out."""

    memory: Floats
    late: Samples


@njit(cache=True, nogil=True, error_model="numpy")
def _constants(p: Floats, typed: Samples) -> None:
    """Fill `typed` with what fxstyle.dsp.curve needs, and m M, 1 - m, f, 1 - f, in the sound's own type."""
    curve.constants(p[_SLOPE] if p[_LAW] == 0.0 else 1.0, p[_KNEE], typed)
    share = p[_DELAY] - p[_AHEAD]
    mix = typed[curve.CONSTANTS :]
    mix[0], mix[1], mix[2], mix[3] = p[_WET], p[_DRY], share, 1.0 - share


@njit(cache=True, nogil=True, error_model="numpy")
def _levels(
    x: Samples, at: int, p: Floats, memory: Floats, u: Floats, s: Floats, t: Floats, d: Samples, a: Floats,
    size: int,
) -> None:  # fmt: skip
    """Fill a with the levels of x[:, at:], silent where x has ended; move `memory` on."""
    there = min(max(x.shape[1] - at, 0), size)
    if p[_LISTENS] == 0.0:
        for c in range(a.shape[0]):
            rectify(x, at, p[_LINK], c, a[c, PAST:], there)
            for n in range(PAST + there, PAST + size):
                a[c, n] = TINY
        return
    for c in range(x.shape[0]):
        part = x[c, at : at + there]
        for n in range(there):
            u[c, n] = part[n]
        for n in range(there, size):
            u[c, n] = 0.0
    listen(u, d, s, t, p[_CUT], p[_KEEP], memory, size)
    for c in range(a.shape[0]):
        rectify(d, 0, p[_LINK], c, a[c, PAST:], size)


@njit(cache=True, nogil=True, error_model="numpy")
def _gains(
    p: Floats, memory: Floats, a: Floats, b: Floats, e: Floats, v: Samples, q: Samples, was: Samples,
    typed: Samples, size: int,
) -> None:  # fmt: skip
    """Fill q with the gain from the levels a, and b, e, v and was on the way; move `memory` on.

    A block that never comes to the knee has no use for a logarithm: nothing is turned down, to the bit.
    """
    law, lanes = int(p[_LAW]), a.shape[0]
    followed = a if law == 0 else b
    for c in range(lanes):
        for i in range(PAST):
            # Levels mean nothing to a gain: if the law was turned, it begins anew.
            known = memory[c, _OF_LAW] == law
            followed[c, i] = memory[c, _FOLLOWED + i] if known else 0.0
            e[c, i] = memory[c, _FOLLOWED + PAST + i] if known else 0.0
    if law == 0:
        follow(a, e, p[_ATTACK], p[_RELEASE], size)
    acts = curve.over(e if law == 0 else a, PAST, p[_THRESHOLD], p[_KNEE], v, size)
    if acts:
        curve.turned_down(v, q, typed, size)
    else:
        for c in range(lanes):
            for n in range(size):
                v[c, n], q[c, n] = 0.0, 1 - law  # in octaves or a factor, as below
    if law == 1:
        for c in range(lanes):
            for n in range(size):
                b[c, PAST + n] = q[c, n] + TINY  # its decay is to end before the denormals
        follow(b, e, p[_ATTACK], p[_RELEASE], size)
        for c in range(lanes):
            for n in range(size):
                q[c, n] = p[_SLOPE] * e[c, PAST + n]
    if law == 1 or acts:
        curve.gains(q, size)
    for c in range(lanes if p[_DELAY] > 0.0 else 0):
        was[c, 0] = memory[c, _GAIN]
        for n in range(1, size):
            was[c, n] = q[c, n - 1]
    for c in range(memory.shape[0]):
        lane = min(c, lanes - 1)
        memory[c, _GAIN], memory[c, _OF_LAW] = q[lane, size - 1], law
        for i in range(PAST):
            memory[c, _FOLLOWED + i] = followed[lane, size + i]
            memory[c, _FOLLOWED + PAST + i] = e[lane, size + i]


@njit(cache=True, nogil=True, error_model="numpy")
def _run(x: Samples, p: Floats, memory: Floats, y: Samples, kept: Floats) -> None:
    """Compress x (channel, time) into y; `memory` (channel, 12) moves on.

    x may begin with the D samples before the first of y, and is silent past its end. `kept` (block, channel,
    12) takes what was remembered before each block, or is empty. With link 1 all channels have one gain.
    """
    channels, length = y.shape
    lanes, delay = 1 if p[_LINK] == 1.0 else channels, int(p[_DELAY])
    wide, long, narrow = (channels, _BLOCK + 1), (lanes, PAST + _BLOCK + PAST), (lanes, _BLOCK)
    u, s, t, d = np.empty(wide), np.empty(wide), np.empty(wide), np.empty(wide, dtype=x.dtype)
    a, b, e = np.zeros(long), np.zeros(long), np.zeros(long)
    v, q, was = (
        np.empty(narrow, dtype=x.dtype),
        np.empty(narrow, dtype=x.dtype),
        np.empty(narrow, dtype=x.dtype),
    )
    typed = np.empty(curve.CONSTANTS + 4, dtype=x.dtype)
    _constants(p, typed)
    mix = typed[curve.CONSTANTS :]
    wet, dry, old, new = mix[0], mix[1], mix[2], mix[3]
    first = x.shape[1] - length - delay
    for begin in range(first, length, _BLOCK):
        size, block = min(_BLOCK, length - begin), (begin - first) // _BLOCK
        for c in range(channels if block < kept.shape[0] else 0):
            for i in range(_MEMORY):
                kept[block, c, i] = memory[c, i]
        _levels(x, begin + delay, p, memory, u, s, t, d, a, size)
        _gains(p, memory, a, b, e, v, q, was, typed, size)
        for c in range(lanes if delay > 0 else 0):
            for n in range(size):
                q[c, n] = new * q[c, n] + old * was[c, n]
        early = max(-begin, 0)
        for c in range(channels if early < size else 0):
            low, high = begin + early, begin + size
            gain, part, out = q[min(c, lanes - 1), early:size], x[c, low:high], y[c, low:high]
            for n in range(size - early):
                out[n] = (wet * gain[n] + dry) * part[n]


# Reassociation lets the sums run in SIMD lanes, in loops that write to no array: see fxstyle.dsp.curve.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def _output_adjoint(
    dy: Samples, x: Samples, begin: int, p: Floats, q: Samples, was: Samples, later: Floats, g: Floats,
    size: int, dx: Samples, dp: Floats,
) -> None:  # fmt: skip
    """Fill g with the gradient of the octaves turned down; add to dx and dp.

    begin: of the block in y. later (channel,): t of the sample after it, moves on.
    """
    wet, dry, share = p[_WET], p[_DRY], int(p[_DELAY]) - p[_AHEAD]
    early = min(max(-begin, 0), size)
    dwet = ddry = dahead = 0.0
    for c in range(x.shape[0]):
        lane, low, high = min(c, q.shape[0] - 1), begin + early, begin + size
        gain, of_gain = q[lane], g[c]
        slope, part, out = dy[c, low:high], x[c, low:high], dx[c, low:high]
        if p[_DELAY] == 0.0:
            for n in range(size):
                t = float(slope[n]) * part[n]
                dwet += gain[n] * t
                ddry += t
            for n in range(size):
                out[n] += slope[n] * (wet * gain[n] + dry)
                of_gain[n] = -LN_2 * wet * gain[n] * (float(slope[n]) * part[n])
            continue
        for n in range(early):
            of_gain[n] = 0.0
        t, now, before = of_gain[early:size], gain[early:size], was[lane, early:size]
        for n in range(size - early):
            t[n] = float(slope[n]) * part[n]
        for n in range(size - early):
            ddry += t[n]
            dahead += wet * t[n] * (now[n] - before[n])
        for n in range(size - early):
            out[n] += slope[n] * (wet * ((1.0 - share) * now[n] + share * before[n]) + dry)
        following, end = later[c], size - 1
        later[c] = of_gain[0]
        for n in range(end):
            of_gain[n] = gain[n] * ((1.0 - share) * of_gain[n] + share * of_gain[n + 1])
        of_gain[end] = gain[end] * ((1.0 - share) * of_gain[end] + share * following)
        for n in range(size):
            dwet += of_gain[n]
        for n in range(size):
            of_gain[n] *= -LN_2 * wet
    dp[_WET] += dwet
    dp[_DRY] += ddry
    dp[_AHEAD] += dahead


@njit(cache=True, nogil=True, error_model="numpy")
def _run_adjoint(dy: Samples, x: Samples, p: Floats, kept: Floats, dx: Samples, dp: Floats) -> None:
    """Fill dx like x and add to dp (14,) from dy, all but this (channel, time); `kept` is from `_run`."""
    channels, length = x.shape
    lanes, delay, law = 1 if p[_LINK] == 1.0 else channels, int(p[_DELAY]), int(p[_LAW])
    wide, long, narrow = (channels, _BLOCK + 1), (lanes, PAST + _BLOCK + PAST), (lanes, _BLOCK)
    u, s, g, k, d = (
        np.empty(wide),
        np.empty(wide),
        np.empty(wide),
        np.empty(wide),
        np.empty(wide, dtype=x.dtype),
    )
    a, b, e = np.zeros(long), np.zeros(long), np.zeros(long)
    v, q, was = (
        np.empty(narrow, dtype=x.dtype),
        np.empty(narrow, dtype=x.dtype),
        np.empty(narrow, dtype=x.dtype),
    )
    typed = np.empty(curve.CONSTANTS + 4, dtype=x.dtype)
    scratch, memory, carry = np.empty((3, _BLOCK)), np.empty((channels, _MEMORY)), np.zeros((4, channels))
    followed, curved = (a, e) if law == 0 else (b, a)
    _constants(p, typed)
    for c in range(channels):
        for n in range(length):
            dx[c, n] = 0.0
    for block in range(kept.shape[0] - 1, -1, -1):
        at = block * _BLOCK
        size = min(_BLOCK, length + delay - at)
        for c in range(channels):
            for i in range(_MEMORY):
                memory[c, i] = kept[block, c, i]
        _levels(x, at, p, memory, u, s, g, d, a, size)
        _gains(p, memory, a, b, e, v, q, was, typed, size)
        _output_adjoint(dy, x, at - delay, p, q, was, carry[3], g, size, dx, dp)
        for step in range(2):  # the level law's curve came last, the gain law's before the smoothing
            if step == law:
                found = curve.curve_adjoint(g, v, curved, PAST, p[_SLOPE], p[_KNEE], size)
                dp[_THRESHOLD] += found[0]
                dp[_SLOPE] += found[1]
                dp[_KNEE] += found[2]
            else:
                times = follow_adjoint(g, followed, e, p[_ATTACK], p[_RELEASE], carry[2], k, size)
                share = 1.0 if law == 0 else p[_SLOPE]
                dp[_ATTACK] += share * times[0]
                dp[_RELEASE] += share * times[1]
        if p[_LISTENS] == 0.0:
            there = min(max(length - at, 0), size)
            dp[_LINK] += link_adjoint(g, x, at, p[_LINK], scratch, there)
        else:
            dp[_LINK] += link_adjoint(g, d, 0, p[_LINK], scratch, size)
            heard = listen_adjoint(g, u, d, p[_CUT], p[_KEEP], kept[block], carry, s, k, size)
            dp[_CUT] += heard[0]
            dp[_KEEP] += heard[1]
        for c in range(channels):
            out, part = dx[c, at : at + size], x[c, at : at + size]  # shorter where x has ended
            if p[_LISTENS] == 0.0:
                unrectify(g[c], part, out, out.shape[0])
            else:
                for n in range(out.shape[0]):
                    out[n] += g[c, n]


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
    law: torch.Tensor | None = None,
    lookahead_ms: torch.Tensor | None = None,
    rms_ms: torch.Tensor | None = None,
    sidechain_cut_hz: torch.Tensor | None = None,
    mix: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return what the kernels take, (batch, 14) in float64, from knobs of shape (batch,), differentiably.

    law: the number of one of LAWS. What is not given is off: the peak's level, nothing but compressed.
    """
    off = torch.zeros_like(threshold_db, dtype=torch.float64)
    wet = off + 1.0 if mix is None else mix.double()
    ahead = off if lookahead_ms is None else ms_to_samples(lookahead_ms.double(), rate)
    cut = off if sidechain_cut_hz is None else torch.tan(math.pi / rate * sidechain_cut_hz.double())
    mean_ms = off if rms_ms is None else rms_ms.double()
    # Where these are 0 they have derivatives, which a row without them would not compute.
    wants_ahead = lookahead_ms is not None and lookahead_ms.requires_grad
    wants_cut = sidechain_cut_hz is not None and sidechain_cut_hz.requires_grad
    columns = {
        _THRESHOLD: threshold_db.double() / DB_PER_OCTAVE,
        _SLOPE: 1.0 - 1.0 / ratio.double(),
        _KNEE: knee_db.double() / DB_PER_OCTAVE,
        _LINK: link.double(),
        _ATTACK: time_constant(attack_ms.double(), rate),
        _RELEASE: time_constant(release_ms.double(), rate),
        _LAW: off if law is None else law.detach().double(),
        _WET: wet * db_to_amplitude(makeup_db.double()),
        _DRY: 1.0 - wet,
        _AHEAD: ahead,
        _DELAY: ahead.detach().ceil().clamp_min(1.0 if wants_ahead else 0.0),
        _CUT: cut / (1.0 + cut),
        _KEEP: time_constant(mean_ms.clamp_min(_SHORTEST_MS), rate),
        _LISTENS: ((cut.detach() > 0.0) | (mean_ms.detach() > 0.0) | wants_cut).double(),
    }
    return torch.stack([columns[i] for i in range(len(columns))], dim=1)


def latency(rate: float, lookahead_ms: float) -> int:
    """Samples by which `compress_block` is late."""
    return math.ceil(ms_to_samples(lookahead_ms, rate))


def _run_row(x: Samples, p: Floats, kept: Floats, y: Samples) -> None:
    _run(x, p, np.zeros((x.shape[0], _MEMORY)), y, kept)


def compress(x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    """Compress each row of x (batch, channel, time) by its own row of `settings`, differentiably, aligned."""
    if lane_functions.away(x):
        from fxstyle.device import dynamics as elsewhere

        return elsewhere.compress(x, p)
    _, channels, length = x.shape
    delays = p.detach()[:, _DELAY].tolist()
    kept = [np.empty((-(-(length + int(delay)) // _BLOCK), channels, _MEMORY)) for delay in delays]
    return each_row(x, p, kept, _run_row, _run_adjoint)


def compress_block(x: Samples, p: Floats, state: DynamicsState | None) -> tuple[Samples, DynamicsState]:
    """Compress a block (channel, time) by one row of `settings`; it comes out late by D samples."""
    delay = int(p[_DELAY])
    memory = np.zeros((x.shape[0], _MEMORY)) if state is None else state.memory.copy()
    late = x[:, :0] if state is None else state.late
    if late.shape[1] < delay:
        late = np.concatenate((np.zeros((x.shape[0], delay - late.shape[1]), dtype=x.dtype), late), axis=1)
    joined = np.concatenate((late[:, late.shape[1] - delay :], x), axis=1) if delay else own(x)
    y = np.empty_like(x, order="C")
    _run(joined, p, memory, y, _KEEP_NOTHING)
    return y, DynamicsState(memory, joined[:, x.shape[1] :].copy())


def static_curve(level_db: Floats, p: Floats) -> Floats:
    """Return the gain in dB, make-up and mix included, at each steady level in dB, any number of them."""
    turned_db = curve.static_curve_db(level_db, p[_THRESHOLD], p[_SLOPE], p[_KNEE])
    gain = p[_WET] * db_to_amplitude(-turned_db) + p[_DRY]
    return np.asarray(20.0 * np.log10(gain), dtype=np.float64)
