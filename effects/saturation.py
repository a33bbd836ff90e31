"""Saturation: rounds peaks off and adds harmonics, by one of four curves.

    y = o f(d x)                      d = 10^(drive_db/20),  o = 10^(output_db/20)

    tanh    f(u) = tanh u             soft and symmetric: odd harmonics
    soft    f(u) = u - 4 u^3/27       for |u| < 3/2, else 1 or -1: only the third harmonic until it clips
    tube    f(u) = t/(1 + bias t)     t = tanh u: uneven, so even harmonics as well; bias 0 is tanh
    fold    f(u) = sin u              folds back what is too loud: the more drive, the more metallic

All curves have slope 1 at 0, so low levels pass at the gain d o. tanh and soft reach 1, tube 1/(1 + bias)
upwards and 1/(1 - bias) downwards, and fold turns back at 1. At 0 dB of drive soft sound is left alone,
but the curve still rounds loud peaks off: tanh takes 0.7 dB at -6 dB of full scale and 2.4 dB at full
scale. Louder drive is louder sound: bring output_db down as it goes up.

Tube: after it a first-order high-pass, -3 dB at 5 Hz and -0.26 dB at 20 Hz, takes out the offset that an
uneven curve makes.

The curve works at `oversampling` times the rate, between filters that are flat to 20 kHz at 44.1 kHz and
lose what lies above .455 of the rate. Harmonics beyond that higher rate fold back as aliases, which have
no relation to the note. A 5 kHz sine at full scale with 24 dB of drive, at 44.1 kHz: power of all that is
no harmonic over that of the harmonics, below 20 kHz, in dB:

    oversampling     1     2     4     8
            tanh   -11   -23   -39   -68
            soft   -11   -21   -37   -55
            tube   -11   -23   -38   -68
            fold     9     6   -74   -75

Sources: soft is J. O. Smith's cubic ("Physical audio signal processing"), scaled to reach 1; tube is
tanh(u + a) less its value at 0, scaled to slope 1, bias = tanh a (U. Zoelzer, DAFX, 2nd ed., 4.3); fold
is sinusoidal waveshaping (M. Le Brun, JAES 27(4), 1979), whose harmonics are Bessel functions of the
drive.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from fxstyle.dsp.oversample import LATE
from fxstyle.dsp.recurrence import Floats, SosState, sosfilt, sosfilt_block
from fxstyle.dsp.waveshaper import CURVES, shape, shape_block
from fxstyle.effect import Effect, Samples
from fxstyle.param import Param
from fxstyle.units import NEPERS_OF_60_DB, db_to_amplitude

if TYPE_CHECKING:
    from fxstyle.features.measure import Measurement

BLOCKER_HZ = 5.0
"""-3 dB of the tube's high-pass: -0.26 dB at 20 Hz, and an offset is gone after a quarter of a second."""

_TUBE = CURVES.index("tube")


@lru_cache(maxsize=64)
def _blocker(rate: float) -> Floats:
    """Return the high-pass as one section, (1, 6)."""
    warped = math.tan(math.pi * BLOCKER_HZ / rate)
    p = (1.0 - warped) / (1.0 + warped)
    g = 0.5 * (1.0 + p)
    section = np.array([[g, -g, 0.0, 1.0, -p, 0.0]])
    section.setflags(write=False)
    return section


def forward(
    x: torch.Tensor,
    rate: float,
    *,
    drive_db: torch.Tensor,
    output_db: torch.Tensor,
    curve: torch.Tensor,
    bias: torch.Tensor,
    oversampling: torch.Tensor,
) -> torch.Tensor:
    """Saturate each row of (batch, channel, time) by its own settings."""
    gains = db_to_amplitude(drive_db.double()), db_to_amplitude(output_db.double())
    settings = torch.stack([*gains, bias.double(), curve.double(), oversampling.double()], dim=1)
    tubes = (curve == _TUBE).nonzero()[:, 0]
    if not tubes.numel():
        return shape(x, settings)
    # The filters' answer begins before the sound, and the high-pass remembers that.
    early = LATE[-1]
    y = shape(torch.nn.functional.pad(x, (early, 0)), settings)
    sections = torch.tensor(_blocker(rate)).expand(tubes.numel(), -1, -1)
    tubes = tubes.to(y.device)
    return y.index_copy(0, tubes, sosfilt(y[tubes], sections))[..., early:]


