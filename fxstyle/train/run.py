"""A run of training: a folder with episodes, a checkpoint, a log and, at its end, the weights.

    RUN/run.json           what the run was begun with; a run goes on only with the same
    RUN/episodes/          made on the fly by other processes, read again and again
    RUN/checkpoint.pt      network, optimiser and step, replaced whole
    RUN/log.jsonl          a line for every LOGGED steps
    RUN/encoder.safetensors

Step t takes its episodes from the first A(t): all that are to be there by then, and A grows until MADE_BY of
the steps are done. It waits for those it needs: what a run learns does not depend on how fast machines are.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fxstyle import __version__
from fxstyle.embed.encoder import Sizes, to_bytes
from fxstyle.errors import SettingError
from fxstyle.files import write_bytes, write_text
from fxstyle.train.content import recordings
from fxstyle.train.encoder import WEIGHT_DECAY, WEIGHTS, Trainee, accuracy, batch_of, losses, rate_at
from fxstyle.train.episodes import LEAVE_OUT, PROGRAMS, Plan, load, making, units_of

LOGGED, SAVED = 25, 200
MADE_BY = 0.7
CLIPPED = 1.0
CHECKPOINT, LOG, EPISODES, RUN, RESULT = (
    "checkpoint.pt", "log.jsonl", "episodes", "run.json", "encoder.safetensors",
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """A run: steps, episodes per step and in all, the first few never trained on; whose effects are used."""

    steps: int = 3000
    batch: int = 8
    episodes: int = 2000
    held_out: int = 16
    seed: int = 0
    sizes: Sizes = field(default_factory=Sizes)
    programs: tuple[str, ...] = PROGRAMS

    def __post_init__(self) -> None:
        """Raise SettingError for a run that cannot be."""
        for name in ("steps", "batch", "episodes", "held_out"):
            if getattr(self, name) < 1:
                raise SettingError(
                    f"--{name.replace('_', '-')} {getattr(self, name)} is too few; give 1 or more"
                )
        least = self.held_out + self.batch
        if self.episodes < least:
            raise SettingError(
                f"--episodes {self.episodes}: {self.held_out} are held out and a step takes {self.batch};"
                f" give {least} or more"
            )


@dataclass(frozen=True)
class Logged:
    """A run's state: terms, means since the last line, and how often held-out styles were told apart."""

    step: int
    terms: dict[str, float]
    told: float | None
    seconds: float


def there_by(step: int, options: Options) -> int:
    """Return A, how many episodes there are to be at a step."""
    first = min(options.held_out + 4 * options.batch, options.episodes)
    share = min(step / (MADE_BY * options.steps), 1.0)
    return first + math.ceil((options.episodes - first) * share)


def train_encoder(
    folders: Sequence[Path],
    run: Path,
    options: Options,
    *,
    device: str = "cpu",
    workers: int = 1,
    tell: Callable[[Logged], None] | None = None,
) -> Path:
    """Train an encoder, or go on with it, and return its weights file.

    Parameters
    ----------
    folders: of recordings; a MANIFEST.csv in one says which may be used. run: the run's own folder.
    device: as torch names them. workers: processes that make episodes. tell: called with lines of the log.

    Raises
    ------
    SettingError: the run's folder is of a run with other options. AudioError: no recordings.
    """
    if workers < 1:
        raise SettingError(f"--workers {workers} is too few; give 1 or more")
    units = [unit.name for unit in units_of(options.programs)]
    resolved = [str(folder.resolve()) for folder in folders]
    for folder in folders:
        recordings(folder, LEAVE_OUT)
    began = {"folders": resolved, "units": units, **asdict(options), "version": __version__}
    _same_run(run, json.loads(json.dumps(began)))
    plan = Plan(tuple(folders), options.seed, options.programs)
    with making(plan, run / EPISODES, options.episodes, workers) as numbers:
        trainee = _train(run, options, numbers, len(units), torch.device(device), tell)
    about = {
        "trained": f"fxstyle {__version__}, seed {options.seed}, {options.steps} x {options.batch} episodes",
        "units": ", ".join(units),
    }
    result = run / RESULT
    write_bytes(result, to_bytes(trainee.encoder, about), force=True)
    return result


