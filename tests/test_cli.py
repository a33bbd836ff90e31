"""The command line: results on stdout, errors on stderr, exit codes, nothing half written."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fxstyle
from fxstyle import effects
from fxstyle.audio import Audio, read, write
from fxstyle.chain import Chain
from fxstyle.cli import demo, main
from fxstyle.cli._checks import parse_tail
from fxstyle.cli._output import printable, progress
from fxstyle.effects import all_effects
from fxstyle.errors import SettingError
from fxstyle.features.measure import measure
from fxstyle.fit.acceptance import Verdict
from fxstyle.fit.certainty import Certainty
from fxstyle.fit.limits import AtLimit
from fxstyle.fit.result import Match, Progress
from fxstyle.fit.search import Step
from fxstyle.presets import Preset
from fxstyle.render import render

RATE = 44100
LENGTH_S = 0.6
FRAMES = round(LENGTH_S * RATE)
Run = Callable[..., tuple[int, str, str]]


def sound(seed: int, level: float = 0.1, seconds: float = LENGTH_S, channels: int = 2) -> Audio:
    x = np.random.default_rng(seed).normal(0.0, level, (channels, round(seconds * RATE)))
    return Audio(x.astype(np.float32), RATE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a dry take, a reference and a preset."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "dry.wav", sound(0), subtype="PCM_16")
    write(tmp_path / "record.wav", sound(1, 0.02), subtype="PCM_16")
    chain = Chain.parse("eq,gain").with_settings({"gain.gain_db": -6.0, "eq.peak3_db": 4.0})
    Preset.from_chain(chain, name="Softer", description="Down.").save(tmp_path / "p.json")
    return tmp_path


@pytest.fixture
def run(folder: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = main([str(a) for a in arguments])
        out, err = capfd.readouterr()
        return code, out, err

    return call


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replace the search by a finished match and record how it was asked for."""
    made: list[dict[str, Any]] = []

    def quick(source: Path, reference: Path | list[Path], **options: Any) -> Match:
        made.append({"source": source, "reference": reference, **options})
        options["progress"](Progress("fit", 0.5, 1.25))
        loaded = read(source)
        given = reference if isinstance(reference, list) else [reference]
        references = tuple(read(path) for path in given)
        return Match(
            chain=Chain.parse("gain").with_settings({"gain.gain_db": -14.0}),
            source=loaded,
            references=references,
            source_measured=measure(loaded.samples, RATE),
            reference_measured=measure(references[0].samples, RATE),
            verdict=Verdict(4.0, 1.0, True, 1.0, "75 % nearer to the reference."),
            history=(Step(0, 1, 1.0, {"tone": 1.0}),),
            pruned=("reverb",),
            notes=("the reference is quiet",),
            quality=options["quality"],
            seed=options["seed"],
            seconds=0.1,
            at_limit=(AtLimit("gain.gain_db", -14.0, "dB", "-14.0 dB", True),),
            certainty=(Certainty("gain.gain_db", -16.0, -12.0, "dB", "-16.0 dB to -12.0 dB", False),),
        )

    monkeypatch.setattr(fxstyle, "match", quick)
    return made


def test_match_writes_recording_preset_and_report(
    run: Run, calls: list[dict[str, Any]], folder: Path
) -> None:
    code, out, err = run("match", "dry.wav", "record.wav", "-o", "out.wav", "--preset", "q.json",
                         "--report", "r.html")  # fmt: skip
    assert (code, err) == (0, "")
    assert "75 % nearer to the reference." in out
    assert "-14.0 dB" in out
    assert "-16.0 dB to -12.0 dB ?" in out
    assert "the recordings hardly tell it" in out
    assert "Left out: reverb." in out
    assert "At their limit: gain.gain_db -14.0 dB (its lock)." in out
    assert "At their limit: gain.gain_db -14.0 dB (its lock)." in (folder / "r.html").read_text()
    assert (folder / "r.html").read_text().startswith("<!doctype html>")
    assert read(folder / "out.wav").samples.shape == (2, FRAMES)
    assert {p.name for p in folder.iterdir()} == {
        "dry.wav",
        "record.wav",
        "p.json",
        "out.wav",
        "q.json",
        "r.html",
    }


