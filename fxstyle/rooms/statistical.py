"""How long a room rings by its volume and its absorption alone, per octave.

    A   = sum_i S_i alpha_i,  S = sum_i S_i                         equivalent absorption area, m^2
    T_S = k V / (A + 4 m V)                                         (W. C. Sabine 1900, air after Knudsen)
    T_E = k V / (-S ln(1 - A / S) + 4 m V)                          (C. F. Eyring 1930, eq. 7)
    k   = 24 ln(10) / c                                             60 dB at c metres per second
    m   = a / (10 lg e)                                             energy, 1/m, of a dB/m in air

Air by ISO 9613-1:1993, see fxstyle/dsp/air.py.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fxstyle.octaves import CENTRES_HZ

Vector = npt.NDArray[np.float64]

SPEED_OF_SOUND = 343.2
"""Metres per second at 20 degrees."""

TEMPERATURE_C, HUMIDITY_PERCENT = 20.0, 50.0

_NEPER_DB = 10.0 * math.log10(math.e)


def air_db_per_m(
    frequency_hz: npt.ArrayLike,
    *,
    temperature_c: float = TEMPERATURE_C,
    humidity_percent: float = HUMIDITY_PERCENT,
) -> Vector:
    """Return what a pure tone loses per metre of air at one atmosphere, in dB, of frequencies (n,)."""
    import torch

    from fxstyle.dsp.air import absorption_db_per_m

    hz, celsius, percent = (
        torch.as_tensor(np.atleast_1d(np.asarray(values, dtype=np.float64)))
        for values in (frequency_hz, temperature_c, humidity_percent)
    )
    return np.asarray(absorption_db_per_m(hz, celsius, percent)[0].numpy())


def areas_m2(size_m: npt.ArrayLike) -> Vector:
    """Return the areas of left, right, front, back, floor and ceiling of a box (3,)."""
    x, y, z = np.asarray(size_m, dtype=np.float64)
    return np.array([y * z, y * z, x * z, x * z, x * y, x * y])


def sabine_t60_s(
    size_m: npt.ArrayLike,
    absorption: npt.ArrayLike,
    *,
    temperature_c: float = TEMPERATURE_C,
    humidity_percent: float = HUMIDITY_PERCENT,
) -> Vector:
    """Return T60 (8,) in seconds of a box (3,) with absorption (6, 8), by Sabine."""
    area_m2 = areas_m2(size_m) @ np.asarray(absorption, dtype=np.float64)
    return _t60_s(size_m, area_m2, temperature_c, humidity_percent)


def eyring_t60_s(
    size_m: npt.ArrayLike,
    absorption: npt.ArrayLike,
    *,
    temperature_c: float = TEMPERATURE_C,
    humidity_percent: float = HUMIDITY_PERCENT,
) -> Vector:
    """Return T60 (8,) in seconds of a box (3,) with absorption (6, 8), by Eyring; 0 where all is absorbed."""
    areas = areas_m2(size_m)
    mean = areas @ np.asarray(absorption, dtype=np.float64) / areas.sum()
    with np.errstate(divide="ignore"):
        area_m2 = -areas.sum() * np.log1p(-np.minimum(mean, 1.0))
    return _t60_s(size_m, area_m2, temperature_c, humidity_percent)


def _t60_s(size_m: npt.ArrayLike, area_m2: Vector, temperature_c: float, humidity_percent: float) -> Vector:
    volume_m3 = float(np.prod(np.asarray(size_m, dtype=np.float64)))
    lost_db = air_db_per_m(CENTRES_HZ, temperature_c=temperature_c, humidity_percent=humidity_percent)
    air_m2 = 4.0 * volume_m3 * lost_db / _NEPER_DB
    return np.asarray(24.0 * math.log(10.0) / SPEED_OF_SOUND * volume_m3 / (area_m2 + air_m2))
