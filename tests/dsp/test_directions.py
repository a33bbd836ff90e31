"""The mean over directions against sums over images; noise and energies against naive sums."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fxstyle.dsp.directions import (
    decay_rates,
    directions,
    energies,
    lattice_gain,
    noise_at,
    shaped_noise,
    time_to_fall_s,
    volume,
)
from fxstyle.dsp.noise import noise_bands
from fxstyle.octaves import BANDS

SPEED = 343.0
ROOMS = {
    "living": ((6.3, 4.7, 2.9), (0.10, 0.12, 0.10, 0.15, 0.20, 0.10)),
    "hard": ((5.1, 4.2, 2.7), (0.05,) * 6),
    "carpet and ceiling": ((8.3, 6.1, 3.1), (0.08, 0.08, 0.10, 0.10, 0.10, 0.70)),
    "hall": ((21.7, 15.3, 9.1), (0.10, 0.10, 0.20, 0.15, 0.30, 0.12)),
    "studio": ((4.4, 3.1, 2.5), (0.15, 0.20, 0.10, 0.15, 0.30, 0.25)),
    "open": ((8.3, 6.1, 3.1), (0.08, 0.08, 0.10, 0.10, 0.10, 0.95)),
}
SOURCE, MICROPHONE = np.array((0.23, 0.61, 0.41)), np.array((0.66, 0.28, 0.72))
EDGES_S = 0.03 + 0.02 * np.arange(25)


def row(value):
    return torch.tensor(value, dtype=torch.float64)[None]


def betas(absorption):
    return row(np.repeat(np.sqrt(1.0 - np.array(absorption))[:, None], BANDS, axis=1))


def image_energies(size, absorption):
    """Sum the energies of all images, of any order, that arrive in each window."""
    beta, axes = np.sqrt(1.0 - np.array(absorption)), []
    for axis, length in enumerate(size):
        most = int(EDGES_S[-1] * SPEED / length) + 2
        i = np.arange(-most, most + 1)
        odd = i % 2
        x = (i + odd) * length + (1 - 2 * odd) * SOURCE[axis] * length - MICROPHONE[axis] * length
        axes.append((x**2, beta[2 * axis] ** np.abs(i - odd) * beta[2 * axis + 1] ** np.abs(i + odd)))
    found = np.zeros(EDGES_S.size - 1)
    for square, energy in zip(*axes[0], strict=True):
        r2 = square + axes[1][0][:, None] + axes[2][0]
        power = energy * axes[1][1][:, None] * axes[2][1] / (16.0 * math.pi**2 * r2)
        found += np.histogram(np.sqrt(r2) / SPEED, EDGES_S, weights=power)[0]
    return found


def mean_energies(size, absorption, scatter=0.0):
    step_s = 1e-4
    rates = decay_rates(row(size), betas(absorption), row(SPEED), row(scatter))
    weights = directions()[1][:, None].expand_as(rates[0])[None]
    count = round(EDGES_S[-1] / step_s) + 1
    power = energies(weights, rates, step_s, count)[0, :, 0].numpy() * SPEED / (4.0 * math.pi * np.prod(size))
    power *= lattice_gain(betas(absorption))[0, 0].item()
    whole = np.concatenate([[0.0], np.cumsum((power[1:] + power[:-1]) / 2.0 * step_s)])
    return np.diff(np.interp(EDGES_S, np.arange(count) * step_s, whole))


@pytest.mark.parametrize("name", ROOMS)
def test_it_is_the_energy_of_all_images_in_windows_of_20_ms(name):
    size, absorption = ROOMS[name]
    error_db = 10.0 * np.log10(mean_energies(size, absorption) / image_energies(size, absorption))
    # the target of the design; a large hall has few images in the first windows
    assert np.abs(error_db).max() < 1.5
    assert abs(error_db.mean()) < 0.3


def test_eyring_would_not_do():
    size, absorption = ROOMS["carpet and ceiling"]
    truth = image_energies(size, absorption)
    error_db = 10.0 * np.log10(mean_energies(size, absorption, scatter=1.0) / truth)
    assert np.abs(error_db).max() > 10.0


def test_scatter_1_is_eyring():
    size, absorption = ROOMS["living"]
    rates = decay_rates(row(size), betas(absorption), row(SPEED), row(1.0))
    areas = np.repeat([size[1] * size[2], size[0] * size[2], size[0] * size[1]], 2)
    mean = (areas * absorption).sum() / areas.sum()
    truth = SPEED * areas.sum() / (4.0 * np.prod(size)) * -math.log(1.0 - mean)
    np.testing.assert_allclose(rates.numpy(), truth, rtol=1e-12)
    # Eyring's formula for the time: 24 ln 10 V/(-c S ln(1 - mean))
    truth = 24.0 * math.log(10.0) * np.prod(size) / (-SPEED * areas.sum() * math.log(1.0 - mean))
    assert time_to_fall_s(rates, 60.0, 10.0).item() == pytest.approx(truth, rel=1e-9)


def test_directions_are_unit_vectors_evenly_spread():
    n, weight = directions()
    np.testing.assert_allclose(n.square().sum(dim=1).numpy(), 1.0, atol=1e-12)
    assert weight.sum().item() == pytest.approx(1.0, abs=1e-12)
    # over an octant <n_i> = 1/2, <n_i^2> = 1/3
    np.testing.assert_allclose((weight[:, None] * n).sum(dim=0).numpy(), 0.5, atol=1e-4)
    np.testing.assert_allclose((weight[:, None] * n**2).sum(dim=0).numpy(), 1.0 / 3.0, atol=1e-6)


def test_volume():
    assert volume(row((2.0, 3.0, 4.0))).item() == 24.0


def test_energies_are_sums_of_exponentials():
    rng = np.random.default_rng(0)
    weights, rates = (torch.from_numpy(rng.uniform(0.1, high, (2, 7, BANDS))) for high in (1.0, 30.0))
    t = 0.002 * torch.arange(50, dtype=torch.float64)
    truth = (weights[:, None] * (-rates[:, None] * t[:, None, None]).exp()).sum(dim=2)
    torch.testing.assert_close(energies(weights, rates, 0.002, 50), truth, rtol=1e-12, atol=0.0)
    given = [weights.requires_grad_(), rates.requires_grad_()]
    assert torch.autograd.gradcheck(lambda w, d: energies(w, d, 0.002, 9), given, fast_mode=True)


def test_noise_is_shaped_by_straight_lines():
    rng = np.random.default_rng(1)
    noise = noise_bands(16_000.0, 3, 1000)
    span, step = 90, 20
    amplitude = torch.from_numpy(rng.standard_normal((2, 2, 6, BANDS)))
    streams = [2, 1]
    found = shaped_noise(amplitude, streams, noise, step=step, span=span, dtype=torch.float64)
    for r in range(2):
        truth = np.zeros(span)
        for stream, part in zip((0, streams[r]), amplitude[r].numpy(), strict=True):
            for b in range(noise.shape[1]):
                line = np.interp(np.arange(span) / step, np.arange(6), part[:, b])
                truth += line * noise[stream, b, :span]
        np.testing.assert_allclose(found[r].numpy(), truth, atol=1e-12)
    given = amplitude.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda a: shaped_noise(a, streams, noise, step=step, span=span, dtype=torch.float64),
        given,
        fast_mode=True,
    )


def test_rigid_walls_neither_fade_nor_divide_by_nothing():
    rates = decay_rates(
        row((3.0, 4.0, 5.0)), torch.ones(1, 6, BANDS, dtype=torch.float64), row(SPEED), row(0.5)
    )
    assert not rates.any()
    np.testing.assert_allclose(
        lattice_gain(torch.ones(1, 6, BANDS, dtype=torch.float64)).numpy(), 1.0, atol=1e-6
    )
    assert time_to_fall_s(rates, 60.0, 10.0).item() == 10.0


def test_the_gain_of_the_lattice_is_the_sum_of_energies_over_the_integral():
    beta = np.random.default_rng(2).uniform(0.3, 0.99, 6)
    truth = 1.0
    for b0, b1 in beta.reshape(3, 2):
        i = np.arange(-4000, 4001)
        odd = i % 2
        total = (b0 ** np.abs(i - odd) * b1 ** np.abs(i + odd)).sum()
        truth *= total / (2.0 / -math.log(b0 * b1))
    found = lattice_gain(row(np.repeat(beta[:, None], BANDS, axis=1)))
    np.testing.assert_allclose(found.numpy(), truth, rtol=1e-10)


@pytest.mark.parametrize("rate", [8000.0, 22_050.0, 44_100.0, 96_000.0, 192_000.0])
def test_noise_is_the_same_sound_at_every_rate(rate):
    seconds = 0.5
    here, there = noise_at(rate, 1, round(seconds * rate)), noise_at(48_000.0, 1, round(seconds * 48_000.0))
    hz = np.linspace(300.0, 3000.0, 50)
    found = []
    for noise, r in ((here, rate), (there, 48_000.0)):
        whole = noise[0, :, : round(seconds * r)].sum(axis=0).astype(np.float64) * np.hanning(
            round(seconds * r)
        )
        # white of unit variance at r Hz has the power 1/r per Hz
        found.append(np.exp(-2j * np.pi * hz[:, None] * np.arange(whole.size) / r) @ whole / math.sqrt(r))
    # the resampler's ripple
    assert np.abs(found[0] - found[1]).max() < 0.01 * np.abs(found[1]).max()


def test_longer_noise_begins_with_the_same_samples():
    short, long = (noise_at(44_100.0, 2, count) for count in (1000, 40_000))
    assert long.shape[2] >= 40_000
    np.testing.assert_allclose(long[..., : short.shape[2]], short, atol=1e-6)