def test_demo_tells_what_match_tells(
    run: Run, calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "LENGTH_S", LENGTH_S)
    code, out, err = run("demo", "-o", "made")
    assert (code, err) == (0, "")
    assert "75 % nearer to the reference." in out
    assert "At their limit: gain.gain_db -14.0 dB (its lock)." in out
    assert [line.strip() for line in out.splitlines()[-6:]] == [str(Path("made", f)) for f in demo.FILES]
    content = json.loads(run("demo", "-o", "again", "--json")[1])
    assert [limit["setting"] for limit in content["at_limit"]] == ["gain.gain_db"]


def test_match_hands_every_option_to_the_fit(run: Run, calls: list[dict[str, Any]]) -> None:
    code, _, _ = run("match", "dry.wav", "record.wav", "p.wav", "--chain", "eq,gain", "--json")
    assert code == 1
    code, _, _ = run(
        "match", "dry.wav", "record.wav", "dry.wav", "--chain", "eq,reverb,gain", "--only", "eq,gain",
        "--only", "reverb", "--lock", "eq.peak1_db<=4", "--lock", "reverb=off", "--amount", "0.5",
        "--keep-loudness", "--quality", "best", "--seed", "9", "--paired", "no",
        "--weights", "2,1", "--room", "dry.wav", "--device", "cpu",
    )  # fmt: skip
    assert code == 0
    made = calls[-1]
    made.pop("progress")
    assert made == {
        "source": Path("dry.wav"),
        "reference": [Path("record.wav"), Path("dry.wav")],
        "chain": "eq,reverb,gain",
        "only": ["eq", "gain", "reverb"],
        "lock": ("eq.peak1_db<=4", "reverb=off"),
        "amount": 0.5,
        "keep_loudness": True,
        "paired": "no",
        "weights": (2.0, 1.0),
        "room": Path("dry.wav"),
        "device": "cpu",
        "quality": "best",
        "seed": 9,
    }


def test_match_without_outputs_writes_nothing_and_says_so(
    run: Run, calls: list[dict[str, Any]], folder: Path
) -> None:
    before = set(folder.iterdir())
    code, _, err = run("match", "dry.wav", "record.wav")
    assert code == 0
    assert "Nothing was written" in err
    assert set(folder.iterdir()) == before


def test_match_json_is_one_document(run: Run, calls: list[dict[str, Any]], folder: Path) -> None:
    code, out, err = run("match", "dry.wav", "record.wav", "-o", "out.wav", "--preset", "q.json", "--json")
    assert (code, err) == (0, "")
    content = json.loads(out)
    assert content["verdict"]["accepted"] is True
    assert content["output"]["output"] == "out.wav"
    assert content["output"]["frames"] == FRAMES
    assert content["chain"] == json.loads((folder / "q.json").read_text())["chain"]
    assert content["report"] is None
    assert content["at_limit"] == [
        {"setting": "gain.gain_db", "value": -14.0, "unit": "dB", "shown": "-14.0 dB", "locked": True}
    ]
    assert [sure["setting"] for sure in content["certainty"]] == ["gain.gain_db"]


def test_inspect_says_how_sure_the_match_was(run: Run, calls: list[dict[str, Any]]) -> None:
    run("match", "dry.wav", "record.wav", "--preset", "q.json")
    assert "-16.0 dB to -12.0 dB ?" in run("inspect", "q.json")[1]


