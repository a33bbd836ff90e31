"""Gain of a look-ahead limiter: running minimum, smooth release, moving averages; and their adjoint.

    q[n] = min(r[n-M], ..., r[n])                               running minimum of the gain asked for
    s[n] = min(q[n], k s[n-1] + (1-k) q[n])                     instant attack, smooth release
    a[n] = (s[n-A] + ... + s[n]) / (A + 1)
    g[n] = (a[n-B] + ... + a[n]) / (B + 1),   B may be 0

All terms of g[n] lie in s[n-A-B] .. s[n], and each of these is at most every r from n - M to n - A - B.
Before the beginning r is 1. One average makes ramps of the minimum's steps, two make ramps without corners.

Minima and sums over a window are made of those over 1, 2, 4 .. samples, in SIMD lanes: nothing accumulates,
and no result depends on how the stream is cut. A single average (B = 0) takes its sums from blocks of A + 1
samples counted from the beginning of the stream: what is left of the last block (its suffixes) and what has
come of this one (its prefix), after van Herk (1992) and Gil & Werman (1993). That is slower, and kept so
that what was rendered with it stays the same to the bit.

Adjoint: a moving sum is its own transpose; backwards through s, then to the r that was the minimum (the
latest, if several are equal):

    lambda[n] = dL/ds[n] + k [s[n+1] rises] lambda[n+1]
    dL/dq[n] = (1 - k [s[n] rises]) lambda[n],   dL/dk += [s[n] rises] lambda[n] (s[n-1] - q[n])
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from fxstyle.dsp.recurrence import TINY, Floats

Indices = npt.NDArray[np.int32]

# Rows of a box's memory, each by position in the block; entries of its sum and number so far.
_KEPT, _SUM_LEFT = range(2)
_SUM, _NUMBER = range(2)


class Memory(NamedTuple):
    """What the gain depends on but the new samples.

    Attributes
    ----------
    asked: (M,) the last r.
    last: (1,) the last s.
    first, second: (A,) the last s, (B,) the last (A + 1) a; with one average (0,).
    box: (2, A + 2) what came in this block, and suffix sums of the last block, of which the last column is
        the sum of nothing; with two averages (2, 0).
    running: (2,) sum and number of the samples of this block.
    """

    asked: Floats
    last: Floats
    first: Floats
    second: Floats
    box: Floats
    running: Floats


def rest(past: int, first: int, second: int) -> Memory:
    """Return the memory of a stream that asked for no reduction so far, for M, A, B in samples."""
    box, running = np.ones((2, 0 if second else first + 2)), np.zeros(2)
    box[_SUM_LEFT] = np.arange(box.shape[1])[::-1]
    length = first if second else 0
    return Memory(np.ones(past), np.ones(1), np.ones(length), np.full(second, first + 1.0), box, running)


@njit(cache=True, nogil=True, error_model="numpy")
def _lower(a: Floats, b: Floats, out: Floats, size: int) -> None:
    for n in range(size):
        out[n] = b[n] if b[n] < a[n] else a[n]


@njit(cache=True, nogil=True, error_model="numpy")
def _sum(a: Floats, b: Floats, out: Floats, size: int) -> None:
    for n in range(size):
        out[n] = a[n] + b[n]


@njit(cache=True, nogil=True, error_model="numpy")
def _add(a: Floats, out: Floats, size: int) -> None:
    for n in range(size):
        out[n] += a[n]


@njit(cache=True, nogil=True, error_model="numpy")
def _join(past: Floats, new: Floats, rest: float, joined: Floats, size: int) -> bool:
    """Fill `joined` with `past` and new[0:size], move `past` on; whether any differs from `rest`."""
    moved = False
    for n in range(past.shape[0]):
        joined[n] = past[n]
        moved |= past[n] != rest
    to, last = joined[past.shape[0] :], joined[size:]
    for n in range(size):
        to[n] = new[n]
        moved |= new[n] != rest
    for n in range(past.shape[0] if moved else 0):
        past[n] = last[n]
    return moved


@njit(cache=True, nogil=True, error_model="numpy")
def _least(r: Floats, asked: Floats, work: Floats, q: Floats, size: int) -> bool:
    """Fill q[n] with the least of r[n] and `asked` before it, move `asked` on; whether any is below 1."""
    a, b = work[0], work[1]
    if not _join(asked, r, 1.0, a, size):
        for n in range(size):
            q[n] = 1.0
        return False
    span, window = 1, asked.shape[0] + 1
    while 2 * span <= window:
        _lower(a, a[span:], b, window - 1 + size - 2 * span + 1)
        a, b = b, a
        span *= 2
    _lower(a, a[window - span :], q, size)
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _moving_sum(s: Floats, past: Floats, rest: float, work: Floats, total: Floats, size: int) -> None:
    """Fill total[n] with the sum of s[n] and `past` before it, and move `past` on; at rest all are `rest`."""
    a, b = work[0], work[1]
    done, span, window = 0, 1, past.shape[0] + 1
    if not _join(past, s, rest, a, size):
        for n in range(size):
            total[n] = window * rest
        return
    for n in range(size):
        total[n] = 0.0
    while span <= window:
        # The window is cut into pieces whose lengths are powers of two.
        if window & span:
            _add(a[done:], total, size)
            done += span
        if 2 * span <= window:
            _sum(a, a[span:], b, window - 1 + size - 2 * span + 1)
            a, b = b, a
        span *= 2


@njit(cache=True, nogil=True, error_model="numpy")
def _release(q: Floats, release: float, last: float, s: Floats, size: int) -> float:
    """Fill s from q and return its last value."""
    n = 0
    while n < size:
        # Two loops in turns: the processor guesses which, and only the second waits for the last s.
        while n < size and q[n] <= last:
            last = q[n]
            s[n] = last
            n += 1
        while n < size and q[n] > last:
            # k (s - q) rather than k s + (1 - k) q: exactly 1 as long as nothing is reduced
            last = q[n] + release * (last - q[n])
            s[n] = last
            n += 1
    return last


@njit(cache=True, nogil=True, error_model="numpy")
def _box(s: Floats, box: Floats, running: Floats, g: Floats, size: int) -> None:
    """Fill g with the moving average of s; move `box` and `running` on."""
    count = box.shape[1] - 1
    kept, sum_left = box[_KEPT], box[_SUM_LEFT]
    total, position = running[_SUM], int(running[_NUMBER])
    moved = False
    for n in range(size):
        moved |= s[n] != 1.0
    begin = 0
    while begin < size:
        length = min(size - begin, count - position)
        new, left, out, store = s[begin:], sum_left[position + 1 :], g[begin:], kept[position:]
        if not moved and total == position:
            # At rest: the sums are of ones, and need not be taken one by one.
            for n in range(length):
                out[n] = (total + (n + 1)) + left[n]
            total += length
        else:
            for n in range(length):
                total += new[n]
                out[n] = total + left[n]
        for n in range(length):
            store[n] = new[n]
        begin += length
        position += length
        if position == count:
            total = 0.0
            for n in range(count - 1, -1, -1):
                total = kept[n] + total
                sum_left[n] = total
            total, position = 0.0, 0
    for n in range(size):
        g[n] = g[n] / count
    running[_SUM], running[_NUMBER] = total, position


@njit(cache=True, nogil=True, error_model="numpy")
def gain(r: Floats, release: float, memory: Memory, work: Floats, s: Floats, g: Floats, size: int) -> None:
    """Fill s and g [0:size] from r and move the memory on; work: (3, M + size) or more."""
    q = work[2]
    if _least(r, memory.asked, work, q, size) or memory.last[0] != 1.0:
        memory.last[0] = _release(q, release, memory.last[0], s, size)
    else:
        for n in range(size):
            s[n] = 1.0
    if memory.second.shape[0] > 0:
        # One division for both: whole numbers at rest, so that the gain is 1 exactly.
        count = memory.first.shape[0] + 1
        _moving_sum(s, memory.first, 1.0, work, q, size)
        _moving_sum(q, memory.second, float(count), work, g, size)
        count *= memory.second.shape[0] + 1
        for n in range(size):
            g[n] = g[n] / count
    else:
        _box(s, memory.box, memory.running, g, size)


@njit(cache=True, nogil=True, error_model="numpy")
def _least_at(r: Floats, past: int, at: Indices, left: Indices) -> None:
    """Fill `at` with where the minimum of r[n-past .. n] is, the latest of equals.

    It is that of what is left of the last block of past + 1 samples (`left`, (time,), to work in), or that of
    what has come of this one.
    """
    count = past + 1
    for begin in range(0, r.shape[0], count):
        size = min(count, r.shape[0] - begin)
        part, rear, here = r[begin:], left[begin:], at[begin:]
        least, where = 2.0, 0
        for n in range(size - 1, -1, -1):
            where = begin + n if part[n] < least else where
            least = part[n] if part[n] < least else least
            rear[n] = where
        least, where = 2.0, 0
        for n in range(size):
            where = begin + n if part[n] <= least else where
            least = part[n] if part[n] <= least else least
            here[n] = where
        before = left[max(0, begin - count + 1) :]
        for n in range(size if begin > 0 else 0):
            here[n] = before[n] if r[before[n]] < r[here[n]] else here[n]


@njit(cache=True, nogil=True, error_model="numpy")
def _average_adjoint(dg: Floats, count: int, ds: Floats) -> None:
    """Fill ds from dg: the moving average of `count` samples, backwards."""
    total = 0.0
    for n in range(dg.shape[0] - 1, -1, -1):
        total += dg[n]
        if n + count < dg.shape[0]:
            total -= dg[n + count]
        ds[n] = total / count


@njit(cache=True, nogil=True, error_model="numpy")
def gain_adjoint(dg: Floats, r: Floats, s: Floats, release: float, memory: Memory, dr: Floats) -> float:
    """Fill dr from dg, all (time,) from the beginning of a stream on; return the gradient of the release.

    `memory` is asked for its lengths only.
    """
    ds = np.empty(r.shape[0])
    if memory.second.shape[0] > 0:
        _average_adjoint(dg, memory.second.shape[0] + 1, dr)
        _average_adjoint(dr, memory.first.shape[0] + 1, ds)
    else:
        _average_adjoint(dg, memory.box.shape[1] - 1, ds)
    at, left = np.empty(r.shape[0], dtype=np.int32), np.empty(r.shape[0], dtype=np.int32)
    _least_at(r, memory.asked.shape[0], at, left)
    for n in range(r.shape[0]):
        dr[n] = 0.0
    carry = drelease = 0.0
    for n in range(r.shape[0] - 1, -1, -1):
        slope = ds[n] + carry
        before = s[n - 1] if n > 0 else 1.0
        q = r[at[n]]
        carry = release * slope if before < q else 0.0
        carry = carry if abs(carry) >= TINY else 0.0
        drelease += slope * (before - q) if before < q else 0.0
        dr[at[n]] += slope - carry
    return drelease
