"""Text files that appear whole or not at all, and the checks made before long work begins.

A file is written under a temporary name in its own folder, flushed to the disk, and renamed: the
rename is atomic on POSIX and Windows alike (`os.replace`), so no reader ever sees half a file and an
interruption leaves what was there before.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from fxstyle.errors import FxstyleError


def check_writable(path: Path, *, force: bool) -> None:
    """Raise FxstyleError where `path` cannot be created: no folder, no permission, or it exists already."""
    folder = path.parent
    if not folder.is_dir():
        raise FxstyleError(f"{path}: the folder {folder} does not exist; create it or choose another")
    if path.is_dir():
        raise FxstyleError(f"{path} is a folder; name a file in it")
    if path.exists() and not force:
        raise FxstyleError(f"{path} exists already; choose another name or add --force to overwrite it")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise FxstyleError(f"{path}: no permission to write into the folder {folder}")


def make_folder(path: Path) -> tuple[Path, ...]:
    """Make a folder, with those it lies in; return the new ones, the innermost first. Raises FxstyleError."""
    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remove_empty(new)
        raise FxstyleError(f"{path}: the folder cannot be created: {error.strerror or error}") from error
    return tuple(new)


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those folders in which nothing came to be."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def write_text(path: Path, text: str, *, force: bool) -> None:
    """Write `text` as UTF-8, whole or not at all; raises FxstyleError naming the file and the remedy."""
    write_bytes(path, text.encode("utf-8"), force=force)


def write_bytes(path: Path, content: bytes, *, force: bool) -> None:
    """Write a file whole or not at all; raises FxstyleError naming the file and the remedy."""
    check_writable(path, force=force)
    temporary = path.parent / f".fxstyle-{secrets.token_hex(6)}.part"
    try:
        # Not mkstemp: its files are private, while results should be as readable as any other file.
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        remedy = "free some space" if error.errno == errno.ENOSPC else "choose another place"
        raise FxstyleError(f"{path} could not be written: {error.strerror or error}; {remedy}") from error
    finally:
        # After the rename there is nothing left to remove; before it, what is there is half a file.
        temporary.unlink(missing_ok=True)
