"""The swept all-passes against closed forms, pedalboard, and a loop that follows the equations."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.signal
import torch

from fxstyle.effects.phaser import EFFECT, OCTAVES, STAGES

RATE = 44_100.0


def _sweep_hz(n, rate, settings, channel=0):
    """f[n] of the module's docstring."""
    phase = math.radians(settings["stereo_phase_deg"]) * (channel % 2)
    sine = np.sin(2 * np.pi * settings["rate_hz"] * n / rate + phase)
    free = settings["centre_hz"] * 2.0 ** (-OCTAVES * settings["depth"] * sine)
    return np.clip(free, 20.0, min(20_000.0, 0.49 * rate))


def _naive(x, sweep_hz, rate, feedback, mix):
    """Trapezoidal integrators of gain g, of which an all-pass is twice the low-pass less its input."""
    s, y, v = [0.0] * STAGES, [], 0.0
    for sample, g in zip(x.tolist(), np.tan(np.pi * sweep_hz / rate).tolist(), strict=True):
        u = sample + feedback * v
        for k in range(STAGES):
            charge = g / (1 + g) * (u - s[k])
            low = charge + s[k]
            s[k] = low + charge
            u = 2 * low - u
        v = u
        y.append((1 - mix) * sample + mix * v)
    return np.array(y)


@pytest.mark.parametrize(
    ("rate", "changed"),
    [
        (44_100.0, {}),
        (8000.0, {"centre_hz": 6000.0, "depth": 1.0, "rate_hz": 9.0, "feedback": -0.95, "mix": 0.7}),
        (192_000.0, {"centre_hz": 100.0, "depth": 0.9, "rate_hz": 10.0, "feedback": 0.9, "mix": 1.0}),
        (44_100.0, {"centre_hz": 8000.0, "depth": 1.0, "rate_hz": 3.0, "stereo_phase_deg": 180.0}),
    ],
)
def test_kernel_equals_the_naive_loop(play, rate, changed):
    x = np.random.default_rng(0).standard_normal((3, 6000))
    settings = EFFECT.defaults() | changed
    y = play(x, rate, **settings)
    for channel in range(3):
        sweep_hz = _sweep_hz(np.arange(6000), rate, settings, channel)
        truth = _naive(x[channel], sweep_hz, rate, settings["feedback"], settings["mix"])
        # c is right to 1e-12; filters whose corner is at 1e-4 of the rate and the feedback multiply that.
        np.testing.assert_allclose(y[channel], truth, atol=1e-8)


@pytest.mark.parametrize("centre_hz", [150.0, 1000.0, 8000.0])
@pytest.mark.parametrize("feedback", [0.0, 0.8, -0.6])
def test_without_depth_it_is_a_rational_filter(play, centre_hz, feedback):
    m = 0.4
    impulse = np.zeros(5000)
    impulse[0] = 1.0
    y = play(impulse[None], depth=0.0, centre_hz=centre_hz, feedback=feedback, mix=m)[0]
    # A = ((c + z^-1)/(1 + c z^-1))^6;  V = A/(1 - r z^-1 A);  H = 1 - m + m V
    c = math.tan(math.pi * (centre_hz / RATE - 0.25))
    above, below = (np.polynomial.polynomial.polypow(p, STAGES) for p in ([c, 1.0], [1.0, c]))
    loop = np.append(below, 0.0) - feedback * np.append(0.0, above)
    h = (1 - m) * loop + m * np.append(above, 0.0)
    # Six equal poles near one: lfilter's direct form loses more digits than the stages do.
    np.testing.assert_allclose(
        y, scipy.signal.lfilter(h, loop, impulse), atol=1e-6 if centre_hz < 200 else 1e-8
    )


@pytest.mark.parametrize("centre_hz", [300.0, 1000.0, 4000.0])
def test_notches_are_where_the_docstring_says(play, centre_hz):
    impulse = np.zeros(1 << 16)
    impulse[0] = 1.0
    wet, half = (
        np.abs(np.fft.rfft(play(impulse[None], depth=0.0, centre_hz=centre_hz, feedback=0.0, mix=m)[0]))
        for m in (1.0, 0.5)
    )
    np.testing.assert_allclose(wet, 1.0, atol=1e-9)  # all-pass
    # Frequencies are warped by the bilinear transform: tan(pi f'/rate)/tan(pi f/rate) is what counts.
    ratio = np.tan(np.pi * np.arange(half.size) / impulse.size) / math.tan(math.pi * centre_hz / RATE)
    np.testing.assert_allclose(half, np.abs(np.cos(STAGES * np.arctan(ratio))), atol=1e-9)
    lows = scipy.signal.argrelmin(half)[0]
    np.testing.assert_allclose(ratio[lows], [0.268, 1.0, 3.732], rtol=0.02)


