"""A text as a target: what a recording would sound like if the words came true, and how far they did.

The wish made audible is the recording itself (or the reference, where there is one)

    1  through the effects that the words name, at the lexicon's settings (an expander for a larger range),
    2  its spectrum changed by tone(f), without phase,
    3  its short-time level L, 30 ms, above a threshold T changed to T + r (L - T), as a compressor would, T
       the lower quartile of the levels that sound,
    4  its side by the change of width, and
    5  brought to its own loudness, plus what the words say of loudness.

The fit aims at the descriptors of that, the judge compares with it, and closed-form starts look at what is
left between step 1 and step 5, since the settings of step 1 are beliefs already (space.py). What was made of
it is measured on passages that were held out (`reached`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.ndimage
import torch

from fxstyle import effects
from fxstyle.chain import Chain, Slot
from fxstyle.effects import kind_of
from fxstyle.features.measure import measure
from fxstyle.fit.locks import Locks
from fxstyle.fit.space import Belief
from fxstyle.loudness import LoudnessMeter
from fxstyle.octaves import BANDS
from fxstyle.render import render
from fxstyle.rooms.blind import Estimate
from fxstyle.text.asked import GRID_HZ, ORDER, ROOM, Asked
from fxstyle.text.lexicon import Room, Setting
from fxstyle.units import db_to_amplitude, db_to_power, power_to_db

Samples = npt.NDArray[np.floating[Any]]
Floats = npt.NDArray[np.float64]

LEVEL_WINDOW_S = 0.03
"""Of the level that is pressed or spread: short enough that single hits are followed."""

GATE_DB = 40.0
"""Frames so far below the loud ones are pauses: neither their level nor their number counts."""

THRESHOLD = 0.25
"""Quantile of the sounding levels above which they are pressed."""

LEVEL_FRAME_S = 0.05
"""Of the levels whose range is measured."""

PAD_S = 0.2
"""Of mirrored sound beyond both ends, so that the filter of step 2 does not wrap around."""

ROOM_SPREAD = 0.04
"""Share of the range of decays and levels within which the fit is free."""

LESS_ROOM_DB, LESS_ROOM_X = -6.0, 0.8
"""Of a reference's room for each degree of less: its level, and its decay."""

SURER = 0.25
"""Share of an estimate's spread that is left where words say what the room is to be."""

TONE_GROUPS = (
    ("lows", 0.0, 140.0), ("low mids", 140.0, 560.0), ("mids", 560.0, 1800.0),
    ("presence", 1800.0, 7200.0), ("air", 7200.0, 20000.0),
)  # fmt: skip
LEAST = {"dB": 0.5, "LU": 0.5, "x": 0.1}
"""Changes below these are not worth a line."""


@dataclass(frozen=True)
class Reached:
    """One measured change: what was asked for, and what was measured of the output, in a unit."""

    aspect: str
    asked: float
    measured: float
    unit: str

    def __str__(self) -> str:
        """Say it in a line."""
        if self.unit == "x":
            return f"{self.aspect} x {self.measured:.2f} (asked for x {self.asked:.2f})"
        return f"{self.aspect} {self.measured:+.1f} {self.unit} (asked for {self.asked:+.1f})"


def loudness_lufs(x: Samples, rate: float) -> float:
    """Return the integrated loudness of samples (channel, time)."""
    meter = LoudnessMeter(round(rate), x.shape[0])
    meter.update(np.ascontiguousarray(x, dtype=np.float32))
    return meter.result().integrated_lufs


def _decays(room: Room) -> tuple[Floats, Floats]:
    """Return decays and levels (8,) of the octaves 63 Hz .. 8 kHz."""
    octaves = np.arange(BANDS)
    low, high = math.log(room.bass_x), math.log(room.treble_x)
    # from 63 Hz to 500 Hz, and from 1 kHz to 8 kHz
    stretch = np.interp(octaves, [0, 3, 4, 7], [low, 0.0, 0.0, high])
    return np.clip(room.t60_s * np.exp(stretch), 0.1, 10.0), np.full(BANDS, room.level_db)


def beliefs_of(asked: Asked, chain: Chain) -> tuple[dict[str, Belief], dict[str, float]]:
    """Return what words think of a chain's knobs: of those that a fit turns, and of the others."""
    fitted: dict[str, Belief] = {}
    given: dict[str, float] = {}
    for slot in _firsts(chain):
        said: dict[str, Setting] = {}
        if slot.effect.of_decays is not None and asked.room is not None:
            settings = slot.effect.of_decays(*_decays(asked.room))
            said |= {knob: Setting(value, ROOM_SPREAD) for knob, value in settings.items()}
        said |= asked.settings.get(kind_of(slot.effect.name), {})
        for knob, setting in said.items():
            param = slot.effect.param(knob)
            value = param.check(setting.value, slot.name)
            if param.fitted:
                fitted[f"{slot.name}.{knob}"] = Belief(value, setting.spread)
            elif slot.settings[knob] == param.default:  # what the user has turned stays
                given[f"{slot.name}.{knob}"] = value
    return fitted, given


