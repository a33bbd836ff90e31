"""The judge: how far apart two recordings sound, by a measure that no fit has seen.

Each recording is a cloud of log-mel frames, mid (and side where both have one), with the change from
frame to frame beside the level. The distance is the 2-Wasserstein distance of the Gaussians with the
clouds' means m and standard deviations s, band by band (Dowson and Landau 1982),

    d^2 = mean_k ((m_ak - m_bk)^2 + (s_ak - s_bk)^2):

the root mean square difference in dB. The full covariances would say little more, and of a few seconds
of sound they are too poorly known. It looks at other resolutions than the objective's, and at no
quantile, slope or waveform.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.signal

N_FFT = 1536
HOP = 512
MELS = 40
LOWEST_HZ, HIGHEST_HZ = 40.0, 16000.0
FLOOR_DB = -90.0
DELTA_FRAMES = 4
"""The change is taken over some 46 ms at 44.1 kHz."""

GATE_DB = 40.0
"""Frames this far below the loud ones are pauses: their number is content."""

MONO_DB = -50.0
"""A side channel this far below the mid is taken for none, and no side is read as lower than that."""

Matrix = npt.NDArray[np.float64]
Samples = npt.NDArray[np.floating[Any]]


def _mel(hz: Any) -> Any:
    return 2595.0 * np.log10(1.0 + np.asarray(hz) / 700.0)


@lru_cache(maxsize=8)
def _filters(rate: float) -> Matrix:
    """Triangles equally spaced in mel (O'Shaughnessy 1987), (bin, mel), each summing to one."""
    top = min(HIGHEST_HZ, 0.49 * rate)
    edges = np.linspace(_mel(min(LOWEST_HZ, top / 4.0)), _mel(top), MELS + 2)
    f = _mel(np.fft.rfftfreq(N_FFT, 1.0 / rate))[:, None]
    rise = (f - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - f) / (edges[2:] - edges[1:-1])
    weight = np.clip(np.minimum(rise, fall), 0.0, None)
    # Triangles narrower than a bin would be empty: they take the nearest bin.
    nearest = np.abs(f - edges[1:-1]).argmin(axis=0)
    weight[nearest, np.arange(MELS)] += np.where(weight.sum(axis=0) > 0.0, 0.0, 1.0)
    return np.asarray(weight)


def _frames_db(x: Samples, rate: float) -> Matrix:
    """Log-mel levels (frame, mel) in dB of full scale."""
    if x.shape[-1] < N_FFT:
        x = np.pad(x, (0, N_FFT - x.shape[-1]))
    window = scipy.signal.get_window("hann", N_FFT)
    frames = np.lib.stride_tricks.sliding_window_view(x, N_FFT)[::HOP] * window
    power = np.abs(np.fft.rfft(frames, axis=-1)) ** 2 * (2.0 / (N_FFT * (window**2).sum()))
    return np.asarray(10.0 * np.log10(power @ _filters(rate) + 10.0 ** (FLOOR_DB / 10.0)))


def _side_exists(x: Samples) -> bool:
    if x.shape[0] != 2:
        return False
    mid, side = (x[0] + x[1]).astype(np.float64), (x[0] - x[1]).astype(np.float64)
    return bool((side**2).mean() > 10.0 ** (MONO_DB / 10.0) * (mid**2).mean())


def _cloud(crops: list[Samples], rate: float, with_side: bool) -> Matrix:
    frames, loudest = [], []
    for crop in crops:
        level = _frames_db(crop.mean(axis=0), rate)
        if with_side:
            side = _frames_db((crop[0] - crop[1]) / 2.0, rate)
            level = np.concatenate([level, np.maximum(side, level + MONO_DB)], axis=1)
        lag = min(DELTA_FRAMES, level.shape[0] - 1)
        before, after = level[: level.shape[0] - lag], level[lag:]
        frames.append(np.concatenate([before, after[:, :MELS] - before[:, :MELS]], axis=1))
        loudest.append(np.stack([before[:, :MELS].max(axis=1), after[:, :MELS].max(axis=1)]))
    cloud, loud = np.concatenate(frames), np.concatenate(loudest, axis=1)
    sounding = (loud >= np.quantile(loud[0], 0.95) - GATE_DB).all(axis=0)
    # A click in silence has no two sounding frames in a row.
    return np.asarray(cloud[sounding] if sounding.sum() > 1 else cloud)


def have_side(*recordings: list[Samples]) -> bool:
    """Whether all recordings, given as passages (channel, time), are stereo to the ear."""
    return all(_side_exists(np.concatenate(passages, axis=1)) for passages in recordings)


def crops_distance(
    a: list[Samples], b: list[Samples], rate: float, *, with_side: bool | None = None
) -> float:
    """Distance in dB between two recordings given as passages (channel, time) each, at one rate.

    `with_side` says whether the side is compared, by default where both have one. Distances are only
    comparable with the same choice: a side that has vanished must count as lost, not as not compared.
    """
    if with_side is None:
        with_side = have_side(a, b)
    clouds = [_cloud(crops, rate, with_side) for crops in (a, b)]
    squared = (clouds[0].mean(axis=0) - clouds[1].mean(axis=0)) ** 2
    squared += (clouds[0].std(axis=0) - clouds[1].std(axis=0)) ** 2
    return float(np.sqrt(squared.mean()))
