"""Soft saturation, four times oversampled.

    y = o D(tanh(d U(x))),   d = 10^(drive_db/20),   o = 10^(output_db/20)

U raises the rate by four and D lowers it again, both by two linear-phase half-band filters, so that
the delay is a whole number of samples:

    half-band   (F x)[n] = sum_{i<K} h_i (x[n - i] + x[n + 1 + i]),   2 sum h_i = 1

interpolates half-way between x[n] and x[n+1]; the samples in between are kept as they are. U is
"interpolate, interleave" done twice, and D is its transpose over four (J. O. Smith, "Spectral audio
signal processing", multirate polyphase forms). So the adjoint needs no other filter:

    dx = 4 D(s),   s = o d (1 - tanh^2(d U(x))) U(dy)/4

Low levels pass at gain d o: 0 dB of drive leaves them alone, but tanh still rounds loud peaks off
(-0.7 dB at -6 dBFS, -2.4 dB at full scale). Content above .455 of the rate lies in the slope of the
filters and is lost (44.1 kHz: flat to 20 kHz).

What folds back is what lies beyond four times the rate: a 5 kHz sine at full scale with 24 dB of drive
at 44.1 kHz has its aliases 39 dB below its harmonics, below 20 kHz; without oversampling it is 12 dB.

tanh is a rational function with a relative error of 1.2e-7, in float32 3.7e-7 with its rounding; see `_TANH`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from numba import njit, prange
from torch.autograd.function import once_differentiable

from fxstyle.effect import Effect, Samples
from fxstyle.param import Param
from fxstyle.units import db_to_amplitude

if TYPE_CHECKING:
    from fxstyle.features.measure import Measurement

OUTER_TAPS = 32
"""K of the half-band between the rate and twice the rate: .455 .. .545 of the rate at 90 dB."""

INNER_TAPS = 8
"""K of the half-band between twice and four times the rate, whose slope may be three times as wide."""

STOPBAND_DB = 90.0
"""Attenuation of images and aliases by either filter: just under the noise of 15 bits."""

CONTEXT = 2 * OUTER_TAPS + INNER_TAPS
"""Samples on either side that one output sample depends on; also the latency of `render`."""

CHUNK = 1024
"""Samples per pass: all planes of a pass stay in the second-level cache."""

TANH_LIMIT = 8.3
"""1 - tanh(8.3) = 1.2e-7: the argument is clamped there, two float32 steps from 1."""

_TANH = (
    # tanh(x)/x as a ratio of polynomials in x^2 on [0, TANH_LIMIT], lowest power first: numerator,
    # denominator. Found by Lawson's iteration for the least maximum relative error, 9.4e-9.
    (0.999999990673, 0.134258699149, 0.0035491684921, 2.15084852275e-05, 1.46482455327e-08),
    (1.0, 0.467591947437, 0.0260799471942, 3.37394939492e-4, 8.29510271641e-07),
)


def _half_band(taps: int) -> npt.NDArray[np.float64]:
    """Return h_0 .. h_{taps-1} of the Kaiser-windowed sinc half-band (J. F. Kaiser 1974, beta for A dB)."""
    beta = 0.1102 * (STOPBAND_DB - 8.7)
    offset = np.arange(taps) + 0.5
    window = np.i0(beta * np.sqrt(1.0 - (offset / taps) ** 2)) / np.i0(beta)
    h = np.sinc(offset) * window
    return np.asarray(h / (2.0 * h.sum()))


_OUTER = _half_band(OUTER_TAPS)
_INNER = _half_band(INNER_TAPS)

_N0, _N1, _N2, _N3, _N4 = _TANH[0]
_D0, _D1, _D2, _D3, _D4 = _TANH[1]


@njit(cache=True, nogil=True, error_model="numpy")
def _tanh(x: npt.NDArray[Any], drive: float, out: npt.NDArray[Any]) -> None:
    """Write tanh(drive x) in the type of the arrays; out is another array, or the lanes stand idle."""
    real = x.dtype.type
    limit, gain = real(TANH_LIMIT), real(drive)
    n0, n1, n2, n3, n4 = real(_N0), real(_N1), real(_N2), real(_N3), real(_N4)
    d0, d1, d2, d3, d4 = real(_D0), real(_D1), real(_D2), real(_D3), real(_D4)
    for i in range(out.size):
        v = min(max(gain * x[i], -limit), limit)
        z = v * v
        numerator = n0 + z * (n1 + z * (n2 + z * (n3 + z * n4)))
        denominator = d0 + z * (d1 + z * (d2 + z * (d3 + z * d4)))
        out[i] = v * numerator / denominator


@njit(cache=True, nogil=True, error_model="numpy")
def _interpolate(x: npt.NDArray[Any], start: int, h: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
    """out[n] = (F x)[start + n]. Taps outside, time inside, four taps at once: runs on all lanes."""
    count = out.size
    out[:] = 0.0
    for i in range(0, h.size, 4):
        h0, h1, h2, h3 = h[i], h[i + 1], h[i + 2], h[i + 3]
        before = x[start - i - 3 : start - i + count]
        after = x[start + i + 1 : start + i + 4 + count]
        for n in range(count):
            out[n] += (
                h0 * (before[n + 3] + after[n])
                + h1 * (before[n + 2] + after[n + 1])
                + h2 * (before[n + 1] + after[n + 2])
                + h3 * (before[n] + after[n + 3])
            )


@njit(cache=True, nogil=True, error_model="numpy")
def _load(x: npt.NDArray[Any], first: int, out: npt.NDArray[Any]) -> None:
    """out[n] = x[first + n], zero where x has ended or not begun."""
    for n in range(out.size):
        out[n] = x[first + n] if 0 <= first + n < x.size else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _up(
    x: npt.NDArray[Any],
    outer: npt.NDArray[Any],
    inner: npt.NDArray[Any],
    odd: npt.NDArray[Any],
    even_2x: npt.NDArray[Any],
    odd_2x: npt.NDArray[Any],
) -> None:
    """U for m samples from x (m + 2 CONTEXT): the even and the odd half of the signal at 4x.

    even_2x: 2 (m + 2 (K_o + K_i)), the signal at 2x; it begins K_o + K_i samples of x early.
    odd_2x: 2 (m + 2 K_o) + 2 K_i, what lies half-way; begins K_i samples of 2x before -K_o samples of x.
    """
    _interpolate(x, OUTER_TAPS, outer, odd)
    for n in range(odd.size):
        even_2x[2 * n] = x[OUTER_TAPS + n]
        even_2x[2 * n + 1] = odd[n]
    _interpolate(even_2x, INNER_TAPS, inner, odd_2x)


@njit(cache=True, nogil=True, error_model="numpy")
def _down(
    even_2x: npt.NDArray[Any],
    odd_2x: npt.NDArray[Any],
    outer: npt.NDArray[Any],
    inner: npt.NDArray[Any],
    half: npt.NDArray[Any],
    odd: npt.NDArray[Any],
    y: npt.NDArray[Any],
) -> None:
    """4 D: m samples from the planes that `_up` makes. `half`: 2 (m + 2 K_o), `odd`: m + 2 K_o."""
    _interpolate(odd_2x, INNER_TAPS - 1, inner, half)
    for n in range(half.size):
        half[n] += even_2x[2 * INNER_TAPS + n]
    for n in range(odd.size):
        odd[n] = half[2 * n + 1]
    _interpolate(odd, OUTER_TAPS - 1, outer, y)
    for n in range(y.size):
        y[n] += half[2 * (OUTER_TAPS + n)]


@njit(cache=True, nogil=True, error_model="numpy")
def _saturate(
    x: npt.NDArray[Any],
    first: int,
    drive: float,
    output: float,
    outer: npt.NDArray[Any],
    inner: npt.NDArray[Any],
    y: npt.NDArray[Any],
) -> None:
    """y[n] = output D(tanh(drive U(x)))[first + n]; x counts as zero outside."""
    scale = y.dtype.type(0.25 * output)
    for begin in range(0, y.size, CHUNK):
        m = min(CHUNK, y.size - begin)
        source = np.empty(m + 2 * CONTEXT, x.dtype)
        odd = np.empty(m + 2 * (OUTER_TAPS + INNER_TAPS), x.dtype)
        even_2x = np.empty(2 * odd.size, x.dtype)
        odd_2x = np.empty(2 * (m + 2 * OUTER_TAPS) + 2 * INNER_TAPS, x.dtype)
        even_tanh, odd_tanh = np.empty_like(even_2x), np.empty_like(odd_2x)
        half = np.empty(2 * (m + 2 * OUTER_TAPS), x.dtype)
        _load(x, first + begin - CONTEXT, source)
        _up(source, outer, inner, odd, even_2x, odd_2x)
        _tanh(even_2x, drive, even_tanh)
        _tanh(odd_2x, drive, odd_tanh)
        _down(even_tanh, odd_tanh, outer, inner, half, odd[: m + 2 * OUTER_TAPS], y[begin : begin + m])
        for n in range(begin, begin + m):
            y[n] *= scale


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _slope_and_sums(
    x: npt.NDArray[Any], t: npt.NDArray[Any], grad: npt.NDArray[Any], first: int, last: int
) -> tuple[float, float]:
    """Multiply grad by 1 - t^2; return sum x (1 - t^2) grad and sum t grad over [first, last).

    The order of the sums is left to the compiler: they are gradients, not sound.
    """
    by_drive, by_output = x.dtype.type(0.0), x.dtype.type(0.0)
    for i in range(first, last):
        by_output += t[i] * grad[i]
    for i in range(t.size):
        grad[i] *= 1 - t[i] * t[i]
    for i in range(first, last):
        by_drive += x[i] * grad[i]
    return by_drive, by_output


@njit(cache=True, nogil=True, error_model="numpy")
def _saturate_adjoint(
    x: npt.NDArray[Any],
    grad: npt.NDArray[Any],
    drive: float,
    output: float,
    outer: npt.NDArray[Any],
    inner: npt.NDArray[Any],
    x_grad: npt.NDArray[Any],
) -> tuple[float, float]:
    """Write dx into x_grad and return the derivatives by drive and by output."""
    by_drive, by_output = 0.0, 0.0
    scale = x.dtype.type(0.25 * output * drive)
    # The filters ring on both sides of the signal, and that part reaches the output too.
    for begin in range(-CONTEXT, x.size + CONTEXT, CHUNK):
        m = min(CHUNK, x.size + CONTEXT - begin)
        source = np.empty(m + 2 * CONTEXT, x.dtype)
        odd = np.empty(m + 2 * (OUTER_TAPS + INNER_TAPS), x.dtype)
        # Arrays of their own, not planes of one: only then does the compiler know them contiguous.
        even = np.empty(2 * odd.size, x.dtype)
        odds = np.empty(2 * (m + 2 * OUTER_TAPS) + 2 * INNER_TAPS, x.dtype)
        even_grad, odds_grad = np.empty_like(even), np.empty_like(odds)
        even_tanh, odds_tanh = np.empty_like(even), np.empty_like(odds)
        _load(x, begin - CONTEXT, source)
        _up(source, outer, inner, odd, even, odds)
        _load(grad, begin - CONTEXT, source)
        _up(source, outer, inner, odd, even_grad, odds_grad)
        _tanh(even, drive, even_tanh)
        _tanh(odds, drive, odds_tanh)
        skip = 2 * (OUTER_TAPS + INNER_TAPS)
        a, b = _slope_and_sums(even, even_tanh, even_grad, skip, skip + 2 * m)
        skip = 2 * OUTER_TAPS + INNER_TAPS
        c, d = _slope_and_sums(odds, odds_tanh, odds_grad, skip, skip + 2 * m)
        by_drive += a + c
        by_output += b + d
        half = np.empty(2 * (m + 2 * OUTER_TAPS), x.dtype)
        y = np.empty(m, x.dtype)
        _down(even_grad, odds_grad, outer, inner, half, odd[: m + 2 * OUTER_TAPS], y)
        for n in range(max(begin, 0), min(begin + m, x.size)):
            x_grad[n] = scale * y[n - begin]
    return 0.25 * output * by_drive, 0.25 * by_output


@njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def _batch(
    x: npt.NDArray[Any],
    gains: npt.NDArray[np.float64],
    outer: npt.NDArray[Any],
    inner: npt.NDArray[Any],
    y: npt.NDArray[Any],
) -> None:
    for i in prange(x.shape[0] * x.shape[1]):
        row, channel = i // x.shape[1], i % x.shape[1]
        _saturate(x[row, channel], 0, gains[row, 0], gains[row, 1], outer, inner, y[row, channel])


@njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def _batch_adjoint(
    x: npt.NDArray[Any],
    grad: npt.NDArray[Any],
    gains: npt.NDArray[np.float64],
    outer: npt.NDArray[Any],
    inner: npt.NDArray[Any],
    x_grad: npt.NDArray[Any],
    gains_grad: npt.NDArray[np.float64],
) -> None:
    for i in prange(x.shape[0] * x.shape[1]):
        row, channel = i // x.shape[1], i % x.shape[1]
        gains_grad[row, channel, 0], gains_grad[row, channel, 1] = _saturate_adjoint(
            x[row, channel],
            grad[row, channel],
            gains[row, 0],
            gains[row, 1],
            outer,
            inner,
            x_grad[row, channel],
        )


class _Saturate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, gains: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, gains)
        samples = x.detach().numpy()
        y = np.empty_like(samples)
        _batch(samples, gains.detach().numpy(), *_filters(samples.dtype), y)
        return torch.from_numpy(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, gains = ctx.saved_tensors
        samples = x.detach().numpy()
        x_grad = np.empty_like(samples)
        gains_grad = np.empty((*samples.shape[:2], 2))
        grad_samples = grad.contiguous().numpy()
        _batch_adjoint(
            samples, grad_samples, gains.detach().numpy(), *_filters(samples.dtype), x_grad, gains_grad
        )
        return torch.from_numpy(x_grad), torch.from_numpy(gains_grad.sum(axis=1))


@cache
def _filters(dtype: np.dtype[np.floating[Any]]) -> tuple[Samples, Samples]:
    return _OUTER.astype(dtype), _INNER.astype(dtype)


def forward(x: torch.Tensor, rate: float, *, drive_db: torch.Tensor, output_db: torch.Tensor) -> torch.Tensor:
    """Saturate each row of (batch, channel, time) with its own drive and output level."""
    gains = torch.stack([db_to_amplitude(drive_db.double()), db_to_amplitude(output_db.double())], dim=1)
    y: torch.Tensor = _Saturate.apply(x.contiguous(), gains)  # type: ignore[no-untyped-call]
    return y


def render(
    x: Samples, rate: float, state: Samples | None, *, drive_db: float, output_db: float
) -> tuple[Samples, Samples]:
    """Saturate a block (channel, time); the state is the last 2 CONTEXT samples of the input."""
    history = np.zeros((x.shape[0], 2 * CONTEXT), x.dtype) if state is None else state
    extended = np.concatenate([history, x], axis=1)
    y = np.empty(x.shape, x.dtype)
    filters = _filters(x.dtype)
    drive, output = db_to_amplitude(float(drive_db)), db_to_amplitude(float(output_db))
    for channel in range(x.shape[0]):
        _saturate(extended[channel], CONTEXT, drive, output, *filters, y[channel])
    return y, extended[:, extended.shape[1] - 2 * CONTEXT :].copy()


def _latency(rate: float, settings: Mapping[str, float]) -> int:
    return CONTEXT


_DRIVE_DB = Param(
    "drive_db", "dB", 0.0, 36.0, default=0.0, help="level into the curve; 0 still rounds loud peaks off"
)
_OUTPUT_DB = Param("output_db", "dB", -24.0, 12.0, default=0.0, help="level after the curve")

CREST_OF_SQUARE_DB = 3.0
"""Crest factor towards which music falls when tanh is driven hard: that of a heavily clipped sine."""

DRIVE_PER_CREST_DB = 2.0
"""Drive in dB per dB of crest factor to be lost; a guess of the right size, which the fit refines."""


def start(source: Measurement, reference: Measurement) -> dict[str, float]:
    """Guess the drive from the crest factor that the reference has less; its level is given back."""
    excess_db = source.crest_db - max(reference.crest_db, CREST_OF_SQUARE_DB)
    if not math.isfinite(excess_db):
        return {"drive_db": _DRIVE_DB.default, "output_db": _OUTPUT_DB.default}
    drive_db = min(max(DRIVE_PER_CREST_DB * excess_db, _DRIVE_DB.low), _DRIVE_DB.high)
    return {"drive_db": drive_db, "output_db": max(0.0 - drive_db / 2, _OUTPUT_DB.low)}


EFFECT = Effect(
    name="saturation",
    summary="Soft saturation (tanh), four times oversampled",
    params=(_DRIVE_DB, _OUTPUT_DB),
    forward=forward,
    render=render,
    # Both forms run the same kernel on the same numbers; measured, they agree to the bit.
    tolerance_db=-140.0,
    latency=_latency,
    start=start,
)
