"""What was odd about a recording, said once, among the results, instead of as a Python warning."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fxstyle.audio import Audio


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
