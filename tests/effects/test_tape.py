"""Tape: pitch and distortion in closed form, the head against analogue filters, and no tape at all."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.integrate
import scipy.signal
import scipy.special
import torch

from fxstyle.dsp import varispeed
from fxstyle.effect import Samples
from fxstyle.effects.tape import BUMP_Q, EFFECT, MOL_DRIVE

RATE = 44100.0
# No saturation, no head, no sway: as little as the knobs allow.
NOTHING = {
    "drive_db": -36.0,
    "bump_db": 0.0,
    "loss_hz": 100_000.0,
    "wow_percent": 0.0,
    "flutter_percent": 0.0,
}
Floats = npt.NDArray[Any]


def render(x: Samples, rate: float = RATE, **settings: float) -> Samples:
    """Run (channel, time), aligned with its input."""
    given = EFFECT.defaults() | settings
    late = EFFECT.latency(rate, given)
    padded = np.concatenate([x, np.zeros((x.shape[0], late), x.dtype)], axis=1)
    y: Samples = EFFECT.render(padded, rate, None, **given)[0][:, late:]
    return y


def sine(frequency_hz: float, amplitude: float = 1.0, seconds: float = 2.0) -> Samples:
    n = np.arange(round(seconds * RATE))
    return amplitude * np.sin(2.0 * np.pi * frequency_hz * n / RATE)[None]


def response(**settings: float) -> tuple[Floats, npt.NDArray[np.complex128]]:
    """Return frequencies in Hz and the response of the head, from a small impulse without sway."""
    x = np.zeros((1, 1 << 16))
    x[0, 1 << 15] = 1e-3
    y = render(x, **(NOTHING | settings))[0]
    return np.fft.rfftfreq(x.size, 1.0 / RATE), np.fft.rfft(y) / np.fft.rfft(x[0])


def decibels(h: npt.NDArray[np.complex128]) -> Floats:
    return 20.0 * np.log10(np.abs(h))


def test_with_everything_at_its_least_it_is_a_delay() -> None:
    f, h = response()
    # the oversampling filters' slope begins at .455 of the rate
    assert decibels(h - 1.0)[f < 4_000.0].max() < -80.0
    assert decibels(h - 1.0)[f < 20_000.0].max() < -58.0
    x = sine(997.0)
    # the rest at full scale is the third harmonic, (d^2/12) of it at d = .63 - 36 dB: -104 dB; and u - u^3/3
    assert np.abs(render(x, **NOTHING) - x)[:, 500:-500].max() < 10 ** (-80.0 / 20.0)


def test_depth_zero_is_a_fixed_delay_to_the_bit() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3000)).astype(np.float32)
    settings = np.array((0.0, 0.7 / RATE, 0.0, 9.0 / RATE))
    y, _ = varispeed.sway_block(x, settings, 40, -40, None)
    np.testing.assert_array_equal(y[:, 40:], x[:, :-40])


def test_full_scale_at_the_maximum_output_level_has_three_per_cent_of_third_harmonic() -> None:
    for drive_db, level in ((0.0, 1.0), (12.0, 10.0 ** (-12.0 / 20.0))):
        y = render(sine(1000.0, level, 3.0), **(NOTHING | {"drive_db": drive_db}))[0, 44_100:88_200]
        power = np.abs(np.fft.rfft(y))
        assert power[3000] / power[1000] == pytest.approx(0.03, rel=1e-3)  # the filters' ripple
        assert power[1000] / 22_050 / level == pytest.approx(10.0 ** (-0.8 / 20.0), abs=0.005)
        assert power[2000] / power[1000] < 1e-6


def harmonics_of_tanh(d: float, count: int) -> Floats:
    """Amplitudes of the odd harmonics 1, 3 .. of tanh(d sin a)/d, by quadrature of Fourier's integral."""
    return np.array(
        [
            scipy.integrate.quad(lambda a, k=k: np.tanh(d * np.sin(a)) / d * np.sin(k * a), 0.0, np.pi)[0]
            * 2.0
            / np.pi
            for k in range(1, 2 * count, 2)
        ]
    )


def lines(y: Samples, first_hz: int, count: int) -> Floats:
    """Amplitudes of the odd multiples of first_hz in the second second of y."""
    spectrum = 2.0 * np.abs(np.fft.rfft(y[0, 44_100:88_200])) / 44_100
    return spectrum[first_hz * np.arange(1, 2 * count, 2)]


