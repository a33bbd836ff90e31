"""`fxstyle room from-description`: a room from words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fxstyle.cli._checks import check_force, check_outputs
from fxstyle.cli._options import Flag
from fxstyle.cli._output import emit, emit_files, emit_json, emit_table, files_json, remark
from fxstyle.cli.room import RATE, chain_json, check_rate, check_response_output, write_response

if TYPE_CHECKING:
    from fxstyle.rooms.describe import Room, Vector
    from fxstyle.rooms.iso3382 import Decay

CHANNELS = 2
"""Of the response that is measured and written."""

FAR = 1.5
"""Ratio of decay times from which a formula for even absorption is worth a remark."""


def from_description(
    description: str,
    /,
    *,
    preset: Path | None = None,
    report: Path | None = None,
    ir: Path | None = None,
    rate: int = RATE,
    force: Flag = False,
    json: Flag = False,
) -> int:
    """Make a room from words, such as "12x8x4 m, wood floor, brick walls, curtains".

    Parameters
    ----------
    description
        The room in words.
    preset
        Write the settings of the effect `room` here, as JSON.
    report
        Write a page with plan and figures here, as HTML.
    ir
        Write its impulse response here, in stereo.
    rate
        Of the impulse response and its figures, in Hz.
    force
        Overwrite existing files.
    json
        Print the result as one JSON document.
    """
    check_rate(rate)
    outputs = [path for path in (preset, report, ir) if path is not None]
    check_force(force, outputs, "--preset, --report or --ir")
    check_outputs(outputs, [], force=force)
    if ir is not None:
        check_response_output(ir, "--ir")

    from fxstyle.cli._room_described import chain_of
    from fxstyle.cli._room_figures import as_json, curves, emit_figures, finite, measured
    from fxstyle.cli._room_page import Told, html
    from fxstyle.cli._room_response import cut, length_s, response_of
    from fxstyle.files import write_text
    from fxstyle.presets.of_room import preset_of_room
    from fxstyle.rooms.describe import eyring_t60_s, parse, sabine_t60_s

    room = parse(description)
    chain, held = chain_of(room)
    h = cut(response_of(chain, rate, CHANNELS, length_s(chain)))
    found, whole = measured(h, rate)
    sabine_s, eyring_s = (law(room.size_m, room.absorption) for law in (sabine_t60_s, eyring_t60_s))
    notes = [*room.notes, *held, *_uneven(found, eyring_s)]
    texts: list[tuple[Path, str]] = []
    if preset is not None:
        texts.append((preset, preset_of_room(chain, description=description, notes=notes).to_json()))
    if report is not None:
        centres = found.centre_hz.tolist()
        bands = len(centres)
        series = [
            ("Sabine", sabine_s[:bands], [True] * bands),
            ("Eyring", eyring_s[:bands], [True] * bands),
            ("rendered", found.t60_s, [True] * bands),
        ]
        time_s, level_db = curves(h, rate)
        lead = "A plausible room of published materials, not a measured one."
        facts = [("Volume", f"{room.volume_m3:.0f} m3")]
        told = Told(description, lead, centres, series, time_s, level_db, facts, notes)
        texts.append((report, html(told, chain, room.surfaces)))
    if ir is not None:
        write_response(ir, h, rate, force=force)
    for path, text in texts:
        write_text(path, text, force=force)
    if json:
        emit_json(
            {
                "command": "room from-description",
                "description": description,
                "size_m": room.size_m.tolist(),
                "volume_m3": room.volume_m3,
                "source_m": room.source_m.tolist(),
                "microphone_m": room.microphone_m.tolist(),
                "scatter": room.scatter,
                "surfaces": _surfaces_json(room),
                "sabine_t60_s": finite(sabine_s),
                "eyring_t60_s": finite(eyring_s),
                "rendered": as_json(found),
                "rendered_whole": as_json(whole),
                "rate_hz": rate,
                "chain": chain_json(chain),
                **files_json(preset=preset, report=report, ir=ir),
                "notes": notes,
            }
        )
        return 0
    _emit_room(room)
    emit("Reverberation by formula, and all figures of the rendered response (ISO 3382):")
    emit_figures(found, whole, more={"Sabine (s)": sabine_s.tolist(), "Eyring (s)": eyring_s.tolist()})
    for note in notes:
        emit(f"Note: {note}")
    emit_files(preset=preset, report=report, response=ir)
    if not outputs:
        remark("Nothing was written: --preset writes the settings, --ir the response, --report a page.")
    return 0


def _uneven(found: Decay, eyring_s: Vector) -> list[str]:
    """Return a remark on octaves that ring otherwise than a diffuse field would."""
    from fxstyle.cli._room_figures import octave

    times = [
        (f"{octave(float(hz))} Hz", float(t60_s / eyring))
        for hz, t60_s, eyring in zip(found.centre_hz, found.t60_s, eyring_s, strict=False)
        if eyring > 0.0
    ]
    apart = [f"{ratio:.1f} times at {name}" for name, ratio in times if ratio > FAR or ratio < 1.0 / FAR]
    if not apart:
        return []
    return [
        f"rings {', '.join(apart)} as long as Eyring's formula has it: absorption lies unevenly, and what"
        " goes to and fro between bare walls dies last; furniture scatters it"
    ]


def _surfaces_json(room: Room) -> dict[str, dict[str, object]]:
    from fxstyle.rooms.materials import SURFACES

    return {
        surface: {"material": words, "absorption": values}
        for surface, words, values in zip(SURFACES, room.surfaces, room.absorption.tolist(), strict=True)
    }


def _emit_room(room: Room) -> None:
    from fxstyle.octaves import BAND_NAMES
    from fxstyle.rooms.materials import SURFACES

    size = " x ".join(f"{v:g}" for v in room.size_m)
    places = (
        f"{what} at {', '.join(f'{v:g}' for v in place)} m"
        for what, place in (("source", room.source_m), ("microphone", room.microphone_m))
    )
    emit(f"Room of {size} m, {room.volume_m3:.0f} m3; {'; '.join(places)}")
    rows = [
        (surface, words, *(f"{v:.2f}" for v in values))
        for surface, words, values in zip(SURFACES, room.surfaces, room.absorption.tolist(), strict=True)
    ]
    emit_table(("surface", "absorbs, per octave (Hz)", *(f">{name}" for name in BAND_NAMES)), rows)
