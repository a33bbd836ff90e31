"""CLAP: one space for sounds and for texts, as an embedding; and a text as a direction in that space.

    d(y, r) = 1 - <e(y), e(r)>                          e: unit vectors of audio, t: of texts
    D(y) = e(y) - e(x),  T = t(wish) - t(neutral)
    d(y) = 1 - <D, T> / (sqrt(|D|^2 + LEAST_CHANGE^2) |T|)

`Clap` is the first: how far two sounds, or a sound and a text, lie apart. `Wish` is the second, the
directional loss of R. Gal et al., "StyleGAN-NADA: CLIP-guided domain adaptation of image generators", ACM
Transactions on Graphics 41(4), 2022: the sound is to move from the input x as the words move from a neutral
prompt to the wish. What is being played, and that sounds and texts lie in different corners of the space,
cancels in both differences. A. Chu et al., "Text2FX: harnessing CLAP embeddings for text-guided audio
effects", ICASSP 2025, fit effects with such losses. LEAST_CHANGE is ours: without it the loss of an unchanged
input is 0/0, and a change too small to hear counts as much as a plain one.

CLAP: Y. Wu, K. Chen et al., "Large-scale contrastive language-audio pretraining with feature fusion and
keyword-to-caption augmentation", ICASSP 2023. The weights are LAION's and not part of this package. Two
back ends run them: LAION's own laion-clap (clap_laion.py) and transformers (clap_transformers.py), which
reads the checkpoints of both; neither is imported before it is used. It hears one channel, in windows of 10
s that overlap by half; a recording's vector is the mean of those of its windows that are not silent, made a
unit vector again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import torch

from fxstyle.embed.clap_mel import Front, converted
from fxstyle.embed.encoder import SHORTEST_S, SILENT_DB
from fxstyle.errors import AudioError, SettingError
from fxstyle.units import power_to_db

NEUTRAL = "this is a sound"
"""What a wish departs from."""

WISH = "this sound is {}"
"""How a wish is put into a sentence, after Text2FX."""

LEAST_CHANGE = 0.05
"""Distance below which a change hardly counts, on a sphere on which opposite points lie 2 apart."""

AT_ONCE = 16
"""Windows in one pass: bounds the memory of long recordings."""

CHECKPOINTS = (".pt", ".pth", ".ckpt")
"""Endings of checkpoints of laion-clap."""

Kind = Literal["music", "general"]
KINDS: tuple[Kind, ...] = ("music", "general")


class Backend(Protocol):
    """A CLAP model, whoever wrote it."""

    @property
    def front(self) -> Front:
        """Return the numbers of what it hears."""
        ...

    def audio(self, x: torch.Tensor) -> torch.Tensor:
        """Return vectors (window, feature) of windows (window, front.samples) at front.rate."""
        ...

    def text(self, texts: Sequence[str]) -> torch.Tensor:
        """Return vectors (text, feature)."""
        ...

    def like(self, x: torch.Tensor) -> torch.Tensor:
        """Return x on the model's device, in its precision."""
        ...

    def to(self, device: torch.device | str) -> Backend:
        """Return the model on a device."""
        ...


def _unit(x: torch.Tensor) -> torch.Tensor:
    return x / x.square().sum(dim=-1, keepdim=True).add(1e-12).sqrt()


