"""The space that is searched: named settings <-> u in [0, 1]^N, only here and only during a fit.

    v_j = from_unit(low_j + (high_j - low_j) u_j)

with [low, high] the part of the knob's range left by the locks, in the knob's own unit scale.

What is thought of u before the search is a normal distribution around the chain at its defaults: each knob
has its spread, and neighbours in a row of bands go together, with a correlation of NEIGHBOURS^distance. Where
something is known already, such as the decay of the reference's room, beliefs take the place of the default
and of the spread.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from fxstyle.chain import Chain
from fxstyle.fit.locks import Locks
from fxstyle.param import Param

Vector = npt.NDArray[np.float64]

NEIGHBOURS = 0.85
"""Correlation of neighbouring bands: the decay times of rooms, octave by octave, about follow it."""


@dataclass(frozen=True)
class Knob:
    """One free setting: its address, its Param, and the part [low, high] of (0, 1) it may use."""

    address: str
    param: Param
    low: float
    high: float

    def value(self, u: float) -> float:
        """Return the setting at a position in (0, 1) of the knob's whole range."""
        value = float(self.param.from_unit(torch.tensor(u, dtype=torch.float64)))
        return min(max(value, self.param.low), self.param.high)


@dataclass(frozen=True)
class Belief:
    """What is thought of a setting: its value, and the spread as a share of its range, on its own scale."""

    value: float
    spread: float


class Space:
    """The free settings of a chain under locks, and what is thought of them before the search."""

    def __init__(self, chain: Chain, locks: Locks, beliefs: Mapping[str, Belief] | None = None) -> None:
        self.beliefs = beliefs or {}
        kept = chain
        for name in locks.off:
            kept = kept.without(name)
        self.base = kept.with_settings(
            {a: v for a, v in locks.fixed.items() if a.split(".")[0] not in locks.off}
        )
        knobs = []
        for slot in self.base:
            for param in slot.effect.params:
                address = f"{slot.name}.{param.name}"
                bounded = address in locks.low or address in locks.high
                if address in locks.fixed or not slot.active or not (param.fitted or bounded):
                    continue
                low = param.to_unit(locks.low[address]) if address in locks.low else 0.0
                high = param.to_unit(locks.high[address]) if address in locks.high else 1.0
                if high - low > 0.0:
                    knobs.append(Knob(address, param, low, high))
                else:
                    pinned = locks.low.get(address, locks.high.get(address, param.default))
                    self.base = self.base.with_settings({address: pinned})
        self.knobs = tuple(knobs)
        self._low = torch.tensor([k.low for k in knobs], dtype=torch.float64)
        self.factor = torch.from_numpy(np.linalg.cholesky(self._covariance()))
        self._span = torch.tensor([k.high - k.low for k in knobs], dtype=torch.float64)

    def _covariance(self) -> Vector:
        """Covariance (N, N) of u before the search."""
        wide = [
            self.beliefs[a].spread if (a := k.address) in self.beliefs else k.param.spread for k in self.knobs
        ]
        spread = np.array([s / (k.high - k.low) for s, k in zip(wide, self.knobs, strict=True)])
        correlation = np.eye(len(spread))
        at = {k.address: i for i, k in enumerate(self.knobs)}
        for slot in self.base:
            for row in slot.effect.smooth:
                free = [(band, at[a]) for band, knob in enumerate(row) if (a := f"{slot.name}.{knob}") in at]
                for (band, i), (other, j) in itertools.product(free, free):
                    correlation[i, j] = NEIGHBOURS ** abs(band - other)
        return np.asarray(correlation * np.outer(spread, spread))

    def departure(self, u: torch.Tensor) -> torch.Tensor:
        """Squared distances (candidate,) of positions (candidate, N) from `home`, in spreads."""
        home = torch.from_numpy(self.home)
        whitened: torch.Tensor = torch.linalg.solve_triangular(self.factor, (u - home).T, upper=False)
        return whitened.square().sum(dim=0)

    @property
    def home(self) -> Vector:
        """Return the middle (N,) of what is thought of u before the search."""
        return self.unit({address: belief.value for address, belief in self.beliefs.items()})

    @property
    def size(self) -> int:
        """Return N, the number of free settings."""
        return len(self.knobs)

    def unit(self, settings: Mapping[str, float]) -> Vector:
        """Positions (N,) in (0, 1) of settings by address; absent ones take the base chain's value."""
        values = {**self.base.settings(), **settings}
        position = [
            (k.param.to_unit(min(max(values[k.address], k.param.low), k.param.high)) - k.low)
            / (k.high - k.low)
            for k in self.knobs
        ]
        return np.clip(np.asarray(position, dtype=np.float64), 0.0, 1.0)

    def settings(self, u: torch.Tensor) -> dict[str, torch.Tensor]:
        """Settings by address, each (candidate,), of positions (candidate, N); differentiable."""
        inside = self._low + self._span * u
        return {k.address: k.param.from_unit(inside[:, i]) for i, k in enumerate(self.knobs)}

    def chain(self, u: Vector) -> Chain:
        """Return the chain at one position (N,)."""
        settings = self.settings(torch.from_numpy(np.asarray(u, dtype=np.float64))[None])
        clipped = {
            k.address: min(max(float(settings[k.address][0]), k.param.low), k.param.high) for k in self.knobs
        }
        return self.base.with_settings(clipped)
