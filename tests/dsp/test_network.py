"""Network and its losses: closed forms, a direct solution, differences."""

import math

import numpy as np
import pytest
import scipy.signal
import torch

from fxstyle.dsp import attenuation
from fxstyle.dsp.attenuation import CENTRES_HZ, GUARD, grid
from fxstyle.dsp.network import (
    DELAYS_S,
    INPUT_SIGNS,
    LINES,
    OUTPUT_SIGNS,
    OUTPUTS,
    REFERENCE_RATE,
    TURNED,
    matrix,
    network,
)

SAMPLES = np.round(np.array(DELAYS_S) * REFERENCE_RATE).astype(int)


def points(count: int, seed: int = 0) -> torch.Tensor:
    """Return random s (2, count): decays of .08 to 10 s, up to 20 kHz."""
    rng = np.random.default_rng(seed)
    loss = np.exp(rng.uniform(np.log(0.69), np.log(86.0), (2, count)))
    return torch.from_numpy(loss + 2j * np.pi * rng.uniform(0.0, 20_000.0, (2, count)))


def impulse_response(nepers: float, size: int = 1 << 15) -> np.ndarray:
    """Return the network's (output, time) where all frequencies lose as much per second."""
    on = grid(REFERENCE_RATE, size)
    return np.fft.irfft(network((on.s + nepers)[None], OUTPUTS)[0].numpy(), size) * on.growth.numpy()


def naive_loop(gains: np.ndarray, count: int) -> np.ndarray:
    """Run the network sample by sample in float64; gains: of each line."""
    u = matrix()
    lines = [np.zeros(m) for m in SAMPLES]
    y = np.empty((OUTPUTS, count))
    for n in range(count):
        late = gains * np.array([line[n % len(line)] for line in lines])
        y[:, n] = OUTPUT_SIGNS @ late
        fed = u @ late + INPUT_SIGNS * (n == 0)
        for line, value in zip(lines, fed, strict=True):
            line[n % len(line)] = value
    return y


def difference_db(found: np.ndarray, truth: np.ndarray) -> float:
    return 20.0 * math.log10(np.abs(found - truth).max() / np.abs(truth).max())


def test_lines_hear_each_other_equally_and_lose_nothing() -> None:
    u = matrix()
    np.testing.assert_allclose(u @ u.T, np.eye(LINES), atol=1e-15)
    np.testing.assert_array_equal(np.abs(u), 0.25)
    assert (np.linalg.eigvalsh(u) < 0.0).sum() == TURNED


def test_outputs_are_orthogonal_and_delays_are_primes() -> None:
    np.testing.assert_array_equal(OUTPUT_SIGNS @ OUTPUT_SIGNS.T, LINES * np.eye(OUTPUTS))
    assert all(m % k for m in SAMPLES for k in range(2, int(m**0.5) + 1))
    np.testing.assert_allclose(np.diff(np.log(SAMPLES)), math.log(55 / 12) / (LINES - 1), atol=0.02)


# 1500 is more than a chunk, and no whole number of vectors
@pytest.mark.parametrize(("count", "outputs"), [(1, 4), (37, 1), (1500, 2)])
def test_it_is_the_direct_solution(count: int, outputs: int) -> None:
    s = points(count)
    delay = np.exp(-s.numpy()[..., None] * DELAYS_S)
    system = np.eye(LINES) - matrix() * delay[..., None, :]
    fed = np.broadcast_to(INPUT_SIGNS, delay.shape)[..., None].astype(complex)
    truth = np.moveaxis((delay * np.linalg.solve(system, fed)[..., 0]) @ OUTPUT_SIGNS[:outputs].T, 2, 1)
    np.testing.assert_allclose(network(s, outputs).numpy(), truth, rtol=0, atol=1e-11)


def test_its_derivative_is_that_of_differences() -> None:
    s = points(9, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda value: network(value, 3), (s,), eps=1e-5)


def test_it_is_what_a_loop_over_samples_computes() -> None:
    # the loss at the end is 45 dB; aliasing in time is 60 dB below that
    nepers = 6.9 / 0.9
    gains = np.exp(-nepers * np.array(DELAYS_S))
    found = impulse_response(nepers)[:, :12_000]
    assert difference_db(found, naive_loop(gains, 12_000)) < -100.0


def test_without_loss_the_loop_keeps_its_energy() -> None:
    # what is heard of a lossless network neither grows nor fades: energies of eight pieces of .25 s
    energy = np.square(naive_loop(np.ones(LINES), 96_000)).sum(axis=0).reshape(8, -1).sum(axis=1)[1:]
    assert np.abs(10 * np.log10(energy / energy.mean())).max() < 0.5


