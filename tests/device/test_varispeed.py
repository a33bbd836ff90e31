"""Swaying speed elsewhere: against a sine in closed form, the CPU's kernel, a bare sum and differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from fxstyle.device import groups, varispeed
from fxstyle.dsp import varispeed as on_cpu
from fxstyle.dsp.varispeed import BEFORE, TAPS

ROWS = 3

Send = Callable[[torch.Tensor], torch.Tensor]


def settings(rng: np.random.Generator) -> torch.Tensor:
    """Return sways by up to 60 samples, and at up to 5 % off the speed."""
    f = rng.uniform(1e-5, 1e-4, (ROWS, 2))
    a = np.minimum(0.025 / (2.0 * np.pi * f), 30.0) * rng.uniform(-1.0, 1.0, (ROWS, 2))
    return torch.from_numpy(np.stack([a, f], axis=2).reshape(ROWS, 4))


def test_a_sine_is_read_where_it_is() -> None:
    length, first, f = 4000, -137, 0.2
    p = settings(np.random.default_rng(0))
    n = first + np.arange(length)
    x = torch.from_numpy(np.sin(2.0 * np.pi * f * n)).expand(ROWS, 2, -1)
    found = varispeed.sway(x, p, first).numpy()
    a1, f1, a2, f2 = p.numpy().T[..., None]
    q = a1 * np.sin(2.0 * np.pi * f1 * n) + a2 * np.sin(2.0 * np.pi * f2 * n)
    wanted = np.sin(2.0 * np.pi * f * (n + q))
    assert np.abs(q).max() > 5.0
    inside = slice(80, -80)
    # The interpolation's own error, up to .37 of the rate, stated in dsp.varispeed.
    assert np.abs(found - wanted[:, None])[..., inside].max() < 10.0 ** (-58.0 / 20.0)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("length", [1, 15, 3000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_away_as_on_the_cpu(send: Send, channels: int, length: int, dtype: torch.dtype) -> None:
    rng = np.random.default_rng(length)
    p = settings(rng).requires_grad_()
    x = torch.from_numpy(rng.standard_normal((ROWS, channels, length))).to(dtype).requires_grad_()
    g = torch.from_numpy(rng.standard_normal(x.shape)).to(dtype)
    there = send(x)
    y, z = on_cpu.sway(x, p, 5000), varispeed.sway(there, p, 5000)
    assert z.device == there.device
    assert z.dtype == dtype
    # The CPU's sums of sixteen products and t, which goes up to 1, are rounded to the sound's precision.
    error = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(z.cpu(), y, rtol=0.0, atol=error)
    wanted = torch.autograd.grad(y, (x, p), g)
    found = torch.autograd.grad(z, (there, p), send(g))
    torch.testing.assert_close(found[0].cpu(), wanted[0], rtol=0.0, atol=error)
    # Sums over all samples and channels, in f times a time of thousands of samples.
    scale = wanted[1].abs().amax(dim=0)
    assert bool(((found[1] - wanted[1]).abs() <= 10.0 * error * scale).all())


@pytest.mark.parametrize("speed", [0.02, 0.5, 0.99])
def test_the_adjoint_is_the_transpose(speed: float) -> None:
    # Read slowly many samples come from one place, read fast some come from none.
    rng = np.random.default_rng(7)
    length = 400
    f = rng.uniform(0.01, 0.05, (2, 1))
    phase = rng.uniform(0.0, 6.0, (2, 1))
    q = speed / (2.0 * np.pi * f) * np.sin(2.0 * np.pi * f * np.arange(length) + phase)
    swing = torch.from_numpy(q)
    x = torch.from_numpy(rng.standard_normal((4, length))).requires_grad_()
    g = torch.from_numpy(rng.standard_normal((4, length)))
    y = varispeed.read(x, swing)
    (dx,) = torch.autograd.grad(y, [x], g)

    powers = (q - np.floor(q))[..., None] ** np.arange(on_cpu.DEGREE + 1)
    weights = powers @ on_cpu._weights()
    matrix = np.zeros((2, length, length))
    for row in range(2):
        for n in range(length):
            for i in range(TAPS):
                at = n + int(np.floor(q[row, n])) + i - BEFORE
                if 0 <= at < length:
                    matrix[row, n, at] = weights[row, n, i]
    each = matrix.repeat(2, axis=0)
    given, back = x.detach().numpy(), g.numpy()
    np.testing.assert_allclose(y.detach().numpy(), np.einsum("lnm,lm->ln", each, given), atol=1e-12)
    np.testing.assert_allclose(dx.numpy(), np.einsum("lnm,ln->lm", each, back), atol=1e-12)


def test_gradients_agree_with_differences() -> None:
    rng = np.random.default_rng(2)
    x = torch.from_numpy(rng.standard_normal((2, 2, 40))).requires_grad_()
    a, f = rng.uniform(1.0, 3.0, (2, 2)), rng.uniform(0.005, 0.02, (2, 2))
    p = torch.from_numpy(np.stack([a, f], axis=2).reshape(2, 4)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, p: varispeed.sway(x, p, 9), (x, p))


def test_groups_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    p = settings(rng).requires_grad_()
    x = torch.from_numpy(rng.standard_normal((ROWS, 2, 200))).requires_grad_()

    def all_of_it() -> tuple[torch.Tensor, ...]:
        y = varispeed.sway(x, p, 0)
        return y.detach(), *torch.autograd.grad(y.square().sum(), (x, p))

    together = all_of_it()
    monkeypatch.setattr(groups, "_memory", lambda device: 1)
    monkeypatch.setattr(groups, "LITTLE", 0.0)
    for one, other in zip(together, all_of_it(), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-12, atol=1e-12)
