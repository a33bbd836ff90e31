"""Tremolo and auto-pan: an oscillator turns the level up and down.

    y[n] = g[n] x[n]
    g[n] = 1 - depth (1 - w[n])/2                                between 1 - depth and 1
    w[n] = sigma sin a / sqrt(cos^2 a + sigma^2 sin^2 a)         = sin b with tan b = sigma tan a
    a = 2 pi rate_hz n/rate + phase,    sigma = STEEPEST^shape

n counts from the beginning of the stream. The phase is 0 in the first channel, `stereo_phase_deg` in the
second, and so on by turns: 0 is tremolo, 180 auto-pan, whose two gains add up to 2 - depth at all times,
so that the sum to mono stays as it is.

w is the height of a point that runs round a circle seen through a lens: at shape 0 a sine, else with
edges sigma times as steep and flat tops, smooth everywhere; at shape 1, with STEEPEST = 16, its edges take
4 % of a period each (between -.9 and .9), as good as a square and without clicks. At shape 0 a tone
gets exactly two sidebands, rate_hz away on either side, of depth/4 of its amplitude, and itself
1 - depth/2 (the product of two sines). This is ffmpeg's filter `tremolo`, which begins a quarter of a period
later, at the top.

Memoryless apart from the time. Adjoint, with a bar for the derivative by a signal:

    x' = g y',   g' = x y'
    depth: -sum g' (1 - w)/2       with q = g' depth/2 (cos^2 a + sigma^2 sin^2 a)^(-3/2):
    sigma: sum q sin a cos^2 a     phase: sum q sigma cos a     rate_hz: as phase, times 2 pi n/rate
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import njit, prange
from torch.autograd.function import once_differentiable

from fxstyle.effect import Effect, Samples
from fxstyle.oscillator import SYNC, Floats, circles, oscillate
from fxstyle.param import Param

STEEPEST = 16.0
"""Edges at shape 1, as a multiple of the sine's."""

_COEFFICIENTS = 4
"""Columns: turns of the oscillator per sample, depth, sigma, phase in radians."""


@njit(cache=True, nogil=True, error_model="numpy")
def _run(
    x: npt.NDArray[Any],
    first: int,
    channel: int,
    coefficients: Floats,
    circle: Floats,
    y: npt.NDArray[Any],
) -> None:
    """Run the equations of the module's docstring over one channel; first: time n of x[0]."""
    wave, gain = np.empty((2, SYNC)), np.empty(SYNC)
    half, sigma = 0.5 * coefficients[1], coefficients[2]
    n = 0
    while n < x.size:
        begin = (first + n) // SYNC * SYNC
        oscillate(coefficients[0], coefficients[3] * (channel % 2), begin, circle, wave)
        for k in range(SYNC):
            height, across = sigma * wave[0, k], wave[1, k]
            gain[k] = 1.0 - half + half * height / math.sqrt(across * across + height * height)
        until = min(begin + SYNC - first, x.size)
        given, out, gains = x[n:until], y[n:until], gain[first + n - begin :]
        for i in range(given.size):
            out[i] = given[i] * gains[i]
        n = until


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _run_adjoint(
    x: npt.NDArray[Any],
    y_grad: npt.NDArray[Any],
    channel: int,
    coefficients: Floats,
    circle: Floats,
    x_grad: npt.NDArray[Any],
    coefficients_grad: Floats,
) -> None:
    """Do the adjoint of one channel.

    The order of the sums is left to the compiler: they are gradients, not sound.
    """
    wave = np.empty((2, SYNC))
    depth, sigma = coefficients[1], coefficients[2]
    turns_grad, depth_grad, sigma_grad, phase_grad = 0.0, 0.0, 0.0, 0.0
    for begin in range(0, x.size, SYNC):
        oscillate(coefficients[0], coefficients[3] * (channel % 2), begin, circle, wave)
        until = min(begin + SYNC, x.size)
        given, told, out = x[begin:until], y_grad[begin:until], x_grad[begin:until]
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
    turns_grad *= 2.0 * math.pi
    phase_grad *= channel % 2
    coefficients_grad[:] = (turns_grad, depth_grad, sigma_grad, phase_grad)


@njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def _batch(x: npt.NDArray[Any], coefficients: Floats, circle: Floats, y: npt.NDArray[Any]) -> None:
    for i in prange(x.shape[0] * x.shape[1]):
        row, channel = i // x.shape[1], i % x.shape[1]
        _run(x[row, channel], 0, channel, coefficients[row], circle[row], y[row, channel])


@njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def _batch_adjoint(
    x: npt.NDArray[Any],
    y_grad: npt.NDArray[Any],
    coefficients: Floats,
    circle: Floats,
    x_grad: npt.NDArray[Any],
    coefficients_grad: Floats,
) -> None:
    for i in prange(x.shape[0] * x.shape[1]):
        row, channel = i // x.shape[1], i % x.shape[1]
        _run_adjoint(
            x[row, channel],
            y_grad[row, channel],
            channel,
            coefficients[row],
            circle[row],
            x_grad[row, channel],
            coefficients_grad[row, channel],
        )


class _Tremble(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, coefficients)
        rows = coefficients.detach().numpy()
        ctx.circle = circles(rows[:, 0])
        samples = x.detach().numpy()
        y = np.empty_like(samples)
        _batch(samples, rows, ctx.circle, y)
        return torch.from_numpy(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, coefficients = ctx.saved_tensors
        samples, y_grad = x.detach().numpy(), grad.contiguous().numpy()
        x_grad = np.empty_like(samples)
        rows_grad = np.empty((*samples.shape[:2], _COEFFICIENTS))
        _batch_adjoint(samples, y_grad, coefficients.detach().numpy(), ctx.circle, x_grad, rows_grad)
        return torch.from_numpy(x_grad), torch.from_numpy(rows_grad.sum(axis=1))


def _coefficients(
    rate: float,
    rate_hz: torch.Tensor,
    depth: torch.Tensor,
    shape: torch.Tensor,
    stereo_phase_deg: torch.Tensor,
) -> torch.Tensor:
    """Return the coefficients (batch, 4) in float64, differentiable."""
    sigma = (shape.double() * math.log(STEEPEST)).exp()
    phase = stereo_phase_deg.double().deg2rad()
    return torch.stack([rate_hz.double() / rate, depth.double(), sigma, phase], dim=1)


def forward(
    x: torch.Tensor,
    rate: float,
    *,
    rate_hz: torch.Tensor,
    depth: torch.Tensor,
    shape: torch.Tensor,
    stereo_phase_deg: torch.Tensor,
) -> torch.Tensor:
    """Modulate each row of (batch, channel, time) with its own settings; time 0 is its first sample."""
    rows = _coefficients(rate, rate_hz, depth, shape, stereo_phase_deg)
    y: torch.Tensor = _Tremble.apply(x.contiguous(), rows)  # type: ignore[no-untyped-call]
    return y


@lru_cache(maxsize=64)  # the same for every block of a stream, and dearer than a short block
def _row(rate: float, *knobs: float) -> tuple[Floats, Floats]:
    """Return the coefficients (4,) and the circle (2, SYNC) of one setting, in the order of the knobs."""
    row = _coefficients(rate, *torch.tensor(knobs, dtype=torch.float64)[:, None]).numpy()
    return row[0], circles(row[:, 0])[0]


def render(
    x: Samples,
    rate: float,
    state: int | None,
    *,
    rate_hz: float,
    depth: float,
    shape: float,
    stereo_phase_deg: float,
) -> tuple[Samples, int]:
    """Modulate a block (channel, time); the state is the number of samples so far."""
    row, circle = _row(rate, rate_hz, depth, shape, stereo_phase_deg)
    time = 0 if state is None else state
    x = np.ascontiguousarray(x)
    y = np.empty_like(x)
    for c in range(x.shape[0]):
        _run(x[c], time, c, row, circle, y[c])
    return y, time + x.shape[1]


EFFECT = Effect(
    name="tremolo",
    summary="Tremolo and auto-pan: level swept by an oscillator",
    params=(
        Param(
            "rate_hz", "Hz", 0.05, 20.0, default=4.0, scale="log", spread=0.2, help="ups and downs per second"
        ),
        Param("depth", "", 0.0, 1.0, default=0.4, spread=0.2, help="how far down; 1 is down to silence"),
        Param("shape", "", 0.0, 1.0, default=0.0, spread=0.25, help="0 sine, towards 1 a square"),
        Param(
            "stereo_phase_deg", "deg", 0.0, 180.0, default=0.0, spread=0.3,
            help="right against left; 0 is tremolo, 180 auto-pan",
        ),
    ),
    forward=forward,
    render=render,
    # Both forms run the same kernel, in float64; measured, they agree to the bit.
    tolerance_db=-140.0,
)  # fmt: skip