@pytest.mark.parametrize("drive_db", [-12.0, 0.0, 9.0, 18.0])
def test_the_harmonics_are_those_of_fouriers_integral(drive_db: float) -> None:
    d = MOL_DRIVE * 10.0 ** (drive_db / 20.0)
    found = lines(render(sine(700.0, 1.0, 3.0), **(NOTHING | {"drive_db": drive_db})), 700, 8)
    truth = harmonics_of_tanh(d, 8)
    # tanh is right to 1.2e-7 and the half-bands ripple by -90 dB; the loss at 100 kHz takes 2e-5 at 10 kHz.
    np.testing.assert_allclose(found, truth, atol=1e-4 * truth[0])
    assert truth[1] > 0.001 * truth[0]


@pytest.mark.parametrize(
    ("tone_hz", "head"),
    [(60, {"bump_hz": 60.0, "bump_db": 6.0}), (1500, {"loss_hz": 4000.0}), (700, {"loss_hz": 2000.0})],
)
def test_the_head_comes_after_the_saturation(tone_hz: int, head: dict[str, float]) -> None:
    settings = NOTHING | head | {"drive_db": 9.0, "output_db": -3.0}
    found = lines(render(sine(tone_hz, 1.0, 3.0), **settings), tone_hz, 4)
    d, f = MOL_DRIVE * 10.0 ** (9.0 / 20.0), tone_hz * np.arange(1, 8, 2)
    w = 1j * f / settings["bump_hz"] if "bump_hz" in head else np.zeros(4)
    a = 10.0 ** (settings["bump_db"] / 40.0)
    bump = (w * w + w * a / BUMP_Q + 1.0) / (w * w + w / (a * BUMP_Q) + 1.0)
    loss = 1.0 / np.sqrt(1.0 + (f / settings["loss_hz"]) ** 4)
    truth = 10.0 ** (-3.0 / 20.0) * harmonics_of_tanh(d, 4) * np.abs(bump) * loss
    # The digital loss is right to 0.1 dB here; in the other order the harmonics differ by 1 dB and more.
    np.testing.assert_allclose(20.0 * np.log10(found / truth), 0.0, atol=0.1)


def test_the_head_comes_after_the_transport() -> None:
    # As the pitch sways so does what the head loses of it: the level follows the slope of the loss.
    tone_hz, loss_hz, wow_hz, percent = 6000.0, 3000.0, 2.0, 1.0
    sway = {"wow_hz": wow_hz, "wow_percent": percent, "loss_hz": loss_hz}
    y = render(sine(tone_hz, 0.2, 4.0), **(NOTHING | sway))[0]
    level_db = 20.0 * np.log10(np.abs(scipy.signal.hilbert(y)) / 0.2)
    now_hz = tone_hz * (1.0 + 0.01 * percent * np.cos(2.0 * np.pi * wow_hz * np.arange(y.size) / RATE))
    truth_db = -10.0 * np.log10(1.0 + (now_hz / loss_hz) ** 4)
    middle = slice(22_050, -22_050)
    swing_db = np.ptp(truth_db[middle])
    assert swing_db > 0.3
    # the loss's own error moves with frequency; what matters is that it sways
    difference = (level_db - truth_db)[middle]
    np.testing.assert_allclose(difference, difference.mean(), atol=0.02 * swing_db)
    assert abs(difference.mean()) < 0.1


@pytest.mark.parametrize(
    ("hz", "percent", "name"), [(4.0, 0.15, "wow"), (9.0, 0.2, "flutter"), (20.0, 0.9, "flutter")]
)
def test_sidebands_of_a_swaying_tone_are_bessel_functions(hz: float, percent: float, name: str) -> None:
    # 3150 Hz, the tone of IEC 60386. Its phase sways by b = percent/100 3150/hz: lines J_k(b), hz apart.
    sway = {f"{name}_hz": hz, f"{name}_percent": percent}
    y = render(sine(3150.0, 0.3, 3.0), **(NOTHING | sway))
    spectrum = 2.0 * np.abs(np.fft.rfft(y[0, 44_100:88_200])) / 44_100 / 0.3
    k = np.arange(-6, 7)
    truth = np.abs(scipy.special.jv(k, 0.01 * percent * 3150.0 / hz))
    # interpolation, which is right to -66 dB at a fifth of the rate, and the third harmonic's share
    np.testing.assert_allclose(spectrum[(3150 + k * hz).astype(int)], truth, atol=5e-4)


