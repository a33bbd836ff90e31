"""Feedback delay network: a loop over time, decays, energy, density, width."""

import math

import numpy as np
import pytest
import scipy.signal
import scipy.special
import torch

from fxstyle.dsp import attenuation
from fxstyle.dsp.attenuation import BAND_NAMES, CENTRES_HZ
from fxstyle.dsp.network import DELAYS_S, INPUT_SIGNS, OUTPUT_SIGNS, matrix
from fxstyle.effects.fdn import EFFECT, response

RATE = 48_000.0
CPU = torch.device("cpu")

FLAT_S = (1.0,) * 9
HALL_S = (3.2, 3.0, 2.6, 2.3, 2.1, 1.9, 1.5, 1.0, 0.6)
SMOOTH_S = (1.3, 1.3, 1.2, 1.1, 1.0, 0.9, 0.75, 0.6, 0.45)
JAGGED_S = (2.0, 0.8, 1.8, 0.7, 2.0, 0.9, 1.6, 0.6, 0.5)


def _ir(t60_s=SMOOTH_S, channels=2, rate=RATE, tone_db=(0.0,) * 9, dtype=torch.float64, **changed):
    bands = {f"t60_{name}_s": value for name, value in zip(BAND_NAMES, t60_s, strict=True)}
    bands |= {f"tone_{name}_db": value for name, value in zip(BAND_NAMES, tone_db, strict=True)}
    settings = {**EFFECT.defaults(), "predelay_ms": 0.0, **bands, **changed}
    knobs = {name: torch.tensor([value], dtype=torch.float64) for name, value in settings.items()}
    return response(rate, channels, dtype, CPU, None, **knobs)[0].numpy()


def _curve(values, count):
    """Return a curve through the bands' values at `count` frequencies from 0 Hz to half the rate."""
    octave = np.log2(np.maximum(np.arange(count) / (count - 1) * RATE / 2, 1e-9) / CENTRES_HZ[0]).clip(0, 8)
    band = np.minimum(octave.astype(int), 7)
    share = np.sin(np.pi / 2 * (octave - band)) ** 2
    values = np.asarray(values)
    return (1 - share) * values[band] + share * values[band + 1]