def _same_run(run: Path, began: dict[str, Any]) -> None:
    run.mkdir(parents=True, exist_ok=True)
    path = run / RUN
    if not path.exists():
        if any(run.iterdir()):
            raise SettingError(f"{run} holds other things and no run; name a new folder")
        write_text(path, json.dumps(began, indent=1), force=False)
        return
    was = json.loads(path.read_text(encoding="utf-8"))
    other = [name for name in began if was.get(name) != began[name]]
    if other:
        raise SettingError(
            f"{run} is a run with another {', '.join(other)}; go on with the same, or name a new folder"
        )


def _train(
    run: Path,
    options: Options,
    numbers: Iterator[int],
    units: int,
    device: torch.device,
    tell: Callable[[Logged], None] | None,
) -> Trainee:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        trainee = Trainee(options.sizes, units).to(device)
    optimiser = torch.optim.AdamW(trainee.parameters(), weight_decay=WEIGHT_DECAY)
    step = 0
    if (run / CHECKPOINT).exists():
        kept = torch.load(run / CHECKPOINT, map_location=device, weights_only=True)
        trainee.load_state_dict(kept["network"])
        optimiser.load_state_dict(kept["optimiser"])
        step = int(kept["step"])
    made, since, totals = 0, time.perf_counter(), dict.fromkeys(WEIGHTS, 0.0)
    while step < options.steps:
        needed = there_by(step, options)
        while made < needed:
            made = next(numbers) + 1
        totals_of_step = _step(trainee, optimiser, run, options, step, needed, device)
        step += 1
        for name, value in totals_of_step.items():
            totals[name] += value
        if step % LOGGED == 0 or step == options.steps:
            told = None
            if step % SAVED == 0 or step == options.steps:
                told = _told(trainee, run, options, device)
                _save(run, trainee, optimiser, step)
            count = LOGGED if step % LOGGED == 0 else step % LOGGED
            line = Logged(step, {n: v / count for n, v in totals.items()}, told, time.perf_counter() - since)
            with (run / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(line)) + "\n")
            if tell is not None:
                tell(line)
            totals = dict.fromkeys(WEIGHTS, 0.0)
    return trainee


def _step(
    trainee: Trainee,
    optimiser: torch.optim.Optimizer,
    run: Path,
    options: Options,
    step: int,
    there: int,
    device: torch.device,
) -> dict[str, float]:
    generator = np.random.default_rng([options.seed, 1, step])
    chosen = options.held_out + generator.choice(there - options.held_out, size=options.batch, replace=False)
    episodes = [load(run / EPISODES, int(n)) for n in chosen]
    trainee.train()
    batch = batch_of(episodes, device, generator)
    with torch.random.fork_rng():
        # what is left out at random depends on the step alone, as in a run that is taken up again
        torch.manual_seed(int(generator.integers(1 << 62)))
        terms = losses(trainee, batch)
    loss = torch.stack([WEIGHTS[name] * term for name, term in terms.items()]).sum()
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(trainee.parameters(), CLIPPED)
    for group in optimiser.param_groups:
        group["lr"] = rate_at(step, options.steps)
    optimiser.step()
    return {name: float(term.detach()) for name, term in terms.items()}


def _told(trainee: Trainee, run: Path, options: Options, device: torch.device) -> float:
    trainee.eval()
    shares = []
    for first in range(0, options.held_out, options.batch):
        episodes = [
            load(run / EPISODES, n) for n in range(first, min(first + options.batch, options.held_out))
        ]
        shares.append((accuracy(trainee, batch_of(episodes, device, None)), len(episodes)))
    return sum(share * count for share, count in shares) / options.held_out


def _save(run: Path, trainee: Trainee, optimiser: torch.optim.Optimizer, step: int) -> None:
    made = BytesIO()
    torch.save({"network": trainee.state_dict(), "optimiser": optimiser.state_dict(), "step": step}, made)
    write_bytes(run / CHECKPOINT, made.getvalue(), force=True)
