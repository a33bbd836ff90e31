"""`fxstyle match` on what people really hand over: done properly, or refused by name with nothing written."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxstyle import writing
from fxstyle.audio import Audio, probe, write
from fxstyle.cli import main
from fxstyle.errors import AudioError
from fxstyle.formats import CONTAINERS
from fxstyle.report.summary import summarise

RATE = 44_100
FAST = ["--quality", "draft", "--chain", "gain"]
Make = Callable[[Path], object]
POSIX = pytest.mark.skipif(os.name != "posix", reason="uses signals, limits or terminals of POSIX")


def noise(rate: int = RATE, channels: int = 1, seconds: float = 1.0, level: float = 0.1) -> np.ndarray:
    x = np.random.default_rng(0).normal(0.0, level, (max(round(seconds * rate), 1), channels))
    return np.asarray(np.clip(x, -0.9, 0.9), dtype=np.float32)


def save(path: Path, x: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> None:
    soundfile.write(str(path), x, rate, subtype)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a sound input and a sound reference."""
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "dry.wav", noise(channels=2))
    save(tmp_path / "record.wav", noise(channels=2, level=0.03))
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def with_nan(path: Path) -> None:
    x = noise(channels=2)
    x[2205, 1] = np.nan
    save(path, x, subtype="FLOAT")


def mp3(path: Path) -> None:
    write(path, Audio(np.ascontiguousarray(noise(channels=2).T), RATE), container="MP3")


def cut_short(path: Path) -> None:
    save(path, noise())
    path.write_bytes(path.read_bytes()[: 44 + 2 * 30_000])


REFUSED: dict[str, tuple[Make, tuple[str, ...]]] = {
    "silent": (lambda p: save(p, np.zeros((RATE, 2))), ("odd.wav is silent", "-120 LUFS", "; choose a")),
    "no bytes": (lambda p: p.touch(), ("odd.wav", "is empty (0 bytes)")),
    "no samples": (lambda p: save(p, np.zeros((0, 2))), ("odd.wav", "not one sample")),
    "not a number": (with_nan, ("odd.wav", "sample 2205 of channel 2 (0.050 s) is nan")),
    "one sample": (lambda p: save(p, noise(seconds=0.0)), ("odd.wav is 0.000 s long", "at least 0.5 s")),
    "too short": (lambda p: save(p, noise(seconds=0.2)), ("odd.wav is 0.200 s long", "at least 0.5 s")),
    "text": (lambda p: p.write_text("hello world\n" * 99), ("odd.wav", "cannot be read as sound", "text")),
    "missing": (lambda p: None, ("odd.wav", "there is no such file; check the name")),
    "folder": (lambda p: p.mkdir(), ("odd.wav is a folder; name a sound file in it",)),
}


