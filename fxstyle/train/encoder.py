"""Training of the encoder: contrast between styles on other content, distances, and changes.

In an episode the styles i are on two recordings a and b. With unit vectors z of style and r of change,

    contrast   -lg softmax_j (z_i(a) . z_j(b) / temperature) at j = i, over the rows on recording b of all
               episodes of the batch, and the same from b to a
    change     the same for r(s_i(a) | a) against r(s_j(b)), whose dry sound is not known, and back
    distance   Huber(|p_i(a) - p_j(b)| - D_ij),  D_ij = mean over bands and frames of what levels of s_i(a)
               and s_j(a) differ by in dB, and of those on b: how far they truly are, on one content
    units      which units are in it, from e: a hint in the beginning, when contrast has little to hold on to

after T. Chen et al., "A simple framework for contrastive learning", ICML 2020 (the softmax over a batch). A
step's episodes are drawn by the run's seed and the step's number among those that are to be there by then,
so a run that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from fxstyle.embed.encoder import Embedded, Encoder, Sizes
from fxstyle.embed.frontend import ATTACK_HZ, BANDS, FLOOR_DB, QUARTERS, SCALE_DB, Heard, band_hz
from fxstyle.train.episodes import ROWS, Episode

TEMPERATURE = 0.08
WEIGHTS = {"contrast": 1.0, "change": 0.5, "distance": 0.3, "units": 20.0}
CHANGE_TEMPERATURE = 0.1
HUBER_DB = 1.0
LEARNING_RATE, WARM_UP, WEIGHT_DECAY = 1.5e-3, 100, 0.02
MASKED_TIME = 0.2
"""Longest share of a window that is hidden in training."""

TINT_DB, TINT_POINTS = 2.0, 7
"""Deviation of the tone that a recording is given, in all its rows alike, and the points between which it
bends: what was done is the same on a brighter recording."""

SHORTENED = 0.5
"""How often a batch's windows are cut, to between half and all of their length."""


class Trainee(torch.nn.Module):
    """The encoder, with what only training needs."""

    def __init__(self, sizes: Sizes, units: int) -> None:
        """Begin with random weights. units: how many there are to be told."""
        super().__init__()
        self.encoder = Encoder(sizes)
        self.units = torch.nn.Linear(sizes.hidden, units)


@dataclass(frozen=True)
class Batch:
    """Episodes as tensors: recordings and rows of all in one dimension, (episode * 2 * ROWS, ...)."""

    heard: Heard
    present: torch.Tensor
    distance_db: torch.Tensor


def true_distances(frames: torch.Tensor) -> torch.Tensor:
    """Return D in dB, (..., row, row), of frames (..., row, channel, time) of one content."""
    mid = frames[..., :BANDS, ::4].flatten(-2) * SCALE_DB
    return torch.cdist(mid, mid, p=1.0) / mid.shape[-1]


def batch_of(episodes: list[Episode], device: torch.device, generator: np.random.Generator | None) -> Batch:
    """Return episodes as one batch; with a generator, cut and with a stretch of time hidden."""
    frames = torch.from_numpy(np.stack([e.frames for e in episodes])).to(device).float()
    distance = true_distances(frames)
    if generator is not None and generator.random() < SHORTENED:
        keep = int(frames.shape[-1] * generator.uniform(0.5, 1.0))
        begin = int(generator.integers(frames.shape[-1] - keep + 1))
        frames = frames[..., begin : begin + keep]
    texture, level = (
        torch.from_numpy(np.stack([getattr(e, n) for e in episodes])).to(device).float()
        for n in ("texture", "level_db")
    )
    if generator is not None:
        frames, texture = _tinted(frames, texture, generator)
        frames = _masked(frames, generator)
    flat = frames.flatten(0, 2)
    present = torch.from_numpy(np.stack([e.present for e in episodes])).to(device).float()
    both = present[:, None].expand(-1, 2, -1, -1).flatten(0, 2)
    heard = Heard(flat, texture.flatten(0, 2), level.flatten(0, 2))
    return Batch(heard, both, distance.mean(dim=1))


