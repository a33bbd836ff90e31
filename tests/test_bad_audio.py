"""What a user may do wrong, and what a disk may: a clear error or a note, and never half a file."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxstyle.audio import Audio, AudioWarning, open_blocks, probe, read, require_sound, write
from fxstyle.chain import Chain
from fxstyle.errors import AudioError
from fxstyle.formats import CONTAINERS
from fxstyle.render import render_file
from fxstyle.writing import Writer

RATE = 44_100


def noise(channels: int = 2, frames: int = RATE) -> np.ndarray:
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (channels, frames))
    return np.asarray(x, dtype=np.float32)


def make(path: Path, subtype: str | None = None) -> Path:
    write(path, Audio(noise(), RATE), subtype=subtype)
    return path


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: round(share * len(data))])
    return path


# --- reading


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"there is no file .*take\.wav; check the name"):
        read(tmp_path / "take.wav")
    with pytest.raises(AudioError, match=r"the folder .*nowhere does not exist"):
        read(tmp_path / "nowhere" / "take.wav")


def test_folder_instead_of_file(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="is a folder; name a sound file in it"):
        read(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    make(tmp_path / "a.wav").chmod(0)
    with pytest.raises(AudioError, match="no permission"):
        read(tmp_path / "a.wav")


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.raw", "a"])
def test_empty_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(AudioError, match=r"is empty \(0 bytes\)"):
        read(tmp_path / name)


def test_header_without_samples(tmp_path: Path) -> None:
    soundfile.write(str(tmp_path / "a.wav"), np.zeros((0, 2)), RATE)
    with pytest.raises(AudioError, match="holds no sound, not one sample"):
        read(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"hello world\n" * 100, "text"),
        (b"<!DOCTYPE html><html></html>", "text"),
        (b"\x00\x00\x00\x20ftypM4A \x00" + bytes(500), "MPEG-4"),
        (b"PK\x03\x04" + bytes(500), "ZIP"),
        (b"%PDF-1.4" + bytes(500), "PDF"),
        (b"RIFF\x10\x00\x00\x00AVI " + bytes(500), "another kind of RIFF"),
        (b"\x93\x01" * 2000, "no known audio format"),
    ],
)
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".raw"])
def test_mislabelled_files_are_named_for_what_they_are(
    tmp_path: Path, content: bytes, words: str, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    for function in (read, probe):
        with pytest.raises(AudioError, match=f"cannot be read as sound: .*{words}.*ffmpeg -i"):
            function(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 70_000])
def test_not_a_number_is_placed(tmp_path: Path, bad: float, place: int) -> None:
    x = noise(frames=100_000)
    x[1, place] = bad
    soundfile.write(str(tmp_path / "a.wav"), x.T, RATE, "FLOAT")
    text = rf"a\.wav: sample {place} of channel 2 \({place / RATE:.3f} s\) is {bad}"
    with pytest.raises(AudioError, match=text):
        read(tmp_path / "a.wav")
    with pytest.raises(AudioError, match=text):
        render_file(Chain(), tmp_path / "a.wav", tmp_path / "b.wav")
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


def test_silence_is_refused_where_sound_is_needed() -> None:
    for x in (np.zeros((2, 100)), np.full((1, 100), 1e-7)):
        with pytest.raises(AudioError, match=r"the reference is silent: .*-120 dBFS"):
            require_sound(Audio(x, RATE), "the reference")
    require_sound(Audio(np.full((1, 100), 1e-4), RATE), "the reference")


@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [(".wav", "PCM_16"), (".wav", "FLOAT"), (".rf64", "PCM_24"), (".aiff", "PCM_24"), (".flac", None),
     (".ogg", None), (".mp3", None)],
)  # fmt: skip
def test_truncated_files_are_read_as_far_as_they_go_and_said(
    tmp_path: Path, suffix: str, subtype: str | None
) -> None:
    path = make(tmp_path / f"a{suffix}", subtype)
    whole = read(path).samples
    cut(path, 0.6)
    with pytest.warns(AudioWarning, match=r"a\.\w+ is cut short"):
        audio = read(path)
    assert 0.4 * RATE < audio.frames < 0.65 * RATE
    assert audio.source is not None
    assert len(audio.source.notes) >= 1
    if suffix != ".mp3":  # whose last packet lacks the bits that its successor would have brought
        assert np.array_equal(audio.samples, whole[:, : audio.frames])
    report = render_file(Chain(), path, tmp_path / "out.wav")
    assert report.frames == audio.frames
    assert any("cut short" in note for note in report.notes)


@pytest.mark.parametrize("block", [100, 5000, 1_000_000])
def test_a_broken_flac_gives_the_same_in_any_blocks(tmp_path: Path, block: int) -> None:
    path = cut(make(tmp_path / "a.flac"), 0.7)
    with open_blocks(path, block) as reader:
        frames = sum(b.shape[1] for b in reader)
    # a call that meets the broken frame loses at most what it had: 1024 samples
    assert 0.7 * RATE - 4096 - 1024 <= frames <= 0.7 * RATE


def frames_or_named_error(path: Path) -> int:
    """Return the frames that could be read, 1 if that was refused with the file's name; else raise."""
    try:
        return read(path).frames
    except AudioError as error:
        if str(path) not in str(error):
            raise
        return 1