def changed_room(room: Estimate, asked: Asked) -> Estimate:
    """Return the room of a reference, no smaller and no fainter than the one that words name."""
    if asked.room is None:
        return room
    decays, levels = _decays(asked.room)
    return replace(
        room,
        t60_s=np.maximum(room.t60_s, decays),
        level_db=np.maximum(room.level_db, levels),
        # What was heard is less sure than what was said of it.
        t60_spread=room.t60_spread * SURER,
        level_spread_db=room.level_spread_db * SURER,
        dry=False,
    )


def less_room(chain: Chain, asked: Asked, locks: Locks) -> tuple[Chain, tuple[str, ...]]:
    """Turn the reverb that was fitted to a reference down, as words want it, within the locks.

    No processing takes a room out of a reference, so less of it cannot be aimed at: the fit takes up what
    the reference has, and from there it is LESS_ROOM_DB and LESS_ROOM_X for each degree. Returns a note too.
    """
    slot = next((slot for slot in chain if slot.active and slot.effect.of_decays), None)
    if slot is None or slot.effect.of_decays is None:
        return chain, ("less of the reference's room was asked for: the chain has none to turn down",)
    by_db, by_x = LESS_ROOM_DB * asked.less_room, LESS_ROOM_X**asked.less_room
    changed = {}
    for param in slot.effect.params:
        address, value = f"{slot.name}.{param.name}", slot.settings[param.name]
        if param.name == "level_db":
            value += by_db
        elif param.name.startswith("t60_"):
            value *= by_x
        else:
            continue
        low, high = max(param.low, locks.low.get(address, param.low)), locks.high.get(address, param.high)
        if address not in locks.fixed:
            changed[address] = min(max(value, low), high)
    note = (
        f"less of the reference's room: the {slot.name} that was fitted to it was turned down by"
        f" {-by_db:.1f} dB and its decay to {100.0 * by_x:.0f} %; the judge compares with the reference"
        " in its own room"
    )
    return chain.with_settings(changed), (note,)


def _firsts(chain: Chain) -> list[Slot]:
    """Return the first slot of each kind: a word asks for an effect once."""
    found: dict[str, Slot] = {}
    for slot in chain:
        if slot.active:
            found.setdefault(ROOM if slot.effect.of_decays else kind_of(slot.effect.name), slot)
    return list(found.values())


def recipe(asked: Asked) -> Chain:
    """Return the chain of step 1: the effects that the words name, but those that only their levels make."""
    slots = []
    for name in ORDER:
        knobs = asked.settings.get(name, {})
        effect = effects.get(name)
        thresholds = [p.name for p in effect.params if p.name.endswith("threshold_db")]
        if name == ROOM and asked.room is not None and effect.of_decays is not None:
            settings = effect.of_decays(*_decays(asked.room))
        elif not knobs or (thresholds and not set(thresholds) <= set(knobs)):
            continue
        else:
            settings = {}
        settings |= {knob: effect.param(knob).check(s.value, name) for knob, s in knobs.items()}
        slots.append(Slot(effect, {**effect.defaults(), **settings}))
    return Chain(tuple(slots))


def treated(asked: Asked, x: Samples, rate: int) -> Samples:
    """Return samples (channel, time) after step 1, as loud as it makes them."""
    chain = recipe(asked.at(loudness_lufs(x, rate)))
    return render(chain, np.ascontiguousarray(x, dtype=np.float32), rate) if chain.slots else x


def through_recipe(crops: torch.Tensor, asked: Asked, rate: int) -> torch.Tensor:
    """Return crops (crop, channel, time) after step 1."""
    return torch.from_numpy(np.stack([treated(asked, crop, rate) for crop in crops.numpy()]))


def imagine(asked: Asked, x: Samples, rate: int) -> Samples:
    """Return samples (channel, time) as the words want them."""
    if replace(asked, less_room=0.0).is_nothing:
        return x
    loud = loudness_lufs(x, rate)
    y = treated(asked, x, rate).astype(np.float64)
    if np.abs(asked.tone_db).max() > 0.0:
        y = _toned(y, asked.tone_db, rate)
    if asked.range_x < 1.0:
        y = _ridden(y, asked.range_x, rate)
    if asked.width_db and y.shape[0] == 2:
        mid, side = (y[0] + y[1]) / 2.0, (y[0] - y[1]) / 2.0 * db_to_amplitude(asked.width_db)
        y = np.stack([mid + side, mid - side])
    return _as_loud(y, loud + asked.loudness_lu, rate).astype(np.float32)


