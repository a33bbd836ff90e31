"""Recordings in rooms, and what is known of the rooms: to learn fxstyle/rooms/blind.json and to judge it.

Needs $FXSTYLE_DATA. All sound at WORK_RATE, (time,) float32. A reference is a dry recording A in a room; the
dry input B is another recording. Rooms are measured responses, or made of fading noise with a few
reflections; what they measure like (ISO 3382: T20, C50) is the truth.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.signal

from fxstyle.audio import Audio, read, resample
from fxstyle.octaves import CENTRES_HZ
from fxstyle.performance import perform
from fxstyle.rooms.iso3382 import measure_response, onset
from fxstyle.rooms.slopes import WORK_RATE
from fxstyle.units import NEPERS_OF_60_DB, db_to_amplitude

Floats = npt.NDArray[np.float64]
Sound = npt.NDArray[np.float32]

ROOMS = ("rir/rooms__", "rir/openair__", "rir/room__", "rir/plate__")
LEAD_S = 0.001
"""Kept before the direct sound."""

RMS = 0.1


@dataclass(frozen=True, eq=False)
class Room:
    """A response of unit energy, and its T20 and C50 in the octaves; NaN where they cannot be trusted."""

    name: str
    response: Sound
    t60_s: Floats
    c50_db: Floats


@dataclass(frozen=True, eq=False)
class Content:
    """A dry recording: what kind of sound, and from whom."""

    kind: str
    source: str
    sound: Sound


def data() -> Path:
    """Return the folder of recordings."""
    return Path(os.environ["FXSTYLE_DATA"])


@cache
def manifest() -> tuple[dict[str, str], ...]:
    """Return the rows of MANIFEST.csv."""
    with (data() / "MANIFEST.csv").open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


def load(path: str) -> Sound:
    """Return the first channel of a recording at WORK_RATE."""
    audio = read(data() / path)
    return resample(Audio(audio.samples[:1], audio.rate), WORK_RATE, quality="HQ").samples[0]


def room(name: str, h: Any, rate: float) -> Room:
    """Return a response as a room, measured at its own rate."""
    measured = measure_response(h, rate)
    t60_s, c50_db = np.full(len(CENTRES_HZ), np.nan), np.full(len(CENTRES_HZ), np.nan)
    sure = measured.sure("t20_s")
    t60_s[: sure.size] = np.where(sure, measured.t20_s, np.nan)
    c50_db[: sure.size] = np.where(sure, measured.c50_db, np.nan)
    begin = max(onset(h) - round(LEAD_S * rate), 0)
    short = resample(
        Audio(np.asarray(h, np.float32)[None, begin:], round(rate)), WORK_RATE, quality="HQ"
    ).samples[0]
    return Room(name, short / np.sqrt(np.square(short).sum()), t60_s, c50_db)


@cache
def rooms(split: str) -> tuple[Room, ...]:
    """Return the measured rooms and plates of a split."""
    found = []
    for row in manifest():
        if row["split"] == split and row["path"].startswith(ROOMS):
            audio = read(data() / row["path"])
            found.append(room(Path(row["path"]).stem, audio.samples[0].astype(np.float64), audio.rate))
    return tuple(found)


def made_room(rng: np.random.Generator) -> Room:
    """Return a room of fading noise: smooth decays and levels, sometimes late, with a few reflections."""
    smooth = [np.convolve(rng.normal(size=10), np.full(3, 0.5), "valid") for _ in range(2)]
    tilt = np.arange(8) - 3.5
    t60_s = np.exp(rng.uniform(np.log(0.15), np.log(5.0)) + 0.12 * rng.normal() * tilt + 0.15 * smooth[0])
    level_db = rng.uniform(-16.0, 20.0) + rng.normal() * tilt + 2.0 * smooth[1]
    count = round(min(1.3 * float(t60_s.max()), 6.0) * 2 * WORK_RATE)
    # twice the rate: the octave of 8 kHz has an upper edge to be measured with
    rate, t = 2 * WORK_RATE, np.arange(count)
    settle = rate // 10
    tail = np.zeros(count)
    for centre_hz, seconds, decibels in zip(CENTRES_HZ, t60_s, level_db, strict=True):
        edges = np.array([np.sqrt(0.5), np.sqrt(2.0)]) * centre_hz
        sections = scipy.signal.butter(4, edges, "bandpass", fs=rate, output="sos")
        noise = scipy.signal.sosfilt(sections, rng.standard_normal(count + settle))[settle:]
        a = NEPERS_OF_60_DB / (seconds * rate)
        tail += db_to_amplitude(decibels) * np.sqrt(2.0 * a) * np.exp(-a * t) * noise
    late = round(float(rng.choice([0.0, rng.uniform(0.0, 0.03)])) * rate)
    h = np.concatenate([np.zeros(late), tail])
    h[0] += 1.0
    for _ in range(int(rng.integers(0, 12))):
        h[round(rng.uniform(0.002, 0.05) * rate)] += 0.5 * rng.normal()
    return room("made", h, rate)


def pieces(kind: str, source: str, x: Sound, seconds: float, count: int) -> Iterator[Content]:
    """Yield pieces of a recording, evenly spread; one that is too short is repeated."""
    length = round(seconds * WORK_RATE)
    whole = np.tile(x, -(-length // x.size))
    for k in range(count):
        begin = round(k * (whole.size - length) / max(count - 1, 1))
        piece = whole[begin : begin + length]
        yield Content(kind, source, (piece * (RMS / np.sqrt(np.square(piece).mean()))).astype(np.float32))


def speaker(prefix: str) -> Sound:
    """Return all that a speaker says, one after the other."""
    found = [row["path"] for row in manifest() if row["path"].startswith(f"speech/{prefix}")]
    said = [load(path) for path in sorted(found)]
    return np.concatenate([x * (RMS / np.sqrt(np.square(x).mean())) for x in said]).astype(np.float32)


PLAYED = (
    *(
        f"oneshots_loops/phrases/{name}"
        for name in (
            "acgtr_strum_shiny", "bobobo_groove_gogodze", "bodyperc_groove", "cajon_groove_gogodze",
            "dbass_pizz_walk_meat", "egtr_di_arpeggio_shiny", "egtr_di_powerchords_emily",
            "barisax_riff_bear",
        )
    ),
    *(f"stems/freedoom_d_dm28/{name}" for name in ("01_piano", "03_drums", "05_clean_guitar")),
    *(f"oneshots_loops/sonic_pi/{name}" for name in ("loop_tabla", "arovane_beat_a")),
)  # fmt: skip
"""Dry instruments of the train split."""


def learning_contents(seconds: float) -> list[Content]:
    """Return dry recordings of the train split, and performances of our own."""
    found = [*pieces("speech", "kathleen", speaker("kathleen"), seconds, 9)]
    found += pieces("speech", "kerstin", speaker("kerstin"), seconds, 8)
    found += pieces("speech", "xmas", speaker("xmas"), seconds, 1)
    found += pieces("singing", "vocadito", load("speech/vocadito_1_singing.flac"), seconds, 3)
    for path in PLAYED:
        found += pieces("instrument", path, load(f"{path}.flac"), seconds, 2)
    for song in range(4):
        played = perform(seconds, WORK_RATE, song=song).mean(axis=0)
        found += pieces("own", f"song {song}", played, seconds, 1)
    return found


def in_room(
    dry: Sound, response: Sound, *, snr_db: float | None = None, rng: np.random.Generator | None = None
) -> Sound:
    """Return a dry recording in a room, as long as itself, with white noise if it is wanted."""
    wet = scipy.signal.fftconvolve(dry, response)[: dry.size]
    if snr_db is not None:
        assert rng is not None
        wet = wet + rng.standard_normal(wet.size) * np.sqrt(np.square(wet).mean()) * db_to_amplitude(-snr_db)
    return wet.astype(np.float32)
