"""Which effects lie between an input and a reference: the chain of a match where nobody names one.

    p(effect is there | what is heard of the reference, and how it differs from the input)

effect by effect, by a small network on the numbers of _hearing.py. An effect is taken if p is above its
own threshold, chosen on pairs kept from the training (`bench/topology.py`); the order is that of a mixing
channel, ORDER. The equaliser and the level are always taken: other content alone asks for them, and what
brings nothing is taken out again afterwards. What the network calls by one name may be several effects
(FAMILIES).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from fxstyle.audio import Audio
from fxstyle.embed import encoder
from fxstyle.embed.encoder import Ear
from fxstyle.errors import AudioError
from fxstyle.fit._hearing import fingerprint, listened
from fxstyle.fit.mixture import DROPPED, FARTHEST, LARGEST, Weighed
from fxstyle.weights import ENTRY, read_weights

ORDER = (
    "gate", "deesser", "eq", "compressor", "transient", "saturation", "bitcrush", "phaser", "chorus",
    "tremolo", "delay", "reverb", "width", "gain",
)  # fmt: skip
"""Of a mixing channel; effects that no file names are never taken."""

ALWAYS = ("eq", "gain")

FAMILIES: Mapping[str, str] = {
    "dynamic_eq": "eq", "multiband": "compressor", "limiter": "compressor", "tape": "saturation",
    "fdn": "reverb",
}  # fmt: skip
"""Effects that count as others when effects are told from a sound."""

AUTO = "auto"
"""What a chain is called that is left to the program."""

WEIGHTS = "topology.safetensors"
FORMAT = "fxstyle topology 1"
RETRAIN = "train it anew with bench/topology.py"


class Network(nn.Module):
    """From what is heard of input and reference to logits of effects being there."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, groups: Mapping[str, int], effects: tuple[str, ...], hidden: int = 128) -> None:
        """Make a network with random weights; raises ValueError for sizes that a file is not believed."""
        super().__init__()
        heard = sum(groups.values())
        sizes = {**groups, "hidden": hidden, "effects": len(effects), "heard": heard}
        for name, value in sizes.items():
            if not isinstance(value, int) or not 1 <= value <= LARGEST:
                raise ValueError(f"{name} is {value!r} and not a number from 1 to {LARGEST}")
        self.groups, self.effects, self.hidden = dict(groups), effects, hidden
        self.register_buffer("mean", torch.zeros(2 * heard))
        self.register_buffer("deviation", torch.ones(2 * heard))
        self.layers = nn.Sequential(
            Weighed(groups),
            nn.Linear(2 * heard, hidden),
            nn.LayerNorm(hidden),
            nn.ReLU(),
            nn.Dropout(DROPPED),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(DROPPED),
            nn.Linear(hidden, len(effects)),
        )

    def heard(self, source: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        """Return x (row, 2 * number) of what is heard of input and reference, (row, number) each."""
        x = (torch.cat([reference, reference - source], dim=1) - self.mean) / self.deviation
        return x.clamp(-FARTHEST, FARTHEST)

    def forward(self, source: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        """Return logits (row, effect) of what is heard of both, (row, number) each."""
        found: torch.Tensor = self.layers(self.heard(source, reference))
        return found


@dataclass(frozen=True, eq=False)
class Topology:
    """A trained network with the ear it was trained with.

    Attributes
    ----------
    network: in evaluation mode. ear: what it hears with.
    thresholds: by effect, the probability above which it is taken.
    """

    network: Network
    ear: Ear
    thresholds: Mapping[str, float]

    def probabilities(self, source: Audio, reference: Audio) -> dict[str, float]:
        """Return by effect how likely it is there; raises AudioError for silence, or too little sound."""
        pair = []
        for audio, role in ((source, "input"), (reference, "reference")):
            groups = listened(audio, role, self.ear)
            pair.append(torch.cat([groups[name] for name in self.network.groups])[None])
        with torch.no_grad():
            found = torch.sigmoid(self.network(*pair))[0]
        return dict(zip(self.network.effects, found.tolist(), strict=True))

    def heard(self, source: Audio, reference: Audio) -> tuple[str, ...]:
        """Return the effects that are taken to be there, in ORDER; raises AudioError."""
        found = self.probabilities(source, reference)
        return tuple(
            name for name in ORDER if name in self.thresholds and found[name] >= self.thresholds[name]
        )


def chain_text(heard: Collection[str], also: Collection[str] = ()) -> str:
    """Return a chain of what was heard, what is always taken, and what is wanted besides, in ORDER."""
    wanted = {*ALWAYS, *heard, *also}
    inside = [name for name in ORDER[:-1] if name in wanted]
    return ",".join([*inside, *sorted(wanted - set(ORDER)), ORDER[-1]])


def to_bytes(network: Network, ear: Ear, thresholds: Mapping[str, float]) -> bytes:
    """Return a weights file: half precision, with what the network needs to be used."""
    tensors = {
        name: (t.half() if name not in ("mean", "deviation") else t).contiguous().cpu()
        for name, t in network.state_dict().items()
    }
    told = {
        "format": FORMAT,
        "groups": network.groups,
        "effects": network.effects,
        "hidden": network.hidden,
        "thresholds": dict(thresholds),
        "encoder": fingerprint(ear),
    }
    return save(tensors, {ENTRY: json.dumps(told)})


@cache
def shipped() -> Topology:
    """Return the topology of the package; raises AudioError where it is of another encoder."""
    with resources.as_file(resources.files("fxstyle.fit").joinpath(WEIGHTS)) as path:
        return load(path, encoder.load())


def load(path: Path, ear: Ear) -> Topology:
    """Return the topology of a weights file; raises AudioError for a file that is none, or of another ear."""
    told, tensors = read_weights(path, "a topology", FORMAT)
    try:
        network = Network(told["groups"], tuple(map(str, told["effects"])), told["hidden"])
        network.load_state_dict({name: t.float() for name, t in tensors.items()})
        thresholds = {str(name): float(value) for name, value in told["thresholds"].items()}
        other = sorted(thresholds.keys() - set(network.effects)) + sorted(set(network.effects) - set(ORDER))
        encoder_was = str(told["encoder"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise AudioError(f"{path}: its weights do not fit its sizes: {str(error).splitlines()[0]}") from None
    if other:
        raise AudioError(f"{path} knows effects that do not exist: {', '.join(other)}; {RETRAIN}")
    if not all(t.isfinite().all() for t in network.state_dict().values()):
        raise AudioError(f"{path}: some of its weights are not finite")
    if encoder_was != fingerprint(ear):
        raise AudioError(f"{path} was trained with other weights of the encoder; {RETRAIN}")
    return Topology(network.eval().requires_grad_(False), ear, thresholds)
