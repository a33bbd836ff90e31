"""What comes of a match, and what is told of it on the way."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from fxstyle.audio import Audio
from fxstyle.chain import Chain
from fxstyle.errors import MatchError
from fxstyle.features.measure import Measurement
from fxstyle.fit.acceptance import Verdict
from fxstyle.fit.certainty import Certainty
from fxstyle.fit.limits import AtLimit
from fxstyle.fit.search import Step
from fxstyle.fit.wish import Reached, imagine
from fxstyle.render import render
from fxstyle.text.asked import Asked

if TYPE_CHECKING:
    from fxstyle.presets import Preset


@dataclass(frozen=True)
class Progress:
    """Where a match has got to: a stage in words, a fraction of the whole, the loss if there is one."""

    stage: str
    fraction: float
    loss: float | None = None


@dataclass(frozen=True)
class Match:
    """A finished match; `audio` is rendered when it is first asked for.

    weights: how much each reference counted, summing to one.
    heard: effects that were heard in the reference, where the chain was left to the program; None elsewhere.
    certainty: how sure the fit is of each setting that it decided and that stayed as it left it.
    stopped: whether Ctrl-C ended the search early; the best settings so far went on to the judge.
    """

    chain: Chain
    source: Audio
    references: tuple[Audio, ...]
    source_measured: Measurement
    reference_measured: Measurement
    verdict: Verdict
    history: tuple[Step, ...]
    pruned: tuple[str, ...]
    notes: tuple[str, ...]
    quality: str
    seed: int
    seconds: float
    weights: tuple[float, ...] = ()
    heard: tuple[str, ...] | None = None
    at_limit: tuple[AtLimit, ...] = ()
    certainty: tuple[Certainty, ...] = ()
    asked: Asked | None = None
    reached: tuple[Reached, ...] = ()
    stopped: bool = False

    @property
    def reference(self) -> Audio:
        """Return the first reference; raises MatchError where there was a text alone."""
        if not self.references:
            raise MatchError("this match has no reference: it was made from a text")
        return self.references[0]

    @property
    def text(self) -> str | None:
        """Return the text that was asked for, None for none."""
        return None if self.asked is None else self.asked.text

    @property
    def understood(self) -> tuple[str, ...]:
        """Return how the text was understood, a line for each of its words."""
        return () if self.asked is None else tuple(str(word) for word in self.asked.understood)

    @cached_property
    def aims(self) -> tuple[Audio, ...]:
        """What was aimed at: the references, or these as the text wants them, or the input so."""
        if self.asked is None:
            return self.references
        asked = self.asked if self.references else self.asked.drier()
        return tuple(
            a.with_samples(imagine(asked, a.samples, a.rate)) for a in self.references or (self.source,)
        )

    @cached_property
    def audio(self) -> Audio:
        """The input through the chain, at full length and rate."""
        samples = render(self.chain, self.source.samples, self.source.rate)
        return self.source.with_samples(samples)

    @cached_property
    def preset(self) -> Preset:
        """The chain with units and provenance."""
        from fxstyle.presets import preset_of_match

        return preset_of_match(self)

    def report(self) -> str:
        """Return the report: one self-contained HTML page."""
        from fxstyle.report import html

        return html(self)
