"""Truths of the de-esser: its equations in a naive loop, the shelf, the share, times, and real voices."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import bilinear, butter, sosfilt, sosfiltfilt, sosfreqz

from fxstyle.effect import Samples
from fxstyle.effects.deesser import EFFECT, KNEE_DB, WINDOW_MS

RATE = 44100.0
SETTINGS: tuple[dict[str, float], ...] = (
    {"hz": 5000.0, "threshold_db": -6.0, "range_db": 9.0, "link": 1.0},
    {"hz": 3000.0, "threshold_db": -2.0, "range_db": 20.0, "attack_ms": 30.0, "release_ms": 6.0, "link": 0.0},
    {
        "hz": 9000.0,
        "threshold_db": -9.0,
        "range_db": 24.0,
        "attack_ms": 0.05,
        "release_ms": 90.0,
        "link": 0.4,
    },
)


def render(x: Samples, rate: float = RATE, **settings: float) -> Samples:
    return EFFECT.render(x, rate, None, **(EFFECT.defaults() | settings))[0]


def tone(hz: float, seconds: float = 1.0, peak: float = 0.5) -> Samples:
    return peak * np.sin(2.0 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)[None]


def voice_like(length: int, channels: int = 2) -> Samples:
    """Return low noise and high noise by turns, ten times a second, apart in each channel."""
    rng = np.random.default_rng(0)
    x = 0.3 * rng.standard_normal((channels, length))
    low = sosfilt(butter(2, 1000.0, fs=RATE, output="sos"), x)
    high = 0.3 * sosfilt(butter(2, 5000.0, "high", fs=RATE, output="sos"), x)
    turn = (np.arange(length) // 4410 + np.arange(channels)[:, None]) % 2
    return np.where(turn == 0, low, high)


def parts(x: Samples, hz: float, rate: float = RATE) -> tuple[Samples, Samples]:
    """Band and high of scipy's Butterworth section: sqrt 2 s and s^2 over s^2 + sqrt 2 s + 1."""
    high = sosfilt(butter(2, hz, "high", fs=rate, output="sos"), x)
    low = sosfilt(butter(2, hz, "low", fs=rate, output="sos"), x)
    return x - low - high, high


def shelf(hz: float, gain_db: float) -> Samples:
    """Digital section of (g s^2 + sqrt 2 sqrt g s + 1)/(s^2 + sqrt 2 s + 1), prewarped at hz."""
    g, w = 10.0 ** (gain_db / 20.0), 2.0 * RATE * math.tan(math.pi * hz / RATE)
    b, a = bilinear((g / w**2, math.sqrt(2.0 * g) / w, 1.0), (1.0 / w**2, math.sqrt(2.0) / w, 1.0), fs=RATE)
    return np.concatenate((b, a))[None]


def amount(share_db: float, threshold_db: float) -> float:
    u = min(max((share_db - threshold_db) / KNEE_DB + 0.5, 0.0), 1.0)
    return u * u * (3.0 - 2.0 * u)


def naive(x: Samples, settings: dict[str, float], link: Samples | None = None) -> Samples:
    """Return the output; link: (time,), where it is turned within the stream."""
    s = EFFECT.defaults() | settings
    link = np.full(x.shape[1], s["link"]) if link is None else link
    attack, release, window = (
        math.exp(-1000.0 / (RATE * t)) for t in (s["attack_ms"], s["release_ms"], WINDOW_MS)
    )
    band, high = parts(x, s["hz"])
    y = np.empty_like(x)
    for c in range(x.shape[0]):
        a = (1.0 - link) * np.abs(high[c]) + link * np.abs(high).max(axis=0)
        b = (1.0 - link) * np.abs(x[c]) + link * np.abs(x).max(axis=0)
        above = whole = depth = 0.0
        for n in range(x.shape[1]):
            above = a[n] ** 2 + window * (above - a[n] ** 2)
            whole = b[n] ** 2 + window * (whole - b[n] ** 2)
            share_db = 10.0 * math.log10(max(above / (whole + 1e-12), 1e-30))
            target = s["range_db"] * amount(share_db, s["threshold_db"])
            k = attack if target > depth else release
            depth = target + k * (depth - target)
            g = 10.0 ** (-depth / 20.0)
            low = x[c, n] - band[c, n] - high[c, n]
            y[c, n] = low + math.sqrt(g) * band[c, n] + g * high[c, n]
    return y


