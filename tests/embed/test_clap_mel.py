"""CLAP's front end against transformers' (numpy) and soxr, and its gradient."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.signal
import soxr
import torch

from fxstyle.embed.clap_mel import Front, converted
from fxstyle.errors import AudioError

RATE = 48_000


def noise(samples: int, seed: int = 0) -> np.ndarray:
    """Noise that fades in: levels from the floor up."""
    return 0.1 * np.random.default_rng(seed).standard_normal(samples) * np.linspace(0.0, 1.0, samples)


@pytest.mark.parametrize("truncation", ["fusion", "rand_trunc"])
@pytest.mark.parametrize("fill", ["repeatpad", "repeat", "pad"])
@pytest.mark.parametrize("samples", [30_000, 160_000, 480_000])
def test_levels_are_those_of_transformers(truncation: str, fill: str, samples: int) -> None:
    kind = pytest.importorskip("transformers", reason="transformers, of the extra clap").ClapFeatureExtractor
    extractor = kind(truncation=truncation, padding=fill, frequency_min=50)
    front = Front.of_file(extractor.to_dict())
    x = noise(samples)
    wanted = extractor(x, sampling_rate=RATE, return_tensors="np")["input_features"][0][0]
    # transformers hands out single precision: 24 bits of 100 dB
    for kind_of, within_db in ((torch.float64, 1e-5), (torch.float32, 1e-3)):
        found = front.mel(front.filled(torch.from_numpy(x)[None].to(kind_of)))[0]
        assert found.shape == wanted.shape == (1001, 64)
        assert float(np.abs(found.numpy() - wanted).max()) < within_db


def test_other_numbers_are_followed_too() -> None:
    kind = pytest.importorskip("transformers", reason="transformers, of the extra clap").ClapFeatureExtractor
    extractor = kind(
        feature_size=40, sampling_rate=32_000, hop_length=320, max_length_s=3, fft_window_size=2048,
        frequency_min=0, frequency_max=12_000, truncation="rand_trunc",
    )  # fmt: skip
    front = Front.of_file(extractor.to_dict())
    x = noise(50_000)
    wanted = extractor(x, sampling_rate=32_000, return_tensors="np")["input_features"][0][0]
    found = front.mel(front.filled(torch.from_numpy(x)[None]))[0].numpy()
    assert found.shape == wanted.shape == (301, 40)
    assert float(np.abs(found - wanted).max()) < 1e-5


def test_a_tone_is_in_its_band() -> None:
    front = Front(longest_s=1)
    t = torch.arange(RATE, dtype=torch.float64) / RATE
    for hz in (300.0, 1000.0, 5000.0):
        levels = front.mel(torch.sin(2.0 * math.pi * hz * t)[None])[0].mean(dim=0)
        # Slaney's mel: 3 per 200 Hz to 1 kHz, and 27 to the factor 6.4 above
        mels = [3.0 * f / 200.0 if f < 1000.0 else 15.0 + 27.0 * math.log(f / 1000.0) / math.log(6.4)
                for f in (50.0, hz, 14_000.0)]  # fmt: skip
        place = 65.0 * (mels[1] - mels[0]) / (mels[2] - mels[0]) - 1.0
        assert abs(int(levels.argmax()) - place) <= 0.51


def test_silence_lies_at_the_floor_and_twice_the_amplitude_is_6_db() -> None:
    front = Front(longest_s=1)
    assert torch.equal(front.mel(torch.zeros(1, RATE)), torch.full((1, 101, 64), -100.0))
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(RATE))[None]
    more = front.mel(2.0 * x) - front.mel(x)
    torch.testing.assert_close(more, torch.full_like(more, 20.0 * math.log10(2.0)))


def test_gradient_of_the_levels() -> None:
    front = Front(rate=8000, size=64, hop=32, bands=8, highest_hz=4000.0, longest_s=1)
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((2, 200))).requires_grad_(True)
    assert torch.autograd.gradcheck(front.mel, (x,), fast_mode=True)
    assert torch.autograd.gradcheck(lambda y: converted(y, 8000.0, 6000), (x,), fast_mode=True)


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 44_101, 88_200, 96_000])
def test_other_rates_are_converted_as_by_soxr(rate: int) -> None:
    low = scipy.signal.ellip(12, 0.1, 90.0, 0.4 * min(rate, RATE), fs=rate, output="sos")
    x = scipy.signal.sosfilt(low, np.random.default_rng(rate).standard_normal(2 * rate))
    found = converted(torch.from_numpy(x)[None], float(rate), RATE)[0].numpy()
    wanted = soxr.resample(x, rate, RATE, quality="VHQ")
    assert len(found) == 2 * RATE
    inside = slice(RATE // 20, -RATE // 20)  # filters begin and end differently
    error = found[inside] - wanted[inside]
    error_db = 10.0 * np.log10(np.mean(error**2) / np.mean(wanted[inside] ** 2))
    # the filter leaves -90 dB about half the lower rate, where both fall off, each in its way
    assert error_db < -75.0


def test_the_same_rate_changes_nothing() -> None:
    x = torch.randn(2, 1000)
    assert torch.equal(converted(x, 48_000.0, 48_000), x)


def test_the_end_does_not_ring_into_the_beginning() -> None:
    x = torch.zeros(1, 44_100, dtype=torch.float64)
    x[0, 40_000:] = 1.0
    assert float(converted(x, 44_100, RATE)[0, :40_000].abs().max()) < 2e-3


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"hop_length": 0}, "hop_length is 0"),
        ({"fft_window_size": 10**12}, "fft_window_size is 1000000000000"),
        ({"sampling_rate": "48000"}, "sampling_rate is '48000'"),
        ({"max_length_s": True}, "max_length_s is True"),
        ({"frequency_max": "__import__"}, "frequency_max is '__import__'"),
        ({"frequency_min": 20_000}, "bands from 20000 to 14000"),
        ({"frequency_max": float("nan")}, "bands from"),
        ({"padding": "mirror"}, "padding is 'mirror'; it is one of repeatpad"),
    ],
)
def test_numbers_that_no_extractor_has_are_refused(told: dict[str, Any], message: str) -> None:
    with pytest.raises(AudioError, match=message):
        Front.of_file(told)
