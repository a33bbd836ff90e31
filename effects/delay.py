"""Echoes: a delay line with feedback, its loop filtered by a one-pole low cut and high cut.

    v[n] = sum_{j<4} c_j f[n - d - j]                       the line, read between samples
    w[n] = x[n] + r v[n]                                    r = feedback
    h[n] = (1 + p)/2 (w[n] - w[n-1]) + p h[n-1]             low cut
    f[n] = (1 - q)/2 (h[n] + h[n-1]) + q f[n-1]             high cut
    y[n] = x[n] + l v[n]                                    l = 10^(level_db/20)

so the echoes at D, 2D, 3D ... have the levels l, l r, l r^2 ... and each has passed the filters once
more than the one before it. The filters are the bilinear transforms of first-order sections,

    p, q = (1 - tan(pi f/rate)) / (1 + tan(pi f/rate)),

3 dB down exactly at their frequency (J. O. Smith, "Introduction to digital filters", app. E); above
.49 of the rate they stay there. The time D = rate * time_ms/1000 is fractional, with cubic
interpolation (`fxstyle.convolve.lagrange_taps`, which states the error); its gain never exceeds one,
nor do the filters', so the loop is stable whenever r < 1. Channels are independent.

Adjoint, with a bar for the derivative by a signal, in reverse time:

    v'[n] = l y'[n] + r w'[n]
    f'[n] = sum_j c_j v'[n + d + j] + q f'[n+1]
    h'[n] = (1 - q)/2 (f'[n] + f'[n+1]) + p h'[n+1]
    w'[n] = (1 + p)/2 (h'[n] - h'[n+1])
    x'[n] = y'[n] + w'[n]

    c_j: sum v'[n] f[n-d-j]        r: sum w' v        l: sum y' v
    p: sum h'[n] (h[n-1] + (w[n] - w[n-1])/2)    q: sum f'[n] (f[n-1] - (h[n] + h[n-1])/2)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from numba import njit, prange
from torch.autograd.function import once_differentiable

from fxstyle.convolve import LAGRANGE_TAPS, lagrange_split, lagrange_taps
from fxstyle.effect import Effect, Samples
from fxstyle.kernel import flush
from fxstyle.param import Param
from fxstyle.units import amplitude_to_db, db_to_amplitude, ms_to_samples, power_to_db

if TYPE_CHECKING:
    from fxstyle.features.measure import Measurement

HIGHEST_OF_RATE = 0.49
"""Corner frequencies stop here, short of half the rate, where the bilinear transform has its pole."""

PAGE = 4096
"""Arrays of a stream's line shorter than this are joined with the next block."""

_COEFFICIENTS = LAGRANGE_TAPS + 4
"""Columns of the coefficients: four taps, feedback, p, q, level."""


@njit(cache=True, nogil=True, error_model="numpy")
def _run(
    x: npt.NDArray[Any],
    coefficients: npt.NDArray[np.float64],
    read: npt.NDArray[np.float64],
    write: npt.NDArray[np.float64],
    memory: npt.NDArray[np.float64],
    y: npt.NDArray[Any],
) -> None:
    """Run the equations of the module's docstring over one channel.

    read: the line, of which read[n + 3] = f[n - d] and read[n] = f[n - d - 3].
    write: receives f[n]; where the delay is shorter than the block it is the later part of `read`.
    memory: w, h, f of the sample before; left at those of the last sample.
    """
    c0, c1, c2, c3, r, p, q, level = coefficients
    b, c = (1 + p) / 2, (1 - q) / 2
    w1, h1, f1 = memory
    v3, v2, v1 = read[0], read[1], read[2]
    for n in range(x.size):
        v0 = read[n + 3]
        v = c0 * v0 + c1 * v1 + c2 * v2 + c3 * v3
        v3, v2, v1 = v2, v1, v0
        w = x[n] + r * v
        h = flush(b * (w - w1) + p * h1)
        f1 = flush(c * (h + h1) + q * f1)
        w1, h1 = w, h
        write[n] = f1
        y[n] = x[n] + level * v
    memory[0], memory[1], memory[2] = w1, h1, f1


