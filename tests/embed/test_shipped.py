"""The encoder in the package: its size, and that it hears treatments on music it has not heard that night."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources

import numpy as np
import pytest
import torch

from fxstyle import embed
from fxstyle.chain import Chain
from fxstyle.embed.encoder import Ear, load, untrained
from fxstyle.performance import perform
from fxstyle.render import render

RATE = 44_100
TREATMENTS = (
    {"eq.high_cut_hz": 1500.0},
    {"eq.low_cut_hz": 900.0},
    {"compressor.threshold_db": -45.0, "compressor.ratio": 12.0, "compressor.attack_ms": 1.0},
    {"saturation.drive_db": 30.0},
    {"delay.time_ms": 300.0, "delay.level_db": -2.0, "delay.feedback": 0.6},
    {"reverb.level_db": 3.0},
    {"tremolo.depth": 1.0, "tremolo.rate_hz": 6.0},
    {"bitcrush.bits": 4.0},
)  # fmt: skip


def heard(ear: Ear, song: int) -> torch.Tensor:
    """The styles of all treatments on one song of our own band, on a night that training never saw."""
    x = perform(6.0, RATE, song=song, seed=123_456_789_012)
    made = []
    for settings in TREATMENTS:
        name = next(iter(settings)).split(".")[0]
        y = render(Chain.parse(name).with_settings(settings), x, RATE)
        made.append(torch.from_numpy(0.1 * y / np.sqrt(np.square(y).mean())).float())
    with torch.no_grad():
        return ear.embed(torch.stack(made), RATE)["style"]


def told(make: Callable[[], Ear]) -> float:
    """How often a treatment's nearest on another song is itself, over pairs of songs."""
    ear = make()
    songs = [heard(ear, song) for song in (0, 2, 4)]
    hits = [
        (a @ b.T).argmax(dim=1) == torch.arange(len(TREATMENTS)) for a in songs for b in songs if a is not b
    ]
    return float(torch.stack(hits).float().mean())


def test_it_tells_treatments_apart_and_an_untrained_one_less_so() -> None:
    trained, by_chance = told(load), told(untrained)
    # eight strong treatments; 48 comparisons: .7 is 15 deviations above chance
    assert trained > 0.7
    assert trained > by_chance + 0.15


def test_it_is_as_small_as_promised() -> None:
    found = embed.get("encoder")
    assert isinstance(found, Ear)
    assert sum(p.numel() for p in found.network.parameters()) < 10_000_000
    with resources.as_file(resources.files("fxstyle.embed").joinpath("encoder.safetensors")) as path:
        assert path.stat().st_size < 20 << 20


def test_it_says_what_it_was_trained_with() -> None:
    about = load().about
    assert "steps" in about["trained"] or "x 8 episodes" in about["trained"]
    assert "pedalboard.Compressor" in about["units"]


def test_it_is_not_trained_further_by_accident() -> None:
    network = load().network
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("rate", [16_000, 44_100, 96_000])
def test_rates_do_not_frighten_it(rate: int) -> None:
    x = torch.from_numpy(perform(2.0, rate, song=1, seed=2))[None]
    style = load().embed(x, rate)["style"]
    assert torch.isfinite(style).all()