def depth_db(y: Samples, x: Samples, hz: float, n: int) -> float:
    """Depth at sample n: the root of (r - 1) band + (r^2 - 1) high = y - x near 1, where high is large."""
    band, high = (part[0] for part in parts(x, hz))
    near = n + int(np.abs(high[n - 4 : n + 4]).argmax()) - 4
    roots = np.roots((high[near], band[near], -(high[near] + band[near] + y[0, near] - x[0, near])))
    return -40.0 * math.log10(float(roots[np.abs(roots - 0.7).argmin()].real))


@pytest.mark.parametrize("settings", SETTINGS)
def test_is_the_loop_of_its_equations(settings: dict[str, float]) -> None:
    x = voice_like(12000, 3)
    y = render(x, **settings)
    np.testing.assert_allclose(y, naive(x, settings), atol=1e-11)
    assert np.abs(y - x).max() > 0.02


@pytest.mark.parametrize(("hz", "range_db"), [(3000.0, 6.0), (5500.0, 12.0), (11000.0, 24.0)])
class TestShelf:
    def test_at_a_constant_depth_it_is_the_closed_form(self, hz: float, range_db: float) -> None:
        # Noise from 12 kHz on has more above hz than a threshold of -30 dB asks for, always.
        x = sosfilt(butter(2, 12000.0, "high", fs=RATE, output="sos"), voice_like(30000, 1))
        y = render(x, hz=hz, range_db=range_db, threshold_db=-30.0)
        truth = sosfilt(shelf(hz, -range_db), x)
        # Gains move only what comes out, so once the depth has settled nothing is left of its way there.
        np.testing.assert_allclose(y[:, 4000:], truth[:, 4000:], atol=1e-10)

    def test_its_magnitude_is_monotonic_and_returns_by_24_db_per_octave(
        self, hz: float, range_db: float
    ) -> None:
        g, row = 10.0 ** (-range_db / 20.0), shelf(hz, -range_db)[0]
        f = np.geomspace(20.0, 22000.0, 400)
        z = np.exp(-2j * np.pi * f[:, None] / RATE * np.arange(3))
        magnitude = np.abs(z @ row[:3]) / np.abs(z @ row[3:])
        w = np.tan(np.pi * f / RATE) / math.tan(math.pi * hz / RATE)
        np.testing.assert_allclose(magnitude**2, (1.0 + g * g * w**4) / (1.0 + w**4), rtol=1e-9)
        assert np.diff(magnitude).max() < 1e-12
        octave_below = (
            1.0 - magnitude[np.abs(f - hz / 8.0).argmin()],
            1.0 - magnitude[np.abs(f - hz / 16.0).argmin()],
        )
        assert 20.0 * math.log10(octave_below[0] / octave_below[1]) == pytest.approx(24.0, abs=0.7)


@pytest.mark.parametrize("hz", [3000.0, 5000.0, 7000.0, 15000.0])
@pytest.mark.parametrize("threshold_db", [-12.0, -5.0, -1.0])
def test_a_steady_tone_is_turned_down_by_the_share_of_its_power(hz: float, threshold_db: float) -> None:
    x = tone(hz, 2.0)
    y = render(x, hz=5500.0, threshold_db=threshold_db, range_db=10.0, attack_ms=50.0, release_ms=50.0)
    w = math.tan(math.pi * hz / RATE) / math.tan(math.pi * 5500.0 / RATE)
    share_db = 10.0 * math.log10(w**4 / (1.0 + w**4))
    g = 10.0 ** (-10.0 * amount(share_db, threshold_db) / 20.0)
    expected_db = 10.0 * math.log10((1.0 + g * g * w**4) / (1.0 + w**4))
    got_db = 20.0 * math.log10(np.sqrt(2.0 * np.mean(y[:, 44100:] ** 2)) / 0.5)
    # the mean square of 5 ms ripples by 0.5 % at 2 x 3 kHz, which 50 ms smooth
    assert got_db == pytest.approx(expected_db, abs=2e-3)


