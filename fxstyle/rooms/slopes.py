"""How the level of a recording falls, octave by octave: what a room writes on whatever is played in it.

    z_b[n]   octave b of the signal, analytic: Z_b(f) = 2 cos(pi/2 |log2(f/f_b)|) X(f), f_b/2 < f < 2 f_b
    E_b[t]   |z_b|^2 under a Hann window of 16 ms, every 4 ms
    L_b[t]   10 lg E_b less its own 95 % quantile, and not below a floor

    slopes      sorted quantiles, .5 to 98 %, of the regression slope of L_b over 48, 96, 192, 384 ms
    levels      quantiles of L_b, 2 to 90 %
    modulation  10 lg of the power of L_b in octaves of .7 to 45 Hz

The quantile makes an equaliser, and the level, drop out. The floor is for noise: where a recording has faded
into it, no decay is to be seen, and what it is compared with must have the same floor.

The slopes follow J. Y. C. Wen, E. A. P. Habets and P. A. Naylor, "Blind estimation of reverberation time
based on the distribution of signal decay rates", ICASSP 2008, in several lengths.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fxstyle.octaves import CENTRES_HZ

WORK_RATE = 24_000
"""Hz at which recordings are compared: enough for the octave of 8 kHz."""

HOP = 96
"""Samples from one level to the next: 4 ms."""

WINDOW_HOPS = 4
"""Hops under the window: 16 ms."""

SLOPE_LENGTHS = (12, 24, 48, 96)
"""Hops under a regression: 48 to 384 ms; over 768 ms learning found nothing to weigh."""

SLOPE_QUANTILES = (
    0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8,
    0.9, 0.95, 0.98,
)  # fmt: skip
LEVEL_QUANTILES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
MODULATION_HZ = tuple(0.7 * 2.0**k for k in range(7))
FEATURES = len(SLOPE_LENGTHS) * len(SLOPE_QUANTILES) + len(LEVEL_QUANTILES) + len(MODULATION_HZ)

LOUD_QUANTILE = 0.95
"""Of the levels of an octave: what they are measured from."""

NOISE_QUANTILE, NOISE_MARGIN_DB = 0.03, 3.0
"""The quietest moments of a recording are its noise; up to so much above their quantile it is in the way."""

DEEPEST_DB = -50.0
"""Lowest floor: digital silence is no decay."""

DRY_FLOOR_DB = -25.0
"""Highest floor that dry material may ask for: without pauses, its quietest moments are no noise."""

KNEE = 20.0
"""dB per s from which slopes count by their root, so that fast and slow decays weigh alike."""

LEAST_POWER = 1e-14
"""-140 dB of full scale, added to nothing: silence has a level."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Octave:
    """Bins first to last of a spectrum, their weights, and the samples per hop of the octave's signal."""

    first: int
    last: int
    weight: torch.Tensor
    per_hop: int


