"""What CLAP hears: the log-mel spectrogram of its feature extractor, in torch: gradients reach the audio.

    M_b(t) = 10 lg max(sum_k w_bk |X(k, t)|^2, 1e-10)    in dB; X: frames of a Hann window, centred, reflected

w are triangles in Hz whose corners are evenly spaced in mel. Fused models use the scale of HTK, 2595 lg(1 +
f / 700), and triangles of height 1; the others that of M. Slaney's Auditory Toolbox (1998), linear to 1 kHz
and logarithmic above, and triangles of area 1. Numbers per extractor come from the file that is published
beside the weights; the defaults are those of LAION's models. tests/embed/test_clap_mel.py compares with
transformers' `ClapFeatureExtractor`, which is written in numpy and passes no gradient.

Short recordings are repeated as often as they fit whole, and zeros fill the rest ("repeatpad"). Other rates
are converted by their spectrum: X(f) is kept up to half the lower rate and is nothing above.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import torch

from fxstyle.errors import AudioError

LEAST_POWER = 1e-10
EDGE_S = 0.01
"""Silence around what is converted, so that its end does not ring into its beginning."""

SLANEY_KNEE_HZ, SLANEY_STEP_HZ = 1000.0, 200.0 / 3.0
SLANEY_LOG_STEP = math.log(6.4) / 27.0
FILLS = ("repeatpad", "repeat", "pad")

_NAMES = {
    "rate": "sampling_rate",
    "size": "fft_window_size",
    "hop": "hop_length",
    "bands": "feature_size",
    "lowest_hz": "frequency_min",
    "highest_hz": "frequency_max",
    "longest_s": "max_length_s",
    "fill": "padding",
}
"""Of the fields below in preprocessor_config.json."""

_MOST = {"rate": 384_000, "size": 65_536, "hop": 65_536, "bands": 1024, "longest_s": 600}
"""What a file is believed at most."""


@dataclass(frozen=True)
class Front:
    """Numbers of a feature extractor.

    rate: in Hz. size, hop: of frames, in samples. fused: for a model that fuses windows, by HTK's mel.
    """

    rate: int = 48_000
    size: int = 1024
    hop: int = 480
    bands: int = 64
    lowest_hz: float = 50.0
    highest_hz: float = 14_000.0
    longest_s: int = 10
    fill: str = "repeatpad"
    fused: bool = False

    def __post_init__(self) -> None:
        """Raise AudioError for numbers that no extractor has."""
        for name, most in _MOST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
                raise AudioError(f"{_NAMES[name]} is {value!r} and not a whole number from 1 to {most}")
        for name in ("lowest_hz", "highest_hz"):
            if not isinstance(getattr(self, name), int | float):
                raise AudioError(f"{_NAMES[name]} is {getattr(self, name)!r} and no number")
        if not 0.0 <= self.lowest_hz < self.highest_hz <= self.rate / 2:
            raise AudioError(f"bands from {self.lowest_hz} to {self.highest_hz} Hz do not fit {self.rate} Hz")
        if self.fill not in FILLS:
            raise AudioError(f"{_NAMES['fill']} is {self.fill!r}; it is one of {', '.join(FILLS)}")

    @property
    def samples(self) -> int:
        """Return how many samples a window has."""
        return self.rate * self.longest_s

    @classmethod
    def of_file(cls, told: Mapping[str, Any]) -> Front:
        """Return what preprocessor_config.json says; raises AudioError for what no extractor has."""
        given = {"lowest_hz": 0.0, **{name: told[key] for name, key in _NAMES.items() if key in told}}
        return cls(**given, fused=told.get("truncation", "fusion") == "fusion")

    def mel(self, x: torch.Tensor) -> torch.Tensor:
        """Return levels (window, frame, band) in dB of windows (window, time) at `rate`."""
        window = torch.hann_window(self.size, dtype=x.dtype, device=x.device)
        spectrum = torch.stft(x, self.size, self.hop, window=window, pad_mode="reflect", return_complex=True)
        power = (spectrum.real.square() + spectrum.imag.square()).transpose(1, 2)
        return 10.0 * torch.log10((power @ _triangles(self).to(x)).clamp_min(LEAST_POWER))

    def filled(self, x: torch.Tensor) -> torch.Tensor:
        """Return rows (row, time) at `rate`, of at most `samples`, as long as a window."""
        if self.fill != "pad":
            x = x.repeat(1, max(self.samples // x.shape[1], 1) + (self.fill == "repeat"))
        x = x[:, : self.samples]
        return torch.nn.functional.pad(x, (0, self.samples - x.shape[1]))


def _to_mel(hz: float, slaney: bool) -> float:
    if not slaney:
        return 2595.0 * math.log10(1.0 + hz / 700.0)
    if hz < SLANEY_KNEE_HZ:
        return hz / SLANEY_STEP_HZ
    return SLANEY_KNEE_HZ / SLANEY_STEP_HZ + math.log(hz / SLANEY_KNEE_HZ) / SLANEY_LOG_STEP


def _to_hz(mel: torch.Tensor, slaney: bool) -> torch.Tensor:
    if not slaney:
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    above = mel - SLANEY_KNEE_HZ / SLANEY_STEP_HZ
    return torch.where(above < 0.0, mel * SLANEY_STEP_HZ, SLANEY_KNEE_HZ * torch.exp(above * SLANEY_LOG_STEP))


@lru_cache(maxsize=4)
def _triangles(front: Front) -> torch.Tensor:
    """Return weights (bin, band)."""
    slaney = not front.fused
    low, high = (_to_mel(hz, slaney) for hz in (front.lowest_hz, front.highest_hz))
    corners = _to_hz(torch.linspace(low, high, front.bands + 2, dtype=torch.float64), slaney)
    hz = torch.linspace(0.0, front.rate // 2, front.size // 2 + 1, dtype=torch.float64)
    up = (hz[:, None] - corners[:-2]) / (corners[1:-1] - corners[:-2])
    down = (corners[2:] - hz[:, None]) / (corners[2:] - corners[1:-1])
    weights = torch.minimum(up, down).clamp_min(0.0)
    return weights * (2.0 / (corners[2:] - corners[:-2])) if slaney else weights


def converted(x: torch.Tensor, rate: float, wanted: int) -> torch.Tensor:
    """Return rows (row, time) at another rate in Hz, (row, round(time * wanted / rate)); differentiable."""
    ratio = wanted / Fraction(rate).limit_denominator(1000)
    if ratio == 1:
        return x
    # The spectrum's bins are the same in Hz only for whole numbers of these samples.
    block = ratio.denominator
    edge = math.ceil(EDGE_S * rate)
    count = _smooth(-(-(x.shape[1] + edge) // block)) * block
    spectrum = torch.fft.rfft(x, count)
    out = count // block * ratio.numerator
    kept = spectrum[:, : min(count, out) // 2 + 1]
    y: torch.Tensor = torch.fft.irfft(kept, out) * float(ratio)
    return y[:, : round(x.shape[1] * ratio)]


def _smooth(count: int) -> int:
    """Return the next number whose largest factor is 5: transforms of other lengths are slow."""
    while True:
        rest = count
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return count
        count += 1