def share_above(hz: float, corner_hz: float) -> float:
    """Share of a tone's power that scipy's Butterworth high-pass at the corner lets through."""
    _, h = sosfreqz(butter(2, corner_hz, "high", fs=RATE, output="sos"), [hz], fs=RATE)
    return float(np.abs(h[0]) ** 2)


@pytest.mark.parametrize(("tone_hz", "hz"), [(2500.0, 5500.0), (5000.0, 9000.0), (1500.0, 2500.0)])
def test_nothing_moves_until_half_a_knee_below_the_threshold(tone_hz: float, hz: float) -> None:
    x, half = tone(tone_hz, 2.0), KNEE_DB / 2.0
    share_db = 10.0 * math.log10(share_above(tone_hz, hz))
    # The powers of a mean over 5 ms ripple by 1/(4 pi 1500 0.005) = 1 %, 0.05 dB at the lowest tone.
    below = {"hz": hz, "range_db": 24.0, "threshold_db": share_db + half + 0.1, "release_ms": 5.0}
    np.testing.assert_array_equal(render(x, **below)[:, 44100:], x[:, 44100:])
    inside = render(x, **(below | {"threshold_db": share_db + half - 0.3}))
    assert not np.array_equal(inside[:, 44100:], x[:, 44100:])


@pytest.mark.parametrize("tone_hz", [2500.0, 4000.0, 6000.0])
def test_half_a_knee_above_the_threshold_all_of_the_range_is_there(tone_hz: float) -> None:
    x, hz, range_db = tone(tone_hz, 2.0), 5500.0, 11.0
    share_db = 10.0 * math.log10(share_above(tone_hz, hz))
    y = render(x, hz=hz, range_db=range_db, threshold_db=share_db - KNEE_DB / 2.0 - 0.1)
    np.testing.assert_allclose(y[:, 44100:], sosfilt(shelf(hz, -range_db), x)[:, 44100:], atol=1e-9)


@pytest.mark.parametrize("levels", [(0.4, 0.05), (0.2, 0.2), (0.05, 0.4), (0.3, 0.12)])
@pytest.mark.parametrize("threshold_db", [-12.0, -7.0, -2.0])
def test_tones_are_turned_down_by_the_share_of_them_all(
    levels: tuple[float, float], threshold_db: float
) -> None:
    low_hz, high_hz, hz, range_db = 700.0, 9000.0, 5500.0, 12.0
    x = levels[0] * tone(low_hz, 3.0, 1.0) + levels[1] * tone(high_hz, 3.0, 1.0)
    y = render(x, hz=hz, threshold_db=threshold_db, range_db=range_db, attack_ms=50.0, release_ms=50.0)
    power = np.square(levels)
    above = power @ [share_above(f, hz) for f in (low_hz, high_hz)]
    depth_db = range_db * amount(10.0 * math.log10(above / power.sum()), threshold_db)
    _, h = sosfreqz(shelf(hz, -depth_db), [low_hz, high_hz], fs=RATE)
    lines = 2.0 * np.abs(np.fft.rfft(y[0, 88200:])) / 44100.0
    got_db = 20.0 * np.log10(lines[[int(low_hz), int(high_hz)]] / levels)
    # The powers ripple by 5 % with twice the lower tone, 50 ms leave 1 % of that, and the curve bends it.
    np.testing.assert_allclose(got_db, 20.0 * np.log10(np.abs(h)), atol=0.02)


