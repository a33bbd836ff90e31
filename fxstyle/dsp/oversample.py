"""Oversampling by 2, 4 or 8: half-band interpolators and their transposes, as parts of kernels.

    half-band   (F x)[n] = sum_{i<K} h_i (x[n - i] + x[n + 1 + i]),   2 sum h_i = 1

interpolates half-way between x[n] and x[n+1]; the samples in between are kept as they are. U, which
raises the rate by 2^J, is "interpolate, interleave" done J times, and D, which lowers it again, is its
transpose over 2^J (J. O. Smith, "Spectral audio signal processing", multirate polyphase forms), so that
an adjoint needs no other filter. Of the last stage the even and the odd half are never interleaved:

    even[n], odd[n]                     rows of the signal at 2^J times the rate, two by two
    (2^J D)(even, odd)[n] = even[n] + sum_{i<K} h_i (odd[n - 1 - i] + odd[n + i])    and so on downwards

All filters have linear phase, and U with D is late by a whole number of samples, LATE[J].
Content above .455 of the rate lies in the slope of the first filter and is lost (44.1 kHz: flat to 20 kHz).

Speed. A signal is cut into LANES pieces that run side by side: row m of a tile holds sample m of every
piece. Then a shift in time is a shift by whole vectors, always aligned (twice as fast as along the time),
and interleaving is a copy of rows. Every piece begins 2 LATE samples early, from rest, and what comes out
of those is left out; so each sample is computed by the same operations wherever a stream is cut.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

OUTER_TAPS = 32
"""K of the half-band between the rate and twice the rate: .455 .. .545 of the rate at 89 dB."""

INNER_TAPS = 8
"""K between twice and four times the rate, whose slope may be five times as wide."""

INMOST_TAPS = 4
"""K between four and eight times the rate."""

STAGES = 3
"""Doublings of the rate, at most."""

STOPBAND_DB = 90.0
"""Attenuation of images and aliases aimed at: just under the noise of 15 bits."""

LANES = 16
"""Pieces side by side: one vector of 512 bits in float32, or two of 256."""

ROWS = 64
"""Samples of each piece per pass; not fewer than the filters remember, see `carry`."""

_CACHE_LINE = 64
"""Bytes. A vector across two lines costs two loads."""

Signal = npt.NDArray[Any]
"""One channel of float32 or float64."""


def _half_band(taps: int) -> npt.NDArray[np.float64]:
    """Return h_0 .. h_{taps-1} of the Kaiser-windowed sinc half-band (J. F. Kaiser 1974, beta for A dB)."""
    beta = 0.1102 * (STOPBAND_DB - 8.7)
    offset = np.arange(taps) + 0.5
    window = np.i0(beta * np.sqrt(1.0 - (offset / taps) ** 2)) / np.i0(beta)
    h = np.sinc(offset) * window
    return np.asarray(h / (2.0 * h.sum()))


# A windowed sinc of four taps would reach 83 dB. This one is the equiripple half-band (J. H. McClellan &
# T. W. Parks 1973; scipy.signal.remez, 15 taps, band edge .545/8): 111 dB.
_INMOST = np.array((0.6019897414735039, -0.1267579831773448, 0.028137078404565516, -0.003368836700724693))

TAPS = np.concatenate((_half_band(OUTER_TAPS), _half_band(INNER_TAPS), _INMOST / (2.0 * _INMOST.sum())))
COUNTS = (OUTER_TAPS, INNER_TAPS, INMOST_TAPS)
_OFFSETS = (0, OUTER_TAPS, OUTER_TAPS + INNER_TAPS)
LATE = tuple(sum(2 * taps >> j for j, taps in enumerate(COUNTS[:stages])) for stages in range(STAGES + 1))
"""By the number of stages: samples on either side that an output sample depends on; U and D's latency."""

ENTRANCE = 2 * OUTER_TAPS * LANES
"""Place in a `passage` where the next rows at the lowest rate go."""

_UNROLLED = 8  # rows, of which ROWS is a multiple
_GROUP = 4  # taps per pass over the output: fewer would store it too often, more run out of registers


def tile(rows: int, dtype: npt.DTypeLike) -> Signal:
    """Return `rows` rows of LANES zeros, at the beginning of a cache line."""
    whole = np.zeros(rows * LANES * np.dtype(dtype).itemsize + _CACHE_LINE, np.uint8)
    first = -whole.ctypes.data % _CACHE_LINE
    return whole[first : whole.size - _CACHE_LINE + first].view(dtype)


def passage(stages: int, dtype: npt.DTypeLike) -> Signal:
    """Return what `up` and each half of `down` keep between passes: the signals with their past."""
    return tile(sum(2 * COUNTS[j] + (ROWS << j) for j in range(stages)), dtype)