def test_first_echoes_are_the_lines() -> None:
    found = impulse_response(20.0)[:, : 2 * SAMPLES[0]]
    truth = np.zeros_like(found)
    for line, m in enumerate(SAMPLES):
        if m < found.shape[1]:
            truth[:, m] = OUTPUT_SIGNS[:, line] * INPUT_SIGNS[line] * math.exp(-20.0 * DELAYS_S[line])
    # aliasing in time: 60 dB under what has faded by 118 dB
    np.testing.assert_allclose(found, truth, atol=1e-8)


def test_all_echoes_fade_alike() -> None:
    time = np.arange(1 << 15) / REFERENCE_RATE
    slow, fast = impulse_response(8.0), impulse_response(20.0)
    # Aliasing in time, 60 dB lower at the end of what has faded by 47 dB.
    assert difference_db(slow * np.exp(-12.0 * time), fast) < -100.0


def test_curves_meet_their_bands_and_stay_between_them() -> None:
    on = grid(48_000.0, 48_000)  # bins of 1 Hz
    values = torch.tensor(np.random.default_rng(0).uniform(-1, 1, (3, 9)))
    curve = on.curve(values)
    hz = np.array(CENTRES_HZ)
    np.testing.assert_allclose(curve[:, np.round(hz[1:]).astype(int)], values[:, 1:], atol=1e-3)
    np.testing.assert_allclose(on.weights.sum(dim=0), 1.0, atol=1e-15)
    for band in range(8):
        between = curve[:, math.ceil(hz[band]) : int(hz[band + 1])]
        ends = values[:, band : band + 2]
        assert (between >= ends.amin(dim=1, keepdim=True) - 1e-12).all()
        assert (between <= ends.amax(dim=1, keepdim=True) + 1e-12).all()


def test_a_loss_is_60_db_in_the_decay_time() -> None:
    t60_s = torch.full((1, 9), 0.7, dtype=torch.float64)
    loss = attenuation.loss(grid(8000.0, 2048), t60_s)
    np.testing.assert_allclose(np.exp(-loss.numpy() * 0.7), 1e-3, rtol=1e-12)


def test_minimum_phase_is_that_of_a_known_filter() -> None:
    # log(1 - p/z) for |p| < 1, of which only the magnitude at |z| = 1 is given
    on = grid(48_000.0, 4096)
    w = 2.0 * np.pi * np.arange(2049) / 4096
    found = on.minimum_phase(torch.from_numpy(np.log(np.abs(1.0 - 0.9 * np.exp(-1j * w)))))
    z = np.exp(on.s.numpy() / on.rate)
    np.testing.assert_allclose(found.numpy(), np.log(1.0 - 0.9 / z), atol=1e-12)


def test_delays_add_up_wherever_they_fall_between_samples() -> None:
    on = grid(8000.0, 4096)
    halves, whole = (on.signal((-on.s * delay / 8000.0).exp()).numpy() for delay in (300.5, 301.0))
    # the fade-out itself, a linear-phase low-pass
    taps = scipy.signal.firwin(
        attenuation._TAPER_TAPS,
        1.0 - attenuation._TAPER_WIDTH,
        window=("kaiser", scipy.signal.kaiser_beta(attenuation._TAPER_DB)),
    )
    np.testing.assert_allclose(whole[301 - GUARD : 302 + GUARD], taps, atol=1e-12)
    # between samples it is interpolated: a sine below the fade-out is delayed by just that much
    for hz in (100.0, 1000.0, 3000.0):
        turn = np.exp(-2j * np.pi * hz / 8000.0 * np.arange(halves.size))
        assert abs(halves @ turn - np.exp(-2j * np.pi * hz / 8000.0 * 300.5)) < 1e-5
    # outside of the taps there is next to nothing
    assert np.abs(np.delete(halves, slice(301 - GUARD - 1, 302 + GUARD))).max() < 1e-6


def test_a_grid_holds_what_it_is_asked_for() -> None:
    for count in (1.0, 2000.0, 2001.5, 70_000.0, 700_000.0, 2_600_000.0):
        size = attenuation.fitting(count)
        assert count <= size - GUARD
        assert size <= max(1.34 * (count + GUARD) + 2, 2048)
        assert size % 16 == 0


def test_gradients_of_losses_and_phases() -> None:
    on = grid(8000.0, 64)
    t60_s = torch.rand(1, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    t60_s.requires_grad_()
    assert torch.autograd.gradcheck(lambda t: on.minimum_phase(attenuation.loss(on, t)), (t60_s,))
