"""What becomes of the candidates: select, prune, and accept only what a judge finds nearer.

    select   the survivor that does best on passages no candidate was fitted on
    prune    every effect whose absence costs next to nothing
    accept   the whole chain, less of it, or none: whoever judge.py finds nearer to the reference

The judge hears all chosen passages of the input, fitted or not (the more it hears, the surer it is; what
keeps it honest is that the fit never saw its measure), through the chain as it will be rendered: at the
input's own rate.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import torch

from fxstyle.audio import Audio, resample
from fxstyle.chain import Chain
from fxstyle.effect import Samples
from fxstyle.fit.judge import crops_distance, have_side
from fxstyle.fit.locks import Locks
from fxstyle.fit.objective import Objective
from fxstyle.fit.search import Found
from fxstyle.fit.space import Vector
from fxstyle.fit.target import FIT_RATE, Task
from fxstyle.loudness import measure_loudness
from fxstyle.render import render
from fxstyle.units import amplitude_to_db, db_to_amplitude

PRUNE_SHARE = 0.01
"""A slot goes if the fit without it is worse by less than this share of what the whole chain gained."""

LEVEL_ONLY = "Only the level could be brought nearer: "

AMOUNTS = (1.0, 0.75, 0.5, 0.25)
"""Shares of the fitted chain offered to the judge, first come first served."""

CLEARLY = 0.98
"""An output must be nearer than the input by at least 2 %: less is within the judge's own noise."""

BY_AS_MUCH = 0.25
"""By so much, too, where nobody named the chain: with every effect at hand something always comes a little
nearer by chance. Of 19 hidden chains on rows of `train`, 37 % ended farther from the truth than they were
without it and 11 % with it; of known chains none less, so there it is not asked for."""

ALREADY = 0.02
"""A distance below this is none."""

LOUDNESS_TOLERANCE_LU = 0.1
"""The resolution of BS.1770 meters."""


@dataclass(frozen=True)
class Verdict:
    """What the judge said.

    Attributes
    ----------
    before, after: distance of the input and of the output from the reference (judge.py).
    accepted: whether the output is nearer to the reference than the input was.
    amount: share of the fitted chain that was kept; 0 if none.
    message: the same in words.
    """

    before: float
    after: float
    accepted: bool
    amount: float
    message: str


class Judge:
    """Distances of chains' outputs from the reference, all by the same measure.

    least: by how much an output must be nearer at least.
    """

    def __init__(self, task: Task, rate: int, least: float = 0.0) -> None:
        self.least = least
        crops = task.judged.audio
        if rate != FIT_RATE:
            native = [resample(Audio(crop, FIT_RATE), rate).samples for crop in crops.numpy()]
            crops = torch.from_numpy(np.stack(native))
        self._crops = crops
        self._preroll = task.crops.preroll
        self._reference = task.reference_passages
        self._rate = rate
        self.goal = task.goal
        self._ear, self._name = task.ear, "the judge" if task.ear is None else task.ear_name
        # Decided once: a chain that makes the output mono must not escape the comparison of widths.
        self._with_side = (
            have_side(self._reference, self.passages(Chain())) if task.with_side is None else task.with_side
        )

    def passages(self, chain: Chain) -> list[Samples]:
        """Return what the judge hears of a chain's output, (channel, time) each, at FIT_RATE."""
        y = process(chain, self._crops, self._rate).numpy()
        if self._rate != FIT_RATE and np.isfinite(y).all():
            y = np.stack([resample(Audio(crop, self._rate), FIT_RATE).samples for crop in y])
        return list(y[..., self._preroll :])

    def distance(self, chain: Chain) -> float:
        """Return the distance; infinite for an output that is not finite."""
        passages = self.passages(chain)
        if not all(np.isfinite(p).all() for p in passages):
            return float("inf")
        if self._ear is not None:
            return self._ear(passages)
        return crops_distance(passages, self._reference, FIT_RATE, with_side=self._with_side)

    def words(self, before: float, after: float, share: float) -> str:
        """Say how much nearer the output is."""
        nearer = 100.0 * (1.0 - after / before) if before > 0.0 else 0.0
        text = f"{nearer:.0f} % nearer to {self.goal} (distance {before:.2f} -> {after:.2f} by {self._name})"
        return text + ("." if share == 1.0 else f", with the effects turned back to {100 * share:.0f} %.")

    def nearer(self, after: float, before: float) -> bool:
        """Whether an output is nearer than the input was, by more than chance."""
        return after <= CLEARLY * before and after <= before - self.least

    def again(self, verdict: Verdict, chain: Chain) -> Verdict:
        """Judge a chain that was changed after it was accepted."""
        after = self.distance(chain)
        if after < verdict.before:
            return replace(verdict, after=after, message=self.words(verdict.before, after, 1.0))
        message = (
            f"At the input's own loudness the output is no nearer to {self.goal}"
            f" (distance {verdict.before:.2f} -> {after:.2f})."
        )
        return replace(verdict, after=after, accepted=False, message=message)


@torch.no_grad()
def select(unseen: Objective, found: Found) -> Vector:
    """Return the survivor (N,) that does best on passages no candidate was fitted on."""
    losses, _ = unseen(torch.from_numpy(found.positions))
    return np.asarray(found.positions[int(losses.nan_to_num(float("inf")).argmin())])


