"""The program answers at once: heavy libraries are imported by the command that needs them, not before."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "torch", "numba", "scipy", "matplotlib", "numpy", "pydantic", "soundfile", "auraloss", "transformers",
)  # fmt: skip


def loaded_after(code: str) -> set[str]:
    """Return which of HEAVY a fresh interpreter has loaded after `code`."""
    probe = f"import sys\n{code}\nprint('LOADED', *(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.rpartition("LOADED")[2].split())


def test_the_probe_sees_what_is_loaded() -> None:
    assert loaded_after("import numpy") == {"numpy"}


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["match", "--help"], ["apply", "--help"], ["nonsense"], ["match", "in.wav"]],
    ids=" ".join,
)
def test_help_and_mistakes_load_nothing_heavy(arguments: list[str]) -> None:
    assert loaded_after(f"from fxstyle.cli import main\nmain({arguments!r})") == set()


def test_importing_fxstyle_loads_nothing_heavy() -> None:
    assert loaded_after("import fxstyle") == set()


def test_a_missing_input_is_reported_before_anything_heavy_is_loaded() -> None:
    code = "from fxstyle.cli import main\nassert main(['match', '/nowhere/a.wav', '/nowhere/b.wav']) == 1"
    assert loaded_after(code) == set()
