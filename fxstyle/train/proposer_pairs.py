"""Pairs to learn proposals from: what is heard of an input and of a reference, and the settings between.

Of two passages a and b at one loudness, of one recording, of two, or the same one,

    input = T(a),   reference = C(T(b))

with T now and then some other treatment and C the chain to be proposed. Kept are vectors and settings only,
in files of CONTENTS contents with CHAINS chains each; a file is drawn from the run's seed and its number.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from fxstyle.embed.encoder import WINDOW_S, Ear, load
from fxstyle.files import write_bytes
from fxstyle.fit._hearing import vectors
from fxstyle.train._proposer_prior import (
    Drawn,
    drawn_chain,
    loudness_lufs,
    slot_of,
    space_of,
    taught,
    through,
)
from fxstyle.train.content import QUIETEST_RMS, RATE, Library, recordings
from fxstyle.train.episodes import LEAVE_OUT
from fxstyle.train.units import Sound
from fxstyle.units import db_to_amplitude

CONTENTS, CHAINS = 8, 8
PAIRS_IN_A_FILE = CONTENTS * CHAINS

ADJACENT, SAME = 0.5, 0.15
"""How often the reference's passage follows the input's in one recording; how often it is the same."""

TREATED = 0.3
"""How often both have been treated already."""

LEVEL_LUFS, LEVEL_DB, LEVELS_LUFS = -20.0, 5.0, (-36.0, -8.0)
"""Of the passages: mean, deviation and limits."""

ATTEMPTS = 50


class Pairs(NamedTuple):
    """What is kept of pairs.

    input, reference: (pair, number) heard; u: (pair, knob), nan where not known or not there;
    place: (pair, effect), 1 for the first in the chain, .., 0 for what is not in it.
    """

    input: npt.NDArray[np.float16]
    reference: npt.NDArray[np.float16]
    u: npt.NDArray[np.float32]
    place: npt.NDArray[np.int8]


@dataclass(frozen=True)
class Plan:
    """What a run's pairs are drawn from. folders: of recordings. encoder: its weights; None: the shipped."""

    folders: tuple[Path, ...]
    seed: int
    encoder: Path | None = None


@cache
def _material(folders: tuple[Path, ...]) -> tuple[Library, Library]:
    """Return a library of single passages and one of two in a row."""
    found = [recording for folder in folders for recording in recordings(folder, LEAVE_OUT)]
    return Library(found, WINDOW_S), Library(found, 2.0 * WINDOW_S)


def _levelled(x: Sound, target_lufs: float) -> Sound:
    return x * np.float32(db_to_amplitude(target_lufs - loudness_lufs(x)))


def passages(folders: tuple[Path, ...], generator: np.random.Generator) -> tuple[Sound, Sound]:
    """Return two passages (2, frames) at one loudness, sometimes treated alike."""
    single, double = _material(folders)
    level_lufs = float(np.clip(generator.normal(LEVEL_LUFS, LEVEL_DB), *LEVELS_LUFS))
    for _ in range(ATTEMPTS):
        kind = generator.random()
        if kind < ADJACENT:
            whole = double.window(str(generator.choice(double.names, p=double.weights)), generator)
            a, b = whole[:, : single.frames], whole[:, single.frames : 2 * single.frames]
        else:
            a, b = single.pair(generator)
            b = a if kind < ADJACENT + SAME else b
        if min(float(np.sqrt(np.square(x).mean())) for x in (a, b)) > QUIETEST_RMS:
            break
    a, b = _levelled(a, level_lufs), _levelled(b, level_lufs)
    if generator.random() < TREATED:
        slots = [slot_of(d.name, d.u) for d in drawn_chain(b, generator)[0]]
        a, b = (_levelled(through(slots, x), level_lufs) for x in (a, b))
    return a, b


def names_of_knobs() -> dict[str, tuple[str, ...]]:
    """Return the knobs that are learnt, by effect, in the order of `Pairs.u`."""
    return {name: tuple(k.param.name for k in space_of(name).knobs) for name in taught()}


def settled(chain: list[Drawn]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]:
    """Return a chain as rows of `Pairs.u` and `Pairs.place`."""
    knobs = names_of_knobs()
    u = np.full(sum(map(len, knobs.values())), np.nan, np.float32)
    place = np.zeros(len(knobs), np.int8)
    begins = dict(zip(knobs, np.cumsum([0, *map(len, knobs.values())]).tolist(), strict=False))
    for i, drawn in enumerate(chain, start=1):
        begin = begins[drawn.name]
        u[begin : begin + len(drawn.u)] = np.where(drawn.known, drawn.u, np.nan)
        place[list(knobs).index(drawn.name)] = i
    return u, place


def file_of_pairs(plan: Plan, number: int, ear: Ear) -> tuple[Pairs, dict[str, int]]:
    """Make the pairs of a file, and say how many numbers each group of what is heard has."""
    generator = np.random.default_rng([plan.seed, number])
    inputs, references, us, places = [], [], [], []
    sizes: dict[str, int] = {}
    for _ in range(CONTENTS):
        a, b = passages(plan.folders, generator)
        rows = [a]
        for _ in range(CHAINS):
            chain, y = drawn_chain(b, generator)
            rows.append(y)
            u, place = settled(chain)
            us.append(u)
            places.append(place)
        groups = vectors(torch.from_numpy(np.stack(rows)), RATE, ear)
        sizes = {name: group.shape[1] for name, group in groups.items()}
        heard = torch.cat(list(groups.values()), dim=1).numpy()
        inputs.append(np.repeat(heard[:1], CHAINS, axis=0))
        references.append(heard[1:])
    half = [np.concatenate(part).clip(-6e4, 6e4).astype(np.float16) for part in (inputs, references)]
    return Pairs(half[0], half[1], np.stack(us), np.stack(places)), sizes


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.npz"


def load_pairs(folder: Path, files: int) -> tuple[Pairs, dict[str, int]]:
    """Return the pairs of the first so many files."""
    parts: dict[str, list[npt.NDArray[np.generic]]] = {name: [] for name in Pairs._fields}
    sizes: dict[str, int] = {}
    for number in range(files):
        with np.load(_file(folder, number)) as found:
            for name, part in parts.items():
                part.append(found[name])
            sizes = dict(zip(found["groups"].tolist(), found["sizes"].tolist(), strict=True))
    return Pairs(*(np.concatenate(part) for part in parts.values())), sizes


def _begin() -> None:
    torch.set_num_threads(1)


def _make(plan: Plan, folder: Path, number: int) -> int:
    there = _file(folder, number)
    if not there.exists():
        pairs, sizes = file_of_pairs(plan, number, load(plan.encoder))
        made = BytesIO()
        groups = np.array(list(sizes)), np.array(list(sizes.values()))
        np.savez(made, **pairs._asdict(), groups=groups[0], sizes=groups[1])
        write_bytes(there, made.getvalue(), force=False)
    return number


@contextmanager
def making(plan: Plan, folder: Path, count: int, workers: int) -> Iterator[Iterator[int]]:
    """Make files 0 .. count - 1 in other processes; gives their numbers in order, as they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers, _begin) as pool:
        yield pool.imap(partial(_make, plan, folder), range(count))
