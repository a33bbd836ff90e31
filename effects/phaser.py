"""Phaser: notches that sweep up and down the spectrum, by six all-pass filters mixed with the input.

    u_0[n] = x[n] + r v[n-1]                            the input, and what came out last
    u_k[n] = c u_{k-1}[n] + (1 - c) s_k[n]              six stages, k = 1 .. 6
    s_k[n+1] = (1 + c) u_{k-1}[n] - c s_k[n]            what a stage remembers
    v[n] = u_6[n],   y[n] = (1 - m) x[n] + m v[n]

    c = tan(pi f[n]/rate - pi/4)
    f[n] = centre_hz 2^(-4.98 depth sin(2 pi rate_hz n/rate + phase))

    f        held within 20 Hz and 20 kHz, and below .49 of the rate; a depth of 1 is 4.98 octaves to
             either side
    phase    0 in the first, third .. channel, stereo_phase_deg in the second, fourth ..
    r, m     feedback and mix
    n, rate  samples since the beginning; samples per second

Each stage turns the phase at a frequency f' by -2 atan(f'/f) and leaves levels as they are (frequencies
warped as tan(pi f/rate)). With a mix of 1/2 and no feedback there are three notches, where the six turn
by 180, 540 and 900 degrees: at .268 f, f and 3.73 f. Feedback above 0 raises what lies between them,
below 0 the places of the notches. With `sync` a sweep lasts a note value at tempo_bpm and rate_hz does
not count: 60/tempo_bpm seconds for each quarter, a dot half as long again, a triplet (t) two thirds.

Stages: V. Zavalishin, "The art of VA filter design", 2012, ch. 3, trapezoidal integration, which behaves
well while f moves. It is the law of JUCE's dsp::Phaser, found by comparison with pedalboard.Phaser; there
the feedback has the other sign, the channels sweep together, and the filters follow the sweep at every
fourth sample only, which makes a difference of -64 to -82 dB.

With a feedback below 1 the loop is stable at any f that rests; while f moves, its bound is measured, at
the knobs' extremes, and not proven.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numba import njit

from fxstyle import tempo
from fxstyle.device import lane_functions
from fxstyle.dsp.kernel import TINY_IN_LOOP, flush
from fxstyle.dsp.oscillator import SYNC, Floats, oscillate, sweep, swept
from fxstyle.dsp.recurrence import own
from fxstyle.effect import Effect, Samples
from fxstyle.param import Param
from fxstyle.units import HIGHEST_OF_RATE, NEPERS_OF_60_DB

Six = tuple[float, float, float, float, float, float]

STAGES = 6

LEAST_HZ = 20.0
MOST_HZ = 20_000.0
OCTAVES = math.log2(MOST_HZ / LEAST_HZ) / 2.0
"""The swing to either side at a depth of 1: 4.98."""

# Columns of the settings as the kernels take them; turns of the oscillator per sample, swing, ln of
# pi centre_hz/rate, r, m, least and greatest pi f/rate, phase in radians.
_TURNS, _SWING, _CENTRE, _R, _M, _LEAST, _MOST, _PHASE = range(8)

_HELD = STAGES + 1
"""Numbers that a channel's loop holds between two samples: s_1 .. s_6 and v."""

_E2, _E3, _E4, _E5, _E6, _E7, _E8, _E9, _E10, _E11 = (1.0 / math.factorial(k) for k in range(2, 12))


