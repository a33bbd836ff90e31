"""Truths of the equaliser: the cookbook's closed forms, scipy's filter, pedalboard, and known treatments."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import butter, freqz
from scipy.signal import sosfilt as scipy_sosfilt

from fxstyle.effects.eq import EFFECT, START_LIMIT_DB, design, response_db, start
from fxstyle.features.measure import measure

RATE = 44100.0
HZ = np.geomspace(20.0, 20000.0, 200)


def tensors(settings: dict[str, float]) -> dict[str, torch.Tensor]:
    return {k: torch.tensor([v], dtype=torch.float64) for k, v in (EFFECT.defaults() | settings).items()}


def test_is_flat_at_the_defaults() -> None:
    assert np.abs(response_db(HZ, RATE, {})).max() < 0.1


@pytest.mark.parametrize("gain_db", [-24.0, -3.0, 6.0, 24.0])
@pytest.mark.parametrize("peak", range(1, 7))
def test_a_peak_has_its_gain_at_its_centre(peak: int, gain_db: float) -> None:
    settings = {f"peak{peak}_hz": 1700.0, f"peak{peak}_db": gain_db, f"peak{peak}_q": 3.0}
    assert response_db(np.array([1700.0]), RATE, settings)[0] == pytest.approx(gain_db, abs=1e-3)
    far = response_db(np.array([25.0, 19000.0]), RATE, settings)
    np.testing.assert_allclose(far, 0.0, atol=0.2)


@pytest.mark.parametrize("gain_db", [-24.0, 9.0])
def test_shelves_have_their_gain_beyond_and_half_of_it_at_the_corner(gain_db: float) -> None:
    low = response_db(
        np.array([25.0, 900.0, 19000.0]), RATE, {"low_shelf_hz": 900.0, "low_shelf_db": gain_db}
    )
    np.testing.assert_allclose(low, (gain_db, gain_db / 2.0, 0.0), atol=0.05)
    high = response_db(
        np.array([25.0, 1500.0, 19000.0]), RATE, {"high_shelf_hz": 1500.0, "high_shelf_db": gain_db}
    )
    np.testing.assert_allclose(high, (0.0, gain_db / 2.0, gain_db), atol=0.05)


@pytest.mark.parametrize("q", [0.1, 0.3, 0.7071, 2.0])
@pytest.mark.parametrize("hz", [30.0, 400.0, 9000.0, 20000.0])
def test_a_cut_is_3_db_down_at_its_frequency(hz: float, q: float) -> None:
    for cut in ("low_cut", "high_cut"):
        param = EFFECT.param(f"{cut}_hz")
        if not param.low <= hz <= param.high:
            continue
        level_db = response_db(np.array([hz]), RATE, {f"{cut}_hz": hz, f"{cut}_q": q})[0]
        assert level_db == pytest.approx(-10.0 * np.log10(2.0), abs=0.05)


def test_q_is_the_slope_of_a_cut() -> None:
    for q, per_octave_db in ((0.1, 6.0), (0.7071, 12.0)):
        low = response_db(np.array([100.0, 50.0]), RATE, {"low_cut_hz": 1000.0, "low_cut_q": q})
        high = response_db(np.array([1600.0, 3200.0]), RATE, {"high_cut_hz": 200.0, "high_cut_q": q})
        assert low[0] - low[1] == pytest.approx(per_octave_db, abs=0.5)
        assert high[0] - high[1] == pytest.approx(per_octave_db, abs=0.6)


def test_the_gentlest_cuts_are_those_of_first_order() -> None:
    """Butterworth filters of first order, bilinear, from scipy."""
    for cut, kind, hz in (("low_cut", "highpass", 300.0), ("high_cut", "lowpass", 3000.0)):
        b, a = butter(1, hz, kind, fs=RATE)
        band = np.geomspace(60.0, 15000.0, 50)
        _, h = freqz(b, a, band, fs=RATE)
        ours = response_db(band, RATE, {f"{cut}_hz": hz, f"{cut}_q": 0.1})
        ours -= response_db(band, RATE, {})  # the other cut, parked
        np.testing.assert_allclose(ours, 20.0 * np.log10(np.abs(h)), atol=0.25)


def test_impulse_response_has_the_stated_magnitude() -> None:
    settings = {"low_cut_hz": 90.0, "low_shelf_db": -6.0, "peak2_db": 7.0, "peak5_db": -9.0, "peak5_q": 4.0}
    settings |= {"high_shelf_db": 5.0, "high_cut_hz": 15000.0}
    impulse = np.zeros((1, 1 << 15))
    impulse[0, 0] = 1.0
    y, _ = EFFECT.render(impulse, RATE, None, **(EFFECT.defaults() | settings))
    hz = np.fft.rfftfreq(impulse.shape[1], 1.0 / RATE)
    keep = (hz > 20.0) & (hz < 20000.0)
    measured_db = 20.0 * np.log10(np.abs(np.fft.rfft(y[0])))
    np.testing.assert_allclose(measured_db[keep], response_db(hz[keep], RATE, settings), atol=1e-6)


def test_runs_its_sections_as_scipy_does() -> None:
    settings = {"low_cut_hz": 60.0, "low_shelf_db": 8.0, "peak1_db": -12.0, "peak3_db": 10.0, "peak6_q": 5.0}
    knobs = tensors(settings)
    x = np.random.default_rng(0).standard_normal((1, 2, 5000))
    sos = design(RATE, knobs)[0].numpy()
    np.testing.assert_array_equal(sos[:, 3], 1.0)
    y = EFFECT.forward(torch.from_numpy(x), RATE, **knobs).numpy()
    np.testing.assert_allclose(y[0], scipy_sosfilt(sos, x[0]), atol=1e-10)


def test_peaks_and_shelves_null_against_pedalboard() -> None:
    pedalboard = pytest.importorskip("pedalboard", reason="pedalboard is not installed")
    x = (0.3 * np.random.default_rng(0).standard_normal((2, 20000))).astype(np.float32)
    board = pedalboard.Pedalboard(
        [
            pedalboard.LowShelfFilter(150.0, 6.0, 0.5**0.5),
            pedalboard.PeakFilter(500.0, -8.0, 2.0),
            pedalboard.PeakFilter(4000.0, 5.0, 0.7),
            pedalboard.HighShelfFilter(9000.0, -4.0, 0.5**0.5),
        ]
    )
    settings = {"low_shelf_hz": 150.0, "low_shelf_db": 6.0, "peak3_db": -8.0, "peak3_q": 2.0}
    settings |= {"peak5_hz": 4000.0, "peak5_db": 5.0, "peak5_q": 0.7}
    settings |= {"high_shelf_hz": 9000.0, "high_shelf_db": -4.0}
    sos = design(RATE, tensors(settings))[0].numpy()[1:-1]  # pedalboard's cuts are of first order
    # What is left is pedalboard's float32 recursion, 2e-5 here.
    np.testing.assert_allclose(board(x, RATE), scipy_sosfilt(sos, x.astype(np.float64)), atol=1e-4)


def test_what_lies_beyond_half_the_rate_changes_nothing() -> None:
    settings = {"peak6_hz": 8000.0, "peak6_db": 20.0, "high_shelf_hz": 6000.0, "high_shelf_db": -20.0}
    hz = np.geomspace(30.0, 0.9 * 4000.0, 100)
    np.testing.assert_allclose(response_db(hz, 8000.0, settings), response_db(hz, 8000.0, {}), atol=1e-12)
    # The high cut, off at 40 kHz, is clamped below half the rate.
    assert np.abs(response_db(np.array([0.9 * 4000.0]), 8000.0, {})).max() < 0.01


def test_gradient_of_every_knob_agrees_with_differences() -> None:
    rng = np.random.default_rng(1)
    x = torch.from_numpy(rng.standard_normal((1, 1, 30)))
    units = torch.from_numpy(rng.uniform(0.2, 0.8, len(EFFECT.params))).requires_grad_()

    def run(u: torch.Tensor) -> torch.Tensor:
        values = {p.name: p.from_unit(u[i : i + 1]) for i, p in enumerate(EFFECT.params)}
        return EFFECT.forward(x, RATE, **values)

    assert torch.autograd.gradcheck(run, (units,), atol=1e-8, rtol=1e-6)


def test_tail_is_when_the_ringing_has_fallen_by_60_db() -> None:
    settings = EFFECT.defaults() | {"peak1_hz": 50.0, "peak1_db": 12.0, "peak1_q": 8.0}
    seconds = EFFECT.tail_s(settings)
    x = np.zeros((1, round(2.0 * seconds * RATE)))
    x[0, 0] = 1.0
    y = np.abs(EFFECT.render(x, RATE, None, **settings)[0][0])
    # Two windows of one period; the first begins when the wider sections have rung out.
    begin, window = round(0.3 * RATE), round(RATE / 50.0)
    early, late = y[begin:][:window].max(), y[begin + round(seconds * RATE) :][:window].max()
    assert 20.0 * np.log10(late / early) == pytest.approx(-60.0, abs=0.5)
    assert EFFECT.tail_s(EFFECT.defaults()) == 0.0


class TestStart:
    @pytest.fixture
    def source(self) -> np.ndarray:
        white = np.random.default_rng(7).standard_normal((1, 4 * 44100))
        return 0.05 * scipy_sosfilt([[1.0, 0.0, 0.0, 1.0, -0.9, 0.0]], white)

    def test_undoes_most_of_a_known_treatment(self, source: np.ndarray) -> None:
        treatment = {"low_shelf_db": 5.0, "peak3_db": -6.0, "peak5_db": 4.0, "peak5_hz": 2800.0}
        treated, _ = EFFECT.render(source, RATE, None, **(EFFECT.defaults() | treatment))
        guess = start(measure(source, RATE), measure(0.2 * treated, RATE))
        hz = np.geomspace(40.0, 16000.0, 60)
        asked, got = response_db(hz, RATE, treatment), response_db(hz, RATE, guess)
        before = asked - np.median(asked)
        after = asked - got - np.median(asked - got)
        assert np.abs(after).mean() < 0.25 * np.abs(before).mean()

    def test_asks_for_nothing_between_equals(self, source: np.ndarray) -> None:
        measured = measure(source, RATE)
        assert all(gain == pytest.approx(0.0, abs=1e-9) for gain in start(measured, measured).values())

    def test_stays_within_its_limit(self, source: np.ndarray) -> None:
        settings = EFFECT.defaults() | {"peak2_db": 24.0, "low_shelf_db": 24.0, "high_shelf_db": -24.0}
        treated, _ = EFFECT.render(source, RATE, None, **settings)
        guess = start(measure(source, RATE), measure(treated, RATE))
        assert max(abs(gain) for gain in guess.values()) <= START_LIMIT_DB
        assert guess["low_shelf_db"] > 3.0
        assert guess["high_shelf_db"] < -3.0

    def test_leaves_silence_alone(self, source: np.ndarray) -> None:
        guess = start(measure(np.zeros_like(source), RATE), measure(source, RATE))
        assert set(guess.values()) == {0.0}


@pytest.mark.parametrize("q", [0.1, 0.3, 0.7071])
def test_parked_cuts_are_absent_whatever_their_slope(q: float) -> None:
    band = np.geomspace(60.0, 0.9 * RATE / 2.0, 40)
    parked = response_db(band, RATE, {"low_cut_q": q, "high_cut_q": q})
    assert np.abs(parked).max() < 0.3


@pytest.mark.parametrize("q", [0.1, 0.2, 0.3, 0.45, 0.7071, 2.0])
@pytest.mark.parametrize(("cut", "hz"), [("low_cut", 60.0), ("high_cut", 300.0)])
def test_a_cut_has_rung_out_after_its_tail(cut: str, hz: float, q: float) -> None:
    settings = EFFECT.defaults() | {f"{cut}_hz": hz, f"{cut}_q": q}
    impulse = np.zeros((1, int(2.0 * RATE)))
    impulse[0, 100] = 1.0
    y = EFFECT.render(impulse, RATE, None, **settings)[0][0]
    if cut == "high_cut":
        # The parked low cut has a response of its own, at 5 Hz, which is no part of the tail.
        y = y - EFFECT.render(impulse, RATE, None, **EFFECT.defaults())[0][0]
    # The parked high cut's response, near half the rate, is over after sixty samples.
    y = np.abs(y[160:])
    end = int(EFFECT.tail_s(settings) * RATE)
    assert y[end:].max() < 4e-3 * y.max()
    assert y[end // 4 :].max() > 1e-3 * y.max()  # nor is the tail far too long