def test_the_preset_knows_its_files_by_hash(run: Run, calls: list[dict[str, Any]], folder: Path) -> None:
    import hashlib

    run("match", "dry.wav", "record.wav", "--preset", "q.json")
    origin = Preset.load(folder / "q.json").provenance
    assert origin.input is not None
    assert origin.input.name == "dry.wav"
    assert origin.input.sha256 == hashlib.sha256((folder / "dry.wav").read_bytes()).hexdigest()
    assert [r.name for r in origin.reference] == ["record.wav"]
    assert origin.reference[0].sha256 == hashlib.sha256((folder / "record.wav").read_bytes()).hexdigest()


def test_match_then_apply_is_identical_to_the_bit(run: Run, folder: Path) -> None:
    code, out, err = run("match", "dry.wav", "record.wav", "-o", "a.wav", "--preset", "q.json", "--quality",
                         "draft", "--chain", "eq,gain", "--json")  # fmt: skip
    assert (code, err) == (0, "")
    verdict = json.loads(out)["verdict"]
    assert verdict["accepted"]
    assert verdict["after"] < verdict["before"]
    assert run("apply", "q.json", "dry.wav", "-o", "b.wav")[0] == 0
    assert (folder / "a.wav").read_bytes() == (folder / "b.wav").read_bytes()
    in_python = render(Preset.load("q.json").chain(), read("dry.wav").samples, RATE)
    # 16-bit output: half a step of rounding and one of dither
    assert np.abs(read("a.wav").samples - in_python).max() <= 1.5 / 2**15 + 1e-7


def test_apply_scales_by_amount(run: Run, folder: Path) -> None:
    Preset.from_chain(Chain.parse("gain").with_settings({"gain.gain_db": -40.0})).save(folder / "g.json")
    assert run("apply", "g.json", "dry.wav", "-o", "none.wav", "--amount", "0")[0] == 0
    assert (read("none.wav").samples == read("dry.wav").samples).all()
    assert run("apply", "g.json", "dry.wav", "-o", "half.wav", "--amount", "0.5")[0] == 0
    ratio = read("half.wav").samples.std() / read("dry.wav").samples.std()
    assert ratio == pytest.approx(0.5 + 0.5 * 0.01, rel=1e-3)


def test_apply_lengthens_by_the_tail(run: Run) -> None:
    code, out, _ = run("apply", "p.json", "dry.wav", "-o", "long.wav", "--tail", "0.5", "--json")
    assert code == 0
    assert json.loads(out)["files"][0]["frames"] == FRAMES + RATE // 2


def test_apply_to_a_folder_goes_on_after_a_failure(run: Run, folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "bad.wav").write_text("no sound")
    code, out, err = run("apply", "p.json", "dry.wav", "bad.wav", "record.wav", "-o", "out", "--json")
    assert code == 3
    content = json.loads(out)
    assert [entry["ok"] for entry in content["files"]] == [True, False, True]
    assert content["failed"] == 1
    assert "bad.wav" in err
    assert sorted(p.name for p in (folder / "out").iterdir()) == ["dry.wav", "record.wav"]
    assert run("apply", "p.json", "bad.wav", "none.wav", "-o", "out")[0] == 1


def test_apply_to_an_existing_folder_keeps_the_name(run: Run, folder: Path) -> None:
    (folder / "out").mkdir()
    assert run("apply", "p.json", "dry.wav", "-o", "out")[0] == 0
    assert (folder / "out" / "dry.wav").exists()


def test_apply_refuses_inputs_that_would_overwrite_each_other(run: Run, folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "sub").mkdir()
    write(folder / "sub" / "dry.wav", sound(2))
    code, _, err = run("apply", "p.json", "dry.wav", "sub/dry.wav", "-o", "out")
    assert code == 2
    assert "several inputs are called dry.wav" in err
    assert not list((folder / "out").iterdir())


