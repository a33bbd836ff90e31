"""Frames against torch.stft, and their adjoint against the definition of one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from fxstyle.features.frames import Frames, over_lanes

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


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_every_lane_is_worked_on_once_and_torchs_threads_are_left_as_they_were() -> None:
    seen: list[int] = []
    inside = set()

    def work(lane: int) -> None:
        seen.append(lane)
        inside.add(torch.get_num_threads())

    over_lanes(work, 7)
    assert sorted(seen) == list(range(7))
    # several threads inside each of several would fight for the cores
    assert inside == {1}
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_an_error_in_a_lane_is_raised() -> None:
    def work(lane: int) -> None:
        raise ZeroDivisionError(f"lane {lane}")

    with pytest.raises(ZeroDivisionError, match="lane 0"):
        over_lanes(work, 3)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is nothing to fork")
def test_a_forked_process_gets_threads_of_its_own() -> None:
    program = """
import os, torch
from fxstyle.features.frames import over_lanes
torch.set_num_threads(2)
seen = []
over_lanes(seen.append, 4)
child = os.fork()
if child == 0:
    over_lanes(seen.append, 4)
    os._exit(len(seen))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.strip() == "8"
