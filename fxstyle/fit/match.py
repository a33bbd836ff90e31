"""The main job: from an input and a reference to a chain with settings, and an honest word about it.

    measure -> closed-form start -> draws screened, the best refined at once
            -> select on unseen passages -> prune what brings nothing -> accept, reduce, or abstain

See search.py for the refinement, objective.py for what is minimised and judge.py for who decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from fxstyle import effects
from fxstyle.audio import Audio, read
from fxstyle.chain import Chain
from fxstyle.effects import DEFAULT_CHAIN
from fxstyle.errors import AudioError, MatchError, PluginError, SettingError
from fxstyle.features.measure import Measurement
from fxstyle.fit.acceptance import Judge, Verdict, accept, at_loudness_of, prune, select
from fxstyle.fit.belief import believed, reverberates
from fxstyle.fit.blackbox import Trials, refine
from fxstyle.fit.certainty import Certainty, certainties
from fxstyle.fit.identify import deeper, pair_of, prepare_paired, space_of, turned_over
from fxstyle.fit.limits import AtLimit, at_limits
from fxstyle.fit.locks import Locks
from fxstyle.fit.objective import Objective
from fxstyle.fit.paired import Paired
from fxstyle.fit.quality import QUALITIES, Quality, QualityName
from fxstyle.fit.rooms import estimate_room
from fxstyle.fit.search import Step, draws
from fxstyle.fit.space import Space, Vector
from fxstyle.fit.target import FIT_RATE, Task, prepare, prepare_wish, with_clap
from fxstyle.fit.texts import asked_of, chain_of, feasible
from fxstyle.fit.wish import Reached, beliefs_of, changed_room, imagine, less_room, reached
from fxstyle.render import render
from fxstyle.rooms.blind import FAR_LOSS
from fxstyle.text.asked import Asked

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
    """A finished match; `audio` is rendered when it is first asked for.

    certainty: how sure the fit is of each setting that it decided and that stayed as it left it.
    stopped: whether Ctrl-C ended the search early; the best settings so far went on to the judge.
    """

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
    certainty: tuple[Certainty, ...] = ()
    asked: Asked | None = None
    reached: tuple[Reached, ...] = ()
    stopped: bool = False

    @property
    def reference(self) -> Audio:
        """Return the first reference; raises MatchError where there was a text alone."""
        if not self.references:
            raise MatchError("this match has no reference: it was made from a text")
        return self.references[0]

    @property
    def text(self) -> str | None:
        """Return the text that was asked for, None for none."""
        return None if self.asked is None else self.asked.text

    @property
    def understood(self) -> tuple[str, ...]:
        """Return how the text was understood, a line for each of its words."""
        return () if self.asked is None else tuple(str(word) for word in self.asked.understood)

    @cached_property
    def aims(self) -> tuple[Audio, ...]:
        """What was aimed at: the references, or these as the text wants them, or the input so."""
        if self.asked is None:
            return self.references
        asked = self.asked if self.references else self.asked.drier()
        return tuple(
            a.with_samples(imagine(asked, a.samples, a.rate)) for a in self.references or (self.source,)
        )

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
            for knob, value in slot.effect.start(task.started or task.source, task.reference).items():
                guess[f"{slot.name}.{knob}"] = value
    guess |= {address: belief.value for address, belief in space.beliefs.items()}
    return space.unit(guess)


def _aware(
    chain: Chain,
    locks: Locks,
    source: Audio,
    reference: Audio | None,
    quality: Quality,
    asked: Asked | None = None,
) -> Space:
    """Return the space of a chain, aware of the reference's room if it can take it up, and of words."""
    space = Space(chain, locks)
    fitted, given = {}, {}
    if reference is not None and quality.rooms and reverberates(space.base):
        # else too little sound to hear a room in, or like nothing the input could be in: the fit does without
        with suppress(AudioError):
            room = estimate_room(reference, source, simulations=quality.rooms)
            if room.loss <= FAR_LOSS:
                wanted = room if asked is None else changed_room(room, asked)
                beliefs = believed(space.base, wanted)
                fitted, given = beliefs.fitted, beliefs.given
    if asked is not None:
        words, said = beliefs_of(asked, space.base)
        fitted, given = fitted | words, given | said
    return Space(chain.with_settings(given), locks, fitted) if fitted or given else space


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
    reference: Audio | str | Path | Sequence[Audio | str | Path] | None = None,
    *,
    text: str | None = None,
    lexicon: str | Path | None = None,
    clap: str | Path | None = None,
    chain: str | Chain | None = None,
    only: Sequence[str] = (),
    lock: Sequence[str] = (),
    amount: float = 1.0,
    keep_loudness: bool = False,
    paired: Paired = "auto",
    quality: QualityName = "standard",
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
) -> Match:
    """Fit a chain so that `source` sounds like `reference`, or as `text` wants it, or both.

    Parameters
    ----------
    source, reference: recordings or paths; several references are averaged; None with a text alone.
    text: words of sound, as in "warm, close, a little tape"; beside a reference: the difference from it.
    lexicon: a file of words of your own, on top of the package's.
    clap: weights of CLAP (`fxstyle.embed.clap.load_clap`), which then hears the text as well.
    chain: effects in order, as in "eq,compressor,gain"; default DEFAULT_CHAIN and what the text takes
        beyond; with a text alone what it takes.
    only: slots of that chain to use; all if empty.
    lock: texts such as "compressor.ratio<=4", "eq.peak1_db=0", "reverb=off".
    amount: share of the result to apply, 0..1.
    keep_loudness: match everything but the level.
    paired: whether the reference is a wet version of the input, the same performance: "auto" listens, "yes"
        takes your word for it, "no" takes it for other content.
    quality: "draft", "standard" or "best".
    seed: repeats a run.
    progress: called with a Progress now and then.

    Raises
    ------
    MatchError, SettingError, AudioError: with the thing, its value and the remedy.

    Ctrl-C during the search ends it with the best settings so far (`Match.stopped`); at any other time, and
    the second time, it raises KeyboardInterrupt as usual.
    """
    began = time.perf_counter()
    tell = progress or (lambda _: None)
    if quality not in QUALITIES:
        raise SettingError(f"quality {quality!r} is unknown; choose {', '.join(QUALITIES)}")
    if seed < 0:
        raise SettingError(f"seed = {seed} is negative; choose a whole number from 0")
    if not 0.0 <= amount <= 1.0:
        raise SettingError(f"amount = {amount:g} is outside 0..1; 0 changes nothing, 1 is the whole match")
    asked = asked_of(text, lexicon, clap=clap is not None)
    if asked is None and clap is not None:
        raise SettingError(f"CLAP {clap} is for a text: say what you want as well")
    given = (
        [] if reference is None else list(reference) if isinstance(reference, (list, tuple)) else [reference]
    )
    if not given and asked is None:
        raise MatchError("no reference given: name at least one recording to sound like, or say it in a text")
    if asked is not None:
        by_clap = clap is not None and not given and asked.is_nothing
        chain = chain_of(chain, asked, only, lock, not given and not by_clap)
        asked = asked if given else asked.drier()
    whole = build_chain(chain, only)
    # An effect that is not there is off already, whether --only left it out or the chain never had it.
    absent = {*effects.names(), *(slot.name for slot in build_chain(chain, ()))}
    locks = Locks.parse(lock, whole, absent)
    if Space(whole, locks).size == 0:
        raise SettingError("everything is locked: there is no setting left to fit")
    notes: tuple[str, ...] = ()
    can = None
    if asked is not None:
        asked, can, notes = feasible(asked, whole, locks, keep_loudness, alone=not given and clap is None)
    loaded = _load(source)
    references = tuple(_load(r) for r in given)  # type: ignore[arg-type]  # str is a Sequence too

    tell(Progress("measure", 0.0))
    work = QUALITIES[quality]
    pair = pair_of(loaded, references, paired)
    if pair is not None:
        work = deeper(work)
        task = prepare_paired(loaded, pair, work, keep_loudness, can)
    elif references or asked is None or can is None:
        task = prepare(loaded, references, work, keep_loudness, can)
    else:
        task = prepare_wish(loaded, work, asked, can)
    if asked is not None and clap is not None:
        task = with_clap(task, clap, asked.text, alone=not given and (can is None or can.is_nothing))
    words = None if can is None else can.at(task.source.loudness_lufs)
    if pair is not None:
        space = space_of(whole, locks, pair, task)
    else:
        space = _aware(whole, locks, loaded, references[0] if references else None, work, words)
    objective = Objective(space, task.crops, task.aims, FIT_RATE)
    unseen = Objective(space, task.held_out, task.held_out_aims or task.aims, FIT_RATE)

    guess = closed_form(space, task)
    generator = np.random.default_rng(seed)
    tell(Progress("screen", 0.03))
    drawn = draws(space, guess, work.draws, generator)
    found = refine(
        objective,
        drawn,
        work,
        generator,
        progress=lambda share, loss: tell(Progress("fit", 0.05 + 0.8 * share, loss)),
    )
    tell(Progress("select", 0.87, float(found.losses[0])))
    if found.stopped:
        notes += (f"stopped by hand after {len(found.course)} steps: the best settings so far were kept",)
    best = select(unseen, found)
    by_loudness = keep_loudness or not references
    decided = {
        address.partition(".")[0]
        for address in (
            *locks.fixed,
            *({} if words is None else (a for part in beliefs_of(words, whole) for a in part)),
        )
    }
    by_level = by_loudness or (pair is not None and pair.polarity < 0.0)
    levels = {slot.name for slot in whole if by_level and slot.effect.level_knob is not None}
    fitted, pruned = prune(space.chain(best), task, objective, keep=decided | levels)
    if references and can is not None and can.less_room:
        fitted, note = less_room(fitted, can, locks)
        notes += note
    tell(Progress("judge", 0.95, None))
    judge = Judge(task, loaded.rate)
    level = Chain(tuple(s for s in space.chain(guess) if s.effect.level_knob is not None))
    final, verdict = accept(fitted, judge, amount, level if level.slots else None)
    notes = (*notes, *task.notes, *locks.idle(final))
    if by_loudness and verdict.amount > 0.0:
        change_lu = 0.0 if references or can is None else can.loudness_lu * verdict.amount
        final, note = at_loudness_of(loaded, final, locks, change_lu)
        notes += note
        verdict = judge.again(verdict, final)
    if pair is not None and verdict.amount > 0.0:
        final, note = turned_over(final, pair, locks)
        notes += note
    at_limit = at_limits(space, final, task.crops, FIT_RATE)
    there = space.chain(best).settings()
    changed = {address for address, value in final.settings().items() if there.get(address) != value}
    sure: tuple[Certainty, ...] = ()
    with suppress(PluginError):  # a plugin that fails now must not cost what was found
        sure = certainties(space, Trials(objective), found, best, final, changed)
    changes: tuple[Reached, ...] = ()
    if asked is not None:
        changes = reached(
            _joined(judge.passages(Chain())),
            _joined(task.reference_passages),
            _joined(judge.passages(final)),
            FIT_RATE,
        )
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
        certainty=sure,
        asked=asked,
        reached=changes,
        stopped=found.stopped,
    )


def _joined(passages: Sequence[npt.NDArray[np.floating[Any]]]) -> npt.NDArray[np.floating[Any]]:
    return np.concatenate(list(passages), axis=1)
