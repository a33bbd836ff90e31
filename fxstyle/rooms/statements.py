"""Words of a room's description, lexed to the last one and gathered into statements.

    statement = [amount] material [surface ...]  |  surface ... [amount] material  |  room  |  state

An amount is a share (30 %, half), an area (8 m2) or a number of pieces (two windows). The longest phrase
wins; a word that is none is an error, so that nothing of a text is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any

from fxstyle.errors import SettingError, remedy
from fxstyle.octaves import BANDS
from fxstyle.rooms.materials import SURFACES, WALLS, Material, folded, materials, phrases, room_kinds

SQUARE_FOOT_M2 = 0.09290304

_WALLS = tuple(range(len(WALLS)))
_SURFACES: dict[str, tuple[int, ...]] = {
    "wall": _WALLS, "all wall": _WALLS, "other wall": _WALLS, "remaining wall": _WALLS,
    "rest of the wall": _WALLS, "four wall": _WALLS,
    "side wall": (0, 1), "end wall": (2, 3), "one wall": (3,),
    "floor": (4,), "ceiling": (5,), "roof": (5,),
    "all surface": (0, 1, 2, 3, 4, 5), "every surface": (0, 1, 2, 3, 4, 5),
    "everywhere": (0, 1, 2, 3, 4, 5), "everything": (0, 1, 2, 3, 4, 5), "all over": (0, 1, 2, 3, 4, 5),
}  # fmt: skip
_SIDES = {"left": 0, "right": 1, "front": 2, "back": 3, "rear": 3, "far": 3}
_SCALES = {
    "tiny": 0.5, "very small": 0.5, "small": 0.7, "little": 0.7, "medium": 1.0, "medium sized": 1.0,
    "average": 1.0, "big": 1.35, "large": 1.35, "very large": 1.8, "very big": 1.8, "huge": 1.8,
}  # fmt: skip
_STATES = {
    "furnished": "furnished", "empty": "empty", "unfurnished": "empty", "bare": "empty",
    "no furniture": "empty", "without furniture": "empty",
}  # fmt: skip
_AUDIENCE = ("full", "occupied", "packed")
_SHARES = {"half": 0.5, "third": 1.0 / 3.0, "quarter": 0.25}
_COUNTS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_ARTICLES = ("a", "an")
_COLLECTIVES = ("audience", "sparse audience", "audience in upholstered chairs", "orchestra", "choir")
"""A sofa is one piece of furniture; an audience is not one person."""

_DENIALS = ("no", "not", "without")
_FILLERS = (
    "the", "with", "of", "is", "are", "has", "have", "in", "on", "at", "and", "its", "some", "by",
    "from", "made", "covered", "lined", "there", "it", "no audience", "without audience",
    "unoccupied", "for", "plus", "to", "material",
)  # fmt: skip
_AMOUNT = re.compile(
    r"(?P<share>\d+(?:\.\d+)?)\s*(?:%|percent|per cent|pct)"
    r"|(?P<area>\d+(?:\.\d+)?)\s*(?P<unit>m2|m\^2|sqm|sq m|square met(?:re|er)s?|sq ft|sqft|ft2"
    r"|square feet)(?![a-z])"
)
_ABSORPTION = re.compile(
    r"(?:absorption|absorbing|alpha)\s*(?:coefficient)?\s*(?:of|is|=|:)?\s*(?P<value>-?(?:\d+(?:\.\d+)?|\.\d+))\s*(?P<percent>%)?"
)
_WORD = re.compile(r"[a-z]+|\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Amount:
    """How much of something there is: a share 0..1, an area in m^2 or a number of pieces; and as written."""

    kind: str
    value: float
    written: str


@dataclass(frozen=True)
class Token:
    """One phrase of a text: its kind, what it stands for and the words as written."""

    kind: str
    value: Any
    written: str


@dataclass
class Statement:
    """One material with its surfaces; no surfaces: where such a material lies."""

    phrase: str = ""
    written: str = ""
    material: Material | None = None
    surfaces: list[tuple[int, ...]] = field(default_factory=list)
    surface_words: list[str] = field(default_factory=list)
    amount: Amount | None = None
    scale: float | None = None


@dataclass
class Said:
    """All that the words of a description say."""

    statements: list[Statement] = field(default_factory=list)
    rooms: list[tuple[str, float | None]] = field(default_factory=list)
    states: list[str] = field(default_factory=list)


@cache
def _vocabulary() -> Mapping[str, Token]:
    """Return what every phrase stands for, by its folded words; a later entry wins."""
    entries = [
        *(("filler", None, words) for words in _FILLERS),
        *(("article", None, words) for words in _ARTICLES),
        *(("state", state, words) for words, state in _STATES.items()),
        *(("scale", scale, words) for words, scale in _SCALES.items()),
        *(("amount", Amount("share", share, words), words) for words, share in _SHARES.items()),
        *(("amount", Amount("count", float(n), words), words) for n, words in enumerate(_COUNTS, 1)),
        *(("room", r.name, alias) for r in room_kinds().values() for alias in (r.name, *r.aliases)),
        *(("surface", walls, words) for words, walls in _SURFACES.items()),
        *(
            ("surface", (wall,), form)
            for words, wall in _SIDES.items()
            for form in (words, f"{words} wall", f"{words} side", f"{words} hand wall")
        ),
        *(("material", words, words) for words in phrases()),
        *(("material", "audience", words) for words in _AUDIENCE),
    ]
    return MappingProxyType({folded(words): Token(kind, value, words) for kind, value, words in entries})


@cache
def _longest() -> int:
    return max(len(words.split()) for words in _vocabulary())


def _lex(clause: str) -> Iterator[Token]:
    """Yield the tokens of a clause in small letters; a word or sign that is none raises SettingError."""
    text = clause.replace("-", " ") if not re.search(r"-\s*[\d.]", clause) else clause
    at = 0
    while at < len(text):
        if text[at].isspace() or text[at] in ".:()!":
            at += 1
            continue
        if (match := _ABSORPTION.match(text, at)) is not None:
            value = float(match["value"]) * (0.01 if match["percent"] else 1.0)
            yield Token("absorption", value, match[0].strip())
        elif (match := _AMOUNT.match(text, at)) is not None:
            yield Token("amount", _amount(match), match[0].strip())
        else:
            token, end = _phrase(text, at)
            yield token
            at = end
            continue
        at = match.end()


def _amount(match: re.Match[str]) -> Amount:
    if match["share"] is not None:
        return Amount("share", float(match["share"]) / 100.0, match[0].strip())
    unit = SQUARE_FOOT_M2 if "f" in match["unit"] else 1.0
    return Amount("area", float(match["area"]) * unit, match[0].strip())


def _phrase(text: str, at: int) -> tuple[Token, int]:
    """Return the longest known phrase that begins at a place, and where it ends."""
    ends: list[int] = []
    words: list[str] = []
    place = at
    while len(words) < _longest() and (match := _WORD.match(text, place)) is not None:
        words.append(match[0])
        ends.append(match.end())
        place = match.end() + (len(text[match.end() :]) - len(text[match.end() :].lstrip()))
    for count in range(len(words), 0, -1):
        token = _vocabulary().get(folded(" ".join(words[:count])))
        if token is not None:
            return Token(token.kind, token.value, text[at : ends[count - 1]]), ends[count - 1]
    if words and words[0][0].isdigit():
        return Token("amount", Amount("count", float(words[0]), words[0]), words[0]), ends[0]
    wrong = words[0] if words else text[at]
    if wrong in _DENIALS:
        raise SettingError(f'{wrong!r}: say what there is, not what is missing; "empty" leaves furniture out')
    known = [w for w, token in _vocabulary().items() if token.kind != "filler"]
    raise SettingError(
        f"{wrong!r} is not understood"
        + remedy(
            wrong,
            known,
            lead="a description holds",
            listed="a size (5x4x2.6 m), rooms (church, living room, ...), materials (brick, carpet, curtains,"
            " ...), surfaces (floor, ceiling, walls, left wall, ...), shares (30 %), furnished or empty,"
            " source at 2,3,1.5 and mic at 4,5,1.5",
        )
    )


def read_statements(text: str) -> Said:
    """Gather a text without lengths (small letters, commas between statements) into statements."""
    said = Said()
    for clause in re.split(r",", text):
        _read_clause(clause, said)
    return said


def _read_clause(clause: str, said: Said) -> None:
    tokens = _with_articles([t for t in _lex(clause) if t.kind != "filler"])
    now = Statement()
    surface_first = False

    def flush() -> None:
        nonlocal now, surface_first
        _check_complete(now, clause)
        if now.material is not None or now.phrase:
            said.statements.append(now)
        now, surface_first = Statement(), False

    for index, token in enumerate(tokens):
        if token.kind in ("material", "absorption"):
            if now.phrase:
                flush()
            now.phrase = token.value if token.kind == "material" else token.written
            now.written = token.written
            if token.kind == "absorption":
                now.material = _flat(token.value, token.written)
            surface_first = bool(now.surfaces)
        elif token.kind == "surface":
            if now.phrase and surface_first:
                flush()
            now.surfaces.append(token.value)
            now.surface_words.append(token.written)
        elif token.kind == "amount":
            follows = tokens[index + 1 : index + 2]
            starts_next = bool(follows) and follows[0].kind in ("material", "scale", "amount")
            if now.phrase and (starts_next or now.amount is not None):
                flush()
            if now.amount is not None:
                raise SettingError(f"{token.written!r} follows {now.amount.written!r}; give one amount")
            now.amount = token.value
        elif token.kind == "scale":
            if now.phrase:
                flush()
            now.scale = token.value
        elif token.kind == "room":
            # In "large stone church" it is the church that is large.
            scale = None if now.phrase and _comes_in_parts(now) else now.scale
            if scale is not None:
                now.scale = None
            if now.phrase and not now.surfaces and now.material is None and len(phrases()[now.phrase]) > 1:
                # A wooden chapel is of wood all over; wood alone is the floor.
                now.surfaces.append(_SURFACES["everywhere"])
            if now.phrase:
                flush()
            _refuse_before_room(now, token)
            said.rooms.append((token.value, scale))
        else:
            said.states.append(token.value)
    flush()


def _with_articles(tokens: list[Token]) -> list[Token]:
    """Count an article as one piece before what comes in pieces, and drop the others."""
    found = []
    for index, token in enumerate(tokens):
        if token.kind != "article":
            found.append(token)
        else:
            noun = next((t for t in tokens[index + 1 :] if t.kind != "scale"), None)
            if noun is None or noun.kind != "material":
                continue
            material = materials()[phrases()[noun.value][""]]
            if material.each_m2 is None or material.name in _COLLECTIVES:
                continue
            one = Amount("count", 1.0, f"{token.written} {noun.written}")
            found.append(Token("amount", one, token.written))
    return found


def _comes_in_parts(statement: Statement) -> bool:
    return material_of(statement, None).part is not None


def _flat(value: float, written: str) -> Material:
    if not 0.0 <= value <= 1.0:
        raise SettingError(f"{written!r}: an absorption of {value:g} is outside 0..1")
    return Material(f"absorption {value:g}", "as given", "as given", (value,) * BANDS)


def _refuse_before_room(now: Statement, token: Token) -> None:
    if now.amount is not None:
        raise SettingError(f"{now.amount.written!r} says nothing of {token.written!r}; describe one room")
    if now.surfaces:
        raise SettingError(f"no material is named for the {' and '.join(now.surface_words)}")


def _check_complete(now: Statement, clause: str) -> None:
    if now.phrase:
        return
    if now.amount is not None and now.surfaces:
        surfaces = " and ".join(now.surface_words)
        raise SettingError(
            f"{clause.strip()!r}: no material is named for {now.amount.written!r} of {surfaces}"
        )
    if now.surfaces:
        raise SettingError(
            f"{clause.strip()!r}: no material is named for the {' and '.join(now.surface_words)};"
            f" write, for example, brick {now.surface_words[0]}"
        )
    if now.amount is not None:
        raise SettingError(f"{now.amount.written!r} in {clause.strip()!r}: say of what, as in 30 % curtains")
    if now.scale is not None:
        raise SettingError(f"{clause.strip()!r}: say what has that size, as in small church, or give metres")


def material_of(statement: Statement, surface: int | None) -> Material:
    """Return the material a statement means on a surface: wood is boards on the floor, panels on a wall."""
    if statement.material is not None:
        return statement.material
    by_surface = phrases()[statement.phrase]
    kind = "" if surface is None else "walls" if surface in _WALLS else SURFACES[surface]
    return materials()[by_surface.get(kind, by_surface[""])]


def walls_of(names: Sequence[str]) -> tuple[int, ...]:
    """Return the surfaces of words such as ("floor", "walls")."""
    found: set[int] = set()
    for name in names:
        found |= set(_WALLS) if name == "walls" else {SURFACES.index(name)}
    return tuple(sorted(found))
