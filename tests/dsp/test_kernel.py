"""Kernels in torch's autograd, row by row and channel by channel, with plain functions in their place."""

import numpy as np
import pytest
import torch

from fxstyle.dsp.kernel import each_channel, each_row


def _line(x, p, c, y):
    y[...] = p[..., :1] * x + p[..., 1:] * c


def _line_adjoint(dy, x, p, c, dx, dp):
    dx[...] = p[0] * dy
    dp[0] += (dy * x).sum()
    dp[1] += (dy * c).sum()


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def _random(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(len(shape)))


def test_each_row_has_its_own_settings_and_constant(threads):
    x, p, c = _random(5, 2, 7).requires_grad_(), _random(5, 2).requires_grad_(), np.arange(5.0)

    def run(x, p):
        return each_row(x, p, c, _line, _line_adjoint)

    truth = p[:, :1, None] * x + p[:, 1:, None] * torch.from_numpy(c)[:, None, None]
    torch.testing.assert_close(run(x, p), truth)
    assert torch.autograd.gradcheck(run, (x, p))


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize(("batch", "channels"), [(1, 1), (3, 1), (2, 2), (3, 3)])
def test_each_channel_has_its_own_settings_and_constant(threads, pairs, batch, channels):
    x, p = _random(batch, channels, 7).requires_grad_(), _random(batch, channels, 2).requires_grad_()
    c = np.arange(batch * channels * 7.0).reshape(batch, channels, 7)
    heights = []

    def noted(x, *rest):
        heights.append(x.shape[:-1])
        _line(x, *rest)

    def run(x, p):
        return each_channel(x, p, c, noted, _line_adjoint, pairs=pairs)

    torch.testing.assert_close(run(x, p), p[..., :1] * x + p[..., 1:] * torch.from_numpy(c))
    lanes = batch * channels
    wanted = [(2,)] * (lanes // 2) + [(1,)] * (lanes % 2) if pairs else [()] * lanes
    assert sorted(heights) == sorted(wanted)
    assert torch.autograd.gradcheck(run, (x, p))


def test_without_constants_none_are_handed_on(threads):
    x, p = _random(2, 2, 4), _random(2, 2, 2)

    def scaled(x, p, y):
        y[...] = p[0] * x

    torch.testing.assert_close(each_channel(x, p, None, scaled, scaled), p[..., :1] * x)


def test_what_fails_on_a_thread_fails_here(threads):
    def broken(*_):
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        each_row(_random(4, 1, 3), _random(4, 2), np.arange(4.0), broken, broken)
