"""Convolution: scipy's, octaves that add up, decays that scale, what is early and what is late."""

import numpy as np
import pytest
import scipy.signal
import torch

from fxstyle import responses
from fxstyle.effects.convolution import EFFECT, response
from fxstyle.octaves import BAND_NAMES
from fxstyle.rooms.banded import banded, split
from fxstyle.rooms.iso3382 import measure_response

RATE = 48_000.0


def _noise(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def _fading(t60_s=0.5, seconds=1.0, floor_db=-np.inf, channels=2, rate=RATE):
    """A decay of white noise, of 60 dB in t60_s, over noise that stays."""
    t = np.arange(round(seconds * rate)) / rate
    still = 10 ** (floor_db / 20) * _noise((channels, t.size), 1)
    return 10 ** (-3 * t / t60_s) * _noise((channels, t.size)) + still


def _number(h, rate=RATE, name="test.wav"):
    return responses.add(responses.response(name, h, int(rate)))


def _knobs(**changed):
    settings = {**EFFECT.defaults(), **changed}
    return {name: torch.tensor([float(v)], dtype=torch.float64) for name, v in settings.items()}


def _ir(h, rate=RATE, at=RATE, **changed):
    knobs = _knobs(ir=_number(h, rate), **{"level_db": 0.0, **changed})
    return response(at, h.shape[0], torch.float64, torch.device("cpu"), None, **knobs)[0].numpy()


def test_plain_it_is_scipys_convolution():
    h, x = _fading(), _noise((2, 30_000), 2)
    knobs = _knobs(ir=_number(h), level_db=0.0, dry=0.0)
    y = EFFECT.forward(torch.from_numpy(x)[None], RATE, **knobs)[0].numpy()
    scaled = h / np.sqrt((h**2).sum(axis=1).mean())
    wanted = np.stack([scipy.signal.fftconvolve(a, b)[: a.size] for a, b in zip(x, scaled, strict=True)])
    # 24 bit of the response and float32 of its octaves: -140 dB each of the largest sample
    assert np.abs(y - wanted).max() < 3e-6 * np.abs(wanted).max()


def test_dry_adds_the_sound():
    x = torch.from_numpy(_noise((1, 2, 5000)))
    wet, both = (EFFECT.forward(x, RATE, **_knobs(dry=d)) for d in (0.0, 1.0))
    torch.testing.assert_close(both - wet, x, rtol=0, atol=1e-12)


def test_the_level_is_that_of_white_noise():
    ir = _ir(_fading(), level_db=-7.0)
    assert 10 * np.log10((ir**2).sum(axis=1).mean()) == pytest.approx(-7.0, abs=1e-4)


@pytest.mark.parametrize("rate", [16_000.0, 44_100.0, 96_000.0])
def test_octaves_add_up(rate):
    h = _noise((2, 5000))
    np.testing.assert_allclose(split(h, rate).sum(axis=1), h, atol=1e-12)


@pytest.mark.parametrize("rate", [44_100.0, 96_000.0])
def test_another_rate_has_the_same_transfer_function(rate):
    h = np.pad(_fading(0.2, 0.5, channels=1), ((0, 0), (1000, 0)))
    there, here = _ir(h, at=rate)[0], _ir(h)[0]
    hz = np.linspace(50.0, 15_000.0, 200)
    a, b = (scipy.signal.freqz(ir, worN=hz, fs=fs)[1] for ir, fs in ((there, rate), (here, RATE)))
    # the largest error of the resampler's pass band, and of a response that ends within its filter
    assert np.abs(a - b).max() < 1e-3 * np.abs(b).max()


@pytest.mark.parametrize("scale", [0.4, 1.0, 1.6, 2.5])
def test_decays_scale(scale):
    h = _fading(0.5, 2.0, floor_db=-70.0)
    ir = _ir(h, tail=1.0, **{f"decay_{band}_x": scale for band in BAND_NAMES})
    found = measure_response(ir, RATE).t60_s
    # Octaves of a short decay hold few independent samples: bandwidth times time.
    assert np.abs(found[3:] / (0.5 * scale) - 1).max() < 0.08
    assert np.nanmax(np.abs(found[1:3] / (0.5 * scale) - 1)) < 0.25


def test_one_octave_alone_scales():
    found = measure_response(_ir(_fading(0.5, 2.0), decay_1k_x=2.0), RATE).t60_s
    # what the cosine edges let in from next door decays twice as fast
    assert found[4] == pytest.approx(1.0, rel=0.15)
    assert found[[2, 6, 7]] == pytest.approx([0.5] * 3, rel=0.1)


def test_an_extended_tail_ends_in_silence():
    """Beyond the noise of the recording the decay goes on, and the noise is gone."""
    h = _fading(0.4, 2.0, floor_db=-50.0)
    recorded, extended = (_ir(h, tail=t) for t in (0.0, 1.0))
    late = slice(round(0.55 * RATE), round(0.65 * RATE))
    level_db = [
        10 * np.log10((ir[:, late] ** 2).mean() / (ir[:, :480] ** 2).mean()) for ir in (recorded, extended)
    ]
    assert level_db[0] == pytest.approx(-50.0, abs=2.0)
    t = np.arange(48_000) / RATE
    power = 10 ** (-6 * t / 0.4)
    wanted_db = 10 * np.log10(power[late].mean() / power[:480].mean())
    # The slope is known from 20 dB of an octave's decay, to about a tenth.
    assert level_db[1] == pytest.approx(wanted_db, abs=0.1 * (-50.0 - wanted_db) + 1.0)
    early = slice(0, round(0.2 * RATE))
    np.testing.assert_allclose(extended[:, early], recorded[:, early], atol=2e-2 * np.abs(recorded).max())


@pytest.mark.parametrize("balance_db", [-12.0, 6.0])
def test_late_over_early(balance_db):
    h = _fading(1.0, 1.0)
    plain, other = (_ir(h, early_late_db=b) for b in (0.0, balance_db))
    plain, other = plain[:, :40_000], other[:, :40_000]
    gain_db = 20 * np.log10(np.abs(other / plain))
    np.testing.assert_allclose(gain_db[:, : round(0.059 * RATE)], -balance_db / 2, atol=1e-6)
    np.testing.assert_allclose(gain_db[:, round(0.101 * RATE) :], balance_db / 2, atol=1e-6)


def test_trimming_cuts_away_the_beginning():
    h = _fading(1.0, 0.5)
    plain, cut = (_ir(h, trim_ms=t) for t in (0.0, 20.0))
    assert not cut[:, : round(0.0189 * RATE)].any()
    np.testing.assert_array_equal(cut[:, 961:], plain[:, 961:])


def test_predelay_moves_it():
    h = _fading(0.3, 0.3)
    now, later = (_ir(h, predelay_ms=ms) for ms in (0.0, 10.0))
    np.testing.assert_allclose(later[:, 480 : 480 + 14_000], now[:, :14_000], atol=1e-12)


def test_channels_begin_again_with_the_first():
    h = _fading(0.1, 0.1)
    x = torch.from_numpy(_noise((1, 3, 2000)))
    y = EFFECT.forward(x, RATE, **_knobs(ir=_number(h)))
    alone = EFFECT.forward(x[:, 2:], RATE, **_knobs(ir=_number(h[:1])))
    # a response of one channel has another mean energy
    ratio = np.sqrt((h**2).sum(axis=1).mean() / (h[0] ** 2).sum())
    torch.testing.assert_close(y[:, 2:] - x[:, 2:], (alone - x[:, 2:]) / ratio, rtol=0, atol=1e-6)


def test_rows_with_other_responses():
    x = torch.from_numpy(_noise((3, 2, 3000)))
    short, long = _number(_fading(0.05, 0.06)), _number(_fading(0.3, 0.4, channels=1))
    kinds = [short, 1, long]
    mixed = {name: v.expand(3) for name, v in _knobs().items()} | {
        "ir": torch.tensor(kinds, dtype=torch.float64)
    }
    together = EFFECT.forward(x, RATE, **mixed)
    for row, kind in enumerate(kinds):
        alone = EFFECT.forward(x[row : row + 1], RATE, **_knobs(ir=kind))
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-11)


