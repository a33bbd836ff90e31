"""Where in the grid a reference lies: distances that were learned, and a chain along the octaves.

    d_b(T, L)   sum_f w_f |u_f| + sum_k |P_k u|,   u = (phi_b(T, L) - phi_b of the reference) / s
                s: standard deviation over the grid
    p_b(T, L) ~ (1 + v_b d_b/nu)^-nu,              v_b = beta_b S((range_b - r)/q), S the logistic function
    p(T_b+1, L_b+1 | T_b, L_b)                  neighbouring octaves are alike: a Gauss curve in ln T and in
                                                L, and a little everywhere
    p(T_b, L_b | reference)                     forward and backward along the octaves: exact on the grid

range_b is how far an octave rises above its floor. Heavy tails (nu) let one octave be wrong and the others
right. What was learned is in blind.json, and how, in bench/rooms_blind_learn.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import torch

LEAST_SPREAD = 1.0
"""Of a feature over the grid, in dB or roots of dB per s: one that hardly changes tells nothing."""

TIP = 0.1
"""|u| is rounded below it, as in learning, where it needs a gradient."""

STRAY = 0.003
"""Probability of any step from octave to octave over that of none."""


@dataclass(frozen=True, eq=False)
class Metric:
    """What was learned.

    Attributes
    ----------
    weight: (feature,) w. projection: (feature, k) P. band: (8,) beta. tail: nu. hearing: (r, q) in dB.
    step: standard deviations of ln T and L from one octave to the next.
    prior: mean and standard deviation of ln T, and of L. usual: the least distance that like material leaves.
    """

    weight: torch.Tensor
    projection: torch.Tensor
    band: torch.Tensor
    tail: torch.Tensor
    hearing: torch.Tensor
    step: torch.Tensor
    prior: torch.Tensor
    usual: float


@cache
def learned() -> Metric:
    """Return what blind.json holds."""
    held: Any = json.loads(files("fxstyle.rooms").joinpath("blind.json").read_text(encoding="utf-8"))
    tensors = {name: torch.tensor(value) for name, value in held.items() if name not in ("usual", "about")}
    return Metric(**tensors, usual=held["usual"])


def _bent(u: torch.Tensor) -> torch.Tensor:
    return (u.square() + TIP * TIP).sqrt()


def distances(metric: Metric, simulated: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Return d (band, t, l) of features (band, t, l, feature) from (band, feature)."""
    spread = simulated.flatten(1, 2).std(dim=1).clamp_min(LEAST_SPREAD)
    u = (simulated - reference[:, None, None]) / spread[:, None, None]
    return _bent(u) @ metric.weight + _bent(u @ metric.projection).sum(dim=-1)


def log_likelihood(metric: Metric, distance: torch.Tensor, floor_db: torch.Tensor) -> torch.Tensor:
    """Return ln p (band, t, l) of distances of that shape and floors (band,)."""
    seen = torch.sigmoid((-floor_db - metric.hearing[0]) / metric.hearing[1])
    return -metric.tail * torch.log1p(distance * (metric.band * seen)[:, None, None] / metric.tail)


def _alike(values: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
    """Return the probabilities (from, to) of steps along evenly spaced values (n,)."""
    step = (-0.5 * ((values[:, None] - values[None]) / deviation).square()).exp() + STRAY
    return step / step.sum(dim=1, keepdim=True)


def _chain(
    likelihood: torch.Tensor, prior: torch.Tensor, along_t: torch.Tensor, along_l: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return marginals (band, t, l) and the logarithm of the probability of it all."""
    evidence = torch.zeros(())
    forward: list[torch.Tensor] = []
    for here in likelihood:
        ahead = (along_t.T @ forward[-1] @ along_l if forward else prior) * here
        total = ahead.sum()
        evidence = evidence + total.log()
        forward.append(ahead / total)
    backward = [torch.ones_like(prior)]
    for here in likelihood[1:].flip(0):
        back = along_t @ (here * backward[-1]) @ along_l.T
        backward.append(back / back.sum())
    both = torch.stack(forward) * torch.stack(backward[::-1])
    return both / both.sum(dim=(1, 2), keepdim=True), evidence


def marginals(
    metric: Metric, log_likelihood: torch.Tensor, t60_s: torch.Tensor, level_db: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return p (band, t, l) given a reference, and the logarithm of the probability of the reference.

    Parameters
    ----------
    log_likelihood: (band, t, l). t60_s: (t,), even in its logarithm. level_db: (l,), even.
    """
    log_t, level = t60_s.log().float(), level_db.float()
    mean_t, spread_t, mean_l, spread_l = metric.prior
    prior = (-0.5 * ((log_t - mean_t) / spread_t).square()).exp()[:, None] * (
        -0.5 * ((level - mean_l) / spread_l).square()
    ).exp()
    top = log_likelihood.amax(dim=(1, 2), keepdim=True)
    p, evidence = _chain(
        (log_likelihood - top).exp(),
        prior / prior.sum(),
        _alike(log_t, metric.step[0]),
        _alike(level, metric.step[1]),
    )
    return p, evidence + top.sum()
