"""Where CLAP's weights are found: the Hugging Face hub's cache first, the network only when asked."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fxstyle.errors import AudioError, SettingError

INSTALL = 'pip install "fxstyle[clap]"'
WHERE = (
    "download the repository laion/larger_clap_music (or laion/larger_clap_general) from huggingface.co "
    "on any machine and pass its folder, as in clap:FOLDER"
)
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def library(name: str) -> Any:
    """Return a module that is not there for everyone, and so has no types."""
    return importlib.import_module(name)


def is_repository(name: str) -> bool:
    """Return whether a name could be that of a repository: owner/name."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name) is not None


@contextmanager
def offline() -> Iterator[None]:
    """Keep what is imported or loaded meanwhile from the network."""
    before = {name: os.environ.get(name) for name in _OFFLINE}
    os.environ.update(dict.fromkeys(_OFFLINE, "1"))
    # The variables are read once, when the hub's client is imported: it may be there already.
    constants: Any = sys.modules.get("huggingface_hub.constants")
    was = getattr(constants, "HF_HUB_OFFLINE", None)
    if constants is not None:
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        constants = sys.modules.get("huggingface_hub.constants")
        if constants is not None:
            online = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"", "0", "NO", "FALSE", "OFF"}
            constants.HF_HUB_OFFLINE = not online if was is None else was


def folder(repository: str, patterns: Sequence[str], *, local: bool) -> Path | None:
    """Return the folder of a repository's files, of the cache alone if `local`; None where there is none.

    Raises SettingError where the hub's client is not installed, AudioError where a download fails.
    """
    try:
        client = library("huggingface_hub")
    except ImportError:
        raise SettingError(f"CLAP needs huggingface_hub, which is not installed: {INSTALL}") from None
    try:
        return Path(
            client.snapshot_download(repository, allow_patterns=list(patterns), local_files_only=local)
        )
    except Exception as error:  # the client raises its own errors and those of three libraries below it
        if local:
            return None
        raise AudioError(f"{repository} could not be downloaded ({first_line(error)}); {WHERE}") from None


def first_line(error: BaseException) -> str:
    """Return what an error of another library says first."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