@pytest.mark.parametrize("phase_deg", [0.0, 90.0, 180.0])
def test_a_tone_vanishes_when_a_notch_sweeps_over_it(play, phase_deg):
    settings = EFFECT.defaults() | {
        "rate_hz": 0.5,
        "depth": 0.1,
        "centre_hz": 1000.0,
        "feedback": 0.0,
        "mix": 0.5,
        "stereo_phase_deg": phase_deg,
    }
    n = np.arange(round(2.2 * RATE))
    # f passes 1200 Hz when the sine is -log2(1.2)/(OCTAVES depth), on its way down and up again.
    tone = np.sin(2 * np.pi * 1200.0 * n / RATE)
    y = play(np.stack([tone, tone]), **settings)
    for channel in range(2):
        level = np.abs(scipy.signal.hilbert(y[channel]))[2000:-2000]
        truth = np.abs(np.cos(STAGES * np.arctan(1200.0 / _sweep_hz(n, RATE, settings, channel))))[2000:-2000]
        assert truth.min() < 1e-3
        # The sweep is slow against the filters, and 1200 Hz low enough for frequencies not to be warped.
        np.testing.assert_allclose(level, truth, atol=0.02)


def test_the_sweep_keeps_time_for_hours():
    settings = EFFECT.defaults() | {"rate_hz": 1.7}
    x = np.random.default_rng(0).standard_normal(30_000)
    _, state = EFFECT.render(x[None, :500], RATE, None, **settings)
    late = 441_000 * 2267 + 500  # six hours: whole turns of 17 n/441000 later
    later = state._replace(inner=replace(state.inner, time=late))
    on_time, _ = EFFECT.render(x[None, 500:], RATE, state, **settings)
    y, _ = EFFECT.render(x[None, 500:], RATE, later, **settings)
    np.testing.assert_allclose(y, on_time, atol=1e-6)


EXACT_HZ = RATE / 4 / 4096 / (2 * math.pi)
"""A rate at which pedalboard's oscillator, a phase summed up in float32 at every fourth sample, steps by
exactly 2^-12 and so keeps time."""


@pytest.mark.parametrize(
    ("depth", "centre_hz", "feedback", "mix"),
    [(0.5, 1300.0, 0.0, 0.5), (0.3, 700.0, 0.5, 0.5), (1.0, 1300.0, -0.7, 1.0), (0.3, 8000.0, 0.2, 1.0)],
)
def test_pedalboard_has_the_same_law(play, null_db, depth, centre_hz, feedback, mix):
    pedalboard = pytest.importorskip("pedalboard")
    x = np.random.default_rng(0).standard_normal(round(RATE))
    x = (0.3 * x / np.abs(x).max()).astype(np.float32)
    truth = pedalboard.Phaser(EXACT_HZ, depth, centre_hz, feedback, mix)(x, RATE, buffer_size=512)
    settings = EFFECT.defaults() | {
        "rate_hz": EXACT_HZ,
        "depth": depth,
        "centre_hz": centre_hz,
        "feedback": -feedback,
        "mix": mix,
        "stereo_phase_deg": 0.0,
    }
    n = np.arange(x.size)
    held = _naive(x.astype(np.float64), _sweep_hz(n // 4 * 4, RATE, settings), RATE, -feedback, mix)
    # With its hold over four samples the loop reaches pedalboard's float32; that is the whole difference.
    assert null_db(held, truth) < -115.0
    assert null_db(play(x[None].astype(np.float64), **settings)[0], truth) < -63.0


def _knobs(**values):
    return {k: torch.tensor(v, dtype=torch.float64, requires_grad=True) for k, v in values.items()}


def test_a_sweep_held_at_its_end_has_no_gradient():
    knobs = _knobs(
        rate_hz=[1.0], depth=[0.02], centre_hz=[5000.0], feedback=[0.3], mix=[0.5], stereo_phase_deg=[90.0]
    )
    assert (_sweep_hz(np.arange(200), 8000.0, {k: v.item() for k, v in knobs.items()}) == 3920.0).all()
    x = torch.randn(1, 2, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    off = {"sync": torch.zeros(1), "tempo_bpm": torch.full((1,), 120.0)}
    EFFECT.forward(x, 8000.0, **knobs, **off).square().sum().backward()
    for name in ("rate_hz", "depth", "centre_hz", "stereo_phase_deg"):
        assert knobs[name].grad.item() == 0.0, name
    assert knobs["mix"].grad.item() != 0.0


@pytest.mark.parametrize("feedback", [0.0, 0.6, 0.95, -0.9])
def test_tail_is_over_when_it_says_so(play, feedback):
    settings = EFFECT.defaults() | {"centre_hz": 200.0, "depth": 0.0, "feedback": feedback, "mix": 1.0}
    tail_s = EFFECT.tail_s(settings)
    latest = 0.0
    # The resonances of the loop, where the tail is longest, and frequencies between them.
    for ratio in (0.01, 0.268, 0.577, 0.8, 1.0, 1.73, 3.73):
        end = round((0.1 + tail_s) * RATE)
        x = np.cos(2 * np.pi * 200.0 * ratio * np.arange(2 * end) / RATE)
        x[end:] = 0.0
        y = np.abs(play(x[None], **settings)[0])
        loud = np.flatnonzero(y[end:] > 1e-3 * y[end - round(0.1 * RATE) : end].max())
        latest = max(latest, loud[-1] / RATE)
    assert 0.85 * tail_s < latest < tail_s
