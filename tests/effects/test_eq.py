"""Truths of the equaliser: closed forms, scipy's filters, pedalboard, ffmpeg, sox, and known treatments."""

from __future__ import annotations

import inspect
import math
import shutil
import subprocess

import numpy as np
import pytest
import torch
from scipy.signal import butter, freqz
from scipy.signal import sosfilt as scipy_sosfilt

from fxstyle.dsp.biquad import CUT_SECTIONS, SLOPES_DB, bell
from fxstyle.dsp.biquad import cut as cut_of
from fxstyle.effects import eq
from fxstyle.effects.eq import EFFECT, MOST_PEAKS, START_LIMIT_DB, design, make, response_db, start
from fxstyle.errors import SettingError
from fxstyle.features.measure import measure

RATE = 44100.0
HZ = np.geomspace(20.0, 20000.0, 200)


def tensors(settings: dict[str, float]) -> dict[str, torch.Tensor]:
    return {k: torch.tensor([v], dtype=torch.float64) for k, v in (EFFECT.defaults() | settings).items()}


def sections(settings: dict[str, float], rate: float = RATE) -> np.ndarray:
    """Return the sections of settings, without identities and cuts that are not among them."""
    sos = design(rate, tensors(settings))[0].numpy()
    low = sos[: CUT_SECTIONS if "low_cut_hz" in settings else 0]
    high = sos[len(sos) - (CUT_SECTIONS if "high_cut_hz" in settings else 0) :]
    kept = np.concatenate((low, sos[CUT_SECTIONS:-CUT_SECTIONS], high))
    return kept[(kept[:, :3] != kept[:, 3:]).any(axis=1)]


def level_db(sos: np.ndarray, hz: np.ndarray, rate: float) -> np.ndarray:
    z = np.exp(-2j * np.pi * hz / rate)
    powers = np.stack((np.ones_like(z), z, z * z))
    return 20.0 * np.log10(np.abs(sos[:, :3] @ powers) / np.abs(sos[:, 3:] @ powers)).sum(axis=0)


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
        at_hz = response_db(np.array([hz]), RATE, {f"{cut}_hz": hz, f"{cut}_q": q})[0]
        assert at_hz == pytest.approx(-10.0 * np.log10(2.0), abs=0.05)


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
    settings |= {"low_cut_slope": 5.0, "high_cut_hz": 9000.0, "high_cut_slope": 2.0}
    knobs = tensors(settings)
    x = np.random.default_rng(0).standard_normal((1, 2, 5000))
    sos = design(RATE, knobs)[0].numpy()
    np.testing.assert_array_equal(sos[:, 3], 1.0)
    truth = scipy_sosfilt(sos, x[0])
    y = EFFECT.forward(torch.from_numpy(x), RATE, **knobs).numpy()
    # Both round to float64; scipy's states are those of another form. The slowest section remembers 1e3
    # samples, over which 1e-16 adds up.
    np.testing.assert_allclose(y[0], truth, atol=1e-12 * np.abs(truth).max())


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
    ours = scipy_sosfilt(sections(settings), x.astype(np.float64))
    # What is left is pedalboard's float32 recursion, 2e-5 here.
    np.testing.assert_allclose(board(x, RATE), ours, atol=1e-4)


def test_cuts_of_6_null_against_pedalboard() -> None:
    pedalboard = pytest.importorskip("pedalboard", reason="pedalboard is not installed")
    x = (0.3 * np.random.default_rng(0).standard_normal((2, 20000))).astype(np.float32)
    board = pedalboard.Pedalboard([pedalboard.HighpassFilter(300.0), pedalboard.LowpassFilter(3000.0)])
    settings = {"low_cut_hz": 300.0, "low_cut_slope": 0.0, "high_cut_hz": 3000.0, "high_cut_slope": 0.0}
    ours = scipy_sosfilt(sections(settings), x.astype(np.float64))
    # pedalboard's float32, 1e-6 here.
    np.testing.assert_allclose(board(x, RATE), ours, atol=1e-5)


