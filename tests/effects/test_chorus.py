"""The swept delay against closed forms, pedalboard, and a loop that follows the equations word by word."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.signal
import torch

from fxstyle.effects.chorus import EFFECT, LEAST_MS

RATE = 44_100.0


def _delay(n, rate, settings, channel=0, least_ms=LEAST_MS):
    """D[n] of the module's docstring, in samples."""
    phase = math.radians(settings["stereo_phase_deg"]) * (channel % 2)
    sine = np.sin(2 * np.pi * settings["rate_hz"] * n / rate + phase)
    return rate / 1000 * np.maximum(least_ms, settings["delay_ms"] - settings["depth_ms"] * sine)


def _hermite(w0, w1, w2, w3, t):
    """The cubic through w1 and w2 with the slopes of their neighbours, by its four basis polynomials."""
    slope1, slope2 = (w2 - w0) / 2, (w3 - w1) / 2
    return (
        (2 * t**3 - 3 * t**2 + 1) * w1
        + (t**3 - 2 * t**2 + t) * slope1
        + (3 * t**2 - 2 * t**3) * w2
        + (t**3 - t**2) * slope2
    )


def _linear(w0, w1, w2, w3, t):
    return w1 + t * (w2 - w1)


def _naive(x, delays, feedback, mix, between=_hermite):
    w, y, v = [0.0] * 10_000, [], 0.0  # zeros before the beginning, more than any delay reaches
    for sample, delay in zip(x.tolist(), delays.tolist(), strict=True):
        w.append(sample + feedback * v)
        whole = math.floor(delay)
        k = len(w) - 1 - whole
        v = between(w[k + 1] if whole else 0.0, w[k], w[k - 1], w[k - 2], delay - whole)
        y.append((1 - mix) * sample + mix * v)
    return np.array(y)


@pytest.mark.parametrize(
    ("rate", "changed"),
    [
        (44_100.0, {}),
        (8000.0, {"delay_ms": 1.3, "depth_ms": 4.0, "rate_hz": 9.0, "feedback": -0.9, "mix": 0.7}),
        (192_000.0, {"delay_ms": 0.6, "depth_ms": 0.3, "rate_hz": 10.0, "feedback": 0.8, "mix": 1.0}),
        (500.0, {"delay_ms": 0.5, "depth_ms": 10.0, "rate_hz": 5.0, "feedback": 0.5}),
    ],
)
def test_kernel_equals_the_naive_loop(play, rate, changed):
    x = np.random.default_rng(0).standard_normal((3, 3000))
    settings = EFFECT.defaults() | changed
    y = play(x, rate, **settings)
    for channel in range(3):
        delays = np.maximum(_delay(np.arange(3000), rate, settings, channel), 1.0)
        truth = _naive(x[channel], delays, settings["feedback"], settings["mix"])
        np.testing.assert_allclose(y[channel], truth, atol=1e-10)


@pytest.mark.parametrize("phase_deg", [0.0, 90.0, 137.0, 180.0])
def test_a_ramp_shows_the_delay(play, phase_deg):
    # Of a ramp, which cubics reproduce exactly, mix = 1 leaves n - D[n].
    settings = EFFECT.defaults() | {
        "rate_hz": 1.7,
        "depth_ms": 3.0,
        "delay_ms": 2.0,
        "feedback": 0.0,
        "mix": 1.0,
        "stereo_phase_deg": phase_deg,
    }
    n = np.arange(60_000.0)
    shown = n - play(np.stack([n, n, n]), **settings)
    for channel in range(3):
        truth = _delay(n, RATE, settings, channel)
        assert truth.min() == LEAST_MS * RATE / 1000  # part of the sweep is cut off
        np.testing.assert_allclose(shown[channel, 300:], truth[300:], atol=1e-9)


