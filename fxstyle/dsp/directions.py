"""How a rectangular room's sound fades, direction by direction, and noise that fades so.

Far from their source its images fill space evenly, one per room's volume V, and those in direction n, at the
distance c t, lie behind c t |n_i|/L_i walls of axis i, half of them of either kind. So the power of the
response to a unit source (pressure 1/(4 pi r)), per second, is

    E_b(t) = c/(4 pi V) <exp(-D_b(n) t)>_n,    D_b(n) = c sum_i |n_i|/L_i (-ln beta_i0,b beta_i1,b)

the mean being one over directions: DIRECTIONS^2 Gauss points on an octant, in height and azimuth. Images are
not spread evenly but stand at whole numbers i of each axis; where their energies fall quickly with |i| a sum
is more than an integral, by the ratio of both,

    R_b = prod_i g_i/2 (1 + beta_i0^2)(1 + beta_i1^2)/(1 - beta_i0^2 beta_i1^2),   g_i = -ln beta_i0 beta_i1

(the geometric series of even and odd i over 2/g_i), which E_b is multiplied with: .4 dB for a ceiling that
takes 70 %.

In all this each sound keeps its direction; walls that scatter mix the directions,

    D_b(n) -> (1 - scatter) D_b(n) + scatter D_b,   D_b = -c S/(4 V) ln(1 - mean alpha_b)

(C. F. Eyring, "Reverberation time in 'dead' rooms", JASA 1, 1930: the mean over the walls' areas, S in all).
alpha = 1 - beta^2. Air adds its own, the same in all directions. Sums over the images of the same rooms
agree within the tolerances of tests/dsp/test_directions.py.

    h[n] = sum_b A_b[n] N_b[n]        A_b: at every `step` samples, straight lines between

Derivatives by the A_b are sums of N_b h' over the samples around; by weights and rates of E_b = sum_d w
exp(-D t): sum_t E' exp(-D t), and -w sum_t t E' exp(-D t).
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.signal
import torch
from numba import njit
from torch.autograd.function import once_differentiable

from fxstyle.dsp.noise import noise_bands
from fxstyle.dsp.nonuniform import eight, none, plus_product
from fxstyle.dsp.threads import for_each
from fxstyle.dsp.vectors import store
from fxstyle.octaves import BANDS

Floats = npt.NDArray[np.float64]
Signal = npt.NDArray[Any]

DIRECTIONS = 10
"""Gauss points of each of the two angles."""

NOISE_RATE = 48_000.0
"""Hz that the noise is made at; at other rates it is the same sound, resampled."""

_MOST_STEPS = 1000
"""Denominator of the ratio of rates: rates that differ by less are taken to be alike."""

_RESAMPLER_REACH = 10
"""Samples, of the lower rate, that scipy's resampler looks ahead."""

_LEAST_G = 1e-9
"""Nepers per reflection that even a rigid wall is held to take."""


@lru_cache(maxsize=1)
def directions() -> tuple[torch.Tensor, torch.Tensor]:
    """Return unit vectors in the octant of positive coordinates, (direction, 3), and weights of sum 1."""
    nodes, weights = np.polynomial.legendre.leggauss(DIRECTIONS)
    z, azimuth = np.meshgrid((nodes + 1.0) / 2.0, (nodes + 1.0) * math.pi / 4.0, indexing="ij")
    across = np.sqrt(1.0 - z**2)
    n = np.stack([across * np.cos(azimuth), across * np.sin(azimuth), z], axis=-1).reshape(-1, 3)
    return torch.from_numpy(n), torch.from_numpy(np.outer(weights, weights).ravel() / 4.0)


def volume(size: torch.Tensor) -> torch.Tensor:
    """Return cubic metres (row,) of (row, 3)."""
    return size.prod(dim=1)


def decay_rates(
    size: torch.Tensor, beta: torch.Tensor, speed: torch.Tensor, scatter: torch.Tensor
) -> torch.Tensor:
    """Return D of the walls (row, direction, band), in nepers of energy per second.

    Parameters
    ----------
    size: (row, 3) metres. beta: (row, 6, band) > 0. speed: (row,) m/s. scatter: (row,) 0..1.
    """
    pairs = -beta.log().reshape(-1, 3, 2, BANDS).sum(dim=2)
    one_way = (directions()[0] / size[:, None]) @ pairs * speed[:, None, None]
    area = (volume(size)[:, None] / size).repeat_interleave(2, dim=1)
    kept = (area[..., None] * beta.square()).sum(dim=1) / area.sum(dim=1, keepdim=True)
    mean_paths = (speed * area.sum(dim=1) / (4.0 * volume(size)))[:, None]
    mixed = -mean_paths * kept.log()
    return one_way + scatter[:, None, None] * (mixed[:, None] - one_way)


