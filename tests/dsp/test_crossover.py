"""Truths of the split: Linkwitz and Riley's laws, scipy's Butterworth sections, ffmpeg's crossover."""

from __future__ import annotations

import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import butter, sosfilt

from fxstyle.dsp.crossover import BANDS, design, split, split_block
from fxstyle.effect import Samples
from fxstyle.units import HIGHEST_OF_RATE

RATE = 44100.0
PAIRS = ((200.0, 3000.0), (30.0, 90.0), (1900.0, 20000.0), (700.0, 700.0), (2000.0, 500.0))


def bands_of(x: Samples, low_hz: float, high_hz: float, rate: float = RATE) -> Samples:
    c = design(rate, torch.tensor([low_hz]).double(), torch.tensor([high_hz]).double())[0].numpy()
    return np.stack(split_block(x, c, None)[0])


def butterworth(hz: float, kind: str, rate: float = RATE) -> Samples:
    """One Butterworth section of scipy's, or the all-pass of its denominator: (1, 6)."""
    sos = butter(2, hz, "low" if kind == "all" else kind, fs=rate, output="sos")
    if kind == "all":
        sos[:, :3] = sos[:, :2:-1]
    return sos


def scipy_bands(x: Samples, low_hz: float, high_hz: float, rate: float = RATE) -> Samples:
    def run(*kinds: tuple[float, str]) -> Samples:
        return sosfilt(np.concatenate([butterworth(hz, kind, rate) for hz, kind in kinds]), x)

    upper = ((low_hz, "high"), (low_hz, "high"))
    return np.stack(
        (
            run((low_hz, "low"), (low_hz, "low"), (high_hz, "all")),
            run(*upper, (high_hz, "low"), (high_hz, "low")),
            run(*upper, (high_hz, "high"), (high_hz, "high")),
        )
    )


def responses(low_hz: float, high_hz: float, hz: Samples, seconds: float = 3.0) -> Samples:
    """Complex response of each band at frequencies `hz`, from its impulse response: (band, frequency)."""
    impulse = np.zeros((1, round(seconds * RATE)))
    impulse[0, 0] = 1.0
    spectrum = np.fft.rfft(bands_of(impulse, low_hz, high_hz)[:, 0])
    bins = np.round(hz * impulse.size / RATE).astype(int)
    np.testing.assert_allclose(bins * RATE / impulse.size, hz, atol=1e-6)
    return spectrum[:, bins]


@pytest.mark.parametrize(("low_hz", "high_hz"), PAIRS)
def test_the_sum_is_flat(low_hz: float, high_hz: float) -> None:
    hz = np.geomspace(1.0, 22000.0, 300).round()
    total = responses(low_hz, high_hz, hz).sum(axis=0)
    # rounding of direct forms: 8e-11 dB where the crossovers are lowest
    assert np.abs(20.0 * np.log10(np.abs(total))).max() < 1e-9


@pytest.mark.parametrize(("low_hz", "high_hz"), PAIRS)
def test_the_sum_is_the_all_pass_of_both_crossovers(low_hz: float, high_hz: float) -> None:
    x = np.random.default_rng(0).standard_normal((2, 20000))
    truth = sosfilt(np.concatenate((butterworth(low_hz, "all"), butterworth(high_hz, "all"))), x)
    # rounding of scipy's direct forms, worst at 30 Hz
    np.testing.assert_allclose(bands_of(x, low_hz, high_hz).sum(axis=0), truth, atol=1e-11)


@pytest.mark.parametrize(("low_hz", "high_hz"), PAIRS)
@pytest.mark.parametrize("rate", [44100.0, 192000.0])
def test_bands_are_cascades_of_butterworth_sections(low_hz: float, high_hz: float, rate: float) -> None:
    x = np.random.default_rng(1).standard_normal((2, 20000))
    # rounding of scipy's direct forms, worst at 30 Hz and 192 kHz
    np.testing.assert_allclose(
        bands_of(x, low_hz, high_hz, rate), scipy_bands(x, low_hz, high_hz, rate), atol=1e-10
    )


def test_nulls_against_ffmpeg(tmp_path: Path) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    x = 0.1 * np.random.default_rng(2).standard_normal((1, 30000))
    x.astype("<f8").tofile(tmp_path / "in")
    graph = "acrossover=split=200 3000:order=4th:precision=double[a][b][c]"
    raw = ["-f", "f64le"]
    ends = [word for name in "abc" for word in ("-map", f"[{name}]", *raw, str(tmp_path / name))]
    source = [*raw, "-ar", "44100", "-ac", "1", "-i", str(tmp_path / "in")]
    subprocess.run(["ffmpeg", "-v", "error", *source, "-filter_complex", graph, *ends], check=True)
    truth = np.stack([np.fromfile(tmp_path / name, dtype="<f8") for name in "abc"])
    # its biquads and ours are the same in float64; what differs is rounding: -253 dB
    assert np.abs(bands_of(x, 200.0, 3000.0)[:, 0] - truth).max() < 1e-11


