"""What several tests share: real recordings, and the streaming form of an effect run to its end."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from fxstyle.effect import Effect, Samples

RenderWhole = Callable[..., Samples]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of real recordings, or skip."""
    named = os.environ.get("FXSTYLE_DATA", "")
    if not named:
        pytest.skip("FXSTYLE_DATA is not set: name the folder of real recordings to run this test")
    folder = Path(named)
    if not folder.is_dir():
        pytest.skip(f"FXSTYLE_DATA = {named} is not a folder")
    return folder


def _render_whole(
    effect: Effect, x: Samples, rate: float, settings: Mapping[str, float], block: int | None = None
) -> Samples:
    latency = effect.latency(rate, settings)
    stream = np.concatenate((x, np.zeros((x.shape[0], latency), dtype=x.dtype)), axis=1)
    step = stream.shape[1] if block is None else block
    state, blocks = None, []
    for begin in range(0, stream.shape[1], step):
        y, state = effect.render(stream[:, begin : begin + step], rate, state, **settings)
        blocks.append(y)
    return np.concatenate(blocks, axis=1)[:, latency:]


@pytest.fixture(scope="session")
def render_whole() -> RenderWhole:
    """Return render_whole(effect, x, rate, settings, block=None): aligned with x, in blocks of one size."""
    return _render_whole
