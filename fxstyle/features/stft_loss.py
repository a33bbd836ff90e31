"""The multi-resolution STFT distance, with a gradient that costs two transforms.

    d(x, y) = 1/R sum_i ( |Y_i - X_i|_F / |Y_i|_F  +  mean |ln Y_i - ln X_i| ),   i = 1 .. R
    X_i = sqrt(max(|S_i|^2, EPSILON))

with S_i the short-time spectra of x at resolution i, centred, under a Hann window (Yamamoto, Song and Kim
2020, Parallel WaveGAN, section 2.2; spectral convergence after Arik, Jun and Diamos 2018). Norms and means
run over the channels, frames and bins of one row. For one row it is auraloss' MultiResolutionSTFTLoss with
its default weights; for several, auraloss takes one norm over the whole batch where a fit needs one value
per candidate.

Adjoint, with N_i the number of values of X_i, and zero where |S_i|^2 < EPSILON:

    dd/dS_i = S_i / (R X_i) ( (X_i - Y_i) / (|Y_i - X_i|_F |Y_i|_F)  +  sign(X_i - Y_i) / (N_i X_i) )

The norm is not known before the last frame has been seen, so the backward pass transforms the frames
again instead of keeping their spectra: nothing is held from forward to backward but x, and nothing is as
large as a spectrogram but the target's magnitudes, computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch.autograd.function import once_differentiable

from fxstyle.dsp.octaves import LN_2, octaves
from fxstyle.dsp.threads import side_by_side
from fxstyle.features.frames import Array, Frames

RESOLUTIONS = (
    Frames(1024, 120, 600, centred=True),
    Frames(2048, 240, 1200, centred=True),
    Frames(512, 50, 240, centred=True),
)
"""Those of Parallel WaveGAN's table 1 (at 24 kHz), which auraloss and most papers since have kept."""

EPSILON = 1e-8
"""Least power: auraloss' own, -80 dB of a bin that reads one."""


@njit(cache=True, nogil=True, error_model="numpy")
def _magnitudes(spectra: Array, epsilon: float, out: Array) -> None:
    """Fill `out` (frame, bin) from `spectra` (frame, 2 bin); not-a-number stays what it is."""
    for f in range(out.shape[0]):
        for k in range(out.shape[1]):
            power = spectra[f, 2 * k] * spectra[f, 2 * k] + spectra[f, 2 * k + 1] * spectra[f, 2 * k + 1]
            out[f, k] = np.sqrt(epsilon if power < epsilon else power)


# Reassociation lets the sums run in SIMD lanes; nothing here tests for NaN.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "nsz"})
def _sums(x: Array, y: Array) -> tuple[float, float, float]:
    """Sum (X - Y)^2, Y^2 and |ln X/Y| over (frame, bin)."""
    real: Any = x.dtype.type
    zero, ln_2 = real(0.0), real(LN_2)
    squares = energy = logs = 0.0
    for f in range(x.shape[0]):
        # a frame's thousand terms are summed in the signal's own precision, frames in float64
        frame_squares = frame_energy = frame_logs = zero
        for k in range(x.shape[1]):
            d = x[f, k] - y[f, k]
            frame_squares += d * d
            frame_energy += y[f, k] * y[f, k]
        for k in range(x.shape[1]):
            frame_logs += abs(octaves(x[f, k] / y[f, k]))
        squares += frame_squares
        energy += frame_energy
        logs += ln_2 * frame_logs
    return squares, energy, logs


@njit(cache=True, nogil=True, error_model="numpy")
def _adjoint(spectra: Array, y: Array, epsilon: float, convergence: float, logs: float) -> None:
    """Turn `spectra` (frame, 2 bin) in place into half of dL/dS, in the outer bins the whole.

    `convergence` and `logs` are half the gradients of sum (X - Y)^2 / 2 and of sum |ln X/Y|.
    """
    zero = epsilon - epsilon  # of the type it has
    for f in range(y.shape[0]):
        for k in range(y.shape[1]):
            power = spectra[f, 2 * k] * spectra[f, 2 * k] + spectra[f, 2 * k + 1] * spectra[f, 2 * k + 1]
            x = np.sqrt(power)
            d = x - y[f, k]
            slope = (convergence * d + (logs if d > zero else -logs) / x) / x
            slope = zero if power < epsilon or d == zero else slope
            spectra[f, 2 * k] *= slope
            spectra[f, 2 * k + 1] *= slope
        for k in (0, y.shape[1] - 1):
            spectra[f, 2 * k] += spectra[f, 2 * k]
            spectra[f, 2 * k + 1] += spectra[f, 2 * k + 1]


