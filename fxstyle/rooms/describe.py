"""A room from words: "12x8x4 m, brick walls, wood floor, curtains", "small church", "bathroom, tiles".

What covers a surface comes from the narrowest statement: one wall before "walls" before a material without
a surface, which takes the surfaces where it usually lies; then from the room's name; then parquet and
gypsum board. Curtains, rugs, people and the like are parts that cover a share of a surface,

    alpha_w = sum_p s_p alpha_p + (1 - sum_p s_p) alpha_cover

Each word is understood or refused, and each assumption is said in `Room.notes`. Walls x0, x1, y0, y1 are
left, right, front, back: the length runs from left to right, the width from front to back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fxstyle.errors import SettingError
from fxstyle.octaves import BANDS
from fxstyle.rooms.lengths import AXIS_NAMES, Lengths, read_lengths
from fxstyle.rooms.materials import SURFACES, WALLS, Material, RoomKind, materials, room_kinds
from fxstyle.rooms.statements import Said, Statement, material_of, read_statements, walls_of
from fxstyle.rooms.statistical import areas_m2, eyring_t60_s, sabine_t60_s

__all__ = ["Room", "eyring_t60_s", "parse", "sabine_t60_s"]

Vector = npt.NDArray[np.float64]

SMALLEST_M, LONGEST_M, HIGHEST_M = 1.5, 40.0, 20.0
"""Limits of the room effect."""

HEIGHT_M = 2.6
"""Of a room of which only the floor plan is given."""

PLAIN = {"floor": "parquet", "ceiling": "gypsum board"}
PLAIN_WALL = "gypsum board"

BARE_SCATTER, FURNISHED_SCATTER = 0.1, 0.35
"""Share of the sound that plane walls and furnished rooms throw in all directions, 500 Hz to 2 kHz: about
what M. Vorlaender, Auralization, 2008, section 11.2, names as usual for models of rooms."""

_SCATTER_BANDS = slice(3, 6)

_FURNITURE = (("floor", "heavy upholstery", 0.2), ("walls", "bookshelf", 0.05))
"""What a furnished room holds of which no name says more."""

_AUDIENCES = ("audience", "sparse audience", "audience in upholstered chairs")
_ROUNDING = 1e-9

# No two of these are alike, 0.5, or 1 together: there reflections fall together and stand out.
_SOURCE_SHARES, _SOURCE_HEIGHT_M = (0.37, 0.31), 1.5
_MICROPHONE_SHARES, _MICROPHONE_HEIGHT_M = (0.61, 0.68), 1.65
_SOURCE_HIGHEST, _MICROPHONE_HIGHEST = 0.44, 0.47
_APART_M = 0.05


@dataclass(frozen=True)
class Room:
    """A box, what its walls absorb, and where source and microphone are.

    Parameters
    ----------
    size_m: (3,), length left to right, width front to back, height.
    absorption: (6, 8) in 0..1, surfaces left, right, front, back, floor, ceiling by octaves 62.5 Hz .. 8 kHz.
    source_m, microphone_m: (3,) from the left, front and floor, inside.
    scatter: 0..1, the share of reflected sound that does not keep to the mirror's law.
    surfaces: for each surface, what it was understood to be made of.
    notes: what was assumed.
    """

    size_m: Vector
    absorption: Vector
    source_m: Vector
    microphone_m: Vector
    scatter: float
    surfaces: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shapes = {"size_m": (3,), "absorption": (6, BANDS), "source_m": (3,), "microphone_m": (3,)}
        for name, shape in shapes.items():
            # A copy that nobody can write to: the caller's array stays the caller's.
            values = np.array(getattr(self, name), dtype=np.float64)
            if values.shape != shape or not np.all(np.isfinite(values)):
                raise SettingError(f"{name} has to be {shape} finite numbers; it has shape {values.shape}")
            values.flags.writeable = False
            object.__setattr__(self, name, values)
        for axis, (metres, name) in enumerate(zip(self.size_m, AXIS_NAMES, strict=True)):
            highest = HIGHEST_M if axis == 2 else LONGEST_M
            if not SMALLEST_M <= metres <= highest:
                raise SettingError(
                    f"{name} {metres:g} m is outside {SMALLEST_M:g}..{highest:g} m, the range of rooms"
                )
        if not np.all((self.absorption >= 0.0) & (self.absorption <= 1.0)):
            raise SettingError("absorption is outside 0..1")
        if not 0.0 <= self.scatter <= 1.0:
            raise SettingError(f"scatter {self.scatter:g} is outside 0..1")
        if len(self.surfaces) != len(SURFACES):
            raise SettingError(f"surfaces has {len(self.surfaces)} names; it needs {len(SURFACES)}")
        for role, place in (("source", self.source_m), ("microphone", self.microphone_m)):
            for at, size, name in zip(place, self.size_m, AXIS_NAMES, strict=True):
                if not 0.0 < at < size:
                    raise SettingError(
                        f"{role} at {at:g} m is outside the room's {name}, 0..{size:g} m; move it inside"
                    )
        if np.linalg.norm(self.source_m - self.microphone_m) < _APART_M:
            raise SettingError(
                f"source and microphone are at the same place; keep them {_APART_M:g} m or more apart"
            )

    @property
    def volume_m3(self) -> float:
        """Volume in cubic metres."""
        return float(np.prod(self.size_m))


@dataclass
class _Surface:
    """One wall while it is being covered: with what, by a statement how narrow, and the parts on it."""

    cover: Material | None = None
    rank: tuple[int, int] = (2, 0)
    parts: list[tuple[Material, float]] = field(default_factory=list)

    @property
    def covered(self) -> float:
        return math.fsum(share for _, share in self.parts)


def parse(text: str) -> Room:
    """Read a description of a room; every word of it is understood, or SettingError names it."""
    lengths = read_lengths(text)
    said = read_statements(lengths.rest)
    notes = list(lengths.notes)
    kind, scale = _kind(said)
    if kind is None and not {0, 1} <= set(lengths.size_m):
        missing = " and ".join(AXIS_NAMES[axis] for axis in (0, 1) if axis not in lengths.size_m)
        raise SettingError(
            f"the description gives no {missing}; write a size, as in 5x4x2.6 m, or name a room, such as"
            " church or living room"
        )
    size = _size(lengths, kind, scale, notes)
    furnished = _furnished(said, kind)
    walls = [_Surface() for _ in SURFACES]
    _cover(walls, said.statements)
    _fill_in(walls, kind, notes)
    areas = areas_m2(size)
    for statement in said.statements:
        _add_parts(walls, statement, areas, notes)
    _add_usual(walls, kind, furnished, notes)
    absorption = np.array([_mixed(wall) for wall in walls])
    source, microphone = _places(lengths, size, notes)
    return Room(
        size_m=size,
        absorption=absorption,
        source_m=source,
        microphone_m=microphone,
        scatter=_scatter(walls, areas, kind, furnished),
        surfaces=tuple(map(_in_words, walls)),
        notes=tuple(notes),
    )


def _kind(said: Said) -> tuple[RoomKind | None, float | None]:
    """Return the room that is named; "room" itself gives way to any other name."""
    named = [entry for entry in said.rooms if entry[0] != "room"] or said.rooms[:1]
    names = sorted({name for name, _ in named})
    if len(names) > 1:
        raise SettingError(f"{' and '.join(names)} are two rooms; describe one")
    scales = {scale for _, scale in said.rooms if scale is not None}
    if len(scales) > 1:
        raise SettingError("the room is given two sizes in words; leave one out")
    return (room_kinds()[names[0]] if names else None), (scales.pop() if scales else None)


def _size(lengths: Lengths, kind: RoomKind | None, scale: float | None, notes: list[str]) -> Vector:
    given = lengths.size_m
    for axis, metres in given.items():
        if metres <= 0.0:
            raise SettingError(f"{AXIS_NAMES[axis]} {metres:g} m is not above 0; give it in metres")
    if {0, 1, 2} <= set(given):
        if scale is not None:
            notes.append("the size is given, so small or large changes nothing")
        return np.array([given[axis] for axis in range(3)])
    if kind is None:
        notes.append(f"height {HEIGHT_M:g} m assumed")
        return np.array([given[0], given[1], HEIGHT_M])
    factor = 1.0 if scale is None else scale
    # Rooms grow less upwards than sideways.
    usual = np.array(kind.size_m) * np.array([factor, factor, math.sqrt(factor)])
    limits = np.array([LONGEST_M, LONGEST_M, HIGHEST_M])
    size: Vector = np.round(np.clip(usual, SMALLEST_M, limits), 2)
    if np.any(usual > limits) or np.any(usual < SMALLEST_M):
        notes.append(f"the {kind.name} was held to {SMALLEST_M:g}..{LONGEST_M:g} m, height ..{HIGHEST_M:g} m")
    for axis, metres in given.items():
        size[axis] = metres
    assumed = [f"{AXIS_NAMES[axis]} {size[axis]:g} m" for axis in range(3) if axis not in given]
    notes.append(f"{', '.join(assumed)} assumed, as of {kind.name}")
    return size


def _furnished(said: Said, kind: RoomKind | None) -> bool | None:
    """Return whether furniture is wanted; None: as the room's name has it."""
    if len(set(said.states)) > 1:
        raise SettingError("the room is both furnished and empty; leave one out")
    return None if not said.states else said.states[0] == "furnished"


