"""Truths of the compressor: its equations in a naive loop, the static curve, step responses, pedalboard."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fxstyle.effect import Samples
from fxstyle.effects.compressor import EFFECT, gain_db, start
from fxstyle.features.measure import measure
from fxstyle.units import PEDALBOARD_TIME_RATIO

RATE = 44100.0
SETTINGS = (
    {"threshold_db": -20.0, "ratio": 4.0, "attack_ms": 5.0, "release_ms": 80.0, "knee_db": 6.0, "link": 1.0},
    {"threshold_db": -35.0, "ratio": 20.0, "attack_ms": 0.05, "release_ms": 9.0, "knee_db": 0.0, "link": 0.0},
    {"threshold_db": -28.0, "ratio": 1.7, "attack_ms": 90.0, "release_ms": 6.0, "knee_db": 18.0, "link": 0.4},
)


def render(x: Samples, **settings: float) -> Samples:
    return EFFECT.render(x, RATE, None, **(EFFECT.defaults() | settings))[0]


def music_like(length: int, channels: int = 2) -> Samples:
    """Return noise whose level jumps by up to 40 dB, twelve times a second, apart in each channel."""
    rng = np.random.default_rng(0)
    steps = 10.0 ** (rng.uniform(-2.0, 0.0, (channels, length // 3675 + 1)))
    return 0.4 * rng.standard_normal((channels, length)) * np.repeat(steps, 3675, axis=1)[:, :length]


def curve_db(level_db: float, threshold_db: float, ratio: float, knee_db: float) -> float:
    """Giannoulis et al., eq. 4: level out from level in."""
    over = level_db - threshold_db
    if 2.0 * abs(over) <= knee_db and knee_db > 0.0:
        return level_db + (1.0 / ratio - 1.0) * (over + knee_db / 2.0) ** 2 / (2.0 * knee_db)
    return level_db if over <= 0.0 else threshold_db + over / ratio


def naive(x: Samples, settings: dict[str, float]) -> Samples:
    s = EFFECT.defaults() | settings
    attack, release = (math.exp(-1000.0 / (RATE * s[k])) for k in ("attack_ms", "release_ms"))
    level, y = np.zeros(x.shape[0]), np.empty_like(x)
    for n in range(x.shape[1]):
        for c in range(x.shape[0]):
            a = (1.0 - s["link"]) * abs(x[c, n]) + s["link"] * np.abs(x[:, n]).max()
            k = attack if a > level[c] else release
            level[c] = a + k * (level[c] - a)
            level_db = 20.0 * math.log10(max(level[c], 1e-20))
            out_db = curve_db(level_db, s["threshold_db"], s["ratio"], s["knee_db"])
            y[c, n] = x[c, n] * 10.0 ** ((out_db - level_db + s["makeup_db"]) / 20.0)
    return y


@pytest.mark.parametrize("settings", SETTINGS)
def test_is_the_loop_of_its_equations(settings: dict[str, float]) -> None:
    x = music_like(9000, 3)
    given = settings | {"makeup_db": 3.0}
    # The polynomials of logarithm and power are right to 2e-11.
    np.testing.assert_allclose(render(x, **given), naive(x, given), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("settings", SETTINGS)
def test_static_curve_is_the_closed_form(settings: dict[str, float]) -> None:
    level_db = np.linspace(-80.0, 20.0, 301)
    given = EFFECT.defaults() | settings
    expected = [
        curve_db(v, given["threshold_db"], given["ratio"], given["knee_db"]) - v for v in level_db.tolist()
    ]
    np.testing.assert_allclose(gain_db(level_db, given), expected, atol=1e-12)


@pytest.mark.parametrize("level_db", [-30.0, -21.0, -18.0, -15.5, 0.0])
def test_a_steady_level_comes_out_on_the_curve(level_db: float) -> None:
    x = np.full((1, 44100), 10.0 ** (level_db / 20.0))
    y = render(x, threshold_db=-18.0, ratio=4.0, knee_db=8.0)
    assert 20.0 * math.log10(y[0, -1]) == pytest.approx(curve_db(level_db, -18.0, 4.0, 8.0), abs=1e-6)


def detected(y: Samples, x: Samples, threshold_db: float) -> Samples:
    """Return the detector's level from the gain, for ratio 2, knee 0, above the threshold: e = T / g^2."""
    return 10.0 ** (threshold_db / 20.0) / (y / x) ** 2


@pytest.mark.parametrize("attack_ms", [0.5, 10.0, 100.0])
def test_attack_covers_63_percent_of_a_rise_in_its_time(attack_ms: float) -> None:
    x = np.concatenate((np.full((1, 88200), 0.1), np.full((1, 44100), 1.0)), axis=1)
    y = render(x, threshold_db=-40.0, ratio=2.0, knee_db=0.0, attack_ms=attack_ms)
    level = detected(y, x, -40.0)[0, 88200 + round(attack_ms * RATE / 1000.0) - 1]
    assert (level - 0.1) / 0.9 == pytest.approx(1.0 - math.exp(-1.0), abs=0.01)


