"""The held maximum against the plain one over a window, for holds of any length and any cut of the stream."""

from __future__ import annotations

import numpy as np
import pytest

from fxstyle.dsp.hold import held, rest_of_hold
from fxstyle.effect import Samples


def plain(v: Samples, hold: float) -> Samples:
    whole = int(hold)
    short = [v[max(n - whole, 0) : n + 1].max() for n in range(v.size)]
    longer = [v[max(n - whole - 1, 0) : n + 1].max() for n in range(v.size)]
    return (1.0 - (hold - whole)) * np.array(short) + (hold - whole) * np.array(longer)


@pytest.mark.parametrize("hold", [0.0, 0.3, 1.0, 2.5, 17.0, 100.75, 999.0, 5000.5])
@pytest.mark.parametrize("block", [1, 13, 512, 3000])
def test_is_the_largest_of_the_last_samples(hold: float, block: int) -> None:
    v = np.random.default_rng(0).exponential(size=3000)
    memory, position, w = rest_of_hold(1, hold), 0, np.empty(3000)
    for begin in range(0, 3000, block):
        size = min(block, 3000 - begin)
        position = held(v[begin:], hold, memory[0], position, w[begin:], size)
    np.testing.assert_allclose(w, plain(v, hold), rtol=1e-15)


def test_a_falling_level_is_late_by_the_hold() -> None:
    v, w = np.linspace(1.0, 0.1, 500), np.empty(500)
    held(v, 40.0, rest_of_hold(1, 40.0)[0], 0, w, 500)
    np.testing.assert_array_equal(w[40:], v[:460])
    np.testing.assert_array_equal(w[:41], 1.0)
