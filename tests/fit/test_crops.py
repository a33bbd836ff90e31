"""Crops: salient, apart from each other, and exactly where they say they are."""

from itertools import pairwise

import numpy as np
import pytest

from fxstyle.fit.crops import cut, salient


@pytest.mark.parametrize("count", [1, 3, 9, 10])
def test_crops_do_not_overlap(count: int) -> None:
    begins = salient(np.random.default_rng(0).standard_normal((2, 10_000)), 1000, count)
    assert len(begins) == count
    assert all(b - a >= 1000 for a, b in pairwise(begins))


def test_silence_is_not_salient() -> None:
    x = np.zeros((1, 20_000))
    x[:, 8000:9500] = np.random.default_rng(1).standard_normal(1500)
    for begin in salient(x, 1000, 3):
        assert 7000 < begin < 9500


def test_all_silent_still_gives_one() -> None:
    assert len(salient(np.zeros((1, 5000)), 1000, 2)) >= 1


def test_cut_takes_the_preroll_before_the_crop() -> None:
    x = np.arange(100, dtype=np.float32)[None]
    crops = cut(x, [0, 50], 10, 20)
    assert crops.audio.shape == (2, 1, 30)
    assert crops.audio[0, 0, :20].abs().max() == 0.0
    assert crops.audio[0, 0, 20:].tolist() == list(range(10))
    assert crops.audio[1, 0].tolist() == list(range(30, 60))


@pytest.mark.parametrize("count", [1, 4])
def test_same_every_time(count: int) -> None:
    x = np.random.default_rng(2).standard_normal((2, 9000))
    assert salient(x, 1000, count) == salient(x, 1000, count)