@pytest.mark.parametrize("release_ms", [5.0, 50.0, 500.0])
def test_release_covers_63_percent_of_a_fall_in_its_time(release_ms: float) -> None:
    x = np.concatenate((np.full((1, 44100), 1.0), np.full((1, 44100), 0.1)), axis=1)
    y = render(x, threshold_db=-40.0, ratio=2.0, knee_db=0.0, release_ms=release_ms)
    level = detected(y, x, -40.0)[0, 44100 + round(release_ms * RATE / 1000.0) - 1]
    assert (1.0 - level) / 0.9 == pytest.approx(1.0 - math.exp(-1.0), abs=0.01)


# Its float32 detector limits the null: the residual is -99 dB of the peak at worst, most of it rounding.
@pytest.mark.parametrize(
    ("threshold_db", "ratio", "attack_ms", "release_ms"),
    [(-20.0, 4.0, 5.0, 100.0), (-40.0, 10.0, 0.5, 30.0), (-10.0, 2.0, 50.0, 800.0), (-30.0, 20.0, 20.0, 8.0)],
)
def test_nulls_against_pedalboard(
    threshold_db: float, ratio: float, attack_ms: float, release_ms: float
) -> None:
    pedalboard = pytest.importorskip("pedalboard", reason="pedalboard is not installed")
    x = music_like(3 * 44100).astype(np.float32)
    truth = pedalboard.Pedalboard([pedalboard.Compressor(threshold_db, ratio, attack_ms, release_ms)])(
        x, RATE
    )
    y = render(
        x,
        threshold_db=threshold_db,
        ratio=ratio,
        attack_ms=attack_ms / PEDALBOARD_TIME_RATIO,
        release_ms=release_ms / PEDALBOARD_TIME_RATIO,
        knee_db=0.0,
        link=0.0,
    )
    assert 20.0 * np.log10(np.abs(y - truth).max() / np.abs(truth).max()) < -95.0


def test_ratio_one_is_the_identity() -> None:
    x = music_like(5000)
    np.testing.assert_allclose(render(x, ratio=1.0, threshold_db=-60.0), x, rtol=1e-12)


def test_full_link_keeps_the_balance_and_no_link_does_not() -> None:
    x = music_like(20000)
    linked = render(x, threshold_db=-40.0, link=1.0) / x
    np.testing.assert_array_equal(np.abs(linked[0] - linked[1]) < 1e-12, np.True_)
    apart = render(x, threshold_db=-40.0, link=0.0)
    for c in range(2):
        np.testing.assert_array_equal(apart[c : c + 1], render(x[c : c + 1], threshold_db=-40.0, link=0.0))


def test_mono_does_not_know_a_link() -> None:
    x = music_like(5000, 1)
    np.testing.assert_allclose(render(x, link=0.3), render(x, link=1.0), rtol=1e-12)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("length", [20, 1200])
def test_gradient_agrees_with_differences(settings: dict[str, float], length: int) -> None:
    rng = np.random.default_rng(length)
    x = torch.from_numpy(0.5 * rng.standard_normal((1, 3, length))).requires_grad_()
    # Within each branch of the knee and away from the ends of the ranges.
    given = EFFECT.defaults() | settings | {"link": 0.1 + 0.8 * settings["link"], "makeup_db": 2.0}
    # A hard knee has no slope in its width at 0, which differences of one side would step over.
    free = [name for name in given if not (name == "knee_db" and given[name] == 0.0)]
    values = [torch.tensor([given[name]], dtype=torch.float64, requires_grad=True) for name in free]
    fixed = {k: torch.tensor([v], dtype=torch.float64) for k, v in given.items() if k not in free}

    def run(signal: torch.Tensor, *knobs: torch.Tensor) -> torch.Tensor:
        return EFFECT.forward(signal, 8000.0, **dict(zip(free, knobs, strict=True)), **fixed)

    assert torch.autograd.gradcheck(run, (x, *values), atol=1e-7, rtol=1e-5, fast_mode=length > 100)


class TestStart:
    @pytest.fixture
    def dynamic(self) -> Samples:
        # 4 s of noise whose level swings by 24 dB, slowly enough for every window to have one level
        t = np.arange(4 * 44100) / RATE
        swing = 10.0 ** (-12.0 * (1.0 - np.sin(2.0 * np.pi * 0.5 * t)) / 20.0)
        return 0.3 * swing * np.random.default_rng(1).standard_normal((1, t.size))

    def test_narrows_the_levels_towards_the_reference(self, dynamic: Samples) -> None:
        settings = {"threshold_db": -30.0, "ratio": 3.0, "attack_ms": 10.0, "release_ms": 100.0}
        reference = render(dynamic, **settings)
        guess = start(measure(dynamic, RATE), measure(reference, RATE))
        assert 1.5 < guess["ratio"] < 5.0

        def spread_db(x: Samples) -> float:
            quantiles = measure(x, RATE).level_quantiles_db
            return float(quantiles[6] - quantiles[3])

        before = spread_db(dynamic) - spread_db(reference)
        after = spread_db(render(dynamic, **guess)) - spread_db(reference)
        assert abs(after) < 0.6 * abs(before)

    def test_leaves_alone_what_is_no_more_dynamic(self, dynamic: Samples) -> None:
        steady = 0.1 * np.random.default_rng(2).standard_normal((1, 4 * 44100))
        assert start(measure(steady, RATE), measure(dynamic, RATE))["ratio"] == 1.0
        assert start(measure(dynamic, RATE), measure(dynamic, RATE))["ratio"] == 1.0
