"""Truths of the multiband compressor: its all-pass when off, pedalboard on scipy's bands, curves, times."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.signal import butter, sosfilt

from fxstyle.chain import Chain, Slot
from fxstyle.effect import Samples
from fxstyle.effects import compressor
from fxstyle.effects.multiband import EFFECT
from fxstyle.render import render as render_chain
from fxstyle.units import PEDALBOARD_TIME_RATIO

RATE = 44100.0
BANDS = ("low", "mid", "high")
CENTRES_HZ = {"low": 50.0, "mid": 800.0, "high": 10000.0}
OFF = {f"{band}_ratio": 1.0 for band in BANDS}


def render(x: Samples, **settings: float) -> Samples:
    return EFFECT.render(x, RATE, None, **(EFFECT.defaults() | settings))[0]


def music_like(length: int, channels: int = 2) -> Samples:
    """Return noise whose level jumps by up to 40 dB, twelve times a second, apart in each channel."""
    rng = np.random.default_rng(0)
    steps = 10.0 ** (rng.uniform(-2.0, 0.0, (channels, length // 3675 + 1)))
    return 0.4 * rng.standard_normal((channels, length)) * np.repeat(steps, 3675, axis=1)[:, :length]


def butterworth(hz: float, kind: str) -> Samples:
    """Two Butterworth sections of scipy's in cascade, or the one all-pass of their denominator."""
    sos = butter(2, hz, "low" if kind == "all" else kind, fs=RATE, output="sos")
    if kind == "all":
        return np.concatenate((sos[:, :2:-1], sos[:, 3:]), axis=1)
    return np.concatenate((sos, sos))


def cascades(low_hz: float, high_hz: float) -> list[Samples]:
    pairs = (
        (butterworth(low_hz, "low"), butterworth(high_hz, "all")),
        (butterworth(low_hz, "high"), butterworth(high_hz, "low")),
        (butterworth(low_hz, "high"), butterworth(high_hz, "high")),
    )
    return [np.concatenate(pair) for pair in pairs]


def scipy_bands(x: Samples, low_hz: float, high_hz: float) -> list[Samples]:
    return [sosfilt(sos, x) for sos in cascades(low_hz, high_hz)]


def freqz_sos(row: Samples, w: float) -> complex:
    """Response of one section at w radians per sample."""
    z = np.exp(-1j * w * np.arange(3))
    return complex(row[:3] @ z / (row[3:] @ z))


