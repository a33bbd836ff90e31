"""Room: a rectangular room around the sound, with walls of given absorption, a source and microphones in it.

    y_c = x_c + 10^(level_db/20) (h_c - d_c) * x_c / g_c        (*: convolution)

    h_c, d_c, g_c   response of the room at microphone c, its direct sound, and the gain of that, 1/(4 pi r_c)

h_c - d_c begins with the direct sound's arrival, which is the input itself: the effect adds what walls send
back. At a level_db of 0 that is as loud as in such a room; more is farther away than any microphone in it.

Early, the response is the sum of image sources of up to `order` reflections (Allen & Berkley 1979):

    h = sum_ijk A_x[i] A_y[j] A_z[k] exp(-q t) delta(t - r_ijk/c)/(4 pi r_ijk),   A = beta_0^m beta_1^n

beta^2 = 1 - absorption, per wall and octave; m and n count how often walls 0 and 1 are hit. From mixing_ms
after the direct sound on, or from where the images of that order run out, it is noise in octave bands with
the energy

    E_b(t) = R_b c/(4 pi V) <exp(-D_b(n) t)>_n,   D_b(n) = c sum_i |n_i|/L_i (-ln beta_i0 beta_i1)

the mean over directions n of what all further images would have; `scatter` mixes the directions, at 1 to
Eyring's one decay. Air takes its part by ISO 9613-1. fxstyle/dsp/shoebox.py, images.py and directions.py have
the details and the sources.

Axes: length runs from left (x = 0) to right, width from front (y = 0) to back, height from floor to ceiling.
Source and microphones are placed by shares of these; mic_x is the middle of the microphones, which stand
along x, mic_spacing_m apart (left and right; more channels spread evenly between them), and stop at
CLEARANCE of the length before a wall. Mono has one in the middle. Each channel has its own response and they
do not mix.

It is for what was recorded close and dry. Images are an idealisation: walls reflect alike at all angles and
without phase; below HIGH_PASS_HZ of the shoebox module, where they would pile up, the room is filtered out.
What the noise does between 20 ms windows is not that of any one room; its level is.
The noise is the same sound at every rate, and ends at 24 kHz.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch

from fxstyle.dsp.air import DB_PER_NEPER, absorption_db_per_m, speed_of_sound
from fxstyle.dsp.shoebox import (
    FEWEST,
    LONGEST_MIXING_S,
    MOST,
    SHORTEST_MIXING_S,
    WALLS,
    Shoebox,
    decay_s,
    reflections,
)
from fxstyle.effect import Axis, Decays
from fxstyle.octaves import BAND_NAMES, CENTRES_HZ
from fxstyle.param import Param
from fxstyle.reverberation import reverberation, within
from fxstyle.units import NEPERS_OF_60_DB, db_to_amplitude, power_to_db

CLEARANCE = 0.01
"""Share of the length that a microphone keeps from the walls, however wide mic_spacing_m is."""

MIDDLE = slice(3, 6)
"""500 Hz .. 2 kHz, by which the size of a plausible room is judged."""

_ORDERS = tuple(str(n) for n in range(FEWEST, MOST + 1))

_ABSORPTION = {
    "left": (0.10, 0.12, 0.15, 0.18, 0.20, 0.22, 0.25, 0.28),
    "right": (0.12, 0.14, 0.16, 0.20, 0.22, 0.25, 0.28, 0.30),
    "front": (0.14, 0.14, 0.12, 0.12, 0.14, 0.16, 0.18, 0.20),
    "back": (0.12, 0.16, 0.22, 0.28, 0.32, 0.35, 0.38, 0.40),
    "floor": (0.06, 0.08, 0.12, 0.20, 0.30, 0.40, 0.45, 0.50),
    "ceiling": (0.14, 0.12, 0.10, 0.10, 0.10, 0.12, 0.14, 0.16),
}
"""A furnished living room: plaster with shelves and curtains, a carpet, a bare ceiling."""

_EACH_ABSORPTION = tuple(f"absorption_{wall}_{band}" for wall in WALLS for band in BAND_NAMES)


def _place(name: str, default: float, what: str) -> Param:
    return Param(name, "", 0.02, 0.98, default, help=f"{what}, as a share of the room")


_PARAMS = (
    Param("length_m", "m", 1.5, 40.0, 6.2, "log", "left to right", spread=0.15),
    Param("width_m", "m", 1.5, 40.0, 4.6, "log", "front to back", spread=0.15),
    Param("height_m", "m", 1.5, 20.0, 2.7, "log", "floor to ceiling", spread=0.12),
    # no two of these add to 1 or are alike: images would coincide
    _place("source_x", 0.23, "source between left and right"),
    _place("source_y", 0.61, "source between front and back"),
    _place("source_z", 0.41, "source between floor and ceiling"),
    _place("mic_x", 0.36, "microphones between left and right"),
    _place("mic_y", 0.48, "microphones between front and back"),
    _place("mic_z", 0.49, "microphones between floor and ceiling"),
    Param("mic_spacing_m", "m", 0.0, 2.0, 0.3, help="left to right microphone", stereo=True),
    *(
        Param(
            f"absorption_{wall}_{band}", "", 0.01, 0.95, value, "log",
            f"what the {wall} takes of the energy at {hz:g} Hz", spread=0.2,
        )
        for wall in WALLS
        for band, hz, value in zip(BAND_NAMES, CENTRES_HZ, _ABSORPTION[wall], strict=True)
    ),
    Param("scatter", "", 0.0, 1.0, 0.3, help="0: mirrors, 1: walls that send sound everywhere"),
    Param(
        "mixing_ms", "ms", 1000.0 * SHORTEST_MIXING_S, 1000.0 * LONGEST_MIXING_S, 60.0, fitted=False,
        help="single reflections until then, noise from then on",
    ),
    Param.choice("order", _ORDERS, "12", "most reflections of an image source"),
    Param("temperature_c", "°C", -10.0, 40.0, 20.0, fitted=False, help="of the air"),
    Param("humidity_percent", "%", 10.0, 100.0, 50.0, fitted=False, help="of the air; dry: less treble"),
    Param("level_db", "dB", -60.0, 20.0, 0.0, spread=0.1, help="0: as loud as in such a room; up: wetter"),
)  # fmt: skip


def shoebox(channels: int, knobs: Mapping[str, torch.Tensor]) -> Shoebox:
    """Return the rooms of each row's settings."""
    k = {name: value.double() for name, value in knobs.items()}
    size = torch.stack([k["length_m"], k["width_m"], k["height_m"]], dim=1)
    source, middle = (
        torch.stack([k[f"{what}_{axis}"] for axis in "xyz"], dim=1) * size for what in ("source", "mic")
    )
    share = torch.linspace(-0.5, 0.5, channels, dtype=torch.float64) if channels > 1 else torch.zeros(1)
    along = middle[:, :1] + k["mic_spacing_m"][:, None] * share
    along = torch.minimum(torch.maximum(along, CLEARANCE * size[:, :1]), (1.0 - CLEARANCE) * size[:, :1])
    others = middle[:, None, 1:].expand(-1, channels, -1)
    return Shoebox(
        size=size,
        source=source,
        microphones=torch.cat([along[..., None], others], dim=2),
        apart=k["mic_spacing_m"][:, None] * (share - share[0]),
        absorption=torch.stack([k[name] for name in _EACH_ABSORPTION], dim=1).reshape(
            -1, len(WALLS), len(BAND_NAMES)
        ),
        scatter=k["scatter"],
        mixing_s=k["mixing_ms"] / 1000.0,
        orders=[FEWEST + round(value) for value in k["order"].tolist()],
        temperature_c=k["temperature_c"],
        humidity_percent=k["humidity_percent"],
    )