def test_a_vowel_passes_to_the_bit() -> None:
    # Harmonics of 150 Hz, falling by 12 dB per octave; after the first moments, which are a click.
    t = np.arange(8 * 44100) / RATE
    x = sum(0.3 / k**2 * np.sin(2.0 * np.pi * 150.0 * k * t + k) for k in range(1, 60))[None]
    y = render(x)
    np.testing.assert_array_equal(y[:, -44100:], x[:, -44100:])
    assert np.abs(y[:, 4410:] - x[:, 4410:]).max() < 1e-3


@pytest.mark.parametrize("gain", [4.0, 1.0 / 128.0])
def test_a_whisper_and_a_shout_are_treated_alike(gain: float) -> None:
    x = voice_like(30000)
    y = render(x, range_db=12.0)
    # the -120 dB below which nothing counts are 1e-6 of the whisper's power
    np.testing.assert_allclose(render(gain * x, range_db=12.0), gain * y, atol=1e-5 * gain)
    assert np.abs(y - x).max() > 0.05


@pytest.mark.parametrize("attack_ms", [2.0, 20.0])
def test_the_attack_covers_63_percent_of_its_range(attack_ms: float) -> None:
    # From a tone whose share is -60 dB to one that is all above: a threshold of -30 dB is crossed at once.
    start = 44100
    x = np.concatenate((tone(150.0), tone(12000.0)), axis=1)
    y = render(x, hz=5500.0, threshold_db=-30.0, range_db=12.0, attack_ms=attack_ms)
    for times, share in ((1.0, 1.0 - math.exp(-1.0)), (3.0, 1.0 - math.exp(-3.0))):
        n = start + round(times * attack_ms * RATE / 1000.0)
        # the sample that is read lies within 4 of n
        assert depth_db(y, x, 5500.0, n) / 12.0 == pytest.approx(share, abs=0.05 if attack_ms < 5.0 else 0.01)


def test_the_release_covers_63_percent_of_the_way_back() -> None:
    # To read the depth on its way back something must be left above: 2 % of the power, 11 dB under the knee.
    high = tone(12000.0, 2.0)
    x = high * np.where(np.arange(high.size) < 44100, 1.0, 0.1) + 0.6 * tone(150.0, 2.0) * (
        np.arange(high.size) >= 44100
    )
    y = render(x, hz=5500.0, threshold_db=-4.0, range_db=12.0, release_ms=400.0)
    n = 44100 + round(400.0 * RATE / 1000.0)
    # the share itself takes some 10 ms to leave the knee
    assert depth_db(y, x, 5500.0, n) / 12.0 == pytest.approx(math.exp(-1.0), abs=0.02)


def test_off_is_the_identity_to_the_bit() -> None:
    x = voice_like(8000).astype(np.float32)
    np.testing.assert_array_equal(render(x, range_db=0.0), x)


def test_below_the_threshold_of_silence_nothing_moves() -> None:
    x = 1e-8 * np.random.default_rng(1).standard_normal((2, 8000))
    np.testing.assert_array_equal(render(x, threshold_db=-30.0), x)


def test_full_link_moves_all_channels_alike() -> None:
    x = voice_like(20000, 1) * np.array([[1.0], [0.05]])
    linked = render(x, range_db=12.0, link=1.0)
    np.testing.assert_allclose(linked[1], 0.05 * linked[0], atol=1e-12)
    y = voice_like(20000)
    apart = render(y, range_db=12.0, link=0.0)
    np.testing.assert_array_equal(apart[1:], render(y[1:], range_db=12.0, link=0.0))
    assert np.abs(apart - render(y, range_db=12.0, link=1.0)).max() > 0.01


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_link_turned_between_two_blocks_finds_what_each_channel_remembers(
    settings: dict[str, float],
) -> None:
    x, cut, given = voice_like(12000, 3), 5500, EFFECT.defaults() | settings
    linked, state = EFFECT.render(x[:, :cut], RATE, None, **(given | {"link": 1.0}))
    apart, _ = EFFECT.render(x[:, cut:], RATE, state, **(given | {"link": 0.0}))
    truth = naive(x, settings, np.where(np.arange(x.shape[1]) < cut, 1.0, 0.0))
    np.testing.assert_allclose(np.concatenate((linked, apart), axis=1), truth, atol=1e-11)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("length", [12, 1300])
