"""CLAP's tokenizer, that of roberta-base: bytes and their merges, found without the network where it can be.

transformers makes an empty tokenizer where files are missing, to which all texts are the same: a tokenizer is
taken only if it tells words apart and knows no more of them than the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fxstyle.embed import clap_hub
from fxstyle.errors import AudioError

REPOSITORY = "roberta-base"
FILES = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json")
REMEDY = "put tokenizer.json of roberta-base, or of any repository of CLAP, beside the weights"
MOST_TOKENS = 77
"""Texts are cut here, as in the training of the models."""

_PROBES = ("warm", "bright")


def tokens(tokenizer: Any, texts: Sequence[str], device: torch.device) -> dict[str, torch.Tensor]:
    """Return `input_ids` and `attention_mask`, (text, token), of texts that are cut after MOST_TOKENS."""
    found = tokenizer(list(texts), padding=True, truncation=True, max_length=MOST_TOKENS, return_tensors="pt")
    return {name: found[name].to(device) for name in ("input_ids", "attention_mask")}


def of_folder(folder: Path, words: int) -> Any:
    """Return the tokenizer of a folder, for a network of so many words; raises AudioError for none."""
    if not _there(folder):
        raise AudioError(f"{folder} has no tokenizer; {REMEDY}")
    with clap_hub.offline():
        try:
            kind = clap_hub.library("transformers").RobertaTokenizer
            tokenizer = kind.from_pretrained(str(folder), local_files_only=True)
            one, other = (tokenizer(text)["input_ids"] for text in _PROBES)
        except Exception as error:  # files by others fail in as many ways as there are libraries below
            told = clap_hub.first_line(error)
            raise AudioError(f"{folder} has no tokenizer that can be loaded ({told}); {REMEDY}") from None
    if one == other or len(tokenizer) > words:
        raise AudioError(
            f"the tokenizer of {folder} has {len(tokenizer)} words and the network {words}; {REMEDY}"
        )
    return tokenizer


def near(folder: Path, words: int) -> Any:
    """Return the tokenizer beside a checkpoint, of the hub's cache, or downloaded.

    Beside means in the checkpoint's folder, or in one called roberta-base in it. Raises AudioError where it
    is in none of these places.
    """
    for place in (folder, folder / REPOSITORY, clap_hub.folder(REPOSITORY, FILES, local=True)):
        if place is not None and _there(place):
            return of_folder(place, words)
    try:
        place = clap_hub.folder(REPOSITORY, FILES, local=False)
    except AudioError as error:
        raise AudioError(
            f"CLAP's texts need the tokenizer of {REPOSITORY}: put its tokenizer.json (2 MB) beside the "
            f"checkpoint, into {folder}; {error}"
        ) from None
    return of_folder(place or folder, words)


def _there(folder: Path) -> bool:
    return (folder / FILES[0]).is_file() or all((folder / name).is_file() for name in FILES[1:3])
