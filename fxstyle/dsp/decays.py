"""Bands of noise that decay exponentially, delayed, each row its own; and the adjoint.

    s_k[n] = sum_b g_b exp(-a_b n) N_kb[n],     h_k[n] = sum_{j<4} c_j s_k[n - d - j]

The derivatives are sums over the response: by g_b of e_b N_kb h', by a_b of -g_b n e_b N_kb h', with e_b the
decay, and by c_j of s_k[n - d - j] h'[n].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch.autograd.function import once_differentiable

from fxstyle.dsp.lagrange import LAGRANGE_TAPS
from fxstyle.dsp.threads import for_each

NEGLIGIBLE = 1e-13
"""A band that has decayed by 260 dB is skipped."""

TABLE = 512
"""Samples over which a decay is tabulated, once per band."""


@njit(cache=True, nogil=True, error_model="numpy")
def _shape(
    noise: npt.NDArray[np.float32],
    gain: npt.NDArray[np.float64],
    decay: npt.NDArray[np.float64],
    out: npt.NDArray[Any],
) -> None:
    """out[n] = sum_b gain_b exp(-decay_b n) noise_b[n]."""
    real = out.dtype.type
    table = np.empty((gain.size, TABLE), out.dtype)
    for b in range(gain.size):
        for i in range(TABLE):
            table[b, i] = math.exp(-decay[b] * i)
    out[:] = real(0.0)
    for begin in range(0, out.size, TABLE):
        here = out[begin : begin + TABLE]
        for b in range(gain.size):
            envelope = math.exp(-decay[b] * begin)
            if envelope < NEGLIGIBLE:
                continue
            scale = real(gain[b] * envelope)
            band, fall = noise[b, begin : begin + here.size], table[b]
            for i in range(here.size):
                here[i] += scale * fall[i] * band[i]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _moments(
    band: npt.NDArray[np.float32], fall: npt.NDArray[Any], grad: npt.NDArray[Any]
) -> tuple[float, float]:
    """Return sum_i fall_i band_i grad_i and sum_i i fall_i band_i grad_i, in whichever order is fast."""
    real = fall.dtype.type
    zeroth, first = real(0.0), real(0.0)
    for i in range(grad.size):
        product = fall[i] * band[i] * grad[i]
        zeroth += product
        first += real(np.int32(i)) * product
    return zeroth, first


@njit(cache=True, nogil=True, error_model="numpy")
def _shape_adjoint(
    noise: npt.NDArray[np.float32],
    gain: npt.NDArray[np.float64],
    decay: npt.NDArray[np.float64],
    grad: npt.NDArray[Any],
    gain_grad: npt.NDArray[np.float64],
    decay_grad: npt.NDArray[np.float64],
) -> None:
    """Derivatives by gain_b, sum_n e_b noise_b grad, and by decay_b, -gain_b sum_n n e_b noise_b grad."""
    fall = np.empty(TABLE, grad.dtype)
    for b in range(gain.size):
        for i in range(TABLE):
            fall[i] = math.exp(-decay[b] * i)
        zeroth, first = 0.0, 0.0
        for begin in range(0, grad.size, TABLE):
            envelope = math.exp(-decay[b] * begin)
            if envelope < NEGLIGIBLE:
                break
            here = grad[begin : begin + TABLE]
            m0, m1 = _moments(noise[b, begin : begin + here.size], fall, here)
            zeroth += envelope * m0
            first += envelope * (begin * m0 + m1)
        gain_grad[b] = zeroth
        decay_grad[b] = -gain[b] * first


@njit(cache=True, nogil=True, error_model="numpy")
def _delayed(
    noise: npt.NDArray[np.float32],
    gain: npt.NDArray[np.float64],
    decay: npt.NDArray[np.float64],
    taps: npt.NDArray[np.float64],
    whole: int,
    length: int,
    out: npt.NDArray[Any],
) -> None:
    """Write the response made of one stream, delayed by taps; zero from its length on."""
    shaped = np.empty(length, out.dtype)
    _shape(noise, gain, decay, shaped)
    out[:] = 0.0
    for j in range(taps.size):
        tap = out.dtype.type(taps[j])
        delayed = out[whole + j : whole + j + length]
        for n in range(length):
            delayed[n] += tap * shaped[n]


@njit(cache=True, nogil=True, error_model="numpy")
def _delayed_adjoint(
    noise: npt.NDArray[np.float32],
    gain: npt.NDArray[np.float64],
    decay: npt.NDArray[np.float64],
    taps: npt.NDArray[np.float64],
    whole: int,
    length: int,
    grad: npt.NDArray[Any],
    gain_grad: npt.NDArray[np.float64],
    decay_grad: npt.NDArray[np.float64],
    taps_grad: npt.NDArray[np.float64],
) -> None:
    shaped = np.empty(length, grad.dtype)
    _shape(noise, gain, decay, shaped)
    shaped_grad = np.zeros(length, grad.dtype)
    for j in range(taps.size):
        tap = grad.dtype.type(taps[j])
        delayed = grad[whole + j : whole + j + length]
        total = 0.0
        for n in range(length):
            shaped_grad[n] += tap * delayed[n]
            total += shaped[n] * delayed[n]
        taps_grad[j] = total
    _shape_adjoint(noise, gain, decay, shaped_grad, gain_grad, decay_grad)


def _each_stream(
    kernel: Callable[..., None], noise: npt.NDArray[np.float32], of_row: Any, of_both: Any
) -> None:
    """Call a kernel for each row and stream, with what belongs to the row, and to both, (row, stream, ..)."""

    def call(row: int, stream: int) -> None:
        kernel(noise[stream], *(part[row] for part in of_row), *(part[row, stream] for part in of_both))

    for_each(call, *zip(*np.ndindex(len(of_row[0]), noise.shape[0]), strict=True))


class _Response(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        gain: torch.Tensor,
        decay: torch.Tensor,
        taps: torch.Tensor,
        noise: npt.NDArray[np.float32],
        whole: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
        dtype: torch.dtype,
    ) -> torch.Tensor:
        ctx.save_for_backward(gain, decay, taps)
        ctx.constants = (noise, whole, lengths)
        knobs = (gain.detach().numpy(), decay.detach().numpy(), taps.detach().numpy())
        end = int((whole + lengths).max()) + LAGRANGE_TAPS - 1
        real = np.float64 if dtype == torch.float64 else np.float32
        out = np.empty((gain.shape[0], noise.shape[0], end), real)
        _each_stream(_delayed, noise, (*knobs, whole, lengths), (out,))
        return torch.from_numpy(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        noise, whole, lengths = ctx.constants
        gain, decay, taps = (t.detach().numpy() for t in ctx.saved_tensors)
        grads = [np.empty((k.shape[0], noise.shape[0], k.shape[1])) for k in (gain, decay, taps)]
        samples = grad.contiguous().numpy()
        _each_stream(_delayed_adjoint, noise, (gain, decay, taps, whole, lengths), (samples, *grads))
        return (*(torch.from_numpy(g.sum(axis=1)) for g in grads), None, None, None, None)


def decays(
    gain: torch.Tensor,
    decay: torch.Tensor,
    taps: torch.Tensor,
    noise: npt.NDArray[np.float32],
    whole: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    dtype: torch.dtype,
    device: torch.device | None = None,
) -> torch.Tensor:
    """Return the responses (row, stream, time), differentiably in gain, decay and taps.

    Parameters
    ----------
    gain, decay: (row, band) in float64, the decay in nepers per sample. taps: (row, LAGRANGE_TAPS).
    noise: (stream, band, time). whole, lengths: (row,) d, and the samples of s.
    dtype, device: of the result; None is the CPU.
    """
    if device is not None and device.type != "cpu":
        from fxstyle.device import room

        return room.streams(gain, decay, taps, noise, whole, lengths, dtype, device)
    made: torch.Tensor = _Response.apply(gain, decay, taps, noise, whole, lengths, dtype)  # type: ignore[no-untyped-call]
    return made
