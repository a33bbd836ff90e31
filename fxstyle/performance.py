"""Small performances by a band that does not exist: something dry to demonstrate and test on.

A song fixes what a band would agree on (tempo, swing, key, chords, who plays what); the seed decides
what happens on the night (the lead's melody, ghost notes, fills, timing and velocity). `score` writes
the notes, `perform` plays them with the voices of `fxstyle.instruments` and places them in stereo.

Time of step i of a bar of sixteen:  t = 60/tempo (4 bar + i/4) + swing delay + N(0, 5 ms), where the
off-beat steps 2, 6, 10, 14 (swung eighths) or all odd steps (swung sixteenths) come late by
(swing - 1/2) of the pair. Nothing here is sampled, and no effect is applied: there is no room, no
equaliser and no compression.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fxstyle import instruments
from fxstyle.errors import SettingError
from fxstyle.units import db_to_amplitude

Part = Literal["drums", "bass", "keys", "guitar", "lead"]
PARTS: tuple[Part, ...] = ("drums", "bass", "keys", "guitar", "lead")

STEPS = 16
"""Sixteenth notes in a bar of 4/4."""

STOP = 13
"""Steps played in a bar in which the band stops on beat 4."""

PEAK_DB = -3.0
"""Highest sample of a finished performance: room for whatever is done to it next."""

HISS_DB = -84.0
"""White noise of the amplifiers: a good microphone chain; pauses are quiet, never digital zero."""

TIMING_S = 0.005
"""Standard deviation of a player's timing; good studio players are within 5 to 10 ms."""

_MINOR, _MAJOR, _DORIAN = (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 9, 10)
_VELOCITY = {"X": 1.0, "x": 0.78, "o": 0.42, "g": 0.22}
_LATE_S = {"drums": 0.0, "bass": 0.004, "keys": 0.007, "guitar": 0.006, "lead": 0.012}


@dataclass(frozen=True)
class Note:
    """One note: start and held length in seconds, MIDI pitch (or a drum's number), velocity 0..1."""

    start_s: float
    held_s: float
    midi: int
    velocity: float


@dataclass(frozen=True)
class Song:
    """What the band agreed on.

    Attributes
    ----------
    tempo: beats (quarters) a minute. swing: share of the first of two notes, 0.5 straight; `swung` which.
    key: pitch class 0..11 of the tonic. scale: its seven degrees in semitones.
    chords: scale degree (0..6) of each bar's root. form: a letter for each bar, see FORM.
    drums: a pattern of 16 steps for each drum (X accent, x, o soft, g ghost, . rest).
    bass: 16 steps of r root, f fifth, o octave, t third. keys, guitar: 16 steps of a velocity letter;
    in `guitar` D and U are strokes down and up, digits single strings of the chord.
    motifs: rhythms of the lead, 16 steps each (x a note, - hold, . rest).
    """

    name: str
    tempo: float
    swing: float
    swung: Literal["eighths", "sixteenths"]
    key: int
    scale: tuple[int, ...]
    chords: tuple[int, ...]
    form: str
    drums: dict[str, str]
    bass: str
    keys: str
    guitar: str
    motifs: tuple[str, ...]


FORM: dict[str, tuple[Part, ...]] = {
    "a": ("drums", "bass", "keys", "guitar"),
    "b": ("drums", "bass", "keys", "guitar", "lead"),
    "c": ("keys", "guitar", "lead"),
    "d": ("drums", "bass", "lead"),
    "z": ("drums", "bass", "keys", "guitar", "lead"),
}
"""Who plays in a bar: all but the lead, everyone, a break, a thin bar; z ends in a stop on beat 4."""

