"""All that the descriptors sum over samples and bins, in one go over the signal, with its exact gradient.

    M = mean of the channels,  S = (L - R)/2
    P[t, f] = c |X[t, f]|^2                    spectrogram.py: half-overlapping Hann frames
    E[t, b] = sum_f W[f, b] P[t, f]            bands.py: powers in bands
    Q[t, b] = sum_f V[f, b] ln(P[t, f] + e)    V = W with columns that sum to one
    m_p     = sum_n M[n]^p,  p = 2, 4, 8;      e_c = sum_n x_c[n]^2

From the gradients of E and Q,

    dL/dP[t, f] = sum_b W[f, b] dL/dE[t, b] + sum_b V[f, b] dL/dQ[t, b] / (P[t, f] + e),
    dL/dX = 2 c X dL/dP,

and back through the transform (frames.py). The bands are short runs of bins, so pooling costs a few
operations per bin where a product with the whole matrix costs as many as there are bands. Nothing as large as
a spectrogram exists: forward and backward each cut, transform and use up some frames at a time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch.autograd.function import once_differentiable

from fxstyle.dsp.octaves import LN_2, octaves
from fxstyle.dsp.threads import side_by_side
from fxstyle.features.bands import pooling
from fxstyle.features.frames import Array, Frames
from fxstyle.features.spectrogram import power_scale, power_spectrogram

Indices = tuple[range, int]
"""Bands as `bands.pooling` takes them: their numbers, and how many there are to the octave."""

MOMENTS = (2, 4, 8)


class Plan(NamedTuple):
    """What is summed.

    Attributes
    ----------
    slow_fft, fast_fft: samples of a frame of either transform.
    mid, side: bands of their slow spectra, one set after the other.
    logs: bands in which logarithms of the mid's slow spectrum are averaged.
    fast: bands of the mid's fast spectrum.
    floor: e.
    """

    slow_fft: int
    fast_fft: int
    mid: tuple[Indices, ...]
    side: tuple[Indices, ...]
    logs: tuple[Indices, ...]
    fast: tuple[Indices, ...]
    floor: float


class Sums(NamedTuple):
    """What came out, row by row.

    Attributes
    ----------
    mid, side, fast: (row, frame, band) powers; `side` has no rows for mono, or if it was not wanted.
    logs: (row, frame, band) means of natural logarithms.
    moments: (row, 3) m_2, m_4, m_8; energy: (row, channel) e_c; both in float64.
    peak: (row,) max |M| in float64, which has no gradient.
    """

    mid: torch.Tensor
    side: torch.Tensor
    fast: torch.Tensor
    logs: torch.Tensor
    moments: torch.Tensor
    energy: torch.Tensor
    peak: torch.Tensor


def matrix(bands: tuple[Indices, ...], n_fft: int, rate: float) -> npt.NDArray[np.float64]:
    """W: (bin, band), the sets of bands side by side."""
    none = np.zeros((n_fft // 2 + 1, 0))
    return np.concatenate([none, *(pooling(*b, n_fft, rate) for b in bands)], axis=1)


def mean_matrix(bands: tuple[Indices, ...], n_fft: int, rate: float) -> npt.NDArray[np.float64]:
    """V: the same with columns that sum to one; bands above the Nyquist frequency stay empty."""
    weights = matrix(bands, n_fft, rate)
    return np.asarray(weights / np.maximum(weights.sum(axis=0), 1e-12))


class _Bank(NamedTuple):
    """A matrix (bin, band) as the run of bins that each band has: first[b], weight[at[b] : at[b + 1]]."""

    first: npt.NDArray[np.int64]
    at: npt.NDArray[np.int64]
    weight: Array


def _bank(weights: npt.NDArray[np.float64], dtype: np.dtype[Any]) -> _Bank:
    first, at, runs = [], [0], []
    for column in weights.T:
        bins = np.flatnonzero(column)
        run = column[bins[0] : bins[-1] + 1] if bins.size else column[:0]
        first.append(bins[0] if bins.size else 0)
        at.append(at[-1] + run.size)
        runs.append(run)
    flat = np.concatenate([np.zeros(0), *runs])
    return _Bank(np.array(first, np.int64), np.array(at, np.int64), flat.astype(dtype))


# Reassociation lets the sums run in SIMD lanes; nothing here tests for NaN. So do the slices: an index that
# is a sum might be negative for all that the compiler knows.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "nsz"})
def _pool(power: Array, bank: _Bank, out: Array) -> None:
    """Fill out (band,) with weighted sums of power (bin,)."""
    for b in range(out.shape[0]):
        weight = bank.weight[bank.at[b] : bank.at[b + 1]]
        run = power[bank.first[b] :]
        total = power[0] - power[0]
        for k in range(weight.shape[0]):
            total += weight[k] * run[k]
        out[b] = total


@njit(cache=True, nogil=True, error_model="numpy")
def _spread(dout: Array, bank: _Bank, dpower: Array) -> None:
    """Add to dpower (bin,) from dout (band,): the adjoint of `_pool`."""
    for b in range(dout.shape[0]):
        weight = bank.weight[bank.at[b] : bank.at[b + 1]]
        run = dpower[bank.first[b] :]
        for k in range(weight.shape[0]):
            run[k] += weight[k] * dout[b]


@njit(cache=True, nogil=True, error_model="numpy")
def _sum_bins(
    spectra: Array, scale: float, floor: float, bands: _Bank, means: _Bank, power: Array, e: Array, q: Array
) -> None:
    """Fill e and q (frame, band) from spectra (frame, 2 bin); without bands in q no logarithm is taken.

    power: room for the powers (bin,).
    """
    bins, ln_2 = spectra.shape[1] // 2, power.dtype.type(LN_2)
    for f in range(spectra.shape[0]):
        for k in range(bins):
            re, im = spectra[f, 2 * k], spectra[f, 2 * k + 1]
            power[k] = scale * (re * re + im * im)
        _pool(power, bands, e[f])
        if q.shape[1] > 0:
            # a sample that is no number is in every bin; octaves would make a number of it
            wrong = power[0] - power[0]
            for k in range(bins):
                power[k] = ln_2 * octaves(power[k] + floor)
            power[0] += wrong
            _pool(power, means, q[f])


@njit(cache=True, nogil=True, error_model="numpy")
def _sum_bins_adjoint(
    spectra: Array, scale: float, floor: float, bands: _Bank, means: _Bank, slope: Array, de: Array, dq: Array
) -> None:
    """Turn `spectra` in place into half of dL/dX, in the outer bins the whole; slope: room for (bin,)."""
    bins = spectra.shape[1] // 2
    zero = scale - scale
    for f in range(spectra.shape[0]):
        for k in range(bins):
            slope[k] = zero
        if dq.shape[1] > 0:
            _spread(dq[f], means, slope)
            for k in range(bins):
                re, im = spectra[f, 2 * k], spectra[f, 2 * k + 1]
                slope[k] /= scale * (re * re + im * im) + floor
        _spread(de[f], bands, slope)
        slope[0] += slope[0]
        slope[bins - 1] += slope[bins - 1]
        for k in range(bins):
            spectra[f, 2 * k] *= scale * slope[k]
            spectra[f, 2 * k + 1] *= scale * slope[k]


# As for `_pool`.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "nsz"})
def _mix(left: Array, right: Array, mid: Array, side: Array, out: npt.NDArray[np.float64]) -> None:
    """Fill mid and side (time,), and out with m_2, m_4, m_8, e_left, e_right."""
    m2 = m4 = m8 = energy_left = energy_right = 0.0
    for n in range(left.shape[0]):
        a, b = float(left[n]), float(right[n])
        m, s = 0.5 * (a + b), 0.5 * (a - b)
        mid[n] = m
        side[n] = s
        square = m * m
        m2 += square
        m4 += square * square
        m8 += (square * square) * (square * square)
        energy_left += a * a
        energy_right += b * b
    out[0], out[1], out[2], out[3], out[4] = m2, m4, m8, energy_left, energy_right


@njit(cache=True, nogil=True, error_model="numpy")
def _mix_adjoint(
    left: Array,
    right: Array,
    dmid: Array,
    dside: Array,
    dout: npt.NDArray[np.float64],
    dleft: Array,
    dright: Array,
) -> None:
    """Fill dleft and dright (time,). For one channel, which is both, dright is what is left."""
    for n in range(left.shape[0]):
        a, b = float(left[n]), float(right[n])
        m = 0.5 * (a + b)
        square = m * m
        slope = m * (2.0 * dout[0] + square * (4.0 * dout[1] + square * square * 8.0 * dout[2]))
        both = 0.5 * (dmid[n] + slope)
        dleft[n] = both + 0.5 * dside[n] + 2.0 * dout[3] * a
        dright[n] = both - 0.5 * dside[n] + 2.0 * dout[4] * b


class _Transform(NamedTuple):
    """One transform of one layer, with the constants its kernels take."""

    frames: Frames
    scale: Any
    floor: Any
    bands: _Bank
    means: _Bank


@lru_cache(maxsize=32)
def _transforms(plan: Plan, rate: float, double: bool) -> tuple[_Transform, _Transform, _Transform]:
    """Those of mid and side, slow, and of mid, fast."""
    dtype = np.dtype(np.float64 if double else np.float32)
    number = dtype.type

    def one(n_fft: int, bands: tuple[Indices, ...], means: tuple[Indices, ...]) -> _Transform:
        return _Transform(
            Frames(n_fft, n_fft // 2, n_fft),
            number(power_scale(n_fft)),
            number(plan.floor),
            _bank(matrix(bands, n_fft, rate), dtype),
            _bank(mean_matrix(means, n_fft, rate), dtype),
        )

    return (
        one(plan.slow_fft, plan.mid, plan.logs),
        one(plan.slow_fft, plan.side, ()),
        one(plan.fast_fft, plan.fast, ()),
    )


def _add_up(t: _Transform, layer: Array, e: Array, q: Array) -> None:
    """Fill e and q (frame, band) from a layer (time,)."""
    room = np.empty(t.frames.bins, layer.dtype)
    for first, spectra in t.frames.spectra(layer):
        to = first + spectra.shape[0]
        _sum_bins(spectra, t.scale, t.floor, t.bands, t.means, room, e[first:to], q[first:to])


def _flow_back(t: _Transform, layer: Array, de: Array, dq: Array, dlayer: Array) -> None:
    """Add to dlayer (time,) from de and dq."""
    room = np.empty(t.frames.bins, layer.dtype)
    for first, spectra in t.frames.spectra(layer):
        to = first + spectra.shape[0]
        _sum_bins_adjoint(spectra, t.scale, t.floor, t.bands, t.means, room, de[first:to], dq[first:to])
        t.frames.lay(first, spectra, dlayer)


def _samples(x: torch.Tensor) -> Array:
    """X (row, channel, time) as an array whose channels are contiguous; a slice of time is not copied."""
    return (x if x.stride(2) == 1 else x.contiguous()).detach().numpy()


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, plan: Plan, rate: float, side: bool) -> tuple[torch.Tensor, ...]:
        samples = _samples(x)
        rows, channels, length = samples.shape
        transforms = _transforms(plan, rate, samples.dtype == np.float64)
        powers = [
            np.empty((n, t.frames.count(length), t.bands.first.size), samples.dtype)
            for n, t in zip((rows, rows if side else 0, rows), transforms, strict=True)
        ]
        means = [
            np.empty((rows, t.frames.count(length), t.means.first.size), samples.dtype) for t in transforms
        ]
        sums, peak = np.empty((rows, len(MOMENTS) + 2)), np.empty(rows)

        def work(row: int) -> None:
            layers = np.empty((2, length), samples.dtype)
            _mix(samples[row, 0], samples[row, -1], layers[0], layers[1], sums[row])
            peak[row] = max(layers[0].max(), -layers[0].min())
            for i, layer in enumerate((layers[0], layers[1], layers[0])):
                if row < len(powers[i]):
                    _add_up(transforms[i], layer, powers[i][row], means[i][row])

        side_by_side(work, rows)
        ctx.save_for_backward(x)
        ctx.transforms = transforms
        ctx.set_materialize_grads(False)
        arrays = (*powers, means[0], sums[:, :3], sums[:, 3 : 3 + channels], peak)
        out = tuple(torch.from_numpy(np.ascontiguousarray(a)) for a in arrays)
        ctx.mark_non_differentiable(out[-1])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *given: torch.Tensor | None) -> tuple[torch.Tensor, None, None, None]:
        (x,) = ctx.saved_tensors
        samples = _samples(x)
        rows, channels, length = samples.shape
        *dpowers, dmeans, dmoments, denergy = (
            None if g is None else np.ascontiguousarray(g.numpy()) for g in given[:-1]
        )
        dsums = np.zeros((rows, len(MOMENTS) + 2))
        if dmoments is not None:
            dsums[:, :3] = dmoments
        if denergy is not None:
            dsums[:, 3 : 3 + channels] = denergy
        dx = np.empty((rows, 2, length), samples.dtype)

        def work(row: int) -> None:
            layers, dlayers = np.empty((2, length), samples.dtype), np.zeros((2, length), samples.dtype)
            _mix(samples[row, 0], samples[row, -1], layers[0], layers[1], np.empty(dsums.shape[1]))
            for i, layer in enumerate((0, 1, 0)):
                t = ctx.transforms[i]
                de, dq = dpowers[i], dmeans if i == 0 else None
                if (de is not None and row < len(de)) or dq is not None:
                    count = t.frames.count(length)
                    _flow_back(
                        t,
                        layers[layer],
                        np.zeros((count, t.bands.first.size), dx.dtype) if de is None else de[row],
                        np.zeros((count, t.means.first.size), dx.dtype) if dq is None else dq[row],
                        dlayers[layer],
                    )
            dmid, dside = dlayers
            _mix_adjoint(samples[row, 0], samples[row, -1], dmid, dside, dsums[row], dx[row, 0], dx[row, 1])

        side_by_side(work, rows)
        # of one channel, which was left and right, both gradients are its own
        return torch.from_numpy(dx if channels == 2 else dx.sum(axis=1, keepdims=True)), None, None, None


def sums(x: torch.Tensor, plan: Plan, rate: float, *, side: bool) -> Sums:
    """Sum a batch row by row, differentiably.

    Parameters
    ----------
    x: (row, channel, time), one channel or two, float32 or float64; on other devices than the CPU through
        torch's own operations.
    rate: in Hz.
    side: whether the side is wanted; it takes two channels.

    Raises
    ------
    ValueError: `x` is shorter than one slow frame, or has more than two channels.
    """
    if x.shape[1] not in (1, 2):
        raise ValueError(f"{x.shape[1]} channels cannot be described, only one or two")
    if x.shape[2] < plan.slow_fft:
        raise ValueError(f"{x.shape[2]} samples are fewer than one frame of {plan.slow_fft}")
    if x.device.type != "cpu":
        return plain(x, plan, rate, side=side)
    # torch's Function.apply carries no types
    return Sums(*_Sum.apply(x, plan, rate, side))  # type: ignore[no-untyped-call]


def plain(x: torch.Tensor, plan: Plan, rate: float, *, side: bool) -> Sums:
    """Return the same by torch's own operations: for other devices, and as a check."""

    def like(weights: npt.NDArray[np.float64]) -> torch.Tensor:
        return torch.tensor(weights, dtype=x.dtype).to(x.device)

    mid, rows = x.mean(1), len(x)
    layers = torch.cat([mid, (x[:, 0] - x[:, -1])[: rows if side else 0] / 2.0])
    both = power_spectrogram(layers, plan.slow_fft)
    power = both[:rows]
    return Sums(
        power @ like(matrix(plan.mid, plan.slow_fft, rate)),
        both[rows:] @ like(matrix(plan.side, plan.slow_fft, rate)),
        power_spectrogram(mid, plan.fast_fft) @ like(matrix(plan.fast, plan.fast_fft, rate)),
        (power + plan.floor).log() @ like(mean_matrix(plan.logs, plan.slow_fft, rate)),
        torch.stack([mid.double().pow(p).sum(-1) for p in MOMENTS], dim=1),
        x.double().square().sum(-1),
        mid.detach().double().abs().amax(-1),
    )
