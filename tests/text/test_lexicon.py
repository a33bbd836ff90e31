"""The lexicon: enough words, each readable, and every effect, knob and value real and in its limits."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fxstyle.errors import SettingError
from fxstyle.text.asked import MOST_TONE_DB, ask
from fxstyle.text.lexicon import check_effects, folded, load, shipped
from fxstyle.text.parse import parse

LEXICON = shipped()
CONTENT = json.loads((Path(__file__).parents[2] / "fxstyle/text/lexicon.json").read_text())


def test_there_are_words_enough() -> None:
    assert len(LEXICON.entries) >= 150
    # those that an engineer says first
    said = (
        "warm, bright, dark, muddy, boxy, nasal, harsh, airy, thin, full, punchy, tight, glued, squashed,"
        " open, crunchy, gritty, tape, lo-fi, telephone, vinyl, close, distant, roomy, hall, plate, spring,"
        " dry, wet, wide, narrow, mono, chorused, wobbly, slapback, dub, shoegaze"
    )
    assert not {folded(word) for word in said.split(", ")} - set(LEXICON.phrases)


@pytest.mark.parametrize("name", sorted(LEXICON.entries))
def test_each_word_parses_and_its_settings_exist(name: str) -> None:
    entry = LEXICON.entries[name]
    check_effects(entry, "lexicon")
    assert entry.means[0].islower() or entry.means[0].isdigit()
    for written in (name, *entry.synonyms):
        reading = parse(written, LEXICON)
        assert [(said.name, said.degree) for said in reading.said] == [(name, 1.0)], written
        assert reading.notes == ()
    # however strong, and the other way round, settings stay in their limits
    for degree in ("extremely", "barely", "less", "no"):
        asked = ask(parse(f"{degree} {name}", LEXICON), LEXICON).at(-40.0)
        assert float(np.abs(asked.tone_db).max()) <= MOST_TONE_DB
        for effect, knobs in asked.settings.items():
            for knob, setting in knobs.items():
                from fxstyle import effects

                effects.get(effect).param(knob).check(setting.value)


def test_no_phrase_is_claimed_twice() -> None:
    claimed: dict[str, str] = {}
    for name, row in CONTENT["words"].items():
        for phrase in {folded(p) for p in (name, *row.get("synonyms", []))}:
            assert phrase not in claimed, f"{phrase!r} belongs to {claimed[phrase]!r} and {name!r}"
            claimed[phrase] = name


def test_sources_that_are_named_are_there_and_used() -> None:
    used = {row["source"] for row in CONTENT["words"].values() if "source" in row}
    assert used == set(CONTENT["sources"])


def written(folder: Path, content: Any) -> Path:
    path = folder / "my.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_words_of_ones_own_come_on_top(tmp_path: Path) -> None:
    own = {
        "words": {
            "gluggy": {"means": "wet sand", "synonyms": ["gluggish"], "curve_db": [[300, 4], [900, 0]]},
            "bright": {"means": "my bright", "tilt_db_per_octave": 3},
        }
    }
    lexicon = load(written(tmp_path, own))
    assert lexicon.file == "my.json"
    said = parse("gluggish, bright, warm", lexicon).said
    assert {one.name for one in said} == {"gluggy", "bright", "warm"}
    assert lexicon.entries["bright"].tilt_db_per_octave == 3.0
    assert shipped().entries["bright"].tilt_db_per_octave != 3.0


WRONG = [
    ("{", "no JSON"),
    ("[]", "expected"),
    ({"words": {}}, '"words" is missing or empty'),
    ({"word": {}}, "'word' is no part of a lexicon"),
    ({"words": {"x": 3}}, "word 'x': expected an object"),
    ({"words": {"x": {"means": "y"}}}, "asks for nothing"),
    ({"words": {"x": {"width_db": 3}}}, '"means" is missing'),
    ({"words": {"x": {"means": "y", "tone_db": 3}}}, "no field is called 'tone_db'"),
    ({"words": {"x": {"means": "y", "width_db": "3"}}}, "expected a number of dB, got '3'"),
    ({"words": {"x": {"means": "y", "width_db": True}}}, "expected a number of dB, got True"),
    ('{"words": {"x": {"means": "y", "width_db": NaN}}}', "width_db = nan is outside -60..20 dB"),
    ({"words": {"x": {"means": "y", "width_db": 99}}}, "width_db = 99 is outside -60..20 dB"),
    ({"words": {"x": {"means": "y", "curve_db": [[500, 1], [200, 2]]}}}, "frequencies have to rise"),
    ({"words": {"x": {"means": "y", "curve_db": [[500, 1, 2]]}}}, "write points"),
    ({"words": {"x": {"means": "y", "room": {"t60_s": 2}}}}, "write t60_s and level_db"),
    ({"words": {"x": {"means": "y", "room": {"t60_s": 0, "level_db": -6}}}}, "room.t60_s = 0 is outside"),
    ({"words": {"x": {"means": "y", "effects": {"flanger": {"mix": 1}}}}}, "no effect is called 'flanger'"),
    ({"words": {"x": {"means": "y", "effects": {"delay": {"tme_ms": 1}}}}}, "has no setting 'tme_ms'"),
    ({"words": {"x": {"means": "y", "effects": {"delay": {"time_ms": 99999}}}}}, "outside 5..2000 ms"),
    ('{"words": {"x": {"means": "y", "effects": {"delay": {"time_ms": Infinity}}}}}', "delay.time_ms = inf"),
    ({"words": {"x": {"means": "y", "effects": {"saturation": {"curve": "loud"}}}}}, "'loud' is not one of"),
    ({"words": {"x": {"means": "y", "effects": {"delay": {"time_ms": [1, 2, 3]}}}}}, "a value or"),
    ({"words": {"x": {"means": "y", "synonyms": "z", "width_db": 1}}}, "list of texts"),
    ({"words": {"a/b": {"means": "y", "width_db": 1}}}, "is no word"),
    ({"words": {"x": {"means": "y", "source": "z", "width_db": 1}}}, "is not in"),
]


@pytest.mark.parametrize(("content", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(SettingError) as refused:
        load(written(tmp_path, content))
    assert said in str(refused.value)
    assert "my.json" in str(refused.value)


def test_the_example_in_the_readme_is_heard(tmp_path: Path) -> None:
    readme = Path(__file__).parents[2] / "README.md"
    if not readme.exists():
        pytest.skip("needs the repository, not an installed package")
    examples = [json.loads(x) for x in re.findall(r"```json\n(.*?)```", readme.read_text(), re.DOTALL)]
    (own,) = (example for example in examples if "words" in example)
    lexicon = load(written(tmp_path, own))
    assert set(LEXICON.entries) < set(lexicon.entries)
    for word, entry in own["words"].items():
        for phrase in (word, *entry["synonyms"]):
            assert lexicon.phrases[folded(phrase)] == word
            assert [said.name for said in parse(phrase, lexicon).said] == [word]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="No such file"):
        load(tmp_path / "none.json")