def _tinted(
    frames: torch.Tensor, texture: torch.Tensor, generator: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return frames and texture (episode, recording, row, ...) with another tone of each recording."""
    points = generator.normal(0.0, TINT_DB / SCALE_DB, (*frames.shape[:2], TINT_POINTS))
    at = np.linspace(0.0, TINT_POINTS - 1.0, BANDS)
    below = np.minimum(at.astype(int), TINT_POINTS - 2)
    share = at - below
    curve = points[..., below] * (1.0 - share) + points[..., below + 1] * share
    tint = torch.from_numpy(curve).to(frames)[:, :, None]
    nearest = torch.searchsorted(band_hz(), torch.tensor(ATTACK_HZ, dtype=torch.float64))
    wide = tint[..., nearest.to(tint.device)]
    mid, side, attacks = (
        frames[..., :BANDS, :],
        frames[..., BANDS : 2 * BANDS, :],
        frames[..., 2 * BANDS :, :],
    )
    floor = -FLOOR_DB / SCALE_DB
    mid = (mid + tint[..., None]).clamp_min(floor)
    attacks = (attacks + wide.repeat(1, 1, 1, QUARTERS)[..., None]).clamp_min(floor)
    mean = torch.cat([tint, tint.new_zeros(*tint.shape[:3], texture.shape[3] - BANDS)], dim=3)
    return torch.cat([mid, side, attacks], dim=3), texture + mean


def _masked(frames: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
    """Return frames (..., time) with a stretch of time, the same in all, at their mean."""
    time_ = frames.shape[-1]
    size = int(generator.uniform(0.0, MASKED_TIME) * time_)
    begin = int(generator.integers(time_ - size + 1))
    keep = torch.ones(time_, device=frames.device)
    keep[begin : begin + size] = 0.0
    return torch.lerp(frames.mean(dim=-1, keepdim=True), frames, keep)


def losses(trainee: Trainee, batch: Batch) -> dict[str, torch.Tensor]:
    """Return the named terms of the loss of a batch."""
    encoder = trainee.encoder
    device = batch.present.device.type
    with torch.autocast(device, dtype=torch.bfloat16):
        made: Embedded = encoder(batch.heard)
    made = Embedded(*(vectors.float() for vectors in made))
    episodes = batch.distance_db.shape[0]
    shape = (episodes, 2, ROWS, -1)
    common = made.common.reshape(shape)
    dry = common[:, :, :1].expand(-1, -1, ROWS, -1)
    known = encoder.change(common, dry)
    unknown = encoder.change(common)
    place = made.place.reshape(shape)
    apart = (place[:, 0, :, None] - place[:, 1, None]).square().sum(dim=-1).add(1e-6).sqrt()
    return {
        "contrast": _contrast(made.style.reshape(shape), made.style.reshape(shape), TEMPERATURE),
        # what was done to a recording that is not there is nothing for the dry rows
        "change": _contrast(known[:, :, 1:], unknown[:, :, 1:], CHANGE_TEMPERATURE),
        "distance": functional.huber_loss(apart, batch.distance_db, delta=HUBER_DB),
        "units": functional.binary_cross_entropy_with_logits(trainee.units(made.common), batch.present),
    }


def _contrast(x: torch.Tensor, y: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the contrast of x on one recording with y on the other, both (episode, 2, row, feature)."""
    count, rows = x.shape[0], x.shape[2]
    total = x.new_zeros(())
    for here, there in ((0, 1), (1, 0)):
        likeness = x[:, here].flatten(0, 1) @ y[:, there].flatten(0, 1).T / temperature
        aim = torch.arange(count * rows, device=x.device)
        total = total + functional.cross_entropy(likeness, aim)
    return total / 2.0


def accuracy(trainee: Trainee, batch: Batch) -> float:
    """Return how often a style's nearest among its own episode's, on the other recording, is itself."""
    with torch.no_grad():
        style = trainee.encoder(batch.heard).style.reshape(batch.distance_db.shape[0], 2, ROWS, -1)
    likeness = torch.einsum("eif,ejf->eij", style[:, 0], style[:, 1])
    return float((likeness.argmax(dim=2) == torch.arange(ROWS, device=likeness.device)).float().mean())


def rate_at(step: int, steps: int) -> float:
    """Return the learning rate of a step: up in a line, down in a cosine."""
    if step < WARM_UP:
        return LEARNING_RATE * (step + 1) / WARM_UP
    share = (step - WARM_UP) / max(steps - WARM_UP, 1)
    return LEARNING_RATE * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * share)))
