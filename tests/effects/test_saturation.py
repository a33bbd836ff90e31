"""Saturation against its curves in closed form, Fourier and Bessel, predicted aliases, pedalboard, ffmpeg."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.special
import torch

from fxstyle.dsp.oversample import LATE
from fxstyle.dsp.waveshaper import CURVES, SOFT_LIMIT, TANH_LIMIT, curve, slope
from fxstyle.effect import Samples
from fxstyle.effects import saturation
from fxstyle.effects.saturation import BLOCKER_HZ, EFFECT

RATE = 44100.0
TANH, SOFT, TUBE, FOLD = range(4)
FACTORS = (1, 2, 4, 8)
BIAS = 0.3


def closed_form(kind: int, u: Samples, bias: float = BIAS) -> Samples:
    t = np.tanh(u)
    held = np.clip(u, -SOFT_LIMIT, SOFT_LIMIT)
    return (t, held - 4.0 / 27.0 * held**3, t / (1.0 + bias * t), np.sin(u))[kind]


def closed_slope(kind: int, u: Samples) -> Samples:
    t = np.tanh(u)
    inside = np.abs(u) < SOFT_LIMIT
    tube = (1.0 - t * t) / (1.0 + BIAS * t) ** 2
    return (1.0 - t * t, np.where(inside, 1.0 - 4.0 / 9.0 * u * u, 0.0), tube, np.cos(u))[kind]


def render(x: Samples, **settings: float) -> Samples:
    """Run one channel, aligned with its input."""
    given = EFFECT.defaults() | settings
    late = EFFECT.latency(RATE, given)
    padded = np.concatenate([x, np.zeros(late, x.dtype)])[None]
    y: Samples = EFFECT.render(padded, RATE, None, **given)[0][0, late:]
    return y


def sine(frequency_hz: float, amplitude: float = 1.0, seconds: float = 1.0) -> Samples:
    return amplitude * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * RATE)) / RATE)


ERRORS = {  # relative for tanh and tube, absolute for the others; float64, float32
    TANH: (1.3e-7, 4e-7),
    # at -tanh the denominator is 1 - bias, which magnifies the error of tanh
    TUBE: (1.3e-7 / (1.0 - BIAS), 4e-7 / (1.0 - BIAS)),
    SOFT: (1e-15, 2e-7),
    FOLD: (3e-11, 2e-7),
}


@pytest.mark.parametrize(("dtype", "column"), [(np.float64, 0), (np.float32, 1)])
@pytest.mark.parametrize("kind", [TANH, SOFT, TUBE, FOLD])
def test_curves_and_slopes_are_as_exact_as_stated(kind: int, dtype: type, column: int) -> None:
    x = np.concatenate([np.linspace(-20, 20, 400_001), np.geomspace(1e-30, 1, 1000), [0.0]]).astype(dtype)
    out, steep = np.empty_like(x), np.empty_like(x)
    curve(kind, x, 1.0, BIAS, out)
    slope(kind, x, 1.0, BIAS, out, steep)
    truth = closed_form(kind, x.astype(np.float64))
    size = np.abs(truth) if kind in (TANH, TUBE) else 1.0
    assert (np.abs(out - truth) <= ERRORS[kind][column] * size).all()
    # 1 - f^2 and the like: a few times the error of f, and of the cosine's polynomial
    worst = max(8.0 * ERRORS[kind][column], 3e-10)
    assert np.abs(steep - closed_slope(kind, x.astype(np.float64))).max() < worst
    at_zero = np.flatnonzero(x == 0.0)
    np.testing.assert_allclose(steep[at_zero], 1.0, atol=3e-10)


def test_the_sine_is_reduced_far_out_and_bounded_beyond() -> None:
    x = np.linspace(-700.0, 700.0, 100_001)  # ten times full scale at 36 dB of drive is 631
    out = np.empty_like(x)
    curve(FOLD, x, 1.0, 0.0, out)
    np.testing.assert_allclose(out, np.sin(x), atol=3e-11)
    far = np.array([1e10, -3e15, 1e30], np.float32)
    out = np.empty_like(far)
    curve(FOLD, far, 1.0, 0.0, out)
    assert (np.abs(out) <= 1.0 + 1e-6).all()


def test_tanh_limit_is_reached_smoothly() -> None:
    x = np.array([TANH_LIMIT, TANH_LIMIT + 1e-9, 100.0])
    out = np.empty_like(x)
    curve(TANH, x, 1.0, 0.0, out)
    assert out[0] == pytest.approx(out[1], abs=1e-12)
    assert out[1] == out[2]


@pytest.mark.parametrize("kind", [TANH, SOFT, FOLD])
@pytest.mark.parametrize("drive_db", [0.0, 12.0, 36.0])
def test_without_oversampling_it_is_the_closed_form(kind: int, drive_db: float) -> None:
    x = 0.7 * np.random.default_rng(0).standard_normal(5000)
    y = render(x, drive_db=drive_db, output_db=-3.0, curve=kind, oversampling=0)
    truth = 10 ** (-3 / 20) * closed_form(kind, 10 ** (drive_db / 20) * x)
    np.testing.assert_allclose(y, truth, atol=2e-7)  # the error of tanh


@pytest.mark.parametrize("factor", range(4))
@pytest.mark.parametrize("kind", range(4))
@pytest.mark.parametrize(("drive_db", "output_db"), [(0.0, 0.0), (20.0, -20.0), (36.0, 12.0)])
@pytest.mark.parametrize("frequency_hz", [1000.0, 19_000.0])
def test_low_levels_pass_at_the_gain_of_both_knobs(
    frequency_hz: float, drive_db: float, output_db: float, kind: int, factor: int
) -> None:
    x = sine(frequency_hz, 1e-6, 0.1)
    y = render(x, drive_db=drive_db, output_db=output_db, curve=kind, oversampling=factor)
    gain = 10 ** ((drive_db + output_db) / 20)
    middle = slice(2000, -200)
    # the filters' ripple; the square term of the tube, bias u; the phase of its high-pass at 1 kHz, 5/1000
    room = 1e-3 + (BIAS * 1e-6 * 10 ** (drive_db / 20) + 6e-3 if kind == TUBE else 0.0)
    np.testing.assert_allclose(y[middle], gain * x[middle], atol=gain * 1e-6 * room)


@pytest.mark.parametrize("kind", [TANH, SOFT, FOLD])
@pytest.mark.parametrize("factor", range(4))
@pytest.mark.parametrize("drive_db", [0.0, 12.0, 36.0])
def test_a_slow_signal_follows_the_curve(drive_db: float, factor: int, kind: int) -> None:
    x = np.sin(2 * np.pi * np.arange(44_100) / 44_100) * 0.9
    y = render(x, drive_db=drive_db, output_db=-3.0, curve=kind, oversampling=factor)
    truth = 10 ** (-3 / 20) * closed_form(kind, 10 ** (drive_db / 20) * x)
    # the filters' ripple, on images of x magnified by the fold's slope as well
    np.testing.assert_allclose(y[200:-200], truth[200:-200], atol=2e-5 * (10 if kind == FOLD else 1))


def harmonics(y: Samples, frequency_hz: int, count: int) -> Samples:
    """Return amplitudes from the middle second of three, where an integer frequency is periodic."""
    spectrum = np.abs(np.fft.rfft(y[44_100:88_200])) / 22_050
    return spectrum[frequency_hz : (count + 1) * frequency_hz : frequency_hz]


@pytest.mark.parametrize("kind", [TANH, SOFT, TUBE])
@pytest.mark.parametrize("drive_db", [0.0, 12.0, 24.0])
def test_harmonics_are_those_of_the_fourier_integral(drive_db: float, kind: int) -> None:
    found = harmonics(render(sine(100.0, seconds=3.0), drive_db=drive_db, curve=kind), 100, 20)
    angle = (np.arange(100_000) + 0.5) * 2 * np.pi / 100_000
    period = closed_form(kind, 10 ** (drive_db / 20) * np.sin(angle))
    truth = [2 * abs(np.mean(period * np.exp(-1j * k * angle))) for k in range(1, 21)]
    # the tube's high-pass takes 0.12 % of 100 Hz; the filters' ripple
    np.testing.assert_allclose(found, truth, atol=2e-5, rtol=1.3e-3 if kind == TUBE else 1e-9)


@pytest.mark.parametrize("drive_db", [0.0, 12.0, 24.0, 33.0])
def test_harmonics_of_the_fold_are_bessel_functions(drive_db: float) -> None:
    found = harmonics(render(sine(100.0, seconds=3.0), drive_db=drive_db, curve=FOLD), 100, 40)
    order = np.arange(1, 41)
    # Jacobi-Anger: sin(d sin wt) = 2 sum J_{2k+1}(d) sin((2k+1) wt)
    truth = np.where(order % 2 == 1, 2 * np.abs(scipy.special.jv(order, 10 ** (drive_db / 20))), 0.0)
    np.testing.assert_allclose(found, truth, atol=1e-4)  # images at -89 dB, times a slope of up to 45


def test_only_a_biased_tube_has_even_harmonics() -> None:
    x = sine(100.0, 0.5, 3.0)
    for kind in (TANH, SOFT, FOLD):
        assert harmonics(render(x, drive_db=12.0, curve=kind), 100, 20)[1::2].max() < 1e-9
    assert harmonics(render(x, drive_db=12.0, curve=TUBE, bias=0.0), 100, 20)[1::2].max() < 1e-9
    seconds = [harmonics(render(x, drive_db=12.0, curve=TUBE, bias=b), 100, 20)[1] for b in (0.1, 0.3, 0.6)]
    assert 0.01 < seconds[0] < seconds[1] < seconds[2]


def test_below_its_limit_the_soft_curve_makes_a_third_harmonic_and_nothing_else() -> None:
    d = 1.4
    found = harmonics(render(sine(100.0, d, 3.0), curve=SOFT), 100, 20)
    # u - 4 u^3/27 with sin^3 = (3 sin wt - sin 3wt)/4
    np.testing.assert_allclose(found[[0, 2]], [d - d**3 / 9.0, d**3 / 27.0], atol=1e-4)
    assert np.delete(found, [0, 2]).max() < 1e-4  # the filters' ripple


@pytest.mark.parametrize("oversampling", [0, 2])
def test_the_tube_leaves_no_offset_and_its_high_pass_is_where_stated(oversampling: int) -> None:
    y = render(sine(1000.0, seconds=4.0), drive_db=18.0, curve=TUBE, bias=0.6, oversampling=oversampling)
    assert abs(y[88_200:132_300].mean()) < 1e-6
    quiet = render(sine(BLOCKER_HZ, 1e-6, 4.0), curve=TUBE, oversampling=oversampling)[88_200:132_300]
    level = abs(np.fft.rfft(quiet)[round(BLOCKER_HZ)]) / 22_050 / 1e-6
    assert level == pytest.approx(math.sqrt(0.5), rel=1e-4)  # the filters' ripple


def test_an_odd_curve_makes_no_dc_and_is_odd() -> None:
    x = np.random.default_rng(0).standard_normal(3000)
    for kind in (TANH, SOFT, FOLD):
        y = render(x, drive_db=18.0, curve=kind)
        np.testing.assert_array_equal(render(-x, drive_db=18.0, curve=kind), -y)


FREQUENCY_HZ, DRIVE_DB = 5000.0, 24.0


def alias_db(y: Samples) -> float:
    """Return the power of all that is no harmonic over that of the harmonics, up to 20 kHz."""
    power = np.abs(np.fft.rfft(y[44_100:88_200] * np.blackman(44_100))) ** 2
    bins_hz = np.arange(power.size)
    harmonic = np.abs((bins_hz + FREQUENCY_HZ / 2) % FREQUENCY_HZ - FREQUENCY_HZ / 2) < 10.0
    heard = bins_hz < 20_000.0
    return 10 * math.log10(power[heard & ~harmonic].sum() / power[heard & harmonic].sum())


def predicted_alias_db(kind: int, factor: int) -> tuple[float, float]:
    """Return the same from the curve's Fourier series: without and with what the filters let through."""
    points = 1 << 18
    drive = 10 ** (DRIVE_DB / 20)
    period = closed_form(kind, drive * np.sin(np.arange(points) * 2 * np.pi / points))
    power = np.abs(np.fft.rfft(period)[1:] * 2 / points) ** 2
    frequency = FREQUENCY_HZ * np.arange(1, power.size + 1)
    rate = factor * RATE
    folded = np.abs((frequency + rate / 2) % rate - rate / 2)
    heard = power[frequency < 20_000.0].sum()
    alias = power[(frequency > rate / 2) & (folded < 20_000.0)].sum()
    # -89 dB of what lies beyond half the rate, and of the sine's own images, magnified by the drive
    leak = 10**-8.85 * (power[frequency > RATE / 2].sum() + drive**2) if factor > 1 else 0.0
    return 10 * math.log10(alias / heard), 10 * math.log10((alias + leak) / heard)