def lattice_gain(beta: torch.Tensor) -> torch.Tensor:
    """Return R (row, band) of the reflection factors (row, 6, band), which are > 0."""
    powers = beta.square().reshape(-1, 3, 2, BANDS)
    # 1 - exp(-2 g), and g over it, stay apart from 0/0 where walls take next to nothing
    g = (-0.5 * powers.log().sum(dim=2)).clamp_min(_LEAST_G)
    return (g / 2.0 * (1.0 + powers).prod(dim=2) / -torch.expm1(-2.0 * g)).prod(dim=1)


@njit(cache=True, nogil=True, error_model="numpy")
def _mix(weights: Floats, rates: Floats, step_s: float, out: Floats) -> None:
    """out[k, b] = sum_d weights[d, b] exp(-rates[d, b] k step_s)."""
    count = rates.shape[0]
    now, ratio = np.ones((count, BANDS)), np.exp(-step_s * rates)
    for k in range(out.shape[0]):
        total = none(now)
        for d in range(0, count * BANDS, BANDS):
            value = eight(now, d)
            total = plus_product(total, eight(weights, d), value)
            store(now, d, value * eight(ratio, d))
        store(out, k * BANDS, total)


@njit(cache=True, nogil=True, error_model="numpy")
def _mix_adjoint(
    rates: Floats, weights: Floats, step_s: float, dout: Floats, dweights: Floats, drates: Floats
) -> None:
    count = rates.shape[0]
    now, ratio = np.ones((count, BANDS)), np.exp(-step_s * rates)
    late = np.empty(BANDS)
    for k in range(dout.shape[0]):
        for b in range(BANDS):
            late[b] = -dout[k, b] * (k * step_s)
        g, t = eight(dout, k * BANDS), eight(late, 0)
        for d in range(0, count * BANDS, BANDS):
            value = eight(now, d)
            store(dweights, d, plus_product(eight(dweights, d), g, value))
            store(drates, d, plus_product(eight(drates, d), t, value))
            store(now, d, value * eight(ratio, d))
    for d in range(count):
        for b in range(BANDS):
            drates[d, b] *= weights[d, b]


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weights: torch.Tensor, rates: torch.Tensor, step_s: float, count: int
    ) -> torch.Tensor:
        w, d = (t.detach().contiguous().numpy() for t in (weights, rates))
        out = np.empty((w.shape[0], count, BANDS))
        for_each(lambda row: _mix(w[row], d[row], step_s, out[row]), range(w.shape[0]))
        ctx.constants = (w, d, step_s)
        return torch.from_numpy(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        w, d, step_s = ctx.constants
        g, dw, dd = dy.contiguous().numpy(), np.zeros_like(w), np.zeros_like(d)
        for_each(lambda r: _mix_adjoint(d[r], w[r], step_s, g[r], dw[r], dd[r]), range(w.shape[0]))
        return torch.from_numpy(dw), torch.from_numpy(dd), None, None


def energies(weights: torch.Tensor, rates: torch.Tensor, step_s: float, count: int) -> torch.Tensor:
    """Return sum_d w exp(-D t) at t = 0, step_s, ..: (row, count, band), from (row, direction, band)."""
    made: torch.Tensor = _Mix.apply(weights, rates, step_s, count)  # type: ignore[no-untyped-call]
    return made


_HALVINGS = 40
"""Of the interval in which a time is sought: to 1e-12 of it."""


@torch.no_grad()
def time_to_fall_s(rates: torch.Tensor, fall_db: float, longest_s: float) -> torch.Tensor:
    """Return the seconds (row,) until the slowest band's <exp(-D t)> is `fall_db` down, at most longest_s."""
    share = directions()[1][:, None]
    low = torch.zeros(rates.shape[0], rates.shape[2], dtype=rates.dtype)
    high = torch.full_like(low, longest_s)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        down = (share * (-rates * middle[:, None]).exp()).sum(dim=1) < 10.0 ** (-fall_db / 10.0)
        low, high = torch.where(down, low, middle), torch.where(down, middle, high)
    return high.amax(dim=1)


@lru_cache(maxsize=2)
def _resampled(rate: float, streams: int, count: int) -> npt.NDArray[np.float32]:
    """Return `noise_bands` of NOISE_RATE at another rate, with its power per Hz of full bandwidth."""
    given = noise_bands(NOISE_RATE, streams, count)[..., :count]
    ratio = Fraction(rate / NOISE_RATE).limit_denominator(_MOST_STEPS)
    made = scipy.signal.resample_poly(given, ratio.numerator, ratio.denominator, axis=-1)
    # what the end of the noise reaches would change with its length
    end = made.shape[-1] - math.ceil(_RESAMPLER_REACH * max(1.0, float(ratio))) - 1
    scaled: npt.NDArray[np.float32] = (made[..., :end] * math.sqrt(1.0 / ratio)).astype(np.float32)
    scaled.setflags(write=False)
    return scaled


def noise_at(rate: float, streams: int, count: int) -> npt.NDArray[np.float32]:
    """Return (stream, band, at least `count`) of noise that is the same sound at every rate in Hz.

    White and of unit variance up to half the rate, or half of NOISE_RATE if that is less. Shared: not to be
    written to.
    """
    if rate == NOISE_RATE:
        return noise_bands(rate, streams, count)
    needed = math.ceil((count + 2) * NOISE_RATE / rate) + math.ceil(
        2 * _RESAMPLER_REACH * max(1.0, NOISE_RATE / rate)
    )
    # in steps of a quarter of an octave, so that growing lengths do not start over each time
    step = 1 << max(needed.bit_length() - 3, 10)
    return _resampled(float(rate), streams, -(-needed // step) * step)


@njit(cache=True, nogil=True, error_model="numpy")
def _shape(noise: npt.NDArray[np.float32], amplitude: Floats, step: int, out: Signal) -> None:
    """Add to out[n] sum_b A_b[n] noise_b[n]."""
    real = out.dtype.type
    ramp = np.empty(step, out.dtype)
    for i in range(step):
        ramp[i] = real(i / step)
    for k in range(amplitude.shape[0] - 1):
        begin = k * step
        here = out[begin : begin + step]
        for b in range(noise.shape[0]):
            first = real(amplitude[k, b])
            rise = real(amplitude[k + 1, b]) - first
            band = noise[b, begin : begin + here.size]
            for i in range(here.size):
                here[i] += (first + rise * ramp[i]) * band[i]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _moments(band: npt.NDArray[np.float32], grad: Signal, ramp: Signal) -> tuple[float, float]:
    """Return sums of band grad, and of it times the ramp, in whichever order is fast."""
    real = ramp.dtype.type
    zeroth, first = real(0.0), real(0.0)
    for i in range(grad.size):
        product = band[i] * grad[i]
        zeroth += product
        first += ramp[i] * product
    return zeroth, first


@njit(cache=True, nogil=True, error_model="numpy")
def _shape_adjoint(noise: npt.NDArray[np.float32], grad: Signal, step: int, damplitude: Floats) -> None:
    """Add to damplitude (point, band)."""
    ramp = np.empty(step, grad.dtype)
    for i in range(step):
        ramp[i] = grad.dtype.type(i / step)
    for k in range(damplitude.shape[0] - 1):
        here = grad[k * step : (k + 1) * step]
        for b in range(noise.shape[0]):
            zeroth, first = _moments(noise[b, k * step : k * step + here.size], here, ramp)
            damplitude[k, b] += zeroth - first
            damplitude[k + 1, b] += first


class _Noise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        amplitude: torch.Tensor,
        streams: list[int],
        noise: npt.NDArray[np.float32],
        step: int,
        span: int,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        a = amplitude.detach().contiguous().numpy()
        out = np.zeros((a.shape[0], span), np.float64 if dtype == torch.float64 else np.float32)

        def one(row: int) -> None:
            for stream, part in zip((0, streams[row]), a[row], strict=True):
                if part.any():
                    _shape(noise[stream], part, step, out[row])

        for_each(one, range(a.shape[0]))
        ctx.constants = (a.shape, streams, noise, step)
        return torch.from_numpy(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        shape, streams, noise, step = ctx.constants
        found, g = np.zeros(shape), dy.contiguous().numpy()

        def one(row: int) -> None:
            for part, stream in enumerate((0, streams[row])):
                _shape_adjoint(noise[stream], g[row], step, found[row, part])

        for_each(one, range(shape[0]))
        return torch.from_numpy(found), None, None, None, None, None


def shaped_noise(
    amplitude: torch.Tensor,
    streams: list[int],
    noise: npt.NDArray[np.float32],
    *,
    step: int,
    span: int,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Return (row, span) of noise number 0 and one other, each shaped by amplitudes of its own.

    Parameters
    ----------
    amplitude: (row, 2, point, band) at the samples 0, step, ..; in float64.
    streams: each row's other noise. noise: (stream, band or fewer, at least span).
    """
    made: torch.Tensor = _Noise.apply(amplitude, streams, noise, step, span, dtype)  # type: ignore[no-untyped-call]
    return made