Q_OF_SHELF = repr(0.5**0.5)
PROGRAMS = [
    ({"peak3_hz": 500.0, "peak3_db": -8.0, "peak3_q": 2.0},
     "equalizer=f=500:t=q:w=2:g=-8:r=f64", "equalizer 500 2q -8"),
    ({"low_shelf_hz": 150.0, "low_shelf_db": 6.0},
     f"lowshelf=f=150:t=q:w={Q_OF_SHELF}:g=6:r=f64", f"bass 6 150 {Q_OF_SHELF}q"),
    ({"high_shelf_hz": 9000.0, "high_shelf_db": -4.0},
     f"highshelf=f=9000:t=q:w={Q_OF_SHELF}:g=-4:r=f64", f"treble -4 9000 {Q_OF_SHELF}q"),
    ({"low_cut_hz": 300.0, "low_cut_q": 0.5**0.5},
     f"highpass=f=300:t=q:w={Q_OF_SHELF}:r=f64", f"highpass -2 300 {Q_OF_SHELF}q"),
    ({"high_cut_hz": 3000.0, "high_cut_q": 0.5**0.5},
     f"lowpass=f=3000:t=q:w={Q_OF_SHELF}:r=f64", f"lowpass -2 3000 {Q_OF_SHELF}q"),
    *(({"low_cut_hz": 150.0, "low_cut_q": 0.5**0.5, "low_cut_slope": SLOPES_DB.index(str(6 * order))},
       f"asubcut=cutoff=150:order={order}", "") for order in (3, 4, 6, 8)),
    *(({"high_cut_hz": 20500.0, "high_cut_q": 0.5**0.5, "high_cut_slope": SLOPES_DB.index(str(6 * order))},
       f"asupercut=cutoff=20500:order={order}", "") for order in (3, 4, 6, 8)),
]  # fmt: skip
"""Settings, and the same in the words of ffmpeg and of sox."""


def through(*command: str) -> np.ndarray:
    """Return what a program makes of the noise below, both in float64."""
    done = subprocess.run(command, input=NOISE.T.tobytes(), capture_output=True, check=True, timeout=60)
    return np.frombuffer(done.stdout).reshape(-1, 2).T


NOISE = 0.05 * np.random.default_rng(0).standard_normal((2, 20000))


@pytest.mark.parametrize(
    ("settings", "words", "_"), PROGRAMS, ids=[case[1].split(":")[0] for case in PROGRAMS]
)
def test_nulls_against_ffmpeg(settings: dict[str, float], words: str, _: str) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    stream = ("-f", "f64le", "-ar", "44100", "-ac", "2")
    theirs = through("ffmpeg", "-v", "error", *stream, "-i", "-", "-af", words, *stream, "-")
    # Rounding of float64, added up over the memory of a section at 150 Hz.
    np.testing.assert_allclose(theirs, scipy_sosfilt(sections(settings), NOISE), atol=1e-12)


@pytest.mark.parametrize(("settings", "_", "words"), [case for case in PROGRAMS if case[2]])
def test_nulls_against_sox(settings: dict[str, float], _: str, words: str) -> None:
    if shutil.which("sox") is None:
        pytest.skip("sox is not installed")
    theirs = through("sox", "-t", "f64", "-r", "44100", "-c", "2", "-", "-t", "f64", "-", *words.split())
    # sox passes integers of 32 bits between its effects.
    np.testing.assert_allclose(theirs, scipy_sosfilt(sections(settings), NOISE), atol=4.0 * 2.0**-31)


