"""Reading a wish: degrees, comparatives, negations, endings, slips, and what is no wish at all."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxstyle.errors import FxstyleError, SettingError
from fxstyle.text.lexicon import shipped
from fxstyle.text.parse import LONGEST_TEXT, MOST_DEGREE, parse

LEXICON = shipped()


def degrees(text: str) -> dict[str, float]:
    return {said.name: said.degree for said in parse(text, LEXICON).said}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("bright", {"bright": 1.0}),
        ("Make it BRIGHTER, please!", {"bright": 1.0}),
        ("brightly", {"bright": 1.0}),
        ("brightness", {"bright": 1.0}),
        ("more brightness", {"bright": 1.0}),
        ("brightest", {"bright": 1.5}),
        ("brightish", {"bright": 0.5}),
        ("slightly bright", {"bright": 0.5}),
        ("a little brighter", {"bright": 0.5}),
        ("a touch of brightness", {"bright": 0.5}),
        ("quite bright", {"bright": 1.2}),
        ("much brighter", {"bright": 1.5}),
        ("extremely bright", {"bright": 2.0}),
        ("30 % brighter", {"bright": 0.3}),
        ("bright 30%", {"bright": 0.3}),
        ("150 percent bright", {"bright": 1.5}),
        ("very very very very bright", {"bright": MOST_DEGREE}),
        ("not bright", {"bright": -0.5}),
        ("not so bright", {"bright": -0.5}),
        ("not very bright", {"bright": -0.5}),
        ("not too bright", {"bright": -0.3}),
        ("don't make it bright", {"bright": -0.5}),
        ("don\N{RIGHT SINGLE QUOTATION MARK}t make it bright", {"bright": -0.5}),
        ("too bright", {"bright": -0.75}),
        ("less bright", {"bright": -1.0}),
        ("much less bright", {"bright": -1.5}),
        ("no reverb", {"reverb": -1.0}),
        ("without any reverb", {"reverb": -1.0}),
        ("not harsh or boxy", {"harsh": -0.5, "boxy": -0.5}),
        ("not harsh, boxy", {"harsh": -0.5, "boxy": 1.0}),
        ("not harsh but warm", {"harsh": -0.5, "warm": 1.0}),
        ("very warm and close", {"warm": 1.5, "close": 1.0}),
        ("lo-fi", {"lo-fi": 1.0}),
        ("lo fi", {"lo-fi": 1.0}),
        ("lofi", {"lo-fi": 1.0}),
        ("small rooms", {"small room": 1.0}),
        ("concert hall", {"hall": 1.0}),
        ("warmer, airier, punchier and thinner", {"warm": 1.0, "airy": 1.0, "punchy": 1.0, "thin": 1.0}),
        ("warm warmth", {"warm": 1.0}),
        ("warm, much warmer", {"warm": 1.5}),
    ],
)
def test_what_is_said_is_understood(text: str, wanted: dict[str, float]) -> None:
    reading = parse(text, LEXICON)
    assert {said.name: pytest.approx(said.degree) for said in reading.said} == wanted
    assert reading.notes == ()


def test_no_is_told_from_less() -> None:
    assert parse("no reverb", LEXICON).said[0].none
    assert not parse("less reverb", LEXICON).said[0].none


def test_unknown_words_are_named_with_what_is_near() -> None:
    reading = parse("warm, brihgt, xylographic", LEXICON)
    assert [said.name for said in reading.said] == ["warm"]
    assert reading.notes[0] == "'brihgt' is not in the lexicon and was passed over; near: bright"
    assert reading.notes[1].startswith("'xylographic' is not in the lexicon and was passed over")


def test_a_degree_without_a_word_is_named() -> None:
    assert parse("warm, but not much", LEXICON).notes == ("'not much' belongs to no word of the lexicon",)


def test_a_degree_does_not_reach_over_an_unknown_word() -> None:
    assert degrees("very xylographic warm") == {"warm": 1.0}


def test_a_word_that_contradicts_itself_is_named() -> None:
    reading = parse("bright, less bright, warm", LEXICON)
    assert "contradict each other" in reading.notes[0]
    assert [said.name for said in reading.said] == ["warm"]


def test_the_order_of_words_does_not_matter() -> None:
    parts = ["warm", "much wider", "not harsh", "a little tape", "no delay"]
    readings = set()
    for seed in range(6):
        shuffled = random.Random(seed).sample(parts, len(parts))
        readings.add(parse(", ".join(shuffled), LEXICON).said)
    assert len(readings) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the text is empty"),
        (" \n ", "the text is empty"),
        ("warm" * 25_000, "the text has 100000 letters"),
        ("warm\x1b[2J", "control character '\\x1b'"),
        ("warm\u202e", "control character '\\u202e'"),
        ("warm\x00", "control character '\\x00'"),
        ("brihgt", "did you mean bright?"),
        ("très chaud et un peu plus clair", "no word of the text"),
        ("теплый звук", "no word of the text"),
        ("温かい", "no word of the text"),
        ("very much, but not", "no word of the text"),
        ("... !!! ???", "no word of the text"),
        ("%s%n{0}{{}}", "no word of the text"),
    ],
)
def test_what_is_no_wish_is_refused(text: str, said: str) -> None:
    with pytest.raises(SettingError) as refused:
        parse(text, LEXICON)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 400


@given(st.text(max_size=LONGEST_TEXT))
def test_no_text_ends_in_anything_but_a_reading_or_a_refusal(text: str) -> None:
    try:
        reading = parse(text, LEXICON)
    except FxstyleError:
        return
    assert reading.said or reading.notes
    assert all(abs(said.degree) <= MOST_DEGREE for said in reading.said)


@pytest.mark.parametrize(("sign", "degree"), [(-1, "less "), (1, "")])
def test_a_percentage_before_and_behind_is_the_same(sign: int, degree: str) -> None:
    assert degrees(f"40 % {degree}warm") == pytest.approx({"warm": sign * 0.4})
    assert degrees(f"{degree}warm 40 %") == pytest.approx({"warm": sign * 0.4})
