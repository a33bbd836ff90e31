"""What a command cannot measure or do for a recording, it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxstyle.chain import Chain
from fxstyle.cli import main
from fxstyle.render import LONGEST_AUTO_TAIL_S, render_file

RATE = 44100


def written(path: Path, samples: np.ndarray) -> Path:
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    return path


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    return written(tmp_path / "noise.wav", np.random.default_rng(0).normal(0.0, 0.1, RATE))


@pytest.fixture
def silent(tmp_path: Path) -> Path:
    return written(tmp_path / "silent.wav", np.zeros(RATE))


def test_inspect_says_that_a_recording_is_silent(
    silent: Path, noise: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(silent)]) == 0
    said = capsys.readouterr().out
    assert "Silent: no sample is above -120 dBFS" in said
    assert "Decay" not in said
    assert main(["inspect", str(noise)]) == 0
    said = capsys.readouterr().out
    assert "Silent" not in said
    assert "Decay" in said


def test_compare_with_silence_has_no_spectrum(
    silent: Path, noise: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(noise), str(silent)]) == 0
    said = capsys.readouterr().out
    assert "silent.wav is silent" in said
    assert "octave" not in said


def test_the_last_octave_of_compare_is_one_band(noise: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(noise), str(noise)]) == 0
    spans = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.split()[1:2] == ["Hz"]]
    assert spans
    assert all(len(set(ends)) == len(ends) for ends in (span.split("-") for span in spans))


def test_a_cut_tail_is_noted(noise: Path, tmp_path: Path) -> None:
    long = Chain.parse("delay").with_settings({"delay.feedback": 0.95, "delay.time_ms": 2000.0})
    report = render_file(long, noise, tmp_path / "long.wav", tail_s="auto")
    assert report.frames == RATE + round(LONGEST_AUTO_TAIL_S * RATE)
    assert any("the tail was cut after 60 s" in note for note in report.notes)
    report = render_file(Chain.parse("delay"), noise, tmp_path / "short.wav", tail_s="auto")
    assert not any("tail" in note for note in report.notes)


def test_stereo_knobs_on_a_mono_recording_are_noted(noise: Path, tmp_path: Path) -> None:
    chain = Chain.parse("delay,width,gain").with_settings(
        {"delay.ping_pong": 1.0, "width.width": 1.5, "gain.pan": 0.3}
    )
    text = "\n".join(render_file(chain, noise, tmp_path / "mono.wav").notes)
    for knob in ("delay.ping_pong", "width.width", "gain.pan"):
        assert f"these do nothing: {knob}" in text
    pair = written(tmp_path / "pair.wav", np.random.default_rng(0).normal(0.0, 0.1, (RATE, 2)))
    assert not any("mono" in note for note in render_file(chain, pair, tmp_path / "stereo.wav").notes)
