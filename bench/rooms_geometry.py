"""Rooms found from their first reflections: sizes of simulated rooms, and the loss of those found and missed.

    python bench/rooms_geometry.py

Half of the rooms are made by pyroomacoustics (if it is installed; 20 reflections, no air, walls alike in all
octaves), half by the shoebox of this project (17 reflections, its noise, octaves and air). Sizes are compared
up to the order of axes. With FXSTYLE_DATA naming the folder of real recordings, losses of some of those.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile as sf
import torch
from rooms_row import Row

from fxstyle import effects
from fxstyle.dsp.shoebox import shoebox
from fxstyle.fit.geometry import Geometry, confidence, find_geometry

Floats = npt.NDArray[np.float64]

RATE, ROOMS, GOOD = 48_000, 12, 0.05
TAKEN = 0.5
"""Confidence from which on a fit takes a size."""

REAL = (
    "openair__Genesis_6_Studio_Live_Room",
    "openair__Arthur_Sykes_Rymer_Auditorium",
    "openair__Jack_Lyons_Hall_University_of_York",
)


class Box(NamedTuple):
    """A room: sizes and places (axis,) in metres, absorption (wall,)."""

    size: Floats
    source: Floats
    microphone: Floats
    absorption: Floats


def _boxes(seed: int) -> list[Box]:
    rng = np.random.default_rng(seed)
    made: list[Box] = []
    while len(made) < ROOMS:
        size = rng.uniform((3.5, 2.8, 2.3), (10.0, 7.0, 4.0))
        source, microphone = size * rng.uniform(0.12, 0.88, (2, 3))
        absorption = np.exp(rng.uniform(np.log(0.05), np.log(0.5), 6))
        if np.linalg.norm(source - microphone) > 1.0:
            made.append(Box(size, source, microphone, absorption))
    return made


def _theirs(box: Box) -> Floats:
    import pyroomacoustics as pra

    pra.constants.set("num_threads", 1)
    pra.constants.set("rir_hpf_enable", False)
    names = ("west", "east", "south", "north", "floor", "ceiling")
    materials = {name: pra.Material(float(a)) for name, a in zip(names, box.absorption, strict=True)}
    room = pra.ShoeBox(box.size, fs=RATE, materials=materials, max_order=20, air_absorption=False)
    room.add_source(box.source)
    room.add_microphone(box.microphone)
    room.image_source_model()
    room.compute_rir()
    return np.asarray(room.rir[0][0], np.float64)[None]


def _ours(box: Box) -> Floats:
    def row(value: npt.ArrayLike) -> torch.Tensor:
        return torch.from_numpy(np.asarray(value, np.float64))[None]

    tilt = np.linspace(0.8, 1.25, 8)
    made = shoebox(
        RATE, row(box.size), row(box.source), row(box.microphone[None]), row(box.absorption[:, None] * tilt),
        scatter=row(0.3), mixing_s=row(0.08), order=17, temperature_c=row(20.0), humidity_percent=row(50.0),
    )  # fmt: skip
    response: Floats = made[0].numpy()
    return response


def size_error(found: Geometry, size: Floats) -> float:
    """Return the largest relative error of a size, by the best order of axes."""
    sizes = np.array([found.settings[axis.size] for axis in effects.get("room").geometry])
    return min(float(np.abs(sizes[list(p)] / size - 1.0).max()) for p in itertools.permutations(range(3)))


def _simulated() -> Iterator[Row]:
    effect = effects.get("room")
    all_found: list[tuple[float, float, float]] = []
    for what, made_by, seed in (("pyroomacoustics", _theirs, 5), ("own shoebox", _ours, 9)):
        results = []
        for box in _boxes(seed):
            try:
                h = made_by(box)
            except ImportError:
                break
            began = time.perf_counter()
            found = find_geometry(effect, h, RATE)
            results.append((size_error(found, box.size), found.loss, time.perf_counter() - began))
        if not results:
            yield Row(f"rooms of {what}: found", "not installed", "-", None)
            continue
        all_found += results
        right = sum(error <= GOOD for error, _, _ in results)
        each = " ".join(f"{100.0 * error:.1f}" for error, _, _ in results)
        yield Row(
            f"rooms of {what}: sizes within {100.0 * GOOD:g} %",
            f"{right} of {len(results)} (errors {each} %), {np.median([r[2] for r in results]):.1f} s each",
            f">= {len(results) // 2}",
            right >= len(results) // 2,
        )
    found_at, missed_at = (
        sorted(loss for error, loss, _ in all_found if (error <= GOOD) == good) for good in (True, False)
    )
    said = [" ".join(f"{loss:.3f}" for loss in part) for part in (found_at, missed_at)]
    yield Row("loss of rooms found; missed", "; ".join(said), "-", None)
    taken, wrong = (sum(confidence(loss) >= TAKEN for loss in part) for part in (found_at, missed_at))
    yield Row(
        f"rooms taken, with a confidence of {TAKEN:g} or more",
        f"{taken} of {len(found_at)} found, {wrong} of {len(missed_at)} missed",
        "none missed",
        wrong == 0,
    )


def _real(folder: Path) -> Iterator[Row]:
    for name in REAL:
        x, rate = sf.read(folder / "rir" / f"{name}.flac", always_2d=True)
        found = find_geometry(effects.get("room"), x.T, rate)
        sizes = " x ".join(f"{found.settings[a.size]:.1f}" for a in effects.get("room").geometry)
        said = f"loss {found.loss:.3f}, confidence {found.confidence:.2f} ({sizes} m; truth not known)"
        yield Row(f"real: {name}", said, "-", None)


def rows() -> Iterator[Row]:
    """Yield the rows; those on recordings only where FXSTYLE_DATA names their folder."""
    torch.set_num_threads(1)
    yield from _simulated()
    named = os.environ.get("FXSTYLE_DATA", "")
    if named:
        yield from _real(Path(named))


def main() -> int:
    """Print the rows; 1 where a target is missed."""
    missed = False
    for row in rows():
        met = {True: "met", False: "MISSED", None: ""}[row.met]
        print(f"{row.what}\n    {row.measured}   target {row.target}   {met}", flush=True)
        missed |= row.met is False
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
