"""How sure a fit is: curvature gives the width, ends and restarts count, and noise is no knowledge."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from fxstyle import Audio, match
from fxstyle.chain import Chain
from fxstyle.fit.certainty import TEMPERATURE, Certainty, certainties, precisions, spreads
from fxstyle.fit.locks import Locks
from fxstyle.fit.objective import PRIOR_WEIGHT
from fxstyle.fit.result import Match
from fxstyle.fit.search import Found
from fxstyle.fit.space import Space
from fxstyle.presets import Preset

Vector = npt.NDArray[np.float64]
Loss = Callable[[Vector], Vector]

CURVED = np.array([8.0, 2.0, 40.0])
BEFORE = np.array([4.0, 4.0, 9.0])
"""Precisions under the prior."""

WIDTHS = 1.0 / np.sqrt((CURVED - 2.0 * PRIOR_WEIGHT * BEFORE) / (2.0 * TEMPERATURE) + BEFORE)
"""What the bowl has by the formula."""


def found(restarts: list[list[float]], losses: list[float]) -> Found:
    """Return a search that ended in `restarts`."""
    ends = np.array(restarts) if restarts else np.empty((0, 3))
    return Found(ends, np.array(losses), (), False, ends, np.array(losses))


def bowl(middle: Vector) -> Loss:
    """Return 1/2 sum_j J_jj (u_j - m_j)^2."""
    return lambda rows: 0.5 * (CURVED * np.square(rows - middle)).sum(axis=1)


def test_the_width_is_that_of_the_parabola() -> None:
    """One standard deviation away -2 log p has risen by one: the definition."""
    middle = np.array([0.5, 0.4, 0.6])
    widths = spreads(bowl(middle), found([list(middle)], [0.0]), middle, [0, 1, 2], BEFORE)
    assert widths == pytest.approx(WIDTHS, rel=1e-9)
    for j, width in enumerate(widths):
        aside = middle.copy()
        aside[j] += width
        thought = BEFORE[j] * width**2
        heard = bowl(middle)(aside[None])[0] - PRIOR_WEIGHT * thought
        assert heard / TEMPERATURE + thought == pytest.approx(1.0)


def test_at_an_end_of_the_range_the_other_side_decides() -> None:
    """The parabola's middle is the end: the same width as inside."""
    middle = np.array([0.0, 1.0, 0.5])
    widths = spreads(bowl(middle), found([list(middle)], [0.0]), middle, [0, 1], BEFORE[:2])
    assert widths == pytest.approx(WIDTHS[:2], rel=1e-9)


def test_near_an_end_both_sides_count_as_far_as_they_reach() -> None:
    middle = np.array([0.02, 0.5, 0.5])
    widths = spreads(bowl(middle), found([list(middle)], [0.0]), middle, [0], BEFORE[:1])
    assert widths == pytest.approx(WIDTHS[:1], rel=1e-9)


def test_restarts_widen_by_how_good_they_are() -> None:
    """Weights 1, e^-1/2 and next to none, of three restarts."""
    middle = np.array([0.5, 0.5, 0.5])
    elsewhere, bad = [0.5, 0.9, 0.5], [0.9, 0.5, 0.5]
    ends = found([list(middle), elsewhere, bad], [0.0, TEMPERATURE, 100.0 * TEMPERATURE])
    widths = spreads(bowl(middle), ends, middle, [0, 1, 2], BEFORE)
    assert widths[[0, 2]] == pytest.approx(WIDTHS[[0, 2]])
    weight = math.exp(-0.5) / (1.0 + math.exp(-0.5))
    assert widths[1] == pytest.approx(math.hypot(WIDTHS[1], 0.4 * math.sqrt(weight)))


def test_a_search_without_restarts_has_the_curvature_alone() -> None:
    middle = np.array([0.5, 0.5, 0.5])
    assert spreads(bowl(middle), found([], []), middle, [0, 1, 2], BEFORE) == pytest.approx(WIDTHS)


def test_a_flat_or_falling_loss_leaves_what_was_thought_before() -> None:
    middle = np.array([0.5, 0.5, 0.5])
    hill: Loss = lambda rows: -np.square(rows - middle).sum(axis=1)  # noqa: E731  # a formula
    widths = spreads(hill, found([list(middle)], [0.0]), middle, [0, 2], BEFORE[[0, 2]])
    assert widths == pytest.approx(1.0 / np.sqrt(BEFORE[[0, 2]]))


