"""`fxstyle apply`: a preset on other recordings."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from fxstyle.cli import FAILED, PARTLY
from fxstyle.cli._checks import (
    check_amount,
    check_inputs,
    check_outputs,
    check_sound_output,
    existing_folder,
    parse_tail,
)
from fxstyle.cli._options import Flag, Output
from fxstyle.cli._output import emit, emit_json, remark
from fxstyle.cli._render import as_json, in_words, render_shown
from fxstyle.errors import FxstyleError, SettingError


def apply(
    preset: Path,
    input: list[Path],
    /,
    *,
    output: Output,
    amount: float = 1.0,
    tail: str = "0",
    force: Flag = False,
    json: Flag = False,
) -> int:
    """Render recordings through a preset; nothing is fitted.

    Several recordings go to a folder, each under its own name; exit code 3 says that some failed.

    Parameters
    ----------
    preset
        Settings written by `fxstyle match --preset`.
    input
        One or several recordings.
    output
        File to write, or the folder to write into.
    amount
        Share of every effect to apply, 0 to 1.
    tail
        Seconds to go on after the end of the input, or "auto" until the effects have died away.
    force
        Overwrite existing files.
    json
        Print the result as one JSON document.
    """
    tail_s = parse_tail(tail)
    check_amount(amount)
    outputs = _outputs(input, output)
    check_outputs(outputs, [preset, *input], force=force)
    if len(input) == 1:
        check_inputs(input)
        check_sound_output(outputs[0], input[0])

    from fxstyle.presets import Preset

    chain = Preset.load(preset).chain()
    if amount < 1.0:
        chain = chain.scaled(amount)
    files: list[dict[str, Any]] = []
    for source, target in zip(input, outputs, strict=True):
        try:
            report = render_shown(chain, source, target, tail=tail_s, force=force, label=source.name)
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
    failed = sum(not entry["ok"] for entry in files)
    if json:
        emit_json({"command": "apply", "preset": str(preset), "files": files, "failed": failed})
    elif failed:
        remark(f"{failed} of {len(files)} files failed.")
    if failed:
        return FAILED if failed == len(files) else PARTLY
    return 0


def _outputs(inputs: list[Path], output: Path) -> list[Path]:
    """Return where each input goes: a file, or its own name in a folder."""
    if len(inputs) == 1 and not output.is_dir() and not str(output).endswith("/"):
        return [output]
    folder = existing_folder(output)
    names = Counter(path.name for path in inputs)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise SettingError(
            f"several inputs are called {twice[0]} and would overwrite each other in {folder};"
            " run the command once for each folder of inputs"
        )
    return [folder / path.name for path in inputs]
