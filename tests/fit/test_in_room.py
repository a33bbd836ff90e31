"""A match in the room of another recording: the room stays as it was heard, whatever the reference has."""

import numpy as np
import pytest

from fxstyle import effects
from fxstyle.audio import Audio
from fxstyle.chain import Chain
from fxstyle.errors import MatchError, SettingError
from fxstyle.fit.in_room import Held, held_in
from fxstyle.fit.locks import Locks
from fxstyle.fit.match import match
from fxstyle.fit.quality import QUALITIES
from fxstyle.performance import perform
from fxstyle.render import render

RATE = 44100
SIMULATIONS = 48


@pytest.fixture(scope="module")
def dry() -> Audio:
    return Audio(perform(10.0, RATE, song=0, seed=1), RATE)


@pytest.fixture(scope="module")
def room() -> Audio:
    reverb = effects.get("reverb")
    assert reverb.of_decays is not None
    settings = reverb.of_decays(np.full(8, 1.5), np.full(8, -8.0))
    chain = Chain.parse("reverb").with_settings({f"reverb.{k}": v for k, v in settings.items()})
    return Audio(render(chain, perform(10.0, RATE, song=1, seed=2), RATE), RATE)


@pytest.fixture(scope="module")
def held(dry: Audio, room: Audio) -> Held:
    return held_in(Chain.parse("eq,reverb,gain"), Locks(), room, dry, SIMULATIONS)


def test_the_room_is_locked_and_the_rest_is_free(held: Held) -> None:
    assert held.locks.fixed
    assert {address.partition(".")[0] for address in held.locks.fixed} == {"reverb"}
    assert "is held" in held.note


def test_the_users_own_locks_go_first(dry: Audio, room: Audio, held: Held) -> None:
    chain = Chain.parse("eq,reverb,gain")
    address = sorted(held.locks.fixed)[0]
    low = Locks(low={address: chain.param(address).default})
    other = held_in(chain, low, room, dry, SIMULATIONS)
    assert other.locks.fixed.keys() == held.locks.fixed.keys() - {address}
    assert other.locks.low == low.low


def test_a_chain_without_a_reverb_is_refused(dry: Audio, room: Audio) -> None:
    with pytest.raises(SettingError, match="has no reverberation.*add reverb"):
        held_in(Chain.parse("eq,gain"), Locks(), room, dry, SIMULATIONS)
    with pytest.raises(SettingError, match="has no reverberation"):
        held_in(Chain.parse("eq,reverb"), Locks(off=frozenset({"reverb"})), room, dry, SIMULATIONS)


def test_silence_has_no_room(dry: Audio) -> None:
    silence = Audio(np.zeros((2, 5 * RATE), np.float32), RATE)
    with pytest.raises(MatchError, match="no room can be heard"):
        held_in(Chain.parse("reverb"), Locks(), silence, dry, SIMULATIONS)


def test_a_match_keeps_the_room_even_where_nothing_else_is_gained(dry: Audio, room: Audio) -> None:
    """The reference is the input itself: whatever the judge says, the room was asked for."""
    found = match(dry, dry, room=room, chain="eq,reverb", quality="draft", paired="no")
    reverb = next(slot for slot in found.chain if slot.name == "reverb")
    assert not reverb.bypass
    assert reverb.amount == 1.0
    assert not np.array_equal(found.audio.samples, dry.samples)
    assert any("is held" in note for note in found.notes)


def test_the_fit_leaves_the_room_alone(dry: Audio, room: Audio) -> None:
    quieter = Audio(perform(10.0, RATE, song=0, seed=3) * np.float32(0.25), RATE)
    found = match(dry, quieter, room=room, chain="eq,reverb,gain", quality="draft")
    wanted = held_in(Chain.parse("eq,reverb,gain"), Locks(), room, dry, QUALITIES["standard"].rooms)
    settings = found.chain.settings()
    assert found.verdict.accepted
    assert {address: settings[address] for address in wanted.locks.fixed} == dict(wanted.locks.fixed)


def test_with_a_pair_it_is_one_or_the_other(dry: Audio, room: Audio) -> None:
    with pytest.raises(SettingError, match="choose one"):
        match(dry, dry, room=room, paired="yes")
