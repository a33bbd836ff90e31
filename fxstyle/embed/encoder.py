"""The encoder: windows of sound to vectors that tell what was done to it, whatever is being played.

    frames -> four convolutions over time, the later ones residual and ever wider, and their outputs together
           -> mean, deviation and attended mean and deviation over time
    texture -> two layers                       both together -> a layer -> e
    style(x) = s / |s|, s: two layers of e      what is alike in other content, by contrast
    place(x) = e W_p                            as far apart as the sounds were, had they one content
    change(y, x) = c / |c|, c = V e(y) - U e(x) what was done from x to y; without x, from the usual dry sound

Windows are WINDOW_S long and overlap by half; the vectors of a recording are the mean of those of its windows
that are not silent. Weights are trained by `fxstyle train encoder` (fxstyle/train/encoder.py) and lie beside
this file with the sizes they were trained with; ENCODER.md says on what.

Pooling after K. Okabe, T. Koshinaka, K. Shinoda, "Attentive statistics pooling", Interspeech 2018; the
outputs of all layers after B. Desplanques, J. Thienpondt, K. Demuynck, "ECAPA-TDNN", Interspeech 2020.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save
from torch import nn

from fxstyle.embed.frontend import CHANNELS, TEXTURE, Heard, hear
from fxstyle.errors import AudioError
from fxstyle.weights import ENTRY, read_weights

WINDOW_S = 5.0
SHORTEST_S = 0.2
SILENT_DB = -75.0
WEIGHTS = "encoder.safetensors"
LEVEL_SCALE_DB = 30.0
FORMAT = "fxstyle encoder 1"
LARGEST = 4096
DROPPED = 0.2
"""Share of what goes into the first layers over a whole window that is left out at random in training."""


@dataclass(frozen=True)
class Sizes:
    """Of the network. width: of convolutions. joined, hidden: of layers. style, place: of the vectors."""

    width: int = 256
    blocks: int = 4
    joined: int = 512
    hidden: int = 512
    style: int = 192
    place: int = 64

    def __post_init__(self) -> None:
        """Raise ValueError for sizes that a file should not be believed."""
        for name, value in asdict(self).items():
            if not isinstance(value, int) or not 1 <= value <= LARGEST:
                raise ValueError(f"{name} is {value!r} and not a number from 1 to {LARGEST}")


class Embedded(NamedTuple):
    """What the network makes of windows: e, (window, hidden), and its heads, (window, ...)."""

    common: torch.Tensor
    style: torch.Tensor
    place: torch.Tensor


def _unit(x: torch.Tensor) -> torch.Tensor:
    return x / x.square().sum(dim=-1, keepdim=True).add(1e-12).sqrt()


class _Block(nn.Module):
    """A convolution over three frames some way apart, added to what comes in."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = x + torch.relu(self.norm(self.convolution(x)))
        return y


class Encoder(nn.Module):
    """The network: frames and texture of windows to vectors; their level is handed on beside."""

    def __init__(self, sizes: Sizes) -> None:
        """Make a network of these sizes with random weights."""
        super().__init__()
        self.sizes = sizes
        width, joined, hidden = sizes.width, sizes.joined, sizes.hidden
        self.first = nn.Conv1d(CHANNELS, width, 8, stride=4, padding=4)
        self.first_norm = nn.BatchNorm1d(width)
        self.blocks = nn.ModuleList([_Block(width, 2**k) for k in range(sizes.blocks)])
        self.join = nn.Conv1d(width * (sizes.blocks + 1), joined, 1)
        self.attend = nn.Sequential(nn.Conv1d(joined, 64, 1), nn.Tanh(), nn.Conv1d(64, joined, 1))
        self.pooled = nn.Sequential(
            nn.BatchNorm1d(4 * joined), nn.Dropout(DROPPED), nn.Linear(4 * joined, hidden)
        )
        self.texture = nn.Sequential(
            nn.BatchNorm1d(TEXTURE),
            nn.Dropout(DROPPED),
            nn.Linear(TEXTURE, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
        )
        self.common = nn.Sequential(
            nn.BatchNorm1d(2 * hidden), nn.ReLU(), nn.Linear(2 * hidden, hidden), nn.BatchNorm1d(hidden)
        )
        self.style = nn.Sequential(
            nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, sizes.style)
        )
        self.place = nn.Linear(hidden, sizes.place)
        self.treated = nn.Linear(hidden, sizes.style)
        self.untreated = nn.Linear(hidden, sizes.style)

    def forward(self, heard: Heard) -> Embedded:
        """Embed windows."""
        x = torch.relu(self.first_norm(self.first(heard.frames)))
        layers = [x]
        for block in self.blocks:
            layers.append(block(layers[-1]))
        y = torch.relu(self.join(torch.cat(layers, dim=1)))
        weights = torch.softmax(self.attend(y), dim=2)
        pooled = self.pooled(torch.cat([*_moments(y, None), *_moments(y, weights)], dim=1))
        common = self.common(torch.cat([pooled, self.texture(heard.texture)], dim=1))
        return Embedded(common, _unit(self.style(common).float()), self.place(common))

    def change(self, after: torch.Tensor, before: torch.Tensor | None = None) -> torch.Tensor:
        """Return what was done between two sounds, of their e (window, hidden); unit vectors."""
        changed = self.treated(after)
        return _unit(changed if before is None else changed - self.untreated(before))