@njit(cache=True, nogil=True, error_model="numpy")
def _sweep(p: Floats, begin: int, circle: Floats, wave: Floats, bend: Floats) -> None:
    """Fill SYNC values from time `begin` on; a loop of fixed length, which runs on the processor's lanes.

    wave: receives sine and cosine, (2, SYNC). bend: receives c and dc/d ln f, (2, SYNC).
    exp(z) is Taylor's series of z/8 to the 11th power, thrice squared: |z| < 3.46, relative error 1e-12.
    tan is the convergent of Lambert's continued fraction of order 7: within +-pi/4 its error is 2e-13.
    """
    oscillate(p[_TURNS], p[_PHASE], begin, circle, wave)
    swing, centre = p[_SWING], math.exp(p[_CENTRE])
    least, most = p[_LEAST], p[_MOST]
    for k in range(SYNC):
        z = -0.125 * swing * wave[0, k]
        e = _E8 + z * (_E9 + z * (_E10 + z * _E11))
        e = _E4 + z * (_E5 + z * (_E6 + z * (_E7 + z * e)))
        e = 1.0 + z * (1.0 + z * (_E2 + z * (_E3 + z * e)))
        e *= e
        e *= e
        free = centre * e * e
        held = min(max(free, least), most)
        u = held - 0.25 * math.pi
        q = u * u
        above = 135135.0 + q * (q * (378.0 - q) - 17325.0)
        c = u * above / (135135.0 + q * (q * (3150.0 - 28.0 * q) - 62370.0))
        bend[0, k] = c
        bend[1, k] = (1.0 + c * c) * held if free == held else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _stage(c: float, u: float, s: float) -> tuple[float, float]:
    return c * u + (1.0 - c) * s, (1.0 + c) * u - c * s


@njit(cache=True, nogil=True, error_model="numpy")
def _chain(c: float, u: float, s: Six) -> tuple[float, Six, Six]:
    """Return u_6, the states after it, and u_{k-1} - s_k, which costs nothing where nobody asks for it."""
    u1, s1 = _stage(c, u, s[0])
    u2, s2 = _stage(c, u1, s[1])
    u3, s3 = _stage(c, u2, s[2])
    u4, s4 = _stage(c, u3, s[3])
    u5, s5 = _stage(c, u4, s[4])
    u6, s6 = _stage(c, u5, s[5])
    gaps = (u - s[0], u1 - s[1], u2 - s[2], u3 - s[3], u4 - s[4], u5 - s[5])
    return u6, (s1, s2, s3, s4, s5, s6), gaps


@njit(cache=True, nogil=True, error_model="numpy")
def _load(held: Floats, lag: int) -> tuple[Six, float]:
    """Return the states and v; the states flushed if lag = 0, which is often enough, since v always is."""
    # One by one: to unpack an array numba compiles, for seconds, the text of the error that it may not fit.
    s1, s2, s3, s4, s5, s6 = held[0], held[1], held[2], held[3], held[4], held[5]
    if lag == 0:
        s1, s2, s3, s4, s5, s6 = flush(s1), flush(s2), flush(s3), flush(s4), flush(s5), flush(s6)
    return (s1, s2, s3, s4, s5, s6), held[STAGES]


@njit(cache=True, nogil=True, error_model="numpy")
def _store(held: Floats, s: Six, v: float) -> None:
    for k in range(STAGES):
        held[k] = s[k]
    held[STAGES] = v


@njit(cache=True, nogil=True, error_model="numpy")
def _stage_adjoint(c: float, u: float, g: float, gap: float, c_grad: float) -> tuple[float, float, float]:
    """Return u'_{k-1}, s'_k[n] and the sum c' so far from u'_k and s'_k[n+1]."""
    return c * u + (1.0 + c) * g, (1.0 - c) * u - c * g, c_grad + (u + g) * gap


@njit(cache=True, nogil=True, error_model="numpy")
def _run(x: Samples, first: int, p: Floats, circle: Floats, held: Floats, y: Samples) -> None:
    """Run the docstring's equations over (channel, time).

    Two channels side by side take the time of one, which would wait for its own last product all the while;
    an odd last one runs beside itself. first: time n of x[:, 0]. p: (channel, 8). circle: (channel, 2, SYNC).
    held: (channel, 7), s_1 .. s_6 and v, brought up to date.
    """
    wave, bend_a, bend_b = np.empty((2, SYNC)), np.empty((2, SYNC)), np.empty((2, SYNC))
    for i in range(0, x.shape[0], 2):
        j = min(i + 1, x.shape[0] - 1)
        r_a, r_b, m_a, m_b = p[i, _R], p[j, _R], p[i, _M], p[j, _M]
        n = 0
        while n < x.shape[1]:
            begin = (first + n) // SYNC * SYNC
            _sweep(p[i], begin, circle[i], wave, bend_a)
            _sweep(p[j], begin, circle[j], wave, bend_b)
            lag, until = first + n - begin, min(begin + SYNC - first, x.shape[1])
            x_a, x_b, y_a, y_b = x[i, n:until], x[j, n:until], y[i, n:until], y[j, n:until]
            c_a, c_b = bend_a[0, lag:], bend_b[0, lag:]
            s_a, v_a = _load(held[i], lag)
            s_b, v_b = _load(held[j], lag)
            for k in range(until - n):
                u_a, s_a, _ = _chain(c_a[k], x_a[k] + r_a * v_a, s_a)
                u_b, s_b, _ = _chain(c_b[k], x_b[k] + r_b * v_b, s_b)
                v_a, v_b = flush(u_a), flush(u_b)
                y_a[k] = (1.0 - m_a) * x_a[k] + m_a * v_a
                y_b[k] = (1.0 - m_b) * x_b[k] + m_b * v_b
            _store(held[i], s_a, v_a)
            _store(held[j], s_b, v_b)
            n = until


