"""Training of the proposer: the likelihood of the settings between pairs of recordings.

    RUN/run.json              what the run was begun with; a run goes on only with the same
    RUN/pairs/                vectors and settings (proposer_pairs.py), made by other processes before all
    RUN/checkpoint.pt         network, optimiser and step, replaced whole
    RUN/log.jsonl             a line for every LOGGED steps
    RUN/proposer.safetensors  the weights

The loss is -ln p(S, o, u | x) of fit/mixture.py, in nats a pair, and HINT times the cross-entropy of whether
each effect is there, of the mixture as a whole: the densities of knobs would drown it otherwise. A step's
pairs, and what is left out in it at random, depend on the run's seed and the step's number alone, so a run
that was interrupted goes on as if it had not been. A part of the pairs, of contents of their own, is never
trained on and says how well it does.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from fxstyle import __version__
from fxstyle.embed.encoder import load
from fxstyle.errors import SettingError
from fxstyle.files import write_bytes
from fxstyle.fit._hearing import ENCODER, fingerprint
from fxstyle.fit.mixture import Layout, Network
from fxstyle.fit.proposer import homes, to_bytes
from fxstyle.train._proposer_prior import neutral_of
from fxstyle.train.content import recordings
from fxstyle.train.episodes import LEAVE_OUT
from fxstyle.train.proposer_pairs import PAIRS_IN_A_FILE, Plan, load_pairs, making, names_of_knobs
from fxstyle.train.run import _same_run

LOGGED, SAVED = 50, 500
LEARNING_RATE, WARM_UP, LAST = 2e-3, 100, 0.01
WEIGHT_DECAY = 0.05
CLIPPED = 10.0
HINT = 2.0
SURE = 1e-5
"""No effect is taken to be likelier there, or not there, than this allows: logarithms stay finite."""

HELD_OUT = 1 / 16
"""Share of the files of pairs, one at least."""

LEAST_DEVIATION = 1e-3
"""Of what is heard: a number that hardly varied in training is not made much of."""

RUN, PAIRS, CHECKPOINT, LOG, RESULT = (
    "run.json", "pairs", "checkpoint.pt", "log.jsonl", "proposer.safetensors",
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """A run: steps, pairs in a step and in all; sizes of the network; whether it hears by the encoder."""

    steps: int = 600
    batch: int = 128
    pairs: int = 12_800
    hidden: int = 256
    components: int = 8
    seed: int = 0
    by_encoder: bool = True

    def __post_init__(self) -> None:
        """Raise SettingError for a run that cannot be."""
        for name in ("steps", "batch", "hidden", "components"):
            if getattr(self, name) < 1:
                raise SettingError(f"--{name} {getattr(self, name)} is too few; give 1 or more")
        if self.pairs < 2 * PAIRS_IN_A_FILE:
            raise SettingError(f"--pairs {self.pairs} is too few; give {2 * PAIRS_IN_A_FILE} or more")

    @property
    def files(self) -> int:
        """Return in how many files the pairs are."""
        return -(-self.pairs // PAIRS_IN_A_FILE)


@dataclass(frozen=True)
class Logged:
    """A run's state: nats a pair, mean since the last line, and of pairs never trained on; share made."""

    step: int
    nats: float
    held_out: float | None
    seconds: float
    made: float = 1.0


@dataclass(frozen=True)
class Taught:
    """Pairs as tensors: x (pair, 2 * number) by mean and deviation, place (pair, effect), u (pair, knob)."""

    heard: torch.Tensor
    place: torch.Tensor
    u: torch.Tensor

    def __len__(self) -> int:
        return len(self.u)


def train_proposer(
    folders: Sequence[Path],
    run: Path,
    options: Options,
    *,
    encoder: Path | None = None,
    workers: int = 1,
    tell: Callable[[Logged], None] | None = None,
) -> Path:
    """Train a proposer, or go on with it, and return its weights file.

    Parameters
    ----------
    folders: of recordings; a MANIFEST.csv in one says which may be used. run: the run's own folder.
    encoder: weights to hear with, instead of the shipped ones. workers: processes that make pairs.
    tell: called with lines of the log, and while pairs are made.

    Raises
    ------
    SettingError: the run's folder is of a run with other options. AudioError: no recordings, or no weights.
    """
    if workers < 1:
        raise SettingError(f"--workers {workers} is too few; give 1 or more")
    ear = load(encoder)
    for folder in folders:
        recordings(folder, LEAVE_OUT)
    plan = Plan(tuple(folder.resolve() for folder in folders), options.seed, encoder)
    knobs = names_of_knobs()
    began = {
        "folders": [str(folder) for folder in plan.folders],
        "encoder": fingerprint(ear),
        "knobs": knobs,
        **asdict(options),
        "version": __version__,
    }
    _same_run(run, json.loads(json.dumps(began)))
    tell = tell or (lambda _: None)
    since = time.perf_counter()
    with making(plan, run / PAIRS, options.files, workers) as numbers:
        for number in numbers:
            share = (number + 1) / options.files
            tell(Logged(0, math.nan, None, time.perf_counter() - since, share))
    network, taught, held_out = prepared(run / PAIRS, options, knobs)
    _train(network, taught, held_out, run, options, tell)
    about = {
        "trained": f"fxstyle {__version__}, seed {options.seed}, {options.steps} x {options.batch} of"
        f" {len(taught)} pairs",
        "held_out": f"{nats(network, held_out):.3f} nats a pair",
    }
    neutral = {name: neutral_of(name) for name in knobs}
    result = run / RESULT
    write_bytes(result, to_bytes(network, ear, neutral, about), force=True)
    return result


