"""Arrays that are computed once and handed out again and again cannot be changed by whoever gets them.

Left out are those in whose place kernels also read arrays that can be written to: numba compiles a kernel
anew for an array that is read-only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest

from fxstyle.dsp import fft
from fxstyle.effects import eq, gain, saturation, width
from fxstyle.embed.measured import content_covariances
from fxstyle.features.bands import pooling
from fxstyle.fit import judge

RATE = 44100.0

SHARED: dict[str, Callable[[], Iterable[np.ndarray]]] = {
    "bands": lambda: [pooling(range(-3, 3), 3, 2048, RATE)],
    "judge's filters": lambda: [judge._filters(RATE)],
    "judge's whiteners": lambda: judge._whiteners().values(),
    "covariances": lambda: content_covariances().values(),
    "transforms": lambda: [fft.tables(256, np.dtype(np.float32))],
    "eq": lambda: [eq._design_of(RATE, {"peak1_db": 3.0})],
    "gain": lambda: [gain._numbers(2, 3.0, 0.5, 0.0)],
    "saturation": lambda: [saturation._blocker(RATE)],
    "width": lambda: [width._numbers(0.5, 0.0), width._filters(RATE, 0.5, 100.0, 1.5, 4000.0)],
}


@pytest.mark.parametrize("name", SHARED)
def test_shared_arrays_are_read_only(name: str) -> None:
    first, again = list(SHARED[name]()), list(SHARED[name]())
    assert first
    for array, other in zip(first, again, strict=True):
        assert array is other, "not shared: take it out of the table"
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0.0
