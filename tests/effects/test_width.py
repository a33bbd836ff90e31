"""Width and balance in closed form."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fxstyle.effects.width import EFFECT


def _render(x, **settings):
    return EFFECT.render(x, 44100.0, None, **{**EFFECT.defaults(), **settings})[0]


@pytest.fixture
def stereo():
    return np.random.default_rng(0).standard_normal((2, 1000))


def test_defaults_are_the_identity(stereo):
    np.testing.assert_array_equal(_render(stereo), stereo)


@pytest.mark.parametrize("width", [0.0, 0.3, 1.0, 2.0])
def test_side_is_scaled_and_mid_is_kept(stereo, width):
    y = _render(stereo, width=width)
    np.testing.assert_allclose(y[0] + y[1], stereo[0] + stereo[1], atol=1e-14)
    np.testing.assert_allclose(y[0] - y[1], width * (stereo[0] - stereo[1]), atol=1e-14)


@pytest.mark.parametrize("balance_db", [-12.0, -1.0, 5.0, 12.0])
def test_balance_sets_the_ratio_and_keeps_the_power(balance_db):
    tone = np.sin(np.arange(1000) / 7.0)
    left, right = _render(np.stack([tone, tone]), balance_db=balance_db)
    ratio_db = 10 * np.log10((right**2).sum() / (left**2).sum())
    assert ratio_db == pytest.approx(balance_db, abs=1e-9)
    assert (left**2 + right**2).sum() == pytest.approx(2 * (tone**2).sum())


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_other_than_two_channels_pass_unchanged(channels):
    x = np.random.default_rng(1).standard_normal((channels, 50))
    y = _render(x, width=0.0, balance_db=12.0)
    np.testing.assert_array_equal(y, x)
    assert not np.shares_memory(x, y)
    batch = torch.from_numpy(x)[None]
    z = EFFECT.forward(batch, 44100.0, width=torch.zeros(1), balance_db=torch.full((1,), 12.0))
    assert torch.equal(z, batch)


def _measured(side_db):
    return SimpleNamespace(mid_db=np.full(5, -20.0), side_db=np.full(5, side_db))


@pytest.mark.parametrize(
    ("source_db", "reference_db", "width"),
    [
        (-30.0, -36.0, 10 ** (-6 / 20)),
        (-30.0, -27.0, 10 ** (3 / 20)),
        (-30.0, -10.0, 2.0),
        (-120.0, -30.0, 1.0),
    ],
)
def test_start_matches_the_ratio_of_side_to_mid(source_db, reference_db, width):
    guess = EFFECT.start(_measured(source_db), _measured(reference_db))
    assert guess["width"] == pytest.approx(width)
