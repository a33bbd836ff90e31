"""The embedding by measured descriptors, scaled by how much each varies when only the content changes.

Two passages of one recording carry the same treatment, so the covariance of the difference of their
descriptors, C_g = E[(phi_g(A) - phi_g(B)) (phi_g(A) - phi_g(B))^T] per group g, is the noise of
comparing recordings with other content. With its shrunken estimate and the whitened difference
r = C_g^(-1/2) (phi_g(a) - phi_g(b)), the distance is

    d_g(a, b) = w_g mean_i rho(r_i),   rho(r) = 2 D^2 (sqrt(1 + (r / D)^2) - 1),

so that a difference counts for as much as it exceeds what other content explains: the maximum-
likelihood weight if the differences are Gaussian. rho (pseudo-Huber) is r^2 for small r and grows
linearly beyond D, since the differences have heavier tails than a Gaussian. The covariances are
estimated from neighbouring passages of freely licensed recordings by `bench/calibrate.py` and kept in
`content.npz`.

Some recordings vary more than others: a pad hardly at all, a drum solo widely. So C_g is scaled by
s_g^2, estimated from how far the crops of the very recordings at hand lie apart,

    s_g^2 = (n0 + sum_r (k_r - 1) d_r / v_g) / (n0 + sum_r (k_r - 1)),

where d_r is the mean square of C_g^(-1/2) (phi_g(crop) - phi_g(crop')) over features and pairs of the k_r
crops of recording r, and v_g the same over the calibration's recordings: the mode of the posterior when
n0 pairs are known beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fxstyle.features.descriptors import describe

Covariances = Mapping[str, npt.NDArray[np.float64]]

GROUP_WEIGHTS: Mapping[str, float] = {
    "tone": 1.0,
    "levels": 1.0,
    "width": 0.3,
    "balance": 0.1,
    "crest": 0.2,
    "flatness": 0.2,
    "slopes": 0.5,
    "echoes": 0.5,
}
"""Set by hand on 26 treated train items: tone and levels carry most; width, crest and flatness overlap with
them. Tripling slopes, or lowering echoes to 0.2, moved the mean distance to the truth by 3 %."""

PRIOR_PAIRS = 2.0
"""n0: pairs of crops that the calibration is worth against the recordings at hand."""

STEADIEST, RESTLESS = 0.1, 30.0
"""Bounds of s_g^2. Recordings steadier than a tenth of the usual are still no measure of one another."""

TAIL = 2.5
"""D: standard deviations beyond which a difference is an outlier."""

ABSENT_DB = -80.0
"""Third octaves in which input or reference lie below this carry no programme: they are left out."""


CROPS = "crops."
"""Prefix of v_g's names in the file."""


@cache
def _calibration() -> Covariances:
    with resources.files("fxstyle.embed").joinpath("content.npz").open("rb") as file:
        found = {name: matrix.astype(np.float64) for name, matrix in np.load(file).items()}
    for matrix in found.values():
        matrix.setflags(write=False)
    return found


def content_covariances() -> Covariances:
    """Return the shipped covariances, by group, each (feature, feature)."""
    return {name: matrix for name, matrix in _calibration().items() if not name.startswith(CROPS)}


def crop_variances() -> Mapping[str, float]:
    """Return v_g by group: mean square of whitened differences between single crops of a recording."""
    return {n.removeprefix(CROPS): float(v) for n, v in _calibration().items() if n.startswith(CROPS)}


def _whitener(covariance: npt.NDArray[np.float64]) -> torch.Tensor:
    values, vectors = np.linalg.eigh(covariance)
    return torch.from_numpy((vectors / np.sqrt(np.maximum(values, 1e-12))).astype(np.float32))


