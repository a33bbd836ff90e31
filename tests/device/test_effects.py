"""Every effect, wherever the sound lies: the same result and the same gradients as on the CPU."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
import pytest
import torch

from fxstyle import effects
from fxstyle.chain import Chain
from fxstyle.effect import Effect

RATE = 44100.0
ROWS, CHANNELS, LENGTH = 4, 2, 6000

Send = Callable[[torch.Tensor], torch.Tensor]
Knobs = dict[str, torch.Tensor]

# Transforms in float32 leave -130 dB of their peak, a saturation's drive of 36 dB lifts that; a reverb's tail
# sums thousands of taps. In float64 the CPU's own polynomials (tanh to 1e-7) are what is left.
OUTPUT_DB = {torch.float32: -90.0, torch.float64: -115.0}

# Relative, over all entries of a kind: for a single sample rounding may decide between attack and release.
# Those of float32 are sums of thousands of rounded products.
GRADIENT = {torch.float32: 2e-3, torch.float64: 1e-4}


@pytest.fixture(params=effects.names())
def effect(request: pytest.FixtureRequest) -> Effect:
    return effects.get(request.param)


def generator(*words: object) -> np.random.Generator:
    """Return a random generator of its own for each test, the same in every run."""
    return np.random.default_rng(zlib.crc32(repr(words).encode()))


def bursts(rng: np.random.Generator, length: int, dtype: torch.dtype) -> torch.Tensor:
    """Return loud and soft noise by turns.

    No silence: what a filter leaves of it is rounding, whose sign would be the gradient of its level.
    """
    x = 0.5 * rng.standard_normal((ROWS, CHANNELS, length))
    pieces = np.arange(length) * 6 // max(length, 6)
    return torch.from_numpy(x * np.array((1.0, 0.001, 0.05, 1.5, 0.001, 0.3))[pieces]).to(dtype)


def knobs(effect: Effect, rng: np.random.Generator, low: float, high: float) -> Knobs:
    """Return settings of ROWS rows, evenly between two places of each range."""
    values = {}
    for p in effect.params:
        value = p.from_unit(torch.from_numpy(rng.uniform(low, high, ROWS)))
        values[p.name] = value.round() if p.choices else value.requires_grad_()
    return values


def at_limits(effect: Effect, rng: np.random.Generator) -> Knobs:
    values = {}
    for p in effect.params:
        value = p.from_unit(torch.from_numpy(rng.integers(0, 2, ROWS).astype(np.float64)))
        values[p.name] = value.round() if p.choices else value.requires_grad_()
    return values


def assert_alike(effect: Effect, send: Send, x: torch.Tensor, values: Knobs, knobs_too: bool) -> None:
    """Compare output and gradients here and there; knobs may stay on the CPU, or go along."""
    weights = torch.from_numpy(generator(effect.name).standard_normal(x.shape)).to(x.dtype)
    here = x.clone().requires_grad_()
    y = effect.forward(here, RATE, **values)
    turned = [name for name, value in values.items() if value.requires_grad]
    wanted = torch.autograd.grad((y * weights).mean(), [here, *(values[n] for n in turned)])

    there = send(x.clone().requires_grad_())
    sent = {name: send(value) if knobs_too else value for name, value in values.items()}
    z = effect.forward(there, RATE, **sent)
    assert z.device == there.device
    assert z.dtype == x.dtype
    found = torch.autograd.grad((z * send(weights)).mean(), [there, *(sent[n] for n in turned)])

    peak = max(1.0, float(y.detach().abs().max()))
    error_db = 20.0 * np.log10(max(float((z.detach().cpu() - y.detach()).abs().max()) / peak, 1e-20))
    assert error_db <= OUTPUT_DB[x.dtype]
    for name, one, other in zip(["x", *turned], wanted, found, strict=True):
        assert other.device == (sent[name].device if name in sent else there.device)
        # What hardly matters is held to the output's error instead of its own size.
        scale = float(one.norm()) + 1e-6 * peak
        assert float((other.cpu() - one).norm()) <= GRADIENT[x.dtype] * scale, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("knobs_too", [False, True])
def test_at_random_settings(effect: Effect, send: Send, dtype: torch.dtype, knobs_too: bool) -> None:
    rng = generator(effect.name, dtype)
    assert_alike(effect, send, bursts(rng, LENGTH, dtype), knobs(effect, rng, 0.05, 0.95), knobs_too)


def test_of_one_sample(effect: Effect, send: Send) -> None:
    rng = generator(effect.name)
    x = bursts(rng, 1, torch.float64)
    assert_alike(effect, send, x, knobs(effect, rng, 0.2, 0.8), True)


def test_at_the_limits(effect: Effect, send: Send) -> None:
    rng = generator(effect.name, "limits")
    x = bursts(rng, LENGTH // 2, torch.float64)
    values = at_limits(effect, rng)
    y = effect.forward(x, RATE, **values).detach()
    there = send(x.clone().requires_grad_())
    z = effect.forward(there, RATE, **values)
    peak = max(1.0, float(y.abs().max()))
    assert float((z.detach().cpu() - y).abs().max()) <= 10.0 ** (OUTPUT_DB[torch.float64] / 20.0) * peak
    turned = [value for value in values.values() if value.requires_grad]
    for gradient in torch.autograd.grad(z.square().mean(), [there, *turned]):
        assert gradient.isfinite().all()


def test_silence_stays_silence(effect: Effect, send: Send) -> None:
    values = {name: value.detach() for name, value in at_limits(effect, generator(effect.name)).items()}
    y = effect.forward(send(torch.zeros(ROWS, CHANNELS, 900)), RATE, **values)
    assert not bool(y.cpu().any())


def test_a_chain_keeps_the_sound_where_it_is(send: Send) -> None:
    chain = Chain.parse("eq,compressor,saturation,delay,reverb,width,gain").with_settings(
        {"compressor.ratio": 4.0, "saturation.amount": 0.5}
    )
    x = bursts(generator("chain"), LENGTH, torch.float32)
    amount = torch.full((ROWS,), 0.7, dtype=torch.float64, requires_grad=True)
    there = chain.forward(send(x), RATE, {"reverb.amount": amount})
    here = chain.forward(x, RATE, {"reverb.amount": amount})
    assert float((there.detach().cpu() - here.detach()).abs().max()) < 1e-4
    (gradient,) = torch.autograd.grad(there.square().mean(), [amount])
    assert float(gradient.abs().max()) > 0.0
