"""Checks made before the long work begins, so that nobody waits for an error."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from fxstyle.errors import AudioError, SettingError
from fxstyle.files import check_writable

Tail = float | Literal["auto"]

LONGEST_TAIL_S = 60.0
"""Ten times what the longest reverb needs; more is a slip of the finger and fills the disk."""


def parse_tail(text: str) -> Tail:
    """Read --tail: "auto", or seconds."""
    if text == "auto":
        return "auto"
    try:
        seconds = float(text)
    except ValueError:
        raise SettingError(f'--tail {text}: write seconds, as in 2.5, or "auto"') from None
    if not 0.0 <= seconds <= LONGEST_TAIL_S:
        raise SettingError(f"--tail {text} s is outside 0..{LONGEST_TAIL_S:g} s")
    return seconds


def check_tail_output(tail: str, output: Path | None) -> Tail:
    """Read --tail, and refuse it where no recording is written."""
    wanted = parse_tail(tail)
    if output is None and wanted != 0.0:
        raise SettingError(f"--tail {tail} is for the recording: add -o FILE, as in -o out.wav")
    return wanted


def check_force(force: bool, outputs: Sequence[Path], options: str) -> None:
    """Refuse --force where nothing is written."""
    if force and not outputs:
        raise SettingError(f"--force is for what is written: add {options}, each with a FILE")


def check_amount(amount: float) -> float:
    """Refuse an --amount outside 0..1."""
    if not 0.0 <= amount <= 1.0:
        raise SettingError(f"--amount {amount:g} is outside 0..1: 0 is none of the effect, 1 is all of it")
    return amount


def check_seed(seed: int) -> int:
    """Refuse a --seed below 0."""
    if seed < 0:
        raise SettingError(f"--seed {seed} is negative; choose a whole number from 0")
    return seed


def check_inputs(paths: Sequence[Path]) -> None:
    """Refuse names under which there is no file."""
    for path in paths:
        if path.is_dir():
            raise AudioError(f"{path} is a folder; name a sound file in it")
        if not path.exists():
            raise AudioError(f"{path}: there is no such file; check the name")


def check_outputs(outputs: Sequence[Path], inputs: Sequence[Path], *, force: bool) -> None:
    """Refuse outputs that cannot be written, exist without --force, collide, or would replace an input."""
    check_names(outputs, inputs)
    for path in outputs:
        check_output(path, force=force)


def check_names(outputs: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Refuse outputs that collide or would replace an input, whether there are such files or not."""
    origins = {path.resolve() for path in inputs}
    taken: set[Path] = set()
    for path in outputs:
        target = path.resolve()
        if target in origins:
            raise SettingError(f"{path} is an input as well and is never replaced; choose another name")
        if target in taken:
            raise SettingError(f"{path} is named as an output twice; give each its own name")
        taken.add(target)


def check_output(path: Path, *, force: bool) -> None:
    """Refuse an output that cannot be written or exists without --force."""
    # Python 3.14 calls an impossible name merely absent, and so would we until the very end.
    with suppress(FileNotFoundError, NotADirectoryError):
        path.lstat()
    check_writable(path, force=force)


def check_sound_output(path: Path, like: Path) -> None:
    """Refuse a sound file whose container is unknown or cannot carry the rate and channels of `like`."""
    from fxstyle.formats import check_writable as check_container
    from fxstyle.formats import container_for, default_subtype

    try:
        container = container_for(path)
    except AudioError as error:
        raise SettingError(str(error)) from None

    from fxstyle.audio import probe

    info = probe(like)
    check_container(path, container, default_subtype(container, info.source()), info.rate, info.channels)


def check_folder(path: Path) -> None:
    """Refuse as a folder what is a file, or what is named like one."""
    from fxstyle.formats import CONTAINERS

    endings = {suffix for container in CONTAINERS.values() for suffix in container.suffixes}
    if (path.exists() and not path.is_dir()) or (not path.exists() and path.suffix.lower() in endings):
        raise SettingError(
            f"-o {path} names a file, and a folder is needed: each output has its input's name in it"
        )