def response(
    rate: float,
    channels: int,
    dtype: torch.dtype,
    device: torch.device,
    frames: int | None,
    /,
    **knobs: torch.Tensor,
) -> torch.Tensor:
    """Return what is added to the sound (batch, channel, time), of knobs (batch,), differentiably.

    It is made on the CPU, wherever the sound lies.
    """
    made = reflections(shoebox(channels, knobs), rate, dtype, frames)
    return (made * db_to_amplitude(knobs["level_db"].double()).to(dtype)[:, None, None]).to(device)


TAIL_DB = 60.0
"""By which a tail ends."""


def _tail_s(settings: Mapping[str, float]) -> float:
    """Return when the slowest octave is 60 dB down, by the same mean over directions as the sound's."""
    knobs = {name: torch.tensor([value], dtype=torch.float64) for name, value in settings.items()}
    return float(decay_s(shoebox(1, knobs), TAIL_DB))


PROPORTIONS = (1.9, 1.4, 1.0)
"""Length and width over height, of a room of which nothing is known (R. H. Bolt, JASA 19, 1946)."""

USUAL_ABSORPTION = 0.2
"""Mean of the walls of such a room: it gives the size for a decay."""

USUAL_CUBE_M = (2.6, 18.0)
"""Least and largest third root of its volume."""