SONGS: tuple[Song, ...] = (
    Song("slow soul", 84, 0.56, "sixteenths", 9, _MINOR, (0, 5, 2, 6), "abzbcb",
         {"kick": "X.....x.o.x.....", "snare": "....X..g.g..X..g", "hat": "x.o.x.o.x.o.x.o."},
         "r..r..o.r...f.r.", "x.....o...x.....", "................",
         ("x--x--x---......", "....x-x-x---x---", "x-----x-x-......")),
    Song("guitar rock", 132, 0.5, "eighths", 4, _MAJOR, (0, 4, 5, 3), "abbzbbcz",
         {"kick": "X...o.x.X..x....", "snare": "....X.......X...", "hat": "X.o.x.o.X.o.x.o."},
         "r.r.r.r.r.r.f.o.", "................", "D...D.U...U.D.U.",
         ("x---x-x-x---....", "x-x-x---x-------", "....x---x-x-x---")),
    Song("bossa", 116, 0.5, "eighths", 7, _MAJOR, (1, 4, 0, 5), "abczbb",
         {"kick": "x..ox...x..ox...", "rim": "x..x..x...x..x..", "hat": "x.x.o.x.x.x.o.x."},
         "r..fr...r..fr...", "o..x..x...o..x..", "1.2.3.2.1.3.2.3.",
         ("x-----x-x---x---", "..x-x-x---......", "x---x---x-x-....")),
    Song("half-time", 72, 0.62, "sixteenths", 2, _DORIAN, (0, 3, 4, 0), "bacz",
         {"kick": "X..x......xo....", "snare": "........X......g", "hat": "x.xox.x.x.xox.oo"},
         "r.....t.f...r...", "x......o...x....", "................",
         ("x-x-x-----......", "..x-x-x-x---....", "x---..x-x-x-x---")),
    Song("folk ballad", 96, 0.5, "eighths", 0, _MAJOR, (0, 5, 3, 4), "cbbz",
         {"kick": "x.......o.......", "rim": "....x.......x...", "hat": "o.g.o.g.o.g.o.g."},
         "r.......f.....r.", "................", "1.3.2.3.1.3.2.3.",
         ("x-----x-x-------", "x---x---x---....", "....x-x-x-------")),
    Song("funk", 108, 0.54, "sixteenths", 4, _DORIAN, (0, 0, 3, 0), "abdzbc",
         {"kick": "X..x..x..xo.....", "snare": "....X..g.g..X.g.", "hat": "xoxoxoxoxoxoxoxX"},
         "r..ro..r.t.f..o.", "..x..o....x..x..", "..D.U..D..U.D.U.",
         ("x.x.x-......x.x.", "..x-..x-x---....", "x-x-..x...x-x---")),
)  # fmt: skip

_DRUMS: dict[str, int] = {"kick": 36, "rim": 37, "snare": 38, "hat": 42, "tom": 45, "open": 46, "crash": 49}
"""General MIDI percussion numbers."""


def _song(song: int) -> Song:
    if not 0 <= song < len(SONGS):
        raise SettingError(f"song = {song}: there are songs 0..{len(SONGS) - 1}; choose one of them")
    return SONGS[song]


def _near(pitch_class: int, low: int) -> int:
    """The lowest MIDI pitch of that class that is not below `low`."""
    return low + (pitch_class - low) % 12


class _Clock:
    """Seconds of a step of a bar, with swing, and a player's own inaccuracy."""

    def __init__(self, song: Song, rng: np.random.Generator) -> None:
        self.step_s = 15.0 / song.tempo
        self._swing, self._swung, self._rng = song.swing, song.swung, rng

    def __call__(self, bar: int, step: float, part: Part) -> float:
        late = 0.0
        if self._swung == "eighths" and step % 4 == 2:
            late = 4.0 * (self._swing - 0.5)
        elif self._swung == "sixteenths" and step % 2 == 1:
            late = 2.0 * (self._swing - 0.5)
        human = float(np.clip(self._rng.normal(0.0, TIMING_S), -2.0 * TIMING_S, 2.0 * TIMING_S))
        return max(0.0, (STEPS * bar + step + late) * self.step_s + _LATE_S[part] + human)


