"""System identification: the objective, start and judge where the reference is the same performance.

Of output y and aligned reference r, the same crops of both,

    J = W ( d(y, r) + w e/(1 + e) ),     e = min_|L| |p * (y(. - L) - r)|^2 / |p * r|^2

d is the multi-resolution STFT distance (features/stft_loss.py) at RESOLUTIONS, e the error-to-signal ratio of
the waveforms after the pre-emphasis p = 1 - .85 z^-1 (A. Wright & V. Valimaki, "Perceptual loss function for
neural modelling of audio systems", ICASSP 2020; auraloss has both, as ESRLoss and FIRFilter, for one signal
where a fit needs one value per candidate). All lags within SLACK_S are compared, for what a filter delays
cannot be told from latency to the sample; e/(1 + e) ends at 1, so that an effect whose waveform can never be
met, such as the noise of a reverb, is not turned down for it.

What is known of a linear response between the two is read from it: the decays of a room, the time of an echo.
The judge is Ld (features/truth_distance.py) on passages that were not fitted on: other frames, other hops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.fft
import torch

from fxstyle.audio import Audio
from fxstyle.chain import Chain
from fxstyle.errors import MatchError, SettingError
from fxstyle.features.frames import Frames
from fxstyle.features.measure import Measurement, measure
from fxstyle.features.stft_loss import StftLoss
from fxstyle.features.truth_distance import ld
from fxstyle.fit.belief import Beliefs, believed, reverberates
from fxstyle.fit.between import delays_of, echo_of, room_of
from fxstyle.fit.crops import Crops, Samples
from fxstyle.fit.locks import Locks
from fxstyle.fit.objective import Aim, Objective
from fxstyle.fit.paired import Pair, Paired, at_rate, find_pair
from fxstyle.fit.quality import Quality
from fxstyle.fit.search import Round
from fxstyle.fit.space import Space
from fxstyle.fit.target import FIT_RATE, Task, as_wide_as, excerpt, is_mono, split, with_channels
from fxstyle.fit.wish import imagine
from fxstyle.text.asked import Asked
from fxstyle.units import amplitude_to_db, db_to_amplitude

RESOLUTIONS = tuple(Frames(size, size // 4, size, centred=True) for size in (4096, 1024, 256))
"""A factor of four apart, frames that overlap by three quarters: a third of the work of those of Ld."""

WEIGHT = 10.0
"""W: the same performance says far more about settings than another does, so the prior counts for less."""

WAVE_WEIGHT = 0.5
"""w."""

EMPHASIS = 0.85
SLACK_S = 0.002

NEAR_MS, NEAR_STEPS = 0.15, 25
"""Around a time that was read from a response."""

FEWER, LONGER = 0.6, 4.0 / 3.0
"""Of the candidates of the first rounds, and of the candidate steps of the last."""

PREROLL_S = 2.0
"""Twice that of other fits: echoes of what came before must be there on both sides."""


@dataclass(frozen=True, eq=False)
class SameTime:
    """An embedding that compares instants: the crops themselves. reference: (crop, channel, time)."""

    reference: torch.Tensor
    name: str = "paired"

    def embed(self, x: torch.Tensor, rate: float, crops: int = 1) -> dict[str, torch.Tensor]:
        """Return the crops of each candidate one below the other, (candidate, crop * channel, time)."""
        return {"sound": x.reshape(x.shape[0] // crops, crops * x.shape[1], x.shape[2])}

    @cached_property
    def _lanes(self) -> torch.Tensor:
        return self.reference.flatten(0, 1)[None].contiguous()

    @cached_property
    def _spectra(self) -> StftLoss:
        return StftLoss(self._lanes, RESOLUTIONS)

    @cached_property
    def _wave(self) -> tuple[torch.Tensor, float, int, int]:
        """Spectrum of the emphasised reference (lane, frequency), energy, transform and slack in samples."""
        slack = round(SLACK_S * FIT_RATE)
        size = scipy.fft.next_fast_len(self.reference.shape[2] + slack + 1, real=True)
        spectrum = torch.fft.rfft(_emphasised(self._lanes[0]), size)
        return spectrum, float(_emphasised(self._lanes).double().square().sum()), size, slack

    def distance(
        self, output: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Return the distance of spectra and that of waveforms, (candidate,) each; `target` is in here."""
        y = output["sound"]
        if y.device != self.reference.device:
            if y.device not in self._elsewhere:
                self._elsewhere[y.device] = SameTime(self.reference.to(y.device))
            return self._elsewhere[y.device].distance(output, target)
        return {"spectra": WEIGHT * self._spectra(y), "wave": WEIGHT * WAVE_WEIGHT * self._waveform(y)}

    @cached_property
    def _elsewhere(self) -> dict[torch.device, SameTime]:
        """The same where the sound lies."""
        return {}

    def _waveform(self, y: torch.Tensor) -> torch.Tensor:
        spectrum, energy, size, slack = self._wave
        z = _emphasised(y)
        cross = (torch.fft.rfft(z, size).conj() * spectrum.to(y.device)).sum(1)
        lags = torch.fft.irfft(cross, size)
        alike = torch.cat([lags[:, : slack + 1], lags[:, -slack:]], dim=1).amax(1)
        error = (z.square().sum((1, 2)) + energy - 2.0 * alike).clamp_min(0.0) / max(energy, 1e-12)
        return error / (1.0 + error)