def amplitude(y: Samples, hz: float) -> float:
    """Amplitude of the sine at `hz` in the last second of a channel."""
    t = np.arange(round(RATE))
    return 2.0 * abs(np.mean(y[-t.size :] * np.exp(-2j * np.pi * hz * t / RATE)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_without_compression_it_is_the_all_pass(dtype: type) -> None:
    x = music_like(20000).astype(dtype)
    y = render(x, low_hz=120.0, high_hz=2500.0, **OFF)
    truth = sosfilt(np.concatenate((butterworth(120.0, "all"), butterworth(2500.0, "all"))), x)
    # three bands rounded to float32, near full scale
    np.testing.assert_allclose(y, truth, atol=1e-11 if dtype is np.float64 else 1e-6)


def test_without_compression_no_frequency_changes_its_level() -> None:
    impulse = np.zeros((1, 3 * 44100))
    impulse[0, 0] = 1.0
    h = np.abs(np.fft.rfft(render(impulse, **OFF)[0]))
    assert np.abs(20.0 * np.log10(h)).max() < 1e-9  # 0 dB is exact in the power's polynomial


def test_nulls_against_pedalboards_compressors_on_scipys_bands() -> None:
    pedalboard = pytest.importorskip("pedalboard", reason="pedalboard is not installed")
    x = music_like(3 * 44100)
    laws = {
        "low": (-30.0, 3.0, 120.0, 900.0),
        "mid": (-25.0, 8.0, 30.0, 400.0),
        "high": (-40.0, 2.0, 6.0, 150.0),
    }
    settings = {"low_hz": 180.0, "high_hz": 2800.0, "knee_db": 0.0, "link": 0.0}
    truth = np.zeros_like(x)
    for band, filtered in zip(BANDS, scipy_bands(x, 180.0, 2800.0), strict=True):
        threshold_db, ratio, attack_ms, release_ms = laws[band]
        plugin = pedalboard.Compressor(threshold_db, ratio, attack_ms, release_ms)
        truth += pedalboard.Pedalboard([plugin])(filtered.astype(np.float32), RATE)
        settings |= {
            f"{band}_threshold_db": threshold_db,
            f"{band}_ratio": ratio,
            f"{band}_attack_ms": attack_ms / PEDALBOARD_TIME_RATIO,
            f"{band}_release_ms": release_ms / PEDALBOARD_TIME_RATIO,
        }
    difference = np.abs(render(x, **settings) - truth).max() / np.abs(truth).max()
    # pedalboard's float32 detector, as for one compressor
    assert 20.0 * math.log10(difference) < -95.0


def test_is_one_compressor_for_each_of_scipys_bands() -> None:
    x = music_like(30000, 3)
    settings = {"low_hz": 300.0, "high_hz": 4000.0, "knee_db": 9.0, "link": 0.4}
    truth = np.zeros_like(x)
    for i, filtered in enumerate(scipy_bands(x, 300.0, 4000.0)):
        knobs = {
            "threshold_db": -35.0 + 4.0 * i,
            "ratio": 2.0 + 3.0 * i,
            "attack_ms": 9.0 / (i + 1),
            "release_ms": 100.0 / (i + 1),
            "makeup_db": 3.0 - 2.0 * i,
        }
        given = compressor.EFFECT.defaults() | knobs | {"knee_db": 9.0, "link": 0.4}
        truth += compressor.EFFECT.render(filtered, RATE, None, **given)[0]
        settings |= {f"{BANDS[i]}_{name}": value for name, value in knobs.items()}
    np.testing.assert_allclose(render(x, **settings), truth, atol=1e-10)


@pytest.mark.parametrize("band", BANDS)
@pytest.mark.parametrize("level_db", [-40.0, -16.0, -12.0, -3.0])
def test_a_steady_sine_comes_out_on_the_curve(band: str, level_db: float) -> None:
    # Equal times make the detector linear: it reads the mean of the rectified sine, 2/pi of its peak, whose
    # ripple at twice the frequency (100 Hz at least) 200 ms make small.
    hz, peak = CENTRES_HZ[band], 10.0 ** (level_db / 20.0)
    x = peak * np.sin(2.0 * np.pi * hz * np.arange(5 * 44100) / RATE)[None]
    own = {"threshold_db": -20.0, "ratio": 4.0, "attack_ms": 200.0, "release_ms": 200.0, "makeup_db": 1.5}
    y = render(x, knee_db=0.0, **(OFF | {f"{band}_{name}": value for name, value in own.items()}))
    w = 2.0 * math.pi * hz / RATE
    h = [np.prod([freqz_sos(row, w) for row in sos]) for sos in cascades(200.0, 3000.0)]
    over_db = 20.0 * math.log10(2.0 / math.pi * peak * abs(h[BANDS.index(band)])) + 20.0
    gain_db = (1.0 / 4.0 - 1.0) * max(over_db, 0.0) + 1.5
    # the others, untouched, add what they let through here
    gains = [10.0 ** (gain_db / 20.0) if name == band else 1.0 for name in BANDS]
    expected = abs(sum(g * v for g, v in zip(gains, h, strict=True)))
    assert 20.0 * math.log10(amplitude(y[0], hz) / peak / expected) == pytest.approx(0.0, abs=0.005)


# A constant lies in the low band alone, alternating samples in the high band alone; both have a steady level.
@pytest.mark.parametrize(("band", "sign"), [("low", 1.0), ("high", -1.0)])
@pytest.mark.parametrize("rise", [True, False])
def test_times_are_to_63_percent_of_a_step(band: str, sign: float, rise: bool) -> None:
    steps = (0.1, 1.0) if rise else (1.0, 0.1)
    x = np.repeat(steps, 88200)[None] * sign ** np.arange(2 * 88200)
    time_ms = {f"{band}_{'attack' if rise else 'release'}_ms": 100.0}
    own = {f"{band}_ratio": 2.0, f"{band}_threshold_db": -60.0}
    crossovers = {"low_hz": 2000.0, "high_hz": 2000.0}
    y = render(x, knee_db=0.0, **(OFF | own | time_ms | crossovers))
    # above the threshold at ratio 2 the gain is sqrt(T/e)
    level = 10.0 ** (-60.0 / 20.0) / (y / x)[0, 88200 + 4410 - 1] ** 2
    # the crossovers' own rise takes 0.2 ms of the 100
    assert (level - steps[0]) / (steps[1] - steps[0]) == pytest.approx(1.0 - math.exp(-1.0), abs=0.01)


@pytest.mark.parametrize("band", BANDS)
def test_only_its_own_band_is_turned_down(band: str) -> None:
    # One sine in the middle of each band; the others are 24 dB per octave away.
    t = np.arange(3 * 44100) / RATE
    x = sum(0.3 * np.sin(2.0 * np.pi * hz * t) for hz in CENTRES_HZ.values())[None]
    settings = OFF | {f"{band}_ratio": 4.0, f"{band}_threshold_db": -40.0}
    y = render(x, **settings)
    for other, hz in CENTRES_HZ.items():
        change_db = 20.0 * math.log10(amplitude(y[0], hz) / 0.3)
        assert change_db < -10.0 if other == band else abs(change_db) < 0.1, (other, change_db)


def test_full_link_keeps_the_balance_of_each_band() -> None:
    # the right channel is the left one, 20 dB down
    x = music_like(20000, 1) * np.array([[1.0], [0.1]])
    loud = {f"{band}_threshold_db": -50.0 for band in BANDS}
    linked = render(x, **loud, link=1.0)
    np.testing.assert_allclose(linked[1], 0.1 * linked[0], atol=1e-12)
    apart = render(x, **loud, link=0.0)
    np.testing.assert_array_equal(apart[1:], render(x[1:], **loud, link=0.0))
    assert np.abs(apart[1] - 0.1 * apart[0]).max() > 0.01


def test_crossovers_may_pass_each_other() -> None:
    # as high_hz falls through low_hz nothing jumps: the change is that of a small step anywhere
    x = music_like(8000)
    y = [render(x, low_hz=1000.0, high_hz=hz) for hz in np.geomspace(990.0, 1010.0, 21).tolist()]
    steps = [np.abs(b - a).max() for a, b in itertools.pairwise(y)]
    assert max(steps) < 1.5 * min(steps)


def test_gradient_reaches_both_crossovers_and_every_band() -> None:
    settings = EFFECT.defaults() | {f"{band}_threshold_db": -50.0 for band in BANDS}
    knobs = {k: torch.tensor([v], dtype=torch.float64, requires_grad=True) for k, v in settings.items()}
    x = torch.from_numpy(music_like(20000)[None])
    EFFECT.forward(x, RATE, **knobs).square().sum().backward()
    for name, knob in knobs.items():
        assert knob.grad is not None
        assert abs(knob.grad.item()) > 0.0, name


def test_the_tail_covers_what_rings() -> None:
    settings = EFFECT.defaults() | OFF | {"low_hz": 40.0, "high_hz": 9000.0}
    t = np.arange(44100) / RATE
    x = np.where(t < 0.5, np.sin(2.0 * np.pi * 40.0 * t), 0.0)[None]
    y = np.abs(EFFECT.render(x, RATE, None, **settings)[0][0])
    tail = round(EFFECT.tail_s(settings) * RATE)
    assert y[22050 + tail :].max() < 1e-3
    assert y[22050 + tail // 2 :].max() > 1e-3


@pytest.mark.parametrize("amount", [0.01, 0.5, 0.99])
def test_without_compression_any_amount_is_the_same_all_pass(amount: float) -> None:
    x = music_like(20000)
    truth = sosfilt(np.concatenate((butterworth(200.0, "all"), butterworth(3000.0, "all"))), x)
    chain = Chain((Slot(EFFECT, OFF, amount=amount),))
    np.testing.assert_allclose(render_chain(chain, x, round(RATE)), truth, atol=1e-11)
    forward = chain.forward(torch.from_numpy(x[None]), RATE)[0].numpy()
    np.testing.assert_allclose(forward, truth, atol=1e-11)


def test_half_of_it_notches_nothing() -> None:
    # Makeup alone, so that it is linear: half of the bands' gains lies between theirs and 0 dB, everywhere.
    impulse = np.zeros((1, 3 * 44100))
    impulse[0, 0] = 1.0
    gains_db = {f"{band}_makeup_db": gain_db for band, gain_db in zip(BANDS, (-6.0, 3.0, -9.0), strict=True)}
    half = render_chain(Chain((Slot(EFFECT, OFF | gains_db, amount=0.5),)), impulse, round(RATE))
    h = 20.0 * np.log10(np.abs(np.fft.rfft(half[0])))
    assert h.min() > 20.0 * math.log10(0.5 + 0.5 * 10.0 ** (-9.0 / 20.0)) - 0.01
    assert h.max() < 3.0


def test_gradient_by_amount_and_crossovers_of_half_of_it() -> None:
    rng = np.random.default_rng(3)
    x = torch.from_numpy(0.5 * rng.standard_normal((2, 2, 60)))
    chain = Chain((Slot(EFFECT, {f"{band}_threshold_db": -50.0 for band in BANDS}),))
    given = [[0.3, 0.8], [300.0, 150.0], [2500.0, 6000.0], [2.0, 8.0]]
    names = [f"multiband.{name}" for name in ("amount", "low_hz", "high_hz", "mid_ratio")]
    values = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in given]

    def run(x: torch.Tensor, *knobs: torch.Tensor) -> torch.Tensor:
        return chain.forward(x, RATE, dict(zip(names, knobs, strict=True)))

    assert torch.autograd.gradcheck(run, (x.requires_grad_(), *values), eps=1e-6, atol=1e-6)