def of_decays(t60_s: Decays, level_db: Decays) -> dict[str, float]:
    """Return the settings for decays per octave and the median level, of a plausible room with alike walls.

    With A. Eyring's T = 24 ln(10) V/(c (-S ln(1 - a) + 4 m V)), of which a is wanted, and of the diffuse
    field's energy over that of the direct sound at a distance r, 4 pi c r^2/(V D), D = 6 ln(10)/T.
    """
    defaults = {param.name: param.default for param in _PARAMS}
    speed = float(speed_of_sound(torch.tensor(defaults["temperature_c"], dtype=torch.float64)))
    middle_s = float(np.exp(np.log(t60_s[MIDDLE]).mean()))
    per_second = 24.0 * math.log(10.0) / speed
    cube_m = min(max(middle_s * 6.0 * USUAL_ABSORPTION / per_second, USUAL_CUBE_M[0]), USUAL_CUBE_M[1])
    size_m = np.array(PROPORTIONS) * cube_m / math.prod(PROPORTIONS) ** (1.0 / 3.0)
    volume_m3 = float(np.prod(size_m))
    surface_m2 = 2.0 * float(size_m[0] * size_m[1] + size_m[1] * size_m[2] + size_m[2] * size_m[0])
    air = [
        torch.tensor([defaults[name]], dtype=torch.float64) for name in ("temperature_c", "humidity_percent")
    ]
    lost = absorption_db_per_m(torch.tensor(CENTRES_HZ, dtype=torch.float64), *air)[0].numpy() / DB_PER_NEPER
    # nepers of amplitude: twice as many of energy
    walls_m2 = np.maximum(per_second * volume_m3 / t60_s - 8.0 * lost * volume_m3, 0.0)
    absorption = -np.expm1(-walls_m2 / surface_m2)
    wanted = dict(zip(("length_m", "width_m", "height_m"), size_m.tolist(), strict=True))
    wanted |= {
        f"absorption_{wall}_{band}": float(a)
        for wall in WALLS
        for band, a in zip(BAND_NAMES, absorption, strict=True)
    }
    apart = np.array([defaults[f"mic_{axis}"] - defaults[f"source_{axis}"] for axis in "xyz"]) * size_m
    field = 4.0 * math.pi * speed * float(apart @ apart) / volume_m3 * t60_s / (2.0 * NEPERS_OF_60_DB)
    wanted["level_db"] = float(np.median(level_db - power_to_db(field)))
    return within(_PARAMS, wanted)


_EACH_WALL = tuple(tuple(f"absorption_{wall}_{band}" for band in BAND_NAMES) for wall in WALLS)

EFFECT = reverberation(
    "room",
    "Rectangular room with materials: image sources and a tail that follows from them",
    _PARAMS,
    response,
    # Two FFT convolutions of different sizes.
    tolerance_db=-100.0,
    tail_s=_tail_s,
    of_decays=of_decays,
    smooth=_EACH_WALL,
    geometry=tuple(
        Axis(size, f"source_{axis}", f"mic_{axis}", (_EACH_WALL[2 * n], _EACH_WALL[2 * n + 1]))
        for n, (size, axis) in enumerate(zip(("length_m", "width_m", "height_m"), "xyz", strict=True))
    ),
)
