"""Cascades of second-order sections: one kernel for fitting and rendering, with its exact adjoint.

Section s maps u_s to u_(s+1), with u_0 = x and y = u_S (direct form I):

    y[n] = b0 x[n] + b1 x[n-1] + b2 x[n-2] - a1 y[n-1] - a2 y[n-2]

Its adjoint, from the gradient g of y, runs backwards in time:

    v[n] = g[n] - a1 v[n+1] - a2 v[n+2]                 (1/A, reversed)
    dL/dx[n] = b0 v[n] + b1 v[n+1] + b2 v[n+2]          (B, reversed)
    dL/db_k = sum_n v[n] x[n-k],    dL/da_k = -sum_n v[n] y[n-k]

(the transpose of a linear recursion; compare Yu et al., "Differentiable all-pole filters for time-varying
audio systems", DAFx 2024). Direct form I is chosen because its states *are* the last two samples of
u_0 .. u_S: they mean the same whatever the coefficients, which may therefore change between two blocks.

Speed. A recursion waits for itself: one section alone takes a product and a difference per sample, some five
cycles in which a core could do eighty multiplications. So eight sections of two streams, be they the
channels of a row or two rows, share one time loop, each section two samples behind the one before it
(fxstyle.dsp.lanes); up to eight cost what one costs. States stay in float64, whatever the audio. The forward
pass keeps the states every BLOCK samples; the backward pass recomputes one block at a time in cache.
Denormals: states below TINY are set to zero at multiples of BLOCK samples since the beginning of the stream
(an absolute position, so that the result does not depend on the size of the blocks), and so is every output
sample.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from fxstyle.dsp.lanes import STREAMS, Floats, from_lanes, to_lanes
from fxstyle.dsp.recurrence_kernels import BLOCK, IDENTITY, STATES, TINY, Streams, run, run_adjoint
from fxstyle.dsp.threads import for_each
from fxstyle.effect import Samples

__all__ = ["BLOCK", "TINY", "Floats", "SosState", "own", "sosfilt", "sosfilt_block"]

_HISTORY = 2
"""Past samples a second-order section remembers."""

_FREE = (0, 1, 2, 4, 5)
"""Columns of a section that are not fixed: b0 b1 b2 a1 a2."""

_REST = (0.0,) * STATES


def own(x: Samples) -> Samples:
    """Return x, or a copy if it is scattered or read-only: numba compiles anew for such arrays."""
    return np.require(x, requirements=("C", "W"))


def _bundles(x: Samples) -> list[Streams]:
    """Part (stream, time) into what a kernel takes at once."""
    rows = [own(row) for row in x]
    rows += [np.empty(0, x.dtype)] * (-len(rows) % STREAMS)
    return [tuple(rows[begin : begin + STREAMS]) for begin in range(0, len(rows), STREAMS)]


class _Sosfilt(torch.autograd.Function):
    """x (stream, time), sos (stream, section, 6) -> y (stream, time)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, sos: torch.Tensor) -> torch.Tensor:
        samples = x.detach().contiguous()
        c = to_lanes(sos.detach().numpy()[:, :, _FREE], IDENTITY)
        bundles, groups, _, width = c.shape
        y = torch.empty_like(samples)
        state = np.zeros((bundles, groups, STATES, width))
        kept = np.empty((bundles, -(-samples.shape[1] // BLOCK), groups, STATES, width))
        for_each(run, _bundles(samples.numpy()), c, state, [0] * bundles, _bundles(y.numpy()), kept)
        ctx.save_for_backward(samples, torch.from_numpy(c), torch.from_numpy(kept))
        ctx.sections = sos.shape[1]
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, c, kept = ctx.saved_tensors
        dx, dc = torch.empty_like(x), np.zeros(c.shape)
        signals = [_bundles(signal.numpy()) for signal in (dy.contiguous(), x, dx)]
        for_each(run_adjoint, signals[0], signals[1], c.numpy(), kept.numpy(), signals[2], dc)
        dsos = np.zeros((x.shape[0], ctx.sections, 6))
        dsos[:, :, _FREE] = from_lanes(dc, x.shape[0], ctx.sections)
        return dx, torch.from_numpy(dsos)


def sosfilt(x: torch.Tensor, sos: torch.Tensor) -> torch.Tensor:
    """Filter each row of a batch by its own cascade of second-order sections, differentiably.

    Parameters
    ----------
    x: (batch, channel, time), float32 or float64, on the CPU.
    sos: (batch, section, 6): b0 b1 b2 1 a1 a2 per section. The fourth column is taken to be 1 and
        receives no gradient.

    Returns
    -------
    (batch, channel, time) in the dtype of `x`.

    Raises
    ------
    ValueError: the shapes do not fit together.
    """
    if x.ndim != 3 or sos.ndim != 3 or sos.shape[0] != x.shape[0] or sos.shape[2] != 6:
        raise ValueError(
            "sosfilt needs x (batch, channel, time) and sos (batch, section, 6),"
            f" got {tuple(x.shape)} and {tuple(sos.shape)}"
        )
    if x.device.type != "cpu":
        from fxstyle.device import sections

        return sections.sosfilt(x, sos)
    streams = sos.to(torch.float64).repeat_interleave(x.shape[1], dim=0)
    return _Sosfilt.apply(x.flatten(0, 1), streams).reshape(x.shape)  # type: ignore[no-any-return, no-untyped-call]


class SosState(NamedTuple):
    """What a cascade remembers: the last samples of u_0 .. u_S per channel, and the position."""

    history: Floats
    position: int


def _filter(x: Samples, sos: Floats, history: Floats, position: int) -> tuple[Samples, Floats]:
    """Filter (channel, time) from `history` (channel, section + 1, _HISTORY) on; return y and the new one."""
    channels, sections = x.shape[0], sos.shape[0]
    if sections == 0:
        past = np.concatenate((history[:, 0], x.astype(np.float64)), axis=1)
        return np.where(np.abs(x) < TINY, x.dtype.type(0.0), x), past[:, None, -_HISTORY:]
    latest_first = history[:, :, ::-1]
    before = np.concatenate((latest_first[:, :-1], latest_first[:, 1:]), axis=2)
    c = to_lanes(np.broadcast_to(sos[:, _FREE], (channels, sections, len(_FREE))), IDENTITY)
    state = to_lanes(before, _REST)
    kept = np.empty((0, *state.shape[1:]))
    y = np.empty_like(x, order="C")
    for arguments in zip(_bundles(x), c, state, _bundles(y), strict=True):
        given, coefficients, memory, filtered = arguments
        run(given, coefficients, memory, position, filtered, kept)
    after = from_lanes(state, channels, sections)
    latest = np.concatenate((after[:, :1, :_HISTORY], after[:, :, _HISTORY:]), axis=1)
    return y, np.ascontiguousarray(latest[:, :, ::-1])


def sosfilt_block(x: Samples, sos: Floats, state: SosState | None) -> tuple[Samples, SosState]:
    """Filter one block of a stream by the same kernel as `sosfilt`.

    Sections that are the identity and at rest (b = a, a band at 0 dB, and past outputs equal to past
    inputs) are left out of the loop; their histories are carried on, so that the coefficients may change
    between two blocks.

    Parameters
    ----------
    x: (channel, time).
    sos: (section, 6) as in `sosfilt`.
    state: None at the beginning, then what the last call returned.

    Returns
    -------
    y (channel, time) in the dtype of `x`, and the state; the given state is not changed.
    """
    sections = sos.shape[0]
    if state is None:
        state = SosState(np.zeros((x.shape[0], sections + 1, _HISTORY)), 0)
    shapes = np.any(sos[:, :3] != sos[:, 3:], axis=1)
    rings = np.any(state.history[:, 1:] != state.history[:, :-1], axis=(0, 2))
    active = np.flatnonzero(shapes | rings)
    rows = np.concatenate(([0], active + 1))
    y, used = _filter(x, sos[active], state.history[:, rows], state.position)
    source = np.searchsorted(rows, np.arange(sections + 1), side="right") - 1
    return y, SosState(used[:, source], state.position + x.shape[1])
