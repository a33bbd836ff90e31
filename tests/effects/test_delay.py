"""Echoes against closed forms, scipy's filters, pedalboard and a loop that follows the equations."""

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


def _naive(x, rate, time_ms, feedback, level_db, low_cut_hz, high_cut_hz, ping_pong=0.0):
    """Follow fxstyle.dsp.echo word by word; low_cut_hz None: no filters."""
    s, channels, delay = ping_pong, len(x), time_ms * rate / 1000
    d = math.floor(delay) - 1
    t = delay - d
    taps = [math.prod((t - i) / (j - i) for i in range(4) if i != j) for j in range(4)]
    enter, cross = np.eye(channels), np.eye(channels)
    if channels == 2:
        enter = np.array([[1 - s, 0], [s / 2, 1 - s + s / 2]])
        cross = np.array([[1 - s, s], [s, 1 - s]])
    p, q = 0.0, 0.0
    if low_cut_hz is not None:
        p, q = (
            (1 - math.tan(math.pi * f / rate)) / (1 + math.tan(math.pi * f / rate))
            for f in (low_cut_hz, high_cut_hz)
        )
    silence = np.zeros(channels)
    f, y, w1, h1 = [silence] * (d + 4), [], silence, silence
    for sample in x.T:
        v = sum(taps[j] * f[len(f) - d - j] for j in range(4))
        w = enter @ sample + feedback * (cross @ v)
        h = (1 + p) / 2 * (w - w1) + p * h1
        f.append(w if low_cut_hz is None else (1 - q) / 2 * (h + h1) + q * f[-1])
        w1, h1 = w, h
        y.append(sample + 10 ** (level_db / 20) * v)
    return np.array(y).T


@pytest.mark.parametrize(
    ("rate", "time_ms"), [(8000.0, 5.0), (8000.0, 31.77), (44_100.0, 17.3), (500.0, 5.0)]
)
@pytest.mark.parametrize(("channels", "ping_pong"), [(1, 0.0), (2, 0.0), (2, 0.35), (2, 1.0)])
def test_kernel_equals_the_naive_loop(rate, time_ms, channels, ping_pong):
    x = np.random.default_rng(0).standard_normal((channels, 3000))
    knobs = {
        "time_ms": time_ms,
        "feedback": 0.8,
        "level_db": -3.0,
        "low_cut_hz": 0.015 * rate,
        "high_cut_hz": 0.3 * rate,
        "ping_pong": ping_pong,
    }
    np.testing.assert_allclose(_render(x, rate, **knobs), _naive(x, rate, **knobs), atol=1e-12)


def _null_db(y, truth):
    return 10 * np.log10(np.mean((y - truth) ** 2) / np.mean(truth**2))


@pytest.mark.parametrize(
    ("delay", "feedback", "mix", "open_db"), [(11_025, 0.4, 0.3, -39.0), (441, 0.8, 0.5, -24.0)]
)
def test_pedalboard_has_the_same_law_without_filters(delay, feedback, mix, open_db):
    pedalboard = pytest.importorskip("pedalboard")
    rate = 44_100.0
    band = scipy.signal.butter(6, (300, 2000), "bandpass", fs=rate, output="sos")
    x = scipy.signal.sosfilt(band, np.random.default_rng(0).standard_normal((1, 60_000))).astype(np.float32)
    # It cuts the time down to whole samples: half a sample more is safe from its rounding to float32.
    truth = pedalboard.Delay((delay + 0.5) / rate, feedback, mix)(x, rate, buffer_size=512)
    knobs = {
        "time_ms": 1000 * delay / rate,
        "feedback": feedback,
        "level_db": 20 * math.log10(mix / (1 - mix)),
    }
    bare = _naive(x.astype(np.float64), rate, **knobs, low_cut_hz=None, high_cut_hz=None)
    assert _null_db((1 - mix) * bare, truth) < -140.0  # float32
    wide = _render(x.astype(np.float64), rate, **knobs, low_cut_hz=20.0, high_cut_hz=20_000.0)
    assert _null_db((1 - mix) * wide, truth) < open_db  # the filters' phase, most of it the low cut's