def _as_loud(y: Samples, wanted_lufs: float, rate: int) -> Samples:
    now = loudness_lufs(y, rate)
    return np.asarray(y * db_to_amplitude(wanted_lufs - now)) if now > -100.0 else y


def _toned(y: Floats, tone_db: Samples, rate: int) -> Floats:
    """Change the spectrum by real gains at the frequencies of GRID_HZ, held beyond."""
    pad = min(int(PAD_S * rate), y.shape[1] - 1)
    long = np.pad(y, ((0, 0), (pad, pad)), mode="reflect")
    size = scipy.fft.next_fast_len(long.shape[1], real=True)
    f = np.maximum(scipy.fft.rfftfreq(size, 1.0 / rate), GRID_HZ[0])
    gain = db_to_amplitude(np.interp(np.log2(f), np.log2(GRID_HZ), tone_db))
    return np.asarray(scipy.fft.irfft(scipy.fft.rfft(long, size) * gain, size)[:, pad : pad + y.shape[1]])


def _ridden(y: Floats, range_x: float, rate: int) -> Floats:
    """Press the short-time level."""
    width = max(int(LEVEL_WINDOW_S * rate), 1)
    level_db = power_to_db(scipy.ndimage.uniform_filter1d((y**2).mean(axis=0), width, mode="nearest"))
    sounding = level_db[level_db > float(np.quantile(level_db, 0.95)) - GATE_DB]
    above_db = np.maximum(level_db - float(np.quantile(sounding, THRESHOLD)), 0.0)
    return np.asarray(y * db_to_amplitude((range_x - 1.0) * above_db))


def _levels_db(x: Samples, rate: float) -> Floats:
    width = max(round(LEVEL_FRAME_S * rate), 1)
    power = (x.astype(np.float64) ** 2).mean(axis=0)
    return np.asarray(power_to_db(power[: power.size // width * width].reshape(-1, width).mean(axis=1)))


def sounding(x: Samples, rate: float) -> npt.NDArray[np.bool_]:
    """Return which frames of LEVEL_FRAME_S are no pauses."""
    levels = _levels_db(x, rate)
    return np.asarray(levels > float(np.quantile(levels, 0.95)) - GATE_DB)


def figures(
    x: Samples, rate: float, heard: npt.NDArray[np.bool_] | None = None
) -> Mapping[str, tuple[float, str]]:
    """Measure samples (channel, time): by aspect a number and its unit; changes of "x" are factors.

    heard: the frames whose levels count, by default those that are no pauses.
    """
    m = measure(x, rate)
    power = db_to_power(np.asarray(m.mid_db))
    whole = float(power_to_db(float(power.sum())))
    found: dict[str, tuple[float, str]] = {"loudness": (m.loudness_lufs, "LU")}
    for name, low, high in TONE_GROUPS:
        there = (m.bands_hz >= low) & (m.bands_hz < high) & (m.bands_hz < rate / 2.0)
        if there.any():
            found[name] = (float(power_to_db(float(power[there].sum()))) - whole, "dB")
    levels = _levels_db(x, rate)[sounding(x, rate) if heard is None else heard]
    found["level range"] = (float(np.quantile(levels, 0.95) - np.quantile(levels, 0.1)), "dB")
    found["crest"] = (m.crest_db, "dB")
    if x.shape[0] == 2:
        side = float(power_to_db(float(db_to_power(np.asarray(m.side_db)).sum())))
        found["width"] = (max(side - whole, -60.0), "dB")
    middle = (m.decay_hz >= 250.0) & (m.decay_hz <= 4000.0)
    found["decay"] = (float(np.median(m.decay_s[middle])), "x")
    return found


def reached(before: Samples, wanted: Samples, after: Samples, rate: float) -> tuple[Reached, ...]:
    """Return each change that was asked for and what came of it.

    before, after: the same passages (channel, time). wanted: these as well, or passages of a reference.
    """
    heard = sounding(before, rate)
    same = wanted.shape == before.shape
    first, last = figures(before, rate, heard), figures(after, rate, heard)
    ideal = figures(wanted, rate, heard if same else None)
    out = []
    for aspect, (value, unit) in first.items():
        if unit == "x":
            asked, got = ideal[aspect][0] / value, last[aspect][0] / value
            worth = abs(math.log(asked)) > LEAST[unit]
        else:
            asked, got = ideal[aspect][0] - value, last[aspect][0] - value
            worth = abs(asked) >= LEAST[unit]
        if worth:
            out.append(Reached(aspect, asked, got, unit))
    return tuple(out)
