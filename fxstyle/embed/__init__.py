"""What a recording sounds like, as vectors with a distance: one protocol, several embeddings.

An embedding maps audio to named vectors and says how far apart two of them are. The fit minimises
that distance, so everything here is differentiable and batched: many candidates are embedded at once,
and each is compared with the one embedding of the reference, computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fxstyle.errors import SettingError

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


Make = Callable[[], Embedding]

ENDING = ".safetensors"
"""Of the files that `get` takes for weights of an encoder."""


def _measured() -> Embedding:
    from fxstyle.embed.measured import Measured

    return Measured()


def _encoder() -> Embedding:
    from fxstyle.embed.encoder import load

    return load()


def _score() -> Embedding:
    from fxstyle.embed.score import load_score

    return load_score()


def _clap(weights: str) -> Embedding:
    from fxstyle.embed.clap import KINDS, load_clap

    if not weights:
        return load_clap()
    for kind in KINDS:
        if weights == kind:
            return load_clap(model=kind)
    return load_clap(weights)


_REGISTRY: dict[str, Make] = {"measured": _measured, "encoder": _encoder, "score": _score}

_OUTSIDE: dict[str, Callable[[str], Embedding]] = {"clap": _clap}
"""Embeddings whose weights are not ours, made from what follows the name and a colon, or from nothing."""


def names() -> tuple[str, ...]:
    """Return the names of the embeddings that need nothing from outside."""
    return tuple(_REGISTRY)


def register(name: str, make: Make) -> None:
    """Add an embedding, made when it is first asked for; raises SettingError for a name that is taken."""
    if name in _REGISTRY or name.endswith(ENDING) or name.partition(":")[0] in _OUTSIDE:
        raise SettingError(f"an embedding cannot be called {name!r}: the name is taken; choose another")
    _REGISTRY[name] = make


def get(name: str) -> Embedding:
    """Return an embedding by name, or the encoder whose weights a file holds.

    "clap" is CLAP with LAION's weights for music, "clap:general" the general ones, "clap:PATH" those of a
    folder, a checkpoint or a repository (`fxstyle.embed.clap.load_clap`).

    Raises SettingError for a name that is not there, AudioError for a file that holds no weights.
    """
    word, _, weights = name.partition(":")
    if word in _OUTSIDE:
        return _OUTSIDE[word](weights)
    if name.endswith(ENDING):
        from fxstyle.embed.encoder import load

        return load(Path(name))
    if name not in _REGISTRY:
        raise SettingError(
            f"no embedding is called {name!r}; there are {', '.join((*names(), *_OUTSIDE))}, "
            f"and weights by file, x{ENDING} or clap:PATH"
        )
    return _REGISTRY[name]()
