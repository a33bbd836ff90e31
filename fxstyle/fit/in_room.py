"""Settings that know of a room: of the reference's, as heard, or of another recording's, as wished.

heard   the reference's room is what the reverberation is thought to be before the search (belief.py)
wished  the room of another recording: its decays and levels are set, and the fit leaves them alone
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from fxstyle.audio import Audio
from fxstyle.chain import Chain
from fxstyle.errors import AudioError, MatchError, SettingError
from fxstyle.fit.belief import believed, reverberates
from fxstyle.fit.locks import Locks
from fxstyle.fit.quality import Quality
from fxstyle.fit.rooms import estimate_room
from fxstyle.fit.space import Space
from fxstyle.fit.wish import beliefs_of, changed_room
from fxstyle.rooms.blind import FAR_LOSS, Estimate
from fxstyle.text.asked import Asked

MIDDLE = slice(3, 5)
"""Octaves around 500 Hz and 1 kHz, whose mean decay is what people call a room's (ISO 3382-1)."""


def aware(
    chain: Chain,
    locks: Locks,
    source: Audio,
    reference: Audio | None,
    quality: Quality,
    asked: Asked | None = None,
) -> Space:
    """Return the space of a chain, aware of the reference's room if it can take it up, and of words."""
    space = Space(chain, locks)
    fitted, given = {}, {}
    if reference is not None and quality.rooms and reverberates(space.base):
        # else too little sound to hear a room in, or like nothing the input could be in: the fit does without
        with suppress(AudioError):
            room = estimate_room(reference, source, simulations=quality.rooms)
            if room.loss <= FAR_LOSS:
                wanted = room if asked is None else changed_room(room, asked)
                beliefs = believed(space.base, wanted)
                fitted, given = beliefs.fitted, beliefs.given
    if asked is not None:
        words, said = beliefs_of(asked, space.base)
        fitted, given = fitted | words, given | said
    return Space(chain.with_settings(given), locks, fitted) if fitted or given else space


@dataclass(frozen=True)
class Held:
    """A chain in a room that was wished for: its locks hold the room. note: what was heard, in words."""

    chain: Chain
    locks: Locks
    note: str


def held_in(chain: Chain, locks: Locks, room: Audio, source: Audio, simulations: int) -> Held:
    """Put the first reverberation of a chain into the room of a recording; the user's own locks go first.

    simulations: rooms with which the recording is compared.
    Raises SettingError for a chain without a reverberation, MatchError for too little sound to hear a room.
    """
    name = "the room's recording" if room.source is None else room.source.name
    left = Chain(tuple(slot for slot in chain if slot.name not in locks.off))
    if not reverberates(left):
        raise SettingError(
            f"the chain {','.join(slot.name for slot in left)} has no reverberation to put into the room of"
            f" {name}: add reverb to it"
        )
    try:
        heard = estimate_room(room, source, simulations=simulations)
    except AudioError as error:
        raise MatchError(f"no room can be heard in {name}: {error}") from None
    beliefs = believed(left, heard)
    wanted = {address: belief.value for address, belief in beliefs.fitted.items()} | beliefs.given
    decided = {*locks.fixed, *locks.low, *locks.high}
    free = {address: value for address, value in wanted.items() if address not in decided}
    if not free:
        raise SettingError(f"the locks leave nothing for the room of {name}: take one away")
    return Held(chain.with_settings(free), replace(locks, fixed={**locks.fixed, **free}), _words(heard, name))


def _words(heard: Estimate, name: str) -> str:
    if heard.dry:
        return f"{name} sounds dry: the reverberation is held at next to none"
    decay_s = float(heard.t60_s[MIDDLE].mean())
    words = f"the room of {name} is held: {decay_s:.2f} s in the middle octaves"
    if heard.loss > FAR_LOSS:
        words += ", a guess, for it is unlike anything the input could be in"
    return words