def _echoes(y, settings, period, count):
    """Return each echo's level in each channel, and check that it is the impulse after k filters."""
    echo = np.array([1.0, *np.zeros(period - 1)])
    levels = []
    for k in range(1, count + 1):
        for b, a in _loop_filters(settings):
            echo = scipy.signal.lfilter(b, a, echo)
        here = y[:, k * period : (k + 1) * period]
        level = here[:, 0] / echo[0]
        # The filters of one echo ring on into the next, by less than this.
        np.testing.assert_allclose(here, level[:, None] * echo, atol=1e-12)
        levels.append(level)
    return np.array(levels)


@pytest.mark.parametrize(
    ("source", "height"), [((1.0, 0.0), 0.5), ((0.0, 1.0), 0.5), ((1.0, 1.0), 1.0), ((1.0, -1.0), 0.0)]
)
def test_ping_pong_goes_right_left_right(source, height):
    settings = _settings(time_ms=250.0, feedback=0.6, level_db=-3.0, ping_pong=1.0)
    y = _render(np.array(source)[:, None] * _impulse(1.5), **settings)
    first = height * 10 ** (-3 / 20)  # of the sum to mono (L + R)/2
    truth = first * np.array([[0, 1], [0.6, 0], [0, 0.36], [0.216, 0]])
    np.testing.assert_allclose(_echoes(y, settings, 12_000, 4), truth, atol=1e-12)


@pytest.mark.parametrize("s", [0.2, 0.5, 0.8])
def test_between_straight_and_ping_pong_mid_and_side_decay_apart(s):
    settings = _settings(time_ms=250.0, feedback=0.6, level_db=0.0, ping_pong=s)
    left, right = 1.0, -0.3
    y = _render(np.array([[left], [right]]) * _impulse(1.5), **settings)
    levels = _echoes(y, settings, 12_000, 4)
    k = np.arange(4)
    mid, side = (left + right) / 2, (left - right) / 2
    np.testing.assert_allclose(levels.mean(axis=1), (1 - s / 2) * mid * 0.6**k, atol=1e-12)
    side = (1 - s) * side - s / 2 * mid
    np.testing.assert_allclose((levels[:, 0] - levels[:, 1]) / 2, side * (0.6 * (1 - 2 * s)) ** k, atol=1e-12)


@pytest.mark.parametrize(("channels", "ping_pong"), [(2, 0.0), (3, 1.0), (5, 0.6)])
def test_channels_are_independent_to_the_bit_where_nothing_crosses(channels, ping_pong):
    x = np.random.default_rng(3).standard_normal((channels, 20_000)).astype(np.float32)
    y = _render(x, time_ms=33.3, feedback=0.7, ping_pong=ping_pong)
    for c in range(channels):
        np.testing.assert_array_equal(_render(x[c : c + 1], time_ms=33.3, feedback=0.7)[0], y[c])


NOTES = {"1/1": 4, "1/2": 2, "1/2.": 3, "1/4": 1, "1/4t": 2 / 3, "1/8.": 3 / 4, "1/16": 1 / 4, "1/32": 1 / 8}
"""Quarters."""


@pytest.mark.parametrize("word", NOTES)
@pytest.mark.parametrize("tempo_bpm", [30.0, 120.0, 300.0])
def test_synced_echoes_come_on_the_beat(word, tempo_bpm):
    number = EFFECT.param("sync").check(word)
    y = _render(_impulse(8.1), feedback=0.0, sync=number, tempo_bpm=tempo_bpm, time_ms=7.0)[0]
    # 48 kHz is a whole number of samples per beat at these tempos, for triplets as well
    due = round(NOTES[word] * 60 / tempo_bpm * RATE)
    assert np.abs(y[1:due]).max() < 1e-12  # a third is rounded
    assert abs(y[due]) > 0.05


