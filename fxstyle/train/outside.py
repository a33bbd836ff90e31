"""Treatments by other programs: pedalboard, SoX, FFmpeg and LV2 plugins.

An encoder that hears effects of our own code only may learn its fingerprints. Programs that are not installed
give no units. All run as a user would run them: their delays are not taken back.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import NamedTuple

import numpy as np

from fxstyle.train._ffmpeg import ffmpeg_units
from fxstyle.train._lv2 import lv2_units
from fxstyle.train._program import ProgramError, fitted, knobs
from fxstyle.train._sox import sox_units
from fxstyle.train.units import Settings, Sound, Unit

__all__ = ["ffmpeg_units", "lv2_units", "outside_units", "pedalboard_units", "sox_units"]


class _Plugin(NamedTuple):
    """A class of pedalboard with the knobs it is built with; `mode`: knob that is the number of a mode."""

    name: str
    family: str
    knobs: str
    mode: str = ""


_PEDALBOARD = (
    _Plugin("HighpassFilter", "eq", "cutoff_frequency_hz 60 9000 log"),
    _Plugin("LowpassFilter", "eq", "cutoff_frequency_hz 80 9000 log"),
    _Plugin("HighShelfFilter", "eq", "cutoff_frequency_hz 1500 8000 log, gain_db -15 15, q 0.4 1.5 log"),
    _Plugin("LowShelfFilter", "eq", "cutoff_frequency_hz 60 500 log, gain_db -15 15, q 0.4 1.5 log"),
    _Plugin("PeakFilter", "eq", "cutoff_frequency_hz 100 6000 log, gain_db -15 15, q 0.4 4 log"),
    _Plugin("LadderFilter", "eq", "cutoff_hz 200 5000 log, resonance 0 0.8, drive 1 8 log, mode 0 5 steps",
            "mode"),
    _Plugin("Compressor", "dynamics",
            "threshold_db -55 -15, ratio 2 20 log, attack_ms 0.1 250 log, release_ms 10 800 log"),
    _Plugin("Limiter", "dynamics", "threshold_db -50 -10, release_ms 5 500 log"),
    _Plugin("NoiseGate", "dynamics",
            "threshold_db -30 -10, ratio 1.5 15 log, attack_ms 0.5 60 log, release_ms 20 500 log"),
    _Plugin("Distortion", "saturation", "drive_db 8 45"),
    _Plugin("Clipping", "saturation", "threshold_db -36 -12"),
    _Plugin("Bitcrush", "crush", "bit_depth 2 8"),
    _Plugin("Resample", "crush", "target_sample_rate 1500 14000 log"),
    _Plugin("MP3Compressor", "crush", "vbr_quality 4 9.9"),
    _Plugin("Chorus", "modulation",
            "rate_hz 0.2 5 log, depth 0.1 1, centre_delay_ms 1 30 log, feedback 0 0.5, mix 0.3 1"),
    _Plugin("Phaser", "modulation",
            "rate_hz 0.2 5 log, depth 0.2 1, centre_frequency_hz 300 4000 log, feedback 0 0.7, mix 0.3 1"),
    _Plugin("Delay", "delay", "delay_seconds 0.025 0.7 log, feedback 0.1 0.95, mix 0.15 1"),
    _Plugin("Reverb", "reverb", "room_size 0.1 1, damping 0 1, wet_level 0.1 1, dry_level 0.05 1, "
            "width 0 1"),
)  # fmt: skip


def outside_units() -> list[Unit]:
    """Return the units of all other programs that are installed."""
    return [*pedalboard_units(), *sox_units(), *ffmpeg_units(), *lv2_units()]


def pedalboard_units() -> list[Unit]:
    """Return effects of pedalboard; none where it is not installed."""
    return [_unit(plugin) for plugin in _PEDALBOARD] if find_spec("pedalboard") else []


def _unit(plugin: _Plugin) -> Unit:
    def run(x: Sound, rate: int, settings: Settings) -> Sound:
        import pedalboard

        made = {name: value for name, value in settings.items() if name != plugin.mode}
        if plugin.mode:
            modes = list(getattr(pedalboard, plugin.name).Mode.__members__.values())
            made[plugin.mode] = modes[int(settings[plugin.mode])]
        try:
            out = getattr(pedalboard, plugin.name)(**made)(np.array(x, np.float32), rate)
        except (ValueError, RuntimeError) as error:
            raise ProgramError(f"pedalboard.{plugin.name} failed: {error}") from error
        return fitted(out, x.shape[1])

    return Unit(f"pedalboard.{plugin.name}", plugin.family, knobs(plugin.knobs), run)
