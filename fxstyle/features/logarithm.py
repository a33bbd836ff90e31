"""Natural logarithms inside kernels, in the signal's own precision and without libm.

    ln v = e ln 2 + 2 artanh((m - 1)/(m + 1)),   v = m 2^e,   m in [1/sqrt 2, sqrt 2)

The series of 2 artanh is left off after z^15, z = (m - 1)/(m + 1): what is left is 3e-14 of it. ln 1 is 0 to
the bit. These loops run in SIMD lanes, sixteen float32 at a time, where libm's log does not.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[np.floating[Any]]
"""float32 or float64."""

_TERMS = 8


class Logs(NamedTuple):
    """Room for numbers that become their logarithms, and what the kernel needs for it.

    Attributes
    ----------
    value, bits: the numbers, and the same memory as integers. exponent: scratch of the same size.
    shift, mantissa, sqrt_half: how the number format is laid out, in integers of its size.
    constants: 1, ln 2 and the series; an array, since literals would turn float32 into float64.
    """

    value: Array
    bits: Any
    exponent: Array
    shift: Any
    mantissa: Any
    sqrt_half: Any
    constants: Array


def logs(size: int, dtype: np.dtype[Any]) -> Logs:
    """Return room for so many numbers of that type."""
    integer: Any = np.int64 if dtype == np.float64 else np.int32
    shift = np.finfo(dtype).nmant
    value = np.ones(size, dtype)
    return Logs(
        value=value,
        bits=value.view(integer),
        exponent=np.empty(size, dtype),
        shift=integer(shift),
        mantissa=integer((1 << shift) - 1),
        sqrt_half=integer(np.asarray(math.sqrt(0.5), dtype).view(integer)),
        constants=np.array([1.0, math.log(2.0), *(2.0 / (2 * k + 1) for k in range(_TERMS))], dtype),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def take_logs(room: Logs, size: int) -> None:
    """Turn the first `size` of room.value, normal numbers > 0, into their natural logarithms."""
    value, bits, exponent, c = room.value, room.bits, room.exponent, room.constants
    one, ln_2, c0, c1, c2, c3 = c[0], c[1], c[2], c[3], c[4], c[5]
    c4, c5, c6, c7 = c[6], c[7], c[8], c[9]
    for k in range(size):
        above = bits[k] - room.sqrt_half
        exponent[k] = above >> room.shift
        bits[k] = (above & room.mantissa) + room.sqrt_half
    for k in range(size):
        z = (value[k] - one) / (value[k] + one)
        w = z * z
        series = c0 + w * (c1 + w * (c2 + w * (c3 + w * (c4 + w * (c5 + w * (c6 + w * c7))))))
        value[k] = z * series + exponent[k] * ln_2
