"""Dry material from MIDI songs, rendered by FluidSynth: single parts and bands, never quite as written.

A passage is a stretch of one song, one of its parts or several, in another key and tempo and mostly on other
instruments than written. FluidSynth's own reverb and chorus are off, and what songs send to them is left out.
Songs come as MIDI files or in a Doom archive (.wad), as those of Freedoom do.
"""

from __future__ import annotations

import math
import struct
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import soundfile

from fxstyle.errors import AudioError, SettingError
from fxstyle.files import write_bytes
from fxstyle.train.units import Sound

RATE = 44_100
PASSAGE_S = (8.0, 20.0)
GAP_S = 1.5
"""After a passage, for what rings on."""

TOGETHER = 24
"""Passages that one call of FluidSynth plays: it takes longer to start than to play one."""

SOLO = 0.6
AS_WRITTEN = 0.35
"""How often a passage is of one part; how often a part keeps its instrument."""

PROGRAMS, DRUM_KITS, DRUMS = 120, (0, 8, 16, 24, 25, 32, 40, 48), 9
"""Instruments of General MIDI that make music; kits; the channel of drums."""

TRANSPOSED, TEMPO = 6, (0.75, 1.3)
LEAST_NOTES = 8
LEFT_OUT = frozenset({6, 38, 91, 93, 98, 99, 100, 101, 120, 121, 123})
"""Controllers: registered parameters, which can detune a synthesiser for good, sends to effects, resets."""

TIMEOUT_S = 600.0
PEAK = 0.7
QUIET = 1e-3


@dataclass(frozen=True)
class Song:
    """MIDI messages with their times in seconds."""

    name: str
    events: tuple[tuple[float, Any], ...]

    def notes(self, channel: int) -> list[float]:
        """Return when notes of a channel begin."""
        return [t for t, m in self.events if m.type == "note_on" and m.velocity and m.channel == channel]

    @property
    def channels(self) -> list[int]:
        """Return the channels with at least LEAST_NOTES notes."""
        return [c for c in range(16) if len(self.notes(c)) >= LEAST_NOTES]


