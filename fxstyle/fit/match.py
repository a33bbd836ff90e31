"""The main job: from an input and a reference to a chain with settings, and an honest word about it.

    measure -> closed-form start -> draws screened, the best refined at once
            -> select on unseen passages -> prune what brings nothing -> accept, reduce, or abstain

See search.py for the refinement, objective.py for what is minimised and judge.py for who decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from fxstyle import effects
from fxstyle.audio import Audio, read
from fxstyle.chain import Chain
from fxstyle.effects import DEFAULT_CHAIN
from fxstyle.errors import AudioError, MatchError, SettingError
from fxstyle.features.measure import Measurement
from fxstyle.fit.acceptance import Judge, Verdict, accept, at_loudness_of, prune, select
from fxstyle.fit.belief import believed, reverberates
from fxstyle.fit.limits import AtLimit, at_limits
from fxstyle.fit.locks import Locks
from fxstyle.fit.objective import Objective
from fxstyle.fit.quality import QUALITIES, Quality, QualityName
from fxstyle.fit.rooms import estimate_room
from fxstyle.fit.search import Step, adam, draws, screen
from fxstyle.fit.space import Space, Vector
from fxstyle.fit.target import FIT_RATE, Task, prepare
from fxstyle.render import render
from fxstyle.rooms.blind import FAR_LOSS

if TYPE_CHECKING:
    from fxstyle.presets import Preset


@dataclass(frozen=True)
class Progress:
    """Where a match has got to: a stage in words, a fraction of the whole, the loss if there is one."""

    stage: str
    fraction: float
    loss: float | None = None


@dataclass(frozen=True)
class Match:
    """A finished match; `audio` is rendered when it is first asked for."""

    chain: Chain
    source: Audio
    references: tuple[Audio, ...]
    source_measured: Measurement
    reference_measured: Measurement
    verdict: Verdict
    history: tuple[Step, ...]
    pruned: tuple[str, ...]
    notes: tuple[str, ...]
    quality: str
    seed: int
    seconds: float
    at_limit: tuple[AtLimit, ...] = ()

    @property
    def reference(self) -> Audio:
        """Return the first reference."""
        return self.references[0]

    @cached_property
    def audio(self) -> Audio:
        """The input through the chain, at full length and rate."""
        samples = render(self.chain, self.source.samples, self.source.rate)
        return self.source.with_samples(samples)

    @cached_property
    def preset(self) -> Preset:
        """The chain with units and provenance."""
        from fxstyle.presets import preset_of_match

        return preset_of_match(self)

    def report(self) -> str:
        """Return the report: one self-contained HTML page."""
        from fxstyle.report import html

        return html(self)


def _load(recording: Audio | str | Path) -> Audio:
    return recording if isinstance(recording, Audio) else read(Path(recording))


def build_chain(chain: str | Chain | None, only: Sequence[str]) -> Chain:
    """Return the chain to fit: the default or the named one, reduced to the slots in `only`."""
    whole = chain if isinstance(chain, Chain) else Chain.parse(chain or DEFAULT_CHAIN)
    there = [slot.name for slot in whole]
    for name in only:
        if name in effects.names() and name not in there:
            raise SettingError(
                f"the chain has no {name!r}; it has {', '.join(there)}. To fit it as well, name the whole"
                f" chain in its order: {','.join([*there, name])}"
            )
        whole.slot(name)
    kept = Chain(tuple(s for s in whole if not only or s.name in only))
    if not kept.slots:
        raise SettingError("the chain is empty: name at least one effect, for example eq,gain")
    return kept


def closed_form(space: Space, task: Task) -> Vector:
    """Position (N,) of the first guess: each effect's own closed form from both measurements."""
    guess: dict[str, float] = {}
    for slot in space.base:
        if slot.active and slot.effect.start is not None:
            for knob, value in slot.effect.start(task.source, task.reference).items():
                guess[f"{slot.name}.{knob}"] = value
    guess |= {address: belief.value for address, belief in space.beliefs.items()}
    return space.unit(guess)


def _aware(chain: Chain, locks: Locks, source: Audio, reference: Audio, quality: Quality) -> Space:
    """Return the space of a chain, aware of the reference's room where the chain can take it up."""
    space = Space(chain, locks)
    if not quality.rooms or not reverberates(space.base):
        return space
    try:
        room = estimate_room(reference, source, simulations=quality.rooms)
    except AudioError:
        return space  # too little sound to hear a room in: the fit does without
    if room.loss > FAR_LOSS:
        return space  # nor in one that is like nothing the input could be in
    beliefs = believed(space.base, room)
    return Space(chain.with_settings(beliefs.given), locks, beliefs.fitted)


@dataclass(frozen=True)
class Problem:
    """A fit as a plain function of positions in (0, 1)^N, for other optimisers."""

    space: Space
    objective: Objective
    start: Vector

    @property
    def size(self) -> int:
        """Return N."""
        return self.space.size

    @torch.no_grad()
    def evaluate(self, positions: Vector) -> Vector:
        """Losses (K,) of positions (K, N)."""
        loss, _ = self.objective(torch.from_numpy(np.asarray(positions, dtype=np.float64)))
        return loss.double().nan_to_num(float("inf")).numpy()

    def chain(self, position: Vector) -> Chain:
        """Return the chain at one position (N,)."""
        return self.space.chain(position)


