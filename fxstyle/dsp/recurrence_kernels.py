"""Kernels of `dsp.recurrence`: cascades of second-order sections, a group of SECTIONS in one time loop.

A block goes through the groups one after the other, in rows of numbers in which sample n of the block is at
LEAD + n: turn i of a pass (dsp.lanes) reads sample i + SKEW and writes sample i - SPAN, of the adjoint
pass, which goes back in time, it reads sample i - SPAN - SKEW and writes sample i. What lies before and after
the block only fills lanes that are not at work.

Both passes meet the same samples in the same turns, whatever the section. So what the forward pass stores by
turns (the lanes' inputs x) is all the adjoint needs for the gradients of all coefficients; the outputs y are
the inputs of the next section, SKEW turns later. As sum_n v[n] x[n-k] = sum_n v[n+k] x[n], no past is needed.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from fxstyle.dsp.lanes import (
    SKEW,
    SPAN,
    STREAMS,
    WIDTH,
    Floats,
    at_work,
    back,
    load,
    nothing,
    onward,
    put_first,
    put_last,
)
from fxstyle.dsp.vectors import store
from fxstyle.effect import Samples

Streams = tuple[Samples, ...]
"""STREAMS signals (time,); those that are missing, at the end, are empty."""

BLOCK = 512
"""Samples between kept states: what the adjoint needs of one block stays in the second-level cache."""

TINY = 1e-30
"""Values below this are zero: -600 dB, yet far above the denormals of float32 (1.2e-38)."""

IDENTITY = (1.0, 0.0, 0.0, 0.0, 0.0)
"""b0, b1, b2, a1, a2 of a lane that has nothing to do."""

STATES = 4
"""A section's x[n-1], x[n-2], y[n-1], y[n-2]."""

_FUTURES = 2
"""A section's v[n+1], v[n+2]."""

_LEAD = SPAN + SKEW
_ROW = _LEAD + BLOCK + _LEAD
_STAGES = 3
"""Of a block: it enters section by section, all sections are at work, it leaves section by section."""


@njit(cache=True, nogil=True, error_model="numpy")
def _stage(stage: int, size: int) -> tuple[int, int]:
    """Return the turns [begin, end) of a stage; a block shorter than SPAN has no middle."""
    if stage == 0:
        return 0, SPAN
    if stage == 1:
        return SPAN, size
    return max(SPAN, size), size + SPAN


@njit(cache=True, nogil=True, error_model="numpy")
def _group(u: Floats, out: Floats, c: Floats, state: Floats, size: int, inputs: Floats) -> None:
    """Run `size` samples from rows `u` to `out`, move `state` on, and store the inputs if there is room.

    u, out (STREAMS, _ROW), c (5, WIDTH), state (STATES, WIDTH), inputs (turn + SKEW, WIDTH) or empty.
    """
    b0, b1, b2 = load(c, 0), load(c, WIDTH), load(c, 2 * WIDTH)
    a1, a2 = load(c, 3 * WIDTH), load(c, 4 * WIDTH)
    x1, x2 = load(state, 0), load(state, WIDTH)
    y1, y2 = load(state, 2 * WIDTH), load(state, 3 * WIDTH)
    keep = inputs.shape[0] > 0
    x, soon = onward(nothing(), u, _LEAD), onward(nothing(), u, _LEAD + 1)
    for stage in range(_STAGES):
        begin, end = _stage(stage, size)
        partly = stage != 1
        for i in range(begin, end):
            if keep:
                store(inputs, i * WIDTH, x)
            y = ((b1 * x1 + b2 * x2 - a2 * y2) + b0 * x) - a1 * y1
            put_last(out, _LEAD + i - SPAN, y)
            if partly:
                x2, x1 = at_work(i, size, x1, x2), at_work(i, size, x, x1)
                y2, y1 = at_work(i, size, y1, y2), at_work(i, size, y, y1)
            else:
                x2, x1, y2, y1 = x1, x, y1, y
            x, soon = soon, onward(y, u, _LEAD + i + SKEW)
    if keep:
        store(inputs, (size + SPAN) * WIDTH, x)
        store(inputs, (size + SPAN + 1) * WIDTH, soon)
    store(state, 0, x1)
    store(state, WIDTH, x2)
    store(state, 2 * WIDTH, y1)
    store(state, 3 * WIDTH, y2)


