"""Truths of the gate: its equations in a naive loop, static curve, step responses, hold, pedalboard."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fxstyle.effect import Samples
from fxstyle.effects.gate import DETECTOR_MS, EFFECT
from fxstyle.units import PEDALBOARD_TIME_RATIO

RATE = 44100.0
KNOBS = ("threshold_db", "ratio", "range_db", "knee_db", "attack_ms", "hold_ms", "release_ms", "link")
SETTINGS = tuple(
    dict(zip(KNOBS, values, strict=True))
    for values in (
        (-20.0, 4.0, 60.0, 6.0, 2.0, 11.7, 40.0, 1.0),
        (-10.0, 20.0, 18.0, 0.0, 0.05, 0.0, 9.0, 0.0),
        (-28.0, 1.7, 9.0, 18.0, 90.0, 0.013, 6.0, 0.4),
    )
)


def render(x: Samples, **settings: float) -> Samples:
    return EFFECT.render(x, RATE, None, **(EFFECT.defaults() | settings))[0]


def music_like(length: int, channels: int = 2) -> Samples:
    """Return noise whose level jumps by up to 60 dB, twelve times a second, apart in each channel."""
    rng = np.random.default_rng(0)
    steps = 10.0 ** (rng.uniform(-3.0, 0.0, (channels, length // 3675 + 1)))
    return 0.4 * rng.standard_normal((channels, length)) * np.repeat(steps, 3675, axis=1)[:, :length]


def curve_db(level_db: float, threshold_db: float, ratio: float, knee_db: float, range_db: float) -> float:
    """Gain of the static curve in dB."""
    under = threshold_db - level_db
    if 2.0 * abs(under) < knee_db:
        depth = (ratio - 1.0) * (under + knee_db / 2.0) ** 2 / (2.0 * knee_db)
    else:
        depth = (ratio - 1.0) * max(under, 0.0)
    return -min(depth, range_db)


def constant(time_ms: float) -> float:
    return math.exp(-1000.0 / (RATE * time_ms))


def naive(x: Samples, settings: dict[str, float], link: Samples | None = None) -> Samples:
    """Return the output; link: (time,), where it is turned within the stream."""
    s = EFFECT.defaults() | settings
    link = np.full(x.shape[1], s["link"]) if link is None else link
    attack, release, decay = constant(s["attack_ms"]), constant(s["release_ms"]), constant(DETECTOR_MS)
    hold = s["hold_ms"] * RATE / 1000.0
    whole = math.floor(hold)
    y = np.empty_like(x)
    for c in range(x.shape[0]):
        a = (1.0 - link) * np.abs(x[c]) + link * np.abs(x).max(axis=0)
        v, level = np.zeros(a.size), 0.0
        for n in range(a.size):
            before = v[n - 1] if n > 0 else 0.0
            v[n] = a[n] ** 2 if a[n] ** 2 > before else a[n] ** 2 + decay * (before - a[n] ** 2)
            short, long = v[max(n - whole, 0) : n + 1].max(), v[max(n - whole - 1, 0) : n + 1].max()
            wide = math.sqrt(short + (hold - whole) * (long - short))
            k = attack if wide > level else release
            level = wide + k * (level - wide)
            level_db = 20.0 * math.log10(max(level, 1e-20))
            gain = curve_db(level_db, s["threshold_db"], s["ratio"], s["knee_db"], s["range_db"])
            y[c, n] = x[c, n] * 10.0 ** (gain / 20.0)
    return y


@pytest.mark.parametrize("settings", SETTINGS)
def test_is_the_loop_of_its_equations(settings: dict[str, float]) -> None:
    x = music_like(9000, 3)
    np.testing.assert_allclose(render(x, **settings), naive(x, settings), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("knee_db", [0.0, 8.0])
@pytest.mark.parametrize("level_db", [-90.0, -48.0, -43.0, -40.0, -37.5, -36.0, -20.0, 3.0])
def test_a_steady_level_comes_out_on_the_curve(level_db: float, knee_db: float) -> None:
    x = np.full((1, 44100), 10.0 ** (level_db / 20.0))
    y = render(x, threshold_db=-40.0, ratio=4.0, knee_db=knee_db, range_db=50.0, release_ms=20.0)
    expected = curve_db(level_db, -40.0, 4.0, knee_db, 50.0)
    assert 20.0 * math.log10(y[0, -1] / x[0, -1]) == pytest.approx(expected, abs=1e-9)


def test_the_curve_has_no_step() -> None:
    # at -40 the corner, at -43 and -37 the knee's ends, at -50 the end of the range
    level_db = np.linspace(-55.0, -35.0, 4001)
    for knee_db in (0.0, 6.0):
        gains = [curve_db(v, -40.0, 3.0, knee_db, 20.0) for v in level_db.tolist()]
        assert np.abs(np.diff(gains)).max() < 2.0 * 0.005 + 1e-9
        x = 10.0 ** (level_db / 20.0)[:, None, None] * np.ones((1, 1, 300))
        s = {**EFFECT.defaults(), "threshold_db": -40.0, "ratio": 3.0, "knee_db": knee_db, "range_db": 20.0,
             "attack_ms": 0.05}  # fmt: skip
        knobs = {k: torch.full((level_db.size,), v, dtype=torch.float64) for k, v in s.items()}
        y = EFFECT.forward(torch.from_numpy(x), RATE, **knobs).numpy()
        # 300 samples are 136 time constants of the attack
        np.testing.assert_allclose(20.0 * np.log10(y[:, 0, -1] / x[:, 0, -1]), gains, atol=1e-9)


def detected(y: Samples, x: Samples, threshold_db: float) -> Samples:
    """Return the detector's level from the gain, for ratio 2, knee 0, below the threshold: e = T g."""
    return 10.0 ** (threshold_db / 20.0) * y / x


