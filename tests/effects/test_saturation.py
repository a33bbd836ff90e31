"""Saturation against tanh in closed form, its Fourier integral, and itself without oversampling."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fxstyle.effects.saturation import CONTEXT, EFFECT, TANH_LIMIT, _tanh

RATE = 44100.0


def _render(x, drive_db, output_db=0.0):
    """Run one channel, aligned with its input."""
    padded = np.concatenate([x, np.zeros(CONTEXT, x.dtype)])[None]
    return EFFECT.render(padded, RATE, None, drive_db=drive_db, output_db=output_db)[0][0, CONTEXT:]


def _sine(frequency_hz, amplitude=1.0, seconds=1.0):
    return amplitude * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * RATE)) / RATE)


@pytest.mark.parametrize(("dtype", "error"), [(np.float64, 1.3e-7), (np.float32, 4e-7)])
def test_tanh_is_as_exact_as_stated(dtype, error):
    x = np.concatenate([np.linspace(-20, 20, 400_001), np.geomspace(1e-30, 1, 1000), [0.0]]).astype(dtype)
    out = np.empty_like(x)
    _tanh(x, 1.0, out)
    truth = np.tanh(x.astype(np.float64))
    assert (np.abs(out - truth) <= error * np.abs(truth)).all()


def test_tanh_limit_is_reached_smoothly():
    x = np.array([TANH_LIMIT, TANH_LIMIT + 1e-9, 100.0])
    out = np.empty_like(x)
    _tanh(x, 1.0, out)
    assert out[0] == pytest.approx(out[1], abs=1e-12)
    assert out[1] == out[2]


@pytest.mark.parametrize(("drive_db", "output_db"), [(0.0, 0.0), (0.0, -6.0), (20.0, -20.0), (36.0, 12.0)])
@pytest.mark.parametrize("frequency_hz", [100.0, 1000.0, 19_000.0])
def test_low_levels_pass_at_the_gain_of_both_knobs(drive_db, output_db, frequency_hz):
    x = _sine(frequency_hz, 1e-5, 0.1)
    y = _render(x, drive_db, output_db)
    gain = 10 ** ((drive_db + output_db) / 20)
    middle = slice(200, -200)
    np.testing.assert_allclose(y[middle], gain * x[middle], atol=gain * 1e-5 * 1e-3)


@pytest.mark.parametrize("drive_db", [0.0, 12.0, 36.0])
def test_a_slow_signal_follows_the_curve(drive_db):
    x = np.sin(2 * np.pi * np.arange(44_100) / 44_100) * 0.9
    y = _render(x, drive_db, -3.0)
    truth = 10 ** (-3 / 20) * np.tanh(10 ** (drive_db / 20) * x)
    np.testing.assert_allclose(y[200:-200], truth[200:-200], atol=2e-5)


@pytest.mark.parametrize("drive_db", [0.0, 12.0, 24.0])
def test_odd_harmonics_are_those_of_the_fourier_integral(drive_db):
    y = _render(_sine(100.0), drive_db)[441:-441]
    spectrum = np.abs(np.fft.rfft(y)) * 2 / y.size
    angle = (np.arange(100_000) + 0.5) * 2 * np.pi / 100_000
    for k in range(1, 20):
        truth = 2 * abs(np.mean(np.tanh(10 ** (drive_db / 20) * np.sin(angle)) * np.sin(k * angle)))
        found = spectrum[k * 100 * y.size // 44_100]
        assert found == pytest.approx(truth, abs=2e-5), k


def _alias_db(y, frequency_hz):
    """Return the power of all that is no harmonic over that of the harmonics, up to 20 kHz."""
    y = y[1000 : 1000 + 22_050] * np.hanning(22_050)
    power = np.abs(np.fft.rfft(y)) ** 2
    bins_hz = np.arange(power.size) * 2.0
    harmonic = np.abs((bins_hz + frequency_hz / 2) % frequency_hz - frequency_hz / 2) < 10.0
    heard = bins_hz < 20_000.0
    return 10 * math.log10(power[heard & ~harmonic].sum() / power[heard & harmonic].sum())


def test_aliases_are_as_low_as_stated():
    x = _sine(5000.0)
    drive_db = 24.0
    assert _alias_db(_render(x, drive_db), 5000.0) < -39.0
    assert _alias_db(np.tanh(10 ** (drive_db / 20) * x), 5000.0) > -12.0


def test_content_that_would_alias_is_kept_down_at_moderate_drive():
    assert _alias_db(_render(_sine(3000.0), 12.0), 3000.0) < -80.0


def test_an_odd_curve_makes_no_dc_and_is_odd():
    x = np.random.default_rng(0).standard_normal(3000)
    np.testing.assert_array_equal(_render(-x, 18.0), -_render(x, 18.0))


def test_gradients():
    generator = torch.Generator().manual_seed(0)
    # Two passes of the kernel, so that the seam between them is checked as well.
    x = torch.randn(1, 1, 1100, dtype=torch.float64, generator=generator)
    drive_db = torch.tensor([9.0], dtype=torch.float64, requires_grad=True)
    output_db = torch.tensor([-4.0], dtype=torch.float64, requires_grad=True)
    weights = torch.randn(1, 1, 1100, dtype=torch.float64, generator=generator)
    where = torch.tensor([0, 1, 500, 860, 950, 1023, 1024, 1099])
    part = x[..., where].clone().requires_grad_()

    def run(part, drive_db, output_db):
        whole = x.index_copy(2, where, part)
        return (EFFECT.forward(whole, RATE, drive_db=drive_db, output_db=output_db) * weights).sum()

    assert torch.autograd.gradcheck(run, (part, drive_db, output_db))


def test_start_asks_for_drive_only_where_the_reference_has_less_crest():
    calm, dense = SimpleNamespace(crest_db=16.0), SimpleNamespace(crest_db=11.0)
    assert EFFECT.start(dense, calm)["drive_db"] == 0.0
    guess = EFFECT.start(calm, dense)
    assert guess == {"drive_db": 10.0, "output_db": -5.0}
