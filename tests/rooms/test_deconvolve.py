"""Truths of the deconvolution: known responses and delays, other contents, noise, real rooms."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import scipy.signal
import soundfile as sf

from fxstyle.errors import AudioError
from fxstyle.rooms.deconvolve import RISE_S, Confidence, align, deconvolve
from fxstyle.rooms.iso3382 import measure_response, onset

RATE = 16000.0
Floats = npt.NDArray[np.float64]


def phrases(seed: int, duration_s: float = 3.0, channels: int = 1) -> Floats:
    """Return noise of falling spectrum in syllables: (channel, time)."""
    rng = np.random.default_rng(seed)
    count = round(duration_s * RATE)
    loud = np.repeat(rng.uniform(0.0, 1.0, -(-count // 2000)) ** 2, 2000)[:count]
    noise = rng.standard_normal((channels, count)) * loud
    return scipy.signal.lfilter([0.3], [1.0, -0.7], noise, axis=1)


def room(seed: int, decay_s: float = 0.4, channels: int = 1) -> Floats:
    """Return a response whose direct sound is its first sample."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(1.2 * decay_s * RATE)) / RATE
    h = 0.1 * 10.0 ** (-3.0 * t / decay_s) * rng.standard_normal((channels, t.size))
    h[:, 0] = 1.0
    return h


def through(dry: Floats, h: Floats) -> Floats:
    return np.asarray(scipy.signal.oaconvolve(dry, h, axes=1))


def hiss(x: Floats, snr_db: float, seed: int = 99) -> Floats:
    return x + 10.0 ** (-snr_db / 20.0) * x.std() * np.random.default_rng(seed).standard_normal(x.shape)


def late_by(x: Floats, samples: float) -> Floats:
    """Return x later by a fraction of a sample, exactly."""
    size = x.shape[1] + 256
    f = np.fft.rfftfreq(size)
    return np.fft.irfft(np.fft.rfft(x, size) * np.exp(-2j * np.pi * f * samples), size)


def error_db(found: Floats, truth: Floats) -> float:
    return 10.0 * np.log10(np.square(found - truth).sum() / np.square(truth).sum())


def test_finds_a_known_response_to_the_tap() -> None:
    dry, h = phrases(0), 0.37 * room(1)
    found, confidence = deconvolve(dry, through(dry, h), RATE, length_s=0.45)
    begin = round(RISE_S * RATE)
    assert found.shape == (1, round(0.45 * RATE))
    assert onset(found) == begin
    assert confidence.start == -begin
    # the Wiener term leaves out what is 80 dB below the sound
    assert error_db(found[:, begin : begin + 4000], h[:, :4000]) < -60.0
    assert (confidence.coherence > 0.999).all()
    assert confidence.sure.all()


def test_the_response_and_its_start_make_the_wet_recording() -> None:
    dry = phrases(2)
    wet = np.concatenate((np.zeros((1, 777)), through(dry, room(3))), axis=1)
    found, confidence = deconvolve(dry, wet, RATE)
    made = np.zeros_like(wet)
    part = through(dry, found)
    begin = confidence.start
    end = min(begin + part.shape[1], wet.shape[1])
    made[:, begin:end] = part[:, : end - begin]
    assert error_db(made, wet) < -40.0


@pytest.mark.parametrize("polarity", [1.0, -1.0])
@pytest.mark.parametrize("delay", [0.0, 1234.25, 20000.5, -3001.75])
def test_finds_delay_and_polarity(delay: float, polarity: float) -> None:
    dry = phrases(4, 4.0)
    wet = polarity * through(late_by(dry, delay % 1.0), room(5))
    whole = int(np.floor(delay))
    wet = np.concatenate((np.zeros((1, whole)), wet), axis=1) if whole >= 0 else wet[:, -whole:]
    found = align(dry, hiss(wet, 50.0), RATE)
    # the reflections next to the direct sound, a tenth of it, move its peak
    assert found.delay == pytest.approx(delay, abs=0.1)
    assert found.polarity == polarity
    assert found.coherence > 0.9


def test_a_recording_that_starts_late_and_ends_early_is_no_error() -> None:
    dry, h = phrases(6, 4.0), room(7)
    whole = through(dry, h)
    for wet, start in ((whole[:, : dry.shape[1] - 9000], 0), (whole[:, 9000:], -9000)):
        found, confidence = deconvolve(dry, wet, RATE, length_s=0.45)
        begin = round(RISE_S * RATE)
        assert confidence.start == start - begin
        assert error_db(found[:, begin : begin + 4000], h[:, :4000]) < -50.0


def test_of_a_long_recording_the_loudest_part_is_used() -> None:
    h = room(8)
    dry = np.concatenate((1e-3 * phrases(9, 20.0), phrases(10, 25.0), 1e-3 * phrases(11, 20.0)), axis=1)
    found, confidence = deconvolve(dry, through(dry, h), RATE, length_s=0.45)
    begin = round(RISE_S * RATE)
    assert confidence.start == -begin
    assert error_db(found[:, begin : begin + 4000], h[:, :4000]) < -50.0


def test_each_channel_has_its_own_response() -> None:
    begin = round(RISE_S * RATE)
    h = room(12, channels=2)
    for dry in (phrases(13), phrases(13, channels=2)):
        wet = through(np.broadcast_to(dry, (2, dry.shape[1])), h)
        found, _ = deconvolve(dry, wet, RATE, length_s=0.45)
        assert found.shape[0] == 2
        assert error_db(found[:, begin : begin + 4000], h[:, :4000]) < -50.0