@pytest.mark.parametrize("attack_ms", [0.5, 10.0, 100.0])
def test_attack_covers_63_percent_of_a_rise_in_its_time(attack_ms: float) -> None:
    x = np.concatenate((np.full((1, 88200), 0.01), np.full((1, 44100), 0.1)), axis=1)
    y = render(x, threshold_db=-10.0, ratio=2.0, knee_db=0.0, attack_ms=attack_ms, range_db=80.0)
    level = detected(y, x, -10.0)[0, 88200 + round(attack_ms * RATE / 1000.0) - 1]
    assert (level - 0.01) / 0.09 == pytest.approx(1.0 - math.exp(-1.0), abs=0.01)


@pytest.mark.parametrize("hold_ms", [0.0, 20.0])
def test_a_fall_is_held_then_released(hold_ms: float) -> None:
    low, start, release_ms = 1e-4, 44100, 200.0
    x = np.concatenate((np.full((1, start), 0.1), np.full((1, 44100), low)), axis=1)
    y = render(
        x, threshold_db=-20.0, ratio=2.0, knee_db=0.0, hold_ms=hold_ms, release_ms=release_ms, range_db=80.0
    )
    level, held = detected(y, x, -20.0)[0], start + round(hold_ms * RATE / 1000.0)
    np.testing.assert_allclose(level[start:held], 0.1, rtol=1e-9)
    # v = low^2 + (0.1^2 - low^2) k_d^m, of which sqrt is 0.1 k_d^(m/2) for as long as that is far above low;
    # smoothed: two exponentials
    m = np.arange(1, 400)
    r, k = math.sqrt(constant(DETECTOR_MS)), constant(release_ms)
    expected = 0.1 * (k**m + (1.0 - k) * (r ** (m + 1) - r * k**m) / (r - k))
    np.testing.assert_allclose(level[held : held + m.size], expected, rtol=1e-4)


def test_the_gate_closes_by_its_range_after_hold_and_no_sooner() -> None:
    # Beats of 10 ms in silence every 100 ms; between them noise 60 dB below.
    rng, t = np.random.default_rng(3), np.arange(44100)
    loud = t % 4410 < 441
    x = (rng.choice((-1.0, 1.0), t.size) * np.where(loud, 0.5, 0.0005))[None]
    y = render(x, threshold_db=-10.0, ratio=20.0, range_db=40.0, hold_ms=30.0, attack_ms=0.05, release_ms=5.0)
    gain_db = 20.0 * np.log10(y / x)[0]
    after = t % 4410
    assert gain_db[(after >= 20) & (after < 441 + 1323)].min() > -1e-9
    # from -6 dB to 40/19 dB below the threshold at the detector's 0.55 dB/ms, and the release: 17 ms
    assert gain_db[after > 441 + 1323 + 900].max() == pytest.approx(-40.0, abs=1e-9)


# Equal settings: its hold, knee and link are 0, its range has no end; its times are 2 pi times ours. What is
# left is the rounding of its float32 detector: the same law in a float32 loop nulls at -148 dB.
@pytest.mark.parametrize(
    ("threshold_db", "ratio", "attack_ms", "release_ms", "limit_db"),
    [
        (-20.0, 4.0, 5.0, 100.0, -100.0),
        (-40.0, 10.0, 0.5, 30.0, -120.0),
        (-10.0, 2.0, 50.0, 800.0, -83.0),
        (-30.0, 1.5, 20.0, 40.0, -120.0),
    ],
)
def test_nulls_against_pedalboard(
    threshold_db: float, ratio: float, attack_ms: float, release_ms: float, limit_db: float
) -> None:
    pedalboard = pytest.importorskip("pedalboard", reason="pedalboard is not installed")
    x = music_like(3 * 44100).astype(np.float32)
    plugin = pedalboard.NoiseGate(threshold_db, ratio, attack_ms, release_ms)
    truth = pedalboard.Pedalboard([plugin])(x, RATE)
    y = render(
        x,
        threshold_db=threshold_db,
        ratio=ratio,
        range_db=80.0,
        knee_db=0.0,
        attack_ms=attack_ms / PEDALBOARD_TIME_RATIO,
        hold_ms=0.0,
        release_ms=release_ms / PEDALBOARD_TIME_RATIO,
        link=0.0,
    )
    assert 20.0 * np.log10(np.abs(y - truth).max() / np.abs(truth).max()) < limit_db


