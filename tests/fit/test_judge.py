"""The judge: laws of a distance, its closed form for Gaussians, blindness to pauses."""

import numpy as np
import pytest

from fxstyle.fit.judge import crops_distance

RATE = 44100


def _noise(seed: int, seconds: float = 4.0, channels: int = 2) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal((channels, int(seconds * RATE)))


def test_a_recording_is_at_no_distance_from_itself() -> None:
    x = _noise(0)
    assert crops_distance([x], [x], RATE) == pytest.approx(0.0, abs=1e-3)


def test_it_is_symmetric() -> None:
    a, b = _noise(0), 0.3 * np.cumsum(_noise(1), axis=1) / 50
    assert crops_distance([a], [b], RATE) == pytest.approx(crops_distance([b], [a], RATE), rel=1e-6)


def test_a_change_of_level_is_its_own_size() -> None:
    x = _noise(0)
    # Levels move by 6 dB, their changes from frame to frame not at all: of the three blocks of
    # dimensions (mid, side, change of the mid) two differ.
    assert crops_distance([x], [2.0 * x], RATE) == pytest.approx(6.02 * np.sqrt(2 / 3), rel=0.02)


def test_other_content_is_nearer_than_other_treatment() -> None:
    x, y = _noise(0), _noise(7)
    treated = np.tanh(8.0 * x) * 0.1
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


def test_bands_are_compared_by_mean_and_spread() -> None:
    """Steady noise against the same noise in bursts at the same mean level in dB: the spread differs."""
    x = _noise(0)
    t = np.arange(x.shape[1]) / RATE
    swinging = x * 10.0 ** (6.0 * np.sign(np.sin(2 * np.pi * t)) / 20.0)
    # +-6 dB in mid and side: two of three blocks of dimensions spread by 6 dB more, less noise's own.
    distance = crops_distance([x], [swinging], RATE)
    assert 2.0 < distance < 6.0


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
