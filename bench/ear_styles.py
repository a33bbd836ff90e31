"""Five styles, zero-shot: whose example on other content is the nearest to a query?

The styles are DeepAFx-ST's (STYLES): an equaliser of Q 0.707, then a compressor, with the peak of the input
3 to 9 dB below full scale and the output's at it. All passages of a kind, evenly of the five styles, are
queries in turn; one example of each style is drawn from the other recordings' passages, DRAWS times over.
Share of examples of the right style that are nearest; chance is 0.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pedalboard
from counterfx import RATE, Stereo
from ear_contents import crop, sources
from ear_row import Floats, Methods, Rows, distances, embed, mean_row, picked, takes_part
from ear_tasks import Shelf, Task

from fxstyle.embed import Embedding
from fxstyle.units import db_to_amplitude

DRAWS = 5
SEED = 2
Q = 0.707
HEADROOM_DB = (3.0, 9.0)
QUERIES_OF_A_KIND = 2
"""Of each kind there are twice as many passages as the run has queries: 100 of 50."""

Range = tuple[float, float]


class Band(NamedTuple):
    """A filter and the ranges of its gain and frequency."""

    make: type[pedalboard.LowShelfFilter | pedalboard.HighShelfFilter | pedalboard.PeakFilter]
    gain_db: Range
    hz: Range


class Compression(NamedTuple):
    """Ranges of a compressor."""

    threshold_db: Range
    ratio: Range
    attack_ms: Range
    release_ms: Range


_LOW, _HIGH, _PEAK = pedalboard.LowShelfFilter, pedalboard.HighShelfFilter, pedalboard.PeakFilter

STYLES: dict[str, tuple[tuple[Band, ...], Compression | None]] = {
    "neutral": (
        (Band(_LOW, (1.0, 3.0), (80.0, 200.0)), Band(_HIGH, (1.0, 3.0), (6000.0, 8000.0))),
        Compression((-30.0, -20.0), (1.5, 2.0), (50.0, 70.0), (100.0, 300.0)),
    ),
    "broadcast": (
        (Band(_LOW, (2.0, 6.0), (80.0, 200.0)), Band(_HIGH, (2.0, 6.0), (6000.0, 8000.0))),
        Compression((-50.0, -40.0), (3.0, 5.0), (5.0, 30.0), (50.0, 150.0)),
    ),
    "telephone": (
        (
            Band(_LOW, (-26.0, -20.0), (200.0, 400.0)),
            Band(_PEAK, (12.0, 16.0), (1000.0, 2000.0)),
            Band(_HIGH, (-26.0, -20.0), (4000.0, 6000.0)),
        ),
        Compression((-40.0, -20.0), (1.5, 3.0), (1.0, 6.0), (10.0, 60.0)),
    ),
    "bright": (
        (Band(_LOW, (-26.0, -20.0), (200.0, 400.0)), Band(_HIGH, (20.0, 26.0), (8000.0, 10000.0))),
        None,
    ),
    "warm": (
        (Band(_LOW, (20.0, 26.0), (200.0, 400.0)), Band(_HIGH, (-20.0, -14.0), (8000.0, 10000.0))),
        None,
    ),
}


def with_headroom(x: Stereo, rng: np.random.Generator) -> Stereo:
    """Return a passage with its peak some way below full scale."""
    return np.asarray(
        x * np.float32(db_to_amplitude(-rng.uniform(*HEADROOM_DB)) / np.abs(x).max()), np.float32
    )


def at_full_scale(x: Stereo) -> Stereo:
    """Return a passage with its peak at full scale."""
    return np.asarray(x / np.abs(x).max(), np.float32)


def styled(x: Stereo, style: str, rng: np.random.Generator) -> Stereo:
    """Return a passage in a style, with settings drawn anew."""
    bands, compression = STYLES[style]
    plugins: list[pedalboard.Plugin] = [
        band.make(rng.uniform(*band.hz), rng.uniform(*band.gain_db), Q) for band in bands
    ]
    if compression is not None:
        plugins.append(pedalboard.Compressor(*(rng.uniform(*limits) for limits in compression)))
    y = with_headroom(x, rng)
    for plugin in plugins:
        y = np.asarray(plugin(y, RATE, reset=True), np.float32)
    return at_full_scale(y)


Styled = Callable[[Stereo, str, np.random.Generator], Stereo]
"""From a passage, a style and a generator to the passage in that style."""


def passages(kind: str, count: int, seed: int, styled: Styled) -> Task:
    """Return passages of a kind, styles in turn; figures: numbers of examples (passage, draw, style)."""
    names = list(STYLES)
    rng = np.random.default_rng([seed, len(kind)])
    # the recordings take turns within each style, so that every style has examples on all of them
    crops = [crop(sources(kind)[i // len(names) % len(sources(kind))], rng) for i in range(count)]
    label = np.arange(count) % len(names)
    sounds = [styled(c.sound, names[k], rng) for c, k in zip(crops, label, strict=True)]
    source = np.array([c.source for c in crops])
    examples = [
        [int(rng.choice(np.flatnonzero((label == k) & (source != source[i])))) for k in range(len(names))]
        for i in range(count)
        for _ in range(DRAWS)
    ]
    return Task(sounds, np.array(examples, np.float64).reshape(count, DRAWS, len(names)))


def hits(method: Embedding, task: Task) -> Floats:
    """Return for each passage the share of draws whose example of its style is nearest; nan: not asked."""
    examples = task.figures.astype(int)
    styles = examples.shape[2]
    asked = [i for i in range(len(task.sounds)) if takes_part(method, i // styles)]
    heard = sorted({*asked, *examples[asked].ravel().tolist()})
    place = {number: at for at, number in enumerate(heard)}
    vectors = embed(method, [task.sounds[number] for number in heard])
    found = np.full(len(task.sounds), math.nan)
    for query in asked:
        target = picked(vectors, [place[query]])
        nearest = [
            int(distances(method, picked(vectors, [place[n] for n in drawn]), target).argmin())
            for drawn in examples[query].tolist()
        ]
        found[query] = np.mean([style == query % styles for style in nearest])
    return found


def scored(name: str, methods: Methods, queries: int, task: Callable[[str, int], Task]) -> Rows:
    """Yield accuracy for speech and for music, and by style over both, of tasks (kind, passages)."""
    names = list(STYLES)
    by_style: dict[tuple[str, str], list[float]] = {}
    count = max(QUERIES_OF_A_KIND * queries // len(names), 2) * len(names)
    for kind in ("speech", "music"):
        made = task(kind, count)
        for method_name, method in methods.items():
            found = hits(method, made)
            yield mean_row(f"{name}, {kind}", method_name, found.tolist())
            for k, style in enumerate(names):
                by_style.setdefault((style, method_name), []).extend(found[k :: len(names)].tolist())
    for (style, method_name), own in by_style.items():
        yield mean_row(f"{name}, {style}", method_name, own)


def rows(methods: Methods, queries: int) -> Rows:
    """Yield accuracy for speech and for music, and by style over both."""
    shelf = Shelf("styles", (Path(__file__),))

    def task(kind: str, count: int) -> Task:
        return shelf.task(f"{kind}-{count}", lambda: passages(kind, count, SEED, styled))

    yield from scored("five styles", methods, queries, task)
