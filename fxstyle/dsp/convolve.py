"""Convolution with an impulse response: batched and differentiable, or streaming.

    y[n] = sum_k h[k] x[n - k]

* `convolve` is one product per signal, Y = H X on at least N + L - 1 points, hence exact. Its adjoint is
  the correlation dx = h ? dy, dh = x ? dy:  dX = conj(H) dY,  dH = conj(X) dY.
* `StreamConvolver` is the uniformly partitioned overlap-save method (T. G. Stockham 1966; W. G. Gardner,
  "Efficient convolution without input-output delay", JAES 43(3), 1995, section 2): h is cut into K
  partitions of P samples, and the spectra X_t of the frames [t P - P, t P + P) are kept in a delay line,

      Y_t = sum_{k<K} H_k X_{t-k},    y[t P + i] = inverse(Y_t)[P + i],  0 <= i < P.

  Work is done only when P samples are full, always with arrays of the same shape: that is what makes the
  result identical to the bit for any block size. The price is a latency of P.

The spectra are those of `fxstyle.dsp.fft`, in which the ends of a convolution come back negated, not as
they are: neither form sees them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch.autograd.function import once_differentiable

from fxstyle.dsp import fft
from fxstyle.dsp.threads import for_each
from fxstyle.effect import Samples

Signal = npt.NDArray[Any]

LEAST_LATENCY = fft.SMALLEST


@njit(cache=True, nogil=True, error_model="numpy")
def _to_spectrum(low: Signal, high: Signal, table: Signal, out: Signal) -> None:
    """Out (2, M) = spectrum of the signal (low, high), real and imaginary parts apart."""
    fft.enter(low, high, table, out[0], out[1])
    fft.transform(out[0], out[1], table)


@njit(cache=True, nogil=True, error_model="numpy")
def _to_signal(spectrum: Signal, table: Signal, low: Signal, high: Signal) -> None:
    """(low, high) = M times the signal of `spectrum`, which is overwritten."""
    fft.transform_back(spectrum[0], spectrum[1], table)
    fft.leave(spectrum[0], spectrum[1], table, low, high)


@njit(cache=True, nogil=True, error_model="numpy")
def _multiply(a: Signal, b: Signal, conjugated: float, out: Signal) -> None:
    """Out = a b / M, or with `conjugated` -1 instead of 1, a conj(b) / M; all (2, M)."""
    scale = a.dtype.type(1.0 / a.shape[1])
    sign = a.dtype.type(conjugated) * scale
    ar, ai, br, bi, real, imaginary = a[0], a[1], b[0], b[1], out[0], out[1]
    for i in range(ar.size):
        real[i] = scale * (ar[i] * br[i]) - sign * (ai[i] * bi[i])
        imaginary[i] = scale * (ai[i] * br[i]) + sign * (ar[i] * bi[i])


@njit(cache=True, nogil=True, error_model="numpy")
def _forward(
    x: Signal, ir: Signal, table: Signal, x_spectrum: Signal, ir_spectrum: Signal, y: Signal
) -> None:
    size = x_spectrum.shape[1]
    _to_spectrum(x[:size], x[size:], table, x_spectrum)
    _to_spectrum(ir[:size], ir[size:], table, ir_spectrum)
    product = np.empty_like(x_spectrum)
    _multiply(x_spectrum, ir_spectrum, 1.0, product)
    _to_signal(product, table, y[:size], y[size:])


@njit(cache=True, nogil=True, error_model="numpy")
def _adjoint(
    dy: Signal, x_spectrum: Signal, ir_spectrum: Signal, table: Signal, dx: Signal, dh: Signal
) -> None:
    spectrum, product = np.empty_like(x_spectrum), np.empty_like(x_spectrum)
    size = spectrum.shape[1]
    _to_spectrum(dy[:size], dy[size:], table, spectrum)
    if dx.size:
        _multiply(spectrum, ir_spectrum, -1.0, product)
        _to_signal(product, table, dx[:size], dx[size:])
    if dh.size:
        _multiply(spectrum, x_spectrum, -1.0, product)
        _to_signal(product, table, dh[:size], dh[size:])


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, ir: torch.Tensor) -> torch.Tensor:
        signals, responses = (t.detach().contiguous().flatten(0, -2).numpy() for t in (x, ir))
        size = fft.fitting(x.shape[-1] + ir.shape[-1] - 1)
        table = fft.tables(size, signals.dtype)
        y = np.empty_like(signals)
        x_spectra, ir_spectra = (np.empty((y.shape[0], 2, size), y.dtype) for _ in range(2))
        tables = [table] * y.shape[0]
        for_each(_forward, signals, responses, tables, x_spectra, ir_spectra, y)
        ctx.save_for_backward(torch.from_numpy(x_spectra), torch.from_numpy(ir_spectra))
        ctx.table, ctx.shapes = table, (x.shape, ir.shape)
        return torch.from_numpy(y.reshape(x.shape))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        dy = grad.contiguous().flatten(0, -2).numpy()
        # what nobody asks for has no room
        wanted = [
            np.empty((dy.shape[0], shape[-1] if needed else 0), dy.dtype)
            for shape, needed in zip(ctx.shapes, ctx.needs_input_grad, strict=True)
        ]
        spectra = [kept.numpy() for kept in ctx.saved_tensors]
        for_each(_adjoint, dy, *spectra, [ctx.table] * dy.shape[0], *wanted)
        found = [
            torch.from_numpy(made.reshape(shape)) if needed else None
            for made, shape, needed in zip(wanted, ctx.shapes, ctx.needs_input_grad, strict=True)
        ]
        return found[0], found[1]


def convolve(x: torch.Tensor, ir: torch.Tensor) -> torch.Tensor:
    """Convolve each signal of `x` with its own impulse response, keeping the length of `x`.

    Parameters
    ----------
    x: (batch, channel, time), float32 or float64, on the CPU.
    ir: (batch, channel, taps), the same type; what lies beyond the length of `x` is never heard.

    Returns
    -------
    (batch, channel, time); gradients reach both arguments.
    """
    if x.shape[-1] == 0:
        return x.clone()
    if x.device.type != "cpu":
        from fxstyle.device import room

        return room.convolve(x, ir)
    y: torch.Tensor = _Convolve.apply(x, ir[..., : x.shape[-1]])  # type: ignore[no-untyped-call]
    return y


@njit(cache=True, nogil=True, error_model="numpy")
def _spectra(low: Signal, high: Signal, table: Signal, out: Signal) -> None:
    """Out (channel, 2, M) = spectra of the signals (low, high), real and imaginary parts apart."""
    for c in range(low.shape[0]):
        _to_spectrum(low[c], high[c], table, out[c])


@njit(cache=True, nogil=True, error_model="numpy")
def _accumulate(response: Signal, x: Signal, other: Signal, y: Signal, out: Signal, more: bool) -> None:
    """out[c] = response[c] x[c] + other[c] y[c], and what was there before if `more`; all (channel, 2, bin).

    Channel c uses response c modulo responses.
    """
    for c in range(x.shape[0]):
        r = c % response.shape[0]
        hr, hi, gr, gi = response[r, 0], response[r, 1], other[r, 0], other[r, 1]
        xr, xi, yr, yi, real, imaginary = x[c, 0], x[c, 1], y[c, 0], y[c, 1], out[c, 0], out[c, 1]
        if not more:
            for i in range(real.size):
                real[i], imaginary[i] = 0.0, 0.0
        for i in range(real.size):
            real[i] += hr[i] * xr[i] - hi[i] * xi[i] + (gr[i] * yr[i] - gi[i] * yi[i])
            imaginary[i] += hr[i] * xi[i] + hi[i] * xr[i] + (gr[i] * yi[i] + gi[i] * yr[i])


@njit(cache=True, nogil=True, error_model="numpy")
def _signals(spectra: Signal, table: Signal, dry: float, x: Signal, out: Signal) -> None:
    """out[c] = second half of the signal of spectra[c], which is overwritten, plus dry x[c]."""
    for c in range(out.shape[0]):
        _to_signal(spectra[c], table, out[c, :0], out[c])
        for n in range(out.shape[1]):
            out[c, n] += dry * x[c, n]


@dataclass(frozen=True)
class ConvolverState:
    """Where a stream stands. Nothing in it is ever written to, so a state can be used more than once.

    Attributes
    ----------
    line: the spectra of past frames, newest first, each (channel, 2, bin).
    tail: (channel, P), the input before the group that is being filled.
    pending: that group's blocks, last one first, as a linked list: appending costs nothing.
    filled: samples in it.
    output: (channel, latency), what is given out while it fills.
    """

    line: tuple[Samples, ...]
    tail: Samples
    pending: tuple[Samples, Any] | None
    filled: int
    output: Samples


class StreamConvolver:
    """Convolution of streams in blocks of any size, late by `latency` samples.

    Parameters
    ----------
    ir: (responses, taps); channel c uses response c modulo `responses`.
    channels: of the stream.
    latency: P, a power of two of at least LEAST_LATENCY.
    dry: gain at which the input itself is added, without passing through the transform.

    Raises ValueError for another latency.
    """

    def __init__(self, ir: Samples, channels: int, latency: int, dry: float = 0.0) -> None:
        if latency < LEAST_LATENCY or latency & (latency - 1):
            raise ValueError(f"latency {latency} is not a power of two of at least {LEAST_LATENCY}")
        self.latency = latency
        self._channels = channels
        self._dry: Any = ir.dtype.type(dry)
        self._table = fft.tables(latency, ir.dtype)
        partitions = max(-(-ir.shape[1] // latency), 1)
        padded = np.zeros((partitions, ir.shape[0], latency), ir.dtype)
        for k in range(partitions):
            part = ir[:, k * latency : (k + 1) * latency]
            # what the way back leaves out
            padded[k, :, : part.shape[1]] = part / latency
        self._response = np.empty((partitions, ir.shape[0], 2, latency), ir.dtype)
        self._none = np.zeros_like(self._response[0])
        for part, spectra in zip(padded, self._response, strict=True):
            _spectra(part, part[:, :0], self._table, spectra)

    def process(self, x: Samples, state: ConvolverState | None) -> tuple[Samples, ConvolverState]:
        """Return the next samples (channel, time), as many as given, of dry * x + ir * x, and the new state.

        A state may go to a convolver with another response in the middle of a stream, if the number of
        channels and the latency are the same; responses that grow find silence where nothing was kept.
        """
        dtype = self._response.dtype
        if state is None:
            silence = np.zeros((self._channels, self.latency), dtype)
            state = ConvolverState((), silence, None, 0, silence)
        line, tail, pending = state.line, state.tail, state.pending
        filled, output = state.filled, state.output
        y = np.empty(x.shape, dtype)
        position = 0
        while position < x.shape[1]:
            take = min(self.latency - filled, x.shape[1] - position)
            here = slice(position, position + take)
            y[:, here] = output[:, filled : filled + take]
            pending = (x[:, here].astype(dtype, order="C"), pending)
            filled += take
            position += take
            if filled == self.latency:
                line, tail, output = self._advance(line, tail, pending)
                pending, filled = None, 0
        return y, ConvolverState(line, tail, pending, filled, output)

    def _advance(
        self, line: tuple[Samples, ...], tail: Samples, pending: tuple[Samples, Any] | None
    ) -> tuple[tuple[Samples, ...], Samples, Samples]:
        """Take in P new samples; return the new line and tail, and the next P of the output."""
        blocks = []
        while pending is not None:
            block, pending = pending
            blocks.append(block)
        fresh = blocks[0] if len(blocks) == 1 else np.concatenate(blocks[::-1], axis=1)
        frame = np.empty((self._channels, 2, self.latency), fresh.dtype)
        _spectra(tail, fresh, self._table, frame)
        line = (frame, *line)[: self._response.shape[0]]
        product = np.empty_like(frame)
        for k in range(0, len(line), 2):
            # of a last one without a second, the product with itself and zero
            other = (self._response[k + 1], line[k + 1]) if k + 1 < len(line) else (self._none, line[k])
            _accumulate(self._response[k], line[k], *other, product, k > 0)
        output = np.empty_like(fresh)
        _signals(product, self._table, self._dry, fresh, output)
        return line, fresh, output
