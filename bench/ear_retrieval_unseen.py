"""Style retrieval as in ear_retrieval.py, with chains of plugins that no encoder was trained on.

Of the LV2 plugins of training's list (fxstyle/train/_lv2_plugins.py) they are those that its episodes leave
out (fxstyle.train.episodes.PROGRAMS): of guitarix, LSP, x42 and swh, hosted by FFmpeg. A chain has N distinct
families (eq, dynamics, saturation, tape, speaker, modulation, delay, reverb, width), each by one plugin of it
drawn evenly, in random order; knobs are drawn evenly over training's ranges, not from grids.
Weights whose file names one of these plugins are left out: they have been trained on it.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
from counterfx import RATE, Stereo, at_loudness
from ear_contents import LOUDNESS_LUFS
from ear_methods import trained_on
from ear_retrieval import MOST_EFFECTS, SILENT, at_peak, query, scored
from ear_row import Methods, Rows
from ear_tasks import HERE, Shelf, Task

from fxstyle.train._program import ProgramError
from fxstyle.train.episodes import PROGRAMS
from fxstyle.train.outside import lv2_units
from fxstyle.train.units import Style, Unit, drawn_step
from fxstyle.train.units import treated as through

SEED = 5
TRAINING = HERE.parent / "fxstyle" / "train"
MADE_BY = tuple(TRAINING / name for name in ("_lv2.py", "_lv2_plugins.py", "_ffmpeg.py", "_program.py"))
ATTEMPTS = 5


@cache
def families() -> dict[str, tuple[Unit, ...]]:
    """Return the plugins left out of training by family."""
    found: dict[str, list[Unit]] = {}
    for unit in lv2_units():
        if not any(unit.name.startswith(f"{program}.") for program in PROGRAMS):
            found.setdefault(unit.family, []).append(unit)
    return {family: tuple(units) for family, units in sorted(found.items())}


def names() -> tuple[str, ...]:
    """Return the names of the plugins left out of training."""
    return tuple(unit.name for units in families().values() for unit in units)


def untrained_on(methods: Methods, own: Collection[str]) -> Methods:
    """Return the methods whose weights were trained on none of these units; others are told of."""
    kept = {}
    for name, method in methods.items():
        if seen := trained_on(method) & set(own):
            print(f"{name} is left out: it was trained on {', '.join(sorted(seen))}", file=sys.stderr)
        else:
            kept[name] = method
    return kept


def draw(count: int, rng: np.random.Generator) -> Style:
    """Draw a chain of `count` plugins of distinct families in random order."""
    groups = list(families().values())
    return tuple(
        drawn_step(groups[i][int(rng.integers(len(groups[i])))], rng)
        for i in rng.choice(len(groups), size=count, replace=False)
    )


def treated(x: Stereo, style: Style) -> Stereo:
    """Return a passage through a chain, levelled as in ear_retrieval; raises ProgramError for silence."""
    for step in style:
        x = through((step,), at_peak(x), RATE)
        if not np.abs(x).max() > SILENT:
            raise ProgramError(f"{step.unit.name} gave silence with {dict(step.settings)}")
    return at_loudness(at_peak(x), LOUDNESS_LUFS)


def _query(count: int, number: int) -> Task:
    """Return a query, drawn anew where a plugin fails or gives silence."""
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([SEED, count, number, attempt])
        with suppress(ProgramError):
            return query(count, number, rng, draw, treated)
    raise RuntimeError(f"query {number} of {count} effects: plugins failed {ATTEMPTS} times in a row")


def rows(methods: Methods, queries: int) -> Rows:
    """Yield accuracy by number of effects, overall, and by kind of content."""
    if len(families()) < MOST_EFFECTS:
        print("there are too few LV2 plugins, or FFmpeg has no filter lv2", file=sys.stderr)
        return
    shelf = Shelf(
        "retrieval-unseen", (*MADE_BY, HERE / "ear_retrieval.py", Path(__file__)), " ".join(names())
    )

    def task(count: int, number: int) -> Task:
        return shelf.task(f"{count}-{number:03d}", lambda: _query(count, number))

    yield from scored("retrieval, unseen plugins", untrained_on(methods, names()), queries, task)