class TestLinkwitzRiley:
    """Truths of each crossover alone, with the other one far away."""

    @pytest.mark.parametrize(("lower", "hz"), [(0, 50.0), (1, 9000.0)])
    def test_neighbours_are_6_db_down_and_in_phase_where_they_cross(self, lower: int, hz: float) -> None:
        h = responses(50.0, 9000.0, np.array([hz]))[:, 0]
        below, above = h[lower], h[lower + 1]
        # the other crossover, seven octaves away, takes 4e-9 dB
        assert 20.0 * math.log10(abs(below)) == pytest.approx(-20.0 * math.log10(2.0), abs=1e-7)
        assert below == pytest.approx(above, rel=1e-7)

    def test_slopes_are_24_db_per_octave(self) -> None:
        h = np.abs(responses(200.0, 3000.0, np.array([10.0, 20.0, 1600.0, 3200.0]), 9.0))
        # below 200 Hz the mid band rises by 24 dB per octave; so the low band falls above it, less the
        # bend of the bilinear transform: tan(pi f/rate) in the place of f
        assert 20.0 * math.log10(h[1, 1] / h[1, 0]) == pytest.approx(80.0 * math.log10(2.0), abs=0.01)
        warped = np.tan(np.pi * np.array([200.0, 1600.0, 3200.0]) / RATE)
        expected = 1.0 / (1.0 + (warped[1:] / warped[0]) ** 4)
        np.testing.assert_allclose(h[0, 2:], expected, rtol=1e-6)

    def test_neighbours_stay_in_phase_at_every_frequency(self) -> None:
        # of one crossover: low and high differ by real, positive factors only
        h = responses(1000.0, 20000.0, np.geomspace(100.0, 10000.0, 50).round())
        angle = np.angle(h[0] / (h[1] + h[2]))
        # where a band is 96 dB down its own rounding turns it
        assert np.abs(angle).max() < 1e-7


def test_the_middle_fades_as_the_frequencies_pass_each_other() -> None:
    hz = np.geomspace(20.0, 20000.0, 100).round()
    most = []
    for high_hz in (4000.0, 2000.0, 1000.0, 500.0, 250.0):
        h = np.abs(responses(1000.0, high_hz, hz))
        most.append(h[1].max())
        # the low band never depends on the upper crossover but for its phase
        np.testing.assert_allclose(h[0], np.abs(responses(1000.0, 8000.0, hz))[0], rtol=1e-7, atol=1e-12)
    assert (np.diff(most) < 0.0).all()
    # equal frequencies: 1/4 in the middle; two octaves crossed: LP^2 HP^2 is largest at 500 Hz, 1/17^2
    assert most[2] == pytest.approx(0.25, rel=1e-3)
    assert most[4] == pytest.approx(1.0 / 17.0**2, rel=1e-2)


def test_frequencies_beyond_half_the_rate_are_clamped() -> None:
    x = np.random.default_rng(3).standard_normal((1, 4000))
    top = HIGHEST_OF_RATE * 8000.0
    np.testing.assert_array_equal(bands_of(x, 900.0, 20000.0, 8000.0), bands_of(x, 900.0, top, 8000.0))


@pytest.mark.parametrize("block", [1, 7, 511, 4096])
def test_any_block_size_gives_the_same_bits(block: int) -> None:
    x = np.random.default_rng(4).standard_normal((2, 5000)).astype(np.float32)
    c = design(RATE, torch.tensor([150.0]), torch.tensor([2500.0]))[0].numpy()
    whole = np.stack(split_block(x, c, None)[0])
    state, pieces = None, []
    for begin in range(0, x.shape[1], block):
        piece, state = split_block(x[:, begin : begin + block], c, state)
        pieces.append(np.stack(piece))
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(np.concatenate(pieces, axis=2), whole)


def test_training_is_rendering_row_by_row() -> None:
    x = np.random.default_rng(5).standard_normal((3, 2, 3000))
    low, high = torch.tensor([100.0, 300.0, 900.0]), torch.tensor([2000.0, 600.0, 9000.0])
    together = split(torch.from_numpy(x), design(RATE, low, high)).numpy()
    assert together.shape == (3, BANDS, 2, 3000)
    for row in range(3):
        # the compiler may fuse other multiplications with additions in another kernel
        np.testing.assert_allclose(
            together[row], bands_of(x[row], float(low[row]), float(high[row])), atol=1e-12
        )


@pytest.mark.parametrize("length", [1, 13, 1300])
def test_gradient_agrees_with_differences(length: int) -> None:
    x = torch.from_numpy(np.random.default_rng(length).standard_normal((2, 2, length))).requires_grad_()
    low = torch.tensor([90.0, 1500.0], dtype=torch.float64, requires_grad=True)
    high = torch.tensor([2500.0, 600.0], dtype=torch.float64, requires_grad=True)

    def run(x: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        return split(x, design(8000.0, low, high))

    assert torch.autograd.gradcheck(run, (x, low, high), fast_mode=length > 100)


def test_a_decay_ends_in_zeros() -> None:
    x = np.zeros((1, 60000), dtype=np.float32)
    x[0, 0] = 1.0
    y = np.abs(bands_of(x, 500.0, 3000.0, 8000.0))
    assert (y[y > 0.0] >= np.finfo(np.float32).tiny).all()
    assert not y[:, :, -1000:].any()
