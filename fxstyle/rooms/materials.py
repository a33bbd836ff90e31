"""What rooms are made of: absorption per octave of published materials, under the words producers use.

    alpha_b: share of the energy that meets a surface and does not come back, in a diffuse field,
             in the octaves around 62.5 Hz * 2^b, b = 0..7

The numbers and their sources are in materials.json. Tables mostly begin at 125 Hz and end at 4 kHz: the
bands beyond repeat their neighbour, and each material says which (`extrapolated`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from fxstyle.errors import SettingError, remedy
from fxstyle.octaves import BAND_NAMES, BANDS

WALLS = ("left", "right", "front", "back")
SURFACES = (*WALLS, "floor", "ceiling")
"""The six surfaces x0, x1, y0, y1, z0, z1 of a room, in the order of every table by surface."""

_KINDS = {
    "floor": ("floor", "floors", "ground floor"),
    "ceiling": ("ceiling", "ceilings", "roof", "roofs"),
    "walls": ("wall", "walls"),
}
"""Words for the kind of surface a material is asked for."""


@dataclass(frozen=True)
class Material:
    """One material, and where it lies in a room when nobody says so.

    `absorption` and `scattering` hold a number 0..1 per octave; scattering is None where the source has none.
    `extrapolated` names the bands that repeat their neighbour. `where` holds "floor", "ceiling" and "walls".
    `part` is None for what covers a whole surface, else the share of it that is covered unless the text
    says more; 0 stands for a single piece of `each_m2`.
    """

    name: str
    description: str
    source: str
    absorption: tuple[float, ...]
    extrapolated: tuple[str, ...] = ()
    scattering: tuple[float, ...] | None = None
    where: tuple[str, ...] = ("floor", "ceiling", "walls")
    part: float | None = None
    each_m2: float | None = None
    whole: bool = False
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for what, values in (("absorption", self.absorption), ("scattering", self.scattering or ())):
            if len(values) not in (BANDS, 0) or (what == "absorption" and not values):
                raise SettingError(f"{self.name}: {what} has {len(values)} numbers; it needs {BANDS}")
            for band, value in zip(BAND_NAMES, values, strict=bool(values)):
                if not 0.0 <= value <= 1.0:
                    raise SettingError(f"{self.name}: {what} {value:g} at {band} Hz is outside 0..1")


@dataclass(frozen=True)
class RoomKind:
    """A room by name: a plausible size, what it is made of, and what usually stands in it.

    `fixed` and `furniture` hold (surface or "walls", material, share of that surface); furniture is what an
    empty room does not have.
    """

    name: str
    size_m: tuple[float, float, float]
    floor: str
    walls: str
    ceiling: str
    fixed: tuple[tuple[str, str, float], ...]
    furniture: tuple[tuple[str, str, float], ...]
    scatter: float
    aliases: tuple[str, ...]


@cache
def _tables() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((files("fxstyle.rooms") / "materials.json").read_text("utf-8"))
    return content


@cache
def materials() -> Mapping[str, Material]:
    """Return all materials by name."""
    sources = _tables()["sources"]
    found = {}
    for name, row in _tables()["materials"].items():
        scattering = row.get("scattering")
        found[name] = Material(
            name=name,
            description=row["description"],
            source=sources[row["source"]],
            absorption=tuple(row["absorption"]),
            extrapolated=tuple(row["extrapolated"]),
            scattering=None if scattering is None else tuple(scattering),
            where=tuple(row["where"]),
            part=row.get("part"),
            each_m2=row.get("each_m2"),
            whole=row.get("whole", False),
            aliases=tuple(row["aliases"]),
        )
    return MappingProxyType(found)


@cache
def room_kinds() -> Mapping[str, RoomKind]:
    """Return all rooms that have a name, by it."""
    found = {}
    for name, row in _tables()["rooms"].items():
        width, length, height = row["size_m"]
        parts = {key: tuple((w, m, float(s)) for w, m, s in row[key]) for key in ("fixed", "furniture")}
        found[name] = RoomKind(
            name=name,
            size_m=(width, length, height),
            floor=row["floor"],
            walls=row["walls"],
            ceiling=row["ceiling"],
            fixed=parts["fixed"],
            furniture=parts["furniture"],
            scatter=row["scatter"],
            aliases=tuple(row["aliases"]),
        )
    return MappingProxyType(found)


def folded(words: str) -> str:
    """Return words in the form in which they are compared: small, one space apart, without plurals."""
    plain = re.sub(r"(\d)(?=[a-z])", r"\1 ", words.casefold().replace("-", " "))
    return " ".join(
        w[:-1] if len(w) > 3 and w.endswith("s") and not w.endswith("ss") else w for w in plain.split()
    )


@cache
def phrases() -> Mapping[str, Mapping[str, str]]:
    """Return what names a material: folded words to names by kind of surface, "" where it is not said."""
    found: dict[str, dict[str, str]] = {}
    for material in materials().values():
        for alias in (material.name, *material.aliases):
            found.setdefault(folded(alias), {})[""] = material.name
    for word, by_surface in _tables()["by_surface"].items():
        # Alone, such a word is the floor: "wood" says nothing of the walls.
        found[folded(word)] = {**by_surface, "": by_surface["floor"]}
    return MappingProxyType(found)


def find(words: str) -> Material:
    """Return the material that words such as "drapes", "bare brick" or "wood floor" name.

    Raises SettingError with the nearest names where there is none.
    """
    key = folded(words)
    kind = ""
    for name, its_words in _KINDS.items():
        for word in {folded(w) for w in its_words}:
            if key not in phrases() and key.endswith(f" {word}"):
                key, kind = key.removesuffix(f" {word}"), name
    by_surface = phrases().get(key)
    if by_surface is None:
        raise SettingError(f"unknown material {words.strip()!r}" + _remedy(key))
    return materials()[by_surface.get(kind, by_surface[""])]


def _remedy(key: str) -> str:
    names = tuple(materials())
    aliases = [a for m in materials().values() for a in m.aliases]
    return remedy(key, (*names, *aliases), lead="there are", listed=", ".join(names))
