"""Lock texts: what they mean, and what they say when they cannot be read."""

import numpy as np
import pytest

from fxstyle.chain import Chain
from fxstyle.errors import SettingError
from fxstyle.fit.locks import Locks
from fxstyle.fit.space import Space

CHAIN = Chain.parse("eq,compressor,gain")


def test_reads_each_form() -> None:
    locks = Locks.parse(["compressor.ratio<=4", "compressor.ratio >= 2", "gain.gain_db=-3", "eq=off"], CHAIN)
    assert locks.high == {"compressor.ratio": 4.0}
    assert locks.low == {"compressor.ratio": 2.0}
    assert locks.fixed == {"gain.gain_db": -3.0}
    assert locks.off == {"eq"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("compressor.ratio", "cannot read the lock"),
        ("compressor.ratio=four", "'four' is not a number"),
        ("compressor.ratio=40", "outside 1..20"),
        (
            "compressor.rato=4",
            "lock .*: effect .* has no setting 'rato'; did you mean ratio\\? It has threshold_db",
        ),
        ("compresor=off", "lock .* no 'compresor'; did you mean compressor\\? It has eq, compressor, gain"),
        ("reverb=off", "no 'reverb'; it has eq, compressor, gain"),
        ("eq=on", "can only be switched off: eq=off"),
        ("compressor.ratio=nan", "outside"),
        ("compressor.amount<=0.3", "an amount is not fitted; give it with compressor.amount=NUMBER"),
    ],
)
def test_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Locks.parse([text], CHAIN)


@pytest.mark.parametrize("text", ["reverb=off", "reverb.amount=0", "reverb.amount = 0.0"])
def test_switching_off_what_is_not_there_asks_for_nothing(text: str) -> None:
    assert Locks.parse([text], CHAIN, {"reverb", "eq"}) == Locks()
    # Of a slot that is there, it says something.
    there = Locks.parse([text.replace("reverb", "eq")], CHAIN, {"reverb", "eq"})
    assert there.off == {"eq"} or there.fixed == {"eq.amount": 0.0}


@pytest.mark.parametrize(
    "text", ["revreb=off", "reverb.amount=0.5", "reverb.amount=none", "reverb.level_db=-9"]
)
def test_other_locks_on_what_is_not_there_are_refused(text: str) -> None:
    with pytest.raises(SettingError, match="the chain has no 'rev"):
        Locks.parse([text], CHAIN, {"reverb", "eq"})


def test_bounds_that_leave_nothing_are_refused() -> None:
    with pytest.raises(SettingError, match="leave nothing for compressor.ratio: at least 5 and at most 2"):
        Locks.parse(["compressor.ratio>=5", "compressor.ratio<=2"], CHAIN)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["compressor.ratio=4", "compressor.ratio<=2"], "compressor.ratio=4 is outside its bounds"),
        (["compressor.ratio=4", "compressor.ratio=5"], "compressor.ratio already has =4"),
    ],
)
def test_locks_that_contradict_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Locks.parse(texts, CHAIN)


def test_a_bound_at_the_end_of_the_range_pins() -> None:
    space = Space(CHAIN, Locks.parse(["compressor.ratio<=1", "gain.gain_db>=40"], CHAIN))
    assert space.base.settings()["compressor.ratio"] == 1.0
    assert space.base.settings()["gain.gain_db"] == 40.0


def test_an_amount_can_be_fixed() -> None:
    space = Space(CHAIN, Locks.parse(["compressor.amount=0.3"], CHAIN))
    assert space.base.settings()["compressor.amount"] == 0.3


def test_space_keeps_to_the_locks() -> None:
    locks = Locks.parse(["compressor.ratio<=4", "gain.gain_db=-3", "eq=off"], CHAIN)
    space = Space(CHAIN, locks)
    assert [slot.name for slot in space.base] == ["compressor", "gain"]
    assert "gain.gain_db" not in [knob.address for knob in space.knobs]

    for u in (np.zeros(space.size), np.ones(space.size)):
        settings = space.chain(u).settings()
        assert settings["compressor.ratio"] <= 4.0
        assert settings["gain.gain_db"] == -3.0
    assert space.chain(np.ones(space.size)).settings()["compressor.ratio"] == pytest.approx(4.0)


def test_a_bound_that_pins_a_knob_is_a_lock() -> None:
    space = Space(CHAIN, Locks.parse(["compressor.ratio<=4", "compressor.ratio>=4"], CHAIN))
    assert "compressor.ratio" not in [knob.address for knob in space.knobs]
    assert space.base.settings()["compressor.ratio"] == 4.0


def test_space_and_settings_are_inverse() -> None:
    space = Space(CHAIN, Locks.parse([], CHAIN))
    wanted = {"compressor.ratio": 2.5, "eq.peak3_db": -4.0, "eq.peak3_hz": 700.0, "gain.gain_db": 6.0}
    found = space.chain(space.unit(wanted)).settings()
    for address, value in wanted.items():
        assert found[address] == pytest.approx(value, rel=1e-9)


def test_a_lock_that_does_not_count_is_said() -> None:
    chain = Chain.parse("delay,saturation")
    locks = Locks.parse(["delay.sync=1/8", "delay.time_ms=300", "saturation.bias<=0.5"], chain)
    notes = locks.idle(chain.with_settings(locks.fixed))
    assert [note.partition(" does not count")[0] for note in notes] == ["delay.time_ms", "saturation.bias"]
    free = Locks.parse(["delay.time_ms=300"], chain)
    assert free.idle(chain.with_settings(free.fixed)) == ()
