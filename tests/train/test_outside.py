"""Laws of treatments by other programs: shape, input unchanged, knobs act, same settings, same sound."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fxstyle.train._ffmpeg import filters
from fxstyle.train._lv2 import installed
from fxstyle.train._lv2_plugins import PLUGINS
from fxstyle.train._program import ProgramError, in_pairs, knobs, piped, written
from fxstyle.train.outside import ffmpeg_units, lv2_units, outside_units, pedalboard_units, sox_units
from fxstyle.train.units import FAMILIES, Sound, Unit

RATE = 44100
PROGRAMS = {"pedalboard": pedalboard_units, "sox": sox_units, "ffmpeg": ffmpeg_units, "lv2": lv2_units}
SAMPLED = 5
"""Units of each program that are heard in every law: all of them would take minutes."""

LEAST_CHANGE_DB = -40.0


def units_of(program: str) -> Sequence[Unit]:
    units = PROGRAMS[program]()
    if not units:
        pytest.skip(f"{program} or its plugins are not installed")
    return units[:: max(1, len(units) // SAMPLED)]


@pytest.fixture(params=PROGRAMS)
def sampled(request: pytest.FixtureRequest) -> Sequence[Unit]:
    return units_of(request.param)


@pytest.fixture(scope="module")
def sound() -> Sound:
    """A second of notes with overtones that are struck and fade, others on each side, with a little noise."""
    t = np.arange(RATE) / RATE
    struck = np.exp(-12.0 * (t % 0.25))
    sides = [sum(np.sin(2 * np.pi * f * k * t) / k for k in range(1, 12)) for f in (110.0, 147.0)]
    noise = 0.02 * np.random.default_rng(3).standard_normal((2, RATE))
    return (0.25 * struck * np.array(sides) + struck * noise).astype(np.float32)


def level_db(x: np.ndarray) -> float:
    return float(10.0 * np.log10(np.mean(np.square(x, dtype=np.float64)) + 1e-30))


def middle(unit: Unit, **shares: float) -> dict[str, float]:
    """Return settings a little above the middle, where gains of equalizers are not 0 dB."""
    return {knob.name: knob.at(shares.get(knob.name, 0.7)) for knob in unit.knobs}


def test_names_are_one_each_and_families_known() -> None:
    units = outside_units()
    assert len({unit.name for unit in units}) == len(units)
    assert {unit.family for unit in units} <= set(FAMILIES)
    assert all(unit.knobs for unit in units)


def test_plugins_have_one_name_each() -> None:
    assert len({plugin.name for plugin in PLUGINS}) == len(PLUGINS)


def test_shape_input_and_repetition(sampled: Sequence[Unit], sound: Sound) -> None:
    before = sound.copy()
    for unit in sampled:
        out = unit.run(sound, RATE, middle(unit))
        assert out.shape == sound.shape, unit.name
        assert out.dtype == np.float32, unit.name
        assert np.all(np.isfinite(out)), unit.name
        assert level_db(out) > -60.0, unit.name
        assert np.array_equal(out, unit.run(sound, RATE, middle(unit))), unit.name
    assert np.array_equal(sound, before)


def test_mono_and_a_read_only_view_are_accepted(sampled: Sequence[Unit], sound: Sound) -> None:
    mono = np.repeat(sound[:1], 2, axis=1)[:, ::2]
    mono.flags.writeable = False
    for unit in sampled:
        out = unit.run(mono, RATE, middle(unit))
        assert out.shape == mono.shape, unit.name
        assert level_db(out) > -60.0, unit.name


def test_first_knob_acts(sampled: Sequence[Unit], sound: Sound) -> None:
    for unit in sampled:
        low, high = (
            unit.run(sound, RATE, middle(unit, **{unit.knobs[0].name: share})) for share in (0.0, 1.0)
        )
        assert level_db(low - high) > max(level_db(low), level_db(high)) + LEAST_CHANGE_DB, unit.name


def test_channels_beyond_two_go_through_lv2_in_pairs(sound: Sound) -> None:
    unit = units_of("lv2")[0]
    four = np.concatenate([sound, sound[::-1]])
    out = unit.run(four, RATE, middle(unit))
    assert np.array_equal(out[:2], unit.run(sound, RATE, middle(unit)))


def test_a_plugin_of_one_channel_keeps_the_channels_apart(sound: Sound) -> None:
    known = [
        plugin for plugin in PLUGINS if (plugin.takes, plugin.gives) == (1, 1) and plugin.uri in installed()
    ]
    if not known or not lv2_units():
        pytest.skip("no LV2 plugin of one channel is installed")
    unit = next(unit for unit in lv2_units() if unit.name == f"lv2.{known[0].name}")
    alone = [unit.run(sound[c : c + 1], RATE, middle(unit)) for c in range(2)]
    assert np.array_equal(unit.run(sound, RATE, middle(unit)), np.concatenate(alone))


def test_sox_equalizer_has_its_gain_at_its_frequency() -> None:
    units = {unit.name: unit for unit in sox_units()}
    if not units:
        pytest.skip("sox is not installed")
    tone = (0.3 * np.sin(2 * np.pi * 1000.0 * np.arange(RATE) / RATE)).astype(np.float32)[None]
    out = units["sox.equalizer"].run(tone, RATE, {"frequency": 1000.0, "q": 1.0, "gain": 6.0})
    # 0.05 dB: the filter needs some of the second to settle
    assert level_db(out[:, RATE // 2 :]) - level_db(tone[:, RATE // 2 :]) == pytest.approx(6.0, abs=0.05)


def test_loud_sound_does_not_clip_in_linear_sox(sound: Sound) -> None:
    units = {unit.name: unit for unit in sox_units()}
    if not units:
        pytest.skip("sox is not installed")
    unit = units["sox.bass"]
    loud = unit.run(8.0 * sound, RATE, middle(unit, gain=1.0)) / 8.0
    # sox counts in 32 bits at a fifth of full scale: about 1e-8 of the peak
    np.testing.assert_allclose(loud, unit.run(sound, RATE, middle(unit, gain=1.0)), atol=1e-6)


def test_a_failing_program_is_named_with_its_complaint(sound: Sound) -> None:
    code = "import sys; sys.stdin.buffer.read(); sys.exit('no such filter: mud')"
    with pytest.raises(ProgramError, match=r"failed with 1: no such filter: mud"):
        piped([sys.executable, "-c", code], sound)


def test_an_absent_program_is_named(sound: Sound) -> None:
    with pytest.raises(ProgramError, match="no-such-program cannot be started"):
        piped(["no-such-program"], sound)


def test_a_hanging_program_is_ended(sound: Sound) -> None:
    with pytest.raises(ProgramError, match=r"took longer than 0\.2 s"):
        piped([sys.executable, "-c", "import time; time.sleep(9)"], sound, timeout_s=0.2)


def test_a_silent_program_is_named(sound: Sound) -> None:
    with pytest.raises(ProgramError, match="gave no sound"):
        piped([sys.executable, "-c", "import sys; sys.stdin.buffer.read()"], sound)


def test_a_longer_and_a_shorter_answer_are_fitted(sound: Sound) -> None:
    code = "import sys; b = sys.stdin.buffer.read(); sys.stdout.buffer.write({})"
    assert np.array_equal(piped([sys.executable, "-c", code.format("b + b")], sound), sound)
    shorter = piped([sys.executable, "-c", code.format("b[:800]")], sound)
    assert np.array_equal(shorter[:, :100], sound[:, :100])
    assert not shorter[:, 100:].any()


def test_bad_settings_of_a_real_program_are_told(sound: Sound) -> None:
    units = {unit.name: unit for unit in sox_units()}
    if not units:
        pytest.skip("sox is not installed")
    with pytest.raises(ProgramError, match=r"sox failed with \d+: .*equalizer"):
        units["sox.equalizer"].run(sound, RATE, {"frequency": 1000.0, "q": -1.0, "gain": 0.0})


def test_programs_that_are_absent_give_no_units(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    filters.cache_clear()
    installed.cache_clear()
    try:
        assert [*sox_units(), *ffmpeg_units(), *lv2_units()] == []
    finally:
        filters.cache_clear()
        installed.cache_clear()


def test_numbers_are_written_without_exponent() -> None:
    assert [written(v) for v in (2.0, 0.00003, -0.25, 12000.0, 0.0)] == [
        "2",
        "0.00003",
        "-0.25",
        "12000",
        "0",
    ]


def test_knobs_are_read_from_text() -> None:
    f, mode, gain = knobs("f 100 6000 log, mode 0 4 steps, gain -3 3")
    assert (f.name, f.low, f.high, f.log, f.steps) == ("f", 100.0, 6000.0, True, False)
    assert mode.steps
    assert (gain.low, gain.log, gain.steps) == (-3.0, False, False)


@pytest.mark.parametrize(("channels", "parts"), [(1, [1]), (2, [2]), (3, [2, 1]), (4, [2, 2])])
def test_channels_by_twos(channels: int, parts: list[int]) -> None:
    assert [len(part) for part in in_pairs(np.zeros((channels, 5), np.float32))] == parts
