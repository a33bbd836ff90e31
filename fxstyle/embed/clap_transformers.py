"""CLAP by transformers' `ClapModel`, from the folder in which the weights are published.

The folder holds config.json (sizes of the network), model.safetensors (weights), tokenizer.json and
tokenizer_config.json (of the text side) and preprocessor_config.json (the front end, which is clap_mel.py
here). Nothing in it is executed: weights are read from safetensors, or from pytorch_model.bin by torch's
reader of tensors alone, and code that a folder brings along is refused. Weights that are missing are an
error, where transformers would go on with random ones.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from fxstyle.embed import clap_checkpoint, clap_hub, clap_text
from fxstyle.embed.clap_mel import Front
from fxstyle.errors import AudioError, SettingError

CONFIG, EXTRACTOR = "config.json", "preprocessor_config.json"
PROCESSOR = "processor_config.json"
"""In which newer versions of transformers keep the extractor's numbers."""

REPOSITORIES = {"music": "laion/larger_clap_music", "general": "laion/larger_clap_general"}
SMALL_FILES = ("*.json", "merges.txt")
SAFE, PICKLED = "*.safetensors", "pytorch_model*.bin"
OLDEST = 5
"""First version of transformers whose models hand out what is used here."""

FUSED_CROPS = 4
"""Spectrograms that a fused model takes: of the whole and of three crops, which here are the same window."""

COUNTED = ("position_ids", "token_type_ids", "relative_position_index", "num_batches_tracked")
"""Endings of counts that the network makes by itself; versions of transformers differ in keeping them."""


@dataclass(frozen=True, eq=False)
class TransformersClap:
    """A `ClapModel` with its tokenizer; a back end of `fxstyle.embed.clap.Clap`."""

    network: Any
    tokenizer: Any
    front: Front

    def audio(self, x: torch.Tensor) -> torch.Tensor:
        """Return vectors (window, feature) of windows (window, front.samples)."""
        mel = self.front.mel(x)[:, None]
        longer = None
        if self.network.config.audio_config.enable_fusion:
            mel = mel.expand(-1, FUSED_CROPS, -1, -1)
            longer = torch.zeros(x.shape[0], 1, dtype=torch.bool, device=x.device)
        found: torch.Tensor = self.network.get_audio_features(mel, is_longer=longer).pooler_output
        return found

    def text(self, texts: Sequence[str]) -> torch.Tensor:
        """Return vectors (text, feature); a long text is cut."""
        device = next(self.network.parameters()).device
        tokens = clap_text.tokens(self.tokenizer, texts, device)
        found: torch.Tensor = self.network.get_text_features(**tokens).pooler_output
        return found

    def like(self, x: torch.Tensor) -> torch.Tensor:
        """Return x on the model's device, in its precision."""
        return x.to(next(self.network.parameters()))

    def to(self, device: torch.device | str) -> TransformersClap:
        """Return the model on a device."""
        return TransformersClap(self.network.to(device), self.tokenizer, self.front)


def installed() -> bool:
    """Return whether transformers is there."""
    return find_spec("transformers") is not None


def published(model: str) -> Path:
    """Return the folder of LAION's weights, "music" or "general", downloaded where the cache has none."""
    return fetched(REPOSITORIES[model])


def fetched(repository: str) -> Path:
    """Return the folder of a repository of the hub, downloaded where the cache has none."""
    require()
    for weights in (SAFE, PICKLED):
        found = clap_hub.folder(repository, (*SMALL_FILES, weights), local=True)
        if found is not None and _complete(found, weights):
            return found
    for weights in (SAFE, PICKLED):
        found = clap_hub.folder(repository, (*SMALL_FILES, weights), local=False)
        if found is not None and _complete(found, weights):
            return found
    raise AudioError(f"{repository} holds no CLAP that transformers reads; {clap_hub.WHERE}")


def _complete(folder: Path, weights: str) -> bool:
    return (folder / CONFIG).is_file() and any(folder.glob(weights))


def require() -> None:
    """Raise SettingError where transformers is not installed, or too old."""
    if not installed():
        raise SettingError(f"CLAP needs transformers, which is not installed: {clap_hub.INSTALL}")
    there = version("transformers")
    if int(there.partition(".")[0]) < OLDEST:
        raise SettingError(f"CLAP needs transformers {OLDEST} and {there} is installed: {clap_hub.INSTALL}")


def load(folder: Path) -> TransformersClap:
    """Return the model of a folder, in evaluation mode; raises AudioError for a folder that holds none."""
    require()
    told = _read(folder / CONFIG)
    if told.get("model_type") != "clap":
        raise AudioError(f"{folder} holds a model of type {told.get('model_type')!r} and no CLAP")
    front = _front(folder)
    with clap_hub.offline(), _quietly():
        # Files by others fail in as many ways as there are libraries below.
        try:
            library = clap_hub.library("transformers")
            network, info = library.ClapModel.from_pretrained(
                str(folder), local_files_only=True, output_loading_info=True, weights_only=True
            )
        except Exception as error:
            raise AudioError(
                f"{folder} holds no CLAP that can be loaded: {clap_hub.first_line(error)}"
            ) from None
    missing = sorted(name for name in info["missing_keys"] if not name.endswith(COUNTED))
    if missing:
        raise AudioError(f"{folder}: {len(missing)} weights are missing, the first is {missing[0]}")
    tokenizer = clap_text.of_folder(folder, network.config.text_config.vocab_size)
    return TransformersClap(network.float().eval().requires_grad_(False), tokenizer, front)


def _front(folder: Path) -> Front:
    both = folder / PROCESSOR
    if both.is_file() and not (folder / EXTRACTOR).is_file():
        told = _read(both).get("feature_extractor")
    else:
        both, told = folder / EXTRACTOR, _read(folder / EXTRACTOR)
    if not isinstance(told, dict):
        raise AudioError(f"{both} says nothing of a feature extractor")
    try:
        return Front.of_file(told)
    except AudioError as error:
        raise AudioError(f"{both}: {error}") from None


def load_checkpoint(path: Path) -> TransformersClap:
    """Return the model of a checkpoint of laion-clap, its weights under transformers' names.

    Raises AudioError for a file that holds none.
    """
    require()
    weights = clap_checkpoint.read(path)
    sizes = clap_checkpoint.sizes_of(weights, path)
    with clap_hub.offline(), _quietly():
        library = clap_hub.library("transformers")
        config = library.ClapConfig(text_config=sizes.text(), audio_config=sizes.audio())
        network = library.ClapModel(config)
    try:
        missing, unknown = network.load_state_dict(clap_checkpoint.renamed(weights), strict=False)
    except RuntimeError as error:
        told = str(error).splitlines()[-1].strip()
        raise AudioError(f"{path}: its weights do not fit {sizes.amodel}: {told}") from None
    wrong = sorted([*unknown, *(name for name in missing if not name.endswith(COUNTED))])
    if wrong:
        raise AudioError(
            f"{path}: its weights do not fit {sizes.amodel}: {len(wrong)}, the first is {wrong[0]}"
        )
    return TransformersClap(
        network.float().eval().requires_grad_(False), clap_text.near(path.parent, sizes.words), Front()
    )


def _read(path: Path) -> Mapping[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AudioError(f"{path} is missing: it belongs to the weights; {clap_hub.WHERE}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise AudioError(f"{path} cannot be read: {clap_hub.first_line(error)}") from None
    if not isinstance(told, dict):
        raise AudioError(f"{path} holds no settings")
    return told


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep transformers from bars and remarks on weights, which are checked here."""
    logging = clap_hub.library("transformers.utils.logging")
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
