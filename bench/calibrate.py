"""Estimate how much the descriptors vary with the content, and write fxstyle/embed/content.npz.

    python bench/calibrate.py [DATA]

DATA (default: the environment variable FXSTYLE_DATA) holds recordings and a MANIFEST.csv with columns
path and split; only rows of split `train` are used. Every two neighbouring windows of a recording (for
short speech files: of the joined utterances of one voice) make a pair, both at the same loudness.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyloudnorm
import soundfile
import soxr
import torch

from fxstyle.embed.measured import shrunken_covariance
from fxstyle.features.descriptors import describe

RATE = 44100
WINDOW_S = {"music": 10.0, "stems": 10.0, "oneshots_loops/phrases": 9.0, "speech": 8.0}
LOUDNESS_LUFS = -20.0
QUIETEST_LUFS = -45.0
OUT = Path(__file__).parents[1] / "fxstyle" / "embed" / "content.npz"

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


def main() -> None:
    """Estimate and write."""
    data = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ["FXSTYLE_DATA"])
    differences: dict[str, list[npt.NDArray[np.float32]]] = {}
    for folder, x in recordings(data):
        described = [
            None if w is None else describe(torch.from_numpy(w[None]), RATE)
            for w in windows(x, WINDOW_S[folder])
        ]
        for a, b in pairwise(described):
            if a is None or b is None:
                continue
            for name in a:
                differences.setdefault(name, []).append((a[name] - b[name])[0].numpy())
    matrices = {}
    for name, rows in differences.items():
        stacked = np.stack(rows)
        matrices[name] = shrunken_covariance(stacked).astype(np.float32)
        spread = np.sqrt(np.diag(matrices[name]))
        print(
            f"{name:10} {stacked.shape[0]:5} pairs {stacked.shape[1]:4} features"
            f"  median spread {np.median(spread):.3g}"
        )
    np.savez_compressed(OUT, **matrices)
    print(f"wrote {OUT} ({OUT.stat().st_size / 1024:.0f} KiB)")


if __name__ == "__main__":
    main()
