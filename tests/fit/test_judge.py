"""The judge: laws of a distance, closed forms of what it hears, blindness to pauses."""

import numpy as np
import pytest
import scipy.signal

from fxstyle.fit.judge import _whiteners, crops_distance, describe

RATE = 44100


def _noise(seed: int, seconds: float = 4.0, channels: int = 2) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal((channels, int(seconds * RATE)))


def test_a_recording_is_at_no_distance_from_itself() -> None:
    x = _noise(0)
    assert crops_distance([x], [x], RATE) == pytest.approx(0.0, abs=1e-3)


def test_it_is_symmetric() -> None:
    a, b = _noise(0), 0.3 * np.cumsum(_noise(1), axis=1) / 50
    assert crops_distance([a], [b], RATE) == pytest.approx(crops_distance([b], [a], RATE), rel=1e-6)


def test_a_change_of_level_is_heard_as_level_alone() -> None:
    x = _noise(0)
    a, b = (describe([y], RATE, with_side=True) for y in (x, 2.0 * x))
    assert b["level"] - a["level"] == pytest.approx(6.02, abs=0.01)
    for group in ("spectrum", "swing", "pace", "side"):
        assert b[group] == pytest.approx(a[group], abs=0.01)


def test_shipped_covariances_fit_what_is_heard() -> None:
    heard = describe([_noise(0)], RATE, with_side=True)
    whiteners = _whiteners()
    assert set(whiteners) == set(heard)
    for name, vector in heard.items():
        assert whiteners[name].shape == (vector.size, vector.size)
        assert np.isfinite(whiteners[name]).all()


def test_six_db_of_level_are_more_than_content() -> None:
    x = _noise(0)
    assert crops_distance([x], [2.0 * x], RATE) > 1.0


def test_distance_grows_with_the_change() -> None:
    x = _noise(0)
    distances = [crops_distance([x], [10.0 ** (db / 20.0) * x], RATE) for db in (1.0, 3.0, 6.0, 12.0)]
    assert distances == sorted(distances)
    assert distances[-1] > 3.0 * distances[0]


def test_spread_and_pace_have_their_closed_form() -> None:
    """Noise switched between two levels 12 dB apart: a spread of 6 dB, and moves of 12 dB at the edges."""
    x = _noise(0, seconds=8.0)
    t = np.arange(x.shape[1]) / RATE
    high = np.sin(2.0 * np.pi * 2.0 * t) > 0.0
    steady = describe([x], RATE, with_side=False)
    switched = describe([np.where(high, 2.0, 0.5) * x], RATE, with_side=False)
    swing = np.sqrt(switched["swing"] ** 2 - steady["swing"] ** 2)
    assert np.median(swing) == pytest.approx(6.02, abs=0.4)
    # Four edges a second, each within the lag for 46 ms: 19 % of the frames move by up to 12 dB.
    assert np.median(switched["pace"] - steady["pace"]) == pytest.approx(0.19 * 10.0, abs=0.8)


def test_other_content_is_nearer_than_other_treatment() -> None:
    x, y = _noise(0), _noise(7)
    treated = scipy.signal.lfilter([0.05], [1.0, -0.95], x)
    assert crops_distance([x], [y], RATE) < 0.3 * crops_distance([x], [treated], RATE)


def test_pauses_are_content() -> None:
    x = _noise(0)
    with_pause = np.concatenate([x, np.zeros_like(x)], axis=1)
    # Only the frames across its edge are heard: less than 1 dB of level.
    assert crops_distance([x], [with_pause], RATE) < crops_distance([x], [1.122 * x], RATE)


def test_a_missing_side_is_not_compared() -> None:
    mono = np.repeat(_noise(0, channels=1), 2, axis=0)
    assert np.isfinite(crops_distance([mono], [_noise(1)], RATE))
    assert crops_distance([mono], [mono[:1]], RATE) == pytest.approx(0.0, abs=1e-3)


def test_a_lost_side_counts() -> None:
    """Making the output mono must not hide the difference from a wide reference."""
    wide, x = _noise(0), _noise(1)
    narrow = x.mean(axis=0) + 0.3 * (x - x.mean(axis=0))
    mono = np.repeat(x.mean(axis=0, keepdims=True), 2, axis=0)
    assert crops_distance([mono], [wide], RATE, with_side=True) > 2.0 * crops_distance(
        [narrow], [wide], RATE, with_side=True
    )


def test_very_short_and_silent_passages_are_finite() -> None:
    short = _noise(0, seconds=0.02)
    assert np.isfinite(crops_distance([short], [_noise(1)], RATE))
    assert np.isfinite(crops_distance([np.zeros((1, RATE))], [_noise(1)], RATE))
