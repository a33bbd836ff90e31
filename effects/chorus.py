"""Chorus, flanger and vibrato: a delay whose time sways, fed back and mixed with the input.

    D[n] = max(least, delay - depth sin(2 pi rate_hz n/rate + phase))    the delay at sample n
    w[n] = x[n] + r v[n-1]                                               what enters the line
    v[n] = sum_{j<4} c_j(t) w[n - d - j]                                 what leaves it, d + 1 + t = D[n]
    y[n] = (1 - m) x[n] + m v[n]

    delay, depth    delay_ms and depth_ms; as D in samples, rate/1000 to a millisecond
    least           0.25 ms, and not less than one sample: a sweep that would go below is cut off there
    phase           0 in the first, third .. channel, stereo_phase_deg in the second, fourth ..
    r, m            feedback and mix
    n, rate         samples since the beginning; samples per second
    d, t            whole part of D, less 1, and the rest, 0 <= t < 1

Chorus: delays of 5 to 30 ms, no feedback. Flanger: below 5 ms, with feedback; at a mix of .5 the first
notch lies at 1/(2 D), so 0.25 ms puts it at 2 kHz. Vibrato: a mix of 1, where the pitch sways by up to
0.63 rate_hz depth_ms per cent: 5 Hz and 1 ms are 3 %, half a semitone. With `sync` a sweep lasts a note
value at tempo_bpm and rate_hz does not count: 60/tempo_bpm seconds for each quarter, a dot half as long
again, a triplet (t) two thirds.

Between samples the line is read by cubic Hermite interpolation (E. Catmull & R. Rom 1974):

    c_0 = t/2 (-1 + t (2 - t))        c_1 = 1 + t^2/2 (-5 + 3 t)
    c_2 = t/2 (1 + t (4 - 3 t))       c_3 = t^2/2 (t - 1)

In the worst place between two samples its error at rate/40, /20, /10, /5 is -84, -66, -47, -26 dB, and no
frequency gains level by it. So the loop is stable at any delay that rests; while it moves, its bound is
measured, at the knobs' extremes, and not proven. A delay between two samples dulls the highs: at rate/4
by up to 1.1 dB.

This is the law of JUCE's dsp::Chorus, found by comparison with pedalboard.Chorus; there the feedback has
the other sign, the channels sway together, `least` is 1 ms and the line is read by straight lines.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import njit

from fxstyle import tempo
from fxstyle.device import lane_functions
from fxstyle.dsp.kernel import flush
from fxstyle.dsp.oscillator import SYNC, Floats, oscillate, sweep, swept
from fxstyle.dsp.recurrence import own
from fxstyle.effect import Effect, Samples
from fxstyle.param import Param
from fxstyle.units import amplitude_to_db, ms_to_samples

LEAST_MS = 0.25
"""Shortest delay. Short enough for a flanger's top (first notch 2 kHz), two samples at 8 kHz."""

LEAST_SAMPLES = 1.0
"""Keeps c_0 off the sample not yet written; at rates below 4 kHz it is longer than LEAST_MS."""

TAPS = 4