def _least_phase(log_magnitude, taps, room=1 << 18):
    """Return the first taps of the minimum-phase filter with this magnitude (A. V. Oppenheim's way)."""
    cepstrum = np.fft.irfft(log_magnitude, room)
    cepstrum[1 : room // 2] *= 2
    cepstrum[room // 2 + 1 :] = 0
    return np.fft.irfft(np.exp(np.fft.rfft(cepstrum)), room)[:taps]


def _loop(t60_s, tone_db, predelay, count):
    """Run the network in time, in blocks within its shortest delay: each line of its delay and filter."""
    loss = math.log(1000.0) / np.exp(_curve(np.log(t60_s), (1 << 17) + 1))
    tone = math.log(10.0) / 20.0 * _curve(tone_db, loss.size)
    delays = np.round(np.array(DELAYS_S) * RATE).astype(int)
    taps = 1 << 14
    filters = [_least_phase(-loss * delay, taps) for delay in DELAYS_S]
    block, reach = int(delays.min()), taps + int(delays.max())
    fed, late = np.zeros((16, reach + count + block)), np.zeros((16, count + block))
    fed[:, reach] = INPUT_SIGNS
    for n in range(0, count, block):
        for i, m in enumerate(delays):
            seen = fed[i, reach + n - m - taps + 1 : reach + n - m + block]
            late[i, n : n + block] = scipy.signal.fftconvolve(seen, filters[i], "valid")
        fed[:, reach + n : reach + n + block] += matrix() @ late[:, n : n + block]
    left = np.mean([np.exp(-2 * delay * loss) for delay in DELAYS_S], axis=0)
    colour = _least_phase(tone + 0.5 * np.log((1 - left) / left), taps)
    fade = scipy.signal.firwin(
        attenuation._TAPER_TAPS,
        1.0 - attenuation._TAPER_WIDTH,
        window=("kaiser", scipy.signal.kaiser_beta(attenuation._TAPER_DB)),
    )
    heard = scipy.signal.fftconvolve(OUTPUT_SIGNS[:2] @ late, np.convolve(colour, fade)[None])
    heard = np.pad(heard, ((0, 0), (predelay, 0)))
    return heard[:, attenuation.GUARD : attenuation.GUARD + count]


@pytest.mark.parametrize("t60_s", [FLAT_S, SMOOTH_S, JAGGED_S])
def test_it_is_what_a_loop_over_time_computes(t60_s):
    tone_db = (3.0, 0.0, -5.0, 2.0, 0.0, 4.0, -3.0, 0.0, 6.0)
    found = _ir(t60_s, tone_db=tone_db, predelay_ms=4.0, width=1.0)
    truth = _loop(t60_s, tone_db, 192, found.shape[1])
    truth *= np.sqrt((found**2).sum(axis=1) / (truth**2).sum(axis=1))[:, None]
    error = lambda h: 20 * np.log10(np.abs(h - truth).max() / np.abs(truth).max())  # noqa: E731
    assert error(found) < -100.0
    assert error(_ir(t60_s, tone_db=tone_db, predelay_ms=4.0, width=1.0, dtype=torch.float32)) < -100.0


def _t60_s(irs, centre_hz, octaves):
    """Measure T30 of the mean energy of responses (ISO 3382-2), filtered backwards, around a centre."""
    edges = [centre_hz * 2 ** (-octaves / 2), centre_hz * 2 ** (octaves / 2)]
    sos = scipy.signal.butter(4, edges, "bandpass", fs=RATE, output="sos")
    energy = sum((scipy.signal.sosfilt(sos, ir[:, ::-1]) ** 2).sum(axis=0) for ir in irs)
    level_db = 10 * np.log10(np.maximum(np.cumsum(energy)[::-1] / energy.sum(), 1e-12))
    span = np.flatnonzero((level_db <= -5) & (level_db >= -35))
    return -60 / np.polyfit(span / RATE, level_db[span], 1)[0]


# A single response of few modes beats (in an octave at 63 Hz there are twenty); of the mean energy over sizes
# and channels hardly anything of that is left. Between jumps a third of an octave sees both neighbours.
@pytest.mark.parametrize(
    ("t60_s", "within"), [(FLAT_S, 0.05), (SMOOTH_S, 0.05), (HALL_S, 0.05), (JAGGED_S, 0.08)]
)
def test_each_band_decays_as_asked(t60_s, within):
    irs = [_ir(t60_s, 4, size=size) for size in (0.7, 0.8, 0.9, 1.0, 1.12, 1.25, 1.4)]
    longest = max(ir.shape[1] for ir in irs)
    irs = [np.pad(ir, ((0, 0), (0, longest - ir.shape[1]))) for ir in irs]
    found = np.array([_t60_s(irs, centre, 1 / 3) for centre in CENTRES_HZ])
    np.testing.assert_allclose(found, t60_s, rtol=within)


@pytest.mark.parametrize("t60", [0.08, 1.0, 10.0])
@pytest.mark.parametrize("size", [0.5, 2.0])
@pytest.mark.parametrize("rate", [8000.0, 48_000.0])
def test_energy_is_the_level_whatever_decay_and_size(t60, size, rate):
    ir = _ir((t60,) * 9, 4, rate, level_db=-9.0, size=size)
    # above .46 of the rate, where the fade-out has half its amplitude, there is nothing
    np.testing.assert_allclose(10 * np.log10((ir**2).sum(axis=1)), -9.0 + 10 * np.log10(0.92), atol=0.1)


def test_each_octave_has_its_level_whatever_its_decay():
    tone_db = (-6.0, 4.0, 0.0, -9.0, 3.0, 0.0, 8.0, -4.0, 0.0)
    power = (
        sum(
            np.abs(np.fft.rfft(_ir(t60_s, 4, tone_db=tone_db, size=size), 1 << 18)) ** 2
            for t60_s in (HALL_S, JAGGED_S)
            for size in (0.7, 0.85, 1.0, 1.2, 1.4)
        ).sum(axis=0)
        / 40.0
    )
    hz = np.fft.rfftfreq(1 << 18, 1 / RATE)
    found = [power[(hz > 0.94 * f) & (hz < 1.06 * f)].mean() for f in CENTRES_HZ]
    # few modes make up the lowest band
    np.testing.assert_allclose(10 * np.log10(found)[1:], np.array(tone_db)[1:] - 14.0, atol=1.0)
    assert 10 * np.log10(found[0]) == pytest.approx(tone_db[0] - 14.0, abs=2.0)


def _echo_density(ir, at_s):
    """Return J. S. Abel's and P. Huang's density (AES 121, 2006, eq. 1): 1 for Gaussian noise."""
    length = round(0.02 * RATE)
    window = np.hanning(length)
    window /= window.sum()
    begin = round(at_s * RATE) - length // 2
    here = ir[begin : begin + length]
    outside = np.abs(here) > np.sqrt((window * here**2).sum())
    return (window * outside).sum() / scipy.special.erfc(1 / math.sqrt(2))


def test_echoes_get_dense():
    irs = _ir((2.0,) * 9, 4)
    density = [np.mean([_echo_density(ir, at) for ir in irs]) for at in (0.05, 0.1, 0.2)]
    assert density[0] < 0.5
    assert density[1] > 0.7
    assert density[2] == pytest.approx(1.0, abs=0.08)


@pytest.mark.parametrize("size", [0.5, 1.0, 1.7])
@pytest.mark.parametrize("predelay_ms", [0.0, 33.3])
def test_it_sets_in_after_predelay_and_shortest_way(size, predelay_ms):
    ir = _ir(size=size, predelay_ms=predelay_ms)
    onset = (predelay_ms / 1000.0 + size * DELAYS_S[0]) * RATE
    before, first = int(onset) - attenuation.GUARD - 2, ir[:, int(onset) - 2 : int(onset) + 4]
    assert np.abs(ir[:, :before]).max() < 1e-6 * np.abs(ir).max()
    assert (np.abs(first).max(axis=1) > 0.1 * np.abs(ir).max(axis=1)).all()


@pytest.mark.parametrize("t60", [0.1, 0.3, 1.0, 5.0])
def test_four_channels_do_not_resemble_each_other(t60):
    alike = np.corrcoef(_ir((t60,) * 9, 4))
    assert np.abs(alike - np.eye(4)).max() < 0.1


@pytest.mark.parametrize("width", [0.0, 0.5])
def test_width_is_the_correlation_of_the_channels(width):
    left, right = _ir(HALL_S, width=width)
    found = (left * right).sum() / np.sqrt((left**2).sum() * (right**2).sum())
    assert found == pytest.approx(math.cos(width * math.pi / 2), abs=0.06)


def test_mono_stays_mono():
    one = _ir(channels=1)
    np.testing.assert_array_equal(_ir(channels=1, width=0.0), one)
    np.testing.assert_allclose(_ir(channels=2, width=0.0), np.repeat(one, 2, axis=0), atol=1e-12)


def test_between_samples_size_and_predelay_are_continuous():
    base = _ir()
    for knob, step in (("size", 1e-9), ("predelay_ms", 1e-9), ("t60_1k_s", 1e-9)):
        index = {"t60_1k_s": 4}.get(knob)
        if index is None:
            near = _ir(**{knob: (1.0 if knob == "size" else 0.0) + step})
        else:
            near = _ir((*SMOOTH_S[:4], SMOOTH_S[4] + step, *SMOOTH_S[5:]))
        assert np.abs(near - base).max() < 1e-4 * np.abs(base).max()


def test_any_knobs_give_a_stable_room():
    # neighbours that jump over the whole range, where graphic equalisers overshoot
    for seed in range(6):
        t60_s = np.random.default_rng(seed).choice([0.08, 10.0], 9)
        ir = _ir(t60_s, 1, 16_000.0)
        quarters = np.square(ir[0][: ir.shape[1] // 4 * 4]).reshape(4, -1).sum(axis=1)
        assert (np.diff(10 * np.log10(quarters)) < -10.0).all()


def test_gradients():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((2, 2, 60))).requires_grad_()
    values = []
    for param in EFFECT.params:
        low = 0.1 if not param.name.startswith("t60") else 0.05
        high = 0.9 if not param.name.startswith("t60") else 0.3
        values.append(param.from_unit(torch.from_numpy(rng.uniform(low, high, 2))).requires_grad_())

    def run(x, *values):
        knobs = {param.name: value for param, value in zip(EFFECT.params, values, strict=True)}
        return EFFECT.forward(x, 2000.0, **knobs)

    assert torch.autograd.gradcheck(run, (x, *values), fast_mode=True)