REFUSED = [
    (["match", "dry.wav"], 2, "REFERENCE"),
    (["match", "dry.wav", "record.wav", "--colour"], 2, "--colour"),
    (["match", "dry.wav", "record.wav", "--quality", "perfect"], 2, "perfect"),
    (["match", "dry.wav", "record.wav", "--amount", "1.5"], 2, "--amount 1.5 is outside 0..1"),
    (["match", "dry.wav", "record.wav", "--amount", "nan"], 2, "--amount nan is outside 0..1"),
    (
        ["match", "dry.wav", "record.wav", "--tail", "long"],
        2,
        '--tail long: write seconds, as in 2.5, or "auto"',
    ),
    (["match", "dry.wav", "record.wav", "--tail", "-1"], 2, "--tail"),
    (["match", "dry.wav", "record.wav", "--chain", "eq,magic"], 2, "no effect is called 'magic'"),
    (["match", "dry.wav", "record.wav", "--lock", "eq"], 2, "cannot read the lock 'eq'"),
    (["match", "dry.wav", "record.wav", "--lock", "gain.gain_db=99"], 2, "outside -40..40"),
    (["match", "dry.wav", "record.wav", "-o", "dry.wav", "--force"], 2, "dry.wav is an input as well"),
    (["match", "dry.wav", "record.wav", "--report", "./record.wav", "--force"], 2, "is an input as well"),
    (["match", "dry.wav", "record.wav", "-o", "a.wav", "--report", "./a.wav"], 2, "output twice"),
    (["match", "none.wav", "record.wav"], 1, "none.wav: there is no such file"),
    (["match", "dry.wav", "."], 1, ". is a folder"),
    (["match", "dry.wav", "record.wav", "-o", "no/out.wav"], 1, "the folder no does not exist; create it"),
    (["match", "dry.wav", "record.wav", "--preset", "p.json"], 1, "p.json exists already"),
    (["match", "dry.wav", "record.wav", "-o", "out.xyz"], 2, ".xyz"),
    (["match", "dry.wav", "record.wav", "-o", "out"], 2, "its name has no ending"),
    (["match", "dry.wav", "record.wav", "--seed", "-1"], 2, "--seed -1 is negative"),
    (["match", "dry.wav", "record.wav", "--seed", "one"], 2, "--seed"),
    (["match", "dry.wav", "record.wav", "--only", "eq,magic"], 2, "the chain has no 'magic'"),
    (["match", "dry.wav", "record.wav", "--chain", "eq", "--lock", "gain.gain_db<=3"], 2, "has no 'gain'"),
    (["match", "dry.wav", "record.wav", "--chain", "gain", "--lock", "gain=off"], 2, "everything is locked"),
    (
        ["match", "dry.wav", "record.wav", "--lock", "compressor.treshold_db=-9"],
        2,
        "did you mean threshold_db?",
    ),
    (["match", "dry.wav", "record.wav", "--chain", "eq,revreb"], 2, "did you mean reverb?"),
    (["match", "dry.wav", "record.wav", "--tail", "auto", "--preset", "q.json"], 2, "add -o FILE"),
    (["match", "dry.wav", "record.wav", "--tail", "2"], 2, "--tail 2 is for the recording: add -o FILE"),
    (["match", "dry.wav", "record.wav", "--force"], 2, "add -o, --preset or --report"),
    (
        ["match", "p.json", "record.wav", "-o", "my out.wav"],
        1,
        "p.json is a preset and no recording; to render through it:"
        " fxstyle apply p.json record.wav -o 'my out.wav'\n",
    ),
    (["match", "dry.wav", "p.json"], 1, "fxstyle apply p.json dry.wav -o OUTPUT\n"),
    (["match", "p.json", "p.json"], 1, "fxstyle apply p.json INPUT -o OUTPUT\n"),
    (["apply", "dry.wav", "record.wav", "-o", "x.wav"], 1, "dry.wav: not a preset: byte"),
    (["apply", "none.json", "dry.wav", "-o", "x.wav"], 1, "none.json: there is no such file"),
    (["apply", "p.json", "dry.wav"], 2, "--output"),
    (["apply", "p.json", "dry.wav", "-o", "p.json", "--force"], 2, "p.json is an input as well"),
    (["apply", "p.json", "dry.wav", "-o", "dry.wav"], 2, "dry.wav is an input as well"),
    (["apply", "p.json", "dry.wav", "-o", "record.wav"], 1, "record.wav exists already"),
    (["apply", "p.json", "dry.wav", "-o", "x.wav", "--amount", "-0.1"], 2, "--amount -0.1 is outside 0..1"),
    (["apply", "p.json", "dry.wav", "-o", "x.wav", "--tail", "soon"], 2, "--tail soon"),
    (["apply", "p.json", "dry.wav", "record.wav", "-o", "p.json"], 2, "p.json names a file"),
    (["apply", "dry.wav", "p.json", "-o", "x.wav"], 2, "the preset comes first"),
    (["compare", "dry.wav", "none.wav"], 1, "none.wav"),
    (["compare", "dry.wav"], 2, "B"),
    (["inspect", "none.wav"], 1, "none.wav"),
    (["inspect", "."], 1, ". is a folder"),
    (["inspect"], 2, "FILE"),
    (["effects", "magic"], 2, "no effect is called 'magic'; there are bitcrush"),
    (["effects", "compresor"], 2, "did you mean compressor? There are bitcrush"),
    (["effects", "eq_5"], 2, "did you mean eq5? There are"),
    (["effects", "eq17"], 2, "1 to 16 peaks, not 17; choose eq1 to eq16"),
    (["effects", "eq0"], 2, "1 to 16 peaks, not 0; choose eq1 to eq16"),
    (["effects", "eq100"], 2, "1 to 16 peaks, not 100; choose eq1 to eq16"),
    (["effects", "gain0"], 2, "no effect is called 'gain0'; gain comes in one size"),
    (["effects", "sat"], 2, "did you mean saturation?"),
    (["effects", "magic"], 2, "eq (also eq1 to eq16)"),
    (["effects", "--plot", "x.svg"], 2, "name it, as in fxstyle effects eq"),
    (["effects", "--force"], 2, "name it, as in fxstyle effects eq"),
    (["effects", "gain", "--set", "gain_db=3"], 2, "--set is for the plot: add --plot FILE.svg"),
    (["effects", "gain", "--force", "--json"], 2, "--force is for the plot: add --plot FILE.svg"),
    (["effects", "gain", "--plot", "x.png"], 2, "the picture is an SVG file"),
    (["effects", "gain", "--plot", "x.svg", "--set", "gain=3"], 2, "did you mean gain_db?"),
    (["effects", "gain", "--plot", "x.svg", "--set", "gain_db=99"], 2, "outside -40..40"),
    (["effects", "gain", "--plot", "x.svg", "--set", "gain_db"], 2, "write KNOB=VALUE, as in gain_db=0"),
    (
        ["effects", "gain", "--plot", "x.svg", "--set", "gain_db=1", "--set", "gain.gain_db=2"],
        2,
        "given twice",
    ),
    (["effects", "gain", "--plot", "x.svg", "--set", "eq.gain_db=1"], 2, "the plot is of gain"),
    (["effects", "gain", "--plot", "no/x.svg"], 1, "the folder no does not exist"),
    (["warm", "magic"], 2, "no effect is called 'magic'"),
    (["warm", "all", "eq"], 2, '"all" is every effect: write it alone, or leave it out and name only eq'),
    (["demo", "-o", "p.json/where"], 1, "the folder cannot be created"),
    (["demo", "-o", "p.json"], 1, "the folder cannot be created"),
    (["demo", "--seed", "-1"], 2, "--seed -1 is negative"),
    (["demo", "--quality", "perfect"], 2, "perfect"),
    (["frobnicate"], 2, "frobnicate"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "words"), REFUSED, ids=[f"{' '.join(case[0])}: {case[2]}" for case in REFUSED]
)
def test_mistakes_are_named_and_change_nothing(
    run: Run, folder: Path, arguments: list[str], code: int, words: str
) -> None:
    before = {p: p.read_bytes() for p in folder.iterdir()}
    found, out, err = run(*arguments)
    assert found == code, err
    assert out == ""
    assert err.startswith("fxstyle: ")
    # Messages may be wrapped by nobody but the terminal.
    assert words in err
    assert {p: p.read_bytes() for p in folder.iterdir()} == before


