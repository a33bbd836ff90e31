"""Truths of the second-order cascade: scipy's sosfilt, finite differences, and the transpose."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import butter
from scipy.signal import sosfilt as scipy_sosfilt

from fxstyle.effect import Samples
from fxstyle.recurrence import BLOCK, TINY, sosfilt, sosfilt_block


def cascade(sections: int) -> Samples:
    """Return (sections, 6): slow and fast poles, none at rest."""
    return butter(2 * sections, (0.01, 0.4), "bandpass", output="sos")[:sections]


@pytest.mark.parametrize("sections", [1, 2, 3, 10])
@pytest.mark.parametrize("length", [1, 2, BLOCK - 1, BLOCK, 3 * BLOCK + 5])
def test_agrees_with_scipy(sections: int, length: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, length))
    sos = np.stack([cascade(sections), butter(2 * sections, 0.3, output="sos")])
    y = sosfilt(torch.from_numpy(x), torch.from_numpy(sos)).numpy()
    for row in range(2):
        truth = scipy_sosfilt(sos[row], x[row])
        np.testing.assert_allclose(y[row], truth, atol=1e-9 * max(1e-3, np.abs(truth).max()))


def test_float32_is_rounded_once() -> None:
    # The recursion runs in float64, so the only float32 error is that of the output itself.
    x = np.random.default_rng(1).standard_normal((1, 2, 5000)).astype(np.float32)
    sos = cascade(4)
    y = sosfilt(torch.from_numpy(x), torch.from_numpy(sos)[None]).numpy()[0]
    truth = scipy_sosfilt(sos, x[0].astype(np.float64))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, truth, rtol=2.0**-23, atol=1e-9)


@pytest.mark.parametrize("sections", [1, 2, 5])
def test_gradient_agrees_with_differences(sections: int) -> None:
    rng = np.random.default_rng(2)
    x = torch.from_numpy(rng.standard_normal((2, 2, 9))).requires_grad_()
    free = torch.from_numpy(np.stack([cascade(sections), 0.9 * cascade(sections)])[:, :, [0, 1, 2, 4, 5]])
    free = free.clone().requires_grad_()

    def run(signal: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return sosfilt(signal, torch.cat((c[..., :3], torch.ones_like(c[..., :1]), c[..., 3:]), dim=-1))

    assert torch.autograd.gradcheck(run, (x, free), atol=1e-8, rtol=1e-6)


def test_adjoint_is_the_transpose_across_blocks() -> None:
    # <H x, g> = <x, H' g> for signals longer than the blocks of the backward pass
    rng = np.random.default_rng(3)
    x = torch.from_numpy(rng.standard_normal((1, 2, 3 * BLOCK + 100))).requires_grad_()
    g = torch.from_numpy(rng.standard_normal(x.shape))
    y = sosfilt(x, torch.from_numpy(cascade(5))[None])
    (dx,) = torch.autograd.grad(y, x, g)
    assert (y * g).sum().item() == pytest.approx((x * dx).sum().item(), rel=1e-10)


def test_coefficient_gradient_agrees_with_differences_across_blocks() -> None:
    rng = np.random.default_rng(4)
    x = torch.from_numpy(rng.standard_normal((1, 1, 2 * BLOCK + 77)))
    g = torch.from_numpy(rng.standard_normal(x.shape))
    sos = torch.from_numpy(cascade(3))[None].requires_grad_()
    (gradient,) = torch.autograd.grad((sosfilt(x, sos) * g).sum(), sos)
    step = 1e-6
    for section in range(3):
        for k in (0, 1, 2, 4, 5):
            up, down = sos.detach().clone(), sos.detach().clone()
            up[0, section, k] += step
            down[0, section, k] -= step
            slope = ((sosfilt(x, up) - sosfilt(x, down)) * g).sum().item() / (2 * step)
            assert gradient[0, section, k].item() == pytest.approx(slope, rel=1e-5, abs=1e-4)
    assert not gradient[0, :, 3].any()


def test_stream_is_the_batch_to_the_bit() -> None:
    x = np.random.default_rng(5).standard_normal((2, 2000))
    sos = cascade(5)
    whole = sosfilt(torch.from_numpy(x)[None], torch.from_numpy(sos)[None]).numpy()[0]
    state, blocks = None, []
    for begin in range(0, 2000, 333):
        y, state = sosfilt_block(x[:, begin : begin + 333], sos, state)
        blocks.append(y)
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), whole)


def test_identity_sections_leave_no_trace() -> None:
    # A band that is switched to 0 dB between blocks rings out, and switched back goes on from there.
    x = np.random.default_rng(6).standard_normal((1, 900))
    sos = cascade(3)
    off = sos.copy()
    off[1] = (1.0, -1.2, 0.5, 1.0, -1.2, 0.5)
    state, ours = None, []
    for begin, coefficients in ((0, sos), (300, off), (600, sos)):
        y, state = sosfilt_block(x[:, begin : begin + 300], coefficients, state)
        ours.append(y)
    signal = x[0]
    for section in range(3):
        past = np.zeros(4)  # x[n-1], x[n-2], y[n-1], y[n-2]
        out = np.empty_like(signal)
        for n, value in enumerate(signal):
            b0, b1, b2, _, a1, a2 = (off if 300 <= n < 600 else sos)[section]
            out[n] = b0 * value + b1 * past[0] + b2 * past[1] - a1 * past[2] - a2 * past[3]
            past = np.array((value, past[0], out[n], past[2]))
        signal = out
    np.testing.assert_allclose(np.concatenate(ours, axis=1)[0], signal, atol=1e-9)


def test_no_denormals_after_sound_ends() -> None:
    x = np.zeros((1, 200 * BLOCK))
    x[0, 0] = 1.0
    y, state = sosfilt_block(x, cascade(2), None)
    assert y[0, -1] == 0.0
    assert not state.history.any()
    assert np.abs(y[y != 0.0]).min() >= TINY


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"sosfilt needs x \(batch, channel, time\).*got \(2, 8\)"):
        sosfilt(torch.zeros(2, 8), torch.zeros(2, 1, 6))