@dataclass(frozen=True)
class _Bar:
    """A bar to be written: its number, the steps played in it (STOP or all), the players."""

    song: Song
    number: int
    last: int
    clock: _Clock
    rng: np.random.Generator

    def chord(self) -> tuple[int, ...]:
        """Four pitch classes of the bar's seventh chord, root first."""
        root = self.song.chords[self.number % len(self.song.chords)]
        scale = self.song.scale
        return tuple((self.song.key + scale[(root + third) % 7]) % 12 for third in (0, 2, 4, 6))

    def time_s(self, step: int, part: Part) -> float:
        """Seconds at which `part` plays `step` of this bar."""
        return self.clock(self.number, step, part)

    def velocity(self, letter: str) -> float:
        """How hard a letter of a pattern is played this time."""
        return float(np.clip(_VELOCITY[letter] * self.rng.normal(1.0, 0.07), 0.05, 1.0))


def _strikes(pattern: str, last: int) -> list[tuple[int, int]]:
    """The steps of a pattern that are not rests, each with the steps until the next one or `last`."""
    steps = [i for i, letter in enumerate(pattern[:last]) if letter != "."]
    return [(i, end - i) for i, end in zip(steps, [*steps[1:], last][: len(steps)], strict=True)]


def _drum_bar(bar: _Bar) -> list[Note]:
    notes = []
    fill = bar.last < STEPS or bar.number % 4 == 3

    def hit(drum: str, step: int, letter: str) -> None:
        notes.append(Note(bar.time_s(step, "drums"), 0.1, _DRUMS[drum], bar.velocity(letter)))

    for drum, pattern in bar.song.drums.items():
        for step, letter in enumerate(pattern[: bar.last]):
            if letter == "." or (fill and drum != "kick" and step >= 9):
                continue
            opened = drum == "hat" and step % 4 == 2 and bar.rng.random() < 0.12
            hit("open" if opened else drum, step, letter)
    if fill:
        for step in range(9, bar.last):
            if bar.rng.random() < 0.7:
                hit("snare" if bar.rng.random() < 0.5 else "tom", step, "x" if step % 2 else "o")
    elif bar.number % 4 == 0 and bar.number:
        hit("crash", 0, "x")
    return notes


def _bass_bar(bar: _Bar) -> list[Note]:
    chord = bar.chord()
    root = _near(chord[0], 28)
    pitch = {"r": root, "t": _near(chord[1], root), "f": _near(chord[2], root), "o": root + 12}
    notes = []
    for i, length in _strikes(bar.song.bass, bar.last):
        held_s = min(length * 0.88, 6.0) * bar.clock.step_s
        velocity = bar.velocity("X" if i == 0 else "x")
        notes.append(Note(bar.time_s(i, "bass"), held_s, pitch[bar.song.bass[i]], velocity))
    return notes


def _keys_bar(bar: _Bar) -> list[Note]:
    voicing = sorted(_near(p, 53) for p in bar.chord())
    notes = []
    for i, length in _strikes(bar.song.keys, bar.last):
        held_s = length * bar.clock.step_s * float(bar.rng.uniform(0.7, 0.95))
        for midi in voicing:
            velocity = 0.8 * bar.velocity(bar.song.keys[i])
            notes.append(Note(bar.time_s(i, "keys"), held_s, midi, velocity))
    return notes


def _guitar_bar(bar: _Bar) -> list[Note]:
    root, third, fifth, _ = bar.chord()
    low = _near(root, 40)
    strings = sorted((low, _near(fifth, low), low + 12, _near(third, low + 12), _near(fifth, low + 12)))
    notes = []
    for i, length in _strikes(bar.song.guitar, bar.last):
        letter, start_s = bar.song.guitar[i], bar.time_s(i, "guitar")
        held_s = min(length, 4) * bar.clock.step_s
        if letter.isdigit():
            picked = [strings[0] if i % 8 == 0 else strings[int(letter) + 1]]
            held_s = 4.0 * bar.clock.step_s
        else:
            picked = strings if letter == "D" else strings[:1:-1]
        spread_s = float(bar.rng.uniform(0.008, 0.016))
        for place, midi in enumerate(picked):
            velocity = 0.85 * bar.velocity("X" if i % 8 == 0 else "x")
            notes.append(Note(start_s + place * spread_s, held_s, midi, velocity))
    return notes


