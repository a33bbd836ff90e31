"""Vectors in kernels against numpy."""

import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from fxstyle.dsp.vectors import ROW, everywhere, row, store, transpose


@njit
def _combine(a, b, factor, out):
    for i in range(0, a.size, ROW):
        store(out, i, (row(a, i) + row(b, i)) * everywhere(factor) - row(b, i) * row(a, i))


@njit
def _copy(a, out):
    store(out, 0, row(a, 0))


@njit
def _turn(a, out):
    transpose(a, 0, out, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_operations_are_those_of_numpy_to_the_bit(dtype):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 5 * ROW)).astype(dtype)
    out = np.empty_like(a)
    _combine(a, b, dtype(0.3), out)
    np.testing.assert_array_equal(out, (a + b) * dtype(0.3) - b * a)


@pytest.mark.parametrize(
    ("a", "out"),
    [
        (np.ones(64)[::2], np.ones(32)),
        (np.ones(32, np.int64), np.ones(32)),
        (np.ones(32), np.ones(64)[::2]),
        (np.ones(32), np.ones(32, np.float32)),
        (np.ones((32, 32)).T, np.ones(1024)),
    ],
    ids=["scattered", "whole numbers", "into scattered", "of another type", "by columns"],
)
def test_other_arrays_are_not_compiled_for(a, out):
    """Nothing is checked when a kernel runs, so these would read and write beside the array."""
    with pytest.raises(TypingError, match=r"in one piece, not in|does not hold"):
        _copy(a, out)
    if out.ndim == 1 and out.size < 1024:
        with pytest.raises(TypingError, match=r"in one piece, not in|of different types"):
            _turn(a, out)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_become_columns(dtype):
    a = np.arange(ROW * ROW, dtype=dtype)
    out = np.empty_like(a)
    _turn(a, out)
    np.testing.assert_array_equal(out.reshape(ROW, ROW), a.reshape(ROW, ROW).T)
    _turn(a, a)  # in place as well: all is read before anything is written
    np.testing.assert_array_equal(a, out)
