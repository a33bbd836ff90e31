"""`fxstyle room match`: a dry recording put into the room of another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fxstyle.cli._checks import (
    check_amount,
    check_force,
    check_inputs,
    check_outputs,
    check_seed,
    check_sound_output,
    check_tail_output,
)
from fxstyle.cli._options import Flag, OutputOrNone
from fxstyle.cli._output import emit, emit_files, emit_json, files_json, progress, remark
from fxstyle.cli._render import as_json, in_words, render_shown
from fxstyle.cli.room import (
    Kind,
    chain_json,
    check_response_output,
    notes_of_fit,
    read_recording,
    write_response,
)
from fxstyle.errors import MatchError


def match(
    input: Path,
    reference: Path,
    /,
    *,
    output: OutputOrNone = None,
    preset: Path | None = None,
    report: Path | None = None,
    ir: Path | None = None,
    kind: Annotated[Kind, Parameter(name="--as")] = "reverb",
    blind: Flag = False,
    amount: float = 1.0,
    seed: int = 0,
    tail: str = "0",
    force: Flag = False,
    json: Flag = False,
) -> int:
    """Put INPUT into the room of REFERENCE, and hand over the settings.

    Parameters
    ----------
    input
        A dry recording.
    reference
        A recording with a room in it: of the same content, or of another.
    output
        Write the recording in the room here; the ending chooses the format.
    preset
        Write the settings here, as JSON.
    report
        Write a page with figures here, as HTML.
    ir
        Write the impulse response of the settings here.
    kind
        The effect that becomes the room.
    blind
        Do not look whether both have the same content; estimate the room.
    amount
        Share of the room to apply, 0 to 1.
    seed
        Repeats a run.
    tail
        Seconds to go on after the end of the input, or "auto" until the room has died away.
    force
        Overwrite existing files.
    json
        Print the result as one JSON document.
    """
    tail_s = check_tail_output(tail, output)
    check_amount(amount)
    check_seed(seed)
    outputs = [path for path in (output, preset, report, ir) if path is not None]
    check_force(force, outputs, "-o, --preset, --report or --ir")
    check_inputs([input, reference])
    check_outputs(outputs, [input, reference], force=force)
    if ir is not None:
        check_response_output(ir, "--ir")
    if output is not None:
        check_sound_output(output, input)

    from fxstyle.audio import require_sound

    source, other = read_recording(input), read_recording(reference)
    for audio, path in ((source, input), (other, reference)):
        require_sound(audio, str(path))

    from fxstyle.cli._room_fitted import clean_response, emit_fit, emit_settings, fit_json, page_of
    from fxstyle.cli.match import with_file_hashes
    from fxstyle.files import write_text
    from fxstyle.fit.rooms import match_room
    from fxstyle.memory import keep_large_blocks
    from fxstyle.presets.of_room import preset_of_room

    keep_large_blocks()
    with progress("room match") as advance:
        try:
            fit = match_room(source, other, kind=kind, seed=seed, blind=blind, progress=advance)
        except MatchError as error:
            raise MatchError(f"{reference}: {error}") from None
    chain = fit.chain.scaled(amount) if amount < 1.0 else fit.chain
    notes = notes_of_fit(fit, source, other)
    if amount < 1.0:
        notes.append(f"the figures are those of an amount of 1; {amount:g} of it is applied")
    settings = preset_of_room(
        chain, source=source, references=[other], seed=seed, seconds=fit.seconds, notes=notes
    )
    h = clean_response(chain, source.rate, min(source.channels, 2))
    # What can go wrong in thought goes wrong before anything is written; then the recording, which is
    # the largest and may not fit on the disk.
    texts: list[tuple[Path, str]] = []
    if preset is not None:
        texts.append((preset, with_file_hashes(settings, input, [reference]).to_json()))
    if report is not None:
        title = f"{input.name} in the room of {reference.name}"
        texts.append((report, page_of(fit, chain, title, h, source.rate, notes)))
    rendered = None
    if output is not None:
        rendered = render_shown(chain, input, output, tail=tail_s, force=force, label="write")
        notes += [note for note in rendered.notes if note not in notes]
    if ir is not None:
        write_response(ir, h, source.rate, force=force)
    for path, text in texts:
        write_text(path, text, force=force)
    if json:
        emit_json(
            {
                "command": "room match",
                "input": str(input),
                "reference": str(reference),
                **fit_json(fit),
                "amount": amount,
                "chain": chain_json(chain),
                "output": as_json(rendered) if rendered is not None else None,
                **files_json(preset=preset, report=report, ir=ir),
                "notes": notes,
            }
        )
        return 0
    emit_fit(fit, notes)
    emit_settings(chain)
    if rendered is not None:
        emit(f"recording  {in_words(rendered)}")
    emit_files(preset=preset, report=report, response=ir)
    if not outputs:
        remark("Nothing was written: -o writes the recording, --preset the settings, --report a page.")
    return 0