@dataclass(frozen=True, eq=False)
class Clap:
    """CLAP as an embedding (protocol `fxstyle.embed.Embedding`)."""

    backend: Backend
    name: str = "clap"

    def to(self, device: torch.device | str) -> Clap:
        """Return the model on a device."""
        return replace(self, backend=self.backend.to(device))

    def embed(self, x: torch.Tensor, rate: float, crops: int = 1) -> dict[str, torch.Tensor]:
        """Embed recordings, pooling the windows of each crop and the crops of each candidate.

        Parameters
        ----------
        x: (candidate * crop, channel, time), any length. rate: in Hz. crops: of each candidate.

        Returns unit vectors `clap`, (candidate, feature). Raises AudioError below SHORTEST_S.
        """
        if x.shape[-1] < SHORTEST_S * rate:
            raise AudioError(
                f"{x.shape[-1] / rate:.3f} s is too short to be embedded; it takes {SHORTEST_S:g} s at least"
            )
        front = self.backend.front
        cut = _windows(self.backend.like(x.mean(dim=1)), rate, front.longest_s)
        count = cut.shape[1]
        flat = cut.flatten(0, 1)
        level_db = power_to_db(flat.detach().square().mean(dim=1))
        loud = (level_db > SILENT_DB).to(flat.dtype).reshape(-1, crops * count)
        share = (loud + 1e-6) / (loud + 1e-6).sum(dim=1, keepdim=True)
        parts = [
            _unit(self.backend.audio(front.filled(converted(part, rate, front.rate))))
            for part in torch.split(flat, AT_ONCE)
        ]
        vectors = torch.cat(parts).reshape(-1, crops * count, parts[0].shape[1])
        return {"clap": _unit((vectors * share[..., None]).sum(dim=1))}

    def distance(
        self, output: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Return how far each output is from the target, (candidate,): 1 - cosine."""
        return {"clap": 1.0 - (output["clap"] * target["clap"]).sum(dim=-1)}

    def embed_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Return unit vectors (text, feature) of texts; raises SettingError for one without a word."""
        if isinstance(texts, str) or not texts:
            raise SettingError(f"{texts!r} is no list of texts; give one or more, as in ['warm']")
        for text in texts:
            if not text.strip():
                raise SettingError(f"the text {text!r} says nothing; write what it should sound like")
        with torch.no_grad():
            return _unit(self.backend.text(list(texts)))


@dataclass(frozen=True, eq=False)
class Wish:
    """A text as an embedding: vectors are departures from the input, to be aimed at `target`.

    Attributes
    ----------
    clap: what hears. start: (1, feature), e(x). direction: (1, feature), T as a unit vector.
    """

    clap: Clap
    start: torch.Tensor
    direction: torch.Tensor
    name: str = "clap.text"

    @classmethod
    def of(
        cls, clap: Clap, text: str, input_vectors: Mapping[str, torch.Tensor], neutral: str = NEUTRAL
    ) -> Wish:
        """Return the wish for what `text` describes, such as "warm, close, a little tape".

        Parameters
        ----------
        input_vectors: what `clap.embed` makes of the input, (1, feature), of the same crops as the outputs.
        neutral: the sentence that the wish departs from.

        Raises SettingError for a text that says nothing, or nothing else than `neutral`.
        """
        wish = text.strip() and WISH.format(text.strip())
        wished, plain = clap.embed_text([wish, neutral])
        departure = wished - plain
        if float(departure.norm()) < 1e-6:
            raise SettingError(f"{text!r} says no more than {neutral!r}; describe how it should sound")
        return cls(clap, input_vectors["clap"].detach(), _unit(departure)[None])

    @property
    def target(self) -> dict[str, torch.Tensor]:
        """Return what the vectors should become."""
        return {"direction": self.direction}

    def embed(self, x: torch.Tensor, rate: float, crops: int = 1) -> dict[str, torch.Tensor]:
        """Return departures from the input, (candidate, feature), of length 1 where they are plain."""
        change = self.clap.embed(x, rate, crops)["clap"] - self.start
        length = (change.square().sum(dim=-1, keepdim=True) + LEAST_CHANGE**2).sqrt()
        return {"direction": change / length}

    def distance(
        self, output: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Return how far each departure is from the wished one, (candidate,): 1 - cosine."""
        return {"direction": 1.0 - (output["direction"] * target["direction"]).sum(dim=-1)}


def _windows(x: torch.Tensor, rate: float, longest_s: float) -> torch.Tensor:
    """Cut (recording, time) into windows that overlap by half, (recording, window, time)."""
    size, time = round(longest_s * rate), x.shape[-1]
    if time <= size:
        return x[:, None]
    count = -(-2 * (time - size) // size) + 1
    starts = [round(k * (time - size) / (count - 1)) for k in range(count)]
    return torch.stack([x[..., s : s + size] for s in starts], dim=1)


def load_clap(path: str | Path | None = None, model: Kind = "music") -> Clap:
    """Return CLAP, its back end chosen by what is installed and by what the path is.

    Parameters
    ----------
    path: a folder as published for transformers (config.json, model.safetensors, tokenizer.json,
        preprocessor_config.json), a checkpoint of laion-clap (.pt), or the name of a repository of the
        Hugging Face hub, such as "laion/clap-htsat-unfused". Without one, the weights that `model` names are
        taken from the hub's cache, or downloaded where they are not there.
    model: "music" or "general" weights, where no path says.

    A file or folder is loaded without any use of the network. Raises SettingError where no back end is
    installed or a word is wrong, AudioError for weights that are not there or cannot be read.
    """
    from fxstyle.embed import clap_checkpoint, clap_hub, clap_laion, clap_transformers

    if model not in KINDS:
        raise SettingError(f"no CLAP is called {model!r}; there are {' and '.join(KINDS)}")
    clap_transformers.require()
    of_checkpoint = clap_laion.load if clap_laion.installed() else clap_transformers.load_checkpoint
    if path is None:
        if clap_laion.installed():
            return Clap(of_checkpoint(clap_checkpoint.published(model, clap_laion.folder())))
        return Clap(clap_transformers.load(clap_transformers.published(model)))
    given = Path(path)
    if given.suffix.lower() in CHECKPOINTS:
        return Clap(of_checkpoint(given))
    if given.is_dir():
        return Clap(clap_transformers.load(given))
    if given.is_file() and (given.parent / clap_transformers.CONFIG).is_file():
        return Clap(clap_transformers.load(given.parent))
    if not given.exists() and clap_hub.is_repository(str(path)):
        try:
            return Clap(clap_transformers.load(clap_transformers.fetched(str(path))))
        except AudioError as error:
            raise AudioError(f"{path} is no file or folder here, and as a repository: {error}") from None
    if not given.exists():
        raise AudioError(f"{path}: there is no such file or folder of CLAP weights; {clap_hub.WHERE}")
    raise AudioError(f"{path} is no CLAP: it takes a folder with {clap_transformers.CONFIG}, or a .pt file")
