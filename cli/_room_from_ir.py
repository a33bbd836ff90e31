"""`fxstyle room from-ir`: an impulse response becomes the settings of a reverb."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fxstyle.cli._checks import check_force, check_inputs, check_outputs, check_seed
from fxstyle.cli._options import Flag
from fxstyle.cli._output import emit_files, emit_json, files_json, progress, remark
from fxstyle.cli.room import (
    Kind,
    chain_json,
    check_response_output,
    notes_of_fit,
    read_recording,
    write_response,
)
from fxstyle.errors import AudioError


def from_ir(
    ir: Path,
    /,
    *,
    kind: Annotated[Kind, Parameter(name="--as")] = "reverb",
    preset: Path | None = None,
    report: Path | None = None,
    clean: Annotated[Path | None, Parameter(name="--ir")] = None,
    seed: int = 0,
    force: Flag = False,
    json: Flag = False,
) -> int:
    """Turn an impulse response into the settings of a reverb.

    Parameters
    ----------
    ir
        The impulse response, with its direct sound.
    kind
        The effect it becomes; convolution keeps the response itself.
    preset
        Write the settings here, as JSON.
    report
        Write a page with figures here, as HTML.
    clean
        Write the response of these settings here, which has no noise in it.
    seed
        Repeats a run.
    force
        Overwrite existing files.
    json
        Print the result as one JSON document.
    """
    check_seed(seed)
    outputs = [path for path in (preset, report, clean) if path is not None]
    check_force(force, outputs, "--preset, --report or --ir")
    check_inputs([ir])
    check_outputs(outputs, [ir], force=force)
    if clean is not None:
        check_response_output(clean, "--ir")

    from fxstyle.audio import require_sound
    from fxstyle.responses import check_size

    given = read_recording(ir)
    require_sound(given, str(ir))
    check_size(str(ir), given.channels, given.frames, given.rate)

    from fxstyle.cli._room_fitted import clean_response, emit_fit, emit_settings, fit_json, page_of
    from fxstyle.cli.match import with_file_hashes
    from fxstyle.files import write_text
    from fxstyle.fit.rooms import fit_room
    from fxstyle.memory import keep_large_blocks
    from fxstyle.presets.of_room import preset_of_room

    keep_large_blocks()
    with progress("from-ir") as advance:
        try:
            fit = fit_room(given, kind=kind, seed=seed, progress=advance)
        except AudioError as error:
            # some say so themselves
            raise AudioError(str(error) if ir.name in str(error) else f"{ir}: {error}") from None
    notes = notes_of_fit(fit, given)
    settings = preset_of_room(fit.chain, references=[given], seed=seed, seconds=fit.seconds, notes=notes)
    h = clean_response(fit.chain, given.rate, min(given.channels, 2))
    texts: list[tuple[Path, str]] = []
    if preset is not None:
        # Nothing but the response took part.
        texts.append((preset, with_file_hashes(settings, ir, [ir]).to_json()))
    if report is not None:
        texts.append((report, page_of(fit, fit.chain, f"{ir.name} as {kind}", h, given.rate, notes)))
    if clean is not None:
        write_response(clean, h, given.rate, force=force)
    for path, text in texts:
        write_text(path, text, force=force)
    if json:
        emit_json(
            {
                "command": "room from-ir",
                "input": str(ir),
                **fit_json(fit),
                "chain": chain_json(fit.chain),
                **files_json(preset=preset, report=report, ir=clean),
                "notes": notes,
            }
        )
        return 0
    emit_fit(fit, notes)
    emit_settings(fit.chain)
    emit_files(preset=preset, report=report, response=clean)
    if not outputs:
        remark("Nothing was written: --preset writes the settings, --ir the clean response, --report a page.")
    return 0
