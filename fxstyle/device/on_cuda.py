"""Lane functions as kernels of numba.cuda.

A recursion in time is as long as the sound, whatever the number of lanes; so lanes are spread thinly,
over all multiprocessors first, which also keeps their scattered reads out of each other's way.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from numba import cuda

from fxstyle.device.lane_functions import Body

MOST_THREADS = 32
"""Threads of a block: one warp, beyond which lanes would wait for each other."""


@cache
def kernel(body: Body) -> Any:
    """Return the kernel kernel[grid, block, stream](lanes, arguments)."""
    inner = cuda.jit(device=True)(body)  # type: ignore[no-untyped-call]

    def each_lane(lanes: int, arguments: Any) -> None:
        lane = cuda.grid(1)  # type: ignore[attr-defined]
        if lane < lanes:
            inner(lane, arguments)

    return cuda.jit(each_lane)  # type: ignore[no-untyped-call]


@cache
def _no_warning_of_small_grids() -> None:
    """Keep numba from warning of them: a small batch is a small grid, about which nothing is to be done."""
    # numba and numba-cuda each have a config of their own, numba's simulator has none.
    from numba.cuda import dispatcher

    dispatcher.config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # type: ignore[attr-defined]


def run(body: Body, lanes: int, device: torch.device, arguments: Any) -> None:
    """Run `body` for all lanes on torch's current stream of the device, as `threads.run` asks for it."""
    _no_warning_of_small_grids()
    # numba takes over the context that torch has made current.
    with torch.cuda.device(device):
        processors = torch.cuda.get_device_properties(device).multi_processor_count
        threads = min(max(lanes // processors, 1), MOST_THREADS)
        stream = cuda.external_stream(torch.cuda.current_stream(device).cuda_stream)
        given = tuple(
            cuda.as_cuda_array(value.detach())  # type: ignore[no-untyped-call]
            if isinstance(value, torch.Tensor)
            else value
            for value in arguments
        )
        kernel(body)[-(-lanes // threads), threads, stream](lanes, given)
