"""Plugins for the tests: a stand-in that misbehaves on demand, and Debian's zam-plugins where they are."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from fxstyle.hosted.host import Host
from fxstyle.hosted.plugin import Hosted

FOLDER = Path("/usr/lib/vst3")

StandIn = Callable[..., Hosted]
Alone = Callable[..., str]


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], tuple[str, ...]]:
    """Return the command of a stand-in that behaves so."""
    script = Path(__file__).with_name("stand_in.py")
    return lambda how: (sys.executable, "-P", str(script), how, str(tmp_path))


@pytest.fixture
def stand_in(program: Callable[[str], tuple[str, ...]], tmp_path: Path) -> Iterator[StandIn]:
    """Return a maker of plugins that behave so."""
    made: list[Hosted] = []

    def make(how: str, **given: float) -> Hosted:
        start = partial(Host, program=program(how), **given)  # type: ignore[arg-type]  # times alone
        made.append(Hosted(tmp_path / "StandIn.vst3", start=start))
        return made[-1]

    yield make
    for hosted in made:
        hosted.close()


@pytest.fixture(scope="session")
def zam() -> Callable[[str], Path]:
    """Return where one of the zam-plugins lies, or skip."""

    def path(name: str) -> Path:
        if find_spec("pedalboard") is None:
            pytest.skip('pedalboard is not installed: pip install "fxstyle[plugins]"')
        found = FOLDER / f"{name}.vst3"
        if not found.exists():
            pytest.skip(f"{found} is not there: apt install zam-plugins")
        return found

    return path


@pytest.fixture(scope="session")
def alone() -> Alone:
    """Return what a program of its own prints: a plugin in ours leaves the processor flushing denormals."""

    def run(code: str, *arguments: object) -> str:
        words = [sys.executable, "-c", code, *map(str, arguments)]
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=300).stdout

    return run