def test_gradients():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 2, 150, dtype=torch.float64, generator=generator, requires_grad=True)
    # Rows: straight, both at the limits of ping-pong, and one in time with a tempo.
    knobs = {
        "time_ms": [5.3, 7.83, 6.1, 100.0],
        "feedback": [0.3, 0.9, 0.95, 0.5],
        "level_db": [-6.0, 3.0, 0.0, -1.0],
        "low_cut_hz": [80.0, 300.0, 20.0, 100.0],
        "high_cut_hz": [3900.0, 1200.0, 2000.0, 3000.0],
        "ping_pong": [0.0, 1.0, 0.4, 0.7],
    }
    values = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in knobs.values()]
    # 1/32 at 300 bpm and 2000 Hz is 50 samples
    tempo_bpm = torch.full((4,), 297.0, dtype=torch.float64, requires_grad=True)
    sync = torch.tensor([0.0, 0.0, 0.0, EFFECT.param("sync").check("1/32")])

    def run(x, tempo_bpm, *values):
        knobs_now = dict(zip(knobs, values, strict=True))
        return EFFECT.forward(x, 2000.0, **knobs_now, sync=sync, tempo_bpm=tempo_bpm)

    assert torch.autograd.gradcheck(run, (x, tempo_bpm, *values))
    run(x, tempo_bpm, *values).square().sum().backward()
    assert tempo_bpm.grad[:3].tolist() == [0.0, 0.0, 0.0]
    assert tempo_bpm.grad[3] != 0.0
    assert values[0].grad[3] == 0.0


def test_silence_after_sound_becomes_exact_zero():
    x = np.zeros((1, 80_000), np.float32)
    x[0, :50] = 1.0
    y = _render(x, 8000.0, time_ms=5.0, feedback=0.5)
    assert y[0, 100:2000].any()
    assert not y[0, -1000:].any()
    assert not ((np.abs(y) > 0) & (np.abs(y) < np.finfo(np.float32).tiny)).any()


def test_echoes_that_have_died_down_are_zero_and_no_denormals():
    x = np.zeros((2, 200_000))
    x[:, :100] = np.random.default_rng(0).standard_normal((2, 100))
    settings = _settings(time_ms=5.0, feedback=0.5, high_cut_hz=20_000.0)
    state, least = None, []
    for begin in range(0, 200_000, 1000):
        _, state = EFFECT.render(x[:, begin : begin + 1000], RATE, state, **settings)
        line = np.abs(np.concatenate(state.inner.line, axis=1))
        least.append(line[line > 0].min(initial=1.0))
    assert min(least) > 1e-200
    assert least[-1] == 1.0
    assert not state.inner.memory[:, :3].any()


@pytest.mark.parametrize("ping_pong", [0.0, 0.5, 1.0])
def test_the_loop_is_stable_at_its_extremes(ping_pong):
    x = np.random.default_rng(0).standard_normal((2, 200_000))
    for time_ms in (5.0, 5.01, 5.0104):
        y = _render(
            x, time_ms=time_ms, feedback=0.95, level_db=6.0, low_cut_hz=20.0, high_cut_hz=20_000.0,
            ping_pong=ping_pong,
        )  # fmt: skip
        # A comb with feedback .95 raises noise by at most 1/(1 - .95) in amplitude.
        assert np.abs(y).max() < np.abs(x).max() * (1 + 2 / 0.05)


@pytest.mark.parametrize(
    "changed", [{}, {"ping_pong": 1.0}, {"sync": EFFECT.param("sync").check("1/16"), "tempo_bpm": 300.0}]
)
def test_tail_is_over_when_it_says_so(changed):
    settings = _settings(time_ms=50.0, feedback=0.7, level_db=0.0, **changed)
    tail_s = EFFECT.tail_s(settings)
    y = _render(_impulse(tail_s + 1.0, 2), **settings)
    assert np.abs(y[:, round((tail_s + 0.051) * RATE) :]).max() < 1e-3
    assert np.abs(y[:, round((tail_s - 0.3) * RATE) :]).max() > 1e-4


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
