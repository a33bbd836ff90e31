"""The lexicon: what words of sound mean, as measured changes and as settings of effects.

`lexicon.json` holds the words under "words", each with a sentence of what it `means` and any of these:

tilt_db_per_octave  change of the spectrum's slope between 100 Hz and 10 kHz, 0 at 1 kHz
curve_db            [[hz, db], ...] change of the spectrum at some frequencies, straight between them on an
                    octave axis, held beyond the ends
loudness_lu         change of loudness; other words leave it alone
range_x             factor of the spread of the short-time level in dB: 0.5 presses it to half
width_db            change of side over mid; -60 is mono
room                {"t60_s", "level_db", "bass_x", "treble_x"}: a reverberation of that decay at 500 Hz to
                    1 kHz, that energy over the dry sound, and decays at 63 Hz and 8 kHz of so many times it
less_room           how much less of a room there is to be: 1 turns tails down by 6 dB
effects             {effect: {knob: value or [value, spread] or a word of a choice}}; the spread is the share
                    of the knob's range within which the fit is free (one standard deviation)
synonyms            other words for the same; endings (-er, -est, -ly, -ness, ..) are known without them
source              key of "sources": where the range is from; without one it is the house's own

Thresholds and drives are those for a recording of USUAL_LUFS; for another they move with its loudness.
A file of the user's own has the same form, "words" alone is enough, and its words come on top of these.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fxstyle.errors import FxstyleError, SettingError, remedy

USUAL_LUFS = -18.0
"""Loudness of the recordings that thresholds and drives in the lexicon are written for."""

SPREAD = 0.05
"""Share of a knob's range within which the fit is free where the lexicon says nothing."""

LARGEST_FILE = 2_000_000
"""Bytes; the shipped lexicon has a fortieth of it."""

LONGEST_PHRASE = 60
"""Letters of a word or of a phrase."""

_LIMITS: Mapping[str, tuple[float, float, str]] = MappingProxyType(
    {
        "tilt_db_per_octave": (-6.0, 6.0, "dB per octave"),
        "loudness_lu": (-40.0, 40.0, "LU"),
        "range_x": (0.1, 4.0, "times"),
        "width_db": (-60.0, 20.0, "dB"),
        "less_room": (0.0, 3.0, "degrees"),
    }
)
_ROOM: Mapping[str, tuple[float, float, str]] = MappingProxyType(
    {
        "t60_s": (0.1, 10.0, "s"),
        "level_db": (-40.0, 12.0, "dB"),
        "bass_x": (0.2, 4.0, "times"),
        "treble_x": (0.1, 2.0, "times"),
    }
)
_CURVE_DB, _CURVE_HZ = (-30.0, 30.0), (10.0, 24000.0)
_FIELDS = ("means", "synonyms", "source", *_LIMITS, "curve_db", "room", "effects")


@dataclass(frozen=True)
class Room:
    """A reverberation: decay at middle frequencies, energy over the dry sound, and decays at the ends."""

    t60_s: float
    level_db: float
    bass_x: float = 1.1
    treble_x: float = 0.6


@dataclass(frozen=True)
class Setting:
    """What a word thinks of a knob: its value (or a choice's word), the spread as a share of its range."""

    value: float | str
    spread: float = SPREAD


@dataclass(frozen=True)
class Entry:
    """One word and what it asks for; see the module for the fields."""

    name: str
    means: str
    synonyms: tuple[str, ...] = ()
    source: str = ""
    tilt_db_per_octave: float = 0.0
    curve_db: tuple[tuple[float, float], ...] = ()
    loudness_lu: float = 0.0
    range_x: float = 1.0
    width_db: float = 0.0
    room: Room | None = None
    less_room: float = 0.0
    effects: Mapping[str, Mapping[str, Setting]] = field(default_factory=dict)