def test_the_sweep_keeps_time_for_hours():
    settings = EFFECT.defaults() | {
        "rate_hz": 1.7,
        "delay_ms": 8.0,
        "depth_ms": 3.0,
        "feedback": 0.0,
        "mix": 1.0,
    }
    ramp = np.arange(2000.0)
    _, state = EFFECT.render(ramp[None, :500], RATE, None, **settings)
    late = 10**9 + 7  # six hours
    later = state._replace(inner=replace(state.inner, time=late))
    y, _ = EFFECT.render(ramp[None, 500:], RATE, later, **settings)
    # 1.7 n/RATE turns are 17 n/441000: whole turns are taken off in integers, where nothing is lost.
    n = np.arange(late, late + 1500)
    angle = 2 * np.pi * ((17 * n) % 441_000) / 441_000
    truth = RATE / 1000 * (8.0 - 3.0 * np.sin(angle))
    np.testing.assert_allclose(ramp[500:] - y[0], truth, atol=1e-6)


def test_without_depth_it_is_a_comb_filter(play):
    delay, r, m = 441, -0.7, 0.45
    impulse = np.zeros(8000)
    impulse[0] = 1.0
    y = play(impulse[None], depth_ms=0.0, delay_ms=10.0, feedback=r, mix=m)[0]
    # H(z) = 1 - m + m z^-D / (1 - r z^-(D+1))
    dry, loop = np.zeros(delay + 2), np.zeros(delay + 2)
    dry[0], dry[delay], dry[delay + 1] = 1 - m, m, -r * (1 - m)
    loop[0], loop[delay + 1] = 1.0, -r
    np.testing.assert_allclose(y, scipy.signal.lfilter(dry, loop, impulse), atol=1e-12)


def test_vibrato_of_a_tone_is_its_phase_swept(play):
    settings = EFFECT.defaults() | {
        "rate_hz": 5.0,
        "depth_ms": 1.0,
        "delay_ms": 6.0,
        "feedback": 0.0,
        "mix": 1.0,
    }
    n = np.arange(40_000)
    omega = 2 * np.pi / 40
    y = play(np.sin(omega * n)[None], **settings)[0]
    truth = np.sin(omega * (n - _delay(n, RATE, settings)))
    # The error of interpolation at rate/40 that the module's docstring states.
    assert 20 * np.log10(np.abs(y - truth)[400:].max()) < -84.0


EXACT_HZ = RATE / 4096 / (2 * math.pi)
"""A rate at which pedalboard's oscillator, a phase summed up in float32, steps by exactly 2^-12 and so
keeps time. At others it is off: at 2 Hz by .02 %, which by itself spoils any null of high notes."""


def _band_noise(seconds, limit_hz):
    x = np.random.default_rng(0).standard_normal(round(seconds * RATE))
    x = scipy.signal.sosfilt(scipy.signal.butter(8, limit_hz, fs=RATE, output="sos"), x)
    return (0.3 * x / np.abs(x).max()).astype(np.float32)


@pytest.mark.parametrize(
    ("depth", "centre_ms", "feedback", "mix"),
    [(0.25, 7.0, 0.3, 0.5), (0.4, 15.0, -0.3, 0.6), (0.05, 5.0, 0.0, 0.3), (0.1, 2.2, 0.8, 1.0)],
)
def test_pedalboard_has_the_same_law(play, null_db, depth, centre_ms, feedback, mix):
    pedalboard = pytest.importorskip("pedalboard")
    x = _band_noise(2.0, 1000.0)
    truth = pedalboard.Chorus(EXACT_HZ, depth, centre_ms, feedback, mix)(x, RATE, buffer_size=512)
    settings = EFFECT.defaults() | {
        "rate_hz": EXACT_HZ,
        "depth_ms": 10 * depth,
        "delay_ms": centre_ms,
        "feedback": -feedback,
        "mix": mix,
        "stereo_phase_deg": 0.0,
    }
    x = x.astype(np.float64)
    # With its linear interpolation the loop reaches pedalboard's float32; that is the whole difference,
    # which in this band, up to 1 kHz, is of the order of (2 pi 1000/RATE)^2/8 = -52 dB in the worst place.
    delays = _delay(np.arange(x.size), RATE, settings, least_ms=1.0)
    assert null_db(_naive(x, delays, -feedback, mix, _linear), truth) < -90.0
    assert null_db(play(x[None], **settings)[0], truth) < -50.0


