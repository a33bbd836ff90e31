"""Keep large temporary arrays in the process instead of giving them back to the system each time.

A fit makes and drops arrays of some hundred megabytes at every step. glibc maps and unmaps each one,
and the page faults cost a quarter of a step's processor time. With the thresholds of mallopt(3)
raised, the memory is kept and used again.
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""Numbers of the parameters in <malloc.h>."""

_NEVER_TRIM = 2**31 - 1
_PAD_BYTES = 64 << 20
_MMAP_FROM_BYTES = 1 << 30


def keep_large_blocks() -> bool:
    """Tell glibc to keep freed memory; returns whether it did (elsewhere than on Linux: no).

    It changes the whole process, so programs call it, not the library.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    done = [
        mallopt(_MMAP_THRESHOLD, _MMAP_FROM_BYTES),
        mallopt(_TRIM_THRESHOLD, _NEVER_TRIM),
        mallopt(_TOP_PAD, _PAD_BYTES),
    ]
    return all(done)
