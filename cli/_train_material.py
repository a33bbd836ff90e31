"""`fxstyle train material`: dry recordings to train on, from MIDI songs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fxstyle.cli._checks import check_seed
from fxstyle.cli._options import Flag
from fxstyle.cli._output import emit, emit_json, progress

MATERIAL = """Make dry recordings to train on, from MIDI songs.

Passages of single parts and of bands, in other keys, tempi and mostly on other
instruments than written, played by FluidSynth without its effects; FLAC files
in FOLDER/solo and FOLDER/band. Songs are MIDI files, folders of them or Doom
archives (.wad), for example Freedoom's."""


def material(
    songs: list[Path],
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    soundfont: Path,
    hours: float = 1.0,
    seed: int = 0,
    json: Flag = False,
) -> int:
    """Make material.

    Parameters
    ----------
    songs
        MIDI files, folders of them, or Doom archives.
    output
        New folder for the recordings.
    soundfont
        Instruments to play on, .sf2 or .sf3.
    hours
        How much to make.
    seed
        Repeats a run.
    json
        Print the result as one JSON document.
    """
    check_seed(seed)
    from fxstyle.train.midi import write_material

    with progress("material") as advance:

        def tell(share: float) -> None:
            advance("play", share)

        count = write_material(songs, output, soundfont, hours, seed, tell)
    if json:
        emit_json({"command": "train material", "folder": str(output), "files": count, "hours": hours})
        return 0
    emit(f"{count} recordings, {hours:g} h: {output}")
    return 0
