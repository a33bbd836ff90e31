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

import torch

from fxstyle.features.bands import OCTAVES, THIRD_OCTAVES, pooling
from fxstyle.features.spectrogram import power_spectrogram

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

CREST_ORDERS = (4, 8)
ECHO_LAGS_S = (0.03, 1.2)


def _db(power: torch.Tensor) -> torch.Tensor:
    return 10.0 * (power + FLOOR_POWER).log10()


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
    ordered = x.sort(dim=-1).values
    share = torch.tensor(probabilities, dtype=x.dtype, device=x.device)
    position = (share * (count[:, None] - 1.0)).clamp_min(0.0)
    low = position.floor()
    high = torch.minimum(low + 1.0, count[:, None] - 1.0)
    fraction = (position - low)[:, None, :]

    def at(index: torch.Tensor) -> torch.Tensor:
        return ordered.gather(-1, index.long()[:, None, :].expand(-1, x.shape[1], -1))

    return at(low) * (1.0 - fraction) + at(high.clamp_min(0.0)) * fraction


def _active(level_db: torch.Tensor) -> torch.Tensor:
    """Which frames of (row, frame) are not pauses."""
    loud = torch.quantile(level_db.detach(), 0.95, dim=-1, keepdim=True)
    return level_db.detach() >= loud - GATE_DB


def _mean_active(x: torch.Tensor, active: torch.Tensor) -> torch.Tensor:
    """Mean of (row, frame, band) over the active frames."""
    weight = active.to(x.dtype)
    return (weight[:, None, :] @ x)[:, 0] / weight.sum(-1, keepdim=True)


def _matrix(indices: range, per_octave: int, n_fft: int, rate: float, like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(pooling(indices, per_octave, n_fft, rate), dtype=like.dtype, device=like.device)


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
        kernel = _slope_kernel(length, frame_s).to(flat.dtype)
        slope = torch.nn.functional.conv1d(flat, kernel).reshape(rows, bands, -1).transpose(1, 2)
        pooled = _pool_crops(slope, crops).transpose(1, 2)
        out.append(_quantiles(pooled, SLOPE_QUANTILES))
    # Slopes span decades; the sign-preserving root makes fast and slow decays weigh alike.
    stacked = torch.stack(out, dim=2).flatten(1)
    return stacked / (1.0 + stacked.square()).pow(0.25)


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


def describe(x: torch.Tensor, rate: float, crops: int = 1) -> dict[str, torch.Tensor]:
    """Describe candidates, each given as several crops.

    Parameters
    ----------
    x: (candidate * crop, channel, time) with 1 or 2 channels; the crops of a candidate are adjacent rows.
    rate: in Hz.
    crops: how many rows belong to one candidate; their frames are pooled.

    Returns
    -------
    By group, (candidate, feature). `width` and `balance` are absent for mono.
    """
    rows, channels, _ = x.shape
    mid = x.mean(1)
    stereo = channels == 2
    layers = torch.cat([mid, (x[:, 0] - x[:, 1]) / 2.0]) if stereo else mid
    power = power_spectrogram(layers, SLOW_FFT)
    thirds = power @ _matrix(THIRD_OCTAVES, 3, SLOW_FFT, rate, x)
    to_octaves = _matrix(OCTAVES, 1, SLOW_FFT, rate, x)
    eighths = power @ to_octaves

    pooled = _pool_crops(eighths[:rows], crops)
    whole = pooled.sum(-1, keepdim=True)
    active = _active(_db(whole[..., 0]))
    mean_octave = _mean_active(pooled, active)
    out = {"tone": _db(_mean_active(_pool_crops(thirds[:rows], crops), active))}

    mean = torch.cat([mean_octave, _mean_active(whole, active)], dim=-1)[:, None]
    relative = torch.cat([pooled, whole], dim=-1) / (mean + FLOOR_POWER) + LEVEL_FLOOR
    out["levels"] = _quantiles(10.0 * relative.log10().transpose(1, 2), LEVEL_QUANTILES, active).flatten(1)

    if stereo:
        side = _mean_active(_pool_crops(eighths[rows:], crops), active)
        out["width"] = 10.0 * ((side + FLOOR_POWER) / (mean_octave + FLOOR_POWER) + WIDTH_FLOOR).log10()
        energy = x.square().mean(-1).reshape(-1, crops, 2).mean(1) + FLOOR_POWER
        out["balance"] = 10.0 * (energy[:, :1] / energy[:, 1:]).log10()

    flat = mid.reshape(rows // crops, -1)
    scale = flat.abs().amax(-1, keepdim=True).detach() + 1e-6
    rms = (flat / scale).square().mean(-1, keepdim=True) + 1e-12
    out["crest"] = torch.cat(
        [
            20.0 / p * (((flat / scale).square() / rms).pow(p // 2).mean(-1, keepdim=True) + 1e-12).log10()
            for p in CREST_ORDERS
        ],
        dim=-1,
    )

    weights = to_octaves / to_octaves.sum(0, keepdim=True).clamp_min(1e-12)
    mid_power = power[:rows] + FLOOR_POWER / SLOW_FFT
    flatness = (mid_power @ weights).log() - mid_power.log() @ weights
    out["flatness"] = _mean_active(_pool_crops(flatness, crops), active)

    fast = power_spectrogram(mid, FAST_FFT) @ _matrix(SLOPE_OCTAVES, 1, FAST_FFT, rate, x)
    fast_db = _db(fast)
    frame_s = FAST_FFT / 2 / rate
    # Where the signal has faded into its own noise there is no decay to see.
    top = fast_db.amax(1, keepdim=True).detach()
    out["slopes"] = _slopes(torch.maximum(fast_db, top - 60.0), crops, frame_s)
    out["echoes"] = _echoes(torch.maximum(fast_db, top - 60.0).mean(-1), crops, frame_s)
    return out
