"""What the parts of the ear's benchmark share: a figure with its interval, and embedding in batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    """One figure of one method: a mean or share over so many queries, with its interval of 95 %."""

    what: str
    method: str
    value: float
    low: float
    high: float
    queries: int


Rows = Iterator[Row]
Methods = Mapping[str, Embedding]
Part = Callable[[Methods, int], Rows]
"""A part's `rows`: the methods, and how many queries a full run of it has."""


def share_row(what: str, method: str, hits: Sequence[bool]) -> Row:
    """Return the share of hits with the binomial interval of Wilson (1927)."""
    n, p = len(hits), sum(hits) / len(hits)
    middle = (p + SURE**2 / (2 * n)) / (1 + SURE**2 / n)
    half = SURE / (1 + SURE**2 / n) * math.sqrt(p * (1 - p) / n + SURE**2 / (4 * n**2))
    return Row(what, method, p, middle - half, middle + half, n)


def mean_row(what: str, method: str, values: Sequence[float]) -> Row:
    """Return the mean over queries with its bootstrap interval; nan where there is nothing."""
    x = np.array([v for v in values if math.isfinite(v)])
    if not x.size:
        return Row(what, method, math.nan, math.nan, math.nan, 0)
    draws = np.random.default_rng(0).integers(x.size, size=(RESAMPLES, x.size))
    low, high = np.quantile(x[draws].mean(1), [0.025, 0.975])
    return Row(what, method, float(x.mean()), float(low), float(high), x.size)


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
    """Return the rank correlation; 0 if what was found is constant, nan if the truth is."""
    from scipy.stats import spearmanr

    if np.ptp(truth) == 0.0:
        return math.nan
    return float(spearmanr(truth, found).statistic) if np.ptp(found) else 0.0