def stated_aliases() -> dict[str, list[float]]:
    """Return the table of the module's docstring."""
    rows = re.findall(
        r"^ +(tanh|soft|tube|fold) +(-?\d+) +(-?\d+) +(-?\d+) +(-?\d+)$", saturation.__doc__ or "", re.M
    )
    return {row[0]: [float(v) for v in row[1:]] for row in rows}


@pytest.mark.parametrize("kind", range(4))
def test_aliases_are_those_of_the_fourier_series_and_as_stated(kind: int) -> None:
    x = sine(FREQUENCY_HZ, seconds=2.1)
    stated = stated_aliases()[CURVES[kind]]
    found = [alias_db(render(x, drive_db=DRIVE_DB, curve=kind, oversampling=j)) for j in range(4)]
    for level_db, stated_db, factor in zip(found, stated, FACTORS, strict=True):
        lowest_db, highest_db = predicted_alias_db(kind, factor)
        assert lowest_db - 0.2 < level_db < highest_db + 0.2, (factor, found)
        assert level_db < stated_db + 0.5, (factor, found)  # stated to a whole dB


def test_aliases_at_moderate_drive_are_below_the_noise_of_15_bits() -> None:
    power = np.abs(np.fft.rfft(render(sine(3000.0, seconds=2.1), drive_db=12.0)[44_100:88_200])) ** 2
    harmonic = np.arange(power.size) % 3000 == 0
    heard = np.arange(power.size) < 20_000
    assert 10 * math.log10(power[heard & ~harmonic].sum() / power[heard & harmonic].sum()) < -90.0


