"""Frames against torch.stft, and their adjoint against the definition of one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fxstyle.features.frames import Frames

CASES = [
    Frames(64, 13, 40, centred=True),
    Frames(64, 64, 64, centred=True),
    Frames(30, 7, 30),
    Frames(32, 16, 9),
]


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def spectra(frames: Frames, x: np.ndarray) -> np.ndarray:
    """All spectra of x (time,), (frame, bin)."""
    pieces = [(first, s.copy()) for first, s in frames.spectra(x)]
    assert [first for first, _ in pieces] == list(range(0, frames.count(x.size), frames.at_once))
    whole = np.concatenate([s for _, s in pieces])
    return whole.view(np.complex128 if x.dtype == np.float64 else np.complex64)


@pytest.mark.parametrize("frames", CASES, ids=str)
@pytest.mark.parametrize("length", [33, 64, 500])
def test_is_torchs_short_time_transform(frames: Frames, length: int) -> None:
    x = noise((max(length, frames.least),))
    ours = spectra(frames, x)
    window = torch.hann_window(frames.size, dtype=torch.float64)
    theirs = torch.stft(
        torch.from_numpy(x), frames.n_fft, frames.hop, frames.size, window,
        center=frames.centred, return_complex=True,
    ).T.numpy()  # fmt: skip
    assert ours.shape == theirs.shape == (frames.count(x.size), frames.bins)
    # float64 rounds at 2e-16 of sums of some ten
    np.testing.assert_allclose(ours, theirs, atol=1e-13)


@pytest.mark.parametrize("frames", CASES, ids=str)
def test_laying_is_the_adjoint_of_cutting(frames: Frames) -> None:
    """<spectra(x), g> = <x, lay(g)> for real inner products over real and imaginary parts."""
    x = noise((333,))
    g = noise((frames.count(x.size), 2 * frames.bins), seed=1)
    half = 0.5 * g
    half[:, [0, 1, -2, -1]] *= 2.0
    dx = np.zeros_like(x)
    middle = frames.count(x.size) // 2
    frames.lay(0, half[:middle].copy(), dx)
    frames.lay(middle, half[middle:].copy(), dx)
    assert float((spectra(frames, x).view(np.float64) * g).sum()) == pytest.approx(float(x @ dx), rel=1e-12)


def test_long_signals_are_cut_in_several_goes() -> None:
    frames = Frames(512, 50, 240, centred=True)
    x = noise((3 * frames.at_once * frames.hop,)).astype(np.float32)
    assert len(list(frames.spectra(x))) == 4
    once = torch.stft(torch.from_numpy(x), 512, 50, 240, torch.hann_window(240), return_complex=True)
    np.testing.assert_allclose(spectra(frames, x), once.T.numpy(), atol=1e-4)


@pytest.mark.parametrize(("n_fft", "hop", "size"), [(63, 10, 20), (64, 0, 20), (64, 10, 65), (64, 10, 0)])
def test_impossible_frames_are_refused(n_fft: int, hop: int, size: int) -> None:
    with pytest.raises(ValueError, match=f"got n_fft {n_fft}, window {size}, hop {hop}"):
        Frames(n_fft, hop, size)


def test_too_short_a_signal_is_named() -> None:
    with pytest.raises(ValueError, match="32 samples are fewer than half a frame of 64 and one"):
        Frames(64, 16, 64, centred=True).check(32)
    Frames(64, 16, 64, centred=True).check(33)
    with pytest.raises(ValueError, match="63 samples are fewer than one frame of 64"):
        Frames(64, 16, 64).check(63)