def _forward(x: Samples, p: Floats, circle: Floats, y: Samples) -> None:
    _run(x, 0, p, circle, np.zeros((x.shape[0], _HELD)), y)


@njit(cache=True, nogil=True, error_model="numpy")
def _trace(x: Samples, c: Floats, r: float, held: Floats, gaps: Floats, wet: Floats) -> None:
    """Run one channel's block; keep u_{k-1} - s_k in gaps (SYNC, 6), v[n-1] and all v in wet (SYNC + 1,)."""
    s, v = _load(held, 0)
    wet[0] = v
    for i in range(x.size):
        u, s, gap = _chain(c[i], x[i] + r * v, s)
        for k in range(STAGES):
            gaps[i, k] = gap[k]
        v = flush(u)
        wet[i + 1] = v
    _store(held, s, v)


@njit(cache=True, nogil=True, error_model="numpy")
def _adjoint(dy: Samples, x: Samples, p: Floats, circle: Floats, dx: Samples, dp: Floats) -> None:
    """Run one channel again, keeping its states at every SYNC samples; then block by block backwards.

    Adjoint, with a bar for the derivative by a signal, in reverse time:

        u'_6[n] = m y'[n] + r u'_0[n+1]
        c'[n] += (u'_k[n] + s'_k[n+1]) (u_{k-1}[n] - s_k[n])        k = 6 .. 1
        u'_{k-1}[n] = c u'_k[n] + (1 + c) s'_k[n+1]
        s'_k[n] = (1 - c) u'_k[n] - c s'_k[n+1]
        x'[n] = (1 - m) y'[n] + u'_0[n]

        l' = c' (1 + c^2) pi f/rate, the derivative by ln f, where f is not held, else 0
        ln centre_hz: sum l'    swing = ln 2 OCTAVES depth: -sum l' sin    phase: -swing sum l' cos
        rate_hz: as phase, times 2 pi n/rate    r: sum u'_0[n] v[n-1]    m: sum y' (v - x)

    Where f is held it has no derivative by any knob, nor on the very edge.
    """
    swing, r, m = p[_SWING], p[_R], p[_M]
    count = x.size
    blocks = (count + SYNC - 1) // SYNC
    wave, bend = np.empty((2, SYNC)), np.empty((2, SYNC))
    gaps, wet, marks = np.empty((SYNC, STAGES)), np.empty(SYNC + 1), np.empty((blocks, _HELD))
    held = np.zeros(_HELD)
    for block in range(blocks):
        begin = block * SYNC
        _sweep(p, begin, circle, wave, bend)
        for k in range(_HELD):
            marks[block, k] = held[k]
        _trace(x[begin : begin + SYNC], bend[0], r, held, gaps, wet)

    g1, g2, g3, g4, g5, g6, u_grad = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0  # s'_1 .. s'_6 and u'_0
    turns_grad, swing_grad, centre_grad, r_grad, m_grad, phase_grad = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for block in range(blocks - 1, -1, -1):
        begin = block * SYNC
        _sweep(p, begin, circle, wave, bend)
        _trace(x[begin : begin + SYNC], bend[0], r, marks[block], gaps, wet)
        for n in range(min(begin + SYNC, count) - 1, begin - 1, -1):
            i = n - begin
            c = bend[0, i]
            u = flush(m * dy[n] + r * u_grad)
            c_grad = 0.0
            u, g6, c_grad = _stage_adjoint(c, u, g6, gaps[i, 5], c_grad)
            u, g5, c_grad = _stage_adjoint(c, u, g5, gaps[i, 4], c_grad)
            u, g4, c_grad = _stage_adjoint(c, u, g4, gaps[i, 3], c_grad)
            u, g3, c_grad = _stage_adjoint(c, u, g3, gaps[i, 2], c_grad)
            u, g2, c_grad = _stage_adjoint(c, u, g2, gaps[i, 1], c_grad)
            u_grad, g1, c_grad = _stage_adjoint(c, u, g1, gaps[i, 0], c_grad)
            dx[n] = (1.0 - m) * dy[n] + u_grad
            log_grad = c_grad * bend[1, i]
            angle_grad = -swing * log_grad * wave[1, i]
            centre_grad += log_grad
            swing_grad -= log_grad * wave[0, i]
            phase_grad += angle_grad
            turns_grad += angle_grad * n
            r_grad += u_grad * wet[i]
            m_grad += dy[n] * (wet[i + 1] - x[n])
        g1, g2, g3, g4, g5, g6 = flush(g1), flush(g2), flush(g3), flush(g4), flush(g5), flush(g6)
    dp[_TURNS] += 2.0 * math.pi * turns_grad
    dp[_SWING] += swing_grad
    dp[_CENTRE] += centre_grad
    dp[_R] += r_grad
    dp[_M] += m_grad
    dp[_PHASE] += phase_grad