@pytest.mark.parametrize(("wow_percent", "flutter_percent"), [(0.5, 0.0), (0.0, 0.3), (0.3, 0.2), (1.0, 1.0)])
def test_the_pitch_sways_by_the_closed_form(wow_percent: float, flutter_percent: float) -> None:
    wow_hz, flutter_hz, tone_hz = 1.0, 8.0, 3150.0
    sway = {"wow_percent": wow_percent, "flutter_percent": flutter_percent}
    y = render(sine(tone_hz, 0.5, 4.0), wow_hz=wow_hz, flutter_hz=flutter_hz, **(NOTHING | sway))[0]
    phase = np.unwrap(np.angle(scipy.signal.hilbert(y)))
    n = np.arange(1, y.size - 1)
    found = (phase[2:] - phase[:-2]) / 2.0 * RATE / (2.0 * np.pi) / tone_hz - 1.0
    truth = 0.01 * (
        wow_percent * np.cos(2.0 * np.pi * wow_hz * n / RATE)
        + flutter_percent * np.cos(2.0 * np.pi * flutter_hz * n / RATE)
    )
    middle = slice(22_050, -22_050)  # the analytic signal is wrong near the ends
    # the slope of the interpolation is right to half a per cent
    room = 0.005 * 0.01 * (wow_percent + flutter_percent)
    np.testing.assert_allclose(found[middle], truth[middle], atol=room)
    # whole periods of both: no net shift, to the rounding of the phase at both ends
    assert abs(phase[3 * 44_100] - phase[44_100] - 2.0 * np.pi * tone_hz * 2.0) < 1e-3


def test_a_tone_is_read_where_the_closed_form_says() -> None:
    wow_hz, wow_percent = 0.8, 0.4
    x = sine(2000.0, 0.3, 3.0)
    y = render(x, **(NOTHING | {"wow_hz": wow_hz, "wow_percent": wow_percent}))
    n = np.arange(x.shape[1])
    at = n + 0.01 * wow_percent * RATE / (2.0 * np.pi * wow_hz) * np.sin(2.0 * np.pi * wow_hz * n / RATE)
    truth = 0.3 * np.sin(2.0 * np.pi * 2000.0 * at / RATE)
    # the loss at 100 kHz delays by 0.003 samples; interpolation
    np.testing.assert_allclose(y[0, 500:-500], truth[500:-500], atol=0.3 * 2e-3)


def test_channels_share_one_transport() -> None:
    x = np.random.default_rng(0).standard_normal((1, 20_000)) * 0.1
    y = render(np.concatenate([x, x, x]), wow_percent=0.8, flutter_percent=0.5)
    np.testing.assert_array_equal(y[1], y[0])
    np.testing.assert_array_equal(y[2], y[0])


@pytest.mark.parametrize(("bump_hz", "bump_db"), [(30.0, 3.0), (60.0, 1.5), (120.0, 6.0)])
def test_the_bump_is_the_analogue_peaking_filter(bump_hz: float, bump_db: float) -> None:
    f, h = response(bump_hz=bump_hz, bump_db=bump_db)
    s, a = 1j * f / bump_hz, 10.0 ** (bump_db / 40.0)
    truth = (s * s + s * a / BUMP_Q + 1.0) / (s * s + s / (a * BUMP_Q) + 1.0)  # RBJ's prototype
    heard = (f > 10.0) & (f < 3000.0)
    # the bilinear transform at 120 Hz warps by 2e-5; half a second on either side of the impulse
    np.testing.assert_allclose(decibels(h)[heard], decibels(truth)[heard], atol=0.01)
    assert decibels(h)[heard].max() == pytest.approx(bump_db, abs=0.01)


@pytest.mark.parametrize("loss_hz", [3000.0, 8000.0, 12_000.0, 16_000.0, 30_000.0, 100_000.0])
def test_the_loss_is_the_analogue_butterworth(loss_hz: float) -> None:
    f, h = response(loss_hz=loss_hz)
    heard = f < 20_000.0
    truth_db = -10.0 * np.log10(1.0 + (f[heard] / loss_hz) ** 4)
    assert np.abs(decibels(h)[heard] - truth_db).max() < 1.0
    if loss_hz < 13_000.0:
        assert np.interp(loss_hz, f, decibels(h)) == pytest.approx(-10.0 * math.log10(2.0), abs=0.1)


def test_more_drive_compresses_and_keeps_low_levels() -> None:
    loud, soft = sine(500.0, 0.9), sine(500.0, 1e-4)
    levels = [np.abs(render(loud, drive_db=d)).max() for d in (-36.0, 0.0, 12.0, 24.0)]
    assert levels[0] > levels[1] > levels[2] > levels[3]
    for drive_db in (-36.0, 24.0):
        y = render(soft, **(NOTHING | {"drive_db": drive_db}))
        np.testing.assert_allclose(y[:, 500:-500], soft[:, 500:-500], atol=1e-7)