@pytest.mark.parametrize("off", [{"ratio": 1.0}, {"range_db": 0.0}])
def test_off_is_the_identity_to_the_bit(off: dict[str, float]) -> None:
    x = music_like(5000).astype(np.float32)
    np.testing.assert_array_equal(render(x, threshold_db=0.0, **off), x)


def test_above_the_knee_nothing_changes() -> None:
    x = np.sign(music_like(20000)) * 0.1
    np.testing.assert_array_equal(
        render(x, threshold_db=-26.0, knee_db=6.0, attack_ms=0.05)[:, 30:], x[:, 30:]
    )


def test_full_link_keeps_the_balance_and_no_link_does_not() -> None:
    x = music_like(20000)
    linked = render(x, threshold_db=-20.0, link=1.0) / x
    np.testing.assert_allclose(linked[0], linked[1], rtol=1e-12)
    apart = render(x, threshold_db=-20.0, link=0.0)
    for c in range(2):
        np.testing.assert_array_equal(apart[c : c + 1], render(x[c : c + 1], threshold_db=-20.0, link=0.0))


def test_a_hold_turned_between_two_blocks_keeps_the_level() -> None:
    x = np.full((2, 4000), 0.1)
    settings = EFFECT.defaults() | {"threshold_db": -10.0, "ratio": 2.0}
    _, state = EFFECT.render(x[:, :2000], RATE, None, **settings)
    y, _ = EFFECT.render(x[:, 2000:], RATE, state, **(settings | {"hold_ms": 80.0}))
    np.testing.assert_allclose(y, EFFECT.render(x[:, 2000:], RATE, state, **settings)[0], rtol=1e-12)


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_link_turned_between_two_blocks_finds_what_each_channel_remembers(
    settings: dict[str, float],
) -> None:
    x, cut = music_like(6000, 3), 2500
    linked, state = EFFECT.render(x[:, :cut], RATE, None, **(settings | {"link": 1.0}))
    apart, _ = EFFECT.render(x[:, cut:], RATE, state, **(settings | {"link": 0.0}))
    truth = naive(x, settings, np.where(np.arange(x.shape[1]) < cut, 1.0, 0.0))
    y = np.concatenate((linked, apart), axis=1)
    np.testing.assert_allclose(y, truth, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("length", [20, 1200])
def test_gradient_agrees_with_differences(settings: dict[str, float], length: int) -> None:
    rng = np.random.default_rng(length)
    x = torch.from_numpy(0.2 * rng.standard_normal((1, 3, length))).requires_grad_()
    # Away from the ends of the ranges, and from a whole number of samples.
    given = (
        EFFECT.defaults()
        | settings
        | {"link": 0.1 + 0.8 * settings["link"], "hold_ms": settings["hold_ms"] + 0.3}
    )
    # A hard knee has no slope in its width at 0, which differences of one side would step over.
    free = [name for name in given if not (name == "knee_db" and given[name] == 0.0)]
    values = [torch.tensor([given[name]], dtype=torch.float64, requires_grad=True) for name in free]
    fixed = {k: torch.tensor([v], dtype=torch.float64) for k, v in given.items() if k not in free}

    def run(signal: torch.Tensor, *knobs: torch.Tensor) -> torch.Tensor:
        return EFFECT.forward(signal, 8000.0, **dict(zip(free, knobs, strict=True)), **fixed)

    assert torch.autograd.gradcheck(run, (x, *values), atol=1e-7, rtol=1e-5, fast_mode=length > 100)


def test_the_hold_has_a_gradient() -> None:
    x = torch.from_numpy(music_like(8000)[None])
    knobs = {k: torch.tensor([v], dtype=torch.float64) for k, v in EFFECT.defaults().items()}
    knobs |= {"threshold_db": torch.tensor([-20.0], dtype=torch.float64)}
    hold = torch.tensor([30.0], dtype=torch.float64, requires_grad=True)
    EFFECT.forward(x, RATE, **(knobs | {"hold_ms": hold})).square().sum().backward()
    assert hold.grad is not None
    assert hold.grad.item() > 0.0  # a longer hold lets more through
