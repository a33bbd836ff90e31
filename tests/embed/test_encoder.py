"""The encoder as an embedding: any length and rate, gradients, files (bench/ear.py: what it knows)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fxstyle.embed.encoder import SHORTEST_S, WINDOW_S, Ear, Sizes, load, to_bytes, untrained
from fxstyle.errors import AudioError

RATE = 44_100
SMALL = Sizes(width=16, blocks=2, joined=24, hidden=20, style=12, place=6)


@pytest.fixture(scope="module")
def ear() -> Ear:
    return untrained(1, SMALL)


def noise(count: int, seconds: float, rate: int = RATE, seed: int = 0) -> torch.Tensor:
    x = np.random.default_rng(seed).standard_normal((count, 2, round(seconds * rate)))
    return torch.from_numpy(0.1 * x).float()


def test_vectors_have_their_sizes(ear: Ear) -> None:
    found = ear.embed(noise(3, 1.0), RATE)
    assert {name: tuple(v.shape) for name, v in found.items()} == {
        "style": (3, 12), "place": (3, 6), "common": (3, 20), "level": (3, 2),
    }  # fmt: skip
    torch.testing.assert_close(found["style"].norm(dim=1), torch.ones(3))


def test_each_recording_is_embedded_by_itself(ear: Ear) -> None:
    x = noise(4, 1.0)
    whole = ear.embed(x, RATE)
    for k in range(4):
        torch.testing.assert_close(ear.embed(x[k : k + 1], RATE)["style"][0], whole["style"][k])


def test_crops_of_a_candidate_are_pooled(ear: Ear) -> None:
    x = noise(4, 1.0)
    apart, pooled = ear.embed(x, RATE), ear.embed(x, RATE, crops=2)
    for k in range(2):
        torch.testing.assert_close(pooled["place"][k], apart["place"][2 * k : 2 * k + 2].mean(dim=0))


def test_a_long_recording_is_the_mean_of_its_windows(ear: Ear) -> None:
    x = noise(1, 2.0 * WINDOW_S)
    size = round(WINDOW_S * RATE)
    windows = torch.cat([x[..., s : s + size] for s in (0, size // 2, size)])
    torch.testing.assert_close(
        ear.embed(x, RATE)["place"][0], ear.embed(windows, RATE)["place"].mean(dim=0), atol=1e-4, rtol=1e-4
    )


def test_silent_windows_do_not_count(ear: Ear) -> None:
    x = noise(1, WINDOW_S)
    long = torch.cat([x, torch.zeros_like(x)], dim=2)
    size = round(WINDOW_S * RATE)
    sounding = torch.cat([long[..., :size], long[..., size // 2 : size // 2 + size]])
    wanted = ear.embed(sounding, RATE)["place"].mean(dim=0)
    torch.testing.assert_close(ear.embed(long, RATE)["place"][0], wanted, atol=1e-3, rtol=1e-3)


def test_level_is_handed_out_and_changes_nothing_else(ear: Ear) -> None:
    loud, quiet = ear.embed(noise(1, 1.0), RATE), ear.embed(0.1 * noise(1, 1.0), RATE)
    torch.testing.assert_close(loud["style"], quiet["style"], atol=1e-4, rtol=0.0)
    torch.testing.assert_close(30.0 * (loud["level"] - quiet["level"]), torch.full((1, 2), 20.0))


def test_one_channel_is_two_equal_ones(ear: Ear) -> None:
    mono = noise(1, 1.0)[:, :1]
    torch.testing.assert_close(
        ear.embed(mono, RATE)["style"], ear.embed(mono.expand(1, 2, -1), RATE)["style"]
    )


def test_rates_hardly_matter_where_the_sound_is_the_same(ear: Ear) -> None:
    def tones(rate: int) -> torch.Tensor:
        t = torch.arange(2 * rate, dtype=torch.float64) / rate
        parts = [torch.sin(2.0 * torch.pi * hz * t + hz) for hz in (110.0, 450.0, 1700.0, 6500.0)]
        return (0.1 * torch.stack(parts).sum(dim=0)).float().expand(1, 2, -1)

    one, other, far = (
        ear.embed(x, rate)["place"]
        for x, rate in ((tones(44_100), 44_100), (tones(48_000), 48_000), (noise(1, 2.0), 44_100))
    )
    assert (one - other).norm() < 0.1 * (one - far).norm()


def test_distance_is_none_to_itself_and_has_a_gradient(ear: Ear) -> None:
    target = {n: v[:1] for n, v in ear.embed(noise(1, 1.0, seed=5), RATE).items()}
    own = ear.distance(target, target)["style"]
    assert abs(float(own)) < 1e-5
    assert float(ear.true_distance(target, target)) < 1e-3
    x = noise(2, 1.0).requires_grad_(True)
    terms = ear.distance(ear.embed(x, RATE), target)
    assert set(terms) == {"style"}
    assert terms["style"].shape == (2,)
    (gradient,) = torch.autograd.grad(terms["style"].sum(), x)
    assert torch.isfinite(gradient).all()
    assert (gradient.abs().amax(dim=(1, 2)) > 0.0).all()


def test_change_is_a_direction(ear: Ear) -> None:
    dry, wet = (ear.embed(noise(1, 1.0, seed=s), RATE) for s in (1, 2))
    for change in (ear.change(wet), ear.change(wet, dry)):
        torch.testing.assert_close(change.norm(dim=1), torch.ones(1))
    assert not torch.allclose(ear.change(wet), ear.change(wet, dry))


def test_too_little_is_refused(ear: Ear) -> None:
    with pytest.raises(AudioError, match=r"0\.100 s is too short.*0\.2 s"):
        ear.embed(noise(1, SHORTEST_S / 2.0), RATE)


def test_weights_come_back_from_a_file(ear: Ear, tmp_path: Path) -> None:
    path = tmp_path / "e.safetensors"
    path.write_bytes(to_bytes(ear.network, {"trained": "not at all"}))
    again = load(path)
    assert again.about["trained"] == "not at all"
    x = noise(1, 1.0)
    one, two = (e.embed(x, RATE)["style"] for e in (ear, again))
    # half precision: eleven bits
    torch.testing.assert_close(one, two, atol=5e-3, rtol=0.0)


def test_what_is_no_weights_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no such weights file"):
        load(tmp_path / "none.safetensors")
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"RIFF and so on, quite another thing")
    with pytest.raises(AudioError, match="is no weights file"):
        load(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(AudioError, match="holds no fxstyle encoder 1"):
        load(path)
    for told in ("[]", "3", "{", '"x"'):
        save_file({"a": torch.zeros(1)}, path, {"fxstyle": told})
        with pytest.raises(AudioError, match="holds no|is no weights file"):
            load(path)
    for sizes in ('{"width": "__import__"}', '{"width": 1000000000}', '{"height": 3}', "[]", "3", "{}"):
        told = f'{{"format": "fxstyle encoder 1", "sizes": {sizes}}}'
        save_file({"a": torch.zeros(1)}, path, {"fxstyle": told})
        with pytest.raises(AudioError, match="do not fit"):
            load(path)


def test_untrained_weights_repeat() -> None:
    one, two, other = (untrained(seed, SMALL).network.first.weight for seed in (3, 3, 4))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
