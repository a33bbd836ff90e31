"""From recordings to what a fit needs: both sides at one rate, their crops, and the aims."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fxstyle.audio import Audio, resample
from fxstyle.embed.measured import ABSENT_DB, STEADIEST, Measured, content_noise, crop_variances
from fxstyle.errors import MatchError
from fxstyle.features.measure import Measurement, measure
from fxstyle.fit.crops import PREROLL_S, Crops, Samples, cut, salient
from fxstyle.fit.objective import Aim, Weighted
from fxstyle.fit.quality import Quality
from fxstyle.fit.wish import imagine, loudness_lufs, through_recipe
from fxstyle.text.asked import Asked
from fxstyle.units import db_to_amplitude

FIT_RATE = 44100
"""Hz. Fits run at this rate: settings are physical, so they serve at every other one."""

SHORTEST_S = 0.5
"""Less sound than this has neither a spectrum nor dynamics."""

LONGEST_S, EXCERPT_S = 120.0, 10.0
"""Of a longer recording, so many seconds are looked at, in passages of EXCERPT_S spread over it: the
memory of a fit does not grow with the length of the recordings beyond holding them."""

REFERENCE_CROPS = 8
"""Up to so many crops of every reference: it is measured once, so more of it costs little."""

SILENT_LUFS = -69.0
"""BS.1770 counts blocks below -70 LUFS as silence."""

MONO_SIDE_DB = -60.0

CLAP_WEIGHT = 0.5
"""A sound that does not move with the text lies 1 from it: that counts as much as half a standard deviation,
squared, of all tone. Small on purpose: the lexicon has numbers, CLAP an impression."""

STAY_WEIGHT = 0.02
"""Of staying as it is, where CLAP alone has a wish: a change by five standard deviations of everything costs
as much as CLAP can give."""


@dataclass(frozen=True)
class Task:
    """Everything a fit looks at.

    Attributes
    ----------
    crops, held_out: passages of the input to fit on, and others to select on; the judge hears both.
    reference_passages: passages (channel, time) of the reference, as the judge compares them.
    aims: where to arrive.
    source, reference: measurements for the closed-form starts.
    unseen: whether `held_out` was really kept from the fit.
    notes: what the user should know, in plain words.
    held_out_aims: where to arrive on the passages held out, where it is another place.
    started: what closed-form starts begin from, where it is not the source itself.
    with_side: whether the judge compares the side; None: where both have one.
    goal: what the judge compares with, in words.
    on_held_out: whether the judge hears nothing but what was held out.
    ear: what the judge measures of passages (channel, time), where it is not judge.py's distance.
    ear_name: who that is, in words.
    """

    crops: Crops
    held_out: Crops
    reference_passages: list[Samples]
    aims: tuple[Aim, ...]
    source: Measurement
    reference: Measurement
    unseen: bool
    notes: tuple[str, ...]
    held_out_aims: tuple[Aim, ...] | None = None
    started: Measurement | None = None
    with_side: bool | None = None
    goal: str = "the reference"
    on_held_out: bool = False
    ear: Callable[[Sequence[Samples]], float] | None = None
    ear_name: str = "CLAP itself"

    @property
    def judged(self) -> Crops:
        """Return the passages of the input that the judge hears."""
        if self.on_held_out or not self.unseen:
            return self.held_out
        return Crops(torch.cat([self.crops.audio, self.held_out.audio]), self.crops.preroll)


def _named(role: str, audio: Audio) -> str:
    """Return "the input", or "the input dry.wav" where the recording has a name."""
    return f"the {role} {audio.source.name}" if audio.source is not None else f"the {role}"


def _prepare(audio: Audio, role: str) -> Samples:
    length_s = audio.samples.shape[1] / audio.rate
    if length_s < SHORTEST_S:
        raise MatchError(
            f"{_named(role, audio)} is {length_s:.3f} s long; at least {SHORTEST_S} s are needed to hear its"
            " sound"
        )
    x = audio.samples if audio.channels <= 2 else audio.samples.mean(axis=0, keepdims=True)
    short = Audio(excerpt(x, audio.rate), audio.rate)
    return (short if audio.rate == FIT_RATE else resample(short, FIT_RATE)).samples


def excerpt(x: Samples, rate: int) -> Samples:
    """The recording itself, or salient passages of it where it is longer than LONGEST_S."""
    size = int(EXCERPT_S * rate)
    count = int(LONGEST_S / EXCERPT_S)
    if x.shape[1] <= count * size:
        return x
    return np.concatenate([x[:, b : b + size] for b in salient(x, size, count)], axis=1)


def is_mono(x: Samples, measured: Measurement) -> bool:
    return x.shape[0] == 1 or float(measured.side_db.max()) < float(measured.mid_db.max()) + MONO_SIDE_DB


def _silent(role: str, audio: Audio, measured: Measurement, remedy: str) -> str:
    level = f"{measured.loudness_lufs:.0f} LUFS; below {SILENT_LUFS:.0f}"
    return f"{_named(role, audio)} is silent ({level}): {remedy}"


def split(x: Samples, quality: Quality, preroll_s: float = PREROLL_S) -> tuple[Crops, Crops, bool]:
    """Crops to fit and crops held out; the flag says whether the latter are really unseen."""
    wanted = quality.crops + quality.held_out
    size = min(int(quality.crop_s * FIT_RATE), x.shape[1] // wanted)
    preroll = int(preroll_s * FIT_RATE)
    if size < int(SHORTEST_S * FIT_RATE):
        whole = cut(x, [0], x.shape[1], preroll)
        return whole, whole, False
    begins = salient(x, size, wanted)
    if len(begins) < 2:
        crop = cut(x, begins, size, preroll)
        return crop, crop, False
    # Those held out lie between those fitted on, so that both hear the same song.
    count = min(quality.held_out, len(begins) // 2)
    middle = (len(begins) - count + 1) // 2
    unseen = begins[middle : middle + count]
    fitted = [begin for begin in begins if begin not in unseen]
    return cut(x, fitted, size, preroll), cut(x, unseen, size, preroll), True


def _heard(source: Audio) -> tuple[Samples, Measurement]:
    x = _prepare(source, "input")
    measured = measure(x, FIT_RATE)
    if measured.loudness_lufs < SILENT_LUFS:
        raise MatchError(
            _silent("input", source, measured, "there is nothing to match; choose a passage with sound")
        )
    return x, measured


def _imagined(crops: Crops, asked: Asked) -> Crops:
    """Crops as the words want them, with their pre-roll: one after the other, each from its own beginning."""
    return replace(
        crops,
        audio=torch.from_numpy(np.stack([imagine(asked, crop, FIT_RATE) for crop in crops.audio.numpy()])),
    )


def _joined(crops: Crops) -> Samples:
    return np.concatenate(list(crops.audio[..., crops.preroll :].numpy()), axis=1)


def prepare_wish(source: Audio, quality: Quality, whole: Asked, asked: Asked) -> Task:
    """Build the task of making `source` sound as words want it; raises MatchError, AudioError.

    Parameters
    ----------
    whole: what was asked for, which the judge goes by. asked: what of it the chain can do.
    """
    notes = []
    x, source_measured = _heard(source)
    mono = is_mono(x, source_measured)
    if mono and whole.width_db:
        notes.append("the input is mono: width cannot be given to it, nor taken")
    if source.channels > 2:
        notes.append(f"the input's {source.channels} channels were fitted by their mean; each is rendered")
    fitted, held_out, unseen = split(x, quality)
    if not unseen:
        notes.append(
            "there is so little sound in the input that it is judged on the passage it was fitted on"
        )
    goal, held_out_goal = _imagined(fitted, asked), _imagined(held_out, asked)
    judged = held_out_goal if whole is asked else _imagined(held_out, whole)
    embedding = Measured(
        skip=frozenset({"width", "balance"} if mono else ()),
        tone_mask=tuple(bool(level > ABSENT_DB) for level in source_measured.mid_db),
        # the content is the same on both sides
        noise=dict.fromkeys(crop_variances(), STEADIEST),
    )
    x0 = _joined(fitted)
    through = _joined(replace(fitted, audio=through_recipe(fitted.audio, asked, FIT_RATE)))
    # Starts see the colour of step 1 at the input's level, for thresholds are of the input; but how loud it
    # has become is for the level to make up for.
    level_db = loudness_lufs(x0, FIT_RATE) - (louder := loudness_lufs(through, FIT_RATE))
    started = replace(measure(through * db_to_amplitude(level_db), FIT_RATE), loudness_lufs=louder)
    return Task(
        crops=fitted,
        held_out=held_out,
        reference_passages=list(judged.audio[..., judged.preroll :].numpy()),
        aims=(Aim.at(embedding, goal, FIT_RATE),),
        source=source_measured,
        reference=measure(_joined(goal), FIT_RATE),
        unseen=unseen,
        notes=tuple(notes),
        held_out_aims=(Aim.at(embedding, held_out_goal, FIT_RATE),),
        started=started,
        with_side=not mono,
        goal="what the text asks for",
        on_held_out=True,
    )


def prepare(
    source: Audio,
    references: Sequence[Audio],
    quality: Quality,
    keep_loudness: bool,
    asked: Asked | None = None,
    weights: Sequence[float] = (),
) -> Task:
    """Build the task of matching `source` to `references`, changed as words want them if there are any.

    weights: how much each reference counts, summing to one; all alike if there are none.
    Raises MatchError, AudioError.
    """
    notes = []
    weights = weights or (1.0 / len(references),) * len(references)
    x, source_measured = _heard(source)
    ys = [_prepare(r, "reference") for r in references]
    measured = []
    for i, y in enumerate(ys):
        m = measure(y, FIT_RATE)
        if m.loudness_lufs < SILENT_LUFS:
            raise MatchError(
                _silent("reference", references[i], m, "there is no sound to aim at; choose another")
            )
        if keep_loudness:
            ys[i] = y * np.float32(db_to_amplitude(source_measured.loudness_lufs - m.loudness_lufs))
            m = measure(ys[i], FIT_RATE)
        if asked is not None:
            ys[i] = imagine(asked, ys[i], FIT_RATE)
            m = measure(ys[i], FIT_RATE)
        measured.append(m)

    mono = x.shape[0] == 1 or any(is_mono(y, m) for y, m in zip(ys, measured, strict=True))
    if x.shape[0] == 2 and mono:
        notes.append("the reference is mono: it says nothing about width, so none was aimed at")
    if source.channels > 2:
        notes.append(f"the input's {source.channels} channels were fitted by their mean; each is rendered")
    elif x.shape[0] == 1 and any(y.shape[0] == 2 for y in ys):
        notes.append("the input is mono: the reference's width cannot be given to it")
    channels = x.shape[0]
    ys = [with_channels(y, channels) for y in ys]

    fitted, held_out, unseen = split(x, quality)
    if not unseen:
        notes.append(
            "there is so little sound in the input that it is judged on the passage it was fitted on"
        )
    size = fitted.audio.shape[2] - fitted.preroll
    reference_crops = []
    for y, weight in zip(ys, weights, strict=True):
        reference_size = min(size, y.shape[1])
        wanted = round(REFERENCE_CROPS * weight / max(weights))
        count = max(min(wanted, y.shape[1] // reference_size), 1)
        begins = salient(y, reference_size, count)
        reference_crops.append(cut(y, begins, reference_size, 0))

    reference_measured = _mean(measured, weights)
    # A band in which the input carries nothing cannot be filled by any effect, and a level below the
    # floor is noise: neither may pull at the equaliser.
    mask = tuple(
        bool(a > ABSENT_DB and b > ABSENT_DB)
        for a, b in zip(source_measured.mid_db, reference_measured.mid_db, strict=True)
    )
    heard = [fitted.audio[..., fitted.preroll :], *(c.audio for c in reference_crops)]
    embedding = Measured(
        skip=frozenset({"width", "balance"} if mono else ()),
        tone_mask=mask if any(mask) else None,
        noise=content_noise(heard, FIT_RATE),
    )
    targets = [Aim.at(embedding, c, FIT_RATE).target for c in reference_crops]
    target = {
        name: torch.stack([w * t[name] for w, t in zip(weights, targets, strict=True)]).sum(0)
        for name in targets[0]
    }
    return Task(
        crops=fitted,
        held_out=held_out,
        reference_passages=[np.asarray(a) for c in reference_crops for a in c.audio.numpy()],
        aims=(Aim(embedding, target),),
        source=source_measured,
        reference=as_wide_as(reference_measured, source_measured) if mono else reference_measured,
        unseen=unseen,
        notes=tuple(notes),
        goal="the reference" if asked is None else "the reference, changed as the text asks,",
    )


def with_clap(task: Task, weights: str | Path, text: str, *, alone: bool = False) -> Task:
    """Return the task with a text as CLAP hears it as a further aim; raises SettingError, AudioError.

    alone: whether there is no other aim, so that everything but what moves with the text is to stay, and
    CLAP judges as well.
    """
    from fxstyle.embed.clap import Wish, load_clap

    clap = load_clap(weights)

    def wish_of(crops: Crops) -> Wish:
        heard = crops.audio[..., crops.preroll :]
        with torch.no_grad():
            return Wish.of(clap, text, clap.embed(heard, FIT_RATE, crops.count))

    def aim(crops: Crops) -> Aim:
        wish = wish_of(crops)
        return Aim(Weighted(wish, CLAP_WEIGHT), wish.target)

    if alone:
        wish = wish_of(task.judged)

        def ear(passages: Sequence[Samples]) -> float:
            vectors = wish.embed(torch.from_numpy(np.stack(passages)), FIT_RATE, len(passages))
            with torch.no_grad():
                return float(wish.distance(vectors, wish.target)["direction"])

        task = replace(
            task,
            aims=_loosened(task.aims),
            held_out_aims=_loosened(task.held_out_aims) or None,
            ear=ear,
            goal="what CLAP takes the text for",
        )
    return replace(
        task,
        aims=(*task.aims, aim(task.crops)),
        held_out_aims=(*(task.held_out_aims or task.aims), aim(task.held_out)),
    )


def _loosened(aims: Sequence[Aim] | None) -> tuple[Aim, ...]:
    return tuple(Aim(Weighted(aim.embedding, STAY_WEIGHT), aim.target) for aim in aims or ())


def as_wide_as(reference: Measurement, source: Measurement) -> Measurement:
    """The reference, with the source's ratio of side to mid in every band."""
    return replace(reference, side_db=reference.mid_db + source.side_db - source.mid_db)


def with_channels(y: Samples, channels: int) -> Samples:
    if y.shape[0] == channels:
        return y
    return y.mean(axis=0, keepdims=True) if channels == 1 else np.repeat(y, 2, axis=0)


def _mean(measured: Sequence[Measurement], weights: Sequence[float]) -> Measurement:
    """Weighted mean of several measurements, number by number (levels in dB)."""
    first = measured[0]
    if len(measured) == 1:
        return first

    def mean(name: str) -> Any:
        return np.average([getattr(m, name) for m in measured], axis=0, weights=weights)

    means = {name: mean(name) for name in ("mid_db", "side_db", "level_quantiles_db", "decay_s")}
    numbers = {name: float(mean(name)) for name in ("loudness_lufs", "crest_db")}
    echo = max(measured, key=lambda m: m.echo_strength)
    changed: dict[str, Any] = {**means, **numbers}
    return replace(first, **changed, echo_ms=echo.echo_ms, echo_strength=echo.echo_strength)
