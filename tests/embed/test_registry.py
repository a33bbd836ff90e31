"""Embeddings by name: those there are, weights by file, and those that users add."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fxstyle import embed
from fxstyle.embed.encoder import Sizes, to_bytes, untrained
from fxstyle.embed.measured import Measured
from fxstyle.errors import AudioError, SettingError

RATE = 44_100


@pytest.mark.parametrize("name", embed.names())
def test_each_keeps_to_the_protocol(name: str) -> None:
    found = embed.get(name)
    assert found.name == name
    x = 0.1 * torch.randn(4, 2, 3 * RATE, generator=torch.Generator().manual_seed(1))
    x = x * torch.tensor([1.0, 0.3, 1.0, 1.0])[:, None, None]
    x[2:] = torch.cumsum(x[2:], dim=2) / 30.0
    x.requires_grad_(True)
    vectors = found.embed(x, RATE)
    assert all(v.shape[0] == 4 for v in vectors.values())
    assert all(v.shape[0] == 2 for v in found.embed(x, RATE, crops=2).values())
    target = {n: v[:1].detach() for n, v in vectors.items()}
    total = torch.stack(list(found.distance(vectors, target).values())).sum(dim=0)
    assert total.shape == (4,)
    assert (total >= -1e-5).all()
    assert float(total[0].detach()) == pytest.approx(0.0, abs=1e-4)
    # brown noise is no white noise, whatever is played
    assert (total[2:] > total[0] + 1e-3).all()
    (gradient,) = torch.autograd.grad(total[2:].sum(), x)
    assert torch.isfinite(gradient).all()
    assert (gradient[2:].abs().amax(dim=(1, 2)) > 0.0).all()
    assert not gradient[:2].any()


def test_weights_by_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(to_bytes(untrained(0, Sizes(width=8, blocks=1, joined=8, hidden=8)).network, {}))
    assert embed.get(str(path)).name == "encoder"
    with pytest.raises(AudioError, match="no such weights file"):
        embed.get(str(tmp_path / "other.safetensors"))


def test_users_add_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "_REGISTRY", dict(embed._REGISTRY))
    embed.register("mine", lambda: Measured(name="mine"))
    assert "mine" in embed.names()
    assert embed.get("mine").name == "mine"
    with pytest.raises(SettingError, match="'mine'"):
        embed.register("mine", Measured)
    with pytest.raises(SettingError, match=r"no embedding is called 'yours'; there are measured, encoder"):
        embed.get("yours")
