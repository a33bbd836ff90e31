"""What the room of the reference says of a chain's reverberation, before anything is searched.

The room is estimated blindly (rooms/blind.py), with decays T_b, levels L_b and how sure both are, from
features in which neither the equaliser nor the level counts. A reverberation that can be asked for decays is
asked for them, and for those that lie a standard deviation away: that is the prior of its knobs in the fit.
So the search, which hears everything at once, cannot make up for a missing equaliser by a longer room.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fxstyle.chain import Chain, Slot
from fxstyle.fit.space import Belief
from fxstyle.rooms.blind import Estimate

DRY_LEVEL_DB = -40.0
"""Of a reference in which no room is heard: barely audible, yet with a gradient."""

LEAST_SPREAD = 0.01
"""Share of a knob's range: no estimate is surer."""


def _reverberation(chain: Chain) -> Slot | None:
    return next((slot for slot in chain if slot.active and slot.effect.of_decays is not None), None)


def reverberates(chain: Chain) -> bool:
    """Whether a chain has something that a room could be taken up by."""
    return _reverberation(chain) is not None


@dataclass(frozen=True)
class Beliefs:
    """What is thought of the first reverberation of a chain, by address.

    Attributes
    ----------
    fitted: of knobs that the fit turns. given: settings of those that it leaves alone.
    """

    fitted: dict[str, Belief]
    given: dict[str, float]


def believed(chain: Chain, room: Estimate) -> Beliefs:
    """Return what is thought of the first reverberation of a chain."""
    slot = _reverberation(chain)
    if slot is None or slot.effect.of_decays is None:
        return Beliefs({}, {})
    if any(p.responses and slot.settings[p.name] != p.default for p in slot.effect.params):
        return Beliefs({}, {})  # a response of the user's own has decays of its own
    ask = slot.effect.of_decays
    level_db = np.full_like(room.level_db, DRY_LEVEL_DB) if room.dry else room.level_db
    middle = ask(room.t60_s, level_db)
    stretch, sign = np.exp(room.t60_spread), np.where(np.arange(level_db.size) % 2 == 0, 1.0, -1.0)
    # all levels together move the level, one against the other the tones
    away = [
        ask(room.t60_s * stretch, level_db + room.level_spread_db),
        ask(room.t60_s / stretch, level_db + sign * room.level_spread_db),
    ]
    found, given = {}, {}
    for knob, value in middle.items():
        param = slot.effect.param(knob)
        if not param.fitted:
            # what the user has turned stays
            if slot.settings[knob] == param.default:
                given[f"{slot.name}.{knob}"] = value
            continue
        moved = max(abs(param.to_unit(other[knob]) - param.to_unit(value)) for other in away)
        if moved > 0.0:
            found[f"{slot.name}.{knob}"] = Belief(value, max(moved, LEAST_SPREAD))
    return Beliefs(found, given)
