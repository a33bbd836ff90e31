"""Truths of the gain: closed forms, and pedalboard."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fxstyle.effect import Samples
from fxstyle.effects.gain import EFFECT


def _render(x: Samples, **changed: float) -> Samples:
    return EFFECT.render(x, 44100.0, None, **{**EFFECT.defaults(), **changed})[0]


@pytest.mark.parametrize(("gain_db", "factor"), [(0.0, 1.0), (20.0, 10.0), (-40.0, 0.01), (6.0206, 2.0)])
def test_scales_by_the_amplitude_ratio(gain_db: float, factor: float) -> None:
    x = np.random.default_rng(0).standard_normal((2, 100))
    y = _render(x, gain_db=gain_db)
    np.testing.assert_allclose(y, factor * x, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_the_defaults_are_the_identity_to_the_bit(dtype: type, channels: int) -> None:
    x = np.random.default_rng(0).standard_normal((channels, 100)).astype(dtype)
    np.testing.assert_array_equal(_render(x), x)


@pytest.mark.parametrize("pan", [-1.0, -0.7, -0.01, 0.0, 0.3, 1.0])
def test_pan_has_constant_power_by_sine_and_cosine(pan: float) -> None:
    left, right = _render(np.ones((2, 1)), pan=pan)[:, 0]
    assert left**2 + right**2 == pytest.approx(2.0, rel=1e-14)
    assert math.atan2(right, left) == pytest.approx((1.0 + pan) * math.pi / 4.0, abs=1e-15)


def test_pan_at_its_ends_and_in_the_middle() -> None:
    # The other side falls silent, and the side panned to gains 3 dB: to the bit, and from either precision.
    for dtype in (np.float32, np.float64):
        x = np.ones((2, 1), dtype)
        assert _render(x, pan=-1.0)[1, 0] == 0.0
        assert _render(x, pan=1.0)[0, 0] == 0.0
        assert _render(x, pan=1.0)[1, 0] == pytest.approx(math.sqrt(2.0), rel=1e-7)
        np.testing.assert_array_equal(_render(x, pan=0.0), x)


def test_nothing_moves_over_to_the_other_channel() -> None:
    x = np.random.default_rng(0).standard_normal((2, 100))
    x[0] = 0.0
    y = _render(x, pan=-0.5)
    assert not y[0].any()
    np.testing.assert_allclose(y[1], math.sqrt(2.0) * math.sin(math.pi / 8.0) * x[1], rtol=1e-14)


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_only_a_pair_of_channels_is_panned(channels: int) -> None:
    x = np.random.default_rng(0).standard_normal((channels, 100))
    np.testing.assert_array_equal(_render(x, pan=0.8), x)


def test_invert_turns_the_polarity_over() -> None:
    x = np.random.default_rng(0).standard_normal((3, 100))
    on = EFFECT.param("invert").check("on")
    np.testing.assert_array_equal(_render(x, invert=on), -x)
    np.testing.assert_array_equal(_render(x, invert=on, gain_db=3.0), -_render(x, gain_db=3.0))


@pytest.mark.parametrize("gain_db", [-40.0, -4.5, 12.3, 40.0])
def test_pedalboard_has_the_same_law(gain_db: float) -> None:
    pedalboard = pytest.importorskip("pedalboard")
    x = np.random.default_rng(0).standard_normal((2, 5000)).astype(np.float32)
    truth = pedalboard.Gain(gain_db)(x, 44100.0)
    error = np.mean((_render(x, gain_db=gain_db) - truth) ** 2) / np.mean(truth**2)
    assert error < 10.0**-13.5  # float32
    np.testing.assert_array_equal(_render(x, invert=1.0), pedalboard.Invert()(x, 44100.0))


def test_gradient_is_the_closed_form() -> None:
    # d(10^(g/20))/dg = ln(10)/20 10^(g/20)
    # d(sqrt 2 sin(pi/4 (1 -+ p)))/dp = -+ pi/4 sqrt 2 cos(pi/4 (1 -+ p)), at the end of the range as well
    knobs = {
        k: torch.tensor([v], dtype=torch.float64, requires_grad=k != "invert")
        for k, v in (("gain_db", 6.0), ("pan", 1.0), ("invert", 1.0))
    }
    y = EFFECT.forward(torch.ones(1, 2, 1, dtype=torch.float64), 44100.0, **knobs)
    y.sum().backward()
    factor = -(10.0 ** (6.0 / 20.0))
    gain_grad, pan_grad = knobs["gain_db"].grad, knobs["pan"].grad
    assert gain_grad is not None
    assert gain_grad.item() == pytest.approx(np.log(10.0) / 20.0 * factor * math.sqrt(2.0), rel=1e-12)
    assert pan_grad is not None
    assert pan_grad.item() == pytest.approx(-math.pi / 4.0 * math.sqrt(2.0) * factor, rel=1e-12)
