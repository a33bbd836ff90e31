"""Knobs that ended at a limit of their range: there the fit may have wanted to go on.

A knob counts if it ended within NEAR of an end of what the fit could use (the knob's own range, or what a
lock left of it), away from its default, and if it is heard: moved inwards by MOVE of its range, it changes
the passages that were fitted on by more than HEARD_DB. So a cut parked at its outermost frequency does not
count, and neither does the frequency of a peak that neither boosts nor cuts. Where the limit is an
amount of 0, a hundredth of the range may still be much: there it counts if exactly 0 is heard as the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fxstyle.chain import Chain
from fxstyle.fit.crops import Crops
from fxstyle.fit.space import Space
from fxstyle.units import db_to_power

NEAR = 0.01
"""Share of the range, in the knob's own scale."""

MOVE = 0.1
"""Share of the range: more than the ear misses of a knob that does something."""

HEARD_DB = -40.0
"""Power of the change over that of the sound: 0.1 dB more level is as much."""


@dataclass(frozen=True)
class AtLimit:
    """A setting at a limit.

    Attributes
    ----------
    setting: its address.
    value, unit: where it ended.
    shown: the same in words.
    locked: whether the limit is the user's own and not the knob's.
    """

    setting: str
    value: float
    unit: str
    shown: str
    locked: bool

    def __str__(self) -> str:
        return f"{self.setting} {self.shown}" + (" (its lock)" if self.locked else "")


def at_limits(space: Space, chain: Chain, crops: Crops, rate: int) -> tuple[AtLimit, ...]:
    """Return the settings of a fitted chain that lie at a limit of `space`, in the chain's order."""
    settings = chain.settings()
    active = {slot.name for slot in chain if slot.active}
    found: list[AtLimit] = []
    now: torch.Tensor | None = None
    for knob in space.knobs:
        if knob.address.partition(".")[0] not in active:
            continue
        value, span = settings[knob.address], knob.high - knob.low
        at = knob.param.to_unit(value)
        lowest, highest = at - knob.low <= NEAR * span, knob.high - at <= NEAR * span
        parked = abs(at - knob.param.to_unit(knob.param.default)) <= NEAR
        if parked or not (lowest or highest):
            continue
        now = _measured(chain, crops, rate) if now is None else now

        def heard(other: float, now: torch.Tensor = now, address: str = knob.address) -> bool:
            changed = _measured(chain.with_settings({address: other}), crops, rate)
            return float((changed - now).square().mean()) > db_to_power(HEARD_DB) * float(now.square().mean())

        end = knob.value(knob.low if lowest else knob.high)
        if end == 0.0 and knob.param.low == 0.0 and value != end and heard(end):
            continue
        if heard(knob.value(at + (MOVE if lowest else -MOVE) * span)):
            locked = knob.low > 0.0 if lowest else knob.high < 1.0
            shown = knob.param.format(value)
            found.append(AtLimit(knob.address, value, knob.param.unit, shown, locked))
    return tuple(found)


@torch.no_grad()
def _measured(chain: Chain, crops: Crops, rate: int) -> torch.Tensor:
    """Crops through the chain, (crop, channel, time), less their pre-roll."""
    return chain.forward(crops.audio, rate)[..., crops.preroll :].double()