def _is_part(statement: Statement) -> bool:
    return statement.amount is not None or material_of(statement, None).part is not None


def _spans(statement: Statement) -> bool:
    """Say whether a material that comes in parts, such as a curtain, was given a whole surface."""
    bare = statement.amount is None and statement.scale is None
    return bare and bool(statement.surfaces) and material_of(statement, None).whole


def _named(group: Sequence[int]) -> str:
    """Write surfaces for people: the walls, left wall and floor."""
    left = sorted(group)
    names = []
    if set(range(len(WALLS))) <= set(left):
        names, left = ["walls"], [w for w in left if w >= len(WALLS)]
    names += [f"{SURFACES[w]} wall" if w < len(WALLS) else SURFACES[w] for w in left]
    return ", ".join(names)


def _cover(walls: list[_Surface], statements: Sequence[Statement]) -> None:
    """Give each surface the cover of the narrowest statement; refuse two that are equally narrow."""
    covers = [s for s in statements if not _is_part(s) or _spans(s)]
    ranked: list[tuple[tuple[int, int], tuple[int, ...], Statement]] = []
    for statement in covers:
        if statement.scale is not None:
            raise SettingError(
                f"{statement.written!r} covers a whole surface: small or large says nothing of it"
            )
        for group in statement.surfaces:
            ranked.append(((0, len(group)), group, statement))
        if not statement.surfaces:
            group = walls_of(material_of(statement, None).where)
            ranked.append(((1, len(group)), group, statement))
    ranked.sort(key=lambda entry: entry[0])
    for rank, group, statement in ranked:
        taken = 0
        for wall in group:
            material = material_of(statement, wall)
            old = walls[wall].cover
            if old is None:
                walls[wall].cover, walls[wall].rank = material, rank
            elif walls[wall].rank == rank and old.name != material.name:
                raise SettingError(
                    f"the {_named([wall])} is said to be {old.name} and {material.name}; leave one out, or"
                    f" give a share, as in 30 % {material.name}"
                )
            elif old.name != material.name:
                taken += 1
        if taken == len(group):
            raise SettingError(
                f"{statement.written!r} covers nothing: all it could cover is made of something else; leave"
                " it out, or give a share, as in 30 %"
            )