@pytest.mark.parametrize(("share", "error_db"), [(0.2, -66.0), (0.37, -58.0), (0.4, -32.0)])
def test_the_interpolation_is_as_exact_as_stated(share: float, error_db: float) -> None:
    t = np.linspace(0.0, 1.0, 401, endpoint=False)
    angle = 2.0 * np.pi * share
    worst = 0.0
    for part in (np.cos, np.sin):  # one complex exponential
        y = np.empty(1)
        for fraction in t:
            x = part(angle * (np.arange(varispeed.TAPS) - varispeed.BEFORE))
            varispeed._read(x, np.array([fraction]), y)
            worst = max(worst, abs(y[0] - part(angle * fraction)))
    assert worst < 10.0 ** (error_db / 20.0)


def test_the_interpolation_has_no_step_and_hardly_a_bend() -> None:
    x = np.random.default_rng(0).standard_normal((1, 40))
    y, step = np.empty(1), 1e-6
    values = []
    for tap, t in ((10, 1.0 - step), (10, 1.0 - 1e-12), (11, 0.0), (11, step)):
        varispeed._read(x[0, tap:], np.array([t]), y)
        values.append(y[0])
    assert values[1] == pytest.approx(values[2], abs=1e-10)
    left, right = (values[2] - values[0]) / step, (values[3] - values[2]) / step
    assert left == pytest.approx(right, abs=0.002 * np.abs(x[0, 10:27]).sum())


@pytest.mark.parametrize("first", [0, -700])
def test_gradients_of_the_sway(first: int) -> None:
    generator = torch.Generator().manual_seed(1)
    # Two passes, and sways fast enough that k changes several times in each.
    x = torch.randn(2, 2, 700, dtype=torch.float64, generator=generator, requires_grad=True)
    # Frequencies in units small enough for the differences: an angle is 2 pi f times up to 700.
    unit = torch.tensor([1.0, 1e-4, 1.0, 1e-4], dtype=torch.float64)
    rows = torch.tensor([[3.3, 40.0, 0.7, 310.0], [0.0, 20.0, 1.9, 110.0]], dtype=torch.float64)

    def run(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return varispeed.sway(x, rows * unit, first)

    # a step of the differences may cross a whole number, where the slope jumps by 0.2 %
    assert torch.autograd.gradcheck(run, (x, rows.requires_grad_()), atol=1e-3, rtol=1e-3, fast_mode=True)


def test_the_sway_reads_what_a_loop_reads() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal(1500)
    p = np.array((5.3, 0.0021, 0.9, 0.017))
    y = varispeed.sway(torch.from_numpy(x)[None, None], torch.from_numpy(p)[None], 37)[0, 0].numpy()
    padded = np.pad(x, 60)
    for n in range(0, x.size, 7):
        q = sum(p[2 * j] * math.sin(2.0 * math.pi * p[2 * j + 1] * (37 + n)) for j in range(2))
        k = math.floor(q)
        powers = (q - k) ** np.arange(varispeed.DEGREE + 1)
        begin = 60 + n + k - varispeed.BEFORE
        assert y[n] == pytest.approx(
            powers @ varispeed.WEIGHTS @ padded[begin : begin + varispeed.TAPS], abs=1e-11
        )


def test_a_stream_counts_its_time() -> None:
    # an hour in, the sway stands where the closed form has it: the state carries the time, not a phase
    x = sine(1000.0, 0.1, 0.5)
    given = EFFECT.defaults() | NOTHING | {"wow_percent": 0.5, "wow_hz": 0.7}
    late = EFFECT.latency(RATE, given)
    _, state = EFFECT.render(np.zeros((1, 100)), RATE, None, **given)
    begin = 3600 * 44_100
    later = state._replace(inner=replace(state.inner, time=begin))
    y, _ = EFFECT.render(np.concatenate([x, np.zeros((1, late))], axis=1), RATE, later, **given)
    n = np.arange(x.size)
    at = n + 0.005 * RATE / (2.0 * np.pi * 0.7) * np.sin(2.0 * np.pi * 0.7 * (begin + n) / RATE)
    truth = 0.1 * np.sin(2.0 * np.pi * 1000.0 * at / RATE)
    np.testing.assert_allclose(y[0, late + 500 : -500], truth[500:-500], atol=0.1 * 2e-3)