@dataclass(frozen=True)
class Measured:
    """Measured descriptors as an embedding (protocol `fxstyle.embed.Embedding`).

    Attributes
    ----------
    skip: groups left out, for example the stereo ones where one side is mono.
    tone_mask: third octaves to keep; None keeps all.
    weights: w_g by group. noise: s_g^2 by group, 1 where absent (`content_noise`).
    """

    skip: frozenset[str] = frozenset()
    tone_mask: tuple[bool, ...] | None = None
    weights: Mapping[str, float] = field(default_factory=lambda: GROUP_WEIGHTS)
    noise: Mapping[str, float] = field(default_factory=dict)
    name: str = "measured"

    def embed(self, x: torch.Tensor, rate: float, crops: int = 1) -> dict[str, torch.Tensor]:
        """Descriptors by group, (candidate, feature)."""
        groups = describe(x, rate, crops, width="width" not in self.skip)
        return {name: vector for name, vector in groups.items() if name not in self.skip}

    def distance(
        self, output: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Weighted mean of rho per group, (candidate,); 1 is what content explains."""
        whiteners = _whiteners(self.tone_mask)
        terms = {}
        for name, vector in output.items():
            difference = vector - target[name]
            if name == "tone" and self.tone_mask is not None:
                difference = difference[:, list(np.flatnonzero(self.tone_mask))]
            whitened = difference @ whiteners[name].to(difference) * self.noise.get(name, 1.0) ** -0.5
            rho = 2.0 * TAIL**2 * ((1.0 + (whitened / TAIL).square()).sqrt() - 1.0)
            terms[name] = self.weights[name] * rho.mean(-1)
        return terms


@lru_cache(maxsize=8)
def _whiteners(tone_mask: tuple[bool, ...] | None) -> dict[str, torch.Tensor]:
    covariances = dict(content_covariances())
    if tone_mask is not None:
        keep = np.flatnonzero(tone_mask)
        covariances["tone"] = covariances["tone"][np.ix_(keep, keep)]
    return {name: _whitener(matrix) for name, matrix in covariances.items()}


def content_noise(recordings: Sequence[torch.Tensor], rate: float) -> dict[str, float]:
    """Estimate s_g^2 by group from the crops of each recording, (crop, channel, time), at one rate."""
    usual = crop_variances()
    # By group: how many independent pairs there were, and the sum of their mean squares.
    found = dict.fromkeys(usual, (PRIOR_PAIRS, PRIOR_PAIRS))
    with torch.no_grad():
        for crops in recordings:
            for name, vectors in describe(crops, rate).items():
                # The unbiased variance: half the mean square of all pairs, known by so many less one.
                variance = (vectors @ _whiteners(None)[name]).var(0, correction=min(1, len(vectors) - 1))
                known, total = found[name]
                more = len(vectors) - 1
                found[name] = known + more, total + more * 2.0 * float(variance.mean()) / usual[name]
    return {name: min(max(total / known, STEADIEST), RESTLESS) for name, (known, total) in found.items()}


def shrunken_covariance(differences: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Covariance of (pair, feature) differences of zero mean, shrunk towards its diagonal.

    The intensity is that of Schaefer and Strimmer (2005), target D ("diagonal, unequal variance"):
    lambda = sum var(r_ij) / sum r_ij^2 over the off-diagonal correlations.
    """
    x = np.asarray(differences, dtype=np.float64)
    count = x.shape[0]
    scale = np.sqrt((x**2).mean(axis=0))
    # A feature that hardly varied in the sample is known no better than that: it gets a hundredth of the
    # median spread, lest the whitening multiply its noise.
    scale = np.maximum(scale, 0.01 * float(np.median(scale)) + 1e-9)
    z = x / scale
    correlation = z.T @ z / count
    variance = ((z**2).T @ (z**2) / count - correlation**2) / max(count - 1, 1)
    off = ~np.eye(x.shape[1], dtype=bool)
    total = float((correlation[off] ** 2).sum())
    intensity = min(max(float(variance[off].sum()) / total, 0.0), 1.0) if total > 0.0 else 1.0
    shrunk = np.where(off, (1.0 - intensity) * correlation, correlation)
    return np.asarray(shrunk * np.outer(scale, scale))
