"""A signal read at a speed that sways, as in dsp/varispeed.py, away from the CPU: one thread per sample.

    y[n] = sum_{i<TAPS} w_i(t) x[P(n) + i - BEFORE],   P(n) = n + floor(q),   t = q - floor(q)

Nothing here waits for the sample before. The adjoint adds what all y that read a sample send back to it; as
long as the tape runs forwards (deviations of speed below 100 %) P never falls, so they are neighbours:

    x'[m] = sum w_i(t(n)) y'[n],   i = m + BEFORE - P(n),   over the n with 0 <= i < TAPS

of which the first is found by bisection. So each thread writes to places of its own, and no sum depends on
which thread comes first. x, y and what flows back are (lane, time) in float64; P in int64, t and q are
(row, time): the channels of a row share them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from fxstyle.device import lane_functions
from fxstyle.device.groups import in_groups
from fxstyle.device.swept import angle
from fxstyle.dsp.varispeed import BEFORE, TAPS, WEIGHTS

_BYTES = 80
"""Per sample, of what it makes on its way."""


def _read(thread: int, arguments: Any) -> None:
    """Fill one sample of y; w (power, TAPS)."""
    x, place, t, w, y = arguments
    size = x.shape[1]
    lane, n = thread // size, thread % size
    row = lane * t.shape[0] // x.shape[0]
    u, begin, total = t[row, n], place[row, n] - BEFORE, 0.0
    for i in range(TAPS):
        at = begin + i
        if 0 <= at < size:
            line = w[2, i] + u * (w[3, i] + u * (w[4, i] + u * w[5, i]))
            total += (w[0, i] + u * (w[1, i] + u * line)) * x[lane, at]
    y[lane, n] = total


def _read_adjoint(thread: int, arguments: Any) -> None:
    """Fill one sample of dx and of dq (lane, time) from dy; first (row, time): the first n that reads it."""
    dy, x, place, t, w, first, dx, dq = arguments
    size = x.shape[1]
    lane, m = thread // size, thread % size
    row = lane * t.shape[0] // x.shape[0]
    u, begin, total = t[row, m], place[row, m] - BEFORE, 0.0
    for i in range(TAPS):
        at = begin + i
        if 0 <= at < size:
            bend = 3.0 * w[3, i] + u * (4.0 * w[4, i] + u * (5.0 * w[5, i]))
            total += (w[1, i] + u * (2.0 * w[2, i] + u * bend)) * x[lane, at]
    dq[lane, m] = total * dy[lane, m]
    n, total = first[row, m], 0.0
    while n < size and place[row, n] <= m + BEFORE:
        i, u = m + BEFORE - place[row, n], t[row, n]
        # Always, unless the tape ran backwards.
        if i < TAPS:
            line = w[2, i] + u * (w[3, i] + u * (w[4, i] + u * w[5, i]))
            total += (w[0, i] + u * (w[1, i] + u * line)) * dy[lane, n]
        n += 1
    dx[lane, m] = total


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        given, floor = x.detach().contiguous(), q.detach().floor()
        place = torch.arange(q.shape[1], device=q.device) + floor.long()
        t, weights = q.detach() - floor, torch.as_tensor(WEIGHTS, device=x.device)
        y = torch.empty_like(given)
        lane_functions.run(_read, given.numel(), given, place, t, weights, y)
        ctx.save_for_backward(given, place, t, weights)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, place, t, weights = ctx.saved_tensors
        last_tap = torch.arange(x.shape[1], device=x.device) + (BEFORE - TAPS + 1)
        first = torch.searchsorted(place, last_tap.expand(place.shape).contiguous())
        dx, dq = torch.empty_like(x), torch.empty_like(x)
        lane_functions.run(_read_adjoint, x.numel(), dy.contiguous(), x, place, t, weights, first, dx, dq)
        return dx, dq.reshape(t.shape[0], -1, t.shape[1]).sum(dim=1)


def read(x: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Read x (lane, time), zero outside, at n + q[n], differentiably.

    q: (row, time), in samples; n + q[n] never falls. The lanes of a row follow each other.
    """
    return _Read.apply(x, q)  # type: ignore[no-any-return, no-untyped-call]


def _swayed(first: int, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    a_1, f_1, a_2, f_2 = p[..., None].unbind(dim=1)
    length = x.shape[2]
    q = a_1 * angle(f_1, 0.0, length, first).sin() + a_2 * angle(f_2, 0.0, length, first).sin()
    return read(x.flatten(0, 1).double(), q).to(x.dtype).reshape(x.shape)


def sway(x: torch.Tensor, settings: torch.Tensor, first: int) -> torch.Tensor:
    """Do as `dsp.varispeed.sway`: x (batch, channel, time), settings (batch, COLUMNS) on any device."""
    if x.numel() == 0:
        return x.clone()
    bytes_per_row = _BYTES * x.shape[1] * x.shape[2]
    return in_groups(partial(_swayed, first), bytes_per_row, x, settings.to(x.device))
