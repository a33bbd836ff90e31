"""Convolution against scipy; the stream against the whole; fractional delay against the ideal one."""

import math

import numpy as np
import pytest
import scipy.signal
import torch

from fxstyle.device import room
from fxstyle.dsp.convolve import StreamConvolver, convolve
from fxstyle.dsp.lagrange import lagrange_split, lagrange_taps


def _noise(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize(("length", "taps"), [(1, 1), (1, 50), (300, 1), (300, 77), (300, 900)])
def test_convolve_equals_scipy(length, taps):
    x, ir = _noise(2, 3, length), _noise(2, 3, taps, seed=1)
    truth = scipy.signal.oaconvolve(x, ir, axes=-1)[..., :length]
    y = convolve(torch.from_numpy(x), torch.from_numpy(ir)).numpy()
    np.testing.assert_allclose(y, truth, atol=1e-12 * taps)


def test_convolve_gradients():
    x = torch.from_numpy(_noise(2, 1, 13)).requires_grad_()
    for taps in (5, 20):
        ir = torch.from_numpy(_noise(2, 1, taps)).requires_grad_()
        assert torch.autograd.gradcheck(convolve, (x, ir))


@pytest.mark.parametrize("function", [convolve, room.convolve])
def test_what_lies_beyond_the_sound_is_never_heard(function):
    """Not even of what a transform would spread over everything."""
    x, ir = _noise(1, 2, 300), _noise(1, 2, 700, seed=1)
    ir[..., 300:] = np.nan
    given, response = torch.from_numpy(x).requires_grad_(), torch.from_numpy(ir).requires_grad_()
    y = function(given, response)
    truth = scipy.signal.oaconvolve(x, ir[..., :300], axes=-1)[..., :300]
    np.testing.assert_allclose(y.detach().numpy(), truth, atol=1e-11)
    y.square().sum().backward()
    assert given.grad.isfinite().all()
    assert response.grad[..., :300].all()
    assert not response.grad[..., 300:].any()


def test_convolve_of_nothing_is_nothing():
    assert convolve(torch.zeros(1, 2, 0), torch.ones(1, 2, 5)).shape == (1, 2, 0)


def _stream(convolver, x, block):
    x = np.concatenate([x, np.zeros((x.shape[0], convolver.latency), x.dtype)], axis=1)
    blocks, state = [], None
    for i in range(0, x.shape[1], block):
        y, state = convolver.process(x[:, i : i + block], state)
        blocks.append(y)
    return np.concatenate(blocks, axis=1)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("taps", [1, 63, 64, 65, 1000])
def test_stream_equals_scipy(channels, taps):
    x, ir = _noise(channels, 3001), _noise(min(channels, 2), taps, seed=1)
    truth = scipy.signal.oaconvolve(x, ir[np.arange(channels) % 2], axes=-1)[:, :3001] + 0.5 * x
    y = _stream(StreamConvolver(ir, channels, 256, dry=0.5), x, 500)
    np.testing.assert_array_equal(y[:, :256], 0.0)
    np.testing.assert_allclose(y[:, 256:], truth, atol=1e-12 * taps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_stream_is_the_same_to_the_bit_for_any_block_size(dtype, channels):
    x, ir = _noise(channels, 2000, dtype=dtype), _noise(channels, 700, seed=1, dtype=dtype)
    whole = _stream(StreamConvolver(ir, channels, 256), x, 10_000)
    assert whole.dtype == dtype
    for block in (1, 7, 64, 1000):
        np.testing.assert_array_equal(_stream(StreamConvolver(ir, channels, 256), x, block), whole)


def test_stream_in_single_precision_is_exact_to_120_db():
    x, ir = _noise(2, 20_000, dtype=np.float32), _noise(2, 5000, seed=1, dtype=np.float32)
    truth = scipy.signal.oaconvolve(x.astype(np.float64), ir.astype(np.float64), axes=-1)[:, :20_000]
    y = _stream(StreamConvolver(ir, 2, 1024), x, 4096)[:, 1024:]
    assert np.abs(y - truth).max() < 1e-6 * np.abs(truth).max()


def test_stream_refuses_a_latency_it_cannot_split():
    with pytest.raises(ValueError, match="latency 100 is not a power of two"):
        StreamConvolver(np.ones((1, 4)), 1, 100)


@pytest.mark.parametrize(("divisor", "error_db"), [(40, -96), (20, -72), (10, -49), (5, -25)])
def test_cubic_interpolation_is_as_exact_as_stated(divisor, error_db):
    angle = 2 * math.pi / divisor
    for delay in np.linspace(1.0, 9.0, 161):
        whole = lagrange_split(delay)
        taps = lagrange_taps(torch.tensor(delay - whole, dtype=torch.float64)).numpy()
        response = (taps * np.exp(-1j * angle * (whole + np.arange(4)))).sum()
        assert abs(response - np.exp(-1j * angle * delay)) < 10 ** (error_db / 20)
        assert abs(response) <= 1.0 + 1e-12


def test_whole_delays_are_exact_and_short_ones_do_not_look_ahead():
    for delay in (0.0, 1.0, 2.0, 7.0):
        whole = lagrange_split(delay)
        taps = lagrange_taps(torch.tensor(delay - whole, dtype=torch.float64)).numpy()
        assert whole >= 0
        np.testing.assert_array_equal(taps, np.arange(4) == delay - whole)