def _fill_in(walls: list[_Surface], kind: RoomKind | None, notes: list[str]) -> None:
    """Cover what nobody spoke of as the room's name has it, or plainly."""
    assumed: dict[str, list[int]] = {}
    for index, (wall, surface) in enumerate(zip(walls, SURFACES, strict=True)):
        if wall.cover is not None:
            continue
        if kind is None:
            name = PLAIN.get(surface, PLAIN_WALL)
        else:
            name = {"floor": kind.floor, "ceiling": kind.ceiling}.get(surface, kind.walls)
        wall.cover = materials()[name]
        assumed.setdefault(name, []).append(index)
    notes += [f"{name} assumed: {_named(group)}" for name, group in assumed.items()]


def _add_parts(walls: list[_Surface], statement: Statement, areas: Vector, notes: list[str]) -> None:
    """Lay what covers only a share of a surface on it."""
    if not _is_part(statement) or _spans(statement):
        return
    usual = material_of(statement, None)
    said = tuple(wall for group in statement.surfaces for wall in group)
    group = said or walls_of(usual.where)
    share = _share(statement, usual, float(areas[list(group)].sum()))
    if not 0.0 < share <= 1.0:
        written = statement.amount.written if statement.amount else statement.written
        raise SettingError(
            f"{written!r}: {statement.written} would cover {100.0 * share:.0f} % of the {_named(group)};"
            " give a share above 0 and up to 100 %"
        )
    for wall in group:
        surface = walls[wall]
        surface.parts.append((material_of(statement, wall), share))
        if surface.covered > 1.0 + _ROUNDING:
            raise SettingError(
                f"{statement.written!r}: {100.0 * surface.covered:.0f} % of the {_named([wall])} would be"
                " covered; the shares on one surface may be 100 % together"
            )
    if not said or statement.amount is None or statement.amount.kind == "count":
        notes.append(f"{usual.name} taken as {100.0 * share:.3g} % of the {_named(group)}")


