"""What a text asks for, all words together: changes of tone, level, dynamics and width, a room, settings.

With degree d_w of word w (parse.py), tone in dB at f, level and width in dB add up, ranges multiply,

    tone(f) = sum_w d_w (tilt_w log2 f' / 1 kHz + curve_w(f)),  f' = f held to 100 Hz .. 10 kHz
    range   = prod_w range_w^d_w

rooms are averaged by degree, with LEVEL_PER_DOUBLING_DB more level for twice the degree, and so are settings
that two words have for one knob. A knob that has a neutral value n goes from it to the word's value v with
the degree, n + d (v - n) on the knob's own scale up to d = 1 and ever more slowly towards the end of its
range beyond. Below 0 an effect whose knobs have an opposite is turned there; any other is left out of the
chain.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from fxstyle import effects
from fxstyle.param import Param
from fxstyle.text.lexicon import USUAL_LUFS, Entry, Lexicon, Room, Setting
from fxstyle.text.parse import Reading, Said

Vector = npt.NDArray[np.floating[Any]]
Settings = Mapping[str, Mapping[str, Setting]]

ORDER = (
    "gate", "deesser", "transient", "dynamic_eq", "compressor", "multiband", "saturation", "tape",
    "bitcrush", "eq", "chorus", "phaser", "tremolo", "delay", "reverb", "width", "limiter", "gain",
)  # fmt: skip
"""Of a chain made from words: that of a mixing channel, but for the equaliser, which stands behind what
distorts, so that the tone that was asked for is that of the output, and for the level, which comes last."""

TONE, RANGE, EXPANSION, WIDTH, ROOM, LEVEL, ONSETS = (
    "eq", "compressor", "gate", "width", "reverb", "gain", "transient",
)  # fmt: skip
"""The effects by which tone, a smaller and a larger range, width, a room, loudness and tails are changed."""

NEUTRAL: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "bitcrush": {"bits": 16.0, "hold_hz": 192000.0},
        "chorus": {"mix": 0.0, "feedback": 0.0},
        "compressor": {"ratio": 1.0, "mix": 0.0},
        "deesser": {"range_db": 0.0},
        "delay": {"feedback": 0.0},
        "eq": {"low_cut_hz": 5.0, "high_cut_hz": 40000.0, "low_shelf_db": 0.0, "high_shelf_db": 0.0},
        "gain": {"gain_db": 0.0, "pan": 0.0},
        "gate": {"range_db": 0.0},
        "limiter": {"gain_db": 0.0},
        "multiband": {"low_ratio": 1.0, "mid_ratio": 1.0, "high_ratio": 1.0},
        "phaser": {"mix": 0.0},
        "saturation": {"drive_db": 0.0},
        "tape": {"drive_db": -10.0, "bump_db": 0.0, "loss_hz": 30000.0, "wow_percent": 0.0,
                 "flutter_percent": 0.0},
        "transient": {"attack_db": 0.0, "sustain_db": 0.0},
        "tremolo": {"depth": 0.0},
        "width": {"width": 1.0, "low_width": 1.0, "high_width": 1.0},
    }
)  # fmt: skip
"""Where a knob does nothing. Knobs that are not named say what an effect is, not how much of it there is."""

STILL = frozenset({"tape", "transient"})
"""Effects whose other knobs are to do nothing where a word names some: a new one of these does something."""

BESIDE: Mapping[str, str] = MappingProxyType({"delay": "level_db"})
"""Levels of what stands beside the dry sound; they go with LEVEL_PER_DOUBLING_DB."""

LEVEL_PER_DOUBLING_DB = 8.0
"""Twice as much echo or room is so much more of it: 10 dB are twice as loud by themselves (Stevens 1955), a
little less is heard as twice beside a dry sound."""

DECAY_POWER = 0.4
"""Decay goes with this power of the degree: a very large hall is no hall of 20 s."""

DRIER_DB, DRIEST_DB = -6.0, -15.0
"""Tails are turned down by so much for a degree of 1 of less room, and at most."""

MOST_TONE_DB = 24.0
LEAST_RANGE_X, MOST_RANGE_X = 0.25, 2.0
LEAST_WIDTH_DB, MOST_WIDTH_DB = -60.0, 9.0
_OPPOSITE = -0.8
"""Cosine of two changes of tone below which they contradict each other."""

_EXPANDER = {"threshold_db": Setting(-24.0, 0.12), "ratio": Setting(1.5, 0.1), "range_db": Setting(10.0, 0.1),
             "knee_db": Setting(12.0, 0.2), "release_ms": Setting(150.0, 0.15)}  # fmt: skip

GRID_HZ: Vector = 1000.0 * 2.0 ** (np.arange(-34, 27) / 6.0)
"""Sixths of octaves, 20 Hz to 20 kHz, on which changes of tone are kept."""
GRID_HZ.setflags(write=False)


@dataclass(frozen=True)
class Understood:
    """A word as it was understood: its name, degree, the words as written, and what it stands for."""

    word: str
    degree: float
    written: str
    means: str

    def __str__(self) -> str:
        """Say it in a line."""
        return f"{self.written}: {self.word} x {self.degree:+.2g} ({self.means})"


@dataclass(frozen=True)
class Asked:
    """All that a text asks for.

    Attributes
    ----------
    text: as it was read. understood: its words.
    tone_db: change at GRID_HZ. loudness_lu, width_db: changes. range_x: factor of the level's spread.
    room: a reverberation to add. less_room: degree by which there is to be less of one.
    settings: of effects, by effect and knob. absent: effects that are to be left out.
    notes: what was not understood, or contradicts itself. needs: the effects each word takes.
    """

    text: str
    understood: tuple[Understood, ...]
    tone_db: Vector
    loudness_lu: float = 0.0
    range_x: float = 1.0
    width_db: float = 0.0
    room: Room | None = None
    less_room: float = 0.0
    settings: Settings = field(default_factory=dict)
    absent: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    needs: tuple[frozenset[str], ...] = ()

    @property
    def effects(self) -> frozenset[str]:
        """Return the names of the effects that it takes."""
        return frozenset().union(*self.needs)

    @property
    def tails_db(self) -> float:
        """Return by how much tails are turned down for less of a room."""
        return max(DRIER_DB * self.less_room, DRIEST_DB)

    def drier(self) -> Asked:
        """Return it with less of a room as a setting: what can be done to a recording that has its room."""
        if not self.less_room:
            return self
        onsets = self.settings.get(ONSETS, {})
        said = onsets.get("sustain_db", Setting(0.0)).value
        tails_db = max((said if isinstance(said, float) else 0.0) + self.tails_db, DRIEST_DB)
        sustain = {"attack_db": Setting(0.0), **onsets, "sustain_db": Setting(tails_db)}
        return replace(self, settings={**self.settings, ONSETS: sustain}, less_room=0.0)

    @property
    def is_nothing(self) -> bool:
        """Whether it changes nothing of a recording."""
        changed = float(np.abs(self.tone_db).max()) > 0.0 or self.loudness_lu != 0.0 or self.width_db != 0.0
        return not (changed or self.range_x != 1.0 or self.room or self.less_room or self.settings)

    def within(self, kinds: Collection[str]) -> Asked:
        """Return what of it can be done with some effects, those that make rooms counting as ROOM."""
        keeps = TONE in kinds
        dynamic = (RANGE if self.range_x < 1.0 else EXPANSION) in kinds
        return replace(
            self,
            tone_db=self.tone_db if keeps else np.zeros_like(self.tone_db),
            range_x=self.range_x if dynamic else 1.0,
            width_db=self.width_db if WIDTH in kinds else 0.0,
            room=self.room if ROOM in kinds else None,
            less_room=self.less_room if {ONSETS, ROOM} & set(kinds) else 0.0,
            settings={name: knobs for name, knobs in self.settings.items() if name in kinds},
        )

    def is_same(self, other: Asked) -> bool:
        """Whether it changes a recording as another does."""
        numbers = all(
            getattr(self, name) == getattr(other, name)
            for name in ("loudness_lu", "range_x", "width_db", "room", "less_room")
        )
        return numbers and np.array_equal(self.tone_db, other.tone_db) and self.settings == other.settings

    def undone(self, kinds: Collection[str]) -> tuple[str, ...]:
        """Return a note on each word that takes effects which are not among `kinds`."""
        notes = []
        for word, needs in zip(self.understood, self.needs, strict=True):
            # Beside a reference less of a room is less of the reverb (fit/wish.py).
            instead = {ONSETS} if ROOM in kinds and ONSETS not in self.settings else set()
            missing = sorted(needs - set(kinds) - instead)
            if missing:
                notes.append(
                    f"{word.written!r} takes {' and '.join(missing)}, which the chain has not: that part"
                    " of it is not done; add it to the chain"
                )
        return tuple(notes)

    def at(self, loudness_lufs: float) -> Asked:
        """Return it with thresholds and drives as they are for a recording of that loudness."""
        above = min(max(loudness_lufs - USUAL_LUFS, -MOST_TONE_DB), MOST_TONE_DB)
        moved: dict[str, dict[str, Setting]] = {}
        for name, knobs in self.settings.items():
            moved[name] = {}
            for knob, setting in knobs.items():
                by = above if knob.endswith("threshold_db") else -above if _drives(name, knob) else 0.0
                if by and not isinstance(setting.value, str) and not _at_neutral(name, knob, setting.value):
                    param = effects.get(name).param(knob)
                    value = min(max(setting.value + by, param.low), param.high)
                    moved[name][knob] = Setting(value, setting.spread)
                else:
                    moved[name][knob] = setting
        return replace(self, settings=moved)


def _drives(name: str, knob: str) -> bool:
    return knob.endswith("drive_db") or (name, knob) == ("limiter", "gain_db")


def _at_neutral(name: str, knob: str, value: float) -> bool:
    # A tape that is to sway and not to saturate is driven so little that its level says nothing.
    return knob.endswith("drive_db") and value <= max(NEUTRAL.get(name, {}).get(knob, 0.0), -15.0)


def ask(reading: Reading, lexicon: Lexicon) -> Asked:
    """Return what the words of a text ask for together."""
    pairs = [(said, lexicon.entries[said.name]) for said in reading.said]
    tones = [_tone_db(said, entry) for said, entry in pairs]
    range_x = math.prod(entry.range_x ** _quality(said, entry) for said, entry in pairs)
    room = _mean_room([(said.degree, e.room) for said, e in pairs if e.room and said.degree > 0.0])
    less = sum(max(-said.degree, 0.0) for said, e in pairs if e.room)
    less += sum(max(said.degree, 0.0) * e.less_room for said, e in pairs)
    settings, absent = _settings(pairs)
    if range_x > 1.0:
        settings[EXPANSION] = {**_EXPANDER, **settings.get(EXPANSION, {})}
    none = {ROOM for said, e in pairs if e.room and said.none}
    return Asked(
        text=reading.text,
        understood=tuple(Understood(s.name, s.degree, s.written, e.means) for s, e in pairs),
        tone_db=np.clip(np.sum(tones, axis=0), -MOST_TONE_DB, MOST_TONE_DB),
        loudness_lu=sum(said.degree * e.loudness_lu for said, e in pairs),
        range_x=min(max(range_x, LEAST_RANGE_X), MOST_RANGE_X),
        width_db=min(max(sum(_quality(s, e) * e.width_db for s, e in pairs), LEAST_WIDTH_DB), MOST_WIDTH_DB),
        room=room,
        less_room=less,
        settings=settings,
        absent=frozenset((absent | none) - set(settings) - ({ROOM} if room else set())),
        notes=(*reading.notes, *_contradictions(pairs, tones)),
        needs=tuple(_needs(said, entry) for said, entry in pairs),
    )


def _names_a_thing(entry: Entry) -> bool:
    return entry.room is not None or any(not _has_opposite(n, k) for n, k in entry.effects.items())


def _quality(said: Said, entry: Entry) -> float:
    """Return the degree of a word's colour: "no telephone" asks for no telephone, not for its opposite."""
    return 0.0 if said.none and _names_a_thing(entry) else said.degree


