"""Lengths in a text about a room: sizes such as 12x8x4 m or 20' x 15' x 7'6", and places such as at 2,3,1.5.

What is read is cut out of the text, so that what is left can be held to account word by word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fxstyle.errors import SettingError

FOOT_M, INCH_M = 0.3048, 0.0254

_UNITS_M = {
    "m": 1.0, "metre": 1.0, "metres": 1.0, "meter": 1.0, "meters": 1.0,
    "cm": 0.01, "centimetre": 0.01, "centimetres": 0.01, "centimeter": 0.01, "centimeters": 0.01,
    "mm": 0.001,
    "ft": FOOT_M, "foot": FOOT_M, "feet": FOOT_M, "'": FOOT_M,
    "inch": INCH_M, "inches": INCH_M, '"': INCH_M,
}  # fmt: skip

_SIGNS = str.maketrans({
    "\N{MULTIPLICATION SIGN}": "x", "\N{MINUS SIGN}": "-", "\N{PRIME}": "'", "\N{DOUBLE PRIME}": '"',
    "\N{RIGHT SINGLE QUOTATION MARK}": "'", "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
    "\N{SUPERSCRIPT TWO}": "2", "\N{NO-BREAK SPACE}": " ", "\n": ",", ";": ",", "&": " and ", "+": ",",
})  # fmt: skip
"""Signs that word processors and tables write for plain ones."""

_WORD_UNIT = "|".join(sorted((u for u in _UNITS_M if u.isalpha()), key=len, reverse=True))
_UNIT = rf"(?:(?:{_WORD_UNIT})(?![a-z0-9])|['\"])"
# 7'6" and 7 ft 6 in: inches after feet are part of the same length. A sign may stand before a number only
# where no number ends, as in 3-4.
_FEET = r"(?:ft|foot|feet|')\s*\d+(?:\.\d+)?\s*(?:\"|inch(?:es)?(?![a-z])|in(?![a-z])|'')"
_NUMBER = r"(?:(?<![\d.])-)?(?:\d+(?:\.\d+)?|\.\d+)"
_LENGTH = rf"{_NUMBER}\s*(?:{_FEET}|{_UNIT})?"
# Here a comma between digits is a decimal one: 2,5x1,8x2,4 m. A list goes on with a share: 4,30 % curtains.
_SIDE = rf"(?:(?<![\d.])-)?(?:\d+(?:[.,]\d+(?!\d|\s*(?:%|per)))?|\.\d+)\s*(?:{_FEET}|{_UNIT})?"
_SIZE = re.compile(rf"(?<![\w.]){_SIDE}(?:\s*(?:x|\*|by)\s*{_SIDE})+(?![\d.]*\d)")
_SIDES = {
    "length": ("long", "length"),
    "width": ("wide", "width", "breadth"),
    "depth": ("deep", "depth"),
    "height": ("high", "tall", "height", "ceiling height"),
}
# Not in mm or inches: foam 50 mm ceiling is foam.
_CEILING = re.compile(
    rf"({_NUMBER}\s*(?:{_FEET}|(?:m|cm|met(?:re|er)s?|ft|foot|feet)(?![a-z0-9])|'))"
    r"\s*(?:(?:high|tall)\s*(?:ceilings?|roof|walls?)|(?:ceilings?|roof))(?![a-z])"
)
_ROLES = {
    "source": ("source", "sound source", "speaker", "loudspeaker", "singer", "voice", "instrument", "talker"),
    "microphone": ("microphone", "mic", "mike", "listener", "receiver"),
}
AXIS_NAMES = ("length", "width", "height")
"""Left to right, front to back, floor to ceiling, as in the room effect."""


@dataclass(frozen=True)
class Lengths:
    """What a text says in lengths: metres by axis and place by role; `rest` is the text without them."""

    size_m: dict[int, float]
    places_m: dict[str, tuple[float, float, float]]
    notes: tuple[str, ...]
    rest: str


def read_lengths(text: str) -> Lengths:
    """Cut sizes and places out of a text (small letters, commas between statements)."""
    rest = text.translate(_SIGNS).casefold()
    notes: list[str] = []
    places, rest = _cut_places(rest)
    size: dict[int, float] = {}
    unit = None

    def give(axis: int, metres: float, written: str) -> None:
        if axis in size:
            raise SettingError(
                f"{written!r}: the {AXIS_NAMES[axis]} is given twice ({size[axis]:g} m and {metres:g} m);"
                " leave one out"
            )
        size[axis] = metres

    sides: list[tuple[str, float, str]] = []
    for pattern, name in _side_patterns():
        while (match := pattern.search(rest)) is not None:
            lengths, unit = _metres([match[1]], unit)
            sides.append((name, lengths[0], match[0].strip()))
            rest = f"{rest[: match.start()]} , {rest[match.end() :]}"
    # What is deep is so from front to back; beside it, what is wide is so from left to right.
    deep = any(name == "depth" for name, *_ in sides)
    axes = {"length": 0, "width": 0 if deep else 1, "depth": 1, "height": 2}
    for name, metres, written in sides:
        give(axes[name], metres, written)
        notes.append(f"{written!r} taken as the room's {AXIS_NAMES[axes[name]]}")
    while (match := _SIZE.search(rest)) is not None:
        written = match[0].strip()
        three = re.split(r"\s*(?:x|\*|by)\s*", written)
        if len(three) not in (2, 3):
            raise SettingError(f"{written!r}: a size is length x width x height, as in 5x4x2.6 m")
        lengths, unit = _metres([s.replace(",", ".") for s in three], unit)
        for axis, metres in enumerate(lengths):
            give(axis, metres, written)
        rest = f"{rest[: match.start()]} , {rest[match.end() :]}"
    if size and unit is None:
        notes.append("lengths without a unit were taken as metres")
    found = {}
    for role, place in places.items():
        x, y, z = _metres(place, unit)[0]
        found[role] = (x, y, z)
        if unit is not None and unit != 1.0 and not any(_unit_of(side) for side in place):
            notes.append(f"the place of the {role} was taken in the unit of the size")
    return Lengths(size, found, tuple(notes), rest)


def _side_patterns() -> list[tuple[re.Pattern[str], str]]:
    """Return what gives one side: "4 m high", "height: 4 m", "3 m ceiling"."""
    found = []
    for side, names in _SIDES.items():
        words = "|".join(sorted(names, key=len, reverse=True))
        found.append((re.compile(rf"(?<![\w.])({_LENGTH})[\s-]*(?:{words})(?![a-z])"), side))
        found.append(
            (re.compile(rf"(?<![a-z])(?:{words})\s*(?:of|is|:|=)?\s*({_LENGTH})(?![\w.]|\s*x)"), side)
        )
    return [(_CEILING, "height"), *found]


def _cut_places(text: str) -> tuple[dict[str, list[str]], str]:
    found: dict[str, list[str]] = {}
    for role, names in _ROLES.items():
        words = "|".join(sorted(names, key=len, reverse=True))
        lead = rf"(?<![a-z])(?:{words})s?(?![a-z])"
        where = rf"\s*(?:(?:is|at|position|:|=|@)\s*)*\(?\s*({_LENGTH})[\s,]+({_LENGTH})[\s,]+({_LENGTH})\)?"
        while (match := re.search(lead + where, text)) is not None:
            if role in found:
                raise SettingError(f"{match[0].strip()!r}: the {role} has two places; give one")
            found[role] = [match[1], match[2], match[3]]
            text = f"{text[: match.start()]} , {text[match.end() :]}"
        if (match := re.search(lead, text)) is not None:
            raise SettingError(
                f"{match[0]!r}: say where in three lengths from the left, front and floor,"
                f" as in {role} at 2, 3, 1.5"
            )
    return found, text


def _unit_of(side: str) -> str | None:
    match = re.search(_UNIT, side)
    return match[0] if match else None


def _metres(sides: list[str], unit_before: float | None) -> tuple[list[float], float | None]:
    """Return lengths in metres and their unit: the one that is written serves those without."""
    units = {u for u in map(_unit_of, sides) if u is not None}
    in_metres = {_UNITS_M[u] for u in units} - ({INCH_M} if len(units) > 1 else set())
    if len(in_metres) > 1 and not all(map(_unit_of, sides)):
        raise SettingError(f"{' x '.join(s.strip() for s in sides)!r}: write the unit of each length")
    unit = in_metres.pop() if len(in_metres) == 1 else unit_before
    found = []
    for side in sides:
        number = float(re.match(r"\s*(-?[\d.]+)", side)[1])  # type: ignore[index]
        own = _unit_of(side)
        metres = number * (_UNITS_M[own] if own else (1.0 if unit is None else unit))
        inches = re.search(r"(?:ft|foot|feet|')\s*(\d+(?:\.\d+)?)", side)
        found.append(metres + (float(inches[1]) * INCH_M if inches else 0.0))
    return found, unit
