"""Items of the CounterFX protocol (known chain), rendered with pedalboard on test recordings.

Two adjacent windows A, B of one recording, each at -20 LUFS, and a random chain R:

    input = A,   reference = R(B),   truth = R(A),   score of an output y = Ld(y, truth)

Ld is the multi-resolution STFT distance of `fxstyle.features.truth_distance`; no level is matched.
Inclusion probabilities and ranges are the published ones (see UNITS); what the publication leaves open
is decided here and said here:

- the four orders (ORDERS) and the chorus' ranges;
- music, instruments and speech come in the fixed rotation KINDS, recordings of a kind in turn;
- windows are 10 s, or half of a recording that is shorter than 20 s, never less than 5 s;
- everything is 44.1 kHz stereo; a mono recording becomes two equal channels, so that a stereo effect
  (reverb, chorus) is heard as it would be in a stereo session;
- speech of the test split is one voice in short utterances, each in a measured room: two are joined for
  A and two others for B, at equal loudness, with 10 ms fades.

Item k of a seed does not depend on how many items are asked for. Scores come from rows of split
`test`; what is learnt or chosen comes from `train`.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pedalboard
import pyloudnorm
import soundfile
import soxr

from fxstyle import effects
from fxstyle.chain import Chain
from fxstyle.features.truth_distance import ld
from fxstyle.units import db_to_amplitude

Stereo = npt.NDArray[np.float32]

RATE = 44100
WINDOW_S, SHORTEST_S = 10.0, 5.0
LOUDNESS_LUFS = -20.0
QUIETEST_LUFS = -50.0
"""A window below this as recorded is a pause, not material."""

SMALLEST_LD = 0.8
"""Items whose truth is nearer to the input than this are dropped: there is nothing to match."""

KINDS = tuple({"m": "music", "i": "instruments", "s": "speech"}[letter] for letter in "mimsimmimsimimsmimsm")
"""Ten items of music, six of instruments and four of speech (one voice only) in every twenty."""

FOLDERS = {
    "music/": "music",
    "oneshots_loops/phrases/": "instruments",
    "drywet/mic_pairs/": "instruments",
    "drywet/di_guitar/": "instruments",
    "drywet/speech_in_rooms/": "speech",
}
MORE_FOLDERS = {"stems/": "instruments", "speech/": "speech"}
"""Of the other splits: the folders above have little of them."""


@dataclass(frozen=True)
class Unit:
    """One effect of a chain: its pedalboard class, how often it is used, its ranges, its fxstyle slot.

    `ranges`: knob -> (low, high, "log" or "linear"). `slot`: effect of fxstyle that can do the same.
    `knobs`: settings of that slot left free where only part of it is meant (the equaliser's bands).
    """

    make: type[pedalboard.Plugin]
    probability: float
    ranges: dict[str, tuple[float, float, str]]
    slot: str | None
    knobs: tuple[str, ...] = ()


UNITS: dict[str, Unit] = {
    "highpass": Unit(
        pedalboard.HighpassFilter, 0.35, {"cutoff_frequency_hz": (30.0, 1200.0, "log")},
        "eq", ("low_cut_hz", "low_cut_q"),
    ),
    "lowpass": Unit(
        pedalboard.LowpassFilter, 0.25, {"cutoff_frequency_hz": (2000.0, 18000.0, "log")},
        "eq", ("high_cut_hz", "high_cut_q"),
    ),
    "peak": Unit(
        pedalboard.PeakFilter, 0.60,
        {"cutoff_frequency_hz": (80.0, 12000.0, "log"), "gain_db": (-12.0, 12.0, "linear"),
         "q": (0.3, 6.0, "log")},
        "eq", ("peak4_hz", "peak4_db", "peak4_q"),
    ),
    "compressor": Unit(
        pedalboard.Compressor, 0.55,
        {"threshold_db": (-40.0, -6.0, "linear"), "ratio": (1.5, 12.0, "log"),
         "attack_ms": (0.1, 100.0, "log"), "release_ms": (20.0, 500.0, "log")},
        "compressor",
    ),
    "distortion": Unit(pedalboard.Distortion, 0.15, {"drive_db": (0.0, 30.0, "linear")}, "saturation"),
    # Nobody is handed a chorus: Ld compares instants, and a chorus whose oscillator is not known to the
    # sample is farther from the truth than none (bench/README.md has the figures).
    "chorus": Unit(
        pedalboard.Chorus, 0.30,
        {"rate_hz": (0.3, 3.0, "log"), "depth": (0.05, 0.4, "linear"),
         "centre_delay_ms": (5.0, 15.0, "linear"), "feedback": (0.0, 0.3, "linear"),
         "mix": (0.3, 0.6, "linear")},
        None,
    ),
    "delay": Unit(
        pedalboard.Delay, 0.15,
        {"delay_seconds": (0.03, 1.5, "log"), "feedback": (0.0, 0.7, "linear"), "mix": (0.1, 0.7, "linear")},
        "delay",
    ),
    "reverb": Unit(
        pedalboard.Reverb, 0.35,
        {"room_size": (0.2, 0.9, "linear"), "damping": (0.1, 0.9, "linear"),
         "wet_level": (0.1, 0.6, "linear"), "dry_level": (0.5, 0.5, "linear"), "width": (0.0, 1.0, "linear")},
        "reverb",
    ),
}  # fmt: skip

ORDERS: tuple[tuple[str, ...], ...] = (
    ("highpass", "lowpass", "peak", "compressor", "distortion", "chorus", "delay", "reverb"),
    ("compressor", "highpass", "lowpass", "peak", "distortion", "chorus", "delay", "reverb"),
    ("distortion", "highpass", "lowpass", "peak", "compressor", "chorus", "delay", "reverb"),
    ("highpass", "lowpass", "peak", "distortion", "compressor", "delay", "chorus", "reverb"),
)
FEWEST, MOST = 1, 4


@dataclass(frozen=True)
class Step:
    """One unit of an item's chain with its settings."""

    unit: str
    settings: dict[str, float]

    def __str__(self) -> str:
        return f"{self.unit}({', '.join(f'{k}={v:.3g}' for k, v in self.settings.items())})"


@dataclass(frozen=True)
class Item:
    """One task of the benchmark; all audio (2, time) float32 at RATE.

    Attributes
    ----------
    name: number and recording. kind: music, instruments or speech.
    input, reference, truth: see this module's docstring. untouched: Ld(input, truth).
    steps: what was done. chain, lock: the known chain for fxstyle (effects in order, settings locked off).
    """

    name: str
    kind: str
    input: Stereo
    reference: Stereo
    truth: Stereo
    untouched: float
    steps: tuple[Step, ...]
    chain: str
    lock: tuple[str, ...]


def data_folder() -> Path:
    """Return the folder named by FXSTYLE_DATA, or leave the program saying what is missing."""
    folder = os.environ.get("FXSTYLE_DATA", "")
    if not (Path(folder) / "MANIFEST.csv").is_file():
        raise SystemExit(
            f"FXSTYLE_DATA = {folder!r}: set it to the folder of recordings that holds MANIFEST.csv"
        )
    return Path(folder)


@cache
def recordings(data: Path, split: str = "test") -> dict[str, tuple[tuple[Path, ...], ...]]:
    """Recordings of a split by kind; one of speech is the group of utterances of a voice."""
    found: dict[str, list[tuple[Path, ...]]] = {"music": [], "instruments": [], "speech": []}
    voices: dict[str, list[Path]] = {}
    folders = FOLDERS if split == "test" else FOLDERS | MORE_FOLDERS
    with (data / "MANIFEST.csv").open(newline="", encoding="utf-8") as file:
        for row in sorted(csv.DictReader(file), key=lambda row: row["path"]):
            kind = next((k for folder, k in folders.items() if row["path"].startswith(folder)), None)
            if row["split"] != split or kind is None:
                continue
            path = data / row["path"]
            if kind == "speech":
                voices.setdefault(path.name.split("_")[0], []).append(path)
            elif float(row["duration_s"]) >= 2.0 * SHORTEST_S:
                found[kind].append((path,))
    found["speech"] = [tuple(paths) for paths in voices.values() if len(paths) >= 4]
    return {kind: tuple(paths) for kind, paths in found.items()}


@cache
def load(path: Path) -> Stereo:
    """Read a file as (2, time) at RATE; mono becomes two equal channels."""
    x, rate = soundfile.read(path, dtype="float32", always_2d=True)
    if rate != RATE:
        x = soxr.resample(x, rate, RATE, quality="VHQ")
    return np.ascontiguousarray(np.broadcast_to(x.T, (2, x.shape[0])), dtype=np.float32)


@cache
def _meter() -> pyloudnorm.Meter:
    return pyloudnorm.Meter(RATE)


def loudness_lufs(x: Stereo) -> float:
    """Integrated loudness of (2, time) at RATE after BS.1770-4."""
    return float(_meter().integrated_loudness(x.T))


def at_loudness(x: Stereo, target_lufs: float) -> Stereo:
    """Return `x` with the loudness `target_lufs`; unchanged if silent."""
    lufs = loudness_lufs(x)
    if not math.isfinite(lufs):
        return x
    return (x * db_to_amplitude(target_lufs - lufs)).astype(np.float32)


def _joined(paths: list[Path]) -> Stereo:
    """Utterances one after the other, each at LOUDNESS_LUFS, with short fades."""
    fade = np.linspace(0.0, 1.0, round(0.010 * RATE), dtype=np.float32)
    parts = []
    for path in paths:
        x = at_loudness(load(path), LOUDNESS_LUFS)
        x[:, : fade.size] *= fade
        x[:, -fade.size :] *= fade[::-1]
        parts.append(x)
    return np.concatenate(parts, axis=1)


def windows(paths: tuple[Path, ...], rng: np.random.Generator) -> tuple[Stereo, Stereo] | None:
    """Two adjacent windows at LOUDNESS_LUFS, or None where one of them is a pause."""
    if len(paths) > 1:
        order = [paths[i] for i in rng.permutation(len(paths))[:4]]
        a, b = _joined(order[:2]), _joined(order[2:])
        frames = min(a.shape[1], b.shape[1], round(WINDOW_S * RATE))
        pair = a[:, :frames], b[:, :frames]
    else:
        x = load(paths[0])
        frames = min(round(WINDOW_S * RATE), x.shape[1] // 2)
        start = int(rng.integers(x.shape[1] - 2 * frames + 1))
        pair = x[:, start : start + frames], x[:, start + frames : start + 2 * frames]
    if min(loudness_lufs(w) for w in pair) < QUIETEST_LUFS:
        return None
    return at_loudness(pair[0], LOUDNESS_LUFS), at_loudness(pair[1], LOUDNESS_LUFS)


def _draw(low: float, high: float, scale: str, rng: np.random.Generator) -> float:
    u = float(rng.random())
    return low * (high / low) ** u if scale == "log" else low + u * (high - low)


def draw_steps(rng: np.random.Generator) -> tuple[Step, ...]:
    """Draw a chain of 1 to 4 effects in one of the ORDERS."""
    while True:
        order = ORDERS[int(rng.integers(len(ORDERS)))]
        used = [name for name in order if rng.random() < UNITS[name].probability]
        if FEWEST <= len(used) <= MOST:
            return tuple(
                Step(name, {knob: _draw(*span, rng) for knob, span in UNITS[name].ranges.items()})
                for name in used
            )


def process(x: Stereo, steps: tuple[Step, ...]) -> Stereo:
    """Render a chain with pedalboard, starting from silence; the tail beyond the window is cut."""
    plugins: list[Any] = [UNITS[step.unit].make(**step.settings) for step in steps]
    return np.asarray(pedalboard.Pedalboard(plugins)(x, RATE, reset=True), dtype=np.float32)


def known_chain(steps: tuple[Step, ...]) -> tuple[str, tuple[str, ...]]:
    """The chain of fxstyle that can do what `steps` did, and the locks on what they did not use.

    A final gain takes the make-up the third-party effects lack or add. Equaliser bands that the item
    does not use are locked at their (neutral) defaults.
    """
    slots: list[str] = []
    free: set[str] = set()
    for step in steps:
        unit = UNITS[step.unit]
        free |= set(unit.knobs)
        if unit.slot is not None and unit.slot not in slots:
            slots.append(unit.slot)
    locks = (
        tuple(
            f"eq.{p.name}={p.default!r}" for p in effects.get("eq").params if p.fitted and p.name not in free
        )
        if "eq" in slots
        else ()
    )
    return ",".join([*slots, "gain"]), locks


HEARD_DB = 1.0
"""A bell or a shelf of less is none."""

CUT_HZ = (20.0, 18000.0)
"""A cut beyond these is none."""


def units_of(chain: Chain) -> set[str]:
    """Return the units that a chain of fxstyle stands for: which of the equaliser's parts are in use, too."""
    found = set()
    for slot in chain:
        if slot.bypass or slot.amount == 0.0:
            continue
        if slot.effect.name != "eq":
            found |= {name for name, unit in UNITS.items() if (unit.slot or name) == slot.effect.name}
            continue
        if slot.settings["low_cut_hz"] > CUT_HZ[0]:
            found.add("highpass")
        if slot.settings["high_cut_hz"] < CUT_HZ[1]:
            found.add("lowpass")
        if any(abs(v) * slot.amount >= HEARD_DB for knob, v in slot.settings.items() if knob.endswith("_db")):
            found.add("peak")
    return found


def _item(number: int, seed: int, data: Path, split: str) -> Item:
    kind = KINDS[number % len(KINDS)]
    group = recordings(data, split)[kind]
    turn = sum(k == kind for k in KINDS) * (number // len(KINDS)) + KINDS[: number % len(KINDS)].count(kind)
    lap, place = divmod(turn, len(group))
    paths = group[np.random.default_rng([seed, lap, KINDS.index(kind)]).permutation(len(group))[place]]
    attempt = 0
    while True:
        rng = np.random.default_rng([seed, number, attempt])
        attempt += 1
        pair = windows(paths, rng)
        if pair is None:
            continue
        steps = draw_steps(rng)
        truth, reference = process(pair[0], steps), process(pair[1], steps)
        untouched = ld(pair[0], truth, RATE)
        if untouched >= SMALLEST_LD and np.isfinite(reference).all():
            chain, lock = known_chain(steps)
            name = f"{number:03d} {paths[0].stem if len(paths) == 1 else paths[0].stem.split('_')[0]}"
            return Item(name, kind, pair[0], reference, truth, untouched, steps, chain, lock)


def items(n: int = 40, seed: int = 0, data: Path | None = None, split: str = "test") -> Iterator[Item]:
    """Yield `n` items of a seed, one at a time."""
    folder = data or data_folder()
    for number in range(n):
        yield _item(number, seed, folder, split)
