"""Truths of the state-variable sections: scipy's bilinear transforms, a constant, differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.signal import bilinear, lfilter

from fxstyle.dsp.sections import coefficients, run, run_adjoint
from fxstyle.effect import Samples
from fxstyle.units import HIGHEST_OF_RATE

RATE = 44100.0


def states(x: Samples, hz: float, q: float, rate: float = RATE) -> tuple[Samples, Samples]:
    """s and r, each with the past before the block."""
    c = coefficients(torch.tensor(hz), q, rate).numpy()
    s, r = np.zeros((2, x.shape[0], x.shape[1] + 1))
    run(x, c, s, r, x.shape[1])
    return s, r


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize(("hz", "q"), [(30.0, 0.3), (1000.0, 2.0**-0.5), (15000.0, 8.0)])
def test_outputs_are_bilinear_transforms(hz: float, q: float, channels: int) -> None:
    x = np.random.default_rng(0).standard_normal((channels, 5000))
    s, r = states(x, hz, q)
    w = 2.0 * RATE * math.tan(math.pi * hz / RATE)
    denominator = (1.0 / w**2, 1.0 / (q * w), 1.0)
    for state, numerator in ((s, (1.0 / w, 0.0)), (r, (1.0,))):
        truth = lfilter(*bilinear(numerator, denominator, fs=RATE), x)
        # scipy's direct forms round, at 30 Hz more than elsewhere
        np.testing.assert_allclose(0.5 * (state[:, :-1] + state[:, 1:]), truth, atol=1e-9)


def test_a_constant_passes_exactly_however_low_the_frequency() -> None:
    x = np.ones((1, 4 * 192000))
    s, r = states(x, 5.0, 0.5**0.5, 192000.0)
    # rounding of the states; scipy's direct form is off by 4e-10 here
    assert r[0, -1] == pytest.approx(1.0, abs=1e-12)
    assert abs(s[0, -1]) < 1e-12


def test_frequencies_beyond_half_the_rate_are_clamped() -> None:
    top = HIGHEST_OF_RATE * 8000.0
    both = coefficients(torch.tensor([top, 20000.0]).double(), 1.0, 8000.0)
    assert torch.equal(both[0], both[1])
    assert both.isfinite().all()


def test_the_adjoint_is_the_transpose_and_the_gradient() -> None:
    rng = np.random.default_rng(1)
    size, channels = 64, 3
    x, b, low = rng.standard_normal((3, channels, size))
    c = coefficients(torch.tensor(900.0), 2.0, 8000.0).numpy()

    def value(x: Samples, c: Samples) -> float:
        s, r = np.zeros((2, channels, size + 1))
        run(x, c, s, r, size)
        return float(np.sum(b * (s[:, :-1] + s[:, 1:]) + low * (r[:, :-1] + r[:, 1:])))

    s, r = np.zeros((2, channels, size + 1))
    run(x, c, s, r, size)
    dx, dc = np.zeros_like(x), np.zeros(3)
    run_adjoint(b.copy(), low.copy(), x, c, s, r, np.zeros((channels, 2)), dx, dc, size)
    # The outputs are linear in x, so a step of any size gives the derivative to rounding.
    for i, n in ((0, 0), (1, 31), (2, size - 1)):
        step = np.zeros_like(x)
        step[i, n] = 1.0
        assert value(x + step, c) - value(x, c) == pytest.approx(dx[i, n], rel=1e-9, abs=1e-11)
    for i in range(3):
        step = np.zeros(3)
        step[i] = 1e-6
        difference = (value(x, c + step) - value(x, c - step)) / 2e-6
        assert difference == pytest.approx(dc[i], rel=1e-6)