def _of_target(y: Array, frames: Frames) -> Iterator[Array]:
    """Magnitudes (frame, bin) of y (time,), some frames at a time."""
    epsilon: Any = y.dtype.type(EPSILON)
    for _, spectra in frames.spectra(y):
        out = np.empty((spectra.shape[0], frames.bins), y.dtype)
        _magnitudes(spectra, epsilon, out)
        yield out


def _compare(x: Array, frames: Frames, targets: Iterator[Array]) -> tuple[float, float, float]:
    """Sum (X - Y)^2, Y^2 and |ln X/Y| of x (time,) against a target's magnitudes."""
    epsilon: Any = x.dtype.type(EPSILON)
    magnitudes = np.empty((frames.at_once, frames.bins), x.dtype)
    total = np.zeros(3)
    for (_, spectra), y in zip(frames.spectra(x), targets, strict=True):
        now = magnitudes[: spectra.shape[0]]
        _magnitudes(spectra, epsilon, now)
        total += _sums(now, y)
    return float(total[0]), float(total[1]), float(total[2])


_Target = Callable[[int, int], Iterator[Array]]
"""The magnitudes at a resolution of a lane, a channel of a row, in pieces as `Frames.spectra` yields them."""


class _Sums(NamedTuple):
    """Sums over the channels of each row, (resolution, row), and how many values they ran over."""

    squares: npt.NDArray[np.float64]
    energy: npt.NDArray[np.float64]
    logs: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]

    def distance(self) -> npt.NDArray[np.float64]:
        """Return d, (row,)."""
        terms = np.sqrt(self.squares / self.energy) + self.logs / self.values
        return np.asarray(terms.mean(axis=0))


def _sum_rows(x: torch.Tensor, resolutions: Sequence[Frames], target: _Target) -> _Sums:
    rows, channels, samples = x.shape
    lanes = x.detach().contiguous().flatten(0, 1).numpy()
    sums = np.empty((len(resolutions), len(lanes), 3))

    def work(lane: int) -> None:
        for i, frames in enumerate(resolutions):
            sums[i, lane] = _compare(lanes[lane], frames, target(i, lane))

    side_by_side(work, len(lanes))
    squares, energy, logs = np.moveaxis(sums.reshape(-1, rows, channels, 3).sum(axis=2), -1, 0)
    values = np.array([[channels * frames.count(samples) * frames.bins] for frames in resolutions])
    return _Sums(squares, energy, logs, values.astype(np.float64))


class _Distance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, resolutions: Sequence[Frames], target: _Target) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.sums, ctx.resolutions, ctx.target = _sum_rows(x, resolutions, target), resolutions, target
        return torch.from_numpy(ctx.sums.distance()).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (x,) = ctx.saved_tensors
        channels = x.shape[1]
        half = gradient.double().numpy() / (2.0 * len(ctx.resolutions))
        sums: _Sums = ctx.sums
        norms = np.sqrt(sums.squares * sums.energy)
        # equal spectra: the norm has no slope there, and taking 0 is what torch.linalg.norm does
        convergence = np.divide(half, norms, out=np.zeros_like(norms), where=norms > 0.0)
        logs = half / sums.values
        lanes = x.detach().contiguous().flatten(0, 1).numpy()
        dx = np.zeros_like(lanes)
        number = lanes.dtype.type
        epsilon = number(EPSILON)

        def work(lane: int) -> None:
            row = lane // channels
            for i, frames in enumerate(ctx.resolutions):
                a, b = number(convergence[i, row]), number(logs[i, row])
                pieces = zip(frames.spectra(lanes[lane]), ctx.target(i, lane), strict=True)
                for (first, spectra), y in pieces:
                    _adjoint(spectra, y, epsilon, a, b)
                    frames.lay(first, spectra, dx[lane])

        side_by_side(work, len(lanes))
        return torch.from_numpy(dx).reshape(x.shape), None, None


