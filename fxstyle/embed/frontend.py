"""What the encoder hears: levels per band and frame of mid and side, and statistics of a whole window.

    M_b(t) = 10 lg sum_k w_bk |X(k, t)|^2      power in dB in band b, triangles evenly spaced in mel
    m(t, b) = max(M_b(t) - L, -FLOOR_DB)       L: the window's level, mean power of both channels, in dB
    s(t, b) = side over mid in dB, within +-SIDE_DB
    a(t, j, i) = power of the i-th quarter of frame t in octave-wide band j, in dB, less L: attacks

and, of a whole window, the texture: mean and deviation over time of m and s, the deviations' spectrum over
time (modulation) in groups of bands, how the envelope resembles itself later (echoes), and the cepstrum of
the mean spectrum (combs). All is differentiable; the level of a window is handed out beside, not lost.

Bands and frames are the same in Hz and seconds at every rate; bands above a low rate's half lie at the floor.
The mel scale is O'Shaughnessy's, 2595 lg(1 + f/700).
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from typing import NamedTuple

import torch

from fxstyle.units import power_to_db

BANDS = 96
LOWEST_HZ, HIGHEST_HZ = 20.0, 20_000.0
WINDOW_S, HOP_S = 2048 / 44_100, 512 / 44_100
FLOOR_DB, SIDE_DB = 90.0, 40.0
SCALE_DB = 30.0
"""What is handed on is in units of this."""

QUARTERS = 4
ATTACK_HZ = (60.0, 150.0, 400.0, 1000.0, 2500.0, 6000.0, 10_000.0, 16_000.0)
"""Centres of the bands in which attacks are followed."""

GROUPS, MODULATIONS = 16, 12
MODULATION_HZ = (0.4, 40.0)
ECHO_LAGS = 86
"""Frames: one second."""

COMB_S = (0.0003, 0.025)
COMBS = 64
COMB_SIZE = 8192
"""Samples at 44.1 kHz whose spectrum shows combs."""

CHANNELS = 2 * BANDS + QUARTERS * len(ATTACK_HZ)
TEXTURE = 4 * BANDS + 2 * GROUPS * MODULATIONS + 2 * ECHO_LAGS + 2 * COMBS
"""Numbers per frame and per window."""

_LEAST = 1e-12


class Heard(NamedTuple):
    """Windows as the encoder gets them.

    frames: (window, CHANNELS, time). texture: (window, TEXTURE). level_db: (window, 2), mid and side.
    """

    frames: torch.Tensor
    texture: torch.Tensor
    level_db: torch.Tensor


def _mel(hz: torch.Tensor) -> torch.Tensor:
    return 2595.0 * torch.log10(1.0 + hz / 700.0)


@cache
def _edges_hz() -> torch.Tensor:
    low, high = (float(_mel(torch.tensor(f))) for f in (LOWEST_HZ, HIGHEST_HZ))
    return 700.0 * (10.0 ** (torch.linspace(low, high, BANDS + 2, dtype=torch.float64) / 2595.0) - 1.0)


def band_hz() -> torch.Tensor:
    """Return the centres of the bands, (BANDS,)."""
    return _edges_hz()[1:-1]


@lru_cache(maxsize=8)
def _triangles(rate: float, size: int) -> torch.Tensor:
    """Return weights (bin, band); bands beyond half the rate have none."""
    edges = _edges_hz()
    hz = torch.arange(size // 2 + 1, dtype=torch.float64) * (rate / size)
    # narrower than a bin, low bands would fall between two: each is at least two bins wide
    width = torch.maximum(edges[1:] - edges[:-1], torch.tensor(rate / size, dtype=torch.float64))
    up = 1.0 + (hz[:, None] - edges[1:-1]) / width[:-1]
    down = 1.0 - (hz[:, None] - edges[1:-1]) / width[1:]
    return torch.minimum(up, down).clamp_min(0.0).float()


@lru_cache(maxsize=8)
def _wide(rate: float, size: int) -> torch.Tensor:
    """Return weights (bin, band) of the bands of attacks, cosines on a logarithmic scale."""
    octaves = torch.log2(torch.arange(size // 2 + 1, dtype=torch.float64).clamp_min(0.5) * (rate / size))
    centres = torch.log2(torch.tensor(ATTACK_HZ, dtype=torch.float64))
    distance = (octaves[:, None] - centres).abs().clamp_max(1.0)
    return (torch.pi / 2.0 * distance).cos().square().float()


def _power(x: torch.Tensor, size: int, hop: int) -> torch.Tensor:
    """Return |X|^2 (row, frame, bin), scaled so that white noise of power 1 has power 1 in all together."""
    window = torch.hann_window(size, dtype=x.dtype, device=x.device)
    spectrum = torch.stft(x, size, hop, window=window, center=True, pad_mode="constant", return_complex=True)
    power = spectrum.real.square() + spectrum.imag.square()
    return power.transpose(1, 2) * (2.0 / (size * float(window.square().sum())))


def hear(x: torch.Tensor, rate: float) -> Heard:
    """Return what windows (window, channel, time) are to the encoder; of channels, the first two count."""
    mid, side = _mid_side(x)
    level = torch.stack([power_to_db(c.square().mean(dim=1)) for c in (mid, side)], dim=1)
    rms = (mid.square().mean(dim=1) + side.square().mean(dim=1)).add(_LEAST).sqrt()[:, None]
    mid, side = mid / rms, side / rms
    hop = max(round(HOP_S * rate), QUARTERS)
    size = 2 * max(round(WINDOW_S * rate / 2.0), 2 * hop)
    spectra = [_power(c, size, hop) for c in (mid, side)]
    triangles = _triangles(float(rate), size).to(x)
    bands = [s @ triangles for s in spectra]
    mid_db = power_to_db(bands[0]).clamp_min(-FLOOR_DB)
    side_db = (power_to_db(bands[1] + 1e-4 * bands[0]) - power_to_db(bands[0])).clamp(-SIDE_DB, SIDE_DB)
    short = max(hop // QUARTERS, 1)
    attacks = power_to_db(_power(mid, 2 * short, short) @ _wide(float(rate), 2 * short).to(x))
    attacks = attacks.clamp_min(-FLOOR_DB)
    count = mid_db.shape[1]
    attacks = attacks[:, : count * QUARTERS]
    attacks = torch.nn.functional.pad(
        attacks, (0, 0, 0, count * QUARTERS - attacks.shape[1]), value=-FLOOR_DB
    )
    attacks = attacks.reshape(x.shape[0], count, -1)
    frames = torch.cat([mid_db, side_db, attacks], dim=2).transpose(1, 2) / SCALE_DB
    return Heard(frames, _texture(mid_db, side_db, mid, float(rate)), level)


def _mid_side(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    left, right = x[:, 0], x[:, min(1, x.shape[1] - 1)]
    return (left + right) / 2.0, (left - right) / 2.0


def _texture(mid_db: torch.Tensor, side_db: torch.Tensor, mid: torch.Tensor, rate: float) -> torch.Tensor:
    parts = []
    for levels in (mid_db, side_db):
        mean = levels.mean(dim=1)
        deviation = (levels - mean[:, None]).square().mean(dim=1).add(1e-6).sqrt()
        parts += [mean, deviation]
        grouped = levels.reshape(*levels.shape[:2], GROUPS, BANDS // GROUPS).mean(dim=3)
        grouped = grouped - grouped.mean(dim=1, keepdim=True)
        parts += [_modulation(grouped), _echoes(grouped)]
    return torch.cat([p / SCALE_DB for p in parts] + [_combs(mid, rate)], dim=1)


def _modulation(levels: torch.Tensor) -> torch.Tensor:
    """Return the power in dB of level changes (window, frame, group) in bands of modulation frequency."""
    count = levels.shape[1]
    window = torch.hann_window(count, dtype=levels.dtype, device=levels.device)
    power = torch.fft.rfft(levels * window[:, None], dim=1).abs().square() / float(window.square().sum())
    hz = torch.arange(power.shape[1], dtype=torch.float64) / (count * HOP_S)
    low, high = (math.log2(f) for f in MODULATION_HZ)
    centres = torch.linspace(low, high, MODULATIONS, dtype=torch.float64)
    step = (high - low) / (MODULATIONS - 1)
    weights = (1.0 - (torch.log2(hz.clamp_min(1e-3))[:, None] - centres).abs() / step).clamp_min(0.0)
    weights = weights / weights.sum(dim=0).clamp_min(1.0)
    return power_to_db(torch.einsum("wkg,km->wgm", power, weights.to(power)) + 1e-3).flatten(1)


def _echoes(levels: torch.Tensor) -> torch.Tensor:
    """Return by lag in frames how rises of level resemble themselves, (window, ECHO_LAGS), times SCALE_DB."""
    rises = (levels[:, 1:] - levels[:, :-1]).relu()
    rises = rises - rises.mean(dim=1, keepdim=True)
    size = 2 * max(rises.shape[1], ECHO_LAGS + 1)
    power = torch.fft.rfft(rises, n=size, dim=1).abs().square().sum(dim=2)
    alike = torch.fft.irfft(power, n=size, dim=1)
    made: torch.Tensor = SCALE_DB * alike[:, 1 : ECHO_LAGS + 1] / (alike[:, :1] + 1e-3)
    return made


def _combs(mid: torch.Tensor, rate: float) -> torch.Tensor:
    """Return the cepstrum of the mean spectrum and of the mean in dB, at delays even in logarithm."""
    size = 2 * round(COMB_SIZE * rate / 44_100 / 2.0)
    power = _power(mid, size, size // 2)
    out = []
    low, high = (math.log(s) for s in COMB_S)
    delays = torch.linspace(low, high, COMBS, dtype=torch.float64).exp()
    samples = torch.arange(1, size // 2 + 1, dtype=torch.float64)
    # never narrower than a sample
    width = (1.0 / (delays * rate)).clamp_min((high - low) / (COMBS - 1))
    apart = ((samples / rate).log()[:, None] - delays.log()).abs() / width
    weights = (1.0 - apart).clamp_min(0.0).to(mid)
    for spectrum in (power_to_db(power.mean(dim=1) + 1e-10), power_to_db(power + 1e-10).mean(dim=1)):
        flat = spectrum - spectrum.mean(dim=1, keepdim=True)
        cepstrum = torch.fft.irfft(flat, n=size, dim=1)
        out.append(cepstrum[:, 1 : size // 2 + 1] @ weights)
    return torch.cat(out, dim=1)
