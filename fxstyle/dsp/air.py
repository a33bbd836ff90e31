"""What air takes from sound, and how fast sound is in it, by temperature and humidity.

    alpha = 8.686 f^2 [1.84e-11 (T/T_0)^(1/2) + (T/T_0)^(-5/2) (
            .01275 exp(-2239.1/T)/(f_O + f^2/f_O) + .1068 exp(-3352/T)/(f_N + f^2/f_N))]     dB per metre

with the relaxation frequencies of oxygen and nitrogen f_O, f_N: ISO 9613-1:1993, equations 3 to 5, and B.2,
B.3 for the water in the air; at one atmosphere. Speed of sound: 331.3 sqrt(1 + t/273.15) m/s.
"""

from __future__ import annotations

import torch

REFERENCE_K, TRIPLE_POINT_K, FREEZING_K = 293.15, 273.16, 273.15
"""T_0 of the standard, the triple point of water, and 0 degrees Celsius."""

DB_PER_NEPER = 8.685889638


def speed_of_sound(temperature_c: torch.Tensor) -> torch.Tensor:
    """Return metres per second, any shape."""
    return 331.3 * (1.0 + temperature_c / FREEZING_K).sqrt()


def absorption_db_per_m(
    hz: torch.Tensor, temperature_c: torch.Tensor, humidity_percent: torch.Tensor
) -> torch.Tensor:
    """Return (row, frequency) from frequencies (frequency,) and the air of each row, (row,)."""
    kelvin = (temperature_c + FREEZING_K)[:, None]
    ratio = kelvin / REFERENCE_K
    saturation = 10.0 ** (-6.8346 * (TRIPLE_POINT_K / kelvin) ** 1.261 + 4.6151)
    water = humidity_percent[:, None] * saturation
    oxygen_hz = 24.0 + 4.04e4 * water * (0.02 + water) / (0.391 + water)
    nitrogen_hz = ratio**-0.5 * (9.0 + 280.0 * water * (-4.170 * (ratio ** (-1.0 / 3.0) - 1.0)).exp())
    square = hz.square()
    oxygen = 0.01275 * (-2239.1 / kelvin).exp() / (oxygen_hz + square / oxygen_hz)
    nitrogen = 0.1068 * (-3352.0 / kelvin).exp() / (nitrogen_hz + square / nitrogen_hz)
    return 8.686 * square * (1.84e-11 * ratio.sqrt() + ratio**-2.5 * (oxygen + nitrogen))
