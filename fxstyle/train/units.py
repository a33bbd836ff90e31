"""Units of treatment for training: one effect of one program, with knobs to draw; styles are chains of them.

A style is drawn once and put on many recordings. `varied` changes one knob of a style and nothing else: the
nearest thing to it that is still another one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Sound = npt.NDArray[np.float32]
"""(channel, time)."""

Settings = Mapping[str, float]
Run = Callable[[Sound, int, Settings], Sound]
"""From sound, its rate in Hz and all settings to sound of the same shape; the argument is not changed."""


@dataclass(frozen=True)
class Knob:
    """A setting that is drawn evenly between its limits, on a logarithmic scale if `log`.

    `steps`: values low, low + 1, .. high only.
    """

    name: str
    low: float
    high: float
    log: bool = False
    steps: bool = False

    def at(self, share: float) -> float:
        """Return the value at a share 0..1 of the range."""
        if self.steps:
            return float(min(math.floor(self.low + share * (self.high - self.low + 1.0)), self.high))
        if self.log:
            return float(self.low * (self.high / self.low) ** share)
        return self.low + share * (self.high - self.low)


@dataclass(frozen=True, eq=False)
class Unit:
    """One effect of one program.

    Attributes
    ----------
    name: of program and effect, as in "pedalboard.Compressor". family: what it does, of FAMILIES.
    knobs: what is drawn. run: applies it.
    """

    name: str
    family: str
    knobs: tuple[Knob, ...]
    run: Run


FAMILIES = (
    "eq", "dynamics", "saturation", "crush", "modulation", "delay", "reverb", "width", "tape", "speaker",
)  # fmt: skip
"""What units do. A chain has each family twice at most."""


@dataclass(frozen=True, eq=False)
class Step:
    """A unit with each knob at a share 0..1 of its range."""

    unit: Unit
    shares: tuple[float, ...]

    @property
    def settings(self) -> dict[str, float]:
        """Return the values of the knobs."""
        return {knob.name: knob.at(share) for knob, share in zip(self.unit.knobs, self.shares, strict=True)}


Style = tuple[Step, ...]


def drawn_step(unit: Unit, generator: np.random.Generator) -> Step:
    """Return a unit with all its knobs drawn."""
    return Step(unit, tuple(generator.random(len(unit.knobs)).tolist()))


PROGRAM_WEIGHTS = {"fxstyle": 2.0, "pedalboard": 2.0, "sox": 1.0}
OTHERS_WEIGHT = 0.5
"""How often programs are drawn within a family; those that start a process for each sound take long."""


def drawn(units: Sequence[Unit], count: int, generator: np.random.Generator) -> Style:
    """Return a style of `count` units: families drawn evenly, then programs, then one's units."""
    by_family: dict[str, dict[str, list[Unit]]] = {}
    for unit in units:
        by_family.setdefault(unit.family, {}).setdefault(unit.name.split(".")[0], []).append(unit)
    there = [family for family in FAMILIES if family in by_family]
    style = []
    for i in generator.choice(len(there), size=count, replace=count > len(there)):
        programs = by_family[there[i]]
        weights = np.array([PROGRAM_WEIGHTS.get(name, OTHERS_WEIGHT) for name in programs])
        own = list(programs.values())[int(generator.choice(len(programs), p=weights / weights.sum()))]
        style.append(drawn_step(own[int(generator.integers(len(own)))], generator))
    return tuple(style)


LEAST_MOVE = 0.25
"""Share of its range by which the one knob of a varied style moves at least."""


def varied(style: Style, generator: np.random.Generator) -> Style:
    """Return the style with one knob moved clearly, or, where no unit has a knob, without its last unit."""
    movable = [i for i, step in enumerate(style) if step.unit.knobs]
    if not movable:
        return style[:-1]
    i = movable[int(generator.integers(len(movable)))]
    shares = list(style[i].shares)
    k = int(generator.integers(len(shares)))
    # wrapped around the range, so that no value is drawn more often than another
    shares[k] = (shares[k] + LEAST_MOVE + (1.0 - 2.0 * LEAST_MOVE) * generator.random()) % 1.0
    return (*style[:i], Step(style[i].unit, tuple(shares)), *style[i + 1 :])


def treated(style: Style, x: Sound, rate: int) -> Sound:
    """Return sound through all units of a style; what is not finite comes out silent."""
    for step in style:
        x = step.unit.run(x, rate, step.settings)
    return np.nan_to_num(x, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
