"""A distribution over whole settings (which effects, in what order, their knobs), and its network.

    p(S, o, u | x) = sum_k w_k(x) p_k(S | x) p_k(o | S, x) prod_j p_kj(u_j | S, x),   k = 1 .. K

    p_k(S)     effects are there or not, one by one: prod_e q_ke^(e in S) (1 - q_ke)^(e not in S)
    p_k(o|S)   their order after Plackett and Luce: from first to last, each is drawn from those left with
               probability in proportion to exp(score_ke)
    p_kj(u|S)  of a knob of an effect that is there: h_kj that it stays at its default, else the density
               (1 - h_kj) f(u) / (F(1) - F(0)) on [0, 1], F(u) = 1 / (1 + exp(-(u - m_kj) / s_kj))

u are the fit's coordinates (fit/space.py). What depends on S knows the whole chain: a drive is another one
where a gain follows. Knobs that are not known, and those of effects that are not there, leave no factor.

x are the groups of numbers of _hearing.py of the reference and how they differ from those of the input, each
by its mean and deviation in training.

Mixtures of networks' outputs after C. Bishop, "Mixture density networks" (1994); logistic components after
T. Salimans et al., "PixelCNN++", ICLR 2017; orders after R. Plackett, "The analysis of permutations",
J. R. Stat. Soc. C 24 (1975), and R. Luce, "Individual choice behavior" (1959).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

Floats = npt.NDArray[np.float64]

LARGEST = 8192
AT_HOME = 1e-4
"""A knob so near to its default, as a share of its range, is at it."""

SCALES = (0.02, 1.5)
"""Of the logistic: about as fine as a knob can be told, and as wide as not to be told from even."""

FARTHEST = 4.0
"""What is heard is held within so many deviations: unheard-of sounds lead to known proposals."""

EQUAL_AT = 64
"""Groups count alike: numbers are scaled by sqrt(EQUAL_AT / size of the group), so that the one number of the
balance is not lost beside a thousand of texture."""

LARGE, MEDIUM = (64, 0.5), (20, 0.2)
"""Of groups of so many numbers or more, so many are left out at random in training; of smaller ones none."""

DROPPED = 0.3
"""Share of hidden units left out at random in training."""


@dataclass(frozen=True)
class Layout:
    """What is proposed and what from: knobs by effect, and numbers by group of what is heard."""

    knobs: Mapping[str, tuple[str, ...]]
    groups: Mapping[str, int]
    hidden: int = 256
    components: int = 8

    def __post_init__(self) -> None:
        """Raise ValueError for sizes that a file should not be believed."""
        sizes = {**self.groups, "hidden": self.hidden, "components": self.components}
        for name, value in {**sizes, "knobs": self.size, "heard": self.heard}.items():
            if not isinstance(value, int) or not 1 <= value <= LARGEST:
                raise ValueError(f"{name} is {value!r} and not a number from 1 to {LARGEST}")

    @property
    def size(self) -> int:
        """Return how many knobs there are in all."""
        return sum(len(own) for own in self.knobs.values())

    @property
    def heard(self) -> int:
        """Return how many numbers are heard of a recording."""
        return sum(self.groups.values())

    @property
    def slices(self) -> dict[str, slice]:
        """Return where the knobs of each effect are."""
        ends = np.cumsum([len(own) for own in self.knobs.values()]).tolist()
        return {
            name: slice(end - len(own), end)
            for (name, own), end in zip(self.knobs.items(), ends, strict=True)
        }

    def told(self) -> dict[str, object]:
        """Return what a file tells of it."""
        return asdict(self)


class Settings(NamedTuple):
    """Whole settings: place (row, effect), 1 for the first, .., 0 for none; u (row, knob) in [0, 1]."""

    place: npt.NDArray[np.int64]
    u: Floats


class Knobs(NamedTuple):
    """Of each knob, (row, component, knob): the logit of staying at home, and the logistic's m and s."""

    home: torch.Tensor
    middle: torch.Tensor
    scale: torch.Tensor


