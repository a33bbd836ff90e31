"""The bit-crusher against pedalboard to the bit, closed forms of noise and images, and a naive staircase.

Its gradient is not that of the staircase, which is zero: the law it obeys instead is tested here.
"""

import math

import numpy as np
import pytest
import torch

from fxstyle.effects.bitcrush import EFFECT, LATENCY

RATE = 44_100.0
OFF_HZ = 48_000.0
"""At RATE this holds nothing: only the bits are left."""


def _render(x, bits=12.0, hold_hz=OFF_HZ, rate=RATE):
    """Run (channel, time), aligned with its input."""
    padded = np.concatenate([x, np.zeros((x.shape[0], LATENCY), x.dtype)], axis=1)
    return EFFECT.render(padded, rate, None, bits=bits, hold_hz=hold_hz)[0][:, LATENCY:]


def _surrogate(x, bits, hold, errors=None):
    """Follow the module's docstring instant by instant in torch, for one channel.

    errors: None for the staircase itself, or (e_k, bits_0): then q_k = v_k + e_k 2^(bits_0 - bits), of
    which the gradient is meant to be that of the effect. Returns y and the errors e_k.
    """
    padded = torch.cat([x, x.new_zeros(2)])
    y, kept, last, k = [torch.zeros(()) for _ in x], [], x.new_zeros(()), 0
    while math.floor(k * hold.item()) < len(x):
        j = math.floor(k * hold.item())
        a = k * hold - j
        v = padded[j] + a * (padded[j + 1] - padded[j])
        if errors is None:
            step = 2.0 ** (1.0 - bits)
            q = step * torch.round(v / step)
        else:
            q = v + errors[0][k] * 2.0 ** (errors[1] - bits)
        kept.append((q - v).detach())
        y[j] = a * last + (1 - a) * q
        for n in range(j + 1, min(math.floor((k + 1) * hold.item()), len(x))):
            y[n] = q
        last, k = q, k + 1
    return torch.stack(y), kept


@pytest.mark.parametrize("depth", [1.0, 4.0, 7.0, 8.5, 11.3, 15.0])
def test_pedalboard_has_the_same_law_to_the_bit(depth):
    pedalboard = pytest.importorskip("pedalboard")
    x = (0.7 * np.random.default_rng(0).standard_normal((2, 50_000))).astype(np.float32)
    x[0, :64] = np.arange(64, dtype=np.float32) / 2 ** (1 + depth)  # halves of a step, for the rounding
    truth = pedalboard.Bitcrush(depth)(x, RATE)
    bits = float(np.float32(depth)) + 1.0
    np.testing.assert_array_equal(_render(x, bits), truth)


@pytest.mark.parametrize(("bits", "within_db"), [(6, 0.25), (8, 0.1), (12, 0.1), (16, 0.1)])
def test_a_sine_keeps_six_decibels_per_bit(bits, within_db):
    # A prime number of periods, so that no sample comes twice. Among few levels the turning points of
    # the sine weigh more, where the error is not spread evenly over a step. The mean of 2^14 different
    # squares, four times over, scatters by .03 dB.
    x = np.sin(2 * np.pi * 997 * np.arange(1 << 16) / (1 << 16))
    error = _render(x[None], float(bits))[0] - x
    snr_db = 10 * np.log10(np.mean(x**2) / np.mean(error**2))
    assert snr_db == pytest.approx(6.0206 * bits + 1.7609, abs=within_db)


@pytest.mark.parametrize("bits", [2.0, 3.0, 5.5])
def test_levels_are_multiples_of_the_step(bits):
    x = np.random.default_rng(0).uniform(-1, 1, (1, 2000))
    y = _render(x, bits)
    step = 2.0 ** (1.0 - bits)
    np.testing.assert_allclose(y / step, np.round(y / step), atol=1e-12)
    assert np.abs(y - x).max() <= step / 2 * (1 + 1e-12)


@pytest.mark.parametrize("hold", [1.0, 1.0001, 1.5, math.pi, 8.0, 33.3])
def test_kernel_equals_the_naive_staircase(hold):
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(700))
    hold_hz = RATE / hold
    truth, _ = _surrogate(
        x, torch.tensor(5.3, dtype=torch.float64), torch.tensor(RATE / hold_hz, dtype=torch.float64)
    )
    np.testing.assert_allclose(_render(x.numpy()[None], 5.3, hold_hz)[0], truth.numpy(), atol=1e-12)


@pytest.mark.parametrize("hold", [2, 5, 16])
def test_holding_a_whole_number_of_samples_repeats_them(hold):
    x = np.random.default_rng(0).standard_normal((2, 960))
    y = _render(x, 16.0, 48_000.0 / hold, 48_000.0)
    kept = _render(x[:, ::hold], 16.0, 48_000.0, 48_000.0)
    np.testing.assert_allclose(y, np.repeat(kept, hold, axis=1), atol=1e-12)


def test_images_of_a_held_tone_are_those_of_the_integrated_staircase():
    # 44.1 kHz held at 6250 Hz, hold = 7.056: a staircase of the tone at 6250 Hz has images at multiples
    # of 6250 +- 25, as high as sinc, which the integral over a sample lowers by a sinc of its own.
    n = np.arange(44_100)
    y = _render(np.sin(2 * np.pi * 25 * n / RATE)[None], 16.0, 6250.0)[0]
    spectrum = np.abs(np.fft.rfft(y)) / 22_050
    for hz in (25, 6225, 6275, 12_475, 12_525, 18_725, 18_775):
        truth = abs(np.sinc(hz / 6250)) * np.sinc(hz / RATE)
        assert spectrum[hz] == pytest.approx(truth, rel=0.01), hz


