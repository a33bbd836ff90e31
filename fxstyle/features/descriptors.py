"""Differentiable descriptors of how a recording sounds, not of what is played.

All are computed from short-time power spectra P[t, f] of mid M = (L + R)/2 and side S = (L - R)/2,
pooled over the frames of several crops, and keep the level as information. With E[t, b] the power
of frame t in band b and <.> the mean over the active frames, which are those within GATE_DB of the
loud ones (how much of a passage is silence is content, not style):

tone     10 log10 <E_mid[., b]>                              third-octave long-term average spectrum
width    10 log10 (<E_side[., b]> / <E_mid[., b]>)           octaves, floored at -40 dB
balance  10 log10 (<E_left> / <E_right>)                     all bands together
levels   quantiles of 10 log10 (E[., b] / <E[., b]>)            octaves and the whole: dynamics
crest    20 log10 (|x|_p / |x|_2), p = 4, 8                  peaks of the waveform
flatness <log mean_f P - mean_f log P>                       octaves: tonal against noisy, distortion
slopes   quantiles of the regression slope of the level over 48, 96, 192, 384 ms, per octave: decay
echoes   autocorrelation of the onset envelope, 30 ms .. 1.2 s: repeats

The slopes follow the blind reverberation feature of Wen, Habets and Naylor, "Blind estimation of
reverberation time based on the distribution of signal decay rates" (ICASSP 2008), in several lengths.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch

from fxstyle.features.bands import OCTAVES, THIRD_OCTAVES
from fxstyle.features.sums import MOMENTS, Plan, Sums, matrix, sums

SLOW_FFT = 2048
"""46 ms at 44.1 kHz: third octaves down to 60 Hz, and levels as the ear integrates them."""

FAST_FFT = 512
"""12 ms every 6 ms: fast enough to follow the decay of a small room."""

FLOOR_POWER = 1e-9
"""-90 dB of full scale, added to every power before a logarithm: below it lies noise, not style."""

WIDTH_FLOOR = 1e-4
"""-40 dB: a side channel below it is heard as mono."""

LEVEL_FLOOR = 10.0**-3.5
"""-35 dB below a band's own mean: what lies deeper is pauses and noise."""

LEVEL_QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97)
SLOPE_QUANTILES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
SLOPE_LENGTHS_S = (0.048, 0.096, 0.192, 0.384)
SLOPE_OCTAVES = range(-3, 4)
"""125 Hz .. 8 kHz: below, the fast transform has no bins to tell octaves apart."""

GATE_DB = 40.0
"""Frames this far below the 95 % quantile of the level are pauses."""

AUDIBLE_DB = 60.0
"""Slopes and echoes are looked for so far below a band's loudest frame."""

CREST_ORDERS = (4, 8)
ECHO_LAGS_S = (0.03, 1.2)

_PLAN = Plan(
    slow_fft=SLOW_FFT,
    fast_fft=FAST_FFT,
    mid=((THIRD_OCTAVES, 3), (OCTAVES, 1)),
    side=((OCTAVES, 1),),
    logs=((OCTAVES, 1),),
    fast=((SLOPE_OCTAVES, 1),),
    floor=FLOOR_POWER / SLOW_FFT,
)


def _db(power: torch.Tensor) -> torch.Tensor:
    return 10.0 * (power + FLOOR_POWER).log10()


def _order(x: torch.Tensor) -> torch.Tensor:
    """Where the elements of x are along its last axis, ascending: numpy's sort runs in SIMD lanes."""
    if x.device.type != "cpu":
        return x.argsort(dim=-1)
    return torch.from_numpy(np.argsort(x.detach().numpy(), axis=-1))