def _archived(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the MIDI files of a Doom archive: header, then a directory of offset, size and name."""
    count, at = struct.unpack_from("<ii", data, 4)
    for i in range(count):
        begin, size, name = struct.unpack_from("<ii8s", data, at + 16 * i)
        if data[begin : begin + 4] == b"MThd":
            yield name.rstrip(b"\0").decode("ascii", "replace"), data[begin : begin + size]


def _song(name: str, data: bytes) -> Song | None:
    import mido

    events, now = [], 0.0
    try:
        for message in mido.MidiFile(file=BytesIO(data), clip=True):
            now += message.time
            if not message.is_meta and hasattr(message, "channel"):
                events.append((now, message))
    except (EOFError, OSError, ValueError, KeyError, IndexError):
        return None
    song = Song(name, tuple(events))
    return song if song.channels else None


def songs(paths: Sequence[Path]) -> list[Song]:
    """Return the songs of MIDI files, folders and Doom archives; those that cannot be read are left out.

    Raises AudioError where there is none, SettingError where the package mido is missing.
    """
    try:
        import mido  # noqa: F401
    except ModuleNotFoundError:
        raise SettingError("MIDI songs are read by the package mido: pip install 'fxstyle[train]'") from None
    files = []
    for path in paths:
        if not path.exists():
            raise AudioError(f"{path}: there is no such file or folder of songs")
        files += sorted(path.rglob("*")) if path.is_dir() else [path]
    found: list[Song | None] = []
    for path in files:
        ending = path.suffix.lower()
        try:
            if ending == ".wad":
                found += [_song(f"{path.stem}_{name}", data) for name, data in _archived(path.read_bytes())]
            elif ending in {".mid", ".midi"}:
                found.append(_song(path.stem, path.read_bytes()))
        except struct.error:
            raise AudioError(f"{path} is no Doom archive: it ends before its directory does") from None
    there = [song for song in found if song is not None]
    if not there:
        raise AudioError(f"no MIDI songs in {', '.join(map(str, paths))}")
    return there


@dataclass(frozen=True)
class Passage:
    """Messages with times from its beginning in seconds, its length and whether it is one part."""

    events: tuple[tuple[float, Any], ...]
    seconds: float
    solo: bool


def passage(songs: Sequence[Song], generator: np.random.Generator) -> Passage:
    """Draw a passage."""
    import mido

    song = songs[int(generator.integers(len(songs)))]
    channels = song.channels
    if generator.random() < SOLO:
        kept = [channels[int(generator.integers(len(channels)))]]
    else:
        count = int(generator.integers(min(2, len(channels)), len(channels) + 1))
        kept = [int(c) for c in generator.choice(channels, size=count, replace=False)]
    speed = float(np.exp(generator.uniform(*np.log(TEMPO))))
    shift = int(generator.integers(-TRANSPOSED, TRANSPOSED + 1))
    seconds = float(generator.uniform(*PASSAGE_S))
    starts = song.notes(kept[0])
    begin = starts[int(generator.integers(max(len(starts) - LEAST_NOTES, 1)))]
    events: list[tuple[float, Any]] = []
    for channel in kept:
        drums = channel == DRUMS
        program = int(generator.choice(DRUM_KITS) if drums else generator.integers(PROGRAMS))
        written = [m.program for t, m in song.events if m.type == "program_change" and m.channel == channel]
        if generator.random() < AS_WRITTEN and written:
            program = written[0]
        first = [("control_change", {"control": 120, "value": 0}), ("control_change", {"control": 121})]
        first += [("program_change", {"program": program}), ("control_change", {"control": 7, "value": 100})]
        events += [(0.0, mido.Message(kind, channel=channel, **rest)) for kind, rest in first]
    sounding: set[tuple[int, int]] = set()
    for t, message in song.events:
        at = (t - begin) / speed
        if not 0.0 <= at < seconds or message.channel not in kept or message.type == "program_change":
            continue
        if message.type == "control_change" and message.control in LEFT_OUT:
            continue
        made = message
        if message.type in {"note_on", "note_off"}:
            note = message.note + (0 if message.channel == DRUMS else shift)
            made = message.copy(note=min(max(note, 0), 127))
            on = message.type == "note_on" and message.velocity > 0
            (sounding.add if on else sounding.discard)((made.channel, made.note))
        events.append((at, made))
    events += [
        (seconds, mido.Message("note_off", channel=channel, note=note)) for channel, note in sorted(sounding)
    ]
    return Passage(tuple(events), seconds, len(kept) == 1)


def _file(passages: Sequence[Passage]) -> tuple[bytes, list[float]]:
    """Return one MIDI file of passages with gaps between, a tick a millisecond, and when each begins."""
    import mido

    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=500_000, time=0)])
    begins, base, last = [], 0.0, 0
    for part in passages:
        begins.append(base)
        for t, message in part.events:
            tick = max(round(1000.0 * (base + t)), last)
            track.append(message.copy(time=tick - last))
            last = tick
        base += part.seconds + GAP_S
    track.append(mido.MetaMessage("end_of_track", time=max(round(1000.0 * base) - last, 0)))
    made = BytesIO()
    mido.MidiFile(type=0, ticks_per_beat=500, tracks=[track]).save(file=made)
    return made.getvalue(), begins


@cache
def _synthesiser() -> str:
    found = which("fluidsynth")
    if found is None:
        raise SettingError("MIDI songs are played by FluidSynth, which is not here: apt install fluidsynth")
    return found


def played(passages: Sequence[Passage], soundfont: Path) -> list[Sound]:
    """Return passages (2, time) at RATE as FluidSynth plays them, without its effects.

    Raises AudioError where it cannot.
    """
    data, begins = _file(passages)
    with TemporaryDirectory() as folder:
        score, wave = Path(folder, "score.mid"), Path(folder, "score.wav")
        score.write_bytes(data)
        options = ["-ni", "-q", "-R", "0", "-C", "0", "-g", "0.3", "-r", str(RATE), "-O", "float"]
        call = [_synthesiser(), *options, "-F", str(wave), str(soundfont), str(score)]
        try:
            ran = subprocess.run(call, capture_output=True, timeout=TIMEOUT_S, check=False)
            x, _ = soundfile.read(str(wave), dtype="float32", always_2d=True)
        except (subprocess.TimeoutExpired, soundfile.LibsndfileError) as error:
            raise AudioError(f"{soundfont}: FluidSynth made no sound of it: {error}") from None
    words = ran.stderr.decode("utf-8", "replace").strip().splitlines()
    if ran.returncode or not x.size:
        raise AudioError(f"{soundfont}: FluidSynth failed: {words[-1] if words else ran.returncode}")
    return [
        np.ascontiguousarray(x[round(b * RATE) : round((b + p.seconds + GAP_S) * RATE)].T)
        for b, p in zip(begins, passages, strict=True)
    ]


def write_material(
    paths: Sequence[Path],
    folder: Path,
    soundfont: Path,
    hours: float,
    seed: int = 0,
    tell: Callable[[float], None] | None = None,
) -> int:
    """Render passages of songs as FLAC files, `solo` and `band`, until there are so many hours of them.

    Parameters
    ----------
    paths: of songs (`songs`). folder: a new one. soundfont: .sf2 or .sf3. tell: called with the share done.

    Returns how many files were written. Raises AudioError, SettingError.
    """
    if not 0.0 < hours < 1000.0:
        raise SettingError(f"--hours {hours:g} is outside 0..1000")
    if not soundfont.is_file():
        raise AudioError(f"{soundfont}: there is no such soundfont")
    if folder.exists() and any(folder.iterdir()):
        raise SettingError(f"{folder} is not empty; name a new folder")
    with soundfont.open("rb") as file:
        header = file.read(12)
    # FluidSynth would take another one in its place, without a word
    if header[:4] != b"RIFF" or header[8:] != b"sfbk":
        raise AudioError(f"{soundfont} is no soundfont; name an .sf2 or .sf3 file")
    there = songs(paths)
    generator = np.random.default_rng(seed)
    done_s, count = 0.0, 0
    while done_s < 3600.0 * hours:
        lacking = math.ceil((3600.0 * hours - done_s) / PASSAGE_S[0])
        drawn = [passage(there, generator) for _ in range(min(lacking, TOGETHER))]
        for part, x in zip(drawn, played(drawn, soundfont), strict=True):
            peak = float(np.abs(x).max(initial=0.0))
            if peak < QUIET:
                continue
            below = folder / ("solo" if part.solo else "band")
            below.mkdir(parents=True, exist_ok=True)
            made = BytesIO()
            soundfile.write(made, (x * np.float32(PEAK / peak)).T, RATE, format="FLAC", subtype="PCM_16")
            write_bytes(below / f"{count:05d}.flac", made.getvalue(), force=False)
            count += 1
            done_s += x.shape[1] / RATE
        if not count:
            raise AudioError(f"{soundfont}: {len(drawn)} passages were silent; name another soundfont")
        if tell is not None:
            tell(min(done_s / (3600.0 * hours), 1.0))
    return count
