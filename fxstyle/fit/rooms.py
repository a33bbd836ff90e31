"""Rooms for a recording: from another recording, or from an impulse response.

    same content in both   aligned and deconvolved to a response, then as from a response
    other content          estimated blindly (rooms/blind.py)
    a response             measured (ISO 3382) and reached by turns (known.py)

What comes out is a chain of one reverberation, of any kind that can be asked for decays, and how sure it is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from fxstyle import effects, responses
from fxstyle.audio import Audio, require_sound, resample
from fxstyle.chain import Chain
from fxstyle.effect import Effect
from fxstyle.errors import AudioError, MatchError, SettingError
from fxstyle.fit.geometry import find_geometry
from fxstyle.fit.known import KnownFit, Wanted, compared, fit_decays, from_direct, response_of, wanted_of
from fxstyle.fit.paired import find_pair
from fxstyle.rooms.blind import Estimate, estimate
from fxstyle.rooms.deconvolve import deconvolve
from fxstyle.rooms.iso3382 import Decay, clipped, measure_response

Floats = npt.NDArray[np.float64]
Tell = Callable[[str, float], None]

HIGHEST_RATE = 48_000
"""Responses of higher rates are measured at this one: there is no room above it."""

SIMULATIONS = 384
"""Rooms with which a recording is compared."""

MOST_CLIPPED = 0.001
"""Share of samples of a response that may stand at its largest value."""

CLOSE_T60, CLOSE_C50_DB = 0.10, 1.0
"""Errors of an octave that is right, for the confidence in a known fit."""

PLAUSIBLE = "size, places and walls are plausible, not recovered: sound alone does not tell them"

FOUND = 0.5
"""Confidence in a size from which on it is taken; most missed rooms stay below (bench/rooms_geometry.py)."""

SEARCHED = 0.7
"""Share of the time of a fit that the search for a size takes."""


@dataclass(frozen=True, eq=False)
class RoomFit:
    """A reverberation for a room.

    Attributes
    ----------
    chain: of one slot. kind: its effect.
    known: whether it was fitted to a response, and not blindly.
    estimate: what a blind fit heard. target: what the response measures like.
    response, response_rate: the response that was given or deconvolved.
    achieved: what the chain's own response measures like, with the dry sound.
    confidence: 0..1: of a blind fit that of its estimate, of a known one the share of octaves it reaches.
    notes: what the user should know. seconds: that it took.
    """

    chain: Chain
    kind: str
    known: bool
    estimate: Estimate | None
    target: Decay | None
    response: Floats | None
    response_rate: int
    achieved: Decay
    confidence: float
    notes: tuple[str, ...]
    seconds: float


def _quiet(stage: str, share: float) -> None:
    """Tell nobody."""


@cache
def kinds() -> tuple[str, ...]:
    """Return the names of the effects that a room can be handed back as."""
    return tuple(effect.name for effect in effects.all_effects() if effect.of_decays is not None)


def _effect(kind: str) -> Effect:
    if kind not in kinds():
        raise SettingError(f"no room is kept as {kind!r}; choose {', '.join(kinds())}")
    return effects.get(kind)


def _has_places(effect: Effect) -> bool:
    return any(param.unit == "m" for param in effect.params)


def _chain(effect: Effect, settings: dict[str, float]) -> Chain:
    chain = Chain.parse(effect.name)
    return chain.with_settings({f"{effect.name}.{knob}": value for knob, value in settings.items()})


def _checked(given: Audio) -> Audio:
    """Return a response at a rate at which it is measured; raises AudioError for what is none."""
    name = "the impulse response" if given.source is None else given.source.name
    require_sound(given, name)
    responses.check_size(name, given.channels, given.frames, given.rate)
    flat = clipped(given.samples)
    if flat > MOST_CLIPPED * given.samples.size:
        raise AudioError(
            f"it is clipped: {flat} samples stand at the largest value, so the direct sound is wrong; measure"
            " it again with less gain"
        )
    return resample(given, HIGHEST_RATE) if given.rate > HIGHEST_RATE else given


def _places(
    effect: Effect, h: Floats, rate: int, seed: int, tell: Tell
) -> tuple[dict[str, float], tuple[str, ...], float]:
    """Return the sizes and places of a response's room, if they are sure, what to say, and the share done."""
    room = find_geometry(effect, h, rate, seed=seed, progress=lambda share: tell("fit", SEARCHED * share))
    if room.confidence < FOUND:
        return {}, (PLAUSIBLE,), SEARCHED
    names = [name for axis in effect.geometry for name in (axis.size, axis.source, axis.microphone)]
    note = (
        "size found from the reflections of the response, but for mirror images and the order of axes:"
        f" confidence {room.confidence:.0%}; walls are plausible"
    )
    return {name: room.settings[name] for name in names}, (note,), SEARCHED


