"""Effects of SoX, by their places on its command line."""

from __future__ import annotations

import shutil
from typing import NamedTuple

import numpy as np

from fxstyle.train._program import filled, knobs, piped
from fxstyle.train.units import Settings, Sound, Unit


class _Effect(NamedTuple):
    """An effect of sox: its name here, family, arguments and knobs; `linear`: level goes straight through."""

    name: str
    family: str
    arguments: str
    knobs: str
    linear: bool = True


_EFFECTS = (
    _Effect("bass", "eq", "bass {gain} {frequency} 0.7", "gain -15 15, frequency 50 400 log"),
    _Effect("treble", "eq", "treble {gain} {frequency} 0.7", "gain -15 15, frequency 1500 8000 log"),
    _Effect("equalizer", "eq", "equalizer {frequency} {q}q {gain}",
            "frequency 100 6000 log, q 0.4 4 log, gain -15 15"),
    _Effect("highpass", "eq", "highpass -2 {frequency} {q}q", "frequency 60 2000 log, q 0.5 3 log"),
    _Effect("lowpass", "eq", "lowpass -2 {frequency} {q}q", "frequency 400 9000 log, q 0.5 3 log"),
    _Effect("loudness", "eq", "loudness {gain} {reference}", "gain -20 -5, reference 55 75"),
    _Effect("sinc", "speaker", "sinc -n 255 {low}-{high}", "low 150 700 log, high 1800 6000 log"),
    _Effect("overdrive", "saturation", "overdrive {gain} {colour}", "gain 6 40, colour 0 90", linear=False),
    _Effect("contrast", "saturation", "contrast {amount}", "amount 10 100", linear=False),
    _Effect("compand", "dynamics", "compand {attack},{decay} 6"
            ":-80,-80,{threshold},{threshold},0,{top} {gain}",
            "attack 0.002 0.1 log, decay 0.05 0.8 log, threshold -50 -25, top -22 -8, gain 0 6",
            linear=False),
    _Effect("gate", "dynamics", "compand {attack},{decay} 4"
            ":-90,-110,{knee},{floor},{threshold},{threshold},0,0",
            "attack 0.002 0.03 log, decay 0.03 0.5 log, knee -40 -30, floor -90 -50, threshold -22 -6",
            linear=False),
    _Effect("tremolo", "modulation", "tremolo {speed} {depth}", "speed 1 14 log, depth 25 100"),
    _Effect("chorus", "modulation", "chorus 0.7 0.7 {delay} {decay} {speed} {depth} -s",
            "delay 25 80, decay 0.3 0.9, speed 0.2 3 log, depth 1 6"),
    _Effect("flanger", "modulation", "flanger {delay} {depth} {regen} {width} {speed}",
            "delay 0 12, depth 1 8, regen -80 80, width 30 100, speed 0.1 4 log"),
    _Effect("phaser", "modulation", "phaser 0.6 0.8 {delay} {decay} {speed} -s",
            "delay 0.5 4, decay 0.15 0.6, speed 0.15 2 log"),
    _Effect("echo", "delay", "echo 0.7 0.9 {delay} {decay}", "delay 40 700 log, decay 0.2 0.8"),
    _Effect("echos", "delay", "echos 0.7 0.7 {first} {decay} {second} {decay}",
            "first 40 500 log, second 60 800 log, decay 0.2 0.6"),
    _Effect("reverb", "reverb", "reverb {reverberance} {damping} {room} {width} {before} {wet}",
            "reverberance 10 95, damping 0 100, room 10 100, width 0 100, before 0 100, wet -8 6"),
)  # fmt: skip

_PEAK = 0.2
"""SoX clips at 1 in between; the greatest gain of what is linear here is below 5."""


def sox_units() -> list[Unit]:
    """Return effects of SoX; none where it is not installed."""
    if not shutil.which("sox"):
        return []
    return [_unit(effect) for effect in _EFFECTS]


def _unit(effect: _Effect) -> Unit:
    def run(x: Sound, rate: int, settings: Settings) -> Sound:
        raw = ["-t", "f32", "-e", "floating-point", "-r", str(rate), "-c", str(x.shape[0]), "-"]
        command = ["sox", "-V1", "-D", *raw, *raw, *filled(effect.arguments, settings).split()]
        peak = float(np.max(np.abs(x), initial=0.0))
        if not effect.linear or not peak:
            return piped(command, x)
        return piped(command, x * np.float32(_PEAK / peak)) * np.float32(peak / _PEAK)

    return Unit(f"sox.{effect.name}", effect.family, knobs(effect.knobs), run)
