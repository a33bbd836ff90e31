"""Truths of the dynamic equaliser: its equations in a naive loop, RBJ's peaks, curve, step responses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.signal import lfilter, sosfilt

from fxstyle.effect import Samples
from fxstyle.effects.dynamic_eq import EFFECT

RATE = 44100.0
STILL = {f"band{i}_range_db": 0.0 for i in (1, 2, 3)}
QUARTER_HZ = RATE / 4.0
"""Samples of a sine there, taken at 45 degrees, are a, a, -a, -a: a tone whose level never changes."""

SETTINGS: tuple[dict[str, float], ...] = (
    {"ratio": 4.0, "knee_db": 6.0, "link": 1.0},
    {
        "band1_range_db": 9.0,
        "band1_gain_db": -5.0,
        "band2_threshold_db": -45.0,
        "band2_q": 6.0,
        "band2_attack_ms": 60.0,
        "band2_release_ms": 6.0,
        "ratio": 20.0,
        "knee_db": 0.0,
        "link": 0.0,
    },
    {
        "band1_threshold_db": -50.0,
        "band2_range_db": -20.0,
        "band2_threshold_db": -50.0,
        "band3_hz": 400.0,
        "band3_gain_db": 7.0,
        "ratio": 1.6,
        "knee_db": 15.0,
        "link": 0.4,
    },
)


def render(x: Samples, **settings: float) -> Samples:
    return EFFECT.render(x, RATE, None, **(EFFECT.defaults() | settings))[0]


def music_like(length: int, channels: int = 2) -> Samples:
    """Return noise whose level jumps by up to 40 dB, twelve times a second, apart in each channel."""
    rng = np.random.default_rng(0)
    steps = 10.0 ** (rng.uniform(-2.0, 0.0, (channels, length // 3675 + 1)))
    return 0.4 * rng.standard_normal((channels, length)) * np.repeat(steps, 3675, axis=1)[:, :length]


def quarter(levels: list[float], each: int) -> Samples:
    """Return a tone at a quarter of the rate, of one level after another, `each` samples long."""
    n = np.arange(len(levels) * each)
    return (np.repeat(levels, each) * np.where(n % 4 < 2, 1.0, -1.0))[None]


def rbj_band_pass(hz: float, q: float) -> tuple[Samples, Samples]:
    """RBJ's cookbook: band-pass with 0 dB at its centre."""
    w = 2.0 * math.pi * hz / RATE
    alpha = math.sin(w) / (2.0 * q)
    return np.array((alpha, 0.0, -alpha)), np.array((1.0 + alpha, -2.0 * math.cos(w), 1.0 - alpha))


def rbj_peak(hz: float, gain_db: float, q: float) -> Samples:
    """RBJ's cookbook: peaking filter, as one section."""
    w, a = 2.0 * math.pi * hz / RATE, 10.0 ** (gain_db / 40.0)
    alpha, c = math.sin(w) / (2.0 * q), -2.0 * math.cos(w)
    row = np.array((1.0 + alpha * a, c, 1.0 - alpha * a, 1.0 + alpha / a, c, 1.0 - alpha / a))
    return (row / row[3])[None]


def bend(d: float, knee_db: float) -> float:
    if 2.0 * abs(d) <= knee_db and knee_db > 0.0:
        return (d + knee_db / 2.0) ** 2 / (2.0 * knee_db)
    return max(d, 0.0)


def curve_db(level_db: float, threshold_db: float, range_db: float, ratio: float, knee_db: float) -> float:
    """Gain of the curve: a compressor's, less that of another one from where the range is reached."""
    slope, d = 1.0 - 1.0 / ratio, level_db - threshold_db
    if slope == 0.0:
        return 0.0
    moved = slope * (bend(d, knee_db) - bend(d - abs(range_db) / slope, knee_db))
    return math.copysign(moved, range_db)


