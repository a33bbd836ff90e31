"""From a room that was fitted or described to its preset: the chain, and all that is known of its origin."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fxstyle import __version__
from fxstyle.chain import Chain
from fxstyle.presets._fields import MAX_TEXT, safe_name, safe_text
from fxstyle.presets.of_match import recording, stem, told
from fxstyle.presets.schema import Preset, Provenance

if TYPE_CHECKING:
    from fxstyle.audio import Audio

_WORDS_IN_NAME = 60
"""Characters of a description that make a name; all of it is kept beside."""


def preset_of_room(
    chain: Chain,
    *,
    description: str = "",
    source: Audio | None = None,
    references: Sequence[Audio] = (),
    seed: int | None = None,
    seconds: float | None = None,
    notes: Sequence[str] = (),
) -> Preset:
    """Return the preset of a room, named after the recording or the words that it comes from.

    Parameters
    ----------
    chain: with its settings.
    description: the words, if it was made from words.
    source, references: the recordings, if it was fitted to one.
    seed, seconds: of the fit.
    notes: what was assumed, what is not sure.
    """
    return told(
        chain,
        name=_name(description, source, references),
        description=safe_text(description[:MAX_TEXT]),
        provenance=Provenance(
            program=f"fxstyle {__version__}",
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            input=recording(source, "input") if source is not None else None,
            reference=tuple(recording(r, "reference") for r in references),
            seed=seed,
            seconds=None if seconds is None else round(seconds, 3),
            notes=tuple(safe_text(note) for note in notes),
        ),
    )


def _name(description: str, source: Audio | None, references: Sequence[Audio]) -> str:
    if not references:
        return safe_name(description[:_WORDS_IN_NAME])
    room = f"the room of {stem(recording(references[0], 'reference').name)}"
    return safe_name(room if source is None else f"{stem(recording(source, 'input').name)} in {room}")