@dataclass(frozen=True)
class Lexicon:
    """All words: entries by name, and the name by every phrase in small letters."""

    entries: Mapping[str, Entry]
    phrases: Mapping[str, str]
    file: str = ""


def folded(phrase: str) -> str:
    """Return a phrase as it is looked up: small letters, hyphens as spaces, one space between words."""
    return " ".join(phrase.casefold().replace("-", " ").replace("'", "").split())


@cache
def shipped() -> Lexicon:
    """Return the lexicon of the package."""
    content = json.loads((files("fxstyle.text") / "lexicon.json").read_text("utf-8"))
    return _lexicon(_entries(content, "the lexicon"), "")


def load(path: str | Path) -> Lexicon:
    """Return the package's lexicon with the words of a file on top.

    Raises SettingError naming the file, the word and the remedy.
    """
    source = Path(path)
    try:
        if source.stat().st_size > LARGEST_FILE:
            raise SettingError(
                f"{source}: more than {LARGEST_FILE // 1_000_000} MB is no lexicon; choose another"
            )
        content = json.loads(source.read_text("utf-8"))
    except OSError as error:
        raise SettingError(f"{source}: {error.strerror or error}; name a lexicon in JSON") from None
    except (ValueError, RecursionError) as error:
        raise SettingError(f"{source}: no JSON ({error}); mend it there") from None
    if not isinstance(content, dict):
        raise SettingError(f'{source}: expected {{"words": {{...}}}}; see the README for an example')
    own = _entries(content, str(source))
    for entry in own.values():
        check_effects(entry, str(source))
    return _lexicon({**shipped().entries, **own}, source.name)


def check_effects(entry: Entry, where: str) -> None:
    """Raise SettingError if an effect or a knob of an entry does not exist, or a value is out of limits."""
    from fxstyle import effects

    try:
        for name, knobs in entry.effects.items():
            effect = effects.get(name)
            for knob, setting in knobs.items():
                effect.param(knob).check(setting.value, name)
    except FxstyleError as error:
        raise SettingError(f"{where}: word {entry.name!r}: {error}") from None


def _lexicon(entries: Mapping[str, Entry], file: str) -> Lexicon:
    phrases: dict[str, str] = {}
    for name, entry in entries.items():
        for phrase in entry.synonyms:
            phrases[folded(phrase)] = name
    # a name is stronger than another word's synonym
    phrases |= {folded(name): name for name in entries}
    return Lexicon(MappingProxyType(dict(entries)), MappingProxyType(phrases), file)


def _entries(content: Mapping[str, Any], where: str) -> dict[str, Entry]:
    words, sources = content.get("words"), content.get("sources", {})
    unknown = sorted(set(content) - {"format", "version", "sources", "words"})
    if unknown:
        raise SettingError(f'{where}: {unknown[0]!r} is no part of a lexicon; put words under "words"')
    if not isinstance(words, dict) or not words:
        raise SettingError(f'{where}: "words" is missing or empty; write {{"words": {{"fluffy": {{...}}}}}}')
    if not isinstance(sources, dict):
        raise SettingError(f'{where}: "sources" has to be an object of texts')
    return {name: _entry(name, row, sources, f"{where}: word {name!r}") for name, row in words.items()}


