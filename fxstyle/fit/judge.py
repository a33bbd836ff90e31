"""The judge: how far apart two recordings sound, by a measure that no fit has seen.

A recording is described by its levels E[t, b] = 10 log10 power in mel bands b and frames t, a transform
and bands of its own, and no quantile, slope or waveform of the objective's:

    level     10 log10 <sum_b 10^(E/10)>            how loud
    spectrum  10 log10 <10^(E/10)> less the level   colour
    swing     standard deviation of E over time     dynamics
    pace      <|E[t + lag] - E[t]|>                 attack, decay, movement
    side      spectrum of the side less the mid's   width

with <.> over the frames that are no pauses. What separates two recordings with other content is counted
in units of what content alone explains: per group g with the covariance C_g of differences between
neighbouring passages (`bench/calibrate.py`, `judge.npz`) and r = C_g^(-1/2) (a_g - b_g),

    d^2 = mean_g mean_i rho(r_gi),

rho being pseudo-Huber (`fxstyle.embed.measured`). So d is about 1 for two passages of one recording.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.signal

N_FFT = 1536
HOP = 512
MELS = 24
LOWEST_HZ, HIGHEST_HZ = 50.0, 14000.0
FLOOR_DB = -90.0
LAG_FRAMES = 4
"""The change is taken over some 46 ms at 44.1 kHz."""

GATE_DB = 40.0
"""Frames this far below the loud ones are pauses: their number is content."""

MONO_DB = -50.0
"""A side channel this far below the mid is taken for none, and no side is read as lower than that."""

TAIL = 3.0
"""Standard deviations beyond which a difference is an outlier."""

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
    weight.setflags(write=False)
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


def _power_mean_db(levels_db: Matrix) -> Matrix:
    return np.asarray(10.0 * np.log10((10.0 ** (levels_db / 10.0)).mean(axis=0)))


def describe(passages: list[Samples], rate: float, *, with_side: bool) -> dict[str, Matrix]:
    """Describe a recording, given as passages (channel, time), by group: (MELS,) dB each, the level (1,).

    `side` is there only if asked for; every passage must then have two channels.
    """
    levels = [_frames_db(x.mean(axis=0), rate) for x in passages]
    lags = [min(LAG_FRAMES, level.shape[0] - 1) for level in levels]
    every = np.concatenate(levels)
    gate = np.quantile(every.max(axis=1), 0.95) - GATE_DB
    sounding = every.max(axis=1) >= gate
    heard = every[sounding]
    steps = [
        np.abs(level[lag:] - level[: level.shape[0] - lag])[
            (level[lag:].max(axis=1) >= gate) & (level[: level.shape[0] - lag].max(axis=1) >= gate)
        ]
        for level, lag in zip(levels, lags, strict=True)
    ]
    moved = np.concatenate(steps)
    spectrum = _power_mean_db(heard)
    level = 10.0 * np.log10((10.0 ** (spectrum / 10.0)).sum())
    out = {
        "level": np.array([level]),
        "spectrum": spectrum - level,
        "swing": heard.std(axis=0),
        # A click in silence has no two sounding frames at that distance.
        "pace": moved.mean(axis=0) if len(moved) else np.zeros(MELS),
    }
    if with_side:
        sides = np.concatenate([_frames_db((x[0] - x[1]) / 2.0, rate) for x in passages])[sounding]
        out["side"] = np.maximum(_power_mean_db(sides) - spectrum, MONO_DB)
    return out


@cache
def _whiteners() -> Mapping[str, Matrix]:
    out = {}
    with resources.files("fxstyle.fit").joinpath("judge.npz").open("rb") as file:
        for name, matrix in np.load(file).items():
            values, vectors = np.linalg.eigh(matrix.astype(np.float64))
            out[name] = vectors / np.sqrt(values)
            out[name].setflags(write=False)
    return out


def have_side(*recordings: list[Samples]) -> bool:
    """Whether all recordings, given as passages (channel, time), are stereo to the ear."""
    return all(_side_exists(np.concatenate(passages, axis=1)) for passages in recordings)


def crops_distance(
    a: list[Samples], b: list[Samples], rate: float, *, with_side: bool | None = None
) -> float:
    """Distance between two recordings given as passages (channel, time) each, at one rate.

    1 is what two passages of the same recording differ by. `with_side` says whether the side is compared,
    by default where both have one. Distances are only comparable with the same choice: a side that
    has vanished must count as lost, not as not compared.
    """
    if with_side is None:
        with_side = have_side(a, b)
    first, second = (describe(passages, rate, with_side=with_side) for passages in (a, b))
    terms = []
    for name, vector in first.items():
        whitened = (vector - second[name]) @ _whiteners()[name]
        terms.append(float((2.0 * TAIL**2 * (np.sqrt(1.0 + (whitened / TAIL) ** 2) - 1.0)).mean()))
    return float(np.sqrt(np.mean(terms)))