@lru_cache(maxsize=8)
def _octaves(size: int) -> tuple[_Octave, ...]:
    """Return the octaves of a transform of `size` = HOP 2^k samples."""
    bin_hz = WORK_RATE / size
    made = []
    for centre_hz in CENTRES_HZ:
        first = int(centre_hz / 2.0 / bin_hz) + 1
        last = min(int(centre_hz * 2.0 / bin_hz), size // 2)
        hz = np.arange(first, last + 1) * bin_hz
        weight = np.cos(0.5 * np.pi * np.abs(np.log2(hz / centre_hz)).clip(max=1.0))
        per_hop = 1
        while size // HOP * per_hop < weight.size:
            per_hop *= 2
        made.append(_Octave(first, last + 1, torch.from_numpy(weight.astype(np.float32)), per_hop))
    return tuple(made)


def transform_size(samples: int) -> int:
    """Return the size of a transform that holds so many samples."""
    return HOP << math.ceil(math.log2(max(samples, HOP) / HOP))


def frames_of(samples: int) -> int:
    """Return the number of levels of a recording of so many samples; 0 if it is too short for one."""
    return max(samples // HOP - WINDOW_HOPS, 0)


def octave_signals(x: torch.Tensor, size: int) -> list[torch.Tensor]:
    """Return z_b of (.., time) float32, each complex at its own rate; `size` is the transform's."""
    spectrum = torch.fft.rfft(x, size)
    return [
        torch.fft.ifft(
            spectrum[..., o.first : o.last] * o.weight, size // HOP * o.per_hop, norm="forward"
        ) * (2.0 / size)
        for o in _octaves(size)
    ]  # fmt: skip


def energies(z: torch.Tensor, size: int, band: int, frames: int) -> torch.Tensor:
    """Return E_b (.., frame) of z_b (.., time); both as `octave_signals` counts time."""
    per_hop = _octaves(size)[band].per_hop
    window = torch.hann_window(WINDOW_HOPS * per_hop)
    here = z[..., : (frames + WINDOW_HOPS) * per_hop]
    power = here.real.square() + here.imag.square()
    smooth = torch.nn.functional.conv1d(
        power.reshape(-1, 1, power.shape[-1]), (window / window.sum())[None, None], stride=per_hop
    )
    return smooth.reshape(*power.shape[:-1], -1)[..., :frames]


def quantiles(x: torch.Tensor, probabilities: tuple[float, ...]) -> torch.Tensor:
    """Return quantiles along the last axis, linearly interpolated: numpy sorts in SIMD lanes."""
    order = torch.from_numpy(np.sort(x.numpy(), axis=-1))
    position = torch.tensor(probabilities, dtype=torch.float64) * (order.shape[-1] - 1)
    low = position.long()
    high = (low + 1).clamp_max(order.shape[-1] - 1)
    return torch.lerp(order[..., low], order[..., high], (position - low).to(x.dtype))


def relative_db(energy: torch.Tensor) -> torch.Tensor:
    """Return 10 lg E less its 95 % quantile, (.., frame)."""
    level = 10.0 * (energy + LEAST_POWER).log10()
    return level - quantiles(level, (LOUD_QUANTILE,))


def octave_levels(x: torch.Tensor) -> torch.Tensor:
    """Return the levels without a floor, (.., band, frame), of recordings (.., time) at WORK_RATE."""
    frames = frames_of(x.shape[-1])
    # what the transform wraps around must not reach the beginning
    size = transform_size(x.shape[-1] + WORK_RATE // 5)
    signals = octave_signals(x, size)
    return relative_db(torch.stack([energies(z, size, b, frames) for b, z in enumerate(signals)], dim=-2))


def noise_db(levels: torch.Tensor) -> torch.Tensor:
    """Return up to where noise may be in levels (.., frame): (.., 1)."""
    return quantiles(levels, (NOISE_QUANTILE,)) + NOISE_MARGIN_DB


def common_floor(reference: torch.Tensor, dry: torch.Tensor) -> torch.Tensor:
    """Return the floor under levels of a reference and of dry material, both (.., frame): (.., 1)."""
    asked = noise_db(dry).clamp_max(DRY_FLOOR_DB)
    return torch.maximum(noise_db(reference), asked).clamp_min(DEEPEST_DB)


def _slopes(levels: torch.Tensor, length: int) -> torch.Tensor:
    """Return regression slopes in dB per s: with S_k sums of n^k L[n], from running sums, in float64."""
    frames = levels.shape[-1]
    length = min(length, frames - 1)
    hop_s = HOP / WORK_RATE
    zeroth = torch.nn.functional.pad(levels.double().cumsum(-1), (1, 0))
    first = torch.nn.functional.pad((levels.double() * torch.arange(frames)).cumsum(-1), (1, 0))
    middle = torch.arange(frames - length + 1) + (length - 1) / 2.0
    inside = (
        first[..., length:] - first[..., :-length] - middle * (zeroth[..., length:] - zeroth[..., :-length])
    )
    return (inside / (length * (length * length - 1) / 12.0 * hop_s)).float()


def _rooted(slope: torch.Tensor) -> torch.Tensor:
    return slope / (1.0 + (slope / KNEE).square()).pow(0.25)


def _modulation(levels: torch.Tensor) -> torch.Tensor:
    frames = levels.shape[-1]
    centred = (levels - levels.mean(-1, keepdim=True)) * torch.hann_window(frames)
    power = torch.fft.rfft(centred).abs().square() / frames
    hz = np.fft.rfftfreq(frames, HOP / WORK_RATE)
    bands = []
    for centre_hz in MODULATION_HZ:
        inside = np.flatnonzero((hz >= centre_hz / math.sqrt(2.0)) & (hz < centre_hz * math.sqrt(2.0)))
        # a recording too short for the slowest has its first bin there
        bins: Any = inside if inside.size else np.array([1])
        bands.append(power[..., bins].mean(-1))
    return 10.0 * (torch.stack(bands, dim=-1) + 1e-3).log10()  # of dB^2: below lies nothing


def describe(levels: torch.Tensor, floor_db: torch.Tensor) -> torch.Tensor:
    """Return (.., FEATURES) of levels (.., frame) and a floor (.., 1): slopes, levels, modulation."""
    heard = torch.maximum(levels, floor_db)
    slopes = [_rooted(quantiles(_slopes(heard, length), SLOPE_QUANTILES)) for length in SLOPE_LENGTHS]
    return torch.cat([*slopes, quantiles(heard, LEVEL_QUANTILES), _modulation(heard)], dim=-1)
