"""Materials: the numbers of their sources, bands beyond the tables marked, found under producers' words."""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np
import pytest

from fxstyle.errors import SettingError
from fxstyle.octaves import BAND_NAMES, CENTRES_HZ
from fxstyle.rooms.materials import SURFACES, Material, find, folded, materials, phrases, room_kinds

NEIGHBOUR = {"63": 1, "8k": 6}

MINERAL = ("mineral wool 50 mm", "glass wool 50 mm", "foam 50 mm", "foam 100 mm", "thick acoustic panels")
HARD = ("marble", "tiles", "concrete", "painted brick", "water", "glass", "plaster", "brick")


def test_there_are_many_and_each_names_its_source() -> None:
    assert 40 <= len(materials()) <= 100
    for name, material in materials().items():
        assert material.name == name
        assert len(material.source) > 20, name
        assert material.description, name


def test_the_octaves_are_those_of_all_other_tables() -> None:
    content = json.loads((files("fxstyle.rooms") / "materials.json").read_text())
    assert tuple(content["centres_hz"]) == CENTRES_HZ
    np.testing.assert_array_equal(CENTRES_HZ, [62.5, 125, 250, 500, 1000, 2000, 4000, 8000])


def test_no_source_is_named_in_vain() -> None:
    content = json.loads((files("fxstyle.rooms") / "materials.json").read_text())
    assert {row["source"] for row in content["materials"].values()} == set(content["sources"])


@pytest.mark.parametrize("name", list(materials()))
def test_extrapolated_bands_repeat_their_neighbour(name: str) -> None:
    material = materials()[name]
    assert set(material.extrapolated) <= set(NEIGHBOUR)
    for band in material.extrapolated:
        absorbed = material.absorption
        assert absorbed[BAND_NAMES.index(band)] == absorbed[NEIGHBOUR[band]]


@pytest.mark.parametrize(
    ("name", "published"),
    [
        # M. Vorlaender, Auralization, 2008, appendix: 125 Hz .. 4 kHz
        ("stone", (0.02, 0.02, 0.03, 0.04, 0.05, 0.05)),
        ("wood panelling", (0.27, 0.23, 0.22, 0.15, 0.10, 0.07)),
        ("mineral wool 50 mm", (0.23, 0.59, 0.86, 0.86, 0.86, 0.86)),
        ("audience", (0.24, 0.40, 0.78, 0.98, 0.96, 0.87)),
        # R. F. Barron, Industrial Noise Control and Acoustics, 2003, appendix D
        ("brick", (0.03, 0.03, 0.03, 0.04, 0.05, 0.07)),
        ("concrete block", (0.36, 0.44, 0.31, 0.29, 0.39, 0.25)),
        # E. Sengpiel's table
        ("carpet", (0.02, 0.06, 0.14, 0.37, 0.60, 0.65)),
        ("glass", (0.18, 0.06, 0.04, 0.03, 0.02, 0.02)),
        # M. D. Egan, Architectural Acoustics, 1988
        ("snow", (0.45, 0.75, 0.90, 0.95, 0.95, 0.95)),
    ],
)
def test_the_numbers_are_the_published_ones(name: str, published: tuple[float, ...]) -> None:
    assert materials()[name].absorption[1:7] == published


def test_thick_wool_takes_more_than_stone() -> None:
    for soft in MINERAL:
        for hard in HARD:
            middle = slice(3, 6)  # 500 Hz .. 2 kHz
            assert min(materials()[soft].absorption[middle]) > 4 * max(materials()[hard].absorption[middle])


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("brick walls", "brick"),
        ("Drapes", "curtains"),
        ("tiled", "tiles"),
        ("wood floor", "floorboards"),
        ("wooden ceiling", "wood panelling"),
        ("wood wall", "wood panelling"),
        ("wood", "floorboards"),
        ("drywall", "gypsum board"),
        ("thick carpet", "thick carpet"),
        ("  Velvet   Curtains ", "heavy curtains"),
        ("double-glazed windows", "double-glazed window"),
        ("50mm foam", "foam 50 mm"),
        ("acoustic tile ceiling", "acoustic tiles"),
        ("people", "audience"),
        ("bookshelves", "bookshelf"),
        ("wall-to-wall carpet", "carpet"),
    ],
)
def test_producers_words_find_it(words: str, name: str) -> None:
    assert find(words).name == name


def test_every_name_and_alias_finds_its_own_material() -> None:
    for material in materials().values():
        for words in (material.name, *material.aliases):
            assert find(words).name == material.name, words


def test_no_two_materials_share_a_word() -> None:
    seen: dict[str, str] = {}
    for material in materials().values():
        for words in {folded(w) for w in (material.name, *material.aliases)}:
            assert seen.setdefault(words, material.name) == material.name, words


def test_a_misspelled_material_is_named_with_its_nearest() -> None:
    with pytest.raises(
        SettingError, match="unknown material 'velvit curtains'; did you mean velvet curtains"
    ):
        find("velvit curtains")
    with pytest.raises(SettingError, match="unknown material 'zzzz'; there are floorboards, "):
        find("zzzz")
    with pytest.raises(SettingError, match="unknown material ''"):
        find("")


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_a_material_cannot_absorb_more_than_all(value: float) -> None:
    with pytest.raises(SettingError, match=r"felt: absorption .* at 500 Hz is outside 0..1"):
        Material("felt", "", "", (0.1, 0.1, 0.1, value, 0.1, 0.1, 0.1, 0.1))
    with pytest.raises(SettingError, match="felt: absorption has 2 numbers; it needs 8"):
        Material("felt", "", "", (0.1, 0.2))


def test_rooms_are_made_of_what_there_is() -> None:
    for room in room_kinds().values():
        for name in (room.floor, room.walls, room.ceiling):
            assert materials()[name].part is None, (room.name, name)
        for where, name, share in (*room.fixed, *room.furniture):
            assert where in (*SURFACES, "walls")
            assert name in materials(), (room.name, name)
            assert 0.0 < share <= 1.0
        assert 0.0 <= room.scatter <= 1.0


def test_rooms_and_materials_do_not_share_words() -> None:
    rooms = {folded(w) for room in room_kinds().values() for w in (room.name, *room.aliases)}
    assert not rooms & set(phrases())


def test_scattering_is_there_where_the_source_has_it() -> None:
    assert materials()["brick"].scattering is None
    audience = materials()["audience"].scattering
    assert audience is not None
    np.testing.assert_allclose(audience, (0.3, 0.3, 0.5, 0.6, 0.6, 0.7, 0.7, 0.7))  # Vorlaender 2008
