"""Many draws, a few of them refined: screening, then batched multi-start Adam with successive halving.

Draws from the closed form, the defaults and the prior are heard once; the best few become candidates.

All candidates are one batch: u (candidate, N) in [0, 1], one forward and one backward for all. Adam is Kingma
and Ba (2015), algorithm 1, elementwise, so that rows do not influence each other, each step projected
onto the cube (a sigmoid instead would freeze knobs that start at the end of their range). After each
round the worse half is dropped; the step size falls along a cosine over all rounds. Each candidate answers
for the best position it has visited, which is no luck: the crops are fixed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from fxstyle.fit.objective import Objective
from fxstyle.fit.space import Space, Vector

BETA_1, BETA_2, EPSILON = 0.9, 0.99, 1e-8
"""beta_2 below the customary 0.999: a round is some ten steps, and the averages must keep up."""

STEP_SIZE = 0.06
"""Share of a knob's range by which a step moves it at first."""


PRIOR_WIDTH = 1.2
"""Standard deviation of the draws over the prior's: a little wider, to look around."""

SHARES = (0.35, 0.15, 0.5)
"""How often an effect's knobs come from the guess, the defaults, the prior."""

SHAKE = 0.04
"""Standard deviation, in shares of a knob's range, by which every drawn position is moved."""

NEAR_COPY = 0.1
"""Two positions no knob of which differs by more than this share of its range lead to the same place."""

AT_ONCE = 16
"""Candidates screened in one batch: bounds the memory."""


@dataclass(frozen=True)
class Round:
    """So many candidates for so many steps."""

    candidates: int
    steps: int


@dataclass(frozen=True)
class Step:
    """One step of the course: the loss and terms of the best candidate so far."""

    step: int
    candidates: int
    loss: float
    terms: dict[str, float]


@dataclass(frozen=True)
class Found:
    """Where the search arrived: positions (candidate, N) in (0, 1), best first, and their losses.

    stopped: whether the user stopped it (Ctrl-C) before its end.
    restarts, restart_losses: where every candidate had arrived, those dropped on the way as well.
    """

    positions: Vector
    losses: Vector
    course: tuple[Step, ...]
    stopped: bool = False
    restarts: Vector = field(default_factory=lambda: np.empty((0, 0)))
    restart_losses: Vector = field(default_factory=lambda: np.empty(0))


def draws(space: Space, guess: Vector, count: int, generator: np.random.Generator) -> Vector:
    """Positions (count, N) worth a trial.

    The first is the closed-form guess, the second the defaults. The others take each effect's knobs,
    effect by effect, from the guess, the defaults, or the prior, and shake them.
    """
    home = space.unit({})
    factor, middle = space.factor.numpy(), space.home
    slots = [k.address.split(".")[0] for k in space.knobs]
    rows = [guess, home]
    while len(rows) < count:
        pick = {slot: generator.choice(3, p=SHARES) for slot in dict.fromkeys(slots)}
        drawn = _mirrored(middle + factor @ generator.normal(0.0, PRIOR_WIDTH, space.size))
        row = np.asarray([(guess[i], home[i], drawn[i])[pick[slot]] for i, slot in enumerate(slots)])
        rows.append(row + generator.normal(0.0, SHAKE, space.size))
    return np.clip(np.stack(rows[:count]), 0.0, 1.0)


def _mirrored(u: Vector) -> Vector:
    """Fold positions that left the cube back into it: a default at the end of a range has one side only."""
    return np.asarray(1.0 - np.abs(1.0 - np.mod(np.abs(u), 2.0)))


@torch.no_grad()
def screen(objective: Objective, positions: Vector, count: int) -> Vector:
    """Return the `count` best of `positions` (candidate, N), leaving out near copies of better ones.

    The guess and the defaults, the first two, are always among them.
    """
    losses = np.concatenate(
        [
            objective(torch.from_numpy(positions[i : i + AT_ONCE]))[0].double().nan_to_num(math.inf).numpy()
            for i in range(0, len(positions), AT_ONCE)
        ]
    )
    order = [int(i) for i in np.argsort(losses, kind="stable") if i > 1]
    chosen = [0, 1][:count]
    for distance in (NEAR_COPY, 0.0):
        for i in order:
            gaps = np.abs(positions[chosen] - positions[i]).max(axis=1)
            if len(chosen) < count and i not in chosen and gaps.min() >= distance:
                chosen.append(i)
    return positions[chosen]


def adam_direction(
    m: torch.Tensor, v: torch.Tensor, gradient: torch.Tensor, t: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return both moments after the gradient of step t = 1, 2, .., and where Adam goes from there."""
    m = BETA_1 * m + (1.0 - BETA_1) * gradient
    v = BETA_2 * v + (1.0 - BETA_2) * gradient.square()
    return m, v, (m / (1.0 - BETA_1**t)) / ((v / (1.0 - BETA_2**t)).sqrt() + EPSILON)


def adam(
    objective: Objective,
    positions: Vector,
    rounds: tuple[Round, ...],
    *,
    step_size: float = STEP_SIZE,
    progress: Callable[[float, float], None] | None = None,
) -> Found:
    """Refine `positions` (candidate, N) through `rounds`; returns the survivors, best first.

    A KeyboardInterrupt ends it early, with the best so far; before the first step is done it passes.
    """
    u = torch.from_numpy(positions)
    m, v = torch.zeros_like(u), torch.zeros_like(u)
    # one name for both, so that an interruption cannot come between them
    best = u.clone(), torch.full((u.shape[0],), math.inf, dtype=torch.float64)
    total = sum(r.steps for r in rounds)
    course: list[Step] = []
    dropped: list[tuple[torch.Tensor, torch.Tensor]] = []
    t, stopped = 0, False
    try:
        for current in rounds:
            order = best[1].argsort(stable=True)
            keep, gone = order[: current.candidates], order[current.candidates :]
            dropped.append((best[0][gone], best[1][gone]))
            u, m, v = best[0][keep].clone(), m[keep], v[keep]
            best = best[0][keep], best[1][keep]
            for _ in range(current.steps):
                t += 1
                u.requires_grad_(True)
                loss, terms = objective(u)
                (gradient,) = torch.autograd.grad(loss.sum(), u)
                u = u.detach()
                # A candidate that has run into infinity stays where it is and loses.
                gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
                value = loss.detach().double().nan_to_num(math.inf)
                better = value < best[1]
                best = torch.where(better[:, None], u, best[0]), torch.where(better, value, best[1])
                leader = int(value.argmin())
                shares = {name: float(term.detach()[leader]) for name, term in terms.items()}
                course.append(Step(t, len(u), float(value[leader]), shares))
                m, v, direction = adam_direction(m, v, gradient, t)
                rate = step_size * 0.5 * (1.05 + math.cos(math.pi * t / total))
                u = (u - rate * direction).clamp(0.0, 1.0)
                if progress is not None:
                    progress(t / total, float(best[1].min()))
    except KeyboardInterrupt:
        if not course:
            raise
        stopped = True
    order = best[1].argsort(stable=True)
    positions, losses = best[0][order].numpy(), best[1][order].numpy()
    everywhere = [
        np.concatenate([part.numpy() for part in parts]) for parts in zip(best, *dropped, strict=True)
    ]
    return Found(positions, losses, tuple(course), stopped, *everywhere)