@pytest.mark.parametrize("taken", ["out.wav", "q.json", "r.html"])
def test_existing_outputs_are_found_before_the_search(
    run: Run, calls: list[dict[str, Any]], folder: Path, taken: str
) -> None:
    (folder / taken).write_text("mine")
    outputs = ["-o", "out.wav", "--preset", "q.json", "--report", "r.html"]
    code, _, err = run("match", "dry.wav", "record.wav", *outputs)
    assert code == 1
    assert f"{taken} exists already; choose another name or add --force" in err
    assert calls == []
    assert (folder / taken).read_text() == "mine"
    assert run("match", "dry.wav", "record.wav", *outputs, "--force")[0] == 0
    assert (folder / taken).read_bytes() != b"mine"


def test_compare_finds_what_was_done(run: Run, folder: Path) -> None:
    dry = read("dry.wav")
    write(folder / "quiet.wav", Audio(dry.samples * np.float32(0.5), RATE), subtype="FLOAT")
    code, out, err = run("compare", "dry.wav", "quiet.wav", "--truth", "--json")
    assert (code, err) == (0, "")
    content = json.loads(out)
    assert content["a"]["loudness_lufs"] - content["b"]["loudness_lufs"] == pytest.approx(6.02, abs=0.02)
    # Equal loudness, equal colour.
    assert np.abs(content["spectrum"]["a_minus_b_db"]).max() < 0.05
    # Twice the truth's level: convergence 1 and log 2 at every resolution.
    assert content["ld"] == pytest.approx(1.0 + np.log(2.0), rel=0.01)
    assert content["distance"] > 1.0
    code, out, _ = run("compare", "dry.wav", "dry.wav", "--truth")
    assert code == 0
    assert "Distance of sound (judge): 0.00 (" in out
    assert "Distance from the truth (Ld): 0.000" in out


