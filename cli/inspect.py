"""`fxstyle inspect`: what a recording measures like, or what a preset does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fxstyle.cli._checks import check_inputs
from fxstyle.cli._options import Flag, Plugins
from fxstyle.cli._output import emit, emit_chain_with, emit_json, emit_table
from fxstyle.cli._reading import is_preset, notes_of, warnings_as_notes
from fxstyle.hosted import trust


def inspect(file: Path, /, *, allow_plugin: Plugins = (), json: Flag = False) -> int:
    """Say what a recording measures like, or what a preset does.

    Parameters
    ----------
    file
        A recording or a preset.
    allow_plugin
        A plugin that the preset may load although it lies outside the folders for plugins: it is a program.
    json
        Print the result as one JSON document.
    """
    check_inputs([file])
    for plugin in allow_plugin:
        trust.allow(plugin)
    return _preset(file, json) if is_preset(file) else _recording(file, json)


def _preset(file: Path, json: bool) -> int:
    from fxstyle.presets import Preset

    preset = Preset.load(file)
    if json:
        content = preset.model_dump(mode="json", exclude_none=True)
        emit_json(
            {
                "command": "inspect",
                "file": str(file),
                "kind": "preset",
                "edited": preset.edited,
                "preset": content,
            }
        )
        return 0
    emit(f"Preset {preset.name or file.name}")
    for line in preset.description.splitlines():
        emit(f"  {line}")
    # of settings that were changed since, the match knew nothing
    emit_chain_with(preset.chain(), () if preset.edited else preset.provenance.likely)
    origin = preset.provenance
    if origin.input is not None:
        emit(f"Input      {origin.input.name}")
    for reference in origin.reference:
        emit(f"Reference  {reference.name}")
    if origin.text is not None:
        emit(f"Text       {origin.text}")
    for line in origin.understood or ():
        emit(f"           {line}")
    if origin.score is not None:
        emit(f"Verdict    {origin.score.message}")
    if preset.edited:
        emit("Edited     The settings were changed since: what is said of the match is about those it found.")
    made = [text for text in (origin.program, origin.created) if text]
    if origin.quality is not None:
        made.append(f"quality {origin.quality}")
    if origin.seed is not None:
        made.append(f"seed {origin.seed}")
    if made:
        emit(f"Made       {', '.join(made)}")
    return 0


def _recording(file: Path, json: bool) -> int:
    from fxstyle.audio import probe, read
    from fxstyle.report.summary import ROWS, shown_number, summarise
    from fxstyle.units import SILENCE_DB

    info = probe(file)
    with warnings_as_notes():
        audio = read(file)
    summary, notes = summarise(audio, str(file)), notes_of(audio)
    if json:
        content: dict[str, Any] = {
            "command": "inspect",
            "file": str(file),
            "kind": "recording",
            "rate_hz": info.rate,
            "channels": info.channels,
            "frames": info.frames,
            "duration_s": info.duration_s,
            "container": info.container,
            "subtype": info.subtype,
            "tags": dict(info.tags),
            "notes": notes,
            "silent": summary.silent,
            "measured": {attribute: float(getattr(summary, attribute)) for attribute, *_ in ROWS},
            "spectrum": {
                "bands_hz": summary.bands_hz.tolist(),
                "mid_db": summary.mid_db.tolist(),
                "side_db": summary.side_db.tolist(),
            },
        }
        emit_json(content)
        return 0
    channels = {1: "mono", 2: "stereo"}.get(info.channels, f"{info.channels} channels")
    emit(
        f"{file}  {info.container} {info.subtype}, {info.rate} Hz, {channels},"
        f" {info.duration_s:.2f} s ({info.frames} samples)"
    )
    for name, text in info.tags.items():
        emit(f"  {name}: {text}")
    for note in notes:
        emit(f"Note: {note}")
    if summary.silent:
        emit(f"Silent: no sample is above {SILENCE_DB:g} dBFS, so there is nothing to measure.")
        return 0
    rows = [
        (name, shown_number(getattr(summary, attribute), unit), unit, meaning)
        for attribute, name, unit, meaning in ROWS
    ]
    emit_table(("", ">value", "unit", ""), rows)
    return 0
