"""`fxstyle match --text` from the command line: what is written, what is said, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile

from fxstyle.cli import main
from fxstyle.performance import perform
from fxstyle.presets import Preset

RATE = 44100
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text")
    soundfile.write(path / "dry.wav", perform(5.0, RATE, song=0, seed=1).T, RATE)
    soundfile.write(path / "ref.wav", perform(5.0, RATE, song=1, seed=2).T, RATE)
    own = {"words": {"gluggy": {"means": "wet sand", "curve_db": [[300, 6], [900, 0]]}}}
    (path / "my.json").write_text(json.dumps(own))
    return path


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(folder)

    def call(*arguments: Any) -> tuple[int, str, str]:
        code = main([str(a) for a in arguments])
        out, err = capfd.readouterr()
        return code, out, err

    return call


def test_text_alone_writes_everything(run: Run, folder: Path) -> None:
    code, out, err = run(
        "match", "dry.wav", "--text", "warm & <b>wide</b>, a little tape, brihgt", "-o", "out.wav",
        "--preset", "p.json", "--report", "r.html", "--quality", "draft", "--force",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "Understood a little tape: tape x +0.5 (a tape machine" in out
    assert "% nearer to what the text asks for" in out
    assert "Measured: " in out
    assert "Note: 'brihgt' is not in the lexicon and was passed over; near: bright" in out
    assert soundfile.info(folder / "out.wav").frames == 5 * RATE
    origin = Preset.load(folder / "p.json").provenance
    assert origin.text == "warm & <b>wide</b>, a little tape, brihgt"
    assert origin.reference == ()
    assert origin.understood is not None
    assert len(origin.understood) == 3
    assert origin.reached
    page = (folder / "r.html").read_text()
    assert "What was asked for" in page
    assert "warm &amp; &lt;b&gt;wide&lt;/b&gt;" in page
    assert "<b>wide" not in page
    assert "made to sound warm" in page
    code, _, _ = run("apply", "p.json", "ref.wav", "-o", "other.wav", "--force")
    assert code == 0


def test_reference_and_text_as_json(run: Run) -> None:
    code, out, _ = run(
        "match", "dry.wav", "ref.wav", "--text", "but brighter and no reverb", "--quality", "draft", "--json"
    )
    assert code == 0
    content = json.loads(out)
    assert content["text"] == "but brighter and no reverb"
    assert {(u["word"], u["degree"]) for u in content["understood"]} == {("bright", 1.0), ("reverb", -1.0)}
    assert content["reference"] == ["ref.wav"]
    assert "reverb" not in [place["effect"] for place in content["chain"]]
    assert {"aspect", "asked", "measured", "unit"} == set(content["reached"][0])


def test_words_of_ones_own(run: Run) -> None:
    code, out, _ = run("match", "dry.wav", "--text", "gluggy", "--lexicon", "my.json", "--quality", "draft")
    assert code == 0
    assert "Understood gluggy: gluggy x +1 (wet sand)." in out


def test_a_match_without_text_says_nothing_of_one(run: Run) -> None:
    code, out, _ = run("match", "dry.wav", "ref.wav", "--quality", "draft", "--chain", "gain", "--json")
    assert code == 0
    assert not {"text", "understood", "reached"} & set(json.loads(out))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dry.wav"], "there is nothing to sound like"),
        (["dry.wav", "--text", ""], "the text is empty"),
        (["dry.wav", "--text", "warm" * 25000], "the text has 100000 letters"),
        (["dry.wav", "--text", "a\x07b"], "control character"),
        (["dry.wav", "--text", "xylographic"], "no word of the text"),
        (["dry.wav", "--text", "wrm"], "did you mean warm?"),
        (["dry.wav", "--text", "no chorus"], "say what should change"),
        (["dry.wav", "--text", "bright", "--chain", "gain"], "add eq to it"),
        (["dry.wav", "--text", "warm", "--lexicon", "none.json"], "No such file"),
        (["dry.wav", "--text", "warm", "--lexicon", "dry.wav"], "no JSON"),
        (["dry.wav", "ref.wav", "--lexicon", "my.json"], "--lexicon my.json is for --text"),
        (["dry.wav", "ref.wav", "--clap", "weights"], "--clap weights is for --text"),
        (["dry.wav", "--text", "x", "--lexicon", "my.json", "--preset", "my.json", "--force"], "is an input"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(run: Run, arguments: list[str], said: str) -> None:
    code, out, err = run("match", *arguments)
    assert code == 2  # a slip in the command, not in a recording
    assert out == ""
    assert said in err
    assert "Traceback" not in err
    assert "\x07" not in err