def test_pedalboard_differs_only_in_its_shortest_delay_where_the_sweep_is_cut_off(null_db):
    pedalboard = pytest.importorskip("pedalboard")
    x = _band_noise(1.0, 1000.0)
    truth = pedalboard.Chorus(EXACT_HZ, 0.9, 3.0, -0.5, 1.0)(x, RATE, buffer_size=512)
    settings = EFFECT.defaults() | {"rate_hz": EXACT_HZ, "depth_ms": 9.0, "delay_ms": 3.0}
    delays = _delay(np.arange(x.size), RATE, settings, least_ms=1.0)
    assert null_db(_naive(x.astype(np.float64), delays, 0.5, 1.0, _linear), truth) < -90.0


def _knobs(**values):
    return {k: torch.tensor(v, dtype=torch.float64, requires_grad=True) for k, v in values.items()}


OFF = {"sync": torch.zeros(1), "tempo_bpm": torch.full((1,), 120.0)}


def test_gradients_are_continuous_where_the_delay_is_a_whole_number_of_samples():
    x = torch.randn(1, 1, 400, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    slopes = []
    for delay_ms in (5.0 - 1e-9, 5.0 + 1e-9):
        knobs = _knobs(
            rate_hz=[1.0],
            depth_ms=[0.0],
            delay_ms=[delay_ms],
            feedback=[0.5],
            mix=[0.5],
            stereo_phase_deg=[0.0],
        )
        EFFECT.forward(x, 8000.0, **knobs, **OFF).pow(3).sum().backward()
        slopes.append([k.grad.item() for k in knobs.values()])
    np.testing.assert_allclose(slopes[0], slopes[1], rtol=1e-5, atol=1e-9)


def test_a_delay_held_at_its_least_has_no_gradient():
    # The sine begins by shortening the delay: with this depth it is at its least from here to here.
    rate, begin, end = 8000.0, 60, 400
    knobs = _knobs(
        rate_hz=[8.0], depth_ms=[10.0], delay_ms=[1.0], feedback=[0.0], mix=[0.7], stereo_phase_deg=[0.0]
    )
    n = np.arange(begin, end)
    settings = {k: v.item() for k, v in knobs.items()}
    assert (_delay(n, rate, settings) == LEAST_MS * rate / 1000).all()
    x = torch.randn(1, 1, end, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    EFFECT.forward(x, rate, **knobs, **OFF)[..., begin:].square().sum().backward()
    assert [knobs[k].grad.item() for k in ("rate_hz", "depth_ms", "delay_ms")] == [0.0, 0.0, 0.0]
    assert knobs["mix"].grad.item() != 0.0


@pytest.mark.parametrize(("feedback", "mix"), [(0.0, 0.4), (0.8, 0.3), (-0.9, 1.0)])
def test_tail_is_over_when_it_says_so(play, feedback, mix):
    # At a resonance of the comb, where the tail is longest: each pass adds in phase for r > 0 at
    # multiples of 1/(D + 1), for r < 0 half-way between two of them.
    settings = EFFECT.defaults() | {"delay_ms": 20.0, "depth_ms": 0.0, "feedback": feedback, "mix": mix}
    tail_s = EFFECT.tail_s(settings)
    period = (round(0.02 * RATE) + 1) / (20.0 if feedback >= 0 else 20.5)
    x = np.sin(2 * np.pi * np.arange(round((3.0 + tail_s) * RATE)) / period)
    end = round(2.5 * RATE)
    x[end:] = 0.0
    y = np.abs(play(x[None], **settings)[0])
    level = y[end - 2000 : end].max()
    after = y[end + round(tail_s * RATE) + 1 :]
    assert after.max() < 1e-3 * level
    if feedback:
        # and not much earlier: two passes before, the loop still held more than that
        assert y[end + round((tail_s - 3 * 0.02) * RATE) :].max() > 1e-3 * level


def test_delay_may_grow_within_a_stream():
    x = np.zeros((1, 3000))
    x[0, 0] = 1.0
    fixed = {"feedback": 0.0, "depth_ms": 0.0, "mix": 1.0}
    _, state = EFFECT.render(x[:, :100], 50_000.0, None, **(EFFECT.defaults() | {"delay_ms": 20.0, **fixed}))
    y, _ = EFFECT.render(x[:, 100:], 50_000.0, state, **(EFFECT.defaults() | {"delay_ms": 30.0, **fixed}))
    assert np.argmax(np.abs(y[0])) == 1400
