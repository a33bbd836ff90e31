"""`fxstyle apply` to folders: what can be done is done, what cannot is said, nothing is left over."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fxstyle.cli.apply as command
from fxstyle.audio import Audio, read, write
from fxstyle.chain import Chain
from fxstyle.cli import main
from fxstyle.presets import Preset

RATE = 44100
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with three takes and a preset."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a.wav", "b.wav", "c.wav")):
        x = np.random.default_rng(seed).normal(0.0, 0.1, (2, 5000)).astype(np.float32)
        write(tmp_path / name, Audio(x, RATE), subtype="FLOAT")
    Preset.from_chain(Chain.parse("gain").with_settings({"gain.gain_db": -6.0})).save(tmp_path / "p.json")
    return tmp_path


@pytest.fixture
def run(folder: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = main([str(a) for a in arguments])
        out, err = capfd.readouterr()
        return code, out, err

    return call


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("output", ["out/", "deep/er/out/"])
def test_a_slash_makes_the_folder(run: Run, folder: Path, output: str) -> None:
    code, _, err = run("apply", "p.json", "a.wav", "-o", output)
    assert (code, err) == (0, "")
    assert names(folder / output) == ["a.wav"]
    # A second time the folder is there.
    assert run("apply", "p.json", "b.wav", "-o", output)[0] == 0
    assert names(folder / output) == ["a.wav", "b.wav"]


@pytest.mark.parametrize("output", ["out", "out/"])
def test_several_inputs_make_the_folder(run: Run, folder: Path, output: str) -> None:
    assert run("apply", "p.json", "a.wav", "b.wav", "-o", output)[0] == 0
    assert names(folder / "out") == ["a.wav", "b.wav"]


def test_one_existing_output_does_not_stop_the_others(run: Run, folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "b.wav").write_text("mine")
    code, out, err = run("apply", "p.json", "a.wav", "b.wav", "c.wav", "-o", "out")
    assert code == 3
    assert (folder / "out" / "b.wav").read_text() == "mine"
    assert [line.split()[0] for line in out.splitlines()] == ["out/a.wav", "out/c.wav"]
    assert "out/b.wav exists already; choose another name or add --force" in err
    assert "1 of 3 files failed" in err
    for name in ("a.wav", "c.wav"):
        assert np.allclose(
            read(folder / "out" / name).samples, read(name).samples * 10 ** (-6 / 20), rtol=1e-6
        )

    code, out, _ = run("apply", "p.json", "a.wav", "b.wav", "-o", "out", "--json")
    assert code == 1
    assert [entry["ok"] for entry in json.loads(out)["files"]] == [False, False]
    assert run("apply", "p.json", "a.wav", "b.wav", "-o", "out", "--force")[0] == 0
    assert (folder / "out" / "b.wav").read_bytes() != b"mine"


@pytest.mark.parametrize("inputs", [["none.wav"], ["none.wav", "void.wav"], ["bad.wav", "none.wav"]])
def test_a_folder_in_which_nothing_came_to_be_is_taken_back(
    run: Run, folder: Path, inputs: list[str]
) -> None:
    (folder / "bad.wav").write_text("no sound")
    before = names(folder)
    code, out, err = run("apply", "p.json", *inputs, "-o", "new/er/")
    assert (code, out) == (1, "")
    for name in inputs:
        assert name in err
    assert names(folder) == before


def test_interrupted_it_keeps_what_is_done_and_no_empty_folder(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "render_shown", interrupted)
    before = names(folder)
    assert run("apply", "p.json", "a.wav", "b.wav", "-o", "new/er/")[0] == 130
    assert names(folder) == before


@pytest.mark.parametrize(
    ("inputs", "output", "words"),
    [
        (["a.wav", "b.wav"], "out.wav", "-o out.wav names a file, and a folder is needed"),
        (["a.wav", "b.wav"], "c.wav", "-o c.wav names a file, and a folder is needed"),
        (["a.wav"], "c.wav/", "-o c.wav names a file, and a folder is needed"),
        (["a.wav", "b.wav"], ".", "a.wav is an input as well and is never replaced"),
        (["a.wav"], "out", "the name has no ending; give it one, such as .wav, or end it with a slash"),
        (["a.wav"], "out.xyz", "its ending '.xyz' is not one of .wav"),
    ],
)
def test_outputs_that_cannot_be_meant_are_usage(
    run: Run, folder: Path, inputs: list[str], output: str, words: str
) -> None:
    before = {p: p.read_bytes() for p in folder.iterdir()}
    code, out, err = run("apply", "p.json", *inputs, "-o", output, "--force")
    assert (code, out) == (2, "")
    assert words in err
    assert {p: p.read_bytes() for p in folder.iterdir()} == before


@pytest.mark.parametrize(
    "given", [["a.wav", "p.json"], ["a.wav", "b.wav", "p.json"], ["none.wav", "p.json"], ["a.wav", "p q.txt"]]
)
def test_a_preset_behind_its_input_is_put_in_order(run: Run, folder: Path, given: list[str]) -> None:
    (folder / "p q.txt").write_bytes((folder / "p.json").read_bytes())
    code, out, err = run("apply", *given, "-o", "out/")
    assert (code, out) == (2, "")
    assert f"{given[0]} is no preset, but {given[-1]} is, and the preset comes first" in err
    # What it says can be pasted into a shell.
    said = shlex.split(err.partition("first: ")[2])
    assert said == ["fxstyle", "apply", given[-1], *given[:-1], "-o", "OUTPUT"]
    assert not (folder / "out").exists()


def test_two_presets_are_another_mistake(run: Run) -> None:
    code, _, err = run("apply", "p.json", "p.json", "-o", "out.wav")
    assert code == 1
    assert "p.json cannot be read as sound" in err


def test_half_of_an_inversion_is_remarked_on(run: Run, folder: Path) -> None:
    chain = Chain.parse("gain").with_settings({"gain.invert": 1.0})
    Preset.from_chain(chain).save(folder / "turned.json")
    code, out, _ = run("apply", "turned.json", "a.wav", "-o", "half.wav", "--amount", "0.5")
    assert code == 0
    assert "Note: gain: with invert on, an amount of 0.5" in out
    assert not read(folder / "half.wav").samples.any()  # what the note warns of
    assert "invert" not in run("apply", "turned.json", "a.wav", "-o", "whole.wav")[1]
    told = run("apply", "turned.json", "a.wav", "-o", "again.wav", "--amount", "0.5", "--json")[1]
    assert "invert" in json.loads(told)["notes"][0]


def test_inspect_marks_what_does_not_count(run: Run, folder: Path) -> None:
    settings = {"delay.time_ms": 300.0, "delay.sync": 5.0, "delay.tempo_bpm": 90.0}
    Preset.from_chain(Chain.parse("delay").with_settings(settings)).save(folder / "delay.json")
    out = run("inspect", "delay.json")[1]
    assert "time_ms (does not count)" in out
    assert "tempo_bpm (does" not in out
