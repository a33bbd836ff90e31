"""Cascades of second-order sections: one kernel for fitting and rendering, with its exact adjoint.

Section s maps u_s to u_(s+1), with u_0 = x and y = u_S (direct form I):

    y[n] = b0 x[n] + b1 x[n-1] + b2 x[n-2] - a1 y[n-1] - a2 y[n-2]

Its adjoint, from the gradient g of y, runs backwards in time:

    v[n] = g[n] - a1 v[n+1] - a2 v[n+2]                 (1/A, reversed)
    dL/dx[n] = b0 v[n] + b1 v[n+1] + b2 v[n+2]          (B, reversed)
    dL/db_k = sum_n v[n] x[n-k],    dL/da_k = -sum_n v[n] y[n-k]

(the transpose of a linear recursion; compare Yu et al., "Differentiable all-pole filters for time-varying
audio systems", DAFx 2024). Direct form I is chosen because its states *are* the last two samples of
u_0 .. u_S, which are also what the sums above need.

Speed. Two sections share a time loop, so that the latency of one recursion hides behind the other.
States stay in float64, whatever the audio: that costs nothing, since the recursion is bound by latency.
The forward pass keeps the states every BLOCK samples; the backward pass recomputes one block at a time
in cache. Denormals: states below TINY are set to zero at multiples of BLOCK samples since the beginning
of the stream (an absolute position, so that the result does not depend on the size of the blocks), and
so is every output sample.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from numba import njit, prange

from fxstyle.effect import Samples

Floats = npt.NDArray[np.float64]

BLOCK = 512
"""Samples between kept states: one block of ten sections (45 KiB) stays in the second-level cache."""

TINY = 1e-30
"""Values below this are zero: -600 dB, yet far above the denormals of float32 (1.2e-38)."""

_HISTORY = 2
"""Past samples a second-order section remembers."""


def own(x: Samples) -> Samples:
    """Return x, or a copy if it is scattered or read-only: numba compiles anew for such arrays."""
    return np.require(x, requirements=("C", "W"))


@njit(cache=True, nogil=True, error_model="numpy")
def _one(x: Floats, y: Floats, c: Floats, size: int) -> None:
    """Run one section over `size` samples; the first _HISTORY entries of x and y are the past."""
    b0, b1, b2, a1, a2 = c[0], c[1], c[2], c[4], c[5]
    x2, x1, y2, y1 = x[0], x[1], y[0], y[1]
    for n in range(_HISTORY, size + _HISTORY):
        x0 = x[n]
        y0 = (b0 * x0 + b1 * x1 + b2 * x2 - a2 * y2) - a1 * y1
        y[n] = y0
        x2, x1, y2, y1 = x1, x0, y1, y0


@njit(cache=True, nogil=True, error_model="numpy")
def _two(x: Floats, y: Floats, z: Floats, c: Floats, d: Floats, size: int) -> None:
    """Run two sections in one loop: the same operations in the same order as `_one` twice."""
    b0, b1, b2, a1, a2 = c[0], c[1], c[2], c[4], c[5]
    d0, d1, d2, e1, e2 = d[0], d[1], d[2], d[4], d[5]
    x2, x1, y2, y1, z2, z1 = x[0], x[1], y[0], y[1], z[0], z[1]
    for n in range(_HISTORY, size + _HISTORY):
        x0 = x[n]
        y0 = (b0 * x0 + b1 * x1 + b2 * x2 - a2 * y2) - a1 * y1
        z0 = (d0 * y0 + d1 * y1 + d2 * y2 - e2 * z2) - e1 * z1
        y[n] = y0
        z[n] = z0
        x2, x1, y2, y1, z2, z1 = x1, x0, y1, y0, z1, z0


@njit(cache=True, nogil=True, error_model="numpy")
def _cascade(u: Floats, sos: Floats, size: int) -> None:
    """Fill rows 1 .. S of `u` (section, _HISTORY + time) from row 0 and the histories."""
    sections = sos.shape[0]
    s = 0
    while s + 1 < sections:
        _two(u[s], u[s + 1], u[s + 2], sos[s], sos[s + 1], size)
        s += 2
    if s < sections:
        _one(u[s], u[s + 1], sos[s], size)


@njit(cache=True, nogil=True, error_model="numpy")
def _copy(source: Floats, begin: int, target: Floats, to: int) -> None:
    """Copy _HISTORY columns; a slice assignment would take numba seconds to compile."""
    for i in range(source.shape[0]):
        for k in range(_HISTORY):
            target[i, to + k] = source[i, begin + k]


@njit(cache=True, nogil=True, error_model="numpy")
def _flush(values: Floats) -> None:
    """Set what is below TINY to zero, in place, so that no recursion crawls through denormals."""
    for i in range(values.shape[0]):
        for k in range(values.shape[1]):
            if abs(values[i, k]) < TINY:
                values[i, k] = 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _channel(x: Samples, sos: Floats, history: Floats, position: int, y: Samples, kept: Floats) -> None:
    """Filter one channel into `y` and move `history` on; keep it at every BLOCK if `kept` has room."""
    sections, length = sos.shape[0], x.shape[0]
    u = np.empty((sections + 1, BLOCK + _HISTORY))
    done = 0
    while done < length:
        if done // BLOCK < kept.shape[0]:
            _copy(history, 0, kept[done // BLOCK], 0)
        size = min(BLOCK - (position + done) % BLOCK, length - done)
        _copy(history, 0, u, 0)
        for n in range(size):
            u[0, n + _HISTORY] = x[done + n]
        _cascade(u, sos, size)
        for n in range(size):
            value = u[sections, n + _HISTORY]
            y[done + n] = value if abs(value) >= TINY else 0.0
        _copy(u, size, history, 0)
        done += size
        if (position + done) % BLOCK == 0:
            _flush(history)


@njit(cache=True, nogil=True, error_model="numpy")
def _render(x: Samples, sos: Floats, history: Floats, position: int, y: Samples) -> None:
    """Filter a block (channel, time); `history` (channel, section + 1, _HISTORY) is moved on."""
    nothing = np.empty((0, sos.shape[0] + 1, _HISTORY))
    for c in range(x.shape[0]):
        _channel(x[c], sos, history[c], position, y[c], nothing)


@njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def _forward(x: Samples, sos: Floats, history: Floats, y: Samples, kept: Floats) -> None:
    """Filter (lane, time), each lane by its own sos and from its own history."""
    for lane in prange(x.shape[0]):
        _channel(x[lane], sos[lane], history[lane], 0, y[lane], kept[lane])


@njit(cache=True, nogil=True, error_model="numpy")
def _one_adjoint(g: Floats, v: Floats, dx: Floats, c: Floats, size: int) -> None:
    """Fill v[0:size] and dx[0:size] from g[0:size]; v[size], v[size + 1] are the future."""
    b0, b1, b2, a1, a2 = c[0], c[1], c[2], c[4], c[5]
    v1, v2 = v[size], v[size + 1]
    for n in range(size - 1, -1, -1):
        v0 = (g[n] - a2 * v2) - a1 * v1
        v[n] = v0
        dx[n] = b0 * v0 + b1 * v1 + b2 * v2
        v2, v1 = v1, v0


@njit(cache=True, nogil=True, error_model="numpy")
def _two_adjoint(g: Floats, w: Floats, v: Floats, dx: Floats, d: Floats, c: Floats, size: int) -> None:
    """Go back through section d (into w), then through section c (into v and dx), in one loop."""
    d0, d1, d2, e1, e2 = d[0], d[1], d[2], d[4], d[5]
    b0, b1, b2, a1, a2 = c[0], c[1], c[2], c[4], c[5]
    w1, w2, v1, v2 = w[size], w[size + 1], v[size], v[size + 1]
    for n in range(size - 1, -1, -1):
        w0 = (g[n] - e2 * w2) - e1 * w1
        v0 = (d0 * w0 + d1 * w1 + d2 * w2 - a2 * v2) - a1 * v1
        w[n] = w0
        v[n] = v0
        dx[n] = b0 * v0 + b1 * v1 + b2 * v2
        w2, w1, v2, v1 = w1, w0, v1, v0


# Reassociation lets the five sums run in SIMD lanes; nothing here tests for NaN.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "nsz"})
def _correlate(v: Floats, x: Floats, y: Floats, size: int, dc: Floats) -> None:
    """Add the gradients of one section's coefficients over a block to `dc`."""
    b0 = b1 = b2 = a1 = a2 = 0.0
    for n in range(size):
        b0 += v[n] * x[n + 2]
        b1 += v[n] * x[n + 1]
        b2 += v[n] * x[n]
        a1 += v[n] * y[n + 1]
        a2 += v[n] * y[n]
    dc[0] += b0
    dc[1] += b1
    dc[2] += b2
    dc[4] -= a1
    dc[5] -= a2


