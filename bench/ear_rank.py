"""Whether a distance orders candidates as the truth does, on the items of CounterFX.

Of each item (counterfx.py) with input A, reference R(B) and truth R(A): CANDIDATES chains C, half of them
drawn at random, half the true chain with each setting moved by a share of its range, the standard deviation
of which is drawn per candidate (log-evenly, MOVES). Rank correlation (Spearman) over the candidates y = C(A)
of the distance d(y, R(B)) with Ld(y, R(A)); mean over items.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from counterfx import KINDS, RATE, UNITS, Item, Step, Stereo, draw_steps, items, process
from ear_row import Methods, Rows, distances, embed, mean_row, picked, spearman, takes_part
from ear_tasks import HERE, Shelf, Task

from fxstyle.features.truth_distance import ld

CANDIDATES = 24
MOVES = (0.02, 0.5)
ITEMS_OF_A_QUERY = 0.8
"""A run of 50 queries has 40 items."""
SEED = 3
LOST = "Ld of the nearest less the least Ld"


def moved(steps: tuple[Step, ...], deviation: float, rng: np.random.Generator) -> tuple[Step, ...]:
    """Return a chain with all settings moved by a share of their ranges, and kept in them."""
    return tuple(
        Step(
            step.unit,
            {
                knob: _at(UNITS[step.unit].ranges[knob], value, deviation * rng.standard_normal())
                for knob, value in step.settings.items()
            },
        )
        for step in steps
    )


def _at(limits: tuple[float, float, str], value: float, by: float) -> float:
    low, high, scale = limits
    if scale == "log":
        low, high, value = math.log(low), math.log(high), math.log(value)
    found = min(max(value + by * (high - low), low), high)
    return math.exp(found) if scale == "log" else found


def candidates(item: Item, number: int) -> list[Stereo]:
    """Return the candidates of an item: half anything, half near the truth."""
    rng = np.random.default_rng([SEED, number])
    chains = [draw_steps(rng) for _ in range(CANDIDATES // 2)]
    deviations = np.exp(rng.uniform(math.log(MOVES[0]), math.log(MOVES[1]), CANDIDATES - len(chains)))
    chains += [moved(item.steps, float(deviation), rng) for deviation in deviations]
    return [process(item.input, chain) for chain in chains]


LD = HERE.parent / "fxstyle" / "features" / "truth_distance.py"


def tasks(count: int) -> Iterator[Task]:
    """Yield reference and candidates of each item; figures: Ld of each candidate to the truth."""
    shelf = Shelf("rank", (Path(__file__), LD))
    upcoming = enumerate(items(count))
    for number in range(count):

        def make(number: int = number) -> Task:
            item = next(item for k, item in upcoming if k == number)
            outputs = candidates(item, number)
            truth = np.array([ld(y, item.truth, RATE) for y in outputs])
            return Task([item.reference, *outputs], truth)

        yield shelf.task(f"{number:03d}", make)


def rows(methods: Methods, queries: int) -> Rows:
    """Yield the mean rank correlation over all candidates, over either half, and by kind."""
    half = CANDIDATES // 2
    parts = {"all candidates": slice(None), "random chains": slice(half), "moved settings": slice(half, None)}
    found: dict[tuple[str, str], list[float]] = {}
    for number, task in enumerate(tasks(max(round(ITEMS_OF_A_QUERY * queries), 1))):
        truth = task.figures
        kind = KINDS[number % len(KINDS)]
        for name, method in methods.items():
            apart = np.full(CANDIDATES, math.nan)
            if takes_part(method, number):
                vectors = embed(method, task.sounds)
                apart = distances(
                    method, picked(vectors, range(1, CANDIDATES + 1)), picked(vectors, range(1))
                )
            for what, part in parts.items():
                found.setdefault((what, name), []).append(spearman(truth[part], apart[part]))
            found.setdefault((kind, name), []).append(spearman(truth, apart))
            lost = float(truth[int(apart.argmin())] - truth.min()) if np.isfinite(apart).all() else math.nan
            found.setdefault((LOST, name), []).append(lost)
    for what in (*parts, *sorted(set(KINDS)), LOST):
        for name in methods:
            if (what, name) in found:
                yield mean_row(f"rank, {what}", name, found[what, name], -1.0 if what == LOST else 1.0)