@pytest.mark.parametrize("role", ["input", "reference"])
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_sound_is_refused_by_name(
    folder: Path, capfd: pytest.CaptureFixture[str], kind: str, role: str
) -> None:
    make, words = REFUSED[kind]
    make(folder / "odd.wav")
    before = sorted(folder.iterdir())
    pair = ["odd.wav", "record.wav"] if role == "input" else ["dry.wav", "odd.wav"]
    outputs = ["-o", "out.wav", "--preset", "p.json", "--report", "r.html"]
    assert main(["match", *pair, *outputs, *FAST]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("fxstyle: ")
    assert err.count("\n") == 1
    assert "odd.wav" in err or f"the {role} is" in err
    for word in words:
        assert word in err
    assert sorted(folder.iterdir()) == before


ODD: dict[str, tuple[Make, tuple[int, int, int], str]] = {
    "1 kHz": (lambda p: save(p, noise(1000), 1000), (1000, 1, 1000), ""),
    "384 kHz": (lambda p: save(p, noise(384_000), 384_000), (384_000, 1, 384_000), ""),
    "64 channels": (lambda p: save(p, noise(channels=64)), (RATE, 64, RATE), ""),
    "cut short": (cut_short, (RATE, 1, 30_000), "odd.wav is cut short"),
    "MP3 named WAV": (mp3, (RATE, 2, RATE), ""),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_sound_keeps_its_rate_channels_and_length(
    folder: Path, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    make, (rate, channels, frames), note = ODD[kind]
    make(folder / "odd.wav")
    before = contents(folder)
    outputs = ["-o", "out.wav", "--report", "r.html"]
    assert main(["match", "odd.wav", "record.wav", *outputs, *FAST]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert note in out
    info = probe(folder / "out.wav")
    assert (info.rate, info.channels, info.frames) == (rate, channels, frames)
    after = contents(folder)
    assert b"nearer to the reference" in after.pop("r.html")
    assert len(after.pop("out.wav")) > frames * channels
    assert after == before


@pytest.mark.parametrize("kind", [*ODD, "too short", "one sample"])
@pytest.mark.parametrize("command", ["inspect", "compare"])
def test_odd_sound_is_measured_or_refused_in_words(
    folder: Path, capfd: pytest.CaptureFixture[str], kind: str, command: str
) -> None:
    make = (ODD[kind] if kind in ODD else REFUSED[kind])[0]
    make(folder / "odd.wav")
    code = main([command, "odd.wav", *(["record.wav"] if command == "compare" else [])])
    out, err = capfd.readouterr()
    if kind in ODD:
        assert (code, err) == (0, "")
        assert "Loudness" in out
    else:
        assert (code, out) == (1, "")
        assert "odd.wav is 0." in err
        assert "at least 0.5 s are needed to measure it" in err


def test_measures_do_not_depend_on_the_rate() -> None:
    tone = np.random.default_rng(1).normal(0.0, 0.1, 6000)
    at_low = Audio(np.asarray(tone[None], dtype=np.float32), 2000)
    import soxr  # type: ignore[import-untyped]  # compiled, without stubs

    at_high = Audio(np.asarray(soxr.resample(tone, 2000, 96_000)[None], dtype=np.float32), 96_000)
    low, high = summarise(at_low, "low"), summarise(at_high, "high")
    assert low.crest_db == pytest.approx(high.crest_db, abs=0.2)
    assert low.spread_db == pytest.approx(high.spread_db, abs=0.2)
    there = low.bands_hz < 700.0
    np.testing.assert_allclose(low.mid_db[there], high.mid_db[there], atol=0.1)
    assert (low.mid_db[low.bands_hz > 1000.0] == -120.0).all()
    # White noise rises by 3 dB per octave against pink, and ends where its rate ends.
    assert low.tilt_db == pytest.approx(3.0, abs=1.0)


LONG = 300 * "a"
WRONG_PLACES = [
    (["-o", "no/out.wav"], ("no/out.wav", "the folder no does not exist; create it")),
    (["-o", "out.wav", "--preset", "no/p.json"], ("no/p.json", "the folder no does not exist; create it")),
    (["-o", "out.wav", "--report", "no/r.html"], ("no/r.html", "the folder no does not exist; create it")),
    (["-o", f"{LONG}.wav"], (f"{LONG}.wav", "name too long; choose a shorter name")),
    (["--report", f"{LONG}.html"], (f"{LONG}.html", "name too long; choose a shorter name")),
    (["-o", "dry.wav/out.wav"], ("dry.wav/out.wav", "the folder dry.wav does not exist")),
]


@pytest.mark.parametrize(("outputs", "words"), WRONG_PLACES, ids=[str(n) for n in range(len(WRONG_PLACES))])
def test_places_that_cannot_be_written_are_found_before_the_fit(
    folder: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    outputs: list[str],
    words: tuple[str, ...],
) -> None:
    import fxstyle

    monkeypatch.setattr(fxstyle, "match", lambda *a, **k: pytest.fail("the fit was begun"))
    before = contents(folder)
    assert main(["match", "dry.wav", "record.wav", *outputs, *FAST]) == 1
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    for word in words:
        assert word.lower() in err.lower()
    assert contents(folder) == before


def test_a_name_too_long_to_exist_is_one_line(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["match", f"{LONG}.wav", "record.wav", *FAST]) == 1
    assert LONG in capfd.readouterr().err


def test_a_report_that_fails_leaves_nothing(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fxstyle.fit.result import Match

    def failing(self: Match) -> str:
        raise AudioError("no page")

    monkeypatch.setattr(Match, "report", failing)
    before = contents(folder)
    outputs = ["-o", "out.wav", "--preset", "p.json", "--report", "r.html"]
    assert main(["match", "dry.wav", "record.wav", *outputs, *FAST]) == 1
    assert capfd.readouterr().err == "fxstyle: no page\n"
    assert contents(folder) == before


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
@pytest.mark.parametrize("failing", ["open", "write"])
def test_a_writer_that_fails_closes_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if failing == "open":
        monkeypatch.setattr(writing, "NoSeek", full)
    else:
        monkeypatch.setattr(os, "write", full)  # the tags of an MP3 are written by ourselves
    writer = writing.Writer(
        tmp_path / "a.mp3", RATE, 2, container=CONTAINERS["MP3"], subtype="MPEG_LAYER_III",
        tags={"title": "Song"},
    )  # fmt: skip
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(AudioError, match="the disk is full"):
        writer.__enter__()
    assert len(os.listdir("/proc/self/fd")) == before
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_result_that_cannot_be_printed_is_one_line(folder: Path) -> None:
    command = [sys.executable, "-m", "fxstyle.cli", "effects", "--json"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "fxstyle: the result cannot be printed: No space left on device; free some space\n"


FULL = """
import resource, sys
import fxstyle
from fxstyle.cli import main
fit = fxstyle.match
def then_full(*arguments, **options):
    found = fit(*arguments, **options)
    # From here on the kernel stops every file at this size, as a full disk would.
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    return found
fxstyle.match = then_full
sys.exit(main(sys.argv[1:]))
"""


@POSIX
def test_a_disk_that_is_full_after_the_fit_leaves_nothing(folder: Path) -> None:
    before = contents(folder)
    outputs = ["-o", "out.wav", "--preset", "p.json", "--report", "r.html"]
    command = [sys.executable, "-c", FULL, "match", "dry.wav", "record.wav", *outputs, *FAST]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith("fxstyle: cannot write out.wav: ")
    assert "MB are free" in done.stderr
    assert "Traceback" not in done.stderr
    assert contents(folder) == before


@POSIX
def test_control_c_during_the_fit_gives_the_best_so_far(folder: Path) -> None:
    import pty

    before = contents(folder)
    # The progress bar, which only a terminal gets to see, says when the fit has begun.
    here, there = pty.openpty()
    outputs = ["-o", "out.wav", "--preset", "p.json", "--report", "r.html"]
    command = [sys.executable, "-m", "fxstyle.cli", "match", "dry.wav", "record.wav", *outputs]
    shown = b""
    with subprocess.Popen(
        [*command, "--quality", "best"], cwd=folder, stdout=subprocess.DEVNULL, stderr=there
    ) as process:
        os.close(there)
        sent = False
        while True:
            try:
                piece = os.read(here, 4096)
            except OSError:  # how Linux tells that the other end is closed
                break
            if not piece:
                break
            shown += piece
            # a loss is shown once there is a step to go back to
            if not sent and b"match: fit (loss" in shown:
                process.send_signal(signal.SIGINT)
                sent = True
        os.close(here)
        assert process.wait(timeout=60) == 130
    assert sent
    assert b"Traceback" not in shown
    assert {"out.wav", "p.json", "r.html"} == set(contents(folder)) - set(before)
    assert "stopped by hand" in (folder / "p.json").read_text()
