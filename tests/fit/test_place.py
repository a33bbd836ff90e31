"""Where a fit runs: what cannot be had is said, and "auto" never fails."""

import numpy as np
import pytest
import torch

from fxstyle.audio import Audio
from fxstyle.errors import SettingError
from fxstyle.fit.match import match
from fxstyle.fit.place import place_of
from fxstyle.performance import perform


@pytest.mark.parametrize("there", [False, True])
def test_auto_takes_a_gpu_where_there_is_one(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert place_of("auto").type == ("cuda" if there else "cpu")
    assert place_of("cpu").type == "cpu"
    assert place_of("auto", "CLAP").type == "cpu"


def test_what_cannot_be_had_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingError, match=r"finds no GPU.*choose cpu or auto"):
        place_of("cuda")
    with pytest.raises(SettingError, match="choose auto, cpu, cuda"):
        place_of("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(SettingError, match="CLAP runs on the CPU only"):
        place_of("cuda", "CLAP")


@pytest.mark.cuda
def test_a_match_on_the_gpu_is_the_same_match() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU and a torch built for it")
    dry = Audio(perform(6.0, 44100, song=0, seed=1), 44100)
    reference = Audio(perform(6.0, 44100, song=0, seed=2) * np.float32(0.25), 44100)
    here, there = (
        match(dry, reference, chain="eq,gain", quality="draft", device=d).verdict.after
        for d in ("cpu", "cuda")
    )
    assert there == pytest.approx(here, abs=0.1)
