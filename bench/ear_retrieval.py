"""Style retrieval by ST-ITO's protocol: which of 25 chains on other content is the reference's?

Reference: a passage through a chain of exactly N distinct effects out of ten (UNITS: pedalboard's, each
setting drawn from its grid), in random order. Candidates: a passage of another recording of the same kind
through that very chain, and through 24 others of N effects, drawn alike. After each effect the peak is
normalised, at the end the loudness is -23 LUFS. Hit: the right candidate is the nearest; chance is 0.04.

ST-ITO draws 1 to N effects where we draw exactly N, and passages of 2.7 to 5.5 s where ours have five.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pedalboard
from counterfx import RATE, Stereo, at_loudness
from ear_contents import KINDS, LOUDNESS_LUFS, pair
from ear_row import Methods, Rows, distances, embed, picked, share_row, takes_part
from ear_tasks import NOTHING, Shelf, Task

from fxstyle.embed import Embedding

CANDIDATES = 25
MOST_EFFECTS = 5
SEED = 1

_SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_AMOUNTS = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
_RATES_HZ = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
_RELEASES_MS = (10.0, 25.0, 100.0, 250.0, 500.0)
_THRESHOLDS_DB = (-60.0, -50.0, -40.0, -30.0, -20.0, -10.0)

UNITS: dict[type[pedalboard.Plugin], dict[str, tuple[float, ...]]] = {
    pedalboard.Compressor: {
        "threshold_db": _THRESHOLDS_DB,
        "ratio": (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0),
        "attack_ms": (0.1, 1.0, 10.0, 25.0, 100.0, 250.0),
        "release_ms": _RELEASES_MS,
    },
    pedalboard.Delay: {
        "delay_seconds": (0.025, 0.05, 0.1, 0.25, 0.3, 0.4, 0.5),
        "feedback": (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0),
        "mix": _SHARES,
    },
    pedalboard.Distortion: {"drive_db": (9.0, 12.0, 16.0, 18.0, 22.0, 24.0)},
    pedalboard.Chorus: {
        "centre_delay_ms": (0.5, 1.0, 2.5, 5.0, 7.5, 10.0),
        "depth": _SHARES,
        "rate_hz": _RATES_HZ,
        "mix": _SHARES,
    },
    pedalboard.Phaser: {
        "centre_frequency_hz": (400.0, 600.0, 800.0, 1000.0, 1200.0, 1600.0, 1800.0, 2000.0, 2400.0),
        "depth": _SHARES,
        "rate_hz": _RATES_HZ,
        "mix": _SHARES,
    },
    pedalboard.Reverb: {
        "room_size": _AMOUNTS,
        "damping": _AMOUNTS,
        "wet_level": _SHARES,
        "dry_level": _AMOUNTS,
    },
    pedalboard.Limiter: {"threshold_db": _THRESHOLDS_DB, "release_ms": _RELEASES_MS},
    pedalboard.Bitcrush: {"bit_depth": (4.0, 6.0, 8.0, 10.0)},
    pedalboard.HighpassFilter: {"cutoff_frequency_hz": (200.0, 400.0, 800.0, 1600.0, 2400.0, 4800.0, 9600.0)},
    pedalboard.LowpassFilter: {
        "cutoff_frequency_hz": (25.0, 50.0, 100.0, 200.0, 400.0, 800.0, 1600.0, 2400.0, 4800.0)
    },
}
"""The grids of the published benchmark."""

SILENT = 1e-8
"""Peak below which a passage is taken for silence and left alone."""


class Step(NamedTuple):
    """One effect with its settings."""

    make: type[pedalboard.Plugin]
    settings: dict[str, float]


Steps = tuple[Step, ...]


def draw(count: int, rng: np.random.Generator) -> Steps:
    """Draw a chain of `count` distinct effects in random order."""
    units = list(UNITS.items())
    return tuple(
        Step(units[i][0], {knob: float(rng.choice(grid)) for knob, grid in units[i][1].items()})
        for i in rng.choice(len(units), size=count, replace=False)
    )


def at_peak(x: Stereo) -> Stereo:
    """Return a passage with its peak at full scale; silence as it is."""
    peak = float(np.abs(x).max())
    return x / np.float32(peak) if peak > SILENT else x


def treated(x: Stereo, steps: Steps) -> Stereo:
    """Return a passage through a chain: peaks normalised after each effect, -23 LUFS at the end."""
    for step in steps:
        # pedalboard's stubs know the settings of each class, but not of any class
        plugin: Any = step.make(**step.settings)
        x = at_peak(np.asarray(plugin(x, RATE, reset=True), np.float32))
    return at_loudness(x, LOUDNESS_LUFS)


Chain = TypeVar("Chain")


def query(
    count: int,
    number: int,
    rng: np.random.Generator,
    draw: Callable[[int, np.random.Generator], Chain],
    treated: Callable[[Stereo, Chain], Stereo],
) -> Task:
    """Return the reference, the right candidate and the others of one query."""
    first, second = pair(KINDS[number % len(KINDS)], rng)
    chains = [draw(count, rng)]
    while len(chains) < CANDIDATES:
        other = draw(count, rng)
        # one effect with one knob can be drawn twice: there would be two right answers
        if other not in chains:
            chains.append(other)
    sounds = [treated(first.sound, chains[0]), *(treated(second.sound, chain) for chain in chains)]
    return Task(sounds, NOTHING)


def scored(name: str, methods: Methods, queries: int, task: Callable[[int, int], Task]) -> Rows:
    """Yield accuracy by number of effects, overall, and by kind of content, of tasks (count, number)."""
    hits: dict[str, dict[str, list[float]]] = {method: {} for method in methods}
    for count in range(1, MOST_EFFECTS + 1):
        label = f"{count} effect{'s' if count > 1 else ''}"
        for number in range(queries):
            sounds = task(count, number).sounds
            for method_name, method in methods.items():
                hit = _hit(method, sounds) if takes_part(method, number) else math.nan
                for what in (label, "all", KINDS[number % len(KINDS)]):
                    hits[method_name].setdefault(what, []).append(hit)
        for method_name in methods:
            yield share_row(f"{name}, {label}", method_name, hits[method_name][label])
    for what in ("all", *KINDS):
        for method_name in methods:
            if what in hits[method_name]:
                yield share_row(f"{name}, {what}", method_name, hits[method_name][what])


def _hit(method: Embedding, sounds: Sequence[Stereo]) -> float:
    vectors = embed(method, sounds)
    apart = distances(method, picked(vectors, range(1, len(sounds))), picked(vectors, range(1)))
    # not argmin: what ties with another has not been found
    return float(apart[0] < apart[1:].min())


def rows(methods: Methods, queries: int) -> Rows:
    """Yield accuracy by number of effects, overall, and by kind of content."""
    shelf = Shelf("retrieval", (Path(__file__),))

    def task(count: int, number: int) -> Task:
        rng = np.random.default_rng([SEED, count, number])
        return shelf.task(f"{count}-{number:03d}", lambda: query(count, number, rng, draw, treated))

    yield from scored("retrieval", methods, queries, task)