def _check(x: torch.Tensor, target: torch.Tensor, resolutions: Sequence[Frames]) -> None:
    if x.ndim != 3 or x.shape[1:] != target.shape[1:] or target.shape[0] not in (1, x.shape[0]):
        raise ValueError(
            "the STFT loss compares (batch, channel, time) with a target of that shape or of one row,"
            f" got {tuple(x.shape)} and {tuple(target.shape)}"
        )
    if x.dtype != target.dtype or x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"both sides must be float32, or both float64; got {x.dtype} and {target.dtype}")
    for frames in resolutions:
        frames.check(x.shape[2])


def plain(x: torch.Tensor, target: torch.Tensor, resolutions: Sequence[Frames] = RESOLUTIONS) -> torch.Tensor:
    """Return the same distances (batch,) by torch's own operations: for other devices, and as a check."""
    terms = []
    for frames in resolutions:
        a, b = _stft(x, frames), _stft(target, frames)
        convergence = (b - a).flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1)
        terms.append(convergence + (a.log() - b.log()).abs().flatten(1).mean(1))
    return torch.stack(terms).mean(0)


def _stft(x: torch.Tensor, frames: Frames) -> torch.Tensor:
    """Magnitudes (batch, channel, bin, frame)."""
    window = frames.window(x.dtype).to(x.device)
    spectrum = torch.stft(x.flatten(0, 1), frames.n_fft, frames.hop, frames.size, window, return_complex=True)
    power = (spectrum.real.square() + spectrum.imag.square()).clamp_min(EPSILON)
    return power.sqrt().reshape(*x.shape[:2], *power.shape[1:])


class StftLoss:
    """The distance to a target whose spectra are computed once.

    Parameters
    ----------
    target: (batch, channel, time), or (1, channel, time) for all rows; float32 or float64. It gets no
        gradient.
    resolutions: the transforms, each centred.

    Raises
    ------
    ValueError: the target is shorter than half the largest frame and one, or has another shape or type.
    """

    def __init__(self, target: torch.Tensor, resolutions: Sequence[Frames] = RESOLUTIONS) -> None:
        _check(target, target, resolutions)
        self._target = target.detach()
        self._resolutions = tuple(resolutions)
        self._known: list[list[Array]] = []
        if target.device.type == "cpu":
            lanes = self._target.contiguous().flatten(0, 1).numpy()
            self._known = [[_spectrogram(y, frames) for y in lanes] for frames in self._resolutions]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Distance (batch,) of each row of x (batch, channel, time); differentiable once.

        Raises
        ------
        ValueError: the shape or type is not the target's.
        """
        _check(x, self._target, self._resolutions)
        if x.device.type != "cpu":
            return plain(x, self._target, self._resolutions)
        # torch's Function.apply carries no types
        return cast(torch.Tensor, _Distance.apply(x, self._resolutions, self._pieces))  # type: ignore[no-untyped-call]

    def _pieces(self, i: int, lane: int) -> Iterator[Array]:
        lanes, at_once = self._known[i], self._resolutions[i].at_once
        # a target of one row serves every row: lanes count its channels over and over
        whole = lanes[lane % len(lanes)]
        return (whole[first : first + at_once] for first in range(0, len(whole), at_once))


def _spectrogram(y: Array, frames: Frames) -> Array:
    """Magnitudes (frame, bin) of y (time,)."""
    out = np.empty((frames.count(y.shape[0]), frames.bins), y.dtype)
    first = 0
    for piece in _of_target(y, frames):
        out[first : first + len(piece)] = piece
        first += len(piece)
    return out


@torch.no_grad()
def stft_distance(
    x: torch.Tensor, target: torch.Tensor, resolutions: Sequence[Frames] = RESOLUTIONS
) -> torch.Tensor:
    """Distance (batch,) between x and target, as `StftLoss` gives it, once and for signals of any length.

    No spectrogram is kept: of each side a few frames are there at a time. CPU only.
    """
    _check(x, target, resolutions)
    lanes = target.contiguous().flatten(0, 1).numpy()

    def target_pieces(i: int, lane: int) -> Iterator[Array]:
        return _of_target(lanes[lane % len(lanes)], resolutions[i])

    return torch.from_numpy(_sum_rows(x, resolutions, target_pieces).distance()).to(x.dtype)
