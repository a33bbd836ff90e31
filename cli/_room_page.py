"""The page of a room: with its plan where it has walls, else its decay and its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fxstyle.chain import Chain, Slot
from fxstyle.dsp.noise import BAND_NAMES
from fxstyle.report.plan import SURFACES
from fxstyle.report.room import ROOM_CSS, Series, decay_curves, decay_per_band, page
from fxstyle.report.settings import settings_html
from fxstyle.report.style import CSS
from fxstyle.report.svg import text_of

WALLED = "room"
"""The effect that has walls."""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

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
        return _without_plan(told, chain)
    knobs = walled[0].settings
    size = np.array([knobs["length_m"], knobs["width_m"], knobs["height_m"]])
    source, microphone = (size * [knobs[f"{what}_{axis}"] for axis in "xyz"] for what in ("source", "mic"))
    return page(
        told.title,
        lead=told.lead,
        size_m=size,
        source_m=source,
        microphones_m=[microphone],
        labels=labels or [_label(walled[0], surface) for surface in SURFACES],
        centres_hz=told.centres_hz,
        series=told.series,
        time_s=told.time_s,
        level_db=told.level_db or None,
        facts=[*told.facts, *walls_and_all(walled[0])],
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


def _without_plan(told: Told, chain: Chain | None) -> str:
    pictures = []
    if told.series:
        bars = decay_per_band(told.centres_hz, told.series)
        caption = "Time in which the sound falls by 60 dB; hollow bars are not sure."
        pictures.append(("Reverberation time", bars, caption))
    if told.level_db:
        caption = "Energy that is still to come, in dB of all of it (M. R. Schroeder 1965)."
        pictures.append(("Decay", decay_curves(told.time_s, told.level_db), caption))
    shown = "\n".join(
        f"<h2>{heading}</h2>\n<figure>{picture}<figcaption>{caption}</figcaption></figure>"
        for heading, picture, caption in pictures
    )
    rows = "".join(
        f'<tr><th scope="row">{text_of(name)}</th><td class="wide">{text_of(value)}</td></tr>'
        for name, value in told.facts
    )
    said = "".join(f"<li>{text_of(note)}</li>" for note in told.notes)
    body = "\n".join(
        [
            f'<header><p class="kind">fxstyle room</p>\n<h1>{text_of(told.title)}</h1>',
            f"<p>{text_of(told.lead)}</p></header><main>",
            shown,
            f"<h2>Settings</h2>\n{settings_html(chain)}" if chain is not None else "",
            f"<h2>Facts</h2>\n<table><tbody>{rows}</tbody></table>" if rows else "",
            f"<h2>Notes</h2>\n<ul>{said}</ul>" if said else "",
            "</main>",
        ]
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text_of(told.title)}</title>\n<style>{CSS}{ROOM_CSS}</style>\n</head>\n<body>\n{body}\n</body>\n"
        "</html>\n"
    )
