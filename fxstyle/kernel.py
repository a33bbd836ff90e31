"""What kernels written for numba share: zeros instead of denormals, and their place in torch's autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numba import njit
from torch.autograd.function import once_differentiable

TINY_IN_LOOP = 1e-20
"""Values in a loop below -400 dB become zero, long before they turn into slow denormal numbers."""


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def flush(value: float) -> float:
    """Return `value`, or zero in the place of less than TINY_IN_LOOP."""
    return 0.0 if abs(value) < TINY_IN_LOOP else value


class _PerRow(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        settings: torch.Tensor,
        constant: Any,
        run: Callable[..., None],
        adjoint: Callable[..., None],
    ) -> torch.Tensor:
        samples, p = x.detach().contiguous(), settings.detach().contiguous()
        y = torch.empty_like(samples)
        run(samples.numpy(), p.numpy(), constant, y.numpy())
        ctx.save_for_backward(samples, p)
        ctx.constant, ctx.adjoint = constant, adjoint
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None, None]:
        x, p = ctx.saved_tensors
        dx, dp = torch.empty_like(x), torch.zeros_like(p)
        ctx.adjoint(dy.contiguous().numpy(), x.numpy(), p.numpy(), ctx.constant, dx.numpy(), dp.numpy())
        return dx, dp, None, None, None


def per_row(
    x: torch.Tensor,
    settings: torch.Tensor,
    constant: float,
    run: Callable[..., None],
    adjoint: Callable[..., None],
) -> torch.Tensor:
    """Apply a kernel in which each row of a batch has its own settings, differentiably.

    Parameters
    ----------
    x: (batch, channel, time). settings: (batch, knob) in float64. constant: the same for all rows.
    run: run(x, settings, constant, y) fills y.
    adjoint: adjoint(dy, x, settings, constant, dx, dsettings) fills dx and adds to dsettings.
    """
    return _PerRow.apply(x, settings, constant, run, adjoint)  # type: ignore[no-any-return, no-untyped-call]