def _tone_db(said: Said, entry: Entry) -> Vector:
    octaves = np.log2(np.clip(GRID_HZ, 100.0, 10000.0) / 1000.0)
    tone = entry.tilt_db_per_octave * octaves
    if entry.curve_db:
        hz, db = np.array(entry.curve_db).T
        tone = tone + np.interp(np.log2(GRID_HZ), np.log2(hz), db)
    return np.asarray(_quality(said, entry) * tone)


def _needs(said: Said, entry: Entry) -> frozenset[str]:
    """Return the effects that a word takes at its degree."""
    found: set[str] = set()
    if _quality(said, entry):
        found |= {TONE} if entry.tilt_db_per_octave or entry.curve_db else set()
        found |= {WIDTH} if entry.width_db else set()
        smaller = (entry.range_x < 1.0) == (said.degree > 0.0)
        found |= set() if entry.range_x == 1.0 else {RANGE if smaller else EXPANSION}
    found |= {LEVEL} if entry.loudness_lu else set()
    found |= {ONSETS} if entry.less_room and said.degree > 0.0 else set()
    if entry.room is not None:
        found.add(ROOM if said.degree > 0.0 else ONSETS)
    found |= {n for n, knobs in entry.effects.items() if said.degree > 0.0 or _has_opposite(n, knobs)}
    return frozenset(found)


