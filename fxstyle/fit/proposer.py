"""The proposer: from an input and a reference to settings worth a try, of fxstyle's own effects.

It says at once, from what it has learnt, what a search finds out by trying: which effects were probably
used, in what order, and how they were set, as a distribution (mixture.py) from which starts are drawn.
Weights are trained by `fxstyle train proposer` (fxstyle/train/proposer.py) and lie beside this file;
PROPOSER.md says on what. A part of what is heard comes from the encoder, and a file of weights remembers
which: with another encoder it is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save

from fxstyle import effects
from fxstyle.audio import Audio
from fxstyle.chain import Chain, Slot
from fxstyle.effect import Effect
from fxstyle.embed import encoder
from fxstyle.embed.encoder import Ear
from fxstyle.errors import AudioError, SettingError
from fxstyle.fit._hearing import ENCODER, fingerprint, listened
from fxstyle.fit._levelling import levelled
from fxstyle.fit.mixture import Layout, Network, Settings, likeliest, sampled
from fxstyle.fit.space import Space, Vector
from fxstyle.weights import ENTRY, read_weights

WEIGHTS = "proposer.safetensors"
FORMAT = "fxstyle proposer 1"
MOST = 4096
"""Proposals at once."""

RETRAIN = "train it anew with `fxstyle train proposer`"


@dataclass(frozen=True, eq=False)
class Proposer:
    """A trained network with the ear it was trained with.

    Attributes
    ----------
    network: in evaluation mode. ear: what it hears with. neutral: by effect, settings that do the least.
    about: what its file says of its training.
    """

    network: Network
    ear: Ear
    neutral: Mapping[str, Mapping[str, float]]
    about: Mapping[str, str]

    @property
    def leveller(self) -> Effect | None:
        """Return the effect it knows whose only knob is that of the level, if there is one."""
        for name, knobs in self.network.layout.knobs.items():
            if knobs == (effects.get(name).level_knob,):
                return effects.get(name)
        return None

    def heard(self, source: Audio, reference: Audio) -> torch.Tensor:
        """Return what is heard of a pair, (1, number); raises AudioError for silence, or too little."""
        pair = []
        for audio, role in ((source, "input"), (reference, "reference")):
            groups = listened(audio, role, self.ear)
            pair.append(torch.cat([groups[name] for name in self.network.layout.groups])[None])
        return self.network.heard(*pair)

    def chains(self, settings: Settings, chain: Chain | None) -> list[Chain]:
        """Return settings as chains: their own, or a given one with its settings changed."""
        rows = zip(settings.place.tolist(), settings.u, strict=True)
        if chain is None:
            return [Chain(tuple(self._slots(place, u))) for place, u in rows]
        return [self._changed(chain, place, u) for place, u in rows]

    def _slots(self, place: list[int], u: Vector) -> list[Slot]:
        layout = self.network.layout
        there = sorted((p, name) for p, name in zip(place, layout.knobs, strict=True) if p)
        return [
            Slot(effects.get(name), _physical(name, layout.knobs[name], u[layout.slices[name]]))
            for _, name in there
        ]

    def _changed(self, chain: Chain, place: list[int], u: Vector) -> Chain:
        """Return the chain with the knobs of effects that are proposed, and others out of the way."""
        layout = self.network.layout
        at = dict(zip(layout.knobs, place, strict=True))
        changed: dict[str, float] = {}
        for slot in chain:
            name = slot.effect.name
            if name not in at:
                continue
            if at[name]:
                values = _physical(name, layout.knobs[name], u[layout.slices[name]])
            else:
                defaults = slot.effect.defaults()
                values = {knob: defaults[knob] for knob in layout.knobs[name]} | dict(self.neutral[name])
            changed |= {f"{slot.name}.{knob}": value for knob, value in values.items()}
        return chain.with_settings(changed)


def _physical(name: str, knobs: tuple[str, ...], u: Vector) -> dict[str, float]:
    found = {}
    for knob, position in zip(knobs, u, strict=True):
        param = effects.get(name).param(knob)
        value = float(param.from_unit(torch.tensor(float(position), dtype=torch.float64)))
        # a log scale rounds at its ends
        found[knob] = min(max(value, param.low), param.high)
    return found


def propose(
    source: Audio,
    reference: Audio,
    chain: Chain | None = None,
    count: int = 32,
    seed: int = 0,
    *,
    temperature: float = 1.0,
    proposer: Proposer | None = None,
) -> list[Chain]:
    """Propose settings with which `source` may sound like `reference`.

    Parameters
    ----------
    source, reference: recordings at any rate. A mono input is proposed nothing that only stereo has.
    chain: of which only the knobs are proposed; an effect of it that is thought not to be there is put where
        it does the least, and one that the proposer does not know stays as it is. None: any effects.
    count, seed: how many, and which; the same seed gives the same.
    temperature: below 1 the likely is drawn more often still, above 1 less.
    proposer: instead of the shipped one.

    Every second proposal is brought to the reference's loudness where its chain has a knob for that, or may
    be given one (_levelling.py): the others have the level that was learnt.

    Raises
    ------
    AudioError: one of the recordings is silent or too short, or the shipped weights are of another encoder.
    SettingError: count, seed or temperature are out of range.
    """
    if not 1 <= count <= MOST:
        raise SettingError(f"count = {count} is outside 1..{MOST}: how many settings to propose")
    if seed < 0:
        raise SettingError(f"seed = {seed} is negative; choose a whole number from 0")
    if not 0.0 < temperature < float("inf"):
        raise SettingError(f"temperature = {temperature:g} must be above 0; 1 is what was learnt")
    which = proposer or load()
    allowed = _allowed(which, source, chain)
    drawn = sampled(which.network, which.heard(source, reference), allowed, count, seed, temperature)
    found = which.chains(_for(source, which, drawn), chain)
    found[1::2] = levelled(found[1::2], source, reference, which.leveller if chain is None else None)
    return found


def most_likely(
    source: Audio, reference: Audio, chain: Chain | None = None, *, proposer: Proposer | None = None
) -> Chain:
    """Return the likeliest settings (mixture.py), at the reference's loudness; raises AudioError."""
    which = proposer or load()
    found = likeliest(which.network, which.heard(source, reference), _allowed(which, source, chain))
    chains = which.chains(_for(source, which, found), chain)
    return levelled(chains, source, reference, which.leveller if chain is None else None)[0]


