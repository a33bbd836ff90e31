"""Transform for convolutions of real signals: exact products, spectra in an order of their own.

A real signal u of 2 M samples becomes M complex numbers, a point of the ring of polynomials modulo z^M + i,

    z[n] = (u[n] - i u[n + M]) exp(-i pi n / (2 M)),     Z = DFT(z),     0 <= n < M,

in which z^(2 M) = -1: products of such Z are linear convolutions whose part from 2 M on comes back negated
at 0 (the right-angle convolution: H. J. Nussbaumer, "Fast Fourier Transform and Convolution Algorithms",
1982, 6.1; J. O. Coleman, "A generalized FFT for many simultaneous receive beams", 2007). There is nothing to
sort into spectra of real signals, and a signal costs one complex transform of half its length.

M = 16 R numbers lie in R rows of ROW, z[16 r + l] in row r, place l. The DFT is that of the columns, a
product with exp(-2 pi i k l / M), and that of the rows (the four-step transform: D. H. Bailey, "FFTs in
external or hierarchical memory", J. Supercomputing 4, 1990). Columns are transformed all at once, a row being
a vector: passes of radix 4, before them one of 3 or 2 where R demands it, each decimating in frequency, so
that nothing has to be moved and the rows end in digit-reversed order. Sixteen rows at a time are transposed
for the DFT of rows. The way back does all of it in the opposite order. Products do not mind the order of
spectra, so it is left as it comes: a spectrum here is meant for products and the way back only.

Blocks that fit into the fastest cache go through all further passes before the next block's turn.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from fxstyle.dsp.vectors import ROW, everywhere, row, store, transpose

Signal = npt.NDArray[Any]

SMALLEST = ROW * ROW
"""Least M: rows are transposed sixteen at a time."""

_CACHED = 128
"""Rows in a block that stays in the first cache: 16 KiB of real and of imaginary float32."""

_SIN_60 = math.sqrt(0.75)

_LAST_PASSES = 6 * (4 + 1)
"""Numbers of the last two passes over columns, sixteen and four rows, which also serve for the rows."""

_LARGEST_KEPT = 1 << 19
"""M whose tables, 11 MiB in float32, are kept; making larger ones costs less than what they are for."""

_PARTS = 4  # tables of M numbers before the factors of the passes: cos and sin of the twist, of the columns


def fitting(count: int) -> int:
    """Return the least M, 2^k or 3 2^k, for `count` samples: 2 M >= count."""
    half = max(-(-count // 2), SMALLEST)
    power = 1 << (half - 1).bit_length()
    return power // 4 * 3 if power // 4 * 3 >= half and power // 4 >= SMALLEST else power


def _radices(rows: int) -> list[int]:
    """Return the radix of each pass over the columns."""
    found = []
    if rows % 3 == 0:
        found.append(3)
        rows //= 3
    if rows.bit_length() % 2 == 0:
        found.append(2)
        rows //= 2
    return found + [4] * (rows.bit_length() // 2)


def tables(size: int, dtype: np.dtype[Any]) -> Signal:
    """Return what the transforms of M = `size` read: (numbers,), not to be written to.

    Raises ValueError if `size` is not 2^k or 3 2^k, or less than SMALLEST.
    """
    return _kept_tables(size, dtype) if size <= _LARGEST_KEPT else _tables(size, dtype)


def _tables(size: int, dtype: np.dtype[Any]) -> Signal:
    rows = size // ROW
    odd = rows // (rows & -rows) if rows else 0
    if size < SMALLEST or size % ROW or odd not in {1, 3} or (rows & -rows) < ROW:
        raise ValueError(f"{size} is not 2^k or 3 2^k, of at least {SMALLEST}")
    twist = np.exp(-0.5j * math.pi * np.arange(size) / size)
    order = np.zeros(1, np.int64)
    reach, parts = 1, []
    length = rows
    for radix in _radices(rows):
        # the numbers of a column's spectrum: digit q of a position counts for `reach` q
        order = (order[:, None] + reach * np.arange(radix)).ravel()
        reach *= radix
        step = length // radix
        turns = np.exp(-2j * math.pi * np.outer(np.arange(step), np.arange(1, radix)) / length)
        parts.append(np.stack([turns.real, turns.imag], axis=-1).ravel())
        length = step
    between = np.exp(-2j * math.pi * np.outer(order, np.arange(ROW)) / size).ravel()
    whole = np.concatenate([twist.real, twist.imag, between.real, between.imag, *parts]).astype(dtype)
    whole.setflags(write=False)
    return whole


_kept_tables = lru_cache(maxsize=4)(_tables)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _times(ar: Any, ai: Any, br: Any, bi: Any) -> Any:
    return ar * br - ai * bi, ar * bi + ai * br


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _put(re: Signal, im: Signal, position: int, ar: Any, ai: Any) -> None:
    store(re, position, ar)
    store(im, position, ai)


@njit(cache=True, nogil=True, error_model="numpy")
def _four(re: Signal, im: Signal, first: int, length: int, t: Signal, w: int) -> None:
    """Radix 4 over rows first .. first + length: y_q[j] = W^(q j) sum_m (-i)^(m q) x[j + m length/4]."""
    step = length // 4 * ROW
    for j in range(length // 4):
        a = (first + j) * ROW
        b, c, d = a + step, a + 2 * step, a + 3 * step
        ar, ai, br, bi = row(re, a), row(im, a), row(re, b), row(im, b)
        cr, ci, dr, di = row(re, c), row(im, c), row(re, d), row(im, d)
        evenr, eveni, awayr, awayi = ar + cr, ai + ci, ar - cr, ai - ci
        oddr, oddi, offr, offi = br + dr, bi + di, br - dr, bi - di
        _put(re, im, a, evenr + oddr, eveni + oddi)
        y1r, y1i, y2r, y2i = awayr + offi, awayi - offr, evenr - oddr, eveni - oddi
        y3r, y3i = awayr - offi, awayi + offr
        if j:
            u = w + 6 * j
            y1r, y1i = _times(y1r, y1i, everywhere(t[u]), everywhere(t[u + 1]))
            y2r, y2i = _times(y2r, y2i, everywhere(t[u + 2]), everywhere(t[u + 3]))
            y3r, y3i = _times(y3r, y3i, everywhere(t[u + 4]), everywhere(t[u + 5]))
        _put(re, im, b, y1r, y1i)
        _put(re, im, c, y2r, y2i)
        _put(re, im, d, y3r, y3i)


@njit(cache=True, nogil=True, error_model="numpy")
def _four_back(re: Signal, im: Signal, first: int, length: int, t: Signal, w: int) -> None:
    """Undo `_four`, but for a factor of 4."""
    step = length // 4 * ROW
    for j in range(length // 4):
        a = (first + j) * ROW
        b, c, d = a + step, a + 2 * step, a + 3 * step
        ar, ai, br, bi = row(re, a), row(im, a), row(re, b), row(im, b)
        cr, ci, dr, di = row(re, c), row(im, c), row(re, d), row(im, d)
        if j:
            u = w + 6 * j
            br, bi = _times(br, bi, everywhere(t[u]), everywhere(-t[u + 1]))
            cr, ci = _times(cr, ci, everywhere(t[u + 2]), everywhere(-t[u + 3]))
            dr, di = _times(dr, di, everywhere(t[u + 4]), everywhere(-t[u + 5]))
        evenr, eveni, awayr, awayi = ar + cr, ai + ci, ar - cr, ai - ci
        oddr, oddi, offr, offi = br + dr, bi + di, br - dr, bi - di
        _put(re, im, a, evenr + oddr, eveni + oddi)
        _put(re, im, b, awayr - offi, awayi + offr)
        _put(re, im, c, evenr - oddr, eveni - oddi)
        _put(re, im, d, awayr + offi, awayi - offr)


@njit(cache=True, nogil=True, error_model="numpy")
def _two(re: Signal, im: Signal, first: int, length: int, t: Signal, w: int) -> None:
    """Radix 2 over rows first .. first + length."""
    step = length // 2 * ROW
    for j in range(length // 2):
        a, u = (first + j) * ROW, w + 2 * j
        b = a + step
        ar, ai, br, bi = row(re, a), row(im, a), row(re, b), row(im, b)
        _put(re, im, a, ar + br, ai + bi)
        br, bi = _times(ar - br, ai - bi, everywhere(t[u]), everywhere(t[u + 1]))
        _put(re, im, b, br, bi)


@njit(cache=True, nogil=True, error_model="numpy")
def _two_back(re: Signal, im: Signal, first: int, length: int, t: Signal, w: int) -> None:
    """Undo `_two`, but for a factor of 2."""
    step = length // 2 * ROW
    for j in range(length // 2):
        a, u = (first + j) * ROW, w + 2 * j
        b = a + step
        ar, ai = row(re, a), row(im, a)
        br, bi = _times(row(re, b), row(im, b), everywhere(t[u]), everywhere(-t[u + 1]))
        _put(re, im, a, ar + br, ai + bi)
        _put(re, im, b, ar - br, ai - bi)


@njit(cache=True, nogil=True, error_model="numpy")
def _three(re: Signal, im: Signal, length: int, t: Signal, w: int) -> None:
    """Radix 3 over all rows."""
    step = length // 3 * ROW
    half, turn = everywhere(re.dtype.type(0.5)), everywhere(re.dtype.type(_SIN_60))
    for j in range(length // 3):
        a, u = j * ROW, w + 4 * j
        b, c = a + step, a + 2 * step
        ar, ai, br, bi, cr, ci = row(re, a), row(im, a), row(re, b), row(im, b), row(re, c), row(im, c)
        sr, si, dr, di = br + cr, bi + ci, turn * (br - cr), turn * (bi - ci)
        _put(re, im, a, ar + sr, ai + si)
        mr, mi = ar - half * sr, ai - half * si
        br, bi = _times(mr + di, mi - dr, everywhere(t[u]), everywhere(t[u + 1]))
        _put(re, im, b, br, bi)
        cr, ci = _times(mr - di, mi + dr, everywhere(t[u + 2]), everywhere(t[u + 3]))
        _put(re, im, c, cr, ci)


@njit(cache=True, nogil=True, error_model="numpy")
def _three_back(re: Signal, im: Signal, length: int, t: Signal, w: int) -> None:
    """Undo `_three`, but for a factor of 3."""
    step = length // 3 * ROW
    half, turn = everywhere(re.dtype.type(0.5)), everywhere(re.dtype.type(_SIN_60))
    for j in range(length // 3):
        a, u = j * ROW, w + 4 * j
        b, c = a + step, a + 2 * step
        ar, ai = row(re, a), row(im, a)
        br, bi = _times(row(re, b), row(im, b), everywhere(t[u]), everywhere(-t[u + 1]))
        cr, ci = _times(row(re, c), row(im, c), everywhere(t[u + 2]), everywhere(-t[u + 3]))
        sr, si, dr, di = br + cr, bi + ci, turn * (br - cr), turn * (bi - ci)
        _put(re, im, a, ar + sr, ai + si)
        mr, mi = ar - half * sr, ai - half * si
        _put(re, im, b, mr - di, mi + dr)
        _put(re, im, c, mr + di, mi - dr)


@njit(cache=True, nogil=True, error_model="numpy")
def _rows(re: Signal, im: Signal, t: Signal, first: int, space: Signal) -> None:
    """Transform ROW rows: the product with exp(-2 pi i k l / M), and over the places of a row."""
    size = re.size
    for r in range(ROW):
        here = (first + r) * ROW
        ar, ai = row(t, 2 * size + here), row(t, 3 * size + here)
        br, bi = _times(row(re, here), row(im, here), ar, ai)
        store(space, r * ROW, br)
        store(space, SMALLEST + r * ROW, bi)
    transpose(space, 0, re, first * ROW)
    transpose(space, SMALLEST, im, first * ROW)
    _four(re, im, first, ROW, t, t.size - _LAST_PASSES)
    for f in range(first, first + ROW, 4):
        _four(re, im, f, 4, t, 0)


@njit(cache=True, nogil=True, error_model="numpy")
def _rows_back(re: Signal, im: Signal, t: Signal, first: int, space: Signal) -> None:
    """Undo `_rows`, but for a factor of ROW."""
    size = re.size
    for f in range(first, first + ROW, 4):
        _four_back(re, im, f, 4, t, 0)
    _four_back(re, im, first, ROW, t, t.size - _LAST_PASSES)
    transpose(re, first * ROW, space, 0)
    transpose(im, first * ROW, space, SMALLEST)
    for r in range(ROW):
        here = (first + r) * ROW
        ar, ai = row(t, 2 * size + here), row(t, 3 * size + here)
        br, bi = row(space, r * ROW), row(space, SMALLEST + r * ROW)
        _put(re, im, here, br * ar + bi * ai, bi * ar - br * ai)


@njit(cache=True, nogil=True, error_model="numpy")
def _plan(rows: int) -> tuple[int, int, int]:
    """Return the radix of the first pass, of the second (1 where there is none), and the rows left then."""
    three = 3 if rows % 3 == 0 else 1
    rows //= three
    two, power = 1, rows
    while power > 1:
        power //= 4
        two = 2 if power == 0 else two
    return three, two, rows // two


@njit(cache=True, nogil=True, error_model="numpy")
def transform(re: Signal, im: Signal, t: Signal) -> None:
    """DFT of re + i im, in place and into this module's order; (M,) each, t: `tables` of M."""
    rows = re.size // ROW
    space = np.empty(2 * SMALLEST, re.dtype)
    three, two, length = _plan(rows)
    w = _PARTS * re.size
    if three == 3:
        _three(re, im, rows, t, w)
        w += 4 * (rows // 3)
    if two == 2:
        for first in range(0, rows, 2 * length):
            _two(re, im, first, 2 * length, t, w)
        w += 2 * length
    while length > _CACHED:
        for first in range(0, rows, length):
            _four(re, im, first, length, t, w)
        w += 6 * (length // 4)
        length //= 4
    for block in range(0, rows, length):
        n, v = length, w
        while n > 1:
            for first in range(block, block + length, n):
                _four(re, im, first, n, t, v)
            v += 6 * (n // 4)
            n //= 4
        for first in range(block, block + length, ROW):
            _rows(re, im, t, first, space)


@njit(cache=True, nogil=True, error_model="numpy")
def transform_back(re: Signal, im: Signal, t: Signal) -> None:
    """Undo `transform`, but for a factor of M."""
    rows = re.size // ROW
    space = np.empty(2 * SMALLEST, re.dtype)
    three, two, most = _plan(rows)
    length = most
    while length > _CACHED:
        length //= 4
    w = t.size
    for block in range(0, rows, length):
        for first in range(block, block + length, ROW):
            _rows_back(re, im, t, first, space)
        n, w = 4, t.size
        while n <= length:
            w -= 6 * (n // 4)
            for first in range(block, block + length, n):
                _four_back(re, im, first, n, t, w)
            n *= 4
    while length < most:
        length *= 4
        w -= 6 * (length // 4)
        for first in range(0, rows, length):
            _four_back(re, im, first, length, t, w)
    if two == 2:
        w -= 2 * length
        for first in range(0, rows, 2 * length):
            _two_back(re, im, first, 2 * length, t, w)
    if three == 3:
        _three_back(re, im, rows, t, w - 4 * (rows // 3))


@njit(cache=True, nogil=True, error_model="numpy")
def enter(low: Signal, high: Signal, t: Signal, re: Signal, im: Signal) -> None:
    """z[n] = (u[n] - i u[n + M]) exp(-i pi n / (2 M)): `low` is u[:M], `high` what there is of u[M:].

    What they lack of M samples is zero.
    """
    size = re.size
    c, s = t[:size], t[size : 2 * size]
    for n in range(high.size):
        re[n] = low[n] * c[n] + high[n] * s[n]
        im[n] = low[n] * s[n] - high[n] * c[n]
    for n in range(high.size, low.size):
        re[n], im[n] = low[n] * c[n], low[n] * s[n]
    for n in range(low.size, size):
        re[n], im[n] = 0.0, 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def leave(re: Signal, im: Signal, t: Signal, low: Signal, high: Signal) -> None:
    """Undo `enter`, but for a factor of M: as many of u[:M] as `low` takes, of u[M:] as `high` takes."""
    size = re.size
    c, s = t[:size], t[size : 2 * size]
    for n in range(low.size):
        low[n] = re[n] * c[n] + im[n] * s[n]
    for n in range(high.size):
        high[n] = re[n] * s[n] - im[n] * c[n]
