"""The pictures of an effect show what closed forms say it does."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from fxstyle import effects
from fxstyle.cli import main
from fxstyle.report.response import picture, plots
from fxstyle.report.svg import Line, Plot


def drawn(name: str, title: str, **changed: float) -> Plot:
    effect = effects.get(name)
    found = {plot.title: plot for plot in plots(effect, {**effect.defaults(), **changed})}
    return found[title]


def at(line: Line, x: float) -> float:
    return float(np.interp(x, line.x, line.y))


def test_the_equalisers_magnitude_is_its_closed_form() -> None:
    from fxstyle.effects.eq import response_db

    plot = drawn("eq", "Magnitude response", peak4_db=9.0, peak4_hz=1000.0, low_shelf_db=-6.0)
    hz = np.array((50.0, 200.0, 1000.0, 3000.0, 12000.0))
    shown = [at(plot.lines[0], f) for f in hz]
    truth = response_db(hz, 44100.0, {"peak4_db": 9.0, "peak4_hz": 1000.0, "low_shelf_db": -6.0})
    assert shown == pytest.approx(truth, abs=0.1)  # the picture's points are means over 2.3 %


def test_the_compressors_curve_is_its_static_curve() -> None:
    # peak law, one sine: its detector stays within 1 dB below the peak at these times
    plot = drawn(
        "compressor", "Level out over level in", ratio=4.0, threshold_db=-24.0, knee_db=0.0, attack_ms=0.05,
        release_ms=500.0,
    )  # fmt: skip
    out = plot.lines[1]
    assert at(out, -36.0) == pytest.approx(-36.0, abs=0.01)
    assert at(out, 0.0) == pytest.approx(-24.0 + 24.0 / 4.0, abs=0.3)


def test_a_gain_is_a_flat_line_and_a_tremolo_swings() -> None:
    np.testing.assert_allclose(drawn("gain", "Magnitude response", gain_db=-7.0).lines[0].y, -7.0, atol=1e-6)
    swing = drawn("tremolo", "Gain of 997 Hz over time", rate_hz=2.0, depth=1.0).lines[0]
    assert max(swing.y) - min(swing.y) > 20.0


def test_saturation_has_odd_harmonics_only() -> None:
    level = {line.x[0]: line.y[1] for line in drawn(
        "saturation", "Harmonics of 997 Hz at -6 dBFS", drive_db=12.0).lines}  # fmt: skip
    assert level[3.0] > -40.0
    assert 2.0 not in level  # below -100 dBFS


def curves(plot: Plot) -> dict[str, Line]:
    return {line.name: line for line in plot.lines}


def test_a_gate_is_drawn_as_deep_as_it_shuts() -> None:
    plot = drawn("gate", "Level out over level in", threshold_db=-30.0, ratio=20.0, range_db=40.0)
    out = plot.lines[1]
    assert at(out, -60.0) == pytest.approx(-100.0, abs=0.1)
    assert plot.y.low <= -100.0
    assert max(b - a for a, b in zip(out.x, out.x[1:], strict=False)) <= 1.0  # knees are a few dB wide


def test_what_leaves_the_panel_is_not_bent_flat() -> None:
    plot = drawn("eq", "Magnitude response", low_cut_hz=2000.0)
    assert plot.lines[0].y[0] < plot.y.low
    assert plot.y.place(plot.lines[0].y[0]) < 0.0
    quiet = drawn("tape", "Level out over level in", output_db=-24.0).lines[1]
    # far below saturation tape is linear
    assert at(quiet, -60.0) - at(quiet, -80.0) == pytest.approx(20.0, abs=0.2)


@pytest.mark.parametrize("hold_hz", [500.0, 1000.0, 2000.0])
def test_the_tone_does_not_fall_on_the_steps_of_a_hold(hold_hz: float) -> None:
    out = drawn("bitcrush", "Level out over level in", hold_hz=hold_hz, bits=16.0).lines[1]
    assert at(out, 0.0) > -10.0


def test_tape_without_sway_or_with_it_has_odd_harmonics_only() -> None:
    for percent in (0.0, 0.1):
        plot = drawn("tape", "Harmonics of 997 Hz at -6 dBFS", wow_percent=percent, flutter_percent=percent)
        order = {line.x[0] for line in plot.lines}
        assert {1.0, 3.0} <= order
        assert 2.0 not in order
        assert 4.0 not in order


def test_channels_are_drawn_apart_where_they_differ() -> None:
    panned = curves(drawn("gain", "Magnitude response", pan=1.0))
    assert set(panned) == {"left (silent)", "right"}
    wide = curves(drawn("width", "Magnitude response of mid and side", width=0.5))
    np.testing.assert_allclose(wide["mid"].y, 0.0, atol=1e-6)
    np.testing.assert_allclose(wide["side"].y, 20.0 * np.log10(0.5), atol=1e-6)
    swing = curves(drawn("tremolo", "Gain of 997 Hz over time", depth=0.8, stereo_phase_deg=180.0))
    assert np.corrcoef(swing["left"].y, swing["right"].y)[0, 1] < -0.8
    echoes = curves(drawn("delay", "After an impulse on the left", ping_pong=1.0, feedback=0.5))
    assert set(echoes) == {"left", "right"}


def test_a_tremolo_is_asked_at_four_phases_and_equal_curves_say_so() -> None:
    assert len(drawn("tremolo", "Magnitude response").lines) == 4
    (line,) = drawn("tremolo", "Magnitude response", depth=0.0).lines
    assert line.name.endswith("(same)")


def test_a_band_is_tested_where_it_lies_and_flat_pictures_are_left_out() -> None:
    effect = effects.get("dynamic_eq")
    found = plots(effect, {**effect.defaults(), "band1_range_db": -12.0})
    out = next(plot for plot in found if plot.title == "Level out over level in").lines[1]
    assert at(out, 0.0) < -3.0
    effect = effects.get("deesser")
    text = picture(effect, {**effect.defaults(), "range_db": 0.0})
    assert "left out, as nothing changes there" in text


@pytest.mark.parametrize("name", effects.names())
def test_every_effect_has_a_picture_of_finite_lines(name: str) -> None:
    effect = effects.get(name)
    for plot in plots(effect, effect.defaults()):
        assert plot.lines, plot.title
        for line in plot.lines:
            assert np.isfinite(line.y).all(), plot.title
            assert plot.y.low <= plot.y.high


def test_a_picture_is_an_svg_file_without_variables_of_css() -> None:
    effect = effects.get("gain")
    text = picture(effect, {**effect.defaults(), "gain_db": 3.0})
    assert "var(" not in text
    assert "gain_db +3.0 dB" in text
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"


class TestCommand:
    def test_draws_given_settings(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "gain.svg"
        assert main(["effects", "gain", "--plot", str(path), "--set", "gain_db=-3"]) == 0
        assert "gain_db -3.0 dB" in path.read_text()
        assert "10^(gain_db/20)" in capsys.readouterr().out
        assert main(["effects", "gain", "--plot", str(path)]) == 1
        assert "exists already" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--plot", "a.svg"], "name it, as in fxstyle effects eq"),
            (["gain", "--set", "gain_db=1"], "add --plot FILE.svg"),
            (["gain", "--plot", "a.png"], "name it something.svg"),
            (["gain", "--plot", "a.svg", "--set", "gain_db"], "write KNOB=VALUE, as in gain_db=0"),
            (["gain", "--plot", "a.svg", "--set", "gain_db=loud"], "gain.gain_db: 'loud' is not a number"),
            (["gain", "--plot", "a.svg", "--set", "gain_db=99"], "outside -40..40 dB"),
            (["gain", "--plot", "a.svg", "--set", "warmth=1"], "has no setting 'warmth'"),
        ],
    )
    def test_refuses_what_makes_no_picture(
        self, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["effects", *words]) == 2
        assert message in capsys.readouterr().err
