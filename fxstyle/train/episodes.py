"""Episodes: the same styles on two recordings, as the encoder hears them; made on the fly, kept on disk.

An episode is drawn from the run's seed and its number alone. Its first row is the untreated recording; of
the styles some differ from another in one knob only, which is the nearest that two styles can be.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile
import soxr  # type: ignore[import-untyped]  # compiled, without stubs
import torch

from fxstyle.embed.encoder import WINDOW_S
from fxstyle.embed.frontend import hear
from fxstyle.errors import FxstyleError, SettingError
from fxstyle.files import write_bytes
from fxstyle.train.content import RATE, Library, recordings
from fxstyle.train.outside import outside_units
from fxstyle.train.own import own_units
from fxstyle.train.units import Sound, Style, Unit, drawn, treated, varied
from fxstyle.units import db_to_amplitude

STYLES, VARIED = 5, 3
"""Styles drawn in an episode, and how many of them have a neighbour that differs in one knob."""

ROWS = 1 + STYLES + VARIED
COUNTS = (0.3, 0.25, 0.2, 0.15, 0.1)
"""How often a style has one, two, .. units."""

STAGE_RMS, STAGE_PEAK = 0.126, 1.0
"""Levels that sound is brought to before each unit, one or the other in an episode: -18 dB, or full scale."""

TINTED, TINT_DB = 0.5, 6.0
"""How often a recording has its tone changed before all, and by how much at most: contents vary in tone."""

LEVELS_DB = (-32.0, -12.0)
HISSING, HISS_DB = 0.25, (-90.0, -60.0)
"""Final levels; how often there is noise, and how much."""

CODED, CODEC_QUALITY = 0.06, (0.0, 0.9)
"""How often a window has been through a lossy codec, and libsndfile's compression level, 0 .. 1."""

CODECS = (("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"))

OTHER_RATE, RATES_HZ = 0.2, (22_050, 32_000, 48_000, 96_000)
"""How often a recording, dry and treated, is heard at another rate."""

LEAVE_OUT = ("rir", "drywet")
"""Folders that hold no material."""


class Episode(NamedTuple):
    """What is heard: (recording, row, ...) as in frontend.Heard, in float16; and the units of each row."""

    frames: npt.NDArray[np.float16]
    texture: npt.NDArray[np.float16]
    level_db: npt.NDArray[np.float16]
    present: npt.NDArray[np.float16]


PROGRAMS = ("fxstyle", "pedalboard", "sox", "ffmpeg", "lv2.calf", "lv2.mda")
"""Whose effects are used unless others are named: some plugins are left to test the encoder on."""

ATTEMPTS = 20
"""Draws of an episode, until none of its programs fails."""


@dataclass(frozen=True)
class Plan:
    """What episodes are drawn from. folders: of recordings. programs: beginnings of names of units."""

    folders: tuple[Path, ...]
    seed: int
    programs: tuple[str, ...] = PROGRAMS


def units_of(programs: Sequence[str]) -> list[Unit]:
    """Return the units of this machine whose names begin with one of these words."""
    found = [
        unit
        for unit in (*own_units(), *outside_units())
        if any(unit.name == name or unit.name.startswith(f"{name}.") for name in programs)
    ]
    if not found:
        raise SettingError(f"--programs {','.join(programs)}: there is no effect of these on this machine")
    return found


@cache
def library_and_units(plan: Plan) -> tuple[Library, list[Unit]]:
    found = [recording for folder in plan.folders for recording in recordings(folder, LEAVE_OUT)]
    return Library(found, WINDOW_S), units_of(plan.programs)


def _tinted(x: Sound, generator: np.random.Generator) -> Sound:
    """Return sound with other lows and highs, half of the time."""
    if generator.random() > TINTED:
        return x
    spectrum = np.fft.rfft(x, axis=1)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(x.shape[1], 1.0 / RATE), 20.0) / 800.0)
    low_db, high_db = generator.uniform(-TINT_DB, TINT_DB, 2)
    gain_db = low_db / (1.0 + 4.0 ** (octaves + 2.0)) + high_db / (1.0 + 4.0 ** (2.0 - octaves))
    made: Sound = np.fft.irfft(spectrum * db_to_amplitude(gain_db), n=x.shape[1], axis=1).astype(np.float32)
    return made