def prepared(
    folder: Path, options: Options, knobs: Mapping[str, tuple[str, ...]]
) -> tuple[Network, Taught, Taught]:
    """Return a network that knows how what is heard varies, pairs to train on, and those held out."""
    pairs, sizes = load_pairs(folder, options.files)
    groups = {n: size for n, size in sizes.items() if options.by_encoder or not n.startswith(ENCODER)}
    kept = np.concatenate([np.full(size, name in groups) for name, size in sizes.items()])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        network = Network(Layout(knobs, groups, options.hidden, options.components))
    source, reference = (torch.from_numpy(part[:, kept]).float() for part in (pairs.input, pairs.reference))
    place = torch.from_numpy(pairs.place.astype(np.int64))
    u = torch.from_numpy(pairs.u)
    held = max(round(HELD_OUT * options.files), 1) * PAIRS_IN_A_FILE
    x = torch.cat([reference, reference - source], dim=1)[held:]
    network.home.copy_(homes(knobs))
    network.mean.copy_(x.mean(dim=0))
    network.deviation.copy_(x.std(dim=0) + LEAST_DEVIATION)
    heard = network.heard(source, reference)
    return network, Taught(heard[held:], place[held:], u[held:]), Taught(heard[:held], place[:held], u[:held])


def rate_at(step: int, steps: int) -> float:
    """Return the learning rate of a step: up in a line, down in a cosine."""
    share = (step - WARM_UP) / max(steps - WARM_UP, 1)
    if share < 0.0:
        return LEARNING_RATE * (step + 1) / WARM_UP
    return LEARNING_RATE * (LAST + (1.0 - LAST) * 0.5 * (1.0 + math.cos(math.pi * share)))


def _train(
    network: Network,
    taught: Taught,
    held_out: Taught,
    run: Path,
    options: Options,
    tell: Callable[[Logged], None],
) -> None:
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY)
    step = 0
    if (run / CHECKPOINT).exists():
        kept = torch.load(run / CHECKPOINT, weights_only=True)
        network.load_state_dict(kept["network"])
        optimiser.load_state_dict(kept["optimiser"])
        step = int(kept["step"])
    since, total = time.perf_counter(), 0.0
    while step < options.steps:
        total += step_of(network, optimiser, taught, options, step)
        step += 1
        last = step == options.steps
        if step % LOGGED == 0 or last:
            told = None
            if step % SAVED == 0 or last:
                told = nats(network, held_out)
                _save(run, network, optimiser, step)
            count = (step - 1) % LOGGED + 1
            line = Logged(step, total / count, told, time.perf_counter() - since)
            with (run / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(line)) + "\n")
            tell(line)
            total = 0.0
    network.eval()


def step_of(
    network: Network, optimiser: torch.optim.Optimizer, taught: Taught, options: Options, step: int
) -> float:
    """Make a step, and return its nats a pair."""
    generator = np.random.default_rng([options.seed, 1, step])
    chosen = torch.from_numpy(generator.integers(len(taught), size=options.batch))
    network.train()
    with torch.random.fork_rng(devices=[]):
        # what is left out at random depends on the step alone, as in a run that is taken up again
        torch.manual_seed(int(generator.integers(1 << 62)))
        heard, place = taught.heard[chosen], taught.place[chosen]
        loss = -network.log_likelihood(heard, place, taught.u[chosen]).mean()
        said = network.presence(heard).clamp(SURE, 1.0 - SURE)
    hint = functional.binary_cross_entropy(said, (place > 0).to(said), reduction="none").sum(dim=1).mean()
    optimiser.zero_grad()
    (loss + HINT * hint).backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), CLIPPED)
    for group in optimiser.param_groups:
        group["lr"] = rate_at(step, options.steps)
    optimiser.step()
    return float(loss.detach())


@torch.no_grad()
def nats(network: Network, pairs: Taught) -> float:
    """Return -ln p of pairs, their mean."""
    network.eval()
    parts = [
        -network.log_likelihood(pairs.heard[rows], pairs.place[rows], pairs.u[rows]).double()
        for rows in _in_parts(len(pairs))
    ]
    return float(torch.cat(parts).mean())


def _in_parts(count: int) -> Iterator[slice]:
    for begin in range(0, count, PAIRS_IN_A_FILE):
        yield slice(begin, begin + PAIRS_IN_A_FILE)


def _save(run: Path, network: Network, optimiser: torch.optim.Optimizer, step: int) -> None:
    made = BytesIO()
    torch.save({"network": network.state_dict(), "optimiser": optimiser.state_dict(), "step": step}, made)
    write_bytes(run / CHECKPOINT, made.getvalue(), force=True)
