"""`fxstyle room estimate`: how the room of a recording rings, or what an impulse response measures like."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from fxstyle.cli._checks import check_force, check_inputs, check_outputs
from fxstyle.cli._options import Flag
from fxstyle.cli._output import emit, emit_json, emit_table, progress
from fxstyle.cli._reading import notes_of
from fxstyle.cli.room import read_recording
from fxstyle.errors import AudioError, FxstyleError, SettingError

if TYPE_CHECKING:
    from fxstyle.audio import Audio
    from fxstyle.effect import Samples
    from fxstyle.rooms.blind import Estimate
    from fxstyle.rooms.iso3382 import Decay

LONGEST_GUESS_S = 10.0
LATEST_ONSET_S = 0.2
"""A file that sounds like a response, but is longer or begins later, is taken for a recording."""

GUESS_EARLY_S, GUESS_EARLY_SHARE = 0.05, 0.5
"""So much of a response's energy comes at once, or it is taken for a recording."""

GUESS_BLOCK_S, GUESS_RISE_DB, GUESS_FLOOR_DB = 0.1, 3.0, -60.0
"""What decays does not rise again by so much, from one such block to any later one, above the floor."""

SHOWN_S = 1.5
"""Of the longest decay time: length of the response that an estimate is derived from."""

DERIVED = "derived from a response that decays as estimated"


def estimate(
    reference: Path,
    /,
    *,
    dry: Path | None = None,
    response: Annotated[bool | None, Parameter(negative="--recording", show_default=False)] = None,
    report: Path | None = None,
    force: Flag = False,
    json: Flag = False,
) -> int:
    """Say how the room of a recording rings, or measure an impulse response.

    Parameters
    ----------
    reference
        A recording, or an impulse response.
    dry
        A dry recording of the same kind of sound, with other content.
    response
        REFERENCE is an impulse response, or a recording; else it is guessed, and said.
    report
        Write a page with figures here, as HTML.
    force
        Overwrite an existing report.
    json
        Print the result as one JSON document.
    """
    outputs = [report] if report is not None else []
    check_force(force, outputs, "--report")
    if dry is not None and response:
        raise SettingError(
            "--dry is for recordings; an impulse response needs none: leave out one of the two"
        )
    inputs = [reference] if dry is None else [reference, dry]
    check_inputs(inputs)
    check_outputs(outputs, inputs, force=force)

    from fxstyle.audio import require_sound

    audio = read_recording(reference)
    require_sound(audio, str(reference))
    notes = notes_of(audio)
    if response is None:
        response = dry is None and looks_like_response(audio.samples, audio.rate)
        if response:
            notes.append(
                "taken for an impulse response, as it is short and decays from its beginning; if it is a"
                " recording, add --recording"
            )
        elif dry is None and audio.frames <= LONGEST_GUESS_S * audio.rate:
            notes.append("taken for a recording; if it is an impulse response, add --response")
    if response:
        return _measure(audio, reference, report, notes, force, json)
    return _listen(audio, reference, dry, report, notes, force, json)


