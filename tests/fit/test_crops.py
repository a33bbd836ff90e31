"""Crops: salient, apart from each other, and exactly where they say they are."""

from itertools import pairwise

import numpy as np
import pytest

from fxstyle.fit.crops import cut, salient


def test_crops_do_not_overlap_each_other_or_what_is_taken() -> None:
    x = np.random.default_rng(0).standard_normal((2, 10_000))
    first = salient(x, 1000, 3)
    second = salient(x, 1000, 2, first)
    both = sorted(first + second)
    assert len(both) == 5
    assert min(b - a for a, b in pairwise(both)) >= 1000


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
