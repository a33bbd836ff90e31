"""The modulated level against closed forms, the sidebands of a product of sines, and ffmpeg's tremolo."""

import math
import shutil
import subprocess

import numpy as np
import pytest

from fxstyle.effect import Stream
from fxstyle.effects.tremolo import EFFECT, STEEPEST

RATE = 44_100.0


def _gain(n, rate, settings, channel=0):
    """g[n] of the module's docstring, by way of the point on the circle."""
    angle = 2 * np.pi * settings["rate_hz"] * n / rate + math.radians(settings["stereo_phase_deg"]) * (
        channel % 2
    )
    seen = np.arctan2(STEEPEST ** settings["shape"] * np.sin(angle), np.cos(angle))
    return 1 - settings["depth"] * (1 - np.sin(seen)) / 2


@pytest.mark.parametrize(
    ("rate", "changed"),
    [
        (44_100.0, {}),
        (8000.0, {"rate_hz": 20.0, "depth": 1.0, "shape": 1.0, "stereo_phase_deg": 180.0}),
        (192_000.0, {"rate_hz": 7.3, "depth": 0.8, "shape": 0.3, "stereo_phase_deg": 71.0}),
        (100.0, {"rate_hz": 20.0, "depth": 0.5, "shape": 0.7, "stereo_phase_deg": 10.0}),
    ],
)
def test_the_gain_is_the_closed_form(play, rate, changed):
    x = np.random.default_rng(0).standard_normal((3, 20_000))
    settings = EFFECT.defaults() | changed
    y = play(x, rate, **settings)
    for channel in range(3):
        np.testing.assert_allclose(
            y[channel], _gain(np.arange(20_000), rate, settings, channel) * x[channel], atol=1e-11
        )


@pytest.mark.parametrize("depth", [0.25, 1.0])
def test_a_tone_gets_two_sidebands(play, depth):
    n = np.arange(44_100)
    y = play(np.sin(2 * np.pi * 1000 * n / RATE)[None], rate_hz=7.0, depth=depth)[0]
    spectrum = np.abs(np.fft.rfft(y)) / 22_050
    lines = {993: depth / 4, 1000: 1 - depth / 2, 1007: depth / 4}
    for hz, height in lines.items():
        assert spectrum[hz] == pytest.approx(height, abs=1e-10)
    spectrum[list(lines)] = 0.0
    assert spectrum.max() < 1e-10


def test_a_shaped_wave_has_the_sidebands_of_its_fourier_integral(play):
    shape, depth = 0.6, 0.9
    y = play(np.ones((1, 44_100)), rate_hz=5.0, shape=shape, depth=depth)[0]
    found = 2 * np.fft.rfft(y).imag / y.size
    angle = (np.arange(10_000) + 0.5) * 2 * np.pi / 10_000
    w = np.sin(np.arctan2(STEEPEST**shape * np.sin(angle), np.cos(angle)))
    for k in range(1, 30):
        assert -found[5 * k] == pytest.approx(depth / 2 * 2 * np.mean(w * np.sin(k * angle)), abs=1e-10)
    assert np.abs(found[[1, 2, 3, 4, 6, 10, 20]]).max() < 1e-10  # nor between, nor at even multiples


@pytest.mark.parametrize("shape", [0.0, 0.5, 1.0])
def test_auto_pan_keeps_the_sum(play, shape):
    x = np.random.default_rng(0).standard_normal(30_000)
    left, right = play(np.stack([x, x]), rate_hz=3.0, depth=0.7, shape=shape, stereo_phase_deg=180.0)
    np.testing.assert_allclose(left + right, (2 - 0.7) * x, atol=1e-12)
    assert np.abs(left - right).max() > 0.5


def test_the_edges_of_the_square_take_as_long_as_stated(play):
    period = 100_000
    w = 2 * play(np.ones((1, period)), float(period), rate_hz=1.0, depth=1.0, shape=1.0)[0] - 1
    assert np.mean(np.abs(w) < 0.9) / 2 == pytest.approx(0.04, abs=0.002)
    assert np.abs(w).max() == pytest.approx(1.0, abs=1e-9)


def test_the_swing_keeps_time_for_hours():
    late = 10**9 + 7
    began = Stream(1, np.dtype(np.float64), late)
    y, then = EFFECT.render(
        np.ones((1, 2000)), RATE, began, **(EFFECT.defaults() | {"rate_hz": 1.7, "depth": 1.0})
    )
    # 1.7 n/RATE turns are 17 n/441000: whole turns are taken off in integers, where nothing is lost.
    angle = 2 * np.pi * ((17 * np.arange(late, late + 2000)) % 441_000) / 441_000
    np.testing.assert_allclose(y[0], (1 + np.sin(angle)) / 2, atol=1e-7)
    assert then.inner == late + 2000


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_ffmpeg_has_the_same_law_a_quarter_later(play):
    x = (0.5 * np.random.default_rng(0).standard_normal(44_100)).astype(np.float32)
    command = ["ffmpeg", "-v", "error", "-f", "f32le", "-ar", "44100", "-ac", "1", "-i", "-"]
    command += ["-af", "tremolo=f=5:d=0.6", "-f", "f32le", "-"]
    truth = np.frombuffer(
        subprocess.run(command, input=x.tobytes(), capture_output=True, check=True).stdout, "<f4"
    )
    y = play(np.stack([x, x]), rate_hz=5.0, depth=0.6, stereo_phase_deg=90.0)[1]
    np.testing.assert_allclose(y, truth, atol=3e-7)  # float32
