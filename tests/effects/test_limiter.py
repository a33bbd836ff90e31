"""Truths of the limiter: the bound for every input, its equations in a naive loop, and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fxstyle.effect import Samples
from fxstyle.effects.limiter import EFFECT, look_ahead

RATE = 44100.0


def limit(x: Samples, rate: float = RATE, **given_settings: float) -> Samples:
    knobs = {
        k: torch.tensor([v], dtype=torch.float64) for k, v in (EFFECT.defaults() | given_settings).items()
    }
    return EFFECT.forward(torch.from_numpy(x)[None], rate, **knobs)[0].numpy()


def naive(x: Samples, rate: float, gain_db: float, ceiling_db: float, release_ms: float) -> Samples:
    drive, ceiling = 10.0 ** (gain_db / 20.0), 10.0 ** (ceiling_db / 20.0)
    k, length = math.exp(-1000.0 / (rate * release_ms)), look_ahead(rate)
    u = np.pad(drive * x, ((0, 0), (0, length)))
    r = np.minimum(1.0, ceiling / np.maximum(np.abs(u).max(axis=0), 1e-30))
    s, g = np.ones(r.size), np.ones(r.size)
    for n in range(r.size):
        q = min(1.0, r[max(n - length, 0) : n + 1].min())
        before = s[n - 1] if n else 1.0
        s[n] = min(q, k * before + (1.0 - k) * q)
        window = s[max(n - length, 0) : n + 1]
        g[n] = (window.sum() + (length + 1 - window.size)) / (length + 1)
    return u[:, : x.shape[1]] * g[length:]


@pytest.mark.parametrize("rate", [8000.0, 44100.0])
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_is_the_loop_of_its_equations(rate: float, channels: int) -> None:
    rng = np.random.default_rng(channels)
    x = rng.standard_normal((channels, 3000)) * np.repeat(rng.uniform(0.0, 1.5, 30), 100)
    y = limit(x, rate, gain_db=6.0, ceiling_db=-3.0, release_ms=15.0)
    np.testing.assert_allclose(y, naive(x, rate, 6.0, -3.0, 15.0), atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    length=st.integers(1, 700),
    spread=st.floats(0.1, 6.0),
    gain_db=st.floats(0.0, 24.0),
    ceiling_db=st.floats(-24.0, 0.0),
    release_ms=st.floats(5.0, 1000.0),
    float32=st.booleans(),
)
def test_never_exceeds_the_ceiling(
    seed: int, length: int, spread: float, gain_db: float, ceiling_db: float, release_ms: float, float32: bool
) -> None:
    # Heavy tails: samples from far below the ceiling to far above it, side by side.
    rng = np.random.default_rng(seed)
    x = rng.choice((-1.0, 1.0), (2, length)) * np.exp(spread * rng.standard_normal((2, length)))
    y = limit(
        x.astype(np.float32 if float32 else np.float64),
        gain_db=gain_db,
        ceiling_db=ceiling_db,
        release_ms=release_ms,
    )
    ceiling = 10.0 ** (ceiling_db / 20.0)
    # The output is rounded once to its own precision.
    assert np.abs(y).max() <= ceiling * (1.0 + np.finfo(y.dtype).eps)


def test_is_transparent_to_the_bit_below_the_ceiling() -> None:
    x = np.random.default_rng(0).uniform(-0.9, 0.9, (2, 5000))
    np.testing.assert_array_equal(limit(x, ceiling_db=-0.3), x)
    np.testing.assert_array_equal(limit(x.astype(np.float32), ceiling_db=-0.3), x.astype(np.float32))


def test_drive_is_gain_below_the_ceiling() -> None:
    x = np.random.default_rng(0).uniform(-0.1, 0.1, (1, 1000))
    np.testing.assert_allclose(limit(x, gain_db=12.0), 10.0 ** (12.0 / 20.0) * x, rtol=1e-12)


def test_a_steady_tone_comes_out_at_the_ceiling() -> None:
    x = 2.0 * np.sin(2.0 * np.pi * 1000.0 * np.arange(44100) / RATE)[None]
    y = limit(x, ceiling_db=-6.0, release_ms=1000.0)
    assert 20.0 * np.log10(np.abs(y[0, 22050:]).max()) == pytest.approx(-6.0, abs=0.01)


def test_gain_falls_in_a_ramp_within_the_look_ahead() -> None:
    x = np.full((1, 4000), 0.4)
    x[0, 2000:] = 1.0
    gain = limit(x, ceiling_db=-6.0206)[0] / x[0]
    length = look_ahead(RATE)
    # From 1 to 1/2 in L + 1 equal steps, the last of them at the step itself, which is met exactly.
    steps = np.diff(gain[2000 - length - 1 : 2001])
    np.testing.assert_array_equal(gain[: 2000 - length], 1.0)
    np.testing.assert_allclose(steps, -0.5 / (length + 1), rtol=1e-4)
    assert gain[2000] == pytest.approx(0.5, rel=1e-5)


def test_recovers_63_percent_in_the_release_time() -> None:
    release_ms = 200.0
    x = np.full((1, 44100), 0.1)
    x[0, :4000] = 2.0
    gain = limit(x, ceiling_db=0.0, release_ms=release_ms)[0] / x[0]
    # The minimum lets go L samples after the last loud one (as seen from the input; the output is aligned
    # L earlier), and the average is late by L/2.
    at = 4000 + look_ahead(RATE) // 2 + round(release_ms * RATE / 1000.0)
    assert (gain[at] - 0.5) / 0.5 == pytest.approx(1.0 - math.exp(-1.0), abs=0.01)


def test_all_channels_share_one_gain() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((3, 5000)) * np.array([[2.0], [0.5], [0.1]])
    gain = limit(x) / x
    np.testing.assert_allclose(gain[1], gain[0], rtol=1e-12)
    np.testing.assert_allclose(gain[2], gain[0], rtol=1e-12)


def test_nothing_accumulates_over_a_long_stream() -> None:
    # After 40 s of hard limiting the gain of quiet sound is 1 again, not 1 plus the errors of a running sum.
    rng = np.random.default_rng(4)
    state = None
    for _ in range(40):
        loud = 3.0 * rng.standard_normal((1, 44100))
        _, state = EFFECT.render(loud, RATE, state, gain_db=24.0, ceiling_db=-24.0, release_ms=5.0)
    quiet = np.full((1, 44100), 1e-3)
    y, state = EFFECT.render(quiet, RATE, state, gain_db=0.0, ceiling_db=0.0, release_ms=5.0)
    np.testing.assert_allclose(y[0, -100:], 1e-3, rtol=1e-13)


def test_latency_is_the_look_ahead() -> None:
    assert EFFECT.latency(44100.0, EFFECT.defaults()) == 88
    assert EFFECT.latency(1000.0, EFFECT.defaults()) == 2
    assert EFFECT.latency(100.0, EFFECT.defaults()) == 1
    x = np.zeros((1, 300))
    x[0, 10] = 0.5
    y, _ = EFFECT.render(x, RATE, None, **EFFECT.defaults())
    assert np.flatnonzero(y[0]).tolist() == [98]


@pytest.mark.parametrize("length", [12, 1500])
def test_gradient_agrees_with_differences(length: int) -> None:
    rng = np.random.default_rng(length)
    x = torch.from_numpy(rng.standard_normal((2, 2, length))).requires_grad_()
    knobs = [
        torch.tensor(v, dtype=torch.float64, requires_grad=True)
        for v in ((3.0, 9.0), (-6.0, -1.0), (8.0, 300.0))
    ]

    def run(signal: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return EFFECT.forward(signal, 2000.0, **dict(zip(EFFECT.defaults(), values, strict=True)))

    assert torch.autograd.gradcheck(run, (x, *knobs), atol=1e-7, rtol=1e-5, fast_mode=length > 100)