def looks_like_response(samples: Samples, rate: int) -> bool:
    """Whether sound (channel, time) begins at once, with most of its energy, and then only decays.

    One stroke of a drum does as well: what it is, its player knows.
    """
    import numpy as np

    from fxstyle.rooms.iso3382 import onset

    seconds = samples.shape[1] / rate
    begin = onset(samples)
    if seconds > LONGEST_GUESS_S or begin > LATEST_ONSET_S * rate:
        return False
    energy = (samples[:, begin:].astype(np.float64) ** 2).sum(axis=0)
    early = energy[: round(GUESS_EARLY_S * rate)].sum() / energy.sum()
    block = max(round(GUESS_BLOCK_S * rate), 1)
    count = max(energy.size // block, 1)
    blocks = np.add.reduceat(energy, np.arange(count) * block) / energy.sum()
    level_db = 10.0 * np.log10(np.maximum(blocks, 10.0 ** (GUESS_FLOOR_DB / 10.0)))
    to_come_db = np.maximum.accumulate(level_db[::-1])[::-1]
    return bool(early >= GUESS_EARLY_SHARE and (to_come_db - level_db).max() < GUESS_RISE_DB)


def _measure(audio: Audio, path: Path, report: Path | None, notes: list[str], force: bool, json: bool) -> int:
    """Measure an impulse response after ISO 3382."""
    import numpy as np

    from fxstyle.cli._room_figures import as_json, curves, emit_figures, measured
    from fxstyle.cli._room_page import Told, html
    from fxstyle.files import write_text
    from fxstyle.responses import check_size
    from fxstyle.rooms.iso3382 import clipped

    check_size(str(path), audio.channels, audio.frames, audio.rate)
    try:
        found, whole = measured(audio.samples, audio.rate)
    except AudioError as error:
        raise AudioError(f"{path}: {error}") from None
    flat = clipped(audio.samples)
    if flat:
        notes.append(f"{flat} samples stand at its largest value, so it may be clipped: clarity is then off")
    if not np.isfinite(found.t60_s).any():
        notes.append("no decay can be measured in any octave: it has none, or it lies in noise")
    if report is not None:
        centres = found.centre_hz.tolist()
        series = [(path.name, found.t60_s, [True] * len(centres))]
        time_s, level_db = curves(audio.samples, audio.rate)
        lead = "An impulse response, measured after ISO 3382."
        told = Told(path.name, lead, centres, series, time_s, level_db, notes=notes)
        write_text(report, html(told), force=force)
    if json:
        emit_json(
            {
                "command": "room estimate",
                "reference": str(path),
                "kind": "response",
                "figures": as_json(found),
                "whole": as_json(whole),
                "clipped_samples": flat,
                "report": str(report) if report is not None else None,
                "notes": notes,
            }
        )
        return 0
    emit(f"{path}: an impulse response, measured after ISO 3382")
    emit_figures(found, whole)
    _emit_end(notes, report)
    return 0


def _listen(
    audio: Audio,
    path: Path,
    dry: Path | None,
    report: Path | None,
    notes: list[str],
    force: bool,
    json: bool,
) -> int:
    """Estimate the room of a recording."""
    from fxstyle.audio import require_sound
    from fxstyle.cli._room_figures import SURE_SPREAD, as_json, curves, finite, measured
    from fxstyle.cli._room_page import Told, html
    from fxstyle.files import write_text

    other = None
    if dry is not None:
        other = read_recording(dry)
        require_sound(other, str(dry))
        notes += notes_of(other)
    with progress("estimate") as advance:
        advance("listen", 0.0)
        from fxstyle.fit.rooms import estimate_room

        try:
            found = estimate_room(audio, other)
        except FxstyleError as error:
            raise type(error)(f"{path}: {error}") from None
    notes += found.warnings
    h = derived_response(found, audio.rate)
    derived, _ = measured(h, audio.rate)
    if found.dry:
        notes.append("it is dry: no reverberation can be heard in it, so these times say little")
    else:
        notes.append(f"EDT, C80 and D50 are {DERIVED}; a recording alone does not tell them")
    if report is not None:
        series = [("estimated", found.t60_s, found.t60_spread <= SURE_SPREAD)]
        time_s, level_db = curves(h, audio.rate)
        sure = f"confidence {100.0 * found.confidence:.0f} %"
        lead = f"Estimated from a recording, {sure}; the decay is {DERIVED}."
        told = Told(path.name, lead, found.centre_hz.tolist(), series, time_s, level_db, notes=notes)
        write_text(report, html(told), force=force)
    if json:
        emit_json(
            {
                "command": "room estimate",
                "reference": str(path),
                "dry_input": str(dry) if dry is not None else None,
                "kind": "recording",
                "dry": found.dry,
                "confidence": found.confidence,
                "loss": found.loss,
                "estimated": {
                    name: finite(getattr(found, name))
                    for name in ("centre_hz", "t60_s", "t60_spread", "c50_db", "c50_spread_db", "level_db",
                                 "level_spread_db")
                },
                "derived": as_json(derived),
                "report": str(report) if report is not None else None,
                "notes": notes,
            }
        )  # fmt: skip
        return 0
    emit(f"{path}: estimated from a recording, confidence {100.0 * found.confidence:.0f} %")
    emit_table(
        (
            ">octave (Hz)",
            ">T60 (s)",
            "likely (s)",
            ">C50 (dB)",
            "likely (dB)",
            ">EDT* (s)",
            ">C80* (dB)",
            ">D50*",
        ),
        [_row(found, derived, band) for band in range(found.centre_hz.size)],
    )
    emit("likely: by the spread of the estimate, one standard deviation to either side")
    emit(f"*: {DERIVED}")
    _emit_end(notes, report)
    return 0


def derived_response(found: Estimate, rate: int) -> Samples:
    """Return the response (1, time) of a reverb with the decays and levels of an estimate."""
    from fxstyle.chain import Chain, Slot
    from fxstyle.cli._room_response import response_of
    from fxstyle.effects import get

    reverb = get("reverb")
    assert reverb.of_decays is not None
    chain = Chain((Slot(reverb, reverb.of_decays(found.t60_s, found.level_db)),))
    return response_of(chain, rate, 1, SHOWN_S * float(found.t60_s.max()))


def _row(found: Estimate, derived: Decay, band: int) -> tuple[str, ...]:
    from fxstyle.cli._room_figures import number, octave

    t60_s, factor = float(found.t60_s[band]), math.exp(float(found.t60_spread[band]))
    c50_db, spread_db = float(found.c50_db[band]), float(found.c50_spread_db[band])
    more = [math.nan] * 3
    if band < derived.centre_hz.size:
        more = [float(values[band]) for values in (derived.edt_s, derived.c80_db, derived.d50)]
    return (
        octave(float(found.centre_hz[band])),
        number(t60_s),
        f"{t60_s / factor:.2f} to {t60_s * factor:.2f}",
        number(c50_db, 1),
        f"{c50_db - spread_db:.1f} to {c50_db + spread_db:.1f}",
        number(more[0]),
        number(more[1], 1),
        number(more[2]),
    )


def _emit_end(notes: list[str], report: Path | None) -> None:
    for note in notes:
        emit(f"Note: {note}")
    if report is not None:
        emit(f"report     {report}")