def starts(
    space: Space,
    source: Audio,
    reference: Audio,
    count: int,
    seed: int,
    *,
    temperature: float = 1.0,
    proposer: Proposer | None = None,
) -> Vector:
    """Return proposals as positions (count, N) in the space of a fit, within its locks; raises as `propose`.

    Knobs of the space that the proposer does not know are at what was thought of them before.
    """
    which = proposer or load()
    found = propose(source, reference, space.base, count, seed, temperature=temperature, proposer=which)
    known = {slot.name for slot in space.base if slot.effect.name in which.network.layout.knobs}
    proposed = np.array([knob.address.partition(".")[0] in known for knob in space.knobs], dtype=bool)
    return np.stack([np.where(proposed, space.unit(c.settings()), space.home) for c in found])


def _allowed(proposer: Proposer, source: Audio, chain: Chain | None) -> npt.NDArray[np.bool_]:
    there = None if chain is None else {slot.effect.name for slot in chain if slot.active}
    mono = source.channels == 1
    return np.array(
        [
            (there is None or name in there)
            and not (mono and all(effects.get(name).param(knob).stereo for knob in knobs))
            for name, knobs in proposer.network.layout.knobs.items()
        ]
    )


def _for(source: Audio, proposer: Proposer, found: Settings) -> Settings:
    """Return settings with knobs at their defaults that do nothing to a mono sound."""
    if source.channels != 1:
        return found
    stereo = [
        effects.get(name).param(knob).stereo
        for name, knobs in proposer.network.layout.knobs.items()
        for knob in knobs
    ]
    return Settings(found.place, np.where(stereo, proposer.network.home.double().numpy(), found.u))


