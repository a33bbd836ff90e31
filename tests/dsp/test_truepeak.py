"""Values between samples against the sinc that defines them, and against bounds and tones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import BarycentricInterpolator

from fxstyle.dsp.truepeak import (
    HALF,
    QUARTERS,
    REACH,
    crests,
    cubic_weights,
    eighths,
    exceeds,
    folded,
    level_adjoint,
    levels,
    most,
    oversampling,
    phases,
    quarters,
    room,
)
from fxstyle.effect import Samples


def windowed_sinc(x: Samples, at: float) -> float:
    """Return the value of x (time,), 0 beyond its ends, at a fractional sample by the module's equations."""
    n = np.arange(int(np.floor(at)) + 1 - HALF, int(np.floor(at)) + 1 + HALF)
    t = n - at
    h = np.sinc(t) * np.i0(7.0 * np.sqrt(1.0 - (t / HALF) ** 2))
    inside = (n >= 0) & (n < x.size)
    return float((h[inside] * x[n[inside]]).sum() / h.sum())


def at_eighth(x: Samples, at: float) -> float:
    """Return the value at an eighth: at a quarter the sinc's, else the cubic through four quarters."""
    if (4.0 * at) % 1.0 == 0.0:
        return float(x[int(at)]) if at % 1.0 == 0.0 else windowed_sinc(x, at)
    points = at + np.array((-0.375, -0.125, 0.125, 0.375))
    return float(BarycentricInterpolator(points, [at_eighth(x, p) for p in points])(at))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 7, 64, 200])
def test_quarters_and_crests_are_the_windowed_sinc(dtype: type, size: int) -> None:
    x = np.random.default_rng(size).standard_normal(size + 2 * REACH - 1).astype(dtype)
    table, exact = folded(QUARTERS).astype(dtype), x.astype(np.float64)
    one, two, three = (np.empty(size, dtype) for _ in range(3))
    quarters(x, table, one, two, three, size)
    crest, work = np.empty(size, dtype), np.empty((3, size + 2), dtype)
    crests(x, table, cubic_weights().astype(dtype), work, crest, size)
    close = {"atol": 1e-6 if dtype is np.float32 else 1e-13}  # rounding of sums of 32 terms
    for values, part in ((one, 0.25), (two, 0.5), (three, 0.75)):
        expected = [windowed_sinc(exact, HALF - 1 + i + part) for i in range(size)]
        np.testing.assert_allclose(values, expected, **close)
    parts = np.arange(1, 8) / 8.0
    expected = [max(abs(at_eighth(exact, HALF + i + p)) for p in parts) for i in range(size)]
    np.testing.assert_allclose(crest, expected, **close)


def test_twice_the_rate_asks_for_the_middle_only() -> None:
    assert [oversampling(rate) for rate in (8000, 48000, 88200, 96000, 176400, 192000)] == [4, 4, 2, 2, 1, 1]
    x = np.random.default_rng(0).standard_normal(60)
    one, two, three = np.empty(20), np.empty(20), np.empty(20)
    quarters(x, folded(2), one, two, three, 20)
    np.testing.assert_allclose(two, [windowed_sinc(x, HALF - 0.5 + i) for i in range(20)], atol=1e-13)
    assert not one.any()
    assert not three.any()


@pytest.mark.parametrize("taps", [phases(2), phases(4), eighths()], ids=["2", "4", "8"])
def test_nothing_between_exceeds_the_bound_and_one_signal_meets_it(taps: Samples) -> None:
    row = taps[np.abs(taps).sum(axis=1).argmax()]
    assert np.sign(row) @ row == pytest.approx(most(taps), rel=1e-12)
    np.testing.assert_allclose(taps.sum(axis=1), 1.0, rtol=1e-12)  # a constant is kept


@pytest.mark.parametrize("share", [0.02, 0.2, 0.4])
def test_eighths_of_a_tone_are_the_tone(share: float) -> None:
    # share of the rate; the sinc is right to -70 dB up to 0.43, the cubic to 0.03 dB up to 0.4
    n = np.arange(2 * REACH)
    for phase in (0.0, 0.7, 2.1):
        x = np.sin(2.0 * np.pi * share * n + phase)
        expected = np.sin(2.0 * np.pi * share * (HALF + np.arange(1, 8) / 8.0) + phase)
        np.testing.assert_allclose(eighths() @ x, expected, atol=4e-3)


def level_of(x: Samples, floor: float) -> Samples:
    """Return `levels` of all samples of x (channel, time), which is 0 beyond its ends."""
    wide = np.pad(x, ((0, 0), (REACH, REACH)))
    m = np.empty(x.shape[1])
    table, cubic = folded(QUARTERS).astype(x.dtype), cubic_weights().astype(x.dtype)
    if not levels(wide, 0, x.shape[1], floor, table, cubic, room(x.shape[1], x.dtype), m):
        m[:] = 0.0
    return m


def test_a_level_is_the_largest_around_a_sample() -> None:
    x = np.random.default_rng(1).standard_normal((2, 40))
    points = np.arange(-7, 8) / 8.0
    wide = np.pad(x, ((0, 0), (8, 8)))
    expected = [max(abs(at_eighth(c, 8.0 + n + p)) for c in wide for p in points) for n in range(40)]
    np.testing.assert_allclose(level_of(x, 0.0), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_left_out_below_the_floor_changes_nothing_above(dtype: type) -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((2, 4000)) * np.repeat(10.0 ** rng.uniform(-2.0, 0.0, 40), 100)
    x = x.astype(dtype)
    exact = level_of(x, 0.0)
    for floor in (0.1, 0.5, 2.0, 5.0):
        quick = level_of(x, floor)
        np.testing.assert_array_equal(np.maximum(quick, floor), np.maximum(exact, floor))
    assert not level_of(x, 100.0).any()


def test_exceeds() -> None:
    x = np.array((0.1, -0.5, 0.2, 3.0))
    assert exceeds(x, 4, 2.9)
    assert exceeds(x, 3, 0.4)
    assert not exceeds(x, 3, 0.5)
    assert not exceeds(np.array((np.nan, 0.1)), 2, 0.5)


@pytest.mark.parametrize("place", [-3, 0, 5, 39, 42])
def test_the_gradient_of_a_level_agrees_with_differences(place: int) -> None:
    rng = np.random.default_rng(place + 10)
    x, step = rng.standard_normal((2, 40)), 1e-6
    found = np.zeros_like(x)
    level = level_adjoint(1.0, x, place, eighths(), found)

    def at(signal: Samples) -> float:
        return level_of(np.pad(signal, ((0, 0), (5, 5))), 0.0)[place + 5]

    assert level == pytest.approx(at(x), rel=1e-12)
    for index in np.ndindex(x.shape):
        up = x.copy()
        up[index] += step
        assert found[index] == pytest.approx((at(up) - at(x)) / step, abs=1e-6)