def test_latency_is_that_of_the_filters() -> None:
    found = [EFFECT.latency(RATE, EFFECT.defaults() | {"oversampling": float(j)}) for j in range(4)]
    assert found == [0, 64, 72, 74] == list(LATE)


def test_a_factor_turned_between_two_blocks_finds_the_past() -> None:
    x = np.random.default_rng(0).standard_normal((2, 2000)).astype(np.float32)
    settings = EFFECT.defaults() | {"drive_db": 12.0}
    for before in range(4):
        _, state = EFFECT.render(x[:, :900], RATE, None, **(settings | {"oversampling": before}))
        for after in range(4):
            chosen = settings | {"oversampling": after}
            y, _ = EFFECT.render(x[:, 900:], RATE, state, **chosen)
            np.testing.assert_array_equal(y, EFFECT.render(x, RATE, None, **chosen)[0][:, 900:])


def test_rows_may_differ_in_curve_and_oversampling() -> None:
    rng = np.random.default_rng(0)
    rows = [(c, j) for c in range(4) for j in range(4)]
    x = rng.standard_normal((len(rows), 2, 800))
    names = {"drive_db": 9.0, "output_db": -2.0, "bias": 0.5}
    same = {k: torch.full((len(rows),), v, dtype=torch.float64) for k, v in names.items()}
    curves, factors = torch.tensor(rows, dtype=torch.float64).T
    together = EFFECT.forward(torch.from_numpy(x), RATE, **same, curve=curves, oversampling=factors).numpy()
    for i, (c, j) in enumerate(rows):
        alone = np.stack([render(channel, **names, curve=c, oversampling=j) for channel in x[i]])
        # the high-pass of the tube looks for denormals at other places of a signal that begins earlier
        np.testing.assert_allclose(together[i], alone, atol=1e-13 if c == TUBE else 0.0, rtol=0.0)


