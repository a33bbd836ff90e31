"""Loops of swept effects: lane functions for `fxstyle.device.lane_functions`, and their adjoints.

A swept delay line (effects/chorus.py) and six swept all-passes (effects/phaser.py), each fed back:

    w[n] = x[n] + r v[n-1],   v[n] = sum_{j<4} c_j(t) w[n-d-j],   d + 1 + t = delay[n], 0 <= t < 1
    u_0[n] = x[n] + r v[n-1],   u_k = c u_{k-1} + (1 - c) s_k,   s_k[n+1] = (1 + c) u_{k-1} - c s_k,   v = u_6

Equations of c_j and of the adjoints are in those modules. All arrays are (lane, time) in float64.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from fxstyle.device import lane_functions

BLOCK = 64
"""Samples between the states that the all-passes keep."""

_STAGES = 6

TAPS = 4


def _line(lane: int, arguments: Any) -> None:
    """Fill w (lane, reach + time), whose beginning is zero, and v."""
    x, delay, r, w, v = arguments
    reach, feedback, last = w.shape[1] - x.shape[1], r[lane], 0.0
    for n in range(x.shape[1]):
        w[lane, reach + n] = x[lane, n] + feedback * last
        here = delay[lane, n]
        whole = int(here)
        t = here - whole
        k = reach + n - whole
        last = (0.5 * t * (t * (2.0 - t) - 1.0)) * w[lane, k + 1]
        last += (1.0 + 0.5 * t * t * (3.0 * t - 5.0)) * w[lane, k]
        last += (0.5 * t * (1.0 + t * (4.0 - 3.0 * t))) * w[lane, k - 1]
        last += (0.5 * t * t * (t - 1.0)) * w[lane, k - 2]
        v[lane, n] = last


def _line_adjoint(lane: int, arguments: Any) -> None:
    """Fill dw (lane, reach + time + 1), zero at first, and ddelay from dv."""
    dv, delay, r, w, dw, ddelay = arguments
    reach, feedback = w.shape[1] - dv.shape[1], r[lane]
    for n in range(dv.shape[1] - 1, -1, -1):
        here = delay[lane, n]
        whole = int(here)
        t = here - whole
        k = reach + n - whole
        total = dv[lane, n] + feedback * dw[lane, reach + n + 1]
        dw[lane, k + 1] += total * (0.5 * t * (t * (2.0 - t) - 1.0))
        dw[lane, k] += total * (1.0 + 0.5 * t * t * (3.0 * t - 5.0))
        dw[lane, k - 1] += total * (0.5 * t * (1.0 + t * (4.0 - 3.0 * t)))
        dw[lane, k - 2] += total * (0.5 * t * t * (t - 1.0))
        f0, f1, f2, f3 = w[lane, k + 1], w[lane, k], w[lane, k - 1], w[lane, k - 2]
        bend = 2.0 * f0 - 5.0 * f1 + 4.0 * f2 - f3 + 1.5 * t * (3.0 * (f1 - f2) + f3 - f0)
        ddelay[lane, n] = total * (0.5 * (f2 - f0) + t * bend)


class _SweptLine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, delay: torch.Tensor, r: torch.Tensor, reach: int) -> torch.Tensor:
        given, delays, feedback = (value.detach().contiguous() for value in (x, delay, r))
        w, v = given.new_zeros(given.shape[0], reach + given.shape[1]), torch.empty_like(given)
        lane_functions.run(_line, given.shape[0], given, delays, feedback, w, v)
        ctx.save_for_backward(delays, feedback, w, v)
        return v

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        delay, r, w, v = ctx.saved_tensors
        dw, ddelay = w.new_zeros(w.shape[0], w.shape[1] + 1), torch.empty_like(v)
        lane_functions.run(_line_adjoint, v.shape[0], dv.contiguous(), delay, r, w, dw, ddelay)
        dx = dw[:, w.shape[1] - v.shape[1] : -1]
        return dx, ddelay, (dx[:, 1:] * v[:, :-1]).sum(dim=1), None


def swept_line(x: torch.Tensor, delay: torch.Tensor, r: torch.Tensor, reach: int) -> torch.Tensor:
    """Return v (lane, time) of x and the delay in samples (lane, time), at least 1, r (lane,) fed back.

    reach: samples that the line is read back at most, at least the longest delay + TAPS.
    """
    return _SweptLine.apply(x, delay, r, reach)  # type: ignore[no-any-return, no-untyped-call]


def _allpasses(lane: int, arguments: Any) -> None:
    """Fill v, and marks (lane, block, 7) with s_1 .. s_6 and v before every BLOCK samples."""
    x, c, r, v, marks = arguments
    feedback, last = r[lane], 0.0
    s1, s2, s3, s4, s5, s6 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for n in range(x.shape[1]):
        if n % BLOCK == 0:
            block = n // BLOCK
            marks[lane, block, 0], marks[lane, block, 1], marks[lane, block, 2] = s1, s2, s3
            marks[lane, block, 3], marks[lane, block, 4], marks[lane, block, 5] = s4, s5, s6
            marks[lane, block, 6] = last
        a = c[lane, n]
        u0 = x[lane, n] + feedback * last
        u1, s1 = a * u0 + (1.0 - a) * s1, (1.0 + a) * u0 - a * s1
        u2, s2 = a * u1 + (1.0 - a) * s2, (1.0 + a) * u1 - a * s2
        u3, s3 = a * u2 + (1.0 - a) * s3, (1.0 + a) * u2 - a * s3
        u4, s4 = a * u3 + (1.0 - a) * s4, (1.0 + a) * u3 - a * s4
        u5, s5 = a * u4 + (1.0 - a) * s5, (1.0 + a) * u4 - a * s5
        last, s6 = a * u5 + (1.0 - a) * s6, (1.0 + a) * u5 - a * s6
        v[lane, n] = last


def _allpasses_adjoint(lane: int, arguments: Any) -> None:
    """Fill dx and dc from dv; gaps (lane, BLOCK, 6) is to work in: u_{k-1} - s_k."""
    dv, x, c, r, marks, gaps, dx, dc = arguments
    feedback, u = r[lane], 0.0
    g1, g2, g3, g4, g5, g6 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for block in range(marks.shape[1] - 1, -1, -1):
        begin = block * BLOCK
        end = begin + BLOCK if begin + BLOCK < x.shape[1] else x.shape[1]
        last = marks[lane, block, 6]
        for n in range(begin, end):
            a = c[lane, n]
            w = x[lane, n] + feedback * last
            for k in range(_STAGES):
                # The state of the stage moves on where it was kept.
                state = marks[lane, block, k]
                gaps[lane, n - begin, k] = w - state
                marks[lane, block, k] = (1.0 + a) * w - a * state
                w = a * w + (1.0 - a) * state
            last = w
        for n in range(end - 1, begin - 1, -1):
            a, i = c[lane, n], n - begin
            u = dv[lane, n] + feedback * u
            bend = (u + g6) * gaps[lane, i, 5]
            u, g6 = a * u + (1.0 + a) * g6, (1.0 - a) * u - a * g6
            bend += (u + g5) * gaps[lane, i, 4]
            u, g5 = a * u + (1.0 + a) * g5, (1.0 - a) * u - a * g5
            bend += (u + g4) * gaps[lane, i, 3]
            u, g4 = a * u + (1.0 + a) * g4, (1.0 - a) * u - a * g4
            bend += (u + g3) * gaps[lane, i, 2]
            u, g3 = a * u + (1.0 + a) * g3, (1.0 - a) * u - a * g3
            bend += (u + g2) * gaps[lane, i, 1]
            u, g2 = a * u + (1.0 + a) * g2, (1.0 - a) * u - a * g2
            bend += (u + g1) * gaps[lane, i, 0]
            u, g1 = a * u + (1.0 + a) * g1, (1.0 - a) * u - a * g1
            dx[lane, n], dc[lane, n] = u, bend


class _Allpasses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, c: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
        given, swept, feedback = (value.detach().contiguous() for value in (x, c, r))
        lanes, length = given.shape
        v, marks = torch.empty_like(given), given.new_empty(lanes, -(-length // BLOCK), _STAGES + 1)
        lane_functions.run(_allpasses, lanes, given, swept, feedback, v, marks)
        ctx.save_for_backward(given, swept, feedback, v, marks)
        return v

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x, c, r, v, marks = ctx.saved_tensors
        dx, dc = torch.empty_like(x), torch.empty_like(x)
        gaps = x.new_empty(x.shape[0], BLOCK, _STAGES)
        lane_functions.run(
            _allpasses_adjoint, x.shape[0], dv.contiguous(), x, c, r, marks.clone(), gaps, dx, dc
        )  # fmt: skip
        return dx, dc, (dx[:, 1:] * v[:, :-1]).sum(dim=1)


def allpasses(x: torch.Tensor, c: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
    """Return v (lane, time) of x and the all-passes' coefficient c (lane, time), r (lane,) fed back."""
    return _Allpasses.apply(x, c, r)  # type: ignore[no-any-return, no-untyped-call]