def test_gradient_agrees_with_differences(settings: dict[str, float], length: int) -> None:
    rng = np.random.default_rng(length)
    x = torch.from_numpy(0.5 * rng.standard_normal((1, 3, length))).requires_grad_()
    given = EFFECT.defaults() | settings
    # White noise lies within the knee; the link is away from the ends of its range.
    given |= {"link": 0.1 + 0.8 * given["link"], "hz": 0.3 * given["hz"], "threshold_db": -3.0}
    values = [torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in given.values()]

    def run(signal: torch.Tensor, *knobs: torch.Tensor) -> torch.Tensor:
        return EFFECT.forward(signal, 8000.0, **dict(zip(given, knobs, strict=True)))

    run(x, *values).square().sum().backward()
    reached = [v.grad.item() for v in values if v.grad is not None]
    assert len(reached) == len(values)
    assert length < 100 or all(g != 0.0 for g in reached)
    assert torch.autograd.gradcheck(run, (x, *values), atol=1e-7, rtol=1e-5, fast_mode=length > 100)


def band_levels_db(x: Samples, rate: float, low_hz: float | None, high_hz: float | None) -> Samples:
    """Levels of 10 ms frames between two frequencies, by a zero-phase filter of 48 dB per octave."""
    edges = [hz for hz in (low_hz, high_hz) if hz is not None]
    kind = "low" if low_hz is None else "band"
    band = sosfiltfilt(butter(4, edges if len(edges) > 1 else edges[0], kind, fs=rate, output="sos"), x)
    size = round(0.01 * rate)
    power = np.square(band[: band.size // size * size]).reshape(-1, size).mean(axis=1)
    levels: Samples = 10.0 * np.log10(power + 1e-12)
    return levels


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [
        "speech/kathleen_arctic_a0043_1592747576.flac",
        "speech/kathleen_arctic_a0104_1592746172.flac",
        "speech/kathleen_arctic_a0289_1592710414.flac",
        "speech/kerstin_de_rhasspy-0193.flac",
        "speech/kerstin_de_rhasspy-1534.flac",
        "speech/sms_speech-female.flac",
        "speech/sms_speech-male.flac",
        "drywet/plugins/vocal__dry.flac",
    ],
)
def test_sibilants_of_real_voices_fall_and_the_rest_stays(data_dir: Path, name: str) -> None:
    samples, rate = soundfile.read(data_dir / name, always_2d=True)
    x = np.ascontiguousarray(samples.T[:1])
    y = render(x, rate=float(rate))
    before, after = (band_levels_db(v[0], rate, 5000.0, 9000.0) for v in (x, y))
    # 3.0 to 4.7 dB of the 6 of its range, much of the band lying on the shelf's slope
    assert -6.0 < np.percentile(after, 99.0) - np.percentile(before, 99.0) < -2.8
    before, after = (band_levels_db(v[0], rate, None, 4000.0) for v in (x, y))
    for quantile in (50.0, 90.0, 99.0):
        loud = before > before.max() - 40.0
        change_db = np.percentile(after[loud], quantile) - np.percentile(before[loud], quantile)
        assert abs(change_db) < 0.2


@pytest.mark.data
def test_a_sung_vowel_stays_as_it_is(data_dir: Path) -> None:
    samples, rate = soundfile.read(data_dir / "speech/sms_singing-female.flac", always_2d=True)
    x = np.ascontiguousarray(samples.T[:1])
    voice = band_levels_db(x[0], rate, None, 4000.0)
    # Hiss before the note counts as a sibilant, which a release of 40 ms forgets in a quarter of a second.
    sung = np.flatnonzero(voice > voice.max() - 20.0)[25:]
    before, after = (band_levels_db(v[0], rate, 5000.0, 9000.0) for v in (x, render(x, rate=float(rate))))
    assert np.abs(after - before)[sung].max() < 0.1