@pytest.mark.parametrize("hold", [1.0, 1.7, 2.0, 6.4])
@pytest.mark.parametrize("bits", [2.0, 4.6, 11.0])
def test_the_gradient_is_that_of_an_error_that_only_scales(bits, hold):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 90, dtype=torch.float64, generator=generator)
    weights = torch.randn(2, 90, dtype=torch.float64, generator=generator)
    rate = 8000.0
    x.requires_grad_()
    knobs = [torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (bits, rate / hold)]
    y = EFFECT.forward(x[None], rate, bits=knobs[0], hold_hz=knobs[1])[0]
    found = torch.autograd.grad((y * weights).sum(), (x, *knobs))

    start = [knob.detach()[0].clone().requires_grad_() for knob in knobs]
    frozen = [_surrogate(row, start[0], rate / start[1])[1] for row in x.detach()]

    def smooth(x, bits, hold_hz):
        rows = [
            _surrogate(row, bits, rate / hold_hz, (errors, start[0].item()))[0]
            for row, errors in zip(x, frozen, strict=True)
        ]
        return torch.stack(rows)

    torch.testing.assert_close(smooth(x, *start), y, atol=1e-12, rtol=0.0)
    truth = torch.autograd.grad((smooth(x, *start) * weights).sum(), (x, *start))
    for a, b in zip(found, truth, strict=True):
        torch.testing.assert_close(a.reshape(b.shape), b, atol=1e-10, rtol=1e-10)


def test_with_the_error_kept_the_staircase_is_differentiable_by_its_rate():
    # The surrogate of the test above has its differences: no instant of it is lost where h moves over a
    # whole sample, thanks to the integral.
    x = torch.randn(60, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    bits = torch.tensor(4.0, dtype=torch.float64, requires_grad=True)
    hold = torch.tensor(2.37, dtype=torch.float64, requires_grad=True)
    _, errors = _surrogate(x, bits.detach(), hold.detach())
    assert torch.autograd.gradcheck(lambda b, h: _surrogate(x, b, h, (errors, 4.0))[0], (bits, hold))
    # From below and from above a whole number the staircase arrives at the same samples.
    below, at, above = (_render(x.numpy()[None], 16.0, RATE / (3.0 + d))[0] for d in (-1e-9, 0.0, 1e-9))
    np.testing.assert_allclose(below, at, atol=2.0**-15 + 1e-6)
    np.testing.assert_allclose(above, at, atol=2.0**-15 + 1e-6)


@pytest.mark.parametrize("bits", [3.0, 6.0, 10.5])
def test_by_bits_the_gradient_of_the_noise_is_the_true_one(bits):
    # The mean square of the error is D^2/12, whose derivative by bits is -2 ln 2 D^2/12.
    x = torch.from_numpy(np.random.default_rng(0).normal(0.0, 0.5, (1, 1, 200_000)))
    knobs = {
        k: torch.tensor([v], dtype=torch.float64, requires_grad=True)
        for k, v in (("bits", bits), ("hold_hz", OFF_HZ))
    }
    (EFFECT.forward(x, RATE, **knobs) - x).square().mean().backward()
    step = 2.0 ** (1.0 - bits)
    assert knobs["bits"].grad.item() == pytest.approx(-2 * math.log(2) * step**2 / 12, rel=0.02)
    # and so do differences over a tenth of a bit find it
    powers = [np.mean((_render(x.numpy()[0], bits + d) - x.numpy()[0]) ** 2) for d in (-0.05, 0.05)]
    assert knobs["bits"].grad.item() == pytest.approx((powers[1] - powers[0]) / 0.1, rel=0.05)


def test_by_the_input_the_gradient_is_that_of_the_mean_over_dither():
    # Averaged over a dither as wide as a step the staircase is the straight line through its middle.
    bits, step = 4.0, 2.0**-3
    dither = (np.arange(4096) + 0.5) / 4096 * step - step / 2
    for value in (0.0, 0.03, 0.0625, 0.3):
        assert _render((value + dither)[None], bits).mean() == pytest.approx(value, abs=step / 4096)


def test_above_the_rate_of_the_sound_the_hold_has_no_gradient():
    knobs = {
        k: torch.tensor([v], dtype=torch.float64, requires_grad=True)
        for k, v in (("bits", 6.0), ("hold_hz", 20_000.0))
    }
    EFFECT.forward(torch.rand(1, 1, 100, dtype=torch.float64), 8000.0, **knobs).square().sum().backward()
    assert knobs["hold_hz"].grad.item() == 0.0
    assert knobs["bits"].grad.item() != 0.0


@pytest.mark.parametrize("hold_hz", [1000.0, 26_040.0, 40_000.0])
def test_cuts_of_the_stream_and_hours_do_not_move_the_instants(hold_hz):
    x = np.random.default_rng(0).standard_normal((2, 3000)).astype(np.float32)
    settings = {"bits": 7.0, "hold_hz": hold_hz}
    _, state = EFFECT.render(x[:, :100], RATE, None, **settings)
    # 44100 samples are a whole number of holds, so that nothing changes after any number of seconds.
    memory = state.inner
    late = state._replace(inner=type(memory)(memory.sample, memory.level, memory.time + 44_100 * 20_000))
    y, _ = EFFECT.render(x[:, 100:], RATE, late, **settings)
    truth, _ = EFFECT.render(x[:, 100:], RATE, state, **settings)
    # After five hours instants are rounded to 1e-7 of a sample, which can move a value over a threshold.
    moved = np.abs(y - truth) > 1e-4
    assert moved.mean() < 1e-3
    pieces, here = [], late
    for begin in range(100, 3000, 37):
        piece, here = EFFECT.render(x[:, begin : min(begin + 37, 3000)], RATE, here, **settings)
        pieces.append(piece)
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), y)
