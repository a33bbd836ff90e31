"""Checkpoints of laion-clap (.pt): their weights, sizes, and names in transformers.

A checkpoint is read by torch's reader of tensors alone (`weights_only=True`), which executes nothing.
Published checkpoints hold a few numbers of numpy as well (the epoch, the best score), which that reader
refuses: they are replaced by nothing. What needs more is refused.

Both packages have the same networks under other names: queries, keys and values are one matrix in
laion-clap and three in transformers, and the classifiers and front end of laion-clap's audio side have no
part in embeddings.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fxstyle.embed import clap_hub
from fxstyle.errors import AudioError

REPOSITORY = "lukewys/laion_clap"
FILES = {
    "music": "music_audioset_epoch_15_esc_90.14.pt",
    "general": "music_speech_audioset_epoch_15_esc_89.98.pt",
}
"""The same weights as clap_transformers.REPOSITORIES, in laion-clap's format."""

FIRST_LAYER = "audio_branch.patch_embed.proj.weight"
FUSION = "audio_branch.patch_embed.fusion_model."
WORDS = "text_branch.embeddings.word_embeddings.weight"
PLACES = "text_branch.embeddings.position_embeddings.weight"
TEXT_LAYER = "text_branch.encoder.layer."
INNER = f"{TEXT_LAYER}0.intermediate.dense.weight"
IGNORED = "text_branch.embeddings.position_ids"
"""A count from 0, kept by older versions of transformers."""

HEAD_SIZE = 64
"""Of roberta-base's attention: weights do not tell how many heads they are."""

LEAST_ROBERTA = 1e-5
"""In the denominators of roberta-base's normalisation."""

AMODELS = {
    96: ("HTSAT-tiny", (2, 2, 6, 2)),
    128: ("HTSAT-base", (2, 2, 12, 2)),
    256: ("HTSAT-large", (2, 2, 12, 2)),
}
"""Names and blocks per layer of the audio side, by the width of its first layer."""

HEADS = (4, 8, 16, 32)


@dataclass(frozen=True)
class Sizes:
    """Of a checkpoint's networks: the audio side's width, and roberta's."""

    width: int
    words: int
    places: int
    hidden: int
    layers: int
    inner: int

    @property
    def amodel(self) -> str:
        """Return laion-clap's name of the audio side."""
        return AMODELS[self.width][0]

    def text(self) -> dict[str, Any]:
        """Return the settings of transformers' roberta."""
        return {
            "vocab_size": self.words,
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.hidden // HEAD_SIZE,
            "intermediate_size": self.inner,
            "max_position_embeddings": self.places,
            "type_vocab_size": 1,
            "layer_norm_eps": LEAST_ROBERTA,
        }

    def audio(self) -> dict[str, Any]:
        """Return the settings of transformers' `ClapAudioModel`."""
        depths = AMODELS[self.width][1]
        return {
            "patch_embeds_hidden_size": self.width,
            "hidden_size": self.width * 2 ** (len(depths) - 1),
            "depths": list(depths),
            "num_attention_heads": list(HEADS),
        }


class _Nothing:
    """Stands for what a checkpoint holds besides tensors."""

    def __init__(self, *_: object) -> None:
        """Take anything and keep none of it."""

    def __setstate__(self, _: object) -> None:
        """Take any state and keep none of it."""


_NUMPY = (
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy", "dtype"),
    *(("numpy.dtypes", f"{kind}DType") for kind in ("Float64", "Float32", "Int64")),
)
_Allowed = Callable[..., Any] | tuple[Callable[..., Any], str]
_NOTHINGS: list[_Allowed] = [
    type(name, (_Nothing,), {"__module__": module, "__qualname__": name}) for module, name in _NUMPY
]
"""Under the names by which numpy's numbers are pickled."""


def published(model: str, *places: Path) -> Path:
    """Return a checkpoint of LAION's, "music" or "general": in one of the places, cached or downloaded."""
    for place in places:
        if (place / FILES[model]).is_file():
            return place / FILES[model]
    for local in (True, False):
        found = clap_hub.folder(REPOSITORY, (FILES[model],), local=local)
        if found is not None and (found / FILES[model]).is_file():
            return found / FILES[model]
    raise AudioError(f"{REPOSITORY} has no {FILES[model]}; {clap_hub.WHERE}")


def read(path: Path) -> dict[str, torch.Tensor]:
    """Return the weights of a checkpoint by name; raises AudioError for what holds more than tensors."""
    try:
        with torch.serialization.safe_globals(_NOTHINGS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Mapped, the state of the optimiser, twice as large as the weights, is never read.
            held = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except FileNotFoundError:
        raise AudioError(f"{path}: there is no such checkpoint; {clap_hub.WHERE}") from None
    except pickle.UnpicklingError:
        raise AudioError(
            f"{path} is no checkpoint, or holds more than tensors and numbers, which is not loaded: "
            "a file can run programs that way"
        ) from None
    except Exception as error:  # a damaged archive fails in half a dozen ways
        raise AudioError(f"{path} is no checkpoint that can be read: {clap_hub.first_line(error)}") from None
    state = held.get("state_dict", held) if isinstance(held, Mapping) else {}
    weights = {
        str(name).removeprefix("module."): value
        for name, value in (state.items() if isinstance(state, Mapping) else ())
        if isinstance(value, torch.Tensor)
    }
    weights.pop(IGNORED, None)
    if not weights:
        raise AudioError(f"{path} holds no weights")
    return weights


def sizes_of(weights: Mapping[str, torch.Tensor], path: Path) -> Sizes:
    """Return what the weights are for; raises AudioError for what is no CLAP without fusion, of HTSAT."""
    if any(name.startswith(FUSION) for name in weights):
        raise AudioError(f"{path} is a fused model; take the folder of laion/clap-htsat-fused instead")
    try:
        first, words, places, inner = (weights[name] for name in (FIRST_LAYER, WORDS, PLACES, INNER))
        layers = 1 + max(
            int(name.removeprefix(TEXT_LAYER).partition(".")[0])
            for name in weights
            if name.startswith(TEXT_LAYER)
        )
        width, hidden = first.shape[0], words.shape[1]
    except (KeyError, ValueError, IndexError):
        width, hidden = 0, 0
    if width not in AMODELS or not hidden or hidden % HEAD_SIZE:
        known = ", ".join(name for name, _ in AMODELS.values())
        raise AudioError(f"{path} holds no CLAP of laion-clap; it takes {known} with roberta")
    return Sizes(width, words.shape[0], places.shape[0], hidden, layers, inner.shape[0])


_UNUSED = re.compile(
    r"audio_branch\.(head|tscam_conv|spectrogram_extractor|logmel_extractor)\.|(audio|text)_transform\.|.*\.attn_mask$"
)
_RENAMED = (
    (r"^text_branch\.", "text_model."),
    (r"^audio_branch\.", "audio_model.audio_encoder."),
    (r"\.bn0\.", ".batch_norm."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.", ".attention.self."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"_projection\.0\.", "_projection.linear1."),
    (r"_projection\.2\.", "_projection.linear2."),
)


def renamed(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights under the names of transformers' `ClapModel`."""
    found: dict[str, torch.Tensor] = {}
    for name, value in weights.items():
        if _UNUSED.match(name):
            continue
        new = name
        for pattern, by in _RENAMED:
            new = re.sub(pattern, by, new)
        if ".self.qkv." in new:
            for part, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                found[new.replace("qkv", part)] = third
        else:
            found[new] = value
    return found