def homes(knobs: Mapping[str, tuple[str, ...]]) -> torch.Tensor:
    """Return the defaults of knobs by effect, (knob,), in [0, 1]."""
    own = [effects.get(name).param(knob) for name, names in knobs.items() for knob in names]
    return torch.tensor([param.to_unit(param.default) for param in own])


def to_bytes(
    network: Network, ear: Ear, neutral: Mapping[str, Mapping[str, float]], about: Mapping[str, str]
) -> bytes:
    """Return a weights file: half precision, with what the network needs to be used."""
    tensors = {
        name: (t.half() if t.is_floating_point() and name not in _WHOLE else t).contiguous().cpu()
        for name, t in network.state_dict().items()
    }
    told = {
        "format": FORMAT,
        "layout": network.layout.told(),
        "neutral": {name: dict(own) for name, own in neutral.items()},
        "encoder": fingerprint(ear),
        "about": dict(about),
    }
    # a single entry: the order of several is not the same twice
    return save(tensors, {ENTRY: json.dumps(told)})


_WHOLE = ("home", "mean", "deviation")
"""Tensors kept in full: a default must be met exactly, and levels of silence exceed half precision."""


def load(path: str | Path | None = None, ear: Ear | None = None) -> Proposer:
    """Return the proposer of a weights file, or the shipped one.

    ear: what it hears with, where not the shipped encoder.
    Raises AudioError for a file that is none, is of other effects, or was trained with another encoder.
    """
    if path is None and ear is None:
        return _shipped()
    if path is None:
        with resources.as_file(resources.files("fxstyle.fit").joinpath(WEIGHTS)) as shipped:
            return _load(shipped, ear or encoder.load())
    return _load(Path(path), ear or encoder.load())


@cache
def _shipped() -> Proposer:
    with resources.as_file(resources.files("fxstyle.fit").joinpath(WEIGHTS)) as path:
        return _load(path, encoder.load())


def _load(path: Path, ear: Ear) -> Proposer:
    told, tensors = read_weights(path, "a proposer", FORMAT)
    try:
        layout = _layout(told["layout"])
        network = Network(layout)
        network.load_state_dict({n: t.float() if t.is_floating_point() else t for n, t in tensors.items()})
        neutral = {str(n): {str(k): float(v) for k, v in own.items()} for n, own in told["neutral"].items()}
        about = {str(n): str(text) for n, text in told["about"].items()}
        encoder_was = str(told["encoder"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise AudioError(f"{path}: its weights do not fit its sizes: {first}") from None
    if not all(t.isfinite().all() for t in network.state_dict().values()):
        raise AudioError(f"{path}: some of its weights are not finite")
    _check_effects(path, layout, neutral)
    if any(name.startswith(ENCODER) for name in layout.groups) and encoder_was != fingerprint(ear):
        raise AudioError(f"{path} was trained with other weights of the encoder; {RETRAIN}")
    return Proposer(network.eval().requires_grad_(False), ear, neutral, about)


def _layout(told: Mapping[str, object]) -> Layout:
    knobs, groups = told["knobs"], told["groups"]
    if not isinstance(knobs, dict) or not isinstance(groups, dict):
        raise TypeError("its layout is none")
    hidden, components = told["hidden"], told["components"]
    if not isinstance(hidden, int) or not isinstance(components, int):
        raise TypeError("its layout is none")
    return Layout({str(n): tuple(map(str, own)) for n, own in knobs.items()}, groups, hidden, components)


def _check_effects(path: Path, layout: Layout, neutral: Mapping[str, Mapping[str, float]]) -> None:
    """Raise AudioError where the effects have changed since, or the file invents some."""
    try:
        for name, knobs in layout.knobs.items():
            fitted = tuple(param.name for param in effects.get(name).params if param.fitted)
            if knobs != fitted:
                raise AudioError(f"{path}: {name} has other settings than when it was trained; {RETRAIN}")
            for knob, value in neutral[name].items():
                effects.get(name).param(knob).check(value, name)
    except (SettingError, KeyError) as error:
        raise AudioError(f"{path} was made for other effects: {error}; {RETRAIN}") from None