@njit(cache=True, nogil=True, error_model="numpy")
def pieces(size: int) -> int:
    """Return the length of a piece, when LANES of them hold `size` samples or a few more.

    Never a multiple of a memory page, whose 16 beginnings would share one place in the cache.
    """
    return -(-size // LANES) | LANES


@njit(cache=True, nogil=True, error_model="numpy")
def load(x: Signal, past: Signal, first: int, step: int, out: Signal) -> None:
    """out[m, lane] = x[first + lane step + m]; before x comes `past`, and beyond both zero."""
    rows = out.size // LANES
    if first >= 0 and first + (LANES - 1) * step + rows <= x.size:
        for m in range(rows):
            source, row = x[first + m :], out[m * LANES :]
            for lane in range(LANES):
                row[lane] = source[lane * step]
    else:
        for m in range(rows):
            for lane in range(LANES):
                n = first + lane * step + m
                if n >= 0:
                    out[m * LANES + lane] = x[n] if n < x.size else 0.0
                else:
                    out[m * LANES + lane] = past[past.size + n] if past.size + n >= 0 else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def store(rows: Signal, first: int, step: int, begin: int, end: int, out: Signal) -> None:
    """out[first + lane step + m] = rows[m, lane] for begin <= m < end, as far as out reaches."""
    for lane in range(LANES):
        here = first + lane * step
        source = rows[lane:]
        if begin == 0 and end == ROWS and here >= 0 and here + ROWS <= out.size:
            for m in range(0, ROWS, _UNROLLED):
                target, given = out[here + m :], source[m * LANES :]
                for i in range(_UNROLLED):
                    target[i] = given[i * LANES]
        else:
            for m in range(begin, end):
                if 0 <= here + m < out.size:
                    out[here + m] = source[m * LANES]


@njit(cache=True, nogil=True, error_model="numpy")
def _interpolate(x: Signal, stage: int, out: Signal) -> None:
    """out[n] = sum_i h_i (x[n + K-1 - i] + x[n + K + i]), in rows of LANES."""
    count, offset, real = COUNTS[stage], _OFFSETS[stage], x.dtype.type
    for i in range(0, count, _GROUP):
        h0, h1 = real(TAPS[offset + i]), real(TAPS[offset + i + 1])
        h2, h3 = real(TAPS[offset + i + 2]), real(TAPS[offset + i + 3])
        before, after = x[(count - _GROUP - i) * LANES :], x[(count + i) * LANES :]
        if i == 0:
            for k in range(out.size):
                out[k] = (
                    h0 * (before[k + 3 * LANES] + after[k])
                    + h1 * (before[k + 2 * LANES] + after[k + LANES])
                    + h2 * (before[k + LANES] + after[k + 2 * LANES])
                    + h3 * (before[k] + after[k + 3 * LANES])
                )
        else:
            for k in range(out.size):
                out[k] += (
                    h0 * (before[k + 3 * LANES] + after[k])
                    + h1 * (before[k + 2 * LANES] + after[k + LANES])
                    + h2 * (before[k + LANES] + after[k + 2 * LANES])
                    + h3 * (before[k] + after[k + 3 * LANES])
                )


@njit(cache=True, nogil=True, error_model="numpy")
def _copy_rows(source: Signal, from_step: int, target: Signal, to_step: int, rows: int) -> None:
    """target[to_step m] = source[from_step m], rows of LANES.

    Rows inside lanes: the compiler unrolls the former and makes a vector of the latter.
    """
    for m in range(0, rows, _UNROLLED):
        given, taken = source[from_step * m * LANES :], target[to_step * m * LANES :]
        for lane in range(LANES):
            for i in range(_UNROLLED):
                taken[to_step * i * LANES + lane] = given[from_step * i * LANES + lane]


@njit(cache=True, nogil=True, error_model="numpy")
def carry(space: Signal, stages: int) -> None:
    """Make the end of a pass through a `passage` the past of the next."""
    at = 0
    for j in range(stages):
        past, rows = 2 * COUNTS[j] * LANES, (ROWS << j) * LANES
        head, tail = space[at : at + past], space[at + rows : at + rows + past]
        for k in range(past):
            head[k] = tail[k]
        at += past + rows


@njit(cache=True, nogil=True, error_model="numpy")
def up(space: Signal, stages: int, odd: Signal) -> Signal:
    """U over one pass: return the even rows, and write the odd ones, (ROWS << stages - 1) each.

    space: a `passage` with the next ROWS rows from ENTRANCE on. The even rows are part of it. Both are LATE/2
    samples late.
    """
    at = 0
    for j in range(stages):
        past, rows = 2 * COUNTS[j] * LANES, (ROWS << j) * LANES
        x = space[at : at + past + rows]
        even = x[past // 2 : past // 2 + rows]
        _interpolate(x[LANES:], j, odd[:rows])
        if j == stages - 1:
            break
        at += past + rows
        wide = space[at + 2 * COUNTS[j + 1] * LANES :]
        _copy_rows(even, 1, wide, 2, ROWS << j)
        _copy_rows(odd, 1, wide[LANES:], 2, ROWS << j)
    return even


@njit(cache=True, nogil=True, error_model="numpy")
def down(evens: Signal, odds: Signal, stages: int, out: Signal) -> None:
    """2^stages D over one pass, into the first ROWS rows of out (ROWS << stages - 1).

    evens, odds: a `passage` each, of which the last (ROWS << stages - 1) rows are the next ones.
    """
    end = evens.size
    for j in range(stages - 1, -1, -1):
        past, rows = 2 * COUNTS[j] * LANES, (ROWS << j) * LANES
        begin = end - past - rows
        even = evens[begin + past // 2 :]
        _interpolate(odds[begin:end], j, out[:rows])
        for k in range(rows):
            out[k] += even[k]
        if j > 0:
            half, target = ROWS << j - 1, begin - rows // 2
            _copy_rows(out, 2, evens[target:], 1, half)
            _copy_rows(out[LANES:], 2, odds[target:], 1, half)
        end = begin
