"""What a recording sounds like, as vectors with a distance: one protocol, several embeddings.

An embedding maps audio to named vectors and says how far apart two of them are. The fit minimises
that distance, so everything here is differentiable and batched: many candidates are embedded at once,
and each is compared with the one embedding of the reference, computed once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

    Vectors = Mapping[str, torch.Tensor]
    """By name, (candidate, feature)."""


class Embedding(Protocol):
    """Anything the fit can aim at."""

    @property
    def name(self) -> str:
        """Return the word used in options and reports."""
        ...

    def embed(self, x: torch.Tensor, rate: float, crops: int = 1) -> Vectors:
        """Embed (candidate * crop, channel, time), pooling the crops of each candidate."""
        ...

    def distance(self, output: Vectors, target: Vectors) -> Mapping[str, torch.Tensor]:
        """Return named terms (candidate,) >= 0 of the distance of each output to one target (1, feature)."""
        ...
