"""The oscillator against sines of angles whose whole turns are taken off in integers."""

import math

import numpy as np
import pytest

from fxstyle.dsp.oscillator import SYNC, circles, oscillate


@pytest.mark.parametrize("phase", [0.0, 1.2, math.pi])
@pytest.mark.parametrize("begin", [0, SYNC, 10**9 // SYNC * SYNC])
def test_it_is_the_sine_and_cosine_of_its_angle_for_hours(begin, phase):
    turns = np.array([17 / 441_000, 0.05])
    for f, numerator, denominator, circle in zip(turns, (17, 1), (441_000, 20), circles(turns), strict=True):
        wave = np.empty((2, SYNC))
        oscillate(f, phase, begin, circle, wave)
        n = np.arange(begin, begin + SYNC)
        angle = 2 * np.pi * (numerator * n % denominator) / denominator + phase
        # A product of 5e7 turns is rounded to 7e-9 of a turn; without turns it is exact to rounding.
        error = 1e-7 if begin > SYNC else 1e-14
        np.testing.assert_allclose(wave, [np.sin(angle), np.cos(angle)], atol=error)
