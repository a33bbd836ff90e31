"""Batches larger than memory likes: rows in groups, and the backward pass runs each group once more.

What a function of one group makes on its way is freed before the next begins; kept are the arguments alone.
A batch that takes little is left to autograd, which keeps everything and runs nothing twice. How much a row
takes is what autograd keeps (by torch.autograd.graph.saved_tensors_hooks), and half as much for gradients.
(`torch.utils.checkpoint` does as much for one group, but imports the compiler first: 2 s.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.autograd.function import once_differentiable

WORK, LITTLE = 1 / 8, 1 / 64
"""Shares of the device's memory: most that is worked on at a time, and most that one effect may keep."""

_ON_OTHERS = 8 << 30
"""Bytes that a device is taken to have if it is not asked."""


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return _ON_OTHERS


class _Grouped(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, function: Callable[..., torch.Tensor], size: int, *rows: torch.Tensor
    ) -> torch.Tensor:
        ctx.function, ctx.size = function, size
        ctx.save_for_backward(*rows)
        return torch.cat([function(*part) for part in _parts(size, rows)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        wanted = [i for i, needs in enumerate(ctx.needs_input_grad[2:]) if needs]
        grads: list[tuple[torch.Tensor, ...]] = []
        for *part, dy_part in _parts(ctx.size, (*ctx.saved_tensors, dy)):
            given = [value.detach().requires_grad_(i in wanted) for i, value in enumerate(part)]
            with torch.enable_grad():
                y = ctx.function(*given)
            grads.append(
                torch.autograd.grad(
                    y, [given[i] for i in wanted], dy_part, allow_unused=True, materialize_grads=True
                )
            )
        whole = dict(zip(wanted, map(torch.cat, zip(*grads, strict=True)), strict=True))
        return None, None, *(whole.get(i) for i in range(len(ctx.saved_tensors)))


def _parts(size: int, values: tuple[torch.Tensor, ...]) -> Iterator[tuple[torch.Tensor, ...]]:
    return zip(*(torch.split(value, size) for value in values), strict=True)


def in_groups(
    function: Callable[..., torch.Tensor], bytes_per_row: float, *rows: torch.Tensor
) -> torch.Tensor:
    """Return function(*rows), differentiably, for rows in groups that fit into the device's memory.

    Parameters
    ----------
    function: of tensors whose first dimension is the batch; so is that of its result. What else it uses
        gets no gradient.
    bytes_per_row: of what it makes on its way, the gradient's included.
    """
    memory = _memory(rows[0].device)
    if rows[0].shape[0] * bytes_per_row <= LITTLE * memory:
        return function(*rows)
    size = max(int(WORK * memory / bytes_per_row), 1)
    return _Grouped.apply(function, size, *rows)  # type: ignore[no-any-return, no-untyped-call]
