"""The relative score: how far an output is from a truth that nobody has, in units of the true distance Ld.

Of an output y = C(x) and a reference r = R(b), whose content b is another, the truth would be R(x). The score
estimates Ld(y, R(x)) (features/truth_distance.py) from what can be heard of y and r alone,

    Ld' = w_0 + sum_i w_i phi_i(y, r),   w >= 0,

where the phi are the roots of the terms of the measured embedding (which grow with the square of a
difference), the chord |z(y) - z(r)| of the encoder's styles, the distance of its places in dB, and what the
levels of mid differ by in dB. The weights are found by least squares on pairs of training recordings whose
truth is known (`fxstyle train score`, score.json).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import torch

from fxstyle.embed.encoder import LEVEL_SCALE_DB, Ear, load
from fxstyle.embed.measured import GROUP_WEIGHTS, Measured
from fxstyle.errors import AudioError

WEIGHTS = "score.json"
TERMS = (*GROUP_WEIGHTS, "style", "place", "level")
"""phi, by name: those of the measured embedding, and the encoder's."""

_LEAST = 1e-6


@dataclass(frozen=True)
class Calibration:
    """w_0, w by term, and what they were found with: hash of the encoder's weights, figures."""

    base: float
    weights: Mapping[str, float]
    encoder: str
    about: Mapping[str, float | str]


@dataclass(frozen=True, eq=False)
class Score:
    """The score as an embedding (protocol `fxstyle.embed.Embedding`): its terms add up to Ld' - w_0."""

    ear: Ear
    measured: Measured
    calibration: Calibration
    name: str = "score"

    def embed(self, x: torch.Tensor, rate: float, crops: int = 1) -> dict[str, torch.Tensor]:
        """Embed (candidate * crop, channel, time); each vector (candidate, feature)."""
        return {**self.measured.embed(x, rate, crops), **self.ear.embed(x, rate, crops)}

    def distance(
        self, output: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Return w_i phi_i by name, each (candidate,)."""
        found = parts(self.ear, self.measured, output, target)
        weights = self.calibration.weights
        return {name: weights[name] * value for name, value in found.items() if weights.get(name, 0.0) > 0.0}

    def estimate(
        self, output: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """Return Ld', (candidate,)."""
        return torch.stack(list(self.distance(output, target).values())).sum(dim=0) + self.calibration.base


def parts(
    ear: Ear, measured: Measured, output: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return phi by name, each (candidate,), of what both embeddings gave together."""
    groups = {name: output[name] for name in GROUP_WEIGHTS if name in output}
    found = {
        name: _root(term / measured.weights[name]) for name, term in measured.distance(groups, target).items()
    }
    found["style"] = _root(2.0 * ear.distance(output, target)["style"])
    found["place"] = ear.true_distance(output, target)
    difference = LEVEL_SCALE_DB * (output["level"] - target["level"])[:, 0]
    found["level"] = _root(difference.square())
    return found


def _root(square: torch.Tensor) -> torch.Tensor:
    """Return the root, 0 at 0, with a gradient that stays finite there."""
    root: torch.Tensor = (square.clamp_min(0.0) + _LEAST).sqrt() - math.sqrt(_LEAST)
    return root


def calibration_of(text: str, source: str) -> Calibration:
    """Read a calibration; raises AudioError for what is none."""
    try:
        held = json.loads(text)
        base, weights = float(held["base"]), {str(n): float(w) for n, w in held["weights"].items()}
        encoder, about = str(held["encoder"]), dict(held["about"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AudioError(f"{source} is no calibration of the score: {error}") from None
    wrong = [name for name in weights if name not in TERMS]
    if wrong or not all(0.0 <= w < math.inf for w in (base, *weights.values())):
        what = f"it knows no {wrong[0]!r}" if wrong else "a weight is negative or no number"
        raise AudioError(f"{source} is no calibration of the score: {what}")
    return Calibration(base, weights, encoder, about)


@cache
def _shipped() -> Calibration:
    text = resources.files("fxstyle.embed").joinpath(WEIGHTS).read_text(encoding="utf-8")
    return calibration_of(text, WEIGHTS)


def load_score(path: Path | None = None, ear: Ear | None = None) -> Score:
    """Return the score by a calibration's file, or the shipped one, with an encoder or the shipped one."""
    calibration = _shipped() if path is None else calibration_of(path.read_text(encoding="utf-8"), str(path))
    return Score(load() if ear is None else ear, Measured(), calibration)
