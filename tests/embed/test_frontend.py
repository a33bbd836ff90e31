"""What the encoder hears: closed forms of level, band, echo and comb, the same at every rate."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fxstyle.embed.frontend import (
    ATTACK_HZ,
    BANDS,
    CHANNELS,
    COMB_S,
    COMBS,
    ECHO_LAGS,
    FLOOR_DB,
    GROUPS,
    HOP_S,
    MODULATION_HZ,
    MODULATIONS,
    SCALE_DB,
    SIDE_DB,
    TEXTURE,
    hear,
)

RATE = 44_100
ECHOES = 2 * BANDS + GROUPS * MODULATIONS
"""Where the echoes of mid begin in the texture."""


def noise(seconds: float = 2.0, rate: int = RATE, channels: int = 2, seed: int = 0) -> torch.Tensor:
    x = np.random.default_rng(seed).standard_normal((1, channels, round(seconds * rate)))
    return torch.from_numpy(0.1 * x).float()


def sine(hz: float, rate: int, seconds: float = 1.0) -> torch.Tensor:
    t = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return (0.1 * torch.sin(2.0 * torch.pi * hz * t)).float().expand(1, 2, -1)


def band_of(hz: float) -> int:
    """The band whose centre is nearest, by O'Shaughnessy's formula."""
    low, high, at = (2595.0 * np.log10(1.0 + f / 700.0) for f in (20.0, 20_000.0, hz))
    return int(np.argmin(np.abs(np.linspace(low, high, BANDS + 2)[1:-1] - at)))


def test_sizes() -> None:
    heard = hear(noise(), RATE)
    assert heard.frames.shape[:2] == (1, CHANNELS)
    assert heard.texture.shape == (1, TEXTURE)
    assert heard.level_db.shape == (1, 2)
    assert heard.frames.shape[2] == pytest.approx(2.0 / HOP_S, abs=2)


def test_a_level_is_told_apart_from_all_else() -> None:
    loud, quiet = hear(noise(), RATE), hear(0.01 * noise(), RATE)
    torch.testing.assert_close(loud.frames, quiet.frames, atol=1e-2, rtol=0.0)
    torch.testing.assert_close(loud.texture, quiet.texture, atol=2e-2, rtol=0.0)
    torch.testing.assert_close(loud.level_db - quiet.level_db, torch.full((1, 2), 40.0), atol=1e-3, rtol=0.0)


def test_levels_are_those_of_mid_and_side() -> None:
    x = noise()
    mid, side = (x[:, 0] + x[:, 1]) / 2.0, (x[:, 0] - x[:, 1]) / 2.0
    wanted = [10.0 * np.log10(float(c.square().mean())) for c in (mid, side)]
    np.testing.assert_allclose(hear(x, RATE).level_db[0].numpy(), wanted, atol=1e-3)


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("hz", [150.0, 1000.0, 5000.0])
def test_a_sine_lies_in_its_band_at_every_rate(hz: float, rate: int) -> None:
    mean = hear(sine(hz, rate), rate).frames[0, :BANDS].mean(dim=1)
    assert abs(int(mean.argmax()) - band_of(hz)) <= 1
    # a sine of power p has nearly all of it in its two or three bands: 0 dB below the whole
    assert SCALE_DB * float(mean.max()) == pytest.approx(-1.0, abs=2.5)


def test_bands_beyond_a_low_rate_lie_at_the_floor() -> None:
    frames = hear(noise(rate=8000), 8000).frames[0, :BANDS]
    beyond = band_of(4000.0) + 2
    torch.testing.assert_close(frames[beyond:], torch.full_like(frames[beyond:], -FLOOR_DB / SCALE_DB))
    assert frames[: band_of(3500.0)].mean() > -40.0 / SCALE_DB


def test_white_noise_is_all_there() -> None:
    """Powers of the bands, each over its share of the spectrum, add up to the power of the sound."""
    rate = RATE
    x = noise(4.0, channels=1).expand(1, 2, -1)
    db = SCALE_DB * hear(x, rate).frames[0, :BANDS].mean(dim=1)
    top = band_of(10_000.0)
    low, high = (2595.0 * np.log10(1.0 + f / 700.0) for f in (20.0, 20_000.0))
    edges = 700.0 * (10.0 ** (np.linspace(low, high, BANDS + 2) / 2595.0) - 1.0)
    share = (edges[top + 2] - edges[top]) / 2.0 / (rate / 2.0)
    # a mean of levels in dB is below the level of the mean, by 2.5 dB for a single bin and less for several
    assert float(db[top]) == pytest.approx(10.0 * np.log10(share), abs=1.0)


def test_two_equal_channels_are_one_and_have_no_side() -> None:
    mono = noise(channels=1)
    one, two = hear(mono, RATE), hear(mono.expand(1, 2, -1), RATE)
    torch.testing.assert_close(one.frames, two.frames)
    side = one.frames[0, BANDS : 2 * BANDS]
    torch.testing.assert_close(side, torch.full_like(side, -SIDE_DB / SCALE_DB), atol=1e-3, rtol=0.0)


def test_an_inverted_channel_is_all_side() -> None:
    x = noise(channels=1)
    side = hear(torch.cat([x, -x], dim=1), RATE).frames[0, BANDS : 2 * BANDS]
    assert float(side.min()) == pytest.approx(SIDE_DB / SCALE_DB, abs=1e-3)


def test_an_echo_shows_at_its_delay() -> None:
    clicks = torch.zeros(1, 1, 3 * RATE)
    generator = np.random.default_rng(1)
    for at in generator.integers(0, 2 * RATE, 9):
        clicks[0, 0, at : at + 200] = torch.from_numpy(generator.standard_normal(200)).float()
    delay = round(0.31 * RATE)
    wet = clicks + 0.6 * torch.roll(clicks, delay, dims=2)
    lags = [hear(x, RATE).texture[0, ECHOES : ECHOES + ECHO_LAGS] for x in (clicks, wet)]
    more = lags[1] - lags[0]
    assert abs(int(more.argmax()) - (round(0.31 / HOP_S) - 1)) <= 1


def test_a_comb_shows_at_its_delay() -> None:
    x = noise(3.0, channels=1)
    delay_s = 0.004
    late = torch.roll(x, round(delay_s * RATE), dims=2)
    combs = [hear(y, RATE).texture[0, -2 * COMBS : -COMBS] for y in (x, x + 0.8 * late)]
    delays = np.geomspace(*COMB_S, COMBS)
    found = delays[int((combs[1] - combs[0]).argmax())]
    assert found == pytest.approx(delay_s, rel=0.05)


def test_a_tremolo_shows_at_its_rate() -> None:
    x = noise(5.0, channels=1)
    t = torch.arange(x.shape[-1]) / RATE
    hz = 5.0
    swept = x * (1.0 + 0.8 * torch.sin(2.0 * torch.pi * hz * t))
    begin = 2 * BANDS
    size = GROUPS * MODULATIONS
    rates = [
        hear(y, RATE).texture[0, begin : begin + size].reshape(GROUPS, MODULATIONS).mean(dim=0)
        for y in (x, swept)
    ]
    centres = np.geomspace(*MODULATION_HZ, MODULATIONS)
    assert int((rates[1] - rates[0]).argmax()) == int(np.argmin(np.abs(np.log(centres / hz))))


def test_attacks_are_followed_within_a_frame() -> None:
    x = torch.zeros(1, 1, RATE)
    at = RATE // 2
    x[0, 0, at:] = noise(0.5, channels=1)[0, 0]
    attacks = hear(x, RATE).frames[0, 2 * BANDS :].T.reshape(-1, len(ATTACK_HZ))
    quarter_s = HOP_S / 4.0
    risen = int((attacks[:, 4] > -1.5).nonzero()[0, 0])
    assert risen * quarter_s == pytest.approx(0.5, abs=3.0 * quarter_s)


@pytest.mark.parametrize("what", ["silence", "click", "one sample"])
def test_gradients_are_finite_where_there_is_nothing(what: str) -> None:
    x = torch.zeros(1, 2, 1 if what == "one sample" else RATE // 2)
    if what != "silence":
        x[..., 0] = 0.5
    x.requires_grad_(True)
    heard = hear(x, RATE)
    assert all(torch.isfinite(part).all() for part in heard)
    (gradient,) = torch.autograd.grad(sum(part.sum() for part in heard), x)
    assert torch.isfinite(gradient).all()


def test_gradients_are_those_of_the_levels() -> None:
    """A step along the gradient changes what is heard as it says."""
    x = noise(0.5).double().requires_grad_(True)
    weights = [
        torch.randn(p.shape, generator=torch.Generator().manual_seed(2), dtype=p.dtype) for p in hear(x, RATE)
    ]

    def value(y: torch.Tensor) -> torch.Tensor:
        return torch.stack([(p * w).sum() for p, w in zip(hear(y, RATE), weights, strict=True)]).sum()

    (gradient,) = torch.autograd.grad(value(x), x)
    along = torch.randn(x.shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype)
    step = 1e-6
    with torch.no_grad():
        change = (value(x + step * along) - value(x - step * along)) / (2.0 * step)
    assert float(change) == pytest.approx(float((gradient * along).sum()), rel=1e-3)
