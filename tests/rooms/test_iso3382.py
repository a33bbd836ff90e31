"""Truths of the ISO 3382 figures: exponentials in closed form, noise floors, pyroomacoustics, real rooms."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile as sf

from fxstyle.errors import AudioError
from fxstyle.octaves import CENTRES_HZ
from fxstyle.rooms.iso3382 import broadband, clipped, energy_decay_db, measure_response

RATE = 48000.0
NEPERS = 6.0 * math.log(10.0)
TIMES_S = (0.3, 1.0, 3.0)
TIMES = ("edt_s", "t20_s", "t30_s")
Floats = npt.NDArray[np.float64]


def seconds(duration_s: float, rate: float = RATE) -> Floats:
    return np.arange(round(duration_s * rate)) / rate


def envelope(decay_s: float, rate: float = RATE) -> Floats:
    return np.exp(-0.5 * NEPERS * seconds(1.5 * decay_s, rate) / decay_s)


def noisy(decay_s: float, seed: int, floor_db: float = -math.inf, lengths: float = 2.0) -> Floats:
    rng = np.random.default_rng(seed)
    t = seconds(lengths * decay_s)
    decay = np.exp(-0.5 * NEPERS * t / decay_s) * rng.standard_normal(t.size)
    return decay + 10.0 ** (floor_db / 20.0) * rng.standard_normal(t.size)


def clarity_db(early_s: float, decay_s: float) -> float:
    return 10.0 * math.log10(math.exp(NEPERS * early_s / decay_s) - 1.0)


@pytest.mark.parametrize("decay_s", TIMES_S)
def test_an_exponential_has_the_figures_of_its_closed_form(decay_s: float) -> None:
    found = broadband(envelope(decay_s), RATE)
    # the sums of samples are the integrals to half a sample
    for name in TIMES:
        assert getattr(found, name)[0] == pytest.approx(decay_s, rel=1e-4)
        assert found.sure(name)[0]
    assert found.c50_db[0] == pytest.approx(clarity_db(0.05, decay_s), abs=0.002)
    assert found.c80_db[0] == pytest.approx(clarity_db(0.08, decay_s), abs=0.002)
    assert found.d50[0] == pytest.approx(1.0 - math.exp(-NEPERS * 0.05 / decay_s), abs=3e-4)
    assert found.ts_s[0] == pytest.approx(decay_s / NEPERS, abs=1.0 / RATE)
    assert found.curvature_percent[0] == pytest.approx(0.0, abs=0.01)
    assert found.t60_s[0] == found.t30_s[0]


@pytest.mark.parametrize("decay_s", TIMES_S)
def test_an_octave_keeps_the_decay_of_its_centre(decay_s: float) -> None:
    for centre_hz in CENTRES_HZ:
        h = envelope(decay_s) * np.cos(2.0 * np.pi * centre_hz * seconds(1.5 * decay_s))
        found = measure_response(h, RATE, (centre_hz,))
        if decay_s * centre_hz < 30.0:
            continue  # four times the bandwidth: the filter is not faster than the room
        # backwards, the filter leaves an exponential as it is; at 63 Hz its own start is not over by -10 dB
        assert found.t30_s[0] == pytest.approx(decay_s, rel=2e-3)
        assert found.t20_s[0] == pytest.approx(decay_s, rel=2e-3)
        assert found.edt_s[0] == pytest.approx(decay_s, rel=0.02)
        # a tone that begins is wider than an octave at 63 Hz: its phase says what the filter keeps of it
        assert found.c80_db[0] == pytest.approx(
            clarity_db(0.08, decay_s), abs=0.01 if centre_hz > 100.0 else 0.1
        )
        assert found.c50_db[0] == pytest.approx(
            clarity_db(0.05, decay_s), abs=0.02 if centre_hz > 100.0 else 0.4
        )
        # delays of the centre and of the whole octave differ by a third of a period
        assert found.ts_s[0] == pytest.approx(decay_s / NEPERS, abs=0.35 / centre_hz)


def test_shares_of_noise_have_no_bias_in_any_octave() -> None:
    found = [measure_response(noisy(1.0, seed), RATE) for seed in range(40)]
    # from 250 Hz on: below, 50 ms hold a few ups and downs of the octave, and a ratio of so few is skewed
    for name, truth in (("c50_db", clarity_db(0.05, 1.0)), ("ts_s", 1.0 / NEPERS)):
        values = np.array([getattr(one, name) for one in found])[:, 2:]
        error = values.std(axis=0, ddof=1) / math.sqrt(len(found))
        assert (np.abs(values.mean(axis=0) - truth) < 4.0 * error).all()
        assert error[-1] < 0.005 * abs(truth) or error[-1] < 0.06


@pytest.mark.parametrize("floor_db", [-70.0, -60.0, -50.0])
@pytest.mark.parametrize("decay_s", [1.0, 3.0])
def test_noise_leaves_decay_times_within_a_few_percent(decay_s: float, floor_db: float) -> None:
    found = [measure_response(noisy(decay_s, seed, floor_db), RATE) for seed in range(6)]
    for name in ("t20_s", "t30_s"):
        times = np.array([getattr(one, name) for one in found])[:, 3:]
        assert np.mean([one.sure(name)[3:] for one in found]) > 0.9
        # one response of an octave of B Hz scatters by about 3 / sqrt(B T), 5 % at 500 Hz; six by less
        np.testing.assert_allclose(np.median(times, axis=0), decay_s, rtol=0.05)
        np.testing.assert_allclose(np.median(times), decay_s, rtol=0.015)


@pytest.mark.parametrize(
    ("floor_db", "known"), [(-70.0, (1, 1, 1)), (-40.0, (1, 1, 0)), (-25.0, (1, 0, 0)), (-12.0, (0, 0, 0))]
)
def test_a_figure_without_its_range_is_not_trusted(floor_db: float, known: tuple[int, int, int]) -> None:
    found = measure_response(noisy(1.0, 3, floor_db), RATE, (2000.0, 4000.0, 8000.0))
    for name, sure in zip(TIMES, known, strict=True):
        assert (found.sure(name) == bool(sure)).all()
    assert np.isfinite(found.t60_s).all() == any(known)
    assert found.sure("c50_db").all() == any(known)
    # the largest 10 ms stand about 1 dB above the first
    np.testing.assert_allclose(found.range_db, -floor_db, atol=2.5)


@pytest.mark.parametrize(("cut_db", "known"), [(-15.0, (0, 0, 0)), (-40.0, (1, 1, 0)), (-50.0, (1, 1, 1))])
def test_a_response_cut_short_is_trusted_as_far_as_it_goes(
    cut_db: float, known: tuple[int, int, int]
) -> None:
    h = envelope(1.0)[: round(-cut_db / 60.0 * RATE)]
    found = broadband(np.concatenate((h, np.zeros(9999))), RATE)
    # the last tenth of 15 dB is taken for the noise
    assert found.range_db[0] == pytest.approx(-cut_db, abs=1.5 if cut_db > -20.0 else 0.4)
    for name, sure in zip(TIMES, known, strict=True):
        assert found.sure(name)[0] == bool(sure)
        if sure:
            # what is missing is added as the exponential it is
            assert getattr(found, name)[0] == pytest.approx(1.0, rel=0.002)
            assert found.c80_db[0] == pytest.approx(clarity_db(0.08, 1.0), abs=0.01)
            assert found.ts_s[0] == pytest.approx(1.0 / NEPERS, rel=0.002)


def test_two_slopes_have_an_early_and_a_late_time() -> None:
    early_s, late_s = 0.3, 2.0
    t = seconds(3.0)
    square = np.exp(-NEPERS * t / early_s) + 10.0**-2.5 * np.exp(-NEPERS * t / late_s)
    found = broadband(np.sqrt(square), RATE)
    # 25 dB down in level, the late slope is 17 dB down in energy
    assert found.edt_s[0] == pytest.approx(early_s, rel=0.15)
    assert found.t30_s[0] > 2.0 * found.edt_s[0]
    assert found.curvature_percent[0] > 10.0
    exact = 10.0 * np.log10(
        early_s * np.exp(-NEPERS * t / early_s) + late_s * 10.0**-2.5 * np.exp(-NEPERS * t / late_s)
    )
    time_s, level_db = energy_decay_db(np.sqrt(square), RATE)
    shown = time_s < 1.5
    np.testing.assert_allclose(level_db[shown], (exact - exact[0])[: time_s.size][shown], atol=0.02)


def test_is_the_decay_time_of_pyroomacoustics() -> None:
    oracle = pytest.importorskip("pyroomacoustics.experimental")
    for seed in range(4):
        h = noisy(0.8, seed)
        found = broadband(h, RATE)
        # one line of least squares each; theirs ends up to one sample elsewhere
        assert found.t30_s[0] == pytest.approx(oracle.measure_rt60(h, RATE, decay_db=30), rel=2e-3)
        assert found.t20_s[0] == pytest.approx(oracle.measure_rt60(h, RATE, decay_db=20), rel=2e-3)


def test_does_not_depend_on_gain_delay_or_what_follows() -> None:
    h = noisy(0.6, 5, -60.0)
    base = measure_response(h, RATE)
    moved = measure_response(np.concatenate((np.zeros(4321), -1e-9 * h, np.zeros(777))), RATE)
    for field in dataclasses.fields(base):
        np.testing.assert_allclose(
            getattr(moved, field.name), getattr(base, field.name), rtol=1e-6, err_msg=field.name
        )


def test_channels_are_one_sound_field() -> None:
    h = noisy(0.6, 6)
    alone, twice = measure_response(h, RATE), measure_response(np.stack((h, -h)), RATE)
    np.testing.assert_allclose(twice.t30_s, alone.t30_s, rtol=1e-9)
    other = noisy(1.2, 7)[: h.size]
    both = measure_response(np.stack((h, other)), RATE, (4000.0,))
    assert alone.t30_s[6] < both.t30_s[0]


@pytest.mark.parametrize("rate", [8000.0, 11025.0, 16000.0, 44100.0, 96000.0, 192000.0])
def test_the_rate_says_which_octaves_there_are(rate: float) -> None:
    found = measure_response(envelope(0.5, rate), rate)
    assert found.centre_hz.tolist() == [c for c in CENTRES_HZ if c * math.sqrt(2.0) <= 0.45 * rate]
    with pytest.raises(AudioError, match="does not carry the octave"):
        measure_response(envelope(0.5, rate), rate, (0.4 * rate,))


def test_one_click_has_no_decay() -> None:
    click = np.zeros(9600)
    click[100] = 0.5
    for found in (
        measure_response(click, RATE),
        measure_response(click[100:101], RATE),
        broadband(click, RATE),
    ):
        assert np.isnan([getattr(found, name) for name in TIMES]).all()
        assert np.isnan(found.t60_s).all()
        assert not any(found.sure(name).any() for name in (*TIMES, "c50_db", "c80_db", "ts_s"))


def test_steady_noise_and_a_steady_level_have_no_decay() -> None:
    noise = np.random.default_rng(0).standard_normal(48000)
    for h in (noise, np.ones(48000)):
        assert np.isnan(measure_response(h, RATE).t60_s).all()
        assert np.isnan(broadband(h, RATE).t60_s).all()


def test_half_a_minute_at_the_highest_rate() -> None:
    rate = 192000.0
    h = np.exp(-0.5 * NEPERS * seconds(30.0, rate) / 12.0) * np.random.default_rng(0).standard_normal(
        30 * 192000
    )
    found = measure_response(h, rate, (1000.0,))
    # an octave of 707 Hz over 12 s scatters by about 3 / sqrt(B T)
    assert found.t30_s[0] == pytest.approx(12.0, rel=0.03)


@pytest.mark.parametrize(
    ("h", "message"),
    [
        (np.zeros(0), "not \\(0,\\): give one"),
        (np.zeros((1, 2, 3)), "not \\(1, 2, 3\\): give one"),
        (np.zeros(100), "silent: give one in which something sounds"),
        (np.array([1.0, np.nan, np.inf]), "2 samples that are not finite: export it again"),
    ],
)
def test_says_what_is_wrong_with_a_response(h: Floats, message: str) -> None:
    for measure in (measure_response, broadband, energy_decay_db):
        with pytest.raises(AudioError, match=message):
            measure(h, RATE)


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, 4000.0, 400000.0])
def test_says_which_rates_there_are(rate: float) -> None:
    with pytest.raises(AudioError, match="outside 8000 to 192000 Hz: resample"):
        measure_response(envelope(0.5), rate)


def test_finds_samples_at_full_scale() -> None:
    h = noisy(0.5, 1)
    assert clipped(h) == 0
    assert clipped(np.zeros(0)) == clipped(np.zeros(5)) == clipped(np.ones(1)) == 0
    tone = np.sin(2.0 * np.pi * 100.0 * seconds(0.1))
    assert clipped(tone) == 0
    limited = np.clip(2.0 * tone, -1.0, 1.0)
    expected = int(np.count_nonzero(np.abs(limited) == 1.0))
    assert expected > 1000
    # besides the flat tops, samples within a step of 16 bits of them
    assert expected <= clipped(limited) < 1.01 * expected
    assert clipped(0.3 * limited) == clipped(limited)
    assert clipped(np.stack((limited, 0.5 * tone))) == clipped(limited)


def test_arguments_are_left_alone_and_may_be_any_real_array() -> None:
    h = noisy(0.5, 2, -60.0)
    base = measure_response(h, RATE)
    kept = h.copy()
    kept.flags.writeable = False
    apart = np.repeat(kept, 2)[::2]
    np.testing.assert_array_equal(measure_response(apart, RATE).t20_s, base.t20_s)
    np.testing.assert_allclose(measure_response(h.astype(np.float32), RATE).t20_s, base.t20_s, rtol=1e-4)
    steps = np.round(h / np.abs(h).max() * 32767.0).astype(np.int16)
    np.testing.assert_allclose(measure_response(steps, RATE).t20_s, base.t20_s, rtol=1e-2)


def _rooms(folder: Path) -> list[Path]:
    return sorted(p for kind in ("rooms", "room", "openair") for p in folder.glob(f"rir/{kind}__*.flac"))[::3]


@pytest.mark.data
def test_real_rooms_are_plausible_and_bear_noise(data_dir: Path) -> None:
    rng = np.random.default_rng(0)
    changes: list[float] = []
    for path in _rooms(data_dir):
        x, rate = sf.read(path, always_2d=True)
        h = np.ascontiguousarray(x.T)
        found = measure_response(h, rate)
        assert np.isfinite(found.d50).all()
        assert np.isfinite(found.range_db).all()
        assert ((found.d50 >= 0.0) & (found.d50 <= 1.0)).all()
        sure = found.t60_s[np.isfinite(found.t60_s)]
        assert sure.size, path.name
        # from a bathroom to an arena
        assert ((sure > 0.08) & (sure < 10.0)).all(), path.name
        assert (found.ts_s[found.sure("ts_s")] > 0.0).all(), path.name
        noise = 10.0 ** (-50.0 / 20.0) * np.abs(h).max() * rng.standard_normal(h.shape)
        hissing = measure_response(h + noise, rate)
        both = found.sure("t20_s") & hissing.sure("t20_s")
        changes += (hissing.t20_s / found.t20_s - 1.0)[both].tolist()
    assert len(changes) > 20
    assert np.median(np.abs(changes)) < 0.01
    # of the others the line bends where the noise begins
    assert np.mean(np.abs(changes) < 0.05) > 0.95
