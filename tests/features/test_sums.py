"""The sums behind the descriptors against plain torch, and their gradient against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fxstyle.features.sums import Plan, Sums, matrix, plain, sums

RATE = 8000.0
BANDS = (range(-4, 2), 1)
PLAN = Plan(64, 16, mid=((range(-6, 3), 3), BANDS), side=(BANDS,), logs=(BANDS,), fast=(BANDS,), floor=1e-6)


def noise(rows: int, channels: int, length: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(
        rows, channels, length, generator=torch.Generator().manual_seed(seed), dtype=dtype
    )


def weighted(found: Sums) -> torch.Tensor:
    """One number that depends on everything, each part about as much."""
    generator = torch.Generator().manual_seed(9)
    total = torch.zeros((), dtype=torch.float64)
    for part in found[:-1]:
        if part.numel():
            random = torch.randn(part.shape, generator=generator, dtype=torch.float64)
            total = total + (random * part / part.detach().abs().mean()).sum()
    return total


@pytest.mark.parametrize(("channels", "side"), [(1, False), (2, False), (2, True)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_is_the_same_in_plain_torch(channels: int, side: bool, dtype: torch.dtype) -> None:
    x = noise(3, channels, 1000, dtype).requires_grad_(True)
    ours, theirs = sums(x, PLAN, RATE, side=side), plain(x, PLAN, RATE, side=side)
    # float64: sums of a thousand. float32: a bin's power has an error of the transform's largest bin.
    tolerance = 1e-12 if dtype == torch.float64 else 2e-5
    for name, a, b in zip(Sums._fields, ours, theirs, strict=True):
        assert a.shape == b.shape, name
        assert a.dtype == b.dtype, name
        torch.testing.assert_close(a, b, rtol=tolerance, atol=0.0, msg=lambda m, n=name: f"{n}: {m}")
    pair = [torch.autograd.grad(weighted(found), x)[0] for found in (ours, theirs)]
    assert float((pair[0] - pair[1]).norm() / pair[1].norm()) < 10.0 * tolerance


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("rate", "heard"), [(RATE, False), (7000.0, True)])
def test_gradient_is_that_of_finite_differences(channels: int, rate: float, heard: bool) -> None:
    """At one rate no band has the last bin, whose weight in the transform is another; at one several do."""
    for bands, n_fft in ((PLAN.mid, 64), (PLAN.side, 64), (PLAN.logs, 64), (PLAN.fast, 16)):
        assert matrix(bands, n_fft, rate)[-1].any() == heard
    x = noise(2, channels, 130, torch.float64).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda v: sums(v, PLAN, rate, side=channels == 2)[:-1], x)


@pytest.mark.parametrize("side", [False, True])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_stays_none_in_every_part_of_its_row(wrong: float, side: bool) -> None:
    x = noise(2, 2, 1000, torch.float32)
    x[0, 0, 500] = wrong
    ours, theirs = sums(x, PLAN, RATE, side=side), plain(x, PLAN, RATE, side=side)
    for name, a, b in zip(Sums._fields, ours, theirs, strict=True):
        assert torch.equal(a.isfinite(), b.isfinite()), name
        assert not a[:1].isfinite().all() or not a.numel(), name
        assert a[1:].isfinite().all(), name


@pytest.mark.parametrize("part", Sums._fields[:-1])
def test_each_part_alone_has_its_gradient(part: str) -> None:
    """Parts that nothing depends on are left out of the backward pass."""
    x = noise(2, 2, 300, torch.float64).requires_grad_(True)
    pair = [
        torch.autograd.grad(getattr(f(x, PLAN, RATE, side=True), part).square().sum(), x)[0]
        for f in (sums, plain)
    ]
    torch.testing.assert_close(pair[0], pair[1], rtol=1e-9, atol=1e-15)


def test_a_tone_has_its_power_in_its_band() -> None:
    t = torch.arange(4000, dtype=torch.float64) / RATE
    left = 0.5 * torch.sin(2.0 * np.pi * 1000.0 * t)
    found = sums(torch.stack([left, torch.zeros_like(left)])[None], PLAN, RATE, side=True)
    octave = found.mid[0, :, 9:]
    # Mid and side of a sound on one side are halves of it: mean square 0.5 (0.5/2)^2, at 1 kHz (band 4).
    # The window spreads the tone over four bins of 125 Hz, where the band's weight is 0.95 and more.
    np.testing.assert_allclose(octave.argmax(-1), 4)
    np.testing.assert_allclose(octave[:, 4], 0.03125, rtol=0.05)
    torch.testing.assert_close(found.side[0], octave)
    assert found.energy[0].tolist() == pytest.approx([500.0, 0.0])
    assert found.moments[0, 0].item() == pytest.approx(125.0)
    assert found.peak.item() == pytest.approx(0.25)


def test_scattered_input_and_slices_are_read_and_left_alone() -> None:
    whole = noise(2, 2, 1500, torch.float32)
    untouched = whole.clone()
    piece = whole[..., 500:]
    scattered = piece.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    expected = sums(piece.contiguous(), PLAN, RATE, side=True)
    for x in (piece, scattered):
        assert all(torch.equal(a, b) for a, b in zip(sums(x, PLAN, RATE, side=True), expected, strict=True))
    assert torch.equal(whole, untouched)


def test_threads_change_nothing() -> None:
    x = noise(5, 2, 1000, torch.float32).requires_grad_(True)
    before = torch.get_num_threads()
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        out = sums(x, PLAN, RATE, side=True)
        found.append((*out, torch.autograd.grad(weighted(out), x)[0]))
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_what_cannot_be_summed_is_refused() -> None:
    with pytest.raises(ValueError, match="63 samples are fewer than one frame of 64"):
        sums(torch.zeros(1, 1, 63), PLAN, RATE, side=False)
    with pytest.raises(ValueError, match="3 channels cannot be described, only one or two"):
        sums(torch.zeros(1, 3, 100), PLAN, RATE, side=False)