def _has_opposite(name: str, knobs: Mapping[str, Setting]) -> bool:
    """Whether a knob of an effect can be turned to the other side of where it does nothing."""
    return any(_turns_back(name, knob) for knob in knobs)


def _turns_back(name: str, knob: str) -> bool:
    neutral = NEUTRAL.get(name, {}).get(knob)
    if neutral is None:
        return False
    param = effects.get(name).param(knob)
    return 0.1 < param.to_unit(neutral) < 0.9 and param.unit == "dB" and not _drives(name, knob)


def _settings(pairs: Sequence[tuple[Said, Entry]]) -> tuple[dict[str, dict[str, Setting]], set[str]]:
    """Return what words say of knobs, each by its degree, and the effects that are to be left out."""
    gathered: dict[str, dict[str, list[tuple[float, Setting]]]] = {}
    absent: set[str] = set()
    for said, entry in pairs:
        for name, knobs in entry.effects.items():
            if said.degree < 0.0 and not _has_opposite(name, knobs):
                absent.add(name)
                continue
            for knob, setting in knobs.items():
                if said.degree > 0.0 or _turns_back(name, knob):
                    scaled = _scaled(name, knob, setting, said.degree)
                    gathered.setdefault(name, {}).setdefault(knob, []).append((abs(said.degree), scaled))
    merged = {
        name: {knob: _merged(effects.get(name).param(knob), found) for knob, found in knobs.items()}
        for name, knobs in gathered.items()
    }
    for name in merged.keys() & STILL:
        rest = {knob: Setting(n) for knob, n in NEUTRAL[name].items() if knob not in merged[name]}
        merged[name] = {**rest, **merged[name]}
    return merged, absent


