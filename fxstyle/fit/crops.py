"""Which passages are listened to: a fixed set of salient crops, and others kept for the judgement.

A crop is salient if it is about as loud as the louder half of its region: quiet passages say little,
and the loudest moment is seldom typical. The recording is divided into as many regions as crops are
wanted; each region gives the window whose level is nearest to the SALIENT_QUANTILE of all sounding windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

SALIENT_QUANTILE = 0.7
PAUSE_DB = 20.0
"""Windows this far below the loudest hold mostly silence."""

PREROLL_S = 1.0
"""Sound before a crop that is processed but not measured, so that tails and levels have settled."""

Samples = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Crops:
    """Passages of one recording.

    Attributes
    ----------
    audio: (crop, channel, preroll + time) float32.
    preroll: samples at the beginning of each that are not measured.
    """

    audio: torch.Tensor
    preroll: int

    @property
    def count(self) -> int:
        """Return how many there are."""
        return self.audio.shape[0]

    def to(self, place: torch.device) -> Crops:
        """Return the same on another device."""
        return Crops(self.audio.to(place), self.preroll)


def _window_levels(x: Samples, size: int, hop: int) -> npt.NDArray[np.float64]:
    # Energy per hop, channel by channel: no copy of a long recording is made.
    count = (x.shape[1] - size) // hop + 1
    hops = (count - 1) + -(-size // hop)
    energy = np.zeros(hops)
    for index in range(hops):
        block = x[:, index * hop : min((index + 1) * hop, x.shape[1])]
        energy[index] = float(np.square(block, dtype=np.float64).sum()) / x.shape[0]
    windows = np.lib.stride_tricks.sliding_window_view(energy, -(-size // hop)).sum(axis=1)
    return np.asarray(10.0 * np.log10(windows / size + 1e-12))


def salient(x: Samples, size: int, count: int) -> list[int]:
    """Begin of up to `count` windows of `size` samples that do not overlap, in order.

    Fewer than `count`, but at least one, where the rest of the recording is pauses.
    """
    hop = max(size // 8, 1)
    levels = _window_levels(x, size, hop)
    begins = np.arange(len(levels)) * hop
    sounding = levels > levels.max() - PAUSE_DB
    distance = np.abs(levels - np.quantile(levels[sounding], SALIENT_QUANTILE))
    chosen: list[int] = []

    def take(candidates: npt.NDArray[np.intp]) -> bool:
        for index in candidates[np.argsort(distance[candidates], kind="stable")]:
            if all(abs(begins[index] - other) >= size for other in chosen):
                chosen.append(int(begins[index]))
                return True
        return False

    for region in np.array_split(np.arange(len(levels)), count):
        take(region[sounding[region]])
    while len(chosen) < count and take(np.flatnonzero(sounding)):
        pass
    # Salient windows can leave gaps shorter than a window; side by side, more may fit.
    side_by_side = [
        i * size for i in range(x.shape[1] // size) if sounding[min(i * size // hop, len(levels) - 1)]
    ]
    if len(chosen) < min(count, len(side_by_side)):
        chosen = side_by_side[:count]
    return sorted(chosen)


def cut(x: Samples, begins: list[int], size: int, preroll: int) -> Crops:
    """Cut crops with their pre-roll; before the beginning of the recording there is silence."""
    padded = np.concatenate([np.zeros((x.shape[0], preroll), dtype=np.float32), x.astype(np.float32)], axis=1)
    pieces = [padded[:, b : b + preroll + size] for b in begins]
    return Crops(torch.from_numpy(np.stack(pieces)), preroll)
