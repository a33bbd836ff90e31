"""Bit-crusher: an old sampler's converter, with few bits and a low rate, heard as a staircase.

    t_k = k h                           h = max(1, rate/hold_hz), the time between two instants in samples
    v_k = x(t_k)                        on the straight line between two samples
    q_k = D round(v_k/D)                D = 2^(1 - bits)
    y[n] = integral from n to n + 1 of q(t) dt,     q(t) = q_k for t_k <= t < t_{k+1}

so that with j = floor(t_k), a = t_k - j

    y[j] = a q_{k-1} + (1 - a) q_k      and y[n] = q_k until the next instant

n counts from the beginning of the stream; round() takes halves to the even number, so that silence stays
silence. D is the step of a converter whose 2^bits levels span -1 .. 1: a sine at full scale keeps
6.02 bits + 1.76 dB above the error (W. R. Bennett 1948). Nothing is clipped. There is no filter against
aliasing and none against images: they are the sound. Integrating over a sample, and the straight line,
are there so that y is a continuous function of h and has a derivative by it; where h is a whole number
they change nothing, and with hold_hz >= rate only the bits are left. The line needs the next sample:
`render` is one sample late.

With h = 1 this is pedalboard.Bitcrush(bit_depth = bits - 1) to the bit, in float32, for fractions of a
bit as well: it counts the bits of either polarity.

A staircase has derivatives of zero. The gradient here is the straight-through one in place of them
(Y. Bengio et al. 2013; by the step: S. K. Esser et al., "Learned step size quantization", ICLR 2020, eq. 3):
q_k = v_k + e_k, in which the error e_k is kept as it is but for its size, which goes with D,

    dq_k/dv_k = 1        dq_k/dbits = -ln 2 e_k

That is the exact derivative of q averaged over a uniform dither of width D, and in its effect on the
mean square of the error, D^2/12, exact as well. Everything else is exact:

    q'_k = (1 - a_k) y'[j_k] + sum of y' until the next instant + a_{k+1} y'[j_{k+1}]
    x'[j] += (1 - a) q'_k       x'[j + 1] += a q'_k
    bits' = -ln 2 sum q'_k e_k,   by way of 1/D
    h' = sum k (y'[j] (q_{k-1} - q_k) + q'_k (x[j+1] - x[j]))

The last grows with time, as that by the frequency of anything does: true, but only for a small step.
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

# Columns of the settings as the kernels take them: 1/D and h.
_SCALE, _HOLD = range(2)


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
    """Fill dx and add to dp, for a channel that begins at time 0."""
    real = x.dtype.type
    hold = p[_HOLD]
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
    lanes = settings[:, None].expand(-1, x.shape[1], -1)
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
    # The defaults are those of the first drum samplers.
    params=(
        Param("bits", "bit", 2.0, 16.0, default=12.0, spread=0.2, help="resolution; fractions are allowed"),
        Param(
            "hold_hz", "Hz", 500.0, 192_000.0, default=26_040.0, scale="log", spread=0.2,
            help="steps of the staircase per second; at the rate of the sound it leaves it alone",
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
