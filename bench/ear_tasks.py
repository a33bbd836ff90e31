"""Rendered tasks, kept on disk: several methods or weights can be compared without rendering again.

A task is the sounds of one query and figures that belong to it, such as distances to a truth that is not
heard. It lies under DIR/PROTOCOL-CODE/KEY.npz, CODE being a hash of the files that make it, of the manifest
of recordings and of the versions of the packages that render: whatever changes there, it is made anew, and
tasks of the protocol's earlier code are deleted. Vectors are not kept. Sounds are float32, one channel where
both are equal: 20 to 45 MB for the 26 of a query of retrieval.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from counterfx import Stereo, data_folder
from ear_row import Floats

from fxstyle.files import write_bytes

HERE = Path(__file__).parent
ALWAYS = (HERE / "counterfx.py", HERE / "ear_contents.py")
"""Files that all protocols are made by."""

PACKAGES = ("numpy", "pedalboard", "pyloudnorm", "soundfile", "soxr")
HASH_DIGITS = 12
FIGURES = "figures"


class Task(NamedTuple):
    """Sounds of one query, and figures that belong to it."""

    sounds: Sequence[Stereo]
    figures: Floats


NOTHING = np.zeros(0)
"""The figures of tasks that have none."""


@dataclass(frozen=True)
class Shelf:
    """The tasks of one protocol.

    Attributes
    ----------
    root: folder of all protocols; None: nothing is kept. protocol: a name for files. made_by: files, or
    folders of them, whose text decides what the tasks are. also: what else does, such as names of effects.
    """

    root: ClassVar[Path | None] = None

    protocol: str
    made_by: tuple[Path, ...]
    also: str = ""

    @cached_property
    def code(self) -> str:
        """Return the hash of all that the tasks are made by."""
        text = hashlib.sha256(self.also.encode())
        for place in (*ALWAYS, *self.made_by, data_folder() / "MANIFEST.csv"):
            for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
                text.update(path.read_bytes())
        text.update(" ".join(version(name) for name in PACKAGES).encode())
        return text.hexdigest()[:HASH_DIGITS]

    @cached_property
    def _folder(self) -> Path | None:
        if self.root is None:
            return None
        folder = self.root / f"{self.protocol}-{self.code}"
        folder.mkdir(parents=True, exist_ok=True)
        earlier = re.compile(rf"{re.escape(self.protocol)}-[0-9a-f]{{{HASH_DIGITS}}}")
        for other in self.root.iterdir():
            if other != folder and earlier.fullmatch(other.name):
                shutil.rmtree(other)
        return folder

    def task(self, key: str, make: Callable[[], Task]) -> Task:
        """Return a task by its key, made now if it is not there."""
        if self._folder is None:
            return make()
        path = self._folder / f"{key}.npz"
        if not path.exists():
            _write(path, make())
        return _read(path)


def _write(path: Path, task: Task) -> None:
    arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = {FIGURES: task.figures}
    for number, sound in enumerate(task.sounds):
        arrays[f"{number:04d}"] = sound[:1] if np.array_equal(sound[0], sound[1]) else sound
    made = BytesIO()
    np.savez(made, **arrays)  # type: ignore[arg-type]  # its other keyword is a flag
    write_bytes(path, made.getvalue(), force=True)


def _read(path: Path) -> Task:
    with np.load(path) as found:
        names = sorted(name for name in found.files if name != FIGURES)
        sounds = [np.repeat(found[name], 2 // len(found[name]), axis=0) for name in names]
        return Task(sounds, found[FIGURES])