def test_what_lies_beyond_half_the_rate_changes_nothing() -> None:
    settings = {"peak6_hz": 8000.0, "peak6_db": 20.0, "high_shelf_hz": 6000.0, "high_shelf_db": -20.0}
    hz = np.geomspace(30.0, 0.9 * 4000.0, 100)
    np.testing.assert_allclose(response_db(hz, 8000.0, settings), response_db(hz, 8000.0, {}), atol=1e-12)
    # The high cut, off at 40 kHz, is clamped below half the rate.
    assert np.abs(response_db(np.array([0.9 * 4000.0]), 8000.0, {})).max() < 0.01


def test_gradient_of_every_knob_agrees_with_differences() -> None:
    """For the largest equaliser, and rows of all slopes."""
    effect = make(MOST_PEAKS)
    rng = np.random.default_rng(1)
    rows = len(SLOPES_DB)
    x = torch.from_numpy(rng.standard_normal((rows, 1, 30)))
    turned = [p for p in effect.params if not p.choices]
    units = torch.from_numpy(rng.uniform(0.2, 0.8, (len(turned), rows))).requires_grad_()
    slopes = torch.arange(float(rows))

    def run(u: torch.Tensor) -> torch.Tensor:
        values = {p.name: p.from_unit(v) for p, v in zip(turned, u, strict=True)}
        return effect.forward(x, RATE, **values, low_cut_slope=slopes, high_cut_slope=slopes.flip(0))

    assert torch.autograd.gradcheck(run, (units,), atol=1e-8, rtol=1e-5, fast_mode=True)
    # Every entry of a few rows of the Jacobian, by the sum of squares.
    ours = torch.autograd.grad(run(units).square().sum(), units)[0]
    step = 1e-6
    for knob in range(0, len(turned), 7):
        for row in range(rows):
            moved = torch.zeros_like(units)
            moved[knob, row] = step
            with torch.no_grad():
                slope = (run(units + moved).square().sum() - run(units - moved).square().sum()) / (2.0 * step)
            assert ours[knob, row].item() == pytest.approx(slope.item(), rel=1e-5, abs=1e-5)


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


@pytest.mark.parametrize("slope", range(len(SLOPES_DB)))
@pytest.mark.parametrize("q", [0.1, 0.2, 0.3, 0.45, 0.5, 0.7071, 2.0])
@pytest.mark.parametrize(("cut", "hz"), [("low_cut", 60.0), ("high_cut", 300.0)])
def test_the_tail_of_a_cut_is_when_its_response_has_fallen_by_60_db(
    cut: str, hz: float, q: float, slope: int
) -> None:
    settings = {f"{cut}_hz": hz, f"{cut}_q": q, f"{cut}_slope": slope}
    impulse = np.zeros(round(3.0 * RATE))
    impulse[0] = 1.0
    # A low cut passes the impulse itself; what rings is what comes after it.
    y = np.abs(scipy_sosfilt(sections(settings), impulse))[1:]
    heard_s = (np.flatnonzero(y > 1e-3 * y.max())[-1] + 1) / RATE
    # The tail is that of the continuous filter; a pole at ten times the corner falls by a tenth per sample.
    assert EFFECT.tail_s(EFFECT.defaults() | settings) == pytest.approx(heard_s, rel=0.05)


SLOPES = list(enumerate(int(slope) for slope in SLOPES_DB))
RATES = (8000.0, 44100.0, 192000.0)