def _moments(x: torch.Tensor, weights: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    if weights is None:
        mean = x.mean(dim=2)
        power = x.square().mean(dim=2)
    else:
        mean = (weights * x).sum(dim=2)
        power = (weights * x.square()).sum(dim=2)
    return mean, (power - mean.square()).clamp_min(1e-4).sqrt()


@dataclass(frozen=True, eq=False)
class Ear:
    """The encoder as an embedding (protocol `fxstyle.embed.Embedding`).

    Attributes
    ----------
    network: in evaluation mode. about: what its file says of its training.
    """

    network: Encoder
    about: Mapping[str, str]
    name: str = "encoder"

    def to(self, device: torch.device | str) -> Ear:
        """Return the encoder on a device."""
        return Ear(self.network.to(device), self.about, self.name)

    def windows(self, x: torch.Tensor, rate: float) -> tuple[Embedded, torch.Tensor]:
        """Embed windows (window, channel, time) of one length; returns levels (window, 2) in dB beside.

        Raises AudioError below SHORTEST_S: there is too little to tell a treatment by.
        """
        if x.shape[-1] < SHORTEST_S * rate:
            raise AudioError(
                f"{x.shape[-1] / rate:.3f} s is too short to be embedded; it takes {SHORTEST_S:g} s at least"
            )
        heard = hear(x.float(), rate)
        return self.network(heard), heard.level_db

    def embed(self, x: torch.Tensor, rate: float, crops: int = 1) -> dict[str, torch.Tensor]:
        """Embed recordings, pooling the windows of each crop and the crops of each candidate.

        Parameters
        ----------
        x: (candidate * crop, channel, time), any length. rate: in Hz. crops: of each candidate.

        Returns `style`, `place`, `common` and `level` (in LEVEL_SCALE_DB), each (candidate, feature).
        """
        cut = _windows(x, rate)
        count = cut.shape[1]
        made, level_db = self.windows(cut.flatten(0, 1), rate)
        loud = (level_db.detach().amax(dim=1) > SILENT_DB).to(x.dtype).reshape(-1, crops * count)
        share = (loud + 1e-6) / (loud + 1e-6).sum(dim=1, keepdim=True)

        def pooled(vectors: torch.Tensor) -> torch.Tensor:
            return (vectors.reshape(-1, crops * count, vectors.shape[1]) * share[..., None]).sum(dim=1)

        return {
            "style": _unit(pooled(made.style)),
            "place": pooled(made.place),
            "common": pooled(made.common),
            "level": pooled(level_db) / LEVEL_SCALE_DB,
        }

    def distance(
        self, output: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Return how far each output is from the target, (candidate,): 1 - cosine of the styles."""
        return {"style": 1.0 - (output["style"] * target["style"]).sum(dim=-1)}

    def true_distance(
        self, output: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """Return by how many dB bands would differ, on average, had the sounds one content; (candidate,)."""
        return (output["place"] - target["place"]).square().sum(dim=-1).add(1e-9).sqrt()

    def change(
        self, after: Mapping[str, torch.Tensor], before: Mapping[str, torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Return what was done to `before`, or to the usual dry sound, (candidate, feature)."""
        return self.network.change(after["common"], None if before is None else before["common"])


def _windows(x: torch.Tensor, rate: float) -> torch.Tensor:
    """Cut (recording, channel, time) into windows that overlap, (recording, window, channel, time)."""
    size, time = round(WINDOW_S * rate), x.shape[-1]
    if time <= size:
        return x[:, None]
    count = -(-2 * (time - size) // size) + 1
    starts = [round(k * (time - size) / (count - 1)) for k in range(count)]
    return torch.stack([x[..., s : s + size] for s in starts], dim=1)


def to_bytes(network: Encoder, about: Mapping[str, str]) -> bytes:
    """Return a weights file: half precision, with sizes and what is to be known of the training."""
    tensors = {
        name: (t.half() if t.is_floating_point() else t).contiguous().cpu()
        for name, t in network.state_dict().items()
    }
    told = {**about, "format": FORMAT, "sizes": asdict(network.sizes)}
    # a single entry: the order of several is not the same twice
    return save(tensors, {ENTRY: json.dumps(told, sort_keys=True)})


def load(path: str | Path | None = None) -> Ear:
    """Return the encoder of a weights file, or the shipped one; raises AudioError for what is none."""
    if path is None:
        return _shipped()
    return _load(Path(path))


@cache
def _shipped() -> Ear:
    with resources.as_file(resources.files("fxstyle.embed").joinpath(WEIGHTS)) as path:
        return _load(path)


def _load(path: Path) -> Ear:
    about, tensors = read_weights(path, "an encoder", FORMAT)
    try:
        network = Encoder(Sizes(**about.pop("sizes")))
        network.load_state_dict({n: t.float() if t.is_floating_point() else t for n, t in tensors.items()})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise AudioError(f"{path}: its weights do not fit its sizes: {first}") from None
    return Ear(network.eval().requires_grad_(False), about)


def untrained(seed: int = 0, sizes: Sizes = Sizes()) -> Ear:  # frozen
    """Return the encoder with random weights: what the architecture knows without training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Encoder(sizes)
    return Ear(network.eval().requires_grad_(False), {}, "encoder-random")