def _share(statement: Statement, usual: Material, area_m2: float) -> float:
    """Return the share of surfaces of an area that a part covers."""
    amount = statement.amount
    scale = 1.0 if statement.scale is None else statement.scale
    if amount is None and usual.part:
        return min(scale * usual.part, 1.0)
    if amount is not None and amount.kind != "count":
        if statement.scale is not None:
            raise SettingError(
                f"{amount.written!r} says how much {statement.written} there is; leave the size out"
            )
        return amount.value if amount.kind == "share" else amount.value / area_m2
    if usual.each_m2 is None:
        written = amount.written if amount is not None else statement.written
        raise SettingError(
            f"{written!r}: {statement.written} does not come in pieces; give a share, as in 30 %"
            f" {statement.written}"
        )
    return scale * (1.0 if amount is None else amount.value) * usual.each_m2 / area_m2


def _add_usual(
    walls: list[_Surface], kind: RoomKind | None, furnished: bool | None, notes: list[str]
) -> None:
    """Add what a room of that name has, where the text leaves space for it and does not say its own."""
    usual = list(kind.fixed) if kind is not None else []
    if furnished is not False and kind is not None:
        usual += kind.furniture
    if furnished and not (kind is not None and kind.furniture):
        usual += _FURNITURE
    spoken = {material.name for wall in walls for material, _ in wall.parts}
    seated = {
        index: math.fsum(share for material, share in wall.parts if material.name in _AUDIENCES)
        for index, wall in enumerate(walls)
    }
    for where, name, share in usual:
        if name in spoken:
            continue
        for index in walls_of((where,)):
            cover = walls[index].cover
            if cover is not None and cover.part is not None:
                continue  # a curtain before the whole wall hides what hangs there
            # People hide the seats they sit on.
            wanted = share - seated[index]
            share_left = min(wanted, 1.0 - walls[index].covered)
            if share_left > _ROUNDING:
                walls[index].parts.append((materials()[name], share_left))
                if not notes or not notes[-1].startswith(f"{name} assumed"):
                    notes.append(f"{name} assumed: {100.0 * share_left:.0f} % of the {where}")


def _mixed(wall: _Surface) -> Vector:
    assert wall.cover is not None
    parts = [share * np.array(material.absorption) for material, share in wall.parts]
    left = max(1.0 - wall.covered, 0.0)
    return np.asarray(np.clip(sum(parts, left * np.array(wall.cover.absorption)), 0.0, 1.0))


def _in_words(wall: _Surface) -> str:
    assert wall.cover is not None
    parts = [f"{100.0 * share:.0f} % {material.name}" for material, share in wall.parts if share > 0.0]
    return ", ".join([*([wall.cover.name] if wall.covered < 1.0 else []), *parts])


def _scatter(walls: list[_Surface], areas: Vector, kind: RoomKind | None, furnished: bool | None) -> float:
    """Return the mean over the surfaces: measured where the source has it, else as plane or furnished."""
    plain = BARE_SCATTER if kind is None else kind.scatter
    if furnished is False:
        plain = BARE_SCATTER
    elif furnished:
        plain = max(plain, FURNISHED_SCATTER)
    total = 0.0
    for wall, area in zip(walls, areas, strict=True):
        known = [(m.scattering, share) for m, share in wall.parts if m.scattering is not None]
        measured = math.fsum(share * float(np.mean(s[_SCATTER_BANDS])) for s, share in known)
        total += area * (measured + (1.0 - math.fsum(share for _, share in known)) * plain)
    return float(round(total / areas.sum(), 3))


def _places(lengths: Lengths, size: Vector, notes: list[str]) -> tuple[Vector, Vector]:
    found = []
    for role, shares, height_m, highest in (
        ("source", _SOURCE_SHARES, _SOURCE_HEIGHT_M, _SOURCE_HIGHEST),
        ("microphone", _MICROPHONE_SHARES, _MICROPHONE_HEIGHT_M, _MICROPHONE_HIGHEST),
    ):
        if role in lengths.places_m:
            found.append(np.array(lengths.places_m[role]))
            continue
        place = np.array([*(shares * size[:2]), min(height_m, highest * size[2])])
        found.append(np.round(place, 2))
        notes.append(f"{role} assumed at {', '.join(f'{v:g}' for v in found[-1])} m")
    return found[0], found[1]