def _entry(name: str, row: Any, sources: Mapping[str, Any], where: str) -> Entry:
    _check_phrase(name, where)
    if not isinstance(row, dict):
        raise SettingError(f'{where}: expected an object such as {{"means": "...", "width_db": 3}}')
    for key in row:
        if key not in _FIELDS:
            raise SettingError(
                f"{where}: no field is called {key!r}"
                + remedy(key, _FIELDS, lead="there are", listed=", ".join(_FIELDS))
            )
    means, synonyms, source = row.get("means"), row.get("synonyms", []), row.get("source", "")
    if not isinstance(means, str) or not means.strip():
        raise SettingError(f'{where}: "means" is missing; say in a sentence what the word stands for')
    if not isinstance(synonyms, list) or not all(isinstance(s, str) for s in synonyms):
        raise SettingError(f'{where}: "synonyms" has to be a list of texts')
    for synonym in synonyms:
        _check_phrase(synonym, where)
    if source and (not isinstance(source, str) or source not in sources):
        raise SettingError(f'{where}: source {source!r} is not in "sources"; add it there or leave it out')
    numbers = {
        key: _number(row[key], f"{where}: {key}", *limits) for key, limits in _LIMITS.items() if key in row
    }
    entry = Entry(
        name=name,
        means=means.strip(),
        synonyms=tuple(synonyms),
        source=str(sources.get(source, "")),
        curve_db=_curve(row["curve_db"], f"{where}: curve_db") if "curve_db" in row else (),
        room=_room(row["room"], f"{where}: room") if "room" in row else None,
        effects=_effects(row.get("effects", {}), where),
        **numbers,
    )
    if not (set(row) - {"means", "synonyms", "source"}):
        raise SettingError(
            f"{where}: it asks for nothing; add a field, such as tilt_db_per_octave or effects"
        )
    return entry


def _check_phrase(phrase: str, where: str) -> None:
    words = folded(phrase)
    if not words or len(phrase) > LONGEST_PHRASE or not all(c.isalnum() or c == " " for c in words):
        raise SettingError(
            f"{where}: {phrase[:LONGEST_PHRASE]!r} is no word; use letters and figures,"
            f" at most {LONGEST_PHRASE}"
        )


def _number(value: Any, where: str, low: float, high: float, unit: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SettingError(f"{where}: expected a number of {unit}, got {value!r}")
    if not math.isfinite(value) or not low <= value <= high:
        raise SettingError(
            f"{where} = {value:g} is outside {low:g}..{high:g} {unit}; choose a value in that range"
        )
    return float(value)


def _curve(points: Any, where: str) -> tuple[tuple[float, float], ...]:
    if (
        not isinstance(points, list)
        or not points
        or not all(isinstance(p, list) and len(p) == 2 for p in points)
    ):
        raise SettingError(f"{where}: write points [[hz, db], ...], as in [[200, 3], [1000, 0]]")
    found = tuple(
        (_number(hz, where, *_CURVE_HZ, "Hz"), _number(db, where, *_CURVE_DB, "dB")) for hz, db in points
    )
    if any(a[0] >= b[0] for a, b in itertools.pairwise(found)):
        raise SettingError(f"{where}: the frequencies have to rise; put the points in order")
    return found


def _room(row: Any, where: str) -> Room:
    if not isinstance(row, dict) or not {"t60_s", "level_db"} <= set(row) <= set(_ROOM):
        raise SettingError(
            f"{where}: write t60_s and level_db, and bass_x and treble_x if wanted; nothing else"
        )
    return Room(**{key: _number(value, f"{where}.{key}", *_ROOM[key]) for key, value in row.items()})


def _effects(rows: Any, where: str) -> Mapping[str, Mapping[str, Setting]]:
    if not isinstance(rows, dict) or not all(isinstance(knobs, dict) for knobs in rows.values()):
        raise SettingError(f'{where}: write effects as {{"delay": {{"time_ms": 110}}}}')
    return MappingProxyType(
        {
            name: MappingProxyType(
                {knob: _setting(v, f"{where}: {name}.{knob}") for knob, v in knobs.items()}
            )
            for name, knobs in rows.items()
        }
    )


def _setting(value: Any, where: str) -> Setting:
    if isinstance(value, str):
        return Setting(value)
    if isinstance(value, list):
        if len(value) != 2:
            raise SettingError(f"{where}: write a value or [value, spread], as in [350, 0.05]")
        spread = _number(value[1], f"{where}, spread", 0.001, 1.0, "of the range")
        return Setting(_number(value[0], where, -math.inf, math.inf, "its unit"), spread)
    return Setting(_number(value, where, -math.inf, math.inf, "its unit"))