def _lead_bar(bar: _Bar, place: int) -> tuple[list[Note], int]:
    """A motif of the song on a walk through its scale, resting on the chord at the strong beats."""
    ladder = [m for m in range(62, 84) if (m - bar.song.key) % 12 in bar.song.scale]
    chord, motif = bar.chord(), bar.song.motifs[int(bar.rng.integers(len(bar.song.motifs)))]
    notes = []
    for step, letter in enumerate(motif[: bar.last]):
        if letter != "x":
            continue
        held = 1 + len(motif[step + 1 : bar.last]) - len(motif[step + 1 : bar.last].lstrip("-"))
        place = int(np.clip(place + bar.rng.choice((-2, -1, -1, 0, 1, 1, 2, 3)), 0, len(ladder) - 1))
        if step % 8 == 0:
            place = min((i for i, m in enumerate(ladder) if m % 12 in chord), key=lambda i: abs(i - place))
        velocity = bar.velocity("X" if step % 8 == 0 else "x" if bar.rng.random() < 0.6 else "o")
        notes.append(Note(bar.time_s(step, "lead"), held * 0.92 * bar.clock.step_s, ladder[place], velocity))
    return notes, place


def score(seconds: float, *, song: int, seed: int = 0) -> dict[Part, tuple[Note, ...]]:
    """Write the notes of a performance.

    Parameters
    ----------
    seconds: length; no note starts in the last second (or tenth), so that it ends in decays.
    song: index into SONGS. seed: of the performance.

    Returns
    -------
    the notes of each part. Raises SettingError for an unknown song or a length that is not positive.
    """
    piece = _song(song)
    if not 0.0 < seconds < float("inf"):
        raise SettingError(f"seconds = {seconds:g}: a performance needs a positive, finite length")
    rng = np.random.default_rng([seed, song])
    clock = _Clock(piece, rng)
    end_s = seconds - min(1.0, 0.1 * seconds)
    written: dict[Part, list[Note]] = {part: [] for part in PARTS}
    writers: dict[Part, Callable[[_Bar], list[Note]]] = {
        "drums": _drum_bar, "bass": _bass_bar, "keys": _keys_bar, "guitar": _guitar_bar,
    }  # fmt: skip
    place = 6
    for number in range(int(end_s / (STEPS * clock.step_s)) + 1):
        letter = piece.form[number % len(piece.form)]
        bar = _Bar(piece, number, STOP if letter == "z" else STEPS, clock, rng)
        for part in FORM[letter]:
            if part == "lead":
                notes, place = _lead_bar(bar, place)
            else:
                notes = writers[part](bar)
            written[part] += notes
    return {part: tuple(n for n in notes if n.start_s < end_s) for part, notes in written.items()}


def _drum(rate: float, note: Note, rng: np.random.Generator) -> instruments.Mono:
    v = note.velocity
    match note.midi:
        case 36:
            return 0.95 * instruments.kick(rate, v, rng)
        case 37:
            return 0.7 * instruments.rim(rate, v, rng)
        case 38:
            return 0.8 * instruments.snare(rate, v, rng)
        case 45:
            return 0.8 * instruments.drum_head(rate, v, start_hz=180.0, end_hz=104.0, sweep_s=0.05, t60_s=0.5)
        case 46:
            return 0.30 * instruments.cymbal(rate, v, rng, t60_s=0.45)
        case 49:
            return 0.35 * instruments.cymbal(rate, v, rng, t60_s=2.0)
        case _:
            return 0.34 * instruments.cymbal(rate, v, rng, t60_s=0.06 + 0.05 * v)


