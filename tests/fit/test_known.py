"""The known fit: closed forms of decays and clarity, and reverbs that measure as what they were fitted to."""

from __future__ import annotations

import numpy as np
import pytest

from fxstyle import effects
from fxstyle.errors import AudioError
from fxstyle.fit.known import fit_decays, from_direct, level_for, wanted_of
from fxstyle.rooms.iso3382 import measure_response

RATE = 44_100


def response(
    t60_s: float = 0.8, level_db: float = 0.0, seconds: float = 1.6, channels: int = 1
) -> np.ndarray:
    """Direct sound and fading white noise of an energy over it."""
    t = np.arange(round(seconds * RATE)) / RATE
    h = 10 ** (-3 * t / t60_s) * np.random.default_rng(3).standard_normal((channels, t.size))
    h *= np.sqrt(10 ** (level_db / 10) / (h**2).sum(axis=1, keepdims=True))
    h[:, 0] += 1.0
    return h


@pytest.mark.parametrize("t60_s", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("level_db", [-15.0, 0.0, 12.0])
def test_the_level_for_a_clarity_is_the_one_that_has_it(t60_s: float, level_db: float) -> None:
    """C50 of direct sound and an exponential: 10 lg((1 + L - L q)/(L q))."""
    q, energy = np.exp(-13.8155 * 0.05 / t60_s), 10 ** (level_db / 10)
    c50_db = 10 * np.log10((1 + energy - energy * q) / (energy * q))
    assert level_for(np.array([t60_s]), np.array([c50_db]))[0] == pytest.approx(level_db, abs=0.01)


def test_from_direct_begins_with_a_direct_sound_of_energy_one() -> None:
    late = np.pad(0.3 * response(), ((0, 0), (1000, 0)))
    found = from_direct(late, RATE)
    np.testing.assert_allclose(found[0, :2], [0.0, found[0, 1]])
    assert found[0, 1] == np.abs(found).max()
    assert (found[:, : round(0.0025 * RATE)] ** 2).sum() == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["reverb", "fdn"])
@pytest.mark.parametrize("t60_s", [0.5, 1.4])
def test_a_reverb_measures_as_what_it_was_fitted_to(kind: str, t60_s: float) -> None:
    target = measure_response(response(t60_s, 3.0, 2.0 * t60_s), RATE)
    found = fit_decays(effects.get(kind), wanted_of(target), RATE, 1)
    assert np.isfinite(found.t60_error).sum() >= 5
    assert np.nanmax(np.abs(found.t60_error)) < 0.05
    assert np.nanmax(np.abs(found.c50_error_db[2:])) < 0.5
    # An octave of 60 Hz has but a few independent samples in 50 ms, and the reverb's noise is what it is.
    assert np.nan_to_num(np.abs(found.c50_error_db[:2])).max() < 1.5


def test_a_room_takes_up_the_decays() -> None:
    target = measure_response(response(0.6, 3.0), RATE)
    found = fit_decays(effects.get("room"), wanted_of(target), RATE, 1)
    assert np.nanmax(np.abs(found.t60_error)) < 0.05
    assert abs(np.nanmedian(found.c50_error_db)) < 1.0


def test_turns_get_nearer() -> None:
    wanted = wanted_of(measure_response(response(0.5, 6.0), RATE))
    one, many = (fit_decays(effects.get("reverb"), wanted, RATE, 1, turns=n).loss for n in (0, 14))
    assert many < 0.5 * one


@pytest.mark.parametrize("what", ["click", "noise"])
def test_what_does_not_decay_is_refused(what: str) -> None:
    h = np.zeros((1, RATE))
    if what == "click":
        h[0, 100] = 1.0
    else:
        h[:] = np.random.default_rng(0).standard_normal(h.shape)
    with pytest.raises(AudioError, match="no decay can be measured"):
        wanted_of(measure_response(h, RATE))


def test_an_effect_that_is_no_reverb_is_refused() -> None:
    wanted = wanted_of(measure_response(response(), RATE))
    with pytest.raises(ValueError, match="gain cannot be asked for decays"):
        fit_decays(effects.get("gain"), wanted, RATE, 1)
