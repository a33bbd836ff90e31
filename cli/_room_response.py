"""The impulse response of a chain, where it has one.

A chain that is linear and time-invariant is told by what a click becomes. `wet` leaves out the click's own
way past the reverbs: of reverbs r_i with a share a_i of their own and what else there is in the chain, E,

    wet = h(all) - prod_i g_i h(E),    g_i = 1, or 1 - a_i where the reverb has no dry sound in it
"""

from __future__ import annotations

import math
from typing import get_args

import numpy as np

from fxstyle.chain import Chain, Slot
from fxstyle.cli.room import Kind
from fxstyle.effect import Samples
from fxstyle.errors import PresetError, SettingError
from fxstyle.render import render
from fxstyle.responses import LONGEST_S
from fxstyle.units import db_to_amplitude

TAIL_MARGIN = 1.5
"""Tails of effects count to -60 dB; so much longer they have fallen by 90 dB."""

END_DB = -90.0
"""Of the largest sample: what comes after the last one above it is left out."""

SHORTEST_S = 0.05


def check_has_response(chain: Chain, what: str) -> None:
    """Raise PresetError naming the first effect that keeps the chain from having an impulse response."""
    for slot in chain:
        if not slot.active or (slot.effect.linear and slot.effect.time_invariant):
            continue
        why = (
            "is not linear: what it does depends on the level"
            if not slot.effect.linear
            else "moves: it does something else at every moment"
        )
        raise PresetError(f"{what}: {slot.name} {why}, so there is no impulse response; bypass or remove it")


def length_s(chain: Chain) -> float:
    """Return the seconds in which the chain dies away by 90 dB, at most what a response may have."""
    tail_s = sum(slot.effect.tail_s(slot.settings) for slot in chain if slot.active)
    return min(max(TAIL_MARGIN * tail_s, SHORTEST_S), LONGEST_S)


def response_of(chain: Chain, rate: int, channels: int, seconds: float) -> Samples:
    """Return what a click in every channel becomes, (channel, time) in float64."""
    click = np.zeros((channels, max(math.ceil(seconds * rate), 1)))
    click[:, 0] = 1.0
    return render(chain, click, rate)


def wet_of(chain: Chain, rate: int, channels: int, seconds: float, what: str) -> Samples:
    """Return the response without the dry sound; raises SettingError where there is no reverb."""
    reverbs = [slot for slot in chain if slot.active and slot.effect.name in get_args(Kind)]
    if not reverbs:
        raise SettingError(f"--wet-only: {what} has none of {', '.join(get_args(Kind))}; leave it out")
    others = Chain(tuple(slot for slot in chain if slot not in reverbs))
    past = math.prod(_dry_gain(slot) for slot in reverbs)
    return response_of(chain, rate, channels, seconds) - past * response_of(others, rate, channels, seconds)


def _dry_gain(slot: Slot) -> float:
    """Return how much of the sound itself comes out beside the reverb."""
    return 1.0 if slot.settings.get("dry", 1.0) else 1.0 - slot.amount


def crosses_channels(chain: Chain, rate: int) -> bool:
    """Whether what is heard on the left comes out on the right as well."""
    click = np.zeros((2, math.ceil(SHORTEST_S * rate)))
    click[0, 0] = 1.0
    return bool(np.abs(render(chain, click, rate)[1]).max() > 0.0)


def cut(h: Samples) -> Samples:
    """Return a response (channel, time) without what is too quiet at its end to be heard."""
    largest = np.abs(h).max(axis=0)
    heard = np.flatnonzero(largest > largest.max() * db_to_amplitude(END_DB))
    return h[:, : int(heard[-1]) + 1] if heard.size else h[:, :1]
