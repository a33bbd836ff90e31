"""Truths of the gain: the closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fxstyle.effects.gain import EFFECT


@pytest.mark.parametrize(("gain_db", "factor"), [(0.0, 1.0), (20.0, 10.0), (-40.0, 0.01), (6.0206, 2.0)])
def test_scales_by_the_amplitude_ratio(gain_db: float, factor: float) -> None:
    x = np.random.default_rng(0).standard_normal((2, 100))
    y, _ = EFFECT.render(x, 44100.0, None, gain_db=gain_db)
    np.testing.assert_allclose(y, factor * x, rtol=1e-5)


def test_zero_db_is_the_identity_to_the_bit() -> None:
    x = np.random.default_rng(0).standard_normal((2, 100)).astype(np.float32)
    y, _ = EFFECT.render(x, 44100.0, None, gain_db=0.0)
    np.testing.assert_array_equal(y, x)


def test_gradient_is_the_closed_form() -> None:
    # d(10^(g/20))/dg = ln(10)/20 10^(g/20)
    gain_db = torch.tensor([6.0], dtype=torch.float64, requires_grad=True)
    EFFECT.forward(torch.ones(1, 1, 1, dtype=torch.float64), 44100.0, gain_db=gain_db).sum().backward()
    assert gain_db.grad is not None
    assert gain_db.grad.item() == pytest.approx(np.log(10.0) / 20.0 * 10.0 ** (6.0 / 20.0), rel=1e-12)
