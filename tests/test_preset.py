"""Presets: exact round trips, a published schema, and refusal of the rest with the path of the field."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fxstyle.presets
from fxstyle import effects
from fxstyle.audio import Audio, read, write
from fxstyle.chain import Chain
from fxstyle.cli import main
from fxstyle.effects import all_effects
from fxstyle.errors import PresetError
from fxstyle.presets import Place, Preset, Provenance, Recording, Score, json_schema, safe_name
from fxstyle.presets._text import MAX_BYTES
from fxstyle.presets.schema import schema_text
from fxstyle.render import render

ALL = ",".join(effect.name for effect in all_effects())


def example() -> Preset:
    chain = Chain.parse("eq,compressor,compressor,gain").with_settings({"compressor_2.amount": 0.5})
    return Preset.from_chain(chain, name="Warm vocal", description="From a record.\nWith a tail.")


Damage = Callable[[dict[str, Any]], Any]


def damaged(damage: Damage) -> str:
    content = json.loads(example().to_json())
    damage(content)
    return json.dumps(content)


def setting(content: dict[str, Any], knob: str, slot: int = 1) -> Any:
    return content["chain"][slot]["settings"][knob]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shares=st.lists(st.floats(0.0, 1.0), min_size=8, max_size=8), bypass=st.booleans())
def test_every_float_survives_the_file_to_the_bit(tmp_path: Path, shares: list[float], bypass: bool) -> None:
    chain = Chain.parse(ALL)
    values = {}
    for index, address in enumerate(chain.settings()):
        param = chain.param(address)
        share = shares[index % len(shares)]
        value = min(max(param.low + share * (param.high - param.low), param.low), param.high)
        values[address] = float(round(value)) if param.choices else value
    whole = Preset.from_chain(chain.with_settings(values))
    whole.save(tmp_path / "p.json", force=True)
    back = Preset.load(tmp_path / "p.json").chain()
    for address, value in values.items():
        assert struct.pack("<d", back.settings()[address]) == struct.pack("<d", value), address
    assert [slot.effect for slot in back] == [slot.effect for slot in chain]


def test_a_choice_is_written_as_its_word_and_read_back(tmp_path: Path) -> None:
    chain = Chain.parse("saturation").with_settings({"saturation.curve": 2.0})
    word = effects.get("saturation").param("curve").choices[2]
    Preset.from_chain(chain).save(tmp_path / "p.json")
    assert json.loads((tmp_path / "p.json").read_text())["chain"][0]["settings"]["curve"]["value"] == word
    assert Preset.load(tmp_path / "p.json").chain() == chain


def test_order_names_amounts_and_bypass_survive() -> None:
    preset = example()
    back = Preset.from_json(preset.to_json())
    assert back == preset
    assert [(s.name, s.amount) for s in back.chain()] == [
        ("eq", 1.0), ("compressor", 1.0), ("compressor_2", 0.5), ("gain", 1.0),
    ]  # fmt: skip
    bypassed = damaged(lambda c: c["chain"][0].update(bypass=True))
    assert [s.bypass for s in Preset.from_json(bypassed).chain()] == [True, False, False, False]


def test_a_setting_left_out_takes_its_default() -> None:
    text = damaged(lambda c: c["chain"][1]["settings"].pop("ratio"))
    chain = Preset.from_json(text).chain()
    assert chain.slot("compressor").settings["ratio"] == chain.param("compressor.ratio").default


def by_hand(*slots: Any) -> Preset:
    return Preset.from_json(json.dumps({"format": "fxstyle-preset", "version": 1, "chain": slots}))


def test_a_slot_written_by_hand_needs_only_what_differs() -> None:
    chain = Chain.parse("compressor,gain").with_settings({"compressor.ratio": 5.0, "gain.invert": 1.0})
    short = by_hand(
        {"effect": "compressor", "settings": {"ratio": 5}}, {"effect": "gain", "settings": {"invert": "on"}}
    )
    assert short == Preset.from_chain(chain)
    assert short.chain() == chain
    mixed = by_hand(
        {"effect": "compressor", "settings": {"ratio": {"value": 5.0}}},
        {"effect": "gain", "settings": {"invert": {"value": "on", "unit": ""}}},
    )
    assert mixed == short


@pytest.mark.parametrize("name", [effect.name for effect in all_effects()])
def test_what_is_left_out_is_filled_in_with_its_unit(name: str) -> None:
    effect = effects.get(name)
    (place,) = json.loads(by_hand({"effect": name}).to_json())["chain"]
    assert (place["name"], place["amount"], place["bypass"]) == (name, 1.0, False)
    assert list(place["settings"]) == [p.name for p in effect.params]
    for param in effect.params:
        assert place["settings"][param.name] == {"value": param.written(param.default), "unit": param.unit}


def test_slots_without_a_name_are_numbered_around_those_with_one() -> None:
    preset = by_hand(
        {"effect": "eq"},
        {"effect": "eq"},
        {"effect": "eq", "name": "eq_2"},
        {"effect": "gain"},
        {"effect": "eq"},
    )
    assert [place.name for place in preset.places] == ["eq", "eq_3", "eq_2", "gain", "eq_4"]
    plain = by_hand({"effect": "eq"}, {"effect": "gain"}, {"effect": "eq"})
    assert [s.name for s in plain.chain()] == [s.name for s in Chain.parse("eq,gain,eq")]


def told(preset: Preset) -> dict[str, Any]:
    """Return the content of a preset with a story about its settings."""
    content: dict[str, Any] = json.loads(preset.to_json())
    content["provenance"] = {"settings_sha256": preset.settings_sha256()}
    return content


CHANGES: list[tuple[str, Damage, bool]] = [
    ("nothing", lambda c: None, False),
    ("name and words", lambda c: c.update(name="Other", description="Other."), False),
    ("slot name", lambda c: c["chain"][2].update(name="second"), False),
    ("whole number", lambda c: setting(c, "ratio").update(value=int(setting(c, "ratio")["value"])), False),
    ("short forms", lambda c: c["chain"][3].update(settings={"gain_db": 0, "invert": "off"}), False),
    ("value", lambda c: setting(c, "ratio").update(value=2.5), True),
    ("least step", lambda c: setting(c, "threshold_db").update(value=math.nextafter(-18.0, 0.0)), True),
    ("word", lambda c: c["chain"][3]["settings"]["invert"].update(value="on"), True),
    ("amount", lambda c: c["chain"][2].update(amount=0.25), True),
    ("bypass", lambda c: c["chain"][0].update(bypass=True), True),
    ("one less", lambda c: c["chain"].pop(), True),
    ("order", lambda c: c["chain"].reverse(), True),
]


@pytest.mark.parametrize(("change", "edited"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES])
def test_a_preset_knows_whether_its_story_is_about_other_settings(change: Damage, edited: bool) -> None:
    content = told(example())
    change(content)
    preset = Preset.from_json(json.dumps(content))
    assert preset.edited is edited
    assert Preset.from_json(preset.to_json()).edited is edited


def test_without_a_digest_nothing_is_claimed() -> None:
    assert not example().edited


def test_a_knob_that_came_after_the_story_is_no_change_of_it() -> None:
    slot = {"effect": "compressor", "settings": {"ratio": 3.0}}
    # What a program that knew but one knob would have told.
    digest = Preset.model_construct(places=(Place.model_validate(slot),)).settings_sha256()
    content = {
        "format": "fxstyle-preset", "version": 1, "chain": [slot], "provenance": {"settings_sha256": digest},
    }  # fmt: skip
    preset = Preset.from_json(json.dumps(content))
    assert len(preset.places[0].settings) > 1
    assert not preset.edited
    assert not Preset.from_json(preset.to_json()).edited
    slot["settings"] = {"ratio": 4.0}
    assert Preset.from_json(json.dumps(content)).edited


def test_the_example_in_the_readme_can_be_applied(tmp_path: Path) -> None:
    readme = Path(__file__).resolve().parent.parent / "README.md"
    if not readme.exists():
        pytest.skip("needs the repository, not an installed package")
    examples = re.findall(r"```json\n(.*?)```", readme.read_text(), re.DOTALL)
    (text,) = (example for example in examples if "chain" in json.loads(example))
    written = json.loads(text)
    chain = Preset.from_json(text).chain()
    assert [slot.effect.name for slot in chain] == [slot["effect"] for slot in written["chain"]]
    for slot, said in zip(chain, written["chain"], strict=True):
        changed = {k: v for k, v in slot.settings.items() if v != slot.effect.param(k).default}
        assert changed == {k: slot.effect.param(k).check(v) for k, v in said.get("settings", {}).items()}
        assert slot.amount == said.get("amount", 1.0)
    (tmp_path / "vocal.json").write_text(text)
    x = np.random.default_rng(0).normal(0.0, 0.1, (2, 4096)).astype(np.float32)
    write(tmp_path / "take.wav", Audio(x, 44100), subtype="FLOAT")
    assert main(["apply", *(str(tmp_path / name) for name in ("vocal.json", "take.wav")), "-o",
                 str(tmp_path / "out.wav")]) == 0  # fmt: skip
    y = read(tmp_path / "out.wav").samples
    assert np.array_equal(y, render(chain, x, 44100))
    # It is an example of doing something.
    assert np.abs(y - x).max() > 0.01


def test_units_stand_beside_the_numbers() -> None:
    content = json.loads(example().to_json())
    assert setting(content, "threshold_db") == {"value": -18.0, "unit": "dB"}
    assert setting(content, "ratio")["unit"] == ":1"


def test_provenance_survives() -> None:
    provenance = Provenance(
        program="fxstyle 0.1.0",
        created="2026-01-31T12:00:00+00:00",
        input=Recording(name="dry.wav", sha256="0" * 64, rate=48000, channels=2, duration_s=1.5),
        reference=(Recording(name="record.flac"),),
        seed=3,
        quality="draft",
        score=Score(before=3.0, after=1.0, accepted=True, message="nearer"),
        notes=("mono",),
    )
    preset = Preset.from_chain(Chain.parse("gain"), provenance=provenance)
    assert Preset.from_json(preset.to_json()).provenance == provenance


def test_the_published_schema_is_the_models_own() -> None:
    published = Path(fxstyle.presets.__file__).with_name("preset.schema.json")
    assert published.read_text() == schema_text(), (
        "run: python -m fxstyle.presets > presets/preset.schema.json"
    )
    assert json_schema()["required"] == ["format", "version", "chain"]


def test_the_schema_agrees_with_an_independent_validator() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="the jsonschema package is not installed")
    validate = jsonschema.Draft202012Validator(json_schema())
    assert validate.is_valid(json.loads(example().to_json()))
    assert not validate.is_valid(json.loads(damaged(lambda c: c["chain"][0].update(amount=2.0))))
    assert not validate.is_valid(json.loads(damaged(lambda c: c.pop("version"))))
    short = {"effect": "gain", "settings": {"gain_db": -3, "invert": "on", "pan": {"value": 0.5}}}
    assert validate.is_valid({"format": "fxstyle-preset", "version": 1, "chain": [short]})
    for wrong in (None, [1], {"unit": "dB"}):
        slot = {"effect": "gain", "settings": {"gain_db": wrong}}
        assert not validate.is_valid({"format": "fxstyle-preset", "version": 1, "chain": [slot]})


@pytest.mark.parametrize(
    ("effect", "knob", "given", "word"),
    [
        ("eq", "low_cut_slope", 24, "24"),
        ("eq", "high_cut_slope", 6.0, "6"),
        ("saturation", "oversampling", 8, "8"),
        ("gain", "invert", True, "on"),
        ("gain", "invert", False, "off"),
    ],
)
def test_a_number_or_truth_may_stand_for_the_word_of_a_choice(
    effect: str, knob: str, given: float, word: str
) -> None:
    for written in (given, {"value": given}, {"value": given, "unit": ""}):
        slot = {"effect": effect, "settings": {knob: written}}
        preset = Preset.from_json(json.dumps({"format": "fxstyle-preset", "version": 1, "chain": [slot]}))
        assert preset.places[0].settings[knob].value == word
        (made,) = preset.chain()
        assert made.effect.param(knob).format(made.settings[knob]) == word


WRONG: list[tuple[str, Damage, str]] = [
    ("range", lambda c: setting(c, "ratio").update(value=99),
     "chain[1].settings.ratio.value: 99 outside 1..20 :1"),
    ("text", lambda c: setting(c, "ratio").update(value="4"), "chain[1].settings.ratio.value: '4'"),
    ("true", lambda c: setting(c, "ratio").update(value=True), "chain[1].settings.ratio.value: true"),
    ("null", lambda c: setting(c, "ratio").update(value=None), "chain[1].settings.ratio.value: null"),
    ("word", lambda c: c["chain"][3]["settings"]["invert"].update(value="maybe"),
     "chain[3].settings.invert.value: 'maybe' is not off, on"),
    ("number of a word", lambda c: c["chain"][3]["settings"]["invert"].update(value=1.0),
     "chain[3].settings.invert.value: 1 is not off, on"),
    ("nan", lambda c: setting(c, "ratio").update(value=math.nan), "chain[1].settings.ratio.value: nan"),
    ("inf", lambda c: setting(c, "ratio").update(value=math.inf), "chain[1].settings.ratio.value: inf"),
    ("huge", lambda c: setting(c, "ratio").update(value=10**400), "chain[1].settings.ratio.value"),
    ("unit", lambda c: setting(c, "attack_ms").update(unit="s"), "chain[1].settings.attack_ms.unit: 's'"),
    ("empty unit", lambda c: setting(c, "attack_ms").update(unit=""),
     "chain[1].settings.attack_ms.unit: '' is not the unit of attack_ms"),
    ("no value", lambda c: setting(c, "ratio").pop("value"), "chain[1].settings.ratio.value: is missing"),
    ("bare range", lambda c: c["chain"][1]["settings"].update(ratio=99), "chain[1].settings.ratio: 99"),
    ("bare text", lambda c: c["chain"][1]["settings"].update(ratio="4"),
     "chain[1].settings.ratio: '4' is not a number from 1 to 20"),
    ("bare true", lambda c: c["chain"][1]["settings"].update(ratio=True), "settings.ratio: true is not"),
    ("bare null", lambda c: c["chain"][1]["settings"].update(ratio=None), "settings.ratio: null: input"),
    ("bare list", lambda c: c["chain"][1]["settings"].update(ratio=[4]), "chain[1].settings.ratio: input"),
    ("bare word", lambda c: c["chain"][3]["settings"].update(invert="maybe"),
     "chain[3].settings.invert: 'maybe' is not off, on"),
    ("settings", lambda c: c["chain"][1].update(settings=[]), "chain[1].settings: "),
    ("knob", lambda c: c["chain"][1]["settings"].update(warmth={"value": 1.0, "unit": ""}),
     "chain[1].settings.warmth: effect 'compressor' has no setting 'warmth'; it has threshold_db"),
    ("near knob", lambda c: c["chain"][1]["settings"].update(treshold_db=-20),
     "chain[1].settings.treshold_db: effect 'compressor' has no setting 'treshold_db'; did you mean thr"),
    ("near effect", lambda c: c["chain"][0].update(effect="compresor"), "did you mean compressor? There are"),
    ("no effect", lambda c: c["chain"][0].pop("effect"), "chain[0].effect: is missing"),
    ("empty name", lambda c: c["chain"][2].update(name=""), "chain[2].name: ''"),
    ("digest", lambda c: c.update(provenance={"settings_sha256": "x"}), "provenance.settings_sha256: 'x'"),
    ("effect", lambda c: c["chain"][0].update(effect="vibes"),
     "chain[0].effect: no effect is called 'vibes'"),
    ("module", lambda c: c["chain"][0].update(effect="os.path"), "chain[0].effect: 'os.path'"),
    ("dunder", lambda c: c["chain"][0].update(effect="__init__"), "chain[0].effect: '__init__'"),
    ("amount", lambda c: c["chain"][3].update(amount=1.5), "chain[3].amount: 1.5"),
    ("bypass", lambda c: c["chain"][3].update(bypass=1), "chain[3].bypass: 1"),
    ("slot name", lambda c: c["chain"][2].update(name="compressor"), "chain[2].name: 'compressor' is taken"),
    ("slot path", lambda c: c["chain"][2].update(name="../x"), "chain[2].name: '../x'"),
    ("extra", lambda c: c.update(run="rm"), "run: 'rm': there is no such field; there are format, "),
    ("extra slot", lambda c: c["chain"][0].update(host={}), "chain[0].host: there is no such field"),
    ("python name", lambda c: c.update(places=c.pop("chain")), "places: there is no such field"),
    ("many", lambda c: c.update(chain=c["chain"] * 17), "chain: should have at most 64 items"),
    ("object", lambda c: c.update(chain={}), "chain: should be a list"),
    ("capital", lambda c: c["chain"][0].update(effect="Limiter"), "did you mean limiter? There are"),
    ("near field", lambda c: c["chain"][0].update(setings={}),
     "chain[0].setings: there is no such field; did you mean settings? There are effect, "),
    ("near value", lambda c: c["chain"][1]["settings"].update(ratio={"valu": 4}),
     "chain[1].settings.ratio.valu: 4: there is no such field; did you mean value?"),
    ("near score", lambda c: c.update(provenance={"score": {"befor": 1.0}}), "did you mean before?"),
    ("bare effect", lambda c: c.update(chain=["gain"]), "chain[0]: 'gain': should be an object, {\"effect\""),
    ("no such slope", lambda c: c["chain"][0].update(effect="eq", settings={"low_cut_slope": 25}),
     "chain[0].settings.low_cut_slope: 25 is not 6, 12, 18, 24, 36, 48"),
    ("true slope", lambda c: c["chain"][0].update(effect="eq", settings={"low_cut_slope": True}),
     "chain[0].settings.low_cut_slope: true is not 6, 12"),
    ("path", lambda c: c.update(name="../../etc/passwd"),
     "name: '../../etc/passwd': a name cannot contain '/'"),
    ("drive", lambda c: c.update(name="C:x"), "name: 'C:x': a name cannot contain ':'"),
    ("escape", lambda c: c.update(name="a\x1b[2J"), "a name cannot contain '\\x1b'"),
    ("bidi", lambda c: c.update(name="a\u202egnp"), "a name cannot contain '\\u202e'"),
    ("line separator", lambda c: c.update(name="a\u2028b"), "a name cannot contain '\\u2028'"),
    ("paragraph separator", lambda c: c.update(description="a\u2029b"),
     "text cannot contain the control character '\\u2029'"),
    ("dots", lambda c: c.update(name=".."), "a name cannot begin or end with a dot"),
    ("long", lambda c: c.update(name="a" * 201), "name: 'aaa"),
    ("nul", lambda c: c.update(description="a\0"), "description: "),
    ("file", lambda c: c.update(provenance={"input": {"name": "/etc/shadow"}}),
     "provenance.input.name: '/etc/shadow'"),
    ("hash", lambda c: c.update(provenance={"input": {"name": "a", "sha256": "x"}}),
     "provenance.input.sha256: 'x'"),
    ("time", lambda c: c.update(provenance={"created": "soon"}), "provenance.created: 'soon': not a time"),
    ("version", lambda c: c.update(version=2), "version: 2 is not known; this program reads version 1"),
    ("version text", lambda c: c.update(version="1"), 'version: "1" is text; write the number 1'),
    ("version true", lambda c: c.update(version=True), "version: True is not known"),
    ("no version", lambda c: c.pop("version"), "version: (missing) is not known"),
    ("format", lambda c: c.update(format="reaper"), 'format: reaper is not "fxstyle-preset"'),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "words"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_wrong_content_is_refused_with_its_path(damage: Damage, words: str, tmp_path: Path) -> None:
    text = damaged(damage)
    with pytest.raises(PresetError) as caught:
        Preset.from_json(text)
    assert words in str(caught.value)
    assert str(caught.value).isprintable()
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(PresetError) as caught:
        Preset.load(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the file is empty"),
        (b"  \n", "the file is empty"),
        (b"RIFF\x24\x08\x00\x00WAVEfmt \xff\xfe", "not UTF-8"),
        (b"\x00\x01\x02", "not JSON"),
        (b"{", "not JSON: Expecting property name enclosed in double quotes at line 1, column 2"),
        (b"chain: []", "not JSON"),
        (b"[1, 2]", "expected an object"),
        (b"3", "expected an object"),
        (b"[" * 500_000, "nested too deeply"),
        (b'{"a":' * 50 + b"1" + b"}" * 50, "deep"),
        (b"9" * 5000, "not a preset"),
        (b'{"format": "fxstyle-preset", "version": 1, "version": 1}', "version: the key occurs twice"),
        (b'{"chain": [{}, {"settings": {"a": 1, "a": 2}}]}', "chain[1].settings.a: the key occurs twice"),
    ],
    ids=["empty", "blank", "wav", "binary", "cut", "yaml", "list", "number", "deep", "nested", "digits",
         "twice", "twice inside"],
)  # fmt: skip
def test_what_is_no_preset_is_refused(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(data)
    with pytest.raises(PresetError, match=r"p\.json") as caught:
        Preset.load(path)
    assert words in str(caught.value)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as stream:
        stream.truncate(100 * MAX_BYTES)
    with pytest.raises(PresetError, match="larger than 64000 kB"):
        Preset.load(path)


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(PresetError, match="no such file"):
        Preset.load(tmp_path / "none.json")
    with pytest.raises(PresetError, match="is a folder"):
        Preset.load(tmp_path)


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text("mine")
    with pytest.raises(PresetError, match="--force"):
        example().save(path)
    assert path.read_text() == "mine"
    example().save(path, force=True)
    assert Preset.load(path) == example()
    with pytest.raises(PresetError, match="does not exist"):
        example().save(tmp_path / "none" / "p.json")


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    failure: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.json"
    path.write_text("mine")

    def fail(handle: int) -> None:
        raise failure

    monkeypatch.setattr("os.fsync", fail)
    expected = PresetError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        example().save(path, force=True)
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300))
def test_any_file_name_becomes_a_valid_name(text: str) -> None:
    name = safe_name(text)
    assert Preset.from_chain(Chain.parse("gain"), name=name).name == name
