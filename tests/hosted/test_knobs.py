"""What a plugin tells of its knobs becomes knobs in its own units, and turns back into its 0..1."""

from __future__ import annotations

import math
from typing import Any

import pytest

from fxstyle.hosted.knobs import knobs_of


def told(texts: list[str], **other: Any) -> dict[str, Any]:
    return {
        "name": "knob", "title": "Knob", "label": "", "stepped": False, "automatable": True, "default": 0.25,
        "texts": texts, **other,
    }  # fmt: skip


def nine(values: list[float], text: str) -> list[str]:
    return [text.format(value) for value in values]


LINE = [20.0 + 13980.0 * i / 8 for i in range(9)]
RATIO = [20.0 * 1000.0 ** (i / 8) for i in range(9)]


@pytest.mark.parametrize("text", ["{:.6f} Hz", "{:.0f} Hz"])
@pytest.mark.parametrize(("values", "quarter"), [(LINE, 3515.0), (RATIO, 20.0 * 1000.0**0.25)])
def test_a_law_is_found_and_obeyed(text: str, values: list[float], quarter: float) -> None:
    (knob,) = knobs_of([told(nine(values, text))])
    assert (knob.param.unit, knob.param.scale) == ("Hz", "log")
    # a default has six digits of the range, a text of whole Hz may be off by half of one at the low end
    assert knob.param.default == pytest.approx(quarter, abs=1.0)
    for i, value in enumerate(values):
        assert knob.raw(value) == pytest.approx(i / 8, abs=1e-3)


def test_a_knob_that_turns_backwards() -> None:
    (knob,) = knobs_of([told(nine([0.0 - 7.5 * i for i in range(9)], "{:.2f}"), label="dB")])
    assert (knob.param.low, knob.param.high, knob.param.default) == (-60.0, 0.0, -15.0)
    assert knob.raw(-15.0) == 0.25


def test_boosts_and_cuts_are_thought_of_by_some_db_whatever_their_range() -> None:
    cut, end = knobs_of(
        [
            told(nine([-50.0 + 8.75 * i for i in range(9)], "{:.2f}"), label="dB", default=50.0 / 70.0),
            told(nine([3.75 * i for i in range(9)], "{:.2f}"), label="dB", default=0.0, name="other"),
        ]
    )
    assert cut.param.spread * 70.0 == pytest.approx(6.0)
    assert end.param.spread == 0.25


@pytest.mark.parametrize(
    "texts",
    [
        nine([math.sin(i) for i in range(9)], "{:.3f}"),
        ["Off", *nine([1.0 + i for i in range(8)], "{:.1f}")],
        nine([5.0] * 9, "{:.1f}"),
        ["nan"] * 9,
        ["1 Hz", *nine([float(i) for i in range(8)], "{:.1f} ms")],
    ],
    ids=["no law", "a word", "constant", "not a number", "two units"],
)
def test_without_a_law_a_knob_keeps_the_hosts_numbers(texts: list[str]) -> None:
    (knob,) = knobs_of([told(texts)])
    assert (knob.param.low, knob.param.high, knob.param.default) == (0.0, 1.0, 0.25)
    assert knob.raw(0.3) == 0.3


def test_steps_are_choices() -> None:
    switch, model, twice = knobs_of(
        [
            told(["0.000000", "1.000000"], stepped=True, default=1.0, name="on"),
            told(["Tube", "Tape", "Diode"], stepped=True, default=0.5, name="model", automatable=False),
            told(["A", "A", "B"], stepped=True, default=0.0, name="twice"),
        ]
    )
    assert (switch.param.choices, switch.param.default) == (("off", "on"), 1.0)
    assert (model.param.choices, model.param.default) == (("Tube", "Tape", "Diode"), 1.0)
    assert [model.raw(i) for i in range(3)] == [0.0, 0.5, 1.0]
    assert twice.param.choices == ("0", "1", "2")


def test_meters_and_programs_are_left_out() -> None:
    line = nine(LINE, "{:.1f}")
    assert knobs_of([told(line, automatable=False), told(line, name="current_program")]) == ()


def test_names_suit_the_functions_of_effects() -> None:
    line = nine(LINE, "{:.1f}")
    names = ["rate", "lambda", "1st band", "Größe", "amount", "a b", "a_b", ""]
    found = [knob.param.name for knob in knobs_of([told(line, name=name) for name in names])]
    assert found == ["rate_", "lambda_", "knob_1st_band", "gr__e", "amount_", "a_b", "a_b_2", "knob"]
    assert all(name.isidentifier() for name in found)