def _levelled(x: Sound, by_peak: bool) -> Sound:
    size = float(np.abs(x).max() if by_peak else np.sqrt(np.square(x).mean()))
    return x * np.float32((STAGE_PEAK if by_peak else STAGE_RMS) / max(size, 1e-6))


def through(style: Style, x: Sound, by_peak: bool) -> Sound:
    for step in style:
        x = treated((step,), _levelled(x, by_peak), RATE)
    return x


def _finished(x: Sound, generator: np.random.Generator) -> Sound:
    """Return sound at one of LEVELS_DB, perhaps with noise."""
    level_db = generator.uniform(*LEVELS_DB)
    x = x * np.float32(db_to_amplitude(level_db) / max(float(np.sqrt(np.square(x).mean())), 1e-6))
    if generator.random() < HISSING:
        hiss = db_to_amplitude(generator.uniform(*HISS_DB))
        x = x + np.float32(hiss) * generator.standard_normal(x.shape).astype(np.float32)
    if generator.random() < CODED:
        x = _coded(x, *CODECS[int(generator.integers(len(CODECS)))], float(generator.uniform(*CODEC_QUALITY)))
    return x


def _coded(x: Sound, container: str, codec: str, level: float) -> Sound:
    """Return sound (2, time) after a lossy codec, its delay taken back by the decoder or not."""
    file = BytesIO()
    size = max(float(np.abs(x).max()), 1.0)
    soundfile.write(file, x.T / size, RATE, codec, format=container, compression_level=level)
    file.seek(0)
    y, _ = soundfile.read(file, dtype="float32", always_2d=True)
    y = np.pad(y, ((0, max(x.shape[1] - len(y), 0)), (0, 0)))[: x.shape[1]]
    made: Sound = np.ascontiguousarray(y.T * np.float32(size))
    return made


def styles_of(units: Sequence[Unit], generator: np.random.Generator) -> list[Style]:
    """Return an episode's styles."""
    counts = generator.choice(len(COUNTS), size=STYLES, p=COUNTS) + 1
    base = [drawn(units, int(count), generator) for count in counts]
    return [*base, *(varied(style, generator) for style in base[:VARIED])]


def episode(plan: Plan, number: int) -> Episode:
    """Make an episode; raises FxstyleError where programs fail again and again."""
    for attempt in range(ATTEMPTS):
        try:
            return _drawn_episode(plan, np.random.default_rng([plan.seed, number, attempt]))
        except FxstyleError:
            if attempt == ATTEMPTS - 1:
                raise
    raise AssertionError


def _drawn_episode(plan: Plan, generator: np.random.Generator) -> Episode:
    library, units = library_and_units(plan)
    styles = styles_of(units, generator)
    by_peak = bool(generator.random() < 0.6)
    names = [u.name for u in units]
    present = np.zeros((ROWS, len(names)), np.float16)
    for row, style in enumerate(styles, start=1):
        for step in style:
            present[row, names.index(step.unit.name)] = 1.0
    parts = []
    for content in library.pair(generator):
        x = _tinted(content, generator)
        made = [x, *(through(style, x, by_peak) for style in styles)]
        windows = np.stack([_finished(y, generator) for y in made])
        rate = RATE
        if generator.random() < OTHER_RATE:
            rate = int(generator.choice(RATES_HZ))
            windows = np.stack([soxr.resample(y.T, RATE, rate, "HQ").T for y in windows])
        with torch.no_grad():
            parts.append(hear(torch.from_numpy(windows), rate))
    frames, texture, level = (
        torch.stack([getattr(p, name) for p in parts]).half().numpy() for name in parts[0]._fields
    )
    return Episode(frames, texture, level, present)


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.npz"


def load(folder: Path, number: int) -> Episode:
    """Return an episode from disk."""
    with np.load(_file(folder, number)) as found:
        return Episode(*(found[name] for name in Episode._fields))


def _begin() -> None:
    torch.set_num_threads(1)


def _make(plan: Plan, folder: Path, number: int) -> int:
    there = _file(folder, number)
    if not there.exists():
        made = BytesIO()
        np.savez(made, **episode(plan, number)._asdict())
        write_bytes(there, made.getvalue(), force=False)
    return number


@contextmanager
def making(plan: Plan, folder: Path, count: int, workers: int) -> Iterator[Iterator[int]]:
    """Make episodes 0 .. count - 1 in other processes; gives their numbers in order, as they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers, _begin) as pool:
        yield pool.imap(partial(_make, plan, folder), range(count))