@pytest.mark.parametrize("factor", range(4))
@pytest.mark.parametrize("kind", range(4))
def test_gradients(kind: int, factor: int) -> None:
    generator = torch.Generator().manual_seed(0)
    # Long enough for two passes of every piece, and for two of the direct form.
    length = 2200
    x = torch.randn(1, 1, length, dtype=torch.float64, generator=generator)
    knobs = [torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (9.0, -4.0, 0.4)]
    weights = torch.randn(1, 1, length, dtype=torch.float64, generator=generator)
    where = torch.tensor([0, 1, 500, 860, 950, 1023, 1024, length - 1])
    part = x[..., where].clone().requires_grad_()

    def run(part: torch.Tensor, drive_db: torch.Tensor, output_db: torch.Tensor, bias: torch.Tensor) -> Any:
        whole = x.index_copy(2, where, part)
        chosen = {"curve": torch.tensor([float(kind)]), "oversampling": torch.tensor([float(factor)])}
        knobs = {"drive_db": drive_db, "output_db": output_db, "bias": bias}
        return (EFFECT.forward(whole, RATE, **knobs, **chosen) * weights).sum()

    # the derivative of tanh is that of tanh, not of the ratio that stands in for it: 1e-7 of a sum of 2200
    assert torch.autograd.gradcheck(run, (part, *knobs), atol=1e-4, rtol=1e-4)


