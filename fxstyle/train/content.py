"""Material to treat, drawn from folders of audio: windows of long recordings, and short ones in a row.

A folder's manifest, MANIFEST.csv with the columns `path` and `split`, keeps what is not marked "train" out.
Recordings in one folder below it are of one kind. The folder that a kind lies in is drawn by the fourth root
of its length, and the kind within it by the square root, so that three minutes of speech count for something
beside an hour of stems. A band of fxstyle's own (performance.py) is one kind more: dry, and never the same
twice. Some windows are two recordings together, and some are as dull as an old line.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr  # type: ignore[import-untyped]  # compiled, without stubs

from fxstyle.errors import AudioError
from fxstyle.formats import CONTAINERS
from fxstyle.performance import SONGS, perform
from fxstyle.train.units import Sound
from fxstyle.units import db_to_amplitude

RATE = 44_100
SHORTEST_S = 0.1
QUIETEST_RMS = 0.003
"""-50 dBFS: below is a pause, not material."""

TRIALS = 30
PLAYED = "played"
PLAYED_WEIGHT = 0.12
"""Share of windows that fxstyle plays itself."""

LONGEST_GAP_S, MOST_IN_A_ROW = 0.5, 40
SPEEDS = (0.8, 1.25)
"""Recordings are played slower or faster within this, half of the time: more voices and keys."""

SAME_KIND = 0.6
"""How often both recordings of a pair are of one kind."""

TOGETHER, BELOW_DB = 0.2, (0.0, 15.0)
"""How often a window is of two recordings, and how far the second may lie below the first."""

DULL, DULL_HZ = 0.15, (3500.0, 14_000.0)
"""How often a recording reaches up to some frequency only."""


@dataclass(frozen=True)
class Recording:
    """A file of material: its group is the folder below the one given, its kind the one below that."""

    path: Path
    group: str
    kind: str
    seconds: float


def _allowed(folder: Path) -> set[Path] | None:
    """Return the files that a manifest gives for training; None where there is no manifest."""
    manifest = folder / "MANIFEST.csv"
    if not manifest.is_file():
        return None
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if rows and not {"path", "split"} <= rows[0].keys():
        raise AudioError(f"{manifest}: the columns `path` and `split` are missing")
    return {(folder / row["path"]).resolve() for row in rows if row["split"] == "train"}


def recordings(folder: Path, leave_out: tuple[str, ...] = ()) -> list[Recording]:
    """Return the readable recordings in a folder and below it, in the order of their names.

    leave_out: names of folders of other things, such as impulse responses.
    Raises AudioError where there is none.
    """
    if not folder.is_dir():
        raise AudioError(f"{folder} is no folder; name one with recordings in it")
    allowed = _allowed(folder)
    endings = {suffix for container in CONTAINERS.values() for suffix in container.suffixes}
    found = []
    for path in sorted(folder.rglob("*")):
        below = path.relative_to(folder)
        if path.suffix.lower() not in endings or not path.is_file() or set(below.parts) & set(leave_out):
            continue
        if allowed is not None and path.resolve() not in allowed:
            continue
        try:
            seconds = float(soundfile.info(str(path)).duration)
        except soundfile.LibsndfileError:
            continue
        if seconds >= SHORTEST_S:
            inside = below.parts[:-1]
            group = "/".join((folder.name, *inside[:1]))
            found.append(Recording(path, group, "/".join((folder.name, *inside[:2])), seconds))
    if not found:
        raise AudioError(f"{folder} has no recordings to train on")
    return found


class Library:
    """Windows of material, drawn; what is drawn depends on the generator alone."""

    def __init__(self, found: list[Recording], seconds: float) -> None:
        """Take recordings, and how long windows are."""
        self.frames = round(seconds * RATE)
        self.kinds = {kind: [r for r in found if r.kind == kind] for kind in sorted({r.kind for r in found})}
        groups = {kind: own[0].group for kind, own in self.kinds.items()}
        roots = {kind: sum(r.seconds for r in own) ** 0.5 for kind, own in self.kinds.items()}
        totals = dict.fromkeys(groups.values(), 0.0)
        for recording in found:
            totals[recording.group] += recording.seconds
        shares = [
            totals[group] ** 0.25 * roots[kind] / sum(roots[k] for k, g in groups.items() if g == group)
            for kind, group in groups.items()
        ]
        weights = np.array(shares) / sum(shares)
        self.names = [*self.kinds, PLAYED]
        self.weights = np.append(weights * (1.0 - PLAYED_WEIGHT), PLAYED_WEIGHT)

    def pair(self, generator: np.random.Generator) -> tuple[Sound, Sound]:
        """Return two windows (2, frames) of other content."""
        first = str(generator.choice(self.names, p=self.weights))
        second = first
        if generator.random() > SAME_KIND:
            second = str(generator.choice(self.names, p=self.weights))
        return self._material(first, generator), self._material(second, generator)

    def _material(self, kind: str, generator: np.random.Generator) -> Sound:
        """Return a window of a kind, perhaps with another below it, perhaps dull."""
        x = self.window(kind, generator)
        if generator.random() < TOGETHER:
            other = self.window(str(generator.choice(self.names, p=self.weights)), generator)
            below = db_to_amplitude(-generator.uniform(*BELOW_DB)) * _rms(x) / _rms(other)
            x = x + np.float32(below) * other
        if generator.random() < DULL:
            top_hz = float(np.exp(generator.uniform(*np.log(DULL_HZ))))
            x = soxr.resample(soxr.resample(x.T, RATE, 2.0 * top_hz, "HQ"), 2.0 * top_hz, RATE, "HQ").T
            x = self._fitted(x.astype(np.float32))
        return x

    def window(self, kind: str, generator: np.random.Generator) -> Sound:
        """Return a window (2, frames) of a kind with sound in it, or of our own band where there is none."""
        for _ in range(TRIALS):
            x = self._of_kind(kind, generator)
            if _rms(x) > QUIETEST_RMS:
                return x
        return self._played(generator)

    def _of_kind(self, kind: str, generator: np.random.Generator) -> Sound:
        if kind == PLAYED:
            return self._played(generator)
        own = self.kinds[kind]
        chances = np.sqrt([r.seconds for r in own])
        speed = 1.0
        if generator.random() < 0.5:
            speed = float(np.exp(generator.uniform(*np.log(SPEEDS))))
        needed_s = self.frames / RATE * speed + 0.1
        first = own[int(generator.choice(len(own), p=chances / chances.sum()))]
        if first.seconds >= needed_s:
            return self._fitted(_read(first, needed_s, speed, generator))
        parts: list[Sound] = []
        frames = 0
        while frames < self.frames and len(parts) < MOST_IN_A_ROW:
            again = own[int(generator.integers(len(own)))] if parts else first
            part = _read(again, min(again.seconds, needed_s), speed, generator)
            gap = round(generator.random() ** 3 * LONGEST_GAP_S * RATE)
            parts.append(np.pad(part, ((0, 0), (0, gap))))
            frames += part.shape[1] + gap
        return self._fitted(np.concatenate(parts, axis=1))

    def _played(self, generator: np.random.Generator) -> Sound:
        song, seed = int(generator.integers(len(SONGS))), int(generator.integers(1 << 30))
        return perform(self.frames / RATE + 0.05, RATE, song=song, seed=seed)[:, : self.frames]

    def _fitted(self, x: Sound) -> Sound:
        short = self.frames - x.shape[1]
        return np.ascontiguousarray(np.pad(x, ((0, 0), (0, max(short, 0))))[:, : self.frames])


def _rms(x: Sound) -> float:
    return max(float(np.sqrt(np.square(x).mean())), 1e-6)


def _read(recording: Recording, seconds: float, speed: float, generator: np.random.Generator) -> Sound:
    """Return a passage (2, time) of a recording at RATE, played at a speed."""
    with soundfile.SoundFile(str(recording.path)) as file:
        count = min(round(seconds * file.samplerate), file.frames)
        file.seek(int(generator.integers(file.frames - count + 1)))
        x = file.read(count, dtype="float32", always_2d=True)
        rate = file.samplerate
    x = np.repeat(x, 2, axis=1) if x.shape[1] == 1 else x[:, :2]
    if rate * speed != RATE:
        x = soxr.resample(x, rate * speed, RATE, quality="HQ")
    made: Sound = np.ascontiguousarray(x.T, dtype=np.float32)
    return made