class TestSlopes:
    @pytest.mark.parametrize(("number", "slope_db"), SLOPES)
    @pytest.mark.parametrize("rate", RATES)
    @pytest.mark.parametrize(("name", "kind"), [("low_cut", "highpass"), ("high_cut", "lowpass")])
    def test_are_butterworth_filters(
        self, name: str, kind: str, rate: float, number: int, slope_db: int
    ) -> None:
        param = EFFECT.param(f"{name}_hz")
        for hz in (40.0, 300.0, 1500.0, 3400.0):
            if not param.low <= hz <= param.high:
                continue
            sos = sections({f"{name}_hz": hz, f"{name}_q": 0.5**0.5, f"{name}_slope": number}, rate)
            truth = butter(slope_db // 6, hz, kind, fs=rate, output="sos")
            band = np.geomspace(hz / 4.0, min(4.0 * hz, 0.49 * rate), 80)
            # A coefficient's rounding, 1e-16, weighs 1/w0^2, which is 6e5 at 40 Hz and 192 kHz.
            np.testing.assert_allclose(level_db(sos, band, rate), level_db(truth, band, rate), atol=1e-7)

    @pytest.mark.parametrize(("number", "slope_db"), SLOPES)
    @pytest.mark.parametrize("rate", RATES)
    @pytest.mark.parametrize("q", [0.1, 0.4, 0.7071, 1.0, 2.0])
    def test_are_3_db_down_at_the_frequency_whatever_the_q(
        self, rate: float, number: int, slope_db: int, q: float
    ) -> None:
        for name in ("low_cut", "high_cut"):
            param = EFFECT.param(f"{name}_hz")
            for hz in (5.0, 200.0, 2000.0, 0.4 * rate):
                if not param.low <= hz <= param.high:
                    continue
                sos = sections({f"{name}_hz": hz, f"{name}_q": q, f"{name}_slope": number}, rate)
                at_hz = level_db(sos, np.array([hz]), rate)[0]
                assert at_hz == pytest.approx(-10.0 * math.log10(2.0), abs=1e-5), (name, hz)

    @pytest.mark.parametrize(("number", "slope_db"), SLOPES)
    def test_fall_by_as_much_per_octave(self, number: int, slope_db: int) -> None:
        rate = 192000.0  # so far below half of which the bilinear transform bends nothing
        low = response_db(np.array([50.0, 25.0]), rate, {"low_cut_hz": 400.0, "low_cut_slope": number})
        high = response_db(np.array([1600.0, 3200.0]), rate, {"high_cut_hz": 200.0, "high_cut_slope": number})
        assert low[0] - low[1] == pytest.approx(slope_db, abs=0.2)
        assert high[0] - high[1] == pytest.approx(slope_db, abs=0.3)

    @pytest.mark.parametrize("number", [2, 3, 4, 5])
    def test_of_a_higher_q_bend_up(self, number: int) -> None:
        def highest_db(q: float) -> float:
            band = np.geomspace(200.0, 2000.0, 200)
            return float(level_db(sections({"low_cut_hz": 400.0, "low_cut_q": q, "low_cut_slope": number}),
                                  band, RATE).max())  # fmt: skip

        assert highest_db(0.5**0.5) == pytest.approx(0.0, abs=0.01)
        assert highest_db(2.0) > 3.0

    def test_of_12_are_what_they_were_to_the_bit(self) -> None:
        """The default: dasp's section at the corner that x moves."""
        dasp = pytest.importorskip("dasp_pytorch.signal", reason="dasp-pytorch is not installed")
        rng = np.random.default_rng(2)
        hz, q = (torch.from_numpy(rng.uniform(low, high, 20)) for low, high in ((20.0, 2000.0), (0.1, 2.0)))
        a = q**-2.0 - 2.0
        x = ((a + (a.square() + 4.0).sqrt()) / 2.0).sqrt()
        for kind, side in (("high_pass", 1.0), ("low_pass", -1.0)):
            corner = RATE / math.pi * torch.atan(torch.tan(math.pi * hz / RATE) * x**-side)
            truth = torch.cat(
                dasp.biquad(torch.zeros(20, 1, dtype=torch.float64), corner[:, None], q[:, None], RATE, kind),
                dim=1,
            )
            alone = cut_of(kind, hz, q, torch.ones(20), RATE)
            assert torch.equal(alone[:, 0], truth)
            slopes = torch.arange(20) % len(SLOPES_DB)
            mixed = cut_of(kind, hz, q, slopes, RATE)
            assert torch.equal(mixed[slopes == 1], alone[slopes == 1])

    def test_bells_are_those_of_dasp_to_the_bit(self) -> None:
        dasp = pytest.importorskip("dasp_pytorch.signal", reason="dasp-pytorch is not installed")
        rng = np.random.default_rng(3)
        bounds = ((20.0, 20000.0), (-24.0, 24.0), (0.2, 8.0))
        hz, gain_db, q = (torch.from_numpy(rng.uniform(low, high, 20)) for low, high in bounds)
        for kind, name in (("peak", "peaking"), ("low_shelf", "low_shelf"), ("high_shelf", "high_shelf")):
            b, a = dasp.biquad(gain_db[:, None], hz[:, None], q[:, None], RATE, name)
            assert torch.equal(bell(kind, hz, gain_db, q, RATE), torch.cat((b, a), dim=1))

    def test_are_each_row_s_own(self) -> None:
        rows = len(SLOPES_DB)
        knobs = {
            name: value.expand(rows) for name, value in tensors({"low_cut_hz": 90.0, "peak2_db": 3.0}).items()
        }
        knobs |= {"low_cut_slope": torch.arange(rows), "high_cut_slope": torch.arange(rows).flip(0)}
        x = torch.from_numpy(np.random.default_rng(4).standard_normal((rows, 2, 700)))
        together = EFFECT.forward(x, RATE, **knobs)
        for row in range(rows):
            alone = EFFECT.forward(x[row : row + 1], RATE, **{k: v[row : row + 1] for k, v in knobs.items()})
            assert torch.equal(alone[0], together[row])

    def test_may_change_within_a_stream(self) -> None:
        x = np.random.default_rng(5).standard_normal((2, 900))
        gentle, steep = (EFFECT.defaults() | {"low_cut_hz": 200.0, "low_cut_slope": n} for n in (0.0, 5.0))
        _, state = EFFECT.render(x[:, :400], RATE, None, **gentle)
        y, state = EFFECT.render(x[:, 400:], RATE, state, **steep)
        assert np.isfinite(y).all()
        again, _ = EFFECT.render(x[:, :400], RATE, state, **gentle)
        assert np.isfinite(again).all()


class TestSectionsThatAreRun:
    @pytest.fixture
    def run(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """Return a list to which each forward pass adds the number of its sections."""
        counts: list[int] = []
        filter_them = eq.sosfilt

        def counting(x: torch.Tensor, sos: torch.Tensor) -> torch.Tensor:
            counts.append(sos.shape[1])
            return filter_them(x, sos)

        monkeypatch.setattr(eq, "sosfilt", counting)
        return counts

    def test_are_the_cuts_and_the_bands_in_use(self, run: list[int]) -> None:
        x = torch.zeros(2, 1, 100)
        rows = {name: value.repeat(2) for name, value in tensors({}).items()}
        EFFECT.forward(x, RATE, **rows)
        EFFECT.forward(x, RATE, **rows | {"peak4_db": torch.tensor([0.0, 1.0])})
        EFFECT.forward(x, RATE, **rows | {"high_cut_slope": torch.tensor([1, 5])})
        assert run == [2, 3, 5]

    def test_and_those_that_owe_a_gradient(self, run: list[int]) -> None:
        x = torch.zeros(1, 1, 100)
        turned = {name: value.requires_grad_("slope" not in name) for name, value in tensors({}).items()}
        EFFECT.forward(x, RATE, **turned).sum().backward()
        assert all(value.grad is not None for name, value in turned.items() if "slope" not in name)
        with torch.no_grad():
            EFFECT.forward(x, RATE, **turned)
        assert run == [10, 2]

    def test_leaving_out_the_others_changes_nothing(self) -> None:
        x = torch.from_numpy(np.random.default_rng(6).standard_normal((1, 2, 3000)))
        settings = {"peak2_db": 5.0, "high_shelf_db": -3.0}
        knobs = tensors(settings)
        without = EFFECT.forward(x, RATE, **knobs)
        asked = {name: value.clone().requires_grad_("slope" not in name) for name, value in knobs.items()}
        every = EFFECT.forward(x, RATE, **asked).detach()
        # The identity run as a section rounds.
        np.testing.assert_allclose(without.numpy(), every.numpy(), atol=1e-13)


class TestMake:
    @pytest.mark.parametrize("peaks", range(1, MOST_PEAKS + 1))
    def test_builds_any_number_of_peaks(self, peaks: int) -> None:
        effect = make(peaks)
        assert effect.name == f"eq{peaks}"
        assert make(peaks) is effect
        centres = [p.default for p in effect.params if p.name.startswith("peak") and p.unit == "Hz"]
        assert len(centres) == peaks
        # About evenly spaced on the scale of the ear, over most of it.
        steps = np.diff(np.log2(centres))
        assert (np.abs(steps - 7.97 / peaks) < 0.17).all()
        names = list(inspect.signature(effect.forward).parameters)
        assert names == ["x", "rate", *(p.name for p in effect.params)]

    def test_six_are_the_equaliser_of_the_default_chain(self) -> None:
        assert make(6).params == EFFECT.params
        centres = [EFFECT.param(f"peak{i}_hz").default for i in range(1, 7)]
        assert centres == [80.0, 200.0, 500.0, 1250.0, 3200.0, 8000.0]
        assert EFFECT.name == "eq"

    @pytest.mark.parametrize("peaks", [0, 17, -1])
    def test_refuses_others(self, peaks: int) -> None:
        with pytest.raises(SettingError, match=f"1 to 16 peaks, not {peaks}"):
            make(peaks)

    def test_every_peak_is_heard(self) -> None:
        effect = make(MOST_PEAKS)
        for i in range(1, MOST_PEAKS + 1):
            hz = effect.param(f"peak{i}_hz").default
            settings = effect.defaults() | {f"peak{i}_db": 9.0}
            assert response_db(np.array([hz]), RATE, settings)[0] == pytest.approx(9.0, abs=0.01)

    def test_streams_as_it_trains(self) -> None:
        effect = make(MOST_PEAKS)
        settings = effect.defaults() | {f"peak{i}_db": 6.0 * (-1.0) ** i for i in range(1, MOST_PEAKS + 1)}
        x = np.random.default_rng(7).standard_normal((2, 3000))
        knobs = {name: torch.tensor([value], dtype=torch.float64) for name, value in settings.items()}
        batch = effect.forward(torch.from_numpy(x)[None], RATE, **knobs)[0].numpy()
        state, blocks = None, []
        for block in np.split(x, [1, 8, 1500], axis=1):
            y, state = effect.render(block, RATE, state, **settings)
            blocks.append(y)
        np.testing.assert_allclose(np.concatenate(blocks, axis=1), batch, atol=1e-12)

    def test_guesses_for_its_own_bands(self) -> None:
        effect = make(3)
        white = 0.05 * np.random.default_rng(8).standard_normal((1, 2 * 44100))
        treated, _ = effect.render(white, RATE, None, **(effect.defaults() | {"peak2_db": 6.0}))
        assert effect.start is not None
        guess = effect.start(measure(white, RATE), measure(treated, RATE))
        assert set(guess) == {p.name for p in effect.params if p.unit == "dB"}
        assert max(guess, key=lambda name: guess[name]) == "peak2_db"

    def test_knobs_that_are_missing_or_unknown_are_named(self) -> None:
        settings = EFFECT.defaults()
        del settings["peak3_q"]
        with pytest.raises(TypeError, match="28 knobs.*peak3_q"):
            EFFECT.render(np.zeros((1, 4)), RATE, None, **settings)
        with pytest.raises(TypeError, match="peak7_db"):
            EFFECT.render(np.zeros((1, 4)), RATE, None, **(EFFECT.defaults() | {"peak7_db": 0.0}))