@torch.no_grad()
def process(chain: Chain, crops: torch.Tensor, rate: int) -> torch.Tensor:
    """Crops (crop, channel, time) through a chain."""
    return chain.forward(crops, rate)


def prune(chain: Chain, objective: Objective, *, keep: set[str]) -> tuple[Chain, tuple[str, ...]]:
    """Drop, from the end, every slot whose absence costs less than PRUNE_SHARE of the chain's gain.

    Slots named in `keep` stay: the user has decided something about them. Returns the chain and the
    names of the dropped slots.
    """
    crops = objective.crops.audio
    loss = objective.of_audio(process(chain, crops, FIT_RATE))
    gained = objective.of_audio(crops) - loss
    allowed = PRUNE_SHARE * max(gained, 0.0)
    dropped: list[str] = []
    for slot in reversed(chain.slots):
        if len(chain) == 1:
            break
        if slot.name in keep:
            continue
        shorter = chain.without(slot.name)
        without = objective.of_audio(process(shorter, crops, FIT_RATE))
        if without <= loss + allowed:
            chain, loss = shorter, min(without, loss)
            dropped.append(slot.name)
    return chain, tuple(dropped)


def accept(
    chain: Chain, judge: Judge, amount: float, level: Chain | None = None, held: Collection[str] = ()
) -> tuple[Chain, Verdict]:
    """Let the judge decide: the whole chain times `amount`, less of it, `level` alone, or none.

    held: slots that were asked for, whatever the judge says: it compares with the input through these alone.
    """
    floor = Chain(tuple(slot for slot in chain if slot.name in held)).scaled(amount)
    before = judge.distance(floor)
    if before <= ALREADY:
        more = f" beyond {', '.join(held)}" if len(floor) else ""
        words = (
            f"The input sounds like {judge.goal} already (distance {before:.2f}): nothing{more} was changed."
        )
        return _without(chain, held, amount), Verdict(before, before, False, 0.0, words)
    for share in AMOUNTS:
        candidate = _turned_back(chain, share, amount, held)
        after = judge.distance(candidate)
        if judge.nearer(after, before) or amount == 0.0:
            return candidate, Verdict(
                before, after, amount > 0.0, share * amount, judge.words(before, after, share)
            )
    if level is not None:
        candidate = Chain((*floor, *level.scaled(amount)))
        after = judge.distance(candidate)
        if judge.nearer(after, before):
            words = LEVEL_ONLY + judge.words(before, after, 1.0)
            return candidate, Verdict(before, after, True, amount, words)
    handed, stays = "is handed back unchanged", ""
    if len(floor):
        handed, stays = "is handed back with that alone", f", beyond {', '.join(held)} as asked for,"
    message = (
        f"No gain: nothing fitted here{stays} brings the input nearer to {judge.goal} than it is"
        f" (distance {before:.2f}). The input {handed}; the fitted settings are in the preset, bypassed."
    )
    return _without(chain, held, amount), Verdict(before, before, False, 0.0, message)


def _turned_back(chain: Chain, share: float, amount: float, held: Collection[str]) -> Chain:
    """Return so much of a chain, and of what is held all that the user wants."""
    if share * amount == 1.0:
        return chain
    return Chain(
        tuple(replace(s, amount=s.amount * amount * (1.0 if s.name in held else share)) for s in chain)
    )


def _without(chain: Chain, held: Collection[str], amount: float) -> Chain:
    """Return a chain with all but what is held bypassed."""
    return Chain(
        tuple(
            replace(s, amount=s.amount * amount) if s.name in held else replace(s, bypass=True) for s in chain
        )
    )


def at_loudness_of(
    source: Audio, chain: Chain, locks: Locks, change_lu: float = 0.0
) -> tuple[Chain, tuple[str, ...]]:
    """Turn the last level knob that is free until the output is as loud as `source`, and `change_lu` more.

    Returns the chain and notes on what could not be done.
    """
    wanted = measure_loudness(source).integrated_lufs + change_lu
    output = source.with_samples(render(chain, source.samples, source.rate))
    missing_db = wanted - measure_loudness(output).integrated_lufs
    locked = {*locks.fixed, *locks.low, *locks.high}
    for slot in reversed(chain.slots):
        knob = slot.effect.level_knob
        if knob is None or not slot.active or {f"{slot.name}.{knob}", f"{slot.name}.amount"} & locked:
            continue
        # 1 + a (g - 1) is what the slot scales by now; the same scale and more, at amount 1:
        param = slot.effect.param(knob)
        scale = 1.0 + slot.amount * (db_to_amplitude(slot.settings[knob]) - 1.0)
        level_db = min(max(amplitude_to_db(scale) + missing_db, param.low), param.high)
        chain = chain.with_settings({f"{slot.name}.{knob}": level_db, f"{slot.name}.amount": 1.0})
        missing_db = amplitude_to_db(scale) + missing_db - level_db
        break
    if abs(missing_db) <= LOUDNESS_TOLERANCE_LU:
        return chain, ()
    goal = "the input's" if change_lu == 0.0 else "the wanted"
    return chain, (
        f"the output is {-missing_db:+.1f} LU from {goal} loudness: the chain has no free level knob"
        " with enough range to keep it; add gain at its end, or take its lock away",
    )
