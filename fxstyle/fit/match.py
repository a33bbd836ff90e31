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
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fxstyle import effects
from fxstyle.audio import Audio, read
from fxstyle.chain import Chain
from fxstyle.effects import DEFAULT_CHAIN
from fxstyle.errors import AudioError, MatchError, PluginError, SettingError
from fxstyle.fit.acceptance import BY_AS_MUCH, Judge, accept, at_loudness_of, prune, select
from fxstyle.fit.blackbox import Trials, refine
from fxstyle.fit.certainty import Certainty, certainties
from fxstyle.fit.identify import deeper, pair_of, prepare_paired, space_of, turned_over
from fxstyle.fit.in_room import aware, held_in
from fxstyle.fit.limits import at_limits
from fxstyle.fit.locks import Locks
from fxstyle.fit.objective import PRIOR_WEIGHT, UNNAMED_WEIGHT, Objective
from fxstyle.fit.paired import Paired
from fxstyle.fit.place import DeviceName, place_of
from fxstyle.fit.quality import QUALITIES, Quality, QualityName
from fxstyle.fit.references import shares
from fxstyle.fit.result import Match, Progress
from fxstyle.fit.search import draws
from fxstyle.fit.space import Space, Vector
from fxstyle.fit.target import FIT_RATE, Task, prepare, prepare_wish, with_clap
from fxstyle.fit.texts import asked_of, chain_of, feasible, named_in
from fxstyle.fit.topology import AUTO, chain_text, shipped
from fxstyle.fit.wish import Reached, beliefs_of, less_room, reached
from fxstyle.text.asked import ROOM


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


def _decided(chain: str | Chain | None, only: Sequence[str], lock: Sequence[str]) -> tuple[Chain, Locks]:
    """Return the chain to fit and its locks; raises SettingError where there is nothing left to fit."""
    whole = build_chain(chain, only)
    # An effect that is not there is off already, whether --only left it out or the chain never had it.
    absent = {*effects.names(), *(slot.name for slot in build_chain(chain, ()))}
    locks = Locks.parse(lock, whole, absent)
    if Space(whole, locks).size == 0:
        raise SettingError("everything is locked: there is no setting left to fit")
    return whole, locks


def _heard(source: Audio, reference: Audio | None, quality: Quality) -> tuple[str, ...] | None:
    """Return the effects heard in a reference; None where that is not listened for."""
    if reference is None or not quality.rooms:
        return None
    try:
        return shipped().heard(source, reference)
    except AudioError:
        return None  # too little sound to tell


