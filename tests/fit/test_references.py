"""Several references: each counts as much as it is to, and no other number of weights will do."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fxstyle.audio import Audio
from fxstyle.errors import SettingError
from fxstyle.fit.match import match
from fxstyle.fit.quality import QUALITIES
from fxstyle.fit.references import shares
from fxstyle.fit.target import Task, prepare
from fxstyle.performance import perform

RATE = 44100


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=8).filter(lambda w: sum(w) > 1e-6))
def test_shares_sum_to_one_and_keep_ratios(weights: list[float]) -> None:
    found = shares(weights, len(weights))
    assert sum(found) == pytest.approx(1.0)
    assert np.allclose(np.multiply(found, sum(weights)), weights)


def test_without_weights_all_are_alike() -> None:
    assert shares((), 4) == (0.25,) * 4
    assert shares((), 0) == ()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((1.0,), "1 weights for 2 references"),
        ((1.0, -2.0), "weight -2"),
        ((1.0, float("nan")), "weight nan"),
        ((float("inf"), 1.0), "weight inf"),
        ((0.0, 0.0), "all references are 0"),
    ],
)
def test_what_are_no_weights_is_named(weights: tuple[float, ...], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        shares(weights, 2)


@pytest.fixture(scope="module")
def sounds() -> tuple[Audio, Audio, Audio]:
    made = [perform(6.0, RATE, song=0, seed=seed) for seed in (1, 2, 3)]
    return Audio(made[0], RATE), Audio(made[1] * np.float32(0.5), RATE), Audio(made[2], RATE)


class TestTheAim:
    """The aim is the weighted mean of where each reference alone would lead, on the same noise."""

    @staticmethod
    def _task(source: Audio, references: tuple[Audio, ...], weights: tuple[float, ...]) -> Task:
        return prepare(source, references, QUALITIES["draft"], keep_loudness=False, weights=weights)

    def test_is_between_them(self, sounds: tuple[Audio, Audio, Audio]) -> None:
        source, *both = sounds
        one, two = (self._task(source, (r,), (1.0,)).aims[0].target["levels"] for r in both)
        mixed = self._task(source, tuple(both), (0.75, 0.25)).aims[0].target["levels"]
        assert torch.allclose(mixed, 0.75 * one + 0.25 * two, atol=1e-4)

    def test_the_judge_hears_more_of_what_counts_more(self, sounds: tuple[Audio, Audio, Audio]) -> None:
        source, *both = sounds
        alike, heavier = (
            len(self._task(source, tuple(both), w).reference_passages) for w in ((0.5, 0.5), (0.9, 0.1))
        )
        assert heavier < alike

    def test_none_of_what_counts_nothing(self, sounds: tuple[Audio, Audio, Audio]) -> None:
        source, first, second = sounds
        alone = match(source, first, chain="gain", quality="draft")
        both = match(source, [first, second], chain="gain", quality="draft", weights=(1.0, 0.0))
        assert both.chain.settings() == alone.chain.settings()
        assert len(both.references) == 2
        assert both.weights == (1.0, 0.0)
        assert "the references count 100 %, 0 %" in both.notes
        assert "<html" in both.report()
