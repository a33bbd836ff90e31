"""Dry or produced recordings of the test split, by kind, as crops for the ear's benchmark.

speech        four voices, dry (those that were spoken into rooms are left out)
instruments   solo instruments and solo singing; of two microphones on one performance only one
music         full mixes

Crops are SECONDS long at 44.1 kHz, stereo (a mono recording becomes two equal channels), at -23 LUFS; a
recording that is shorter is repeated, as ST-ITO does it.
"""

from __future__ import annotations

import csv
from functools import cache
from typing import NamedTuple

import numpy as np
from counterfx import QUIETEST_LUFS, RATE, Stereo, at_loudness, data_folder, load, loudness_lufs

SECONDS = 5.0
LOUDNESS_LUFS = -23.0
TRIES = 50

KINDS = ("speech", "instruments", "music")

FOLDERS = {
    "speech/sms_speech-": "speech",
    "speech/vctk_": "speech",
    "drywet/plugins/speech__dry": "speech",
    "oneshots_loops/phrases/": "instruments",
    "oneshots_loops/sms_tools/cello-phrase": "instruments",
    "oneshots_loops/sms_tools/sax-phrase": "instruments",
    "drywet/di_guitar/": "instruments",
    "drywet/mic_pairs/archtop_guitar__pickup_di": "instruments",
    "drywet/mic_pairs/cajon__condenser": "instruments",
    "drywet/plugins/vocal__dry": "instruments",
    "speech/sms_singing-female": "instruments",
    "music/librosa_sorohanro": "instruments",
    "music/": "music",
}
"""By how a path begins; the first that fits counts."""


class Crop(NamedTuple):
    """A passage and the recording it is from."""

    source: str
    sound: Stereo


@cache
def sources(kind: str) -> tuple[str, ...]:
    """Return the recordings of a kind in the test split."""
    with (data_folder() / "MANIFEST.csv").open(newline="", encoding="utf-8") as file:
        paths = sorted(row["path"] for row in csv.DictReader(file) if row["split"] == "test")
    return tuple(
        p for p in paths if next((k for begin, k in FOLDERS.items() if p.startswith(begin)), "") == kind
    )


def crop(source: str, rng: np.random.Generator) -> Crop:
    """Return a passage that is not a pause."""
    whole = load(data_folder() / source)
    frames = round(SECONDS * RATE)
    whole = np.tile(whole, (1, -(-frames // whole.shape[1])))
    for _ in range(TRIES):
        begin = int(rng.integers(whole.shape[1] - frames + 1))
        passage = whole[:, begin : begin + frames]
        if loudness_lufs(passage) >= QUIETEST_LUFS:
            return Crop(source, at_loudness(passage, LOUDNESS_LUFS))
    raise RuntimeError(f"{source}: nothing but pauses in {TRIES} passages of {SECONDS:g} s")


def pair(kind: str, rng: np.random.Generator) -> tuple[Crop, Crop]:
    """Return passages of two recordings of a kind."""
    a, b = rng.choice(len(sources(kind)), size=2, replace=False)
    return crop(sources(kind)[a], rng), crop(sources(kind)[b], rng)