def problem(
    source: Audio,
    reference: Audio,
    chain: str | Chain | None = None,
    lock: Sequence[str] = (),
    quality: QualityName = "standard",
) -> Problem:
    """Return the very problem that `match` would solve, with its crops, objective and first guess."""
    whole = build_chain(chain, ())
    task = prepare(source, (reference,), QUALITIES[quality], keep_loudness=False)
    space = _aware(whole, Locks.parse(lock, whole), source, reference, QUALITIES[quality])
    return Problem(space, Objective(space, task.crops, task.aims, FIT_RATE), closed_form(space, task))


def match(
    source: Audio | str | Path,
    reference: Audio | str | Path | Sequence[Audio | str | Path],
    *,
    chain: str | Chain | None = None,
    only: Sequence[str] = (),
    lock: Sequence[str] = (),
    amount: float = 1.0,
    keep_loudness: bool = False,
    quality: QualityName = "standard",
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
) -> Match:
    """Fit a chain so that `source` sounds like `reference`.

    Parameters
    ----------
    source, reference: recordings or paths; several references are averaged.
    chain: effects in order, as in "eq,compressor,gain"; default DEFAULT_CHAIN.
    only: slots of that chain to use; all if empty.
    lock: texts such as "compressor.ratio<=4", "eq.peak1_db=0", "reverb=off".
    amount: share of the result to apply, 0..1.
    keep_loudness: match everything but the level.
    quality: "draft", "standard" or "best".
    seed: repeats a run.
    progress: called with a Progress now and then.

    Raises
    ------
    MatchError, SettingError, AudioError: with the thing, its value and the remedy.
    """
    began = time.perf_counter()
    tell = progress or (lambda _: None)
    if quality not in QUALITIES:
        raise SettingError(f"quality {quality!r} is unknown; choose {', '.join(QUALITIES)}")
    if seed < 0:
        raise SettingError(f"seed = {seed} is negative; choose a whole number from 0")
    if not 0.0 <= amount <= 1.0:
        raise SettingError(f"amount = {amount:g} is outside 0..1; 0 changes nothing, 1 is the whole match")
    whole = build_chain(chain, only)
    # An effect that is not there is off already, whether --only left it out or the chain never had it.
    absent = {*effects.names(), *(slot.name for slot in build_chain(chain, ()))}
    locks = Locks.parse(lock, whole, absent)
    if Space(whole, locks).size == 0:
        raise SettingError("everything is locked: there is no setting left to fit")
    given = reference if isinstance(reference, (list, tuple)) else [reference]
    if not given:
        raise MatchError("no reference given: name at least one recording to sound like")
    loaded = _load(source)
    references = tuple(_load(r) for r in given)  # type: ignore[arg-type]  # str is a Sequence too

    tell(Progress("measure", 0.0))
    work = QUALITIES[quality]
    task = prepare(loaded, references, work, keep_loudness)
    space = _aware(whole, locks, loaded, references[0], work)
    objective = Objective(space, task.crops, task.aims, FIT_RATE)
    unseen = Objective(space, task.held_out, task.aims, FIT_RATE)

    guess = closed_form(space, task)
    generator = np.random.default_rng(seed)
    tell(Progress("screen", 0.03))
    drawn = draws(space, guess, work.draws, generator)
    found = adam(
        objective,
        screen(objective, drawn, work.rounds[0].candidates),
        work.rounds,
        progress=lambda share, loss: tell(Progress("fit", 0.05 + 0.8 * share, loss)),
    )
    tell(Progress("select", 0.87, float(found.losses[0])))
    best = select(unseen, found)
    decided = {address.partition(".")[0] for address in locks.fixed}
    levels = {slot.name for slot in whole if keep_loudness and slot.effect.level_knob is not None}
    fitted, pruned = prune(space.chain(best), task, objective, keep=decided | levels)
    tell(Progress("judge", 0.95, None))
    judge = Judge(task, loaded.rate)
    level = Chain(tuple(s for s in space.chain(guess) if s.effect.level_knob is not None))
    final, verdict = accept(fitted, judge, amount, level if level.slots else None)
    notes = task.notes + locks.idle(final)
    if keep_loudness and verdict.amount > 0.0:
        final, note = at_loudness_of(loaded, final, locks)
        notes += note
        verdict = judge.again(verdict, final)
    at_limit = at_limits(space, final, task.crops, FIT_RATE)
    tell(Progress("done", 1.0, None))
    return Match(
        chain=final,
        source=loaded,
        references=references,
        source_measured=task.source,
        reference_measured=task.reference,
        verdict=verdict,
        history=found.course,
        pruned=tuple(sorted(locks.off)) + pruned,
        notes=notes,
        quality=quality,
        seed=seed,
        seconds=time.perf_counter() - began,
        at_limit=at_limit,
    )
