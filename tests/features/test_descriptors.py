"""Laws of the descriptors: closed forms for tones and noise, gradients, independence of content."""

import numpy as np
import pytest
import torch

from fxstyle.features.bands import OCTAVES, THIRD_OCTAVES, centres_hz, pooling
from fxstyle.features.descriptors import _quantiles, describe
from fxstyle.features.measure import measure
from fxstyle.features.spectrogram import power_spectrogram

RATE = 44100


def _noise(seconds: float, seed: int = 0, channels: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(1, channels, int(seconds * RATE), generator=generator)


def test_spectrogram_gradient_is_exact() -> None:
    x = torch.randn(2, 100, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: power_spectrogram(v, 16), x)


def test_full_scale_sine_has_half_its_amplitude_squared() -> None:
    t = torch.arange(RATE, dtype=torch.float64) / RATE
    power = power_spectrogram(torch.sin(2 * np.pi * 1000.0 * t)[None], 2048).sum(-1)
    # A Hann window leaks nothing of note; the rest is the phase of the frame against the tone.
    assert torch.allclose(power, torch.full_like(power, 0.5), rtol=2e-3)


def test_spectrogram_says_what_is_too_short() -> None:
    with pytest.raises(ValueError, match="10 samples are fewer than one frame of 16"):
        power_spectrogram(torch.zeros(1, 10), 16)


@pytest.mark.parametrize(("indices", "per_octave"), [(THIRD_OCTAVES, 3), (OCTAVES, 1)])
def test_bands_sum_to_one_inside_their_range(indices: range, per_octave: int) -> None:
    weights = pooling(indices, per_octave, 65536, RATE).sum(axis=1)
    f = np.fft.rfftfreq(65536, 1 / RATE)
    centres = centres_hz(indices, per_octave)
    inside = (f > centres[0]) & (f < centres[-1])
    # cos^2 in linear frequency between centres that are geometric: neighbours meet to within 10 %.
    assert np.abs(weights[inside] - 1.0).max() < 0.1


def test_level_is_kept_as_information() -> None:
    x = _noise(3.0)
    quiet, loud = describe(x, RATE), describe(2.0 * x, RATE)
    assert torch.allclose(loud["tone"] - quiet["tone"], torch.full((1, 28), 6.0206), atol=0.02)
    for name in ("levels", "width", "balance", "crest", "flatness"):
        assert torch.allclose(loud[name], quiet[name], atol=0.02), name


def test_crest_of_a_sine_is_its_closed_form() -> None:
    t = torch.arange(2 * RATE, dtype=torch.float64) / RATE
    crest = describe(torch.sin(2 * np.pi * 441.0 * t)[None, None], RATE)["crest"][0]
    # mean sin^4 = 3/8, mean sin^8 = 35/128, mean sin^2 = 1/2.
    expected = [20 / p * np.log10(mean / 0.5 ** (p / 2)) for p, mean in ((4, 3 / 8), (8, 35 / 128))]
    assert crest.numpy() == pytest.approx(expected, abs=1e-3)


def test_width_reads_the_ratio_of_side_to_mid() -> None:
    generator = torch.Generator().manual_seed(1)
    mid, side = 0.1 * torch.randn(2, 4 * RATE, generator=generator)
    x = torch.stack([mid + 0.5 * side, mid - 0.5 * side])[None]
    assert torch.allclose(describe(x, RATE)["width"], torch.full((1, 8), -6.02), atol=0.8)


def test_slopes_read_an_exponential_decay() -> None:
    t = torch.arange(RATE, dtype=torch.float32) / RATE
    t60 = 0.5
    bursts = torch.cat([_noise(1.0, seed)[0, :1] * 10 ** (-3.0 * t / t60) for seed in range(4)], dim=1)
    measured = measure(bursts.numpy(), RATE)
    # Blind, from the slopes of noise: an estimate, not a measurement after ISO 3382.
    assert np.median(measured.decay_s[2:]) == pytest.approx(t60, rel=0.3)


def test_echo_is_found_where_it_is() -> None:
    x = np.zeros((1, 6 * RATE), dtype=np.float32)
    generator = np.random.default_rng(3)
    for begin in generator.integers(0, 5 * RATE, 12):
        x[0, begin : begin + 800] += generator.standard_normal(800).astype(np.float32) * 0.2
    delay = round(0.275 * RATE)
    x[:, delay:] += 0.7 * x[:, :-delay].copy()
    assert measure(x, RATE).echo_ms == pytest.approx(275.0, abs=8.0)


def test_gradients_are_finite_even_for_silence() -> None:
    for x in (torch.zeros(2, 2, RATE), _noise(1.0).repeat(2, 1, 1)):
        x.requires_grad_(True)
        sum(v.square().sum() for v in describe(x, RATE, crops=2).values()).backward()
        assert x.grad is not None
        assert torch.isfinite(x.grad).all()


def test_gradient_is_that_of_finite_differences() -> None:
    torch.manual_seed(0)
    x = (0.1 * torch.randn(1, 2, RATE, dtype=torch.float64)).requires_grad_(True)
    direction = torch.randn_like(x) * 0.1

    def value(z: torch.Tensor) -> torch.Tensor:
        groups = describe(z, RATE)
        return torch.stack([groups[k].square().mean() for k in sorted(groups)]).sum()

    (gradient,) = torch.autograd.grad(value(x), x)
    step = 1e-6
    with torch.no_grad():
        slope = (value(x + step * direction) - value(x - step * direction)) / (2 * step)
    # Quantiles have kinks where frames change places; within a step of 1e-6 few do.
    assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=1e-3)


def test_crops_are_pooled() -> None:
    x = _noise(4.0)
    halves = x.reshape(1, 2, 2, -1).transpose(1, 2).reshape(2, 2, -1)
    pooled, whole = describe(halves, RATE, crops=2), describe(x, RATE)
    assert pooled["tone"].shape == (1, 28)
    assert torch.allclose(pooled["tone"], whole["tone"], atol=0.5)


def test_without_the_width_all_else_is_the_same() -> None:
    x = _noise(2.0)
    whole, less = describe(x, RATE), describe(x, RATE, width=False)
    assert set(whole) - set(less) == {"width"}
    assert all(torch.equal(less[name], whole[name]) for name in less)


def test_quantiles_are_numpys() -> None:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((2, 3, 41))
    active = generator.random((2, 41)) < 0.6
    probabilities = (0.0, 0.3, 0.77, 1.0)
    everything = _quantiles(torch.from_numpy(x), probabilities).numpy()
    np.testing.assert_allclose(everything, np.moveaxis(np.quantile(x, probabilities, axis=-1), 0, -1))
    some = _quantiles(torch.from_numpy(x), probabilities, torch.from_numpy(active)).numpy()
    for row in range(2):
        expected = np.quantile(x[row][:, active[row]], probabilities, axis=-1).T
        # float32 shares: 0.3 and 0.77 are known to 3e-8
        np.testing.assert_allclose(some[row], expected, atol=1e-5)