def _quantiles(
    x: torch.Tensor, probabilities: tuple[float, ...], active: torch.Tensor | None = None
) -> torch.Tensor:
    """Quantiles along the last axis, linearly interpolated: (row, band, time) -> (row, band, quantile).

    With `active` (row, time), only over the frames for which it is true.
    """
    frames = x.shape[-1]
    if active is None:
        count = x.new_full((x.shape[0],), frames)
    else:
        count = active.sum(-1).to(x.dtype)
        x = x.masked_fill(~active[:, None, :], math.inf)
    order = _order(x)
    share = torch.tensor(probabilities, dtype=x.dtype).to(x.device)
    position = (share * (count[:, None] - 1.0)).clamp_min(0.0)
    low = position.floor()
    high = torch.minimum(low + 1.0, count[:, None] - 1.0)
    fraction = (position - low)[:, None, :]

    def at(index: torch.Tensor) -> torch.Tensor:
        return x.gather(-1, order.gather(-1, index.long()[:, None, :].expand(-1, x.shape[1], -1)))

    return at(low) * (1.0 - fraction) + at(high.clamp_min(0.0)) * fraction


def _active(level_db: torch.Tensor) -> torch.Tensor:
    """Which frames of (row, frame) are not pauses."""
    loud = torch.quantile(level_db.detach(), 0.95, dim=-1, keepdim=True)
    return level_db.detach() >= loud - GATE_DB


def _mean_active(x: torch.Tensor, active: torch.Tensor) -> torch.Tensor:
    """Mean of (row, frame, band) over the active frames."""
    weight = active.to(x.dtype)
    return (weight[:, None, :] @ x)[:, 0] / weight.sum(-1, keepdim=True)


@lru_cache(maxsize=32)
def _slope_kernel(length: int, frame_s: float) -> torch.Tensor:
    """Least-squares slope in dB/s over `length` frames, as a correlation kernel (1, 1, length)."""
    t = (torch.arange(length, dtype=torch.float64) - (length - 1) / 2.0) * frame_s
    return (t / t.square().sum()).to(torch.float32)[None, None]


