"""Noise: white in all bands together, the same in every run and for every length."""

import numpy as np
import pytest
import scipy.signal

from fxstyle.dsp.noise import _split_mix, noise_bands


def test_all_bands_together_are_white():
    for rate in (8000.0, 44_100.0, 192_000.0):
        power = noise_bands(rate, 1, 400_000)[0].astype(np.float64).sum(axis=0)
        frequency_hz, density = scipy.signal.welch(power, rate, nperseg=4096)
        for low in np.geomspace(0.02, 0.4, 8) * rate:
            band = (frequency_hz > low) & (frequency_hz < 1.2 * low)
            assert 10 * np.log10(density[band].mean() * rate / 2) == pytest.approx(0.0, abs=0.5)


def test_noise_begins_the_same_whatever_its_length_and_in_every_run():
    short = noise_bands(11_025.0, 2, 1000)[:, :, :1000].copy()
    long = noise_bands(11_025.0, 2, 100_000)
    assert long.shape[2] >= 100_000
    np.testing.assert_array_equal(long[:, :, :1000], short)
    # The mono noise is the stereo noise's first.
    np.testing.assert_array_equal(noise_bands(11_025.0, 1, 1000)[0, :, :1000], short[0])
    assert len(np.unique(short.reshape(-1, 1000)[:, 500])) == short.shape[0] * short.shape[1]


def _published_split_mix(state):
    """Return the output of SplitMix64 that follows this state."""
    mask = (1 << 64) - 1
    z = (state + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_split_mix_is_the_published_generator():
    # From the authors' reference program, seeded with 1234567.
    assert _published_split_mix(1234567) == 6457827717110365317
    for counter in (1, 2, 12345, (1 << 64) - 1):
        state = (counter - 1) * 0x9E3779B97F4A7C15 % (1 << 64)
        assert int(_split_mix(np.uint64(counter))) == _published_split_mix(state)