@pytest.mark.parametrize("snr_db", [50.0, 30.0, 20.0])
def test_noise_leaves_the_figures_of_the_room(snr_db: float) -> None:
    h = room(14, 0.6)
    truth = measure_response(h, RATE)
    dry = phrases(15, 6.0)
    found, confidence = deconvolve(dry, hiss(through(dry, h), snr_db), RATE)
    figures = measure_response(found, RATE)
    sure = truth.sure("t20_s") & figures.sure("t20_s") & confidence.sure
    clear = truth.sure("c50_db") & figures.sure("c50_db") & confidence.sure
    assert clear.sum() >= 4
    assert sure.sum() >= (2 if snr_db > 25.0 else 0)
    np.testing.assert_allclose(figures.t20_s[sure], truth.t20_s[sure], rtol=0.05)
    np.testing.assert_allclose(figures.c50_db[clear], truth.c50_db[clear], rtol=0.0, atol=0.5)


def test_an_octave_without_dry_sound_is_not_trusted_and_not_filled_with_noise() -> None:
    low = scipy.signal.butter(12, 700.0, "lowpass", fs=RATE, output="sos")
    dry = scipy.signal.sosfilt(low, phrases(16, 4.0), axis=1)
    found, confidence = deconvolve(dry, hiss(through(dry, room(17)), 50.0), RATE)
    centres = confidence.centre_hz
    assert confidence.sure[(centres > 100.0) & (centres < 600.0)].all()
    assert not confidence.sure[centres > 1500.0].any()
    power = np.abs(np.fft.rfft(found[0])) ** 2
    f = np.fft.rfftfreq(found.shape[1], 1.0 / RATE)
    assert power[f > 2000.0].mean() < 1e-3 * power[(f > 200.0) & (f < 600.0)].mean()


def test_confidence_falls_with_noise() -> None:
    dry = phrases(18)
    wet = through(dry, room(19))
    found = [
        deconvolve(dry, hiss(wet, snr_db), RATE, length_s=0.4)[1].coherence for snr_db in (40.0, 10.0, 0.0)
    ]
    assert (found[0] > found[1]).all()
    assert found[1].mean() > found[2].mean()


@pytest.mark.parametrize("seed", range(4))
def test_another_content_is_refused(seed: int) -> None:
    wet = through(phrases(21 + seed), room(22))
    for call in (align, deconvolve):
        with pytest.raises(
            AudioError, match="does not follow from the dry one .* give two recordings of the same"
        ):
            call(phrases(40 + seed), wet, RATE)


@pytest.mark.parametrize(
    ("dry", "wet", "message"),
    [
        (np.zeros((1, 16000)), phrases(0), "dry recording is silent: give one"),
        (phrases(0), np.zeros((2, 16000)), "wet recording is silent: give one"),
        (phrases(0), np.ones((1, 1)), "wet recording has 6.25e-05 s: give at least 0.5 s"),
        (
            phrases(0),
            np.full((1, 16000), np.nan),
            "wet recording has 16000 samples that are not finite: export",
        ),
        (phrases(0)[0], phrases(0), "dry recording has the shape"),
        (np.concatenate((phrases(0), -phrases(0))), phrases(0), "cancel out: give one channel"),
    ],
)
def test_says_what_is_wrong_with_a_recording(dry: Floats, wet: Floats, message: str) -> None:
    for call in (align, deconvolve):
        with pytest.raises(AudioError, match=message):
            call(dry, wet, RATE)


@pytest.mark.parametrize("length_s", [0.0, -1.0, float("nan"), 3.5])
def test_says_which_lengths_there_are(length_s: float) -> None:
    with pytest.raises(AudioError, match="is not between 0 and the 3 s"):
        deconvolve(phrases(0), through(phrases(0), room(0)), RATE, length_s=length_s)


def test_arguments_are_left_alone_and_the_result_is_always_the_same() -> None:
    dry = phrases(23)
    wet = hiss(through(dry, room(24)), 40.0)
    dry.flags.writeable = wet.flags.writeable = False
    first, second = (deconvolve(dry, wet, RATE, length_s=0.3) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    assert isinstance(first[1], Confidence)
    single, _ = deconvolve(
        dry.astype(np.float32)[:, ::1], np.repeat(wet, 2, axis=1)[:, ::2], RATE, length_s=0.3
    )
    np.testing.assert_allclose(single, first[0], atol=1e-5)


@pytest.mark.data
@pytest.mark.slow
def test_real_rooms_around_real_speech(data_dir: Path) -> None:
    with (data_dir / "MANIFEST.csv").open() as table:
        names = [
            row["path"] for row in csv.DictReader(table) if row["path"].startswith("drywet/speech_in_rooms/")
        ]
    assert len(names) >= 6
    changes, differences = [], []
    for name in names[::2]:
        speech, response = Path(name).stem.split("__", 1)
        dry, rate = sf.read(data_dir / "speech" / f"{speech}.flac", always_2d=True)
        wet, wet_rate = sf.read(data_dir / name, always_2d=True)
        true, true_rate = sf.read(data_dir / "rir" / f"{response}.flac", always_2d=True)
        assert rate == wet_rate == true_rate
        found, confidence = deconvolve(dry.T, wet.T, rate)
        truth, figures = measure_response(true.T, rate), measure_response(found, rate)
        sure = truth.sure("t20_s") & figures.sure("t20_s") & confidence.sure
        clear = truth.sure("c50_db") & figures.sure("c50_db") & confidence.sure
        changes += (figures.t20_s / truth.t20_s - 1.0)[sure].tolist()
        # speech has next to nothing at 63 Hz
        differences += (figures.c50_db - truth.c50_db)[1:][clear[1:]].tolist()
    assert len(changes) >= 10
    assert len(differences) >= 18
    assert np.abs(changes).max() < 0.05
    assert np.abs(differences).max() < 0.5