@dataclass(frozen=True)
class State:
    """The end of the input, (channel, time), and the tube's high-pass."""

    history: Samples
    blocker: SosState | None


def render(
    x: Samples,
    rate: float,
    state: State | None,
    *,
    drive_db: float,
    output_db: float,
    curve: float,
    bias: float,
    oversampling: float,
) -> tuple[Samples, State]:
    """Saturate a block (channel, time)."""
    settings = np.array((db_to_amplitude(drive_db), db_to_amplitude(output_db), bias, curve, oversampling))
    y, history = shape_block(x, settings, state.history if state else None)
    blocker = None
    if curve == _TUBE:
        y, blocker = sosfilt_block(y, _blocker(rate), state.blocker if state else None)
    return y, State(history, blocker)


def _latency(rate: float, settings: Mapping[str, float]) -> int:
    return LATE[int(settings["oversampling"])]


def _tail_s(settings: Mapping[str, float]) -> float:
    return NEPERS_OF_60_DB / (2.0 * math.pi * BLOCKER_HZ) if settings["curve"] == _TUBE else 0.0


_DRIVE_DB = Param(
    "drive_db", "dB", 0.0, 36.0, default=0.0,
    help="level into the curve; up: more harmonics, and louder; 0 still rounds peaks",
)  # fmt: skip
_OUTPUT_DB = Param(
    "output_db", "dB", -24.0, 12.0, default=0.0, help="level after the curve; down as the drive goes up"
)
_CURVE = Param.choice(
    "curve", CURVES, "tanh", "tanh is warm, soft clean and then hard, tube uneven and rich, fold metallic"
)
_BIAS = Param(
    "bias", "", 0.0, 0.8, default=0.3, fitted=False,
    help="tube only: how uneven; up: more even harmonics, 0 is tanh",
)  # fmt: skip
_OVERSAMPLING = Param.choice(
    "oversampling", ("1", "2", "4", "8"), "4", "times the rate at which it works; up: fewer aliases, slower"
)

CREST_OF_SQUARE_DB = 3.0
"""Crest factor towards which music falls when tanh is driven hard: that of a heavily clipped sine."""

DRIVE_PER_CREST_DB = 2.0
"""Drive in dB per dB of crest factor to be lost; a guess of the right size, which the fit refines."""


def start(source: Measurement, reference: Measurement) -> dict[str, float]:
    """Guess the drive from the crest factor that the reference has less; its level is given back."""
    excess_db = source.crest_db - max(reference.crest_db, CREST_OF_SQUARE_DB)
    if not math.isfinite(excess_db):
        return {"drive_db": _DRIVE_DB.default, "output_db": _OUTPUT_DB.default}
    drive_db = min(max(DRIVE_PER_CREST_DB * excess_db, _DRIVE_DB.low), _DRIVE_DB.high)
    return {"drive_db": drive_db, "output_db": max(0.0 - drive_db / 2, _OUTPUT_DB.low)}


EFFECT = Effect(
    name="saturation",
    summary="Saturation: tanh, soft clip, tube or wavefolder, oversampled",
    params=(_DRIVE_DB, _OUTPUT_DB, _CURVE, _BIAS, _OVERSAMPLING),
    forward=forward,
    render=render,
    # Both forms run the same kernel on the same numbers; measured, they agree to the bit.
    tolerance_db=-140.0,
    latency=_latency,
    tail_s=_tail_s,
    idle=lambda settings: () if settings["curve"] == _TUBE else (_BIAS.name,),
    start=start,
    hosts={
        "pedalboard.Distortion": "curve tanh, oversampling 1, output 0 dB, the same drive_db: null -129 dB",
        "ffmpeg asoftclip": "oversampling 1, output 0 dB, volume=drive before it: type tanh null -130 dB;"
        " curve soft is type cubic, -76 dB, since it writes 4/27 as .1481",
    },
)
