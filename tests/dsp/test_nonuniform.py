"""The non-uniform FFT against direct sums, its adjoint, and its bands."""

from __future__ import annotations

import numpy as np
import pytest

from fxstyle.dsp.nonuniform import PASS_OF_RATE, band_responses, gather, plan, spread, to_grid, to_signal
from fxstyle.octaves import BANDS

RATE = 44_100.0
SPAN = 60_000
RING = 27_000
"""Samples kept free at either end: the band of 62.5 Hz rings at -63 dB after 40 ms, falling with the cube."""

MIDDLE = SPAN // 2


def impulses(count, rng, low=2.0 * RING, high=2.0 * (SPAN - RING)):
    return rng.uniform(low, high, count), rng.standard_normal((count, BANDS))


def signal(p, a, dtype, one=False, rate=RATE):
    made = plan(SPAN, rate, np.dtype(dtype))
    grid = np.zeros((made.size, BANDS), dtype)
    spread(p, a.astype(dtype), p.size, made.table, grid)
    return to_signal(grid, made, SPAN, one)


def direct_sum(p, a, hz, rate=RATE):
    """H(f) = sum_b R_b(f) sum_i a_ib exp(-2 pi j f p_i/(2 rate))."""
    phases = np.exp(-1j * np.pi * hz[:, None] * p / rate)
    return (band_responses(hz) * (phases @ a)).sum(axis=1)


def transform(h, hz, rate=RATE):
    return np.exp(-2j * np.pi * hz[:, None] / rate * np.arange(h.size)) @ h.astype(np.float64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rate", [44_100.0, 96_000.0])
def test_it_is_the_direct_sum(dtype, rate):
    rng = np.random.default_rng(0)
    p, a = impulses(300, rng)
    hz = np.linspace(0.0, PASS_OF_RATE * rate, 500)
    truth = direct_sum(p, a, hz, rate)
    error = np.abs(transform(signal(p, a, dtype, rate=rate), hz, rate) - truth).max() / np.abs(truth).max()
    # the target of the design; each impulse alone is right to -98 dB (the kernel's width)
    assert 20.0 * np.log10(error) < -95.0


def test_each_impulse_alone_is_right_wherever_it_lies():
    hz = np.linspace(200.0, PASS_OF_RATE * RATE, 200)
    one = np.ones((1, BANDS))
    for fraction in np.linspace(0.0, 1.0, 9):
        p = np.array([SPAN + fraction])
        error = np.abs(transform(signal(p, one, np.float64), hz) - direct_sum(p, one, hz))
        assert 20.0 * np.log10(error.max()) < -97.0, fraction


def test_bands_sum_to_1_and_reach_from_centre_to_centre():
    hz = np.linspace(0.0, 24_000.0, 5001)
    responses = band_responses(hz)
    np.testing.assert_allclose(responses.sum(axis=1), 1.0, atol=1e-12)
    assert responses.min() >= 0.0
    centres = 62.5 * 2.0 ** np.arange(BANDS)
    np.testing.assert_allclose(band_responses(centres), np.eye(BANDS), atol=1e-12)
    assert band_responses(np.array([0.0]))[0, 0] == 1.0
    assert band_responses(np.array([20_000.0]))[0, -1] == 1.0


def test_impulses_alike_in_all_bands_need_one_transform():
    rng = np.random.default_rng(1)
    p, a = impulses(50, rng)
    a[:] = a[:, :1]
    np.testing.assert_allclose(signal(p, a, np.float64, one=True), signal(p, a, np.float64), atol=1e-12)


def test_an_impulse_at_a_sample_is_the_rate_s_share_of_one():
    """The spectrum fades out as cos^2 towards half the rate: its mean is the sample at the centre."""
    h = signal(np.array([float(SPAN)]), np.ones((1, BANDS)), np.float64)
    assert np.abs(h).argmax() == MIDDLE
    assert h[MIDDLE] == pytest.approx((PASS_OF_RATE + 0.5), abs=1e-4)
    # symmetric, and gone after ten samples but for -60 dB
    np.testing.assert_allclose(h[MIDDLE + 1 : MIDDLE + 100], h[MIDDLE - 1 : MIDDLE - 100 : -1], atol=1e-5)


def test_the_adjoint_of_the_signal_is_that_of_the_grid():
    rng = np.random.default_rng(2)
    made = plan(SPAN, RATE, np.dtype(np.float64))
    grid, h = rng.standard_normal((made.size, BANDS)), rng.standard_normal(SPAN)
    forth, back = h @ to_signal(grid, made, SPAN, False), (grid * to_grid(h, made)).sum()
    assert forth == pytest.approx(back, rel=1e-12)


def test_gather_is_the_adjoint_of_spread_and_its_slope_by_the_instants():
    rng = np.random.default_rng(3)
    p, a = impulses(40, rng)
    made = plan(SPAN, RATE, np.dtype(np.float64))
    weights = rng.standard_normal((made.size, BANDS))

    def heard(p):
        grid = np.zeros((made.size, BANDS))
        spread(p, a, p.size, made.table, grid)
        return (grid * weights).sum()

    values, slopes = np.zeros_like(a), np.zeros_like(a)
    gather(p, p.size, made.table, weights, values, slopes)
    assert heard(p) == pytest.approx((a * values).sum(), rel=1e-12)
    for i in range(5):
        step = 1e-5 * (np.arange(p.size) == i)
        difference = (heard(p + step) - heard(p - step)) / 2e-5
        assert difference == pytest.approx((a * slopes)[i].sum(), rel=1e-6, abs=1e-7)


def test_nothing_jumps_where_an_impulse_passes_a_point_of_the_grid():
    rng = np.random.default_rng(4)
    a = rng.standard_normal((1, BANDS))
    before, after = (signal(np.array([SPAN + e]), a, np.float64) for e in (-1e-9, 1e-9))
    # 2e-9 half samples of movement, and the polynomials' ends at 5e-12
    assert np.abs(after - before).max() < 3e-8 * np.abs(a).max()
