"""What came of a fit, `fxstyle room match` or `from-ir`: written, then told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fxstyle.chain import Chain
from fxstyle.cli._output import emit, emit_chain, emit_table
from fxstyle.cli._room_figures import SURE_SPREAD, as_json, curves, finite, number, octave
from fxstyle.cli._room_page import WALLED, Told, html, walls_and_all
from fxstyle.cli._room_response import cut, length_s, response_of

if TYPE_CHECKING:
    from fxstyle.effect import Samples
    from fxstyle.fit.rooms import RoomFit
    from fxstyle.report.room import Series


@dataclass(frozen=True)
class Wanted:
    """What a fit aims at per octave: measured in a response, or estimated from a recording; (band,) each."""

    name: str
    centre_hz: list[float]
    t60_s: list[float]
    c50_db: list[float]
    sure: list[bool]


def wanted_of(fit: RoomFit) -> Wanted:
    """Return what a fit aimed at."""
    if fit.target is not None:
        found = fit.target
        sure = np.isfinite(found.t60_s)
        return Wanted(
            "response", found.centre_hz.tolist(), found.t60_s.tolist(), found.c50_db.tolist(), sure.tolist()
        )
    assert fit.estimate is not None
    heard = fit.estimate
    sure = heard.t60_spread <= SURE_SPREAD
    return Wanted(
        "estimated", heard.centre_hz.tolist(), heard.t60_s.tolist(), heard.c50_db.tolist(), sure.tolist()
    )


def clean_response(chain: Chain, rate: int, channels: int) -> Samples:
    """Return the impulse response (channel, time) of a chain until it has died away, free of noise."""
    return cut(response_of(chain, rate, channels, length_s(chain)))


def page_of(fit: RoomFit, chain: Chain, title: str, h: Samples, rate: int, notes: Sequence[str]) -> str:
    """Return the page of a fit: of its chain, at the amount that is applied, with its response h."""
    wanted = wanted_of(fit)
    count = min(len(wanted.centre_hz), fit.achieved.centre_hz.size)
    achieved = fit.achieved.t60_s[:count]
    series: Series = [
        (wanted.name, wanted.t60_s[:count], wanted.sure[:count]),
        ("output", achieved, np.isfinite(achieved)),
    ]
    time_s, level_db = curves(h, rate)
    facts = [(f"C50 at {octave(hz)} Hz", told) for hz, told in zip(wanted.centre_hz, _c50(fit), strict=False)]
    told = Told(
        title, lead_of(fit), wanted.centre_hz[:count], series, time_s, level_db,
        facts=[("Confidence", f"{100.0 * fit.confidence:.0f} %"), *facts], notes=notes,
    )  # fmt: skip
    return html(told, chain)


def _c50(fit: RoomFit) -> list[str]:
    wanted = wanted_of(fit)
    return [
        f"{number(a, 1)} dB {wanted.name}, {number(float(b), 1)} dB achieved"
        for a, b in zip(wanted.c50_db, fit.achieved.c50_db, strict=False)
    ]


def lead_of(fit: RoomFit) -> str:
    """Return in one sentence what was done, and how sure it is."""
    how = "fitted to an impulse response" if fit.known else "estimated from a recording"
    return f"{fit.kind}: {how}, confidence {100.0 * fit.confidence:.0f} %"


def fit_json(fit: RoomFit) -> dict[str, Any]:
    """Return what programs want to know of a fit."""
    return {
        "kind": fit.kind,
        "known": fit.known,
        "geometry": "plausible, not recovered" if fit.kind == WALLED else None,
        "confidence": fit.confidence,
        "target": as_json(fit.target) if fit.target is not None else None,
        "estimated": None
        if fit.estimate is None
        else {
            name: finite(getattr(fit.estimate, name))
            for name in ("centre_hz", "t60_s", "t60_spread", "c50_db", "c50_spread_db")
        },
        "achieved": as_json(fit.achieved),
        "seconds": fit.seconds,
    }


def emit_fit(fit: RoomFit, notes: Sequence[str]) -> None:
    """Print a fit: the decay that was wanted and the one that came of it."""
    wanted, got = wanted_of(fit), fit.achieved
    emit(lead_of(fit))
    rows = []
    for band, hz in enumerate(wanted.centre_hz[: got.centre_hz.size]):
        aim, mark = wanted.t60_s[band], "" if wanted.sure[band] else "?"
        rows.append(
            (
                octave(hz),
                f"{number(aim)}{mark if math.isfinite(aim) else ''}",
                number(float(got.t60_s[band])),
                number(wanted.c50_db[band], 1),
                number(float(got.c50_db[band]), 1),
            )
        )
    name = wanted.name
    emit_table((">octave (Hz)", f">T60 {name} (s)", ">output (s)", f">C50 {name} (dB)", ">output (dB)"), rows)
    if any("?" in row[1] for row in rows):
        emit("?: not sure.")
    for note in notes:
        emit(f"Note: {note}")
    emit(f"Fitted in {fit.seconds:.1f} s.")


def emit_settings(chain: Chain) -> None:
    """Print the settings of a fit's chain, the many of a room's walls one line to a wall."""
    for slot in chain:
        if slot.effect.name == WALLED:
            emit_table((slot.name, f"amount {slot.amount:.2f}"), walls_and_all(slot))
        else:
            emit_chain(Chain((slot,)))
