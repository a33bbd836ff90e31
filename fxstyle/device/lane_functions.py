"""One thread per lane: the same function compiled by numba for the GPU or for the CPU.

A lane function is `body(lane, arguments)`: it fills arrays of the tuple `arguments` in the row `lane`, uses
only what numba compiles for both targets (scalars, indexing, math), and no array of its own. Arguments are
float64 or integer tensors on one device, contiguous, or numbers; tensors reach the kernel without a copy
(`__cuda_array_interface__`), on torch's current stream.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from numba import njit, prange

Body = Callable[[int, Any], None]


@cache
def _cuda_works() -> bool:
    """Whether numba finds a driver and a compiler for it; says once how to get them if not."""
    try:
        from numba import cuda

        works = bool(cuda.is_available())  # type: ignore[no-untyped-call]
    except ImportError:
        works = False
    if not works:
        warnings.warn(
            "numba cannot compile for this GPU, so recursions run on the CPU; install fxstyle[cuda]"
            " (numba-cuda with the compiler of CUDA 13; for CUDA 12: numba-cuda[cu12])",
            RuntimeWarning,
            stacklevel=3,
        )
    return works


def usable(device: torch.device) -> bool:
    """Whether lane functions run on tensors of this device."""
    return device.type == "cpu" or (device.type == "cuda" and torch.version.hip is None and _cuda_works())


def away(x: torch.Tensor) -> bool:
    """Whether x lies elsewhere than on the CPU, and lane functions run there."""
    return x.device.type != "cpu" and usable(x.device)


@cache
def kernel_on_cpu(body: Body) -> Any:
    """Return the compiled loop kernel(lanes, arguments)."""
    inner = njit(nogil=True, error_model="numpy")(body)

    def kernel(lanes: int, arguments: Any) -> None:
        for lane in prange(lanes):
            inner(lane, arguments)

    return njit(nogil=True, error_model="numpy", parallel=True)(kernel)


def run(body: Body, lanes: int, *arguments: torch.Tensor | float) -> None:
    """Run `body` for lane 0 .. lanes - 1; the last arguments are usually the arrays it fills."""
    tensors = [value for value in arguments if isinstance(value, torch.Tensor)]
    assert all(value.is_contiguous() for value in tensors), "a kernel reads by rows"
    assert len({value.device for value in tensors}) == 1, "a kernel runs on one device"
    if lanes == 0 or any(value.numel() == 0 for value in tensors):
        return
    device = tensors[0].device
    if device.type == "cpu":
        kernel_on_cpu(body)(lanes, tuple(_array(value) for value in arguments))
    else:
        # Here, because importing numba's side of CUDA is for those who have a GPU.
        from fxstyle.device import on_cuda

        on_cuda.run(body, lanes, device, arguments)


def _array(value: torch.Tensor | float) -> Any:
    return value.detach().numpy() if isinstance(value, torch.Tensor) else value
