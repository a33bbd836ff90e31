"""Calibration of the relative score: pairs whose truth is known, and non-negative least squares.

An item is two recordings a and b and styles as the encoder's episodes have them. Output s_i(a), reference
s_j(b), truth Ld(s_i(a), s_j(a)). Several items are kept from the regression; on them the rank correlation of
score and truth over the pairs of one item and reference is reported.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import nnls
from scipy.stats import spearmanr

from fxstyle.embed.encoder import Ear, load, to_bytes
from fxstyle.embed.measured import Measured
from fxstyle.embed.score import TERMS, parts
from fxstyle.errors import FxstyleError, SettingError
from fxstyle.features.truth_distance import ld
from fxstyle.files import write_text
from fxstyle.train.content import RATE
from fxstyle.train.episodes import Plan, library_and_units, styles_of, through
from fxstyle.train.units import Sound
from fxstyle.units import db_to_amplitude

PROGRAMS = ("fxstyle", "pedalboard")
"""Fast ones."""

REFERENCES = 3
"""Of an item: each is compared with all rows."""

LEVEL_DB, SPREAD_DB = -23.0, 4.0
"""Level of recordings; deviation of that of outputs."""

HELD_OUT = 5
"""Every so many items one is not learnt from."""

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Calibrated:
    """A calibration's file and its figures on items it did not learn from."""

    text: str
    rank: float
    error: float
    alone: dict[str, float]


def _at_level(x: Sound, level_db: float) -> Sound:
    return x * np.float32(db_to_amplitude(level_db) / max(float(np.sqrt(np.square(x).mean())), 1e-6))


def item(plan: Plan, number: int, ear: Ear, measured: Measured) -> tuple[Numbers, Numbers]:
    """Return phi (reference, row, term) and Ld (reference, row) of an item."""
    generator = np.random.default_rng([plan.seed, 7, number])
    library, units = library_and_units(plan)
    styles = [(), *styles_of(units, generator)]
    by_peak = bool(generator.random() < 0.5)
    a, b = library.pair(generator)
    gains_db = LEVEL_DB + generator.normal(0.0, SPREAD_DB, len(styles))
    on_a, on_b = (
        [_at_level(through(s, x, by_peak), float(g)) for s, g in zip(styles, gains_db, strict=True)]
        for x in (a, b)
    )
    with torch.no_grad():
        outputs, others = (
            {**measured.embed(x, RATE), **ear.embed(x, RATE)}
            for x in (torch.from_numpy(np.stack(rows)) for rows in (on_a, on_b))
        )
        chosen = generator.choice(len(styles), size=REFERENCES, replace=False)
        phi = []
        for j in chosen:
            target = {name: v[j : j + 1] for name, v in others.items()}
            found = parts(ear, measured, outputs, target)
            phi.append(torch.stack([found[name] for name in TERMS], dim=1).numpy())
    truth = [[ld(y, on_a[j], RATE) for y in on_a] for j in chosen]
    return np.array(phi, np.float64), np.array(truth)


def items(plan: Plan, count: int, ear: Ear) -> Iterator[tuple[Numbers, Numbers]]:
    """Yield items; those in which a program fails are left out."""
    measured = Measured()
    for number in range(count):
        try:
            yield item(plan, number, ear, measured)
        except FxstyleError:
            continue


def _rank(estimate: Numbers, truth: Numbers) -> float:
    """Mean over (item, reference) of the rank correlation over rows."""
    return float(np.mean([spearmanr(e, t)[0] for e, t in zip(estimate, truth, strict=True)]))


def calibrate(phi: Numbers, truth: Numbers) -> tuple[float, Numbers]:
    """Return w_0 >= 0 and w >= 0 for phi (pair, term) and Ld (pair,)."""
    found, _ = nnls(np.column_stack([np.ones(len(phi)), phi]), truth)
    return float(found[0]), found[1:]


def encoder_hash(ear: Ear) -> str:
    """Return a hash of an encoder's weights."""
    return sha256(to_bytes(ear.network, {})).hexdigest()[:16]


def train_score(
    folders: Sequence[Path],
    output: Path,
    *,
    count: int = 200,
    seed: int = 0,
    weights: Path | None = None,
    force: bool = False,
    tell: Callable[[float], None] | None = None,
) -> Calibrated:
    """Calibrate the score on `count` items drawn from folders of recordings, and write it.

    Raises SettingError for too few items, AudioError where there are no recordings.
    """
    if count < 2 * HELD_OUT:
        raise SettingError(f"--items {count} is too few; give {2 * HELD_OUT} or more")
    ear = load(weights)
    plan = Plan(tuple(folders), seed, PROGRAMS)
    library_and_units(plan)
    found = []
    for made in items(plan, count, ear):
        found.append(made)
        if tell is not None:
            tell(len(found) / count)
    phi, truth = (np.stack(part) for part in zip(*found, strict=True))
    unseen = np.arange(len(phi)) % HELD_OUT == 0
    base, w = calibrate(phi[~unseen].reshape(-1, len(TERMS)), truth[~unseen].ravel())
    there, true = phi[unseen].reshape(-1, *phi.shape[2:]), truth[unseen].reshape(-1, truth.shape[2])
    rank = _rank(there @ w, true)
    alone = {name: _rank(there[..., i], true) for i, name in enumerate(TERMS)}
    error = float(np.abs(there @ w + base - true).mean())
    held: dict[str, Any] = {
        "base": round(base, 4),
        "weights": {name: round(float(x), 5) for name, x in zip(TERMS, w, strict=True)},
        "encoder": encoder_hash(ear),
        "about": {
            "items": len(phi), "seed": seed, "rank": round(rank, 3), "mean error": round(error, 3),
            "mean Ld": round(float(true.mean()), 3),
        },
    }  # fmt: skip
    text = json.dumps(held, indent=1)
    write_text(output, text, force=force)
    return Calibrated(text, rank, error, alone)
