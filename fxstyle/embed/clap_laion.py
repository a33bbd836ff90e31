"""CLAP by LAION's own package, laion-clap, from its checkpoints (.pt).

`import laion_clap` loads the readers of its training data: torchvision, which it does not declare, and three
tokenizers, for which it goes to the network; then its constructor goes there for the weights of roberta-base,
which every checkpoint holds itself. None of that is needed to run a model, so only its model classes are
imported here, `clap_module`, by the name that the package itself gives them:

- the text side is made with random weights of roberta-base's sizes, and the checkpoint fills it;
- where torchvision is missing, or does not fit torch, an empty one stands in while they are imported;
- transformers' classes are imported before, since a torchvision that is no real one would break them.

The sizes of the network are those of its weights: HTSAT-tiny, -base and -large.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from fxstyle.embed import clap_checkpoint, clap_hub, clap_text
from fxstyle.embed.clap_checkpoint import Sizes
from fxstyle.embed.clap_mel import Front
from fxstyle.errors import AudioError, SettingError

_OF_TORCHVISION = (
    "torchvision",
    "torchvision.ops",
    "torchvision.ops.misc",
    "torchvision.transforms",
    "torchvision.transforms.functional",
)


@dataclass(frozen=True, eq=False)
class LaionClap:
    """A model of laion-clap with its tokenizer; a back end of `fxstyle.embed.clap.Clap`."""

    network: Any
    tokenizer: Any
    front: Front

    def audio(self, x: torch.Tensor) -> torch.Tensor:
        """Return vectors (window, feature) of windows (window, front.samples)."""
        longer = torch.zeros(x.shape[0], dtype=torch.bool, device=x.device)
        heard = self.network.encode_audio({"waveform": x, "longer": longer}, device=x.device)["embedding"]
        found: torch.Tensor = self.network.audio_projection(heard)
        return found

    def text(self, texts: Sequence[str]) -> torch.Tensor:
        """Return vectors (text, feature); a long text is cut."""
        device = next(self.network.parameters()).device
        tokens = clap_text.tokens(self.tokenizer, texts, device)
        found: torch.Tensor = self.network.encode_text(tokens, device=device)
        return found

    def like(self, x: torch.Tensor) -> torch.Tensor:
        """Return x on the model's device, in its precision."""
        return x.to(next(self.network.parameters()))

    def to(self, device: torch.device | str) -> LaionClap:
        """Return the model on a device."""
        return LaionClap(self.network.to(device), self.tokenizer, self.front)


def installed() -> bool:
    """Return whether laion-clap is there; it is not imported."""
    return find_spec("laion_clap") is not None


def folder() -> Path:
    """Return where laion-clap lies, which is also where it puts its own downloads; raises SettingError."""
    spec = find_spec("laion_clap")
    places = list(spec.submodule_search_locations or []) if spec else []
    if not places:
        raise SettingError("laion-clap is not installed, or without its files: pip install laion-clap")
    return Path(places[0])


def load(path: Path) -> LaionClap:
    """Return the model of a checkpoint, in evaluation mode.

    Raises SettingError where laion-clap is not installed, AudioError for a file that holds none.
    """
    weights = clap_checkpoint.read(path)
    sizes = clap_checkpoint.sizes_of(weights, path)
    network = _network(sizes)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        told = str(error).splitlines()[-1].strip()
        raise AudioError(f"{path}: its weights do not fit {sizes.amodel}: {told}") from None
    return LaionClap(
        network.float().eval().requires_grad_(False), clap_text.near(path.parent, sizes.words), Front()
    )


def _network(sizes: Sizes) -> Any:
    """Return laion-clap's network of these sizes, with random weights."""
    with clap_hub.offline(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it was written for older versions: nothing that a user could mend
        module, factory, library = _modules(folder())

        class Made:
            """What laion-clap takes for the class `RobertaModel`."""

            @staticmethod
            def from_pretrained(_: str) -> Any:
                return library.RobertaModel(library.RobertaConfig(**sizes.text()))

        real = module.RobertaModel
        module.RobertaModel = Made
        try:
            return factory.create_model(sizes.amodel, "roberta")[0]
        finally:
            module.RobertaModel = real


def _modules(place: Path) -> tuple[Any, Any, Any]:
    """Return laion-clap's modules of the model and of its making, and transformers."""
    library = clap_hub.library("transformers")
    for name in ("BartModel", "BertModel", "RobertaModel"):
        getattr(library, name)  # they are imported when they are first asked for
    try:
        with _torchvision(), _on_path(str(place)):
            module, factory = (clap_hub.library(f"clap_module.{name}") for name in ("model", "factory"))
    except ImportError as error:
        raise SettingError(f"laion-clap cannot be imported ({error}): pip install laion-clap") from None
    return module, factory, library


@contextmanager
def _on_path(place: str) -> Iterator[None]:
    added = place not in sys.path
    if added:
        sys.path.append(place)
    try:
        yield
    finally:
        if added:
            sys.path.remove(place)


@contextmanager
def _torchvision() -> Iterator[None]:
    """Let a stand-in be imported where there is no torchvision, or none that fits torch."""
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError, OSError):
        sys.modules.update({name: _StandIn(name) for name in _OF_TORCHVISION})
        try:
            yield
        finally:
            for name in _OF_TORCHVISION:
                sys.modules.pop(name, None)
    else:
        yield


class _StandIn(ModuleType):
    """A module that has every name, for classes that are imported and not used."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)
        self.__path__ = []

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})