@njit(cache=True, nogil=True, error_model="numpy")
def _channel_adjoint(dy: Samples, x: Samples, sos: Floats, kept: Floats, dx: Samples, dsos: Floats) -> None:
    """Fill dx (time,) and add to dsos (section, 6) from dy; `kept` is from `_channel`."""
    sections, length = sos.shape[0], x.shape[0]
    u = np.empty((sections + 1, BLOCK + _HISTORY))
    v = np.zeros((sections, BLOCK + _HISTORY))
    g = np.empty(BLOCK)
    future = np.zeros((sections, _HISTORY))
    for block in range(kept.shape[0] - 1, -1, -1):
        begin = block * BLOCK
        size = min(BLOCK, length - begin)
        _copy(kept[block], 0, u, 0)
        _copy(future, 0, v, size)
        for n in range(size):
            u[0, n + _HISTORY] = x[begin + n]
            g[n] = dy[begin + n]
        _cascade(u, sos, size)
        s = sections - 1
        while s > 0:
            _two_adjoint(g, v[s], v[s - 1], g, sos[s], sos[s - 1], size)
            s -= 2
        if s == 0:
            _one_adjoint(g, v[0], g, sos[0], size)
        for n in range(size):
            dx[begin + n] = g[n]
        for s in range(sections):
            _correlate(v[s], u[s], u[s + 1], size, dsos[s])
        _copy(v, 0, future, 0)
        _flush(future)


@njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def _backward(dy: Samples, x: Samples, sos: Floats, kept: Floats, dx: Samples, dsos: Floats) -> None:
    """Fill dx like x (lane, time) and dsos (lane, section, 6) from dy; `kept` is from `_forward`."""
    for lane in prange(x.shape[0]):
        _channel_adjoint(dy[lane], x[lane], sos[lane], kept[lane], dx[lane], dsos[lane])


class _Sosfilt(torch.autograd.Function):
    """x (lane, time), sos (lane, section, 6) -> y (lane, time)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, sos: torch.Tensor) -> torch.Tensor:
        samples, coefficients = x.detach().contiguous(), sos.detach().contiguous()
        lanes, length = samples.shape
        y = torch.empty_like(samples)
        history = np.zeros((lanes, sos.shape[1] + 1, _HISTORY))
        kept = torch.empty((lanes, -(-length // BLOCK), *history.shape[1:]), dtype=torch.float64)
        _forward(samples.numpy(), coefficients.numpy(), history, y.numpy(), kept.numpy())
        ctx.save_for_backward(samples, coefficients, kept)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, sos, kept = ctx.saved_tensors
        dx, dsos = torch.empty_like(x), torch.zeros_like(sos)
        _backward(dy.contiguous().numpy(), x.numpy(), sos.numpy(), kept.numpy(), dx.numpy(), dsos.numpy())
        return dx, dsos


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
    lanes = sos.to(torch.float64).repeat_interleave(x.shape[1], dim=0)
    return _Sosfilt.apply(x.flatten(0, 1), lanes).reshape(x.shape)  # type: ignore[no-any-return, no-untyped-call]


class SosState(NamedTuple):
    """What a cascade remembers: the last samples of u_0 .. u_S per channel, and the position."""

    history: Floats
    position: int


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
    used = np.ascontiguousarray(state.history[:, rows])
    y = np.empty_like(x, order="C")
    _render(own(x), np.ascontiguousarray(sos[active]), used, state.position, y)
    source = np.searchsorted(rows, np.arange(sections + 1), side="right") - 1
    return y, SosState(used[:, source], state.position + x.shape[1])