def test_a_single_click_is_no_decay_but_a_response():
    click = np.zeros((1, 400))
    click[0, 3] = 0.5
    ir = _ir(click, tail=1.0, decay_1k_x=2.0)
    assert np.argmax(np.abs(ir[0])) == 3


def test_gradients():
    number = _number(_fading(0.1, 0.02, rate=8000.0), 8000.0)
    x = torch.randn(
        1, 2, 60, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True
    )
    turned = {"level_db": -3.0, "predelay_ms": 1.3, "trim_ms": 2.2, "early_late_db": 4.0}
    turned |= {f"decay_{band}_x": 0.7 + 0.2 * i for i, band in enumerate(BAND_NAMES)}
    values = [torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in turned.values()]

    def run(x, *values):
        knobs = {**_knobs(ir=number), **dict(zip(turned, values, strict=True))}
        return EFFECT.forward(x, 8000.0, **knobs)

    assert torch.autograd.gradcheck(run, (x, *values))


def test_a_continued_octave_keeps_the_level_of_its_decay():
    """Of noise that fades, what goes on from the crossing lies on the same line."""
    h = _fading(0.5, 1.5, floor_db=-40.0, channels=1)
    made = banded(h, RATE, extended=True)
    band = made.bands[0, 5].astype(float)
    block = round(0.02 * RATE)
    level_db = 10 * np.log10((band[: 40 * block].reshape(40, block) ** 2).mean(axis=1))
    t = (np.arange(40) + 0.5) * 0.02
    wanted_db = -120.0 * (t - t[0])
    # An octave's level in 20 ms is known to 1 dB or two, the slope beyond the noise to about a tenth.
    beyond_db = np.maximum(-40.0 - wanted_db, 0.0)
    assert (np.abs(level_db - level_db[0] - wanted_db) < 4.0 + 0.1 * beyond_db).all()


@pytest.mark.parametrize("tail", [0.0, 1.0])
@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_noise_does_not_grow_with_the_decay(tail, scale):
    """Of a short decay in a long recording: what has met the noise keeps the gain it has there."""
    h = _fading(0.3, 5.0, floor_db=-80.0)
    assert (_ir(h, tail=tail) ** 2).sum(axis=1).mean() == pytest.approx(1.0, rel=0.01)
    scaled = _ir(h, tail=tail, **{f"decay_{band}_x": scale for band in BAND_NAMES})
    # The energy of a decay goes with its length.
    assert (scaled**2).sum(axis=1).mean() == pytest.approx(scale, rel=0.25)


@pytest.mark.parametrize("rate", [44_100.0, 96_000.0])
def test_a_response_that_begins_at_once_keeps_its_spectrum(rate):
    click = np.zeros((1, 2000))
    click[0, 0] = 1.0
    ir = _ir(click, at=rate)[0]
    hz = np.linspace(50.0, 15_000.0, 200)
    gain_db = 20 * np.log10(np.abs(scipy.signal.freqz(ir, worN=hz, fs=rate)[1]))
    assert np.abs(gain_db).max() < 0.05
    assert np.abs(ir).argmax() == round(0.001 * rate)