@njit(cache=True, nogil=True, error_model="numpy")
def _run_adjoint(
    x: npt.NDArray[Any],
    y_grad: npt.NDArray[Any],
    coefficients: npt.NDArray[np.float64],
    whole: int,
    x_grad: npt.NDArray[Any],
    coefficients_grad: npt.NDArray[np.float64],
) -> None:
    """Recompute f and h of one channel, then run the adjoint equations of the module's docstring."""
    c0, c1, c2, c3, r, p, q, level = coefficients
    b, c = (1 + p) / 2, (1 - q) / 2
    count = x.size
    # Zeros before the beginning: the line is read up to `whole` + 3 samples earlier.
    before = whole + LAGRANGE_TAPS
    f = np.zeros(before + count)
    h = np.empty(count)
    w1, h1, f1 = 0.0, 0.0, 0.0
    for n in range(count):
        k = n + before - whole
        w = x[n] + r * (c0 * f[k] + c1 * f[k - 1] + c2 * f[k - 2] + c3 * f[k - 3])
        h[n] = flush(b * (w - w1) + p * h1)
        f1 = flush(c * (h[n] + h1) + q * f1)
        f[before + n] = f1
        w1, h1 = w, h[n]

    v_grad = np.zeros(count + before)
    f_grad1, h_grad1 = 0.0, 0.0
    g0, g1, g2, g3, r_grad, p_grad, q_grad, level_grad = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    k = count - 1 + before - whole
    v = 0.0 if count == 0 else c0 * f[k] + c1 * f[k - 1] + c2 * f[k - 2] + c3 * f[k - 3]
    w = 0.0 if count == 0 else x[count - 1] + r * v
    for n in range(count - 1, -1, -1):
        m = n + whole
        total = c0 * v_grad[m] + c1 * v_grad[m + 1] + c2 * v_grad[m + 2] + c3 * v_grad[m + 3]
        f_grad = flush(total + q * f_grad1)
        h_grad = flush(c * (f_grad + f_grad1) + p * h_grad1)
        w_grad = b * (h_grad - h_grad1)
        k = n + before - whole
        r_grad += w_grad * v
        level_grad += y_grad[n] * v
        here = level * y_grad[n] + r * w_grad
        v_grad[n] = here
        g0 += here * f[k]
        g1 += here * f[k - 1]
        g2 += here * f[k - 2]
        g3 += here * f[k - 3]
        x_grad[n] = y_grad[n] + w_grad
        v, w_now, w, h_before = 0.0, w, 0.0, 0.0
        if n > 0:
            v = c0 * f[k - 1] + c1 * f[k - 2] + c2 * f[k - 3] + c3 * f[k - 4]
            w = x[n - 1] + r * v
            h_before = h[n - 1]
        p_grad += h_grad * (h_before + 0.5 * (w_now - w))
        q_grad += f_grad * (f[before + n - 1] - 0.5 * (h[n] + h_before))
        f_grad1, h_grad1 = f_grad, h_grad
    coefficients_grad[:] = (g0, g1, g2, g3, r_grad, p_grad, q_grad, level_grad)


@njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def _batch(
    x: npt.NDArray[Any],
    coefficients: npt.NDArray[np.float64],
    whole: npt.NDArray[np.int64],
    y: npt.NDArray[Any],
) -> None:
    for i in prange(x.shape[0] * x.shape[1]):
        row, channel = i // x.shape[1], i % x.shape[1]
        line = np.zeros(whole[row] + LAGRANGE_TAPS - 1 + x.shape[2])
        write = line[whole[row] + LAGRANGE_TAPS - 1 :]
        _run(x[row, channel], coefficients[row], line, write, np.zeros(3), y[row, channel])


@njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def _batch_adjoint(
    x: npt.NDArray[Any],
    y_grad: npt.NDArray[Any],
    coefficients: npt.NDArray[np.float64],
    whole: npt.NDArray[np.int64],
    x_grad: npt.NDArray[Any],
    coefficients_grad: npt.NDArray[np.float64],
) -> None:
    for i in prange(x.shape[0] * x.shape[1]):
        row, channel = i // x.shape[1], i % x.shape[1]
        _run_adjoint(
            x[row, channel],
            y_grad[row, channel],
            coefficients[row],
            whole[row],
            x_grad[row, channel],
            coefficients_grad[row, channel],
        )


