"""The page of a room: with its plan where it has walls, else its decay and its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fxstyle.chain import Chain, Slot
from fxstyle.octaves import BAND_NAMES
from fxstyle.report.plan import SURFACES
from fxstyle.report.room import Series, Walls, page
from fxstyle.report.settings import settings_html

WALLED = "room"
"""The effect that has walls."""

_MIDDLE = ("500", "1k", "2k")
"""Octaves over which one number for a wall is taken."""


@dataclass(frozen=True)
class Told:
    """What a page tells.

    Attributes
    ----------
    title, lead: a heading and a sentence below it.
    centres_hz, series: as `decay_per_band` takes them.
    time_s, level_db: as `decay_curves` takes them; no levels, no picture.
    facts: names and values. notes: what was assumed or is not sure.
    """

    title: str
    lead: str
    centres_hz: Sequence[float]
    series: Series
    time_s: Sequence[float] = ()
    level_db: Mapping[float, Sequence[float]] = field(default_factory=dict)
    facts: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()


def html(told: Told, chain: Chain | None = None, labels: Sequence[str] | None = None) -> str:
    """Return a whole HTML document.

    Parameters
    ----------
    chain: if there is one; of an effect with walls the plan is drawn.
    labels: what the walls are made of; by default what they absorb.
    """
    walled = [slot for slot in chain or () if slot.effect.name == WALLED]
    if not walled:
        return _page(told, None, told.facts, settings_html(chain) if chain is not None else "")
    knobs = walled[0].settings
    size = np.array([knobs["length_m"], knobs["width_m"], knobs["height_m"]])
    source, microphone = (size * [knobs[f"{what}_{axis}"] for axis in "xyz"] for what in ("source", "mic"))
    walls = Walls(size, source, [microphone], labels or [_label(walled[0], surface) for surface in SURFACES])
    return _page(told, walls, [*told.facts, *walls_and_all(walled[0])])


def _page(told: Told, walls: Walls | None, facts: Sequence[tuple[str, str]], settings: str = "") -> str:
    return page(
        told.title,
        lead=told.lead,
        walls=walls,
        centres_hz=told.centres_hz,
        series=told.series,
        time_s=told.time_s,
        level_db=told.level_db,
        settings=settings,
        facts=facts,
        notes=told.notes,
    )


def _label(slot: Slot, surface: str) -> str:
    mean = np.mean([slot.settings[f"absorption_{surface}_{band}"] for band in _MIDDLE])
    return f"absorbs {100.0 * mean:.0f} %"


def walls_and_all(slot: Slot) -> list[tuple[str, str]]:
    """Return names and values of all settings of an effect with walls, each wall on one line."""
    params = {param.name: param for param in slot.effect.params}
    facts = [
        (name, params[name].format(value))
        for name, value in slot.settings.items()
        if not name.startswith("absorption_")
    ]
    for surface in SURFACES:
        values = [slot.settings[f"absorption_{surface}_{band}"] for band in BAND_NAMES]
        facts.append((f"absorption {surface}, 63 Hz to 8 kHz", ", ".join(f"{v:.2f}" for v in values)))
    return facts
