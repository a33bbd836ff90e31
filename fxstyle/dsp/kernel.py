"""What kernels written for numba share: zeros instead of denormals, and their place in torch's autograd.

A kernel for one row (`each_row`, `each_channel`) runs on threads started here, which numba's kernels free
from the interpreter's lock. It is the very kernel that renders, compiled once for both. numba's own threads
(`prange`) are not used: they would be a second pool beside torch's, and take seconds to compile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy.typing as npt
import torch
from numba import njit
from torch.autograd.function import once_differentiable

from fxstyle.dsp.threads import for_each

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
    constant: Any,
    run: Callable[..., None],
    adjoint: Callable[..., None],
) -> torch.Tensor:
    """Apply a kernel in which each row of a batch has its own settings, differentiably.

    Parameters
    ----------
    x: (batch, channel, time). settings: (batch, knob) in float64. constant: handed on as it is.
    run: run(x, settings, constant, y) fills y.
    adjoint: adjoint(dy, x, settings, constant, dx, dsettings) fills dx and adds to dsettings.
    """
    if x.device.type != "cpu":
        from fxstyle.device.host import via_host

        return via_host(per_row)(x, settings, constant, run, adjoint)
    return _PerRow.apply(x, settings, constant, run, adjoint)  # type: ignore[no-any-return, no-untyped-call]


def _on_threads(one: Callable[..., None], pairs: bool = False) -> Callable[..., None]:
    """Return a function that calls `one` with the first row of each argument, the second, ...

    With pairs, rows 0 and 1 at once, rows 2 and 3, ...; the last may be single.
    """

    def all_rows(*arguments: Any) -> None:
        count = len(arguments[0])
        parts = [slice(i, i + 2) for i in range(0, count, 2)] if pairs else range(count)
        given = [argument for argument in arguments if argument is not None]
        for_each(one, *([argument[part] for part in parts] for argument in given))

    return all_rows


def each_row(
    x: torch.Tensor,
    settings: torch.Tensor,
    constants: Sequence[Any],
    run: Callable[..., None],
    adjoint: Callable[..., None],
) -> torch.Tensor:
    """Do as `per_row` does with functions of one row: x (channel, time), settings (knob,).

    constants: one for each row.
    """
    return per_row(x, settings, constants, _on_threads(run), _on_threads(adjoint))


def each_channel(
    x: torch.Tensor,
    settings: torch.Tensor,
    constants: npt.NDArray[Any] | None,
    run: Callable[..., None],
    adjoint: Callable[..., None],
    *,
    pairs: bool = False,
) -> torch.Tensor:
    """Do as `per_row` does with functions of one channel: x (time,), settings (knob,).

    settings: (batch, channel, knob). constants: (batch, channel, ..), or None, then `run` and `adjoint` do
    not take any. pairs: whether `run`, not `adjoint`, takes two channels at once, maybe of different rows:
    x (2, time), settings (2, knob); the last may be one.
    """
    given = None if constants is None else constants.reshape(-1, *constants.shape[2:])
    all_rows = _on_threads(run, pairs), _on_threads(adjoint)
    return per_row(x.flatten(0, 1), settings.flatten(0, 1), given, *all_rows).reshape(x.shape)
