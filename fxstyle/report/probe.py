"""What is fed to an effect to picture it, and what is read off its output."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from fxstyle.chain import Chain, Slot
from fxstyle.effect import Effect
from fxstyle.render import render
from fxstyle.units import amplitude_to_db, power_to_db

Vector = npt.NDArray[np.float64]

RATE = 44100.0

TONE_HZ = 997.0
"""The test tone of AES17: a prime, so that no round rate or frequency meets always the same phases of it."""

OFF_CENTRE = 0.997
"""Where a band is tested, over its centre: beside round frequencies for the same reason."""

HIGHEST_TONE_HZ = 15000.0

NOTHING_DB = -400.0
"""Floor of measured levels: so deep that a curve which comes near it has left every panel."""

ENVELOPE_S = 0.004
"""Window of levels over time: four periods of TONE_HZ."""

ENVELOPE_POINTS = 1000
"""Most points of a curve over time: more than the picture has columns."""


def rendered(effect: Effect, x: Vector, settings: Mapping[str, float]) -> Vector:
    """Return the effect's output (2, time) for a stereo signal (2, time), aligned with it."""
    return np.asarray(render(Chain((Slot(effect, settings),)), x, round(RATE)), dtype=np.float64)


def on_both(x: Vector) -> Vector:
    """Return a mono signal (time,) on both of two channels."""
    return np.stack([x, x])


def tone_hz(settings: Mapping[str, float]) -> float:
    """Return the frequency of the test tone: where an effect of few bands acts most, else TONE_HZ.

    A band is known by its knobs: `NAME_range_db` says how far it moves and `NAME_hz` where it lies. An
    effect of one `range_db` and one `hz` is a shelf, which is on its plateau an octave further up.
    """
    ranges = {n[: -len("_range_db")]: abs(v) for n, v in settings.items() if n.endswith("_range_db")}
    bands = {name: moved for name, moved in ranges.items() if f"{name}_hz" in settings}
    if bands:
        centre_hz = settings[f"{max(bands, key=lambda name: bands[name])}_hz"]
    elif "range_db" in settings and "hz" in settings:
        centre_hz = 2.0 * settings["hz"]
    else:
        return TONE_HZ
    return float(round(OFF_CENTRE * min(centre_hz, HIGHEST_TONE_HZ)))


def tone(hz: float, seconds: float) -> Vector:
    return np.asarray(np.sin(2.0 * math.pi * hz / RATE * np.arange(round(seconds * RATE))))


def level_db(y: Vector) -> float:
    """Return the peak level of a sine, from its power under a Hann window: any number of periods will do."""
    window = np.hanning(y.size)
    return float(power_to_db(2.0 * float(window @ y**2 / window.sum()), floor_db=NOTHING_DB))


def gain_db(x: Vector, y: Vector) -> tuple[Vector, Vector]:
    """Return seconds and the gain of power from x (time,) to y (channel, time) around them, (channel, n)."""
    size = max(round(ENVELOPE_S * RATE), x.size // ENVELOPE_POINTS)
    count, window = x.size // size, np.hanning(size)
    before, after = (
        (v[..., : count * size].reshape(*v.shape[:-1], count, size) ** 2) @ window for v in (x, y)
    )
    gain = power_to_db(after / np.maximum(before, 1e-30), floor_db=NOTHING_DB)
    return np.asarray((np.arange(count) + 0.5) * size / RATE, dtype=np.float64), np.asarray(gain)


def harmonic_levels(y: Vector, hz: float, highest: int) -> tuple[Vector, Vector]:
    """Return the peak levels in dB of the harmonics 1 .. highest, and of what lies below each, between them.

    The power within a quarter of `hz` of a harmonic is all its own: a tone that sways in pitch or level
    keeps its side bands, and none of them is taken for another harmonic.
    """
    from scipy.signal.windows import blackmanharris

    window = blackmanharris(y.size, sym=False)
    power = np.abs(np.fft.rfft(window * y)) ** 2 * 4.0 / (y.size * float(window @ window))
    cell = np.rint(np.fft.rfftfreq(y.size, 1.0 / RATE) * 2.0 / hz).astype(int)
    total = np.bincount(cell, power, minlength=2 * highest + 1)
    level = np.asarray(amplitude_to_db(np.sqrt(total), floor_db=NOTHING_DB))
    return level[2 : 2 * highest + 1 : 2], level[1 : 2 * highest : 2]
