"""The search: draws inside the cube, keeps the best, finds a known minimum, drops losers, survives NaN."""

from typing import cast

import numpy as np
import pytest
import torch

from fxstyle.chain import Chain
from fxstyle.fit.locks import Locks
from fxstyle.fit.objective import Objective
from fxstyle.fit.search import NEAR_COPY, Round, adam, draws, screen
from fxstyle.fit.space import Space

SPACE = Space(Chain.parse("compressor,gain"), Locks())


def _as_objective(function: object) -> Objective:
    return cast(Objective, function)


def _bowl(u: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Least at 0.3 in every coordinate, and steeper in the first."""
    weight = torch.ones(u.shape[1], dtype=u.dtype)
    weight[0] = 50.0
    loss = (weight * (u - 0.3).square()).sum(-1)
    return loss, {"bowl": loss}


def test_draws_are_inside_and_led_by_the_guess() -> None:
    guess = SPACE.unit({"compressor.ratio": 4.0})
    rows = draws(SPACE, guess, 12, np.random.default_rng(0))
    assert rows.shape == (12, SPACE.size)
    assert rows.min() >= 0.0
    assert rows.max() <= 1.0
    assert np.array_equal(rows[0], guess)
    assert np.array_equal(rows[1], SPACE.unit({}))
    assert np.unique(rows, axis=0).shape[0] == 12


def test_one_draw_is_the_guess() -> None:
    guess = SPACE.unit({})
    assert draws(SPACE, guess, 1, np.random.default_rng(0)).shape == (1, SPACE.size)


def test_draws_follow_the_prior() -> None:
    """A knob whose default is an end of its range is drawn from the side there is."""
    space = Space(Chain.parse("eq"), Locks())
    rows = draws(space, space.unit({}), 400, np.random.default_rng(0))
    cut = [k.address for k in space.knobs].index("eq.low_cut_hz")
    assert np.quantile(rows[:, cut], 0.9) > 0.3
    gain = [k.address for k in space.knobs].index("eq.peak3_db")
    assert rows[:, gain].mean() == pytest.approx(0.5, abs=0.03)
    assert np.std(rows[:, gain]) < 1.5 * float(space.factor[gain, gain])


def test_screening_keeps_the_best_that_differ() -> None:
    rng = np.random.default_rng(0)
    positions = rng.uniform(0.0, 1.0, (40, 3))
    positions[7] = 0.3
    positions[8] = 0.3 + 0.5 * NEAR_COPY  # a near copy of the best
    kept = screen(_as_objective(_bowl), positions, 6)
    assert np.array_equal(kept[:2], positions[:2])
    assert np.array_equal(kept[2], positions[7])
    assert not (kept == positions[8]).all(axis=1).any()
    losses = _bowl(torch.from_numpy(kept[2:]))[0]
    assert (losses.diff() >= 0.0).all()


def test_screening_fills_up_with_copies_where_there_is_nothing_else() -> None:
    positions = np.full((5, 2), 0.4)
    assert screen(_as_objective(_bowl), positions, 4).shape == (4, 2)


def test_finds_the_minimum_of_a_bowl() -> None:
    begin = np.random.default_rng(0).uniform(0.0, 1.0, (6, 5))
    found = adam(_as_objective(_bowl), begin, (Round(6, 30), Round(2, 60)))
    assert found.positions.shape == (2, 5)
    assert np.abs(found.positions[0] - 0.3).max() < 0.01
    assert found.losses[0] <= found.losses[1]
    assert [step.candidates for step in found.course] == [6] * 30 + [2] * 60


def test_a_minimum_outside_the_cube_is_met_at_its_face() -> None:
    def slope(u: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        loss = (u - torch.tensor([2.0, -1.0], dtype=u.dtype)).square().sum(-1)
        return loss, {"slope": loss}

    found = adam(_as_objective(slope), np.full((1, 2), 0.5), (Round(1, 80),))
    assert found.positions[0] == pytest.approx([1.0, 0.0])


def test_a_candidate_that_is_not_a_number_loses() -> None:
    def hole(u: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        factor = torch.where(u[:, 0].detach() > 0.9, torch.nan, 1.0)
        loss = factor * (u - 0.3).square().sum(-1)
        return loss, {"hole": loss}

    begin = np.array([[0.95, 0.5], [0.5, 0.5]])
    found = adam(_as_objective(hole), begin, (Round(2, 20), Round(1, 20)))
    assert np.isfinite(found.losses).all()
    assert np.abs(found.positions[0] - 0.3).max() < 0.05


def test_rows_do_not_influence_each_other() -> None:
    begin = np.random.default_rng(1).uniform(0.0, 1.0, (3, 4))
    together = adam(_as_objective(_bowl), begin, (Round(3, 15),))
    alone = [adam(_as_objective(_bowl), row[None], (Round(1, 15),)) for row in begin]
    assert sorted(together.losses) == pytest.approx(sorted(float(a.losses[0]) for a in alone), rel=1e-12)


def test_progress_runs_to_one() -> None:
    seen: list[float] = []
    adam(
        _as_objective(_bowl),
        np.full((1, 2), 0.5),
        (Round(1, 4),),
        progress=lambda share, loss: seen.append(share),
    )
    assert seen == [0.25, 0.5, 0.75, 1.0]
