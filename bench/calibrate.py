"""Estimate how much descriptors vary with the content: fxstyle/embed/content.npz and fxstyle/fit/judge.npz.

    python bench/calibrate.py [DATA]

DATA (default: the environment variable FXSTYLE_DATA) holds recordings and a MANIFEST.csv with columns
path and split; only rows of split `train` are used. Every two neighbouring windows of a recording (for
short speech files: of the joined utterances of one voice) make a pair, both at the same loudness. The
fit's descriptors see whole windows, the judge's the passages that a match would choose from them.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyloudnorm
import soundfile
import soxr
import torch

from fxstyle.embed.measured import CROPS, shrunken_covariance
from fxstyle.features.descriptors import describe
from fxstyle.fit import judge
from fxstyle.fit.crops import salient
from fxstyle.fit.quality import QUALITIES

RATE = 44100
WINDOW_S = {"music": 10.0, "stems": 10.0, "oneshots_loops/phrases": 9.0, "speech": 8.0}
LOUDNESS_LUFS = -20.0
QUIETEST_LUFS = -45.0
PACKAGE = Path(__file__).parents[1] / "fxstyle"

Stereo = npt.NDArray[np.float32]


def load(path: Path) -> Stereo:
    """Read a file as (2, time) float32 at RATE; mono is doubled."""
    x, rate = soundfile.read(path, dtype="float32", always_2d=True)
    x = soxr.resample(x, rate, RATE) if rate != RATE else x
    return np.ascontiguousarray(np.repeat(x, 2, axis=1)[:, :2].T if x.shape[1] == 1 else x[:, :2].T)


def recordings(data: Path) -> Iterator[tuple[str, Stereo]]:
    """Yield (folder, samples) of every train recording, utterances of one voice joined."""
    with (data / "MANIFEST.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    voices: dict[str, list[Path]] = {}
    for row in rows:
        folder = next((f for f in WINDOW_S if row["path"].startswith(f + "/")), None)
        if folder == "speech":
            voices.setdefault(Path(row["path"]).name.split("_")[0], []).append(data / row["path"])
        elif folder:
            yield folder, load(data / row["path"])
    for paths in voices.values():
        yield "speech", np.concatenate([load(p) for p in paths], axis=1)


def windows(x: Stereo, seconds: float) -> list[Stereo | None]:
    """Cut into windows at LOUDNESS_LUFS; None where there is too little sound."""
    size = int(seconds * RATE)
    meter = pyloudnorm.Meter(RATE)
    out: list[Stereo | None] = []
    for begin in range(0, x.shape[1] - size + 1, size):
        window = x[:, begin : begin + size]
        loudness = meter.integrated_loudness(window.T)
        usable = np.isfinite(loudness) and loudness > QUIETEST_LUFS
        out.append(window * np.float32(10 ** ((LOUDNESS_LUFS - loudness) / 20)) if usable else None)
    return out


def described(window: Stereo) -> dict[str, npt.NDArray[np.floating[Any]]]:
    """All descriptors of one window, those of the judge under "judge.NAME"."""
    fit = {name: v[0].numpy() for name, v in describe(torch.from_numpy(window[None]), RATE).items()}
    work = QUALITIES["standard"]
    size = int(work.crop_s * RATE)
    passages = [window[:, b : b + size] for b in salient(window, size, work.crops + work.held_out)]
    heard = judge.describe(passages, RATE, with_side=judge.have_side(passages))
    single = describe(torch.from_numpy(np.stack(passages)), RATE)
    return (
        fit
        | {f"judge.{name}": vector for name, vector in heard.items()}
        | {f"{CROPS}{name}": vectors.numpy() for name, vectors in single.items()}
    )


def main() -> None:
    """Estimate and write."""
    data = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ["FXSTYLE_DATA"])
    differences: dict[str, list[npt.NDArray[np.floating[Any]]]] = {}
    within: dict[str, list[npt.NDArray[np.floating[Any]]]] = {}
    for folder, x in recordings(data):
        vectors = [None if w is None else described(w) for w in windows(x, WINDOW_S[folder])]
        for vector in filter(None, vectors):
            for name in [n for n in vector if n.startswith(CROPS)]:
                crops = vector.pop(name)
                within.setdefault(name, []).extend(a - b for a, b in combinations(crops, 2))
        for a, b in pairwise(vectors):
            if a is None or b is None:
                continue
            for name in a.keys() & b.keys():
                differences.setdefault(name, []).append(a[name] - b[name])
    matrices: dict[str, dict[str, npt.NDArray[np.float32]]] = {"fit": {}, "judge": {}}
    for name in sorted(differences):
        stacked = np.stack(differences[name])
        matrix = shrunken_covariance(stacked).astype(np.float32)
        kind, _, group = name.rpartition(".")
        matrices[kind or "fit"][group] = matrix
        print(
            f"{name:16} {stacked.shape[0]:5} pairs {stacked.shape[1]:4} features"
            f"  median spread {np.median(np.sqrt(np.diag(matrix))):.3g}"
        )
    for name, rows in within.items():
        covariance = matrices["fit"][name.removeprefix(CROPS)]
        inverse = np.linalg.inv(covariance.astype(np.float64))
        stacked = np.stack(rows)
        variance = np.einsum("pi,ij,pj->p", stacked, inverse, stacked).mean() / covariance.shape[0]
        matrices["fit"][name] = np.float32(variance)
        print(f"{name:16} {len(rows):5} pairs of crops, {variance:.3g} times the variance of windows")
    for out, kind in ((PACKAGE / "embed" / "content.npz", "fit"), (PACKAGE / "fit" / "judge.npz", "judge")):
        np.savez_compressed(out, **matrices[kind])
        print(f"wrote {out} ({out.stat().st_size / 1024:.0f} KiB)")


if __name__ == "__main__":
    main()
