"""`fxstyle apply`: a preset on other recordings."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from fxstyle.cli import FAILED, PARTLY
from fxstyle.cli._checks import (
    Tail,
    check_amount,
    check_folder,
    check_inputs,
    check_names,
    check_output,
    check_sound_output,
    parse_tail,
)
from fxstyle.cli._options import Flag, OutputOrFolder, Plugins
from fxstyle.cli._output import emit, emit_json, remark
from fxstyle.cli._reading import is_preset, notes_of_chain
from fxstyle.cli._render import as_json, in_words, render_shown
from fxstyle.errors import FxstyleError, SettingError
from fxstyle.files import make_folder, remove_empty

if TYPE_CHECKING:
    from fxstyle.chain import Chain
    from fxstyle.render import RenderReport


def apply(
    preset: Path,
    input: list[Path],
    /,
    *,
    output: OutputOrFolder,
    amount: float = 1.0,
    tail: str = "0",
    allow_plugin: Plugins = (),
    force: Flag = False,
    json: Flag = False,
) -> int:
    """Render recordings through a preset; nothing is fitted.

    Several recordings go to a folder, each under its own name; exit code 3 says that some were not done.

    Parameters
    ----------
    preset
        Settings written by `fxstyle match --preset`.
    input
        One or several recordings.
    output
        File to write, or the folder to write into, which is made; of one input, end it with a slash.
    amount
        Share of every effect to apply, 0 to 1.
    tail
        Seconds to go on after the end of the input, or "auto" until the effects have died away.
    allow_plugin
        A plugin that the preset may load although it lies outside the folders for plugins: it is a program.
    force
        Overwrite existing files.
    json
        Print the result as one JSON document.
    """
    tail_s = parse_tail(tail)
    check_amount(amount)
    _check_order(preset, input)
    folder = _folder(input, output)
    outputs = [Path(output)] if folder is None else _in_folder(input, folder)
    check_names(outputs, [preset, *input])
    if len(input) == 1:
        check_inputs(input)
        check_sound_output(outputs[0], input[0])
        if folder is None or folder.exists():
            check_output(outputs[0], force=force)

    from fxstyle.hosted import trust
    from fxstyle.presets import Preset

    for plugin in allow_plugin:
        trust.allow(plugin)
    chain = Preset.load(preset).chain()
    if amount < 1.0:
        chain = chain.scaled(amount)
    chain_notes = notes_of_chain(chain)
    new_folders = make_folder(folder) if folder is not None else ()
    files: list[dict[str, Any]] = []
    try:
        for source, target in zip(input, outputs, strict=True):
            try:
                report = _one(chain, source, target, tail_s, force)
            except FxstyleError as error:
                if len(input) == 1:
                    raise
                # The other files are independent of this one: go on, and say so in the exit code.
                remark(f"fxstyle: {error}")
                files.append({"input": str(source), "ok": False, "error": str(error)})
                continue
            files.append({"input": str(source), "ok": True, **as_json(report)})
            if not json:
                emit(in_words(report))
                for note in report.notes:
                    emit(f"  Note: {note}")
        if not json:
            for note in chain_notes:
                emit(f"Note: {note}")
    finally:
        remove_empty(new_folders)
    failed = sum(not entry["ok"] for entry in files)
    if json:
        emit_json(
            {
                "command": "apply",
                "preset": str(preset),
                "files": files,
                "failed": failed,
                "notes": chain_notes,
            }
        )
    elif failed:
        remark(f"{failed} of {len(files)} files failed.")
    if failed:
        return FAILED if failed == len(files) else PARTLY
    return 0


def _one(chain: Chain, source: Path, target: Path, tail: Tail, force: bool) -> RenderReport:
    check_inputs([source])
    check_output(target, force=force)
    return render_shown(chain, source, target, tail=tail, force=force, label=source.name)


def _check_order(preset: Path, inputs: list[Path]) -> None:
    """Refuse a preset that stands behind a recording."""
    there = [path for path in (preset, *inputs) if path.is_file()]
    if preset in there and is_preset(preset):
        return
    found = next((path for path in there if path != preset and is_preset(path)), None)
    if found is not None:
        ordered = (found, *(path for path in (preset, *inputs) if path != found))
        raise SettingError(
            f"{preset} is no preset, but {found} is, and the preset comes first:"
            f" fxstyle apply {' '.join(quote(str(path)) for path in ordered)} -o OUTPUT"
        )


def _folder(inputs: list[Path], output: str) -> Path | None:
    """Return the folder that is meant by -o, or None where it is the file for the only input."""
    path = Path(output)
    if len(inputs) == 1 and not path.is_dir() and not output.endswith(("/", os.sep)):
        if not path.suffix:
            raise SettingError(
                f"-o {output}: the name has no ending; give it one, such as .wav, or end it with a slash"
                " where a folder is meant"
            )
        return None
    check_folder(path)
    return path


def _in_folder(inputs: list[Path], folder: Path) -> list[Path]:
    """Return where each input goes: its own name in the folder."""
    names = Counter(path.name for path in inputs)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise SettingError(
            f"several inputs are called {twice[0]} and would overwrite each other in {folder};"
            " run the command once for each folder of inputs"
        )
    return [folder / path.name for path in inputs]