def test_compare_takes_other_rates_and_lengths_and_says_so(run: Run, folder: Path) -> None:
    write(folder / "other.wav", Audio(sound(1, seconds=0.8).samples, 48000))
    code, out, _ = run("compare", "dry.wav", "other.wav", "--truth")
    assert code == 0
    assert "other.wav was resampled from 48000 to 44100 Hz" in out
    assert "of the longer recording were left out" in out
    write(folder / "mono.wav", sound(1, channels=1))
    code, _, err = run("compare", "dry.wav", "mono.wav", "--truth")
    assert code == 1
    assert "dry.wav has 2 channels and mono.wav has 1" in err


def test_inspect_tells_recordings_from_presets(run: Run, folder: Path) -> None:
    code, out, _ = run("inspect", "dry.wav", "--json")
    content = json.loads(out)
    assert (code, content["kind"]) == (0, "recording")
    assert (content["rate_hz"], content["channels"], content["frames"]) == (RATE, 2, FRAMES)
    (folder / "p.json").rename(folder / "preset.txt")
    code, out, _ = run("inspect", "preset.txt", "--json")
    assert (code, json.loads(out)["kind"]) == (0, "preset")
    code, out, _ = run("inspect", "preset.txt")
    assert code == 0
    assert "Preset Softer" in out
    assert "-6.0 dB" in out
    code, out, _ = run("inspect", "dry.wav")
    assert "44100 Hz, stereo, 0.60 s" in out