class Weighed(nn.Module):
    """What is heard, group by group: scaled, and in training with numbers left out."""

    scale: torch.Tensor
    share: torch.Tensor

    def __init__(self, groups: Mapping[str, int]) -> None:
        super().__init__()
        sizes = torch.cat([torch.full((size,), float(size)) for size in groups.values()]).repeat(2)
        medium = torch.where(sizes >= MEDIUM[0], MEDIUM[1], 0.0)
        self.register_buffer("scale", (EQUAL_AT / sizes).sqrt(), persistent=False)
        self.register_buffer("share", torch.where(sizes >= LARGE[0], LARGE[1], medium), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x (row, 2 * number), weighed."""
        if not self.training:
            return x * self.scale
        return x * self.scale * (torch.rand_like(x) >= self.share) / (1.0 - self.share)


class Network(nn.Module):
    """From what is heard to the distribution."""

    mean: torch.Tensor
    deviation: torch.Tensor
    home: torch.Tensor
    owner: torch.Tensor

    def __init__(self, layout: Layout) -> None:
        """Make a network with random weights."""
        super().__init__()
        self.layout = layout
        hidden, components, effects = layout.hidden, layout.components, len(layout.knobs)
        self.register_buffer("mean", torch.zeros(2 * layout.heard))
        self.register_buffer("deviation", torch.ones(2 * layout.heard))
        self.register_buffer("home", torch.zeros(layout.size))
        owner = torch.cat([torch.full((len(own),), i) for i, own in enumerate(layout.knobs.values())])
        self.register_buffer("owner", owner, persistent=False)
        self.trunk = nn.Sequential(
            Weighed(layout.groups),
            nn.Linear(2 * layout.heard, hidden),
            nn.LayerNorm(hidden),
            nn.ReLU(),
            nn.Dropout(DROPPED),
            nn.Linear(hidden, hidden),
        )
        self.component = nn.Parameter(0.5 * torch.randn(components, hidden))
        self.mixed = nn.Sequential(nn.ReLU(), nn.Dropout(DROPPED), nn.Linear(hidden, hidden), nn.ReLU())
        self.weight = nn.Linear(hidden, components)
        self.chain = nn.Linear(hidden, 2 * effects)
        self.present = nn.Linear(effects, hidden)
        self.turned = nn.Sequential(nn.ReLU(), nn.Dropout(DROPPED), nn.Linear(hidden, hidden), nn.ReLU())
        self.knob = nn.Linear(hidden, 3 * layout.size)

    def heard(self, source: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        """Return x (row, 2 * number) of what is heard of input and reference, (row, number) each."""
        x = (torch.cat([reference, reference - source], dim=1) - self.mean) / self.deviation
        return x.clamp(-FARTHEST, FARTHEST)

    def believe(self, heard: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log w (row, component) and the hidden state (row, component, hidden) of x."""
        x = self.trunk(heard)
        hidden: torch.Tensor = self.mixed(x[:, None] + self.component)
        return functional.log_softmax(self.weight(torch.relu(x)), dim=1), hidden

    def chains(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits of presence and scores of order, (row, component, effect) each."""
        presence, score = self.chain(hidden).chunk(2, dim=2)
        return presence, score

    def knobs(self, hidden: torch.Tensor, present: torch.Tensor) -> Knobs:
        """Return the knobs' distributions where these effects are `present`, (row, effect) of 0 and 1."""
        with_chain = hidden + self.present(present)[:, None]
        home, middle, scale = self.knob(self.turned(with_chain)).chunk(3, dim=2)
        low, high = np.log(SCALES)
        return Knobs(home, 0.5 + middle, (low + (high - low) * torch.sigmoid(scale - 0.5)).exp())

    def presence(self, heard: torch.Tensor) -> torch.Tensor:
        """Return the probabilities (row, effect) that effects are there, of x."""
        weights, hidden = self.believe(heard)
        each = torch.sigmoid(self.chains(hidden)[0])
        return torch.einsum("rk,rke->re", weights.exp(), each)

    def log_likelihood(self, heard: torch.Tensor, place: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """Return ln p (row,) of settings: place (row, effect), u (row, knob), nan where not known."""
        weights, hidden = self.believe(heard)
        logits, scores = self.chains(hidden)
        there = (place > 0).to(heard)
        sign = 2.0 * there[:, None] - 1.0
        found = weights + functional.logsigmoid(sign * logits).sum(dim=2) + log_order(scores, place)
        known = ~u.isnan() & (place[:, self.owner] > 0)
        value = torch.where(known, u, self.home)[:, None]
        each = log_knob(self.knobs(hidden, there), value, self.home)
        return torch.logsumexp(found + (each * known[:, None]).sum(dim=2), dim=1)


def log_order(scores: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """Return ln p (row, component) of an order: scores (row, component, effect), place (row, effect)."""
    there = place > 0
    # those left when an effect was drawn are those that are not before it
    left = there[:, None, :] & (place[:, None, :] >= place[:, :, None])
    others = torch.where(left[:, None], scores[:, :, None, :], -torch.inf)
    # what is not there has nobody left; its own score stands in, and nothing comes of it
    others = torch.where(there[:, None, :, None], others, scores[:, :, :, None])
    return torch.where(there[:, None], scores - torch.logsumexp(others, dim=3), 0.0).sum(dim=2)


def log_knob(knobs: Knobs, u: torch.Tensor, home: torch.Tensor) -> torch.Tensor:
    """Return ln p (row, component, knob) of positions u (row, 1, knob)."""
    z = (u - knobs.middle) / knobs.scale
    low, high = -knobs.middle / knobs.scale, (1.0 - knobs.middle) / knobs.scale
    # ln(F(1) - F(0)) with F(b) - F(a) = (e^b - e^a) / ((1 + e^a) (1 + e^b))
    inside = high + torch.log1p(-torch.exp(low - high)) - functional.softplus(low) - functional.softplus(high)
    density = -z - 2.0 * functional.softplus(-z) - knobs.scale.log() - inside
    stays = (u - home).abs() < AT_HOME
    return torch.where(stays, functional.logsigmoid(knobs.home), functional.logsigmoid(-knobs.home) + density)


@torch.no_grad()
def sampled(
    network: Network,
    heard: torch.Tensor,
    allowed: npt.NDArray[np.bool_],
    count: int,
    seed: int,
    temperature: float,
) -> Settings:
    """Draw settings of x (1, number), of these effects (effect,) only.

    temperature: below 1, what is likely is drawn more often still; above 1, less.
    """
    generator = np.random.default_rng(seed)
    weights, hidden = network.believe(heard)
    logits, scores = (t[0].double().numpy() for t in network.chains(hidden))
    logits = np.where(allowed, logits / temperature, -np.inf)
    log_w = weights[0].double().numpy() / temperature + _absent(network, hidden, allowed)
    k = generator.choice(len(log_w), size=count, p=_softmax(log_w))
    there = generator.random((count, logits.shape[1])) < _sigmoid(logits[k])
    place = _ordered(there, scores[k] / temperature + generator.gumbel(size=there.shape))
    rows = network.knobs(hidden.expand(count, -1, -1), torch.from_numpy(there).float())
    home, middle, scale = (t.double().numpy()[np.arange(count), k] for t in rows)
    stays = generator.random(home.shape) < _sigmoid(home / temperature)
    scale = scale * temperature
    low, high = _sigmoid(-middle / scale), _sigmoid((1.0 - middle) / scale)
    share = np.clip(low + (high - low) * generator.random(home.shape), 1e-300, 1.0 - 1e-16)
    u = np.clip(middle + scale * (np.log(share) - np.log1p(-share)), 0.0, 1.0)
    return Settings(place, np.where(stays, network.home.double().numpy(), u))


@torch.no_grad()
def likeliest(
    network: Network,
    heard: torch.Tensor,
    allowed: npt.NDArray[np.bool_],
    there: npt.NDArray[np.bool_] | None = None,
) -> Settings:
    """Return one row: effects that are likelier there than not, and of the likeliest component the rest.

    That is the component of the highest w_k p_k(S); its knobs are at the mode, or at home where that is
    likelier than not. there: effects (effect,) that are known to be there, and no others.
    """
    weights, hidden = network.believe(heard)
    logits, scores = (t[0].double().numpy() for t in network.chains(hidden))
    log_w = weights[0].double().numpy() + _absent(network, hidden, allowed)
    if there is None:
        there = (_softmax(log_w) @ _sigmoid(logits) > 0.5) & allowed
    k = int(np.argmax(log_w + np.where(allowed, _log_sigmoid(np.where(there, logits, -logits)), 0.0).sum(1)))
    rows = network.knobs(hidden, torch.from_numpy(there[None]).float())
    home, middle, _ = (t.double().numpy()[0, k] for t in rows)
    u = np.where(home > 0.0, network.home.double().numpy(), np.clip(middle, 0.0, 1.0))
    return Settings(_ordered(there[None], scores[k : k + 1]), u[None])


def _absent(network: Network, hidden: torch.Tensor, allowed: npt.NDArray[np.bool_]) -> Floats:
    """Return by component ln p that no other effects than those allowed are there."""
    logits = network.chains(hidden)[0][0].double().numpy()
    return np.asarray(np.where(allowed, 0.0, _log_sigmoid(-logits)).sum(axis=1))


def _ordered(there: npt.NDArray[np.bool_], keys: Floats) -> npt.NDArray[np.int64]:
    """Return places by falling key: with Gumbel noise on the scores, an order after Plackett and Luce."""
    rank = np.argsort(np.argsort(-np.where(there, keys, -np.inf), axis=1, kind="stable"), axis=1)
    return np.where(there, rank + 1, 0).astype(np.int64)


def _log_sigmoid(x: Floats) -> Floats:
    return np.asarray(-np.logaddexp(0.0, -x))


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(np.exp(_log_sigmoid(x)))


def _softmax(x: Floats) -> Floats:
    y = np.exp(x - x.max())
    return np.asarray(y / y.sum())