def test_what_the_prior_alone_says_is_not_identified() -> None:
    """With the objective's prior and nothing else the spread is the prior's own: hardly told."""
    space = Space(Chain.parse("compressor,gain"), Locks())
    best = np.full(space.size, 0.5)
    inverse = np.linalg.inv((space.factor @ space.factor.T).numpy())

    def prior(rows: Vector) -> Vector:
        return np.asarray(PRIOR_WEIGHT * np.einsum("ki,ij,kj->k", rows - best, inverse, rows - best))

    def told(rows: Vector) -> Vector:
        return prior(rows) + 1e3 * np.square(rows[:, 0] - 0.5)

    here = Found(best[None], np.zeros(1), (), False, best[None], np.zeros(1))
    before = precisions(space)
    widths = spreads(prior, here, best, range(space.size), before)
    assert widths == pytest.approx(1.0 / np.sqrt(before), rel=1e-6)
    chain = space.chain(best)
    nothing = certainties(space, prior, here, best, chain)
    assert [c.setting for c in nothing] == [k.address for k in space.knobs]
    assert not any(c.identified for c in nothing)
    first, *others = certainties(space, told, here, best, chain)
    assert first.identified
    assert not any(c.identified for c in others)
    assert first.low < chain.settings()[first.setting] < first.high


def test_what_is_gone_or_was_changed_since_is_left_out() -> None:
    space = Space(Chain.parse("compressor,gain"), Locks())
    best = np.full(space.size, 0.5)
    here = Found(best[None], np.zeros(1), (), False, best[None], np.zeros(1))

    def loss(rows: Vector) -> Vector:
        return np.asarray(np.square(rows - best).sum(axis=1))

    shorter = space.chain(best).without("gain")
    slots = {c.setting.split(".")[0] for c in certainties(space, loss, here, best, shorter)}
    assert slots == {"compressor"}
    some = certainties(space, loss, here, best, space.chain(best), {"compressor.ratio"})
    assert "compressor.ratio" not in {c.setting for c in some}
    assert "gain.gain_db" in {c.setting for c in some}


@pytest.fixture(scope="module")
def fitted() -> Match:
    """A level of -9 dB on noise, without anything that could make a compressor work."""
    rng = np.random.default_rng(0)
    x = rng.normal(0.0, 0.1, (1, 44100 * 4)).astype(np.float32)
    return match(
        Audio(x, 44100), Audio(x * np.float32(10.0 ** (-9.0 / 20.0)), 44100),
        chain="compressor,gain", lock=("compressor.ratio<=1.5",), quality="draft", paired="no",
    )  # fmt: skip


def test_a_fit_says_how_sure_it_is(fitted: Match) -> None:
    """The level is told well. A compressor that has next to no work to do is hardly told."""
    sure = {c.setting: c for c in fitted.certainty}
    level = sure["gain.gain_db"]
    value = fitted.chain.settings()["gain.gain_db"]
    assert level.identified
    assert level.low < value < level.high
    assert level.high - level.low < 20.0
    for address in sure:
        assert address in fitted.chain.settings()
    attack = sure.get("compressor.attack_ms")
    assert attack is None or not attack.identified


def test_the_preset_keeps_it(fitted: Match, tmp_path: Path) -> None:
    there = Preset.from_json(fitted.preset.to_json())
    assert {s.setting for s in there.provenance.likely} == {c.setting for c in fitted.certainty}
    assert there.provenance.likely[-1].low == fitted.certainty[-1].low
    without = replace(fitted, certainty=())
    assert '"likely"' not in without.preset.to_json()


def test_the_report_draws_it_and_says_what_is_hardly_told(fitted: Match) -> None:
    page = replace(
        fitted, certainty=(Certainty("gain.gain_db", -12.0, -6.0, "dB", "-12.0 to -6.0 dB", False),)
    ).report()
    assert 's class="unsure"' in page
    assert "likely -12.0 to -6.0 dB (hardly told)" in page
    assert "hardly tell" not in replace(fitted, certainty=()).report()
