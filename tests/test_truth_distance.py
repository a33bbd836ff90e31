"""Ld against auraloss on the whole batch, and against its own definition in numpy."""

from __future__ import annotations

import numpy as np
import pytest

from fxstyle.features.truth_distance import ld

RATE = 44100
RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))
"""FFT, hop and window in samples, as the metric's paper gives them."""


def noise(seed: int, channels: int = 2, frames: int = 12000) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.1, (channels, frames))


def by_definition(output: np.ndarray, truth: np.ndarray) -> float:
    values = []
    for n, hop, length in RESOLUTIONS:
        window = np.zeros(n)
        begin = (n - length) // 2
        window[begin : begin + length] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
        pair = []
        for x in (output, truth):
            padded = np.pad(x, ((0, 0), (n // 2, n // 2)), mode="reflect")
            frames = np.lib.stride_tricks.sliding_window_view(padded, n, axis=1)[:, ::hop] * window
            # auraloss keeps the power above 1e-8
            pair.append(np.sqrt(np.maximum(np.abs(np.fft.rfft(frames)) ** 2, 1e-8)))
        x, y = pair
        convergence = np.sqrt(((y - x) ** 2).sum(axis=(1, 2))) / np.sqrt((y**2).sum(axis=(1, 2)))
        values.append(convergence.mean() + np.abs(np.log(y) - np.log(x)).mean())
    return float(np.mean(values))


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_is_its_definition(channels: int) -> None:
    truth = noise(0, channels)
    output = 0.5 * truth + 0.1 * noise(1, channels)
    # float32 inside: 1e-4 is a thousand of its steps, and a thousandth of differences that matter
    assert ld(output, truth, RATE) == pytest.approx(by_definition(output, truth), rel=1e-4)


def test_is_auraloss() -> None:
    torch = pytest.importorskip("torch")
    freq = pytest.importorskip("auraloss.freq")
    loss = freq.MultiResolutionSTFTLoss()
    truth = noise(0).astype(np.float32)
    output = (0.5 * truth + 0.1 * noise(1)).astype(np.float32)
    pair = torch.from_numpy(output)[:, None], torch.from_numpy(truth)[:, None]
    each = [float(loss(x[None], y[None])) for x, y in zip(*pair, strict=True)]
    # Both round in float32; sums of a million terms differ by some 1e-6 of their value.
    assert ld(output, truth, RATE) == pytest.approx(np.mean(each), rel=1e-5)


def test_identity_is_zero_and_level_counts() -> None:
    truth = noise(0)
    assert ld(truth, truth, RATE) == 0.0
    # Half the level: convergence 0.5 and |log 0.5| at every resolution.
    assert ld(0.5 * truth, truth, RATE) == pytest.approx(0.5 + np.log(2.0), rel=1e-3)


def test_other_rates_are_resampled_to_the_benchmarks() -> None:
    t = np.arange(48000) / 48000
    truth, output = np.sin(2 * np.pi * 997 * t)[None], 0.7 * np.sin(2 * np.pi * 997 * t)[None]
    u = np.arange(44100) / 44100
    same = np.sin(2 * np.pi * 997 * u)[None]
    # Only the resampler's edges and its noise floor differ.
    assert ld(output, truth, 48000) == pytest.approx(ld(0.7 * same, same, RATE), abs=0.02)


@pytest.mark.parametrize(
    ("output", "truth"),
    [(noise(0), noise(0, 1)), (noise(0)[0], noise(0)[0]), (noise(0, 1, 400), noise(1, 1, 400))],
    ids=["channels", "shape", "short"],
)
def test_unusable_pairs_are_refused(output: np.ndarray, truth: np.ndarray) -> None:
    with pytest.raises(ValueError, match="ld needs"):
        ld(output, truth, RATE)