def _emphasised(x: torch.Tensor) -> torch.Tensor:
    return x[..., 1:] - EMPHASIS * x[..., :-1]


def pair_of(source: Audio, references: Sequence[Audio], paired: Paired, *, keep: bool = True) -> Pair | None:
    """Return the reference laid on the input, if there is one and it is the same performance.

    Raises
    ------
    SettingError: paired="yes" without exactly one reference. MatchError: and it is another performance.
    """
    if paired not in ("auto", "yes", "no"):
        raise SettingError(f"paired {paired!r} is unknown; choose auto, yes or no")
    if len(references) != 1:
        if paired == "yes":
            raise SettingError(
                "paired=yes is for one reference, a wet version of the input, and there are"
                f" {len(references)}: name one"
            )
        return None
    found = find_pair(source, references[0], FIT_RATE, paired)
    if found is None and paired == "yes":
        name = references[0].source.name if references[0].source is not None else "the reference"
        raise MatchError(
            f"{name} does not follow from the input: no moment of one fits the other at any lag. With"
            " paired=yes it must be the same performance at the same speed, 3 s of it at least; leave paired"
            " at auto for other content"
        )
    return found


def deeper(quality: Quality) -> Quality:
    """Return about as much work on fewer candidates: what is sought is known to the moment, so go deep."""
    *first, last = quality.rounds
    fewer = [Round(max(round(FEWER * r.candidates), 1), r.steps) for r in first]
    steps = round(LONGER * last.candidates * last.steps)
    return replace(quality, draws=quality.draws // 2, rounds=(*fewer, Round(1, steps)))


def _passages(crops: Crops) -> list[Samples]:
    return list(crops.audio[..., crops.preroll :].numpy())


def _halves(crops: Crops, channels: int) -> tuple[Crops, Crops]:
    """Return the crops of the first channels, and of the others."""
    audio = crops.audio
    return replace(crops, audio=audio[:, :channels].contiguous()), replace(
        crops, audio=audio[:, channels:].contiguous()
    )


def _aim(crops: Crops) -> Aim:
    return Aim(SameTime(crops.audio[..., crops.preroll :].contiguous()), {})


def prepare_paired(
    source: Audio, pair: Pair, quality: Quality, keep_loudness: bool, asked: Asked | None = None
) -> Task:
    """Build the task of finding the settings between `source` and a reference laid on it."""
    notes = [f"the reference is {pair}: settings were identified moment by moment"]
    x = at_rate(source, FIT_RATE)[:, pair.begin : pair.end]
    y = np.asarray(pair.aligned[:, pair.begin : pair.end], np.float32)
    theirs = measure(y, FIT_RATE)
    mono = x.shape[0] == 1 or is_mono(y, theirs)
    if x.shape[0] == 2 and mono:
        notes.append("the reference is mono: what it is wide is left to the fit")
    elif x.shape[0] == 1 and not is_mono(y, theirs):
        notes.append("the input is mono: the reference's width cannot be given to it")
    y = with_channels(y, x.shape[0])
    both = excerpt(np.concatenate([x, y]), FIT_RATE)
    x, y = both[: x.shape[0]], both[x.shape[0] :]
    ours = measure(x, FIT_RATE)
    if keep_loudness:
        y = y * np.float32(db_to_amplitude(ours.loudness_lufs - measure(y, FIT_RATE).loudness_lufs))
    if asked is not None:
        y = np.asarray(imagine(asked, y, FIT_RATE), np.float32)
    theirs = measure(y, FIT_RATE)
    fitted, held_out, unseen = split(np.concatenate([x, y]), quality, PREROLL_S)
    if not unseen:
        notes.append(
            "there is so little sound in the input that it is judged on the passage it was fitted on"
        )
    (crops, goal), (others, other_goal) = (_halves(c, x.shape[0]) for c in (fitted, held_out))
    wanted = _passages(other_goal)

    def ear(passages: Sequence[Samples]) -> float:
        ends = [min(a.shape[1], b.shape[1]) for a, b in zip(passages, wanted, strict=True)]
        pairs = [(a[:, :end], b[:, :end]) for a, b, end in zip(passages, wanted, ends, strict=True)]
        ours, theirs = (np.concatenate(side, axis=1) for side in zip(*pairs, strict=True))
        return ld(ours, theirs, FIT_RATE)

    echo_ms, strength = echo_of(pair.response, pair.rate)
    reference = replace(theirs, echo_ms=echo_ms, echo_strength=strength)
    return Task(
        crops=crops,
        held_out=others,
        reference_passages=wanted,
        aims=(_aim(goal),),
        source=ours,
        reference=as_wide_as(reference, ours) if mono else reference,
        unseen=unseen,
        notes=tuple(notes),
        held_out_aims=(_aim(other_goal),),
        started=replace(ours, echo_ms=0.0, echo_strength=0.0),
        with_side=False,
        goal="the reference" if asked is None else "the reference, changed as the text asks,",
        on_held_out=True,
        ear=ear,
        ear_name="its spectra on passages that were not fitted on",
    )


def space_of(chain: Chain, locks: Locks, pair: Pair, task: Task) -> Space:
    """Return the space of a chain, aware of the room and of the echo between input and reference.

    The time of an echo is read from the response to the sample, and no search would find it by its slope: the
    knobs by which effects answer to it are set and not searched.
    """
    fixed: dict[str, float] = {}
    source = task.started or task.source
    if task.reference.echo_strength > 0.0:
        for slot in chain:
            if slot.effect.start is None or not slot.active or slot.name in locks.off:
                continue
            here = slot.effect.start(source, task.reference)
            there = slot.effect.start(source, _later(task.reference))
            fixed |= {f"{slot.name}.{knob}": v for knob, v in here.items() if there[knob] != v}
    decided = {*locks.fixed, *locks.low, *locks.high}
    fixed = {address: value for address, value in fixed.items() if address not in decided}
    beliefs = Beliefs({}, {})
    left = Space(chain, locks).base
    room = room_of(pair.response, pair.rate) if reverberates(left) else None
    if room is not None:
        beliefs = believed(chain, room)
        channels = task.crops.audio.shape[1]
        begun = delays_of(left, room, pair.response, pair.rate, channels)
        fixed |= {address: value for address, value in begun.items() if address not in decided}
    given = {address: value for address, value in beliefs.given.items() if address not in decided}
    fixed = _settled(chain.with_settings({**given, **fixed}), locks, beliefs, task, fixed)
    return _known(chain.with_settings(given), locks, beliefs, fixed)


def _known(chain: Chain, locks: Locks, beliefs: Beliefs, fixed: Mapping[str, float]) -> Space:
    known = replace(locks, fixed={**locks.fixed, **fixed})
    return Space(chain.with_settings(fixed), known, beliefs.fitted)


def _settled(
    chain: Chain, locks: Locks, beliefs: Beliefs, task: Task, fixed: Mapping[str, float]
) -> dict[str, float]:
    """Return the times that were read from the response, each moved to where the objective is least.

    To the sample and finer: where the sound behind a filter arrives depends on the filter.
    """
    settled = dict(fixed)
    for address, value in fixed.items():
        param = chain.param(address)
        near = np.clip(value + np.linspace(-NEAR_MS, NEAR_MS, NEAR_STEPS), param.low, param.high)
        losses = []
        for time_ms in near:
            space = _known(chain, locks, beliefs, {**settled, address: float(time_ms)})
            objective = Objective(space, task.crops, task.aims, FIT_RATE)
            with torch.no_grad():
                losses.append(float(objective(torch.from_numpy(space.home)[None])[0]))
        settled[address] = float(near[int(np.argmin(losses))])
    return settled


def _later(reference: Measurement) -> Measurement:
    return replace(reference, echo_ms=0.9 * reference.echo_ms)


def turned_over(chain: Chain, pair: Pair, locks: Locks) -> tuple[Chain, tuple[str, ...]]:
    """Turn the output's polarity over where the reference's is, by the last switch for it that is free."""
    if pair.polarity > 0.0:
        return chain, ()
    for slot in reversed(chain.slots):
        knob, level = slot.effect.polarity_knob, slot.effect.level_knob
        taken = {f"{slot.name}.{knob}", f"{slot.name}.amount", f"{slot.name}.{level}"} & {*locks.fixed}
        if knob is None or level is None or not slot.active or taken:
            continue
        # below amount 1 the dry sound would cancel: the same scale, 1 + a (g - 1), at amount 1
        scale = 1.0 + slot.amount * (db_to_amplitude(slot.settings[level]) - 1.0)
        settings = {knob: 1.0, level: float(amplitude_to_db(scale)), "amount": 1.0}
        return chain.with_settings({f"{slot.name}.{k}": v for k, v in settings.items()}), ()
    return chain, (
        "the reference is inverted and the output is not: the chain has no free switch for the polarity;"
        " add gain to it, or take its lock away",
    )