def _scaled(name: str, knob: str, setting: Setting, degree: float) -> Setting:
    if isinstance(setting.value, str):
        return setting
    param = effects.get(name).param(knob)
    if BESIDE.get(name) == knob:
        value = setting.value + LEVEL_PER_DOUBLING_DB * math.log2(degree)
        return Setting(min(max(value, param.low), param.high), setting.spread)
    neutral = NEUTRAL.get(name, {}).get(knob)
    if neutral is None:
        return setting
    n, v = param.to_unit(neutral), param.to_unit(setting.value)
    if abs(degree) <= 1.0:
        u = n + degree * (v - n)
    else:
        toward = math.copysign(1.0, degree) * (v - n)
        left = (1.0 - n if toward > 0.0 else n) - abs(v - n)
        more = (abs(degree) - 1.0) / 2.0 * abs(v - n)
        u = (
            n + toward + math.copysign(left * (1.0 - math.exp(-more / left)), toward)
            if left > 0.0
            else n + toward
        )
    return Setting(_from_unit(param, min(max(u, 0.0), 1.0)), setting.spread)


def _from_unit(param: Param, u: float) -> float:
    if param.scale == "log":
        value = param.low * math.exp(u * math.log(param.high / param.low))
    else:
        value = param.low + u * (param.high - param.low)
    return min(max(value, param.low), param.high)


