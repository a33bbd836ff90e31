"""What a file is, and what was odd about a recording, said once, among the results, not as a warning."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fxstyle.audio import Audio
    from fxstyle.chain import Chain

_SNIFFED_BYTES = 64


def is_preset(file: Path) -> bool:
    """Whether the file is meant as JSON; no sound file begins with a brace."""
    if file.suffix.lower() == ".json":
        return True
    with file.open("rb") as stream:
        return stream.read(_SNIFFED_BYTES).lstrip().startswith(b"{")


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Silence the warnings of the reader: `notes_of` says the same."""
    from fxstyle.audio import AudioWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AudioWarning)
        yield


def notes_of(*recordings: Audio) -> list[str]:
    """Return the reader's notes on some recordings, each once."""
    found = [note for audio in recordings if audio.source is not None for note in audio.source.notes]
    return list(dict.fromkeys(found))


def notes_of_chain(chain: Chain) -> list[str]:
    """Return what to know of a chain in which a dry sound meets its own inversion."""
    return [
        f"{slot.name}: with invert on, an amount of {slot.amount:g} mixes the sound with its own inversion,"
        " and they cancel; set the amount to 1 and turn gain_db down instead"
        for slot in chain
        if slot.active and slot.amount < 1.0 and slot.effect.name == "gain" and slot.settings["invert"]
    ]