def test_inspect_says_when_a_preset_is_no_longer_what_the_match_found(
    run: Run, calls: list[dict[str, Any]], folder: Path
) -> None:
    run("match", "dry.wav", "record.wav", "--preset", "q.json")
    code, out, _ = run("inspect", "q.json")
    assert code == 0
    assert "Verdict    75 % nearer to the reference." in out
    assert "Edited" not in out
    assert json.loads(run("inspect", "q.json", "--json")[1])["edited"] is False
    content = json.loads((folder / "q.json").read_text())
    (folder / "q.json").write_text(json.dumps(content))
    assert "Edited" not in run("inspect", "q.json")[1]
    content["chain"][0]["settings"]["gain_db"]["value"] = -13.0
    (folder / "q.json").write_text(json.dumps(content))
    assert "Edited     The settings were changed since" in run("inspect", "q.json")[1]
    assert json.loads(run("inspect", "q.json", "--json")[1])["edited"] is True


def test_a_recording_cut_short_is_used_and_noted(run: Run, calls: list[dict[str, Any]], folder: Path) -> None:
    data = (folder / "dry.wav").read_bytes()
    (folder / "cut.wav").write_bytes(data[: len(data) * 9 // 10])
    for arguments in (["inspect", "cut.wav"], ["compare", "cut.wav", "record.wav"]):
        code, out, err = run(*arguments)
        assert (code, err) == (0, "")
        assert out.count("cut.wav is cut short") == 1
    code, out, _ = run("match", "cut.wav", "record.wav", "-o", "out.wav", "--json")
    assert code == 0
    assert sum("cut short" in note for note in json.loads(out)["notes"]) == 1


def test_progress_is_shown_on_a_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    code, out, _ = run("apply", "p.json", "dry.wav", "-o", "out.wav")
    assert code == 0
    assert "dry.wav" in terminal.getvalue()
    assert "100%" in terminal.getvalue()
    assert out.count("\n") == 1


def test_effects_lists_every_setting_with_unit_range_and_default(run: Run) -> None:
    code, out, _ = run("effects", "--json")
    assert code == 0
    listed = {e["name"]: e for e in json.loads(out)["effects"]}
    assert set(listed) == {e.name for e in all_effects()}
    for effect in all_effects():
        for setting, param in zip(listed[effect.name]["settings"], effect.params, strict=True):
            found = tuple(setting[k] for k in ("name", "unit", "low", "high", "default"))
            numbers = (param.written(v) for v in (param.low, param.high, param.default))
            assert found == (param.name, param.unit, *numbers)
    code, out, _ = run("effects", "gain")
    assert code == 0
    # The last column may be wrapped; the words of its cell still follow each other.
    shown = " ".join(out.split())
    for words in ("gain_db", "dB", "-40", "40", effects.get("gain").param("gain_db").help):
        assert words in shown


def test_words_of_a_choice_stand_in_brackets_after_what_it_does(run: Run) -> None:
    shown = " ".join(run("effects", "limiter")[1].split())
    assert f"{effects.get('limiter').param('detect').help} (true_peak, sample_peak)" in shown


@pytest.mark.parametrize(("columns", "widest"), [(60, 60), (100, 100), (300, 100), (None, 100)])
def test_sentences_are_wrapped_to_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int | None, widest: int
) -> None:
    if columns is not None:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["effects", "compressor"]) == 0
    told = capsys.readouterr().out.partition("The same elsewhere:\n")[2].splitlines()
    assert widest - 20 < max(len(line) for line in told) <= widest
    # Each program begins a line of its own, and no word is lost.
    hosts = effects.get("compressor").hosts
    assert sum(line.startswith("  ") and not line.startswith("   ") for line in told) == len(hosts)
    assert " ".join(" ".join(told).split()) == " ".join(f"{host}: {terms}" for host, terms in hosts.items())


