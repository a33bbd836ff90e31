"""Loudness against the recommendation's own table and closed forms, pyloudnorm, and ffmpeg's ebur128."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyloudnorm
import pytest

from fxstyle.audio import Audio, read, write
from fxstyle.errors import AudioError
from fxstyle.loudness import (
    Loudness,
    LoudnessMeter,
    PeakMeter,
    channel_weights,
    k_weighting,
    measure_loudness,
)

RATE = 48_000


def sine(level_db: float, seconds: float, rate: int = RATE, hz: float = 997.0) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    return 10.0 ** (level_db / 20.0) * np.sin(2 * np.pi * hz * t)


def music(channels: int, rate: int, seconds: float = 30.0, seed: int = 0) -> np.ndarray:
    """Coloured noise whose level changes by 18 dB: work for the relative gate and the range."""
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.standard_normal((channels, round(seconds * rate))), axis=1)
    x -= np.convolve(x[0], np.ones(999) / 999, mode="same")
    x = np.diff(x, prepend=0.0) + 0.02 * x
    steps = np.repeat(10.0 ** (rng.uniform(-18, 0, 30) / 20.0), -(-x.shape[1] // 30))[: x.shape[1]]
    return (0.7 * x * steps / np.abs(x).max()).astype(np.float32)


def loudness(x: np.ndarray, rate: int = RATE) -> Loudness:
    return measure_loudness(Audio(np.atleast_2d(x), rate))


def test_k_weighting_is_the_recommendations_table() -> None:
    # BS.1770-4, tables 1 and 2: coefficients at 48 kHz
    shelf, high_pass = k_weighting(48_000)
    shelf_table = [1.53512485958697, -2.69169618940638, 1.19839281085285]
    assert shelf == pytest.approx([*shelf_table, 1.0, -1.69065929318241, 0.73248077421585], abs=1e-12)
    assert high_pass == pytest.approx([1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621], abs=1e-12)


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
def test_full_scale_sine(rate: int) -> None:
    # BS.1770-4: a 0 dBFS 997 Hz sine in one front channel reads -3.01 LKFS, in two 0
    x = sine(0.0, 5.0, rate)
    assert loudness(x, rate).integrated_lufs == pytest.approx(-3.01, abs=0.01)
    assert loudness(np.stack([x, x]), rate).integrated_lufs == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("channel", range(6))
def test_five_point_one_weights(channel: int) -> None:
    x = np.zeros((6, 2 * RATE))
    x[channel] = sine(-20.0, 2.0)
    surround_db = 10 * np.log10(1.41)
    expected = {3: -120.0, 4: -23.01 + surround_db, 5: -23.01 + surround_db}.get(channel, -23.01)
    assert loudness(x).integrated_lufs == pytest.approx(expected, abs=0.01)


def test_other_layouts_have_as_many_weights_as_channels() -> None:
    for channels in (1, 2, 3, 4, 5, 6, 7, 8, 64):
        assert len(channel_weights(channels)) == channels


def test_relative_gate() -> None:
    # EBU Tech 3341, case 3: 10 s at -36, 60 s at -23, 10 s at -36 dBFS in stereo read -23.0 LUFS
    x = np.concatenate([sine(-36.0, 10.0), sine(-23.0, 60.0), sine(-36.0, 10.0)])
    assert loudness(np.stack([x, x])).integrated_lufs == pytest.approx(-23.0, abs=0.1)


def test_absolute_gate() -> None:
    # EBU Tech 3341, case 4: the same between parts at -72 dBFS
    levels = [(-72.0, 10.0), (-36.0, 10.0), (-23.0, 60.0), (-36.0, 10.0), (-72.0, 10.0)]
    x = np.concatenate([sine(level, seconds) for level, seconds in levels])
    assert loudness(np.stack([x, x])).integrated_lufs == pytest.approx(-23.0, abs=0.1)


@pytest.mark.parametrize(("low_db", "high_db"), [(-30.0, -20.0), (-20.0, -15.0), (-40.0, -20.0)])
def test_range_of_two_levels(low_db: float, high_db: float) -> None:
    # EBU Tech 3342, cases 1-3: 20 s at each of two levels in stereo have a range of their difference, +-1 LU
    x = np.concatenate([sine(high_db, 20.0), sine(low_db, 20.0)])
    assert loudness(np.stack([x, x])).range_lu == pytest.approx(high_db - low_db, abs=0.5)


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_agrees_with_pyloudnorm(rate: int, channels: int) -> None:
    x = music(channels, rate, seconds=8.0)
    # "DeMan" is pyloudnorm's name for the filters of the recommendation; its default differs from them
    meter = pyloudnorm.Meter(rate, filter_class="DeMan")
    expected = meter.integrated_loudness(x.T.astype(np.float64))
    assert loudness(x, rate).integrated_lufs == pytest.approx(expected, abs=0.05)


needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def require_agreement_with_ffmpeg(
    path: Path, ours: Loudness, *, prefilter: str = "", dense: bool = True
) -> None:
    filters = prefilter + "ebur128=peak=true+sample:framelog=verbose"
    command = ["ffmpeg", "-nostats", "-i", str(path), "-map", "0:a", "-af", filters, "-f", "null", "-"]
    log = subprocess.run(command, capture_output=True, check=True, text=True, errors="replace").stderr
    text = log.rpartition("Summary:")[2]

    def found(label: str) -> list[float]:
        return [float(value) for value in re.findall(rf"{label}:\s+(-?[\d.]+)", text)]

    # ffmpeg prints one decimal
    assert ours.integrated_lufs == pytest.approx(found("I")[0], abs=0.1)
    if dense:
        # ffmpeg rounds a percentile to another window than EBU Tech 3342 does, and 30 s hold few of them
        assert ours.range_lu == pytest.approx(found("LRA")[0], abs=0.3)
    sample_peak, true_peak = found("Peak")
    assert ours.peak_db == pytest.approx(sample_peak, abs=0.06)
    # two interpolators; ours leaves out what is above 0.43 of the rate
    assert ours.true_peak_dbtp == pytest.approx(true_peak, abs=0.15)


@needs_ffmpeg
@pytest.mark.parametrize(
    ("channels", "rate"), [(1, 44_100), (2, 44_100), (2, 96_000), (2, 192_000), (6, 48_000)]
)
def test_agrees_with_ffmpeg(tmp_path: Path, channels: int, rate: int) -> None:
    x = music(channels, rate)
    write(tmp_path / "a.wav", Audio(x, rate), subtype="FLOAT")
    layout = "aformat=channel_layouts=5.1(side)," if channels == 6 else ""
    require_agreement_with_ffmpeg(tmp_path / "a.wav", loudness(x, rate), prefilter=layout)


@needs_ffmpeg
@pytest.mark.data
@pytest.mark.skipif("FXSTYLE_DATA" not in os.environ, reason="FXSTYLE_DATA names no folder of recordings")
@pytest.mark.parametrize("kind", ["music", "speech", "stems"])
def test_agrees_with_ffmpeg_on_recordings(tmp_path: Path, kind: str) -> None:
    folder = Path(os.environ["FXSTYLE_DATA"]) / kind
    paths = sorted(p for p in folder.rglob("*") if p.suffix in (".flac", ".ogg", ".wav"))
    if not paths:
        pytest.skip(f"{folder} holds no recordings")
    for path in paths[:: max(1, len(paths) // 3)][:3]:
        audio = read(path)
        audio = audio.with_samples(audio.samples[:, : 30 * audio.rate])
        write(tmp_path / "a.wav", audio, subtype="FLOAT", force=True)
        # single phrases, and stems that are silent for most of the time, have a handful of windows
        require_agreement_with_ffmpeg(tmp_path / "a.wav", measure_loudness(audio), dense=kind == "music")


@pytest.mark.parametrize("rate", [44_100, 96_000, 192_000])
def test_true_peak_between_the_samples(rate: int) -> None:
    # A sine at a quarter of the rate sampled at 45 degrees: samples at -3.01 dB, peaks at 0 dB.
    n = np.arange(rate)
    x = np.sin(np.pi / 2 * n + np.pi / 4) * np.hanning(rate)
    ours = loudness(x, rate)
    assert ours.peak_db == pytest.approx(-3.01, abs=0.01)
    # from 176 kHz on no interpolation is asked for
    expected = 0.0 if rate < 176_400 else -3.01
    assert ours.true_peak_dbtp == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("hz", [1000.0, 7000.0, 15_000.0, 19_000.0])
def test_true_peak_reads_low_by_no_more_than_the_grid(hz: float) -> None:
    # BS.1770-4, annex 2, attachment 1: n times oversampling under-reads by
    # at most 20 log10 cos(pi f / n rate)
    rate = 44_100
    worst_db = 20 * np.log10(np.cos(np.pi * hz / (4 * rate)))
    for phase in np.linspace(0, np.pi, 7):
        t = np.arange(2000) / rate
        x = np.sin(2 * np.pi * hz * t + phase) * np.hanning(2000)
        # 0.05 dB: ripple of 32 taps, and the window's top
        assert worst_db - 0.05 <= loudness(x, rate).true_peak_dbtp <= 0.05


@pytest.mark.parametrize("block", [1, 31, 4800, 7919])
def test_blocks_do_not_matter(block: int) -> None:
    x = music(2, 44_100, seconds=4.0 if block > 1 else 0.2)
    meter = LoudnessMeter(44_100, 2)
    for start in range(0, x.shape[1], block):
        meter.update(x[:, start : start + block])
    assert meter.result() == loudness(x, 44_100)


def test_skipped_groups_do_not_hide_a_peak() -> None:
    # the meter computes only where a new peak is possible; a peak anywhere must be found all the same
    rng = np.random.default_rng(3)
    for place in (0, 40, 511, 512, 543, 1000, 1999):
        x = 0.2 * rng.standard_normal((1, 2000))
        x[0, place] = 1.0
        plain = np.abs(np.concatenate([np.zeros(64), x[0], np.zeros(64)]))
        meter = PeakMeter(44_100, 1)
        meter.update(x)
        assert meter.true_peak >= plain.max()


def test_silence_reads_minus_120() -> None:
    ours = loudness(np.zeros((2, 5 * RATE)))
    assert ours == Loudness(-120.0, -120.0, -120.0, 0.0, -120.0, -120.0)


def test_shorter_than_a_window_and_one_sample() -> None:
    assert loudness(sine(-20.0, 0.2)).integrated_lufs == pytest.approx(-23.01, abs=0.2)
    assert loudness(np.array([[0.5]])).peak_db == pytest.approx(-6.02, abs=0.01)


@pytest.mark.parametrize("rate", [1000, 2000, 8000, 384_000])
def test_odd_rates_read_low_tones_alike(rate: int) -> None:
    # at 100 Hz the K-weighting takes about 1 dB off, at any rate
    reads = loudness(sine(-20.0, 2.0, rate, hz=100.0), rate).integrated_lufs
    assert reads == pytest.approx(loudness(sine(-20.0, 2.0, 48_000, hz=100.0)).integrated_lufs, abs=0.15)


def test_wrong_channels_are_refused() -> None:
    with pytest.raises(AudioError, match=r"shape \(3, 10\) is not \(2, time\)"):
        LoudnessMeter(RATE, 2).update(np.zeros((3, 10)))
