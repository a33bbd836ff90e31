"""Search where no gradient leads: a chain with plugins of other makers in it.

    ours      the usual search over our own knobs, with the plugins taken out of the chain
    then, in turns until the trials are used up
    trial     a generation of CMA-ES (Hansen 2016, arXiv:1604.00772; pycma) over z
    gradient  a few steps of Adam on the knobs behind the last plugin, for the best of all trials so far

z holds the plugins' knobs; for each slot of ours before the last plugin one share t of 0..1, by which its
knobs go from their defaults to what the first stage found,

    u(t) = u_0 + t (u_found - u_0).

No gradient passes a plugin, so what stands before it can only be tried, and
the thirty knobs of an equaliser are too many for a hundred trials; how much of what it did without the plugin
is still wanted is one number. What stands behind the plugin has gradients: the plugin's output is kept for
them and rendered once. A level that a plugin changes must be made good before one can tell whether it helped:
each trial is brought to the level of the first stage's output by the last level knob behind the plugin.

A trial in which a plugin crashes, hangs or gives no numbers is lost and counts as infinitely bad; after
MOST_LOST lost in a row the fit ends with what the plugin's process said. A KeyboardInterrupt ends the search
with the best so far, as it does the usual one.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from fxstyle.chain import Chain
from fxstyle.errors import MatchError, PluginError
from fxstyle.fit.objective import Objective
from fxstyle.fit.quality import Quality
from fxstyle.fit.search import AT_ONCE, Found, Round, Step, adam, screen
from fxstyle.fit.space import Space, Vector
from fxstyle.units import power_to_db

FEWEST, MOST = 8, 16
"""Trials of a generation; between them 4 + 3 ln N (Hansen 2016, eq. 48)."""

WIDEST, SHARE_SPREAD = 0.3, 0.3
"""Standard deviations of the first generation, in shares of a range: at most; that of a share t."""

STEPS = 4
"""Of Adam after each generation."""

FIRST_STEP, LAST_STEP = 0.03, 0.005
"""Sizes of these steps, as shares of a knob's range, from the first generation to the last."""

SHARE_OURS = 0.4
"""Of the progress that is shown: the first stage."""

MOST_LOST = 24
"""Trials lost in a row: the plugin does not bear this material, and one would wait for nothing."""


class Part(Space):
    """Some knobs of a space, in another chain, with all others left where they are.

    Parameters
    ----------
    whole: the space.
    base: the chain that they are knobs of.
    columns: their numbers among the knobs of `whole`.
    row: where all knobs of `whole` are, (N,).
    """

    def __init__(self, whole: Space, base: Chain, columns: Sequence[int], row: Vector) -> None:
        self._whole, self._columns, self._row = whole, list(columns), torch.from_numpy(row)
        self.base, self.beliefs = base, whole.beliefs
        self.knobs = tuple(whole.knobs[i] for i in columns)

    def placed(self, u: torch.Tensor) -> torch.Tensor:
        """Positions (candidate, N) in the whole space of positions (candidate, M) of these knobs."""
        rows = self._row.expand(u.shape[0], -1).clone()
        rows[:, self._columns] = u
        return rows

    def settings(self, u: torch.Tensor) -> dict[str, torch.Tensor]:
        """Settings by address, each (candidate,), of positions (candidate, M); differentiable."""
        whole = self._whole.settings(self.placed(u))
        return {knob.address: whole[knob.address] for knob in self.knobs}

    def departure(self, u: torch.Tensor) -> torch.Tensor:
        """Squared distances (candidate,) from `home`, in spreads, of all knobs."""
        return self._whole.departure(self.placed(u))


@dataclass(frozen=True)
class Slots:
    """Which knobs (by number) are of plugins, of slots of ours before the last plugin, and behind it."""

    plugins: tuple[int, ...]
    before: Mapping[str, tuple[int, ...]]
    behind: tuple[int, ...]
    levels: tuple[int, ...]

    @classmethod
    def of(cls, space: Space) -> Slots:
        """Sort the knobs of a space."""
        slots = {slot.name: (place, slot) for place, slot in enumerate(space.base)}
        last = max(place for place, slot in slots.values() if slot.effect.hosted is not None)
        plugins, behind, levels = [], [], []
        before: dict[str, tuple[int, ...]] = {}
        for number, knob in enumerate(space.knobs):
            name, _, which = knob.address.partition(".")
            place, slot = slots[name]
            if slot.effect.hosted is not None:
                plugins.append(number)
            elif place < last:
                before[name] = (*before.get(name, ()), number)
            else:
                behind.append(number)
                if which == slot.effect.level_knob:
                    levels.append(number)
        return cls(tuple(plugins), before, tuple(behind), tuple(levels))