def _merged(param: Param, found: Sequence[tuple[float, Setting]]) -> Setting:
    """Return the mean of what several words say of one knob, by degree; of choices, what is said most."""
    strongest = max(found, key=lambda pair: pair[0])[1]
    numbers = [(d, s.value, s.spread) for d, s in found if not isinstance(s.value, str)]
    if len(found) == 1 or not numbers or param.choices:
        return strongest
    total = sum(d for d, _, _ in numbers)
    u = sum(d * param.to_unit(value) for d, value, _ in numbers) / total
    return Setting(_from_unit(param, u), max(spread for _, _, spread in numbers))


def _mean_room(rooms: Sequence[tuple[float, Room | None]]) -> Room | None:
    if not rooms:
        return None
    total = sum(d for d, _ in rooms)

    def mean(of: Any) -> float:
        return float(sum(d * of(d, room) for d, room in rooms) / total)

    return Room(
        t60_s=min(max(math.exp(mean(lambda d, r: math.log(r.t60_s * d**DECAY_POWER))), 0.1), 10.0),
        level_db=min(max(mean(lambda d, r: r.level_db + LEVEL_PER_DOUBLING_DB * math.log2(d)), -40.0), 6.0),
        bass_x=math.exp(mean(lambda d, r: math.log(r.bass_x))),
        treble_x=math.exp(mean(lambda d, r: math.log(r.treble_x))),
    )


def _room_wish(said: Said, entry: Entry) -> float:
    """Return more room above 0, less below."""
    return said.degree if entry.room else -max(said.degree, 0.0) * entry.less_room


def _contradictions(pairs: Sequence[tuple[Said, Entry]], tones: Sequence[Vector]) -> tuple[str, ...]:
    """Return a note on each two words that pull in opposite directions."""
    notes = []
    for i, (a, first) in enumerate(pairs):
        for j in range(i):
            b, second = pairs[j]
            against = []
            norm = float(np.linalg.norm(tones[i]) * np.linalg.norm(tones[j]))
            if norm > 0.0 and float(tones[i] @ tones[j]) / norm < _OPPOSITE:
                against.append("tone")
            for what, x, y in (
                ("width", a.degree * first.width_db, b.degree * second.width_db),
                ("loudness", a.degree * first.loudness_lu, b.degree * second.loudness_lu),
                ("dynamics", a.degree * math.log(first.range_x), b.degree * math.log(second.range_x)),
            ):
                against += [what] if x * y < 0.0 and min(abs(x), abs(y)) > 0.5 * max(abs(x), abs(y)) else []
            if _room_wish(a, first) * _room_wish(b, second) < 0.0:
                against.append("room")
            if against:
                notes.append(
                    f"{b.written!r} and {a.written!r} pull in opposite directions ({', '.join(against)}):"
                    " they cancel where they meet"
                )
    return tuple(notes)
