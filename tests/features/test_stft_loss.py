"""The STFT distance against auraloss, against plain torch, and its gradient against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fxstyle.features.frames import Frames
from fxstyle.features.stft_loss import EPSILON, RESOLUTIONS, StftLoss, plain, stft_distance

SMALL = (Frames(32, 7, 20, centred=True), Frames(64, 16, 64, centred=True))
HANN = (Frames(1024, 256, 1024, centred=True),)


def noise(shape: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def music_like(rows: int, channels: int, length: int, seed: int) -> torch.Tensor:
    """Decaying noise bursts with silence between: powers from full scale to below EPSILON."""
    t = torch.arange(length) % 6000
    envelope = torch.exp(-t / 600.0) * (t < 4000)
    return noise((rows, channels, length), seed) * envelope


@pytest.fixture(scope="module")
def auraloss_freq() -> object:
    return pytest.importorskip("auraloss.freq")


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("material", [noise, music_like], ids=["noise", "bursts"])
def test_each_row_is_auraloss(auraloss_freq: object, channels: int, material: object) -> None:
    """Value and gradient, row by row: over several rows auraloss takes one norm."""
    if material is noise:
        y, x = noise((1, channels, 20001)), noise((3, channels, 20001), 1)
    else:
        y, x = music_like(1, channels, 20001, 0), 0.3 * music_like(3, channels, 20001, 1)
    x.requires_grad_(True)
    theirs = auraloss_freq.MultiResolutionSTFTLoss()  # type: ignore[attr-defined]
    values = StftLoss(y)(x)
    (gradient,) = torch.autograd.grad(values.sum(), x)
    for row in range(3):
        alone = x[row : row + 1].detach().requires_grad_(True)
        value = theirs(alone, y)
        (its,) = torch.autograd.grad(value, alone)
        # Sums of a million float32 terms in another order.
        assert values[row].item() == pytest.approx(value.item(), rel=1e-5)
        # A bin's slope goes with 1/X, so rounding weighs most in the quietest bins.
        assert float((gradient[row] - its[0]).norm() / its.norm()) < 1e-3


def test_other_resolutions_are_auraloss_too(auraloss_freq: object) -> None:
    y, x = noise((1, 1, 9000)), noise((1, 1, 9000), 1)
    theirs = auraloss_freq.STFTLoss(1024, 256, 1024)  # type: ignore[attr-defined]
    assert float(StftLoss(y, HANN)(x)) == pytest.approx(float(theirs(x, y)), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("target_rows", [1, 3])
def test_is_the_same_in_plain_torch(dtype: torch.dtype, target_rows: int) -> None:
    y, x = noise((target_rows, 2, 5000), 0, dtype), noise((3, 2, 5000), 1, dtype).requires_grad_(True)
    ours, theirs = StftLoss(y)(x), plain(x, y)
    assert ours.dtype == theirs.dtype == dtype
    assert ours.shape == (3,)
    weights = torch.tensor([1.0, -2.0, 0.5], dtype=dtype)
    pair = [torch.autograd.grad(v @ weights, x)[0] for v in (ours, theirs)]
    # float64: some roundings more than auraloss has. float32: as against auraloss.
    value_tolerance, gradient_tolerance = (1e-12, 1e-9) if dtype == torch.float64 else (1e-5, 1e-3)
    torch.testing.assert_close(ours, theirs, rtol=value_tolerance, atol=0.0)
    assert float((pair[0] - pair[1]).norm() / pair[1].norm()) < gradient_tolerance


def test_gradient_is_that_of_finite_differences() -> None:
    y, x = noise((1, 2, 150), 0, torch.float64), noise((2, 2, 150), 1, torch.float64).requires_grad_(True)
    loss = StftLoss(y, SMALL)
    assert torch.autograd.gradcheck(loss, x)
    assert torch.autograd.gradcheck(lambda v: loss(v[:, :, ::2].repeat_interleave(2, -1)), x)


def test_identity_is_zero_with_gradient_zero() -> None:
    x = noise((2, 2, 5000)).requires_grad_(True)
    value = StftLoss(x.detach())(x)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    assert value.tolist() == [0.0, 0.0]
    assert not gradient.any()


def test_half_the_level_is_its_closed_form() -> None:
    y = noise((1, 1, 5000))
    # |Y - Y/2| / |Y| = 1/2 and |ln 1/2| everywhere but in bins below EPSILON, of which noise has none.
    assert float(StftLoss(y)(0.5 * y)) == pytest.approx(0.5 + np.log(2.0), rel=1e-5)


def test_silence_is_at_the_floor_and_pulls_at_nothing() -> None:
    silence = torch.zeros(1, 1, 5000)
    y = noise((1, 1, 5000))
    x = silence.clone().requires_grad_(True)
    value = StftLoss(y)(x)
    assert value.item() == pytest.approx(plain(silence, y).item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    assert not gradient.any()
    # Against silence a signal counts by how far it is above the floor.
    loud = StftLoss(silence, HANN)(y)
    magnitude = torch.stft(y[0], 1024, 256, 1024, torch.hann_window(1024), return_complex=True).abs()
    floor = EPSILON**0.5
    convergence = ((magnitude - floor).square().mean().sqrt() / floor).item()
    assert float(loud) == pytest.approx(convergence + (magnitude / floor).log().mean().item(), rel=1e-4)


def test_not_a_number_stays_in_its_row() -> None:
    x = noise((2, 1, 5000))
    x[0, 0, 2500] = torch.nan
    values = StftLoss(noise((1, 1, 5000), 1))(x)
    assert torch.isnan(values[0])
    assert torch.isfinite(values[1])


def test_rows_do_not_depend_on_threads_or_on_one_another() -> None:
    y, x = noise((1, 2, 5000)), noise((3, 2, 5000), 1).requires_grad_(True)
    loss = StftLoss(y)
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        value = loss(x)
        results.append((value, torch.autograd.grad(value.sum(), x)[0]))
    torch.set_num_threads(before)
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    alone = loss(x[1:2].detach())
    assert alone.item() == results[0][0][1].item()


def test_arguments_may_be_scattered_and_are_left_alone() -> None:
    y, x = noise((2, 2, 5000)), noise((5000, 2, 2), 1).permute(2, 1, 0)
    untouched = y.clone(), x.clone()
    value = StftLoss(y)(x)
    assert torch.equal(value, StftLoss(y)(x.contiguous()))
    assert torch.equal(y, untouched[0])
    assert torch.equal(x, untouched[1])


@pytest.mark.parametrize("target_rows", [1, 3])
def test_the_distance_without_a_kept_target_is_the_same(target_rows: int) -> None:
    y, x = noise((target_rows, 2, 5000)), noise((3, 2, 5000), 1)
    assert torch.equal(stft_distance(x, y), StftLoss(y)(x))


def test_the_resolutions_are_those_of_the_paper() -> None:
    assert [(f.n_fft, f.hop, f.size) for f in RESOLUTIONS] == [
        (1024, 120, 600),
        (2048, 240, 1200),
        (512, 50, 240),
    ]


def test_what_does_not_fit_is_refused() -> None:
    y = noise((2, 1, 5000))
    loss = StftLoss(y)
    with pytest.raises(ValueError, match=r"got \(3, 1, 5000\) and \(2, 1, 5000\)"):
        loss(noise((3, 1, 5000)))
    with pytest.raises(ValueError, match=r"got \(2, 2, 5000\)"):
        loss(noise((2, 2, 5000)))
    with pytest.raises(ValueError, match="got torch.float64 and torch.float32"):
        loss(y.double())
    with pytest.raises(ValueError, match="1024 samples are fewer than half a frame of 2048 and one"):
        StftLoss(noise((1, 1, 1024)))


def test_other_devices_take_torchs_operations() -> None:
    """On the device without storage: a shape comes out, and most meetings with a CPU tensor raise."""
    x = noise((3, 2, 5000)).to("meta")
    value = StftLoss(noise((1, 2, 5000)).to("meta"))(x)
    assert value.device.type == "meta"
    assert value.shape == (3,)
