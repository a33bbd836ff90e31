"""Material from MIDI songs: what is read, what a passage holds, what is heard of it."""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path
from shutil import which

import numpy as np
import pytest
import soundfile

from fxstyle.cli import main
from fxstyle.errors import AudioError, SettingError
from fxstyle.train import midi

mido = pytest.importorskip("mido", reason="MIDI songs are read by mido")

SOUNDFONTS = sorted(Path("/usr/share/sounds").rglob("*.sf[23]"), key=lambda path: path.stat().st_size)
plays = pytest.mark.skipif(
    which("fluidsynth") is None or not SOUNDFONTS, reason="needs FluidSynth and a soundfont"
)

NOTES = 40
BEAT_S = 0.5


def song_file(path: Path, channels: tuple[int, ...] = (0, 3, 9)) -> Path:
    """Write a song of NOTES notes a channel, one every BEAT_S, with all that is to be left out."""
    file = mido.MidiFile(ticks_per_beat=100)
    for channel in channels:
        track = mido.MidiTrack()
        file.tracks.append(track)
        track.append(mido.Message("program_change", channel=channel, program=channel))
        for control in (91, 93, 100, 101, 6, 121, 10):
            track.append(mido.Message("control_change", channel=channel, control=control, value=64))
        for n in range(NOTES):
            track.append(mido.Message("note_on", channel=channel, note=50 + n % 12, velocity=90))
            track.append(mido.Message("note_off", channel=channel, note=50 + n % 12, time=100))
    file.save(str(path))
    return path


def archive(path: Path, song: Path) -> Path:
    """Write a Doom archive with a song and something else in it."""
    lumps = [(b"D_E1M1", song.read_bytes()), (b"PLAYPAL", b"no song")]
    data, at = b"", 12
    directory = b""
    for name, lump in lumps:
        directory += struct.pack("<ii8s", at + len(data), len(lump), name)
        data += lump
    path.write_bytes(b"IWAD" + struct.pack("<ii", len(lumps), at + len(data)) + data + directory)
    return path


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return song_file(tmp_path_factory.mktemp("songs") / "one.mid")


class TestSongs:
    def test_files_folders_and_archives_hold_the_same_song(self, song: Path, tmp_path: Path) -> None:
        wad = archive(tmp_path / "doom.wad", song)
        (direct,), (below,), (inside,) = (midi.songs([p]) for p in (song, song.parent, wad))
        assert inside.name == "doom_D_E1M1"
        assert direct.events == below.events == inside.events
        assert direct.channels == [0, 3, 9]
        # 120 beats a minute, where a song names no tempo
        assert np.allclose(np.diff(direct.notes(3)), BEAT_S)

    def test_what_is_no_song_is_left_out_or_refused(self, song: Path, tmp_path: Path) -> None:
        (tmp_path / "cut.mid").write_bytes(song.read_bytes()[:20])
        (tmp_path / "text.mid").write_text("la la la")
        with pytest.raises(AudioError, match="no MIDI songs"):
            midi.songs([tmp_path])
        with pytest.raises(AudioError, match="there is no such"):
            midi.songs([tmp_path / "none"])
        whole = archive(tmp_path / "doom.wad", song).read_bytes()
        (tmp_path / "cut.wad").write_bytes(whole[:-5])
        with pytest.raises(AudioError, match="is no Doom archive"):
            midi.songs([tmp_path / "cut.wad"])


@pytest.mark.parametrize("seed", range(20))
def test_passages_are_whole_and_hold_nothing_that_is_to_be_left_out(song: Path, seed: int) -> None:
    made = midi.passage(midi.songs([song]), np.random.default_rng(seed))
    times = [t for t, _ in made.events]
    assert all(0.0 <= t <= made.seconds for t in times)
    assert all(b >= a for a, b in pairwise(times))
    channels = {m.channel for _, m in made.events}
    assert (len(channels) == 1) == made.solo
    later = [m for t, m in made.events if t > 0.0]
    assert not any(m.type == "control_change" and m.control in midi.LEFT_OUT for m in later)
    assert not any(m.type == "program_change" for m in later)
    open_notes: set[tuple[int, int]] = set()
    for _, message in made.events:
        if message.type == "note_on":
            open_notes.add((message.channel, message.note))
        elif message.type == "note_off":
            open_notes.discard((message.channel, message.note))
    assert not open_notes, "a note sounds on for ever"


