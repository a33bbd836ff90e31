"""Ld: the distance of an output from a truth that has the same content, as benchmarks report it.

    Ld = 1/3 sum_i ( |Y_i - X_i|_F / |Y_i|_F  +  mean |log Y_i - log X_i| ),   i = 1, 2, 3

X_i and Y_i are the magnitudes of the short-time spectra of output and truth with FFT 1024, 2048, 512,
hop 120, 240, 50 and Hann windows of 600, 1200, 240 samples (Yamamoto, Song and Kim 2020, Parallel
WaveGAN, section 2.2 and table 1); the two terms are spectral convergence and the mean
difference of natural logarithms: auraloss' MultiResolutionSTFTLoss with its default weights, computed by
`fxstyle.features.stft_loss`. No level matching: a wrong level is a difference like any other. It is a mean
over channels.

The resolutions are in samples, made for 44.1 kHz: recordings at another rate are resampled to it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fxstyle.audio import Audio, resample

LD_RATE = 44100
"""Hz; the rate of the benchmark whose metric this is."""

_LARGEST_FFT = 2048
SHORTEST_SAMPLES = _LARGEST_FFT // 2 + 1
"""The largest spectrum is centred by reflecting half its length at each end."""


def ld(output: npt.NDArray[np.floating[Any]], truth: npt.NDArray[np.floating[Any]], rate: int) -> float:
    """Distance of `output` from `truth`, both (channel, time) and of the same shape.

    Returns 0 for identical recordings; 1.56 is the median of what known-chain items begin with.

    Raises
    ------
    ValueError: the shapes differ, are not (channel, time), or are shorter than SHORTEST_SAMPLES.
    AudioError: a sample is not finite.
    """
    import torch

    from fxstyle.features.stft_loss import stft_distance

    if output.shape != truth.shape or output.ndim != 2:
        raise ValueError(
            f"ld needs two arrays (channel, time) of one shape, got {output.shape}, {truth.shape}"
        )
    pair = [_at_ld_rate(x, rate) for x in (output, truth)]
    if pair[0].shape[1] < SHORTEST_SAMPLES:
        raise ValueError(
            f"ld needs at least {SHORTEST_SAMPLES} samples at {LD_RATE} Hz, got {pair[0].shape[1]}"
        )
    # as many rows as channels: each has norms of its own
    x, y = (torch.from_numpy(side)[:, None] for side in pair)
    return float(stft_distance(x, y).mean())


def _at_ld_rate(x: npt.NDArray[np.floating[Any]], rate: int) -> npt.NDArray[np.floating[Any]]:
    return np.array(resample(Audio(x, rate), LD_RATE).samples)
