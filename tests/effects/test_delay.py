"""Echoes against closed forms, scipy's filters and a loop that follows the equations word by word."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.signal
import torch

from fxstyle.effects.delay import EFFECT, QUIET_DB

RATE = 48_000.0


def _settings(**changed):
    return {**EFFECT.defaults(), **changed}


def _render(x, rate=RATE, **changed):
    return EFFECT.render(x, rate, None, **_settings(**changed))[0]


def _impulse(seconds, channels=1):
    x = np.zeros((channels, round(seconds * RATE)))
    x[:, 0] = 1.0
    return x


def _loop_filters(settings, rate=RATE):
    low = scipy.signal.butter(1, settings["low_cut_hz"], "highpass", fs=rate)
    high = scipy.signal.butter(1, min(settings["high_cut_hz"], 0.49 * rate), "lowpass", fs=rate)
    return low, high


def test_echoes_come_when_and_as_loud_as_asked():
    settings = _settings(time_ms=250.0, feedback=0.5, level_db=-6.0)
    y = _render(_impulse(1.2), **settings)[0]
    echo = np.array([1.0, *np.zeros(11_999)])
    filters = _loop_filters(settings)
    assert y[0] == 1.0
    assert not y[1:12_000].any()
    for k in range(1, 4):
        for b, a in filters:
            echo = scipy.signal.lfilter(b, a, echo)
        truth = 10 ** (-6 / 20) * 0.5 ** (k - 1) * echo
        start = k * 12_000
        # Each echo's filters ring on into the next, by less than this at 80 Hz after 250 ms.
        np.testing.assert_allclose(y[start : start + 12_000], truth, atol=1e-12)


def test_loop_filters_are_3_db_down_at_their_frequencies():
    settings = _settings(time_ms=400.0, feedback=0.0, level_db=0.0, low_cut_hz=300.0, high_cut_hz=3000.0)
    y = _render(_impulse(2.0), **settings)[0, 19_200:]
    for corner_hz, other in ((300.0, 3000.0), (3000.0, 300.0)):
        z = np.exp(-2j * np.pi * corner_hz / RATE * np.arange(y.size))
        gain = abs((y * z).sum())
        tangent = math.tan(math.pi * corner_hz / RATE) / math.tan(math.pi * other / RATE)
        if corner_hz > other:
            tangent = 1 / tangent
        assert gain == pytest.approx(math.sqrt(0.5 / (1 + tangent**2)), rel=1e-6)


def test_fractional_time_is_the_phase_of_a_low_tone():
    settings = _settings(time_ms=10.0104, feedback=0.0, level_db=0.0, low_cut_hz=20.0, high_cut_hz=20_000.0)
    y = _render(_impulse(1.0), **settings)[0]
    y[0] = 0.0
    n, omega = np.arange(y.size), 2 * np.pi * 1000.0 / RATE
    truth = np.exp(-1j * omega * 10.0104e-3 * RATE)
    for b, a in _loop_filters(settings):
        truth *= scipy.signal.freqz(b, a, [omega])[1][0]
    assert abs((y * np.exp(-1j * omega * n)).sum() - truth) < 1e-5


def _naive(x, rate, time_ms, feedback, level_db, low_cut_hz, high_cut_hz):
    delay = time_ms * rate / 1000
    d = math.floor(delay) - 1
    t = delay - d
    taps = [math.prod((t - i) / (j - i) for i in range(4) if i != j) for j in range(4)]
    p, q = (
        (1 - math.tan(math.pi * f / rate)) / (1 + math.tan(math.pi * f / rate))
        for f in (low_cut_hz, high_cut_hz)
    )
    f, y, w1, h1 = [], [], 0.0, 0.0
    for n in range(len(x)):
        v = sum(taps[j] * f[n - d - j] for j in range(4) if n - d - j >= 0)
        w = x[n] + feedback * v
        h = (1 + p) / 2 * (w - w1) + p * h1
        f.append((1 - q) / 2 * (h + h1) + q * (f[-1] if f else 0.0))
        w1, h1 = w, h
        y.append(x[n] + 10 ** (level_db / 20) * v)
    return np.array(y)


@pytest.mark.parametrize(("rate", "time_ms"), [(8000.0, 5.0), (8000.0, 31.77), (44_100.0, 17.3)])
def test_kernel_equals_the_naive_loop(rate, time_ms):
    x = np.random.default_rng(0).standard_normal(3000)
    knobs = {
        "time_ms": time_ms,
        "feedback": 0.8,
        "level_db": -3.0,
        "low_cut_hz": 120.0,
        "high_cut_hz": 2500.0,
    }
    np.testing.assert_allclose(_render(x[None], rate, **knobs)[0], _naive(x, rate, **knobs), atol=1e-12)


def test_gradients():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 1, 150, dtype=torch.float64, generator=generator, requires_grad=True)
    knobs = {
        "time_ms": [5.3, 7.83],
        "feedback": [0.3, 0.9],
        "level_db": [-6.0, 3.0],
        "low_cut_hz": [80.0, 300.0],
        "high_cut_hz": [3900.0, 1200.0],
    }
    values = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in knobs.values()]

    def run(x, *values):
        return EFFECT.forward(x, 8000.0, **dict(zip(knobs, values, strict=True)))

    assert torch.autograd.gradcheck(run, (x, *values))


def test_silence_after_sound_becomes_exact_zero():
    x = np.zeros((1, 80_000), np.float32)
    x[0, :50] = 1.0
    y = _render(x, 8000.0, time_ms=5.0, feedback=0.5)
    assert y[0, 100:2000].any()
    assert not y[0, -1000:].any()
    assert not ((np.abs(y) > 0) & (np.abs(y) < np.finfo(np.float32).tiny)).any()


def test_the_loop_is_stable_at_its_extremes():
    x = np.random.default_rng(0).standard_normal((1, 200_000))
    for time_ms in (5.0, 5.01, 5.0104):
        y = _render(x, time_ms=time_ms, feedback=0.95, level_db=6.0, low_cut_hz=20.0, high_cut_hz=20_000.0)
        # A comb with feedback .95 raises noise by at most 1/(1 - .95) in amplitude.
        assert np.abs(y).max() < np.abs(x).max() * (1 + 2 / 0.05)


def test_tail_is_over_when_it_says_so():
    settings = _settings(time_ms=50.0, feedback=0.7, level_db=0.0)
    tail_s = EFFECT.tail_s(settings)
    y = _render(_impulse(tail_s + 1.0), **settings)[0]
    assert np.abs(y[round((tail_s + 0.051) * RATE) :]).max() < 1e-3
    assert np.abs(y[round((tail_s - 0.3) * RATE) :]).max() > 1e-4


def test_time_may_change_within_a_stream():
    x = np.zeros((1, 3000))
    x[0, 0] = 1.0
    fixed = {"feedback": 0.0, "level_db": 0.0, "low_cut_hz": 20.0, "high_cut_hz": 20_000.0}
    _, state = EFFECT.render(x[:, :100], 1000.0, None, **_settings(time_ms=500.0, **fixed))
    y, _ = EFFECT.render(x[:, 100:], 1000.0, state, **_settings(time_ms=200.0, **fixed))
    assert np.argmax(np.abs(y[0])) == 100
    y, _ = EFFECT.render(x[:, 100:], 1000.0, state, **_settings(time_ms=2000.0, **fixed))
    assert np.argmax(np.abs(y[0])) == 1900


def _measured(echo_ms, echo_strength):
    return SimpleNamespace(echo_ms=echo_ms, echo_strength=echo_strength)


def test_start_takes_a_clear_echo_and_only_that():
    none, weak, clear = _measured(0.0, 0.0), _measured(300.0, 0.08), _measured(420.0, 0.4)
    assert EFFECT.start(none, weak)["level_db"] == QUIET_DB
    assert EFFECT.start(clear, clear)["level_db"] == QUIET_DB
    guess = EFFECT.start(weak, clear)
    assert guess["time_ms"] == 420.0
    assert guess["feedback"] == 0.4
    # s = e/(1 + e^2) = .4 at e = .5
    assert guess["level_db"] == pytest.approx(10 * math.log10(0.5))
    assert EFFECT.start(none, _measured(420.0, 1.0))["level_db"] == pytest.approx(0.0)
