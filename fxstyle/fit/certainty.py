"""How sure a fit is of each setting: what it could be instead without the result being worse.

The objective J (objective.py) is taken for -2 log of what is probable, in units of T for what the recordings
say and of lambda, the prior's weight, for what was thought before:

    -2 log p(u) = (J(u) - lambda D(u)) / T + D(u),        D(u) = (u - u_0)^T C^-1 (u - u_0)

T is above lambda because the other content explains part of any difference, and not by chance: a fit takes
it for settings. A setting's width, the others kept, is that of the parabola through u - h, u, u + h,

    1 / s_j^2 = (J_jj - 2 lambda P_j) / 2T + P_j,         P = diag C^-1,

and the restarts i of the search, at positions u_i, add what curvature cannot see, settings that make up for
one another:

    spread_j^2 = s_j^2 + sum_i w_i (u_ij - u_j)^2,        w_i ~ exp(-(J_i - min J) / 2T).

A setting is identified if the recordings say more of it than was thought before: if its spread is below
(2 P_j)^-1/2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fxstyle.chain import Chain
from fxstyle.fit.objective import PRIOR_WEIGHT
from fxstyle.fit.search import Found
from fxstyle.fit.space import Space, Vector

TEMPERATURE = 0.6
"""T. With it some two thirds of the true settings of chains that made a reference of other content lie within
one standard deviation: calibrated on recordings of the split `train`, bench/recovery.py has the check."""

STEP = 0.05
"""h, as a share of what the fit could use of a knob's range."""

Loss = Callable[[Vector], Vector]


@dataclass(frozen=True)
class Certainty:
    """What a setting could be as well.

    Attributes
    ----------
    setting: its address.
    low, high, unit: one standard deviation to either side.
    shown: the same in words.
    identified: whether the recordings say more of it than was thought before.
    """

    setting: str
    low: float
    high: float
    unit: str
    shown: str
    identified: bool

    def __str__(self) -> str:
        return f"{self.setting} {self.shown}" + ("" if self.identified else " (hardly told)")


def certainties(
    space: Space, loss: Loss, found: Found, best: Vector, chain: Chain, left_out: Collection[str] = ()
) -> tuple[Certainty, ...]:
    """Return how sure a fit is of the settings of its chain, in the chain's order.

    Parameters
    ----------
    loss: J (candidate,) of positions (candidate, N), such as blackbox.Trials.
    found: the search, whose restarts count. best: the position (N,) that was chosen.
    chain: what came of it; slots that are not active in it are left out.
    left_out: settings that something else than the fit has decided since.
    """
    active = {slot.name for slot in chain if slot.active}
    columns = [
        i
        for i, knob in enumerate(space.knobs)
        if knob.address.partition(".")[0] in active and knob.address not in left_out
    ]
    before = precisions(space)[columns]
    widths = spreads(loss, found, best, columns, before)
    out = []
    for i, width, precision in zip(columns, widths, before, strict=True):
        knob = space.knobs[i]
        ends = np.clip([best[i] - width, best[i] + width], 0.0, 1.0)
        low, high = (knob.value(knob.low + (knob.high - knob.low) * float(u)) for u in ends)
        shown = f"{knob.param.format(low)} to {knob.param.format(high)}"
        sure = bool(2.0 * precision * width**2 < 1.0)
        out.append(Certainty(knob.address, low, high, knob.param.unit, shown, sure))
    return tuple(out)


def spreads(loss: Loss, found: Found, best: Vector, columns: Sequence[int], before: Vector) -> Vector:
    """Return the standard deviations (column,) of some settings, in shares of what the fit could use.

    before: their precisions (column,) under the prior, the others kept.
    """
    tried = []
    for i in columns:
        for side in (-1.0, 1.0):
            row = best.copy()
            row[i] = min(max(row[i] + side * STEP, 0.0), 1.0)
            tried.append(row)
    at_best, *others = loss(np.stack([best, *tried]))
    rises = found.restart_losses - found.restart_losses.min(initial=math.inf)
    weights = np.exp(-rises / (2.0 * TEMPERATURE))
    out = []
    for k, i in enumerate(columns):
        a, b = (tried[2 * k + side][i] - best[i] for side in (0, 1))
        fa, fb = (others[2 * k + side] - at_best for side in (0, 1))
        told = max(_curvature(a, fa, b, fb) - 2.0 * PRIOR_WEIGHT * before[k], 0.0) / (2.0 * TEMPERATURE)
        between = 0.0
        if len(weights):
            between = float(np.average(np.square(found.restarts[:, i] - best[i]), weights=weights))
        out.append(math.sqrt(1.0 / (told + before[k]) + between))
    return np.array(out)


def _curvature(a: float, fa: float, b: float, fb: float) -> float:
    """Return the second derivative at 0 of the parabola through (a, fa), (0, 0), (b, fb).

    At an end of the range there is one side only: there the slope leads inwards, and what counts is how far
    one can go for the same price; a parabola with its middle at the end is taken.
    """
    if a == 0.0 or b == 0.0:
        there, rise = (b, fb) if a == 0.0 else (a, fa)
        return 2.0 * rise / there**2
    return 2.0 * (fa / a - fb / b) / (a - b)


def precisions(space: Space) -> Vector:
    """Return the precision (N,) of each setting under the prior, the others kept: diag C^-1."""
    return np.asarray(np.diag(torch.cholesky_inverse(space.factor).numpy()))
