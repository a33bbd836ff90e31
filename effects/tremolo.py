"""Tremolo and auto-pan: the level goes up and down, on both sides together or by turns.

    y[n] = g[n] x[n]
    g[n] = 1 - depth (1 - w[n])/2                                between 1 - depth and 1
    w[n] = p sin a/sqrt(cos^2 a + p^2 sin^2 a)                   between -1 and 1
    a = 2 pi rate_hz n/rate + phase

    p        16^shape: how many times as steep as a sine the edges are
    phase    0 in the first, third .. channel, stereo_phase_deg in the second, fourth ..
    n, rate  samples since the beginning; samples per second

At a stereo_phase_deg of 0 it is tremolo; at 180 auto-pan, whose two gains add up to 2 - depth at all
times, so that the sum to mono does not waver.

At shape 0 w is a sine. A tone then gets exactly two sidebands, rate_hz away on either side, of depth/4 of
its amplitude, and has 1 - depth/2 itself. Towards shape 1 w gets steep edges and flat tops but stays
smooth: there an edge takes 4 % of a period (between -.9 and .9), as good as a square and without clicks.

A depth of .5 goes down by 6 dB, of 1 to silence; on average it is softer than the input. With `sync` a
period lasts a note value at tempo_bpm and rate_hz does not count: 60/tempo_bpm seconds for each quarter,
a dot half as long again, a triplet (t) two thirds.

The sine is that of ffmpeg's filter `tremolo`, which begins a quarter of a period later, at the top; the
shape is this effect's own.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import njit

from fxstyle import tempo
from fxstyle.dsp.oscillator import SYNC, Floats, oscillate, sweep, swept
from fxstyle.dsp.recurrence import own
from fxstyle.effect import Effect, Samples
from fxstyle.param import Param

STEEPEST = 16.0
"""Edges at shape 1, as a multiple of the sine's: sigma of the kernels is this to the power of the shape."""

# Columns of the settings as the kernels take them; turns of the oscillator per sample, phase in radians.
_TURNS, _DEPTH, _SIGMA, _PHASE = range(4)


@njit(cache=True, nogil=True, error_model="numpy")
def _run(x: npt.NDArray[Any], first: int, p: Floats, circle: Floats, y: npt.NDArray[Any]) -> None:
    """Run the equations of the module's docstring over one channel; first: time n of x[0]."""
    wave, gain = np.empty((2, SYNC)), np.empty(SYNC)
    half, sigma = 0.5 * p[_DEPTH], p[_SIGMA]
    n = 0
    while n < x.size:
        begin = (first + n) // SYNC * SYNC
        oscillate(p[_TURNS], p[_PHASE], begin, circle, wave)
        for k in range(SYNC):
            height, across = sigma * wave[0, k], wave[1, k]
            gain[k] = 1.0 - half + half * height / math.sqrt(across * across + height * height)
        until = min(begin + SYNC - first, x.size)
        given, out, gains = x[n:until], y[n:until], gain[first + n - begin :]
        for i in range(given.size):
            out[i] = given[i] * gains[i]
        n = until


def _forward(x: npt.NDArray[Any], p: Floats, circle: Floats, y: npt.NDArray[Any]) -> None:
    _run(x, 0, p, circle, y)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _adjoint(
    dy: npt.NDArray[Any], x: npt.NDArray[Any], p: Floats, circle: Floats, dx: npt.NDArray[Any], dp: Floats
) -> None:
    """Do the adjoint of one channel: with a bar for the derivative by a signal,

        x' = g y',   g' = x y'
        depth: -sum g' (1 - w)/2       with q = g' depth/2 (cos^2 a + sigma^2 sin^2 a)^(-3/2):
        sigma: sum q sin a cos^2 a     phase: sum q sigma cos a     turns: as phase, times 2 pi n

    The order of the sums is left to the compiler: they are gradients, not sound.
    """
    wave = np.empty((2, SYNC))
    depth, sigma = p[_DEPTH], p[_SIGMA]
    turns_grad, depth_grad, sigma_grad, phase_grad = 0.0, 0.0, 0.0, 0.0
    for begin in range(0, x.size, SYNC):
        oscillate(p[_TURNS], p[_PHASE], begin, circle, wave)
        until = min(begin + SYNC, x.size)
        given, told, out = x[begin:until], dy[begin:until], dx[begin:until]
        block_turns, block_phase = 0.0, 0.0
        for k in range(given.size):
            s, c = wave[0, k], wave[1, k]
            square = c * c + sigma * sigma * s * s
            root = math.sqrt(square)
            trough = 0.5 * (1.0 - sigma * s / root)
            gain_grad = given[k] * told[k]
            out[k] = (1.0 - depth * trough) * told[k]
            depth_grad -= gain_grad * trough
            bend = 0.5 * depth * gain_grad / (square * root)
            sigma_grad += bend * s * c * c
            angle_grad = bend * sigma * c
            block_phase += angle_grad
            block_turns += angle_grad * k
        phase_grad += block_phase
        turns_grad += block_turns + begin * block_phase
    dp[_TURNS] += 2.0 * math.pi * turns_grad
    dp[_DEPTH] += depth_grad
    dp[_SIGMA] += sigma_grad
    dp[_PHASE] += phase_grad


