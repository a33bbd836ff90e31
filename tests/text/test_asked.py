"""What words ask for together: degrees scale it, words add up, opposites cancel and are named."""

from __future__ import annotations

import numpy as np
import pytest

from fxstyle import effects
from fxstyle.text.asked import GRID_HZ, LEVEL_PER_DOUBLING_DB, NEUTRAL, ORDER, Asked, ask
from fxstyle.text.lexicon import shipped
from fxstyle.text.parse import parse

LEXICON = shipped()


def asked(text: str) -> Asked:
    return ask(parse(text, LEXICON), LEXICON)


def value(text: str, effect: str, knob: str) -> float:
    found = asked(text).settings[effect][knob].value
    assert isinstance(found, float)
    return found


def test_tones_are_the_lexicons_and_scale_with_the_degree() -> None:
    bright = asked("bright").tone_db
    entry = LEXICON.entries["bright"]
    at_5k = entry.tilt_db_per_octave * np.log2(5.0) + np.interp(
        np.log2(5000.0), np.log2([hz for hz, _ in entry.curve_db]), [db for _, db in entry.curve_db]
    )
    # between points of the grid the curve is straight, but for the bend of a point of its own
    assert np.interp(np.log2(5000.0), np.log2(GRID_HZ), bright) == pytest.approx(at_5k, abs=0.05)
    for degree, factor in (("slightly", 0.5), ("much", 1.5), ("less", -1.0), ("not", -0.5)):
        np.testing.assert_allclose(asked(f"{degree} bright").tone_db, factor * bright, atol=1e-9)


def test_words_add_up_in_any_order() -> None:
    together = asked("warm, wide, squashed")
    np.testing.assert_allclose(together.tone_db, asked("warm").tone_db)
    assert together.width_db == asked("wide").width_db
    assert together.range_x == asked("squashed").range_x
    assert together.is_same(asked("squashed, wide, warm"))
    assert not together.is_same(asked("squashed, wide"))


def test_synonyms_ask_for_the_same() -> None:
    for entry in LEXICON.entries.values():
        for synonym in entry.synonyms:
            assert asked(synonym).is_same(asked(entry.name)), synonym


def test_settings_go_from_neutral_to_the_word_and_on_towards_the_end() -> None:
    param = effects.get("tremolo").param("depth")
    by_degree = [value(f"{d} tremolo", "tremolo", "depth") for d in ("10 %", "50 %", "", "very", "extremely")]
    assert by_degree == sorted(by_degree)
    assert by_degree[1] == pytest.approx(0.5 * by_degree[2])
    assert by_degree[-1] < param.high
    assert value("slightly slapback", "delay", "time_ms") == value("slapback", "delay", "time_ms")
    fewer = value("slapback", "delay", "level_db") - value("slightly slapback", "delay", "level_db")
    assert fewer == pytest.approx(LEVEL_PER_DOUBLING_DB)


def test_neutral_values_are_in_their_knobs_range() -> None:
    assert set(NEUTRAL) <= set(effects.names())
    assert set(ORDER) <= set(effects.names())
    for name, knobs in NEUTRAL.items():
        for knob, number in knobs.items():
            effects.get(name).param(knob).check(number)


def test_an_opposite_is_turned_and_the_rest_is_left_out() -> None:
    assert value("less snappy", "transient", "attack_db") < 0.0 < value("snappy", "transient", "attack_db")
    none = asked("no delay, warm")
    assert "delay" in none.absent
    assert not none.settings


def test_a_thing_that_is_not_to_be_leaves_the_tone_alone() -> None:
    assert not asked("no telephone").tone_db.any()
    assert asked("not muddy").tone_db.any()


def test_less_room_is_drier_and_no_room() -> None:
    dry = asked("less reverb").drier()
    assert dry.room is None
    assert dry.settings["transient"]["sustain_db"].value == pytest.approx(-6.0)
    assert asked("dry").drier().settings == dry.settings


def test_rooms_are_averaged_and_grow_with_the_degree() -> None:
    small, large = asked("bathroom").room, asked("cathedral").room
    both = asked("bathroom, cathedral").room
    assert small is not None
    assert large is not None
    assert both is not None
    assert both.t60_s == pytest.approx((small.t60_s * large.t60_s) ** 0.5)
    much, little = asked("much reverb").room, asked("slight reverb").room
    assert much is not None
    assert little is not None
    assert much.t60_s > little.t60_s
    assert much.level_db > little.level_db


@pytest.mark.parametrize(
    ("text", "what"),
    [("bright, dark", "tone"), ("wide, narrow", "width"), ("loud, quiet", "loudness"), ("hall, dry", "room"),
     ("reverb, less plate", "room")],
)  # fmt: skip
def test_opposites_are_named(text: str, what: str) -> None:
    (note,) = asked(text).notes
    assert "pull in opposite directions" in note
    assert what in note


@pytest.mark.parametrize("text", ["bright, airy", "warm, full", "hall, plate", "wide, open"])
def test_friends_are_not(text: str) -> None:
    assert asked(text).notes == ()


def test_thresholds_and_drives_follow_the_loudness() -> None:
    def at(lufs: float, name: str, knob: str, text: str) -> float:
        found = asked(text).at(lufs).settings[name][knob].value
        assert isinstance(found, float)
        return found

    assert at(-28.0, "gate", "threshold_db", "gated") == at(-18.0, "gate", "threshold_db", "gated") - 10.0
    assert at(-28.0, "saturation", "drive_db", "saturated") == pytest.approx(
        at(-18.0, "saturation", "drive_db", "saturated") + 10.0
    )
    # a tape that only sways is not driven
    wow = asked("wobbly").settings["tape"]["drive_db"].value
    assert at(-40.0, "tape", "drive_db", "wobbly") == wow


def test_what_a_chain_lacks_is_left_out_and_said() -> None:
    whole = asked("bright, wide, hall, slapback, squashed")
    part = whole.within({"eq", "gain"})
    np.testing.assert_array_equal(part.tone_db, whole.tone_db)
    assert (part.width_db, part.range_x, part.room, dict(part.settings)) == (0.0, 1.0, None, {})
    undone = whole.undone({"eq", "gain"})
    assert len(undone) == 4
    assert "'slapback' takes delay, which the chain has not" in " ".join(undone)
    assert whole.within(whole.effects).is_same(whole)
    assert whole.undone(whole.effects) == ()
