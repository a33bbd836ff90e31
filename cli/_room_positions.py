"""Impulse responses of one room at several places, as microphones hear one sound there.

    y_i(t) = a_i (dry delta + h_i)(t - d_i),    a_i = r_0/r_i,    d_i = (r_i - r_0)/c

h_i is what follows the direct sound at place i, over its gain, r_i the distance from the source and r_0 the
least of them: the nearest place has the sound itself at full level and at once. Delays are whole samples.
Each place is computed alone: what it is does not depend on which others are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fxstyle.chain import Chain, Slot
from fxstyle.cli._room_described import AXES
from fxstyle.dsp.air import speed_of_sound
from fxstyle.dsp.shoebox import Shoebox, direct_distance_m, reflections
from fxstyle.effect import Samples
from fxstyle.effects.room import shoebox
from fxstyle.errors import SettingError
from fxstyle.units import db_to_amplitude

Place = tuple[float, float, float]


def at_positions(
    chain: Chain, places: Sequence[Place], rate: int, channels: int, seconds: float, *, wet_only: bool
) -> list[Samples]:
    """Return a response (channel, time) for each place in metres; raises SettingError.

    The chain is one effect `room`. Channels stand along the length of the room, as the effect has them.
    """
    slot = _room(chain)
    boxes = [_box(slot, place, channels) for place in places]
    frames = max(round(seconds * rate), 1)
    wet_gain = slot.amount * db_to_amplitude(slot.settings["level_db"])
    with torch.no_grad():
        made = [reflections(box, rate, torch.float64, frames)[0].numpy() * wet_gain for box in boxes]
        # of a pair of microphones the middle counts: they keep step, as in the effect
        distance_m = [float(direct_distance_m(box)[0].mean()) for box in boxes]
    speed, nearest = float(speed_of_sound(boxes[0].temperature_c)), min(distance_m)
    responses: list[Samples] = []
    for own, r in zip(made, distance_m, strict=True):
        if not wet_only:
            own[:, 0] += 1.0
        late = round((r - nearest) / speed * rate)
        responses.append(np.pad(own, ((0, 0), (late, 0)))[:, :frames] * (nearest / r))
    return responses


def _room(chain: Chain) -> Slot:
    active = [slot for slot in chain if slot.active]
    if len(active) != 1 or active[0].effect.name != "room":
        there = ", ".join(slot.name for slot in active) or "no effects"
        raise SettingError(
            f"--position is for a preset of one room, or a described one; this one has {there}"
        )
    return active[0]


def _box(slot: Slot, place: Place, channels: int) -> Shoebox:
    """Return the room with its microphones at a place; raises SettingError where they cannot be."""
    knobs = dict(slot.settings)
    for axis, at, length in zip("xyz", place, AXES, strict=True):
        param, size = slot.effect.param(f"mic_{axis}"), knobs[length]
        low, high = param.low * size, param.high * size
        if not low <= at <= high:
            raise SettingError(
                f"--position {','.join(f'{v:g}' for v in place)}: {axis} = {at:g} m is outside"
                f" {low:.2f}..{high:.2f} m, where a microphone can be in this room"
            )
        knobs[param.name] = at / size
    return shoebox(channels, {name: torch.tensor([v], dtype=torch.float64) for name, v in knobs.items()})