def test_one_part_keeps_its_intervals(song: Path) -> None:
    songs = midi.songs([song])
    written = [m.note for _, m in songs[0].events if m.type == "note_on" and m.channel == 0]
    drawn = (midi.passage(songs, np.random.default_rng(seed)) for seed in range(40))
    # drums are left out: they keep their keys
    solos = [p for p in drawn if p.solo and p.events[0][1].channel != midi.DRUMS]
    assert len(solos) > 5
    shifts = set()
    for part in solos:
        notes = [m.note for _, m in part.events if m.type == "note_on"]
        fits = [
            shift
            for shift in range(-midi.TRANSPOSED, midi.TRANSPOSED + 1)
            for at in range(len(written))
            if [n + shift for n in written[at : at + len(notes)]] == notes
        ]
        assert fits, "the melody is another one"
        shifts.add(fits[0])
    assert len(shifts) > 3


@plays
class TestPlayed:
    def test_sound_is_where_the_notes_are(self) -> None:
        on, off = 2.0, 2.5
        organ = [
            (0.0, mido.Message("program_change", program=16)),
            (on, mido.Message("note_on", note=69, velocity=100)),
            (off, mido.Message("note_off", note=69)),
        ]
        parts = [midi.Passage(tuple(organ), 4.0, True), midi.Passage(tuple(organ), 3.0, True)]
        for part, x in zip(parts, midi.played(parts, SOUNDFONTS[0]), strict=True):
            assert x.shape == (2, round((part.seconds + midi.GAP_S) * midi.RATE))
            loud = np.abs(x).max(axis=0) > 0.1 * np.abs(x).max()
            times = np.flatnonzero(loud) / midi.RATE
            # FluidSynth works in blocks of 64 samples; an organ is there at once, and gone soon
            assert on - 0.01 < times[0] < on + 0.05
            assert off - 0.05 < times[-1] < off + 0.3
            spectrum = np.abs(np.fft.rfft(x[0]))
            # A4, or an octave of it: organs have several ranks
            strongest_hz = float(np.argmax(spectrum)) * midi.RATE / x.shape[1]
            octaves = np.log2(strongest_hz / 440.0)
            assert abs(octaves - round(octaves)) < 0.02

    def test_the_command_writes_material(
        self, song: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ["train", "material", str(song), "--soundfont", str(SOUNDFONTS[0]), "--hours", "0.02"]
        for name in ("a", "b"):
            assert main([*words, "-o", str(tmp_path / name)]) == 0
        assert "recordings" in capsys.readouterr().out
        files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.flac"))
        assert {p.parts[0] for p in files} == {"solo", "band"}
        seconds = 0.0
        for file in files:
            x, rate = soundfile.read(tmp_path / "a" / file)
            again, _ = soundfile.read(tmp_path / "b" / file)
            assert np.array_equal(x, again), "another run made something else"
            assert float(np.abs(x).max()) == pytest.approx(midi.PEAK, abs=1e-3)
            seconds += len(x) / rate
        assert seconds >= 0.02 * 3600.0
        with pytest.raises(SettingError, match="not empty"):
            midi.write_material([song], tmp_path / "a", SOUNDFONTS[0], 0.01)

    def test_what_is_no_soundfont_is_refused(self, song: Path, tmp_path: Path) -> None:
        (tmp_path / "no.sf2").write_bytes(b"nothing")
        with pytest.raises(AudioError, match=r"no\.sf2 is no soundfont"):
            midi.write_material([song], tmp_path / "m", tmp_path / "no.sf2", 0.01)
        with pytest.raises(AudioError, match="no such soundfont"):
            midi.write_material([song], tmp_path / "m", tmp_path / "none.sf2", 0.01)
        with pytest.raises(SettingError, match="outside"):
            midi.write_material([song], tmp_path / "m", SOUNDFONTS[0], float("nan"))
        assert not (tmp_path / "m").exists()