def _pool_crops(x: torch.Tensor, crops: int) -> torch.Tensor:
    """(candidate * crop, frame, ...) -> (candidate, crop * frame, ...)."""
    return x.reshape(x.shape[0] // crops, crops * x.shape[1], *x.shape[2:])


def _slopes(level_db: torch.Tensor, crops: int, frame_s: float) -> torch.Tensor:
    """Slope quantiles of (row, frame, band) -> (candidate, band * length * quantile)."""
    rows, frames, bands = level_db.shape
    flat = level_db.transpose(1, 2).reshape(rows * bands, 1, frames)
    out = []
    for length_s in SLOPE_LENGTHS_S:
        length = min(max(round(length_s / frame_s), 3), frames)
        kernel = _slope_kernel(length, frame_s).to(flat)
        slope = torch.nn.functional.conv1d(flat, kernel).reshape(rows, bands, -1).transpose(1, 2)
        pooled = _pool_crops(slope, crops).transpose(1, 2)
        out.append(_quantiles(pooled, SLOPE_QUANTILES))
    # Slopes span decades; the sign-preserving root makes fast and slow decays weigh alike.
    stacked = torch.stack(out, dim=2).flatten(1)
    return stacked / (1.0 + stacked.square()).pow(0.25)


def _audible_db(fast: torch.Tensor) -> torch.Tensor:
    """Levels of fast powers (row, frame, band): where a signal has faded into its noise, no decay is seen."""
    fast_db = _db(fast)
    return torch.maximum(fast_db, fast_db.amax(1, keepdim=True).detach() - AUDIBLE_DB)


def _echoes(envelope: torch.Tensor, crops: int, frame_s: float) -> torch.Tensor:
    """Autocorrelation of the onset envelope (row, frame) -> (candidate, lag)."""
    onset = (envelope[:, 1:] - envelope[:, :-1]).relu()
    onset = onset - onset.mean(-1, keepdim=True)
    low, high = (round(lag / frame_s) for lag in ECHO_LAGS_S)
    # Zeros up to the largest lag keep the correlation from wrapping around.
    size = 2 ** math.ceil(math.log2(onset.shape[-1] + max(high, onset.shape[-1])))
    correlation = torch.fft.irfft(torch.fft.rfft(onset, size).abs().square(), size)
    correlation = correlation.reshape(-1, crops, size).sum(1)
    normal: torch.Tensor = correlation / (correlation[:, :1] + 1e-6)
    return normal[:, low:high]


def echoes(fast: torch.Tensor, rate: float) -> torch.Tensor:
    """Group `echoes`, (row, lag), of powers (row, frame, SLOPE_OCTAVES) of the fast transform."""
    return _echoes(_audible_db(fast).mean(-1), 1, FAST_FFT / 2 / rate)


def _crest(found: Sums, samples: int, crops: int) -> torch.Tensor:
    """Crest factors (candidate, order) in dB from the moments of rows of so many samples."""
    moments = found.moments.reshape(-1, crops, len(MOMENTS)).sum(1) / (crops * samples)
    # Relative to the peak, what is added lies below rounding whatever the level.
    scale = found.peak.reshape(-1, crops).amax(-1) + 1e-6
    square = scale.square() * (moments[:, 0] / scale.square() + 1e-12)
    out = [
        20.0 / p * (moments[:, MOMENTS.index(p)] / square.pow(p // 2) + 1e-12).log10() for p in CREST_ORDERS
    ]
    return torch.stack(out, dim=-1)


def describe(x: torch.Tensor, rate: float, crops: int = 1, *, width: bool = True) -> dict[str, torch.Tensor]:
    """Describe candidates, each given as several crops.

    Parameters
    ----------
    x: (candidate * crop, channel, time) with 1 or 2 channels; the crops of a candidate are adjacent rows.
    rate: in Hz.
    crops: how many rows belong to one candidate; their frames are pooled.
    width: whether `width` is wanted; without it the side is not transformed.

    Returns
    -------
    By group, (candidate, feature). `width` and `balance` are absent for mono.
    """
    samples, stereo = x.shape[2], x.shape[1] == 2
    found = sums(x, _PLAN, rate, side=stereo and width)
    thirds, octaves = found.mid[..., : len(THIRD_OCTAVES)], found.mid[..., len(THIRD_OCTAVES) :]

    pooled = _pool_crops(octaves, crops)
    whole = pooled.sum(-1, keepdim=True)
    active = _active(_db(whole[..., 0]))
    mean_octave = _mean_active(pooled, active)
    out = {"tone": _db(_mean_active(_pool_crops(thirds, crops), active))}

    mean = torch.cat([mean_octave, _mean_active(whole, active)], dim=-1)[:, None]
    relative = torch.cat([pooled, whole], dim=-1) / (mean + FLOOR_POWER) + LEVEL_FLOOR
    out["levels"] = _quantiles(10.0 * relative.log10().transpose(1, 2), LEVEL_QUANTILES, active).flatten(1)

    if stereo and width:
        side = _mean_active(_pool_crops(found.side, crops), active)
        out["width"] = 10.0 * ((side + FLOOR_POWER) / (mean_octave + FLOOR_POWER) + WIDTH_FLOOR).log10()
    if stereo:
        energy = found.energy.reshape(-1, crops, 2).mean(1).to(x.dtype) / samples + FLOOR_POWER
        out["balance"] = 10.0 * (energy[:, :1] / energy[:, 1:]).log10()
    out["crest"] = _crest(found, samples, crops).to(x.dtype)

    # The mean of P + e in each octave, as `found.logs` is that of ln(P + e).
    per_bin = x.new_tensor(matrix(_PLAN.logs, SLOW_FFT, rate).sum(axis=0)).clamp_min(1e-12)
    flatness = (octaves / per_bin + _PLAN.floor).log() - found.logs
    out["flatness"] = _mean_active(_pool_crops(flatness, crops), active)

    audible_db, frame_s = _audible_db(found.fast), FAST_FFT / 2 / rate
    out["slopes"] = _slopes(audible_db, crops, frame_s)
    out["echoes"] = _echoes(audible_db.mean(-1), crops, frame_s)
    return out