class _Echo(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, coefficients: torch.Tensor, whole: npt.NDArray[np.int64]
    ) -> torch.Tensor:
        ctx.save_for_backward(x, coefficients)
        ctx.whole = whole
        samples = x.detach().numpy()
        y = np.empty_like(samples)
        _batch(samples, coefficients.detach().numpy(), whole, y)
        return torch.from_numpy(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        x, coefficients = ctx.saved_tensors
        samples = x.detach().numpy()
        x_grad = np.empty_like(samples)
        coefficients_grad = np.empty((*samples.shape[:2], _COEFFICIENTS))
        _batch_adjoint(
            samples,
            grad.contiguous().numpy(),
            coefficients.detach().numpy(),
            ctx.whole,
            x_grad,
            coefficients_grad,
        )
        return torch.from_numpy(x_grad), torch.from_numpy(coefficients_grad.sum(axis=1)), None


def _pole(frequency_hz: torch.Tensor, rate: float) -> torch.Tensor:
    tangent = (math.pi * (frequency_hz / rate).clamp_max(HIGHEST_OF_RATE)).tan()
    return (1 - tangent) / (1 + tangent)


def _coefficients(
    rate: float,
    time_ms: torch.Tensor,
    feedback: torch.Tensor,
    level_db: torch.Tensor,
    low_cut_hz: torch.Tensor,
    high_cut_hz: torch.Tensor,
) -> tuple[torch.Tensor, npt.NDArray[np.int64]]:
    """Return the coefficients (batch, 8) in float64, differentiable, and the whole delays (batch,)."""
    # No tap may read the sample that is being written: at odd rates of a few hundred Hz that matters.
    delay = ms_to_samples(time_ms.double(), rate).clamp_min(2.0)
    whole = np.array([lagrange_split(value) for value in delay.tolist()], dtype=np.int64)
    taps = lagrange_taps(delay - torch.from_numpy(whole))
    poles = _pole(low_cut_hz.double(), rate), _pole(high_cut_hz.double(), rate)
    rest = torch.stack([feedback.double(), *poles, db_to_amplitude(level_db.double())], dim=1)
    return torch.cat([taps, rest], dim=1), whole


def forward(
    x: torch.Tensor,
    rate: float,
    *,
    time_ms: torch.Tensor,
    feedback: torch.Tensor,
    level_db: torch.Tensor,
    low_cut_hz: torch.Tensor,
    high_cut_hz: torch.Tensor,
) -> torch.Tensor:
    """Add echoes to each row of (batch, channel, time) with its own settings."""
    coefficients, whole = _coefficients(rate, time_ms, feedback, level_db, low_cut_hz, high_cut_hz)
    y: torch.Tensor = _Echo.apply(x.contiguous(), coefficients, whole)  # type: ignore[no-untyped-call]
    return y


@lru_cache(maxsize=64)  # the same for every block of a stream, and dearer than a short block
def _row(rate: float, *knobs: float) -> tuple[npt.NDArray[np.float64], int]:
    """Return the coefficients (8,) and the whole delay of one setting, in the order of `render`'s knobs."""
    columns = torch.tensor(knobs, dtype=torch.float64)[:, None]
    coefficients, whole = _coefficients(rate, *columns)
    return coefficients[0].numpy(), int(whole[0])


@dataclass(frozen=True)
class State:
    """Where a stream stands. Nothing in it is ever written to, so a state can be used more than once.

    Attributes
    ----------
    line: f up to now as arrays (channel, time), oldest first; no copy of what is already there is made
        when a block is added, unless the last array is short.
    memory: (channel, 3), the last w, h and f.
    """

    line: tuple[npt.NDArray[np.float64], ...]
    memory: npt.NDArray[np.float64]

    def past(self, back: int, count: int) -> npt.NDArray[np.float64]:
        """Return `count` samples of f from `back` samples ago, (channel, count); zero before all."""
        pieces: list[npt.NDArray[np.float64]] = []
        newest = 0
        for page in reversed(self.line):
            # This page reaches from newest + its length to newest samples ago.
            first = max(newest + page.shape[1] - back, 0)
            last = min(newest + page.shape[1] - back + count, page.shape[1])
            if first < last:
                pieces.append(page[:, first:last])
            newest += page.shape[1]
        missing = min(max(back - newest, 0), count)
        return np.concatenate([np.zeros((self.memory.shape[0], missing)), *reversed(pieces)], axis=1)

    def extended(self, written: npt.NDArray[np.float64], memory: npt.NDArray[np.float64], kept: int) -> State:
        """Return the state after `written` (channel, time), keeping at least the last `kept` samples."""
        line = [*self.line, written]
        if self.line and self.line[-1].shape[1] < PAGE:
            line[-2:] = [np.concatenate(line[-2:], axis=1)]
        surplus = sum(page.shape[1] for page in line) - kept
        while line[0].shape[1] <= surplus:
            surplus -= line.pop(0).shape[1]
        return State(tuple(line), memory)


def render(
    x: Samples,
    rate: float,
    state: State | None,
    *,
    time_ms: float,
    feedback: float,
    level_db: float,
    low_cut_hz: float,
    high_cut_hz: float,
) -> tuple[Samples, State]:
    """Add echoes to a block (channel, time); a time that grows within a stream meets silence at first."""
    row, whole = _row(rate, time_ms, feedback, level_db, low_cut_hz, high_cut_hz)
    x = np.ascontiguousarray(x)
    channels, count = x.shape
    if state is None:
        state = State((), np.zeros((channels, 3)))
    reach = whole + LAGRANGE_TAPS - 1
    if count <= whole:
        read, write = state.past(reach, count + LAGRANGE_TAPS - 1), np.empty((channels, count))
    else:
        read = np.concatenate([state.past(reach, reach), np.zeros((channels, count))], axis=1)
        write = read[:, reach:]
    memory, y = state.memory.copy(), np.empty_like(x)
    for channel in range(channels):
        _run(x[channel], row, read[channel], write[channel], memory[channel], y[channel])
    return y, state.extended(write, memory, reach)


_TIME_MS = Param("time_ms", "ms", 5.0, 2000.0, default=350.0, scale="log", help="between two echoes")
_FEEDBACK = Param("feedback", "", 0.0, 0.95, default=0.3, help="level of each echo over the one before")
_LEVEL_DB = Param("level_db", "dB", -60.0, 6.0, default=-12.0, help="of the first echo; -60 is inaudible")
_LOW_CUT_HZ = Param("low_cut_hz", "Hz", 20.0, 2000.0, default=80.0, scale="log", help="6 dB/octave, per echo")
_HIGH_CUT_HZ = Param(
    "high_cut_hz", "Hz", 500.0, 20000.0, default=6000.0, scale="log", help="6 dB/octave, per echo"
)

LEAST_LEVEL_DB = -60.0
"""Echoes this far below the sound count as gone when the tail is reckoned."""


def _tail_s(settings: Mapping[str, float]) -> float:
    """Echo k has the level l r^(k-1): count those above LEAST_LEVEL_DB."""
    time_s = settings["time_ms"] / 1000.0
    room_db = settings["level_db"] - LEAST_LEVEL_DB
    loss_db = -float(amplitude_to_db(settings["feedback"]))
    return time_s * (1.0 + max(room_db, 0.0) / loss_db)


CLEARLY_STRONGER = 0.1
"""Repeat strength by which a reference must exceed the source; two dry recordings differ by as much."""

QUIET_DB = -40.0
"""Level of the echoes where the reference shows none: low, but with a gradient."""


def start(source: Measurement, reference: Measurement) -> dict[str, float]:
    """Guess time and level from the strongest repeat, if the reference's is clearly stronger.

    One echo of relative power e repeats an envelope with the normalised autocorrelation s = e/(1 + e^2)
    at its lag; solved for e. How much of that is due to further echoes cannot be told: feedback = s.
    """
    settings = {p.name: p.default for p in (_TIME_MS, _FEEDBACK, _LEVEL_DB, _LOW_CUT_HZ, _HIGH_CUT_HZ)}
    strength = reference.echo_strength
    in_range = _TIME_MS.low <= reference.echo_ms <= _TIME_MS.high
    if not (in_range and strength > source.echo_strength + CLEARLY_STRONGER):
        return {**settings, "level_db": QUIET_DB}
    single = min(strength, 0.5)  # one echo as loud as the sound itself repeats it no more than that
    power = (1.0 - math.sqrt(1.0 - 4.0 * single**2)) / (2.0 * single)
    level_db = max(float(power_to_db(power)), _LEVEL_DB.low)
    feedback = min(strength, _FEEDBACK.high)
    return {**settings, "time_ms": reference.echo_ms, "feedback": feedback, "level_db": level_db}


EFFECT = Effect(
    name="delay",
    summary="Echoes with filtered feedback",
    params=(_TIME_MS, _FEEDBACK, _LEVEL_DB, _LOW_CUT_HZ, _HIGH_CUT_HZ),
    forward=forward,
    render=render,
    # Both forms run the same float64 recursion, of which the output alone is rounded to float32.
    tolerance_db=-140.0,
    tail_s=_tail_s,
    start=start,
)
