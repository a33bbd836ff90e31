"""Bit-crusher: an old sampler's converter, with few bits and a low rate, heard as a staircase.

    v_k = x(k h)                         the input at instant k, on the straight line between two samples
    q_k = D round(v_k/D)                 rounded to the nearest step of the converter
    q(t) = q_k for k h <= t < (k + 1) h  held until the next instant
    y[n] = mean of q(t) from n to n + 1  the staircase, read sample by sample

    h = max(1, rate/hold_hz)             samples between two instants; rate is that of the sound, in Hz
    D = 2^(1 - bits)                     the step: 2^bits levels span -1 .. 1

Written out, y[n] is q_k but for the sample in which an instant falls: with j the whole part of k h and a
the rest, y[j] = a q_{k-1} + (1 - a) q_k. So any hold_hz is met exactly, and where h is a whole number
neither mean nor line changes anything. With hold_hz at or above the rate of the sound only the bits are
left.

How rough: a sine at full scale lies 6.02 bits + 1.76 dB above the error (W. R. Bennett 1948), which is
74 dB at 12 bits and 50 dB at 8. Softer sound lies as much nearer to it. There is no filter against
aliases, nor against images: they are the sound. Nothing is clipped. Silence stays silence, since round()
takes halves to the even number. The defaults, 12 bits at 26.04 kHz, are those of E-mu's SP-1200.

A fit needs slopes, and a staircase has none. It takes the straight-through ones instead (Y. Bengio et al.
2013; for the step: S. K. Esser et al., "Learned step size quantization", ICLR 2020, eq. 3): the error
q_k - v_k is kept as it is, but for its size, which goes with D: dq/dv = 1 and dq/dbits = -ln 2 (q - v).
That is exact for the power of the error, D^2/12, and for a mean over dither of the width of a step.
hold_hz has its true slope.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import njit

from fxstyle.dsp.kernel import each_channel
from fxstyle.dsp.recurrence import own
from fxstyle.effect import Effect, Samples
from fxstyle.param import Param

Floats = npt.NDArray[np.float64]

LATENCY = 1
"""Samples: the straight line between two of them needs the next."""

LOWEST_HOLD_HZ = 500.0

# Columns of the settings as the kernels take them: 1/D, h, and for gradients the largest h.
_SCALE, _HOLD, _LONGEST = range(3)

_ALMOST = 1.0 - 1e-13
"""What rounding may do to h is less than that."""


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _first_instant(time: int, hold: float) -> int:
    """Return the least k with floor(k hold) >= time, by the very products that place all instants."""
    k = math.floor(time / hold) - 1
    while math.floor(k * hold) < time:
        k += 1
    return k


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _ahead(x: npt.NDArray[Any], j: int) -> float:
    """x[j + 1] - x[j], where the sound may end between the two."""
    after = x[j + 1] if j + 1 < x.size else 0.0
    return float(after - x[j])


@njit(cache=True, nogil=True, error_model="numpy")
def _run(x: npt.NDArray[Any], first: int, p: Floats, q: float, y: npt.NDArray[Any]) -> float:
    """Write y.size samples of the staircase; x may hold one more, else it counts as zero.

    Its mean over a sample, and the line between samples, make y continuous in h, with a derivative.

    first: time of x[0]. q: the last level; its successor is returned. Levels are computed in the type of x,
    from 1/D in that type.
    """
    real = x.dtype.type
    hold = p[_HOLD]
    up = real(p[_SCALE])
    down = real(1.0 / up)
    if hold == 1.0:
        for n in range(y.size):
            y[n] = np.rint(x[n] * up) * down
        return float(y[y.size - 1]) if y.size > 0 else q
    k, n = _first_instant(first, hold), 0
    while n < y.size:
        j = math.floor(k * hold) - first
        for i in range(n, min(j, y.size)):
            y[i] = q
        if j < y.size:
            a = k * hold - math.floor(k * hold)
            last, q = q, float(np.rint(real(x[j] + a * _ahead(x, j)) * up) * down)
            y[j] = a * last + (1.0 - a) * q
        n = j + 1
        k += 1
    return q


@njit(cache=True, nogil=True, error_model="numpy")
def _adjoint(dy: npt.NDArray[Any], x: npt.NDArray[Any], p: Floats, dx: npt.NDArray[Any], dp: Floats) -> None:
    """Fill dx and add to dp, for a channel that begins at time 0.

    With e_k = q_k - v_k, j_k and a_k the parts of k h, and a bar for the derivative by a signal:

        q'_k = (1 - a_k) y'[j_k] + sum of y' until the next instant + a_{k+1} y'[j_{k+1}]
        x'[j] += (1 - a) q'_k       x'[j + 1] += a q'_k
        bits' = -ln 2 sum q'_k e_k,   by way of 1/D
        h' = sum k (y'[j] (q_{k-1} - q_k) + q'_k (x[j+1] - x[j]))

    The last grows with time, as that by the frequency of anything does: true, but only for a small step.
    Where k h is whole, which sample it lies in depends on where h can go: up, or down from the largest.
    """
    real = x.dtype.type
    hold = p[_HOLD]
    if hold > 1.0 and hold >= _ALMOST * p[_LONGEST]:
        hold *= _ALMOST
    up = real(p[_SCALE])
    down = real(1.0 / up)
    error_grad, hold_grad, last = 0.0, 0.0, 0.0
    for n in range(x.size):
        dx[n] = 0.0
    k, j, a = 0, 0, 0.0
    while j < x.size:
        next_j = math.floor((k + 1) * hold)
        next_a = (k + 1) * hold - next_j
        slope = _ahead(x, j)
        v = real(x[j] + a * slope)
        q = float(np.rint(v * up) * down)
        q_grad = (1.0 - a) * dy[j]
        for n in range(j + 1, min(next_j, x.size)):
            q_grad += dy[n]
        if next_j < x.size:
            q_grad += next_a * dy[next_j]
        dx[j] += (1.0 - a) * q_grad
        if j + 1 < x.size:
            dx[j + 1] += a * q_grad
        error_grad += q_grad * (q - v)
        hold_grad += k * (dy[j] * (last - q) + q_grad * slope)
        k, j, a, last = k + 1, next_j, next_a, q
    dp[_SCALE] -= error_grad / p[_SCALE]
    dp[_HOLD] += hold_grad


def _forward(x: npt.NDArray[Any], p: Floats, y: npt.NDArray[Any]) -> None:
    _run(x, 0, p, 0.0, y)


def forward(x: torch.Tensor, rate: float, *, bits: torch.Tensor, hold_hz: torch.Tensor) -> torch.Tensor:
    """Crush each row of (batch, channel, time) with its own settings; time 0 is its first sample."""
    hold = (rate / hold_hz.double()).clamp_min(1.0)
    settings = torch.stack([2.0 ** (bits.double() - 1.0), hold], dim=1)
    if x.device.type != "cpu":
        from fxstyle.device import crush

        return crush.crush(x, settings)
    longest = torch.full_like(settings[:, :1], rate / LOWEST_HOLD_HZ)
    lanes = torch.cat([settings, longest], dim=1)[:, None].expand(-1, x.shape[1], -1)
    return each_channel(x, lanes, None, _forward, _adjoint)


@dataclass(frozen=True)
class State:
    """Where a stream stands. Nothing in it is ever written to, so a state can be used more than once.

    Attributes
    ----------
    sample: (channel, 1), the last sample of the input.
    level: the last q of each channel.
    time: samples so far.
    """

    sample: Samples
    level: tuple[float, ...]
    time: int


def render(
    x: Samples, rate: float, state: State | None, *, bits: float, hold_hz: float
) -> tuple[Samples, State]:
    """Crush a block (channel, time), one sample late."""
    channels, count = x.shape
    if state is None:
        state = State(np.zeros((channels, 1), x.dtype), (0.0,) * channels, 0)
    if count == 0:
        return x.copy(), state
    x = own(x)
    y, levels = np.empty_like(x), []
    p = np.array((2.0 ** (float(bits) - 1.0), max(rate / float(hold_hz), 1.0)))
    seam = np.concatenate([state.sample, x[:, :1]], axis=1)
    for c, level in enumerate(state.level):
        # The sample that waited for its successor, then all but the last, which waits in turn.
        between = _run(seam[c], state.time - 1, p, level, y[c, :1])
        levels.append(_run(x[c], state.time, p, between, y[c, 1:]))
    return y, State(x[:, -1:].copy(), tuple(levels), state.time + count)


def _latency(rate: float, settings: Mapping[str, float]) -> int:
    return LATENCY


EFFECT = Effect(
    name="bitcrush",
    summary="Bit-crusher: fewer bits, lower rate",
    params=(
        Param(
            "bits", "bit", 2.0, 16.0, default=12.0, spread=0.2,
            help="resolution; down: grit and hiss, 8 is an early sampler, 16 clean",
        ),
        Param(
            "hold_hz", "Hz", LOWEST_HOLD_HZ, 192_000.0, default=26_040.0, scale="log", spread=0.2,
            help="steps per second; down: ringing aliases, at the rate of the sound it is off",
        ),
    ),
    forward=forward,
    render=render,
    # Both forms run the same kernel on the same numbers; measured, they agree to the bit.
    tolerance_db=-140.0,
    straight_through=True,
    latency=_latency,
    time_invariant=False,
    hosts={
        "pedalboard.Bitcrush": "bit_depth = bits - 1, hold_hz at the sound's rate; to the bit in float32"
    },
)  # fmt: skip
