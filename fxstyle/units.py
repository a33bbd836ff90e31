"""Conversions between physical units, each written once.

All functions take and return Python floats, NumPy arrays or torch tensors alike, elementwise, and
never change their argument.

==============  =======================================  ==============================
quantity        equation                                 note
==============  =======================================  ==============================
amplitude       a = 10^(g/20)                            g in dB
power           p = 10^(g/10)                            g in dB
time constant   c = exp(-1000 / (rate * t_ms))           63 % of a step after t_ms (1/e)
mid, side       M = (L + R)/2, S = (L - R)/2             L = M + S, R = M - S
==============  =======================================  ==============================
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

if TYPE_CHECKING:
    import torch

    Number = TypeVar("Number", float, np.ndarray[Any, Any], torch.Tensor)
else:
    Number = TypeVar("Number")

SILENCE_DB = -120.0
"""Levels below this count as silence: under the noise of 20-bit audio, far above denormals."""

SILENCE_AMPLITUDE = 1e-6
"""10^(SILENCE_DB/20)."""

NEPERS_OF_60_DB = math.log(1000.0)
"""What an exponential decay exp(-a t) has lost after t = NEPERS_OF_60_DB / a: 60 dB, by which tails end."""

NEPERS_OF_60_DB_DOUBLE = 9.2334
"""The same of a double pole's (1 + a t) exp(-a t)."""

HIGHEST_OF_RATE = 0.49
"""Highest design frequency of a filter over the rate: at half of it the bilinear transform has its pole."""

PEDALBOARD_TIME_RATIO = 2.0 * math.pi
"""pedalboard_ms / ms of an attack or release: JUCE's time constants are exp(-2 pi 1000/(rate t_ms))."""


def _is_tensor(x: object) -> bool:
    torch_module = sys.modules.get("torch")
    return torch_module is not None and isinstance(x, torch_module.Tensor)


def db_to_amplitude(gain_db: Number) -> Number:
    """Amplitude ratio of a level in dB: 10^(g/20)."""
    level: Any = gain_db
    return cast("Number", 10.0 ** (level / 20.0))


def db_to_power(gain_db: Number) -> Number:
    """Power ratio of a level in dB: 10^(g/10)."""
    level: Any = gain_db
    return cast("Number", 10.0 ** (level / 10.0))


def amplitude_to_db(amplitude: Number, floor_db: float = SILENCE_DB) -> Number:
    """Level in dB of an amplitude ratio, 20 log10 |a|, not below `floor_db`."""
    return cast("Number", _log10_floor(abs(cast(Any, amplitude)), 10.0 ** (floor_db / 20.0), 20.0))


def power_to_db(power: Number, floor_db: float = SILENCE_DB) -> Number:
    """Level in dB of a power ratio, 10 log10 p, not below `floor_db`."""
    return cast("Number", _log10_floor(power, 10.0 ** (floor_db / 10.0), 10.0))


def _log10_floor(x: Any, floor: float, scale: float) -> Any:
    if _is_tensor(x):
        return scale * x.clamp_min(floor).log10()
    if isinstance(x, np.ndarray):
        return scale * np.log10(np.maximum(x, floor))
    return scale * math.log10(max(float(x), floor))


def time_constant(time_ms: Number, rate: float) -> Number:
    """Coefficient of a one-pole smoother that covers 63 % (1 - 1/e) of a step in `time_ms`.

    e[n] = c e[n-1] + (1 - c) x[n],  c = exp(-1000 / (rate * time_ms)).
    """
    exponent: Any = -1000.0 / (rate * cast(Any, time_ms))
    if _is_tensor(exponent):
        return cast("Number", exponent.exp())
    return cast("Number", np.exp(exponent) if isinstance(exponent, np.ndarray) else math.exp(exponent))


def ms_to_samples(time_ms: Number, rate: float) -> Number:
    """Samples (fractional) in `time_ms` at `rate` Hz."""
    return cast("Number", cast(Any, time_ms) * (rate / 1000.0))
