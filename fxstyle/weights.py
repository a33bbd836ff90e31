"""Weights files of networks: safetensors with one entry that tells what they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from fxstyle.errors import AudioError

ENTRY = "fxstyle"


def read_weights(path: Path, kind: str, form: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return what a file tells of itself, and its tensors; raises AudioError for one that is not of `form`.

    kind: what it should be the weights file of, in words, as in "an encoder".
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            told = json.loads((file.metadata() or {}).get(ENTRY, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    except FileNotFoundError:
        raise AudioError(f"{path}: there is no such weights file") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise AudioError(f"{path} is no weights file of {kind}: {error}") from None
    if not isinstance(told, dict) or told.get("format") != form:
        raise AudioError(f"{path} holds no {form}, which this program reads")
    return told, tensors
