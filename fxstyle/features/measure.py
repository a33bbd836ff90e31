"""What a recording measures like: the numbers from which closed-form starts are computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fxstyle.features.bands import OCTAVES, THIRD_OCTAVES, centres_hz
from fxstyle.features.descriptors import ECHO_LAGS_S, FAST_FFT, SLOPE_OCTAVES, SLOW_FFT, echoes
from fxstyle.features.sums import Plan, sums
from fxstyle.loudness import LoudnessMeter
from fxstyle.units import SILENCE_AMPLITUDE, SILENCE_DB, amplitude_to_db, power_to_db

Vector = npt.NDArray[np.floating[Any]]

LEVEL_QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
"""Probabilities at which the distribution of short-time levels is read."""

WINDOW_S = 0.05
GATE_DB = -70.0
CREST_WINDOW_S = 3.0

DECAY_LENGTH_S = 0.192
"""Length of the regressions from which the decay is read: long enough to see past single notes."""

DECAY_QUANTILE = 0.05
"""The steep slopes of the level are free decays of the room, the gentle ones are held notes. Their
quantile lies nearest the ISO 3382 decay at 5 to 10 %, after Wen et al. (see descriptors.py)."""

DECAY_RANGE_S = (0.05, 10.0)

_PLAN = Plan(
    slow_fft=SLOW_FFT,
    fast_fft=FAST_FFT,
    mid=((THIRD_OCTAVES, 3),),
    side=((THIRD_OCTAVES, 3),),
    logs=(),
    fast=((OCTAVES, 1), (SLOPE_OCTAVES, 1)),
    floor=0.0,
)


@dataclass(frozen=True)
class Measurement:
    """Numbers that describe a recording; all levels in dB of full scale.

    Attributes
    ----------
    rate: in Hz.
    loudness_lufs: integrated loudness after BS.1770-4.
    bands_hz: (K,) centres of third-octave bands.
    mid_db, side_db: (K,) mean power of mid (or mono) and side per band; side is -120 for mono.
    level_quantiles_db: (8,) short-time level at LEVEL_QUANTILES (50 ms windows, gated at -70 dB).
    crest_db: peak over rms, median of 3 s windows.
    decay_hz, decay_s: (8,) octave centres 63 Hz .. 8 kHz; blind estimates of the 60 dB decay time there.
    echo_ms, echo_strength: lag and height (0..1) of the strongest repeat in the envelope; 0 if none.
    """

    rate: float
    loudness_lufs: float
    bands_hz: Vector
    mid_db: Vector
    side_db: Vector
    level_quantiles_db: Vector
    crest_db: float
    decay_hz: Vector
    decay_s: Vector
    echo_ms: float
    echo_strength: float


def measure(samples: npt.NDArray[np.floating[Any]], rate: float) -> Measurement:
    """Measure a recording.

    Parameters
    ----------
    samples: (channel, time), at least half a second; more than two channels are averaged to mono.
    rate: in Hz.
    """
    x = np.asarray(samples, dtype=np.float32)
    if x.shape[0] > 2:
        x = x.mean(axis=0, keepdims=True)
    mid = x.mean(axis=0)
    with torch.no_grad():
        # torch takes no read-only array
        batch = torch.from_numpy(np.require(x, requirements=("C", "W")))[None]
        found = sums(batch, _PLAN, rate, side=x.shape[0] == 2)
        decays, repeats = found.fast[..., : len(OCTAVES)], found.fast[..., len(OCTAVES) :]
        lags = echoes(repeats, rate)[0].numpy()
    mid_power, side_power = (layer.double().sum(0).mean(0).numpy() for layer in (found.mid, found.side))

    window = max(round(WINDOW_S * rate), 1)
    frames = mid[: len(mid) // window * window].reshape(-1, window).astype(np.float64)
    levels = power_to_db((frames**2).mean(axis=1))
    gated = levels[levels > GATE_DB]
    quantiles = (
        np.quantile(gated, LEVEL_QUANTILES) if gated.size else np.full(len(LEVEL_QUANTILES), SILENCE_DB)
    )

    meter = LoudnessMeter(round(rate), x.shape[0])
    meter.update(x)
    octave_db = power_to_db(decays[0].double().numpy(), floor_db=-90.0)
    peak_lag = int(lags.argmax())
    frame_ms = 1000.0 * FAST_FFT / 2 / rate
    return Measurement(
        rate=rate,
        loudness_lufs=meter.result().integrated_lufs,
        bands_hz=centres_hz(THIRD_OCTAVES, 3),
        mid_db=power_to_db(mid_power),
        side_db=power_to_db(side_power),
        level_quantiles_db=quantiles,
        crest_db=_crest_db(mid, rate),
        decay_hz=centres_hz(OCTAVES, 1),
        decay_s=_decay_s(octave_db, frame_ms / 1000.0),
        echo_ms=(round(ECHO_LAGS_S[0] * 1000.0 / frame_ms) + peak_lag) * frame_ms,
        echo_strength=float(max(lags[peak_lag], 0.0)),
    )


def _crest_db(mid: npt.NDArray[np.floating[Any]], rate: float) -> float:
    window = max(min(round(CREST_WINDOW_S * rate), len(mid)), 1)
    frames = mid[: len(mid) // window * window].reshape(-1, window).astype(np.float64)
    crests = [
        amplitude_to_db(float(np.abs(f).max())) - power_to_db(float((f**2).mean()))
        for f in frames
        if np.abs(f).max() > SILENCE_AMPLITUDE
    ]
    return float(np.median(crests)) if crests else 0.0


def _decay_s(level_db: Vector, frame_s: float) -> Vector:
    """Blind 60 dB decay time per band of levels (frame, band)."""
    length = min(max(round(DECAY_LENGTH_S / frame_s), 3), level_db.shape[0])
    t = (np.arange(length) - (length - 1) / 2.0) * frame_s
    kernel = t / (t**2).sum()
    windows = np.lib.stride_tricks.sliding_window_view(level_db, length, axis=0)
    steep = np.quantile(windows @ kernel, DECAY_QUANTILE, axis=0)
    return np.asarray(np.clip(-60.0 / np.minimum(steep, -1e-3), *DECAY_RANGE_S))
