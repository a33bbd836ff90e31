"""Knobs at their limit: those that matter are named, those that are parked or not heard are not."""

from collections.abc import Mapping

import numpy as np
import pytest

from fxstyle.chain import Chain
from fxstyle.fit.crops import Crops, cut
from fxstyle.fit.limits import NEAR, at_limits
from fxstyle.fit.locks import Locks
from fxstyle.fit.space import Space

RATE = 44100
CHAIN = Chain.parse("eq,compressor,gain")


@pytest.fixture(scope="module")
def crops() -> Crops:
    x = np.random.default_rng(0).normal(0.0, 0.1, (2, 2 * RATE))
    return cut(x, [0, RATE], RATE // 2, RATE // 4)


def found(crops: Crops, settings: Mapping[str, float], *locks: str) -> list[str]:
    space = Space(CHAIN, Locks.parse(locks, CHAIN))
    return [str(limit) for limit in at_limits(space, CHAIN.with_settings(settings), crops, RATE)]


def test_a_new_chain_is_at_no_limit(crops: Crops) -> None:
    # Its cuts lie at the outer end of their range, and so does the compressor's link: that is their default.
    parked = [a for a, v in CHAIN.settings().items() if v in (CHAIN.param(a).low, CHAIN.param(a).high)]
    assert {"eq.low_cut_hz", "eq.high_cut_hz", "compressor.link"} <= set(parked)
    assert found(crops, {}) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"gain.gain_db": 40.0}, "gain.gain_db +40.0 dB"),
        ({"gain.gain_db": -40.0}, "gain.gain_db -40.0 dB"),
        ({"eq.low_shelf_db": -24.0}, "eq.low_shelf_db -24.0 dB"),
        ({"eq.low_cut_hz": 2000.0}, "eq.low_cut_hz 2 kHz"),
        ({"eq.peak3_db": 12.0, "eq.peak3_hz": 20000.0}, "eq.peak3_hz 20 kHz"),
        ({"compressor.threshold_db": -30.0, "compressor.ratio": 20.0}, "compressor.ratio 20.00:1"),
    ],
)
def test_a_knob_at_an_end_is_named_with_its_value(
    crops: Crops, settings: dict[str, float], words: str
) -> None:
    assert found(crops, settings) == [words]


@pytest.mark.parametrize(
    "settings",
    [
        # A peak of 0 dB has no frequency to speak of, nor has a shelf.
        {"eq.peak3_hz": 20000.0},
        {"eq.peak3_hz": 20000.0, "eq.peak3_db": 0.01},
        {"eq.low_shelf_hz": 20.0, "eq.peak2_q": 8.0},
        # A compressor that never compresses has no attack.
        {"compressor.threshold_db": 0.0, "compressor.ratio": 2.0, "compressor.attack_ms": 0.05},
        # Nor does a knob count in an effect that is not heard at all.
        {"gain.gain_db": 40.0, "gain.amount": 0.0},
    ],
    ids=",".join,
)
def test_a_knob_that_is_not_heard_is_not_named(crops: Crops, settings: dict[str, float]) -> None:
    for address, value in settings.items():
        assert CHAIN.param(address).low <= value <= CHAIN.param(address).high
    assert found(crops, settings) == []


def test_within_a_hundredth_of_the_range_is_at_the_limit(crops: Crops) -> None:
    span_db = 80.0
    for share, at in ((0.5 * NEAR, True), (2.0 * NEAR, False)):
        assert bool(found(crops, {"gain.gain_db": -40.0 + share * span_db})) is at
        assert bool(found(crops, {"gain.gain_db": 40.0 - share * span_db})) is at


@pytest.mark.parametrize(("loud_from", "named"), [(0, False), (RATE // 2, True)])
def test_what_only_the_pre_roll_hears_is_not_named(loud_from: int, named: bool) -> None:
    """A compressor at work before the passage that is measured, or in it."""
    x = np.random.default_rng(0).normal(0.0, 1e-4, (2, RATE))
    x[:, loud_from : loud_from + RATE // 8] *= 3000.0
    settings = {"compressor.threshold_db": -30.0, "compressor.ratio": 20.0, "compressor.release_ms": 10.0}
    crops = cut(x, [RATE // 4], RATE // 2, RATE // 4)
    assert found(crops, settings) == (["compressor.ratio 20.00:1"] if named else [])


def test_a_limit_of_the_users_own_is_marked(crops: Crops) -> None:
    settings = {"gain.gain_db": 6.0, "compressor.threshold_db": -30.0, "compressor.ratio": 4.0}
    words = ["compressor.ratio 4.00:1 (its lock)", "gain.gain_db +6.0 dB (its lock)"]
    assert found(crops, settings, "compressor.ratio<=4", "gain.gain_db<=6") == words
    assert found(crops, settings) == []
    # A fixed setting was never the fit's to move.
    assert found(crops, {"gain.gain_db": 40.0}, "gain.gain_db=40") == []


def test_a_little_of_an_amount_is_not_none_of_it_where_it_is_heard(crops: Crops) -> None:
    chain = Chain.parse("tape")
    space = Space(chain, Locks.parse((), chain))
    for percent, at in ((0.0082, False), (0.0, True)):
        settings = {"tape.wow_percent": percent, "tape.wow_hz": 0.8}
        limits = at_limits(space, chain.with_settings(settings), crops, RATE)
        assert ("tape.wow_percent" in {limit.setting for limit in limits}) is at