def _settings(
    rate: float,
    rate_hz: torch.Tensor,
    depth: torch.Tensor,
    centre_hz: torch.Tensor,
    feedback: torch.Tensor,
    mix: torch.Tensor,
    stereo_phase_deg: torch.Tensor,
    sync: torch.Tensor,
    tempo_bpm: torch.Tensor,
) -> torch.Tensor:
    """Return the kernel's settings (batch, 8) in float64, differentiable."""
    centre = (centre_hz.double() * (math.pi / rate)).log()
    least = torch.full_like(centre, math.pi * min(LEAST_HZ / rate, HIGHEST_OF_RATE))
    most = torch.full_like(centre, math.pi * min(MOST_HZ / rate, HIGHEST_OF_RATE))
    swing = depth.double() * (OCTAVES * math.log(2.0))
    phase = stereo_phase_deg.double().deg2rad()
    turns = tempo.rate_hz(rate_hz, sync, tempo_bpm) / rate
    columns = [turns, swing, centre, feedback.double(), mix.double(), least, most, phase]
    return torch.stack(columns, dim=1)


def forward(
    x: torch.Tensor,
    rate: float,
    *,
    rate_hz: torch.Tensor,
    depth: torch.Tensor,
    centre_hz: torch.Tensor,
    feedback: torch.Tensor,
    mix: torch.Tensor,
    stereo_phase_deg: torch.Tensor,
    sync: torch.Tensor,
    tempo_bpm: torch.Tensor,
) -> torch.Tensor:
    """Sweep each row of (batch, channel, time) with its own settings; time 0 is its first sample."""
    knobs = (rate_hz, depth, centre_hz, feedback, mix, stereo_phase_deg, sync, tempo_bpm)
    if lane_functions.away(x):
        from fxstyle.device import swept as elsewhere

        return elsewhere.phaser(x, _settings(rate, *knobs))
    return sweep(x, _settings(rate, *knobs), _forward, _adjoint, pairs=True)


@lru_cache(maxsize=64)  # the same for every block of a stream, and dearer than a short block
def _rows(channels: int, rate: float, *knobs: float) -> tuple[Floats, Floats]:
    """Return what `swept` does for one setting, in the order of the knobs."""
    return swept(_settings(rate, *torch.tensor(knobs, dtype=torch.float64)[:, None]), channels)


