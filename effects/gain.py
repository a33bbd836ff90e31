"""Level: y[n] = 10^(g/20) x[n]. Memoryless and linear."""

from __future__ import annotations

import torch

from fxstyle.effect import Effect, Samples
from fxstyle.features.measure import Measurement
from fxstyle.param import Param
from fxstyle.units import db_to_amplitude


def forward(x: torch.Tensor, rate: float, *, gain_db: torch.Tensor) -> torch.Tensor:
    """Scale each row of (batch, channel, time) by its own gain."""
    return x * db_to_amplitude(gain_db).to(x.dtype)[:, None, None]


def render(x: Samples, rate: float, state: None, *, gain_db: float) -> tuple[Samples, None]:
    """Scale a block (channel, time)."""
    return x * x.dtype.type(db_to_amplitude(gain_db)), None


_GAIN_DB = Param("gain_db", "dB", -40.0, 40.0, default=0.0, help="output level")


def start(source: Measurement, reference: Measurement) -> dict[str, float]:
    """Guess the difference of the loudness of both recordings."""
    difference_db = reference.loudness_lufs - source.loudness_lufs
    return {"gain_db": min(max(difference_db, _GAIN_DB.low), _GAIN_DB.high)}


EFFECT = Effect(
    name="gain",
    summary="Level trim",
    params=(_GAIN_DB,),
    forward=forward,
    render=render,
    tolerance_db=-140.0,
    start=start,
    level_knob="gain_db",
)
