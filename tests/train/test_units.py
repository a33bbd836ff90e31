"""Units and styles: ranges, draws that repeat, neighbours that differ in one knob, and our own effects."""

from __future__ import annotations

import numpy as np
import pytest

from fxstyle import effects
from fxstyle.performance import perform
from fxstyle.train.own import own_units
from fxstyle.train.units import (
    FAMILIES,
    LEAST_MOVE,
    Knob,
    Settings,
    Sound,
    Step,
    Unit,
    drawn,
    drawn_step,
    treated,
    varied,
)

RATE = 44_100
OWN = own_units()


def scaled(x: Sound, rate: int, settings: Settings) -> Sound:
    return x * np.float32(settings["gain"])


def unit(name: str = "test.gain", family: str = "eq", knobs: int = 1) -> Unit:
    return Unit(
        name, family, tuple(Knob("gain" if k == 0 else f"k{k}", 0.5, 2.0) for k in range(knobs)), scaled
    )


@pytest.fixture(scope="module")
def sound() -> Sound:
    return perform(2.0, RATE, song=0, seed=3)


class TestKnob:
    def test_a_share_lies_evenly_between_the_limits(self) -> None:
        assert Knob("k", -2.0, 6.0).at(0.25) == 0.0
        assert Knob("k", 10.0, 1000.0, log=True).at(0.5) == pytest.approx(100.0)

    def test_steps_are_whole_and_all_as_likely(self) -> None:
        knob = Knob("k", 0.0, 3.0, steps=True)
        values, counts = np.unique([knob.at(s) for s in np.linspace(0.0, 1.0, 4001)], return_counts=True)
        assert values.tolist() == [0.0, 1.0, 2.0, 3.0]
        assert np.ptp(counts) <= 1


class TestStyles:
    def test_draws_repeat(self) -> None:
        one, two = (drawn(OWN, 3, np.random.default_rng(7)) for _ in range(2))
        assert [(s.unit.name, s.shares) for s in one] == [(s.unit.name, s.shares) for s in two]

    def test_families_come_evenly_and_only_once(self) -> None:
        generator = np.random.default_rng(0)
        there = {u.family for u in OWN}
        seen = []
        for _ in range(2000):
            style = drawn(OWN, 3, generator)
            families = [step.unit.family for step in style]
            assert len(set(families)) == 3
            seen += families
        shares = np.array([seen.count(f) for f in there]) / len(seen)
        # 6000 draws of a binomial: four deviations
        assert np.abs(shares - 1.0 / len(there)).max() < 4.0 * np.sqrt(1.0 / len(there) / 6000)

    def test_many_plugins_of_one_program_do_not_drown_another(self) -> None:
        units = [unit("fxstyle.eq"), *(unit(f"lv2.{n}") for n in range(50))]
        generator = np.random.default_rng(0)
        own = sum(drawn(units, 1, generator)[0].unit.name == "fxstyle.eq" for _ in range(500))
        assert own > 300

    def test_a_neighbour_differs_in_one_knob_and_clearly(self) -> None:
        generator = np.random.default_rng(1)
        style = (drawn_step(unit(knobs=3), generator), drawn_step(unit(knobs=2), generator))
        for _ in range(200):
            other = varied(style, generator)
            moved = np.concatenate(
                [np.subtract(a.shares, b.shares) for a, b in zip(style, other, strict=True)]
            )
            apart = np.abs(moved)
            apart = np.minimum(apart, 1.0 - apart)
            assert (apart > 0.0).sum() == 1
            assert apart.max() >= LEAST_MOVE - 1e-9

    def test_without_knobs_the_last_unit_goes(self) -> None:
        plain = Step(Unit("test.none", "eq", (), scaled), ())
        assert varied((plain, plain), np.random.default_rng(0)) == (plain,)

    def test_units_follow_one_another(self) -> None:
        x = np.ones((2, 4), np.float32)
        np.testing.assert_allclose(treated((Step(unit(), (1.0,)), Step(unit(), (0.0,))), x, RATE), x)

    def test_what_is_not_finite_comes_out_silent(self) -> None:
        broken = Unit("test.broken", "eq", (), lambda x, rate, settings: x * np.float32(np.nan))
        assert not treated((Step(broken, ()),), np.ones((1, 4), np.float32), RATE).any()


class TestOwnUnits:
    def test_all_effects_that_treat_a_sound_are_there(self) -> None:
        there = {u.name.split(".")[1] for u in OWN}
        assert set(effects.names()) - there == {"gain"}
        assert {u.family for u in OWN} <= set(FAMILIES)
        assert len({u.name for u in OWN}) == len(OWN)

    @pytest.mark.parametrize("own", OWN, ids=lambda u: u.name)
    def test_every_knob_is_heard(self, own: Unit, sound: Sound) -> None:
        before = sound.copy()
        for k in range(len(own.knobs)):
            # between the ends of a knob there is a difference at one or the other place of the other knobs
            apart = []
            for others in (0.4, 0.8):
                ends = []
                for share in (0.02, 0.98):
                    shares = [others] * len(own.knobs)
                    shares[k] = share
                    ends.append(own.run(sound, RATE, Step(own, tuple(shares)).settings))
                assert ends[0].shape == sound.shape
                assert ends[0].dtype == np.float32
                apart.append(np.square(ends[1] - ends[0]).mean() / np.square(sound).mean())
            assert 10.0 * np.log10(max(apart)) > -45.0, own.knobs[k].name
        np.testing.assert_array_equal(sound, before)
