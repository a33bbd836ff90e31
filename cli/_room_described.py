"""From a described room to the effect that sounds like it: metres to shares, all of it within range."""

from __future__ import annotations

import numpy as np

from fxstyle import effects
from fxstyle.chain import Chain, Slot
from fxstyle.octaves import BAND_NAMES
from fxstyle.param import Param
from fxstyle.rooms.describe import Room
from fxstyle.rooms.materials import SURFACES

AXES = ("length_m", "width_m", "height_m")


def chain_of(room: Room) -> tuple[Chain, list[str]]:
    """Return a chain of one effect `room`, and what had to be held to the ranges of its knobs."""
    effect = effects.get("room")
    notes: list[str] = []

    def held(name: str, value: float, what: str) -> float:
        """Return a value within the range of a knob, and note that it was moved there."""
        param = effect.param(name)
        inside = min(max(value, param.low), param.high)
        # in and out of shares of a length a place may lose its last digits
        if not np.isclose(inside, value, rtol=1e-9, atol=0.0):
            notes.append(f"{what} {_text(param, value)} was held to {_text(param, inside)}")
        return inside

    settings = {name: held(name, float(v), name) for name, v in zip(AXES, room.size_m, strict=True)}
    for role, place in (("source", room.source_m), ("mic", room.microphone_m)):
        for axis, share in zip("xyz", place / room.size_m, strict=True):
            what = f"the {'source' if role == 'source' else 'microphone'}'s {axis}, a share of the room,"
            settings[f"{role}_{axis}"] = held(f"{role}_{axis}", float(share), what)
    settings["scatter"] = held("scatter", room.scatter, "scatter")
    for surface, values in zip(SURFACES, room.absorption, strict=True):
        moved: list[str] = []
        for band, alpha in zip(BAND_NAMES, values.tolist(), strict=True):
            name = f"absorption_{surface}_{band}"
            param = effect.param(name)
            settings[name] = min(max(alpha, param.low), param.high)
            if settings[name] != alpha:
                moved.append(f"{alpha:g} at {band} Hz")
        if moved:
            notes.append(
                f"absorption of the {surface}, {', '.join(moved)}, was held to {param.low:g}..{param.high:g},"
                " the range of the effect"
            )
    return Chain((Slot(effect, settings),)), notes


def _text(param: Param, value: float) -> str:
    return f"{value:.3g} {param.unit}".rstrip()