def _of_known(
    effect: Effect,
    found: KnownFit,
    wanted: Wanted,
    given: Audio,
    target: Decay,
    notes: tuple[str, ...],
) -> RoomFit:
    counted = wanted.sure & np.isfinite(found.t60_error) & np.isfinite(found.c50_error_db)
    right = (np.abs(found.t60_error) <= CLOSE_T60) & (np.abs(found.c50_error_db) <= CLOSE_C50_DB)
    keeps = any(param.responses for param in effect.params)
    if not (keeps or wanted.sure.all()):
        notes += (
            f"{int((~wanted.sure).sum())} of {wanted.sure.size} octaves cannot be measured in the response;"
            " they take after their neighbours",
        )
    if not keeps and (right & counted).sum() < wanted.sure.sum() / 2:
        notes += (
            "in most octaves the decay or the clarity (C50) of the response is out of this reverb's reach:"
            " convolution keeps the response as it is",
        )
    return RoomFit(
        chain=_chain(effect, found.settings), kind=effect.name, known=True, estimate=None, target=target,
        response=given.samples.astype(np.float64), response_rate=given.rate, achieved=found.achieved,
        confidence=float((right & counted).mean()), notes=notes, seconds=0.0,
    )  # fmt: skip


def _itself(effect: Effect, given: Audio, name: str) -> tuple[Chain, Floats]:
    """Return the chain that convolves with a response, and that response from its direct sound on."""
    h = from_direct(given.samples, given.rate)
    number = responses.add(responses.response(name, h, given.rate))
    energy = float((h**2).sum(axis=1).mean())
    # as the effect makes the energy 1: level_db brings back a direct sound of 1
    settings = {**effect.defaults(), "ir": float(number), "dry": 0.0, "tail": 1.0}
    limits = effect.param("level_db")
    settings["level_db"] = min(max(10.0 * math.log10(energy), limits.low), limits.high)
    return _chain(effect, settings), h


def fit_room(
    response: Audio, *, kind: str = "reverb", seed: int = 0, progress: Tell | None = None
) -> RoomFit:
    """Fit a reverberation to an impulse response.

    Parameters
    ----------
    response: (channel, time), with its direct sound.
    kind: of `kinds()`; "convolution" keeps the response itself.
    seed: repeats a run. progress: called with a stage and the share done.

    Raises
    ------
    AudioError: the response is silent, clipped, too long, or no decay can be measured in it.
    SettingError: another kind.
    """
    began, tell = time.perf_counter(), progress or _quiet
    effect = _effect(kind)
    given = _checked(response)
    tell("measure", 0.0)
    h = from_direct(given.samples[:2], given.rate)
    target = measure_response(h, given.rate)
    wanted = wanted_of(target)
    if any(param.responses for param in effect.params):
        name = "response.wav" if response.source is None else response.source.name
        chain, own = _itself(effect, response, name)
        count = math.ceil(1.5 * own.shape[1] / response.rate * given.rate)
        made = response_of(effect, dict(chain.slots[0].settings), given.rate, h.shape[0], count)
        found = compared({}, measure_response(made, given.rate), wanted)
        fit = replace(_of_known(effect, found, wanted, given, target, ()), chain=chain)
    else:
        places, notes, before = (
            _places(effect, h, given.rate, seed, tell) if effect.geometry else ({}, (), 0.0)
        )
        found = fit_decays(
            effect, wanted, given.rate, h.shape[0], given=places,
            progress=lambda share: tell("fit", before + (1.0 - before) * share),
        )  # fmt: skip
        fit = _of_known(effect, found, wanted, given, target, notes)
    return replace(fit, seconds=time.perf_counter() - began)


