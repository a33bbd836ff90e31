"""The room of a recording, without its dry sound: decay and level per octave, and how sure they are.

Dry material, best the user's own, is simulated in a grid of rooms (T, L) (simulate.py). Where the levels of
the reference fall as those of a simulation do (slopes.py), there lies its room: a probability for each octave
on the grid, and a chain along the octaves (posterior.py). The estimate is the mean of ln T, L and C50, its
spread their standard deviation. With L the energy of the room over that of the dry sound, and
r = exp(-2 ln(1000) 50 ms/T),

    C50 = 10 lg ((1 + 10^(L/10) (1 - r)) / (10^(L/10) r))       of the whole response, direct sound and room

What was played in the reference is unknown, and other material played in the same room falls otherwise. What
tells rooms apart, and not what is played in them, was learned from dry recordings in measured and made rooms.

Measured on rooms, plates, voices and instruments that learning did not know (bench/rooms_blind.py), median
error of T60 and mean error of C50: speech to speech 16 % and 1.8 dB, across speech and instruments 24 % and
2.6 dB, speech at 20 dB above noise 22 % and 2.0 dB. Notes that ring on, of a piano or a lead guitar, are
taken for a room.

What no recording tells: pre-delay, geometry, single reflections, the colour of the source against that of
the room, the absolute level. A response of which less than half arrives in the first 50 ms by far (C50 under
-7 dB) is taken for one of -7 dB: decaying noise has no other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fxstyle.audio import Audio, require_sound, resample
from fxstyle.errors import AudioError
from fxstyle.octaves import BAND_NAMES, CENTRES_HZ
from fxstyle.performance import perform
from fxstyle.rooms.posterior import distances, learned, log_likelihood, marginals
from fxstyle.rooms.simulate import grid, simulate
from fxstyle.rooms.slopes import WORK_RATE, common_floor, describe, noise_db, octave_levels
from fxstyle.units import NEPERS_OF_60_DB, SILENCE_AMPLITUDE, db_to_power

Floats = npt.NDArray[np.float64]
Samples = npt.NDArray[np.floating[Any]]

LONGEST_S, SHORTEST_S = 8.0, 0.5
"""What is listened to of a reference; without so much there is nothing to tell."""

SHORT_S = 1.5
"""What was measured: speech of 1.5 s is still heard as well as of 8 s."""

EARLY_S = 0.05
C50_RANGE_DB = (-20.0, 30.0)
"""Beyond, one dB is like another."""

AUDIBLE = slice(2, 7)
"""The octaves 250 Hz .. 4 kHz decide whether a recording is dry, and how sure the whole is."""

NOISY_DB = -15.0
"""A floor above that leaves too little of a decay to be seen."""

DRY_C50_DB = 18.0
"""Mean clarity from which a recording counts as dry."""

NEAR = math.log(1.25)
"""Of ln T: `confidence` is the probability of a T60 that is right to a quarter."""

OWN_SONGS = (0, 1, 2, 3)
"""Performances of our own that stand in where there is no dry input."""

LOUD_DB = -20.0
"""Of a channel that is listened to, against the loudest: what is far below says something else."""

FAR_LOSS = 1.5
"""`loss` from which the reference is unlike anything simulated."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """What a recording says of its room; arrays (8,), an octave each.

    Attributes
    ----------
    centre_hz: 62.5 .. 8000.
    t60_s: time to fall by 60 dB.
    level_db: energy of the room over that of the dry sound, as `reverb` has it.
    c50_db: energy of the first 50 ms, direct sound and all, over that of the rest.
    t60_spread, level_spread_db, c50_spread_db: standard deviations; the first of ln T60, so a share of T60.
    loss: distance of the nearest simulation from the reference; 1 is usual for material of the same kind.
    confidence: 0..1, the probability that T60 is right to a quarter, on average over 250 Hz .. 4 kHz.
    dry: there is no reverberation to be heard.
    warnings: what stands in the way, in plain sentences.
    """

    centre_hz: Floats
    t60_s: Floats
    level_db: Floats
    c50_db: Floats
    t60_spread: Floats
    level_spread_db: Floats
    c50_spread_db: Floats
    loss: float
    confidence: float
    dry: bool
    warnings: tuple[str, ...]


def c50_of(t60_s: torch.Tensor, level_db: torch.Tensor) -> torch.Tensor:
    """Return C50 in dB of direct sound and a room that decays from the start, in closed form."""
    late = (-2.0 * NEPERS_OF_60_DB * EARLY_S / t60_s).exp()
    energy = db_to_power(level_db)
    return 10.0 * ((1.0 + energy * (1.0 - late)) / (energy * late)).log10()


def heard_channels(samples: Samples) -> Samples:
    """Return the first two channels of those that are as loud as the loudest, to LOUD_DB."""
    energy = np.square(samples, dtype=np.float64).sum(axis=1)
    return np.asarray(samples[energy >= energy.max() * db_to_power(LOUD_DB)][:2])


def _prepared(samples: Samples, rate: float, what: str) -> torch.Tensor:
    """Return at most two channels at WORK_RATE (channel, time), from the first sound on."""
    audio = Audio(np.asarray(samples), round(rate))
    require_sound(audio, what)
    x = resample(Audio(heard_channels(audio.samples), audio.rate), WORK_RATE, quality="HQ").samples
    begin = int((np.abs(x).max(axis=0) > SILENCE_AMPLITUDE).argmax())
    return torch.from_numpy(np.array(x[:, begin:]))


def _materials(dry: torch.Tensor | None, samples: int) -> list[torch.Tensor]:
    """Return what is to be simulated, each (time,), as long as the reference: the dry input, or our own."""
    if dry is None:
        seconds = samples / WORK_RATE
        own = [perform(seconds, WORK_RATE, song=song).mean(axis=0) for song in OWN_SONGS]
        return [torch.from_numpy(np.ascontiguousarray(played[:samples])) for played in own]
    mono = dry[int(dry.square().sum(dim=1).argmax())]
    return [mono.repeat(-(-samples // mono.shape[0]))[:samples]]


def _mean_and_spread(p: torch.Tensor, value: torch.Tensor) -> tuple[Floats, Floats]:
    """Return mean and standard deviation (band,) of a value on the grid (t, l) under p (band, t, l)."""
    mean = (p * value).sum(dim=(1, 2))
    variance = (p * (value - mean[:, None, None]).square()).sum(dim=(1, 2))
    return mean.double().numpy(), variance.sqrt().double().numpy()


def _warnings(seconds: float, noise: torch.Tensor, t60_s: Floats, own: bool, loss: float) -> tuple[str, ...]:
    said = []
    if seconds < SHORT_S:
        said.append(
            f"the reference is {seconds:.1f} s long; from less than {SHORT_S:g} s decay times may be rough,"
            " give a longer one"
        )
    noisy = [name for name, floor in zip(BAND_NAMES, noise.tolist(), strict=True) if floor > NOISY_DB]
    if noisy:
        said.append(
            f"at {', '.join(noisy)} Hz the reference has too little sound above its noise to show a decay;"
            " those octaves are guessed from their neighbours"
        )
    if float(t60_s[AUDIBLE].max()) > seconds:
        said.append(
            f"the decay is longer than the {seconds:.1f} s of the reference; give one with longer pauses"
        )
    if own:
        said.append(
            "there is no dry input to compare with, so performances of the program's own stand in;"
            " with a dry recording of the same kind of sound, C50 is about a dB surer"
        )
    if loss > FAR_LOSS:
        said.append(
            "what is played in the reference is unlike the dry input, or its room is unlike decaying noise;"
            " decay times may be off by a quarter and more"
        )
    return tuple(said)


def estimate(
    reference: Samples, rate: float, dry: Samples | None = None, *, simulations: int = 384
) -> Estimate:
    """Estimate the room of a recording.

    Parameters
    ----------
    reference: (channel, time), floating; of more than LONGEST_S the beginning is heard, of the loud channels
        the first two.
    rate: of both, in Hz.
    dry: (channel, time), other material without a room, best of the same kind; repeated if it is shorter.
        Without one, performances of the program's own stand in.
    simulations: rooms to compare with; more make the grid finer.

    Raises
    ------
    AudioError: a recording is not (channel, time), not finite, silent, or the reference is too short.
    """
    heard = _prepared(reference, rate, "the reference")
    seconds = heard.shape[1] / WORK_RATE
    if seconds < SHORTEST_S:
        raise AudioError(
            f"the reference has {seconds:.2f} s of sound; {SHORTEST_S:g} s are needed to hear a room in it"
        )
    heard = heard[:, : round(LONGEST_S * WORK_RATE)]
    other = None if dry is None else _prepared(dry, rate, "the dry input")
    levels = octave_levels(heard)
    metric, (t60_s, level_db) = learned(), grid(simulations)
    found, evidence, nearest = [], [], []
    for material in _materials(other, heard.shape[1]):
        floor = common_floor(levels, octave_levels(material))
        there = describe(levels, floor).mean(dim=0)
        floor = floor.mean(dim=0)
        here = torch.stack(
            [describe(s, f) for s, f in zip(simulate(material, t60_s, level_db), floor, strict=True)]
        )
        distance = distances(metric, here, there)
        p, log_evidence = marginals(metric, log_likelihood(metric, distance, floor[:, 0]), t60_s, level_db)
        found.append(p)
        evidence.append(log_evidence)
        nearest.append(distance.amin(dim=(1, 2))[AUDIBLE].mean())
    share = torch.stack(evidence).softmax(dim=0)
    p = (torch.stack(found) * share[:, None, None, None]).sum(dim=0)
    log_t = t60_s.log().float()[:, None]
    c50_db = c50_of(t60_s[:, None], level_db).float().clamp(*C50_RANGE_DB)
    mean_t, spread_t = _mean_and_spread(p, log_t.expand(p.shape[1:]))
    mean_l, spread_l = _mean_and_spread(p, level_db.float().expand(p.shape[1:]))
    mean_c, spread_c = _mean_and_spread(p, c50_db)
    near = (log_t - torch.from_numpy(mean_t).float()[:, None, None]).abs() < NEAR
    confidence = float((p * near).sum(dim=(1, 2))[AUDIBLE].mean())
    loss = float((torch.stack(nearest) * share).sum()) / metric.usual
    is_dry = float(mean_c[AUDIBLE].mean()) > DRY_C50_DB
    noise = noise_db(levels)[..., 0].mean(dim=0)
    return Estimate(
        np.array(CENTRES_HZ),
        np.exp(mean_t), mean_l, mean_c, spread_t, spread_l, spread_c,
        loss, confidence, is_dry, _warnings(seconds, noise, np.exp(mean_t), dry is None, loss),
    )  # fmt: skip
