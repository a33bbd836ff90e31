"""Reverb: Schroeder decays, energy, width, and the noise it is made of."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.signal
import torch

from fxstyle.dsp.noise import centres_hz
from fxstyle.effects.reverb import DRY_DB, EFFECT, response
from fxstyle.octaves import BAND_NAMES

RATE = 48_000.0


def _alike(t60_s, tone_db=0.0):
    """All octaves with one decay and one level."""
    return {f"t60_{b}_s": t60_s for b in BAND_NAMES} | {f"tone_{b}_db": tone_db for b in BAND_NAMES}


def _knobs(**changed):
    settings = {**EFFECT.defaults(), **changed}
    return {name: torch.tensor([value], dtype=torch.float64) for name, value in settings.items()}


def _ir(channels=2, rate=RATE, **changed):
    return response(rate, channels, torch.float64, torch.device("cpu"), None, **_knobs(**changed))[0].numpy()


def _t60_s(ir, centre_hz, rate=RATE):
    """Measure T30 in an octave (ISO 3382: Schroeder integral, line from -5 to -35 dB), filtered backwards."""
    edges = [centre_hz / 2**0.5, min(centre_hz * 2**0.5, 0.49 * rate)]
    sos = scipy.signal.butter(4, edges, "bandpass", fs=rate, output="sos")
    energy = np.cumsum(scipy.signal.sosfilt(sos, ir[::-1]) ** 2)[::-1]
    level_db = 10 * np.log10(np.maximum(energy / energy[0], 1e-12))
    span = np.flatnonzero((level_db <= -5) & (level_db >= -35))
    return -60 / np.polyfit(span / rate, level_db[span], 1)[0]


@pytest.mark.parametrize("rate", [44_100.0, 48_000.0])
@pytest.mark.parametrize("decays_s", [(1.2, 1.0, 0.7), (0.6, 0.5, 0.4), (3.0, 2.0, 0.8), (4.0, 4.0, 4.0)])
def test_each_octave_decays_as_asked(rate, decays_s):
    centres = centres_hz(rate)
    wanted = np.exp(np.interp(np.log(centres), np.log([125, 1000, 8000]), np.log(decays_s)))
    knobs = {f"t60_{band}_s": float(t) for band, t in zip(BAND_NAMES, wanted, strict=True)}
    ir = _ir(rate=rate, **knobs, predelay_ms=0.0)
    found = np.array([[_t60_s(channel, f, rate) for f in centres] for channel in ir])
    error = found / wanted - 1
    # A decay in a low band holds few independent samples (bandwidth x time), hence the two limits.
    assert np.abs(error[:, :3]).max() < 0.12
    assert np.abs(error[:, 3:]).max() < 0.08


@pytest.mark.parametrize("level_db", [-60.0, -14.0, 12.0])
@pytest.mark.parametrize("decay_s", [0.08, 1.0, 8.0])
@pytest.mark.parametrize("rate", [8000.0, 48_000.0])
def test_energy_is_the_level_whatever_the_decay(level_db, decay_s, rate):
    ir = _ir(2, rate, **_alike(decay_s), level_db=level_db)
    np.testing.assert_allclose(10 * np.log10((ir**2).sum(axis=1)), level_db, atol=1e-6)


def test_wet_noise_has_the_level_over_dry_noise():
    x = np.random.default_rng(0).standard_normal((1, 1, 200_000))
    y = EFFECT.forward(torch.from_numpy(x), RATE, **_knobs(**_alike(1.0), level_db=-10.0)).numpy() - x
    settled = slice(60_000, None)
    ratio_db = 10 * np.log10((y[..., settled] ** 2).mean() / (x**2).mean())
    assert ratio_db == pytest.approx(-10.0, abs=0.2)


@pytest.mark.parametrize("changed", ["t60_1k_s", "tone_1k_db"])
def test_the_level_of_an_octave_is_its_tone_whatever_its_decay(changed):
    """By an octave filter of scipy, relative to the octave four below."""
    louder = {"t60_1k_s": 4.0, "tone_1k_db": 9.0}[changed]
    plain, other = (_ir(1, **{**_alike(1.0), **more})[0] for more in ({}, {changed: louder}))
    sos = scipy.signal.butter(6, [1000 / 2**0.5, 1000 * 2**0.5], "bandpass", fs=RATE, output="sos")
    energies = [(scipy.signal.sosfilt(sos, np.pad(ir, (0, 4800))) ** 2).sum() for ir in (plain, other)]
    wanted_db = {"t60_1k_s": 0.0, "tone_1k_db": 9.0}[changed]
    # The noise of half a second is known to 10 log10(1 + 1/sqrt(700 Hz x .07 s)) = .6 dB.
    assert 10 * np.log10(energies[1] / energies[0]) == pytest.approx(wanted_db, abs=1.2)


def test_tones_add_to_the_level():
    energies = [(_ir(1, **_alike(0.5, tone), level_db=-6.0)[0] ** 2).sum() for tone in (-5.0, 0.0, 5.0)]
    np.testing.assert_allclose(10 * np.log10(energies), [-11.0, -6.0, -1.0], atol=1e-6)


def test_an_onset_rises_like_a_charging_capacitor():
    sudden, slow = (_ir(1, onset_ms=ms, predelay_ms=10.0)[0] for ms in (0.1, 20.0))
    t_ms = np.arange(sudden.size) / 48.0 - 10.0
    rise = 1 - np.exp(-np.maximum(t_ms, 0.0) / 20.0)
    # Both have the same energy; and within the four taps of the delay the rise has to be somewhere.
    wanted = sudden * rise
    wanted *= np.sqrt((slow**2).sum() / (wanted**2).sum())
    assert ((slow - wanted) ** 2).sum() < 1e-4 * (slow**2).sum()


def test_predelay_moves_the_onset():
    early, late = (_ir(1, predelay_ms=ms)[0] for ms in (0.0, 100.0))
    assert not late[:4799].any()
    np.testing.assert_allclose(
        late[4799 : 4799 + early.size], np.pad(early, (1, 0))[: early.size], atol=1e-12
    )


@pytest.mark.parametrize(("width", "correlation"), [(0.0, 1.0), (0.5, 0.5**0.5), (1.0, 0.0)])
def test_width_is_the_correlation_of_the_channels(width, correlation):
    left, right = _ir(2, width=width, **_alike(4.0))
    found = (left * right).sum() / np.sqrt((left**2).sum() * (right**2).sum())
    assert found == pytest.approx(correlation, abs=0.02)


def test_mono_stays_mono():
    tone = np.random.default_rng(0).standard_normal(3000)
    one = torch.from_numpy(tone)[None, None]
    wide, narrow = (EFFECT.forward(one, RATE, **_knobs(width=w)) for w in (1.0, 0.0))
    assert torch.equal(wide, narrow)
    two = EFFECT.forward(one.expand(1, 2, 3000), RATE, **_knobs(width=0.0))
    torch.testing.assert_close(two[:, 0], two[:, 1], rtol=0, atol=1e-12)
    torch.testing.assert_close(two[:, :1], wide, rtol=0, atol=1e-12)


def test_reverb_is_linear_time_invariant_and_the_same_each_time():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 1, 2, 4000, dtype=torch.float64, generator=generator)
    knobs = _knobs()
    run = lambda x: EFFECT.forward(x, RATE, **knobs)  # noqa: E731
    assert torch.equal(run(a), run(a))
    torch.testing.assert_close(run(2 * a - b), 2 * run(a) - run(b), rtol=0, atol=1e-11)
    later = torch.nn.functional.pad(a, (500, 0))
    torch.testing.assert_close(run(later)[..., 500:], run(a), rtol=0, atol=1e-11)


def test_rows_of_a_batch_do_not_depend_on_each_other():
    x = torch.randn(2, 2, 5000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    short, long = _knobs(**_alike(0.1)), _knobs(t60_1k_s=3.0, onset_ms=7.0)
    both = {name: torch.cat([short[name], long[name]]) for name in short}
    together = EFFECT.forward(x, RATE, **both)
    for row, knobs in enumerate((short, long)):
        alone = EFFECT.forward(x[row : row + 1], RATE, **knobs)
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-11)


def test_stream_of_real_length_equals_forward():
    x = np.random.default_rng(0).standard_normal((2, 60_000)).astype(np.float32)
    latency = EFFECT.latency(RATE, EFFECT.defaults())
    y, _ = EFFECT.render(np.pad(x, ((0, 0), (0, latency))), RATE, None, **EFFECT.defaults())
    knobs = {name: value.float() for name, value in _knobs().items()}
    truth = EFFECT.forward(torch.from_numpy(x)[None], RATE, **knobs)[0].numpy()
    assert np.abs(y[:, latency:] - truth).max() < 1e-5


def test_gradients():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 2, 40, dtype=torch.float64, generator=generator, requires_grad=True)
    knobs = {
        **{f"t60_{band}_s": [0.0803 + 0.01 * i, 0.2003 - 0.01 * i] for i, band in enumerate(BAND_NAMES)},
        "level_db": [-6.0, 3.0],
        **{f"tone_{band}_db": [-3.0 + i, 4.0 - i] for i, band in enumerate(BAND_NAMES)},
        "predelay_ms": [0.3, 7.7],
        "onset_ms": [5.0, 1.0],
        "width": [0.4, 0.9],
    }
    values = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in knobs.values()]

    def run(x, *values):
        return EFFECT.forward(x, 2000.0, **dict(zip(knobs, values, strict=True)))

    assert torch.autograd.gradcheck(run, (x, *values))


def test_new_settings_in_a_stream_take_over_with_the_next_group():
    rate, settings = 8000.0, {**EFFECT.defaults(), "predelay_ms": 0.0}
    louder = {**settings, "level_db": settings["level_db"] + 20.0}
    latency = EFFECT.latency(rate, EFFECT.defaults())
    x = np.random.default_rng(0).standard_normal((2, 4 * latency))
    _, state = EFFECT.render(x[:, : 2 * latency], rate, None, **settings)
    y, _ = EFFECT.render(x[:, 2 * latency :], rate, state, **louder)
    dry = x[:, latency : 3 * latency]
    old, new = (EFFECT.render(x, rate, None, **s)[0][:, 2 * latency :] for s in (settings, louder))
    np.testing.assert_array_equal(y[:, :latency], old[:, :latency])
    np.testing.assert_allclose(y[:, latency:], new[:, latency:], atol=1e-12)
    np.testing.assert_allclose(new - dry, 10 * (old - dry), atol=1e-12)


def _measured(decay_s):
    return SimpleNamespace(decay_hz=62.5 * 2.0 ** np.arange(8), decay_s=np.asarray(decay_s))


def test_start_takes_the_decay_of_a_longer_reference():
    decays_s = [2.4, 2.4, 2.4, 1.5, 1.5, 1.5, 0.9, 0.9]
    dry, wet = _measured([0.3] * 8), _measured(decays_s)
    assert EFFECT.start(wet, dry)["level_db"] == DRY_DB
    assert EFFECT.start(dry, _measured([np.nan] * 8))["level_db"] == DRY_DB
    guess = EFFECT.start(dry, wet)
    # an octave to either side counts
    assert [guess[f"t60_{b}_s"] for b in BAND_NAMES] == pytest.approx(
        [2.4, 2.4, 2.4, 1.5, 1.5, 1.5, 0.9, 0.9]
    )
    assert DRY_DB < guess["level_db"] < 0.0