_BODY = ((102.0, 14.0, 1.2), (204.0, 18.0, 0.8), (390.0, 12.0, 0.5))
"""Air and top-plate modes of a guitar body (Rossing, The Science of String Instruments, ch. 3)."""


def _voice(part: Part, rate: float, note: Note, rng: np.random.Generator) -> instruments.Mono:
    if part == "drums":
        return _drum(rate, note, rng)
    if part == "bass":
        string = instruments.plucked_string(
            rate, note.midi, note.held_s, note.velocity, rng, t60_s=3.5, damping=0.35, pick=0.17, tone_hz=250
        )
        return 4.2 * instruments.body(string, rate, ((85.0, 3.0, 0.8), (700.0, 2.0, 0.3)))
    if part == "keys":
        return 0.17 * instruments.electric_piano(rate, note.midi, note.held_s, note.velocity)
    if part == "guitar":
        string = instruments.plucked_string(
            rate, note.midi, note.held_s, note.velocity, rng,
            t60_s=2.4, damping=0.12, pick=0.21, tone_hz=1500, release_s=0.25,
        )  # fmt: skip
        return 0.55 * instruments.body(string, rate, _BODY)
    return 0.30 * instruments.lead(rate, note.midi, note.held_s, note.velocity, rng)


_DRUM_PAN = {42: 0.45, 46: 0.45, 49: -0.5, 45: -0.35, 37: 0.15}


def _pan(part: Part, note: Note) -> float:
    """Place from -1 (left) to 1 (right): drums as the audience sees them, keys spread by pitch."""
    if part == "drums":
        return _DRUM_PAN.get(note.midi, 0.0)
    if part == "keys":
        return float(np.clip((note.midi - 60) / 12.0, -0.7, 0.7))
    return -0.12 if part == "lead" else 0.0


def perform(seconds: float, rate: float = 44100, *, song: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Play one of SONGS for `seconds`.

    Parameters
    ----------
    seconds: length. rate: in Hz, 8000 or more. song: index into SONGS. seed: of the performance.

    Returns
    -------
    (2, time) float32, peak at PEAK_DB (and HISS_DB of noise), the same to the bit for the same
    arguments. Raises SettingError for an unknown song, a length that is not positive, or a rate below 8 kHz.
    """
    notes = score(seconds, song=song, seed=seed)
    if not rate >= 8000.0:
        raise SettingError(f"rate = {rate:g} Hz: the instruments need 8000 Hz or more")
    rng = np.random.default_rng([seed, song, 1])
    frames = max(1, round(seconds * rate))
    mix = np.zeros((2, frames))

    def add(sound: npt.NDArray[Any], start_s: float, pan: float) -> None:
        at = round(start_s * rate)
        part = mix[:, at : at + sound.size]
        angle = (pan + 1.0) * np.pi / 4.0
        part += np.array([[np.cos(angle)], [np.sin(angle)]]) * sound[: part.shape[1]]

    for part in PARTS:
        for note in notes[part]:
            if part == "guitar":
                # Double-tracked: two takes of one part, one on each side.
                for side in (-0.8, 0.8):
                    late_s = abs(float(rng.normal(0.0, TIMING_S)))
                    add(_voice(part, rate, note, rng), note.start_s + late_s, side)
            else:
                add(_voice(part, rate, note, rng), note.start_s, _pan(part, note))
    fade = min(frames, round(0.02 * rate))
    mix[:, frames - fade :] *= np.linspace(1.0, 0.0, fade)
    peak = float(np.abs(mix).max())
    mix *= db_to_amplitude(PEAK_DB) / peak if peak > 0.0 else 1.0
    hiss = db_to_amplitude(HISS_DB) * rng.standard_normal(mix.shape)
    return (mix + hiss).astype(np.float32)