def naive(x: Samples, settings: dict[str, float]) -> Samples:
    s = EFFECT.defaults() | settings
    y = x.copy()
    for i in (1, 2, 3):
        band = {name: s[f"band{i}_{name}"] for name in ("hz", "q", "gain_db", "threshold_db", "range_db")}
        attack, release = (math.exp(-1000.0 / (RATE * s[f"band{i}_{t}_ms"])) for t in ("attack", "release"))
        b = lfilter(*rbj_band_pass(band["hz"], band["q"]), x)
        for c in range(x.shape[0]):
            a = (1.0 - s["link"]) * np.abs(b[c]) + s["link"] * np.abs(b).max(axis=0)
            level = 0.0
            for n in range(x.shape[1]):
                k = attack if a[n] > level else release
                level = a[n] + k * (level - a[n])
                level_db = 20.0 * math.log10(max(level, 1e-20))
                gain_db = band["gain_db"] + curve_db(
                    level_db, band["threshold_db"], band["range_db"], s["ratio"], s["knee_db"]
                )
                y[c, n] += (10.0 ** (gain_db / 20.0) - 1.0) * b[c, n]
    return y


@pytest.mark.parametrize("settings", SETTINGS)
def test_is_the_loop_of_its_equations(settings: dict[str, float]) -> None:
    x = music_like(9000, 3)
    np.testing.assert_allclose(render(x, **settings), naive(x, settings), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("gain_db", [-18.0, -3.0, 6.0, 24.0])
@pytest.mark.parametrize(("hz", "q"), [(60.0, 4.0), (1000.0, 0.3), (9000.0, 2.0)])
def test_at_a_constant_gain_a_band_is_a_peaking_filter(gain_db: float, hz: float, q: float) -> None:
    x = music_like(20000)
    y = render(x, **STILL, band2_hz=hz, band2_q=q, band2_gain_db=gain_db)
    # 1 + (g - 1) BP of quality Q is RBJ's peak of quality Q/sqrt g
    truth = sosfilt(rbj_peak(hz, gain_db, q * 10.0 ** (-gain_db / 40.0)), x)
    np.testing.assert_allclose(y, truth, atol=1e-10)


def test_nulls_against_pedalboards_peak_filter() -> None:
    pedalboard = pytest.importorskip("pedalboard", reason="pedalboard is not installed")
    x = music_like(44100).astype(np.float32)
    plugin = pedalboard.PeakFilter(1500.0, -7.0, 2.0)
    truth = pedalboard.Pedalboard([plugin])(x, RATE)
    y = render(x, **STILL, band1_hz=1500.0, band1_gain_db=-7.0, band1_q=2.0 * 10.0 ** (-7.0 / 40.0))
    # its coefficients are in float32
    assert 20.0 * math.log10(np.abs(y - truth).max() / np.abs(truth).max()) < -95.0


def test_bands_work_side_by_side() -> None:
    x = music_like(20000)
    alone = [
        render(x, **(STILL | {f"band{i}_range_db": -12.0, f"band{i}_threshold_db": -60.0})) - x
        for i in (1, 2, 3)
    ]
    every = {f"band{i}_range_db": -12.0 for i in (1, 2, 3)} | {
        f"band{i}_threshold_db": -60.0 for i in (1, 2, 3)
    }
    np.testing.assert_allclose(render(x, **every), x + sum(alone), atol=1e-12)


@pytest.mark.parametrize("knee_db", [0.0, 8.0])
@pytest.mark.parametrize("range_db", [-12.0, 0.0, 3.0, 24.0])
@pytest.mark.parametrize("level_db", [-70.0, -43.0, -40.0, -37.0, -30.0, -20.0, -2.0])
def test_a_steady_tone_comes_out_on_the_curve(level_db: float, range_db: float, knee_db: float) -> None:
    x = quarter([10.0 ** (level_db / 20.0)], 44100)
    own = {"hz": QUARTER_HZ, "q": 0.5, "gain_db": 1.0, "threshold_db": -40.0, "range_db": range_db}
    own |= {"attack_ms": 5.0, "release_ms": 20.0}  # a second is 50 of the longer one
    given = STILL | {f"band3_{name}": value for name, value in own.items()}
    y = render(x, **given, ratio=2.0, knee_db=knee_db)
    moved = curve_db(level_db, -40.0, range_db, 2.0, knee_db)
    assert 20.0 * math.log10(y[0, -1] / x[0, -1]) == pytest.approx(1.0 + moved, abs=1e-9)


def steady_gains_db(level_db: Samples, **settings: float) -> Samples:
    """Gain of band 1 at each level, from tones at a quarter of the rate."""
    given = EFFECT.defaults() | STILL | {"band1_hz": QUARTER_HZ, "band1_q": 0.2, "band1_attack_ms": 0.05}
    knobs = {k: torch.full((level_db.size,), v, dtype=torch.float64) for k, v in (given | settings).items()}
    x = quarter([1.0], 400) * 10.0 ** (level_db / 20.0)[:, None, None]
    y = EFFECT.forward(torch.from_numpy(x), RATE, **knobs).numpy()
    gains_db: Samples = 20.0 * np.log10(y[:, 0, -1] / x[:, 0, -1])
    return gains_db


@pytest.mark.parametrize("knee_db", [0.0, 12.0])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_the_curve_ends_at_its_range_and_has_no_step(sign: float, knee_db: float) -> None:
    level_db = np.linspace(-90.0, 10.0, 2001)
    own = {"band1_threshold_db": -40.0, "ratio": 3.0, "knee_db": knee_db}
    moved = sign * steady_gains_db(level_db, **own, band1_range_db=9.0 * sign)
    assert moved[0] == pytest.approx(0.0, abs=1e-9)
    assert moved[-1] == pytest.approx(9.0, abs=1e-9)
    assert np.diff(moved).min() > -1e-9
    assert np.diff(moved).max() < 0.05 * (1.0 - 1.0 / 3.0) + 1e-9
    # through range 0 and ratio 1
    tiny = steady_gains_db(level_db, **own, band1_range_db=1e-6 * sign)
    assert 0.0 <= (sign * tiny).max() == pytest.approx(1e-6, abs=1e-9)
    barely = steady_gains_db(level_db, **(own | {"ratio": 1.0 + 1e-9}), band1_range_db=9.0 * sign)
    assert np.abs(barely).max() < 1e-6


@pytest.mark.parametrize("time_ms", [5.0, 100.0])
@pytest.mark.parametrize("rises", [True, False])
def test_times_are_to_63_percent_of_a_step(time_ms: float, rises: bool) -> None:
    low, high = 0.1, 1.0
    x = quarter([low, high] if rises else [high, low], 88200)
    own = {"hz": QUARTER_HZ, "q": 0.2, "threshold_db": -60.0, "range_db": -24.0, "attack_ms": 1.0}
    own |= {"release_ms": 20.0, ("attack_ms" if rises else "release_ms"): time_ms}
    y = render(x, **STILL | {f"band1_{name}": value for name, value in own.items()}, ratio=1.2, knee_db=0.0)
    # above the threshold the gain is (T/e)^S: 10 dB of 24 at most
    level = 10.0 ** (-60.0 / 20.0) * (x / y)[0, 88200 + round(time_ms * RATE / 1000.0) - 1] ** 6.0
    done = (level - (low if rises else high)) / (high - low if rises else low - high)
    # a band of quality 0.2 follows within two samples
    assert done == pytest.approx(1.0 - math.exp(-1.0), abs=0.01)


def test_off_is_the_identity_to_the_bit() -> None:
    x = music_like(5000).astype(np.float32)
    np.testing.assert_array_equal(render(x, **STILL), x)
    np.testing.assert_array_equal(render(x, ratio=1.0), x)
    np.testing.assert_array_equal(render(0.001 * x), 0.001 * x)  # below every threshold


def test_a_static_gain_and_its_opposite_range_act_below_the_threshold() -> None:
    own = {"hz": QUARTER_HZ, "q": 1.0, "gain_db": 6.0, "threshold_db": -40.0, "range_db": -6.0}
    settings = STILL | {f"band2_{name}": value for name, value in own.items()}
    for level_db, change_db in ((-60.0, 6.0), (-5.0, 0.0)):
        x = quarter([10.0 ** (level_db / 20.0)], 44100)
        y = render(x, **settings, ratio=2.0)
        assert 20.0 * math.log10(y[0, -1] / x[0, -1]) == pytest.approx(change_db, abs=1e-3)


def test_full_link_moves_all_channels_alike() -> None:
    x = music_like(20000, 1) * np.array([[1.0], [0.05]])
    loud = {f"band{i}_threshold_db": -50.0 for i in (1, 2, 3)}
    linked = render(x, **loud, link=1.0)
    np.testing.assert_allclose(linked[1], 0.05 * linked[0], atol=1e-12)
    apart = render(x, **loud, link=0.0)
    np.testing.assert_array_equal(apart[1:], render(x[1:], **loud, link=0.0))
    assert np.abs(apart[1] - 0.05 * apart[0]).max() > 1e-3


def test_a_centre_beyond_half_the_rate_is_clamped() -> None:
    x = music_like(3000)
    for hz in (3925.0, 20000.0):
        y = EFFECT.render(x, 8000.0, None, **(EFFECT.defaults() | {"band3_hz": hz, "band3_gain_db": 12.0}))[0]
        assert np.isfinite(y).all()
    np.testing.assert_array_equal(
        y,
        EFFECT.render(x, 8000.0, None, **(EFFECT.defaults() | {"band3_hz": 3950.0, "band3_gain_db": 12.0}))[
            0
        ],
    )


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("length", [12, 1200])
def test_gradient_agrees_with_differences(settings: dict[str, float], length: int) -> None:
    rng = np.random.default_rng(length)
    x = torch.from_numpy(0.5 * rng.standard_normal((1, 3, length))).requires_grad_()
    given = EFFECT.defaults() | settings
    given |= {"link": 0.1 + 0.8 * given["link"]}  # away from the ends of its range
    given |= {f"band{i}_hz": 200.0 * 3.0**i for i in (1, 2)}
    given |= {"band3_hz": 3100.0}
    # A hard knee has no slope in its width at 0, which differences of one side would step over.
    free = [name for name in given if not (name == "knee_db" and given[name] == 0.0)]
    values = [torch.tensor([given[name]], dtype=torch.float64, requires_grad=True) for name in free]
    fixed = {k: torch.tensor([v], dtype=torch.float64) for k, v in given.items() if k not in free}

    def run(signal: torch.Tensor, *knobs: torch.Tensor) -> torch.Tensor:
        return EFFECT.forward(signal, 8000.0, **dict(zip(free, knobs, strict=True)), **fixed)

    assert torch.autograd.gradcheck(run, (x, *values), atol=1e-7, rtol=1e-5, fast_mode=length > 100)


def test_the_gradient_of_the_range_goes_through_zero() -> None:
    x = torch.from_numpy(0.5 * np.random.default_rng(7).standard_normal((1, 2, 900)))
    given = EFFECT.defaults() | {f"band{i}_threshold_db": -45.0 for i in (1, 2, 3)}
    knobs = {k: torch.tensor([v], dtype=torch.float64) for k, v in given.items()}

    def run(range_db: torch.Tensor) -> torch.Tensor:
        return EFFECT.forward(x, 8000.0, **(knobs | {"band2_range_db": range_db}))

    for value in (-1e-3, 0.0, 1e-3):
        assert torch.autograd.gradcheck(run, torch.tensor([value], dtype=torch.float64, requires_grad=True))


def test_the_tail_covers_what_rings() -> None:
    settings = EFFECT.defaults() | STILL | {"band1_hz": 100.0, "band1_q": 8.0, "band1_gain_db": 12.0}
    t = np.arange(2 * 44100) / RATE
    x = np.where(t < 1.0, np.sin(2.0 * np.pi * 100.0 * t), 0.0)[None]
    y = np.abs(EFFECT.render(x, RATE, None, **settings)[0][0])
    tail = round(EFFECT.tail_s(settings) * RATE)
    # the band's change, 12 dB above x, is 3 times as large as x when that ends
    assert 1.5 < y[44100 + 441 :].max() < 3.0
    assert y[44100 + tail :].max() < 3e-3
    assert y[44100 + tail // 2 :].max() > 3e-2
    assert EFFECT.tail_s(EFFECT.defaults() | STILL) == 0.0
