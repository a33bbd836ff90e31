"""What the tests of single effects share: the effect of their module rendered whole, and a null."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fxstyle.effect import Samples

RATE = 44_100.0


@pytest.fixture
def play(request: pytest.FixtureRequest) -> Callable[..., Samples]:
    """Return play(x, rate=44100, **changed): the module's EFFECT over (channel, time), from its defaults."""
    effect = request.module.EFFECT

    def whole(x: Samples, rate: float = RATE, **changed: float) -> Samples:
        y: Samples = effect.render(x, rate, None, **(effect.defaults() | changed))[0]
        return y

    return whole


@pytest.fixture(scope="session")
def null_db() -> Callable[[Samples, Samples], float]:
    """Return null_db(y, truth): the power of their difference over that of the truth."""
    return lambda y, truth: float(10.0 * np.log10(np.mean((y - truth) ** 2) / np.mean(truth**2)))