# Columns of the settings as the kernels take them; turns of the oscillator per sample, delays in samples,
# phase in radians.
_TURNS, _DEPTH, _DELAY, _R, _M, _LEAST, _PHASE = range(7)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _sweep(
    p: Floats,
    begin: int,
    circle: Floats,
    swing: Floats,
    whole: npt.NDArray[np.int64],
    taps: Floats,
) -> None:
    """Fill SYNC values from time `begin` on; a loop of fixed length, which runs on the processor's lanes.

    Hermite weights, as with them v is a smooth function of D: weights through four points (Lagrange) or two
    (linear) bend at every whole sample, which a moving delay crosses all the time, and the derivative by D
    jumps there.

    circle: sine and cosine of the angles from 0 on. swing: receives sine, cosine and t, (3, SYNC).
    whole: receives d + 1. taps: receives c_j, (4, SYNC).
    """
    oscillate(p[_TURNS], p[_PHASE], begin, circle, swing)
    depth, delay, least = p[_DEPTH], p[_DELAY], p[_LEAST]
    for k in range(SYNC):
        swept = delay - depth * swing[0, k]
        here = swept if swept > least else least  # in this form no NaN becomes an index
        whole[k] = int(here)
        t = here - whole[k]
        swing[2, k] = t
        taps[0, k] = 0.5 * t * (t * (2.0 - t) - 1.0)
        taps[1, k] = 1.0 + 0.5 * t * t * (3.0 * t - 5.0)
        taps[2, k] = 0.5 * t * (1.0 + t * (4.0 - 3.0 * t))
        taps[3, k] = 0.5 * t * t * (t - 1.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _run(
    x: npt.NDArray[Any],
    first: int,
    p: Floats,
    circle: Floats,
    v: float,
    line: Floats,
    y: npt.NDArray[Any],
) -> float:
    """Run the equations of the module's docstring over one channel; return the last v.

    first: time n of x[0]. v: the value before. line: w, of which the last x.size samples are written.
    """
    r, m = p[_R], p[_M]
    before = line.size - x.size
    swing, whole, taps = np.empty((3, SYNC)), np.empty(SYNC, np.int64), np.empty((TAPS, SYNC))
    f0, f1, f2 = line[3:], line[2:], line[1:]  # f_j[k] is the sample that c_j weighs; f_3 = line
    n = 0
    while n < x.size:
        begin = (first + n) // SYNC * SYNC
        _sweep(p, begin, circle, swing, whole, taps)
        until = min(begin + SYNC - first, x.size)
        lag, base = first + n - begin, before + n
        given, out, written = x[n:until], y[n:until], line[base:]
        for i in range(given.size):
            # Unsigned numbers index a quarter faster: they need no test for counting from the end.
            j = np.uint64(lag + i)
            k = np.uint64(base + i - whole[j] - 2)
            written[i] = given[i] + r * v
            v = flush((taps[0, j] * f0[k] + taps[1, j] * f1[k]) + (taps[2, j] * f2[k] + taps[3, j] * line[k]))
            out[i] = (1.0 - m) * given[i] + m * v
        n = until
    return v


@njit(cache=True, nogil=True, error_model="numpy")
def _run_adjoint(
    dy: npt.NDArray[Any],
    x: npt.NDArray[Any],
    p: Floats,
    circle: Floats,
    w: Floats,
    wet: npt.NDArray[Any],
    dw: Floats,
    dx: npt.NDArray[Any],
    dp: Floats,
) -> None:
    """Run the adjoint over one channel: with a bar for the derivative by a signal, in reverse time,

        v'[n] = m y'[n] + r w'[n+1]
        w'[n - d - j] += c_j(t) v'[n]         complete for n once v'[n] has been spread
        x'[n] = (1 - m) y'[n] + w'[n]
        D'[n] = v'[n] sum_j dc_j/dt w[n-d-j]  where D > least, else 0

        delay: sum D'    depth: -sum D' sin    phase: -depth sum D' cos    turns: as phase, times 2 pi n
        r: sum w'[n] v[n-1]                    m: sum y' (v - x)

    Where D is held at least it has no derivative by any knob (nor on the very edge); not for a whole period,
    since at the zeros of the sine D is the delay itself.

    w, wet: the line and v. dw: zeros, one more than w.
    """
    depth, delay, r, m, least = p[_DEPTH], p[_DELAY], p[_R], p[_M], p[_LEAST]
    count = x.size
    reach = w.size - count
    swing, whole, taps = np.empty((3, SYNC)), np.empty(SYNC, np.int64), np.empty((TAPS, SYNC))
    turns_grad, depth_grad, delay_grad, r_grad, m_grad, phase_grad = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    begin = (count - 1) // SYNC * SYNC
    while begin >= 0:
        _sweep(p, begin, circle, swing, whole, taps)
        for n in range(min(begin + SYNC, count) - 1, begin - 1, -1):
            j = n - begin
            k = reach + n - whole[j]
            v_grad = flush(m * dy[n] + r * dw[reach + n + 1])
            dw[k + 1] += v_grad * taps[0, j]
            dw[k] += v_grad * taps[1, j]
            dw[k - 1] += v_grad * taps[2, j]
            dw[k - 2] += v_grad * taps[3, j]
            if delay - depth * swing[0, j] > least:
                t, f0, f1, f2, f3 = swing[2, j], w[k + 1], w[k], w[k - 1], w[k - 2]
                bend = 2.0 * f0 - 5.0 * f1 + 4.0 * f2 - f3 + 1.5 * t * (3.0 * (f1 - f2) + f3 - f0)
                here_grad = v_grad * (0.5 * (f2 - f0) + t * bend)
                angle_grad = -here_grad * depth * swing[1, j]
                delay_grad += here_grad
                depth_grad -= here_grad * swing[0, j]
                phase_grad += angle_grad
                turns_grad += angle_grad * n
            dx[n] = (1.0 - m) * dy[n] + dw[reach + n]
            m_grad += dy[n] * (wet[n] - x[n])
            if n > 0:
                r_grad += dw[reach + n] * wet[n - 1]
        begin -= SYNC
    dp[_TURNS] += 2.0 * math.pi * turns_grad
    dp[_DEPTH] += depth_grad
    dp[_DELAY] += delay_grad
    dp[_R] += r_grad
    dp[_M] += m_grad
    dp[_PHASE] += phase_grad


def _reach(p: Floats) -> int:
    """Return how many samples back the line is read with these settings, or a few more."""
    return int(max(abs(p[_DEPTH]) + p[_DELAY], p[_LEAST])) + TAPS


def _forward(x: npt.NDArray[Any], p: Floats, circle: Floats, y: npt.NDArray[Any]) -> None:
    _run(x, 0, p, circle, 0.0, np.zeros(_reach(p) + x.size), y)


def _adjoint(
    dy: npt.NDArray[Any], x: npt.NDArray[Any], p: Floats, circle: Floats, dx: npt.NDArray[Any], dp: Floats
) -> None:
    # The same line again, but of v alone: with m = 1 that is what comes out.
    only_wet = p.copy()
    only_wet[_M] = 1.0
    w, wet = np.zeros(_reach(p) + x.size), np.empty_like(x)
    _run(x, 0, only_wet, circle, 0.0, w, wet)
    _run_adjoint(dy, x, p, circle, w, wet, np.zeros(w.size + 1), dx, dp)


def _settings(
    rate: float,
    rate_hz: torch.Tensor,
    depth_ms: torch.Tensor,
    delay_ms: torch.Tensor,
    feedback: torch.Tensor,
    mix: torch.Tensor,
    stereo_phase_deg: torch.Tensor,
    sync: torch.Tensor,
    tempo_bpm: torch.Tensor,
) -> torch.Tensor:
    """Return the kernel's settings (batch, 7) in float64, differentiable."""
    depth, delay = (ms_to_samples(time_ms.double(), rate) for time_ms in (depth_ms, delay_ms))
    phase = stereo_phase_deg.double().deg2rad()
    least = torch.full_like(delay, max(ms_to_samples(LEAST_MS, rate), LEAST_SAMPLES))
    turns = tempo.rate_hz(rate_hz, sync, tempo_bpm) / rate
    return torch.stack([turns, depth, delay, feedback.double(), mix.double(), least, phase], dim=1)


def forward(
    x: torch.Tensor,
    rate: float,
    *,
    rate_hz: torch.Tensor,
    depth_ms: torch.Tensor,
    delay_ms: torch.Tensor,
    feedback: torch.Tensor,
    mix: torch.Tensor,
    stereo_phase_deg: torch.Tensor,
    sync: torch.Tensor,
    tempo_bpm: torch.Tensor,
) -> torch.Tensor:
    """Sweep each row of (batch, channel, time) with its own settings; time 0 is its first sample."""
    knobs = (rate_hz, depth_ms, delay_ms, feedback, mix, stereo_phase_deg, sync, tempo_bpm)
    if lane_functions.away(x):
        from fxstyle.device import swept as elsewhere

        return elsewhere.chorus(x, _settings(rate, *knobs))
    return sweep(x, _settings(rate, *knobs), _forward, _adjoint)


@lru_cache(maxsize=64)  # the same for every block of a stream, and dearer than a short block
def _rows(channels: int, rate: float, *knobs: float) -> tuple[Floats, Floats]:
    """Return what `swept` does for one setting, in the order of the knobs."""
    return swept(_settings(rate, *torch.tensor(knobs, dtype=torch.float64)[:, None]), channels)


@dataclass(frozen=True)
class State:
    """Where a stream stands. Nothing in it is ever written to, so a state can be used more than once.

    Attributes
    ----------
    line: (channel, reach), the last samples of w.
    wet: (channel,), the last v.
    time: samples so far.
    """

    line: Floats
    wet: Floats
    time: int


def render(
    x: Samples,
    rate: float,
    state: State | None,
    *,
    rate_hz: float,
    depth_ms: float,
    delay_ms: float,
    feedback: float,
    mix: float,
    stereo_phase_deg: float,
    sync: float,
    tempo_bpm: float,
) -> tuple[Samples, State]:
    """Sweep a block (channel, time); a knob turned between two blocks makes the delay jump."""
    x = own(x)
    channels, count = x.shape
    knobs = (rate_hz, depth_ms, delay_ms, feedback, mix, stereo_phase_deg, sync, tempo_bpm)
    rows, circle = _rows(channels, rate, *knobs)
    if state is None:
        # As long as any setting needs, so that a delay which grows within the stream finds the sound.
        longest = int(ms_to_samples(_DELAY_MS.high + _DEPTH_MS.high, rate)) + TAPS
        state = State(np.zeros((channels, longest)), np.zeros(channels), 0)
    held = state.line.shape[1]
    reach = max(_reach(rows[0]), held)
    line = np.zeros((channels, reach + count))
    line[:, reach - held : reach] = state.line
    wet, y = state.wet.copy(), np.empty_like(x)
    for c in range(channels):
        wet[c] = _run(x[c], state.time, rows[c], circle[c], state.wet[c], line[c], y[c])
    return y, State(line[:, count:].copy(), wet, state.time + count)


_RATE_HZ = Param(
    "rate_hz", "Hz", 0.05, 10.0, default=0.8, scale="log", spread=0.2,
    help="sweeps per second; up: faster, from drift to shimmer",
)  # fmt: skip
_DEPTH_MS = Param(
    "depth_ms", "ms", 0.0, 10.0, default=2.0, spread=0.15,
    help="how far the delay swings to either side; up: more detuned",
)  # fmt: skip
_DELAY_MS = Param(
    "delay_ms", "ms", 0.5, 30.0, default=8.0, scale="log", spread=0.15,
    help="around which it swings; below 5 a flanger, above a chorus",
)  # fmt: skip
_FEEDBACK = Param(
    "feedback", "", -0.9, 0.9, default=0.0, spread=0.15,
    help="away from 0: sharper, more metallic peaks; below 0 they lie elsewhere, hollow",
)  # fmt: skip
_MIX = Param(
    "mix", "", 0.0, 1.0, default=0.4, spread=0.2,
    help="share of the swept sound; .5 is deepest, 1 is vibrato, 0 is off",
)  # fmt: skip
_STEREO_PHASE_DEG = Param(
    "stereo_phase_deg", "deg", 0.0, 180.0, default=90.0, spread=0.25,
    help="how far the right sweeps behind the left; up: wider, 0 is mono",
)  # fmt: skip

_SYNC = tempo.sync("note value of one sweep at tempo_bpm, in the place of rate_hz")

GONE_DB = -60.0
"""Echoes this far below the sound count as gone when the tail is reckoned."""


def _tail_s(settings: Mapping[str, float]) -> float:
    """Count the passes of the longest delay, at the resonance that r makes strongest.

    There the swept part is m/(1 - r) and the input 1 - m; once the input ends, pass k is r^k of the former.
    """
    longest_s = (settings["delay_ms"] + settings["depth_ms"]) / 1000.0
    r, m = abs(settings["feedback"]), settings["mix"]
    share_db = float(amplitude_to_db(m / (m + (1.0 - m) * (1.0 - r))))
    loss_db = -float(amplitude_to_db(r))
    return longest_s * (1.0 + max(share_db - GONE_DB, 0.0) / loss_db)


EFFECT = Effect(
    name="chorus",
    summary="Chorus and flanger: a swept delay with feedback",
    params=(
        _RATE_HZ, _DEPTH_MS, _DELAY_MS, _FEEDBACK, _MIX, _STEREO_PHASE_DEG, _SYNC, tempo.TEMPO_BPM
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
        "pedalboard.Chorus": "centre_delay_ms = delay_ms, depth = depth_ms/10, feedback of the other sign,"
        " stereo_phase_deg 0, while the delay stays above 1 ms; it interpolates linearly: with that the same"
        " to -90 dB, without it within -50 dB up to 1 kHz"
    },
)  # fmt: skip
