"""Gain: level, pan and polarity.

    y_c[n] = i 10^(gain_db/20) a_c x_c[n]

    i            -1 with invert on, else 1
    a_L, a_R     sqrt 2 sin(pi/4 (1 - pan)),  sqrt 2 sin(pi/4 (1 + pan))
    c, n         channel and sample

The pan has constant power, a_L^2 + a_R^2 = 2, and leaves the centre as it is: a channel that is panned
towards gains up to 3 dB while the other fades out. That is the law of JUCE's dsp::Panner (sin3dB), the
default of Sonar ("0 dB center, sin/cos taper, constant power") and Logic's "-3 dB compensated". As on the
stereo channels of these programs it is a balance: nothing of one side moves over to the other. Mono and
more than two channels have no pan.

Nothing is clipped: what goes above full scale does so as it is. An amount below 1 mixes in the dry sound, so
with invert on it cancels, at .5 and 0 dB to silence: turn gain_db down instead.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from fxstyle.effect import Effect, Samples
from fxstyle.features.measure import Measurement
from fxstyle.param import Param
from fxstyle.units import db_to_amplitude

STEREO = 2


def _factors(channels: int, gain_db: torch.Tensor, pan: torch.Tensor, invert: torch.Tensor) -> torch.Tensor:
    """Return what each channel is multiplied by, (batch, channel) or (batch, 1)."""
    factor = ((1.0 - 2.0 * invert.detach()).to(gain_db.dtype) * db_to_amplitude(gain_db))[:, None]
    if channels != STEREO:
        return factor
    aside = torch.stack([1.0 - pan, 1.0 + pan], dim=1) * (math.pi / 4.0)
    # Divided by the very number that the centre gives, so that this is one to the bit.
    return factor * (aside.sin() / torch.full_like(aside, math.pi / 4.0).sin())


def forward(
    x: torch.Tensor, rate: float, *, gain_db: torch.Tensor, pan: torch.Tensor, invert: torch.Tensor
) -> torch.Tensor:
    """Scale each row of (batch, channel, time) by its own settings."""
    return x * _factors(x.shape[1], gain_db, pan, invert).to(x)[..., None]


@lru_cache(maxsize=64)  # the same for every block of a stream, and dearer than a short block
def _numbers(channels: int, *knobs: float) -> npt.NDArray[np.float64]:
    """Return the factors of one setting, (channel, 1) or (1, 1)."""
    factors = _factors(channels, *torch.tensor(knobs, dtype=torch.float64)[:, None])[0, :, None].numpy()
    factors.setflags(write=False)
    return factors


def render(
    x: Samples, rate: float, state: None, *, gain_db: float, pan: float, invert: float
) -> tuple[Samples, None]:
    """Scale a block (channel, time)."""
    return x * _numbers(x.shape[0], gain_db, pan, invert).astype(x.dtype), None


_GAIN_DB = Param("gain_db", "dB", -40.0, 40.0, default=0.0, help="level; up: louder")
_PAN = Param(
    "pan",
    "",
    -1.0,
    1.0,
    default=0.0,
    fitted=False,
    stereo=True,
    help="-1 left, 0 as it is, 1 right; stereo only",
)
_INVERT = Param.choice(
    "invert", ("off", "on"), "off", "turns the polarity over, against a sound that cancels"
)


def start(source: Measurement, reference: Measurement) -> dict[str, float]:
    """Guess the difference of the loudness of both recordings."""
    difference_db = reference.loudness_lufs - source.loudness_lufs
    return {"gain_db": min(max(difference_db, _GAIN_DB.low), _GAIN_DB.high)}


EFFECT = Effect(
    name="gain",
    summary="Level trim, pan and polarity",
    params=(_GAIN_DB, _PAN, _INVERT),
    forward=forward,
    render=render,
    tolerance_db=-140.0,
    start=start,
    level_knob="gain_db",
    polarity_knob=_INVERT.name,
    linear=True,
    hosts={
        "pedalboard.Gain": "the same gain_db, at pan 0 and with invert off; differs by less than -135 dB",
        "pedalboard.Invert": "invert on, gain_db 0, pan 0; the same to the bit",
    },
)