def noise(seconds: float = 3.0) -> Samples:
    x = 0.3 * np.random.default_rng(0).standard_normal((2, round(seconds * RATE)))
    return x.astype(np.float32)


def null_db(y: Samples, truth: Samples) -> float:
    return 20 * math.log10(np.abs(y.astype(np.float64) - truth).max())


@pytest.mark.parametrize("drive_db", [0.0, 12.0, 30.0])
def test_nulls_against_pedalboard(drive_db: float) -> None:
    pedalboard = pytest.importorskip("pedalboard", reason="pedalboard is not installed")
    x = noise()
    truth = pedalboard.Pedalboard([pedalboard.Distortion(drive_db)])(x, RATE)
    y, _ = EFFECT.render(x, RATE, None, **(EFFECT.defaults() | {"drive_db": drive_db, "oversampling": 0}))
    assert null_db(y, truth) < -120.0  # three roundings of float32 on either side: -124 dB


def ffmpeg(x: Samples, filters: str) -> Samples:
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("ffmpeg is not installed")
    raw = ["-f", "f32le", "-ar", str(round(RATE)), "-ac", str(x.shape[0])]
    command = [program, "-v", "error", *raw, "-i", "-", "-af", filters, *raw, "-"]
    out = subprocess.run(command, input=x.T.tobytes(), stdout=subprocess.PIPE, check=True).stdout
    return np.frombuffer(out, np.float32).reshape(-1, x.shape[0]).T


@pytest.mark.parametrize(
    ("kind", "name", "limit_db"),
    # it writes 4/27 = .148148 as .1481: 5e-5 of a cube of up to 1.5^3
    [(TANH, "tanh", -120.0), (SOFT, "cubic", -75.0)],
)
def test_nulls_against_ffmpeg(kind: int, name: str, limit_db: float) -> None:
    x = noise()
    truth = ffmpeg(x, f"volume=12dB:precision=float,asoftclip=type={name}")
    settings = EFFECT.defaults() | {"drive_db": 12.0, "curve": kind, "oversampling": 0}
    assert null_db(EFFECT.render(x, RATE, None, **settings)[0], truth) < limit_db


def test_start_asks_for_drive_only_where_the_reference_has_less_crest() -> None:
    calm, dense = SimpleNamespace(crest_db=16.0), SimpleNamespace(crest_db=11.0)
    guess: Callable[..., dict[str, float]] = saturation.start
    assert guess(dense, calm)["drive_db"] == 0.0
    assert guess(calm, dense) == {"drive_db": 10.0, "output_db": -5.0}