def test_settings_of_a_plot_are_given_with_or_without_the_effect(run: Run, folder: Path) -> None:
    forms = {
        "a.svg": "gain_db=9",
        "b.svg": "gain.gain_db=9",
        "c.svg": "gain.gain_db = 9.0",
        "d.svg": "gain_db=1",
    }
    for name, text in forms.items():
        code, _, err = run("effects", "gain", "--plot", name, "--set", text)
        assert (code, err.count(name)) == (0, 1)
    assert len({(folder / name).read_bytes() for name in ("a.svg", "b.svg", "c.svg")}) == 1
    assert (folder / "a.svg").read_bytes() != (folder / "d.svg").read_bytes()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["eq"], "Kernels of 1 effect are compiled"),
        (["eq", "eq", "gain"], "Kernels of 2 effects are compiled"),
        (["all"], f"Kernels of {len(effects.names())} effects are compiled"),
        ([], f"Kernels of {effects.DEFAULT_CHAIN.count(',') + 1} effects are compiled"),
    ],
)
def test_warm_counts_effects(run: Run, monkeypatch: pytest.MonkeyPatch, names: list[str], words: str) -> None:
    def compile_nothing(wanted: tuple[str, ...], *, done: Callable[[str], None]) -> dict[str, float]:
        for name in (*wanted, "measuring"):
            done(name)
        return dict.fromkeys((*wanted, "measuring"), 0.0)

    monkeypatch.setattr("fxstyle.warm.warm", compile_nothing)
    code, out, err = run("warm", *names)
    assert (code, err) == (0, "")
    assert out.startswith(words)


def test_help_and_version_go_to_stdout(run: Run) -> None:
    for arguments in (["--help"], [], ["match", "--help"]):
        code, out, err = run(*arguments)
        assert (code, err) == (0, "")
        assert "Usage: fxstyle" in out
    assert run("--version")[:2] == (0, f"{fxstyle.__version__}\n")


def test_progress_is_silent_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with progress("match") as advance:
        advance("fit", 0.5)
    assert capfd.readouterr() == ("", "")


def test_tails_are_read_and_bounded() -> None:
    assert parse_tail("auto") == "auto"
    assert parse_tail("2.5") == 2.5
    for text in ("nan", "inf", "61", "2 s"):
        with pytest.raises(SettingError, match="--tail"):
            parse_tail(text)


def test_control_characters_never_reach_the_terminal(run: Run, folder: Path) -> None:
    assert printable("a\x1b[31m\n") == "a\\x1b[31m\\x0a"
    code, _, err = run("inspect", "none\x1b[2J.wav")
    assert code == 1
    assert "\x1b" not in err
    (folder / "dry.wav").rename(folder / "d\x1b[2J.wav")
    code, out, _ = run("inspect", "d\x1b[2J.wav")
    assert code == 0
    assert "\x1b" not in out


def test_interruption_is_clean(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    before = set(folder.iterdir())
    monkeypatch.setattr(fxstyle, "match", interrupted)
    code, out, err = run("match", "dry.wav", "record.wav", "-o", "out.wav")
    assert (code, out) == (130, "")
    assert "stopped" in err
    assert set(folder.iterdir()) == before


def test_a_signal_in_the_middle_of_a_render_leaves_nothing(folder: Path) -> None:
    # Long enough that the signal finds the render at work.
    write(folder / "long.wav", sound(5, seconds=240.0), subtype="PCM_16")
    before = set(folder.iterdir())
    command = [sys.executable, "-m", "fxstyle.cli", "apply", "p.json", "long.wav", "-o", "out.wav"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60.0
        while set(folder.iterdir()) == before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.poll() is None, "the render ended before it could be interrupted"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped" in err
    assert "Traceback" not in err
    assert set(folder.iterdir()) == before


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX pipe")
def test_a_reader_that_leaves_is_no_error(folder: Path) -> None:
    command = f"{sys.executable} -m fxstyle.cli effects | head -c 10; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=120)
    assert done.stderr == ""
    assert done.stdout.endswith("0\n")