def closed_form(space: Space, task: Task) -> Vector:
    """Position (N,) of the first guess: each effect's own closed form from both measurements."""
    guess: dict[str, float] = {}
    for slot in space.base:
        if slot.active and slot.effect.start is not None:
            for knob, value in slot.effect.start(task.started or task.source, task.reference).items():
                guess[f"{slot.name}.{knob}"] = value
    guess |= {address: belief.value for address, belief in space.beliefs.items()}
    return space.unit(guess)


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
    space = aware(whole, Locks.parse(lock, whole), source, reference, QUALITIES[quality])
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
    weights: Sequence[float] = (),
    room: Audio | str | Path | None = None,
    device: DeviceName = "auto",
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
    chain: effects in order, as in "eq,compressor,gain"; "auto", the default, takes those that are heard in
        the reference (topology.py; a draft does not listen and takes DEFAULT_CHAIN). With a text it is
        DEFAULT_CHAIN and what the text takes beyond; with a text alone what it takes.
    only: slots of that chain to use; all if empty.
    lock: texts such as "compressor.ratio<=4", "eq.peak1_db=0", "reverb=off".
    amount: share of the result to apply, 0..1.
    keep_loudness: match everything but the level.
    paired: whether the reference is a wet version of the input, the same performance: "auto" listens, "yes"
        takes your word for it, "no" takes it for other content.
    weights: how much each reference counts, in their order; 2 counts twice as much as 1, 0 not at all.
    room: a recording whose room the output is put into, instead of that of the reference (in_room.py).
    device: where the fit runs: "cpu", "cuda", or "auto", a GPU where there is one.
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
    counted = shares(weights, len(given))
    if room is not None and paired == "yes":
        raise SettingError(
            "paired=yes finds the room between both recordings, room wants another: choose one"
        )
    chain = None if isinstance(chain, str) and chain.strip() == AUTO else chain
    unnamed = chain is None and asked is None and not only
    also = named_in(lock) | ({ROOM} if room is not None else set())
    if unnamed:
        chain = chain_text(DEFAULT_CHAIN.split(","), also)
    if asked is not None:
        by_clap = clap is not None and not given and asked.is_nothing
        chain = chain_of(chain, asked, only, lock, not given and not by_clap)
        asked = asked if given else asked.drier()
    whole, locks = _decided(chain, only, lock)
    notes: tuple[str, ...] = ()
    can = None
    if asked is not None:
        asked, can, notes = feasible(asked, whole, locks, keep_loudness, alone=not given and clap is None)
    hosted = any(slot.effect.hosted is not None for slot in whole)
    place = place_of(device, "a plugin in the chain" if hosted else None if clap is None else "CLAP")
    loaded = _load(source)
    references = tuple(_load(r) for r in given)  # type: ignore[arg-type]  # str is a Sequence too
    if weights:
        notes += (f"the references count {', '.join(f'{100.0 * share:.0f} %' for share in counted)}",)
    used = [(r, share) for r, share in zip(references, counted, strict=True) if share > 0.0]
    heaviest = max(used, key=lambda one: one[1])[0] if used else None

    tell(Progress("measure", 0.0))
    work = QUALITIES[quality]
    pair = pair_of(loaded, [r for r, _ in used], "no" if room is not None else paired)
    heard = _heard(loaded, heaviest, work) if unnamed and pair is None else None
    if heard is not None:
        with suppress(SettingError):  # where nothing that was heard may be turned, all is tried
            whole, locks = _decided(chain_text(heard, also), (), lock)
    held: frozenset[str] = frozenset()
    if room is not None:
        within = held_in(whole, locks, _load(room), loaded, max(work.rooms, QUALITIES["standard"].rooms))
        held = frozenset(
            address.partition(".")[0] for address in within.locks.fixed.keys() - locks.fixed.keys()
        )
        whole, locks, notes = within.chain, within.locks, (*notes, within.note)
    if pair is not None:
        work = deeper(work)
        task = prepare_paired(loaded, pair, work, keep_loudness, can)
    elif references or asked is None or can is None:
        recordings, parts = zip(*used, strict=True)
        task = prepare(loaded, recordings, work, keep_loudness, can, parts)
    else:
        task = prepare_wish(loaded, work, asked, can)
    if asked is not None and clap is not None:
        task = with_clap(task, clap, asked.text, alone=not given and (can is None or can.is_nothing))
    words = None if can is None else can.at(task.source.loudness_lufs)
    if pair is not None:
        space = space_of(whole, locks, pair, task)
    else:
        space = aware(whole, locks, loaded, heaviest if room is None else None, work, words)
    prior = UNNAMED_WEIGHT if unnamed and pair is None else PRIOR_WEIGHT
    objective = Objective(space, task.crops.to(place), task.aims, FIT_RATE, prior)
    unseen = Objective(space, task.held_out.to(place), task.held_out_aims or task.aims, FIT_RATE, prior)

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
    plugins = {slot.name for slot in whole if slot.effect.hosted is not None}
    decided = plugins | {
        address.partition(".")[0]
        for address in (
            *locks.fixed,
            *({} if words is None else (a for part in beliefs_of(words, whole) for a in part)),
        )
    }
    by_level = by_loudness or (pair is not None and pair.polarity < 0.0)
    levels = {slot.name for slot in whole if by_level and slot.effect.level_knob is not None}
    fitted, pruned = prune(space.chain(best), objective, keep=decided | levels)
    if references and can is not None and can.less_room:
        fitted, note = less_room(fitted, can, locks)
        notes += note
    tell(Progress("judge", 0.95, None))
    judge = Judge(task, loaded.rate, BY_AS_MUCH if unnamed and pair is None else 0.0)
    level = Chain(tuple(s for s in space.chain(guess) if s.effect.level_knob is not None))
    final, verdict = accept(fitted, judge, amount, level if level.slots else None, held)
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
        weights=counted,
        heard=heard,
        at_limit=at_limit,
        certainty=sure,
        asked=asked,
        reached=changes,
        stopped=found.stopped,
    )


def _joined(passages: Sequence[npt.NDArray[np.floating[Any]]]) -> npt.NDArray[np.floating[Any]]:
    return np.concatenate(list(passages), axis=1)
