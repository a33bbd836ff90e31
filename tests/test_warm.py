"""Compiling ahead: afterwards nothing is left to be compiled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fxstyle.errors import SettingError
from fxstyle.warm import MEASURING, warm

RENDER = """
import sys
import numpy as np, torch
from fxstyle import effects
effect = effects.get(sys.argv[1])
x = np.ones((1, 300 + 2 * effect.latency(48000, effect.defaults())), np.float32)
effect.render(x, 48000, None, **effect.defaults())
knobs = {k: torch.tensor([v], dtype=torch.float64, requires_grad=True) for k, v in effect.defaults().items()}
effect.forward(torch.from_numpy(x)[None], 48000, **knobs).sum().backward()
"""


def compiled(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*.nbc")}


# a reverb convolves nothing before its latency
@pytest.mark.parametrize(("name", "module"), [("tremolo", "tremolo"), ("reverb", "convolve")])
def test_what_warm_has_compiled_is_not_compiled_again(tmp_path: Path, name: str, module: str) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "fxstyle.cli", "warm", name]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    before = compiled(tmp_path)
    assert any(file.startswith(f"{module}.") for file in before)
    assert any(file.startswith("loudness.") for file in before)
    subprocess.run([sys.executable, "-c", RENDER, name], env=environment, check=True)
    assert compiled(tmp_path) == before


def test_the_time_of_each_is_reported() -> None:
    finished: list[str] = []
    assert set(warm(["gain"], jobs=1, done=finished.append)) == {"gain", MEASURING}
    assert sorted(finished) == ["gain", MEASURING]


def test_an_unknown_effect_is_refused_before_anything_is_compiled() -> None:
    with pytest.raises(SettingError, match="no effect is called 'glue'"):
        warm(["glue"])