@pytest.mark.parametrize("suffix", [".wav", ".aiff", ".flac", ".ogg", ".mp3"])
@pytest.mark.parametrize("size", [4, 20, 44, 100])
def test_a_stump_of_a_header_is_an_error(tmp_path: Path, suffix: str, size: int) -> None:
    path = make(tmp_path / f"a{suffix}")
    path.write_bytes(path.read_bytes()[:size])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AudioWarning)
        # a header of 44 bytes may be complete; then there are at most as many samples as bytes
        assert 0 < frames_or_named_error(path) <= size


def test_damage_in_the_middle_is_never_an_unnamed_exception(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for suffix in (".wav", ".aiff", ".flac", ".ogg", ".mp3"):
        path = make(tmp_path / f"a{suffix}")
        data = bytearray(path.read_bytes())
        for _ in range(10):
            hurt = bytearray(data)
            for place in rng.integers(0, len(hurt), 20):
                hurt[place] = int(rng.integers(256))
            path.write_bytes(hurt)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AudioWarning)
                assert frames_or_named_error(path) > 0


# --- writing


def left_behind(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def writer(path: Path, **options: object) -> Writer:
    settings: dict[str, object] = {"container": CONTAINERS["WAV"], "subtype": "PCM_16", **options}
    return Writer(path, RATE, 2, **settings)  # type: ignore[arg-type]  # options of several types


def test_existing_file_needs_force(tmp_path: Path) -> None:
    path = make(tmp_path / "a.wav")
    before = path.read_bytes()
    with pytest.raises(AudioError, match=r"a\.wav exists; .*--force"):
        write(path, Audio(noise(), RATE))
    assert path.read_bytes() == before
    write(path, Audio(0.5 * noise(), RATE), force=True)
    assert path.read_bytes() != before


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with pytest.raises(AudioError, match="exists"), writer(path) as out:  # noqa: PT012
        out.write(noise())
        path.write_text("somebody else's")
    assert path.read_text() == "somebody else's"
    assert left_behind(tmp_path) == ["a.wav"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_any_interruption_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    old = make(tmp_path / "old.wav").read_bytes()
    for name, force in (("new.wav", False), ("old.wav", True)):
        with pytest.raises(error), writer(tmp_path / name, force=force) as out:  # noqa: PT012
            out.write(noise())
            raise error
    assert left_behind(tmp_path) == ["old.wav"]
    assert (tmp_path / "old.wav").read_bytes() == old


INTERRUPTED = """
import sys
from fxstyle.chain import Chain
from fxstyle.render import render_file
def progress(done, total):
    print(done, flush=True)
render_file(Chain(), sys.argv[1], sys.argv[2], progress=progress, tail_s=36000.0)
"""


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_control_c_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    make(tmp_path / "a.wav")
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) > 0
        assert len(left_behind(tmp_path)) == 2
        process.send_signal(signal.SIGINT)
        _, trace = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in trace
    assert left_behind(tmp_path) == ["a.wav"]


FULL = """
import resource, sys
import numpy as np
from fxstyle.audio import Audio, write
from fxstyle.errors import AudioError
# The kernel stops every file at this size, as a full disk would: write() comes back short.
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
x = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 400_000)).astype("float32")
try:
    write(sys.argv[1], Audio(x, 44_100))
except AudioError as error:
    print(error)
else:
    print("written")
"""


@pytest.mark.skipif(os.name != "posix", reason="limits the file size through POSIX")
@pytest.mark.parametrize("suffix", [".wav", ".rf64", ".flac", ".aiff", ".ogg", ".mp3"])
@pytest.mark.parametrize("limit", [0, 10, 5000, 150_000, None])
def test_a_full_disk_leaves_nothing_and_says_so(tmp_path: Path, suffix: str, limit: int | None) -> None:
    if limit is None:  # all but the last byte
        whole = tmp_path / f"whole{suffix}"
        x = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 400_000)).astype("float32")
        write(whole, Audio(x, RATE))
        limit = whole.stat().st_size - 1
        whole.unlink()
    command = [sys.executable, "-c", FULL, str(tmp_path / f"a{suffix}"), str(limit)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"cannot write {tmp_path / f'a{suffix}'}" in said
    assert "MB are free" in said
    assert left_behind(tmp_path) == []


def test_a_disk_that_fails_at_the_very_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AudioError, match="the disk is full"):
        write(tmp_path / "a.wav", Audio(noise(), RATE))
    assert left_behind(tmp_path) == []


