"""What chorus, phaser and tremolo share: an oscillator that may follow a tempo, feedback, gradients, off."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fxstyle import effects
from fxstyle.effect import Effect, Samples

RATE = 44_100.0
SWEPT = ("chorus", "phaser", "tremolo")
WITH_FEEDBACK = ("chorus", "phaser")


@pytest.fixture(params=SWEPT)
def effect(request: pytest.FixtureRequest) -> Effect:
    return effects.get(request.param)


def render(effect: Effect, x: Samples, rate: float = RATE, **changed: float) -> Samples:
    y: Samples = effect.render(x, rate, None, **(effect.defaults() | changed))[0]
    return y


@pytest.mark.parametrize(
    ("word", "tempo_bpm", "rate_hz"), [("1/4", 90.0, 1.5), ("1/1", 120.0, 0.5), ("1/8.", 80.0, 16 / 9)]
)
def test_in_time_with_a_tempo_the_rate_is_that_of_the_note(
    effect: Effect, word: str, tempo_bpm: float, rate_hz: float
) -> None:
    x = np.random.default_rng(0).standard_normal((2, 20_000))
    y = render(effect, x, rate_hz=3.3, sync=effect.param("sync").check(word), tempo_bpm=tempo_bpm)
    np.testing.assert_allclose(y, render(effect, x, rate_hz=rate_hz), atol=1e-12)
    assert np.abs(y - render(effect, x, rate_hz=3.3)).max() > 0.1


@pytest.mark.parametrize("phase_deg", [90.0, 180.0])
def test_channels_sway_by_turns(effect: Effect, phase_deg: float) -> None:
    x = np.random.default_rng(1).standard_normal(8000)
    y = render(effect, np.stack([x] * 5), rate_hz=4.0, stereo_phase_deg=phase_deg)
    np.testing.assert_array_equal(y[[2, 4]], y[[0, 0]])
    np.testing.assert_array_equal(y[3], y[1])
    assert np.abs(y[1] - y[0]).max() > 0.1


@pytest.mark.parametrize(
    ("name", "off"),
    [
        ("chorus", {"mix": 0.0, "feedback": 0.9}),
        ("phaser", {"mix": 0.0, "feedback": 0.9}),
        ("tremolo", {"depth": 0.0, "shape": 0.4, "stereo_phase_deg": 90.0}),
    ],
)
def test_off_is_the_identity_to_the_bit(name: str, off: dict[str, float]) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3000)).astype(np.float32)
    np.testing.assert_array_equal(render(effects.get(name), x, **off), x)


@pytest.mark.parametrize("name", WITH_FEEDBACK)
def test_silence_after_sound_becomes_exact_zero(name: str) -> None:
    x = np.zeros((1, 80_000), np.float32)
    x[0, :50] = 1.0
    shortest = {"delay_ms": 2.0} if name == "chorus" else {}
    y = render(effects.get(name), x, 8000.0, feedback=0.7, mix=0.5, **shortest)
    assert y[0, 100:1000].any()
    assert not y[0, -1000:].any()
    assert not ((np.abs(y) > 0) & (np.abs(y) < np.finfo(np.float32).tiny)).any()


@pytest.mark.parametrize(
    ("name", "names", "extremes"),
    [
        ("chorus", ("delay_ms", "depth_ms"), [(0.5, 10.0), (10.0, 10.0), (30.0, 10.0), (0.5, 0.0)]),
        (
            "phaser",
            ("centre_hz", "depth"),
            [(100.0, 1.0), (1000.0, 1.0), (1000.0, 0.5), (8000.0, 1.0), (1000.0, 0.0)],
        ),
    ],
)
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_the_loop_is_bounded_at_its_extremes(
    name: str, names: tuple[str, ...], extremes: list[tuple[float, ...]], sign: float
) -> None:
    effect = effects.get(name)
    x = np.random.default_rng(0).standard_normal((2, 300_000))
    r = effect.param("feedback").high
    for values in extremes:
        given = dict(zip(names, values, strict=True))
        y = render(effect, x, feedback=sign * r, rate_hz=10.0, mix=1.0, **given)
        # A resonance raises an input by at most 1/(1 - r) in amplitude.
        assert np.abs(y).max() < np.abs(x).max() / (1.0 - r), given


# Rows of settings, the last one in time with a tempo.
#   chorus: a chorus, a flanger whose sweep is cut off, one that runs through whole samples.
#   phaser: usual, its sweep held at either end, near its edge of stability, idle.
#   tremolo: a sine, a square at full depth, an unmoved level.
ROWS = {
    "chorus": {
        "rate_hz": (7.3, 9.1, 10.0, 0.05),
        "depth_ms": (2.0, 3.1, 0.9, 1.0),
        "delay_ms": (5.3, 1.7, 1.9, 0.5),
        "feedback": (0.3, -0.85, 0.9, 0.6),
        "mix": (0.4, 0.5, 1.0, 0.8),
        "stereo_phase_deg": (90.0, 33.0, 180.0, 0.0),
    },
    "phaser": {
        "rate_hz": (7.3, 10.0, 9.1, 0.05, 0.05),
        "depth": (0.4, 1.0, 0.2, 0.0, 0.3),
        "centre_hz": (900.0, 1300.0, 300.0, 2000.0, 1500.0),
        "feedback": (0.3, -0.6, 0.95, 0.0, 0.2),
        "mix": (0.5, 0.7, 1.0, 0.0, 0.4),
        "stereo_phase_deg": (90.0, 33.0, 180.0, 0.0, 45.0),
    },
    "tremolo": {
        "rate_hz": (7.3, 20.0, 3.0, 0.05),
        "depth": (0.4, 1.0, 0.0, 0.7),
        "shape": (0.0, 1.0, 0.3, 0.6),
        "stereo_phase_deg": (0.0, 180.0, 90.0, 33.0),
    },
}


def test_gradients(effect: Effect) -> None:
    rows = ROWS[effect.name]
    count = len(rows["rate_hz"])
    given = rows | {"tempo_bpm": (120.0,) * (count - 1) + (297.0,)}
    knobs = {k: torch.tensor(v, dtype=torch.float64, requires_grad=True) for k, v in given.items()}
    sync = torch.tensor([0.0] * (count - 1) + [effect.param("sync").check("1/32")])
    generator = torch.Generator().manual_seed(0)
    x, weights = (torch.randn(count, 2, 300, dtype=torch.float64, generator=generator) for _ in range(2))

    def run(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return effect.forward(x, 8000.0, sync=sync, **dict(zip(knobs, values, strict=True)))

    # One random projection of the Jacobian; the laws of all effects check every entry for short signals.
    assert torch.autograd.gradcheck(run, (x.clone().requires_grad_(), *knobs.values()), fast_mode=True)
    # The knobs alone, entry by entry of the gradient of one number that weighs all samples differently.
    assert torch.autograd.gradcheck(
        lambda *values: (run(x, *values) * weights).sum(dim=(1, 2)), tuple(knobs.values())
    )