@njit(cache=True, nogil=True, error_model="numpy")
def _group_adjoint(
    g: Floats, out: Floats, c: Floats, future: Floats, size: int, inputs: Floats, last: Floats, dc: Floats
) -> None:
    """Go back over `size` samples from rows `g` to `out`, move `future` back, and add to dc.

    g, out (STREAMS, _ROW), c, dc (5, WIDTH), future (_FUTURES, WIDTH); `inputs` and `last`, the rows of
    the group's outputs, are from `_group`.
    """
    b0, b1, b2 = load(c, 0), load(c, WIDTH), load(c, 2 * WIDTH)
    a1, a2 = load(c, 3 * WIDTH), load(c, 4 * WIDTH)
    d0, d1, d2 = load(dc, 0), load(dc, WIDTH), load(dc, 2 * WIDTH)
    e1, e2 = load(dc, 3 * WIDTH), load(dc, 4 * WIDTH)
    v1, v2 = load(future, 0), load(future, WIDTH)
    gradient, soon = back(nothing(), g, _LEAD + size - 1), back(nothing(), g, _LEAD + size - 2)
    for stage in range(_STAGES - 1, -1, -1):
        begin, end = _stage(stage, size)
        partly = stage != 1
        for i in range(end - 1, begin - 1, -1):
            x = load(inputs, i * WIDTH)
            y = back(load(inputs, (i + SKEW) * WIDTH), last, _LEAD + i - SPAN)
            v = (gradient - a2 * v2) - a1 * v1
            dx = b0 * v + b1 * v1 + b2 * v2
            put_first(out, _LEAD + i, dx)
            gradient, soon = soon, back(dx, g, _LEAD + i - SPAN - SKEW)
            if partly:
                x, y = at_work(i, size, x, nothing()), at_work(i, size, y, nothing())
            d0, d1, d2 = d0 + v * x, d1 + v1 * x, d2 + v2 * x
            e1, e2 = e1 - v1 * y, e2 - v2 * y
            if partly:
                v2, v1 = at_work(i, size, v1, v2), at_work(i, size, v, v1)
            else:
                v2, v1 = v1, v
    store(dc, 0, d0)
    store(dc, WIDTH, d1)
    store(dc, 2 * WIDTH, d2)
    store(dc, 3 * WIDTH, e1)
    store(dc, 4 * WIDTH, e2)
    store(future, 0, v1)
    store(future, WIDTH, v2)


@njit(cache=True, nogil=True, error_model="numpy")
def _move_in(x: Samples, u: Floats) -> None:
    for n in range(x.shape[0]):
        u[n] = x[n]


@njit(cache=True, nogil=True, error_model="numpy")
def _move_out(u: Floats, y: Samples) -> None:
    for n in range(y.shape[0]):
        y[n] = 0.0 if abs(u[n]) < TINY else u[n]


@njit(cache=True, nogil=True, error_model="numpy")
def _copy(source: Floats, target: Floats) -> None:
    """Copy (group, number, WIDTH); a slice assignment would take numba seconds to compile."""
    for group in range(source.shape[0]):
        for k in range(source.shape[1]):
            for lane in range(source.shape[2]):
                target[group, k, lane] = source[group, k, lane]


@njit(cache=True, nogil=True, error_model="numpy")
def _flush(values: Floats) -> None:
    """Set what is below TINY to zero, in place, so that no recursion crawls through denormals."""
    for group in range(values.shape[0]):
        for k in range(values.shape[1]):
            for lane in range(values.shape[2]):
                if abs(values[group, k, lane]) < TINY:
                    values[group, k, lane] = 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def run(x: Streams, c: Floats, state: Floats, position: int, y: Streams, kept: Floats) -> None:
    """Filter a bundle of streams into `y`, move `state` on, and keep it at every BLOCK if there is room.

    c (group, 5, WIDTH), state (group, STATES, WIDTH), kept (block, *state) or empty.
    """
    groups, length = c.shape[0], x[0].shape[0]
    u = np.zeros((groups + 1, STREAMS, _ROW))
    nowhere = np.empty((0, WIDTH))
    done = 0
    while done < length:
        size = min(BLOCK - (position + done) % BLOCK, length - done)
        if kept.shape[0] > 0:
            _copy(state, kept[done // BLOCK])
        for k in range(STREAMS):
            _move_in(x[k][done : done + size], u[0, k, _LEAD:])
        for j in range(groups):
            _group(u[j], u[j + 1], c[j], state[j], size, nowhere)
        for k in range(STREAMS):
            _move_out(u[groups, k, _LEAD:], y[k][done : done + size])
        done += size
        if (position + done) % BLOCK == 0:
            _flush(state)


@njit(cache=True, nogil=True, error_model="numpy")
def run_adjoint(dy: Streams, x: Streams, c: Floats, kept: Floats, dx: Streams, dc: Floats) -> None:
    """Fill dx like x and add to dc like c from dy; `kept` is from `run`, begun at position 0."""
    groups, length = c.shape[0], x[0].shape[0]
    u = np.zeros((groups + 1, STREAMS, _ROW))
    g = np.zeros((2, STREAMS, _ROW))  # by turns what a group reads and what it writes
    inputs = np.empty((groups, BLOCK + SPAN + SKEW, WIDTH))
    state = np.empty((groups, STATES, WIDTH))
    future = np.zeros((groups, _FUTURES, WIDTH))
    for block in range(kept.shape[0] - 1, -1, -1):
        begin = block * BLOCK
        size = min(BLOCK, length - begin)
        _copy(kept[block], state)
        for k in range(STREAMS):
            _move_in(x[k][begin : begin + size], u[0, k, _LEAD:])
            _move_in(dy[k][begin : begin + size], g[groups % 2, k, _LEAD:])
        for j in range(groups):
            _group(u[j], u[j + 1], c[j], state[j], size, inputs[j])
        for j in range(groups - 1, -1, -1):
            _group_adjoint(g[(j + 1) % 2], g[j % 2], c[j], future[j], size, inputs[j], u[j + 1], dc[j])
        for k in range(STREAMS):
            _move_out(g[0, k, _LEAD:], dx[k][begin : begin + size])
        _flush(future)