def _settings(
    rate: float,
    rate_hz: torch.Tensor,
    depth: torch.Tensor,
    shape: torch.Tensor,
    stereo_phase_deg: torch.Tensor,
    sync: torch.Tensor,
    tempo_bpm: torch.Tensor,
) -> torch.Tensor:
    """Return the kernel's settings (batch, 4) in float64, differentiable."""
    sigma = (shape.double() * math.log(STEEPEST)).exp()
    phase = stereo_phase_deg.double().deg2rad()
    turns = tempo.rate_hz(rate_hz, sync, tempo_bpm) / rate
    return torch.stack([turns, depth.double(), sigma, phase], dim=1)


def forward(
    x: torch.Tensor,
    rate: float,
    *,
    rate_hz: torch.Tensor,
    depth: torch.Tensor,
    shape: torch.Tensor,
    stereo_phase_deg: torch.Tensor,
    sync: torch.Tensor,
    tempo_bpm: torch.Tensor,
) -> torch.Tensor:
    """Modulate each row of (batch, channel, time) with its own settings; time 0 is its first sample."""
    settings = _settings(rate, rate_hz, depth, shape, stereo_phase_deg, sync, tempo_bpm)
    if x.device.type != "cpu":
        from fxstyle.device import swept as elsewhere

        return elsewhere.tremolo(x, settings)
    return sweep(x, settings, _forward, _adjoint)


@lru_cache(maxsize=64)  # the same for every block of a stream, and dearer than a short block
def _rows(channels: int, rate: float, *knobs: float) -> tuple[Floats, Floats]:
    """Return what `swept` does for one setting, in the order of the knobs."""
    return swept(_settings(rate, *torch.tensor(knobs, dtype=torch.float64)[:, None]), channels)


def render(
    x: Samples,
    rate: float,
    state: int | None,
    *,
    rate_hz: float,
    depth: float,
    shape: float,
    stereo_phase_deg: float,
    sync: float,
    tempo_bpm: float,
) -> tuple[Samples, int]:
    """Modulate a block (channel, time); the state is the number of samples so far."""
    knobs = (rate_hz, depth, shape, stereo_phase_deg, sync, tempo_bpm)
    rows, circle = _rows(x.shape[0], rate, *knobs)
    time = 0 if state is None else state
    x = own(x)
    y = np.empty_like(x)
    for c in range(x.shape[0]):
        _run(x[c], time, rows[c], circle[c], y[c])
    return y, time + x.shape[1]


EFFECT = Effect(
    name="tremolo",
    summary="Tremolo and auto-pan: level swept by an oscillator",
    params=(
        Param(
            "rate_hz", "Hz", 0.05, 20.0, default=4.0, scale="log", spread=0.2,
            help="ups and downs per second; up: from a pulse to a flutter",
        ),
        Param(
            "depth", "", 0.0, 1.0, default=0.4, spread=0.2,
            help="how far down it goes; .5 is 6 dB, 1 silence, 0 is off",
        ),
        Param(
            "shape", "", 0.0, 1.0, default=0.0, spread=0.25,
            help="0: a sine, up: steeper, 1: on and off, without clicks",
        ),
        Param(
            "stereo_phase_deg", "deg", 0.0, 180.0, default=0.0, spread=0.3,
            help="how far the right swings behind the left; 0 is tremolo, 180 auto-pan",
        ),
        tempo.sync("note value of one up and down at tempo_bpm, in the place of rate_hz"),
        tempo.TEMPO_BPM,
    ),
    idle=tempo.idle("rate_hz"),
    forward=forward,
    render=render,
    # Both forms run the same kernel, in float64; measured, they agree to the bit.
    tolerance_db=-140.0,
    linear=True,
    time_invariant=False,
    hosts={
        "ffmpeg tremolo": "f = rate_hz and d = depth, at shape 0; it begins a quarter of a period later, as"
        " the right channel here does at stereo_phase_deg 90; differs by 3e-7 at most"
    },
)  # fmt: skip
