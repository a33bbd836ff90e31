"""Short-time spectra, some frames at a time, and their adjoint.

    s_t[n] = w[n] x[t H + n - P],                   n = 0 .. N-1,  t = 0 .. F-1
    S_t[k] = sum_n s_t[n] exp(-2 pi j k n / N),     k = 0 .. N/2

with the window w of L <= N samples in the middle of the frame. Centred frames have P = N/2 and see beyond
both ends of x its mirror image, as torch.stft and librosa.stft do; others have P = 0 and stay inside.

Adjoint, for real x and dL/dS_t[k] = dL/dRe + j dL/dIm:

    dL/dx[t H + n - P] += w[n] Re sum_k (dL/dS_t[k]) exp(+2 pi j k n / N)

an inverse real transform that would count every bin but the first and the last twice.

Speed. Frames are cut into one small buffer, transformed, and used up before the next are cut: a whole
signal's spectra are 35 to 80 bytes a sample, whose way through memory costs more than transforming twice.
The transforms are torch's (MKL on x86: two thirds of pocketfft's time in float32). MKL on several threads
is slow on pieces this small, and stands still where cores are busy, so lanes go to threads instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import njit

Array = npt.NDArray[np.floating[Any]]
"""float32 or float64."""

AT_ONCE = 131072
"""Samples of frames cut at a time: with their spectra a mebibyte in float32, a core's second-level cache.
Half or a quarter of it takes a tenth longer."""


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _mirrored(i: int, length: int) -> int:
    i = abs(i)
    return i if i < length else 2 * (length - 1) - i


@njit(cache=True, nogil=True, error_model="numpy")
def _cut(x: Array, window: Array, hop: int, begin: int, count: int, out: Array) -> None:
    """Fill columns of `out` (frame, N) with windowed pieces of x (time,), the first from x[begin] on."""
    length, size = x.shape[0], window.shape[0]
    margin = (out.shape[1] - size) // 2
    for f in range(count):
        first = begin + f * hop + margin
        if first >= 0 and first + size <= length:
            piece, frame = x[first : first + size], out[f, margin : margin + size]
            for n in range(size):
                frame[n] = piece[n] * window[n]
        else:
            for n in range(size):
                out[f, margin + n] = x[_mirrored(first + n, length)] * window[n]


@njit(cache=True, nogil=True, error_model="numpy")
def _lay(frames: Array, window: Array, hop: int, begin: int, dx: Array) -> None:
    """Add windowed frames (frame, N) to dx (time,) where `_cut` took them from."""
    length, size = dx.shape[0], window.shape[0]
    margin = (frames.shape[1] - size) // 2
    for f in range(frames.shape[0]):
        first = begin + f * hop + margin
        if first >= 0 and first + size <= length:
            piece, frame = dx[first : first + size], frames[f, margin : margin + size]
            for n in range(size):
                piece[n] += frame[n] * window[n]
        else:
            for n in range(size):
                dx[_mirrored(first + n, length)] += frames[f, margin + n] * window[n]


@dataclass(frozen=True)
class Frames:
    """How a signal is cut into frames.

    Attributes
    ----------
    n_fft: N, even. hop: H. size: L <= N, the length of the periodic Hann window; all in samples.
    centred: whether the first frame's middle, not its beginning, is the first sample.
    """

    n_fft: int
    hop: int
    size: int
    centred: bool = False

    def __post_init__(self) -> None:
        if self.n_fft % 2 or not 0 < self.size <= self.n_fft or self.hop < 1:
            raise ValueError(
                "frames need an even n_fft, a window of 1 .. n_fft samples and a hop of at least 1,"
                f" got n_fft {self.n_fft}, window {self.size}, hop {self.hop}"
            )

    @property
    def bins(self) -> int:
        """Return N/2 + 1."""
        return self.n_fft // 2 + 1

    @property
    def least(self) -> int:
        """Return how many samples the shortest signal has: one frame, or enough to mirror half a one."""
        return self.n_fft // 2 + 1 if self.centred else self.n_fft

    @property
    def lead(self) -> int:
        """Return P."""
        return self.n_fft // 2 if self.centred else 0

    @cached_property
    def at_once(self) -> int:
        """Return how many frames are cut at a time."""
        return max(AT_ONCE // self.n_fft, 1)

    def count(self, samples: int) -> int:
        """Return F for a signal of so many samples."""
        return (samples + 2 * self.lead - self.n_fft) // self.hop + 1

    def check(self, samples: int) -> None:
        """Raise ValueError if so many samples are fewer than `least`."""
        if samples < self.least:
            what = f"half a frame of {self.n_fft} and one" if self.centred else f"one frame of {self.n_fft}"
            raise ValueError(f"{samples} samples are fewer than {what}")

    def window(self, dtype: torch.dtype) -> torch.Tensor:
        """Return w, (L,)."""
        return _hann(self.size, dtype)

    def spectra(self, x: Array) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Yield spectra of x (time,), some frames at a time, each with the number of its first frame.

        They are (frame, N + 2), real and imaginary parts in turn, and may be overwritten. `x` is contiguous.
        """
        total = self.count(x.shape[0])
        # zero beside the window, and nothing beside it that fills the frame
        make = torch.zeros if self.size < self.n_fft else torch.empty
        buffer = make((min(self.at_once, total), self.n_fft), dtype=_torch_type(x))
        cut, window = buffer.numpy(), self.window(buffer.dtype).numpy()
        for first in range(0, total, self.at_once):
            count = min(self.at_once, total - first)
            _cut(x, window, self.hop, first * self.hop - self.lead, count, cut)
            yield first, torch.view_as_real(torch.fft.rfft(buffer[:count])).numpy().reshape(count, -1)

    def lay(self, first: int, half: npt.NDArray[Any], dx: Array) -> None:
        """Add to dx (time,) what flows back to it from the spectra of frames `first` and on.

        `half` is laid out as what `spectra` yields: half of dL/dS, and the whole of it in the outer bins.
        """
        spectrum = torch.view_as_complex(torch.from_numpy(half.reshape(len(half), -1, 2)))
        frames = torch.fft.irfft(spectrum, self.n_fft, norm="forward")
        window = self.window(frames.dtype).numpy()
        _lay(frames.numpy(), window, self.hop, first * self.hop - self.lead, dx)


def _torch_type(x: Array) -> torch.dtype:
    return torch.float64 if x.dtype == np.float64 else torch.float32


@lru_cache(maxsize=32)
def _hann(size: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.hann_window(size, dtype=dtype)
