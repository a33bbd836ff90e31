"""Rooms found from their reflections: sizes of simulated ones, what cannot be told, and what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fxstyle import effects
from fxstyle.effect import Effect
from fxstyle.errors import AudioError
from fxstyle.fit.geometry import SURE, UNSURE, Geometry, confidence, find_geometry
from fxstyle.fit.known import fit_decays, response_of, wanted_of
from fxstyle.rooms.iso3382 import measure_response

RATE = 48_000
SIZE = np.array([7.9, 5.1, 3.05])
PLACES = {"source": (0.22, 0.63, 0.45), "mic": (0.71, 0.31, 0.52)}
WALLS = (0.1, 0.2, 0.35, 0.15, 0.3, 0.08)


def room() -> Effect:
    return effects.get("room")


def true_settings() -> dict[str, float]:
    settings = room().defaults() | {"mixing_ms": 80.0, "order": 14.0}
    for n, axis in enumerate(room().geometry):
        settings |= {axis.size: SIZE[n], axis.source: PLACES["source"][n], axis.microphone: PLACES["mic"][n]}
        for wall, row in enumerate(axis.walls):
            settings |= dict.fromkeys(row, WALLS[2 * n + wall])
    return settings


def response(settings: dict[str, float], seconds: float = 0.15) -> np.ndarray:
    h = response_of(room(), settings, RATE, 1, round(seconds * RATE))
    return np.pad(h, ((0, 0), (500, 0)))  # it need not begin with its direct sound


@pytest.fixture(scope="module")
def found() -> Geometry:
    return find_geometry(room(), response(true_settings()), RATE, seed=1)


def size_error(sizes: np.ndarray, true: np.ndarray) -> float:
    return min(float(np.abs(sizes[list(p)] / true - 1.0).max()) for p in itertools.permutations(range(3)))


def test_the_size_of_a_room_is_found(found: Geometry) -> None:
    sizes = np.array([found.settings[axis.size] for axis in room().geometry])
    assert size_error(sizes, SIZE) < 0.05  # a wavelength of 2 kHz in four metres
    assert found.loss == found.losses[0] == min(found.losses)
    assert found.confidence >= 0.5


def test_the_distance_between_the_places_is_found(found: Geometry) -> None:
    # along each axis they may be exchanged or mirrored, which leaves the distance
    apart = [
        found.settings[a.size] * (found.settings[a.source] - found.settings[a.microphone])
        for a in room().geometry
    ]
    true = SIZE * (np.array(PLACES["source"]) - np.array(PLACES["mic"]))
    assert np.linalg.norm(apart) == pytest.approx(np.linalg.norm(true), rel=0.1)


def test_the_settings_are_those_of_the_room(found: Geometry) -> None:
    names = {n for a in room().geometry for n in (a.size, a.source, a.microphone, *a.walls[0], *a.walls[1])}
    assert found.settings.keys() == names
    for name, value in found.settings.items():
        room().param(name).check(value)


@pytest.mark.parametrize("what", ["mirrored", "exchanged", "turned"])
def test_what_one_microphone_cannot_tell(what: str) -> None:
    settings = true_settings()
    other = dict(settings)
    first, second, _ = room().geometry
    if what == "mirrored":
        for name in (first.source, first.microphone):
            other[name] = 1.0 - settings[name]
        for here, there in zip(*first.walls, strict=True):
            other[here], other[there] = settings[there], settings[here]
    elif what == "exchanged":
        other[first.source], other[first.microphone] = settings[first.microphone], settings[first.source]
    else:
        for a, b in ((first, second), (second, first)):
            for mine, yours in zip(
                (*a[:3], *a.walls[0], *a.walls[1]), (*b[:3], *b.walls[0], *b.walls[1]), strict=True
            ):
                other[mine] = settings[yours]
    early = slice(0, round(0.04 * RATE))  # later there is noise, which hears the directions
    one, two = (response_of(room(), s, RATE, 1, RATE // 10)[:, early] for s in (settings, other))
    assert np.abs(one - two).max() < 1e-5 * np.abs(one).max()  # float32


def test_noise_is_no_room() -> None:
    fading = np.exp(-np.arange(RATE // 4) / (0.05 * RATE)) * np.random.default_rng(0).standard_normal(
        RATE // 4
    )
    fading[0] = 10.0
    assert find_geometry(room(), fading[None], RATE, starts=4, steps=30).confidence == 0.0


def test_a_seed_repeats_a_search() -> None:
    h = response(true_settings())
    one, two = (find_geometry(room(), h, RATE, starts=2, steps=6, seed=3) for _ in range(2))
    assert one == two
    assert one != find_geometry(room(), h, RATE, starts=2, steps=6, seed=4)


def test_progress_rises_to_one() -> None:
    shares: list[float] = []
    find_geometry(room(), response(true_settings()), RATE, starts=1, steps=6, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)


@pytest.mark.parametrize("rate", [8_000, 44_100, 96_000])
def test_other_rates_are_searched(rate: int) -> None:
    h = np.zeros((2, rate // 5))
    h[:, [10, 300]] = 1.0, 0.5
    assert np.isfinite(find_geometry(room(), h, rate, starts=1, steps=3).loss)


def test_confidence_falls_with_the_loss() -> None:
    assert confidence(SURE) == 1.0
    assert confidence(UNSURE) == 0.0
    assert confidence((SURE + UNSURE) / 2.0) == pytest.approx(0.5)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_response_without_sound_is_refused(value: float) -> None:
    with pytest.raises(AudioError, match="silent or not finite"):
        find_geometry(room(), np.full((1, 1000), value), RATE)


def test_an_effect_without_a_geometry_is_refused() -> None:
    with pytest.raises(ValueError, match="has no geometry"):
        find_geometry(effects.get("reverb"), np.ones((1, 1000)), RATE)


def test_decays_are_reached_around_given_places() -> None:
    true = true_settings()
    h = response_of(room(), true, RATE, 1, RATE)
    wanted = wanted_of(measure_response(h, RATE))
    given = {name: true[name] for axis in room().geometry for name in axis[:3]}
    found = fit_decays(room(), wanted, RATE, 1, given=given)
    assert given.items() <= found.settings.items()
    # as near as the ear can tell, in the mean
    assert np.nanmedian(np.abs(found.t60_error)) < 0.05
