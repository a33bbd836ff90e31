"""From a finished match to its preset: the chain, and all that is known of where it came from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, Protocol, cast

from fxstyle import __version__
from fxstyle.chain import Chain
from fxstyle.presets._fields import safe_name, safe_text
from fxstyle.presets.schema import Likely, Preset, Provenance, Recording, Score

if TYPE_CHECKING:
    from fxstyle.audio import Audio


class Judged(Protocol):
    """The verdict of a match, as far as a preset keeps it; distances in dB."""

    @property
    def before(self) -> float: ...
    @property
    def after(self) -> float: ...
    @property
    def accepted(self) -> bool: ...
    @property
    def amount(self) -> float: ...
    @property
    def message(self) -> str: ...


class Sure(Protocol):
    """How sure a fit is of a setting."""

    @property
    def setting(self) -> str: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def identified(self) -> bool: ...


class Matched(Protocol):
    """A match, as far as a preset keeps it: presets know chains, not how they were found."""

    @property
    def chain(self) -> Chain: ...
    @property
    def source(self) -> Audio: ...
    @property
    def references(self) -> Sequence[Audio]: ...
    @property
    def verdict(self) -> Judged: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    @property
    def text(self) -> str | None: ...
    @property
    def understood(self) -> Sequence[str]: ...
    @property
    def reached(self) -> Sequence[object]: ...
    @property
    def certainty(self) -> Sequence[Sure]: ...
    @property
    def quality(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def seconds(self) -> float: ...


def preset_of_match(match: Matched) -> Preset:
    """Return the preset of a match, named after its recordings and its text."""
    source = recording(match.source, "input")
    references = tuple(recording(r, "reference") for r in match.references)
    verdict = match.verdict
    return told(
        match.chain,
        name=safe_name(" ".join(_name(stem(source.name), references, match.text))),
        provenance=Provenance(
            program=f"fxstyle {__version__}",
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            input=source,
            reference=references,
            text=None if match.text is None else safe_text(match.text),
            understood=tuple(map(safe_text, match.understood)) or None,
            reached=tuple(safe_text(str(change)) for change in match.reached) or None,
            seed=match.seed,
            quality=cast(Literal["draft", "standard", "best"], match.quality),
            seconds=round(match.seconds, 3),
            score=Score(
                before=verdict.before,
                after=verdict.after,
                accepted=verdict.accepted,
                amount=verdict.amount,
                message=safe_text(verdict.message),
            ),
            likely=tuple(
                Likely(setting=s.setting, low=s.low, high=s.high, identified=s.identified)
                for s in match.certainty
            ),
            notes=tuple(safe_text(note) for note in match.notes),
        ),
    )


def _name(source: str, references: Sequence[Recording], text: str | None) -> Iterator[str]:
    yield source
    if references:
        yield f"like {stem(references[0].name)}"
    if text is not None:
        yield f"but {text.removeprefix('but ')}" if references else text


def told(chain: Chain, *, name: str, provenance: Provenance, description: str = "") -> Preset:
    """Return the preset of a chain with its origin, which is that of these settings alone."""
    preset = Preset.from_chain(chain, name=name, description=description, provenance=provenance)
    about = {"settings_sha256": preset.settings_sha256()}
    return preset.model_copy(update={"provenance": provenance.model_copy(update=about)})


def recording(audio: Audio, otherwise: str) -> Recording:
    name = safe_name(audio.source.name) if audio.source is not None else ""
    return Recording(
        name=name or otherwise,
        rate=audio.rate,
        channels=audio.samples.shape[0],
        duration_s=audio.samples.shape[1] / audio.rate,
    )


def stem(name: str) -> str:
    return name.rpartition(".")[0] or name
