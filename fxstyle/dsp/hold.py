"""A level that is held: the largest of the last samples, as long as `hold` = L + f samples, 0 <= f < 1.

    w[n] = (1 - f) max(v[n-L] .. v[n]) + f max(v[n-L-1] .. v[n])                before the beginning v is 0

It is continuous and piecewise linear in the hold. The maximum over blocks of L + 1 samples counted from the
beginning of the stream (what is left of the last block, what has come of this one) is van Herk's (1992) and
Gil & Werman's (1993): two comparisons per sample, however long the hold. Its adjoint is
`fxstyle.dsp.levels.hold_adjoint`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from fxstyle.dsp.recurrence import Floats

# Rows of a channel's memory.
_PAST, _LEFT = range(2)


@njit(cache=True, nogil=True, error_model="numpy")
def rest_of_hold(channels: int, hold: float) -> Floats:
    """Return the memory (channel, 2, L + 2) of a stream that was silent so far.

    It holds the last samples by position in the block and, last, the largest of this block so far; and the
    suffix maxima of the last block, whose last is the maximum of nothing.
    """
    return np.zeros((channels, 2, int(hold) + 2))


@njit(cache=True, nogil=True, error_model="numpy")
def held(v: Floats, hold: float, memory: Floats, position: int, w: Floats, size: int) -> int:
    """Fill w[0:size] from v, move `memory` (2, L + 2) on and return the new position in the block."""
    count = memory.shape[1] - 1
    share = hold - int(hold)
    past, left = memory[_PAST], memory[_LEFT]
    most = past[count]
    begin = 0
    while begin < size:
        length = min(size - begin, count - position)
        new, out, store, before = v[begin:], w[begin:], past[position:], left[position + 1 :]
        for n in range(length):
            most = new[n] if new[n] > most else most
            out[n] = most
        for n in range(length):
            largest = before[n] if before[n] > out[n] else out[n]
            longer = store[n] if store[n] > largest else largest  # v[n-L-1], and all after it
            store[n] = new[n]
            out[n] = largest + share * (longer - largest)
        begin += length
        position += length
        if position == count:
            most = 0.0
            for n in range(count - 1, -1, -1):
                most = past[n] if past[n] > most else most
                left[n] = most
            most, position = 0.0, 0
    past[count] = most
    return position
