"""A tool: what `fxstyle.fit.topology` is taught from, on `train` rows.

    python bench/topology.py make FOLDER [--pairs 14400] [--workers 2]
    python bench/topology.py train FOLDER [-o fxstyle/fit/topology.safetensors]

Half of the pairs are those of counterfx.py (pedalboard's effects), half fxstyle's own chains as the proposer
learns them. Of both passages one in three changes its level. What is kept is what was heard and which
effects there were, in files that a further run goes on from. A twentieth of the files is kept from the
training: on it the thresholds are chosen.
"""

from __future__ import annotations

import argparse
import multiprocessing
from functools import partial
from pathlib import Path

import numpy as np
import torch
from counterfx import KINDS, RATE, SMALLEST_LD, Stereo, data_folder, draw_steps, process, recordings, windows
from topology_train import THEIRS, train

from fxstyle.audio import Audio
from fxstyle.embed import encoder
from fxstyle.errors import FxstyleError
from fxstyle.features.truth_distance import ld
from fxstyle.fit._hearing import listened
from fxstyle.train._proposer_prior import drawn_chain
from fxstyle.units import db_to_amplitude

CONTENTS, CHAINS = 12, 4
"""Of a file: pairs of passages, and chains to each."""

OTHER_LEVEL, LEVEL_DB = 0.33, 6.0


def _material(data: Path, generator: np.random.Generator) -> tuple[Stereo, Stereo]:
    """Return two adjacent windows of a `train` recording."""
    while True:
        kind = KINDS[int(generator.integers(len(KINDS)))]
        group = recordings(data, "train")[kind]
        pair = windows(group[int(generator.integers(len(group)))], generator)
        if pair is not None:
            return pair


def _through(x: Stereo, generator: np.random.Generator) -> tuple[Stereo, list[str]]:
    """Return a passage through a chain, and the names of what is in it."""
    if generator.random() < 0.5:
        steps = draw_steps(generator)
        return process(x, steps), [f"{THEIRS}{step.unit}" for step in steps]
    made, y = drawn_chain(x, generator)
    return y, [drawn.name for drawn in made]


def _otherwise(x: Stereo, generator: np.random.Generator) -> Stereo:
    if generator.random() >= OTHER_LEVEL:
        return x
    return np.asarray(x * db_to_amplitude(generator.normal(0.0, LEVEL_DB)), np.float32)


def make(folder: Path, seed: int, number: int) -> int:
    """Make one file of pairs, unless it is there."""
    path = folder / f"{number:05d}.npz"
    if path.exists():
        return number
    data, ear = data_folder(), encoder.load()
    generator = np.random.default_rng([seed, number])
    inputs, references, names = [], [], []
    while len(inputs) < CONTENTS * CHAINS:
        a, b = _material(data, generator)
        try:
            dry = listened(Audio(_otherwise(a, generator), RATE), "input", ear)
            for _ in range(CHAINS):
                y, made = _through(b, generator)
                if not np.isfinite(y).all() or (made and ld(y, b, RATE) < SMALLEST_LD):
                    continue
                wet = listened(Audio(_otherwise(y, generator), RATE), "reference", ear)
                inputs.append(torch.cat(list(dry.values())).numpy())
                references.append(torch.cat(list(wet.values())).numpy())
                names.append(",".join(made))
        except FxstyleError:
            continue  # silence
    half = [np.stack(part).clip(-6e4, 6e4).astype(np.float16) for part in (inputs, references)]
    part = path.with_suffix(".part.npz")
    groups = {name: int(group.numel()) for name, group in dry.items()}
    np.savez(
        part, input=half[0], reference=half[1], names=np.array(names),
        groups=np.array(list(groups)), sizes=np.array(list(groups.values())),
    )  # fmt: skip
    part.rename(path)
    return number


def _begin() -> None:
    torch.set_num_threads(1)


def main(argv: list[str] | None = None) -> None:
    """Make or train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("job", choices=("make", "train"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=14400)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args(argv)
    if options.job == "train":
        train(options.folder, options.output, options.seed)
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    count = -(-options.pairs // (CONTENTS * CHAINS))
    with multiprocessing.get_context("spawn").Pool(options.workers, _begin) as pool:
        for number in pool.imap_unordered(partial(make, options.folder, options.seed), range(count)):
            print(number, flush=True)


if __name__ == "__main__":
    main()