def estimate_room(reference: Audio, dry: Audio | None = None, *, simulations: int = SIMULATIONS) -> Estimate:
    """Estimate the room of a recording, against a dry one of the same kind of sound if there is one."""
    other = None
    if dry is not None:
        other = (dry if dry.rate == reference.rate else resample(dry, reference.rate)).samples
    return estimate(reference.samples, reference.rate, other, simulations=simulations)


def _response_between(source: Audio, reference: Audio) -> Audio | None:
    """Return the response between two recordings of the same performance, or None if they are not."""
    rate = min(source.rate, reference.rate, HIGHEST_RATE)
    dry, wet = (a if a.rate == rate else resample(a, rate) for a in (source, reference))
    if find_pair(dry, wet, rate) is None:
        return None
    try:
        h, _ = deconvolve(dry.samples[:2], wet.samples[:2], rate)
    except AudioError:
        return None
    return Audio(h.astype(np.float32), rate)


def match_room(
    source: Audio,
    reference: Audio,
    *,
    kind: str = "reverb",
    seed: int = 0,
    blind: bool = False,
    progress: Tell | None = None,
) -> RoomFit:
    """Put a dry recording into the space of a reference.

    Parameters
    ----------
    source: the dry recording. reference: of the same content, which is then deconvolved, or of another.
    kind: of `kinds()`. seed: repeats a run.
    blind: whether to take the contents for different without a look.
    progress: called with a stage and the share done.

    Raises
    ------
    MatchError: the reference is dry: there is nothing to fit.
    AudioError: a recording is silent, not finite or too short. SettingError: another kind.
    """
    began, tell = time.perf_counter(), progress or _quiet
    effect = _effect(kind)
    for audio, role in ((source, "the input"), (reference, "the reference")):
        require_sound(audio, role)
    tell("compare", 0.0)
    response = None if blind else _response_between(source, reference)
    if response is not None:
        try:
            fit = fit_room(response, kind=kind, seed=seed, progress=progress)
        except AudioError:
            pass  # noisier than it takes to measure a decay: what is left is to listen
        else:
            note = "the reference is the input in a room: its impulse response was taken from the two"
            return replace(fit, notes=(note, *fit.notes), seconds=time.perf_counter() - began)
    tell("listen", 0.2)
    heard = estimate_room(reference, source)
    if heard.dry:
        raise MatchError(
            "the reference is dry: no reverberation can be heard in it, so nothing was fitted;"
            " choose a reference with a room in it"
        )
    tell("fit", 0.6)
    rate = min(source.rate, HIGHEST_RATE)
    channels = min(source.channels, 2)
    wanted = Wanted(heard.t60_s, heard.c50_db, np.ones(heard.t60_s.size, bool), ("t20_s",) * heard.t60_s.size)
    # levels are heard as they are; sought for the clarity they would run away where it hardly depends on them
    found = fit_decays(effect, wanted, rate, channels, level_db=heard.level_db)
    notes = heard.warnings
    if _has_places(effect):
        notes += (PLAUSIBLE,)
    tell("done", 1.0)
    return RoomFit(
        chain=_chain(effect, found.settings), kind=kind, known=False, estimate=heard, target=None,
        response=None, response_rate=rate, achieved=found.achieved, confidence=heard.confidence,
        notes=notes, seconds=time.perf_counter() - began,
    )  # fmt: skip