def refine(
    objective: Objective,
    drawn: Vector,
    work: Quality,
    generator: np.random.Generator,
    progress: Callable[[float, float], None] | None = None,
) -> Found:
    """Return what a search from drawn positions (draw, N), the guess first, arrives at; best first.

    Where there is a plugin in the chain it is the search that this module describes, else the usual one.
    """
    if all(slot.effect.hosted is None or not slot.active for slot in objective.space.base):
        kept = screen(objective, drawn, work.rounds[0].candidates)
        return adam(objective, kept, work.rounds, progress=progress)
    return _in_turns(objective, drawn, work, generator, progress or (lambda share, loss: None))


def _in_turns(
    objective: Objective,
    drawn: Vector,
    work: Quality,
    generator: np.random.Generator,
    tell: Callable[[float, float], None],
) -> Found:
    space = objective.space
    slots = Slots.of(space)
    home = space.unit({})
    start, course, stopped = _ours(objective, slots, drawn, work, lambda s, loss: tell(SHARE_OURS * s, loss))
    trials = Trials(objective)
    names = tuple(slots.before)
    straight = slots.plugins

    def placed(z: Vector, best: Vector) -> Vector:
        """Position (N,) of z, with the knobs behind the plugins as those of the best so far."""
        u = best.copy()
        u[list(straight)] = z[: len(straight)]
        for name, t in zip(names, z[len(straight) :], strict=True):
            columns = list(slots.before[name])
            u[columns] = home[columns] + t * (start[columns] - home[columns])
        return np.clip(u, 0.0, 1.0)

    levelled = Levels(objective, slots, start)
    # one name for both, so that an interruption cannot come between them
    best = start, float(trials(start[None])[0])
    tried = [(start[None], np.array([best[1]]))]
    size = len(straight) + len(names)
    population = min(max(FEWEST, 4 + int(3.0 * math.log(max(size, 1)))), MOST)
    generations = max(1, work.trials // population) if size and not stopped else 0
    first = np.concatenate([start[list(straight)], np.ones(len(names))])
    wide = space.factor.square().sum(dim=1).sqrt().numpy()[list(straight)]
    spreads = np.concatenate([np.minimum(wide, WIDEST), np.full(len(names), SHARE_SPREAD)])
    strategy = _strategy(first, spreads, population, generator) if size else None
    try:
        for generation in range(generations):
            assert strategy is not None, "there is a generation only where there is something to try"
            asked = [np.asarray(z) for z in strategy.ask()]
            rows = levelled(np.stack([placed(z, best[0]) for z in asked]))
            losses = trials(rows)
            strategy.tell(asked, losses.tolist())
            tried.append((rows, losses))
            leader = int(losses.argmin())
            improved = bool(losses[leader] < best[1])
            if improved:
                best = rows[leader], float(losses[leader])
            share = (generation + 1) / generations
            if slots.behind and (improved or generation == generations - 1) and math.isfinite(best[1]):
                step = FIRST_STEP + (LAST_STEP - FIRST_STEP) * share
                best = _behind(objective, slots, *best, step)
            course.append(Step(len(course) + 1, population, best[1], {}))
            tell(SHARE_OURS + (1.0 - SHARE_OURS) * share, best[1])
    except KeyboardInterrupt:
        stopped = True
    if not math.isfinite(best[1]):
        raise trials.failure or MatchError("no setting of the plugin gives a sound that can be measured")
    tried.append((best[0][None], np.array([best[1]])))
    everywhere = np.concatenate([rows for rows, _ in tried]), np.concatenate([losses for _, losses in tried])
    # beside the best, what was there without the plugins' help: unseen passages choose between the two
    ends = sorted((best, (start, float(tried[0][1][0]))), key=lambda end: end[1])
    positions, losses = np.stack([end[0] for end in ends]), np.array([end[1] for end in ends])
    return Found(positions, losses, tuple(course), stopped, *everywhere)


class Levels:
    """Brings trials to the level that the search without the plugins has arrived at."""

    def __init__(self, objective: Objective, slots: Slots, start: Vector) -> None:
        self._objective, self._column = objective, slots.levels[-1] if slots.levels else None
        if self._column is not None:
            self._wanted_db = self._levels_db(_without_plugins(objective.space.chain(start)))

    def __call__(self, rows: Vector) -> Vector:
        """Positions (candidate, N) with the level knob turned, where there is one and the plugin plays."""
        if self._column is None:
            return rows
        space, out = self._objective.space, rows.copy()
        knob = space.knobs[self._column]
        for row in out:
            chain = space.chain(row)
            with contextlib.suppress(PluginError):
                db = chain.settings()[knob.address] + self._wanted_db - self._levels_db(chain)
                if math.isfinite(db):
                    row[self._column] = space.unit({knob.address: db})[self._column]
        return out

    @torch.no_grad()
    def _levels_db(self, chain: Chain) -> float:
        crops = self._objective.crops
        y = chain.forward(crops.audio, self._objective.rate)[..., crops.preroll :]
        return float(power_to_db(float(y.double().square().mean())))


def _without_plugins(chain: Chain) -> Chain:
    return Chain(tuple(replace(s, bypass=s.bypass or s.effect.hosted is not None) for s in chain))


class Trials:
    """Losses by rendering alone, where a plugin may fail."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._lost = 0
        self.failure: PluginError | None = None

    @torch.no_grad()
    def __call__(self, rows: Vector) -> Vector:
        """Losses (candidate,) of positions (candidate, N); infinite for lost ones. Raises PluginError."""
        found = [self._losses(rows[i : i + AT_ONCE]) for i in range(0, len(rows), AT_ONCE)]
        return np.concatenate(found)

    def _losses(self, rows: Vector) -> Vector:
        try:
            losses = self._objective(torch.from_numpy(rows))[0].double().nan_to_num(math.inf).numpy()
        except PluginError as error:
            if len(rows) > 1:
                return np.concatenate([self._losses(row[None]) for row in rows])
            self._lost += 1
            self.failure = error
            if self._lost >= MOST_LOST:
                raise
            return np.array([math.inf])
        self._lost = 0
        return np.asarray(losses)


def _ours(
    objective: Objective,
    slots: Slots,
    drawn: Vector,
    work: Quality,
    tell: Callable[[float, float], None],
) -> tuple[Vector, list[Step], bool]:
    """Position (N,) that the usual search finds without the plugins, its course, whether it was stopped.

    The plugins' knobs stay those of drawn[0].
    """
    own = [i for columns in slots.before.values() for i in columns] + list(slots.behind)
    if not own:
        return drawn[0].copy(), [], False
    space = objective.space
    bare = _without_plugins(space.base)
    part = Part(space, bare, own, drawn[0])
    alone = replace(objective, space=part)
    found = adam(alone, screen(alone, drawn[:, own], work.rounds[0].candidates), work.rounds, progress=tell)
    start = part.placed(torch.from_numpy(found.positions[:1]))[0].numpy()
    return start, list(found.course), found.stopped


def _behind(
    objective: Objective, slots: Slots, row: Vector, loss: float, step: float
) -> tuple[Vector, float]:
    """Position (N,) and loss after steps of Adam on the knobs behind the last plugin."""
    space = objective.space
    last = max(place for place, slot in enumerate(space.base) if slot.effect.hosted is not None)
    chain = space.chain(row).slots
    with torch.no_grad():
        heard = Chain(chain[: last + 1]).forward(objective.crops.audio, objective.rate)
    part = Part(space, Chain(space.base.slots[last + 1 :]), slots.behind, row)
    rest = replace(objective, space=part, crops=replace(objective.crops, audio=heard))
    found = adam(rest, row[list(slots.behind)][None], (Round(1, STEPS),), step_size=step)
    better = float(found.losses[0])
    if not better < loss:
        return row, loss
    return part.placed(torch.from_numpy(found.positions[:1]))[0].numpy(), better


def _strategy(mean: Vector, spreads: Vector, population: int, generator: np.random.Generator) -> Any:
    """Return pycma's ask and tell on the unit cube; raises MatchError where it is not installed."""
    try:
        with warnings.catch_warnings():
            # it says that it cannot draw; it is not asked to
            warnings.simplefilter("ignore", UserWarning)
            cma = importlib.import_module("cma")
    except ModuleNotFoundError as error:
        raise MatchError(
            "to fit a plugin's settings needs cma, which is not installed;"
            ' install it with pip install "fxstyle[plugins]"'
        ) from error
    options = {
        "bounds": [0.0, 1.0],
        "popsize": population,
        "CMA_stds": spreads,
        "verbose": -9,
        # numbers of our own: pycma would seed those that numpy shares with everyone
        "seed": math.nan,
        "randn": lambda *shape: generator.standard_normal(shape),
    }
    return cma.CMAEvolutionStrategy(mean, 1.0, options)
