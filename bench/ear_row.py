"""What the parts of the ear's benchmark share: a figure with its interval, and embedding in batches.

Figures of two methods are compared query by query: a row carries what each query gave, nan where the method
did not take part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from counterfx import RATE, Stereo

from fxstyle.embed import Embedding

if TYPE_CHECKING:
    from fxstyle.embed import Vectors

Floats = npt.NDArray[np.float64]

BATCH = 8
"""Sounds embedded at once; a bound of memory, not of speed."""

SURE = 1.959964
"""Standard deviations to either side that hold 95 % of a Gaussian."""

RESAMPLES = 10_000


class Row(NamedTuple):
    """One figure of one method: a mean or share over so many queries, with its interval of 95 %.

    Attributes
    ----------
    values: what each query gave, in the order of all methods. sign: -1 where less is better.
    """

    what: str
    method: str
    value: float
    low: float
    high: float
    queries: int
    values: tuple[float, ...] = ()
    sign: float = 1.0


Rows = Iterator[Row]
Methods = Mapping[str, Embedding]
Part = Callable[[Methods, int], Rows]
"""A part's `rows`: the methods, and how many queries a full run of it has."""


@dataclass(frozen=True, eq=False)
class Limited:
    """A slow embedding that takes part in the first `queries` queries of each row only."""

    embedding: Embedding
    queries: int

    @property
    def name(self) -> str:
        """Return the embedding's name."""
        return self.embedding.name

    def embed(self, x: torch.Tensor, rate: float, crops: int = 1) -> Vectors:
        """Return the embedding's vectors."""
        return self.embedding.embed(x, rate, crops)

    def distance(self, output: Vectors, target: Vectors) -> Mapping[str, torch.Tensor]:
        """Return the embedding's distance."""
        return self.embedding.distance(output, target)


def takes_part(method: Embedding, number: int) -> bool:
    """Return whether a method is asked query `number` of a row."""
    return not isinstance(method, Limited) or number < method.queries


def _finite(values: Sequence[float]) -> Floats:
    x = np.asarray(values, np.float64)
    return x[np.isfinite(x)]


def share_row(what: str, method: str, hits: Sequence[float]) -> Row:
    """Return the share of hits (1, 0; nan: not asked) with the binomial interval of Wilson (1927)."""
    x = _finite(hits)
    if not x.size:
        return Row(what, method, math.nan, math.nan, math.nan, 0)
    n, p = x.size, float(x.mean())
    middle = (p + SURE**2 / (2 * n)) / (1 + SURE**2 / n)
    half = SURE / (1 + SURE**2 / n) * math.sqrt(p * (1 - p) / n + SURE**2 / (4 * n**2))
    return Row(what, method, p, max(middle - half, 0.0), min(middle + half, 1.0), n, tuple(hits))


def mean_row(what: str, method: str, values: Sequence[float], sign: float = 1.0) -> Row:
    """Return the mean over queries with its bootstrap interval; nan where there is nothing."""
    x = _finite(values)
    if not x.size:
        return Row(what, method, math.nan, math.nan, math.nan, 0)
    draws = np.random.default_rng(0).integers(x.size, size=(RESAMPLES, x.size))
    low, high = np.quantile(x[draws].mean(1), [0.025, 0.975])
    return Row(what, method, float(x.mean()), float(low), float(high), x.size, tuple(values), sign)


class Paired(NamedTuple):
    """A figure's best baseline, and each method less it."""

    what: str
    best: str
    rows: tuple[Row, ...]


def paired(rows: Sequence[Row], baselines: Collection[str]) -> Iterator[Paired]:
    """Yield, figure by figure, the mean difference of each other method to the best baseline, query by query.

    Only a baseline that was asked every query can be the best. It is chosen by the very figures it is then
    compared with, which favours it.
    """
    by_figure: dict[str, list[Row]] = {}
    for row in rows:
        if row.values:
            by_figure.setdefault(row.what, []).append(row)
    for what, own in by_figure.items():
        most = max(row.queries for row in own)
        there = [row for row in own if row.method in baselines and row.queries == most]
        others = [row for row in own if row.method not in baselines]
        if there and others:
            best = max(there, key=lambda row: row.sign * row.value)
            less = [
                mean_row(f"{what}, less {best.method}", row.method, _less(row, best), row.sign)
                for row in others
            ]
            yield Paired(what, best.method, tuple(less))


def _less(row: Row, other: Row) -> list[float]:
    return [a - b for a, b in zip(row.values, other.values, strict=True)]


def embed(method: Embedding, sounds: Sequence[Stereo]) -> Vectors:
    """Embed sounds of one length, each once: by name, (sound, feature)."""
    found = []
    with torch.no_grad():
        for begin in range(0, len(sounds), BATCH):
            found.append(method.embed(torch.from_numpy(np.stack(sounds[begin : begin + BATCH])), RATE))
    return {name: torch.cat([vectors[name] for vectors in found]) for name in found[0]}


def picked(vectors: Vectors, places: Sequence[int]) -> Vectors:
    """Return some of the sounds of an embedding."""
    return {name: vector[list(places)] for name, vector in vectors.items()}


def distances(method: Embedding, outputs: Vectors, target: Vectors) -> Floats:
    """Return the sum of a method's terms, (sound,), each sound paired with the one target by itself."""
    with torch.no_grad():
        terms = [term.double() for term in method.distance(outputs, target).values()]
        return np.asarray(torch.stack(terms).sum(0))


def spearman(truth: Floats, found: Floats) -> float:
    """Return the rank correlation; 0 if what was found is constant, nan if the truth is or a value is nan."""
    from scipy.stats import spearmanr

    if np.ptp(truth) == 0.0 or not np.isfinite(found).all():
        return math.nan
    return float(spearmanr(truth, found).statistic) if np.ptp(found) else 0.0
