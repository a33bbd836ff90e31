"""Whether distance grows with how far a knob is turned, effect by effect, across contents.

Of each effect of fxstyle KNOBS knobs that a fit turns, the others at their defaults: contents 1 and 2 at
SETTINGS shares of the range each, evenly from one end to the other, and all distances d[i, j] of content 1 at
share i to content 2 at share j.

by effect        Rank correlation (Spearman) of how far share i is from an end with d[i, end]; mean of both
                 ends, so that a difference of the contents alone, which draws the same way at both, counts
                 for nothing; then mean over knobs and pairs of contents (instruments, music, speech in turn).
setting found    ST-ITO's question, by exhaustive search instead of an optimiser: of reference j, the share i
                 with the least d[i, j]. Rank correlation with j over the references, and mean absolute error
                 as a share of the range (a guess in the middle has 0.3).

Where an effect has more knobs, those are swept that change a performance of our own most (Ld between both
ends) out of AT_MOST_TRIED spread over the list: some do nothing at the others' defaults.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from counterfx import RATE, Stereo
from ear_contents import KINDS, Crop, pair
from ear_row import Floats, Methods, Rows, distances, embed, mean_row, picked, spearman, takes_part
from ear_tasks import HERE, Shelf, Task

from fxstyle.chain import Chain, Slot
from fxstyle.effect import Effect
from fxstyle.effects import all_effects
from fxstyle.embed import Embedding
from fxstyle.features.truth_distance import ld
from fxstyle.param import Param
from fxstyle.performance import perform
from fxstyle.render import render

KNOBS, AT_MOST_TRIED = 4, 12
SETTINGS = 5
TRIAL_S = 3.0
SHARES = np.linspace(0.0, 1.0, SETTINGS)
UNHEARD_LD = 0.01
"""A knob that changes less than this from end to end does nothing, to a content or at all: it is left out."""
SEED = 4
QUERIES_OF_A_CONTENT = 17
"""Fifty queries ask for three pairs of contents, one of each kind; twenty for two."""


def turned(effect: Effect, knob: Param, share: float, x: Stereo) -> Stereo:
    """Return a sound through an effect with one knob at a share of its range."""
    low, high = knob.low, knob.high
    value = low * (high / low) ** share if knob.scale == "log" else low + share * (high - low)
    # rounding must not lead out of the range
    slot = Slot(effect, {knob.name: min(max(value, low), high)})
    return np.asarray(render(Chain((slot,)), x, RATE), np.float32)


@cache
def _trial() -> Stereo:
    return np.asarray(perform(TRIAL_S, RATE, song=0), np.float32)


PACKAGE = HERE.parent / "fxstyle"
MADE_BY = (
    Path(__file__), HERE.parent / "effects", PACKAGE / "dsp", PACKAGE / "rooms", PACKAGE / "features",
    *(PACKAGE / name for name in ("chain.py", "effect.py", "param.py", "performance.py", "render.py")),
)  # fmt: skip


def _tried(effect: Effect) -> list[Param]:
    fitted = [p for p in effect.params if p.fitted]
    return [
        fitted[i] for i in sorted(set(np.linspace(0, len(fitted) - 1, AT_MOST_TRIED).round().astype(int)))
    ]


def _heard(effect: Effect) -> Task:
    """Return how much each knob that is tried changes a performance: Ld between both ends."""
    ends = [[turned(effect, p, share, _trial()) for share in (1.0, 0.0)] for p in _tried(effect)]
    return Task((), np.array([ld(high, low, RATE) for high, low in ends]))


def knobs(effect: Effect, shelf: Shelf) -> list[Param]:
    """Return the knobs of an effect to be swept."""
    tried = _tried(effect)
    heard = shelf.task(f"{effect.name}-heard", lambda: _heard(effect)).figures
    best = set(np.argsort(-heard, kind="stable")[:KNOBS].tolist())
    return [p for i, p in enumerate(tried) if i in best and heard[i] > UNHEARD_LD]


def sweep(effect: Effect, knob: Param, first: Crop, second: Crop) -> Task:
    """Return content 1, then content 2, at all shares; figures: Ld of the first between both ends."""
    sounds = [turned(effect, knob, float(share), crop.sound) for crop in (first, second) for share in SHARES]
    return Task(sounds, np.array([ld(sounds[SETTINGS - 1], sounds[0], RATE)]))


class Found(NamedTuple):
    """What the distances of one sweep tell."""

    growth: float
    setting: float
    error: float


NOT_ASKED = Found(math.nan, math.nan, math.nan)


def found(method: Embedding, sounds: Sequence[Stereo]) -> Found:
    """Return growth of distance, correlation of the settings found, and their error."""
    vectors = embed(method, sounds)
    outputs = picked(vectors, range(SETTINGS))
    apart: Floats = np.stack(
        [distances(method, outputs, picked(vectors, [SETTINGS + j])) for j in range(SETTINGS)], axis=1
    )
    nearest = SHARES[apart.argmin(0)]
    growth = (spearman(SHARES, apart[:, 0]) - spearman(SHARES, apart[:, -1])) / 2.0
    return Found(growth, spearman(SHARES, nearest), float(np.abs(nearest - SHARES).mean()))


def rows(methods: Methods, queries: int) -> Rows:
    """Yield the mean rank correlation by effect, and all three figures over effects."""
    shelf = Shelf("sweeps", MADE_BY)
    contents = []
    for number in range(math.ceil(queries / QUERIES_OF_A_CONTENT)):
        rng = np.random.default_rng([SEED, number])
        contents.append(pair(KINDS[(number + 1) % len(KINDS)], rng))
    means: dict[str, list[Found]] = {name: [] for name in methods}
    for effect in all_effects():
        own: dict[str, list[Found]] = {name: [] for name in methods}
        swept = knobs(effect, shelf)
        # contents outside: a slow method that is asked a few has other knobs, not other contents
        for number, (first, second) in enumerate(contents):
            for knob in swept:

                def make(knob: Param = knob, first: Crop = first, second: Crop = second) -> Task:
                    return sweep(effect, knob, first, second)  # noqa: B023  # called before the next effect

                task = shelf.task(f"{effect.name}-{knob.name}-{number}", make)
                if task.figures[0] <= UNHEARD_LD:
                    continue
                for name, method in methods.items():
                    asked = takes_part(method, len(own[name]))
                    own[name].append(found(method, task.sounds) if asked else NOT_ASKED)
        for name in methods:
            row = mean_row(
                f"sweep, {effect.name} ({', '.join(k.name for k in swept)})",
                name,
                [f.growth for f in own[name]],
            )
            means[name].append(_mean(own[name]))
            yield row
    for what, field, sign in (
        ("sweep, mean over effects", "growth", 1.0),
        ("sweep, setting found, mean over effects", "setting", 1.0),
        ("sweep, error of the setting found, mean over effects", "error", -1.0),
    ):
        for name in methods:
            yield mean_row(what, name, [getattr(f, field) for f in means[name]], sign)


def _mean(own: Sequence[Found]) -> Found:
    there = [f for f in own if f is not NOT_ASKED]
    return Found(*(float(np.mean(values)) for values in zip(*there, strict=True))) if there else NOT_ASKED