@dataclass(frozen=True)
class State:
    """Where a stream stands. Nothing in it is ever written to, so a state can be used more than once.

    Attributes
    ----------
    held: (channel, 7), s_1 .. s_6 and the last v.
    time: samples so far.
    """

    held: Floats
    time: int


def render(
    x: Samples,
    rate: float,
    state: State | None,
    *,
    rate_hz: float,
    depth: float,
    centre_hz: float,
    feedback: float,
    mix: float,
    stereo_phase_deg: float,
    sync: float,
    tempo_bpm: float,
) -> tuple[Samples, State]:
    """Sweep a block (channel, time)."""
    knobs = (rate_hz, depth, centre_hz, feedback, mix, stereo_phase_deg, sync, tempo_bpm)
    rows, circle = _rows(x.shape[0], rate, *knobs)
    held, time = (np.zeros((x.shape[0], _HELD)), 0) if state is None else (state.held.copy(), state.time)
    y = np.empty_like(x, order="C")
    _run(own(x), time, rows, circle, held, y)
    return y, State(held, time + x.shape[1])


_RATE_HZ = Param(
    "rate_hz", "Hz", 0.02, 10.0, default=0.4, scale="log", spread=0.2, help="sweeps per second; up: faster"
)
_DEPTH = Param(
    "depth", "", 0.0, 1.0, default=0.4, spread=0.2,
    help="how far it sweeps; 1 is five octaves to either side, 0 stands still",
)  # fmt: skip
_CENTRE_HZ = Param(
    "centre_hz", "Hz", 100.0, 8000.0, default=1000.0, scale="log", spread=0.15,
    help="middle notch, around which they all sweep; up: brighter",
)  # fmt: skip
_FEEDBACK = Param(
    "feedback", "", -0.95, 0.95, default=0.3, spread=0.2,
    help="away from 0: sharper; above 0 peaks between the notches, below 0 in their place",
)  # fmt: skip
_MIX = Param(
    "mix", "", 0.0, 1.0, default=0.5, spread=0.15,
    help="share of the swept sound; notches are deepest at .5, 0 is off",
)  # fmt: skip
_STEREO_PHASE_DEG = Param(
    "stereo_phase_deg", "deg", 0.0, 180.0, default=60.0, spread=0.25,
    help="how far the right sweeps behind the left; up: wider, 0 is mono",
)  # fmt: skip

_SYNC = tempo.sync("note value of one sweep at tempo_bpm, in the place of rate_hz")

TAIL = 15.0
"""What six stages add to the slowest pole's 60 dB, in nepers: by simulation, at most 14.1."""


def _tail_s(settings: Mapping[str, float]) -> float:
    """Take the slowest pole of the loop where the sweep is lowest; it moves on, so this is an upper bound.

    With p = s/omega the loop closes where ((1 + p)/(1 - p))^6 = r: the slowest root is
    p = -(R - 1)/(R + 1), R = |r|^(-1/6), if r > 0; and no slower if r < 0.
    """
    lowest_hz = max(settings["centre_hz"] / math.exp2(OCTAVES * settings["depth"]), LEAST_HZ)
    root = float(max(abs(settings["feedback"]), TINY_IN_LOOP) ** (-1.0 / STAGES))
    return (NEPERS_OF_60_DB * (root + 1.0) / (root - 1.0) + TAIL) / (2.0 * math.pi * lowest_hz)


EFFECT = Effect(
    name="phaser",
    summary="Phaser: six swept all-passes with feedback",
    params=(
        _RATE_HZ, _DEPTH, _CENTRE_HZ, _FEEDBACK, _MIX, _STEREO_PHASE_DEG, _SYNC, tempo.TEMPO_BPM
    ),
    forward=forward,
    render=render,
    # Both forms run the same float64 kernel, of which the output alone is rounded to float32.
    tolerance_db=-140.0,
    tail_s=_tail_s,
    idle=tempo.idle("rate_hz"),
    linear=True,
    time_invariant=False,
    hosts={
        "pedalboard.Phaser": "centre_frequency_hz = centre_hz, feedback of the other sign, stereo_phase_deg"
        " 0; it holds its filters for four samples: with that the same to -115 dB, without it within -63 dB"
    },
)  # fmt: skip