def test_unwritable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*args: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(AudioError, match=r"no permission in .*; choose another folder"):
        write(tmp_path / "a.wav", Audio(noise(), RATE))


def test_targets_that_are_no_files(tmp_path: Path) -> None:
    audio = Audio(noise(), RATE)
    with pytest.raises(AudioError, match=r"the folder .* does not exist; create it"):
        write(tmp_path / "nowhere" / "a.wav", audio)
    (tmp_path / "b.wav").mkdir()
    with pytest.raises(AudioError, match="it is a folder"):
        write(tmp_path / "b.wav", audio, force=True)
    if Path("/dev/null").exists():
        with pytest.raises(AudioError, match="it is a device"):
            write("/dev/null", audio, container="WAV", force=True)


@pytest.mark.parametrize(
    ("name", "rate", "channels", "text"),
    [
        ("a.mp3", 96_000, 2, "MP3 cannot carry 96000 Hz, only .*44100, 48000 Hz; write .wav or .flac"),
        ("a.mp3", 44_100, 6, "MP3 cannot carry 6 channels, at most 2; write .wav"),
        ("a.opus", 44_100, 2, "OPUS cannot carry 44100 Hz.*resample"),
        ("a.ogg", 384_000, 2, "OGG cannot carry 384000 Hz, at most 200000 Hz"),
        ("a.ogg", 48_000, 300, "OGG cannot carry 300 channels"),
        ("a.flac", 768_000, 1, "FLAC cannot carry 768000 Hz"),
        ("a.flac", 48_000, 9, "FLAC cannot carry 9 channels"),
        ("a.xyz", 48_000, 1, r"its ending '\.xyz' is not one of \.wav"),
        ("a", 48_000, 1, "its name has no ending"),
    ],
)
def test_what_a_container_cannot_carry(
    tmp_path: Path, name: str, rate: int, channels: int, text: str
) -> None:
    with pytest.raises(AudioError, match=text):
        write(tmp_path / name, Audio(noise(channels, 100), rate))
    assert left_behind(tmp_path) == []


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"FLAC has no sample format 'FLOAT', only PCM_S8, PCM_16, PCM_24"):
        write(tmp_path / "a.flac", Audio(noise(), RATE), subtype="FLOAT")
    with pytest.raises(AudioError, match="no container is called 'TAPE'"):
        write(tmp_path / "a.flac", Audio(noise(), RATE), container="TAPE")


def test_beyond_full_scale_is_refused_but_by_float(tmp_path: Path) -> None:
    x = 4.0 * noise()
    for suffix in (".wav", ".flac", ".ogg", ".mp3"):
        with pytest.raises(AudioError, match=r"peaks at \+6\.0\d dBFS, .* would clip; lower it"):
            write(tmp_path / f"a{suffix}", Audio(x, RATE))
    assert left_behind(tmp_path) == []
    write(tmp_path / "a.wav", Audio(x, RATE), subtype="FLOAT")
    assert np.array_equal(read(tmp_path / "a.wav").samples, x)


def test_blocks_that_are_no_sound(tmp_path: Path) -> None:
    x = noise()
    x[0, 5] = np.nan
    with pytest.raises(AudioError, match="not a number"), writer(tmp_path / "a.wav") as out:
        out.write(x)
    with pytest.raises(AudioError, match=r"shape \(3, 5\)"), writer(tmp_path / "a.wav") as out:
        out.write(np.zeros((3, 5)))
    with pytest.raises(AudioError, match="not one sample"), writer(tmp_path / "a.wav"):
        pass
    assert left_behind(tmp_path) == []


def test_a_wav_does_not_outgrow_its_header(tmp_path: Path) -> None:
    ends = pytest.raises(AudioError, match=r"WAV ends at 4 GiB; write \.rf64")
    with ends, writer(tmp_path / "a.wav") as out:
        out.frames = 2**30  # as if so much had been written
        out.write(noise())
    assert left_behind(tmp_path) == []


def test_long_names(tmp_path: Path) -> None:
    name = 250 * "a" + ".wav"  # 254 bytes of the 255 there are: no room for a longer temporary name
    write(tmp_path / name, Audio(noise(), RATE))
    assert left_behind(tmp_path) == [name]


def test_result_is_as_readable_as_other_files(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    make(tmp_path / "a.wav")
    assert (tmp_path / "a.wav").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_copying_keeps_a_mislabelled_files_own_format(tmp_path: Path) -> None:
    make(tmp_path / "a.mp3")
    shutil.move(tmp_path / "a.mp3", tmp_path / "a.wav")
    # an MP3 in a WAV's clothes has no depth to keep: 24 bit
    report = render_file(Chain(), tmp_path / "a.wav", tmp_path / "b.wav")
    assert (report.output.container, report.output.subtype) == ("WAV", "PCM_24")
